"""Reading scripts and the files they import or include."""

from __future__ import annotations

import os
import stat
import sys

from bpflens.errors import CompileError, Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from bpflens.trace.options import Options

__all__ = ["UnreadableScript", "read_import", "read_script"]


class UnreadableScript(CompileError):
    """A script that cannot be read."""

    def __init__(self, path: str, error: OSError) -> None:
        super().__init__([])
        self.rendered = f"ERROR: failed to open file '{path}': {error.strerror}\n"


def read_script(options: Options) -> tuple[str, str]:
    """Return the name that messages use for the script, and its text."""
    if options.program is not None:
        return "stdin", options.program
    if options.file == "-":
        return "stdin", sys.stdin.buffer.read().decode("utf-8", "surrogateescape")
    try:
        return options.file, _read(options.file)
    except OSError as error:
        raise UnreadableScript(options.file, error) from None


def read_import(name: str, importer: str) -> Sequence[tuple[str, str]]:
    """Return path and text of what a script imports: a file, or all files of a directory.

    Names are relative to the importing script. What anybody could have written is refused.
    """
    base = os.path.dirname(importer) if importer != "stdin" else ""
    path = os.path.join(base, name)
    if not os.path.isdir(path):
        return [(path, _trusted(path))]
    _check_mode(path)
    names = sorted(os.listdir(path))
    files = [os.path.join(path, entry) for entry in names]
    return [(file, _trusted(file)) for file in files if os.path.isfile(file)]


def _trusted(path: str) -> str:
    _check_mode(os.path.dirname(path) or ".")
    return _read(path)


def _check_mode(directory: str) -> None:
    mode = os.stat(directory).st_mode
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        raise Error(f"everybody may write to the directory {directory}")


def _read(path: str) -> str:
    with open(path, "rb") as file:
        return file.read().decode("utf-8", "surrogateescape")

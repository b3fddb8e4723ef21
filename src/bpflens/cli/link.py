"""``bpflens link``: make commands called bpftool, bpftrace, … that are bpflens.

bpflens installs none of these names by itself: they would hide the distribution's own tools. A
link points at the launcher that is running; where that is no file which can be linked to
(``python -m bpflens``, a single-file archive) a small launcher is written instead. A name that
exists already is left alone unless ``--force`` is given, and a directory is never replaced.

Example::

    $ bpflens link --dir ~/.local/bin bpftool bpftrace
    /root/.local/bin/bpftool -> /usr/local/bin/bpflens
    /root/.local/bin/bpftrace -> /usr/local/bin/bpflens
"""

from __future__ import annotations

import os
import sys

from bpflens.cli import exits
from bpflens.cli.main import DOORS, NAMES
from bpflens.errors import Error, NotFound, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

_USAGE = """\
Usage: bpflens link --dir DIR [--force] [NAME...]

Makes the commands NAME (all that this version has, if none is named) in DIR:
  {names}
A file that is there already is left alone unless --force is given.
"""

# The kernel reads no more than this of a "#!" line (BINPRM_BUF_SIZE, 128 before Linux 5.1).
_LONGEST_INTERPRETER = 120

# -P: the directory one happens to stand in is no place to import from, least of all as root.
_LAUNCHER = """\
#!{python} -P
# Written by "bpflens link".
import sys

sys.path.insert(0, {root!r})
from bpflens.cli.main import run

run([{name!r}, *sys.argv[1:]])
"""

_SHELL_LAUNCHER = """\
#!/bin/sh
# Written by "bpflens link".
exec {python} -P -c {code} "$@"
"""


def main(words: Sequence[str]) -> int:
    """Make the links that ``words`` ask for; return the exit status."""
    directory, force, names = _parse(words)
    if directory is None:
        print(_USAGE.format(names=" ".join(_available())), end="")
        return exits.OK
    if not os.path.isdir(directory):
        raise Error(f"{directory} is not a directory; make it first (mkdir -p {directory})")
    for name in names:
        print(_make(os.path.join(directory, name), name, force))
    if os.path.abspath(directory) not in os.environ.get("PATH", "").split(os.pathsep):
        print(f"{directory} is not on PATH: a shell will not find these there", file=sys.stderr)
    return exits.OK


def _available() -> list[str]:
    return [door.command for door in DOORS if door.module]


def _parse(words: Sequence[str]) -> tuple[str | None, bool, list[str]]:
    # → (directory, or None when help was asked for; whether to replace; names)
    directory: str | None = None
    force = False
    names: list[str] = []
    rest = iter(words)
    for word in rest:
        if word in ("-h", "--help"):
            return None, False, []
        if word == "--force":
            force = True
        elif word == "--dir":
            directory = next(rest, None)
        elif word.startswith("--dir="):
            directory = word[6:]
        elif word.startswith("-"):
            raise UsageError(f"link: no option {word}; see bpflens link --help")
        elif word not in NAMES:
            raise NotFound("command to link,", word, _available())
        elif not NAMES[word].module:
            raise Error(f"link: this version of bpflens has no {word} command yet")
        else:
            names.append(word)
    if not directory:
        raise UsageError("link: say where with --dir DIR")
    return directory, force, names or _available()


def _make(path: str, name: str, force: bool) -> str:
    target = _launcher()
    if target is not None and os.path.realpath(path) == os.path.realpath(target):
        return f"{path} -> {target} (was there)"
    if os.path.isdir(path) and not os.path.islink(path):
        raise Error(f"{path} is a directory")
    if os.path.lexists(path) and not force:
        raise Error(f"{path} exists; --force replaces it")
    # Made beside it and moved over it, so that the name is at no time missing or half written.
    fresh = f"{path}.bpflens-{os.getpid()}"
    try:
        if target is not None:
            os.symlink(target, fresh)
        else:
            _write_launcher(fresh, name)
        os.replace(fresh, path)
    except OSError:
        if os.path.lexists(fresh):
            os.unlink(fresh)
        raise
    return f"{path} -> {target}" if target is not None else f"{path} (launcher)"


def _launcher() -> str | None:
    # The file that is running, if a link to it under another name would do the same.
    called = sys.argv[0]
    if os.path.basename(called) not in ("bpflens", *NAMES):
        return None
    path = os.path.abspath(called)
    return path if os.path.isfile(path) and os.access(path, os.X_OK) else None


def _write_launcher(path: str, name: str) -> None:
    root = _import_root()
    python = sys.executable
    if " " in python or len(python) > _LONGEST_INTERPRETER:
        code = (
            f"import sys; sys.path.insert(0, {root!r}); from bpflens.cli.main import run; "
            f"run([{name!r}, *sys.argv[1:]])"
        )
        text = _SHELL_LAUNCHER.format(python=_quoted(python), code=_quoted(code))
    else:
        text = _LAUNCHER.format(python=python, root=root, name=name)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o755)
    with open(fd, "w", encoding="utf-8") as file:
        file.write(text)


def _import_root() -> str:
    # The directory or archive that holds the package bpflens: this file less three names.
    path = os.path.abspath(__file__)
    for _ in range(3):
        path = os.path.dirname(path)
    return path


def _quoted(text: str) -> str:
    # shlex.quote without shlex, which brings in re.
    return "'" + text.replace("'", "'\"'\"'") + "'"

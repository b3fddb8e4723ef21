"""What every command of the bpftool door is given: options, output, errors.

A :class:`Tool` holds the options of one run and knows how to answer in the two forms, plain text
and JSON. A command raises :class:`Failure` with the text for the user and the exit status; `main`
prints it where the real tool would (``Error: ...`` on standard error, ``{"error": ...}`` on
standard output under ``-j``).

Example::

    def show(tool, words):
        if tool.json is not None:
            tool.json.value({"id": 7})
        else:
            tool.out("7: hash\\n")
        return 0
"""

from __future__ import annotations

import os

from bpflens.bpftool.out import Json, Out
from bpflens.errors import Error, SyscallError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["STATUS", "Failure", "Tool", "cause", "errno_status", "strerror"]

STATUS = 255
"""The exit status of most failures."""


class Failure(Error):
    """A command that failed: the text (empty when it was told already) and the exit status."""

    def __init__(self, text: str = "", status: int = STATUS) -> None:
        super().__init__(text)
        self.text = text
        self.status = status


class Tool:
    """The options and the output of one run; ``json`` is None for plain output."""

    __slots__ = (
        "base_btf", "bpffs", "certificate", "color", "debug", "filter", "json", "key", "mapcompat",
        "nomount", "once", "out", "python", "sign", "sort", "table", "use_loader",
    )  # fmt: skip

    def __init__(self, out: Out | None = None) -> None:
        self.out = out or Out()
        self.json: Json | None = None
        self.bpffs = False
        self.mapcompat = False
        self.nomount = False
        self.debug = False
        self.use_loader = False
        self.sign = False
        self.key = ""
        self.certificate = ""
        self.base_btf = ""
        self.table = False
        self.color = ""
        self.sort = ""
        self.filter = ""
        self.once = False
        self.python = False

    def done(self) -> int:
        """End a command that has nothing to print: ``null`` under ``-j``. Returns 0."""
        if self.json is not None:
            self.json.value(None)
        return 0

    def note(self, text: str) -> None:
        """Say something that is neither answer nor error, on standard error."""
        self.out.flush()
        try:
            os.write(2, (text + "\n").encode("utf-8", "surrogateescape"))
        except OSError:
            return  # nobody is left to tell

    def hint(self, text: str) -> None:
        """As :meth:`note`, but only for people: silent under ``-j``."""
        if self.json is None:
            self.note(text)

    def several(self, values: Iterable[object]) -> None:
        """Write values as JSON the way bpftool does: one as itself, more as an array."""
        json = self.json
        assert json is not None
        found = list(values)
        json.value(found[0] if len(found) == 1 else found)


def strerror(error: BaseException) -> str:
    """Return the C library's words for the errno of ``error``, or the error's own text."""
    if isinstance(error, SyscallError):
        text = error.strerror or str(error)
        return "Unknown error 524" if error.errno == 524 else text
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error)


def cause(error: BaseException) -> str:
    """Return strerror with the likely cause and the remedy, where they are known."""
    text = strerror(error)
    if isinstance(error, SyscallError):
        if error.cause:
            text += f": {error.cause}"
        if error.remedy:
            text += f"; {error.remedy}"
    return text


def errno_status(error: BaseException) -> int:
    """Return the exit status that the real tool gives for an errno: minus the number."""
    number = error.errno if isinstance(error, OSError) else 0
    return -number & 0xFF if number else STATUS

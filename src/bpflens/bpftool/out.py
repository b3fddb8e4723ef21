"""Text and JSON on standard output, in blocks.

:class:`Out` gathers text and writes it in large pieces. :class:`Json` writes JSON the way bpftool
does: compact, or pretty in its own style (``[{`` on one line, the first members indented by
eight, numbers of an array on one line).

Invariant: whatever happens between, :meth:`Json.unwind` can close what is open, so that the output
stays JSON. A value is written at once; nothing is kept but the block not yet written.

Example::

    out = Out()
    Json(out, pretty=True).value({"id": 7, "map_ids": [1, 2]})
    out.flush()
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Json", "Number", "Out", "quoted"]

_BLOCK = 1 << 16


class Out:
    """Standard output with a buffer; ``write`` replaces the file descriptor (tests do that)."""

    __slots__ = ("_parts", "_size", "_sink", "wrote")

    def __init__(self, sink: Callable[[bytes], object] | None = None) -> None:
        self._sink = sink or _to_stdout
        self._parts: list[str] = []
        self._size = 0
        self.wrote = False

    def __call__(self, text: str) -> None:
        """Add text."""
        self._parts.append(text)
        self._size += len(text)
        if self._size > _BLOCK:
            self.flush()

    def block(self, data: bytes | bytearray | memoryview) -> None:
        """Write bytes that are large already, after what was added before."""
        self.flush()
        if data:
            self.wrote = True
            self._sink(data)  # type: ignore[arg-type]

    @property
    def pending(self) -> bool:
        """Whether something was added that is not yet written."""
        return bool(self._parts)

    def flush(self) -> None:
        """Write what was added."""
        if not self._parts:
            return
        text = "".join(self._parts)
        self._parts.clear()
        self._size = 0
        if text:
            self.wrote = True
            self._sink(text.encode("utf-8", "surrogateescape"))


def _to_stdout(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]


class Number(str):
    """A token that goes into JSON as it stands: ``Number("0x1f")`` in bpftool's BTF output."""

    __slots__ = ()


_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r", "\f": "\\f",
            "\b": "\\b"}  # fmt: skip
_ESCAPES |= {chr(code): f"\\u{code:04x}" for code in range(32) if chr(code) not in _ESCAPES}
_TABLE = str.maketrans(_ESCAPES)


def quoted(text: str) -> str:
    """Return ``text`` as a JSON string."""
    if not text.isprintable() or '"' in text or "\\" in text:
        text = text.translate(_TABLE).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return f'"{text}"'


class Json:
    """A JSON document on an :class:`Out`, piece by piece or a value at a time."""

    __slots__ = ("_out", "_separate", "_stack", "pretty")

    def __init__(self, out: Callable[[str], object], pretty: bool = False, depth: int = 0) -> None:
        self._out = out
        self.pretty = pretty
        self._stack: list[str] = ["]"] * depth
        self._separate = False

    @property
    def depth(self) -> int:
        """How many arrays and objects are open."""
        return len(self._stack)

    def has_value(self) -> bool:
        """Say whether the open array or object, or the document, has a value already."""
        return self._separate

    def line(self) -> str:
        """What begins a line at this depth: nothing when compact."""
        return "\n" + "    " * len(self._stack) if self.pretty else ""

    def _comma(self) -> str:
        separate, self._separate = self._separate, True
        return "," if separate else ""

    def start(self, bracket: str) -> None:
        """Open an array (``[``) or an object (``{``)."""
        self._out(self._comma() + bracket)
        self._stack.append("]" if bracket == "[" else "}")
        self._separate = False

    def end(self) -> None:
        """Close what was opened last."""
        bracket = self._stack.pop()
        self._out((self.line() if self._separate else "") + bracket)
        self._separate = True

    def name(self, name: str) -> None:
        """Begin a member of the open object; its value comes next."""
        space = " " if self.pretty else ""
        self._out(f"{self._comma()}{self.line()}{quoted(name)}:{space}")
        self._separate = False

    def member(self, name: str, value: object) -> None:
        """Write a member of the open object."""
        self.name(name)
        self.value(value)

    def raw(self, text: str) -> None:
        """Write text that is JSON already as one value (several, separated by commas)."""
        self._out(self._comma() + text)

    def separator(self) -> str:
        """Return what stands before the next value; the caller writes it and the value."""
        return self._comma()

    def value(self, value: object) -> None:
        """Write a value: dict, list, str, bool, int, float, None or :class:`Number`."""
        kind = type(value)
        if kind is dict:
            self.start("{")
            for name, one in value.items():  # type: ignore[attr-defined]
                self.name(name)
                self.value(one)
            self.end()
        elif kind is list or kind is tuple:
            self.start("[")
            for one in value:  # type: ignore[attr-defined]
                self.value(one)
            self.end()
        else:
            self._out(self._comma() + _scalar(value))

    def unwind(self, depth: int, error: str | None = None) -> bool:
        """Close everything deeper than ``depth``, with ``{"error": ...}`` inside the innermost.

        Returns whether the error found a place.
        """
        told = error is None
        while len(self._stack) > depth:
            if not told and error is not None:
                told = True
                self._tell(error)
            self.end()
        return told

    def _tell(self, error: str) -> None:
        if self._stack[-1] == "]":
            self.value({"error": error})
        else:
            self.member("error", error)


def _scalar(value: object) -> str:
    if value is None:
        return "null"
    if value is True:
        return "true"
    if value is False:
        return "false"
    if type(value) is Number:
        return value
    if isinstance(value, str):
        return quoted(value)
    return str(value)

"""printf formats: from the text to a list of directives, and which types each one takes.

The directives are C's with the language's own: ``%r``, ``%rx`` and ``%rh`` show a buffer (escaped,
as hex, as spaced hex), ``%gr`` shows GFP flags, and ``%s`` takes a value of any type.

Example::

    [d.conversion for d in parse(b"%5d %s")]      # ['d', '', 's']  ('' is plain text)
"""

from __future__ import annotations

from bpflens.lang.types import (
    Aggregate,
    Array,
    Bool,
    Buffer,
    Enum,
    Int,
    Ksym,
    Pointer,
    String,
    Type,
    Usym,
)  # fmt: skip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Directive", "FormatError", "check_types", "parse"]

_FLAGS = b"-+ #0"
_LENGTHS = (b"hh", b"ll", b"h", b"l", b"j", b"z", b"t", b"L")
_INTEGER = "diuxXoc"
_KNOWN = _INTEGER + "psr"


class FormatError(ValueError):
    """A format that cannot be read; the message says what is wrong with it."""


class Directive:
    """A piece of a format: plain ``text`` (conversion ""), or one conversion with its modifiers.

    ``conversion`` is one of ``d i u x X o c p s r rx rh gr``. ``width`` and ``precision`` are -1
    where the format gives none.
    """

    __slots__ = ("conversion", "flags", "length", "precision", "text", "width")

    def __init__(
        self,
        conversion: str,
        text: bytes = b"",
        flags: str = "",
        width: int = -1,
        precision: int = -1,
        length: str = "",
    ) -> None:
        self.conversion = conversion
        self.text = text
        self.flags = flags
        self.width = width
        self.precision = precision
        self.length = length

    @property
    def takes_value(self) -> bool:
        """Whether an argument belongs to it."""
        return bool(self.conversion)

    def __repr__(self) -> str:
        return f"Directive({self.conversion!r}, {self.text!r}, {self.flags!r}, {self.width})"


def parse(text: bytes) -> list[Directive]:
    """Split a format into its pieces; neighbouring text is one piece, ``%%`` part of it."""
    pieces: list[Directive] = []
    plain = bytearray()
    at = 0
    while at < len(text):
        mark = text.find(b"%", at)
        if mark < 0:
            plain += text[at:]
            break
        plain += text[at:mark]
        if text[mark + 1 : mark + 2] == b"%":
            plain += b"%"
            at = mark + 2
            continue
        if plain:
            pieces.append(Directive("", bytes(plain)))
            plain = bytearray()
        directive, at = _directive(text, mark)
        pieces.append(directive)
    if plain:
        pieces.append(Directive("", bytes(plain)))
    return pieces


def _directive(text: bytes, mark: int) -> tuple[Directive, int]:
    at = mark + 1
    start = at
    while at < len(text) and text[at] in _FLAGS:
        at += 1
    flags = text[start:at].decode()
    width, at = _number(text, at)
    precision = -1
    if text[at : at + 1] == b".":
        precision, at = _number(text, at + 1)
        precision = max(precision, 0)
    length = next((word for word in _LENGTHS if text.startswith(word, at)), b"")
    at += len(length)
    conversion = text[at : at + 1].decode("ascii", "replace")
    for longer in ("rx", "rh", "gr"):
        if text[at : at + 2] == longer.encode():
            conversion = longer
    if not conversion:
        rest = text[mark:].decode("ascii", "replace")
        raise FormatError(f"the format ends in the middle of a directive: {rest}")
    if conversion not in ("rx", "rh", "gr") and conversion not in _KNOWN:
        raise FormatError(f"Unknown format string token: %{conversion}")
    end = at + len(conversion)
    return Directive(conversion, text[mark:end], flags, width, precision, length.decode()), end


def _number(text: bytes, at: int) -> tuple[int, int]:
    start = at
    while at < len(text) and text[at : at + 1].isdigit():
        at += 1
    return (int(text[start:at]) if at > start else -1), at


def check_types(directives: Sequence[Directive], types: Sequence[Type | None]) -> list[str]:
    """Return a complaint for every argument whose type its directive does not take."""
    problems = []
    wanted = [directive for directive in directives if directive.takes_value]
    for directive, kind in zip(wanted, types, strict=True):
        if kind is not None and not _takes(directive.conversion, kind):
            name = "string" if isinstance(kind, String) else kind.name
            what = directive.conversion
            problems.append(f"unsupported format specifier for type '{name}': {what}")
    return problems


def _takes(conversion: str, kind: Type) -> bool:
    if conversion == "s":
        return True
    if conversion in ("r", "rx", "rh"):
        return isinstance(kind, (Buffer, Array, String))
    number = isinstance(kind, (Int, Bool, Enum, Pointer, Aggregate))
    if conversion == "p":
        return number or isinstance(kind, (Ksym, Usym))
    return number

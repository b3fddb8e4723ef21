"""From characters to tokens, one at a time, from whatever place the parser asks for.

The lexer holds exactly one current token in its own attributes: ``kind``, ``value``, ``start`` and
``end`` (positions), and ``last_end``, the end of the token before it. :meth:`Lexer.advance` reads
the next one. Nothing is read ahead, so the parser may look at the text itself where another lexis
rules (attach points, the C preamble) and :meth:`Lexer.seek` to where the ordinary one goes on, or
try something and :meth:`Lexer.restore` an earlier state.

``kind`` is one of the words below, or, for operators and punctuation, the operator itself.
Keywords are ordinary names: which of them mean something depends on where they stand.

What is wrong with a token is recorded as a diagnostic, and the token is handed out all the same.
Only the last error allowed raises (:class:`GiveUp`).

Example::

    lexer = Lexer(source, diagnostics)      # "@a[$1] += 0x10"
    lexer.advance()
    lexer.kind, lexer.value                 # ('map', '@a')
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    from bpflens.lang.diagnostic import Diagnostics
    from bpflens.lang.source import Source

    State: TypeAlias = tuple[str, str, int, int, int]

__all__ = [
    "DIGIT",
    "EOF",
    "IDENT",
    "IDENT_START",
    "INTEGER",
    "LAYOUT",
    "MAP",
    "MAX_ERRORS",
    "NAME",
    "POSITIONAL",
    "STRING",
    "UNKNOWN",
    "VARIABLE",
    "GiveUp",
    "Lexer",
    "Resync",
]

NAME = "name"
INTEGER = "integer"
STRING = "string"
VARIABLE = "variable"  # value with its "$"
POSITIONAL = "positional"  # value without its "$": "1", or "#"
MAP = "map"  # value with its "@"
UNKNOWN = "unknown"  # a character that begins nothing
EOF = "end"

DIGIT = frozenset("0123456789")
IDENT_START = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_")
IDENT = IDENT_START | DIGIT
LAYOUT = frozenset(" \t\r\n\v\f")

# More errors than this help nobody, and hostile input could ask for a million of them.
MAX_ERRORS = 20

# The operators that begin with a character, longest first.
_OPERATORS = {
    "+": ("++", "+=", "+"),
    "-": ("->", "--", "-=", "-"),
    "*": ("*=", "*"),
    "/": ("/=", "/"),
    "%": ("%=", "%"),
    "&": ("&&", "&=", "&"),
    "|": ("||", "|=", "|"),
    "^": ("^=", "^"),
    "<": ("<<=", "<<", "<=", "<"),
    ">": (">>=", ">>", ">=", ">"),
    "=": ("==", "="),
    "!": ("!=", "!"),
    ".": ("..", "."),
}
_SINGLE = frozenset("(){}[];,:?~#")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\"}
_OCTAL = frozenset("01234567")
_HEX = frozenset("0123456789abcdefABCDEF")


class Resync(Exception):
    """The parser met something that it cannot go on from; the error is already recorded."""


class GiveUp(Exception):
    """There were :data:`MAX_ERRORS` errors."""


class Lexer:
    """The current token of one source, and how to get the next."""

    # fmt: off
    __slots__ = (
        "base", "diagnostics", "end", "error_count", "kind", "last_end", "length", "panic",
        "start", "text", "value",
    )
    # fmt: on

    def __init__(self, source: Source, diagnostics: Diagnostics) -> None:
        # The end is marked, so that looking one character ahead needs no test; a script may well
        # contain the mark itself, therefore it only counts at `length`.
        self.text = source.text + "\0\0\0"
        self.length = len(source.text)
        self.base = source.base
        self.diagnostics = diagnostics
        self.error_count = 0
        # Whether an error was recorded after which others would be mere consequences.
        self.panic = False
        self.kind = ""
        self.value = ""
        self.start = self.end = self.last_end = source.base

    # tokens

    def advance(self) -> None:
        """Read the next token."""
        text, base = self.text, self.base
        self.last_end = self.end
        at = self.end - base
        char = text[at]
        if char in LAYOUT or char == "/":
            at = self.skip_layout(at)
            char = text[at]
        self.start = at + base
        if char in IDENT_START:
            end = at + 1
            while text[end] in IDENT:
                end += 1
            self.kind = NAME
            self.value = text[at:end]
            self.end = end + base
        elif char in _SINGLE:
            self.kind = self.value = char
            self.end = at + 1 + base
        elif char in _OPERATORS:
            for operator in _OPERATORS[char]:
                if text.startswith(operator, at):
                    break
            self.kind = self.value = operator
            self.end = at + len(operator) + base
        else:
            self._advance_rarer(char, at)

    def seek(self, offset: int) -> None:
        """Let :meth:`advance` go on at an offset into the text."""
        self.end = offset + self.base

    def save(self) -> State:
        """Return the present state for :meth:`restore`."""
        return (self.kind, self.value, self.start, self.end, self.last_end)

    def restore(self, state: State) -> None:
        """Go back to an earlier state."""
        self.kind, self.value, self.start, self.end, self.last_end = state

    def peek(self) -> str:
        """Return the first character of the token after the current one ("\\0" at the end)."""
        return self.text[self.skip_layout(self.end - self.base)]

    def skip_layout(self, at: int) -> int:
        """Return the offset of the first character that is neither blank nor in a comment."""
        text = self.text
        while True:
            char = text[at]
            if char in LAYOUT:
                at += 1
            elif char == "/" and text[at + 1] == "/":
                newline = text.find("\n", at)
                at = newline if newline >= 0 else self.length
            elif char == "/" and text[at + 1] == "*":
                close = text.find("*/", at + 2)
                if close < 0:
                    self.report("unterminated comment", at + self.base, at + 2 + self.base)
                    self.panic = True
                    return self.length
                at = close + 2
            else:
                return at

    def word(self, at: int) -> str:
        """Return the name that begins at an offset ("" if none does)."""
        text, end = self.text, at
        if text[at] in IDENT_START:
            while text[end] in IDENT:
                end += 1
        return text[at:end]

    # errors

    def report(self, message: str, start: int, end: int, *hints: str) -> None:
        """Record a syntax error, unless it only follows from the one before."""
        if self.panic:
            return
        self.diagnostics.error("syntax", f"syntax: {message}", start, end, *hints)
        self.error_count += 1
        if self.error_count >= MAX_ERRORS:
            raise GiveUp

    def fail(self, message: str, *hints: str) -> Resync:
        """Record a syntax error at the current token and return what to raise."""
        if self.kind == UNKNOWN:
            hints = (*hints, f"The character {self.value!r} has no meaning here.")
        self.report(message, self.start, self.end, *hints)
        return Resync()

    def expect(self, kind: str) -> None:
        """Pass over a token that has to come here."""
        if self.kind != kind:
            raise self.fail(f"expected '{kind}'")
        self.advance()

    # The rest reads one sort of token each; `at` is the offset of its first character.

    def _advance_rarer(self, char: str, at: int) -> None:
        if char in DIGIT:
            self.kind = INTEGER
            self._take(at, at + 1)
        elif char == "$":
            self._variable(at)
        elif char == "@":
            self.kind = MAP
            # A bare "@" is a map too, but a digit does not belong to any name.
            self._take(at, at + 1 if self.text[at + 1] in IDENT_START else at)
            if self.end == at + self.base:
                self.value, self.end = "@", at + 1 + self.base
        elif char == '"':
            self._string(at)
        elif at >= self.length:
            self.kind, self.value, self.end = EOF, "", self.start
        else:
            self.kind, self.value, self.end = UNKNOWN, char, self.start + 1

    def _take(self, at: int, end: int) -> None:
        # The token reaches as far as identifier characters do, from `end` on.
        text = self.text
        if end > at:
            while text[end] in IDENT:
                end += 1
        self.value = text[at:end]
        self.end = end + self.base

    def _variable(self, at: int) -> None:
        after = self.text[at + 1]
        if after in IDENT_START:
            self.kind = VARIABLE
            self._take(at, at + 1)
        elif after == "#":
            self.kind, self.value, self.end = POSITIONAL, "#", self.start + 2
        elif after in DIGIT:
            end = at + 1
            while self.text[end] in DIGIT:
                end += 1
            self.kind, self.value, self.end = POSITIONAL, self.text[at + 1 : end], end + self.base
        else:
            self.kind, self.value, self.end = VARIABLE, "$", self.start + 1
            self.report("expected identifier after '$'", self.start, self.end)
            self.panic = True

    def _string(self, at: int) -> None:
        text, self.kind = self.text, STRING
        close = text.find('"', at + 1)
        plain = text[at + 1 : close] if close > 0 else "\\"
        if "\\" in plain or "\n" in plain:
            plain, close = self._escaped(at + 1)
        self.value = plain
        self.end = close + 1 + self.base

    def _escaped(self, at: int) -> tuple[str, int]:
        # Return a string with its escapes replaced and the offset of the closing quote. Bytes from
        # 0x80 up become lone surrogates, as the decoder does with bytes that are no UTF-8.
        text = self.text
        pieces: list[str] = []
        while True:
            char = text[at]
            if char == '"':
                return "".join(pieces), at
            if char == "\n" or at >= self.length:
                self.report("unterminated string", at + self.base, at + self.base)
                self.panic = True
                return "".join(pieces), at - 1
            if char == "\\":
                piece, at = self._escape(at)
                pieces.append(piece)
                continue
            end = at + 1
            while text[end] not in '"\\\n' and end < self.length:
                end += 1
            pieces.append(text[at:end])
            at = end

    def _escape(self, at: int) -> tuple[str, int]:
        char, end = self.text[at + 1], at + 2
        if char in _ESCAPES:
            return _ESCAPES[char], end
        if char in _OCTAL:
            while end < at + 4 and self.text[end] in _OCTAL:
                end += 1
            value = int(self.text[at + 1 : end], 8)
            if value > 255:
                self._complain("octal escape sequence out of range", at, end)
            return _byte(value & 255), end
        if char in "xX":
            while end < at + 4 and self.text[end] in _HEX:
                end += 1
            if end == at + 2:
                message = "invalid hex escape sequence"
                self.report(message, at + self.base, end + self.base)
                return "", end
            return _byte(int(self.text[at + 2 : end], 16)), end
        if char == "\n" or at + 1 >= self.length:
            return "", at + 1
        self._complain("invalid escape character", at, end)
        return char, end

    def _complain(self, message: str, at: int, end: int) -> None:
        quoted = self.text[at:end]
        self.report(f"{message} '{quoted}'", at + self.base, end + self.base)


def _byte(value: int) -> str:
    return chr(value) if value < 0x80 else chr(0xDC00 + value)

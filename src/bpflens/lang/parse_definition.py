"""The C definitions in front of a script, and in the headers it includes, cut apart.

A definition is a preprocessor line, or a struct, union, enum or typedef. It is only cut out here,
comments and nested brackets counted; what it means is the business of
:mod:`bpflens.lang.preamble`. Methods work with offsets into the text, for C has its own lexis.

Example::

    parser.definition(0)    # "#define A 1\\n..." -> (CDefinition("#define A 1", "define", "A"), 12)
"""

from __future__ import annotations

from bpflens.lang.lexer import IDENT_START, LAYOUT, Lexer
from bpflens.lang.nodes import CDefinition

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from bpflens.lang.diagnostic import Diagnostics
    from bpflens.lang.source import Source

__all__ = ["DEFINITION_WORDS", "DefinitionParser", "header_definitions"]

DEFINITION_WORDS = frozenset(("struct", "union", "enum", "typedef"))

_CLOSING = {"(": ")", "[": "]", "{": "}"}


def header_definitions(source: Source, diagnostics: Diagnostics) -> Iterator[CDefinition]:
    """Yield the definitions of a C header; functions and variables are passed over."""
    return DefinitionParser(source, diagnostics).header()


class DefinitionParser(Lexer):
    """The part of the parser that cuts out C definitions."""

    __slots__ = ()

    def is_definition(self, at: int) -> bool:
        """Whether a C definition begins at an offset, rather than a probe called "struct"."""
        if self.text[at] == "#":
            return True
        word = self.word(at)
        if word not in DEFINITION_WORDS:
            return False
        if word == "typedef":
            return True
        # "struct x {", "enum __attribute__((packed)) {", "struct x;", but not "struct:probe {".
        at = self.skip_layout(at + len(word))
        while at < self.length:
            char = self.text[at]
            if char == "{" or char == ";":
                return True
            if char in IDENT_START:
                at += len(self.word(at))
            elif char == "(":
                at = self.balanced(at)
            else:
                return False
            at = self.skip_layout(at)
        return False

    def definition(self, at: int) -> tuple[CDefinition, int]:
        """Return the definition at an offset and the offset behind it."""
        if self.text[at] == "#":
            end = self._directive_end(at)
            text = self.text[at:end].rstrip()
            kind, name = _directive(text)
        else:
            end = self._definition_end(at)
            text = self.text[at:end].rstrip().rstrip(";").rstrip()
            kind = self.word(at)
            name = _definition_name(kind, text)
        start = at + self.base
        return CDefinition(text, kind, name, start, start + len(text)), end

    def header(self) -> Iterator[CDefinition]:
        """Yield the definitions of a whole text of C."""
        at = 0
        while True:
            at = self.skip_layout(at)
            if at >= self.length:
                return
            if self.is_definition(at):
                found, at = self.definition(at)
                yield found
            else:
                at = self._declaration_end(at)

    def balanced(self, at: int, message: str = "") -> int:
        """Return the offset behind the bracket that closes the one here; comments do not count."""
        start, depth = at, 0
        while at < self.length:
            char = self.text[at]
            if char in "([{":
                depth += 1
            elif char in ")]}":
                depth -= 1
                if depth == 0:
                    return at + 1
            elif char == "/":
                at = max(self.skip_layout(at), at + 1)
                continue
            elif char == '"' or char == "'":
                at = self._quoted_end(at)
                continue
            at += 1
        bracket = self.text[start]
        if not message:
            message = f"no '{_CLOSING[bracket]}' for this '{bracket}'"
        self.report(message, start + self.base, start + self.base + 1)
        return at

    def line_end(self, at: int) -> int:
        """Return the offset behind the line that an offset is in."""
        newline = self.text.find("\n", at)
        return newline + 1 if newline >= 0 else self.length

    def _definition_end(self, at: int) -> int:
        # Behind the ";", or behind the "}" and its attributes where the ";" is left out.
        start, is_typedef = at, self.word(at) == "typedef"
        while at < self.length:
            char = self.text[at]
            if char == ";":
                return at + 1
            if char == "{":
                at = self.balanced(at)
                if not is_typedef:
                    return self._attributes_end(at)
            elif char == "/" or char in LAYOUT:
                at = max(self.skip_layout(at), at + 1)
            else:
                at += 1
        word = self.word(start)
        start += self.base
        self.report(f"expected ';' to end this {word}", start, start + len(word))
        return at

    def _attributes_end(self, at: int) -> int:
        behind = self.skip_layout(at)
        while (word := self.word(behind)).startswith("__"):
            if word != "__attribute__":  # __packed and its like, which are macros
                at = behind + len(word)
                behind = self.skip_layout(at)
                continue
            at = self.skip_layout(behind + len(word))
            if not self.text.startswith("((", at):
                start = at + self.base
                self.report("__attribute__ syntax error, expected '(('", start, start + 1)
                return at
            at = self.balanced(at, "__attribute__ syntax error, mismatched '(' and ')'")
            behind = self.skip_layout(at)
        return behind + 1 if self.text[behind] == ";" else at

    def _declaration_end(self, at: int) -> int:
        # Behind a function or variable: what ends with ";" or with the body of a function.
        while at < self.length:
            char = self.text[at]
            if char == ";":
                return at + 1
            if char == "{":
                at = self.balanced(at)
                behind = self.skip_layout(at)
                # An initialiser goes on, a function body does not.
                if self.text[behind] not in ",;=":
                    return at
            elif char == "(" or char == "[":
                at = self.balanced(at)
            elif char == '"' or char == "'":
                at = self._quoted_end(at)
            elif char == "#":
                return at
            else:
                at = max(self.skip_layout(at), at + 1) if char == "/" else at + 1
        return at

    def _quoted_end(self, at: int) -> int:
        quote, at = self.text[at], at + 1
        while at < self.length and self.text[at] not in (quote, "\n"):
            at += 2 if self.text[at] == "\\" else 1
        return at + 1

    def _directive_end(self, at: int) -> int:
        end = self.line_end(at)
        while end < self.length and self.text[at:end].rstrip("\r\n").endswith("\\"):
            at, end = end, self.line_end(end)
        return end


def _directive(text: str) -> tuple[str, str]:
    # "#define A 1" -> ("define", "A"); "#include <x.h>" -> ("include", "x.h")
    body = text[1:].lstrip()
    kind = _leading_word(body)
    rest = body[len(kind) :].strip()
    if kind == "include":
        close = rest.find(">" if rest[:1] == "<" else '"', 1)
        return kind, rest[1:close] if close > 0 else ""
    return kind, _leading_word(rest)


def _leading_word(text: str) -> str:
    end = 0
    while end < len(text) and (text[end].isalnum() or text[end] == "_"):
        end += 1
    return text[:end]


def _definition_name(kind: str, text: str) -> str:
    # The last word before the body, or, of a typedef, the last word of all.
    head = text if kind == "typedef" else text.partition("{")[0]
    depth, words, word = 0, [""], ""
    for char in head + " ":
        if char.isalnum() or char == "_":
            word += char
            continue
        if word and depth == 0:
            words.append(word)
        word = ""
        depth += (char in "([{") - (char in ")]}")
    return "" if words[-1] in (kind, "__attribute__") else words[-1]

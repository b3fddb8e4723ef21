"""From the text of a script to its syntax tree.

This module reads the outermost level: the shebang line, the C preamble, ``config`` and imports,
then probes, macros, functions and map declarations. The layers below it read what is inside:
:mod:`~bpflens.lang.parse_statement`, :mod:`~bpflens.lang.parse_expression`,
:mod:`~bpflens.lang.parse_type`, :mod:`~bpflens.lang.lexer`.

:func:`parse` always returns a tree and never raises, whatever the input: errors are recorded in
the diagnostics, what could not be read is left out, and the parser goes on behind it. A tree that
came with errors is only good for showing.

C definitions and attach points are kept as text; they have their own lexis and their own passes.
A :class:`~bpflens.lang.nodes.Probe` spans its attach points, a macro or function its head, so that
messages about them do not underline whole bodies.

Example::

    program = parse(sources.add("stdin", "BEGIN { exit() }"), diagnostics)
    program.items[0].attach_points[0].text      # 'BEGIN'
"""

from __future__ import annotations

from bpflens.lang.lexer import (
    EOF,
    INTEGER,
    LAYOUT,
    MAP,
    NAME,
    POSITIONAL,
    STRING,
    VARIABLE,
    GiveUp,
    Resync,
)
from bpflens.lang.nodes import (
    AttachPoint,
    Config,
    ConfigEntry,
    Function,
    Identifier,
    Integer,
    Macro,
    MapDecl,
    MapName,
    Param,
    Positional,
    Probe,
    Program,
    Variable,
)
from bpflens.lang.parse_definition import DefinitionParser
from bpflens.lang.parse_statement import StatementParser
from bpflens.lang.parse_type import is_reserved
from bpflens.lang.recursion import roomy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from bpflens.lang.diagnostic import Diagnostics
    from bpflens.lang.nodes import CDefinition, Expr, Import, Item
    from bpflens.lang.source import Source

__all__ = ["parse", "parse_expression"]

# Probe types that have a file name in their attach points: there "/" does not begin a predicate.
_WITHOUT_PATH = frozenset(
    "kprobe k kretprobe kr fentry f kfunc fexit fr kretfunc tracepoint t rawtracepoint rt profile p"
    " interval i software s hardware h begin end self test bench".split()
)

_C_FIRST = "C definitions must appear before probes and functions"


def parse(source: Source, diagnostics: Diagnostics) -> Program:
    """Parse a whole script; see the module's docstring."""
    return roomy(_Parser(source, diagnostics).program)


def parse_expression(
    source: Source, diagnostics: Diagnostics, values: Iterable[str] = ()
) -> Expr | None:
    """Parse a text that holds one expression, such as a ``#define``; None after an error.

    ``values`` are names that cannot be types, so that ``(name) - 1`` is no cast.
    """
    parser = _Parser(source, diagnostics)
    parser.macro_names.update(values)
    return roomy(parser.only_expression)


class _Parser(StatementParser, DefinitionParser):
    __slots__ = ("config", "imports", "items", "preamble")

    def __init__(self, source: Source, diagnostics: Diagnostics) -> None:
        super().__init__(source, diagnostics)
        self.depth = 0
        self.operators = 0
        self.macro_names = _macro_names(self.text)
        self.preamble: list[CDefinition] = []
        self.config: Config | None = None
        self.imports: list[Import] = []
        self.items: list[Item] = []

    def program(self) -> Program:
        at = self.skip_layout(0)
        if self.text.startswith("#!", at):
            at = self.line_end(at)
        try:
            while True:
                at = self.skip_layout(at)
                if at >= self.length:
                    break
                at = self._item(at)
        except GiveUp:
            message = f"too many errors (more than {self.error_count - 1}), giving up"
            self.diagnostics.error("syntax", message, self.start, self.end)
        return Program(
            self.preamble, self.config, self.imports, self.items, self.base, self.base + self.length
        )

    def only_expression(self) -> Expr | None:
        try:
            self.advance()
            node = self.expression()
            if self.kind != EOF:
                raise self.fail("unexpected input")
        except (Resync, GiveUp):
            return None
        return node if self.error_count == 0 else None

    # The outermost level works with offsets: only what is read there tells which lexis comes next.
    # Each method takes the offset of the first character of its construct and returns the offset
    # behind it.

    def _item(self, at: int) -> int:
        word = self.word(at)
        self.panic = False
        self.depth = self.operators = 0
        self.start = at + self.base
        self.end = self.start + max(len(word), 1)
        if self.is_definition(at):
            return self._definition(at)
        try:
            read = _ITEMS.get(word)
            return self._probe(at) if read is None else read(self, at)
        except Resync:
            return self._skip_item(at)

    def _misplaced(self, message: str, start: int, end: int) -> None:
        if self.items:
            self.report(message, start, end)

    # C preamble

    def _definition(self, at: int) -> int:
        found, end = self.definition(at)
        if self.config or self.imports or self.items:
            self.report(_C_FIRST, found.start, found.end)
        self.preamble.append(found)
        return end

    # config and imports

    def _config(self, at: int) -> int:
        start = at + self.base
        if self.config is not None and not self.items:
            self.report("duplicate config block", start, start + 6)
        self._misplaced("config must appear before probes and functions", start, start + 6)
        self._begin(at)
        self.advance()
        self.expect("=")
        if self.kind != "{":
            raise self.fail("expected '{'")
        self.advance()
        entries: list[ConfigEntry] = []
        while self.kind != "}":
            entries.append(self._config_entry())
            if self.kind == ";":
                self.advance()
            elif self.kind != "}":
                raise self.fail("expected ';'")
        config = Config(entries, start, self.end)
        if self.config is None:
            self.config = config
        return self.end - self.base

    def _config_entry(self) -> ConfigEntry:
        if self.kind != NAME:
            raise self.fail("expected config key" if self.kind != EOF else "expected '}'")
        start, name = self.start, self.value
        self.advance()
        self.expect("=")
        if self.kind not in (STRING, INTEGER, NAME):
            raise self.fail("expected string, int, boolean, or ident")
        value = self.primary()
        return ConfigEntry(name, value, start, self.last_end)

    def _root_import(self, at: int) -> int:
        start = at + self.base
        self._misplaced("root imports must appear before probes and functions", start, start + 6)
        self._begin(at)
        try:
            self.imports.append(self.import_())
        except Resync:
            # Nothing but this one line is damaged.
            return self.line_end(self.start - self.base)
        return self.end - self.base

    # macros, functions, maps

    def _macro(self, at: int) -> int:
        start = self._begin(at)
        self.advance()
        name = self._name_here("expected macro name")
        end = self.last_end
        self.expect("(")
        params: list[Expr] = []
        if self.kind != ")":
            params.append(self._macro_parameter())
            while self.kind == ",":
                self.advance()
                params.append(self._macro_parameter())
        self.expect(")")
        body = self.block(keeps_value=True)
        self.items.append(Macro(name, params, body, start, end))
        return self.end - self.base

    def _macro_parameter(self) -> Expr:
        node: Expr
        if self.kind == VARIABLE:
            node = Variable(self.value, self.start, self.end)
        elif self.kind == MAP:
            node = MapName(self.value, self.start, self.end)
        elif self.kind != NAME:
            raise self.fail("expected macro argument ($var, @map, or identifier)")
        else:
            if is_reserved(self.value):
                message = f"builtin '{self.value}' can't be used as a macro argument"
                self.report(message, self.start, self.end)
            node = Identifier(self.value, self.start, self.end)
        self.advance()
        return node

    def _function(self, at: int) -> int:
        start = self._begin(at)
        self.advance()
        name = self._name_here("expected function name")
        end = self.last_end
        self.expect("(")
        params: list[Param] = []
        if self.kind != ")":
            params.append(self._parameter())
            while self.kind == ",":
                self.advance()
                params.append(self._parameter())
        self.expect(")")
        self.expect(":")
        result = self.type()
        body = self.block(keeps_value=False)
        self.items.append(Function(name, params, result, body, start, end))
        return self.end - self.base

    def _parameter(self) -> Param:
        if self.kind != VARIABLE:
            raise self.fail("expected variable in function argument")
        start, name = self.start, self.value
        self.advance()
        self.expect(":")
        return Param(name, self.type(), start, self.last_end)

    def _map_declaration(self, at: int) -> int:
        start = self._begin(at)
        self.advance()
        if self.kind != MAP:
            raise self.fail(
                "root-level let statements need to be map declarations, e.g. let @a = hash(2);"
            )
        name = self.value
        self.advance()
        self.expect("=")
        map_type = self._name_here("expected map type name")
        self.expect("(")
        if self.kind not in (INTEGER, POSITIONAL, NAME):
            raise self.fail("expected positive integer for map declaration max entries")
        size = self.expression()
        if not isinstance(size, Integer | Positional | Identifier):
            message = "expected positive integer for map declaration max entries"
            self.report(message, size.start, size.end)
        if self.kind != ")":
            raise self.fail("expected ')'")
        end = self.end
        self.items.append(MapDecl(name, map_type, size, start, end))
        after = self.skip_layout(end - self.base)
        return after + 1 if self.text[after] == ";" else end - self.base

    def _name_here(self, message: str) -> str:
        if self.kind != NAME:
            raise self.fail(message)
        name = self.value
        self.advance()
        return name

    # probes

    def _probe(self, at: int) -> int:
        points: list[AttachPoint] = []
        while True:
            end = self._attach_point_end(at)
            if end == at:
                self.seek(at)
                self.advance()
                raise self.fail("expected attach point")
            points.append(_attach_point(self.text[at:end], at + self.base))
            after = self.skip_layout(end)
            if self.text[after] != ",":
                break
            at = self.skip_layout(after + 1)
            if self.text[at] in "/{":  # a comma may come before the predicate or body
                after = at
                break
        self.seek(after)
        self.advance()
        predicate = self._predicate() if self.kind == "/" else None
        body = self.block(keeps_value=False)
        probe = Probe(points, predicate, body, points[0].start, points[-1].end)
        self.items.append(probe)
        return self.end - self.base

    def _predicate(self) -> Expr:
        self.advance()
        node = self.expression()
        if self.kind != "/":
            raise self.fail("expected '/' to close predicate")
        self.advance()
        return node

    def _attach_point_end(self, at: int) -> int:
        text, start = self.text, at
        slash_ends = True
        while at < self.length:
            char = text[at]
            if char in "{," or char in LAYOUT or (char == "/" and slash_ends):
                break
            if char == '"':
                at = self._quote_end(at)
                continue
            if char == ":" and slash_ends:
                kind = text[start:at].rpartition("=")[2].lower()
                slash_ends = kind in _WITHOUT_PATH
            at += 1
        return min(at, self.length)

    def _quote_end(self, at: int) -> int:
        start, at = at, at + 1
        while at < self.length and self.text[at] != '"':
            if self.text[at] == "\n":
                self.report("unterminated string", start + self.base, at + self.base)
                self.seek(at)
                self.advance()
                raise Resync
            at += 2 if self.text[at] == "\\" else 1
        return at + 1

    # helpers

    def _begin(self, at: int) -> int:
        # Read the first token of a construct; return its position.
        self.seek(at)
        self.advance()
        return self.start

    def _skip_item(self, at: int) -> int:
        # What is broken ends with the next block; inside a block errors are dealt with there.
        self.panic = True
        depth = 0
        while self.kind != EOF:
            if self.kind == "{":
                depth += 1
            elif self.kind == "}":
                depth -= 1
                if depth <= 0:
                    break
            elif self.kind == ";" and depth == 0 and self.word(at) == "let":
                break
            self.advance()
        return max(self.end - self.base, at + 1)


def _attach_point(text: str, start: int) -> AttachPoint:
    # "name=kprobe:f": the name ends before the first ":", so that "=" in paths does not count.
    name, equals, rest = text.partition("=")
    if not equals or not rest or ":" in name or '"' in name:
        name, rest = "", text
    return AttachPoint(rest, name, start, start + len(text))


def _macro_names(text: str) -> set[str]:
    # Names that cannot be types, because a macro of this text gives them another meaning. Read
    # ahead of parsing: a macro may be defined behind its uses.
    names: set[str] = set()
    at = text.find("macro")
    while at >= 0:
        head = text[at + 5 : text.find("{", at) + 1 or at + 5]
        if head[:1].isspace() and len(head) < 1000:
            for char in "(),{":
                head = head.replace(char, " ")
            names.update(word for word in head.split() if word.isidentifier())
        at = text.find("macro", at + 5)
    return names


_ITEMS = {
    "config": _Parser._config,
    "import": _Parser._root_import,
    "macro": _Parser._macro,
    "fn": _Parser._function,
    "let": _Parser._map_declaration,
}

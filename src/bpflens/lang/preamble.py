"""The C preamble of a script: its constants, macros, types, and the headers that it includes.

Kernel headers need not exist: the types that they declare come from the kernel's BTF, and the
constants that scripts use them for are known (:mod:`bpflens.lang.header_constant`). Other headers
are read through a callback. Preprocessor conditions work; ``BPFTRACE_HAVE_BTF`` is defined.

A ``#define`` whose body is a constant becomes that constant; one with any other expression, or
with parameters, becomes a macro of the language; whatever else it is only counts inside C.

Example::

    preamble = build(program.preamble, diagnostics, sources)    # "#define A (1 << 3)"
    preamble.constant("A")                                      # 8
"""

from __future__ import annotations

from bpflens.lang.declaration import Declarations
from bpflens.lang.diagnostic import Diagnostics
from bpflens.lang.fold import evaluate
from bpflens.lang.nodes import Block, CDefinition, Identifier, Macro
from bpflens.lang.source import Source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from bpflens.lang.fold import Constant
    from bpflens.lang.nodes import Expr
    from bpflens.lang.source import SourceMap
    from bpflens.lang.types import Enum, Type

__all__ = ["Preamble", "build", "is_kernel_header"]

# Where the kernel keeps its headers, and what the C library has of them.
_KERNEL_DIRECTORIES = frozenset(
    "acpi asm asm-generic clocksource crypto drm dt-bindings keys kunit kvm linux math-emu media"
    " memory misc mtd net pcmcia ras rdma rv scsi soc sound sys target trace uapi vdso video xen"
    " arpa netinet bits".split()
)
_LIBRARY_HEADERS = frozenset(
    "errno.h fcntl.h inttypes.h limits.h sched.h signal.h stdarg.h stdbool.h stddef.h stdint.h"
    " stdio.h stdlib.h string.h syscall.h time.h unistd.h vmlinux.h".split()
)
_DEFINITIONS = frozenset(("struct", "union", "enum", "typedef"))
_MAX_INCLUDES = 500


# One #define. `params` is None unless it takes arguments.
class _Define:
    __slots__ = ("body", "end", "params", "start")

    def __init__(self, body: str, params: list[str] | None, start: int, end: int) -> None:
        self.body = body
        self.params = params
        self.start, self.end = start, end


class Preamble:
    """What a script's C definitions mean."""

    __slots__ = ("_active", "_values", "declarations", "defines", "has_headers")

    def __init__(self, declarations: Declarations) -> None:
        self.declarations = declarations
        self.defines: dict[str, _Define] = {}
        self.has_headers = False
        self._values: dict[str, Constant | None] = {}
        self._active: set[str] = set()

    def type(self, name: str, tag: str) -> Type | None:
        """Return a type that the script declares."""
        return self.declarations.named(name, tag)

    def enumerator(self, name: str) -> tuple[int, Enum] | None:
        """Return value and type of an enumerator that the script declares."""
        return self.declarations.enumerators.get(name)

    def constant(self, name: str) -> Constant | None:
        """Return the value of a ``#define``, or of a name that an included kernel header defines.

        Enumerators have a type, and are asked for by :meth:`enumerator`.
        """
        define = self.defines.get(name)
        if define is None:
            return self._header_constant(name)
        if define.params is not None or name in self._active:
            return None
        if name not in self._values:
            self._active.add(name)
            self._values[name] = self._evaluate(define)
            self._active.discard(name)
        return self._values[name]

    def macros(self) -> list[Macro]:
        """Return the defines that are expressions but no constants, as macros."""
        found = []
        for name, define in self.defines.items():
            if not define.body or self.constant(name) is not None:
                continue
            node = _expression(define, {*self.defines, *(define.params or ())})
            if node is None:
                continue
            params: list[Expr] = [
                Identifier(p, define.start, define.end) for p in define.params or ()
            ]
            body = Block([], node, define.start, define.end)
            found.append(Macro(name, params, body, define.start, define.end))
        return found

    def forget(self, name: str) -> None:
        """Undo a ``#define``."""
        self.defines.pop(name, None)
        self._values.clear()

    def _evaluate(self, define: _Define) -> Constant | None:
        node = _expression(define, self.defines)
        return None if node is None else evaluate(node, self._constant_in_c)

    def _constant_in_c(self, name: str) -> Constant | None:
        found = self.declarations.enumerators.get(name)
        return found[0] if found else self.constant(name)

    def _header_constant(self, name: str) -> int | None:
        if not self.has_headers:
            return None
        from bpflens.lang import header_constant

        return header_constant.value(name)


def build(
    definitions: Sequence[CDefinition],
    diagnostics: Diagnostics,
    sources: SourceMap,
    *,
    lookup: Callable[[str, str], Type | None] = lambda name, tag: None,
    read_include: Callable[[str], str | None] = lambda name: None,
) -> Preamble:
    """Work through the definitions of a script in their order.

    ``lookup(name, tag)`` gives types that the script does not declare itself (the kernel's);
    ``read_include(name)`` the text of a header, or None.
    """
    builder = _Builder(diagnostics, sources, lookup, read_include)
    builder.read(definitions)
    builder.preamble.declarations.finish()
    return builder.preamble


def is_kernel_header(name: str) -> bool:
    """Whether the kernel's BTF stands in for a header."""
    directory, slash, _ = name.partition("/")
    return (bool(slash) and directory in _KERNEL_DIRECTORIES) or name in _LIBRARY_HEADERS


class _Builder:
    # fmt: off
    __slots__ = (
        "aliases", "conditions", "diagnostics", "included", "preamble", "read_include", "sources",
    )
    # fmt: on

    def __init__(
        self,
        diagnostics: Diagnostics,
        sources: SourceMap,
        lookup: Callable[[str, str], Type | None],
        read_include: Callable[[str], str | None],
    ) -> None:
        self.diagnostics = diagnostics
        self.sources = sources
        self.read_include = read_include
        self.preamble = Preamble(Declarations(lookup))
        self.preamble.defines["BPFTRACE_HAVE_BTF"] = _Define("1", None, 0, 0)
        self.included: set[str] = set()
        # Bodies of defines without parameters: types and attributes under another name.
        self.aliases: dict[str, str] = {}
        # One entry an open #if: whether what follows counts, and whether a branch was taken.
        self.conditions: list[tuple[bool, bool]] = []

    def read(self, definitions: Sequence[CDefinition]) -> None:
        depth = len(self.conditions)
        for definition in definitions:
            if definition.kind in _CONDITIONS:
                self._condition(definition)
            elif all(active for active, _ in self.conditions):
                self._definition(definition)
        if len(self.conditions) > depth and definitions:
            last = definitions[-1]
            self._error("#if without #endif", last)
            del self.conditions[depth:]

    def _definition(self, definition: CDefinition) -> None:
        kind = definition.kind
        if kind == "define":
            self._define(definition)
        elif kind == "include":
            self._include(definition)
        elif kind in _DEFINITIONS:
            constant = self.preamble.constant
            self.preamble.declarations.read(definition, self.diagnostics, constant, self.aliases)
        elif kind == "undef":
            self.preamble.forget(definition.name)
            self.aliases.pop(definition.name, None)
        elif kind == "error":
            self._error(definition.text.partition("error")[2].strip() or "#error", definition)
        elif kind == "warning":
            message = definition.text.partition("warning")[2].strip()
            self.diagnostics.warning("preamble", message, definition.start, definition.end)
        elif kind not in ("pragma", "line", "ident", ""):
            self._error(f"invalid preprocessing directive '#{kind}'", definition)

    def _define(self, definition: CDefinition) -> None:
        name = definition.name
        if not name:
            self._error("a #define needs a name", definition)
            return
        text = _without_comments(definition.text)
        rest = text[text.index(name, text.index("define") + 6) + len(name) :]
        params: list[str] | None = None
        if rest.startswith("("):
            inside, close, rest = rest[1:].partition(")")
            params = [word.strip() for word in inside.split(",")] if inside.strip() else []
            if not close or not all(word.isidentifier() for word in params):
                self._error(f"bad parameters of the macro '{name}'", definition)
                return
        self.preamble.forget(name)
        body = rest.replace("\\\n", " ").strip()
        self.preamble.defines[name] = _Define(body, params, definition.start, definition.end)
        if params is None:
            self.aliases[name] = body

    def _include(self, definition: CDefinition) -> None:
        name = definition.name
        if name in self.included:
            return
        self.included.add(name)
        if not name or len(self.included) > _MAX_INCLUDES:
            self._error("bad #include" if not name else "too many headers", definition)
            return
        if "<" in definition.text and is_kernel_header(name):
            self.preamble.has_headers = True
            return
        text = self.read_include(name)
        if text is None:
            message = f"'{name}' file not found"
            hint = "Add the directory that it is in with -I."
            self.diagnostics.error("include", message, definition.start, definition.end, hint)
            return
        from bpflens.lang.parse_definition import header_definitions

        source = self.sources.add(name, text)
        self.read(list(header_definitions(source, self.diagnostics)))

    # conditions

    def _condition(self, definition: CDefinition) -> None:
        kind, conditions = definition.kind, self.conditions
        if kind in ("if", "ifdef", "ifndef"):
            active = all(active for active, _ in conditions) and self._test(definition)
            conditions.append((active, active))
            return
        if not conditions:
            self._error(f"#{kind} without #if", definition)
            return
        _, taken = conditions.pop()
        if kind == "endif":
            return
        outer = all(active for active, _ in conditions)
        active = outer and not taken and (kind == "else" or self._test(definition))
        conditions.append((active, taken or active))

    def _test(self, definition: CDefinition) -> bool:
        if definition.kind == "ifdef":
            return definition.name in self.preamble.defines
        if definition.kind == "ifndef":
            return definition.name not in self.preamble.defines
        text = _without_comments(definition.text).replace("\\\n", " ")
        text = self._replace_defined(text.partition("if")[2])
        define = _Define(text, None, definition.start, definition.end)
        node = _expression(define, self.preamble.defines)
        if node is None:
            self._error("a condition that cannot be worked out", definition)
            return False
        preamble = self.preamble
        # The C preprocessor takes names that it does not know for 0.
        return bool(evaluate(node, lambda name: preamble.constant(name) or 0))

    def _replace_defined(self, text: str) -> str:
        pieces = text.split("defined")
        for i, piece in enumerate(pieces[1:], 1):
            stripped = piece.lstrip()
            bracket = stripped.startswith("(")
            word = stripped[1:].lstrip() if bracket else stripped
            end = 0
            while end < len(word) and (word[end].isalnum() or word[end] == "_"):
                end += 1
            rest = word[end:].lstrip()
            rest = rest.removeprefix(")") if bracket else rest
            pieces[i] = f" {int(word[:end] in self.preamble.defines)} {rest}"
        return "".join(pieces)

    def _error(self, message: str, definition: CDefinition) -> None:
        self.diagnostics.error("preamble", message, definition.start, definition.end)


def _expression(define: _Define, values: Iterable[str]) -> Expr | None:
    # The body of a #define as an expression of the language; None if it is something else.
    from bpflens.lang.parser import parse_expression

    text = _numbers_for_characters(define.body)
    if not text:
        return None
    node = parse_expression(Source("", text, define.start), Diagnostics(), values)
    if node is not None:
        _move(node, define)
    return node


def _move(node: Expr, define: _Define) -> None:
    # Positions inside the body are not those of the file; point at the whole definition.
    from bpflens.lang.nodes import walk

    for inner in walk(node):
        inner.start, inner.end = define.start, define.end


_ESCAPES = {"n": 10, "t": 9, "r": 13, "0": 0, "\\": 92, "'": 39, '"': 34}


def _numbers_for_characters(text: str) -> str:
    # 'a' -> 97: the language itself has no character literals.
    pieces = []
    at, in_string = 0, False
    while at < len(text):
        char = text[at]
        if char == '"':
            in_string = not in_string
        if char != "'" or in_string:
            pieces.append(char)
            at += 1
            continue
        escaped = text[at + 1 : at + 2] == "\\"
        end = at + 3 if escaped else at + 2
        letter = text[end - 1 : end]
        if text[end : end + 1] != "'" or (escaped and letter not in _ESCAPES):
            return ""
        pieces.append(str(_ESCAPES[letter] if escaped else ord(letter)))
        at = end + 1
    return "".join(pieces).strip()


def _without_comments(text: str) -> str:
    pieces = []
    at = 0
    while at < len(text):
        if text.startswith("//", at):
            newline = text.find("\n", at)
            at = newline if newline >= 0 else len(text)
        elif text.startswith("/*", at):
            close = text.find("*/", at + 2)
            at = close + 2 if close >= 0 else len(text)
            pieces.append(" ")
        elif text[at] == '"':
            end = at + 1
            while end < len(text) and text[end] != '"':
                end += 2 if text[end] == "\\" else 1
            pieces.append(text[at : end + 1])
            at = end + 1
        else:
            pieces.append(text[at])
            at += 1
    return "".join(pieces)


_CONDITIONS = frozenset(("if", "ifdef", "ifndef", "elif", "else", "endif"))

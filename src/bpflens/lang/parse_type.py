"""Types as written in a script: ``uint8``, ``struct sock *``, ``int32*[4]*``, ``typeof($x)``.

A layer of the parser, between the lexer and :mod:`bpflens.lang.parse_expression`. What a name
stands for is not known while parsing; where a type and an expression are both possible, the shape
decides (a tag, ``*`` or ``[n]`` before the closing bracket), then whether the name looks like a
type. A bare unknown name stays an :class:`~bpflens.lang.nodes.Identifier`, which the type pass
tries as a type too.

Example::

    sizeof(struct foo *)    # Sizeof(PointerType(NamedType("foo", "struct")))
    sizeof(foo)             # Sizeof(Identifier("foo"))
"""

from __future__ import annotations

from bpflens.lang.lexer import INTEGER, NAME, POSITIONAL, Lexer
from bpflens.lang.literal import LiteralError, integer_suffix, to_uint
from bpflens.lang.nodes import (
    ArrayType,
    Identifier,
    Integer,
    NamedType,
    PointerType,
    Positional,
    TypeofType,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.lang.lexer import Resync
    from bpflens.lang.nodes import Expr, TypeExpr

__all__ = [
    "BUILTIN_NAMES",
    "MAX_NESTING",
    "TAGS",
    "TypeParser",
    "is_builtin",
    "is_reserved",
    "looks_like_type",
]

TAGS = frozenset(("struct", "union", "enum"))

_C_WORDS = frozenset(("unsigned", "signed", "char", "short", "int", "long"))
_TYPE_NAMES = _C_WORDS | frozenset(
    "void bool string buffer inet mac_address timestamp"
    " u8 u16 u32 u64 s8 s16 s32 s64 __u8 __u16 __u32 __u64 __s8 __s16 __s32 __s64"
    " int8 int16 int32 int64 uint8 uint16 uint32 uint64".split()
)

# Names that are values in every script, so that "(nsecs) - 1" is no cast.
BUILTIN_NAMES = frozenset(
    "args ctx retval pid tid comm uid gid username nsecs elapsed cpu numaid ncpus curtask cgroup"
    " rand jiffies probe probetype func kstack ustack dw_ustack cpid has_cpid ppid pcomm"
    " leader_tid leader_comm usermode config".split()
)

# The few of them that not even a macro may give another meaning; the others are macros themselves.
_RESERVED = frozenset(("args", "ctx", "kstack", "nsecs", "pid", "tid", "ustack"))

# How deep brackets, prefixes and blocks may nest.
MAX_NESTING = 200

_LARGEST_POSITIONAL = (1 << 63) - 1


def is_builtin(name: str) -> bool:
    """Whether a name always denotes a value: a builtin, ``argN``, or ``__builtin_...``."""
    if name in BUILTIN_NAMES or name.startswith("__builtin_"):
        return True
    number = name.removeprefix("s").removeprefix("arg")
    return number.isdigit() and name.endswith("arg" + number)


def is_reserved(name: str) -> bool:
    """Whether a name cannot be given to the parameter of a macro."""
    return name in _RESERVED or (is_builtin(name) and name not in BUILTIN_NAMES)


def looks_like_type(name: str) -> bool:
    """Whether a name alone is more likely a type than a value."""
    return name in _TYPE_NAMES or (name.endswith("_t") and not is_builtin(name))


class TypeParser(Lexer):
    """The part of the parser that reads types."""

    __slots__ = ("depth", "macro_names")

    # How deep in brackets, prefixes and blocks the parser is.
    depth: int
    # Names that macros of this script give to expressions, and the macros themselves.
    macro_names: set[str]

    if TYPE_CHECKING:
        # Given by the layers above.
        def expression(self) -> Expr: ...

    def type(self) -> TypeExpr:
        """Parse a type where nothing else may stand."""
        if self.kind != NAME:
            raise self.fail("expected type name")
        if self.value == "typeof":
            return self.suffixes(self.typeof())
        start, name, tag = self.start, self.value, ""
        self.advance()
        if name in TAGS:
            if self.kind != NAME:
                raise self.fail("expected identifier")
            name, tag = self.value, name
            self.advance()
        elif name in _C_WORDS:
            name = self._c_words(name)
        return self.suffixes(NamedType(name, tag, start, self.last_end))

    def suffixes(self, node: TypeExpr) -> TypeExpr:
        """Parse the ``*`` and ``[n]`` behind a type, in any order."""
        while True:
            if self.kind == "*":
                self.advance()
                node = PointerType(node, node.start, self.last_end)
            elif self.kind == "[":
                self.advance()
                length = None if self.kind == "]" else self.expression()
                self.expect("]")
                node = ArrayType(node, length, node.start, self.last_end)
            else:
                return node

    def typeof(self) -> TypeofType:
        """Parse ``typeof(x)`` or ``typeinfo(x)``, ``x`` being a type or an expression."""
        start, word = self.start, self.value
        self.enter()
        self.advance()
        self.expect("(")
        operand = self.type_or_expression()
        self.expect(")")
        self.depth -= 1
        return TypeofType(operand, word == "typeinfo", start, self.last_end)

    def type_or_expression(self) -> TypeExpr | Expr:
        """Parse the operand of ``sizeof``, ``offsetof``, ``typeof`` and ``typeinfo``."""
        if self.kind != NAME:
            return self.expression()
        state, name = self.save(), self.value
        node = self.type_ahead()
        if node is not None and self.kind in (")", ","):
            if isinstance(node, NamedType) and not node.tag and not looks_like_type(name):
                return Identifier(name, node.start, node.end)
            # "typeof(x[0])" in a macro means an element of its parameter x.
            if not (isinstance(node, ArrayType) and name in self.macro_names):
                return node
        self.restore(state)
        return self.expression()

    def type_ahead(self) -> TypeExpr | None:
        """Parse what may be a type; None, and no complaint, if it cannot be one.

        The caller looks at what follows and goes back if that does not fit.
        """
        start, name, tag = self.start, self.value, ""
        if is_builtin(name) or name in ("true", "false"):
            return None
        if name == "typeof" and self.peek() == "(":
            return self.suffixes(self.typeof())
        self.advance()
        if name in TAGS:
            if self.kind != NAME:
                return None
            name, tag = self.value, name
            self.advance()
        elif name in _C_WORDS:
            name = self._c_words(name)
        node: TypeExpr = NamedType(name, tag, start, self.last_end)
        while self.kind in ("*", "["):
            if self.kind == "*":
                self.advance()
                node = PointerType(node, start, self.last_end)
                continue
            length = self._length_ahead()
            if self.kind != "]":
                return None
            self.advance()
            node = ArrayType(node, length, start, self.last_end)
        return node

    def integer(self) -> Integer:
        """Parse an integer literal."""
        text, start, end = self.value, self.start, self.end
        try:
            value = to_uint(text) if text[-1] != "_" else 0
        except LiteralError as error:
            value = 0
            self._bad_integer(text, start, end, str(error))
        if text[-1] == "_":
            self.report("trailing underscore in integer literal", end - 1, end)
        self.advance()
        return Integer(value, text, start, end)

    def positional(self) -> Positional:
        """Parse ``$1`` or ``$#``."""
        digits, start, end = self.value, self.start, self.end
        index = 0
        if digits != "#":
            index = int(digits) if len(digits) < 20 else 0
            if not 1 <= index <= _LARGEST_POSITIONAL:
                message = f"param ${digits} is out of integer range [1, {_LARGEST_POSITIONAL}]"
                self.report(message, start, end)
        self.advance()
        return Positional(index, start, end)

    def enter(self) -> None:
        """Count one more level of nesting; whoever leaves it takes one off ``depth``."""
        self.depth += 1
        if self.depth > MAX_NESTING:
            raise self.too_big(f"nested too deeply (more than {MAX_NESTING} levels)")

    def too_big(self, message: str) -> Resync:
        """Record that a construct goes beyond a limit and return what to raise."""
        error = self.fail(message, "Split it: assign parts of it to variables first.")
        # The rest of the statement is full of unclosed brackets; nothing useful can be said of it.
        self.panic = True
        return error

    def _bad_integer(self, text: str, start: int, end: int, message: str) -> None:
        first, last = integer_suffix(text)
        if first < last:
            self.report(f"invalid integer suffix '{text[first:]}'", start + first, end)
        else:
            self.report(message, start, end)

    def _c_words(self, name: str) -> str:
        # "unsigned long long": one name of several words.
        while self.kind == NAME and self.value in _C_WORDS:
            name += " " + self.value
            self.advance()
        return name

    def _length_ahead(self) -> Expr | None:
        self.advance()
        if self.kind == INTEGER:
            return self.integer()
        if self.kind == POSITIONAL:
            return self.positional()
        if self.kind == NAME:
            node = Identifier(self.value, self.start, self.end)
            self.advance()
            return node
        return None

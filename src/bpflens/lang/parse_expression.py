"""Expressions: recursive descent for operands, precedence climbing for operators.

Precedence, low to high: ``?:``, ``||``, ``&&``, ``|``, ``^``, ``&``, equality, relations, shifts,
``+ -``, ``* / %``, prefix operators, postfix operators. Assignments are statements.

``(name) operand`` is a cast unless ``name`` is known to be a value; ``(name) - 1``, ``(name) * p``,
``(name) & p`` and ``(name)(x)`` are casts too, as in the original, unless the name is a builtin or
belongs to a macro. A ``/`` before ``{`` ends a predicate and never divides.

Nesting and length of an expression are limited, so that passes may walk trees recursively.

Example::

    parser.expression()     # "1 + 2 * 3" -> Binary("+", Integer(1), Binary("*", ...))
"""

from __future__ import annotations

from bpflens.lang.lexer import (
    IDENT_START,
    INTEGER,
    MAP,
    NAME,
    POSITIONAL,
    STRING,
    VARIABLE,
)
from bpflens.lang.nodes import (
    Binary,
    Block,
    Boolean,
    Call,
    Cast,
    Comptime,
    Field,
    Identifier,
    If,
    IncDec,
    Index,
    MapAccess,
    MapName,
    Offsetof,
    Record,
    RecordItem,
    Sizeof,
    String,
    Ternary,
    Tuple,
    TupleItem,
    TypeArg,
    Unary,
    Variable,
)
from bpflens.lang.parse_type import TypeParser, looks_like_type

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from bpflens.lang.nodes import Expr, Node

__all__ = ["MAX_OPERATORS", "ExpressionParser", "string_bytes"]

# How many operators one statement may have. With MAX_NESTING it bounds the depth of a tree.
MAX_OPERATORS = 2000

_PRECEDENCE = {
    "||": 1,
    "&&": 2,
    "|": 3,
    "^": 4,
    "&": 5,
    "==": 6,
    "!=": 6,
    "<": 7,
    "<=": 7,
    ">": 7,
    ">=": 7,
    "<<": 8,
    ">>": 8,
    "+": 9,
    "-": 9,
    "*": 10,
    "/": 10,
    "%": 10,
}
_PREFIX = frozenset(("-", "!", "~", "*", "&", "++", "--"))
_POSTFIX = frozenset((".", "->", "[", "++", "--"))
# What may follow the ")" of a cast; the second set could also continue an expression.
_OPERAND = frozenset((NAME, INTEGER, STRING, VARIABLE, MAP, POSITIONAL, "!", "~"))
_OPERAND_OR_OPERATOR = frozenset(("(", "-", "*", "&"))

_NOT_ASSIGNABLE = "increment/decrement requires a variable or map"


class ExpressionParser(TypeParser):
    """The part of the parser that reads expressions."""

    __slots__ = ("operators",)

    if TYPE_CHECKING:

        def block(self, keeps_value: bool) -> Block: ...

    # How many operators the current statement has.
    operators: int

    def expression(self, left: Expr | None = None) -> Expr:
        """Parse any expression; ``left`` is the operand that was parsed already."""
        self.enter()
        condition = self.binary(1, left)
        if self.kind != "?":
            self.depth -= 1
            return condition
        then: Expr | None = None
        self.advance()
        if self.kind != ":":
            then = self.expression()
        self.expect(":")
        otherwise = self.expression()
        self.depth -= 1
        return Ternary(condition, then, otherwise, condition.start, self.last_end)

    def binary(self, minimum: int, left: Expr | None = None) -> Expr:
        """Parse operators of at least a precedence; ``left`` is what was parsed already."""
        if left is None:
            left = self.unary()
        while True:
            operator = self.kind
            precedence = _PRECEDENCE.get(operator, 0)
            if precedence < minimum or (operator == "/" and self.peek() == "{"):
                return left
            self.count_operator()
            self.advance()
            right = self.binary(precedence + 1)
            left = Binary(operator, left, right, left.start, self.last_end)

    def unary(self) -> Expr:
        """Parse an operand with its prefix and postfix operators."""
        if self.kind in _PREFIX:
            return self._prefix()
        return self.postfix(self.primary())

    def condition(self) -> Expr:
        """Parse what stands between ``if`` or ``while`` and the block."""
        node = self.expression()
        if isinstance(node, Record):
            at = node.items[0].start + len(node.items[0].name)
            self._unexpected_in_condition(at, "Use == to compare.")
        elif isinstance(node, Tuple) and node.items:
            self._unexpected_in_condition(node.items[0].end, "Use && or || between conditions.")
        return node

    def primary(self) -> Expr:
        """Parse an operand without operators."""
        read = _PRIMARY.get(self.kind)
        if read is None:
            raise self.fail("expected expression")
        return read(self)

    def postfix(self, node: Expr) -> Expr:
        """Parse the postfix operators behind an operand."""
        while (kind := self.kind) in _POSTFIX:
            self.count_operator()
            if kind == "[":
                self.advance()
                index = self.expression()
                self.expect("]")
                node = Index(node, index, node.start, self.last_end)
            elif kind == "." or kind == "->":
                node = self._member(node, kind)
            else:
                if not isinstance(node, Variable | MapName | MapAccess):
                    raise self.fail(_NOT_ASSIGNABLE)
                self.advance()
                node = IncDec(kind, False, node, node.start, self.last_end)
        return node

    def map(self) -> MapName | MapAccess:
        """Parse ``@m`` or ``@m[key]``."""
        start = self.start
        name = MapName(self.value, start, self.end)
        self.advance()
        if self.kind != "[":
            return name
        self.advance()
        key_start = self.start
        keys = [self.expression()]
        while self.kind == ",":
            self.advance()
            keys.append(self.expression())
        key = keys[0] if len(keys) == 1 else Tuple(keys, True, key_start, self.last_end)
        self.expect("]")
        return MapAccess(name, key, start, self.last_end)

    def variable(self) -> Variable:
        """Parse ``$name``."""
        node = Variable(self.value, self.start, self.end)
        self.advance()
        return node

    def string(self) -> String:
        """Parse a string literal."""
        node = String(string_bytes(self.value), self.start, self.end)
        self.advance()
        return node

    def count_operator(self) -> None:
        """Count one more operator of the current statement."""
        self.operators += 1
        if self.operators > MAX_OPERATORS:
            raise self.too_big(f"expression too long (more than {MAX_OPERATORS} operators)")

    def _unexpected_in_condition(self, position: int, hint: str) -> None:
        at = self.skip_layout(position - self.base) + self.base
        self.report("expected ')'", at, at + 1, hint)

    # prefix and postfix

    def _prefix(self) -> Expr:
        start, operator = self.start, self.kind
        self.advance()
        if operator == "&":
            if self.kind not in (VARIABLE, MAP):
                message = "address-of operator (&) can only be used on a map or variable"
                raise self.fail(message)
            if self.kind == VARIABLE:
                return Unary("&", self.variable(), start, self.last_end)
            name = MapName(self.value, self.start, self.end)
            self.advance()
            return Unary("&", name, start, self.last_end)
        self.enter()
        operand = self.unary()
        self.depth -= 1
        if operator in ("++", "--"):
            if not isinstance(operand, Variable | MapName | MapAccess):
                self.report(_NOT_ASSIGNABLE, operand.start, operand.end)
            return IncDec(operator, True, operand, start, self.last_end)
        return Unary(operator, operand, start, self.last_end)

    def _member(self, base: Expr, operator: str) -> Expr:
        self.advance()
        if self.kind == NAME:
            name = self.value
            self.advance()
            return Field(base, name, base.start, self.last_end)
        if self.kind == INTEGER and operator == ".":
            index = self.integer().value
            return TupleItem(base, index, base.start, self.last_end)
        raise self.fail(f"expected field name after '{operator}'")

    # operands that begin with a name

    def _name(self) -> Expr:
        name = self.value
        special = _SPECIAL.get(name)
        if special is not None:
            return special(self)
        start = self.start
        self.advance()
        if self.kind == "(":
            return self._call(name, start)
        return Identifier(name, start, self.last_end)

    def _call(self, name: str, start: int) -> Call:
        self.advance()
        args: list[Expr] = []
        if self.kind != ")":
            args.append(self._argument())
            while self.kind == ",":
                self.advance()
                args.append(self._argument())
        self.expect(")")
        return Call(name, args, start, self.last_end)

    def _argument(self) -> Expr:
        if self.value in ("struct", "union", "enum") and self.peek() in IDENT_START:
            raise self.fail("expected ')'", "A type is passed as typeof(struct x).")
        return self.expression()

    def _type_value(self) -> Expr:
        # typeof() among the arguments of a macro, or typeinfo() as a value.
        node = self.typeof()
        return node if node.typeinfo else TypeArg(node, node.start, node.end)

    def _boolean(self) -> Expr:
        node = Boolean(self.value == "true", self.start, self.end)
        self.advance()
        return node

    def _sizeof(self) -> Expr:
        start = self.start
        self.advance()
        self.expect("(")
        operand = self.type_or_expression()
        self.expect(")")
        return Sizeof(operand, start, self.last_end)

    def _offsetof(self) -> Expr:
        start = self.start
        self.advance()
        self.expect("(")
        operand = self.type_or_expression()
        self.expect(",")
        path = [self._field_name()]
        while self.kind == ".":
            self.advance()
            path.append(self._field_name())
        self.expect(")")
        return Offsetof(operand, path, start, self.last_end)

    def _field_name(self) -> str:
        if self.kind != NAME:
            raise self.fail("expected field name")
        name = self.value
        self.advance()
        return name

    def _comptime(self) -> Expr:
        start = self.start
        self.advance()
        self.enter()
        operand = self.unary()
        self.depth -= 1
        return Comptime(operand, start, self.last_end)

    def _if(self) -> If:
        start = self.start
        self.enter()
        self.advance()
        condition = self.condition()
        then = self.block(keeps_value=True)
        end = self.end
        self.advance()
        otherwise: Block | If | None = None
        if self.kind == NAME and self.value == "else":
            self.advance()
            if self.kind == NAME and self.value == "if":
                otherwise = self._if()
                end = otherwise.end
            elif self.kind == "{":
                otherwise = self.block(keeps_value=True)
                end = self.end
                self.advance()
            else:
                raise self.fail("expected '{' or 'if' after 'else'")
        self.depth -= 1
        return If(condition, then, otherwise, start, end)

    def _block_value(self) -> Expr:
        self.enter()
        node = self.block(keeps_value=True)
        self.depth -= 1
        self.advance()
        return node

    # operands in parentheses

    def _parenthesis(self) -> Expr:
        start = self.start
        self.advance()
        if self.kind == ")":
            self.advance()
            return Tuple([], False, start, self.last_end)
        if self.kind == NAME:
            state = self.save()
            self.advance()
            following = self.kind
            self.restore(state)
            if following == "=":
                return self._record(start)
            if following in (")", "*", "[", "(", NAME):
                cast = self._cast(start)
                if cast is not None:
                    return cast
                self.restore(state)
        first = self.expression()
        if self.kind == "=":
            raise self.fail("expected ')'", "Use == to compare.")
        if self.kind != ",":
            self.expect(")")
            return first
        return self._tuple(first, start)

    def _tuple(self, first: Expr, start: int) -> Expr:
        items = [first]
        while self.kind == ",":
            self.advance()
            if self.kind == ")":
                break
            items.append(self.expression())
        self.expect(")")
        return Tuple(items, False, start, self.last_end)

    def _record(self, start: int) -> Expr:
        items: list[RecordItem] = []
        seen: set[str] = set()
        while True:
            if self.kind != NAME:
                raise self.fail("expected identifier")
            name, at = self.value, self.start
            self.advance()
            self.expect("=")
            items.append(RecordItem(name, self.expression(), at, self.last_end))
            if name in seen:
                message = f"Named argument list already contains name: {name}"
                self.report(message, at, self.last_end)
            seen.add(name)
            if self.kind != ",":
                break
            self.advance()
        self.expect(")")
        return Record(items, start, self.last_end)

    def _cast(self, start: int) -> Expr | None:
        name = self.value
        target = self.type_ahead()
        if target is None or self.kind != ")":
            return None
        bare = self.last_end - target.start == len(name)
        self.advance()
        end = self.last_end
        if self.kind in _OPERAND_OR_OPERATOR:
            if bare and not looks_like_type(name) and name in self.macro_names:
                return None
        elif self.kind in ("++", "--"):
            if bare and not looks_like_type(name):
                return None
        elif self.kind not in _OPERAND:
            return None
        self.enter()
        operand = self.unary()
        self.depth -= 1
        # The cast is where the type stands; messages about the operand point at the operand.
        return Cast(target, operand, start, end)


def string_bytes(value: str) -> bytes:
    """Return what a string token means, as the bytes that a program will hold."""
    try:
        return value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        # Lone surrogates of the other half cannot come from a file, only from a caller in Python.
        return value.encode("utf-8", "surrogatepass")


_PRIMARY: dict[str, Callable[[ExpressionParser], Node]] = {
    NAME: ExpressionParser._name,
    INTEGER: ExpressionParser.integer,
    VARIABLE: ExpressionParser.variable,
    MAP: ExpressionParser.map,
    STRING: ExpressionParser.string,
    POSITIONAL: ExpressionParser.positional,
    "(": ExpressionParser._parenthesis,
    "{": ExpressionParser._block_value,
}
_SPECIAL: dict[str, Callable[[ExpressionParser], Node]] = {
    "if": ExpressionParser._if,
    "sizeof": ExpressionParser._sizeof,
    "offsetof": ExpressionParser._offsetof,
    "typeof": ExpressionParser._type_value,
    "typeinfo": ExpressionParser._type_value,
    "comptime": ExpressionParser._comptime,
    "true": ExpressionParser._boolean,
    "false": ExpressionParser._boolean,
}

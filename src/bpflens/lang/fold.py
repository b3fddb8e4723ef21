"""Constants worked out before types are known: literals, parameters, comptime, named options.

Arithmetic of literals is exact and must stay within 64 bits, signed or unsigned. ``$1`` becomes the
number or the text that was given, ``str($1)`` always the text; ``getopt()`` the value of an option
behind ``--``, or its default. An ``if comptime`` keeps only the branch that is taken. The tree is
changed in place.

Typed things are left alone: casts, ``sizeof``, variables.

Example::

    Folder(diagnostics, params=["7"]).fold(program)     # "$1 * 2 + 1" becomes Integer(15)
"""

from __future__ import annotations

from bpflens.lang import nodes as n
from bpflens.lang.literal import U64_MAX, LiteralError, to_uint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import TypeAlias

    from bpflens.lang.diagnostic import Diagnostics
    from bpflens.lang.named_option import Option
    from bpflens.lang.nodes import Node

    Constant: TypeAlias = bool | int | bytes

__all__ = ["FoldError", "Folder", "constant_of", "evaluate", "number"]

_OVERFLOW = "unable to fold literals due to overflow or underflow"
_I64_MIN, _I64_MAX = -(1 << 63), (1 << 63) - 1
_LITERALS = (n.Integer, n.String, n.Boolean)
_COMPARISONS = frozenset(("==", "!=", "<", "<=", ">", ">=", "&&", "||"))


class FoldError(Exception):
    """An operation on literals that has no value; the message says why."""


class Folder:
    """Folds trees. After a run, ``options`` holds the named options that the script knows."""

    def __init__(
        self,
        diagnostics: Diagnostics,
        params: Sequence[str] | None = None,
        named: Mapping[str, str] | None = None,
        constant: Callable[[str], Constant | None] | None = None,
    ) -> None:
        """``params`` None leaves ``$1`` as it is; ``constant`` gives the values of names."""
        self.diagnostics = diagnostics
        self.params = params
        self.named = dict(named or {})
        self.constant = constant
        self.options: dict[str, Option] = {}

    def fold(self, node: Node) -> Node:
        """Return what takes the place of a node."""
        rule = _RULES.get(type(node))
        return rule(self, node) if rule else self.fold_children(node)

    def fold_children(self, node: Node) -> Node:
        """Fold everything below a node and return it."""
        for name in node.__match_args__:
            value = getattr(node, name)
            if isinstance(value, n.Node):
                folded = self.fold(value)
                if folded is not value:
                    setattr(node, name, folded)
            elif isinstance(value, list):
                for i, item in enumerate(value):
                    if isinstance(item, n.Node):
                        value[i] = self.fold(item)
        return node

    def param(self, index: int) -> str:
        """Return a positional parameter, "" if it was not given."""
        params = self.params or ()
        return params[index - 1] if index <= len(params) else ""

    # one method a node; they are called through _RULES

    def _binary(self, node: n.Binary) -> Node:
        self.fold_children(node)
        if _is_aggregate(node.left) and _is_aggregate(node.right) and node.op in ("==", "!="):
            same = _same(node.left, node.right)
            return node if same is None else _literal(same == (node.op == "=="), node)
        left, right = constant_of(node.left), constant_of(node.right)
        if left is None or right is None:
            return node
        return self._try(node, lambda: _operate(node.op, left, right))

    def _unary(self, node: n.Unary) -> Node:
        self.fold_children(node)
        value = constant_of(node.operand)
        if value is None or isinstance(value, bytes):
            return node
        return self._try(node, lambda: _negate(node.op, value))

    def _try(self, node: Node, operate: Callable[[], Constant | None]) -> Node:
        try:
            value = operate()
        except FoldError as error:
            self.diagnostics.error("fold", str(error), node.start, node.end)
            return node
        return node if value is None else _literal(value, node)

    def _ternary(self, node: n.Ternary) -> Node:
        comptime = isinstance(node.condition, n.Comptime)
        node.condition = self.fold(node.condition)
        value = constant_of(node.condition)
        if comptime and value is not None:
            # Only the arm that is taken has to make sense.
            return self.fold((node.then or node.condition) if value else node.otherwise)
        self.fold_children(node)
        arms = (node.then or node.condition, node.otherwise)
        if value is None or not all(isinstance(arm, _LITERALS) for arm in arms):
            return node
        return arms[0] if value else arms[1]

    def _if(self, node: n.If) -> Node:
        operand = _comptime_operand(node.condition)
        if operand is not None:
            # Only the branch that is taken has to make sense.
            folded = self.fold(operand)
            value = constant_of(folded)
            if value is None:
                node.condition = n.Comptime(folded, node.condition.start, node.condition.end)
                self.fold_children(node)
                return node
            chosen = node.then if value else node.otherwise
            return n.Block([], None, node.start, node.end) if chosen is None else self.fold(chosen)
        self.fold_children(node)
        value = constant_of(node.condition)
        if value is None:
            return node
        if not isinstance(node.condition, n.Boolean):
            node.condition = _literal(bool(value), node.condition)
        branches = (node.then, node.otherwise)
        if all(isinstance(b, n.Block) and _is_literal_block(b) for b in branches):
            chosen = node.then if value else node.otherwise
            if isinstance(chosen, n.Block) and chosen.result is not None:
                return chosen.result
        return node

    def _block(self, node: n.Block) -> Node:
        self.fold_children(node)
        # What "if comptime" left of itself as a statement.
        kept: list[Node] = []
        for item in node.statements:
            if isinstance(item, n.Block) and not item.statements and item.result is None:
                continue
            kept.append(item if _is_statement(item) else n.ExprStmt(item, item.start, item.end))
        node.statements = kept
        return node

    def _comptime(self, node: n.Comptime) -> Node:
        self.fold_children(node)
        if isinstance(node.operand, n.Comptime) or constant_of(node.operand) is not None:
            return node.operand
        return node

    def _positional(self, node: n.Positional) -> Node:
        if self.params is None:
            return node
        if node.index == 0:
            return _literal(len(self.params), node)
        text = self.param(node.index)
        if not text:
            message = f"Positional parameter ${node.index} is empty or not provided."
            self.diagnostics.warning("positional", message, node.start, node.end)
            return _literal(0, node)
        value = number(text)
        return _literal(value if value is not None else _bytes(text), node)

    def _identifier(self, node: n.Identifier) -> Node:
        value = self.constant(node.name) if self.constant else None
        return node if value is None else _literal(value, node)

    def _call(self, node: n.Call) -> Node:
        if node.name == "str" and node.args:
            return self._str(node)
        if node.name == "getopt":
            return self._getopt(node)
        return self.fold_children(node)

    def _str(self, node: n.Call) -> Node:
        # A parameter is text here, even where it looks like a number or is absent.
        first = node.args[0]
        if self.params is not None:
            if isinstance(first, n.Positional) and first.index:
                node.args[0] = _literal(_bytes(self.param(first.index)), first)
            elif isinstance(first, n.Binary) and first.op == "+":
                left = first.left
                if isinstance(left, n.Positional) and left.index:
                    first.left = _literal(_bytes(self.param(left.index)), left)
        self.fold_children(node)
        value = constant_of(node.args[0])
        if value is None or isinstance(value, bool):
            return node
        text = value if isinstance(value, bytes) else str(value).encode()
        if len(node.args) > 1:
            length = constant_of(node.args[1])
            if not isinstance(length, int) or length < 0:
                return node
            text = text[:length]
        return _literal(text, node)

    def _getopt(self, node: n.Call) -> Node:
        from bpflens.lang import named_option

        self.fold_children(node)
        value = named_option.value(node, self.options, self.named, self.diagnostics)
        return node if value is None else _literal(value, node)

    def _macro(self, node: n.Macro) -> Node:
        return node  # folded where it is used

    def _index(self, node: n.Index) -> Node:
        self.fold_children(node)
        match node.base, constant_of(node.index):
            case n.String(data), int(at) if 0 <= at <= len(data):
                return _literal((data + b"\0")[at], node)
            case n.Tuple(items), int(at) if _is_aggregate(node.base) and 0 <= at < len(items):
                return items[at]
        return node

    def _tuple_item(self, node: n.TupleItem) -> Node:
        self.fold_children(node)
        base = node.base
        if isinstance(base, n.Tuple) and _is_aggregate(base) and node.index < len(base.items):
            return base.items[node.index]
        return node

    def _field(self, node: n.Field) -> Node:
        self.fold_children(node)
        if isinstance(node.base, n.Record) and _is_aggregate(node.base):
            for item in node.base.items:
                if item.name == node.name:
                    return item.value
        return node


def evaluate(node: Node, constant: Callable[[str], Constant | None]) -> Constant | None:
    """Return the value of a constant expression without changing it; None if it is none."""
    match node:
        case n.Identifier(name):
            return constant(name)
        case n.Unary(op, operand):
            value = evaluate(operand, constant)
            if value is None or isinstance(value, bytes):
                return None
            try:
                return _negate(op, value)
            except FoldError:
                return None
        case n.Binary(op, left, right):
            a, b = evaluate(left, constant), evaluate(right, constant)
            if a is None or b is None:
                return None
            try:
                return _operate(op, a, b)
            except FoldError:
                return None
        case n.Ternary(condition, then, otherwise):
            value = evaluate(condition, constant)
            if value is None:
                return None
            return evaluate((then or condition) if value else otherwise, constant)
    return constant_of(node)


def constant_of(node: Node) -> Constant | None:
    """Return the value of a literal, None for anything else."""
    return node.value if isinstance(node, _LITERALS) else None


def _literal(value: Constant, place: Node) -> Node:
    if isinstance(value, bool):
        return n.Boolean(value, place.start, place.end)
    if isinstance(value, bytes):
        return n.String(value, place.start, place.end)
    return n.Integer(value, str(value), place.start, place.end)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def number(text: str) -> int | None:
    """Return a word of the command line as a number, None if it is only text."""
    try:
        if text.startswith("-"):
            value = -to_uint(text[1:])
            return value if value >= _I64_MIN else None
        return to_uint(text)
    except LiteralError:
        return None


def _comptime_operand(node: Node) -> Node | None:
    return node.operand if isinstance(node, n.Comptime) else None


def _is_literal_block(block: n.Block) -> bool:
    return not block.statements and isinstance(block.result, _LITERALS)


def _is_statement(node: Node) -> bool:
    return isinstance(node, _STATEMENTS)


def _is_aggregate(node: Node) -> bool:
    # A tuple or record of nothing but literals.
    match node:
        case n.Tuple(items):
            return all(isinstance(item, _LITERALS) or _is_aggregate(item) for item in items)
        case n.Record(fields):
            return all(
                isinstance(item.value, _LITERALS) or _is_aggregate(item.value) for item in fields
            )
    return False


def _same(left: Node, right: Node) -> bool | None:
    match left, right:
        case n.Tuple(a), n.Tuple(b):
            if len(a) != len(b):
                return False
            answers = [_same(x, y) for x, y in zip(a, b, strict=True)]
        case n.Record(a), n.Record(b):
            values = {item.name: item.value for item in b}
            if len(a) != len(b) or any(item.name not in values for item in a):
                return None
            answers = [_same(item.value, values[item.name]) for item in a]
        case _:
            x, y = constant_of(left), constant_of(right)
            return type(x) is type(y) and x == y
    return None if None in answers else all(answers)


# Operations on values. None: leave it to the type checker.


def _negate(op: str, value: bool | int) -> Constant | None:
    if op == "!":
        return not value
    if isinstance(value, bool):
        return None
    if op == "~":
        return ~value & U64_MAX if value >= 0 else ~value
    if op == "-":
        if -value < _I64_MIN:
            raise FoldError("negative value will underflow")
        return -value
    return None


def _operate(op: str, left: Constant, right: Constant) -> Constant | None:
    if isinstance(left, bytes) or isinstance(right, bytes):
        return _operate_on_strings(op, left, right)
    if isinstance(left, bool) or isinstance(right, bool):
        if op not in ("&&", "||") and type(left) is not type(right):
            return None
        value = _operate_on_integers(op, int(left), int(right))
        return bool(value)
    return _operate_on_integers(op, left, right)


def _operate_on_strings(op: str, left: Constant, right: Constant) -> Constant | None:
    if op in ("&&", "||") and not (type(left) is int or type(right) is int):
        return bool(left) and bool(right) if op == "&&" else bool(left) or bool(right)
    if op == "+" and isinstance(left, bytes) and type(right) is int and right >= 0:
        return left[right:]
    if not (isinstance(left, bytes) and isinstance(right, bytes)):
        return None
    if op == "+":
        return left + right
    if op in _COMPARISONS:
        return _compare(op, left, right)
    raise FoldError("illegal literal operation with strings")


def _compare(op: str, left: int | bytes, right: int | bytes) -> bool:
    match op:
        case "==":
            return left == right
        case "!=":
            return left != right
        case "<":
            return left < right  # type: ignore[operator]
        case "<=":
            return left <= right  # type: ignore[operator]
        case ">":
            return left > right  # type: ignore[operator]
        case ">=":
            return left >= right  # type: ignore[operator]
        case "&&":
            return bool(left) and bool(right)
    return bool(left) or bool(right)


def _operate_on_integers(op: str, left: int, right: int) -> bool | int:
    if (left < 0) != (right < 0) and max(left, right) > _I64_MAX:
        raise FoldError(_OVERFLOW)  # no type holds both
    if op in _COMPARISONS:
        return _compare(op, left, right)
    signed = left < 0 or right < 0
    value = _arithmetic(op, left, right, signed)
    if not _I64_MIN <= value <= U64_MAX:
        raise FoldError(_OVERFLOW)
    return value


def _arithmetic(op: str, left: int, right: int, signed: bool) -> int:
    match op:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
        case "/" | "%":
            if right == 0:
                raise FoldError(_OVERFLOW)
            quotient = abs(left) // abs(right)
            quotient = -quotient if (left < 0) != (right < 0) else quotient
            return quotient if op == "/" else left - quotient * right
        case "&":
            return left & right
        case "|":
            return left | right
        case "^":
            return left ^ right
    if not 0 <= right < 64:
        raise FoldError(_OVERFLOW)
    if op == ">>":
        return left >> right
    value = (left << right) & U64_MAX
    return value - (1 << 64) if signed and value > _I64_MAX else value


_STATEMENTS = (
    n.Assign, n.Block, n.Discard, n.ExprStmt, n.ForMap, n.ForRange, n.If, n.Import, n.Jump, n.Let,
    n.Return, n.Unroll, n.While,
)  # fmt: skip
_RULES: dict[type, Callable[[Folder, Node], Node]] = {
    n.Binary: Folder._binary,  # type: ignore[dict-item]
    n.Block: Folder._block,  # type: ignore[dict-item]
    n.Call: Folder._call,  # type: ignore[dict-item]
    n.Comptime: Folder._comptime,  # type: ignore[dict-item]
    n.Field: Folder._field,  # type: ignore[dict-item]
    n.Identifier: Folder._identifier,  # type: ignore[dict-item]
    n.If: Folder._if,  # type: ignore[dict-item]
    n.Index: Folder._index,  # type: ignore[dict-item]
    n.Macro: Folder._macro,  # type: ignore[dict-item]
    n.Positional: Folder._positional,  # type: ignore[dict-item]
    n.Ternary: Folder._ternary,  # type: ignore[dict-item]
    n.TupleItem: Folder._tuple_item,  # type: ignore[dict-item]
    n.Unary: Folder._unary,  # type: ignore[dict-item]
}

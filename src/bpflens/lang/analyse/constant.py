"""Values that are known once types are: ``is_ptr(x)``, ``typeinfo(x).base_type``, ``sizeof(x)``.

What :mod:`bpflens.lang.fold` cannot fold because it depends on types is worked out here, for
``comptime``, ``static_assert`` and their like.

Example::

    evaluate(variant, context, node)     # True, for "is_integer($x) && sizeof($x) == 8"
"""

from __future__ import annotations

from bpflens.lang import nodes as n
from bpflens.lang.types import (
    Array,
    Bool,
    Enum,
    Int,
    Pointer,
    Record,
    String,
    Struct,
    Tuple,
    Type,
)  # fmt: skip
from bpflens.uapi.btf import BTF_KIND_FUNC

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from bpflens.lang.analyse.state import Variant
    from bpflens.lang.context import Context

    Constant = bool | int | bytes

__all__ = [
    "TYPE_INFO",
    "base_name",
    "evaluate",
    "kfunc_exists",
    "literal_of",
    "node_of",
    "probe_type",
]

TYPE_INFO = ("btf_id", "base_type", "full_type")
_INT_KINDS = (Int, Enum)


def base_name(kind: Type) -> str:
    """Return the family of a type, as ``typeinfo(x).base_type`` names it."""
    if isinstance(kind, _INT_KINDS):
        return "int"
    for family, name in _FAMILIES:
        if isinstance(kind, family):
            return name
    return kind.name


_FAMILIES: tuple[tuple[type[Type], str], ...] = (
    (Bool, "bool"),
    (String, "string"),
    (Pointer, "pointer"),
    (Array, "array"),
    (Record, "record"),
    (Tuple, "tuple"),
    (Struct, "c_type"),
)


def probe_type(kind: str) -> str:
    """Return what the ``probetype`` builtin says of a kind of probe."""
    return "special" if kind in ("begin", "end", "self", "test", "bench") else kind


def literal_of(node: n.Node) -> Constant | None:
    """Return the value of a literal."""
    if isinstance(node, (n.Integer, n.String, n.Boolean)):
        return node.value
    if isinstance(node, n.Unary) and node.op == "-":
        inner = literal_of(node.operand)
        return -inner if isinstance(inner, int) else None
    return None


def node_of(value: Constant, start: int, end: int) -> n.Node:
    """Return a literal node with a value."""
    if isinstance(value, bool):
        return n.Boolean(value, start, end)
    if isinstance(value, int):
        return n.Integer(value, str(value), start, end)
    return n.String(value, start, end)


def evaluate(variant: Variant, context: Context, node: n.Node) -> Constant | None:
    """Return the value of an expression that is known before running, or None."""
    rule = _RULES.get(type(node))
    if rule is not None:
        return rule(variant, context, node)
    return literal_of(node)


def _unary(variant: Variant, context: Context, node: n.Unary) -> Constant | None:
    value = evaluate(variant, context, node.operand)
    if value is None:
        return None
    if node.op == "!":
        return not value
    if node.op == "-" and isinstance(value, int):
        return -value
    return None


def _binary(variant: Variant, context: Context, node: n.Binary) -> Constant | None:
    left = evaluate(variant, context, node.left)
    # The right side may make no sense where the left one has decided already.
    if node.op == "&&" and left is not None and not left:
        return False
    if node.op == "||" and left:
        return True
    right = evaluate(variant, context, node.right)
    if left is None or right is None:
        return None
    if node.op in ("&&", "||"):
        return bool(right)
    if node.op in ("==", "!="):
        return (left == right) == (node.op == "==")
    if isinstance(left, bytes) or isinstance(right, bytes):
        return None
    operation = _ARITHMETIC.get(node.op)
    return operation(left, right) if operation is not None else None


_ARITHMETIC: dict[str, Callable[[int, int], Constant]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a // b if b else 1,
    "%": lambda a, b: a % b if b else 1,
    "&": lambda a, b: a & b,
    "|": lambda a, b: a | b,
    "^": lambda a, b: a ^ b,
}


def _ternary(variant: Variant, context: Context, node: n.Ternary) -> Constant | None:
    condition = evaluate(variant, context, node.condition)
    if condition is None:
        return None
    if condition:
        return condition if node.then is None else evaluate(variant, context, node.then)
    return evaluate(variant, context, node.otherwise)


def _comptime(variant: Variant, context: Context, node: n.Comptime) -> Constant | None:
    return evaluate(variant, context, node.operand)


def _type_of(variant: Variant, node: n.Node) -> Type | None:
    return variant.types.get(node)


def _call(variant: Variant, context: Context, node: n.Call) -> Constant | None:
    if node.name == "probetype":
        return probe_type(variant.kind).encode()
    if len(node.args) != 1:
        return None
    argument = node.args[0]
    if node.name == "is_literal":
        return literal_of(argument) is not None
    if node.name in ("kfunc_exist", "kfunc_allowed"):
        return isinstance(argument, n.String) and kfunc_exists(context, argument.value.decode())
    test = _TESTS.get(node.name)
    kind = _type_of(variant, argument)
    return test(kind) if test is not None and kind is not None else None


def kfunc_exists(context: Context, name: str) -> bool:
    """Whether the kernel has a function that programs may call by this name."""
    kernel = context.types()
    return kernel is not None and kernel.btf.find(name, BTF_KIND_FUNC) is not None


def _unsigned(kind: Type) -> bool:
    return isinstance(kind, _INT_KINDS) and not kind.signed


_TESTS: dict[str, Callable[[Type], bool]] = {
    "is_array": lambda kind: isinstance(kind, Array),
    "is_integer": lambda kind: isinstance(kind, _INT_KINDS),
    "is_unsigned_integer": _unsigned,
    "is_ptr": lambda kind: isinstance(kind, Pointer),
    "is_str": lambda kind: isinstance(kind, String),
}


def _identifier(variant: Variant, context: Context, node: n.Identifier) -> Constant | None:
    if node.name == "probetype":
        return probe_type(variant.kind).encode()
    from bpflens.lang.analyse.expression import named_constant

    found = named_constant(context, node.name)
    return found[0] if found is not None else None


def _field(variant: Variant, context: Context, node: n.Field) -> Constant | None:
    base = node.base
    if not (isinstance(base, n.TypeofType) and base.typeinfo):
        return None
    kind = _type_of(variant, base.operand)
    if kind is None:
        return None
    if node.name == "btf_id":
        return 0
    return (base_name(kind) if node.name == "base_type" else kind.name).encode()


def _sizeof(variant: Variant, context: Context, node: n.Sizeof) -> Constant | None:
    kind = _type_of(variant, node.operand)
    return kind.size if kind is not None else None


def _index(variant: Variant, context: Context, node: n.Index) -> Constant | None:
    base = evaluate(variant, context, node.base)
    index = evaluate(variant, context, node.index)
    if isinstance(base, bytes) and isinstance(index, int) and 0 <= index <= len(base):
        return (base + b"\0")[index]
    return None


_RULES: dict[type[n.Node], Callable[..., Constant | None]] = {
    n.Unary: _unary,
    n.Binary: _binary,
    n.Ternary: _ternary,
    n.Comptime: _comptime,
    n.Call: _call,
    n.Identifier: _identifier,
    n.Field: _field,
    n.Sizeof: _sizeof,
    n.Index: _index,
}

"""Functions that are worked out while compiling: ``is_ptr`` and its like, ``static_assert fail``.

And those that only say how a value is to be seen: ``kptr uptr is_err container_of``.
"""

from __future__ import annotations

from bpflens.lang import nodes as n
from bpflens.lang.analyse import constant
from bpflens.lang.analyse.constant import literal_of
from bpflens.lang.call import CallRule, count_arguments
from bpflens.lang.types import BOOL, NONE, UINT64, Enum, Int, Pointer, Type

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.lang.analyse.checker import Checker
    from bpflens.lang.ir.ops import Value
    from bpflens.lang.lower.function import FunctionLowering

__all__ = ["CALLS", "format_integer"]

_MAX_ERRNO = 4095


# questions about types


def _check_question(c: Checker, node: n.Call) -> Type | None:
    if count_arguments(c, node, 1):
        c.type(node.args[0])
    return BOOL


def _lower_question(f: FunctionLowering, node: n.Call) -> Value:
    return int(bool(constant.evaluate(f.variant, f.context, node)))


def _check_kfunc(c: Checker, node: n.Call) -> Type | None:
    if not count_arguments(c, node, 1):
        return BOOL
    if not isinstance(node.args[0], n.String):
        c.type(node.args[0])
        c.error(node, "literal", f"{node.name}() accepts a string literal only")
    return BOOL


# complaints of the script itself


def _check_fail(c: Checker, node: n.Call) -> Type | None:
    if not node.args:
        c.error(node, "arguments", "fail() requires at least one argument (0 provided)")
        return NONE
    values = []
    for argument in node.args:
        c.type(argument)
        value = constant.evaluate(c.variant, c.context, argument)
        if value is None:
            c.error(node, "literal", "fail() arguments need to be literals")
            return NONE
        values.append(value)
    if not isinstance(values[0], bytes):
        c.error(node, "literal", "first argument to fail() must be a string literal")
        return NONE
    c.error(node, "fail", _formatted(values[0], values[1:]))
    return NONE


def _formatted(format: bytes, values: list[bool | int | bytes]) -> str:
    from bpflens.lang.format_string import FormatError, parse

    try:
        pieces = parse(format)
    except FormatError:
        return format.decode("utf-8", "replace")
    rest = iter(values)
    out = []
    for piece in pieces:
        if not piece.takes_value:
            out.append(piece.text.decode("utf-8", "replace"))
            continue
        value = next(rest, "")
        if isinstance(value, bytes):
            out.append(value.decode("utf-8", "replace"))
        elif isinstance(value, bool):
            out.append("true" if value else "false")
        elif isinstance(value, int) and piece.conversion in ("x", "X", "o"):
            out.append(format_integer(value, piece.conversion))
        else:
            out.append(str(value))
    return "".join(out)


def format_integer(value: int, conversion: str) -> str:
    """Write an integer in hexadecimal or octal, as 64 bits."""
    return format(value & (1 << 64) - 1, conversion)


def _lower_nothing(f: FunctionLowering, node: n.Call) -> Value:
    return 0


def _check_static_assert(c: Checker, node: n.Call) -> Type | None:
    if not count_arguments(c, node, 2):
        return NONE
    c.type(node.args[0])
    held = constant.evaluate(c.variant, c.context, node.args[0])
    message = literal_of(node.args[1])
    c.type(node.args[1])
    if not isinstance(message, bytes):
        c.error(node, "literal", "static_assert() expects a string literal as its message")
    elif held is None:
        if c.final:
            c.error(node, "literal", "static_assert() condition is not known at compile time")
    elif not held:
        c.error(node, "static-assert", message.decode("utf-8", "replace"))
    return NONE


# address spaces


def _check_space(c: Checker, node: n.Call) -> Type | None:
    if not count_arguments(c, node, 1):
        return None
    found = c.type(node.args[0])
    if found is None:
        return None
    space = "kernel" if node.name == "kptr" else "user"
    if isinstance(found, Pointer):
        return Pointer(found.target, space)
    if isinstance(found, (Int, Enum)):
        return Pointer(NONE, space) if node.name in ("kptr", "uptr") else UINT64
    c.error(
        node,
        "arguments",
        f"{node.name}() only supports integer or pointer arguments ({found.name} provided)",
    )
    return None


def _lower_same(f: FunctionLowering, node: n.Call) -> Value:
    return f.value(node.args[0])


def _check_is_err(c: Checker, node: n.Call) -> Type | None:
    if count_arguments(c, node, 1):
        found = c.type(node.args[0])
        if found is not None and not isinstance(found, (Int, Pointer)):
            c.error(node, "arguments", f"is_err() only supports pointers ({found.name} provided)")
    return BOOL


def _lower_is_err(f: FunctionLowering, node: n.Call) -> Value:
    # As unsigned numbers, error pointers are the very highest ones.
    return f.b.bool_("ge", f.value(node.args[0]), -_MAX_ERRNO)


def _check_container(c: Checker, node: n.Call) -> Type | None:
    if not count_arguments(c, node, 3):
        return None
    whole = c.variant.stands_for.get(node)
    if whole is None:
        whole = c.variant.stands_for[node] = _container(node)
    if whole is node:
        c.error(node.args[1], "arguments", "container_of() expects a pointer, a type and a member")
        return None
    return c.type(whole)


def _container(node: n.Call) -> n.Node:
    # Rewrite to ``(TYPE *)((void *)ptr - offsetof(TYPE, member))``.
    pointer, kind, member = node.args
    if isinstance(kind, n.TypeArg):
        kind = kind.type
    elif isinstance(kind, n.Identifier):
        kind = n.NamedType(kind.name, "", kind.start, kind.end)
    path: list[str] = []
    while isinstance(member, n.Field):
        path.insert(0, member.name)
        member = member.base
    if not isinstance(member, n.Identifier):
        return node
    path.insert(0, member.name)
    start, end = node.start, node.end
    number = n.Cast(n.NamedType("uint64", "", start, end), pointer, start, end)
    offset = n.Offsetof(kind, path, start, end)
    address = n.Binary("-", number, offset, start, end)
    return n.Cast(n.PointerType(kind, start, end), address, start, end)


CALLS: dict[str, CallRule] = {
    **{
        name: CallRule(_check_question, _lower_question)
        for name in (
            "is_array", "is_integer", "is_unsigned_integer", "is_ptr", "is_str", "is_literal",
        )
    },
    "kfunc_exist": CallRule(_check_kfunc, _lower_question),
    "kfunc_allowed": CallRule(_check_kfunc, _lower_question),
    "fail": CallRule(_check_fail, _lower_nothing),
    "static_assert": CallRule(_check_static_assert, _lower_nothing),
    "kptr": CallRule(_check_space, _lower_same),
    "uptr": CallRule(_check_space, _lower_same),
    "is_err": CallRule(_check_is_err, _lower_is_err),
    "container_of": CallRule(_check_container, _lower_nothing),
}  # fmt: skip

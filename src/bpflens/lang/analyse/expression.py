"""Type rules of expressions, one function a node class."""

from __future__ import annotations

from bpflens.lang import nodes as n
from bpflens.lang.analyse.constant import TYPE_INFO, base_name, evaluate, node_of
from bpflens.lang.types import (
    BOOL,
    INT64,
    UINT64,
    Aggregate,
    Array,
    Bool,
    Buffer,
    Enum,
    Int,
    NoneType,
    Pointer,
    Record,
    String,
    Tuple,
    Type,
)  # fmt: skip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from bpflens.lang.analyse.checker import Checker
    from bpflens.lang.context import Context

__all__ = ["check", "literal_type", "named_constant", "positional_value"]

COMPARISONS = frozenset(("==", "!=", "<", "<=", ">", ">="))


def check(c: Checker, node: n.Node) -> Type | None:
    """Return the type of an expression, or None where it is not known."""
    return _rules()[type(node)](c, node)


def literal_type(value: int) -> Int:
    """Return the smallest signed type that holds a literal; uint64 above the largest int64."""
    for size in (1, 2, 4, 8):
        bound = 1 << (size * 8 - 1)
        if -bound <= value < bound:
            return Int(size, True)
    return UINT64


def _integer(c: Checker, node: n.Integer) -> Type | None:
    return literal_type(node.value)


def _string(c: Checker, node: n.String) -> Type | None:
    limit = int(str(c.config["max_strlen"]))
    if len(node.value) >= limit and limit:
        text = node.value[:32].decode("utf-8", "replace")
        c.error(node, "string-length", f"String is too long (over {limit} bytes): {text}...")
    return String(len(node.value) + 1)


def _boolean(c: Checker, node: n.Boolean) -> Type | None:
    return BOOL


def positional_value(context: Context, node: n.Positional) -> int | None:
    """Return the number that a positional parameter stands for, None where it is not a number."""
    if node.index == 0:
        return len(context.params)
    text = context.params[node.index - 1] if node.index <= len(context.params) else ""
    try:
        return int(text or "0", 0)
    except ValueError:
        return None


def _positional(c: Checker, node: n.Positional) -> Type | None:
    value = positional_value(c.context, node)
    if value is not None:
        return literal_type(value)
    given = c.context.params[node.index - 1]
    c.error(
        node,
        "positional",
        f'${node.index} used numerically but given "{given}"',
        f"Try using str(${node.index}).",
    )
    return None


def _identifier(c: Checker, node: n.Identifier) -> Type | None:
    from bpflens.lang import builtin

    rule = builtin.find(node.name)
    if rule is not None:
        return rule.check(c, node, [])
    found = named_constant(c.context, node.name)
    if found is not None:
        return found[1]
    c.error(node, "unknown-identifier", f"Unknown identifier: '{node.name}'", *_near(node.name))
    return None


def named_constant(context: Context, name: str) -> tuple[int, Type] | None:
    """Return value and type of an enumerator; ``#define`` constants are folded before."""
    declared = context.declared_enumerator(name)
    if declared is not None:
        return declared
    kernel = context.types()
    return kernel.enumerator(name) if kernel else None


def _near(name: str) -> list[str]:
    from difflib import get_close_matches

    from bpflens.lang import builtin

    close = get_close_matches(name, builtin.names(), n=1)
    return [f"Did you mean '{close[0]}'?"] if close else []


def _variable(c: Checker, node: n.Variable) -> Type | None:
    info = c.find_variable(node.name)
    if info is None:
        c.error(node, "undefined-variable", f"Undefined or undeclared variable: {node.name}")
        return None
    c.variant.variables[node] = info
    if info.type is None and c.final:
        c.error(node, "undefined-variable", f"Variable used before it was assigned: {node.name}")
    return info.type


def _map_name(c: Checker, node: n.MapName) -> Type | None:
    state = c.map(node.name, node)
    c.use_key(state, node, None)
    return _map_value(c, node, state.name)


def _map_access(c: Checker, node: n.MapAccess) -> Type | None:
    state = c.map(node.map.name, node)
    c.use_key(state, node, node.key)
    return _map_value(c, node, state.name)


def _map_value(c: Checker, node: n.Node, name: str) -> Type | None:
    state = c.maps[name]
    if state.value is None and c.final:
        c.error(node, "undefined-map", f"Undefined map: {name}")
    return state.value


def _call(c: Checker, node: n.Call) -> Type | None:
    from bpflens.lang import builtin, call

    rule = call.find(node.name)
    if rule is not None:
        return rule.check(c, node)
    special = builtin.find(node.name)
    if special is not None:
        return special.check(c, node, node.args)
    from bpflens.lang.analyse import subprogram

    function = subprogram.find(c, node.name)
    if function is not None:
        return subprogram.check_call(c, node, function)
    for argument in node.args:
        c.type(argument)
    c.error(node, "unknown-function", f"Unknown function: '{node.name}'", *call.near(node.name))
    return None


def _unary(c: Checker, node: n.Unary) -> Type | None:
    if node.op == "&":
        return _address_of(c, node)
    found = c.type(node.operand)
    if found is None:
        return None
    if node.op == "*":
        if isinstance(found, Pointer):
            return found.target
        if isinstance(found, Int):
            c.error(
                node,
                "dereference",
                f"Can not dereference type '{found.name}'. It needs to be casted to a pointer, e.g."
                " *(uint64 *)(expr)",
            )
        else:
            c.error(node, "dereference", f"Can not dereference type '{found.name}'")
        return None
    if isinstance(found, Pointer) and node.op == "!":
        return BOOL
    if not (isinstance(found, (Int, Bool, Enum)) or _countable(found)):
        c.error(
            node,
            "operand",
            f"The {node.op} operator can not be used on expressions of type '{found.name}'",
        )
        return None
    if node.op == "!":
        return BOOL
    if node.op == "-":
        return INT64
    return (
        Int(max(found.size, 1), getattr(found, "signed", False))
        if isinstance(found, Int)
        else UINT64
    )


def _address_of(c: Checker, node: n.Unary) -> Type | None:
    operand = node.operand
    if isinstance(operand, n.MapName):
        state = c.map(operand.name, operand)
        state.whole = True
        return Pointer(state.value or NoneType(), "bpf")
    found = c.type(operand)
    if not isinstance(operand, n.Variable):
        c.error(node, "address-of", "The & operator can only be used on variables and maps")
        return None
    info = c.find_variable(operand.name)
    if info is not None:
        # Whoever has its address may write to it.
        info.assigned = True
    return Pointer(found, "bpf") if found is not None else None


def _countable(type: Type) -> bool:
    return type.__class__.__name__ in ("Count", "Sum", "Min", "Max", "Avg")


def _inc_dec(c: Checker, node: n.IncDec) -> Type | None:
    target = node.target
    if isinstance(target, n.Variable):
        found = _variable(c, target)
        if found is not None:
            c.variant.types[target] = found
            c.variant.variables[target].assigned = True
        if found is not None and not isinstance(found, (Int, Pointer)):
            c.error(
                node,
                "operand",
                f"The {node.op} operator can not be used on expressions of type '{found.name}'",
            )
            return None
        return found
    if isinstance(target, (n.MapName, n.MapAccess)):
        name = target.name if isinstance(target, n.MapName) else target.map.name
        state = c.map(name, target)
        c.use_key(state, target, target.key if isinstance(target, n.MapAccess) else None)
        if state.value is None:
            c.assign_map(state, node, INT64, literal=True)
        elif not isinstance(state.value, (Int, Pointer)):
            c.error(
                node,
                "operand",
                f"The {node.op} operator can not be used on expressions of type"
                f" '{state.value.name}'",
            )
        return state.value
    c.error(node, "operand", f"The {node.op} operator must be applied to a map or variable")
    return None


def _binary(c: Checker, node: n.Binary) -> Type | None:
    left, right = c.type(node.left), c.type(node.right)
    if left is None or right is None:
        return BOOL if node.op in COMPARISONS or node.op in ("&&", "||") else None
    if node.op in ("&&", "||"):
        return _logical(c, node, left, right)
    if isinstance(left, Pointer) or isinstance(right, Pointer):
        return _pointer_binary(c, node, left, right)
    if _number(left) and _number(right):
        return _integer_binary(c, node, left, right)
    if node.op in ("==", "!=") and _comparable(left, right):
        return BOOL
    c.error(
        node,
        "operand",
        (
            f"Type mismatch for '{node.op}': comparing '{left.name}' with '{right.name}'"
            if node.op in COMPARISONS
            else (
                f"The {node.op} operator can not be used on expressions of types {left.name},"
                f" {right.name}"
            )
        ),
    )
    return None


def _number(type: Type) -> bool:
    return isinstance(type, (Int, Bool, Enum)) or _countable(type)


def _comparable(left: Type, right: Type) -> bool:
    if isinstance(left, String) and isinstance(right, String):
        return True
    if isinstance(left, Buffer) and isinstance(right, Buffer):
        return True
    if isinstance(left, Array) and isinstance(right, Array):
        return left.size == right.size
    if isinstance(left, Tuple) and isinstance(right, Tuple):
        return len(left.items) == len(right.items) and all(
            (_number(a) and _number(b)) or _comparable(a, b) or a == b
            for a, b in zip(left.items, right.items, strict=True)
        )
    return (
        left == right
        and not isinstance(left, (Aggregate, NoneType))
        and left.size in (6, 8, 16, 24)
    )


def _logical(c: Checker, node: n.Binary, left: Type, right: Type) -> Type | None:
    for side, found in ((node.left, left), (node.right, right)):
        if not (_number(found) or isinstance(found, (Pointer, String))):
            c.error(
                side,
                "operand",
                f"The {node.op} operator can not be used on expressions of types {left.name},"
                f" {right.name}",
            )
    return BOOL


def _integer_binary(c: Checker, node: n.Binary, left: Type, right: Type) -> Type | None:
    from bpflens.lang.analyse.statement import is_flexible

    if node.op in COMPARISONS:
        return BOOL
    left_signed, right_signed = getattr(left, "signed", False), getattr(right, "signed", False)
    if is_flexible(node.left) and not is_flexible(node.right):
        left_signed = right_signed
    elif is_flexible(node.right) and not is_flexible(node.left):
        right_signed = left_signed
    literals = isinstance(node.left, n.Integer) and isinstance(node.right, n.Integer)
    if node.op in ("/", "%") and left_signed != right_signed and not literals:
        c.warning(
            node,
            "signed-division",
            f"signed operands for '{node.op}' can lead to undefined behavior (cast to unsigned"
            " to silence warning)",
        )
    if node.op == "-" or left_signed or right_signed:
        return INT64
    return UINT64


def _pointer_binary(c: Checker, node: n.Binary, left: Type, right: Type) -> Type | None:
    if isinstance(left, Pointer) and isinstance(right, Pointer):
        if node.op in COMPARISONS:
            return BOOL
        if node.op == "-":
            return INT64
    else:
        pointer, other = (left, right) if isinstance(left, Pointer) else (right, left)
        if isinstance(other, (Int, Bool, Enum)):
            if node.op in COMPARISONS:
                return BOOL
            if node.op == "+" or (node.op == "-" and pointer is left):
                assert isinstance(pointer, Pointer)
                return Pointer(pointer.target, pointer.space)
            if node.op in ("&", "|", "^", ">>", "<<", "%", "/"):
                # Masks and shifts of addresses are common in field scripts; the value is a number.
                return UINT64
    c.error(
        node,
        "operand",
        f"The {node.op} operator can not be used on expressions of types {left.name}, {right.name}",
    )
    return None


def _ternary(c: Checker, node: n.Ternary) -> Type | None:
    from bpflens.lang.analyse.state import unify, widen
    from bpflens.lang.analyse.statement import check_condition, is_flexible

    check_condition(c, node.condition, "ternary")
    then_node = node.condition if node.then is None else node.then
    then, otherwise = c.type(then_node), c.type(node.otherwise)
    if then is None or otherwise is None:
        return None
    if isinstance(then, Int) and isinstance(otherwise, Int):
        if is_flexible(then_node):
            return widen(otherwise)
        if is_flexible(node.otherwise):
            return widen(then)
    both = then if then == otherwise else unify(widen(then), widen(otherwise))
    if both is None:
        c.error(
            node,
            "ternary",
            f"Ternary operator must return the same type: have '{then.name}' and"
            f" '{otherwise.name}'",
        )
    return both


def _tuple(c: Checker, node: n.Tuple) -> Type | None:
    items = [c.type(item) for item in node.items]
    return (
        Tuple([_item(c, node, item) for item in items if item is not None])
        if all(item is not None for item in items)
        else None
    )


def _record(c: Checker, node: n.Record) -> Type | None:
    items = [c.type(item.value) for item in node.items]
    names = [item.name for item in node.items]
    if len(set(names)) != len(names):
        c.error(node, "record", "a record cannot have two fields of one name")
    if any(item is None for item in items):
        return None
    return Record(names, [_item(c, node, item) for item in items if item is not None])


def _item(c: Checker, node: n.Node, type: Type) -> Type:
    if isinstance(type, NoneType) or (isinstance(type, Aggregate) and not _countable(type)):
        c.error(node, "tuple", f"Tuple type unsupported: {type.name}")
    if isinstance(type, Aggregate):
        return Int(8, getattr(type, "signed", False))
    return type


def _block(c: Checker, node: n.Block) -> Type | None:
    from bpflens.lang.analyse.statement import check_block

    return check_block(c, node) or (NoneType() if node.result is None else None)


def _if(c: Checker, node: n.If) -> Type | None:
    from bpflens.lang.analyse.state import unify, widen
    from bpflens.lang.analyse.statement import check_block, check_condition

    if isinstance(node.condition, n.Comptime):
        return _comptime_if(c, node, node.condition)
    check_condition(c, node.condition, "if()")
    then = check_block(c, node.then)
    other = node.otherwise
    otherwise = None
    if isinstance(other, n.If):
        otherwise = c.type(other)
    elif other is not None:
        otherwise = check_block(c, other)
    if node.then.result is None or other is None:
        return NoneType()
    if then is None or otherwise is None:
        return then or otherwise
    return then if then == otherwise else unify(widen(then), widen(otherwise))


def _comptime_if(c: Checker, node: n.If, condition: n.Comptime) -> Type | None:
    # Check only the branch that is taken; the other one need not make sense.
    c.type(condition.operand)
    value = evaluate(c.variant, c.context, condition.operand)
    if value is None:
        if c.final:
            c.error(condition, "comptime", "Unable to evaluate at compile time.")
        return None
    taken = node.then if value else node.otherwise
    return c.stand(node, taken if taken is not None else n.Block([], None, node.start, node.end))


def _comptime(c: Checker, node: n.Comptime) -> Type | None:
    found = c.type(node.operand)
    value = evaluate(c.variant, c.context, node.operand)
    if value is not None:
        return c.stand(node, node_of(value, node.start, node.end))
    return found


def _type_info(c: Checker, node: n.TypeofType) -> Type | None:
    # Type ``typeinfo(x)`` as a value: a record of what is known of the type of ``x``.
    if str(c.config.get("unstable_typeinfo", "error")) == "error":
        c.error(
            node,
            "unstable",
            "typeinfo feature is not enabled by default. To enable this unstable feature, set the "
            "config flag to enable. unstable_typeinfo=enable",
        )
    from bpflens.lang.analyse.place import resolve_type

    kind = resolve_type(c, node.operand)
    if kind is None:
        return None
    c.variant.types[node.operand] = kind
    start, end = node.start, node.end
    values: tuple[int | bytes, ...] = (0, base_name(kind).encode(), kind.name.encode())
    items = [
        n.RecordItem(name, node_of(value, start, end), start, end)
        for name, value in zip(TYPE_INFO, values, strict=True)
    ]
    return c.stand(node, n.Record(items, start, end))


def _type_arg(c: Checker, node: n.TypeArg) -> Type | None:
    from bpflens.lang.analyse.place import resolve_type

    return resolve_type(c, node.type)


_TABLE: dict[type[n.Node], Callable[..., Type | None]] = {}


def _rules() -> dict[type[n.Node], Callable[..., Type | None]]:
    # Filled on first use: the neighbour module with the other half of the rules imports this one.
    if not _TABLE:
        from bpflens.lang.analyse import place

        _TABLE.update(
            {
                n.Integer: _integer,
                n.String: _string,
                n.Boolean: _boolean,
                n.Positional: _positional,
                n.Identifier: _identifier,
                n.Variable: _variable,
                n.MapName: _map_name,
                n.MapAccess: _map_access,
                n.Call: _call,
                n.Unary: _unary,
                n.IncDec: _inc_dec,
                n.Binary: _binary,
                n.Ternary: _ternary,
                n.Tuple: _tuple,
                n.Record: _record,
                n.Block: _block,
                n.If: _if,
                n.Comptime: _comptime,
                n.TypeArg: _type_arg,
                n.TypeofType: _type_info,
                n.Field: place.check_field,
                n.TupleItem: place.check_tuple_item,
                n.Index: place.check_index,
                n.Cast: place.check_cast,
                n.Sizeof: place.check_sizeof,
                n.Offsetof: place.check_offsetof,
            }
        )
    return _TABLE

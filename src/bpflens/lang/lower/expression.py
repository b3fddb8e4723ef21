"""Lowering of expressions: values, places and conditions, one function a node class."""

from __future__ import annotations

from bpflens.lang import nodes as n
from bpflens.lang.lower import map as maps
from bpflens.lang.lower import memory
from bpflens.lang.lower.function import Ref
from bpflens.lang.types import (
    Aggregate,
    Array,
    Bool,
    Int,
    NoneType,
    Pointer,
    String,
    Struct,
    Tuple,
    Type,
)  # fmt: skip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from bpflens.lang.ir.ops import Block, Reg, Value
    from bpflens.lang.lower.function import FunctionLowering

    Writer = Callable[[FunctionLowering, n.Node, Ref, Type], None]

__all__ = ["divide", "lower_condition", "lower_ref", "lower_value", "string_prefix", "writer"]

_COMPARE = {"==": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge"}
_ALU = {
    "+": "add", "-": "sub", "*": "mul", "/": "div", "%": "mod", "&": "and", "|": "or", "^": "xor",
    "<<": "lsh", ">>": "rsh",
}  # fmt: skip
BOUNDS_MESSAGE = "Array access out of bounds. This can lead to unexpected results."
DIVISION_MESSAGE = (
    "Divide or modulo by 0 detected. This can lead to unexpected results. 1 is being used as the "
    "result."
)


def lower_value(f: FunctionLowering, node: n.Node) -> Value:
    """Evaluate an expression to a scalar."""
    if isinstance(node, n.Field):
        from bpflens.lang.lower import task

        found = task.load(f, node)
        if found is not None:
            return found
    result = _VALUES[type(node)](f, node)
    if isinstance(result, Ref):
        return memory.load(f, result, f.type(node))
    return result


def lower_ref(f: FunctionLowering, node: n.Node) -> Ref:
    """Return where an expression of a memory type lies; constants and results are written first."""
    if not isinstance(node, (n.String, n.Tuple, n.Record)) and writer(f, node) is None:
        result = _VALUES[type(node)](f, node)
        if isinstance(result, Ref):
            return result
    kind = memory.widened(f.type(node))
    place = f.buffer(kind.size)
    memory.store_node(f, node, place, kind)
    return place


def writer(f: FunctionLowering, node: n.Node) -> Writer | None:
    """Return the function that writes this expression's value in place, if there is one."""
    from bpflens.lang import builtin, call

    if isinstance(node, n.Call):
        rule = call.find(node.name)
        if rule is not None:
            return rule.write
        special = builtin.find(node.name)
        return special.write if special else None
    if isinstance(node, n.Identifier):
        special = builtin.find(node.name)
        return special.write if special else None
    if isinstance(node, (n.Ternary, n.If, n.Block)):
        return _write_branches
    return None


# literals and names


def _integer(f: FunctionLowering, node: n.Integer) -> Value:
    value = node.value & 0xFFFFFFFFFFFFFFFF
    return value - (1 << 64) if value >> 63 else value


def _boolean(f: FunctionLowering, node: n.Boolean) -> Value:
    return int(node.value)


def _positional(f: FunctionLowering, node: n.Positional) -> Value:
    from bpflens.lang.analyse.expression import positional_value

    value = positional_value(f.context, node)
    assert value is not None
    return value


def _identifier(f: FunctionLowering, node: n.Identifier) -> Value | Ref:
    from bpflens.lang import builtin
    from bpflens.lang.analyse.expression import named_constant

    rule = builtin.find(node.name)
    if rule is not None:
        return rule.lower(f, node, [])
    found = named_constant(f.context, node.name)
    assert found is not None
    assert isinstance(found[0], int)
    return found[0]


def _variable(f: FunctionLowering, node: n.Variable) -> Value | Ref:
    return f.variable(f.variant.variables[node])


def _call(f: FunctionLowering, node: n.Call) -> Value | Ref:
    from bpflens.lang import builtin, call

    rule = call.find(node.name)
    if rule is not None:
        return rule.lower(f, node)
    special = builtin.find(node.name)
    if special is not None:
        return special.lower(f, node, node.args)
    from bpflens.lang.lower import subprogram

    return subprogram.lower_call(f, node, f.resources.functions[node.name])


# operators


def _unary(f: FunctionLowering, node: n.Unary) -> Value | Ref:
    if node.op == "&":
        return _address_of(f, node)
    if node.op == "!":
        return _truth(f, node)
    if node.op == "*":
        pointer = f.type(node.operand)
        assert isinstance(pointer, Pointer)
        return _place_behind(f, f.value(node.operand), pointer)
    operand = f.value(node.operand)
    if node.op == "-":
        return f.b.neg(operand)
    result = f.b.not_(operand)
    return _normalised(f, result, f.type(node))


def _address_of(f: FunctionLowering, node: n.Unary) -> Value:
    if isinstance(node.operand, n.MapName):
        return f.b.map_fd(f.plan(node.operand.name).spec.name)
    assert isinstance(node.operand, n.Variable)
    found = f.variable(f.variant.variables[node.operand])
    if isinstance(found, Ref):
        return f.address(found)
    slot = f.fn.slot(8, 8, "address")
    f.b.store(slot, 0, found, 8)
    return f.b.slot_addr(slot)


def _normalised(f: FunctionLowering, value: Value, type: Type) -> Value:
    if isinstance(type, Int) and type.size < 8:
        bits = type.size * 8
        return f.b.sext(value, bits) if type.signed else f.b.zext(value, bits)
    return value


def _inc_dec(f: FunctionLowering, node: n.IncDec) -> Value:
    kind = f.type(node)
    step = kind.target.size or 1 if isinstance(kind, Pointer) else 1
    amount = step if node.op == "++" else -step
    target = node.target
    if isinstance(target, n.Variable):
        register = f.variable(f.variant.variables[target])
        assert not isinstance(register, Ref)
        old = f.b.move(register) if not node.prefix else None
        f.b.assign(register, _normalised(f, f.b.alu("add", register, amount), kind))
        return old if old is not None else register
    return maps.add_in_place(f, target, amount, "new" if node.prefix else "old")


def _binary(f: FunctionLowering, node: n.Binary) -> Value:
    if node.op in _COMPARE or node.op in ("&&", "||"):
        left, right = f.variant.types.get(node.left), f.variant.types.get(node.right)
        if node.op in _COMPARE and left is not None and right is not None and _scalars(left, right):
            a, b = f.value(node.left), f.value(node.right)
            return f.b.bool_(_compare_op(f, node), a, b)
        return _truth(f, node)
    left_type, right_type = f.type(node.left), f.type(node.right)
    a, b = f.value(node.left), f.value(node.right)
    if isinstance(left_type, Pointer) != isinstance(right_type, Pointer) and node.op in ("+", "-"):
        pointer = left_type if isinstance(left_type, Pointer) else right_type
        assert isinstance(pointer, Pointer)
        scale = pointer.target.size or 1
        if isinstance(left_type, Pointer):
            b = _scaled(f, b, scale)
        else:
            a = _scaled(f, a, scale)
    if node.op in ("/", "%"):
        return divide(f, node, a, b)
    return f.b.alu(_ALU[node.op], a, b)


def _scalars(left: Type, right: Type) -> bool:
    return (left.is_scalar or isinstance(left, Aggregate)) and (
        right.is_scalar or isinstance(right, Aggregate)
    )


def _scaled(f: FunctionLowering, value: Value, scale: int) -> Value:
    return f.b.alu("mul", value, scale) if scale != 1 else value


def divide(f: FunctionLowering, node: n.Node, a: Value, b: Value, op: str = "") -> Value:
    """Divide without a sign, as the reference does; by zero gives 1 and a warning."""
    kind = _ALU[op or node.op]  # type: ignore[attr-defined]
    if isinstance(b, int) and b != 0:
        return f.b.alu(kind, a, b)
    result = f.fn.new("quotient")
    good, zero, done = f.block("divide"), f.block("by_zero", cold=True), f.block("divided")
    f.b.branch("ne", b, 0, good, zero)
    f.b.set_block(good)
    f.b.assign(result, f.b.alu(kind, a, b))
    f.b.jump(done)
    f.b.set_block(zero)
    from bpflens.lang.lower import event

    event.emit(f, "runtime_error", [], message=DIVISION_MESSAGE, place=f.resources.place(node))
    f.b.assign(result, 1)
    f.b.jump(done)
    f.b.set_block(done)
    return result


def _truth(f: FunctionLowering, node: n.Node) -> Value:
    result = f.fn.new("truth")
    then, otherwise, done = f.block("true"), f.block("false"), f.block("decided")
    lower_condition(f, node, then, otherwise)
    for block, value in ((then, 1), (otherwise, 0)):
        f.b.set_block(block)
        f.b.assign(result, value)
        f.b.jump(done)
    f.b.set_block(done)
    return result


def lower_condition(f: FunctionLowering, node: n.Node, then: Block, otherwise: Block) -> None:
    """Branch on the truth of an expression; ``&&`` and ``||`` evaluate only what they must."""
    if isinstance(node, n.Unary) and node.op == "!":
        lower_condition(f, node.operand, otherwise, then)
        return
    if isinstance(node, n.Binary) and node.op in ("&&", "||"):
        more = f.block("and" if node.op == "&&" else "or")
        if node.op == "&&":
            f.condition(node.left, more, otherwise)
        else:
            f.condition(node.left, then, more)
        f.b.set_block(more)
        f.condition(node.right, then, otherwise)
        return
    if isinstance(node, n.Binary) and node.op in _COMPARE:
        _compare(f, node, then, otherwise)
        return
    kind = f.type(node)
    if isinstance(kind, String):
        # A string is true where it is not empty.
        place = string_prefix(f, node, 1)
        f.b.branch("ne", f.b.load(place.base, place.off, 1), 0, then, otherwise)
        return
    f.b.branch("ne", f.value(node), 0, then, otherwise)


def _compare(f: FunctionLowering, node: n.Binary, then: Block, otherwise: Block) -> None:
    left, right = f.type(node.left), f.type(node.right)
    if _scalars(left, right):
        a, b = f.value(node.left), f.value(node.right)
        f.b.branch(_compare_op(f, node), a, b, then, otherwise)
    elif node.op == "==":
        memory.branch_equal(f, node.left, node.right, then, otherwise)
    else:
        memory.branch_equal(f, node.left, node.right, otherwise, then)


def _compare_op(f: FunctionLowering, node: n.Binary) -> str:
    from bpflens.lang.analyse.statement import is_flexible

    op = _COMPARE[node.op]
    if op in ("eq", "ne"):
        return op
    left = bool(getattr(f.type(node.left), "signed", False))
    right = bool(getattr(f.type(node.right), "signed", False))
    if is_flexible(node.left):
        left = right
    elif is_flexible(node.right):
        right = left
    return "s" + op if left or right else op


def _ternary(f: FunctionLowering, node: n.Ternary) -> Value | Ref:
    kind = f.type(node)
    if not kind.is_scalar:
        place = f.buffer(kind.size)
        _write_branches(f, node, place, kind)
        return place
    result = f.fn.new("chosen")
    then, otherwise, done = f.block("then"), f.block("else"), f.block("chosen")
    if node.then is None:
        # c ?: b evaluates c once.
        value = f.value(node.condition)
        f.b.assign(result, value)
        f.b.branch("ne", value, 0, done, otherwise)
    else:
        f.condition(node.condition, then, otherwise)
        f.b.set_block(then)
        _assign_result(f, result, node.then, done)
    f.b.set_block(otherwise)
    _assign_result(f, result, node.otherwise, done)
    f.b.set_block(done)
    return result


def _assign_result(f: FunctionLowering, result: Reg, node: n.Node, done: Block) -> None:
    if isinstance(f.type(node), NoneType):
        f.value(node)
        f.b.assign(result, 0)
    else:
        f.b.assign(result, f.value(node))
    f.b.jump(done)


def _if(f: FunctionLowering, node: n.If) -> Value | Ref:
    kind = f.type(node)
    if isinstance(kind, NoneType):
        from bpflens.lang.lower import statement

        statement.lower_if(f, node)
        return 0
    if not kind.is_scalar:
        place = f.buffer(kind.size)
        _write_branches(f, node, place, kind)
        return place
    result = f.fn.new("chosen")
    then, otherwise, done = f.block("then"), f.block("else"), f.block("chosen")
    f.condition(node.condition, then, otherwise)
    for block, body in ((then, node.then), (otherwise, node.otherwise)):
        f.b.set_block(block)
        assert body is not None
        f.b.assign(result, f.value(body))
        f.b.jump(done)
    f.b.set_block(done)
    return result


def _block(f: FunctionLowering, node: n.Block) -> Value | Ref:
    from bpflens.lang.lower import statement

    statement.lower_statements(f, node.statements)
    if node.result is None:
        return 0
    if f.type(node.result).is_scalar or isinstance(f.type(node.result), (NoneType, Aggregate)):
        return f.value(node.result)
    return f.ref(node.result)


def _write_branches(f: FunctionLowering, node: n.Node, place: Ref, wanted: Type) -> None:
    # Write the value of a ternary, an ``if`` or a block to a place.
    if isinstance(node, n.Block):
        from bpflens.lang.lower import statement

        statement.lower_statements(f, node.statements)
        assert node.result is not None
        memory.store_node(f, node.result, place, wanted)
        return
    assert isinstance(node, (n.Ternary, n.If))
    then, otherwise, done = f.block("then"), f.block("else"), f.block("chosen")
    f.condition(node.condition, then, otherwise)
    first = node.condition if node.then is None else node.then
    for block, body in ((then, first), (otherwise, node.otherwise)):
        f.b.set_block(block)
        assert body is not None
        memory.store_node(f, body, place, wanted)
        f.b.jump(done)
    f.b.set_block(done)


# places


def _map_value(f: FunctionLowering, node: n.Node) -> Value | Ref:
    return maps.read_value(f, node)


def _place_behind(f: FunctionLowering, pointer: Value, type: Pointer, offset: int = 0) -> Ref:
    space = "btf" if type.trusted else type.space
    if isinstance(pointer, int):
        pointer = f.b.const(pointer)
    return Ref(pointer, offset, space)


def _field(f: FunctionLowering, node: n.Field) -> Value | Ref:
    base_type = f.type(node.base)
    if isinstance(base_type, Tuple):
        names: tuple[str, ...] = base_type.names  # type: ignore[attr-defined]
        index = names.index(node.name)
        return _item(f, node, node.base, base_type, index)
    if isinstance(base_type, Pointer):
        while isinstance(base_type.target, Pointer):
            base_type = base_type.target
        special = _special_field(f, node, base_type)
        if special is not None:
            return special
        place = _place_behind(f, f.value(node.base), base_type)
        struct = base_type.target
    else:
        place, struct = f.ref(node.base), base_type
    assert isinstance(struct, Struct)
    field = struct.field(node.name)
    assert field is not None
    inner = place.at(field.offset)
    if field.bit_size:
        return memory.load(f, inner, field.type, field.bit_offset, field.bit_size)
    if field.data_loc:
        return _data_loc(f, place, field.offset, bool(field.bit_offset))
    return inner


def _special_field(f: FunctionLowering, node: n.Field, base: Pointer) -> Value | Ref | None:
    if base.space != "ctx":
        return None
    from bpflens.lang import probe_argument

    return probe_argument.lower(f, node, base)


def _data_loc(f: FunctionLowering, record: Ref, offset: int, relative: bool) -> Ref:
    # Low 16 bits: where the text is, counted from the record (or, relative, from behind the field).
    where = f.b.alu("and", f.b.load(record.base, record.off + offset, 4), 0xFFFF)
    base = f.b.alu("add", where, f.address(Ref(record.base, record.off)))
    return Ref(base, offset + 4 if relative else 0, "kernel")


def _tuple_item(f: FunctionLowering, node: n.TupleItem) -> Value | Ref:
    kind = f.type(node.base)
    assert isinstance(kind, Tuple)
    return _item(f, node, node.base, kind, node.index)


def _item(f: FunctionLowering, node: n.Node, base: n.Node, kind: Tuple, index: int) -> Ref:
    wide = memory.widened(kind)
    assert isinstance(wide, Tuple)
    return f.ref(base).at(wide.offsets[index])


def _index(f: FunctionLowering, node: n.Index) -> Value | Ref:
    base_type = f.type(node.base)
    if isinstance(base_type, Tuple):
        assert isinstance(node.index, n.Integer)
        return _item(f, node, node.base, base_type, node.index.value)
    if isinstance(base_type, Pointer):
        place = _place_behind(f, f.value(node.base), base_type)
        element = base_type.target
    else:
        place = f.ref(node.base)
        element = base_type.element if isinstance(base_type, Array) else Int(1, True)
    if isinstance(node.index, n.Integer):
        return place.at(node.index.value * element.size)
    index = f.value(node.index)
    if place.direct or (isinstance(base_type, Array) and base_type.length):
        return _bounded(f, node, place, index, base_type, element)
    return Ref(f.b.alu("add", f.address(place), _scaled(f, index, element.size)), 0, place.space)


def _bounded(
    f: FunctionLowering, node: n.Index, place: Ref, index: Value, base: Type, element: Type
) -> Ref:
    # The verifier wants to see that the index stays inside; what lies outside reads as element 0.
    length = base.length if isinstance(base, Array) else base.size
    result = f.fn.new("index")
    f.b.assign(result, index)
    outside, inside = f.block("outside", cold=True), f.block("inside")
    f.b.branch("lt", result, max(length, 1), inside, outside)
    f.b.set_block(outside)
    from bpflens.lang.lower import event

    event.emit(f, "runtime_error", [], message=BOUNDS_MESSAGE, place=f.resources.place(node))
    f.b.assign(result, 0)
    f.b.jump(inside)
    f.b.set_block(inside)
    address = f.b.alu("add", f.address(place), _scaled(f, result, element.size))
    return Ref(address, 0, place.space)


def _cast(f: FunctionLowering, node: n.Cast) -> Value | Ref:
    wanted, operand = f.type(node), f.type(node.operand)
    if wanted.is_scalar:
        if operand.is_scalar or isinstance(operand, Aggregate):
            value = f.value(node.operand)
            if isinstance(wanted, Bool):
                return f.b.bool_("ne", value, 0)
            return _normalised(f, value, Int(wanted.size, bool(getattr(wanted, "signed", False))))
        place = f.ref(node.operand)
        if isinstance(wanted, Pointer):
            return f.address(place)
        return memory.load(f, place, wanted)
    if isinstance(wanted, Struct) and isinstance(operand, (Pointer, Int)):
        space = operand.space if isinstance(operand, Pointer) else ""
        return _place_behind(f, f.value(node.operand), Pointer(wanted, space))
    place = f.buffer(wanted.size)
    if operand.is_scalar:
        f.b.zero(place.base, place.off, max(wanted.size, 8))
        f.b.store(place.base, place.off, f.value(node.operand), 8)
        return place
    memory.copy(f, place, f.ref(node.operand), operand, wanted)
    return place


def _sizeof(f: FunctionLowering, node: n.Sizeof) -> Value:
    return f.type(node.operand).size


def _offsetof(f: FunctionLowering, node: n.Offsetof) -> Value:
    from bpflens.lang.analyse.place import offset_of

    return offset_of(node, f.type(node.operand))


def _comptime(f: FunctionLowering, node: n.Comptime) -> Value | Ref:
    return f.value(node.operand) if f.type(node).is_scalar else f.ref(node.operand)


def string_prefix(f: FunctionLowering, node: n.Node, size: int) -> Ref:
    """Return readable memory with at least the first ``size`` bytes of a string expression.

    What is only compared with a short literal need not be copied in full.
    """
    from bpflens.lang import call

    if isinstance(node, n.Call) and call.find(node.name) is not None:
        rule = call.find(node.name)
        assert rule is not None
        if rule.write is not None:
            # One byte more than is compared: a text cut short would end in a NUL of its own.
            size = min(size + 1, f.type(node).size)
            place = Ref(f.buffer(size).base, 0, loose=True)
            rule.write(f, node, place, String(size))
            return place
    place = f.ref(node)
    if place.direct:
        return place
    kind = f.type(node)
    buffer = f.buffer(min(size, kind.size))
    memory.probe_read(f, buffer, min(size, kind.size), place)
    return buffer


_VALUES: dict[type[n.Node], Callable[..., Value | Ref]] = {
    n.Integer: _integer,
    n.Boolean: _boolean,
    n.Positional: _positional,
    n.Identifier: _identifier,
    n.Variable: _variable,
    n.MapName: _map_value,
    n.MapAccess: _map_value,
    n.Call: _call,
    n.Unary: _unary,
    n.IncDec: _inc_dec,
    n.Binary: _binary,
    n.Ternary: _ternary,
    n.If: _if,
    n.Block: _block,
    n.Field: _field,
    n.TupleItem: _tuple_item,
    n.Index: _index,
    n.Cast: _cast,
    n.Sizeof: _sizeof,
    n.Offsetof: _offsetof,
    n.Comptime: _comptime,
}

"""Lowering of statements, and of a probe as a whole."""

from __future__ import annotations

from bpflens.lang import nodes as n
from bpflens.lang.analyse.statement import aggregation_of
from bpflens.lang.lower import expression, loop, memory, subprogram
from bpflens.lang.lower import map as maps
from bpflens.lang.lower.function import Ref
from bpflens.lang.types import Aggregate, Int, NoneType, Pointer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bpflens.lang.ir.ops import Value
    from bpflens.lang.lower.function import FunctionLowering
    from bpflens.lang.types import Type

__all__ = ["lower_block", "lower_if", "lower_probe", "lower_statements"]


def lower_probe(f: FunctionLowering, probe: n.Probe) -> None:
    """Lower predicate and body; the program returns 0 at the end."""
    leave = f.block("leave")
    if f.variant.kind == "iter":
        # At the end an iterator's program runs once more, without an object; the first word of
        # every context is the iterator's own bookkeeping, the second the object.
        found = f.block("object")
        f.b.branch("ne", f.b.load(f.fn.ctx, 8, 8), 0, found, leave)
        f.b.set_block(found)
    if probe.predicate is not None:
        body = f.block("matched")
        f.condition(probe.predicate, body, leave)
        f.b.set_block(body)
    lower_block(f, probe.body)
    f.b.jump(leave)
    f.b.set_block(leave)
    f.b.exit(0)


def lower_block(f: FunctionLowering, block: n.Block) -> None:
    """Lower a block whose value is not used."""
    lower_statements(f, block.statements)
    if block.result is not None:
        _evaluate(f, block.result)


def lower_statements(f: FunctionLowering, statements: Sequence[n.Node]) -> None:
    """Lower statements one after the other."""
    for node in statements:
        f.b.at(node.start)
        mark = f.mark()
        _RULES[type(node)](f, node)
        f.release(mark)


def _evaluate(f: FunctionLowering, node: n.Node) -> None:
    # Only the effects of an expression matter here: counting up needs no old value.
    node = f.meant(node)
    if isinstance(node, n.IncDec) and not isinstance(node.target, n.Variable):
        kind = f.type(node)
        step = kind.target.size or 1 if isinstance(kind, Pointer) else 1
        maps.add_in_place(f, node.target, step if node.op == "++" else -step)
        return
    if isinstance(node, n.If):
        lower_if(f, node)
        return
    if isinstance(node, n.Block):
        lower_block(f, node)
        return
    if isinstance(node, n.Ternary) and node.then is not None:
        then, otherwise, done = f.block("then"), f.block("else"), f.block("done")
        f.condition(node.condition, then, otherwise)
        for block, branch in ((then, node.then), (otherwise, node.otherwise)):
            f.b.set_block(block)
            _evaluate(f, branch)
            f.b.jump(done)
        f.b.set_block(done)
        return
    found = f.variant.types.get(node)
    if found is None or found.is_scalar or isinstance(found, (NoneType, Aggregate)):
        f.value(node)
    else:
        f.ref(node)


def _expr_statement(f: FunctionLowering, node: n.ExprStmt) -> None:
    _evaluate(f, node.expr)


def _assign(f: FunctionLowering, node: n.Assign) -> None:
    if isinstance(node.target, n.Variable):
        _assign_variable(f, node, node.target)
    elif node.op != "=":
        _compound_map(f, node)
    else:
        kind = f.type(node.value)
        value = node.value
        if isinstance(kind, Aggregate) and isinstance(aggregation_of(value), n.Call):
            from bpflens.lang.call import aggregate

            while isinstance(value, n.Block) and value.result is not None:
                lower_statements(f, value.statements)
                value = value.result
            assert isinstance(value, n.Call)
            aggregate.lower_assignment(f, node.target, value)
        elif f.plan(maps.map_of(node.target)[0]).value.is_scalar:
            maps.assign_scalar(f, node.target, f.value(node.value))
        else:
            maps.assign(f, node.target, node.value)


def _assign_variable(f: FunctionLowering, node: n.Assign, target: n.Variable) -> None:
    info = f.variant.variables[target]
    found = f.variable(info)
    assert info.type is not None
    if isinstance(found, Ref):
        memory.store_over(f, node.value, found, info.type, info.name)
        return
    value = f.value(node.value)
    if node.op != "=":
        value = _combine(f, node, found, value, info.type)
    if isinstance(info.type, Int) and info.type.size < 8:
        bits = info.type.size * 8
        value = f.b.sext(value, bits) if info.type.signed else f.b.zext(value, bits)
    f.b.assign(found, value)


def _combine(f: FunctionLowering, node: n.Assign, old: Value, value: Value, kind: Type) -> Value:
    op = node.op[:-1]
    if isinstance(kind, Pointer):
        value = expression._scaled(f, value, kind.target.size or 1)
    if op in ("/", "%"):
        return expression.divide(f, node, old, value, op)
    return f.b.alu(expression._ALU[op], old, value)


def _compound_map(f: FunctionLowering, node: n.Assign) -> None:
    plan = f.plan(maps.map_of(node.target)[0])
    if node.op in ("+=", "-=") and isinstance(plan.value, Int):
        value = f.value(node.value)
        amount = f.b.neg(value) if node.op == "-=" else value
        maps.add_in_place(f, node.target, amount)
        return
    old = f.value(node.target)
    maps.assign_scalar(f, node.target, _combine(f, node, old, f.value(node.value), plan.value))


def _let(f: FunctionLowering, node: n.Let) -> None:
    info = f.variant.variables[node]
    if info.type is None:
        return
    found = f.variable(info)
    if isinstance(found, Ref):
        if node.value is None:
            f.b.zero(found.base, found.off, info.type.size)
        else:
            memory.store_node(f, node.value, found, info.type)
        return
    value = f.value(node.value) if node.value is not None else 0
    if isinstance(info.type, Int) and info.type.size < 8:
        bits = info.type.size * 8
        value = f.b.sext(value, bits) if info.type.signed else f.b.zext(value, bits)
    f.b.assign(found, value)


def _discard(f: FunctionLowering, node: n.Discard) -> None:
    _evaluate(f, node.value)


def lower_if(f: FunctionLowering, node: n.If) -> None:
    """Lower ``if`` as a statement."""
    chosen = f.meant(node)
    if chosen is not node:
        _evaluate(f, chosen)
        return
    then, done = f.block("then"), f.block("endif")
    otherwise = f.block("else") if node.otherwise is not None else done
    f.condition(node.condition, then, otherwise)
    f.b.set_block(then)
    lower_block(f, node.then)
    f.b.jump(done)
    if node.otherwise is not None:
        f.b.set_block(otherwise)
        if isinstance(node.otherwise, n.If):
            lower_if(f, node.otherwise)
        else:
            lower_block(f, node.otherwise)
        f.b.jump(done)
    f.b.set_block(done)


def _unroll(f: FunctionLowering, node: n.Unroll) -> None:
    assert isinstance(node.count, n.Integer)
    for _ in range(node.count.value):
        lower_block(f, node.body)


def _return(f: FunctionLowering, node: n.Return) -> None:
    if f.calls:
        subprogram.lower_return(f, node)
        return
    f.leave(f.value(node.value) if node.value is not None else 0)


_RULES: dict[type[n.Node], Callable[..., None]] = {
    n.ExprStmt: _expr_statement,
    n.Assign: _assign,
    n.Let: _let,
    n.Discard: _discard,
    n.If: lower_if,
    n.Block: lower_block,
    n.While: loop.lower_while,
    n.ForRange: loop.lower_for_range,
    n.ForMap: loop.lower_for_map,
    n.Unroll: _unroll,
    n.Return: _return,
    n.Jump: loop.lower_jump,
}

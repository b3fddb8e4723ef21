"""Lowering of calls to ``fn`` functions: their code is put in the place of the call."""

from __future__ import annotations

from bpflens.lang.lower import memory
from bpflens.lang.lower.closure import escape
from bpflens.lang.lower.function import Ref
from bpflens.lang.types import Int, NoneType, Type

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.lang import nodes as n
    from bpflens.lang.ir.ops import Block, Reg, Value
    from bpflens.lang.lower.function import FunctionLowering

__all__ = ["Frame", "lower_call", "lower_return", "narrowed"]


class Frame:
    """One call being lowered: where its result goes and where it leaves to.

    ``level`` and ``guards`` tell how many callbacks and loops the call itself is in.
    """

    __slots__ = ("done", "guards", "kind", "level", "result")

    def __init__(
        self, kind: Type, result: Reg | Ref | None, done: Block, level: int, guards: int
    ) -> None:
        self.kind = kind
        self.result = result
        self.done = done
        self.level = level
        self.guards = guards


def lower_call(f: FunctionLowering, node: n.Call, function: n.Function) -> Value | Ref:
    """Evaluate the arguments, then the body; ``return`` leaves to the code behind it."""
    from bpflens.lang.lower import statement

    kind = f.type(node)
    result: Reg | Ref | None = None
    if kind.is_scalar:
        result = f.fn.new("result")
        f.b.assign(result, 0)
    elif not isinstance(kind, NoneType):
        result = f.buffer(kind.size, name="result")
        memory.fill(f, result, kind.size)
    # All arguments come first: evaluating one may call this very function.
    values = [_argument(f, function.params[i], node.args[i]) for i in range(len(node.args))]
    for param, value in zip(function.params, values, strict=True):
        info = f.variant.variables[param]
        found = f.variable(info)
        assert info.type is not None
        if isinstance(found, Ref):
            assert isinstance(value, Ref)
            memory.copy(f, found, value, info.type, info.type)
        else:
            assert not isinstance(value, Ref)
            f.b.assign(found, value)
    done = f.block("returned")
    f.calls.append(Frame(kind, result, done, len(f.closures), len(f.guards)))
    loops, f.loops = f.loops, []
    statement.lower_block(f, function.body)
    f.loops = loops
    f.calls.pop()
    f.b.jump(done)
    f.b.set_block(done)
    return 0 if result is None else result


def _argument(f: FunctionLowering, param: n.Param, node: n.Node) -> Value | Ref:
    kind = f.variant.variables[param].type
    assert kind is not None
    if not kind.is_scalar:
        place = f.buffer(kind.size, name="argument")
        f.store(node, place, kind)
        return place
    return f.b.move(narrowed(f, f.value(node), kind))


def narrowed(f: FunctionLowering, value: Value, kind: Type) -> Value:
    """Return a value as one of a type: small integers keep only their bits."""
    if isinstance(kind, Int) and kind.size < 8:
        bits = kind.size * 8
        return f.b.sext(value, bits) if kind.signed else f.b.zext(value, bits)
    return value


def lower_return(f: FunctionLowering, node: n.Return) -> None:
    """Lower ``return`` inside of a function."""
    frame = f.calls[-1]
    if node.value is not None and frame.result is not None:
        if isinstance(frame.result, Ref):
            f.store(node.value, f.near_place(frame.result, frame.level), frame.kind)
        else:
            value = narrowed(f, f.value(node.value), frame.kind)
            f.b.assign(f.near(frame.result, frame.level, True), value)
    escape(f, frame.guards, 0, lambda value: f.b.jump(frame.done))

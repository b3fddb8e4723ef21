"""Lowering of loops: ``while``, ``for`` over ranges and over maps, ``break`` and ``continue``."""

from __future__ import annotations

from bpflens.lang import nodes as n
from bpflens.lang.lower.function import Ref

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.lang.lower.function import FunctionLowering

__all__ = ["lower_for_range", "lower_jump", "lower_while"]


def lower_while(f: FunctionLowering, node: n.While) -> None:
    """Lower ``while``: the kernel's own budget ends a loop that never would."""
    from bpflens.lang.lower import statement

    head, test, body, done = (f.block(name) for name in ("while", "test", "body", "endwhile"))
    f.b.jump(head)
    f.b.set_block(head)
    f.b.may_goto(test, done)
    f.b.set_block(test)
    f.condition(node.condition, body, done)
    f.b.set_block(body)
    f.loops.append((head, done))
    statement.lower_block(f, node.body)
    f.loops.pop()
    f.b.jump(head)
    f.b.set_block(done)


def lower_for_range(f: FunctionLowering, node: n.ForRange) -> None:
    """Lower ``for $i : a..b``; both bounds are evaluated once."""
    from bpflens.lang.lower import statement

    variable = f.variable(f.variant.variables[node])
    assert not isinstance(variable, Ref)
    counter, stop = f.fn.new("counter"), f.fn.new("stop")
    f.b.assign(counter, f.value(node.first))
    f.b.assign(stop, f.value(node.stop))
    head, test, body, step, done = (
        f.block(name) for name in ("for", "test", "body", "step", "endfor")
    )
    f.b.jump(head)
    f.b.set_block(head)
    f.b.may_goto(test, done)
    f.b.set_block(test)
    f.b.branch("slt", counter, stop, body, done)
    f.b.set_block(body)
    f.b.assign(variable, counter)
    f.loops.append((step, done))
    statement.lower_block(f, node.body)
    f.loops.pop()
    f.b.jump(step)
    f.b.set_block(step)
    f.b.assign(counter, f.b.alu("add", counter, 1))
    f.b.jump(head)
    f.b.set_block(done)


def lower_jump(f: FunctionLowering, node: n.Jump) -> None:
    """Lower ``break`` and ``continue``."""
    again, done = f.loops[-1]
    f.b.jump(done if node.kind == "break" else again)

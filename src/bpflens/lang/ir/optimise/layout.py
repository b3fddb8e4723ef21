"""In which order the blocks of a function lie in memory.

Reverse postorder, so that most jumps go forward and each block is followed by one it leads to;
blocks that rarely run, and those that only such blocks lead to, come last. A jump that is left to a
mere return of a number is replaced by that return.

Example::

    entry → found → done, then the cold block that creates the missing entry
"""

from __future__ import annotations

from bpflens.lang.ir.flow import predecessors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.lang.ir.ops import Block, Function

__all__ = ["run"]


def run(fn: Function, order: list[Block]) -> None:
    """Put the blocks of ``fn``, in reverse postorder in ``order``, in their final order."""
    if any(block.cold for block in order):
        preds = predecessors(order)
        for block in order[1:]:
            if not block.cold and all(pred.cold for pred in preds[block]):
                block.cold = True
        order = [block for block in order if not block.cold] + [
            block for block in order if block.cold
        ]
    fn.blocks = order
    for number, block in enumerate(order):
        term = block.term
        if term is not None and term.kind == "jump":
            target = term.targets[0]
            end = target.term
            if (
                end is not None
                and end.kind == "ret"
                and not target.ops
                and type(end.args[0]) is int
                and order[(number + 1) % len(order)] is not target
            ):
                term.kind, term.args, term.targets = "ret", list(end.args), []

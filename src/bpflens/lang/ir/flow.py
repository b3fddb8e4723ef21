"""Questions about control flow and liveness that several passes ask.

Sets of registers are Python integers used as bit sets, bit ``n`` for register number ``n``: with
the few hundred registers of a program that is one machine word or a few, and unions cost nothing.

Example::

    order = reverse_postorder(fn)
    live_in, live_out = liveness(fn, order)
"""

from __future__ import annotations

from bpflens.lang.ir.ops import Block, Function, Reg

__all__ = ["liveness", "loop_depths", "predecessors", "reachable", "reverse_postorder"]


def reachable(fn: Function) -> set[Block]:
    """Return the blocks that can be reached from the entry."""
    seen = {fn.blocks[0]}
    work = [fn.blocks[0]]
    while work:
        term = work.pop().term
        if term is not None:
            for target in term.targets:
                if target not in seen:
                    seen.add(target)
                    work.append(target)
    return seen


def reverse_postorder(fn: Function) -> list[Block]:
    """Return the reachable blocks, each one before its successors except along back edges.

    Of a branch's targets the first comes first wherever the order is free to choose.
    """
    seen = {fn.blocks[0]}
    order: list[Block] = []
    stack: list[tuple[Block, list[Block]]] = [(fn.blocks[0], _targets(fn.blocks[0]))]
    while stack:
        block, rest = stack[-1]
        if not rest:
            order.append(block)
            stack.pop()
            continue
        # The last target is walked first, so that the first one ends up right behind its block.
        target = rest.pop()
        if target not in seen:
            seen.add(target)
            stack.append((target, _targets(target)))
    order.reverse()
    return order


def _targets(block: Block) -> list[Block]:
    return list(block.term.targets) if block.term is not None else []


def predecessors(blocks: list[Block]) -> dict[Block, list[Block]]:
    """Return who leads to each of ``blocks``; a branch with twice the same target counts twice."""
    result: dict[Block, list[Block]] = {block: [] for block in blocks}
    for block in blocks:
        if block.term is not None:
            for target in block.term.targets:
                result[target].append(block)
    return result


def liveness(blocks: list[Block]) -> tuple[dict[Block, int], dict[Block, int]]:
    """Return the registers alive at the start and at the end of each block.

    ``blocks`` should be in reverse postorder: then two or three rounds are enough.
    """
    gen: dict[Block, int] = {}
    kill: dict[Block, int] = {}
    for block in blocks:
        used, assigned = 0, 0
        for op in block.ops:
            for arg in op.args:
                if type(arg) is Reg and not assigned >> arg.n & 1:
                    used |= 1 << arg.n
            if op.dst is not None:
                assigned |= 1 << op.dst.n
        if block.term is not None:
            for arg in block.term.args:
                if type(arg) is Reg and not assigned >> arg.n & 1:
                    used |= 1 << arg.n
        gen[block], kill[block] = used, ~assigned
    live_in = dict(gen)
    live_out = dict.fromkeys(blocks, 0)
    changed = True
    while changed:
        changed = False
        for block in reversed(blocks):
            out = 0
            assert block.term is not None
            for target in block.term.targets:
                out |= live_in[target]
            if out != live_out[block]:
                live_out[block] = out
                into = gen[block] | (out & kill[block])
                if into != live_in[block]:
                    live_in[block] = into
                    changed = True
    return live_in, live_out


def loop_depths(order: list[Block]) -> dict[Block, int]:
    """Return in how many loops each block lies; ``order`` is the reverse postorder.

    Only loops entered at their head are found, which is all that the compiler makes.
    """
    index = {block: n for n, block in enumerate(order)}
    preds = predecessors(order)
    depth = dict.fromkeys(order, 0)
    for head in order:
        tails = [block for block in preds[head] if index[block] >= index[head]]
        if not tails:
            continue
        body = {head}
        while tails:
            block = tails.pop()
            if block not in body:
                body.add(block)
                tails += preds[block]
        for block in body:
            depth[block] += 1
    return depth

"""Blocks that only pass control on disappear, jumps go where they end up, chains become one block.

* a jump to an empty block goes on to where that leads;
* a block that does nothing but branch on a variable is skipped by those who come to it with a
  number in the variable just assigned (what ``&&``, ``||`` and ``?:`` leave behind);
* a block with one predecessor that has no other choice is appended to it;
* blocks that nothing leads to are dropped.

Example::

    a: assign %v, 1; jump c       c: branch ne %v, 0 ? d : e       becomes       a: ...; jump d
"""

from __future__ import annotations

from bpflens.lang.ir.flow import reachable
from bpflens.lang.ir.ops import Block, Function, Reg, Terminator
from bpflens.lang.ir.optimise.arithmetic import holds

__all__ = ["run"]

# How many empty blocks a jump may run through; a loop of nothing but jumps has no end.
_LONGEST = 50


def run(fn: Function) -> bool:
    """Tidy the control flow of ``fn``; whether anything changed."""
    changed = False
    for block in fn.blocks:
        if block.term is not None:
            changed |= _thread(block, block.term)
    alive = reachable(fn)
    if len(alive) != len(fn.blocks):
        fn.blocks = [block for block in fn.blocks if block in alive]
        changed = True
    return _merge(fn) or changed


def _thread(block: Block, term: Terminator) -> bool:
    targets = term.targets
    changed = False
    for number, target in enumerate(targets):
        end = _end_of(block, target)
        if end is not target:
            targets[number] = end
            changed = True
    if term.kind == "branch" and targets[0] is targets[1]:
        term.kind, term.args, term.op, term.targets = "jump", [], "", targets[:1]
        changed = True
    return changed


def _end_of(block: Block, target: Block) -> Block:
    # Where control that goes from ``block`` to ``target`` comes to do something.
    for _ in range(_LONGEST):
        term = target.term
        if target.ops or term is None:
            break
        following: Block | None = None
        if term.kind == "jump":
            following = term.targets[0]
        elif term.kind == "branch":
            following = _decided(block, term)
        if following is None or following is target:
            break
        target = following
    return target


def _decided(block: Block, term: Terminator) -> Block | None:
    # Which way a branch goes for those who come from ``block``, if that is certain.
    a, b = term.args
    if type(b) is not int or type(a) is not Reg:
        return None
    for op in reversed(block.ops):
        if op.dst is a:
            if op.kind != "const":
                return None
            value = op.args[0]
            assert type(value) is int
            return term.targets[0 if holds(term.op, value, b, term.size) else 1]
    return None


def _merge(fn: Function) -> bool:
    # Append blocks to their only predecessor where that one jumps.
    count: dict[Block, int] = {fn.blocks[0]: 1}
    for block in fn.blocks:
        assert block.term is not None
        for target in block.term.targets:
            count[target] = count.get(target, 0) + 1
    gone: set[Block] = set()
    for block in fn.blocks:
        if block in gone:
            continue
        while True:
            term = block.term
            assert term is not None
            if term.kind != "jump":
                break
            target = term.targets[0]
            if count[target] != 1 or target is block:
                break
            block.ops += target.ops
            block.term = target.term
            gone.add(target)
    if gone:
        fn.blocks = [block for block in fn.blocks if block not in gone]
    return bool(gone)

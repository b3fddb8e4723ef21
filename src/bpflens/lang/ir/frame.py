"""Where the slots of a function lie in its stack frame; slots never in use together share bytes.

A slot is in use from the first time anything touches it to the last time, on any path. Touching is
a load, a store, or any operation on a register that may hold its address. Once its address is
stored to memory there is no telling who uses it, and it counts as in use throughout.

Example::

    offsets, size = layout(fn)       # {key: -4, value: -16}, 16
"""

from __future__ import annotations

from bpflens.lang.ir.ops import MAX_STACK, Block, Function, IrError, Op, Reg, Slot, Terminator

__all__ = ["FrameTooLarge", "address_targets", "layout"]

# What the verifier adds to the frame of a function with a may_goto in it.
_LOOP_BUDGET = 16


class FrameTooLarge(IrError):
    """The slots and spills of ``function`` need ``size`` bytes, more than a frame may have."""

    def __init__(self, function: str, size: int, limit: int = MAX_STACK) -> None:
        super().__init__(f"{function}: a frame of {size} bytes, of {limit} at most")
        self.function = function
        self.size = size


def layout(fn: Function) -> tuple[dict[object, int], int]:
    """Return the offset (from the end, negative) of each :class:`Slot` used, and the frame's size.

    Raises :class:`FrameTooLarge` when they do not fit.
    """
    lifetimes = _lifetimes(fn) if fn.slots else {}
    # Large ones first, then by their first use: the same function always gets the same frame.
    order = sorted(lifetimes, key=lambda slot: (-slot.align, -slot.size, lifetimes[slot], slot.n))
    placed: list[tuple[int, int, Slot]] = []
    offsets: dict[object, int] = {}
    size = 0
    for slot in order:
        taken = sorted(
            (low, high)
            for low, high, other in placed
            if _overlap(lifetimes[slot], lifetimes[other])
        )
        # Distances below the frame's end: the slot fills [low, high).
        low = 0
        for other_low, other_high in taken:
            if _round(low + slot.size, slot.align) <= other_low:
                break
            low = max(low, other_high)
        high = _round(low + slot.size, slot.align)
        placed.append((low, high, slot))
        offsets[slot] = -high
        size = max(size, high)
    size = _round(size, 8)
    limit = MAX_STACK
    if any(block.term is not None and block.term.kind == "may_goto" for block in fn.blocks):
        limit -= _LOOP_BUDGET
    if size > limit:
        raise FrameTooLarge(fn.name, size, limit)
    return offsets, size


def _round(value: int, align: int) -> int:
    return (value + align - 1) // align * align


def _overlap(one: list[tuple[int, int]], other: list[tuple[int, int]]) -> bool:
    # Whether two sorted lists of ranges meet anywhere.
    at = 0
    for start, end in one:
        while at < len(other) and other[at][1] <= start:
            at += 1
        if at == len(other):
            return False
        if other[at][0] < end:
            return True
    return False


def _lifetimes(fn: Function) -> dict[Slot, list[tuple[int, int]]]:
    # Ranges of positions in which each touched slot is in use; a position is one operation.
    aims, escaped = address_targets(fn)
    touched: dict[Block, list[tuple[int, int]]] = {}
    gen: dict[Block, int] = {}
    starts: dict[Block, int] = {}
    position = 0
    for block in fn.blocks:
        starts[block] = position
        touches: list[tuple[int, int]] = []
        every = 0
        for op in block.ops:
            mask = _mask(op, aims)
            if mask:
                touches.append((position, mask))
                every |= mask
            position += 1
        assert block.term is not None
        mask = _mask(block.term, aims)
        if mask:
            touches.append((position, mask))
            every |= mask
        position += 1
        touched[block], gen[block] = touches, every
    before, after = _spread(fn, gen)
    bits: dict[int, list[tuple[int, int]]] = {}
    for block in fn.blocks:
        end = starts[block] + len(block.ops) + 1
        first: dict[int, int] = {}
        last: dict[int, int] = {}
        _each(before[block] & (gen[block] | after[block]), starts[block], first)
        _each((before[block] | gen[block]) & after[block], end, last)
        for at, mask in touched[block]:
            for n in _numbers(mask):
                first.setdefault(n, at)
                last[n] = max(last.get(n, 0), at + 1)
        for n, start in first.items():
            ranges = bits.setdefault(n, [])
            if ranges and ranges[-1][1] == start:
                ranges[-1] = (ranges[-1][0], last[n])
            else:
                ranges.append((start, last[n]))
    result: dict[Slot, list[tuple[int, int]]] = {}
    for slot in fn.slots:
        if slot.n in bits:
            result[slot] = [(0, position)] if escaped >> slot.n & 1 else bits[slot.n]
    return result


def _each(mask: int, value: int, into: dict[int, int]) -> None:
    for n in _numbers(mask):
        into[n] = value


def _numbers(mask: int) -> list[int]:
    result = []
    while mask:
        low = mask & -mask
        result.append(low.bit_length() - 1)
        mask ^= low
    return result


def _spread(fn: Function, gen: dict[Block, int]) -> tuple[dict[Block, int], dict[Block, int]]:
    # What may have been touched before each block, and what may be touched after it.
    before = dict.fromkeys(fn.blocks, 0)
    after = dict.fromkeys(fn.blocks, 0)
    changed = True
    while changed:
        changed = False
        for block in fn.blocks:
            assert block.term is not None
            out = before[block] | gen[block]
            for target in block.term.targets:
                if before[target] | out != before[target]:
                    before[target] |= out
                    changed = True
        for block in reversed(fn.blocks):
            assert block.term is not None
            later = 0
            for target in block.term.targets:
                later |= gen[target] | after[target]
            if later != after[block]:
                after[block] = later
                changed = True
    return before, after


def address_targets(fn: Function) -> tuple[dict[Reg, int], int]:
    """Return which slots each register may point into, and the slots whose address is in memory.

    Both are bit sets of slot numbers.
    """
    aims: dict[Reg, int] = {}
    changed = any(op.kind == "slot_addr" for block in fn.blocks for op in block.ops)
    while changed:
        changed = False
        for block in fn.blocks:
            for op in block.ops:
                if op.dst is None or op.kind in ("load", "bool", "call"):
                    # Helpers return nothing that points into the stack.
                    continue
                mask = _mask(op, aims) if op.kind != "atomic" else 0
                if mask and aims.get(op.dst, 0) | mask != aims.get(op.dst, 0):
                    aims[op.dst] = aims.get(op.dst, 0) | mask
                    changed = True
    escaped = 0
    for block in fn.blocks:
        for op in block.ops:
            if op.kind in ("store", "atomic"):
                for arg in op.args[1:]:
                    if type(arg) is Reg:
                        escaped |= aims.get(arg, 0)
    return aims, escaped


def _mask(op: Op | Terminator, aims: dict[Reg, int]) -> int:
    mask = 0
    for arg in op.args:
        if type(arg) is Reg:
            mask |= aims.get(arg, 0)
        elif type(arg) is Slot:
            mask |= 1 << arg.n
        elif type(arg) is Op:
            mask |= _mask(arg, aims)
    return mask

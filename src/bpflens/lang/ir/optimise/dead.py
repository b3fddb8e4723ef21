"""What nobody looks at is not computed, and not stored to the stack.

Registers: one walk backwards over each block with what is alive behind it. Stack: the same with
the bytes of all slots instead of registers. A byte matters if it may be loaded, or if the address
of its slot goes somewhere (to a helper, into arithmetic); a slot whose address is stored to memory
matters always.

Calls stay, except for helpers that only tell something.

Example::

    store8 [$key], 0        becomes        store8 [$key], %1
    store8 [$key], %1
"""

from __future__ import annotations

from bpflens.lang.ir.flow import liveness
from bpflens.lang.ir.frame import address_targets
from bpflens.lang.ir.ops import PURE_KINDS, Block, Function, Op, Reg, Slot

__all__ = ["PURE_HELPERS", "run"]

#: Helpers without effects: ktime_get_ns, get_smp_processor_id, get_current_pid_tgid,
#: get_current_uid_gid, get_current_task, get_numa_node_id, get_current_cgroup_id, jiffies64,
#: get_current_ancestor_cgroup_id, ktime_get_boot_ns, get_current_task_btf, ktime_get_coarse_ns,
#: get_func_ip, get_attach_cookie, get_func_arg_cnt, ktime_get_tai_ns.
PURE_HELPERS = frozenset((5, 8, 14, 15, 35, 42, 80, 118, 123, 125, 158, 160, 173, 174, 185, 208))


def run(fn: Function, order: list[Block]) -> bool:
    """Remove dead operations from ``fn``, whose blocks in reverse postorder are ``order``."""
    changed = _dead_stores(fn, order) if fn.slots else False
    _, live_out = liveness(order)
    for block in order:
        changed |= _dead_values(block, live_out[block])
    return changed


def _dead_values(block: Block, live: int) -> bool:
    term = block.term
    assert term is not None
    for arg in term.args:
        if type(arg) is Reg:
            live |= 1 << arg.n
    kept: list[Op] = []
    for op in reversed(block.ops):
        dst = op.dst
        if dst is not None:
            bit = 1 << dst.n
            if not live & bit and _is_pure(op):
                continue
            live &= ~bit
            if op.kind == "move" and op.args[0] is dst:
                live |= bit
                continue
        for arg in op.args:
            if type(arg) is Reg:
                live |= 1 << arg.n
        kept.append(op)
    if len(kept) == len(block.ops):
        return False
    kept.reverse()
    block.ops = kept
    return True


def _is_pure(op: Op) -> bool:
    return op.kind in PURE_KINDS or (op.kind == "call" and op.ref in PURE_HELPERS)


def _dead_stores(fn: Function, order: list[Block]) -> bool:
    # Remove stores to bytes of slots that are stored to again, or never read, behind them.
    stored = False
    for block in order:
        for op in block.ops:
            if op.kind == "store" and type(op.args[0]) is Slot:
                stored = True
                break
    if not stored:
        return False
    first: list[int] = []
    total = 0
    for slot in fn.slots:
        first.append(total)
        total += slot.size
    whole = [((1 << slot.size) - 1) << first[slot.n] for slot in fn.slots]
    aims, escaped = address_targets(fn)
    always = 0
    for slot in fn.slots:
        if escaped >> slot.n & 1:
            always |= whole[slot.n]

    def aimed(mask: int) -> int:
        result = 0
        while mask:
            low = mask & -mask
            result |= whole[low.bit_length() - 1]
            mask ^= low
        return result

    def step(op: Op, live: int) -> int:
        """What matters in front of an operation, given what matters behind it."""
        kind = op.kind
        if kind == "slot_addr":
            return live
        for number, arg in enumerate(op.args):
            if type(arg) is Slot:
                bytes_ = ((1 << op.size) - 1) << (first[arg.n] + op.off)
                live = live & ~bytes_ if kind == "store" else live | bytes_
            elif type(arg) is Reg and arg in aims:
                if kind == "store" and not number:
                    continue
                live |= aimed(aims[arg])
        return live

    live_in: dict[Block, int] = dict.fromkeys(order, always)
    live_out: dict[Block, int] = {}
    work = True
    while work:
        work = False
        for block in reversed(order):
            live = always
            assert block.term is not None
            for target in block.term.targets:
                live |= live_in[target]
            if live_out.get(block) == live:
                continue
            live_out[block] = live
            for op in reversed(block.ops):
                if op.args:
                    live = step(op, live)
            if live != live_in[block]:
                live_in[block] = live
                work = True
    changed = False
    for block in order:
        live = live_out[block]
        kept: list[Op] = []
        for op in reversed(block.ops):
            if op.kind == "store":
                base = op.args[0]
                if type(base) is Slot:
                    bytes_ = ((1 << op.size) - 1) << (first[base.n] + op.off)
                    if not live & bytes_:
                        changed = True
                        continue
            if op.args:
                live = step(op, live)
            kept.append(op)
        if len(kept) != len(block.ops):
            kept.reverse()
            block.ops = kept
    return changed

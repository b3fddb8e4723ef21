"""What was just stored to a slot, or loaded from the context, is not loaded again.

Within a block, and on into blocks that only it leads to. Only memory that nobody else can change is
looked at: slots whose address goes nowhere, and the context of a function that never stores
through it. Loads through other pointers are left alone: another CPU may have written there.

Helpers that tell the same all the time a program runs (who is the current task) are asked once.

Example::

    store8 [$x], %1
    %2 = load8 [$x]        becomes        %2 = %1
"""

from __future__ import annotations

from bpflens.lang.ir.ops import Block, Function, Op, Reg, Slot

__all__ = ["STEADY_HELPERS", "run"]

#: get_current_pid_tgid, get_current_uid_gid, get_current_task, get_current_cgroup_id,
#: get_current_task_btf, get_func_ip, get_attach_cookie, get_func_arg_cnt.
STEADY_HELPERS = frozenset((14, 15, 35, 80, 158, 173, 174, 185))

_CTX = -1


def run(fn: Function, order: list[Block]) -> bool:
    """Replace repeated loads and questions in ``fn`` by what is known; whether anything changed."""
    single, private, ctx = _survey(fn, order)
    if (
        not private
        and ctx is None
        and not any(op.kind == "call" for block in order for op in block.ops)
    ):
        return False
    worker = _Worker(single, private, ctx)
    pred: dict[Block, Block | None] = {order[0]: None}
    for block in order:
        assert block.term is not None
        for target in block.term.targets:
            pred[target] = None if target in pred else block
    at_end: dict[Block, dict[tuple[int, ...], Reg | int]] = {}
    for block in order:
        before = pred[block]
        state = at_end.get(before) if before is not None else None
        worker.known = dict(state) if state else {}
        worker.block(block)
        at_end[block] = worker.known
    return worker.changed


def _survey(fn: Function, order: list[Block]) -> tuple[set[Reg], set[int], Reg | None]:
    # Registers assigned once, slots without an address, and the context if it is only read.
    single: set[Reg] = set(fn.params)
    many: set[Reg] = set()
    private = {slot.n for slot in fn.slots}
    ctx = fn.params[0] if fn.params else None
    for block in order:
        for op in block.ops:
            dst = op.dst
            if dst is not None:
                if dst in single:
                    many.add(dst)
                single.add(dst)
            if op.kind == "slot_addr":
                slot = op.args[0]
                assert type(slot) is Slot
                private.discard(slot.n)
            elif op.kind in ("store", "atomic") and op.args[0] is ctx:
                ctx = None
    single -= many
    return single, private, ctx if ctx in single else None


class _Worker:
    __slots__ = ("changed", "ctx", "known", "private", "single")

    def __init__(self, single: set[Reg], private: set[int], ctx: Reg | None) -> None:
        self.single = single
        self.private = private
        self.ctx = ctx
        #: (slot number, offset, size, signed) or (helper number,) and the value it has.
        self.known: dict[tuple[int, ...], Reg | int] = {}
        self.changed = False

    def block(self, block: Block) -> None:
        for op in block.ops:
            kind = op.kind
            if kind == "load":
                self.load(op)
            elif kind == "store":
                base = op.args[0]
                if type(base) is Slot:
                    self.store(op, base)
            elif kind == "call":
                self.call(op)
            elif kind == "atomic":
                base = op.args[0]
                if type(base) is Slot:
                    self.forget(base.n, op.off, op.size)

    def key(self, op: Op) -> tuple[int, ...] | None:
        base = op.args[0]
        if type(base) is Slot:
            return (base.n, op.off, op.size, op.signed) if base.n in self.private else None
        if base is self.ctx and base is not None:
            return _CTX, op.off, op.size, op.signed
        return None

    def load(self, op: Op) -> None:
        key = self.key(op)
        if key is None:
            return
        value = self.known.get(key)
        if value is None:
            if op.dst in self.single:
                assert op.dst is not None
                self.known[key] = op.dst
            return
        self.changed = True
        self._become(op, value, op.size, op.signed)

    def _become(self, op: Op, value: Reg | int, size: int, sign: bool) -> None:
        op.off, op.signed, op.size = 0, False, 0
        op.kind, op.args = "const" if type(value) is int else "move", [value]

    def store(self, op: Op, slot: Slot) -> None:
        self.forget(slot.n, op.off, op.size)
        value = op.args[1]
        if slot.n not in self.private:
            return
        if type(value) is int:
            bits = 8 * op.size
            low = value & (1 << bits) - 1
            self.known[slot.n, op.off, op.size, False] = low
            self.known[slot.n, op.off, op.size, True] = low - (low >> (bits - 1) << bits)
        elif op.size == 8 and value in self.single:
            assert type(value) is Reg
            self.known[slot.n, op.off, 8, False] = self.known[slot.n, op.off, 8, True] = value

    def forget(self, slot: int, off: int, size: int) -> None:
        stale = [
            key
            for key in self.known
            if key[0] == slot and len(key) > 1 and key[1] < off + size and off < key[1] + key[2]
        ]
        for key in stale:
            del self.known[key]

    def call(self, op: Op) -> None:
        if op.ref not in STEADY_HELPERS:
            return
        assert type(op.ref) is int
        key = (op.ref,)
        value = self.known.get(key)
        if value is None:
            if op.dst in self.single:
                assert op.dst is not None
                self.known[key] = op.dst
        else:
            self.changed = True
            op.kind, op.args, op.ref = "move", [value], None

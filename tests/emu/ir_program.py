"""Random programs in the intermediate representation that a verifier would accept.

They read a context of eight numbers, work on a one-entry array ``DATA`` and on stack slots, look
into array ``TABLE``, call helpers and subprograms, branch and loop a few times. What they compute
is left in ``DATA`` and in the result.
"""

from __future__ import annotations

import random

from bpflens.lang.ir.builder import Builder
from bpflens.lang.ir.ops import COMPARE_OPS, Function, Reg, Slot

DATA_SIZE = 64
CTX_SIZE = 64
TABLE_ENTRIES = 4
PID_TGID, UID_GID, LOOKUP = 14, 15, 1

_ALU = ("add", "sub", "mul", "div", "mod", "and", "or", "xor", "lsh", "rsh", "arsh", "sdiv", "smod")
_COMPARE = sorted(COMPARE_OPS)
_NUMBERS = (
    0, 1, 2, 3, 7, 8, 10, 16, 63, 64, 100, 255, 256, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000,
    0xFFFFFFFF, 0x100000000, 0x123456789ABCDEF, -1, -2, -8, -128, -0x80000000, -0x80000001,
    1 << 63, (1 << 63) - 1,
)  # fmt: skip


def make(seed: int, size: int) -> list[Function]:
    """Return the functions of a random program of about ``size`` operations, the main one first."""
    rng = random.Random(seed)
    subs: list[Function] = []
    for number in range(rng.choice((0, 0, 1, 2))):
        fn = Function(f"sub{number}", rng.randint(0, 5))
        _Writer(fn, rng, list(subs), False).write(max(size // 4, 3))
        subs.append(fn)
    main = Function("main", 1)
    _Writer(main, rng, subs, True).write(size)
    return [main, *subs]


class _Writer:
    def __init__(self, fn: Function, rng: random.Random, subs: list[Function], main: bool) -> None:
        self.fn, self.rng, self.subs, self.main = fn, rng, subs, main
        self.b = Builder(fn)
        self.values: list[Reg] = []
        self.variables: list[Reg] = []
        self.slots: list[Slot] = []
        self.left = 0

    def write(self, size: int) -> None:
        b, rng = self.b, self.rng
        self.left = size
        for _ in range(rng.randint(1, 4)):
            variable = b.new()
            b.assign(variable, rng.choice(_NUMBERS))
            self.variables.append(variable)
        self.values += self.fn.params if not self.main else []
        for _ in range(rng.randint(0, 3)):
            slot = self.fn.slot(rng.choice((8, 16, 24)))
            b.zero(slot, 0, slot.size)
            self.slots.append(slot)
        while self.left > 0:
            self.statements(3)
        if self.main:
            data = b.map_value("DATA")
            for number, value in enumerate(rng.sample(self.values, min(len(self.values), 6))):
                b.store(data, 8 * number, value, 8)
        b.ret(self.value())

    def statements(self, depth: int) -> None:
        for _ in range(self.rng.randint(1, 12)):
            if self.left <= 0:
                return
            self.left -= 1
            self.statement(depth)

    def value(self) -> Reg | int:
        rng = self.rng
        if rng.random() < 0.25:
            return rng.choice(_NUMBERS)
        return rng.choice(self.variables + self.values[-12:])

    def keep(self, value: Reg) -> None:
        self.values.append(value)

    def statement(self, depth: int) -> None:
        b, rng = self.b, self.rng
        b.at(rng.randint(0, 500))
        kinds = ["alu"] * 6 + ["assign"] * 3 + ["unary", "bool", "slot", "slot", "call", "data"]
        kinds += ["index", "atomic"]
        if self.main:
            kinds += ["ctx", "ctx"]
        if self.subs:
            kinds += ["sub"]
        if depth:
            kinds += ["if", "if", "if", "loop", "lookup"]
        getattr(self, "do_" + rng.choice(kinds))(depth)

    def do_alu(self, _: int) -> None:
        self.keep(
            self.b.alu(
                self.rng.choice(_ALU), self.value(), self.value(), self.rng.choice((64, 64, 32))
            )
        )

    def do_assign(self, _: int) -> None:
        self.b.assign(self.rng.choice(self.variables), self.value())

    def do_unary(self, _: int) -> None:
        b, rng = self.b, self.rng
        what = rng.choice(("neg", "not", "bswap", "sext", "zext", "move"))
        if what == "neg":
            self.keep(b.neg(self.value(), rng.choice((32, 64))))
        elif what == "not":
            self.keep(b.not_(self.value()))
        elif what == "bswap":
            self.keep(b.bswap(self.value(), rng.choice((16, 32, 64))))
        elif what == "sext":
            self.keep(b.sext(self.value(), rng.choice((8, 16, 32, 64))))
        elif what == "zext":
            self.keep(b.zext(self.value(), rng.choice((8, 16, 32, 64))))
        else:
            self.keep(b.move(self.value()))

    def do_bool(self, _: int) -> None:
        rng = self.rng
        width = rng.choice((32, 64))
        self.keep(self.b.bool_(rng.choice(_COMPARE), self.value(), self.value(), width))

    def do_ctx(self, _: int) -> None:
        self.keep(self.b.load(self.fn.ctx, 8 * self.rng.randrange(CTX_SIZE // 8), 8))

    def place(self, size: int, step: int) -> int:
        return self.rng.randrange(0, size - step + 1, step)

    def do_slot(self, _: int) -> None:
        b, rng = self.b, self.rng
        if not self.slots:
            return
        slot = rng.choice(self.slots)
        size = rng.choice((1, 2, 4, 8))
        off = self.place(slot.size, size)
        base: Slot | Reg = slot
        if rng.random() < 0.3:
            part = self.place(off + 1, 1)
            base, off = b.slot_addr(slot, part), off - part
        if rng.random() < 0.5:
            b.store(base, off, self.value(), size)
        else:
            self.keep(b.load(base, off, size, rng.random() < 0.3))

    def do_data(self, _: int) -> None:
        b, rng = self.b, self.rng
        size = rng.choice((1, 2, 4, 8))
        off = self.place(DATA_SIZE, size)
        part = self.place(off + 1, 1)
        base = b.map_value("DATA", part)
        if rng.random() < 0.5:
            b.store(base, off - part, self.value(), size)
        else:
            self.keep(b.load(base, off - part, size, rng.random() < 0.3))

    def do_index(self, _: int) -> None:
        """An address computed from a bounded number, by a mask or by a comparison."""
        b, rng = self.b, self.rng
        if rng.random() < 0.5:
            index = b.alu("and", self.value(), 31)
            at = b.alu("add", b.map_value("DATA"), index)
            if rng.random() < 0.5:
                at = b.alu("add", at, rng.randrange(32))
            self.keep(b.load(at, 0, 1))
            return
        index = b.move(self.value())
        good, after = b.block("inside"), b.block("after", cold=rng.random() < 0.3)
        result = b.new()
        b.assign(result, 5)
        b.branch("lt", index, DATA_SIZE - 7, good, after)
        b.set_block(good)
        if rng.random() < 0.5:
            b.call(PID_TGID)
        at = b.alu("add", b.map_value("DATA"), index)
        b.assign(result, b.load(at, 0, 8))
        b.jump(after)
        b.set_block(after)
        self.keep(result)

    def do_atomic(self, _: int) -> None:
        b, rng = self.b, self.rng
        size = rng.choice((4, 8))
        base = b.map_value("DATA")
        off = self.place(DATA_SIZE, size)
        what = rng.choice(("add", "and", "or", "xor", "xchg", "cmpxchg"))
        if what == "cmpxchg":
            self.keep(b.cmpxchg(base, off, self.value(), self.value(), size))
            return
        old = b.atomic(what, base, off, self.value(), size, rng.random() < 0.5)
        if old is not None:
            self.keep(old)

    def do_call(self, _: int) -> None:
        self.keep(self.b.call(self.rng.choice((PID_TGID, UID_GID))))

    def do_sub(self, _: int) -> None:
        fn = self.rng.choice(self.subs)
        self.keep(self.b.call_func(fn, *[self.value() for _ in fn.params]))

    def do_lookup(self, depth: int) -> None:
        b, rng = self.b, self.rng
        key = self.fn.slot(4, 4, "key")
        b.store(key, 0, b.alu("and", self.value(), 7), 4)
        at = b.call(LOOKUP, b.map_fd("TABLE"), b.slot_addr(key))
        found, missing, after = b.block("found"), b.block("missing", cold=True), b.block("after")
        result = b.new()
        b.branch("eq", at, 0, missing, found)
        b.set_block(found)
        inner = len(self.values)
        if rng.random() < 0.5:
            b.call(PID_TGID)
        old = b.load(at, 0, 8)
        b.store(at, 8, b.alu("add", old, self.value()), 8)
        self.keep(old)
        self.statements(depth - 1)
        b.assign(result, self.value())
        del self.values[inner:]
        b.jump(after)
        b.set_block(missing)
        b.assign(result, 77)
        b.jump(after)
        b.set_block(after)
        self.keep(result)

    def do_if(self, depth: int) -> None:
        b, rng = self.b, self.rng
        then, other, after = b.block("then"), b.block("else"), b.block("after")
        if rng.random() < 0.3:
            b.unlikely(then)
        condition = rng.choice(_COMPARE)
        width = rng.choice((32, 64))
        if rng.random() < 0.4:
            truth = b.bool_(condition, self.value(), self.value(), width)
            b.branch(rng.choice(("ne", "eq")), truth, 0, then, other)
        else:
            b.branch(condition, self.value(), self.value(), then, other, width)
        inner = len(self.values)
        for block in (then, other):
            b.set_block(block)
            if rng.random() < 0.85:
                self.statements(depth - 1)
            if rng.random() < 0.05:
                b.ret(self.value())
            else:
                b.jump(after)
            # What an arm computed is unknown behind it.
            del self.values[inner:]
        b.set_block(after)

    def do_loop(self, depth: int) -> None:
        b, rng = self.b, self.rng
        counter = b.new("i")
        b.assign(counter, 0)
        head, body, after = b.block("head"), b.block("body"), b.block("after")
        b.jump(head)
        b.set_block(head)
        b.branch("lt", counter, rng.randint(1, 3), body, after)
        b.set_block(body)
        inner = len(self.values)
        self.values.append(counter)
        self.statements(min(depth - 1, 1))
        b.assign(counter, b.alu("add", counter, 1))
        b.jump(head)
        del self.values[inner:]
        b.set_block(after)

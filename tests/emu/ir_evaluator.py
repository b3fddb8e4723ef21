"""A direct evaluator of the intermediate representation, as slow and as plain as possible.

It shares nothing with the code generator, so that the two can be compared. Pointers are objects,
numbers are ints below 2**64.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bpflens.lang.ir.ops import Block, Function, Op, Reg, Slot

_M64 = (1 << 64) - 1


class Pointer:
    """An address: ``off`` bytes into ``data``."""

    def __init__(self, data: bytearray, off: int = 0) -> None:
        self.data = data
        self.off = off

    def read(self, size: int) -> bytes:
        assert 0 <= self.off <= len(self.data) - size, (self.off, size, len(self.data))
        return bytes(self.data[self.off : self.off + size])


Value = int | Pointer | Function | str
Helper = Callable[..., Value]


class Evaluator:
    """Runs functions: ``maps`` are values of one-entry arrays, ``helpers`` go by number."""

    def __init__(self, maps: Mapping[str, bytearray], helpers: Mapping[int, Helper]) -> None:
        self.maps = maps
        self.helpers = helpers
        self.budget = 200_000

    def run(self, fn: Function, *args: Value) -> Value:
        regs: dict[Reg, Value] = dict(zip(fn.params, args, strict=True))
        slots = {slot: bytearray(b"\xcc" * slot.size) for slot in fn.slots}
        block: Block | None = fn.blocks[0]
        while block is not None:
            for op in block.ops:
                self.budget -= 1
                self.op(op, regs, slots)
            self.budget -= 1
            assert self.budget > 0, "no end"
            term = block.term
            assert term is not None
            values = [self.value(arg, regs) for arg in term.args]
            if term.kind == "ret":
                return values[0]
            if term.kind == "branch":
                block = term.targets[0 if compare(term.op, *values, term.size) else 1]
            else:
                block = term.targets[0]
        raise AssertionError

    def value(self, arg: object, regs: dict[Reg, Value]) -> Value:
        if isinstance(arg, Reg):
            return regs[arg]
        assert isinstance(arg, int)
        return arg & _M64

    def op(self, op: Op, regs: dict[Reg, Value], slots: dict[Slot, bytearray]) -> None:
        args = [
            Pointer(slots[arg]) if isinstance(arg, Slot) else self.value(arg, regs)
            for arg in op.args
        ]
        result = self.result(op, args)
        if op.dst is not None:
            assert result is not None
            regs[op.dst] = result

    def result(self, op: Op, args: list[Value]) -> Value | None:
        kind = op.kind
        if kind in ("const", "move"):
            return args[0]
        if kind == "alu":
            return alu(op.op, args[0], args[1], op.size)
        if kind == "neg":
            return -number(args[0]) & (1 << op.size) - 1
        if kind == "bswap":
            low = number(args[0]) & (1 << op.size) - 1
            return int.from_bytes(low.to_bytes(op.size // 8, "little"), "big")
        if kind == "sext":
            return signed(number(args[0]), op.size) & _M64
        if kind == "zext":
            return number(args[0]) & (1 << op.size) - 1
        if kind == "bool":
            return int(compare(op.op, args[0], args[1], op.size))
        if kind == "map_value":
            return Pointer(self.maps[str(op.ref)], op.off)
        if kind == "map_fd":
            return str(op.ref)
        if kind == "func_addr":
            assert isinstance(op.ref, Function)
            return op.ref
        if kind == "call":
            assert isinstance(op.ref, int)
            return self.helpers[op.ref](*args)
        if kind == "call_func":
            assert isinstance(op.ref, Function)
            return self.run(op.ref, *args)
        return self.memory(op, args)

    def memory(self, op: Op, args: list[Value]) -> Value | None:
        base = args[0]
        assert isinstance(base, Pointer), op
        at = Pointer(base.data, base.off + op.off)
        if op.kind == "slot_addr":
            return at
        old = int.from_bytes(at.read(op.size), "little")
        if op.kind == "load":
            return (signed(old, 8 * op.size) & _M64) if op.signed else old
        bits = 8 * op.size
        if op.kind == "store":
            new = number(args[1])
        elif op.op == "cmpxchg":
            new = number(args[2]) if old == number(args[1]) & (1 << bits) - 1 else old
        elif op.op == "xchg":
            new = number(args[1])
        else:
            result = alu(op.op, old, args[1], 64)
            new = number(result)
        at.data[at.off : at.off + op.size] = (new & (1 << bits) - 1).to_bytes(op.size, "little")
        return old


def number(value: Value) -> int:
    assert isinstance(value, int), value
    return value


def signed(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def alu(name: str, a: Value, b: Value, bits: int) -> Value:
    if isinstance(a, Pointer):
        assert name in ("add", "sub")
        assert bits == 64
        return Pointer(a.data, a.off + (1 if name == "add" else -1) * signed(number(b), 64))
    if isinstance(b, Pointer):
        return alu(name, b, a, bits)
    mask = (1 << bits) - 1
    x, y = number(a) & mask, number(b) & mask
    shift = y % bits
    sx, sy = signed(x, bits), signed(y, bits)
    if name == "add":
        result = x + y
    elif name == "sub":
        result = x - y
    elif name == "mul":
        result = x * y
    elif name == "div":
        result = x // y if y else 0
    elif name == "mod":
        result = x % y if y else x
    elif name == "sdiv":
        result = (abs(sx) // abs(sy) * (1 if (sx < 0) == (sy < 0) else -1)) if sy else 0
    elif name == "smod":
        result = (abs(sx) % abs(sy) * (-1 if sx < 0 else 1)) if sy else x
    elif name == "and":
        result = x & y
    elif name == "or":
        result = x | y
    elif name == "xor":
        result = x ^ y
    elif name == "lsh":
        result = x << shift
    elif name == "rsh":
        result = x >> shift
    else:
        assert name == "arsh"
        result = sx >> shift
    return result & mask


def compare(name: str, a: Value, b: Value, bits: int) -> bool:
    if isinstance(a, Pointer):
        # Only comparisons with NULL make sense for an address that is one.
        assert b == 0
        assert name in ("eq", "ne")
        return name == "ne"
    mask = (1 << bits) - 1
    x, y = number(a) & mask, number(b) & mask
    if name == "set":
        return bool(x & y)
    if name[0] == "s":
        x, y, name = signed(x, bits), signed(y, bits), name[1:]
    return {
        "eq": x == y, "ne": x != y, "gt": x > y, "ge": x >= y, "lt": x < y, "le": x <= y,
    }[name]  # fmt: skip

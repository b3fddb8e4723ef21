"""Turns the representation into what BPF instructions can do, before registers are given out.

Afterwards

* every operand that is an ``int`` fits the instruction it is used in, every other constant is in a
  register of its own, right before its use;
* results that depend on nothing (constants, addresses of slots and maps) are computed again before
  each use, so that they never occupy a register across a call; in the arguments of calls and in
  ``ret`` they appear as the :class:`~bpflens.lang.ir.ops.Op` itself, to be computed in place;
* a destination is none of the operands that are still needed when it is written;
* what processors before version 4 of the instruction set lack (signed division, sign extension)
  is spelt out, without branches;
* the entry block has no predecessors, and no unreachable blocks are left.

It does not look for better code; that is :mod:`bpflens.lang.ir.optimise`.

Example::

    legalise(fn, cpu=3)
"""

from __future__ import annotations

from bpflens.lang.ir.flow import reachable
from bpflens.lang.ir.ops import (
    REMATERIAL_KINDS,
    SWAPPED,
    Block,
    Function,
    IrError,
    Op,
    Reg,
    Slot,
    Terminator,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.lang.ir.ops import Operand

__all__ = ["CALL_KINDS", "COMMUTATIVE", "legalise", "rematerial", "signed"]

#: Kinds that overwrite the registers r0 to r5.
CALL_KINDS = frozenset(("call", "kfunc", "call_func"))
#: Operators of ``alu`` whose operands may be exchanged.
COMMUTATIVE = frozenset(("add", "mul", "and", "or", "xor"))

_SHIFTS = frozenset(("lsh", "rsh", "arsh"))
_MASK = (1 << 64) - 1
_TOP = 1 << 63


def signed(value: int, bits: int = 64) -> int:
    """Return ``value`` modulo ``2**bits`` as a signed number of so many bits."""
    half = 1 << (bits - 1)
    return ((value + half) & ((1 << bits) - 1)) - half


def legalise(fn: Function, cpu: int = 3) -> None:
    """Rewrite ``fn`` in place for version ``cpu`` of the instruction set."""
    alive = reachable(fn)
    fn.blocks = [block for block in fn.blocks if block in alive]
    if any(fn.blocks[0] in block.term.targets for block in fn.blocks if block.term is not None):
        _add_entry(fn)
    worker = _Legaliser(fn, cpu)
    for block in fn.blocks:
        worker.block(block)


def _add_entry(fn: Function) -> None:
    old = fn.blocks[0]
    entry = fn.block("entry")
    entry.term = Terminator("jump", [], [old])
    fn.blocks.insert(0, fn.blocks.pop())


class _Legaliser:
    __slots__ = ("cache", "cpu", "fn", "material", "out")

    def __init__(self, fn: Function, cpu: int) -> None:
        self.fn = fn
        self.cpu = cpu
        self.out: list[Op] = []
        # Registers that hold a constant, or a clone of a rematerialised one, in this stretch of
        # the block; none of them is worth keeping across a call.
        self.cache: dict[Reg | int | str, Reg] = {}
        self.material = rematerial(fn)

    def block(self, block: Block) -> None:
        self.out = []
        self.cache.clear()
        for op in block.ops:
            if op.dst is not None and op.dst in self.material:
                continue
            kind = op.kind
            if kind in CALL_KINDS:
                op.args = [self.in_place(arg) for arg in op.args]
                self.cache.clear()
                self.out.append(op)
            elif kind == "alu":
                self.alu(op)
            elif kind in ("load", "store", "atomic"):
                self.memory(op)
            else:
                self.other(op)
        self.terminator(block)
        block.ops = self.out

    # operands

    def in_place(self, arg: Operand) -> Operand:
        """An argument that its user computes straight into the right register."""
        if type(arg) is Reg:
            return self.material.get(arg, arg)
        return signed(arg) if type(arg) is int else arg

    def number(self, arg: Operand) -> Operand:
        """An ``int`` if the operand is known to be one, else the operand."""
        if type(arg) is Reg:
            op = self.material.get(arg)
            if op is not None and op.kind == "const":
                return op.args[0]
        return arg

    def reg(self, arg: Operand, pos: int) -> Reg:
        """The operand in a register."""
        if type(arg) is Reg:
            op = self.material.get(arg)
            if op is None:
                return arg
            key: Reg | int | str = arg
            if op.kind == "const":
                assert type(op.args[0]) is int
                key = signed(op.args[0])
        else:
            assert type(arg) is int
            key = signed(arg)
            op = Op("const", None, [key])
        found = self.cache.get(key)
        if found is None:
            found = self.cache[key] = self.fn.new()
            self.out.append(Op(op.kind, found, op.args, off=op.off, ref=op.ref, pos=pos))
        return found

    def imm(self, arg: Operand, bits: int, pos: int) -> Operand:
        """The operand as an immediate of 32 bits if it fits an operation on ``bits``."""
        arg = self.number(arg)
        if type(arg) is int:
            value = signed(arg, bits)
            if -0x80000000 <= value <= 0x7FFFFFFF:
                return value
        return self.reg(arg, pos)

    # operations

    def emit_alu(self, op: str, a: Operand, b: Operand, size: int, pos: int) -> Reg:
        dst = self.fn.new()
        self.out.append(Op("alu", dst, [a, b], op=op, size=size, pos=pos))
        return dst

    def alu(self, op: Op) -> None:
        a, b = op.args
        pos, name, size = op.pos, op.op, op.size
        if name in COMMUTATIVE and type(self.number(a)) is int:
            a, b = b, a
        a = self.reg(a, pos)
        b = self.number(b)
        if type(b) is int:
            if name in _SHIFTS:
                b &= size - 1
            elif name in ("div", "mod", "sdiv", "smod") and not b % (1 << size):
                # The instruction set defines the result, but the verifier refuses an immediate 0.
                self.zero_divisor(op, a)
                return
        if name in ("sdiv", "smod") and self.cpu < 4:
            self.signed_division(op, a, b)
            return
        b = self.imm(b, size, pos)
        op.args = [a, b]
        self.append(op, b if name not in COMMUTATIVE and a is not b else 0)

    def append(self, op: Op, *late: Operand) -> None:
        """Append an operation whose ``late`` operands are read after its destination is written."""
        dst = op.dst
        if dst is not None and dst in late:
            op.dst = self.fn.new()
            self.out += (op, Op("move", dst, [op.dst], pos=op.pos))
        else:
            self.out.append(op)

    def zero_divisor(self, op: Op, a: Reg) -> None:
        if op.op in ("div", "sdiv"):
            self.out.append(Op("const", op.dst, [0], pos=op.pos))
        elif op.size == 32:
            self.out.append(Op("zext", op.dst, [a], size=32, pos=op.pos))
        else:
            self.out.append(Op("move", op.dst, [a], pos=op.pos))

    def signed_division(self, op: Op, a: Reg, b: Operand) -> None:
        """Divide absolute values and give the result its sign, by x → (x ^ s) - s with s = 0 or -1.

        The dividend's sign is the remainder's; the quotient's is the product of both. A division
        by zero comes out as BPF defines it.
        """
        pos = op.pos
        if op.size == 32:
            a = self.extend("sext", a, 32, pos)
            b = signed(b, 32) if type(b) is int else self.extend("sext", b, 32, pos)
        sign = self.emit_alu("arsh", a, 63, 64, pos)
        absolute = self.emit_alu("sub", self.emit_alu("xor", a, sign, 64, pos), sign, 64, pos)
        divisor: Operand
        if type(b) is int:
            value = signed(b)
            divisor = self.imm(abs(value), 64, pos)
            negative = value < 0
            sign_b: Reg | None = None
        else:
            b = self.reg(b, pos)
            sign_b = self.emit_alu("arsh", b, 63, 64, pos)
            divisor = self.emit_alu(
                "sub", self.emit_alu("xor", b, sign_b, 64, pos), sign_b, 64, pos
            )
            negative = False
        if op.op == "smod":
            result = self.emit_alu("mod", absolute, divisor, 64, pos)
        else:
            result = self.emit_alu("div", absolute, divisor, 64, pos)
            if sign_b is not None:
                sign = self.emit_alu("xor", sign, sign_b, 64, pos)
            elif negative:
                sign = self.emit_alu("xor", sign, -1, 64, pos)
        result = self.emit_alu("xor", result, sign, 64, pos)
        last = Op("alu", op.dst, [result, sign], op="sub", size=64, pos=pos)
        self.out.append(last)
        if op.size == 32:
            last.dst = self.fn.new()
            self.out.append(Op("zext", op.dst, [last.dst], size=32, pos=pos))

    def extend(self, kind: str, arg: Operand, bits: int, pos: int) -> Reg:
        dst = self.fn.new()
        self.other(Op(kind, dst, [arg], size=bits, pos=pos))
        return dst

    def memory(self, op: Op) -> None:
        base = op.args[0]
        if type(base) is Reg:
            place = self.material.get(base)
            if place is not None and place.kind == "slot_addr":
                base, op.off = place.args[0], place.off + op.off
                assert type(base) is Slot
                if not 0 <= op.off <= base.size - op.size:
                    raise IrError(f"{self.fn.name}: {op!r}: outside of {base}")
            elif place is not None and place.kind == "map_value":
                base = self.map_value(op, place)
            elif not -0x8000 <= op.off <= 0x7FFF:
                base = self.emit_alu(
                    "add", self.reg(base, op.pos), self.imm(op.off, 64, op.pos), 64, op.pos
                )
                op.off = 0
            else:
                base = self.reg(base, op.pos)
        if op.kind == "store":
            bits = 64 if op.size == 8 else 32
            op.args = [base, self.imm(op.args[1], bits, op.pos)]
        else:
            op.args = [base, *[self.reg(arg, op.pos) for arg in op.args[1:]]]
            if op.kind == "load" and op.signed and (self.cpu < 4 or op.size == 8):
                op.signed = False
                if op.size < 8:
                    wide, op.dst = op.dst, self.fn.new()
                    self.out.append(op)
                    self.other(Op("sext", wide, [op.dst], size=8 * op.size, pos=op.pos))
                    return
        if op.kind == "atomic":
            # A value that is exchanged comes in the destination itself.
            self.append(op, base, op.args[-1] if op.op == "cmpxchg" else 0)
        else:
            self.out.append(op)

    def map_value(self, op: Op, place: Op) -> Reg:
        """The beginning of a map's value, so that all accesses to it can share one register."""
        if not 0 <= place.off + op.off <= 0x7FFF:
            base = op.args[0]
            return self.reg(base, op.pos)
        op.off += place.off
        name = str(place.ref)
        found = self.cache.get(name)
        if found is None:
            found = self.cache[name] = self.fn.new()
            self.out.append(Op("map_value", found, [], ref=name, pos=op.pos))
        return found

    def other(self, op: Op) -> None:
        kind, pos = op.kind, op.pos
        if kind == "move":
            arg = op.args[0]
            source = self.material.get(arg) if type(arg) is Reg else None
            if source is not None:
                op = Op(source.kind, op.dst, source.args, off=source.off, ref=source.ref, pos=pos)
            elif type(arg) is int:
                op = Op("const", op.dst, [signed(arg)], pos=pos)
        elif kind == "const":
            assert type(op.args[0]) is int
            op.args = [signed(op.args[0])]
        elif kind == "bool":
            op.op, op.args = self.comparison(op.op, op.args, op.size, pos)
            self.append(op, *op.args)
            return
        elif kind in ("neg", "bswap", "sext", "zext"):
            arg = self.reg(op.args[0], pos)
            if kind == "sext" and (self.cpu < 4 or op.size == 64):
                if op.size == 64:
                    op = Op("move", op.dst, [arg], pos=pos)
                else:
                    high = self.emit_alu("lsh", arg, 64 - op.size, 64, pos)
                    op = Op("alu", op.dst, [high, 64 - op.size], op="arsh", size=64, pos=pos)
            elif kind == "zext" and op.size != 32:
                if op.size == 64:
                    op = Op("move", op.dst, [arg], pos=pos)
                else:
                    op = Op("alu", op.dst, [arg, (1 << op.size) - 1], op="and", size=64, pos=pos)
            else:
                op.args = [arg]
        self.out.append(op)

    def comparison(
        self, name: str, args: list[Operand], size: int, pos: int
    ) -> tuple[str, list[Operand]]:
        a, b = args
        if type(self.number(a)) is int and type(self.number(b)) is not int:
            a, b, name = b, a, SWAPPED[name]
        return name, [self.reg(a, pos), self.imm(b, size, pos)]

    def terminator(self, block: Block) -> None:
        term = block.term
        if term is None:
            raise IrError(f"{self.fn.name}: block {block} has no terminator")
        if term.kind == "branch":
            term.op, term.args = self.comparison(term.op, term.args, term.size, term.pos)
        elif term.kind == "ret":
            term.args = [self.in_place(term.args[0])]


def rematerial(fn: Function) -> dict[Reg, Op]:
    """Return the registers whose only definition depends on nothing, and that definition."""
    material: dict[Reg, Op] = {}
    many: set[Reg] = set(fn.params)
    seen: set[Reg] = set(fn.params)
    for block in fn.blocks:
        for op in block.ops:
            dst = op.dst
            if dst is None:
                continue
            if dst in seen:
                many.add(dst)
            else:
                seen.add(dst)
                if op.kind in REMATERIAL_KINDS:
                    material[dst] = op
    for reg in many:
        material.pop(reg, None)
    return material

"""One instruction → one Python function that does it to a register file.

:func:`compile_insns` turns a program into a list indexed by slot; each entry takes the registers (a
list of 11 unsigned 64-bit ints, None = never written) and returns the slot to go on with, None for
the next one, or EXIT. The arithmetic is that of the kernel's interpreter (kernel/bpf/core.c): a
division by zero gives 0, a remainder by zero leaves the value, shift counts are masked, 32-bit
results clear the upper half.

Calls, 64-bit loads of pseudo constants and packet loads are the machine's business
(:mod:`bpflens.asm.interpreter`); this module hands them over.

Example::

    steps = compile_insns(decode(code), machine)
    steps[0](registers)
"""

from __future__ import annotations

import operator

from bpflens.asm.instruction import LD_IMM64
from bpflens.asm.memory import MachineError, Memory
from bpflens.uapi.bpf import BPF_CMPXCHG, BPF_FETCH, BPF_LOAD_ACQ, BPF_STORE_REL, BPF_XCHG

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Protocol

    from bpflens.asm.instruction import Instruction

    # A register holds an unsigned 64-bit int; None (never written) makes any use fail.
    Registers = list[int]
    Step = Callable[[Registers], int | None]
    Binary = Callable[[int, int], int]

    class Host(Protocol):
        """What the steps need of the machine that runs them."""

        memory: Memory

        def constant(self, insn: Instruction, slot: int) -> int:
            """The value a 64-bit load puts into its register."""

        def call_step(self, insn: Instruction, slot: int) -> Step:
            """The step of a call instruction."""

        def packet_load(self, offset: int, size: int) -> int | None:
            """A big-endian number from the packet, None outside of it."""

        def may_goto(self) -> bool:
            """Whether the loop budget is spent."""


__all__ = ["EXIT", "compile_insns", "to_signed"]

EXIT = -1

_M32 = 0xFFFFFFFF
_M64 = 0xFFFFFFFFFFFFFFFF
_BYTES = {0x00: 4, 0x08: 2, 0x10: 1, 0x18: 8}


def to_signed(value: int, bits: int) -> int:
    """Read the low ``bits`` bits of ``value`` as a signed number."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> bits - 1 else value


def _truncated(a: int, b: int) -> int:
    # C divides towards zero, Python towards minus infinity.
    q = abs(a) // abs(b)
    return -q if (a < 0) != (b < 0) else q


def _alu_table(bits: int) -> dict[int, Binary]:
    # Operands arrive as unsigned numbers of `bits` bits; results are cut by the caller.
    count = bits - 1
    return {
        0x00: operator.add,
        0x10: operator.sub,
        0x20: operator.mul,
        0x30: lambda a, b: a // b if b else 0,
        0x40: operator.or_,
        0x50: operator.and_,
        0x60: lambda a, b: a << (b & count),
        0x70: lambda a, b: a >> (b & count),
        0x90: lambda a, b: a % b if b else a,
        0xA0: operator.xor,
        0xC0: lambda a, b: to_signed(a, bits) >> (b & count),
    }


def _signed_division(code: int, bits: int) -> Binary:
    def divide(a: int, b: int) -> int:
        return _truncated(to_signed(a, bits), to_signed(b, bits)) if b else 0

    def remainder(a: int, b: int) -> int:
        if not b:
            return a
        x, y = to_signed(a, bits), to_signed(b, bits)
        return x - _truncated(x, y) * y

    return divide if code == 0x30 else remainder


_ALU = {64: _alu_table(64), 32: _alu_table(32)}


def _jump_table(bits: int) -> dict[int, Callable[[int, int], bool]]:
    # XOR rather than ==, so that a register that was never written raises TypeError.
    return {
        0x10: lambda a, b: not a ^ b,
        0x20: lambda a, b: a > b,
        0x30: lambda a, b: a >= b,
        0x40: lambda a, b: bool(a & b),
        0x50: lambda a, b: bool(a ^ b),
        0x60: lambda a, b: to_signed(a, bits) > to_signed(b, bits),
        0x70: lambda a, b: to_signed(a, bits) >= to_signed(b, bits),
        0xA0: lambda a, b: a < b,
        0xB0: lambda a, b: a <= b,
        0xC0: lambda a, b: to_signed(a, bits) < to_signed(b, bits),
        0xD0: lambda a, b: to_signed(a, bits) <= to_signed(b, bits),
    }


_JUMP = {64: _jump_table(64), 32: _jump_table(32)}


def compile_insns(insns: Sequence[Instruction], host: Host) -> list[Step | None]:
    """Return the steps of a program by slot; the second slot of a wide instruction holds None.

    Raises MachineError for an opcode that does not exist, naming its slot.
    """
    out: list[Step | None] = []
    for insn in insns:
        slot = len(out)
        try:
            out.append(_step(insn, slot, host))
        except KeyError:
            raise MachineError(f"unknown opcode {insn.op:#04x} in {insn!r}", slot) from None
        if insn.op == LD_IMM64:
            out.append(None)
    return out


def _step(insn: Instruction, slot: int, host: Host) -> Step:
    kind = insn.op & 7
    if kind == 7 or kind == 4:
        return _alu_step(insn, 64 if kind == 7 else 32)
    if kind == 5 or kind == 6:
        return _jump_step(insn, slot, host, 64 if kind == 5 else 32)
    if kind == 1:
        return _load_step(insn, host.memory)
    if kind == 2 or kind == 3:
        return _store_step(insn, host.memory)
    return _ld_step(insn, slot, host)


# ------------------------------------------------------------------ arithmetic
def _alu_step(insn: Instruction, bits: int) -> Step:
    code, d, s = insn.op & 0xF0, insn.dst, insn.src
    mask = _M64 if bits == 64 else _M32
    if code == 0xD0:
        return _swap_step(insn, bits)
    if code == 0x80:

        def negate(r: Registers) -> None:
            r[d] = -r[d] & mask

        return negate
    if code == 0xB0:
        return _mov_step(insn, mask)
    work = _ALU[bits][code]
    if insn.off == 1 and code in (0x30, 0x90):
        work = _signed_division(code, bits)
    if insn.op & 8:
        if bits == 64:

            def wide_register(r: Registers) -> None:
                r[d] = work(r[d], r[s]) & _M64

            return wide_register

        def register(r: Registers) -> None:
            r[d] = work(r[d] & _M32, r[s] & _M32) & _M32

        return register
    k = insn.imm & mask

    def constant(r: Registers) -> None:
        r[d] = work(r[d] & mask, k) & mask

    return constant


def _mov_step(insn: Instruction, mask: int) -> Step:
    d, s, off = insn.dst, insn.src, insn.off
    if not insn.op & 8:
        k = insn.imm & mask

        def constant(r: Registers) -> None:
            r[d] = k

        return constant
    if off in (8, 16, 32):

        def extend(r: Registers) -> None:
            r[d] = to_signed(r[s], off) & mask

        return extend

    # An addr_space_cast (off 1) is a plain copy here: there is one address space.
    def copy(r: Registers) -> None:
        r[d] = r[s] & mask

    return copy


def _swap_step(insn: Instruction, bits: int) -> Step:
    d, size = insn.dst, insn.imm // 8
    if size not in (2, 4, 8):
        raise KeyError(insn.imm)
    mask = (1 << insn.imm) - 1
    if bits == 32 and not insn.op & 8:

        def cut(r: Registers) -> None:
            r[d] &= mask

        return cut

    def swap(r: Registers) -> None:
        r[d] = int.from_bytes((r[d] & mask).to_bytes(size, "little"), "big")

    return swap


# ------------------------------------------------------------------ jumps
def _jump_step(insn: Instruction, slot: int, host: Host, bits: int) -> Step:
    op, d, s = insn.op, insn.dst, insn.src
    target = slot + 1 + insn.off
    if op == 0x95:
        return lambda r: EXIT
    if op == 0x85:
        return host.call_step(insn, slot)
    if op == 0x05:
        return lambda r: target
    if op == 0x06:
        far = slot + 1 + insn.imm
        return lambda r: far
    if op == 0xE5:
        return lambda r: target if host.may_goto() else None
    test = _JUMP[bits][op & 0xF0]
    mask = _M64 if bits == 64 else _M32
    if op & 8:
        return lambda r: target if test(r[d] & mask, r[s] & mask) else None
    k = insn.imm & mask
    return lambda r: target if test(r[d] & mask, k) else None


# ------------------------------------------------------------------ memory
def _load_step(insn: Instruction, memory: Memory) -> Step:
    mode, size = insn.op & 0xE0, _BYTES[insn.op & 0x18]
    d, s, off = insn.dst, insn.src, insn.off
    load = memory.load
    if mode == 0x60:

        def plain(r: Registers) -> None:
            r[d] = load(r[s] + off & _M64, size)

        return plain
    if mode == 0x80 and size < 8:

        def signed(r: Registers) -> None:
            r[d] = to_signed(load(r[s] + off & _M64, size), 8 * size) & _M64

        return signed
    raise KeyError(insn.op)


def _store_step(insn: Instruction, memory: Memory) -> Step:
    mode, size = insn.op & 0xE0, _BYTES[insn.op & 0x18]
    d, s, off, imm = insn.dst, insn.src, insn.off, insn.imm
    store = memory.store
    register = insn.op & 7 == 3
    if mode == 0x60 and register:

        def plain(r: Registers) -> None:
            store(r[d] + off & _M64, size, r[s])

        return plain
    if mode == 0x60:

        def constant(r: Registers) -> None:
            store(r[d] + off & _M64, size, imm)

        return constant
    if mode == 0xC0 and register:
        return _atomic_step(insn, memory, size)
    raise KeyError(insn.op)


def _atomic_step(insn: Instruction, memory: Memory, size: int) -> Step:
    d, s, off, op = insn.dst, insn.src, insn.off, insn.imm
    if op == BPF_LOAD_ACQ:

        def acquire(r: Registers) -> None:
            r[d] = memory.load(_aligned(r[s] + off, size), size)

        return acquire
    if op == BPF_STORE_REL:

        def release(r: Registers) -> None:
            memory.store(_aligned(r[d] + off, size), size, r[s])

        return release
    if size < 4:
        raise KeyError(insn.op)
    if op == BPF_CMPXCHG:
        mask = _M64 if size == 8 else _M32

        def compare(r: Registers) -> None:
            at = _aligned(r[d] + off, size)
            old = memory.load(at, size)
            memory.store(at, size, r[s] if old == r[0] & mask else old)
            r[0] = old

        return compare
    return _modify_step(insn, memory, size)


def _modify_step(insn: Instruction, memory: Memory, size: int) -> Step:
    d, s, off, op = insn.dst, insn.src, insn.off, insn.imm
    if op == BPF_XCHG:
        work: Binary = _second
    elif op & ~BPF_FETCH in (0x00, 0x40, 0x50, 0xA0):
        work = _ALU[64][op & 0xF0]
    else:
        raise KeyError(op)

    def modify(r: Registers) -> None:
        at = _aligned(r[d] + off, size)
        old = memory.load(at, size)
        memory.store(at, size, work(old, r[s]))
        if op & BPF_FETCH:
            r[s] = old

    return modify


def _second(a: int, b: int) -> int:
    return b


def _aligned(address: int, size: int) -> int:
    if address % size:
        raise MachineError(f"atomic operation on {size} bytes at unaligned {address & _M64:#x}")
    return address & _M64


def _ld_step(insn: Instruction, slot: int, host: Host) -> Step:
    d, s, imm = insn.dst, insn.src, insn.imm
    if insn.op == LD_IMM64:
        value = host.constant(insn, slot) & _M64

        def constant(r: Registers) -> int:
            r[d] = value
            return slot + 2

        return constant
    mode, size = insn.op & 0xE0, _BYTES[insn.op & 0x18]
    if mode not in (0x20, 0x40) or size == 8:
        raise KeyError(insn.op)

    # The old packet loads end the program with 0 when they miss the packet.
    def packet(r: Registers) -> int | None:
        value = host.packet_load(imm + (to_signed(r[s], 32) if mode == 0x40 else 0), size)
        r[0] = value or 0
        return EXIT if value is None else None

    return packet

"""One eBPF instruction: how it is built, and how it becomes bytes and back.

An :class:`Instruction` has the five fields of ``struct bpf_insn``. ``ld_imm64`` is the exception of
the instruction set: two 8-byte slots on the wire, but ONE Instruction here, with a 64-bit ``imm``
(low half = first slot). Jump offsets count slots, not Instructions: :func:`slots` gives the slot
number of each.

Invariants: ``off`` fits 16 signed bits, ``imm`` 32 signed bits (64, signed or unsigned, when
``wide``). :func:`encode` refuses anything else, since cutting a constant short miscompiles a
program in silence. Constructors of 32-bit operations also take 0x80000000..0xFFFFFFFF and store the
signed twin; those of 64-bit operations do not, because the kernel sign-extends.

This module does not check that a program makes sense; the kernel's verifier does.

Example::

    encode([mov64_imm(0, 7), exit_()]).hex()      # 'b7000000070000009500000000000000'
"""

from __future__ import annotations

import struct

from bpflens.errors import FormatError
from bpflens.uapi.bpf import (
    BPF_ADDR_SPACE_CAST,
    BPF_ALU,
    BPF_ALU64,
    BPF_ATOMIC,
    BPF_CALL,
    BPF_END,
    BPF_EXIT,
    BPF_JA,
    BPF_JCOND,
    BPF_JMP,
    BPF_JMP32,
    BPF_LDX,
    BPF_LOAD_ACQ,
    BPF_MAY_GOTO,
    BPF_MEM,
    BPF_MEMSX,
    BPF_MOV,
    BPF_NEG,
    BPF_PSEUDO_CALL,
    BPF_PSEUDO_KFUNC_CALL,
    BPF_ST,
    BPF_STORE_REL,
    BPF_STX,
    BPF_TO_BE,
    BPF_TO_LE,
    BPF_X,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "LD_IMM64",
    "Instruction",
    "addr_space_cast",
    "alu32_imm",
    "alu32_reg",
    "alu64_imm",
    "alu64_reg",
    "atomic",
    "bswap",
    "call_helper",
    "call_kfunc",
    "call_pseudo",
    "decode",
    "encode",
    "endian",
    "exit_",
    "gotol",
    "ja",
    "jmp32_imm",
    "jmp32_reg",
    "jmp_imm",
    "jmp_reg",
    "ld_imm64",
    "ldx",
    "ldxsx",
    "load_acquire",
    "may_goto",
    "mov32_imm",
    "mov32_reg",
    "mov64_imm",
    "mov64_reg",
    "movsx32",
    "movsx64",
    "neg32",
    "neg64",
    "slots",
    "st",
    "store_release",
    "stx",
]

# BPF_LD | BPF_IMM | BPF_DW: the only instruction of two slots.
LD_IMM64 = 0x18


class Instruction:
    """One instruction: opcode, registers, 16-bit offset, immediate (64-bit when ``wide``)."""

    __slots__ = ("op", "dst", "src", "off", "imm")
    __match_args__ = ("op", "dst", "src", "off", "imm")

    def __init__(self, op: int, dst: int = 0, src: int = 0, off: int = 0, imm: int = 0) -> None:
        self.op = op
        self.dst = dst
        self.src = src
        self.off = off
        self.imm = imm

    @property
    def wide(self) -> bool:
        """Whether it takes two slots (``ld_imm64`` in all its forms)."""
        return self.op == LD_IMM64

    def copy(self) -> Instruction:
        """Return a new Instruction with the same fields."""
        return Instruction(self.op, self.dst, self.src, self.off, self.imm)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Instruction) and (
            self.op == other.op
            and self.dst == other.dst
            and self.src == other.src
            and self.off == other.off
            and self.imm == other.imm
        )

    def __hash__(self) -> int:
        return hash((self.op, self.dst, self.src, self.off, self.imm))

    def __repr__(self) -> str:
        return (
            f"Instruction(op={self.op:#04x}, dst={self.dst}, src={self.src}, "
            f"off={self.off}, imm={self.imm})"
        )


def encode(insns: Iterable[Instruction]) -> bytes:
    """Turn instructions into the kernel's bytes (little-endian ``struct bpf_insn``, 8 a slot).

    Raises ValueError when a field does not fit, naming the instruction.
    """
    words: list[int] = []
    add = words.append
    for insn in insns:
        op, off, imm = insn.op, insn.off, insn.imm
        head = op | insn.dst << 8 | insn.src << 12
        if not (0 <= head <= 0xFFFF and insn.dst <= 15 and op <= 255 and -0x8000 <= off <= 0x7FFF):
            raise ValueError(f"{insn!r}: a field does not fit")
        if op == LD_IMM64:
            if not -(1 << 63) <= imm < 1 << 64:
                raise ValueError(f"{insn!r}: the constant does not fit 64 bits")
            add(head | (off & 0xFFFF) << 16 | (imm & 0xFFFFFFFF) << 32)
            add(imm & 0xFFFFFFFF00000000)
        else:
            if not -0x80000000 <= imm <= 0x7FFFFFFF:
                raise ValueError(f"{insn!r}: the constant does not fit 32 signed bits")
            add(head | (off & 0xFFFF) << 16 | (imm & 0xFFFFFFFF) << 32)
    return struct.pack(f"<{len(words)}Q", *words)


def decode(data: bytes | bytearray | memoryview) -> list[Instruction]:
    """Turn instruction bytes into Instructions; immediates are signed, those of wide ones unsigned.

    Raises FormatError for a length that is no multiple of 8 and for half an ``ld_imm64``.
    """
    if len(data) % 8:
        raise FormatError("BPF instructions", f"{len(data)} bytes is no multiple of 8")
    out: list[Instruction] = []
    add = out.append
    rows = struct.iter_unpack("<BBhi", data)
    for op, regs, off, imm in rows:
        if op == LD_IMM64:
            second = next(rows, None)
            if second is None or second[0]:
                where = f"instruction {len(out)}"
                raise FormatError("BPF instructions", "half a 64-bit load", where)
            imm = (imm & 0xFFFFFFFF) | (second[3] & 0xFFFFFFFF) << 32
        add(Instruction(op, regs & 15, regs >> 4, off, imm))
    return out


def slots(insns: Sequence[Instruction]) -> list[int]:
    """Return the slot number of every instruction, and after them the total number of slots."""
    out = [0] * (len(insns) + 1)
    at = 0
    for i, insn in enumerate(insns):
        out[i] = at
        at += 2 if insn.op == LD_IMM64 else 1
    out[-1] = at
    return out


def _signed32(imm: int) -> int:
    # 32-bit operations look at 32 bits only, so both spellings of a constant mean the same.
    return imm - (1 << 32) if 0x7FFFFFFF < imm <= 0xFFFFFFFF else imm


def mov64_reg(dst: int, src: int) -> Instruction:
    """``rD = rS``"""
    return Instruction(BPF_ALU64 | BPF_MOV | BPF_X, dst, src)


def mov64_imm(dst: int, imm: int) -> Instruction:
    """``rD = imm`` (sign-extended from 32 bits)"""
    return Instruction(BPF_ALU64 | BPF_MOV, dst, 0, 0, imm)


def mov32_reg(dst: int, src: int) -> Instruction:
    """``wD = wS`` (the upper half becomes 0)"""
    return Instruction(BPF_ALU | BPF_MOV | BPF_X, dst, src)


def mov32_imm(dst: int, imm: int) -> Instruction:
    """``wD = imm`` (the upper half becomes 0)"""
    return Instruction(BPF_ALU | BPF_MOV, dst, 0, 0, _signed32(imm))


def movsx64(dst: int, src: int, bits: int) -> Instruction:
    """``rD = (s8|s16|s32)rS``: copy ``bits`` bits, sign-extended to 64."""
    # Since Linux 6.6 (8100928c8814 "bpf: Support new sign-extension mov insns").
    return Instruction(BPF_ALU64 | BPF_MOV | BPF_X, dst, src, bits)


def movsx32(dst: int, src: int, bits: int) -> Instruction:
    """``wD = (s8|s16)wS``: copy ``bits`` bits, sign-extended to 32."""
    return Instruction(BPF_ALU | BPF_MOV | BPF_X, dst, src, bits)


def alu64_reg(op: int, dst: int, src: int, off: int = 0) -> Instruction:
    """``rD op= rS``; ``off`` = 1 makes BPF_DIV and BPF_MOD signed."""
    return Instruction(BPF_ALU64 | op | BPF_X, dst, src, off)


def alu64_imm(op: int, dst: int, imm: int, off: int = 0) -> Instruction:
    """``rD op= imm`` (sign-extended from 32 bits)"""
    return Instruction(BPF_ALU64 | op, dst, 0, off, imm)


def alu32_reg(op: int, dst: int, src: int, off: int = 0) -> Instruction:
    """``wD op= wS`` (the upper half becomes 0)"""
    return Instruction(BPF_ALU | op | BPF_X, dst, src, off)


def alu32_imm(op: int, dst: int, imm: int, off: int = 0) -> Instruction:
    """``wD op= imm`` (the upper half becomes 0)"""
    return Instruction(BPF_ALU | op, dst, 0, off, _signed32(imm))


def neg64(dst: int) -> Instruction:
    """``rD = -rD``"""
    return Instruction(BPF_ALU64 | BPF_NEG, dst)


def neg32(dst: int) -> Instruction:
    """``wD = -wD``"""
    return Instruction(BPF_ALU | BPF_NEG, dst)


def endian(dst: int, bits: int, big: bool = True) -> Instruction:
    """``rD = beN rD`` (or ``leN``): to big-endian (little), keeping the low ``bits`` bits."""
    return Instruction(BPF_ALU | BPF_END | (BPF_TO_BE if big else BPF_TO_LE), dst, 0, 0, bits)


def bswap(dst: int, bits: int) -> Instruction:
    """``rD = bswapN rD``: swap unconditionally."""
    # Since Linux 6.6 (0845c3db7bf5 "bpf: Support new unconditional bswap instruction").
    return Instruction(BPF_ALU64 | BPF_END, dst, 0, 0, bits)


def addr_space_cast(dst: int, src: int, to_space: int, from_space: int) -> Instruction:
    """``rD = addr_space_cast(rS, to, from)`` between arena (1) and kernel (0) addresses."""
    # Since Linux 6.9 (6082b6c328b5 "bpf: Recognize addr_space_cast instruction in the verifier").
    op = BPF_ALU64 | BPF_MOV | BPF_X
    imm = _signed32(to_space << 16 | from_space)
    return Instruction(op, dst, src, BPF_ADDR_SPACE_CAST, imm)


def ld_imm64(dst: int, imm: int, src: int = 0) -> Instruction:
    """``rD = imm ll``; ``src`` is a BPF_PSEUDO_* that says what the constant stands for."""
    return Instruction(LD_IMM64, dst, src, 0, imm)


def ldx(size: int, dst: int, src: int, off: int) -> Instruction:
    """``rD = *(uN *)(rS + off)``, zero-extended; ``size`` is BPF_B, BPF_H, BPF_W or BPF_DW."""
    return Instruction(BPF_LDX | BPF_MEM | size, dst, src, off)


def ldxsx(size: int, dst: int, src: int, off: int) -> Instruction:
    """``rD = *(sN *)(rS + off)``, sign-extended; ``size`` is BPF_B, BPF_H or BPF_W."""
    # Since Linux 6.6 (1f9a1ea821ff "bpf: Support new sign-extension load insns").
    return Instruction(BPF_LDX | BPF_MEMSX | size, dst, src, off)


def stx(size: int, dst: int, off: int, src: int) -> Instruction:
    """``*(uN *)(rD + off) = rS``"""
    return Instruction(BPF_STX | BPF_MEM | size, dst, src, off)


def st(size: int, dst: int, off: int, imm: int) -> Instruction:
    """``*(uN *)(rD + off) = imm`` (sign-extended for BPF_DW)"""
    if size != 0x18:
        imm = _signed32(imm)
    return Instruction(BPF_ST | BPF_MEM | size, dst, 0, off, imm)


def atomic(size: int, op: int, dst: int, off: int, src: int) -> Instruction:
    """``lock *(uN *)(rD + off) op= rS``.

    ``op`` is BPF_ADD, BPF_AND, BPF_OR or BPF_XOR, with BPF_FETCH to get the old value in rS, or
    BPF_XCHG, or BPF_CMPXCHG (compares with r0, which gets the old value). BPF_W or BPF_DW only.
    """
    return Instruction(BPF_STX | BPF_ATOMIC | size, dst, src, off, op)


def load_acquire(size: int, dst: int, src: int, off: int) -> Instruction:
    """``rD = load_acquire((uN *)(rS + off))``"""
    # Since Linux 6.15 (880442305a39 "bpf: Introduce load-acquire and store-release instructions").
    return Instruction(BPF_STX | BPF_ATOMIC | size, dst, src, off, BPF_LOAD_ACQ)


def store_release(size: int, dst: int, off: int, src: int) -> Instruction:
    """``store_release((uN *)(rD + off), rS)``"""
    return Instruction(BPF_STX | BPF_ATOMIC | size, dst, src, off, BPF_STORE_REL)


def jmp_reg(op: int, dst: int, src: int, off: int) -> Instruction:
    """``if rD op rS goto pc+off``; the offset counts slots behind this instruction."""
    return Instruction(BPF_JMP | op | BPF_X, dst, src, off)


def jmp_imm(op: int, dst: int, imm: int, off: int) -> Instruction:
    """``if rD op imm goto pc+off`` (the constant is sign-extended)"""
    return Instruction(BPF_JMP | op, dst, 0, off, imm)


def jmp32_reg(op: int, dst: int, src: int, off: int) -> Instruction:
    """``if wD op wS goto pc+off``"""
    return Instruction(BPF_JMP32 | op | BPF_X, dst, src, off)


def jmp32_imm(op: int, dst: int, imm: int, off: int) -> Instruction:
    """``if wD op imm goto pc+off``"""
    return Instruction(BPF_JMP32 | op, dst, 0, off, _signed32(imm))


def ja(off: int) -> Instruction:
    """``goto pc+off``"""
    return Instruction(BPF_JMP | BPF_JA, 0, 0, off)


def gotol(imm: int) -> Instruction:
    """``gotol pc+imm``: a jump with a 32-bit offset."""
    # Since Linux 6.6 (4cd58e9af8b9 "bpf: Support new 32bit offset jmp instruction").
    return Instruction(BPF_JMP32 | BPF_JA, 0, 0, 0, imm)


def may_goto(off: int) -> Instruction:
    """``may_goto pc+off``: jumps once the kernel's own loop budget is spent."""
    # Since Linux 6.9 (011832b97b31 "bpf: Introduce may_goto instruction").
    return Instruction(BPF_JMP | BPF_JCOND, 0, BPF_MAY_GOTO, off)


def call_helper(number: int) -> Instruction:
    """``call`` of the kernel's helper BPF_FUNC_*"""
    return Instruction(BPF_JMP | BPF_CALL, 0, 0, 0, number)


def call_pseudo(off: int) -> Instruction:
    """``call pc+off``: a function of the same program, ``off`` slots behind this instruction."""
    return Instruction(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_CALL, 0, off)


def call_kfunc(btf_id: int, fd_index: int = 0) -> Instruction:
    """``call`` of a kernel function by BTF id; ``fd_index`` (from 1) its module in fd_array."""
    return Instruction(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_KFUNC_CALL, fd_index, btf_id)


def exit_() -> Instruction:
    """``exit``: return r0."""
    return Instruction(BPF_JMP | BPF_EXIT)

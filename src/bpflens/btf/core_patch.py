"""A CO-RE result into the instruction that waits for it.

:func:`apply` takes one instruction and returns what to put in its place: the same number of slots,
so that jumps stay right. Six forms can be relocated: constants of ``rX = imm``, ``rX += imm`` and
the like, 64-bit constants, and the offset (and with it the size) of loads and stores.

An instruction that cannot be made right becomes a call of a helper that does not exist, whose
number (0xbad2310, "bad relo", libbpf's) tells readers of the verifier's log what happened.

Example::

    new = apply(ldx(BPF_DW, 1, 6, 16), result)      # [ldx(BPF_DW, 1, 6, 24)]
"""

from __future__ import annotations

from bpflens.asm.instruction import Instruction, call_helper, decode, encode
from bpflens.errors import FormatError
from bpflens.uapi.bpf import (
    BPF_ALU,
    BPF_ALU64,
    BPF_B,
    BPF_CORE_ENUMVAL_VALUE,
    BPF_DW,
    BPF_H,
    BPF_LDX,
    BPF_ST,
    BPF_STX,
    BPF_W,
    BPF_X,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.btf.core import Result

__all__ = ["POISON", "apply", "apply_bytes"]

POISON = 0xBAD2310

_SIZE_CODES = {1: BPF_B, 2: BPF_H, 4: BPF_W, 8: BPF_DW}
_SIZE_MASK = 0x18
_CLASS_MASK = 0x07
_U64 = (1 << 64) - 1


def apply(insn: Instruction, result: Result) -> list[Instruction]:
    """Return the instructions (one; two for a poisoned 64-bit constant) that replace ``insn``.

    Raises :class:`FormatError` if ``insn`` is not what the compiler said it would be.
    """
    if result.poison:
        return _poison(insn)
    kind = insn.op & _CLASS_MASK
    if insn.wide:
        return [_constant(insn, result)]
    if kind in (BPF_ALU, BPF_ALU64) and not insn.op & BPF_X:
        return [_immediate(insn, result)]
    if kind in (BPF_LDX, BPF_ST, BPF_STX):
        if result.bad_size:
            _check(insn.off, result, insn.off & _U64)
            return _poison(insn)
        return [_memory(insn, result)]
    raise FormatError("CO-RE", f"an instruction {insn!r} cannot be relocated", result.where)


def apply_bytes(code: bytearray, offset: int, result: Result) -> None:
    """Relocate the instruction at a byte offset of a program, in place."""
    size = 16 if offset + 16 <= len(code) and code[offset] == 0x18 else 8
    if offset % 8 or not 0 <= offset <= len(code) - size:
        raise FormatError("CO-RE", f"there is no instruction at byte {offset}", result.where)
    (insn,) = decode(code[offset : offset + size])
    code[offset : offset + size] = encode(apply(insn, result))


def _poison(insn: Instruction) -> list[Instruction]:
    return [call_helper(POISON) for _ in range(2 if insn.wide else 1)]


def _check(shown: int, result: Result, held: int) -> None:
    if result.validate and held != result.original:
        problem = f"the instruction holds {shown}, not {result.original}"
        raise FormatError("CO-RE", problem, result.where)


def _constant(insn: Instruction, result: Result) -> Instruction:
    if insn.src or insn.off:
        raise FormatError("CO-RE", "a 64-bit load of another purpose", result.where)
    held, value = insn.imm & _U64, result.value
    if result.kind == BPF_CORE_ENUMVAL_VALUE and held == result.original & 0xFFFFFFFF:
        # An unsigned enum of 32 bits: clang does not extend the sign.
        value &= 0xFFFFFFFF
    else:
        _check(held, result, held)
    return Instruction(insn.op, insn.dst, 0, 0, value)


def _immediate(insn: Instruction, result: Result) -> Instruction:
    _check(insn.imm, result, insn.imm & _U64)
    value = result.value - (1 << 64) if result.value >> 63 else result.value
    if not -(1 << 31) <= value < 1 << 32:
        raise FormatError("CO-RE", f"{value} does not fit in 32 bits", result.where)
    if value >> 31 == 1:
        value -= 1 << 32
    return Instruction(insn.op, insn.dst, insn.src, insn.off, value)


def _memory(insn: Instruction, result: Result) -> Instruction:
    _check(insn.off, result, insn.off & _U64)
    if result.value > 0x7FFF:
        raise FormatError("CO-RE", f"offset {result.value} does not fit in 16 bits", result.where)
    op = insn.op
    if result.new_size != result.old_size:
        if _SIZE_CODES.get(result.old_size) != op & _SIZE_MASK:
            problem = f"a load or store of another size than {result.old_size}"
            raise FormatError("CO-RE", problem, result.where)
        size = _SIZE_CODES.get(result.new_size)
        if size is None:
            raise FormatError("CO-RE", f"no load has {result.new_size} bytes", result.where)
        op = op & ~_SIZE_MASK | size
    return Instruction(op, insn.dst, insn.src, result.value, insn.imm)

"""Instructions → the text that the kernel's verifier and bpftool print for them.

The form is that of kernel/bpf/disasm.c: ``(bf) r7 = r1``, ``(63) *(u32 *)(r10 -4) = r6``,
``(85) call bpf_map_lookup_elem#1``. Two callbacks name what the instruction alone cannot tell, as
bpftool does: ``call_name(insn)`` for calls that are not plain helpers (the text after ``pc`` for
calls inside the program, the function's name for others; None = the default) and
``imm_name(insn)`` for the constant of a 64-bit load. :func:`xlated_imm_name` is bpftool's own.

One string per Instruction, without slot numbers: :func:`bpflens.asm.instruction.slots` gives those.
Opcodes that no kernel knows come out as the kernel's ``BUG_..`` texts, never as an exception.

Example::

    disassemble(decode(bytes.fromhex("b7000000070000009500000000000000")))
    # ['(b7) r0 = 7', '(95) exit']
"""

from __future__ import annotations

from bpflens.uapi.bpf import (
    BPF_ADDR_SPACE_CAST,
    BPF_CMPXCHG,
    BPF_FETCH,
    BPF_LOAD_ACQ,
    BPF_PSEUDO_CALL,
    BPF_PSEUDO_FUNC,
    BPF_PSEUDO_KFUNC_CALL,
    BPF_PSEUDO_MAP_FD,
    BPF_PSEUDO_MAP_IDX_VALUE,
    BPF_PSEUDO_MAP_VALUE,
    BPF_STORE_REL,
    BPF_XCHG,
)
from bpflens.uapi.helper import HELPER_NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bpflens.asm.instruction import Instruction

    Namer = Callable[[Instruction], str | None]

__all__ = ["disassemble", "opcode_bytes", "text_of", "xlated_imm_name"]

_ALU = {
    0x00: "+=", 0x10: "-=", 0x20: "*=", 0x30: "/=", 0x40: "|=", 0x50: "&=", 0x60: "<<=",
    0x70: ">>=", 0x80: "neg", 0x90: "%=", 0xA0: "^=", 0xB0: "=", 0xC0: "s>>=", 0xD0: "endian",
}  # fmt: skip
_JMP = {
    0x00: "jmp", 0x10: "==", 0x20: ">", 0x30: ">=", 0x40: "&", 0x50: "!=", 0x60: "s>", 0x70: "s>=",
    0x80: "call", 0x90: "exit", 0xA0: "<", 0xB0: "<=", 0xC0: "s<", 0xD0: "s<=",
}  # fmt: skip
_SIZE = {0x00: "u32", 0x08: "u16", 0x10: "u8", 0x18: "u64"}
_SIGNED_SIZE = {0x00: "s32", 0x08: "s16", 0x10: "s8", 0x18: "(null)"}
_ATOMIC = {0x00: "add", 0x40: "or", 0x50: "and", 0xA0: "xor"}


def disassemble(
    insns: Iterable[Instruction],
    *,
    call_name: Namer | None = None,
    imm_name: Namer | None = None,
) -> list[str]:
    """Return the kernel's text of every instruction (see the module for the callbacks)."""
    return [text_of(insn, call_name, imm_name) for insn in insns]


def text_of(
    insn: Instruction, call_name: Namer | None = None, imm_name: Namer | None = None
) -> str:
    """Return the kernel's text of one instruction."""
    kind = insn.op & 7
    if kind == 7 or kind == 4:
        return _alu(insn, "r" if kind == 7 else "w")
    if kind == 5 or kind == 6:
        return _jump(insn, "r" if kind == 5 else "w", call_name)
    if kind == 3:
        return _store_register(insn)
    if kind == 1:
        return _load_register(insn)
    if kind == 2:
        return _store_constant(insn)
    return _load(insn, imm_name)


def xlated_imm_name(insn: Instruction) -> str | None:
    """Name the constant of a 64-bit load as bpftool does in a dump of a loaded program.

    There the kernel has put map ids (not fds) into ``imm``: ``map[id:5]``, ``map[id:5][0]+16``.
    """
    low, high = insn.imm & 0xFFFFFFFF, insn.imm >> 32 & 0xFFFFFFFF
    if insn.src == BPF_PSEUDO_MAP_FD:
        return f"map[id:{low}]"
    if insn.src == BPF_PSEUDO_MAP_VALUE:
        return f"map[id:{low}][0]+{high}"
    if insn.src == BPF_PSEUDO_MAP_IDX_VALUE:
        return f"map[idx:{low}]+{high}"
    if insn.src == BPF_PSEUDO_FUNC:
        return f"subprog[{_signed(low):+d}]"
    return None


def opcode_bytes(data: bytes | bytearray | memoryview, slot: int) -> str:
    """Return the bytes at ``slot`` as bpftool's ``opcodes`` option shows them."""
    size = 16 if data[8 * slot] == 0x18 else 8
    return bytes(data[8 * slot : 8 * slot + size]).hex(" ")


def _signed(value: int) -> int:
    return value - (1 << 32) if value & 0x80000000 else value


def _alu(insn: Instruction, reg: str) -> str:
    op, dst, off = insn.op, insn.dst, insn.off
    code = op & 0xF0
    head = f"({op:02x}) "
    if code == 0xD0:
        swap = "bswap" if reg == "r" else "be" if op & 8 else "le"
        return f"{head}r{dst} = {swap}{insn.imm} r{dst}"
    if code == 0x80:
        return f"{head}{reg}{dst} = -{reg}{dst}"
    sign = "s" if off == 1 and code in (0x30, 0x90) else ""
    word = sign + _ALU.get(code, "(null)")
    if not op & 8:
        return f"{head}{reg}{dst} {word} {insn.imm}"
    if op == 0xBF and off == BPF_ADDR_SPACE_CAST:
        to_space, from_space = insn.imm >> 16 & 0xFFFF, insn.imm & 0xFFFF
        return f"{head}r{dst} = addr_space_cast(r{insn.src}, {to_space}, {from_space})"
    if op == 0xBF and off == -1:
        # The kernel's own form, seen in dumps only: the address of a per-CPU variable.
        return f"{head}r{dst} = &(void __percpu *)(r{insn.src})"
    cast = f"(s{off})" if code == 0xB0 and off in (8, 16, 32) else ""
    return f"{head}{reg}{dst} {word} {cast}{reg}{insn.src}"


def _jump(insn: Instruction, reg: str, call_name: Namer | None) -> str:
    op, off = insn.op, insn.off
    code = op & 0xF0
    if code == 0x80:
        return f"({op:02x}) call {_callee(insn, call_name)}"
    if op == 0x05:
        return f"(05) goto pc{off:+d}"
    if op == 0x0D:
        # An indirect jump, newer than 6.18; its targets are in a map of type insn_array.
        return f"(0d) gotox r{insn.dst}"
    if op == 0xE5 and insn.src == 0:
        return f"(e5) may_goto pc{off:+d}"
    if op == 0x06:
        return f"(06) gotol pc{insn.imm:+d}"
    if op == 0x95:
        return "(95) exit"
    word = _JMP.get(code, "(null)")
    if op & 8:
        return f"({op:02x}) if {reg}{insn.dst} {word} {reg}{insn.src} goto pc{off:+d}"
    imm = insn.imm & 0xFFFFFFFF
    return f"({op:02x}) if {reg}{insn.dst} {word} {imm:#x} goto pc{off:+d}"


def _callee(insn: Instruction, call_name: Namer | None) -> str:
    imm = insn.imm
    if insn.src == 0 and 0 <= imm < len(HELPER_NAMES):
        return f"bpf_{HELPER_NAMES[imm]}#{imm}"
    name = call_name(insn) if call_name else None
    if insn.src == BPF_PSEUDO_CALL:
        return f"pc{imm:+d}" if name is None else f"pc{name}"
    if name is None:
        name = "kernel-function" if insn.src == BPF_PSEUDO_KFUNC_CALL else "unknown"
    return f"{name}#{imm}"


def _store_register(insn: Instruction) -> str:
    op, imm, src = insn.op, insn.imm, insn.src
    size = _SIZE[op & 0x18]
    where = f"*({size} *)(r{insn.dst} {insn.off:+d})"
    mode = op & 0xE0
    if mode == 0x60:
        return f"({op:02x}) {where} = r{src}"
    if mode != 0xC0:
        return f"BUG_{op:02x}"
    if imm in _ATOMIC:
        return f"({op:02x}) lock {where} {_ALU[imm]} r{src}"
    where = f"({size} *)(r{insn.dst} {insn.off:+d})"
    wide = "64" if op & 0x18 == 0x18 else ""
    if imm & ~0xF0 == BPF_FETCH and imm & 0xF0 in _ATOMIC:
        return f"({op:02x}) r{src} = atomic{wide}_fetch_{_ATOMIC[imm & 0xF0]}({where}, r{src})"
    if imm == BPF_CMPXCHG:
        return f"({op:02x}) r0 = atomic{wide}_cmpxchg({where}, r0, r{src})"
    if imm == BPF_XCHG:
        return f"({op:02x}) r{src} = atomic{wide}_xchg({where}, r{src})"
    if imm == BPF_LOAD_ACQ:
        return f"({op:02x}) r{insn.dst} = load_acquire(({size} *)(r{src} {insn.off:+d}))"
    if imm == BPF_STORE_REL:
        return f"({op:02x}) store_release({where}, r{src})"
    return f"BUG_{op:02x}"


def _store_constant(insn: Instruction) -> str:
    op = insn.op
    if op & 0xE0 == 0x60:
        return f"({op:02x}) *({_SIZE[op & 0x18]} *)(r{insn.dst} {insn.off:+d}) = {insn.imm}"
    if op & 0xE0 == 0xC0:
        return f"({op:02x}) nospec"
    return f"BUG_st_{op:02x}"


def _load_register(insn: Instruction) -> str:
    op = insn.op
    mode = op & 0xE0
    if mode != 0x60 and mode != 0x80:
        return f"BUG_ldx_{op:02x}"
    size = (_SIZE if mode == 0x60 else _SIGNED_SIZE)[op & 0x18]
    return f"({op:02x}) r{insn.dst} = *({size} *)(r{insn.src} {insn.off:+d})"


def _load(insn: Instruction, imm_name: Namer | None) -> str:
    op = insn.op
    mode = op & 0xE0
    if mode == 0x20:
        return f"({op:02x}) r0 = *({_SIZE[op & 0x18]} *)skb[{insn.imm}]"
    if mode == 0x40:
        return f"({op:02x}) r0 = *({_SIZE[op & 0x18]} *)skb[r{insn.src} + {insn.imm}]"
    if op == 0x18:
        name = imm_name(insn) if imm_name else None
        return f"(18) r{insn.dst} = {f'{insn.imm & (1 << 64) - 1:#x}' if name is None else name}"
    return f"BUG_ld_{op:02x}"

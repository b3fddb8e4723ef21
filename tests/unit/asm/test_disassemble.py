import re
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpflens.asm import instruction as make
from bpflens.asm.assemble import assemble
from bpflens.asm.disassemble import disassemble, opcode_bytes, text_of, xlated_imm_name
from bpflens.asm.instruction import Instruction, decode, slots
from bpflens.uapi import bpf
from unit.asm.strategies import INSTRUCTION

SAMPLE = Path(__file__).parent / "data" / "xlated-opcodes.txt"


def real_dump():
    """Slot, text and bytes of each instruction in a dump of the real bpftool."""
    lines = SAMPLE.read_text().splitlines()
    return [
        (int(match[1]), match[2], after.strip())
        for line, after in pairwise(lines)
        if (match := re.match(r" *(\d+): (\(.*)", line))
    ]


def test_a_loaded_program_reads_as_in_bpftool():
    dump = real_dump()
    data = bytes.fromhex("".join(code for _, _, code in dump))
    insns = decode(data)

    def call_name(insn):
        return f"{insn.off:+d}#bpf_prog_4b543f3eaffe3e92_helper_sub"

    texts = disassemble(insns, call_name=call_name, imm_name=xlated_imm_name)
    assert texts == [text for _, text, _ in dump]
    assert slots(insns)[:-1] == [slot for slot, _, _ in dump]
    assert [opcode_bytes(data, slot) for slot in slots(insns)[:-1]] == [code for *_, code in dump]


@pytest.mark.parametrize(
    ("insn", "text"),
    [
        # The forms that are newer than any bpftool on this machine, as Linux 6.18 prints them.
        (make.movsx64(1, 2, 8), "(bf) r1 = (s8)r2"),
        (make.movsx32(1, 2, 16), "(bc) w1 = (s16)w2"),
        (make.alu64_reg(bpf.BPF_DIV, 1, 2, 1), "(3f) r1 s/= r2"),
        (make.alu32_imm(bpf.BPF_MOD, 1, 7, 1), "(94) w1 s%= 7"),
        (make.bswap(3, 64), "(d7) r3 = bswap64 r3"),
        (make.endian(3, 16, False), "(d4) r3 = le16 r3"),
        (make.gotol(-7), "(06) gotol pc-7"),
        (make.may_goto(3), "(e5) may_goto pc+3"),
        (make.ldxsx(bpf.BPF_W, 1, 10, -8), "(81) r1 = *(s32 *)(r10 -8)"),
        (make.load_acquire(bpf.BPF_DW, 1, 10, -8), "(db) r1 = load_acquire((u64 *)(r10 -8))"),
        (make.store_release(bpf.BPF_B, 10, -8, 1), "(d3) store_release((u8 *)(r10 -8), r1)"),
        (make.addr_space_cast(1, 2, 0, 1), "(bf) r1 = addr_space_cast(r2, 0, 1)"),
        (make.atomic(bpf.BPF_W, bpf.BPF_XOR | 1, 1, 4, 2),
         "(c3) r2 = atomic_fetch_xor((u32 *)(r1 +4), r2)"),
        (make.atomic(bpf.BPF_DW, bpf.BPF_CMPXCHG, 1, 0, 2),
         "(db) r0 = atomic64_cmpxchg((u64 *)(r1 +0), r0, r2)"),
        (make.call_kfunc(99), "(85) call kernel-function#99"),
        (make.call_helper(1000), "(85) call unknown#1000"),
        (Instruction(0xBF, 1, 2, -1), "(bf) r1 = &(void __percpu *)(r2)"),
        (Instruction(0x20, 0, 0, 0, 12), "(20) r0 = *(u32 *)skb[12]"),
        (Instruction(0x48, 0, 3, 0, -4), "(48) r0 = *(u16 *)skb[r3 + -4]"),
        (Instruction(0xC2), "(c2) nospec"),
        (Instruction(0xE3), "BUG_e3"),
        (Instruction(0x9A), "BUG_st_9a"),
        (Instruction(0xF9), "BUG_ldx_f9"),
        (Instruction(0x00), "BUG_ld_00"),
    ],
)  # fmt: skip
def test_newer_and_broken_instructions_read_as_in_the_kernel(insn, text):
    assert text_of(insn) == text


@given(st.builds(Instruction, st.integers(0, 255), st.integers(0, 15), st.integers(0, 15)))
def test_every_opcode_has_a_text(insn):
    assert text_of(insn)


@given(st.lists(INSTRUCTION, min_size=1, max_size=20))
def test_the_text_assembles_to_the_same_instructions(insns):
    numbered = zip(slots(insns), disassemble(insns), strict=False)
    assert assemble("\n".join(f"{slot:4}: {text}" for slot, text in numbered)) == insns


@given(INSTRUCTION.filter(lambda insn: not insn.wide))
def test_opcodes_in_front_are_not_needed(insn):
    assert assemble(text_of(insn).partition(") ")[2]) == [insn]

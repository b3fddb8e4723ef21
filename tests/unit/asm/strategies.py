"""Hypothesis strategies for instructions as compilers make them."""

from hypothesis import strategies as st

from bpflens.asm import instruction as make
from bpflens.uapi import bpf

REG = st.integers(0, 10)
OFF = st.integers(-0x8000, 0x7FFF)
IMM = st.one_of(st.integers(-0x80000000, 0x7FFFFFFF), st.integers(-3, 3))
SIZE = st.sampled_from((bpf.BPF_B, bpf.BPF_H, bpf.BPF_W, bpf.BPF_DW))
WORD = st.sampled_from((bpf.BPF_W, bpf.BPF_DW))
ALU = st.sampled_from(
    (bpf.BPF_ADD, bpf.BPF_SUB, bpf.BPF_MUL, bpf.BPF_DIV, bpf.BPF_OR, bpf.BPF_AND, bpf.BPF_LSH,
     bpf.BPF_RSH, bpf.BPF_MOD, bpf.BPF_XOR, bpf.BPF_ARSH)
)  # fmt: skip
JUMP = st.sampled_from(
    (bpf.BPF_JEQ, bpf.BPF_JNE, bpf.BPF_JGT, bpf.BPF_JGE, bpf.BPF_JLT, bpf.BPF_JLE, bpf.BPF_JSGT,
     bpf.BPF_JSGE, bpf.BPF_JSLT, bpf.BPF_JSLE, bpf.BPF_JSET)
)  # fmt: skip
DIVISION = st.sampled_from((bpf.BPF_DIV, bpf.BPF_MOD))
FETCH = st.sampled_from(
    [op | fetch for op in (bpf.BPF_ADD, bpf.BPF_OR, bpf.BPF_AND, bpf.BPF_XOR)
     for fetch in (0, bpf.BPF_FETCH)] + [bpf.BPF_XCHG, bpf.BPF_CMPXCHG]
)  # fmt: skip
BITS = st.sampled_from((16, 32, 64))

INSTRUCTION = st.one_of(
    st.builds(make.mov64_reg, REG, REG),
    st.builds(make.mov64_imm, REG, IMM),
    st.builds(make.mov32_reg, REG, REG),
    st.builds(make.mov32_imm, REG, IMM),
    st.builds(make.movsx64, REG, REG, st.sampled_from((8, 16, 32))),
    st.builds(make.movsx32, REG, REG, st.sampled_from((8, 16))),
    st.builds(make.alu64_reg, ALU, REG, REG),
    st.builds(make.alu64_imm, ALU, REG, IMM),
    st.builds(make.alu32_reg, ALU, REG, REG),
    st.builds(make.alu32_imm, ALU, REG, IMM),
    st.builds(make.alu64_reg, DIVISION, REG, REG, st.just(1)),
    st.builds(make.alu32_imm, DIVISION, REG, IMM, st.just(1)),
    st.builds(make.neg64, REG),
    st.builds(make.neg32, REG),
    st.builds(make.endian, REG, BITS, st.booleans()),
    st.builds(make.bswap, REG, BITS),
    st.builds(make.addr_space_cast, REG, REG, st.integers(0, 1), st.integers(0, 1)),
    st.builds(make.ld_imm64, REG, st.integers(0, (1 << 64) - 1)),
    st.builds(make.ldx, SIZE, REG, REG, OFF),
    st.builds(make.ldxsx, st.sampled_from((bpf.BPF_B, bpf.BPF_H, bpf.BPF_W)), REG, REG, OFF),
    st.builds(make.stx, SIZE, REG, OFF, REG),
    st.builds(make.st, SIZE, REG, OFF, IMM),
    st.builds(make.atomic, WORD, FETCH, REG, OFF, REG),
    st.builds(make.load_acquire, SIZE, REG, REG, OFF),
    st.builds(make.store_release, SIZE, REG, OFF, REG),
    st.builds(make.jmp_reg, JUMP, REG, REG, OFF),
    st.builds(make.jmp_imm, JUMP, REG, IMM, OFF),
    st.builds(make.jmp32_reg, JUMP, REG, REG, OFF),
    st.builds(make.jmp32_imm, JUMP, REG, IMM, OFF),
    st.builds(make.ja, OFF),
    st.builds(make.gotol, IMM),
    st.builds(make.may_goto, OFF),
    st.builds(make.call_helper, st.integers(0, 300)),
    st.builds(make.call_pseudo, IMM),
    st.builds(make.call_kfunc, st.integers(1, 200_000)),
    st.builds(make.exit_),
)

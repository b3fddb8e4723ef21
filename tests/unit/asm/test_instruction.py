import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpflens.asm import instruction as make
from bpflens.asm.instruction import Instruction, decode, encode, slots
from bpflens.errors import FormatError
from bpflens.uapi import bpf
from unit.asm.strategies import INSTRUCTION


@given(st.lists(INSTRUCTION, max_size=30))
def test_encoding_round_trips(insns):
    data = encode(insns)
    assert len(data) == 8 * slots(insns)[-1]
    assert decode(data) == insns


@given(st.binary(max_size=200))
def test_any_bytes_decode_or_are_refused(data):
    try:
        insns = decode(data)
    except FormatError:
        return
    # The reserved fields of the second half of a 64-bit load are the only thing not kept.
    assert len(encode(insns)) == len(data)


def test_bytes_are_those_of_the_instruction_set():
    # From RFC 9669 and dumps of clang's output.
    for insn, code in (
        (make.mov64_reg(7, 1), "bf17000000000000"),
        (make.stx(bpf.BPF_W, 10, -4, 6), "636afcff00000000"),
        (make.atomic(bpf.BPF_DW, bpf.BPF_ADD, 0, 0, 1), "db10000000000000"),
        (make.jmp_reg(bpf.BPF_JGT, 2, 1, 3), "2d12030000000000"),
        (make.call_pseudo(1), "8510000001000000"),
        (make.call_kfunc(0x1234, 2), "8520020034120000"),
        (make.ld_imm64(2, 206, 2), "18220000ce000000" + "00" * 8),
        (make.ldxsx(bpf.BPF_H, 1, 2, 8), "8921080000000000"),
        (make.movsx64(1, 2, 16), "bf21100000000000"),
        (make.gotol(-2), "06000000feffffff"),
        (make.may_goto(5), "e500050000000000"),
        (make.bswap(3, 32), "d703000020000000"),
        (make.endian(3, 16), "dc03000010000000"),
        (make.addr_space_cast(1, 2, 1, 0), "bf21010000000100"),
    ):
        assert encode([insn]).hex() == code, insn


def test_what_does_not_fit_is_refused():
    for insn in (
        make.mov64_imm(0, 0x80000000),
        make.alu64_imm(bpf.BPF_AND, 0, 0xFFFFFFFF),
        make.ja(0x8000),
        make.mov64_reg(16, 0),
        make.mov64_reg(0, -1),
        make.ld_imm64(0, 1 << 64),
        Instruction(0x100),
    ):
        with pytest.raises(ValueError, match="does not fit"):
            encode([insn])


def test_unsigned_constants_of_32_bit_operations_become_signed():
    assert make.mov32_imm(0, 0xFFFFFFFF).imm == -1
    assert make.jmp32_imm(bpf.BPF_JEQ, 0, 0x80000000, 0).imm == -0x80000000
    assert make.st(bpf.BPF_W, 10, -4, 0xFFFFFFFE).imm == -2
    assert make.st(bpf.BPF_DW, 10, -8, 0xFFFFFFFE).imm == 0xFFFFFFFE


def test_half_a_wide_load_is_refused():
    with pytest.raises(FormatError, match="half a 64-bit load"):
        decode(bytes.fromhex("1801000000000000"))
    with pytest.raises(FormatError, match="half a 64-bit load"):
        decode(bytes.fromhex("18010000000000009500000000000000"))
    with pytest.raises(FormatError, match="multiple of 8"):
        decode(bytes(9))


def test_slots_count_wide_instructions_twice():
    assert slots([make.mov64_imm(0, 0), make.ld_imm64(1, 5), make.exit_()]) == [0, 1, 3, 4]

"""Relocations put numbers into instructions, and only where they belong."""

from __future__ import annotations

import struct

import pytest

from bpflens.errors import FormatError, NotFound
from bpflens.load.patch import KernelTarget, MapTarget, Resolver, patch
from bpflens.spec import ProgramSpec, Reloc

LD = struct.pack("<BBhi", 0x18, 0x01, 0, 0) + struct.pack("<BBhi", 0, 0, 0, 0)
CALL = struct.pack("<BBhi", 0x85, 0, 0, 0)
EXIT = struct.pack("<BBhi", 0x95, 0, 0, 0)


def _program(insns: bytes, *relocs: Reloc, **more) -> ProgramSpec:
    return ProgramSpec("p", 1, insns, relocs=relocs, **more)


def _slots(insns: bytes) -> list[tuple[int, ...]]:
    return [
        (code, regs & 15, regs >> 4, off, imm)
        for code, regs, off, imm in struct.iter_unpack("<BBhi", insns)
    ]


def test_map_descriptor_goes_into_the_wide_load():
    out = patch(_program(LD + EXIT, Reloc(0, "map", "m")), Resolver({"m": MapTarget(7)}))
    assert _slots(out) == [(0x18, 1, 1, 0, 7), (0, 0, 0, 0, 0), (0x95, 0, 0, 0, 0)]


def test_address_in_a_map_value_carries_its_offset():
    program = _program(LD, Reloc(0, "map_value", "m", addend=12))
    assert _slots(patch(program, Resolver({"m": MapTarget(7, direct=True)})))[:2] == [
        (0x18, 1, 2, 0, 7),
        (0, 0, 0, 0, 12),
    ]


def test_address_in_a_map_without_direct_values_is_refused():
    program = _program(LD, Reloc(0, "map_value", "m"))
    with pytest.raises(FormatError, match="array with one entry"):
        patch(program, Resolver({"m": MapTarget(7)}))


def test_call_distance_counts_from_the_following_instruction():
    program = _program(
        CALL + EXIT + EXIT, Reloc(0, "call", "sub"), funcs=[(0, "p", 0), (2, "sub", 0)]
    )
    assert _slots(patch(program, Resolver()))[0] == (0x85, 0, 1, 0, 1)


def test_backward_call_is_negative():
    program = _program(EXIT + EXIT + CALL, Reloc(2, "call", "p"), funcs=[(0, "p", 0)])
    assert _slots(patch(program, Resolver()))[2][4] == -3


def test_function_address_is_a_distance_too():
    program = _program(LD + EXIT + EXIT, Reloc(0, "func", "cb"), funcs=[(3, "cb", 0)])
    assert _slots(patch(program, Resolver()))[0] == (0x18, 1, 4, 0, 2)


def test_kernel_function_by_id_and_descriptor_index():
    resolver = Resolver(kernel=lambda name, call: KernelTarget(btf_id=4711, fd_index=3))
    out = patch(_program(CALL, Reloc(0, "kfunc", "bpf_iter_num_new")), resolver)
    assert _slots(out)[0] == (0x85, 0, 2, 3, 4711)


def test_missing_weak_kernel_function_becomes_a_call_the_verifier_refuses_when_reached():
    out = patch(_program(CALL, Reloc(0, "kfunc", "nope", weak=True)), Resolver())
    assert _slots(out)[0] == (0x85, 0, 0, 0, 2002000000)


def test_missing_strong_kernel_function_is_an_error():
    with pytest.raises(NotFound, match="no kernel function nope"):
        patch(_program(CALL, Reloc(0, "kfunc", "nope")), Resolver())


def test_kernel_variable_by_id_and_by_address():
    typed = Resolver(kernel=lambda name, call: KernelTarget(btf_id=9, btf_fd=5))
    assert _slots(patch(_program(LD, Reloc(0, "ksym", "v")), typed))[:2] == [
        (0x18, 1, 3, 0, 9),
        (0, 0, 0, 0, 5),
    ]
    plain = Resolver(kernel=lambda name, call: KernelTarget(address=0xFFFFFFFF81000010))
    out = patch(_program(LD, Reloc(0, "ksym", "v")), plain)
    assert struct.unpack_from("<I", out, 4) == (0x81000010,)
    assert struct.unpack_from("<I", out, 12) == (0xFFFFFFFF,)
    assert _slots(out)[0][2] == 0


def test_missing_weak_kernel_variable_has_address_zero():
    out = patch(_program(LD, Reloc(0, "ksym", "v", weak=True)), Resolver())
    assert _slots(out)[:2] == [(0x18, 1, 0, 0, 0), (0, 0, 0, 0, 0)]


def test_unknown_map_names_what_is_near():
    with pytest.raises(NotFound, match="did you mean counts"):
        patch(_program(LD, Reloc(0, "map", "count")), Resolver({"counts": MapTarget(3)}))


@pytest.mark.parametrize(
    ("insns", "reloc"),
    [
        (EXIT + EXIT, Reloc(0, "map", "m")),
        (EXIT, Reloc(0, "call", "f")),
        (LD, Reloc(1, "map", "m")),
        (LD, Reloc(-1, "map", "m")),
        (LD, Reloc(0, "other", "m")),
        (LD, Reloc(0, "map", "m", addend=4)),
        (LD, Reloc(0, "core", "", addend=0)),
    ],
)
def test_relocation_that_does_not_fit_its_instruction_is_refused(insns, reloc):
    with pytest.raises(FormatError, match="program p: relocation"):
        patch(_program(insns, reloc), Resolver({"m": MapTarget(1)}))


def test_program_without_relocations_is_left_alone():
    program = _program(EXIT)
    assert patch(program, Resolver()) is program.insns

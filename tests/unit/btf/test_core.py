"""CO-RE: rules in the small, and a program of clang against a target that differs."""

from __future__ import annotations

import struct

import pytest

from bpflens.asm.instruction import call_helper, decode, ld_imm64, ldx, mov64_imm, mov64_reg, stx
from bpflens.btf import Btf
from bpflens.btf.builder import Builder
from bpflens.btf.core import Relocator, parse_access, relocate
from bpflens.btf.core_match import essential_name
from bpflens.btf.core_patch import POISON, apply, apply_bytes
from bpflens.btf.ext import parse
from bpflens.errors import FormatError
from bpflens.uapi.bpf import (
    BPF_CORE_ENUMVAL_EXISTS,
    BPF_CORE_ENUMVAL_VALUE,
    BPF_CORE_FIELD_BYTE_OFFSET,
    BPF_CORE_FIELD_BYTE_SIZE,
    BPF_CORE_FIELD_EXISTS,
    BPF_CORE_FIELD_LSHIFT_U64,
    BPF_CORE_FIELD_RSHIFT_U64,
    BPF_CORE_FIELD_SIGNED,
    BPF_CORE_TYPE_EXISTS,
    BPF_CORE_TYPE_ID_LOCAL,
    BPF_CORE_TYPE_ID_TARGET,
    BPF_CORE_TYPE_MATCHES,
    BPF_CORE_TYPE_SIZE,
    BPF_DW,
    BPF_W,
)

from .core_sample import LOCAL, POISONED, TARGET


@pytest.mark.parametrize(
    ("name", "essential"),
    [
        ("task", "task"),
        ("task___old", "task"),
        ("a___b___c", "a___b"),
        ("task____old", "task____old"),
        ("___x", "___x"),
        ("task___", "task___"),
        ("", ""),
        ("a__b", "a__b"),
    ],
)
def test_flavour_is_no_part_of_the_name(name, essential):
    assert essential_name(name) == essential


def make(*, target: bool, byteorder: str = "little") -> Btf:
    """Two versions of a struct: the target's has moved members, and wider ones."""
    b = Builder()
    i32, u32 = b.add_int("int", 4, 1), b.add_int("unsigned int", 4)
    u64, i64 = b.add_int("unsigned long", 8), b.add_int("long", 8, 1)
    array = b.add_array(i32, i32, 8 if target else 4)
    flexible = b.add_array(i32, i32, 0)
    if target:
        inner = b.add_struct("", 12, [("x", i32, 32), ("list", array, 64)])
        b.add_struct(
            "s___v2",
            100,
            [
                *[("", inner, 32), ("u", u64, 320), ("i", i64, 384), ("bits", u32, 453, 6)],
                *[("p", b.next_id, 512), ("tail", flexible, 576)],
            ],
        )
        b.add_enum("e", [("ZERO", 5), ("NEG", -9)])
    else:
        b.add_struct(
            "s",
            48,
            [
                *[("x", i32, 0), ("list", array, 32), ("u", u32, 160), ("i", i32, 192)],
                *[("bits", u32, 224, 4), ("gone", i32, 256), ("p", b.next_id, 320)],
                *[("tail", flexible, 384)],
            ],
        )
        b.add_enum("e", [("ZERO", 0), ("NEG", -1), ("LOST", 3)])
    return Btf(b.build(byteorder))


LOCAL_BTF, TARGET_BTF = make(target=False), make(target=True)
S, E = LOCAL_BTF.find("s"), LOCAL_BTF.find("e")


def ask(kind: int, access: str, id: int = S):
    return relocate(kind, LOCAL_BTF, id, access, TARGET_BTF)


@pytest.mark.parametrize(
    ("kind", "access", "original", "value"),
    [
        (BPF_CORE_FIELD_BYTE_OFFSET, "0:0", 0, 8),
        (BPF_CORE_FIELD_BYTE_OFFSET, "2:0", 96, 208),
        (BPF_CORE_FIELD_BYTE_OFFSET, "0:1:3", 16, 24),
        (BPF_CORE_FIELD_BYTE_OFFSET, "0:7:9", 84, 108),
        (BPF_CORE_FIELD_BYTE_OFFSET, "0:4", 28, 56),
        (BPF_CORE_FIELD_BYTE_SIZE, "0:1", 16, 32),
        (BPF_CORE_FIELD_BYTE_SIZE, "0:4", 4, 4),
        (BPF_CORE_FIELD_BYTE_SIZE, "0", 48, 100),
        (BPF_CORE_FIELD_EXISTS, "0:0", 1, 1),
        (BPF_CORE_FIELD_EXISTS, "0:5", 1, 0),
        (BPF_CORE_FIELD_SIGNED, "0:0", 1, 1),
        (BPF_CORE_FIELD_SIGNED, "0:2", 0, 0),
        (BPF_CORE_FIELD_LSHIFT_U64, "0:4", 60, 64 - (453 - 448 + 6)),
        (BPF_CORE_FIELD_RSHIFT_U64, "0:4", 60, 58),
    ],
)
def test_fields(kind, access, original, value):
    result = ask(kind, access)
    assert (result.original, result.value, result.poison) == (original, value, False)


def test_types():
    assert ask(BPF_CORE_TYPE_ID_LOCAL, "0").value == S
    assert ask(BPF_CORE_TYPE_ID_TARGET, "0").value == TARGET_BTF.find("s___v2")
    assert ask(BPF_CORE_TYPE_EXISTS, "0").value == 1
    assert ask(BPF_CORE_TYPE_SIZE, "0").value == 100
    assert ask(BPF_CORE_TYPE_MATCHES, "0").value == 0
    assert ask(BPF_CORE_TYPE_MATCHES, "0", LOCAL_BTF.find("int")).value == 1


def test_enumerators():
    assert ask(BPF_CORE_ENUMVAL_EXISTS, "0", E).value == 1
    assert ask(BPF_CORE_ENUMVAL_EXISTS, "2", E).value == 0
    assert ask(BPF_CORE_ENUMVAL_VALUE, "0", E).value == 5
    assert ask(BPF_CORE_ENUMVAL_VALUE, "1", E).value == (1 << 64) - 9
    assert ask(BPF_CORE_ENUMVAL_VALUE, "2", E).poison


def test_path_has_the_anonymous_members_too():
    result = ask(BPF_CORE_FIELD_BYTE_OFFSET, "0:1:3")
    outer = TARGET_BTF.find("s___v2")
    inner = TARGET_BTF.type(outer).members[0].type_id
    assert result.spec.path == [(outer, 0), (inner, 1)]
    assert ask(BPF_CORE_FIELD_EXISTS, "0:5").spec is None


def test_what_is_missing_poisons():
    result = ask(BPF_CORE_FIELD_BYTE_OFFSET, "0:5")
    assert result.poison
    assert not result.exists
    assert apply(ldx(BPF_W, 1, 2, 32), result) == [call_helper(POISON)]
    assert apply(ld_imm64(1, 7), result) == [call_helper(POISON)] * 2


def test_load_grows_with_an_unsigned_field():
    result = ask(BPF_CORE_FIELD_BYTE_OFFSET, "0:2")
    assert (result.old_size, result.new_size, result.bad_size) == (4, 8, False)
    assert apply(ldx(BPF_W, 1, 2, 20), result) == [ldx(BPF_DW, 1, 2, 40)]
    assert apply(stx(BPF_W, 1, 20, 2), result) == [stx(BPF_DW, 1, 40, 2)]


def test_load_of_a_signed_field_of_another_size_is_poisoned():
    result = ask(BPF_CORE_FIELD_BYTE_OFFSET, "0:3")
    assert result.bad_size
    assert apply(ldx(BPF_W, 1, 2, 24), result) == [call_helper(POISON)]
    assert apply(mov64_imm(1, 24), result) == [mov64_imm(1, 48)]


def test_64_bit_constant():
    result = ask(BPF_CORE_ENUMVAL_VALUE, "1", E)
    (insn,) = apply(ld_imm64(3, (1 << 64) - 1), result)
    assert (insn.dst, insn.imm) == (3, (1 << 64) - 9)


def test_instruction_must_hold_what_the_compiler_assumed():
    result = ask(BPF_CORE_FIELD_BYTE_OFFSET, "0:0")
    with pytest.raises(FormatError, match="holds 5, not 0"):
        apply(mov64_imm(1, 5), result)
    with pytest.raises(FormatError, match="cannot be relocated"):
        apply(mov64_reg(1, 2), result)


def test_bit_field_may_hold_anything():
    result = ask(BPF_CORE_FIELD_BYTE_OFFSET, "0:4")
    assert not result.validate
    assert apply(mov64_imm(1, 5), result) == [mov64_imm(1, 56)]


def test_patch_in_place():
    code = bytearray(b"".join([bytes(8), bytes.fromhex("6112140000000000"), bytes(8)]))
    apply_bytes(code, 8, ask(BPF_CORE_FIELD_BYTE_OFFSET, "0:2"))
    assert code[8:16].hex() == "7912280000000000"
    with pytest.raises(FormatError, match="no instruction"):
        apply_bytes(code, 24, ask(BPF_CORE_FIELD_BYTE_OFFSET, "0:2"))


def test_shift_depends_on_the_byte_order():
    local, target = make(target=False, byteorder="big"), make(target=True, byteorder="big")
    result = relocate(BPF_CORE_FIELD_LSHIFT_U64, local, S, "0:4", target)
    assert (result.original, result.value) == (32, 32 + 5)


@pytest.mark.parametrize("access", ["", ":0", "0:", "x", "-1", "0:99", "0:0:0", "0:1:4", "0:²"])
def test_wrong_access_strings_are_refused(access):
    with pytest.raises(FormatError):
        parse_access(LOCAL_BTF, BPF_CORE_FIELD_BYTE_OFFSET, S, access)


@pytest.mark.parametrize(("kind", "access"), [(13, "0"), (BPF_CORE_TYPE_SIZE, "0:1"), (10, "3")])
def test_wrong_kinds_are_refused(kind, access):
    with pytest.raises(FormatError):
        parse_access(LOCAL_BTF, kind, E, access)


def test_candidates_that_disagree_are_refused():
    b = Builder()
    number = b.add_int("int", 4, 1)
    b.add_struct("s", 8, [("x", number, 0)])
    b.add_struct("s", 8, [("x", number, 32)])
    with pytest.raises(FormatError, match="disagree"):
        relocate(BPF_CORE_FIELD_BYTE_OFFSET, LOCAL_BTF, S, "0:0", Btf(b.build()))


def test_modules_are_asked_only_for_what_the_kernel_lacks():
    b = Builder(base=TARGET_BTF)
    b.add_struct("only_module", 4, [("x", 1, 0)])
    b.add_struct("s", 4, [("x", 1, 0)])
    module = Btf(b.build(), base=TARGET_BTF)
    b = Builder()
    number = b.add_int("int", 4, 1)
    mine = b.add_struct("only_module", 8, [("x", number, 32)])
    both = b.add_struct("s", 8, [("x", number, 32)])
    relocator = Relocator(Btf(b.build()), TARGET_BTF, lambda: [module])
    found = relocator.relocate(BPF_CORE_FIELD_BYTE_OFFSET, mine, "0:0")
    assert (found.value, found.target_btf) == (0, module)
    assert relocator.relocate(BPF_CORE_FIELD_BYTE_OFFSET, both, "0:0").target_btf is TARGET_BTF


def test_a_field_of_one_flavour_singles_it_out():
    b = Builder()
    number = b.add_int("int", 4, 1)
    b.add_struct("s", 8, [("x", number, 0), ("old", number, 32)])
    b.add_struct("s", 8, [("x", number, 32)])
    local, id = two_fields()
    relocator = Relocator(local, Btf(b.build()))
    assert relocator.relocate(BPF_CORE_FIELD_EXISTS, id, "0:1").value == 1
    assert relocator.relocate(BPF_CORE_FIELD_BYTE_OFFSET, id, "0:0").value == 0


def two_fields() -> tuple[Btf, int]:
    b = Builder()
    number = b.add_int("int", 4, 1)
    id = b.add_struct("s", 8, [("x", number, 0), ("old", number, 32)])
    return Btf(b.build()), id


def test_program_of_clang(compile_c):
    kernel = compile_c(TARGET)
    target = Btf(kernel.section(".BTF"))
    offsets = struct.unpack("<7Q", kernel.section(".rodata")[:56])
    obj = compile_c(LOCAL % {"extra": POISONED})
    local = Btf(obj.section(".BTF"))
    code = bytearray(obj.section("raw_tp/x"))
    relos = parse(obj.section(".BTF.ext"), local).core_relo["raw_tp/x"]
    relocator = Relocator(local, target)
    assert {relo.kind for relo in relos} == set(range(13))
    results = {}
    for relo in relos:
        result = relocator.relocate(relo.kind, relo.type_id, relo.access)
        apply_bytes(code, relo.insn_off, result)
        results.setdefault(result.where, result)
    decode(bytes(code))
    paths = "task.pid task.in[2].y task.deep task.tail[5].y task___flavour.new_field task.comm[3]"
    paths += " task.parent"
    wanted = {
        **dict(zip((f"byte_off {p}" for p in paths.split()), offsets, strict=True)),
        "field_exists task.gone": 0,
        "type_size either": 8,
        "type_exists only_local": 0,
        "type_matches inner": 1,
        "type_matches flags": 0,
        "enumval_value state::BUSY": 9,
        "enumval_value wide::W_B": 0x300000000,
        "enumval_exists state::GONE": 0,
    }
    assert {where: results[where].value for where in wanted} == wanted
    poisoned = {where for where, result in results.items() if result.poison}
    assert poisoned == {
        "byte_off task.gone",
        "enumval_value nowhere::N_A",
        "enumval_value state::GONE",
    }

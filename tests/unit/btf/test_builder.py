"""Writing BTF and .BTF.ext, and reading them back."""

from __future__ import annotations

import pytest

from bpflens.btf import Btf
from bpflens.btf.builder import Builder
from bpflens.btf.ext import (
    CoreRelo,
    FuncInfo,
    LineInfo,
    build,
    pack_func_info,
    pack_line_info,
    parse,
)
from bpflens.errors import FormatError


def test_copy_of_every_kind_is_equal(small):
    builder = Builder()
    for i in range(1, small.nr_types):
        assert builder.add_type(small.type(i)) == i
    copy = Btf(builder.build())
    for i in range(1, small.nr_types):
        assert repr(copy.type(i)) == repr(small.type(i))
    assert builder.build() == small.raw


def test_copy_can_renumber(small):
    builder = Builder()
    builder.add_int("first", 4)
    builder.add_type(small.type(small.find("node_t")), lambda id: id + 1)
    assert Btf(builder.build()).type(2).type_id == small.find("node") + 1


def test_strings_are_stored_once():
    builder = Builder()
    assert builder.string("name") == builder.string("name") == 1
    assert builder.string("") == 0
    assert builder.build().count(b"name\0") == 1


def test_name_with_nul_is_refused():
    with pytest.raises(FormatError, match="NUL"):
        Builder().add_int("a\0b", 4)


def test_too_many_members_are_refused():
    with pytest.raises(FormatError, match="65535"):
        Builder().add_enum("e", [("A", 1)] * 65536)


def test_bit_field_out_of_reach_is_refused():
    with pytest.raises(FormatError, match="bit-field"):
        Builder().add_struct("s", 4, [("a", 1, 1 << 24, 3)])


def ext_bytes() -> tuple[bytes, Btf]:
    builder = Builder()
    file = builder.string("prog.c")
    text = builder.string("return 0;")
    funcs = {"xdp": [FuncInfo(0, 3), FuncInfo(16, 4)]}
    lines = {"xdp": [LineInfo(0, file, text, 7 << 10 | 9)], "tc": [LineInfo(8, file, text, 1)]}
    relos = {"xdp": [CoreRelo(8, 2, "0:1:0", 0)]}
    data = build(builder, funcs, lines, relos)
    return data, Btf(builder.build())


def test_ext_comes_back():
    ext = parse(*ext_bytes())
    assert [(f.insn_off, f.type_id) for f in ext.func_info["xdp"]] == [(0, 3), (16, 4)]
    assert set(ext.line_info) == {"xdp", "tc"}
    line = ext.line_info["xdp"][0]
    assert (line.line, line.column) == (7, 9)
    relo = ext.core_relo["xdp"][0]
    assert (relo.insn_off, relo.type_id, relo.access, relo.kind) == (8, 2, "0:1:0", 0)


def test_info_for_the_kernel_counts_instructions():
    assert pack_func_info([FuncInfo(24, 5)], start=8).hex() == "0200000005000000"
    assert pack_line_info([LineInfo(24, 1, 2, 3)], 8).hex() == "02000000010000000200000003000000"


@pytest.mark.parametrize("cut", [0, 8, 20, 31, 40, 60])
def test_ext_cut_short_is_refused(cut):
    data, btf = ext_bytes()
    with pytest.raises(FormatError):
        parse(data[:cut], btf)


def test_ext_of_clang_has_all_three_parts(compile_c):
    obj = compile_c(
        "struct s { int a; int b; } __attribute__((preserve_access_index));\n"
        '__attribute__((section("xdp"))) int f(struct s *s) { return s->b; }\n'
    )
    btf = Btf(obj.section(".BTF"))
    ext = parse(obj.section(".BTF.ext"), btf)
    assert btf.type(ext.func_info["xdp"][0].type_id).name == "f"
    assert ext.line_info["xdp"][0].line == 2
    assert [(r.access, r.kind) for r in ext.core_relo["xdp"]] == [("0:1", 0)]
    assert btf.type(ext.core_relo["xdp"][0].type_id).name == "s"

"""Reading types: every kind, names, sizes, look-ups, split BTF, byte orders."""

from __future__ import annotations

import struct

import pytest

from bpflens.btf import Btf
from bpflens.btf.builder import Builder
from bpflens.btf.types import (
    Array,
    DeclTag,
    Enum64,
    Float,
    Func,
    FuncProto,
    Int,
    Ptr,
    Struct,
    TypeTag,
    Union,
    Unknown,
    Void,
)
from bpflens.errors import FormatError
from bpflens.uapi.btf import (
    BTF_KIND_ENUM,
    BTF_KIND_FUNC,
    BTF_KIND_FWD,
    BTF_KIND_INT,
    BTF_KIND_STRUCT,
    BTF_KIND_TYPEDEF,
)


def test_zero_is_void(small):
    assert isinstance(small.type(0), Void)
    assert small.name(0) == "void"


def test_every_kind_comes_back_as_it_was_added(small):
    assert sorted({small.type(i).kind for i in range(1, small.nr_types)}) == list(range(1, 20))


def test_struct_has_members_with_bit_fields(small):
    node = small.type(small.find("node"))
    assert isinstance(node, Struct)
    assert node.kind_flag
    assert [(m.name, m.offset) for m in node.members][:3] == [
        ("next", 0),
        ("name", 8),
        ("color", 24),
    ]
    assert [(m.bit_offset, m.bit_size) for m in node.members][3:5] == [(224, 3), (227, 5)]


def test_signed_enum_has_negative_number(small):
    assert small.type(small.find("color")).values == (("RED", 0), ("GREEN", 1), ("BLUE", -1))


def test_enum64_has_wide_number(small):
    big = small.type(small.find("big"))
    assert isinstance(big, Enum64)
    assert big.values[1] == ("HUGE", 1 << 40)


def test_decl_tag_without_component_has_minus_one(small):
    tags = [small.type(i) for i in small.ids_of_kind(DeclTag.kind)]
    assert [(t.name, t.component_idx) for t in tags] == [("hot", -1), ("kept", 1)]


def test_variadic_prototype(small):
    proto = small.type(small.type(small.find("walk")).type_id)
    assert isinstance(proto, FuncProto)
    assert proto.is_variadic


def test_size_of_follows_typedefs_and_arrays(small):
    assert small.size_of(small.find("node_t")) == 64
    assert small.size_of(small.find("root")) == 64
    assert small.size_of(next(iter(small.ids_of_kind(Array.kind)))) == 16
    assert small.size_of(next(iter(small.ids_of_kind(Ptr.kind)))) == 8


def test_size_of_void_is_refused(small):
    with pytest.raises(FormatError, match="no size"):
        small.size_of(0)


def test_find_by_name_and_kind(small):
    assert small.find("node", BTF_KIND_STRUCT) == small.find("node")
    assert small.find("node", BTF_KIND_ENUM) is None
    assert small.find("nothing") is None
    assert small.find("") is None


def test_functions_are_listed(small):
    assert list(small.funcs()) == [("walk", small.find("walk", BTF_KIND_FUNC))]


def test_find_enumerator_gives_enum_and_place(small):
    assert small.find_enumerator("HUGE") == [(small.find("big"), 1)]
    assert small.find_enumerator("TINY") == []


def test_prefix_search(small):
    assert {name for name, _ in small.find_prefix("no")} == {"node", "node_t"}
    assert list(small.find_prefix("no", BTF_KIND_FWD)) == []


def test_other_byte_order_reads_the_same():
    from .conftest import every_kind

    little = Btf(every_kind().build("little"))
    big = Btf(every_kind().build("big"))
    assert little.is_swapped != big.is_swapped
    for i in range(1, little.nr_types):
        assert repr(little.type(i)) == repr(big.type(i))


def test_pointer_size_follows_long():
    builder = Builder()
    builder.add_int("long", 4, 1)
    assert Btf(builder.build()).pointer_size == 4
    assert Btf(Builder().build()).pointer_size == 8
    assert Btf(Builder().build(), pointer_size=4).pointer_size == 4


def split(small: Btf) -> Btf:
    builder = Builder(base=small)
    builder.add_struct("extra", 64, [("node", small.find("node"), 0)])
    builder.add_typedef("node", small.find("node"))
    builder.add_enum("", [("PURPLE", 5)])
    builder.add_func("walk_all", builder.add_func_proto(0, []))
    return Btf(builder.build(), base=small)


def test_split_btf_continues_the_base(small):
    btf = split(small)
    assert btf.start_id == small.nr_types
    assert btf.nr_types == small.nr_types + 5
    assert btf.type(btf.find("extra")).members[0].name == "node"
    assert btf.type(1) is small.type(1)
    assert btf.size_of(btf.find("extra")) == 64


def test_split_btf_finds_names_of_both(small):
    btf = split(small)
    assert btf.find("node") == small.find("node")
    assert btf.find("node", BTF_KIND_TYPEDEF) == btf.start_id + 1
    assert len(btf.find_all("node")) == 2
    assert [name for name, _ in btf.funcs()] == ["walk", "walk_all"]
    assert btf.find_enumerator("PURPLE") == [(btf.start_id + 2, 0)]
    assert btf.find_enumerator("RED") == small.find_enumerator("RED")
    assert {name for name, _ in btf.find_prefix("walk", BTF_KIND_FUNC)} == {"walk", "walk_all"}


def test_split_btf_stores_no_name_twice(small):
    assert b"node\0" not in split(small).strings


def test_unknown_kind_is_stepped_over_with_the_layout_section():
    # One type of the kind 30 with one fixed word and two words for each of three elements.
    types = struct.pack("=III7I", 0, 30 << 24 | 3, 0, *range(7))
    types += struct.pack("=III", 1, 4 << 24, 8)
    layout = bytes(4 * 30) + bytes([4, 8, 0, 0])
    strings = b"\0after\0"
    places = (0, len(types), len(types) + len(layout), len(strings), len(types), len(layout))
    data = struct.pack("=HBBI6I", 0xEB9F, 1, 0, 32, *places) + types + layout + strings
    btf = Btf(data)
    unknown = btf.type(1)
    assert isinstance(unknown, Unknown)
    assert unknown.number == 30
    assert btf.type(2).name == "after"


def test_unknown_kind_without_layout_is_refused():
    types = struct.pack("=III", 0, 30 << 24, 0)
    data = struct.pack("=HBBI4I", 0xEB9F, 1, 0, 24, 0, 12, 12, 1) + types + b"\0"
    with pytest.raises(FormatError, match="unknown kind 30"):
        Btf(data).type(1)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda d: d[:10], "too few"),
        (lambda d: b"\0\0" + d[2:], "magic"),
        (lambda d: d[:2] + b"\2" + d[3:], "version"),
        (lambda d: d[:-40], "past the end"),
        (lambda d: d[:-1] + b"x", "NUL"),
    ],
)
def test_damaged_header_is_refused(small, change, problem):
    with pytest.raises(FormatError, match=problem):
        Btf(change(small.raw))


def test_circle_of_typedefs_is_refused():
    builder = Builder()
    builder.add_typedef("a", 2)
    builder.add_typedef("b", 1)
    btf = Btf(builder.build())
    with pytest.raises(FormatError, match="circle"):
        btf.resolve(1)


def test_array_of_itself_is_refused():
    builder = Builder()
    builder.add_array(1, 1, 1)
    with pytest.raises(FormatError, match="no size"):
        Btf(builder.build()).size_of(1)


def test_large_btf_is_searched_by_sorted_names():
    builder = Builder()
    number = builder.add_int("int", 4, 1)
    for i in range(5000):
        builder.add_typedef(f"t{i % 4000:04}", number)
    builder.add_enum("e", [(f"E{i}", i) for i in range(300)])
    btf = Btf(builder.build())
    assert btf.find_all("t0007") == [9, 4009]
    assert btf.find("t3999") == 4001
    assert btf.find("t") is None
    assert len(list(btf.find_prefix("t00"))) == 200
    assert btf.find_enumerator("E17") == [(5002, 17)]
    assert btf.find_enumerator("E300") == []


def test_kernel_types(vmlinux):
    assert vmlinux.pointer_size == 8
    task = vmlinux.type(vmlinux.find("task_struct", BTF_KIND_STRUCT))
    assert "comm" in {m.name for m in task.members}
    assert isinstance(vmlinux.type(vmlinux.find("vfs_read", BTF_KIND_FUNC)), Func)
    assert isinstance(vmlinux.type(vmlinux.find("int", BTF_KIND_INT)), Int)


def test_types_say_what_they_are(small):
    assert repr(small.type(1)) == "Int(id=1, name='int', bit_offset=0, bits=32, encoding=1, size=4)"
    kinds = {type(small.type(i)) for i in range(small.nr_types)}
    assert {Float, TypeTag, Union} <= kinds

"""Bytes to values and back: every kind, bit-fields of both byte orders, blocks of records."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpflens.btf import Btf
from bpflens.btf.builder import Builder
from bpflens.btf.decode import compile_batch, compile_decoder, encode
from bpflens.errors import FormatError

from .conftest import every_kind

SMALL = Btf(every_kind().build())
NODE = SMALL.find("node")
VALUE = {
    "next": 1 << 63,
    "name": "héllo",
    "color": -1,
    "low": -4,
    "high": 15,
    "whole": (7 << 32) + 5,
    "x": 5,
    "y": 7,
    "big": 1 << 40,
    "ratio": 1.5,
    "ok": True,
}


def one(build) -> tuple[Btf, int]:
    builder = Builder()
    id = build(builder)
    return Btf(builder.build()), id


def test_struct_becomes_dict_with_anonymous_members_in_place():
    data = encode(SMALL, NODE, VALUE)
    assert compile_decoder(SMALL, NODE)(data) == VALUE
    assert list(compile_decoder(SMALL, NODE)(data)) == list(VALUE)


def test_enum_names_when_asked_for():
    decode = compile_decoder(SMALL, NODE, enum_names=True)
    assert decode(encode(SMALL, NODE, VALUE))["color"] == "BLUE"
    assert decode(encode(SMALL, NODE, {**VALUE, "color": 77}))["color"] == 77


def test_tuples_when_asked_for():
    decode = compile_decoder(SMALL, NODE, as_tuple=True)
    assert decode(encode(SMALL, NODE, VALUE)) == tuple(VALUE.values())


def test_text_as_the_caller_likes():
    decode = compile_decoder(SMALL, NODE, text=bytes)
    assert decode(encode(SMALL, NODE, VALUE))["name"] == "héllo".encode().ljust(16, b"\0")


def test_offset_and_memoryview():
    data = memoryview(b"abc" + encode(SMALL, NODE, VALUE) + b"def")
    assert compile_decoder(SMALL, NODE)(data, 3) == VALUE


@pytest.mark.parametrize("data", [b"", bytes(63)])
def test_short_data_is_refused(data):
    with pytest.raises(FormatError, match="node of 64 bytes"):
        compile_decoder(SMALL, NODE)(data)


def test_batch_decodes_a_block():
    data = encode(SMALL, NODE, VALUE)
    assert compile_batch(SMALL, NODE)(data * 3) == [VALUE] * 3
    assert compile_batch(SMALL, NODE)(b"") == []


def test_batch_with_a_stride():
    data = encode(SMALL, NODE, VALUE) + bytes(8)
    assert compile_batch(SMALL, NODE, 72)(data * 3) == [VALUE] * 3
    with pytest.raises(FormatError):
        compile_batch(SMALL, NODE, 63)


def test_batch_of_part_of_a_record_is_refused():
    with pytest.raises(FormatError):
        compile_batch(SMALL, NODE)(bytes(65))


def test_section_becomes_dict_of_variables():
    bss = SMALL.find(".bss")
    data = encode(SMALL, bss, {"root": VALUE})
    assert compile_decoder(SMALL, bss)(data) == {"root": VALUE}


@pytest.mark.parametrize("name", ["walk", "later", "void"])
def test_types_without_bytes_are_refused(name):
    with pytest.raises(FormatError):
        compile_decoder(SMALL, SMALL.find(name) or 0)


def test_arrays_of_structs_and_of_arrays():
    def build(b: Builder) -> int:
        byte = b.add_int("unsigned char", 1)
        pair = b.add_struct("pair", 2, [("a", byte, 0), ("b", byte, 8)])
        return b.add_array(b.add_array(pair, byte, 2), byte, 2)

    btf, id = one(build)
    rows = [[{"a": 0, "b": 1}, {"a": 2, "b": 3}], [{"a": 4, "b": 5}, {"a": 6, "b": 7}]]
    assert compile_decoder(btf, id)(bytes(range(8))) == rows
    assert encode(btf, id, rows) == bytes(range(8))


def test_array_of_enums_by_name():
    def build(b: Builder) -> int:
        return b.add_array(b.add_enum("e", [("A", 1), ("B", 2)], size=1), 1, 3)

    btf, id = one(build)
    assert compile_decoder(btf, id, enum_names=True)(b"\1\2\3") == ["A", "B", 3]


@pytest.mark.parametrize(("char", "rest"), [(True, "tail"), (False, list(b"tail\0x"))])
def test_flexible_array_takes_the_rest(char, rest):
    def build(b: Builder) -> int:
        integer = b.add_int("int", 4, 1)
        byte = b.add_int("char", 1, 1) if char else b.add_int("unsigned char", 1)
        array = b.add_array(byte, integer, 0)
        return b.add_struct("s", 8, [("n", integer, 0), ("k", byte, 32), ("data", array, 40)])

    btf, id = one(build)
    data = b"\1\0\0\0\2tail\0x"
    assert compile_decoder(btf, id)(b"??" + data, 2) == {"n": 1, "k": 2, "data": rest}
    assert compile_batch(btf, id, len(data))(data * 2)[1]["data"] == rest


def test_wide_integers_and_odd_floats():
    def build(b: Builder) -> int:
        wide = b.add_int("__int128", 16, 1)
        long = b.add_float("long double", 16)
        return b.add_struct("s", 32, [("w", wide, 0), ("l", long, 128)])

    btf, id = one(build)
    data = encode(btf, id, {"w": -(1 << 100), "l": bytes(range(16))})
    assert compile_decoder(btf, id)(data) == {"w": -(1 << 100), "l": bytes(range(16))}


def test_member_outside_its_struct_is_refused():
    def build(b: Builder) -> int:
        return b.add_struct("s", 4, [("x", b.add_int("int", 4, 1), 8)])

    with pytest.raises(FormatError, match="outside"):
        compile_decoder(*one(build))


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"low": 4}, "between -4 and 3 .*node.low"),
        ({"color": "PINK"}, "RED, GREEN, BLUE .*node.color"),
        ({"name": "x" * 17}, "17 bytes of text do not fit in 16"),
        ({"ok": 2}, "between 0 and 1"),
        ({"nome": 1}, "no member 'nome'"),
        ({"next": -1}, "between 0"),
        ({"x": 1.5}, "not a number"),
        ({"ratio": "x"}, "no float"),
        ([0] * 12, "12 values for 11 members"),
        (b"abc", "3 bytes for 64"),
        (7, "no dict"),
    ],
)
def test_values_that_do_not_fit_are_refused_with_the_place(value, problem):
    with pytest.raises(FormatError, match=problem):
        encode(SMALL, NODE, value)


def test_text_may_fill_its_array():
    data = encode(SMALL, NODE, {"name": "x" * 16})
    assert compile_decoder(SMALL, NODE)(data)["name"] == "x" * 16


def test_bytes_stand_for_any_type():
    data = encode(SMALL, NODE, VALUE)
    assert encode(SMALL, NODE, data) == data


SOURCE = """
struct s {
    unsigned a : 3; int b : 7; _Bool c : 1; unsigned long d : 37; int e; signed char f : 5;
    enum { X = -1, Y = 5 } g : 4; unsigned h : 29; unsigned short i[3]; double j; _Bool k;
    union { int l; struct { short m, n; }; };
    unsigned long o : 60; unsigned long p : 61; char q[5]; long r;
};
const volatile struct s value = { 5, -64, 1, 0x1234567890, -7, -16, X, 0x1ABCDEF0, {1, 2, 65535},
    -2.5, 1, { .m = -3, .n = 4 }, 0x0FEDCBA987654321, 0x1123456789ABCDEF, "abc", -1 };
"""


@pytest.mark.parametrize("target", ["bpfel", "bpfeb"])
def test_members_are_where_clang_puts_them(compile_c, target):
    obj = compile_c(SOURCE, "-target", target)
    btf = Btf(obj.section(".BTF"))
    assert btf.is_swapped == (target == "bpfeb")
    data = obj.section(".rodata")
    value = compile_decoder(btf, btf.find("s"))(data)
    del value["l"]
    assert value == {
        **{"a": 5, "b": -64, "c": True, "d": 0x1234567890, "e": -7, "f": -16, "g": -1},
        **{"h": 0x1ABCDEF0, "i": [1, 2, 65535], "j": -2.5, "k": True, "m": -3, "n": 4},
        **{"o": 0x0FEDCBA987654321, "p": 0x1123456789ABCDEF, "q": "abc", "r": -1},
    }
    assert encode(btf, btf.find("s"), value) == data


scalars = st.sampled_from([1, 2, 4, 8])


@st.composite
def structs(draw):
    # A struct of random members, laid out one after the other with gaps, and values that fit.
    builder = Builder()
    members, value, bit = [], {}, 0
    for i in range(draw(st.integers(1, 12))):
        size, signed = draw(scalars), draw(st.booleans())
        number = builder.add_int(f"i{i}", size, int(signed))
        bits = draw(st.integers(0, size * 8)) if draw(st.booleans()) else 0
        if bits:
            bit += draw(st.integers(0, 3))
        else:
            bit = -(-bit // 8) * 8
        width = bits or size * 8
        low = -(1 << (width - 1)) if signed else 0
        high = (1 << (width - 1)) - 1 if signed else (1 << width) - 1
        members.append((f"m{i}", number, bit, bits))
        value[f"m{i}"] = draw(st.integers(low, high))
        bit += width
    size = -(-bit // 8)
    id = builder.add_struct("s", size, members)
    return builder, id, value


@given(structs(), st.sampled_from(["little", "big"]))
def test_what_is_encoded_is_decoded(made, order):
    builder, id, value = made
    btf = Btf(builder.build(order))
    data = encode(btf, id, value)
    assert compile_decoder(btf, id)(data) == value
    assert compile_batch(btf, id)(data + data) == [value, value]

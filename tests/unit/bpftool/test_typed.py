"""Keys and values typed by BTF: names of fields → the bytes that a compiler would lay out."""

from __future__ import annotations

import socket
import struct

import pytest

from bpflens.bpftool.element import take_element
from bpflens.bpftool.tool import Failure
from bpflens.bpftool.typed import encode
from bpflens.bpftool.words import Words
from bpflens.btf import Btf
from bpflens.btf.builder import Builder
from bpflens.btf.types import Member
from bpflens.uapi.btf import BTF_INT_BOOL, BTF_INT_SIGNED


@pytest.fixture(scope="module")
def types():
    b = Builder()
    id = {}
    id["u8"] = b.add_int("unsigned char", 1)
    id["u16"] = b.add_int("unsigned short", 2)
    id["u32"] = b.add_int("unsigned int", 4)
    id["u64"] = b.add_int("unsigned long", 8)
    id["int"] = b.add_int("int", 4, BTF_INT_SIGNED)
    id["bool"] = b.add_int("_Bool", 1, BTF_INT_BOOL)
    id["char"] = b.add_int("char", 1, BTF_INT_SIGNED)
    id["double"] = b.add_float("double", 8)
    be16 = b.add_typedef("__be16", b.add_typedef("__u16", id["u16"]))
    be32 = b.add_typedef("__be32", id["u32"])
    name = b.add_array(id["char"], id["u32"], 8)
    numbers = b.add_array(id["u32"], id["u32"], 3)
    address6 = b.add_array(id["u8"], id["u32"], 16)
    state = b.add_enum("state", [("IDLE", 0), ("BUSY", 7)], 4)
    inner = b.add_struct("pair", 4, [Member("a", id["u16"], 0), Member("b", id["u16"], 16)])
    anonymous = b.add_union("", 4, [Member("word", id["u32"], 0), Member("half", id["u16"], 0)])
    fields = [
        ("saddr", id["u32"]), ("daddr", be32), ("dport", be16), ("sport", id["u16"]),
        ("name", name), ("numbers", numbers), ("addr6", address6), ("state", state),
        ("pair", inner), ("", anonymous), ("big", id["u64"]), ("small", id["int"]),
        ("on", id["bool"]), ("ratio", id["double"]),
    ]  # fmt: skip
    members, at, places = [], 0, {}
    sizes = {id["u32"]: 4, be32: 4, be16: 2, id["u16"]: 2, name: 8, numbers: 12, address6: 16,
             state: 4, inner: 4, anonymous: 4, id["u64"]: 8, id["int"]: 4, id["bool"]: 1,
             id["double"]: 8}  # fmt: skip
    for field, type_id in fields:
        members.append(Member(field, type_id, at * 8))
        places[field] = at
        at += sizes[type_id]
    members += [Member("low", id["u32"], at * 8, 3), Member("high", id["u32"], at * 8 + 3, 29)]
    places["low"] = at
    id["flow"] = b.add_struct("flow", at + 4, members)
    id["counter"] = b.add_struct("counter", 8, [Member("packets", id["u64"], 0)])
    id["state"] = state
    id["be32"] = be32
    id["name"] = name
    return Btf(b.build()), id, places, at + 4


def stored(types, path, value, kind="flow", size=None):
    btf, id, _, whole = types
    data = bytearray(size or whole)
    encode(btf, id[kind], data, path, value)
    return bytes(data)


@pytest.mark.parametrize(
    ("path", "value", "place", "expected"),
    [
        ("saddr", "10.0.0.1", "saddr", socket.inet_aton("10.0.0.1")),
        ("daddr", "10.0.0.1", "daddr", socket.inet_aton("10.0.0.1")),
        ("daddr", "1", "daddr", struct.pack("!I", 1)),
        ("dport", "443", "dport", struct.pack("!H", 443)),
        ("sport", "443", "sport", struct.pack("=H", 443)),
        ("sport", "0x1F90", "sport", struct.pack("=H", 8080)),
        ("name", "eth0", "name", b"eth0\0\0\0\0"),
        ("numbers[1]", "7", "numbers", struct.pack("=3I", 0, 7, 0)),
        ("numbers", "1,2,3", "numbers", struct.pack("=3I", 1, 2, 3)),
        ("numbers", "9", "numbers", struct.pack("=3I", 9, 0, 0)),
        ("addr6", "fe80::1", "addr6", socket.inet_pton(socket.AF_INET6, "fe80::1")),
        ("state", "BUSY", "state", struct.pack("=I", 7)),
        ("state", "3", "state", struct.pack("=I", 3)),
        ("pair.b", "5", "pair", struct.pack("=2H", 0, 5)),
        ("word", "5", "", struct.pack("=I", 5)),
        ("half", "5", "", struct.pack("=I", 5)),
        ("big", "18446744073709551615", "big", b"\xff" * 8),
        ("small", "-2", "small", struct.pack("=i", -2)),
        ("on", "true", "on", b"\1"),
        ("ratio", "1.5", "ratio", struct.pack("=d", 1.5)),
        ("low", "7", "low", struct.pack("=I", 7)),
        ("high", "1", "low", struct.pack("=I", 1 << 3)),
    ],
)
def test_a_field_is_stored_where_the_compiler_has_it(types, path, value, place, expected):
    data = stored(types, path, value)
    at = types[2][place]
    assert data[at : at + len(expected)] == expected
    assert not any(data[:at] + data[at + len(expected) :])


@pytest.mark.parametrize(
    ("path", "value", "complaint"),
    [
        ("sadr", "1", r"no field sadr in struct flow; did you mean saddr"),
        ("zzzz", "1", "the fields are saddr, daddr"),
        ("sport", "65536", "65536 does not fit: 0 to 65535"),
        ("small", "2147483648", "does not fit: -2147483648 to 2147483647"),
        ("low", "8", "8 does not fit: 0 to 7"),
        ("saddr", "10.0.0.256", "is no IPv4 address"),
        ("saddr", "ten", "ten is no number"),
        ("state", "BUZY", "its names are IDLE, BUSY"),
        ("name", "eightchr", "8 characters and a NUL do not fit into 8 bytes"),
        ("numbers[3]", "1", "the array has 3 elements"),
        ("numbers", "1,2,3,4", "4 values, where the array has 3"),
        ("pair", "1", "pair is struct pair: name one of its members"),
        ("ratio", "x", "no number"),
        ("saddr.x", "1", "no field x"),
        ("", "1", "name one of its members"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(types, path, value, complaint):
    with pytest.raises(Failure, match=complaint):
        stored(types, path, value)


class FakeMap:
    """As much of a map as the words of an element ask for."""

    per_cpu = False

    def __init__(self, types, key, key_size, value, value_size):
        self._btf, id = types[0], types[1]

        class Info:
            type = 1
            name = "flows"
            key_size_, value_size_ = key_size, value_size
            btf_key_type_id = id.get(key, 0)
            btf_value_type_id = id.get(value, 0)

        self.info = Info
        Info.key_size, Info.value_size = key_size, value_size

    def btf(self):
        return self._btf if self.info.btf_key_type_id else None


def element(types, text, key="flow", value="u64"):
    size = types[3] if key == "flow" else 4
    map = FakeMap(types, key, size, value, 8)
    return take_element(Words(text.split()), map)


def test_an_update_names_fields_and_gives_a_single_number(types):
    found = element(types, "key saddr=10.0.0.1 dport=443 value 5 noexist")
    assert found.key == bytes(
        a | b
        for a, b in zip(
            stored(types, "saddr", "10.0.0.1"), stored(types, "dport", "443"), strict=True
        )
    )
    assert found.value == struct.pack("=Q", 5)
    assert found.flags == 1


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("key 7 value 9", struct.pack("=I", 7), struct.pack("=Q", 9)),
        ("key =7 value packets=9", struct.pack("=I", 7), struct.pack("=Q", 9)),
        ("key 1 0 0 0 value 2 0 0 0 0 0 0 0", struct.pack("=I", 1), struct.pack("=Q", 2)),
        ("key hex 0a 0 0 0 value hex ff 0 0 0 0 0 0 0", b"\n\0\0\0", b"\xff" + bytes(7)),
        ("key 300 value 70000", struct.pack("=I", 300), struct.pack("=Q", 70000)),
    ],
)
def test_one_word_is_a_number_and_several_are_bytes(types, text, key, value):
    found = element(types, text, key="u32", value="counter")
    assert (found.key, found.value) == (key, value)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("key 1 0 0 value 5", "key expected 4 bytes got 3"),
        ("key 1 0 0 300 value 5", "300 is more than a byte holds"),
        ("key 5000000000 value 5", "5000000000 does not fit: 0 to 4294967295"),
    ],
)
def test_bytes_are_counted_and_numbers_are_checked(types, text, complaint):
    with pytest.raises(Failure, match=complaint):
        element(types, text, key="u32", value="counter")


def test_without_btf_a_single_number_is_a_byte(types):
    with pytest.raises(Failure, match="key expected 4 bytes got 1"):
        element(types, "key 1 value 5", key="none", value="none")
    with pytest.raises(Failure, match="has no type information"):
        element(types, "key a=1 value 5", key="none", value="none")

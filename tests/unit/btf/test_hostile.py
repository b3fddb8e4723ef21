"""Damaged and hostile BTF: everything ends soon, with FormatError or with an answer."""

from __future__ import annotations

import contextlib
import random
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bpflens.btf import Btf
from bpflens.btf.builder import Builder
from bpflens.btf.cdump import dump, type_declaration
from bpflens.btf.core import Relocator
from bpflens.btf.decode import compile_batch, compile_decoder, encode
from bpflens.btf.ext import CoreRelo, FuncInfo, LineInfo, build, parse
from bpflens.btf.query import enumerator, field, function, members, struct, tracepoint, variable
from bpflens.btf.rawdump import json_text, text
from bpflens.errors import FormatError

from .conftest import every_kind

GOOD = every_kind().build()
LOCAL = Btf(GOOD)


def attempt(action, *args) -> None:
    with contextlib.suppress(FormatError):
        action(*args)


def joined(make, *args) -> None:
    "".join(make(*args))


def decode(btf: Btf, id: int) -> None:
    compile_decoder(btf, id)(bytes(64))


def decode_batch(btf: Btf, id: int) -> None:
    compile_batch(btf, id, enum_names=True)(bytes(128))


def use_everything(data: bytes, most: int = 1000) -> None:
    try:
        btf = Btf(data)
        count = btf.nr_types
    except FormatError:
        return
    assert count <= len(data) // 12 + 1
    attempt(btf.find, "node")
    attempt(lambda: list(btf.find_prefix("n")))
    attempt(lambda: list(btf.funcs()))
    attempt(lambda: btf.pointer_size)
    for look_up, name in (
        *((struct, "node"), (function, "walk"), (tracepoint, "walked")),
        *((enumerator, "BLUE"), (variable, "root")),
    ):
        attempt(look_up, btf, name)
    attempt(joined, text, btf)
    attempt(joined, json_text, btf)
    attempt(joined, dump, btf)
    attempt(joined, dump, btf, None, False)
    attempt(joined, dump, btf, [3, count - 1, 11])
    for id in range(min(count + 1, most)):
        for action in (btf.type, btf.size_of):
            attempt(action, id)
        for about in (members, decode, decode_batch):
            attempt(about, btf, id)
        attempt(field, btf, id, "next.x[1]")
        attempt(encode, btf, id, {"x": 1})
        attempt(encode, btf, id, 1)
        attempt(type_declaration, btf, id, "x")
    questions = ((0, "0:1:2"), (2, "0:5:1"), (4, "0:3"), (8, "0"), (12, "0"), (11, "1"))
    for local, target in ((LOCAL, btf), (btf, LOCAL)):
        relocator = Relocator(local, target)
        for id in range(1, min(local.nr_types, most)):
            for kind, access in questions:
                attempt(relocator.relocate, kind, id, access)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=6)
)
def test_changed_bytes(changes):
    data = bytearray(GOOD)
    for place, value in changes:
        data[place] = value
    use_everything(bytes(data))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, (len(GOOD) - 24) // 4 - 1), st.integers(0, 40))
def test_changed_words(place, value):
    data = bytearray(GOOD)
    data[24 + 4 * place : 28 + 4 * place] = value.to_bytes(4, "little")
    use_everything(bytes(data))


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes(data):
    use_everything(data)
    use_everything(GOOD[:24] + data)


@pytest.mark.parametrize("cut", range(0, len(GOOD), 37))
def test_cut_short(cut):
    use_everything(GOOD[:cut])


@st.composite
def type_graphs(draw):
    # Types that refer to each other at random: loops of every sort.
    b = Builder()
    count = draw(st.integers(1, 8))
    ids = st.integers(0, count + 1)
    for _ in range(count):
        name = draw(st.sampled_from(["", "a", "b"]))
        kind = draw(st.integers(0, 11))
        a, c = draw(ids), draw(ids)
        if kind == 0:
            b.add_ptr(a)
        elif kind == 1:
            b.add_array(a, c, draw(st.sampled_from([0, 1, 2, 0xFFFFFFFF])))
        elif kind == 2:
            b.add_struct(name, 8, [("x", a, 0), ("", c, draw(st.sampled_from([0, 1, 32])))])
        elif kind == 3:
            b.add_union(name, 8, [("", a, 0), ("y", c, 0, 3), ("", c, 0)])
        elif kind == 4:
            b.add_typedef(name or "t", a)
        elif kind == 5:
            b.add_const(a)
        elif kind == 6:
            b.add_func_proto(a, [("p", c), ("", a)])
        elif kind == 7:
            b.add_func(name, a)
        elif kind == 8:
            b.add_int("int", draw(st.sampled_from([1, 4, 8])), 1)
        elif kind == 9:
            b.add_type_tag("tag", a)
        elif kind == 10:
            b.add_datasec(".s", 8, [(a, 0, 4), (c, 4, 4)])
        else:
            b.add_var(name, a)
    return b.build()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(type_graphs())
def test_random_graphs(data):
    use_everything(data)


def ladder(make, levels: int = 40) -> bytes:
    # Each level refers twice to the next: 2^levels ways down.
    b = Builder()
    for level in range(1, levels):
        make(b, level + 1)
    b.add_int("int", 4, 1)
    return b.build()


LADDERS = {
    "structs": lambda b, n: b.add_struct("", 8, [("a", n, 0), ("b", n, 0)]),
    "anonymous": lambda b, n: b.add_struct("", 8, [("", n, 0), ("", n, 0)]),
    "named": lambda b, n: b.add_struct(f"s{n}", 8, [("a", n, 0), ("b", n, 0)]),
    "unions": lambda b, n: b.add_union("", 8, [("a", n, 0), ("b", n, 0)]),
    "prototypes": lambda b, n: b.add_func_proto(n, [("a", n), ("b", n)]),
    "arrays": lambda b, n: b.add_array(n, n, 65535),
    "const": lambda b, n: b.add_const(n),
    "pointers": lambda b, n: b.add_ptr(n),
    "typedefs": lambda b, n: b.add_typedef(f"t{n}", n),
}


@pytest.mark.parametrize("name", LADDERS)
def test_ladders_end_soon(name):
    start = time.process_time()
    use_everything(ladder(LADDERS[name]), most=4)
    assert time.process_time() - start < 20


def test_long_chain_of_pointers_ends():
    b = Builder()
    for i in range(20000):
        b.add_ptr(i + 2)
    b.add_int("int", 4, 1)
    btf = Btf(b.build())
    attempt(lambda: "".join(dump(btf)))
    attempt(lambda: type_declaration(btf, 1, "x"))
    with pytest.raises(FormatError):
        type_declaration(btf, 1, "x")


def test_huge_name_is_refused():
    b = Builder()
    b.add_int("x" * 20000, 4)
    with pytest.raises(FormatError, match="too long"):
        Btf(b.build()).type(1)


def test_ext_changed_bytes():
    b = Builder()
    funcs = {"a": [FuncInfo(0, 1)], "b": [FuncInfo(8, 1)]}
    lines = {"a": [LineInfo(0, 1, 1, 1)] * 3}
    relos = {"b": [CoreRelo(0, 1, "0:1", 0)]}
    good = build(b, funcs, lines, relos)
    btf = Btf(b.build())
    chance = random.Random(5)
    for _ in range(3000):
        data = bytearray(good)
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(len(data))] = chance.choice([0, 1, 4, 255, chance.randrange(256)])
        attempt(parse, bytes(data), btf)

"""Symbol tables: what nm says of real files, and the rules of choice on small ones."""

from __future__ import annotations

import subprocess

import pytest

from bpflens.elf import File
from bpflens.elf.symbols import SymbolTable
from bpflens.elf.writer import Writer

PROGRAM = """
#include <stdio.h>
static __attribute__((noinline)) int open_it(int x) { return x * 3; }
__attribute__((noinline)) int reopen_it(int x) { return open_it(x) + 1; }
int counter = 7;
int main(int argc, char **argv) { counter += reopen_it(argc); return counter; }
"""


def nm(*words):
    done = subprocess.run(["nm", *words], capture_output=True, text=True, timeout=60, check=False)
    rows = [line.split() for line in done.stdout.splitlines()]
    return [(row[2].split("@")[0], int(row[0], 16), row[1]) for row in rows if len(row) == 3]


@pytest.fixture
def table_and_nm(path):
    with File(path) as file:
        table = file.symbol_table()
        both = nm(path) + nm("-D", path)
        expected = {
            (name, value)
            for name, value, kind in both
            if (kind in "TtiW" or (kind == "w" and value)) and value
        }
        functions = {
            (s.name, s.value)
            for s in file.symbols() + file.dynamic_symbols()
            if s.type in (2, 10) and s.shndx
        }
        yield table, expected & functions


def test_every_function_that_nm_lists_is_found_by_name(table_and_nm):
    table, expected = table_and_nm
    wrong = [
        (name, value)
        for name, value in sorted(expected)[::7]
        if value not in [symbol.value for symbol in table.find(name)]
    ]
    assert not wrong


def test_every_function_that_nm_lists_resolves_to_one_of_its_names(table_and_nm):
    table, expected = table_and_nm
    by_address = {}
    for name, value in expected:
        by_address.setdefault(value, set()).add(name)
    for value, names in by_address.items():
        name, offset = table.resolve(value)
        assert (name in names, offset) == (True, 0)


def test_a_glob_finds_what_nm_lists(table_and_nm):
    table, expected = table_and_nm
    for pattern, wanted in [
        ("*", lambda name: True),
        ("_*", lambda name: name.startswith("_")),
        ("*re*", lambda name: "re" in name),
        ("*e", lambda name: name.endswith("e")),
    ]:
        found = set(table.glob(pattern))
        assert {pair for pair in expected if wanted(pair[0])} <= found
        assert all(wanted(name) for name, _ in found)


def test_tails_shared_by_the_linker_are_names_too(compile_c):
    # "open_it" is the tail of "reopen_it"; .strtab holds the letters once.
    with File(compile_c(PROGRAM, "-O1")) as file:
        assert b"\0open_it\0" not in file.section(".strtab").read()
        table = file.symbol_table()
        expected = {name: value for name, value, _ in nm(file.path)}
        assert table.address("open_it") == expected["open_it"]
        assert table.address("pen_it") is None
        assert ("open_it", expected["open_it"]) in table.glob("o*it")
        assert file.symbol("counter").type == 1
        assert table.address("counter") is None
        assert file.symbol_table("object").address("counter") == expected["counter"]


def small(*symbols, bits=64, order="<", kinds="function", machine=62, data=False):
    writer = Writer(type=3, bits=bits, order=order, machine=machine)
    text = writer.section(".text", bytes(0x3000), flags=6, addr=0x1000)
    far = writer.section(".far", bytes(0x1000), flags=6, addr=0x10000)
    writer.segment(1, [text], flags=5)
    writer.segment(1, [far], flags=5)
    for name, value, size, type_, bind in symbols:
        writer.symbol(name, value, size, section=text, type=type_, bind=bind, dynamic=data)
    return File(writer.build()).symbol_table(kinds)


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("order", ["<", ">"])
def test_both_word_sizes_and_byte_orders(bits, order):
    table = small(("f", 0x1100, 16, 2, 1), ("g", 0x1200, 16, 2, 0), bits=bits, order=order)
    assert table.resolve(0x110F) == ("f", 15)
    assert table.resolve(0x1110) is None
    assert table.address("g") == 0x1200
    assert sorted(table.glob("?")) == [("f", 0x1100), ("g", 0x1200)]
    assert [symbol.name for symbol in table.symbols()] == ["f", "g"]
    assert len(table) == 2


@pytest.mark.parametrize(
    ("symbols", "expected"),
    [
        ([("local", 0x1100, 8, 2, 0), ("global", 0x1100, 8, 2, 1)], "global"),
        ([("__weak", 0x1100, 8, 2, 2), ("weak", 0x1100, 8, 2, 2)], "weak"),
        ([("weak", 0x1100, 8, 2, 2), ("_global", 0x1100, 8, 2, 1)], "_global"),
        ([("nothing", 0x1100, 0, 2, 1), ("sized", 0x1100, 8, 2, 0)], "sized"),
        ([("outer", 0x1000, 0x800, 2, 1), ("label", 0x1100, 0, 0, 0)], "outer"),
        ([("outer", 0x1000, 0x800, 2, 1), ("inner", 0x1100, 8, 2, 0)], "inner"),
        ([("outer", 0x1000, 0x800, 2, 1), ("before", 0x10F0, 8, 2, 1)], "outer"),
        ([("untyped", 0x10F0, 0, 0, 1)], "untyped"),
    ],
)
def test_the_name_a_reader_would_choose(symbols, expected):
    assert small(*symbols, kinds="code").resolve(0x1104)[0] == expected


def test_a_symbol_without_size_reaches_to_the_end_of_its_segment():
    table = small(("start", 0x1100, 0, 2, 1))
    assert table.resolve(0x3FFF) == ("start", 0x2EFF)
    assert table.resolve(0x10000) is None
    assert table.resolve(0x10FF) is None


def test_undefined_symbols_are_not_found():
    writer = Writer(type=3)
    text = writer.section(".text", bytes(16), flags=6, addr=0x1000)
    writer.symbol("defined", 0x1000, 4, section=text, type=2)
    writer.symbol("imported", 0x1008, 0, type=2)
    table = File(writer.build()).symbol_table()
    assert table.glob("*") == [("defined", 0x1000)]
    assert table.find("imported") == []
    assert table.resolve(0x1008) is None


def test_the_same_name_twice_gives_both_the_global_first():
    table = small(("f", 0x1100, 8, 2, 0), ("f", 0x1200, 8, 2, 1), ("f", 0x1300, 8, 2, 0))
    assert table.address("f") == 0x1200
    assert sorted(symbol.value for symbol in table.find("f")) == [0x1100, 0x1200, 0x1300]


def test_more_than_a_handful_of_the_same_name():
    table = small(*(("f", 0x1000 + 16 * n, 8, 2, 0) for n in range(40)), ("xf", 0x2000, 8, 2, 1))
    assert len(table.find("f")) == 40


def test_thumb_functions_lose_their_low_bit():
    table = small(("thumb", 0x1101, 8, 2, 1), bits=32, machine=40)
    assert table.resolve(0x1100) == ("thumb", 0)
    assert table.address("thumb") == 0x1100


def test_tables_of_several_files_are_one():
    writer = Writer(type=3)
    text = writer.section(".text", bytes(64), flags=6, addr=0x1000)
    writer.symbol("only_in_debug_file", 0x1010, 8, section=text, type=2, bind=0)
    more = File(writer.build())
    stripped = Writer(type=3)
    text = stripped.section(".text", bytes(64), flags=6, addr=0x1000)
    stripped.symbol("exported", 0x1000, 8, section=text, type=2, dynamic=True)
    table = SymbolTable.from_file(File(stripped.build()), "function", more)
    assert table.resolve(0x1014) == ("only_in_debug_file", 4)
    assert table.resolve(0x1001) == ("exported", 1)
    assert table.address("only_in_debug_file") == 0x1010


def test_the_default_version_wins(path):
    # memcpy@@GLIBC_2.14 and memcpy@GLIBC_2.2.5 are two functions of one library.
    with File(path) as file:
        if file.soname != "libc.so.6":
            pytest.skip("not the C library")
        listed = subprocess.run(["nm", "-D", path], capture_output=True, text=True, check=True)
        words = [line.split() for line in listed.stdout.splitlines()]
        default = [int(word[0], 16) for word in words if word[-1].startswith("memcpy@@")]
        assert len(file.symbol_table().find("memcpy")) == 2
        assert [file.symbol("memcpy").value] == default


def test_misses_far_from_everything_cost_little():
    table = small(*((f"f{n}", 0x1000 + n, 1, 2, 1) for n in range(5000)))
    assert table.resolve(0x4000_0000) is None
    assert table.resolve(0) is None

"""Headers, sections, symbols, relocations and notes, compared with readelf on real files."""

from __future__ import annotations

import re

import pytest

from bpflens.elf import File


def test_sections_are_those_of_readelf(path, readelf):
    expected = []
    for line in readelf("-S", path):
        match = re.match(
            r"\s*\[\s*(\d+)\] (.{17,}?) +([A-Z_0-9]+) +([0-9a-f]{16}) (\w+) (\w+)", line
        )
        if match and match[1] != "0":
            expected.append(
                (int(match[1]), match[2].strip(), *(int(match[i], 16) for i in (4, 5, 6)))
            )
    with File(path) as file:
        found = [(s.index, s.name, s.addr, s.offset, s.size) for s in file.sections[1:]]
    assert expected
    assert found == expected


def test_segments_are_those_of_readelf(path, readelf):
    expected = []
    for line in readelf("-l", path):
        match = re.match(r"\s+[A-Z_0-9]+ +0x(\w+) 0x(\w+) 0x(\w+) 0x(\w+) 0x(\w+) ", line)
        if match:
            expected.append(tuple(int(number, 16) for number in match.groups()))
    with File(path) as file:
        found = [(s.offset, s.vaddr, s.paddr, s.filesz, s.memsz) for s in file.segments]
    assert found == expected


@pytest.mark.parametrize("dynamic", [False, True])
def test_symbols_are_those_of_readelf(path, dynamic, readelf):
    expected = []
    header = "'.dynsym'" if dynamic else "'.symtab'"
    inside = False
    for line in readelf("-s", path):
        if line.startswith("Symbol table"):
            inside = header in line
        match = re.match(r"\s*(\d+): (\w+) +(\w+) (\w+) +(\w+) +(\w+) +(\w+) ?(\S*)", line)
        if inside and match:
            size = int(match[3], 16) if match[3].startswith("0x") else int(match[3])
            name = match[8] if match[4] != "SECTION" else ""
            expected.append((int(match[1]), int(match[2], 16), size, match[7], name.split("@")[0]))
    special = {0: "UND", 0xFFF1: "ABS", 0xFFF2: "COM"}
    with File(path) as file:
        found = [
            (s.index, s.value, s.size, special.get(s.shndx, str(s.shndx)), s.name)
            for s in file.symbols(dynamic)
        ]
    assert found == expected


def test_relocations_are_those_of_readelf(path, readelf):
    expected = []
    for line in readelf("-r", path):
        match = re.match(r"^([0-9a-f]{16})  ([0-9a-f]{16}) R_", line)
        if match:
            expected.append((int(match[1], 16), int(match[2], 16)))
    with File(path) as file:
        tables = [section for section in file.sections if section.type in (4, 9)]
        found = [(r.offset, r.symbol << 32 | r.type) for t in tables for r in file.relocations(t)]
    assert found == expected


def test_identity_is_that_of_readelf(path, readelf):
    notes = " ".join(readelf("-n", path))
    dynamic = " ".join(readelf("-d", path))
    build_id = re.search(r"Build ID: (\w+)", notes)
    with File(path) as file:
        assert (file.build_id.hex() if file.build_id else None) == (build_id and build_id[1])
        assert file.needed == re.findall(r"\(NEEDED\)\s+Shared library: \[(.*?)\]", dynamic)
        soname = re.search(r"\(SONAME\)\s+Library soname: \[(.*?)\]", dynamic)
        assert file.soname == (soname and soname[1])
        assert file.is_pie == (" PIE" in dynamic)


def test_static_probes_are_those_of_readelf(path, readelf):
    text = "\n".join(readelf("-n", path))
    pattern = (
        r"Provider: (.*)\n\s+Name: (.*)\n\s+Location: 0x(\w+), Base: 0x(\w+), "
        r"Semaphore: 0x(\w+)\n\s+Arguments: ?(.*)"
    )
    expected = [
        (p, n, int(pc, 16), int(base, 16), int(semaphore, 16), args)
        for p, n, pc, base, semaphore, args in re.findall(pattern, text)
    ]
    with File(path) as file:
        notes = file.usdt_notes()
    assert [(n.provider, n.name, n.pc, n.base, n.semaphore, n.args) for n in notes] == expected
    assert all(note.arguments or not note.args for note in notes)

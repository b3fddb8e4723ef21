"""What the builder writes, our reader and readelf both understand."""

from __future__ import annotations

import itertools

import pytest

from bpflens.elf import File
from bpflens.elf.writer import Writer, build_id_section, note

EVERY_FORM = list(itertools.product((32, 64), "<>"))


def object_file(bits=64, order="<", rela=True):
    writer = Writer(bits=bits, order=order)
    text = writer.section(".text", bytes(range(64)), flags=6, addralign=16)
    data = writer.section(".data", b"abcd", flags=3)
    writer.section(".bss", type=8, flags=3, size=100)
    writer.symbol("outside")
    writer.symbol("entry", 16, 8, section=text, type=2)
    local = writer.symbol("hidden", 2, 1, section=data, type=1, bind=0)
    weak = writer.symbol("weak@@V1", 0, 4, section=data, type=1, bind=2, visibility=2)
    writer.symbol("absolute", 0x1234, section=0xFFF1)
    writer.relocation(text, 8, local, 1, -4 if rela else None)
    writer.relocation(text, 40, weak, 2, 7 if rela else None)
    build_id_section(writer, bytes(range(20)))
    return writer.build()


@pytest.mark.parametrize(("bits", "order"), EVERY_FORM)
def test_sections_come_back(bits, order):
    file = File(object_file(bits, order))
    assert (file.bits, file.order) == (bits, order)
    assert file.section(".text").data == bytes(range(64))
    assert file.section(".text").offset % 16 == 0
    assert (file.section(".bss").size, file.section(".bss").data) == (100, b"")
    assert file.section("none") is None
    assert file.build_id == bytes(range(20))


@pytest.mark.parametrize(("bits", "order"), EVERY_FORM)
def test_symbols_come_back_locals_first_without_versions(bits, order):
    symbols = File(object_file(bits, order)).symbols()
    assert [tuple(symbol) for symbol in symbols] == [
        ("", 0, 0, 0, 0, 0),
        ("hidden", 2, 1, 1, 0, 2),
        ("outside", 0, 0, 0, 1, 0),
        ("entry", 16, 8, 2, 1, 1),
        ("weak", 0, 4, 1, 2, 2),
        ("absolute", 0x1234, 0, 0, 1, 0xFFF1),
    ]
    assert [symbol.index for symbol in symbols] == list(range(6))
    assert symbols[4].visibility == 2
    assert [symbol.name for symbol in symbols if symbol.reserved] == ["absolute"]


@pytest.mark.parametrize(("bits", "order"), EVERY_FORM)
@pytest.mark.parametrize("rela", [False, True])
def test_relocations_refer_to_symbols_by_index(bits, order, rela):
    file = File(object_file(bits, order, rela))
    found = [
        (r.offset, r.type, file.symbols()[r.symbol].name, r.addend)
        for r in file.relocations(".text")
    ]
    assert found == [
        (8, 1, "hidden", -4 if rela else None),
        (40, 2, "weak", 7 if rela else None),
    ]
    assert file.relocations(".data") == []


@pytest.mark.parametrize(("bits", "order"), EVERY_FORM)
def test_readelf_finds_nothing_wrong(bits, order, readelf, tmp_path):
    path = tmp_path / "object.o"
    path.write_bytes(object_file(bits, order))
    text = "\n".join(readelf("-a", str(path)))
    assert "arning" not in text
    assert "rror" not in text
    assert "hidden" in text


def test_more_sections_than_sixteen_bits_can_count():
    writer = Writer()
    sections = [writer.section(f"s{number}", b"x") for number in range(65_400)]
    writer.symbol("far", 1, section=sections[-1], type=2)
    writer.symbol("near", 2, section=sections[0], type=2)
    file = File(writer.build())
    assert len(file.sections) == 65_400 + 5
    assert file.section("s65399").index == 65_400
    far, near = file.symbol("far"), file.symbol("near")
    assert (near.shndx, near.reserved) == (1, False)
    assert file.sections[65_400].name == "s65399"
    assert [s.shndx for s in file.symbols() if s.name == "far"] == [65_400]
    assert not [s for s in file.symbols() if s.name == "far" and s.reserved]
    assert far.value == 1


def test_a_segment_maps_addresses_to_places_in_the_file():
    writer = Writer(type=3)
    text = writer.section(".text", bytes(0x200), flags=6, addr=0x401010)
    more = writer.section(".more", bytes(0x10), flags=6, addr=0x401300)
    data = writer.section(".data", bytes(0x20), flags=3, addr=0x403000)
    bss = writer.section(".bss", type=8, flags=3, addr=0x403020, size=0x1000)
    writer.segment(1, [text, more], flags=5)
    writer.segment(1, [data, bss], flags=6)
    file = File(writer.build())
    assert file.vaddr_to_offset(0x401010) == file.section(".text").offset
    assert file.vaddr_to_offset(0x401305) == file.section(".more").offset + 5
    assert file.offset_to_vaddr(file.section(".more").offset + 5) == 0x401305
    assert file.vaddr_to_offset(0x403021) is None, "the zeroes of .bss are not in the file"
    assert file.vaddr_to_offset(0x500000) is None
    assert file.offset_to_vaddr(1 << 40) is None
    assert file.segments[1].memsz == 0x1020


def test_notes_keep_name_type_and_description():
    writer = Writer(order=">")
    data = note(b"A", 1, b"xyz", ">") + note(b"LONGER", 2, b"", ">")
    writer.section(".note.x", data, type=7, addralign=4)
    notes = [(n.name, n.type, n.desc) for n in File(writer.build()).notes()]
    assert notes == [(b"A", 1, b"xyz"), (b"LONGER", 2, b"")]


def test_the_same_calls_give_the_same_bytes():
    assert object_file() == object_file()

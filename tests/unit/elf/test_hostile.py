"""Damaged and hostile files: FormatError and nothing else, soon and without much memory."""

from __future__ import annotations

import random
import struct
import time
import tracemalloc

import pytest

from bpflens.elf import File
from bpflens.elf.writer import Writer, build_id_section, note
from bpflens.errors import FormatError


def seed_file(bits, order):
    writer = Writer(type=3, bits=bits, order=order)
    text = writer.section(".text", bytes(64), flags=6, addr=0x1000)
    data = writer.section(".data", bytes(16), flags=3, addr=0x2000)
    strings = writer.section(".dynstring", b"\0libc.so.6\0me.so\0", type=3, flags=2, addr=0x3000)
    word = "qQ" if bits == 64 else "iI"
    pairs = [(5, 0x3000), (10, 17), (1, 1), (14, 11), (0x6FFFFFFB, 0x08000000), (0, 0)]
    packed = b"".join(struct.pack(order + word, *pair) for pair in pairs)
    dynamic = writer.section(".dynamic", packed, type=6, flags=3, addr=0x4000)
    interp = writer.section(".interp", b"/lib/ld.so\0", flags=2, addr=0x5000)
    writer.section(".gnu_debuglink", b"x.debug\0" + bytes(4))
    desc = struct.pack(order + ("3Q" if bits == 64 else "3I"), 0x1010, 0, 0x2000)
    writer.section(
        ".note.stapsdt", note(b"stapsdt", 3, desc + b"p\0n\08@%rdi\0", order), type=7, addralign=4
    )
    build_id_section(writer, bytes(20), addr=0x6000)
    for kind, section in ((1, text), (1, data), (1, strings), (2, dynamic), (3, interp)):
        writer.segment(kind, [section], flags=5)
    for number in range(6):
        writer.symbol(f"name{number}@@V{number}", 0x1000 + 8 * number, 8, section=text, type=2)
    writer.symbol("exported", 0x1000, 8, section=text, type=2, dynamic=True)
    local = writer.symbol("local", 0x2000, 4, section=data, type=1, bind=0)
    writer.relocation(text, 8, local, 1, 4)
    return writer.build()


def read_everything(data):
    file = File(data)
    for section in file.sections:
        file.relocations(section)
        _ = section.data
    file.symbols()
    file.dynamic_symbols()
    list(file.notes())
    for found in file.usdt_notes():
        _ = found.arguments
    for segment in file.segments:
        segment.read()
    _ = (file.build_id, file.is_pie, file.is_exec, file.needed, file.soname, file.interpreter)
    _ = (file.debuglink, file.debugaltlink, file.gnu_debugdata())
    file.symbol("name3")
    for kinds in ("function", "code", "object", "any"):
        table = file.symbol_table(kinds)
        table.resolve(0x1004)
        table.find("e")
        table.glob("*a*[0-9]")
        list(table.symbols())
    file.vaddr_to_offset(0x1004)
    file.offset_to_vaddr(0x1000)


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("order", ["<", ">"])
def test_a_mutated_file_raises_format_error_or_is_read(bits, order):
    seed = seed_file(bits, order)
    read_everything(seed)
    rng = random.Random(bits + ord(order))
    header_places = [*range(64), *range(len(seed) - 900, len(seed))]
    refused = 0
    started = time.monotonic()
    for _ in range(600):
        data = bytearray(seed)
        for _ in range(rng.choice((1, 1, 2, 8))):
            place = rng.choice(header_places) if rng.random() < 0.7 else rng.randrange(len(seed))
            data[place] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        if rng.random() < 0.1:
            del data[rng.randrange(len(data)) :]
        try:
            read_everything(bytes(data))
        except FormatError:
            refused += 1
    assert 50 < refused < 600
    assert time.monotonic() - started < 60


def test_overlapping_names_do_not_eat_all_memory(monkeypatch):
    # 20,000 symbols, each named by another tail of one long string: 2 GB of text.
    monkeypatch.setattr("bpflens.elf.file._MAX_NAME_BYTES", 1 << 20)
    monkeypatch.setattr("bpflens.elf.symbols._MAX_NAME_BYTES", 1 << 20)
    writer = Writer()
    length = 200_000
    writer.section(".strtab", b"\0" + b"x" * length + b"\0", type=3)
    entries = b"".join(struct.pack("<IBBHQQ", 1 + n, 2, 0, 1, 0, 0) for n in range(20_000))
    writer.section(".symtab", entries, type=2, link=1, entsize=24)
    file = File(writer.build())
    tracemalloc.start()
    with pytest.raises(FormatError, match="absurdly"):
        file.symbols()
    with pytest.raises(FormatError, match="absurdly"):
        file.symbol_table().glob("*")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20


def test_a_sparse_file_does_not_ask_for_its_size_in_memory(tmp_path):
    writer = Writer()
    writer.section(".huge", b"x")
    data = bytearray(writer.build())
    shoff = struct.unpack_from("<Q", data, 40)[0]
    struct.pack_into("<Q", data, shoff + 64 + 32, 1 << 40)
    path = tmp_path / "sparse"
    path.write_bytes(data)
    with open(path, "r+b") as file:
        file.truncate(1 << 41)
    with File(path) as file, pytest.raises(FormatError, match="too large"):
        file.section(".huge").read()


@pytest.mark.parametrize("data", [b"", b"\x7fELF", b"MZ" + bytes(100), b"\x7fELF" + bytes(100)])
def test_what_is_no_elf_file_is_refused(data):
    with pytest.raises(FormatError):
        File(data)


def test_a_file_that_shrinks_while_it_is_read_is_an_error(tmp_path):
    path = tmp_path / "shrinks"
    path.write_bytes(seed_file(64, "<"))
    with File(path) as file:
        path.write_bytes(b"\x7fELF")
        with pytest.raises(FormatError, match="shorter"):
            _ = file.sections


def test_a_directory_and_a_fifo_are_refused_at_once(tmp_path):
    import os

    with pytest.raises((FormatError, OSError)):
        File(tmp_path)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(FormatError):
        File(tmp_path / "fifo")


def test_no_descriptor_is_left_open(tmp_path):
    import gc
    import os

    path = tmp_path / "bad"
    path.write_bytes(b"no")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        with pytest.raises(FormatError):
            File(path)
        with File("/proc/self/exe"):
            pass
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before

"""Separate debug files and compressed parts."""

from __future__ import annotations

import lzma
import os
import shutil
import struct
import subprocess
import zlib

import pytest

from bpflens.elf import File
from bpflens.elf.debuglink import candidates, find_debug_file, unpack_debugdata
from bpflens.elf.writer import Writer
from bpflens.errors import FormatError

PROGRAM = """
static int __attribute__((noinline)) inner(int x) { return x * x; }
int main(int c) { return inner(c); }
"""


@pytest.fixture
def stripped(compile_c, tmp_path):
    """A stripped program and its debug file, as objcopy makes them."""
    if shutil.which("objcopy") is None:
        pytest.skip("no objcopy")
    program = tmp_path / "program"
    shutil.copy(compile_c(PROGRAM, "-O1", "-g", "-Wl,--build-id=none"), program)
    debug = tmp_path / "program.debug"
    subprocess.run(["objcopy", "--only-keep-debug", program, debug], check=True, timeout=60)
    subprocess.run(["strip", program], check=True, timeout=60)
    subprocess.run(
        ["objcopy", f"--add-gnu-debuglink={debug}", program], check=True, timeout=60, cwd=tmp_path
    )
    return program, debug


def test_the_link_gives_name_and_checksum(stripped):
    program, debug = stripped
    with File(program) as file:
        assert file.debuglink == ("program.debug", zlib.crc32(debug.read_bytes()))


def test_a_debug_file_beside_the_program_is_found(stripped):
    program, debug = stripped
    with File(program) as file:
        assert find_debug_file(file) == str(debug)


def test_a_debug_file_in_the_debug_directory_is_found(stripped, tmp_path):
    program, debug = stripped
    hidden = tmp_path / ".debug"
    hidden.mkdir()
    debug.rename(hidden / "program.debug")
    with File(program) as file:
        assert find_debug_file(file) == str(hidden / "program.debug")


def test_a_debug_file_below_another_root_is_found(stripped, tmp_path):
    program, debug = stripped
    place = tmp_path / "debug" / str(tmp_path)[1:]
    place.mkdir(parents=True)
    debug.rename(place / "program.debug")
    with File(program) as file:
        assert find_debug_file(file) is None
        assert find_debug_file(file, directories=[str(tmp_path / "debug")])


def test_a_debug_file_of_another_build_is_refused(stripped):
    program, debug = stripped
    debug.write_bytes(debug.read_bytes() + b"\0")
    with File(program) as file:
        assert find_debug_file(file) is None
    debug.write_bytes(b"not an ELF file")
    with File(program) as file:
        assert find_debug_file(file) is None


def test_the_build_id_comes_first_and_must_agree(compile_c, tmp_path):
    program = compile_c(PROGRAM, "-O1", "-Wl,--build-id=sha1")
    with File(program) as file:
        digits = file.build_id.hex()
        expected = f"{tmp_path}/.build-id/{digits[:2]}/{digits[2:]}.debug"
        assert next(candidates(file, directories=[str(tmp_path)])) == expected
        os.makedirs(os.path.dirname(expected))
        shutil.copy("/bin/true", expected)
        assert find_debug_file(file, directories=[str(tmp_path)]) is None
        shutil.copy(program, expected)
        assert find_debug_file(file, directories=[str(tmp_path)]) == expected


def with_section(name, data, **words):
    writer = Writer(type=3)
    writer.section(name, data, **words)
    return File(writer.build())


def test_gnu_debugdata_holds_another_file():
    inner = Writer(type=3)
    text = inner.section(".text", b"", type=8, flags=6, addr=0x1000, size=64)
    inner.symbol("hidden", 0x1010, 8, section=text, type=2, bind=0)
    file = with_section(".gnu_debugdata", lzma.compress(inner.build()))
    assert file.gnu_debugdata().symbol("hidden").value == 0x1010
    assert with_section(".other", b"").gnu_debugdata() is None


@pytest.mark.parametrize("damage", [b"", b"garbage", lzma.compress(bytes(1000))[:-8]])
def test_damaged_debugdata_is_an_error(damage):
    with pytest.raises(FormatError):
        with_section(".gnu_debugdata", damage).gnu_debugdata()


def test_debugdata_that_unpacks_without_end_is_refused(monkeypatch):
    monkeypatch.setattr("bpflens.elf.debuglink._MAX_DEBUGDATA", 1 << 20)
    with pytest.raises(FormatError, match="too large"):
        unpack_debugdata(lzma.compress(bytes(1 << 22), preset=0))


def test_compressed_sections_are_unpacked():
    data = struct.pack("<I4xQQ", 1, 5000, 1) + zlib.compress(bytes(5000))
    file = with_section(".debug_info", data, flags=0x800)
    assert file.section(".debug_info").data == bytes(5000)
    assert file.section(".debug_info").read() == data


@pytest.mark.parametrize(
    "data",
    [
        b"short",
        struct.pack("<I4xQQ", 1, 5000, 1) + zlib.compress(bytes(4000)),
        struct.pack("<I4xQQ", 1, 5000, 1) + zlib.compress(bytes(6000)),
        struct.pack("<I4xQQ", 1, 5000, 1) + b"damaged",
        struct.pack("<I4xQQ", 1, 1 << 60, 1) + zlib.compress(b""),
        struct.pack("<I4xQQ", 99, 10, 1) + b"0123456789",
    ],
)
def test_damaged_compressed_sections_are_errors(data):
    with pytest.raises(FormatError):
        _ = with_section(".debug_info", data, flags=0x800).section(".debug_info").data


def test_the_alternative_link_has_a_build_id():
    file = with_section(".gnu_debugaltlink", b"/usr/lib/debug/.dwz/x\0" + bytes(20))
    assert file.debugaltlink == ("/usr/lib/debug/.dwz/x", bytes(20))

"""Strings and functions added to BTF keep what was there and are found by a reader of BTF."""

from __future__ import annotations

import struct

import pytest

from bpflens.btf import Btf
from bpflens.errors import FormatError
from bpflens.load.program_btf import ProgramBtf, identifier
from bpflens.spec import LineInfo
from bpflens.uapi.btf import BTF_KIND_FUNC, BTF_KIND_INT


def _string(blob: bytes, offset: int) -> bytes:
    header, *_, start, _ = struct.unpack_from("<4xIIIII", blob)
    at = header + start + offset
    return blob[at : blob.index(b"\0", at)]


def test_lines_refer_to_strings_of_the_blob():
    btf = ProgramBtf()
    records = btf.line_info(
        [LineInfo(0, "x.bt", "BEGIN { exit() }", 1, 9), LineInfo(2, "x.bt", "END { }", 2, 1)]
    )
    blob = btf.build()
    rows = list(struct.iter_unpack("<IIII", records))
    assert [row[0] for row in rows] == [0, 2]
    assert _string(blob, rows[0][1]) == b"x.bt" == _string(blob, rows[1][1])
    assert rows[0][1] == rows[1][1]
    assert _string(blob, rows[0][2]) == b"BEGIN { exit() }"
    assert (rows[1][3] >> 10, rows[1][3] & 1023) == (2, 1)


def test_lines_are_sorted_and_one_a_slot():
    records = ProgramBtf().line_info(
        [LineInfo(5, "f", "b", 2, 0), LineInfo(0, "f", "a", 1, 0), LineInfo(5, "f", "c", 3, 0)]
    )
    rows = list(struct.iter_unpack("<IIII", records))
    assert [(row[0], row[3] >> 10) for row in rows] == [(0, 1), (5, 2)]


def test_lines_at_the_second_half_of_a_wide_load_are_left_out():
    insns = struct.pack("<BBhiBBhiBBhi", 0x18, 1, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0)
    lines = [LineInfo(slot, "f", "t", slot + 1, 1) for slot in range(5)]
    records = ProgramBtf().line_info(lines, insns)
    assert [row[0] for row in struct.iter_unpack("<IIII", records)] == [0, 2]


def test_too_large_columns_are_cut_to_what_fits():
    (row,) = struct.iter_unpack("<IIII", ProgramBtf().line_info([LineInfo(0, "f", "", 7, 5000)]))
    assert (row[3] >> 10, row[3] & 1023) == (7, 1023)


def test_functions_without_a_type_get_one():
    btf = ProgramBtf()
    records = btf.func_info([(4, "tracepoint:a:b", 0), (0, "main", 0)])
    read = Btf(btf.build())
    ids = [row[1] for row in struct.iter_unpack("<II", records)]
    assert [read.name(id) for id in ids] == ["main", "tracepoint_a_b"]
    assert [read.kind(id) for id in ids] == [BTF_KIND_FUNC] * 2


def test_types_of_the_object_keep_their_ids():
    first = ProgramBtf()
    first.function("one")
    base = first.build()
    grown = ProgramBtf(base)
    records = grown.func_info([(0, "one", Btf(base).find("one") or 0), (3, "two", 0)])
    read = Btf(grown.build())
    ids = [row[1] for row in struct.iter_unpack("<II", records)]
    assert [read.name(id) for id in ids] == ["one", "two"]
    assert read.find("int", BTF_KIND_INT) == Btf(base).find("int", BTF_KIND_INT)


def test_string_that_the_object_has_is_not_stored_again():
    base = ProgramBtf()
    base.function("known")
    grown = ProgramBtf(base.build())
    offset = grown.string("known")
    assert _string(base.build(), offset) == b"known"
    assert len(grown.build()) == len(base.build())


def test_text_with_nul_does_not_break_the_string_section():
    btf = ProgramBtf()
    btf.function("f")
    offset = btf.string("a\0b")
    assert _string(btf.build(), offset) == b"a b"


def test_nothing_added_to_nothing_is_no_blob():
    assert ProgramBtf().build() == b""


def test_bytes_that_are_no_btf_are_refused():
    with pytest.raises(FormatError):
        ProgramBtf(b"\x7fELF" + bytes(40))
    damaged = bytearray(_some_blob())
    struct.pack_into("<I", damaged, 20, 1 << 20)
    with pytest.raises(FormatError, match="behind its end"):
        ProgramBtf(bytes(damaged))


def _some_blob() -> bytes:
    btf = ProgramBtf()
    btf.function("f")
    return btf.build()


@pytest.mark.parametrize(
    ("text", "name"),
    [("uprobe:/bin/sh:main", "uprobe__bin_sh_main"), ("9x", "_9x"), ("", "_"), ("ok_1", "ok_1")],
)
def test_names_become_identifiers(text, name):
    assert identifier(text) == name

"""Objects that clang builds, read and loaded into the running kernel."""

from __future__ import annotations

import pickle
import struct

import pytest

from bpf_object import build
from bpflens.load.collection import load_object
from bpflens.load.object_file import read
from bpflens.uapi import bpf as k

pytestmark = pytest.mark.kernel

PACKET = bytes(64)


def _run(loaded, name):
    return loaded.programs[name].test_run(data=PACKET).retval


def test_globals_maps_and_functions_work_together():
    spec = read(build("globals.bpf.c"), "globals")
    assert set(spec.maps) >= {
        "table", "plain", "events", ".rodata", ".data", ".bss", ".data.other",
    }  # fmt: skip
    with load_object(spec) as loaded:
        assert set(loaded.programs) == {"first", "second"}
        # (40 * 2 + 2) + 3 + (1 + 2 + 3 + 4) + 7
        assert _run(loaded, "first") == 102
        assert _run(loaded, "second") == 40 + ord("h") + 1
        table = loaded.maps["table"]
        assert dict(table.items_raw()) == {
            struct.pack("II", 1, 2): struct.pack("Q16s", 40, b"written")
        }
        assert loaded.maps[".bss"].lookup_raw(bytes(4)) == struct.pack("Q", 1)


def test_kernel_knows_names_types_and_lines_of_an_object():
    with load_object(read(build("globals.bpf.c"), "globals")) as loaded:
        first = loaded.programs["first"]
        assert first.full_name == "first"
        assert first.info.gpl_compatible
        functions = [loaded_name(first, info.type_id) for info in first.functions()]
        assert functions[0] == "first"
        assert set(functions) == {"first", "global_add", "twice", "count_one"}
        assert first.lines()
        table = loaded.maps["table"]
        assert table.btf().name(table.info.btf_value_type_id) == "value"
        assert loaded.maps[".rodata"].info.name == "globals.rodata"
        assert loaded.maps["plain"].info.map_flags == 1024


def loaded_name(program, type_id):
    return program.btf().name(type_id)


def test_constants_are_frozen_and_data_can_be_mapped():
    with load_object(read(build("globals.bpf.c"))) as loaded:
        assert loaded.maps[".rodata"].fdinfo()["frozen"] == "1"
        with loaded.maps[".data"].mmap() as memory:
            place = memory.view.tobytes().index(struct.pack("I", 40))
            memory.view[place : place + 4] = struct.pack("I", 140)
        assert _run(loaded, "first") == 302


def test_reading_is_deterministic_and_a_spec_survives_pickling():
    data = build("globals.bpf.c")
    assert read(data) == read(data)
    assert pickle.loads(pickle.dumps(read(data))) == read(data)


def test_program_marked_with_a_question_mark_loads_when_asked_for():
    with load_object(read(build("globals.bpf.c")), programs=["not_loaded"]) as loaded:
        assert loaded.programs["not_loaded"].info.type == k.BPF_PROG_TYPE_SCHED_CLS

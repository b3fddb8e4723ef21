"""Objects that clang builds, read and loaded into the running kernel."""

from __future__ import annotations

import os
import pickle
import struct
import subprocess
import threading

import pytest

from bpf_object import build
from bpflens.attach.raw_tracepoint import RawTracepoint
from bpflens.btf import Btf
from bpflens.btf.builder import Builder
from bpflens.btf.query import field
from bpflens.errors import FormatError, NotFound, VerifierError
from bpflens.kernel.feature import feature
from bpflens.kernel.limits import kernel_config
from bpflens.load.collection import load_object
from bpflens.load.kernel_symbol import symbol_address
from bpflens.load.object_file import read
from bpflens.objects.btf import vmlinux
from bpflens.uapi import bpf as k
from bpflens.uapi.btf import BTF_KIND_DATASEC, BTF_KIND_STRUCT

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


CORE_FIELDS = (
    "pid tgid leader_pid comm_size comm_offset pid_signed has_pid has_other has_struct "
    "has_missing_struct size_list_head size_missing enum_value enum_exists enum_missing "
    "guarded bit_offset_bytes family_offset type_local type_target"
).split()


def _ask_core():
    with load_object(read(build("core.bpf.c"))) as loaded:
        data = loaded.maps[".bss"]
        value = bytearray(data.lookup_raw(bytes(4)))
        at = _offset_of(loaded, "wanted_pid")
        value[at : at + 4] = struct.pack("I", os.getpid())
        data.update_raw(bytes(4), bytes(value))
        with RawTracepoint("sys_enter").attach(loaded.programs["ask"]):
            os.getppid()
        start = _offset_of(loaded, "out")
        raw = data.lookup_raw(bytes(4))[start:]
        return {name: struct.unpack_from("Q", raw, 8 * n)[0] for n, name in enumerate(CORE_FIELDS)}


def _offset_of(loaded, name):
    btf = loaded.programs["ask"].btf()
    section = btf.type(btf.find(".bss", BTF_KIND_DATASEC))
    return next(var.offset for var in section.vars if btf.name(var.type_id) == name)


def test_core_relocations_follow_the_types_of_this_kernel():
    out = _ask_core()
    assert out["pid"] == threading.get_native_id()
    assert out["tgid"] == out["leader_pid"] == os.getpid()
    assert out["comm_size"] == 16
    assert out["comm_offset"] == _member_offset("task_struct", "comm")
    assert out["family_offset"] == _member_offset("sock_common", "skc_family")
    assert (out["pid_signed"], out["has_pid"], out["has_other"]) == (1, 1, 0)
    assert (out["has_struct"], out["has_missing_struct"]) == (1, 0)
    assert (out["size_list_head"], out["size_missing"]) == (16, 0)
    assert (out["enum_value"], out["enum_exists"], out["enum_missing"]) == (1, 1, 0)
    assert out["guarded"] == 1
    assert out["type_target"] == vmlinux().find("list_head", BTF_KIND_STRUCT)
    assert 0 < out["type_local"] != out["type_target"]


def _member_offset(struct_name, member):
    types = vmlinux()
    return field(types, types.find(struct_name, BTF_KIND_STRUCT), member).offset


def test_reached_access_to_a_missing_member_is_refused_and_says_so():
    with pytest.raises(VerifierError) as caught:
        load_object(read(build("core.bpf.c")), programs=["unguarded"])
    assert caught.value.source is not None
    assert caught.value.source[0].endswith("core.bpf.c")
    assert "task_struct___other.no_such_member" in str(caught.value)


def test_reached_call_of_a_missing_weak_function_is_refused_and_says_so():
    source = """
#include "bpf.h"
LICENSE("GPL");
extern int nowhere_function(int) KSYM WEAK;
SEC("tc") int ask(void *skb) { return nowhere_function(1); }
"""
    with pytest.raises(VerifierError, match="this kernel has no function nowhere_function"):
        load_object(read(build(source)))


def test_core_relocations_can_be_answered_by_other_types():
    builder = Builder()
    number = builder.add_int("int", 4, encoding=1)
    builder.add_struct("list_head", 48, [("next", number, 64)])
    other = Btf(builder.build())
    source = """
#include "bpf.h"
LICENSE("GPL");
struct list_head { int next; } CORE;
SEC("socket") int size(void *skb)
{
	return __builtin_preserve_type_info(*(struct list_head *)0, 1);
}
"""
    with load_object(read(build(source)), kernel_types=other) as loaded:
        assert _run(loaded, "size") == 48


def test_externs_get_what_this_kernel_has():
    feature("open_coded_iter").require()
    with load_object(read(build("extern.bpf.c"))) as loaded:
        _run(loaded, "ask")
        raw = loaded.maps[".bss"].lookup_raw(bytes(4))
        fields = "version syscall jit net hz missing schedule nosym novar sum nofunc".split()
        out = dict(zip(fields, struct.unpack_from("11Q", raw), strict=True))
    major, minor = os.uname().release.split(".")[:2]
    assert out["version"] >> 8 == int(major) << 8 | int(minor)
    options = kernel_config()
    if options is not None:
        assert out["syscall"] == 1
        assert out["hz"] == int(options["CONFIG_HZ"])
        assert out["net"] == ord("y")
        assert out["jit"] == {"y": 1, "m": 2}.get(options.get("CONFIG_BPF_JIT"), 0)
    assert out["missing"] == 0
    assert out["schedule"] == symbol_address("schedule") > 0
    assert (out["nosym"], out["novar"], out["nofunc"], out["sum"]) == (0, 0, 1, 10)


@pytest.mark.parametrize(
    ("declaration", "use", "message"),
    [
        ("extern int CONFIG_NOT_AT_ALL KCONFIG;", "CONFIG_NOT_AT_ALL", "no build option"),
        ("extern const void nowhere_at_all KSYM;", "(long)&nowhere_at_all", "no kernel symbol"),
        ("extern const int nowhere_typed KSYM;", "nowhere_typed", "no kernel symbol"),
        ("extern int nowhere_function(int) KSYM;", "nowhere_function(1)", "no kernel function"),
    ],
)
def test_missing_extern_that_is_not_weak_is_an_error(declaration, use, message):
    source = f"""
#include "bpf.h"
LICENSE("GPL");
{declaration}
SEC("tc") int ask(void *skb) {{ return {use}; }}
"""
    with pytest.raises(NotFound, match=message):
        load_object(read(build(source)))


def test_kernel_function_with_another_prototype_is_an_error():
    feature("open_coded_iter").require()
    source = """
#include "bpf.h"
LICENSE("GPL");
extern int bpf_iter_num_next(int a, int b) KSYM;
SEC("tc") int ask(void *skb) { return bpf_iter_num_next(1, 2); }
"""
    with pytest.raises(FormatError, match="another type"):
        load_object(read(build(source)))


def test_nested_and_old_style_maps():
    spec = read(build("nested.bpf.c"))
    assert spec.maps["old_style"].max_entries == 17
    with load_object(spec) as loaded:
        assert _run(loaded, "main_program") == 4242
        assert loaded.maps["one"].lookup_raw(bytes(4)) == struct.pack("Q", 11)
        assert loaded.maps["old_style"].lookup_raw(struct.pack("I", 1)) == struct.pack("Q", 5)
        outer = {key: value for key, value in loaded.maps["outer"].items_raw() if any(value)}
        assert outer == {
            struct.pack("I", 1): struct.pack("I", loaded.maps["one"].info.id),
            struct.pack("I", 3): struct.pack("I", loaded.maps["two"].info.id),
        }


@pytest.fixture
def bpffs(tmp_path):
    subprocess.run(["mount", "-t", "bpf", "bpf", str(tmp_path)], check=True, timeout=20)
    yield str(tmp_path)
    subprocess.run(["umount", str(tmp_path)], check=True, timeout=20)


PINNED = """
#include "bpf.h"
LICENSE("GPL");
struct {
	UINT(type, MAP_ARRAY); UINT(max_entries, 1); TYPE(key, u32); TYPE(value, u64);
	UINT(pinning, 1);
} kept SEC(".maps");
SEC("socket") int add(void *skb)
{
	u32 zero = 0;
	u64 *value = lookup(&kept, &zero);
	return value ? ++*value : 0;
}
"""


def test_pinned_map_is_found_again(bpffs):
    spec = read(build(PINNED))
    for expected in (1, 2, 3):
        with load_object(spec, pin_directory=bpffs) as loaded:
            assert _run(loaded, "add") == expected
    assert "kept" in os.listdir(bpffs)
    spec.maps["kept"].max_entries = 2
    with pytest.raises(FormatError, match="max_entries 1 instead of 2"):
        load_object(spec, pin_directory=bpffs)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("extern int f(int); SEC(\"tc\") int p(void *s) { return f(1); }", "nowhere"),
        ("SEC(\"tc\") static int p(void *s) { return 0; }", "static"),
        ("struct { UINT(type, 1); UINT(colour, 2); } m SEC(\".maps\");", "attribute 'colour'"),
        ("struct { UINT(max_entries, 1); } m SEC(\".maps\");", "has no type"),
        ("struct { UINT(type, 1); UINT(key_size, 8); TYPE(key, u32); } m SEC(\".maps\");",
         "key_size of 8"),
    ],
)  # fmt: skip
def test_object_that_makes_no_sense_says_why(body, message):
    with pytest.raises(FormatError, match=message):
        read(build(f'#include "bpf.h"\nLICENSE("GPL");\n{body}\n', "-Wno-error"))


def test_program_in_an_unknown_section_is_refused_when_loaded():
    spec = read(build('#include "bpf.h"\nSEC("nonsense") int p(void *s) { return 0; }\n'))
    with pytest.raises(NotFound, match="nonsense"):
        load_object(spec)

"""The structs that are packed by hand agree with the kernel's layouts."""

from __future__ import annotations

import struct

import pytest

from bpflens.kernel import (
    info,
    link,
    link_info,
    map_command,
    object_command,
    perf,
    probe,
    prog_command,
    syscall,
)
from bpflens.uapi import layout
from bpflens.uapi import syscall as names


def fields_of(form):
    """Offsets and sizes of the fields of a Struct, padding left out."""
    places, offset, text = [], 0, form.format.lstrip("=")
    number = ""
    for letter in text:
        if letter.isdigit():
            number += letter
            continue
        count = int(number or 1)
        number = ""
        if letter == "s":
            places.append((offset, count))
            offset += count
        elif letter == "x":
            offset += count
        else:
            size = struct.calcsize("=" + letter)
            for _ in range(count):
                places.append((offset, size))
                offset += size
    return places


def kernel_fields(table):
    """Offsets and sizes of the kernel's leaf fields: no unions twice, no containers."""
    found = {}
    for _, offset, size in table:
        if offset not in found or size < found[offset]:
            found[offset] = size
    return sorted(found.items())


@pytest.mark.parametrize(
    ("form", "table"),
    [
        (map_command._A_MAP_CREATE, layout.BPF_ATTR_MAP_CREATE),
        (map_command._A_ELEM, layout.BPF_ATTR_MAP_ELEM),
        (map_command._A_BATCH, layout.BPF_ATTR_BATCH),
        (prog_command._A_PROG_LOAD, layout.BPF_ATTR_PROG_LOAD),
        (prog_command._A_ATTACH, layout.BPF_ATTR_PROG_ATTACH),
        (prog_command._A_TEST, layout.BPF_ATTR_TEST),
        (prog_command._A_3, layout.BPF_ATTR_PROG_BIND_MAP),
        (prog_command._A_STREAM, layout.BPF_ATTR_PROG_STREAM_READ),
        (object_command._A_OBJ, layout.BPF_ATTR_OBJ),
        (object_command._A_ID, layout.BPF_ATTR_GET_ID),
        (object_command._A_INFO, layout.BPF_ATTR_INFO),
        (object_command._A_QUERY, layout.BPF_ATTR_QUERY),
        (object_command._A_RAW_TRACEPOINT, layout.BPF_ATTR_RAW_TRACEPOINT),
        (object_command._A_BTF_LOAD, layout.BPF_ATTR_BTF_LOAD),
        (object_command._A_TASK_FD, layout.BPF_ATTR_TASK_FD_QUERY),
        (info._BTF, layout.BPF_BTF_INFO),
        (info._TOKEN, layout.BPF_TOKEN_INFO),
        (info._MAP, layout.BPF_MAP_INFO),
    ],
)
def test_every_field_is_where_the_kernel_has_it(form, table):
    assert fields_of(form) == kernel_fields(table)


def test_the_prefix_of_prog_load_that_probes_use_is_right():
    places = fields_of(probe._LOAD)
    assert places == kernel_fields(layout.BPF_ATTR_PROG_LOAD)[: len(places)]


def test_perf_event_attr_is_where_the_kernel_has_it():
    # The word of bit fields at 40 has no name of its own in the table.
    expected = [place for place in kernel_fields(layout.PERF_EVENT_ATTR) if place[0] < 112]
    assert [place for place in fields_of(perf._ATTR) if place[0] != 40] == expected


def test_perf_flag_bits_are_the_kernels():
    bits = {name: bit - 320 for name, bit, _ in layout.PERF_EVENT_ATTR_BITS}
    for name in ("disabled", "inherit", "exclude_user", "exclude_kernel", "freq", "watermark"):
        assert getattr(perf, f"_{name.upper()}") == bits[name]
    assert bits["enable_on_exec"] == perf._ENABLE_ON_EXEC


def test_prog_info_is_where_the_kernel_has_it():
    # gpl_compatible is a bit field, which the table lists apart.
    assert [p for p in fields_of(info._PROG) if p[0] != 84] == kernel_fields(layout.BPF_PROG_INFO)


def test_the_arrays_of_prog_info_are_where_the_kernel_has_them():
    at = {name: offset for name, offset, _ in layout.BPF_PROG_INFO}
    counts = {"jited_prog_insns": "jited_prog_len", "xlated_prog_insns": "xlated_prog_len"}
    for name, (pointer, count, record, _) in info._ARRAYS.items():
        assert pointer == at[name]
        assert count == at[counts.get(name, f"nr_{name}")]
        assert record in (0, at.get(f"{name}_rec_size", 0))


@pytest.mark.parametrize(
    ("form", "prefix"),
    [
        (link._KPROBE_MULTI, "kprobe_multi"),
        (link._UPROBE_MULTI, "uprobe_multi"),
        (link._TRACING, "tracing"),
        (link._NETFILTER, "netfilter"),
        (link._ORDERED, "tcx"),
    ],
)
def test_the_union_of_link_create_is_the_kernels(form, prefix):
    table = [
        (name, offset - 16, size)
        for name, offset, size in layout.BPF_ATTR_LINK_CREATE
        if name.startswith(prefix + ".")
    ]
    assert fields_of(form) == kernel_fields(table)


def test_link_info_has_the_kernels_size():
    assert link_info._SIZE == layout.SIZEOF_BPF_LINK_INFO


@pytest.mark.parametrize(
    ("arch", "table"),
    [("x86_64", names.SYSCALL_NAMES_X86_64), ("aarch64", names.SYSCALL_NAMES_AARCH64)],
)
def test_system_call_numbers_are_the_kernels(arch, table):
    for name, number in syscall.NUMBERS[arch].items():
        assert table[number] == name

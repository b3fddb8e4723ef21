"""Members, functions, tracepoints, enumerators and variables by name."""

from __future__ import annotations

import pytest

from bpflens.btf import Btf
from bpflens.btf.builder import Builder
from bpflens.btf.query import (
    enumerator,
    field,
    function,
    member,
    members,
    signature,
    struct,
    tracepoint,
    variable,
)
from bpflens.errors import FormatError


def test_struct_by_name_or_typedef(small):
    assert struct(small, "node") == struct(small, "node_t") == small.find("node")
    assert struct(small, "int") is None
    assert struct(small, "none") is None


def test_member_inside_anonymous_structs(small):
    node = struct(small, "node")
    y = member(small, node, "y")
    assert (y.offset, y.bit_size, small.type(y.type_id).name) == (36, 0, "int")
    high = member(small, node, "high")
    assert (high.bit_offset, high.bit_size) == (227, 5)
    assert member(small, node, "z") is None
    assert member(small, 1, "x") is None


def test_all_members_are_flattened(small):
    names = [f.path for f in members(small, struct(small, "node"))]
    assert names == "next name color low high whole x y big ratio ok".split()


def test_path_through_arrays(small):
    node = struct(small, "node")
    assert field(small, node, "name[3]").offset == 11
    assert field(small, node, "x").offset == 32
    for wrong in ("name[x]", "name[]", "x.y", "", "name..x", "[0]", "next.name", "name[-1]"):
        assert field(small, node, wrong) is None


def test_function_by_name(small):
    walk = function(small, "walk")
    assert [p.name for p in walk.params] == ["self", "count", ""]
    assert walk.ret_type_id == small.find("int")
    assert function(small, "run") is None


def test_signature_of_pointer_and_typedef(small):
    assert len(signature(small, small.find("btf_trace_walked")).params) == 2
    assert signature(small, 1) is None


def test_tracepoint_hides_the_first_parameter(small):
    walked = tracepoint(small, "walked")
    assert [p.name for p in walked.params] == ["node"]
    assert walked.id == small.find("btf_trace_walked")
    assert tracepoint(small, "ran") is None


def test_enumerator_by_name(small):
    blue = enumerator(small, "BLUE")
    assert (blue.value, blue.enum_id) == (-1, small.find("color"))
    assert enumerator(small, "PINK") is None


def test_variable_with_its_section(small):
    root = variable(small, "root")
    assert (root.section, root.offset, root.size, root.is_percpu) == (".bss", 0, 64, False)
    assert variable(small, "node") is None


def test_kernel_names(vmlinux):
    assert [p.name for p in function(vmlinux, "vfs_read").params] == ["file", "buf", "count", "pos"]
    switch = tracepoint(vmlinux, "sched_switch")
    assert [p.name for p in switch.params][1:3] == ["prev", "next"]
    assert enumerator(vmlinux, "BPF_MAP_TYPE_HASH").value == 1
    assert variable(vmlinux, "runqueues").is_percpu


def test_anonymous_struct_in_itself_ends():
    builder = Builder()
    builder.add_struct("loop", 8, [("", 1, 0), ("", 1, 0), ("", 1, 32)])
    btf = Btf(builder.build())
    assert member(btf, 1, "x") is None
    with pytest.raises(FormatError, match="anonymous"):
        members(btf, 1)


def test_ladder_of_anonymous_structs_ends_soon():
    builder = Builder()
    for i in range(1, 15):
        builder.add_struct("", 8, [("", i + 1, 0)] * 8)
    builder.add_struct("", 8, [("x", 0, 0)])
    btf = Btf(builder.build())
    with pytest.raises(FormatError, match="anonymous"):
        members(btf, 1)
    assert member(btf, 1, "y") is None

"""`cgroup`: attached and seen by both tools, in a cgroup of the test's own."""

from __future__ import annotations

import os

import pytest

from bpflens.uapi import bpf as u
from bpftool_pair import both, ours, real, same_json

pytestmark = [pytest.mark.kernel, pytest.mark.differential]

RETURN_1 = b"\xb7\0\0\0\1\0\0\0\x95\0\0\0\0\0\0\0"


@pytest.fixture
def program(load):
    from bpflens.objects.program import Program

    def loaded(type=u.BPF_PROG_TYPE_CGROUP_SKB, code=RETURN_1, **more):
        fd = load(type, code, name="allow", **more)
        with Program(os.dup(fd)) as found:
            return str(found.id)

    return loaded


def test_what_we_attach_both_show_alike(program, cgroup):
    ingress, egress = program(), program()
    assert ours("cgroup", "attach", cgroup, "ingress", "id", ingress, "multi").status == 0
    assert ours("cgroup", "attach", cgroup, "cgroup_inet_egress", "id", egress).status == 0
    told = same_json("cgroup", "show", cgroup)
    assert [(one["attach_type"], one["attach_flags"]) for one in told] == [
        ("cgroup_inet_ingress", "multi"), ("cgroup_inet_egress", "")
    ]  # fmt: skip
    mine, theirs = both("cgroup", "show", cgroup)
    assert [line.split() for line in mine.lines] == [line.split() for line in theirs.lines]
    # Unlike those of the real tool, our columns line up.
    assert len({line.index("allow") for line in mine.lines[1:]}) == 1
    assert mine.lines[0].index("Name") == mine.lines[1].index("allow")
    for kind, id in (("ingress", ingress), ("egress", egress)):
        assert real("cgroup", "detach", cgroup, kind, "id", id).status == 0


def test_we_detach_what_the_real_tool_attached(program, cgroup):
    id = program()
    assert real("cgroup", "attach", cgroup, "egress", "id", id, "override").status == 0
    assert same_json("cgroup", "show", cgroup)[0]["attach_flags"] == "override"
    assert ours("-j", "cgroup", "detach", cgroup, "eg", "id", id).json is None
    assert ours("-j", "cgroup", "show", cgroup).json == []
    assert ours("cgroup", "show", cgroup).out == ""


def test_the_effective_programs_of_a_child(program, cgroup):
    child = f"{cgroup}/child"
    os.mkdir(child)
    try:
        id = program()
        assert ours("cgroup", "attach", cgroup, "ingress", "id", id, "multi").status == 0
        assert [one["id"] for one in same_json("cgroup", "show", child, "effective")] == [int(id)]
        tree = same_json("cgroup", "tree", cgroup)
        assert [one["cgroup"] for one in tree] == [cgroup]
        tree = same_json("cgroup", "tree", cgroup, "effective")
        assert [one["cgroup"] for one in tree] == [cgroup, child]
        mine, theirs = both("cgroup", "tree", cgroup, "effective")
        assert [line.split() for line in mine.lines] == [line.split() for line in theirs.lines]
        assert mine.lines[-1].startswith("    ")
    finally:
        os.rmdir(child)


def test_refusals_say_why(program, cgroup):
    wrong = program(u.BPF_PROG_TYPE_SOCKET_FILTER)
    done = ours("cgroup", "attach", cgroup, "ingress", "id", wrong)
    assert done.status == 255
    assert done.err.startswith("Error: failed to attach program: ")
    assert "takes cgroup_skb programs, this one is socket_filter" in done.err
    done = ours("cgroup", "detach", cgroup, "ingress", "id", program())
    assert "it is not attached" in done.err
    done = ours("cgroup", "attach", cgroup, "ingres5", "id", wrong)
    assert done.err.startswith("Error: invalid attach type")
    for words in (["show", "/nonexistent"], ["show", "/tmp"]):
        mine, theirs = both("cgroup", *words)
        assert mine.err.startswith(theirs.err.rstrip("\n"))
        assert mine.status == theirs.status


def test_a_program_above_that_forbids_more(program, cgroup):
    child = f"{cgroup}/child"
    os.mkdir(child)
    try:
        assert ours("cgroup", "attach", cgroup, "egress", "id", program()).status == 0
        done = ours("cgroup", "attach", child, "egress", "id", program())
        assert "Operation not permitted" in done.err
        assert "flags" in done.err
    finally:
        os.rmdir(child)

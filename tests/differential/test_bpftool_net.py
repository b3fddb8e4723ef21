"""`net`: programs on interfaces of an own network namespace, as both tools see and change them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from bpflens.kernel import link
from bpflens.uapi import bpf as u
from bpftool_pair import MAIN, SOURCE, both, ours, real

pytestmark = [pytest.mark.kernel, pytest.mark.differential]

RETURN_1 = b"\xb7\0\0\0\1\0\0\0\x95\0\0\0\0\0\0\0"


@pytest.fixture
def program(load):
    from bpflens.objects.program import Program

    def loaded(type, **more):
        fd = load(type, RETURN_1, name="pass", **more)
        with Program(os.dup(fd)) as found:
            return str(found.id)

    return loaded


def shown(*words):
    return ours("-j", "net", "show", *words).json[0]


def test_an_empty_namespace_has_four_empty_sections(netns):
    mine, theirs = both("net", "show")
    assert mine.out == "xdp:\n\ntc:\n\nflow_dissector:\n\nnetfilter:\n\n"
    assert mine.out.startswith(theirs.out)
    assert shown() == {"xdp": [], "tc": [], "flow_dissector": [], "netfilter": []}


def test_xdp_that_we_attach_both_show(program, d0):
    id = program(u.BPF_PROG_TYPE_XDP)
    assert ours("net", "attach", "xdpgeneric", "id", id, "dev", "d0").status == 0
    mine, theirs = both("-j", "net", "show")
    assert mine.json[0]["xdp"] == theirs.json[0]["xdp"]
    assert mine.json[0]["xdp"][0] == {
        "devname": "d0", "ifindex": d0, "mode": "generic", "id": int(id)
    }  # fmt: skip
    assert both("net", "show")[0].lines[1] == f"d0({d0}) generic id {id}"
    again = ours("net", "attach", "xdpgeneric", "id", id, "dev", "d0")
    assert again.status == 240
    assert "interface xdpgeneric attach failed: Device or resource busy" in again.err
    assert "already attached" in again.err
    assert ours("net", "attach", "xdpg", "id", id, "dev", "d0", "overwrite").status == 0
    assert real("net", "detach", "xdpgeneric", "dev", "d0").status == 0
    assert shown()["xdp"] == []


def test_we_detach_what_the_real_tool_attached(program, d0):
    id = program(u.BPF_PROG_TYPE_XDP)
    assert real("net", "attach", "xdpgeneric", "id", id, "dev", "d0").status == 0
    assert shown()["xdp"][0]["id"] == int(id)
    assert ours("-j", "net", "detach", "xdpgeneric", "dev", "d0").json is None
    assert shown()["xdp"] == []


def test_tcx_programs_in_order(program, d0):
    first, second = program(u.BPF_PROG_TYPE_SCHED_CLS), program(u.BPF_PROG_TYPE_SCHED_CLS)
    assert ours("net", "attach", "tcx_ingress", "id", first, "dev", "d0").status == 0
    assert ours("net", "attach", "tcx_ing", "id", second, "dev", "d0", "prepend").status == 0
    rows = shown("dev", "d0")["tc"]
    assert [row["prog_id"] for row in rows] == [int(second), int(first)]
    assert rows[0] == {
        "devname": "d0", "ifindex": d0, "kind": "tcx/ingress", "name": "pass",
        "prog_id": int(second), "prog_flags": [], "link_id": 0, "link_flags": [],
    }  # fmt: skip
    lines = ours("net", "show", "dev", "d0").lines
    assert f"d0({d0}) tcx/ingress pass prog_id {second} " in lines
    for _ in range(2):
        assert ours("net", "detach", "tcx_ingress", "dev", "d0").status == 0
    assert shown()["tc"] == []


def test_filters_of_traffic_control_are_the_same(load, bpffs, d0):
    fd = load(u.BPF_PROG_TYPE_SCHED_CLS, RETURN_1, name="pass")
    from bpflens.kernel import bpf

    bpf.obj_pin(fd, f"{bpffs}/pass")
    subprocess.run(["tc", "qdisc", "add", "dev", "d0", "clsact"], check=True)
    words = ["tc", "filter", "add", "dev", "d0", "egress", "bpf", "da", "pinned", f"{bpffs}/pass"]
    subprocess.run(words, check=True)
    mine, theirs = both("-j", "net", "show", "dev", "d0")
    assert mine.json[0]["tc"] == theirs.json[0]["tc"]
    assert mine.json[0]["tc"][0]["kind"] == "clsact/egress"
    mine, theirs = both("net", "show", "dev", "d0")
    assert mine.lines[: len(theirs.lines)] == theirs.lines


def test_the_flow_dissector_is_valid_json(program, load, netns, close_all):
    fd = load(u.BPF_PROG_TYPE_FLOW_DISSECTOR, RETURN_1, name="dissect")
    close_all(link.netns(fd, netns, u.BPF_FLOW_DISSECTOR))
    told = shown()["flow_dissector"]
    assert len(told) == 1
    assert list(told[0]) == ["id"]
    assert f"\nflow_dissector:\nid {told[0]['id']}\n" in ours("net", "show").out
    # What is asked for is one interface, not the namespace.
    assert shown("dev", "lo")["flow_dissector"] == []


def test_netfilter_is_that_of_this_namespace(load, netns, close_all):
    fd = load(u.BPF_PROG_TYPE_NETFILTER, RETURN_1, expected_attach_type=u.BPF_NETFILTER)
    close_all(link.netfilter(fd, 2, 1, -100))
    hooks = shown()["netfilter"]
    assert [(one["pf"], one["hook"], one["prio"]) for one in hooks] == [(2, 1, -100)]
    assert f"\n\tip input prio -100 prog_id {hooks[0]['id']}\n" in ours("net", "show").out
    elsewhere = subprocess.run(
        ["unshare", "-n", "env", f"PYTHONPATH={SOURCE}", sys.executable, "-c", MAIN, "net", "show"],
        capture_output=True, timeout=60, text=True,
    )  # fmt: skip
    assert "prio" not in elsewhere.stdout


def test_refusals_are_told_with_the_real_status(program, d0):
    wrong = program(u.BPF_PROG_TYPE_SOCKET_FILTER)
    for words in (
        ["attach", "xdp", "id", wrong, "dev", "nosuch"],
        ["attach", "xdp", "id", wrong, "dev", "d0"],
        ["attach", "nosuch", "id", wrong, "dev", "d0"],
        ["attach", "xdp", "id", wrong, "dev", "d0", "prepend_"],
    ):
        mine, theirs = both("net", *words)
        assert mine.status == 234, words
        assert theirs.status != 0
        assert mine.err.startswith("Error: ")
    assert "invalid devname nosuch" in ours("net", "show", "dev", "nosuch").err

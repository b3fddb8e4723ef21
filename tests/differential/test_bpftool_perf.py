"""`perf show`: the descriptors of this process, as both tools see them."""

from __future__ import annotations

import os

import pytest

from bpflens.kernel import bpf, link
from bpflens.kernel.perf import open_probe, open_tracepoint
from bpflens.kernel.tracefs import event_id
from bpflens.uapi import bpf as u
from bpftool_pair import both

pytestmark = [pytest.mark.kernel, pytest.mark.differential]


@pytest.fixture
def attached(load, close_all):
    raw = bpf.raw_tracepoint_open(load(u.BPF_PROG_TYPE_RAW_TRACEPOINT), "sched_process_exit")
    close_all(raw)
    held = {"raw_tracepoint": raw}
    event = open_tracepoint(event_id("sched", "sched_process_exec"))
    close_all(event)
    held["tracepoint"] = link.perf_event(load(u.BPF_PROG_TYPE_TRACEPOINT), event)
    close_all(held["tracepoint"])
    for kind, ret in (("uprobe", False), ("uretprobe", True)):
        probe = open_probe("uprobe", "/bin/true", 0x1000, retprobe=ret)
        close_all(probe)
        held[kind] = link.perf_event(load(u.BPF_PROG_TYPE_KPROBE), probe)
        close_all(held[kind])
    return held


def mine_of(rows):
    return [row for row in rows if row["pid"] == os.getpid()]


def test_rows_are_those_of_the_real_tool(attached):
    mine, theirs = both("-j", "perf", "show")
    rows = mine_of(mine.json)
    assert sorted(rows, key=lambda r: r["fd"]) == sorted(
        mine_of(theirs.json), key=lambda r: r["fd"]
    )
    kinds = {row["fd_type"] for row in rows}
    assert kinds == {"raw_tracepoint", "tracepoint", "uprobe", "uretprobe"}


def test_lines_are_those_of_the_real_tool(attached):
    mine, theirs = both("perf", "list")
    start = f"pid {os.getpid()} "
    ours_ = sorted(line for line in mine.lines if line.startswith(start))
    assert ours_ == sorted(line for line in theirs.lines if line.startswith(start))
    assert len(ours_) >= 4

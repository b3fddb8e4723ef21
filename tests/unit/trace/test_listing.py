"""Listing probes: which kinds a pattern asks for, and how the lines look."""

from __future__ import annotations

import pytest

from bpflens.trace.listing import probes


class Machine:
    """A target that knows a handful of things."""

    pid = 0

    def __init__(self):
        self.asked = []

    def btf(self):
        return None

    def tracepoints(self, system, event):
        self.asked.append(("tracepoint", system, event))
        return [("sched", "sched_switch")]

    def kernel_functions(self, module, function):
        self.asked.append(("kprobe", module, function))
        return [("vmlinux", "vfs_read"), ("xfs", "vfs_read")]

    def typed_functions(self, module, function):
        return [("vmlinux", "vfs_read")]

    def raw_tracepoint_pairs(self, module, event):
        return [("vmlinux", "sched_switch")]

    def user_functions(self, path, symbol):
        self.asked.append(("uprobe", path, symbol))
        return [(path, "main")]

    def usdt_probes(self, path, provider, name):
        self.asked.append(("usdt", path, provider, name))
        return [(path, "python", "line")]


@pytest.mark.parametrize(
    ("pattern", "lines"),
    [
        ("kprobe:vfs_*", ["kprobe:vfs_read"]),
        ("k:vfs_*", ["kprobe:vfs_read"]),
        ("kprobe:*:vfs_*", ["kprobe:vmlinux:vfs_read", "kprobe:xfs:vfs_read"]),
        ("kfunc:vfs_read", ["fentry:vmlinux:vfs_read"]),
        ("kretfunc:vfs_read", ["fexit:vmlinux:vfs_read"]),
        ("rt:sched_switch", ["rawtracepoint:vmlinux:sched_switch"]),
        ("u:/bin/x:main", ["uprobe:/bin/x:main"]),
        ("interval:*", ["interval:hz:", "interval:ms:", "interval:s:", "interval:us:"]),
        ("profile:hz*", ["profile:hz:"]),
        ("software:c*-*s*", ["software:context-switches:", "software:cpu-migrations:"]),
        ("self:*", ["self:signal:SIGUSR1"]),
        ("nonsense:*", []),
    ],
)
def test_lines_of_a_pattern(pattern, lines):
    assert probes(pattern, Machine()) == lines


def test_a_word_without_colon_is_looked_for_in_the_kinds_of_the_kernel():
    found = probes("*sleep*", Machine())
    assert [line.split(":")[0] for line in found] == [
        "fentry", "kprobe", "rawtracepoint", "tracepoint",
    ]  # fmt: skip


def test_a_kind_may_be_a_pattern():
    assert [line.split(":")[0] for line in probes("*ware:*", Machine())].count("hardware") == 12


def test_a_process_has_user_space_probes_too():
    machine = Machine()
    machine.pid = 1
    kinds = {line.split(":")[0] for line in probes("*", machine)}
    assert {"uprobe", "usdt"} <= kinds


@pytest.mark.parametrize(
    ("pattern", "asked"),
    [
        ("t:sched:sched_*", ("tracepoint", "sched", "sched_*")),
        ("t:sched_*", ("tracepoint", "*", "sched_*")),
        ("usdt:/x:*", ("usdt", "/x", "*", "*")),
        ("usdt:/x:python:line", ("usdt", "/x", "python", "line")),
        ("u:/a:b/x:main", ("uprobe", "/a:b/x", "main")),
    ],
)
def test_parts_of_a_pattern(pattern, asked):
    machine = Machine()
    probes(pattern, machine)
    assert asked in machine.asked

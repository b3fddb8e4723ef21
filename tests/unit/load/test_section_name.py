"""Section names tell program type, attach type, flags and target."""

from __future__ import annotations

import pytest

from bpflens.load.section_name import RULES, match
from bpflens.uapi import bpf as k


@pytest.mark.parametrize(
    ("section", "type", "attach_type", "flags", "target"),
    [
        ("kprobe/do_unlinkat", k.BPF_PROG_TYPE_KPROBE, 0, 0, "do_unlinkat"),
        ("kprobe.multi/vfs_*", k.BPF_PROG_TYPE_KPROBE, k.BPF_TRACE_KPROBE_MULTI, 0, "vfs_*"),
        ("tp/sched/sched_switch", k.BPF_PROG_TYPE_TRACEPOINT, 0, 0, "sched/sched_switch"),
        ("tracepoint", k.BPF_PROG_TYPE_TRACEPOINT, 0, 0, ""),
        ("raw_tp.w/x", k.BPF_PROG_TYPE_RAW_TRACEPOINT_WRITABLE, 0, 0, "x"),
        ("fentry.s/f", k.BPF_PROG_TYPE_TRACING, k.BPF_TRACE_FENTRY, k.BPF_F_SLEEPABLE, "f"),
        ("lsm_cgroup/socket_bind", k.BPF_PROG_TYPE_LSM, k.BPF_LSM_CGROUP, 0, "socket_bind"),
        ("xdp.frags/devmap", k.BPF_PROG_TYPE_XDP, k.BPF_XDP_DEVMAP, k.BPF_F_XDP_HAS_FRAGS, ""),
        ("xdp", k.BPF_PROG_TYPE_XDP, k.BPF_XDP, 0, ""),
        ("tc", k.BPF_PROG_TYPE_SCHED_CLS, 0, 0, ""),
        ("sk_skb", k.BPF_PROG_TYPE_SK_SKB, 0, 0, ""),
        ("cgroup/connect_unix", k.BPF_PROG_TYPE_CGROUP_SOCK_ADDR, k.BPF_CGROUP_UNIX_CONNECT, 0, ""),
        ("syscall", k.BPF_PROG_TYPE_SYSCALL, 0, k.BPF_F_SLEEPABLE, ""),
        ("struct_ops.s/init", k.BPF_PROG_TYPE_STRUCT_OPS, 0, k.BPF_F_SLEEPABLE, "init"),
    ],
)
def test_section_means(section, type, attach_type, flags, target):
    rule = match(section)
    assert rule is not None
    assert (rule.type, rule.attach_type, rule.flags) == (type, attach_type, flags)
    assert rule.target(section) == target


@pytest.mark.parametrize("section", ["", "foo", "xdp/foo", "tcx", "kprobes/x", "cgroup/what"])
def test_section_without_meaning(section):
    assert match(section) is None


def test_only_what_is_looked_up_in_btf_is_marked_so():
    assert {name.partition(".")[0] for name, rule in RULES.items() if rule.by_btf} == {
        "fentry", "fexit", "fmod_ret", "freplace", "iter", "lsm", "lsm_cgroup", "tp_btf",
    }  # fmt: skip

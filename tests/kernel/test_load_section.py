"""Every section name that means something gives a program that the kernel takes as that type."""

from __future__ import annotations

import pytest

from bpf_object import build
from bpflens.errors import NotSupported, SyscallError
from bpflens.kernel.feature import prog_type
from bpflens.load.collection import load_object
from bpflens.load.object_file import read
from bpflens.load.section_name import RULES
from bpflens.uapi import bpf as k

pytestmark = pytest.mark.kernel

# A target that exists, for the kinds that are checked against the kernel's types when loaded.
TARGETS = {
    "tp_btf": "sched_switch",
    "iter": "task",
    "iter.s": "task",
    "fentry": "do_sys_openat2",
    "fentry.s": "bpf_fentry_test1",
    "fexit": "do_sys_openat2",
    "fexit.s": "bpf_fentry_test1",
    "fmod_ret": "bpf_modify_return_test",
    "fmod_ret.s": "bpf_modify_return_test",
    "lsm": "file_open",
    "lsm.s": "file_open",
    "lsm_cgroup": "socket_bind",
}
# What the value returned must be for the verifier to accept it; 0 elsewhere.
RESULTS = {"cgroup/recvmsg": 1, "cgroup/getpeername": 1, "cgroup/getsockname": 1}


@pytest.mark.parametrize("name", sorted(RULES))
def test_section_loads_as_what_it_says(name):
    rule = RULES[name]
    if rule.type in (k.BPF_PROG_TYPE_EXT, k.BPF_PROG_TYPE_STRUCT_OPS):
        pytest.skip("needs a target program or table; tested with one elsewhere")
    section = f"{name}/{TARGETS.get(name, 'target')}" if rule.takes_target else name
    result = next((value for start, value in RESULTS.items() if name.startswith(start)), 0)
    source = f"""
#include "bpf.h"
LICENSE("GPL");
SEC("{section}") int program(void *ctx) {{ return {result}; }}
"""
    try:
        loaded = load_object(read(build(source)))
    except SyscallError as error:
        missing = _why_not(rule, error)
        if not missing:
            raise
        pytest.skip(missing)
    with loaded:
        info = loaded.programs["program"].info
        assert info.type == rule.type


# Why this kernel may refuse a program that is right: it lacks the type, or forbids it.
def _why_not(rule, error):
    try:
        prog_type(rule.type).require()
    except NotSupported as reason:
        return str(reason)
    if rule.type in (k.BPF_PROG_TYPE_TRACING, k.BPF_PROG_TYPE_LSM) and "refuses" in str(error):
        return str(error)
    newer = (k.BPF_TRACE_KPROBE_SESSION, k.BPF_TRACE_UPROBE_MULTI, k.BPF_TRACE_UPROBE_SESSION)
    unix = range(k.BPF_CGROUP_UNIX_CONNECT, k.BPF_CGROUP_UNIX_GETSOCKNAME + 1)
    known = k.BPF_TCX_INGRESS, k.BPF_TCX_EGRESS, k.BPF_NETKIT_PRIMARY, k.BPF_NETKIT_PEER
    if rule.attach_type in (*newer, *unix, *known) and "EINVAL" in str(error):
        return f"this kernel does not know the attach type: {error}"
    return ""

"""Probes on the running kernel: sure answers, right ones, and nothing left behind."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import bpflens
from bpflens.kernel import feature, probe
from bpflens.uapi import bpf as u
from bpflens.uapi.helper import HELPER_NAMES

pytestmark = pytest.mark.kernel


def running():
    return tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2])


def version(text):
    return tuple(int(part) for part in text.split("."))


# What configurations leave out, whatever the version.
OPTIONAL = frozenset(
    "kprobe kprobe_multi kprobe_session override_return netkit lsm fentry fexit fmod_ret freplace "
    "uprobe_session".split()
)


@pytest.mark.parametrize("name", feature.all_features())
def test_a_feature_of_this_kernels_age_is_found(name):
    row = feature.feature(name)
    row.forget()
    answer = row.answer()
    assert answer is not None, row.why
    if version(row.since) > running():
        assert answer is False, f"found, though it came with Linux {row.since}"
    elif name not in OPTIONAL:
        assert answer is True, f"not found, though it came with Linux {row.since}: {row.why}"


def test_program_types_are_those_of_the_real_bpftool(real_bpftool):
    import json

    done = subprocess.run(
        [real_bpftool, "-j", "feature", "probe"], capture_output=True, text=True, check=True
    )
    theirs = json.loads(done.stdout)
    for kind, names, has in (
        ("prog", u.PROG_TYPE_NAMES, feature.prog_type),
        ("map", u.MAP_TYPE_NAMES, feature.map_type),
    ):
        table = theirs["program_types" if kind == "prog" else "map_types"]
        for number, name in enumerate(names):
            wanted = table.get(f"have_{name}_{kind}_type")
            if wanted is not None:
                assert has(number).answer() is wanted, name


def test_helpers_are_known_by_program_type():
    tracing = {HELPER_NAMES[n] for n in probe.helpers_of(u.BPF_PROG_TYPE_TRACEPOINT)}
    packets = {HELPER_NAMES[n] for n in probe.helpers_of(u.BPF_PROG_TYPE_XDP)}
    assert {"get_current_comm", "probe_read_user", "get_stackid"} <= tracing
    assert {"redirect_map", "xdp_adjust_head", "csum_diff"} <= packets
    assert "xdp_adjust_head" not in tracing
    assert "get_stackid" not in packets


def test_one_helper_and_all_of_them_agree():
    found = set(probe.helpers_of(u.BPF_PROG_TYPE_SOCKET_FILTER))
    for number in range(1, 60):
        if HELPER_NAMES[number] in ("trace_printk", "probe_write_user"):
            continue
        assert probe.has_helper(u.BPF_PROG_TYPE_SOCKET_FILTER, number) is (number in found)


def test_a_missing_capability_is_no_answer():
    # A child without capabilities: nothing may be concluded from its refusals.
    code = (
        "from bpflens.kernel import capability, feature\n"
        "feature.feature('ringbuf'); capability.drop_all_but(())\n"
        "row = feature.feature('fentry'); assert row.answer() is None, row.answer()\n"
        "row = feature.feature('ringbuf'); assert row.answer() is None, row.answer()\n"
        "assert 'CAP_BPF' in row.why, row.why\n"
    )
    source = os.path.dirname(bpflens.__path__[0])
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": source})


def test_a_kernel_function_is_known_by_name():
    assert feature.kfunc("bpf_iter_num_new").answer() is (running() >= (6, 4))
    assert feature.kfunc("bpf_no_such_function").answer() is False


def test_probing_is_quick():
    import time

    for row in feature.all_features().values():
        row.forget()
    before = time.process_time()
    for row in feature.all_features().values():
        row.answer()
    # 30 ms on an idle machine; a VM without hardware help takes ten times that.
    assert time.process_time() - before < 2

"""perf events, tracefs and the rest of the kernel room, on the running kernel."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time

import pytest

import bpflens
from bpflens.errors import NotFound, NotSupported, SyscallError
from bpflens.kernel import capability, cpu, limits, mmap, perf, tracefs
from bpflens.uapi import perf as u

pytestmark = pytest.mark.kernel


@pytest.fixture
def opened(close_all):
    def open_one(*arguments, **more):
        fd = perf.perf_event_open(*arguments, **more)
        close_all(fd)
        return fd

    return open_one


def test_a_counting_event_is_read_reset_and_stopped(opened):
    fd = opened(
        u.PERF_TYPE_SOFTWARE, u.PERF_COUNT_SW_TASK_CLOCK, pid=0, read_format=3, disabled=True
    )
    assert perf.read_counter(fd).value == 0
    perf.enable(fd)
    sum(range(200_000))
    perf.disable(fd)
    counted = perf.read_counter(fd)
    assert counted.value > 0
    assert counted.enabled >= counted.running > 0
    sum(range(200_000))
    assert perf.read_counter(fd).value == counted.value
    perf.reset(fd)
    assert perf.read_counter(fd).value == 0


def test_a_machine_without_the_event_says_so():
    try:
        fd = perf.perf_event_open(u.PERF_TYPE_HARDWARE, u.PERF_COUNT_HW_CPU_CYCLES, pid=0)
    except SyscallError as error:
        refusal = str(error)
    else:
        os.close(fd)
        pytest.skip("this machine counts cycles")
    assert "does not have the event" in refusal


def test_a_breakpoint_counts_writes_to_a_variable(close_all):
    variable = ctypes.c_uint64(0)
    where = ctypes.addressof(variable)
    try:
        fd = perf.open_breakpoint(where, 8, u.HW_BREAKPOINT_W, pid=0, cpu=-1)
    except SyscallError as error:
        raise NotSupported("hardware breakpoints", why=str(error)) from None
    close_all(fd)
    for number in range(50):
        variable.value = number
    assert int.from_bytes(os.read(fd, 8), "little") == 50


def test_a_ring_is_mapped_and_its_head_moves(opened):
    fd = opened(
        u.PERF_TYPE_SOFTWARE, u.PERF_COUNT_SW_CPU_CLOCK, pid=0, sample_freq=1000,
        sample_type=u.PERF_SAMPLE_IP,
    )  # fmt: skip
    with mmap.Mapping(fd, 5 * mmap.PAGE_SIZE, mmap.PROT_READ | mmap.PROT_WRITE) as ring:
        end = time.process_time() + 0.2
        while time.process_time() < end:
            pass
        assert ring.load(1024) > 0  # data_head of struct perf_event_mmap_page


def test_a_filter_that_cannot_be_read_is_refused(close_all):
    fd = perf.open_tracepoint(tracefs.event_id("syscalls", "sys_enter_openat"))
    close_all(fd)
    perf.set_filter(fd, "flags == 0")
    with pytest.raises(SyscallError, match=r"SET_FILTER 'nonsense >'"):
        perf.set_filter(fd, "nonsense >")


def test_tracepoints_have_ids_and_formats():
    assert tracefs.event_id("sched", "sched_switch") > 0
    assert b"name: sched_switch\n" in tracefs.format("sched", "sched_switch")
    assert "sched_switch" in tracefs.events("sched")
    assert "sched" in tracefs.systems()
    assert tracefs.is_event("sched", "sched_switch")
    with pytest.raises(NotFound, match="did you mean sched:sched_switch"):
        tracefs.event_id("sched", "sched_swich")
    with pytest.raises(NotFound, match="sched:sched_switch"):
        tracefs.event_id("shed", "sched_switch")


def test_probes_are_made_and_removed_through_tracefs():
    place = os.path.realpath(sys.executable)
    name = f"bpflens_{os.getpid()}"
    tracefs.append("uprobe_events", f"p:{name}/here {place}:0x1000\n")
    try:
        assert tracefs.event_id(name, "here") > 0
    finally:
        tracefs.append("uprobe_events", f"-:{name}/here\n")
    assert not tracefs.is_event(name, "here")
    with pytest.raises(SyscallError, match="writing"):
        tracefs.append("uprobe_events", "nonsense\n")


def test_cpus_are_there():
    assert 0 in cpu.online()
    assert set(cpu.online()) <= set(cpu.possible())
    assert cpu.possible_count() >= len(cpu.possible())


def test_root_has_capabilities_and_can_drop_them():
    assert capability.has(capability.CAP_BPF)
    assert "sys_admin" in capability.names()
    code = (
        "from bpflens.kernel import capability as c\n"
        "c.drop_all_but([c.CAP_BPF, c.CAP_PERFMON])\n"
        "assert c.names() == ['perfmon', 'bpf'], c.names()\n"
        "assert c.has(c.CAP_BPF) and not c.has(c.CAP_NET_ADMIN)\n"
        "from bpflens.kernel import bpf\n"
        "from bpflens.errors import SyscallError\n"
        "try: bpf.prog_get_next_id()\n"
        "except SyscallError as e: assert 'CAP_SYS_ADMIN is missing' in str(e), e\n"
        "else: raise SystemExit('allowed')\n"
    )
    source = os.path.dirname(bpflens.__path__[0])
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": source})


def test_limits_are_read_where_they_are_told():
    assert limits.sysctl("kernel.unprivileged_bpf_disabled") in (0, 1, 2)
    assert limits.sysctl("kernel.no_such_thing") is None
    assert limits.lockdown() in (None, "none", "integrity", "confidentiality")
    config = limits.kernel_config()
    if config is not None:
        assert config["CONFIG_BPF_SYSCALL"] == "y"
        assert limits.kernel_option("CONFIG_NO_SUCH_OPTION") is None


def test_a_kernel_that_does_not_need_it_keeps_the_memory_lock_limit(monkeypatch):
    monkeypatch.setattr(limits, "_memlock_done", False)
    import resource

    before = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    assert limits.raise_memlock_if_needed() is False
    assert resource.getrlimit(resource.RLIMIT_MEMLOCK) == before

"""Attaching on the running kernel: each probe fires as often as what it watches happens."""

from __future__ import annotations

import ctypes
import os
import subprocess
import time
from contextlib import ExitStack, closing

import pytest

from bpflens.asm import instruction as i
from bpflens.attach.attachment import close_all
from bpflens.attach.binary import binary_path, place
from bpflens.attach.iterator import Iterator
from bpflens.attach.kprobe import Kprobe
from bpflens.attach.perf_event import PerfEvent
from bpflens.attach.probe import make
from bpflens.attach.raw_tracepoint import RawTracepoint
from bpflens.attach.timer import Timer
from bpflens.attach.tracepoint import Tracepoint
from bpflens.attach.uprobe import Uprobe, UprobeMulti
from bpflens.attach.usdt import Usdt
from bpflens.attach.usdt import notes as usdt_notes
from bpflens.attach.watchpoint import Watchpoint
from bpflens.errors import AttachError
from bpflens.kernel import perf
from bpflens.load.collection import load_object
from bpflens.spec import ObjectSpec, ProgramSpec
from bpflens.uapi import bpf as k
from kernel.attach_program import counting

pytestmark = pytest.mark.kernel

PYTHON = "/usr/bin/python3.11"
LIBC = ctypes.CDLL(None)


@pytest.fixture
def load():
    with ExitStack() as stack:
        yield lambda *args, **more: stack.enter_context(closing(counting(*args, **more)))


def _getppid(times):
    for _ in range(times):
        os.getppid()


def _burn(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_tracepoint_fires_and_carries_its_cookie(load):
    program = load(k.BPF_PROG_TYPE_TRACEPOINT, own_pid=True, cookie=True)
    with Tracepoint("syscalls", "sys_enter_getppid").attach(program, cookie=0x1234) as attachment:
        _getppid(100)
        assert attachment.link_fd > 0
    _getppid(10)
    assert (program.hits, program.cookie) == (100, 0x1234)


def test_tracepoint_that_does_not_exist_names_what_is_near(load):
    program = load(k.BPF_PROG_TYPE_TRACEPOINT)
    with pytest.raises(AttachError, match="no such tracepoint") as caught:
        Tracepoint("syscalls", "sys_enter_getpid_").attach(program)
    assert "syscalls:sys_enter_getpid" in caught.value.hints


def test_same_program_twice_on_one_tracepoint_is_refused_without_a_leak(load):
    program = load(k.BPF_PROG_TYPE_TRACEPOINT)
    probe = Tracepoint("syscalls", "sys_enter_getppid")
    with probe.attach(program), pytest.raises(AttachError, match="EEXIST"):
        probe.attach(program)


def test_many_tracepoints_close_side_by_side(load):
    programs = [load(k.BPF_PROG_TYPE_TRACEPOINT, own_pid=True) for _ in range(4)]
    names = ("getppid", "getpid", "getuid", "geteuid")
    attachments = [
        Tracepoint("syscalls", f"sys_enter_{name}").attach(program)
        for name, program in zip(names, programs, strict=True)
    ]
    _getppid(3)
    close_all(attachments)
    before = programs[0].hits
    _getppid(3)
    assert before == programs[0].hits == 3
    assert all(not attachment.fds for attachment in attachments)


def test_raw_tracepoint_fires_and_detaches_quickly(load):
    program = load(k.BPF_PROG_TYPE_RAW_TRACEPOINT, own_pid=True)
    attachment = RawTracepoint("sys_enter").attach(program)
    _getppid(100)
    before = time.monotonic()
    attachment.close()
    assert time.monotonic() - before < 0.05
    hits = program.hits
    assert 100 <= hits < 200
    _getppid(10)
    assert program.hits == hits


def test_raw_tracepoint_cookie(load):
    program = load(k.BPF_PROG_TYPE_RAW_TRACEPOINT, own_pid=True, cookie=True)
    with RawTracepoint("sys_enter").attach(program, cookie=99):
        _getppid(1)
    assert program.cookie == 99


def test_raw_tracepoint_that_does_not_exist(load):
    program = load(k.BPF_PROG_TYPE_RAW_TRACEPOINT)
    with pytest.raises(AttachError, match="no such tracepoint") as caught:
        RawTracepoint("sched_swich").attach(program)
    assert "sched_switch" in caught.value.hints


@pytest.mark.parametrize(("unit", "value"), [("hz", 100), ("ms", 10), ("us", 10_000)])
def test_profile_samples_at_its_rate(load, unit, value):
    program = load(k.BPF_PROG_TYPE_PERF_EVENT, own_pid=True)
    with Timer("profile", unit, value).attach(program):
        _burn(0.5)
    # Fifty by the clock; a loaded machine delays some and counts some twice.
    assert 25 <= program.hits <= 90


def test_profile_has_an_event_on_every_cpu_and_interval_on_one(load):
    program = load(k.BPF_PROG_TYPE_PERF_EVENT)
    with Timer("profile", "hz", 99).attach(program) as attachment:
        assert len(attachment.fds) == 2 * os.cpu_count()
    with Timer("interval", "s", 1).attach(program) as attachment:
        assert len(attachment.fds) == 2


def test_interval_ticks_by_the_clock(load):
    program = load(k.BPF_PROG_TYPE_PERF_EVENT, cookie=True)
    with Timer("interval", "ms", 20).attach(program, cookie=5):
        time.sleep(0.5)
    assert 20 <= program.hits <= 27
    assert program.cookie == 5


@pytest.mark.parametrize(("unit", "value"), [("hz", 0), ("weeks", 1)])
def test_timer_that_makes_no_sense(load, unit, value):
    program = load(k.BPF_PROG_TYPE_PERF_EVENT)
    with pytest.raises(AttachError):
        Timer("profile", unit, value).attach(program)


def test_timer_above_the_limit_of_the_kernel_says_so(load):
    program = load(k.BPF_PROG_TYPE_PERF_EVENT)
    with pytest.raises(AttachError) as caught:
        Timer("profile", "hz", 10_000_000).attach(program)
    assert "perf_event_max_sample_rate" in caught.value.hints[0]


def test_software_event_counts_page_faults(load):
    import mmap

    program = load(k.BPF_PROG_TYPE_PERF_EVENT, own_pid=True)
    with PerfEvent("software", "page-faults", 1).attach(program):
        area = mmap.mmap(-1, 64 * mmap.PAGESIZE)
        for page in range(64):
            area[page * mmap.PAGESIZE] = 1
        area.close()
    assert program.hits >= 64


def test_unknown_software_event_names_what_is_near(load):
    program = load(k.BPF_PROG_TYPE_PERF_EVENT)
    with pytest.raises(AttachError) as caught:
        PerfEvent("software", "page-fault").attach(program)
    assert "page-faults" in caught.value.hints


def test_uprobe_fires_for_each_call(load):
    program = load(k.BPF_PROG_TYPE_KPROBE, own_pid=True, cookie=True)
    with Uprobe("libc", symbol="rand").attach(program, cookie=8):
        for _ in range(40):
            LIBC.rand()
    LIBC.rand()
    assert (program.hits, program.cookie) == (40, 8)


def test_uretprobe_fires_for_each_return(load):
    program = load(k.BPF_PROG_TYPE_KPROBE, own_pid=True)
    with Uprobe("libc.so.6", symbol="rand", retprobe=True).attach(program):
        for _ in range(10):
            LIBC.rand()
    assert program.hits == 10


def test_uprobe_by_address_and_by_file_offset(load):
    path = binary_path("libc")
    where = place(path, "rand")
    for options in ({"address": where.address}, {"file_offset": where.offset}):
        program = load(k.BPF_PROG_TYPE_KPROBE, own_pid=True)
        with Uprobe(path, **options).attach(program):
            LIBC.rand()
        assert program.hits == 1


def test_uprobe_in_another_process_only(load):
    program = load(k.BPF_PROG_TYPE_KPROBE)
    with Uprobe("libc", symbol="rand", pid=1).attach(program):
        LIBC.rand()
    assert program.hits == 0


def test_uprobe_behind_its_function_is_refused(load):
    program = load(k.BPF_PROG_TYPE_KPROBE)
    with pytest.raises(AttachError, match="is behind it"):
        Uprobe("libc", symbol="rand", offset=5000).attach(program)


def test_uprobe_on_an_unknown_symbol_names_what_is_near(load):
    program = load(k.BPF_PROG_TYPE_KPROBE)
    with pytest.raises(AttachError) as caught:
        Uprobe("libc", symbol="mallok").attach(program)
    assert "malloc" in caught.value.hints


def test_uprobe_in_a_missing_file_or_process(load):
    program = load(k.BPF_PROG_TYPE_KPROBE)
    with pytest.raises(AttachError, match="no file /nowhere"):
        Uprobe("/nowhere", symbol="x").attach(program)
    with pytest.raises(AttachError) as caught:
        Uprobe("libc", symbol="rand", pid=4_000_000).attach(program)
    assert caught.value.hints == ["there is no process 4000000"]


def test_uprobe_multi_ties_many_places_with_a_cookie_each(load):
    program = load(
        k.BPF_PROG_TYPE_KPROBE,
        own_pid=True,
        cookie=True,
        expected_attach_type=k.BPF_TRACE_UPROBE_MULTI,
    )
    path = binary_path("libc")
    places = [place(path, name).offset for name in ("rand", "srand")]
    with UprobeMulti(path, places, cookies=[11, 22]).attach(program):
        LIBC.rand()
        assert program.cookie == 11
        LIBC.srand(1)
    assert (program.hits, program.cookie) == (2, 22)


def test_kind_and_options_make_the_probe():
    probe = make("uretprobe", {"path": "/bin/sh", "symbol": "main", "offset": 0})
    assert str(probe) == "uretprobe:/bin/sh:main"
    assert str(make("profile", {"unit": "hz", "value": 99})) == "profile:hz:99"
    assert str(make("tracepoint", {"system": "a", "event": "b"})) == "tracepoint:a:b"
    assert str(make("software", {"event": "cs", "count": 0})) == "software:cs:"
    many = make("uprobe", {"path": "/bin/sh", "places": [1, 2], "cookies": [3, 4]}, pid=7)
    assert (many.offsets, many.cookies, many.pid) == ([1, 2], [3, 4], 7)
    assert make("kprobe", {"functions": ["a", "b"]}).symbols == ["a", "b"]
    with pytest.raises(AttachError, match="no such kind"):
        make("nothing", {})


@pytest.fixture
def memory():
    """Eight bytes of our own, at an aligned address."""
    return (ctypes.c_uint64 * 2)()


def test_watchpoint_fires_at_each_write(load, memory):
    program = load(k.BPF_PROG_TYPE_PERF_EVENT)
    with Watchpoint(ctypes.addressof(memory), 8, "w", pid=os.getpid()).attach(program):
        for value in range(50):
            memory[0] = value
        memory[1] = 1
    memory[0] = 3
    assert program.hits == 50


@pytest.mark.parametrize(
    ("length", "mode", "problem"),
    [(3, "w", "length"), (8, "q", "no mode"), (8, "wx", "combined"), (8, "", "empty")],
)
def test_watchpoint_that_makes_no_sense(load, length, mode, problem):
    program = load(k.BPF_PROG_TYPE_PERF_EVENT)
    with pytest.raises(AttachError, match=problem):
        Watchpoint(0x1000, length, mode).attach(program)


def test_watchpoint_says_when_the_machine_has_no_more(load, memory):
    programs = [load(k.BPF_PROG_TYPE_PERF_EVENT) for _ in range(5)]
    where = ctypes.addressof(memory)
    probe = Watchpoint(where, 8, "w", pid=os.getpid())
    with ExitStack() as stack:
        for program in programs[:4]:
            stack.enter_context(probe.attach(program))
        with pytest.raises(AttachError, match="are in use"):
            probe.attach(programs[4])


def test_usdt_fires_in_a_process_that_starts_later(load):
    if not os.path.exists(PYTHON) or not usdt_notes(PYTHON, "python", "gc__start"):
        pytest.skip(f"{PYTHON} has no static probes")
    program = load(k.BPF_PROG_TYPE_KPROBE, cookie=True)
    with Usdt(PYTHON, "python", "gc__start").attach(program, cookie=6):
        subprocess.run([PYTHON, "-c", "import gc; gc.collect()"], check=True, timeout=30)
    assert program.hits >= 1
    assert program.cookie == 6


def test_usdt_probe_that_does_not_exist_names_what_is_near(load):
    if not os.path.exists(PYTHON) or not usdt_notes(PYTHON, "python", "gc__start"):
        pytest.skip(f"{PYTHON} has no static probes")
    program = load(k.BPF_PROG_TYPE_KPROBE)
    with pytest.raises(AttachError, match="no such static probe") as caught:
        Usdt(PYTHON, "python", "gc__strat").attach(program)
    assert "python:gc__start" in caught.value.hints


def test_iterator_walks_once_for_each_reader():
    body = i.encode(
        [
            i.ldx(0x18, 1, 1, 0),  # ctx->meta
            i.ldx(0x18, 1, 1, 0),  # meta->seq
            i.st(0x18, 10, -8, 0x0A78),
            i.mov64_reg(2, 10),
            i.alu64_imm(k.BPF_ADD, 2, -8),
            i.mov64_imm(3, 2),
            i.call_helper(k.BPF_FUNC_seq_write),
            i.mov64_imm(0, 0),
            i.exit_(),
        ]
    )
    program = ProgramSpec(
        "walk",
        k.BPF_PROG_TYPE_TRACING,
        body,
        expected_attach_type=k.BPF_TRACE_ITER,
        attach_to="bpf_map",
    )
    with (
        load_object(ObjectSpec(programs={"walk": program})) as loaded,
        Iterator("bpf_map").attach(loaded.programs["walk"]) as iterator,
    ):
        first = iterator.read()
        assert set(first.split(b"\n")) == {b"x", b""}
        assert iterator.read().count(b"x") >= 1


def test_kprobe_says_that_this_kernel_has_none(load):
    if perf.pmu_type("kprobe") is not None:
        pytest.skip("this kernel has kprobes")
    program = load(k.BPF_PROG_TYPE_KPROBE)
    with pytest.raises(AttachError, match="kprobe is not supported by this kernel"):
        Kprobe("do_sys_openat2").attach(program)

"""Every kind of link that this kernel has, each in a place of its own."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
import subprocess
import time

import pytest

from bpflens.errors import NotSupported, SyscallError
from bpflens.kernel import bpf, feature, link_info, perf, tracefs
from bpflens.objects.btf import vmlinux
from bpflens.objects.link import Link
from bpflens.objects.map import Map
from bpflens.objects.program import Program
from bpflens.uapi import bpf as u

pytestmark = pytest.mark.kernel

EXIT = struct.pack("=BBhi", 0x95, 0, 0, 0)


def insn(op, dst=0, src=0, off=0, imm=0):
    return struct.pack("=BBhi", op, dst | src << 4, off, imm)


def counting(map_fd, cookie=False):
    """Count runs in element 0 of an array of u64 and keep the attach cookie in element 1."""
    head = insn(0xBF, 6, 1)  # r6 = ctx
    store_cookie = (
        insn(0xBF, 1, 6) + insn(0x85, imm=u.BPF_FUNC_get_attach_cookie) + insn(0xBF, 7, 0)
        if cookie
        else insn(0xB7, 7)
    )
    value = insn(0x18, 8, 2, 0, map_fd) + insn(0)  # r8 = &map value
    add = insn(0xB7, 1, imm=1) + insn(0xDB, 8, 1)  # lock *(u64 *)r8 += 1
    return head + store_cookie + value + add + insn(0x7B, 8, 7, 8) + insn(0xB7) + EXIT


def told(info, kind):
    """Check the class of a perf link's info, which kernels before 6.6 say nothing more of."""
    # Since Linux 6.6 (1b715e1b0ec5 "bpf: Support ->fill_link_info for perf_event").
    if type(info) is link_info.PerfEvent:
        raise NotSupported("info of perf links", "6.6")
    assert isinstance(info, kind)


@pytest.fixture
def counter():
    with Map.create("array", key="I", value="QQ", max_entries=1) as made:
        yield made


@pytest.fixture
def tracepoint(counter):
    code = counting(counter.fd, cookie=True)
    with Program.load("tracepoint", code, name="on_getppid") as program:
        yield program


def test_a_tracepoint_link_counts_and_carries_its_cookie(tracepoint, counter):
    with Link.tracepoint(tracepoint, "syscalls", "sys_enter_getppid", cookie=77) as link:
        for _ in range(100):
            os.getppid()
        count, cookie = counter[0]
        assert count >= 100
        assert cookie == 77
        info = link.info
        assert info.prog_id == tracepoint.id
        assert link.type_name == "perf_event"
        told(info, link_info.PerfEventTracepoint)
        assert (info.tp_name, info.cookie) == ("sys_enter_getppid", 77)


def test_perf_events_know_their_programs(tracepoint):
    event = perf.open_tracepoint(tracefs.event_id("syscalls", "sys_enter_getppid"))
    with Link.perf_event(tracepoint, event):
        assert tracepoint.id in perf.query_bpf(event)
        found = bpf.task_fd_query(os.getpid(), event)
        assert (found.prog_id, found.name) == (tracepoint.id, "sys_enter_getppid")
        assert found.type == u.BPF_FD_TYPE_TRACEPOINT
    assert bpf.task_fd_query(os.getpid(), 1) is None


def test_a_program_by_ioctl_runs_until_the_event_is_closed(tracepoint, counter):
    event = perf.open_tracepoint(tracefs.event_id("syscalls", "sys_enter_getppid"))
    try:
        perf.set_bpf(event, tracepoint.fd)
        perf.enable(event)
        for _ in range(10):
            os.getppid()
        assert counter[0][0] >= 10
    finally:
        os.close(event)


def test_a_raw_tracepoint_link_is_attached_and_detached(counter):
    with Program.load("raw_tracepoint", counting(counter.fd)) as program:
        link = Link.raw_tracepoint(program, "sys_enter")
        info = link.info
        assert isinstance(info, link_info.RawTracepoint)
        assert info.tp_name == "sys_enter"
        os.getppid()
        link.close()
        before = counter[0][0]
        assert before > 0
        os.getppid()
        assert counter[0][0] == before


def test_a_raw_tracepoint_carries_a_cookie(counter):
    feature.feature("raw_tp_cookie").require()
    with (
        Program.load("raw_tracepoint", counting(counter.fd, cookie=True)) as program,
        Link.raw_tracepoint(program, "sys_enter", cookie=5) as link,
    ):
        os.getppid()
        assert counter[0][1] == 5
        if not link.info.cookie:
            raise NotSupported("the cookie in the info of raw tracepoint links", "6.16")
        assert link.info.cookie == 5


def test_a_tracepoint_that_is_not_there_is_named(counter):
    with (
        Program.load("raw_tracepoint", counting(counter.fd)) as program,
        pytest.raises(SyscallError, match="there is no tracepoint no_such_thing"),
    ):
        Link.raw_tracepoint(program, "no_such_thing")


def test_a_typed_tracepoint_attaches_to_what_it_was_loaded_for(counter):
    id = vmlinux().find("btf_trace_sys_enter")
    with (
        Program.load(
            "tracing",
            counting(counter.fd),
            expected_attach_type=u.BPF_TRACE_RAW_TP,
            attach_btf_id=id,
        ) as program,
        Link.tracing(program) as link,
    ):
        # The kernel makes a raw tracepoint of it.
        info = link.info
        assert isinstance(info, link_info.RawTracepoint)
        assert info.tp_name == "sys_enter"
        os.getppid()
        assert counter[0][0] > 0


def own_function():
    """Path and file offset of the C library's getppid."""
    libc = ctypes.CDLL(None)
    address = ctypes.cast(libc.getppid, ctypes.c_void_p).value
    with open("/proc/self/maps") as maps:
        for line in maps:
            fields = line.split()
            low, high = (int(part, 16) for part in fields[0].split("-"))
            if low <= address < high:
                return fields[5], address - low + int(fields[2], 16)
    raise AssertionError("getppid is nowhere")


def test_a_uprobe_counts_calls_of_this_process(counter):
    path, offset = own_function()
    code = counting(counter.fd, cookie=True)
    with (
        Program.load("kprobe", code) as program,
        Link.probe(program, "uprobe", path, offset, pid=os.getpid(), cookie=9) as link,
    ):
        for _ in range(30):
            os.getppid()
        assert tuple(counter[0]) == (30, 9)
        info = link.info
        told(info, link_info.PerfEventUprobe)
        assert (info.file_name, info.offset, info.cookie) == (path, offset, 9)
        assert info.perf_type == u.BPF_PERF_EVENT_UPROBE


def test_a_uretprobe_is_told_apart(counter):
    path, offset = own_function()
    with (
        Program.load("kprobe", counting(counter.fd)) as program,
        Link.probe(program, "uprobe", path, offset, retprobe=True, pid=os.getpid()) as link,
    ):
        os.getppid()
        assert counter[0][0] == 1
        told(link.info, link_info.PerfEventUprobe)
        assert link.info.perf_type == u.BPF_PERF_EVENT_URETPROBE


def test_many_uprobes_are_one_link(counter):
    feature.feature("uprobe_multi").require()
    path, offset = own_function()
    code = counting(counter.fd, cookie=True)
    with (
        Program.load("kprobe", code, expected_attach_type="trace_uprobe_multi") as program,
        Link.uprobe_multi(
            program, path, [offset], cookies=[11], pid=os.getpid(), return_probe=True
        ) as link,
    ):
        for _ in range(5):
            os.getppid()
        info = link.info
        assert isinstance(info, link_info.UprobeMulti)
        assert (info.path, info.offsets, info.cookies) == (path, [offset], [11])
        assert (info.count, info.pid) == (1, os.getpid())
        assert info.ref_ctr_offsets == [0]
        assert tuple(counter[0]) == (5, 11)


def test_many_kprobes_are_one_link(counter):
    feature.feature("kprobe_multi").require()
    code = counting(counter.fd, cookie=True)
    with (
        Program.load("kprobe", code, expected_attach_type="trace_kprobe_multi") as program,
        Link.kprobe_multi(program, symbols=["__x64_sys_getppid"], cookies=[3]) as link,
    ):
        os.getppid()
        info = link.info
        assert isinstance(info, link_info.KprobeMulti)
        assert info.count == 1
        assert len(info.addrs) == 1
        assert counter[0][0] > 0


def test_a_kprobe_link_tells_its_function(counter):
    feature.feature("kprobe").require()
    with (
        Program.load("kprobe", counting(counter.fd)) as program,
        Link.probe(program, "kprobe", "__x64_sys_getppid") as link,
    ):
        os.getppid()
        assert counter[0][0] > 0
        info = link.info
        if isinstance(info, link_info.PerfEventKprobe):
            assert info.func_name == "__x64_sys_getppid"


def test_a_kprobe_where_there_are_none_is_not_supported(counter):
    if perf.pmu_type("kprobe") is not None:
        pytest.skip("this kernel has kprobes")
    with Program.load("kprobe", counting(counter.fd)) as program, pytest.raises(NotSupported):
        Link.probe(program, "kprobe", "vfs_read")


def test_an_fentry_link_tells_its_function(counter):
    feature.feature("fentry").require()
    id = vmlinux().find("vfs_read")
    with (
        Program.load(
            "tracing",
            counting(counter.fd),
            expected_attach_type=u.BPF_TRACE_FENTRY,
            attach_btf_id=id,
        ) as program,
        Link.tracing(program) as link,
    ):
        info = link.info
        assert isinstance(info, link_info.Tracing)
        assert (info.attach_type, info.target_btf_id) == (u.BPF_TRACE_FENTRY, id)
        with open("/dev/zero", "rb", buffering=0) as file:
            file.read(1)
        assert counter[0][0] > 0


# --- iterators ----------------------------------------------------------------------------------


@pytest.fixture
def map_iterator():
    """An iterator program over the entries of a map, which writes one byte for each."""
    feature.feature("iter").require()
    types = vmlinux()
    # if (ctx->key == NULL) return 0; seq_write(ctx->meta->seq, fp, 1)
    code = (
        insn(0xBF, 6, 1)
        + insn(0x79, 1, 6, 16)  # r1 = ctx->key
        + insn(0x55, 1, 0, 2)
        + insn(0xB7) + EXIT
        + insn(0x72, 10, 0, -1, ord("x"))
        + insn(0x79, 1, 6, 0)  # r1 = ctx->meta
        + insn(0x79, 1, 1, 0)  # r1 = meta->seq
        + insn(0xBF, 2, 10) + insn(0x07, 2, imm=-1)
        + insn(0xB7, 3, imm=1)
        + insn(0x85, imm=u.BPF_FUNC_seq_write)
        + insn(0xB7) + EXIT
    )  # fmt: skip
    with Program.load(
        "tracing", code, expected_attach_type=u.BPF_TRACE_ITER,
        attach_btf_id=types.find("bpf_iter_bpf_map_elem"),
    ) as program:  # fmt: skip
        yield program


def test_an_iterator_walks_the_entries_of_one_map(map_iterator):
    with Map.create("hash", key="I", value="I", max_entries=8) as entries:
        entries.update((n, n) for n in range(3))
        with Link.iterator(map_iterator, map=entries) as link:
            assert link.read_iterator() == b"xxx"
            info = link.info
            assert isinstance(info, link_info.Iter)
            assert (info.target_name, info.map_id) == ("bpf_map_elem", entries.id)


# --- cgroups and networks -----------------------------------------------------------------------


def test_a_cgroup_link_is_told_by_query(cgroup, return_1):
    with (
        Program.load("cgroup_skb", return_1, expected_attach_type="cgroup_inet_ingress") as program,
        Link.cgroup(program, cgroup, u.BPF_CGROUP_INET_INGRESS) as link,
    ):
        info = link.info
        assert isinstance(info, link_info.Cgroup)
        assert info.cgroup_id == os.stat(cgroup).st_ino
        assert info.attach_type == u.BPF_CGROUP_INET_INGRESS
        fd = os.open(cgroup, os.O_RDONLY)
        try:
            assert bpf.prog_query(fd, u.BPF_CGROUP_INET_INGRESS).prog_ids == [program.id]
        finally:
            os.close(fd)
        link.detach()
        assert link.info.cgroup_id == 0


def test_a_program_is_attached_to_a_cgroup_without_a_link(cgroup, return_1):
    fd = os.open(cgroup, os.O_RDONLY)
    try:
        with Program.load("cgroup_device", return_1) as program:
            bpf.prog_attach(program.fd, fd, u.BPF_CGROUP_DEVICE, flags=u.BPF_F_ALLOW_MULTI)
            found = bpf.prog_query(fd, u.BPF_CGROUP_DEVICE)
            assert found.prog_ids == [program.id]
            assert found.attach_flags == u.BPF_F_ALLOW_MULTI
            bpf.prog_detach(program.fd, fd, u.BPF_CGROUP_DEVICE)
            assert bpf.prog_query(fd, u.BPF_CGROUP_DEVICE).prog_ids == []
    finally:
        os.close(fd)


def test_an_xdp_link_is_updated_in_place(veth, return_1):
    pass_all = insn(0xB7, imm=2) + EXIT
    with (
        Program.load("xdp", pass_all, name="first") as first,
        Program.load("xdp", pass_all, name="second") as second,
        Link.xdp(first, veth["left"]) as link,
    ):
        info = link.info
        assert isinstance(info, link_info.Xdp)
        assert info.ifindex == veth["left"]
        with pytest.raises(SyscallError, match=r"EBUSY|something else"):
            Link.xdp(second, veth["left"])
        with pytest.raises(SyscallError):
            link.update(second, old=second)
        link.update(second, old=first)
        assert link.info.prog_id == second.id


def test_tcx_links_keep_their_order(veth, return_0):
    feature.feature("tcx").require()
    load = [Program.load("sched_cls", return_0, name=f"prog{n}") for n in range(2)]
    try:
        with (
            Link.tcx(load[0], veth["left"]) as first,
            Link.tcx(
                load[1], veth["left"], flags=u.BPF_F_BEFORE | u.BPF_F_LINK, relative=first.fd
            ) as second,
        ):
            found = bpf.prog_query(veth["left"], u.BPF_TCX_INGRESS, links=True)
            assert found.prog_ids == [load[1].id, load[0].id]
            assert found.link_ids == [second.id, first.id]
            assert found.revision > 1
            info = first.info
            assert isinstance(info, link_info.Tcx)
            assert (info.ifindex, info.attach_type) == (veth["left"], u.BPF_TCX_INGRESS)
    finally:
        for program in load:
            program.close()


def test_a_netfilter_link_says_where_it_is(netns, return_1):
    feature.feature("netfilter").require()
    with (
        Program.load("netfilter", return_1, expected_attach_type="netfilter") as program,
        Link.netfilter(program, socket.AF_INET, 1, -150) as link,
    ):
        info = link.info
        assert isinstance(info, link_info.Netfilter)
        assert (info.pf, info.hooknum, info.priority) == (socket.AF_INET, 1, -150)


def test_a_namespace_link_says_its_namespace(netns, return_1):
    with (
        Program.load("sk_lookup", return_1, expected_attach_type="sk_lookup") as program,
        Link.netns(program, netns, u.BPF_SK_LOOKUP) as link,
    ):
        info = link.info
        assert isinstance(info, link_info.Netns)
        assert info.netns_ino == os.fstat(netns).st_ino
        assert info.attach_type == u.BPF_SK_LOOKUP


def test_a_sockmap_link_says_its_map(return_1):
    feature.feature("sockmap_link").require()
    with (
        Map.create("sockmap", key_size=4, value_size=4, max_entries=2) as sockets,
        Program.load("sk_msg", return_1, expected_attach_type="sk_msg_verdict") as program,
        Link.sockmap(program, sockets, u.BPF_SK_MSG_VERDICT) as link,
    ):
        info = link.info
        assert isinstance(info, link_info.Sockmap)
        assert (info.map_id, info.attach_type) == (sockets.id, u.BPF_SK_MSG_VERDICT)


# --- pins, ids, ends ----------------------------------------------------------------------------


def test_a_pinned_link_outlives_its_handle(counter, bpffs):
    with Program.load("raw_tracepoint", counting(counter.fd)) as program:
        link = Link.raw_tracepoint(program, "sys_enter")
        link.pin(f"{bpffs}/link")
        id = link.id
        link.close()
        before = counter[0][0]
        os.getppid()
        assert counter[0][0] > before
        with Link.from_pin(f"{bpffs}/link") as again, Link.from_id(id) as by_id:
            assert again.id == by_id.id == id
        os.unlink(f"{bpffs}/link")
    time.sleep(0.1)
    with pytest.raises(SyscallError) as caught:
        Link.from_id(id)
    assert caught.value.errno == errno.ENOENT


def test_the_real_bpftool_sees_the_same_link(counter, real_bpftool):
    with (
        Program.load("raw_tracepoint", counting(counter.fd)) as program,
        Link.raw_tracepoint(program, "sys_exit") as link,
    ):
        done = subprocess.run(
            [real_bpftool, "link", "show", "id", str(link.id)],
            capture_output=True,
            text=True,
            check=True,
        )
        assert f"{link.id}: raw_tracepoint  prog {program.id}" in done.stdout
        assert "tp 'sys_exit'" in done.stdout

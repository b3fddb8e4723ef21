"""`link`: every type of link that this kernel has, against the layouts of the real tool."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from bpflens.kernel import bpf, link
from bpflens.kernel.perf import open_probe, open_tracepoint, perf_event_open
from bpflens.kernel.tracefs import event_id
from bpflens.objects.link import Link
from bpflens.objects.program import Program
from bpflens.uapi import bpf as u
from bpftool_pair import MAIN, SOURCE, both, ours, same_json, same_lines

pytestmark = [pytest.mark.kernel, pytest.mark.differential]

RETURN_1 = b"\xb7\0\0\0\1\0\0\0\x95\0\0\0\0\0\0\0"


@pytest.fixture
def program(load):
    def loaded(type, code=b"\xb7\0\0\0\0\0\0\0\x95\0\0\0\0\0\0\0", **more):
        return load(type, code, name="prog", **more)

    return loaded


@pytest.fixture
def linked(close_all):
    """Hold a link (a descriptor); returns its id and its program's."""

    def hold(fd):
        close_all(fd)
        with Link(os.dup(fd)) as found:
            return found.info.id, found.info.prog_id

    return hold


def plain(id):
    return ours("link", "show", "id", str(id)).out.split("\n\tpids ")[0].rstrip("\n")


def found(id):
    done = ours("-j", "link", "show", "id", str(id))
    assert done.status == 0
    return {k: v for k, v in done.json.items() if k != "pids"}


def test_a_raw_tracepoint_is_shown_as_the_real_tool_does(program, linked):
    fd = program(u.BPF_PROG_TYPE_RAW_TRACEPOINT)
    id, prog = linked(bpf.raw_tracepoint_open(fd, "sched_process_exit"))
    assert plain(id) == f"{id}: raw_tracepoint  prog {prog}  \n\ttp 'sched_process_exit'  "
    mine, theirs = both("-j", "link", "show", "id", str(id))
    assert {k: v for k, v in mine.json.items() if k not in ("pids", "cookie")} == theirs.json
    assert mine.json["cookie"] == 0
    assert mine.status == 0  # the real one ends with 255


def test_a_cookie_of_a_raw_tracepoint_is_shown(program, linked):
    fd = program(u.BPF_PROG_TYPE_RAW_TRACEPOINT)
    id, _ = linked(bpf.raw_tracepoint_open(fd, "sched_process_exit", 7))
    assert plain(id).endswith("\n\ttp 'sched_process_exit'  cookie 7  ")


def test_a_cgroup_link_is_the_same(program, linked, cgroup):
    directory = os.open(cgroup, os.O_RDONLY)
    fd = program(u.BPF_PROG_TYPE_CGROUP_SKB, RETURN_1)
    id, _ = linked(link.cgroup(fd, directory, u.BPF_CGROUP_INET_EGRESS))
    os.close(directory)
    mine, theirs = both("-j", "link", "show", "id", str(id))
    assert {k: v for k, v in mine.json.items() if k != "pids"} == theirs.json
    mine, theirs = both("link", "show", "id", str(id))
    assert mine.out.split("\n\tpids ")[0].rstrip("\n") == theirs.out.rstrip("\n")


def test_a_network_namespace_link_is_the_same(program, linked, netns):
    fd = program(u.BPF_PROG_TYPE_SK_LOOKUP, RETURN_1, expected_attach_type=u.BPF_SK_LOOKUP)
    id, prog = linked(link.netns(fd, netns, u.BPF_SK_LOOKUP))
    inode = os.fstat(netns).st_ino
    assert plain(id) == (
        f"{id}: netns  prog {prog}  \n\tnetns_ino {inode}  attach_type sk_lookup  "
    )
    assert found(id) == both("-j", "link", "show", "id", str(id))[1].json


def test_interfaces_have_their_own_names(program, linked, d0):
    xdp = program(u.BPF_PROG_TYPE_XDP)
    id, prog = linked(link.xdp(xdp, d0, 2))
    assert plain(id) == f"{id}: xdp  prog {prog}  \n\tifindex d0({d0})  "
    assert found(id) == {"id": id, "type": "xdp", "prog_id": prog, "devname": "d0", "ifindex": d0}
    cls = program(u.BPF_PROG_TYPE_SCHED_CLS)
    id, prog = linked(link.ordered(cls, d0, u.BPF_TCX_EGRESS))
    assert plain(id).endswith(f"\n\tifindex d0({d0})  attach_type tcx_egress  ")
    assert found(id)["attach_type"] == "tcx_egress"


def test_an_interface_elsewhere_has_the_name_it_has_there(program, linked, d0, netns):
    # The holder is this process; a tool in another namespace must still say d0.
    id, _ = linked(link.ordered(program(u.BPF_PROG_TYPE_SCHED_CLS), d0, u.BPF_TCX_INGRESS))
    words = ["unshare", "-n", sys.executable, "-c", MAIN, "-j", "link", "show", "id", str(id)]
    done = subprocess.run(
        words, capture_output=True, timeout=60, env={**os.environ, "PYTHONPATH": SOURCE}
    )
    assert json.loads(done.stdout)["devname"] == "d0"


def test_a_netfilter_link_names_its_hook(program, linked, netns):
    fd = program(u.BPF_PROG_TYPE_NETFILTER, RETURN_1, expected_attach_type=u.BPF_NETFILTER)
    id, prog = linked(link.netfilter(fd, 2, 1, -100))
    assert plain(id) == f"{id}: netfilter  prog {prog}  \n\tip input prio -100"
    assert found(id) == {
        "id": id, "type": "netfilter", "prog_id": prog, "pf": 2, "hook": 1, "prio": -100, "flags": 0
    }  # fmt: skip


def test_tracepoints_and_user_probes_say_where(program, linked, close_all):
    event = open_tracepoint(event_id("sched", "sched_process_exec"))
    close_all(event)
    fd = program(u.BPF_PROG_TYPE_TRACEPOINT)
    id, prog = linked(link.perf_event(fd, event))
    assert plain(id) == f"{id}: perf_event  prog {prog}  \n\ttracepoint sched_process_exec  "
    assert found(id)["tracepoint"] == "sched_process_exec"
    probe = open_probe("uprobe", "/bin/true", 0x1000, retprobe=True)
    close_all(probe)
    id, _ = linked(link.perf_event(program(u.BPF_PROG_TYPE_KPROBE), probe, cookie=77))
    told = found(id)
    assert (told["retprobe"], told["offset"], told["cookie"]) == (True, 0x1000, 77)
    assert plain(id).endswith(f"\n\turetprobe {told['file']}+0x1000  cookie 77  ")


def test_a_software_clock_has_a_name_although_its_type_is_a_number(program, linked, close_all):
    event = perf_event_open(1, 0, pid=0, sample_period=1 << 40, disabled=True)
    close_all(event)
    id, _ = linked(link.perf_event(program(u.BPF_PROG_TYPE_PERF_EVENT), event, cookie=5))
    assert plain(id).endswith("\n\tevent software:cpu-clock  cookie 5  ")
    assert found(id)["event_type"] == "software"


def test_many_user_probes_are_a_table(program, linked):
    fd = program(u.BPF_PROG_TYPE_KPROBE, expected_attach_type=u.BPF_TRACE_UPROBE_MULTI)
    id, _ = linked(link.uprobe_multi(fd, "/bin/true", [0x1000, 0x1100], cookies=[9, 10]))
    told = found(id)
    assert told["funcs"] == [
        {"offset": 0x1000, "ref_ctr_offset": 0, "cookie": 9},
        {"offset": 0x1100, "ref_ctr_offset": 0, "cookie": 10},
    ]
    lines = plain(id).split("\n")
    assert lines[1].startswith("\tuprobe.multi  path /")
    assert "func_cnt 2  " in lines[1]
    assert lines[2] == "\toffset             ref_ctr_offset     cookies         "
    assert lines[3] == "\t0x1000             0x0                0x9               "


def test_a_sockmap_link_names_its_map(program, linked, close_all):
    table = bpf.map_create(u.BPF_MAP_TYPE_SOCKMAP, 4, 4, 4)
    close_all(table)
    fd = program(u.BPF_PROG_TYPE_SK_MSG, RETURN_1, expected_attach_type=u.BPF_SK_MSG_VERDICT)
    id, _ = linked(link.sockmap(fd, table, u.BPF_SK_MSG_VERDICT))
    assert found(id)["attach_type"] == "sk_msg_verdict"
    assert f"\n\tmap_id {found(id)['map_id']}  attach_type sk_msg_verdict  " in plain(id)


def test_missing_links_are_told_in_the_real_words():
    for form in ([], ["-j"]):
        mine, theirs = both(*form, "link", "show", "id", "999999999")
        assert mine.out == theirs.out
        assert mine.err == theirs.err
    assert mine.status == 254


def test_pinning_detaching_and_pinned_paths(program, linked, cgroup, bpffs):
    directory = os.open(cgroup, os.O_RDONLY)
    fd = program(u.BPF_PROG_TYPE_CGROUP_SKB, RETURN_1)
    id, _ = linked(link.cgroup(fd, directory, u.BPF_CGROUP_INET_EGRESS))
    os.close(directory)
    path = f"{bpffs}/link"
    assert ours("-j", "link", "pin", "id", str(id), path).json is None
    assert ours("-j", "-f", "link", "show", "pinned", path).json["pinned"] == [path]
    assert f"\n\tpinned {path}" in ours("-f", "link", "show", "id", str(id)).out
    assert ours("link", "detach", "pinned", path).status == 0
    assert found(id)["cgroup_id"] == 0
    os.unlink(path)


def test_a_link_that_cannot_be_detached_says_so(program, linked):
    id, _ = linked(
        bpf.raw_tracepoint_open(program(u.BPF_PROG_TYPE_RAW_TRACEPOINT), "sched_process_exit")
    )
    done = ours("link", "detach", "id", str(id))
    assert done.status != 0
    assert done.err.startswith("Error: failed link detach")


def test_a_program_that_has_an_iterator(program, linked):
    from bpflens.objects.btf import vmlinux

    target = vmlinux().find("bpf_iter_task", 12)
    if target is None:
        pytest.skip("no task iterator")
    fd = program(u.BPF_PROG_TYPE_TRACING, expected_attach_type=u.BPF_TRACE_ITER,
                 attach_btf_id=target)  # fmt: skip
    id, prog = linked(link.iterator(fd))
    assert plain(id) == f"{id}: iter  prog {prog}  target_name task  "
    with Program(os.dup(fd)) as program_:
        assert program_.id == prog


def test_the_list_is_that_of_the_single_links(program, linked):
    id, _ = linked(
        bpf.raw_tracepoint_open(program(u.BPF_PROG_TYPE_RAW_TRACEPOINT), "sched_process_exit")
    )
    listed = {one["id"]: one for one in ours("-j", "link", "list").json}
    assert {k: v for k, v in listed[id].items() if k != "pids"} == found(id)


def test_the_help_is_the_real_one():
    assert same_lines("link", "help") == []
    assert same_json("link", "help") is None


def test_an_interface_of_a_link_that_is_only_pinned_is_found_by_asking(load, d0, bpffs):
    for make in (
        lambda: link.xdp(load(u.BPF_PROG_TYPE_XDP, RETURN_1), d0, 2),
        lambda: link.ordered(load(u.BPF_PROG_TYPE_SCHED_CLS, RETURN_1), d0, u.BPF_TCX_INGRESS),
    ):
        fd = make()
        path = f"{bpffs}/link{fd}"
        bpf.obj_pin(fd, path)
        os.close(fd)
        assert ours("-j", "link", "show", "pinned", path).json["devname"] == "d0"
        os.unlink(path)

"""What this machine's kernel refuses, on kernels that have it: kprobes, fentry, LSM, freplace.

Run with ``tools/vm.py --kernel 6.12 --tests tests/kernel``.
"""

from __future__ import annotations

import os
import struct
from contextlib import ExitStack, closing

import pytest

from bpf_object import build
from bpflens.asm import instruction as i
from bpflens.attach.attachment import close_all
from bpflens.attach.kprobe import Kprobe, KprobeMulti
from bpflens.attach.section import probe_of
from bpflens.attach.tracing import Tracing
from bpflens.errors import AttachError, VerifierError
from bpflens.kernel import tracefs
from bpflens.kernel.feature import feature
from bpflens.load.collection import load_object
from bpflens.load.object_file import read
from bpflens.objects.btf import modules
from bpflens.spec import LineInfo, MapSpec, ObjectSpec, ProgramSpec, Reloc
from bpflens.uapi import bpf as k
from bpflens.uapi.btf import BTF_KIND_DATASEC
from kernel.attach_program import counting

pytestmark = pytest.mark.vm


@pytest.fixture
def load():
    with ExitStack() as stack:
        yield lambda *args, **more: stack.enter_context(closing(counting(*args, **more)))


def _open(times):
    for _ in range(times):
        os.close(os.open("/dev/null", os.O_RDONLY))


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("retprobe", [False, True])
def test_kprobe_fires_for_each_call(load, legacy, retprobe):
    program = load(k.BPF_PROG_TYPE_KPROBE, own_pid=True, cookie=True)
    probe = Kprobe("do_sys_openat2", retprobe=retprobe, legacy=legacy)
    with probe.attach(program, cookie=77):
        _open(20)
    _open(5)
    assert (program.hits, program.cookie) == (20, 77)
    if legacy:
        with open(tracefs.path("kprobe_events")) as file:
            assert "bpflens" not in file.read()


def test_kprobe_inside_a_function_only_at_an_instruction(load):
    program = load(k.BPF_PROG_TYPE_KPROBE, own_pid=True)
    reasons = [_refusal(Kprobe("do_sys_openat2", offset=at), program) for at in range(1, 12)]
    assert "" in reasons
    refusals = [reason for reason in reasons if reason]
    assert refusals
    assert all("no instruction begins" in reason for reason in refusals)


def _refusal(probe, program):
    try:
        probe.attach(program).close()
    except AttachError as error:
        return error.reason
    return ""


def test_kprobe_on_an_unknown_function_names_what_is_near(load):
    program = load(k.BPF_PROG_TYPE_KPROBE)
    with pytest.raises(AttachError, match="no such kernel function") as caught:
        Kprobe("do_sys_opennat2").attach(program)
    assert "do_sys_openat2" in caught.value.hints


def test_kprobe_multi_ties_many_functions_by_one_link(load):
    program = load(
        k.BPF_PROG_TYPE_KPROBE,
        own_pid=True,
        cookie=True,
        expected_attach_type=k.BPF_TRACE_KPROBE_MULTI,
    )
    probe = KprobeMulti(["do_sys_openat2", "vfs_read"], cookies=[5, 6])
    reason = _refusal(probe, program)
    if reason:
        assert "CONFIG_FPROBE" in reason
        pytest.skip(reason)
    with probe.attach(program):
        _open(3)
        assert (program.hits, program.cookie) == (3, 5)


def test_kprobes_close_side_by_side(load):
    programs = [load(k.BPF_PROG_TYPE_KPROBE, own_pid=True) for _ in range(4)]
    close_all([Kprobe("do_sys_openat2").attach(program) for program in programs])
    before = [program.hits for program in programs]
    _open(2)
    assert [program.hits for program in programs] == before


DW = 0x18


def _counter_object(**program):
    body = i.encode(
        [
            i.ld_imm64(6, 0),
            i.mov64_reg(7, 1),
            i.call_helper(k.BPF_FUNC_get_current_pid_tgid),
            i.alu64_imm(k.BPF_RSH, 0, 32),
            i.jmp_imm(k.BPF_JNE, 0, os.getpid(), 2),
            i.mov64_imm(1, 1),
            i.atomic(DW, k.BPF_ADD, 6, 0, 1),
            i.mov64_imm(0, program.pop("result", 0)),
            i.exit_(),
        ]
    )
    spec = ProgramSpec("traced", insns=body, relocs=[Reloc(0, "map_value", "hits")], **program)
    hits = MapSpec("hits", k.BPF_MAP_TYPE_ARRAY, 4, 8, 1)
    return ObjectSpec({"hits": hits}, {"traced": spec})


def _hits(loaded):
    return int.from_bytes(loaded.maps["hits"].lookup_raw(bytes(4)), "little")


@pytest.mark.parametrize("attach_type", [k.BPF_TRACE_FENTRY, k.BPF_TRACE_FEXIT])
def test_fentry_and_fexit_fire_for_each_call(attach_type):
    spec = _counter_object(
        type=k.BPF_PROG_TYPE_TRACING, expected_attach_type=attach_type, attach_to="do_sys_openat2"
    )
    with load_object(spec) as loaded:
        with Tracing("fentry:do_sys_openat2", attach_type).attach(loaded.programs["traced"]):
            _open(15)
        _open(4)
        assert _hits(loaded) == 15


def test_fentry_carries_a_cookie():
    spec = _counter_object(
        type=k.BPF_PROG_TYPE_TRACING,
        expected_attach_type=k.BPF_TRACE_FENTRY,
        attach_to="do_sys_openat2",
    )
    probe = Tracing("fentry:do_sys_openat2", k.BPF_TRACE_FENTRY)
    with load_object(spec) as loaded, probe.attach(loaded.programs["traced"], cookie=9):
        _open(1)
        assert _hits(loaded) == 1


def test_lsm_program_sees_and_refuses():
    def spec(result):
        return _counter_object(
            type=k.BPF_PROG_TYPE_LSM,
            expected_attach_type=k.BPF_LSM_MAC,
            attach_to="file_open",
            result=result,
        )

    with load_object(spec(0)) as loaded:
        with Tracing("lsm:file_open", k.BPF_LSM_MAC).attach(loaded.programs["traced"]):
            _open(3)
        assert _hits(loaded) == 3


def test_freplace_takes_the_place_of_a_function_of_another_program():
    main = i.encode(
        [
            i.call_pseudo(1),
            i.exit_(),
            # int replaced(struct __sk_buff *ctx)
            i.mov64_imm(0, 1),
            i.exit_(),
        ]
    )
    target_btf, replace_btf = _skb_functions("main", "replaced"), _skb_functions("instead")
    first = 5
    target = ProgramSpec(
        "main",
        k.BPF_PROG_TYPE_SCHED_CLS,
        main,
        funcs=[(0, "main", first), (2, "replaced", first + 1)],
    )
    instead = ProgramSpec(
        "instead",
        k.BPF_PROG_TYPE_EXT,
        i.encode([i.mov64_imm(0, 42), i.exit_()]),
        attach_to="replaced",
        funcs=[(0, "instead", first)],
    )
    with load_object(ObjectSpec(programs={"main": target}, btf=target_btf)) as loaded:
        program = loaded.programs["main"]
        assert program.test_run(data=bytes(64)).retval == 1
        spec = ObjectSpec(programs={"instead": instead}, btf=replace_btf)
        with load_object(spec, attach_to={"instead": program}) as other:
            with Tracing("freplace:replaced", 0).attach(other.programs["instead"]):
                assert program.test_run(data=bytes(64)).retval == 42
            assert program.test_run(data=bytes(64)).retval == 1


def _skb_functions(*names):
    """BTF with global functions `int NAME(struct __sk_buff *ctx)`, their ids from 5 on."""
    from bpflens.btf.builder import Builder

    builder = Builder()
    number = builder.add_int("int", 4, encoding=1)
    skb = builder.add_struct("__sk_buff", 0, [])
    pointer = builder.add_ptr(skb)
    proto = builder.add_func_proto(number, [("ctx", pointer)])
    for name in names:
        builder.add_func(name, proto, linkage=1)
    return builder.build()


def test_verifier_refusal_on_an_older_kernel_is_explained_too():
    program = ProgramSpec("bad", k.BPF_PROG_TYPE_KPROBE, i.encode([i.exit_()]))
    with pytest.raises(VerifierError, match="R0 !read_ok"):
        load_object(ObjectSpec(programs={"bad": program}))


def test_line_info_is_accepted_by_an_older_kernel():
    lines = [LineInfo(0, "a.bt", "BEGIN { }", 1, 1)]
    program = ProgramSpec(
        "p",
        k.BPF_PROG_TYPE_KPROBE,
        i.encode([i.mov64_imm(0, 0), i.exit_()]),
        lines=lines,
        funcs=[(0, "p", 0)],
    )
    with load_object(ObjectSpec(programs={"p": program})) as loaded:
        assert loaded.programs["p"].lines()


def _data(loaded, name):
    program = next(iter(loaded.programs.values()))
    btf = program.btf()
    section = btf.type(btf.find(".bss", BTF_KIND_DATASEC))
    at = next(var.offset for var in section.vars if btf.name(var.type_id) == name)
    return at, bytearray(loaded.maps[".bss"].lookup_raw(bytes(4)))


def test_object_names_kernel_functions_in_its_sections():
    many = bool(feature("kprobe_multi").answer())
    spec = read(build("kernel_functions.bpf.c", *(["-DMULTI"] if many else [])))
    with load_object(spec) as loaded, ExitStack() as stack:
        at, raw = _data(loaded, "wanted_pid")
        raw[at : at + 4] = os.getpid().to_bytes(4, "little")
        attachments = [
            stack.enter_context(probe_of(spec.programs[name]).attach(program))
            for name, program in loaded.programs.items()
        ]
        loaded.maps[".bss"].update_raw(bytes(4), bytes(raw))
        _open(5)
        at, raw = _data(loaded, "hits")
        close_all(attachments)
    hits = struct.unpack_from("16Q", raw, at)
    assert hits[: 10 if many else 8] == (5,) * (10 if many else 8)


def test_object_replaces_a_function_of_another():
    with load_object(read(build("replaced.bpf.c"))) as loaded:
        target = loaded.programs["classify"]
        spec = read(build("replacing.bpf.c"))
        assert target.test_run(data=bytes(64)).retval == 1
        with load_object(spec, attach_to={"instead": target, "watch": target}) as other:
            for name, expected in (("watch", 1), ("instead", 42)):
                with probe_of(spec.programs[name]).attach(other.programs[name]):
                    assert target.test_run(data=bytes(64)).retval == expected
        assert target.test_run(data=bytes(64)).retval == 1


@pytest.mark.parametrize("target", ["overlay:ovl_open", "ovl_open"])
def test_fentry_on_a_function_of_a_module(target):
    # The root of the VM is an overlay, whose file system is a module of Debian's kernels.
    if "overlay" not in modules():
        pytest.skip("there is no module with BTF")
    spec = _counter_object(
        type=k.BPF_PROG_TYPE_TRACING, expected_attach_type=k.BPF_TRACE_FENTRY, attach_to=target
    )
    with load_object(spec) as loaded:
        with Tracing(f"fentry:{target}", k.BPF_TRACE_FENTRY).attach(loaded.programs["traced"]):
            for _ in range(4):
                os.close(os.open(__file__, os.O_RDONLY))
        assert _hits(loaded) == 4

"""Loading specs into the running kernel: maps, programs, BTF, relocation, refusals."""

from __future__ import annotations

import errno
import time

import pytest

from bpflens.asm import instruction as i
from bpflens.btf import Btf
from bpflens.errors import NotFound, SyscallError, VerifierError
from bpflens.kernel import bpf
from bpflens.kernel.feature import feature
from bpflens.load import btf_sanitize
from bpflens.load.collection import load_object
from bpflens.load.program_btf import ProgramBtf
from bpflens.spec import LineInfo, MapSpec, ObjectSpec, ProgramSpec, Reloc
from bpflens.uapi import bpf as k
from bpflens.uapi.btf import BTF_KIND_FUNC

pytestmark = pytest.mark.kernel

DW = 0x18
PACKET = bytes(64)
FILTER = k.BPF_PROG_TYPE_SOCKET_FILTER


def _insns(*insns):
    return i.encode(insns)


def _returns(value):
    return _insns(i.mov64_imm(0, value), i.exit_())


def _object(*programs, maps=(), btf=b""):
    return ObjectSpec(
        {map.name: map for map in maps}, {program.name: program for program in programs}, btf=btf
    )


def test_program_runs_and_carries_its_long_name_in_btf():
    name = "socket_filter_with_a_long_name"
    spec = _object(ProgramSpec(name, FILTER, _returns(7), funcs=[(0, name, 0)]))
    with load_object(spec) as loaded:
        program = loaded.programs[name]
        assert program.test_run(data=PACKET).retval == 7
        assert program.full_name == name
        assert loaded.btf_fd > 0


def test_map_value_address_and_map_descriptor_are_filled_in():
    count = MapSpec("count", k.BPF_MAP_TYPE_ARRAY, 4, 16, 1, contents=[(bytes(4), b"\5" * 16)])
    table = MapSpec("table", k.BPF_MAP_TYPE_HASH, 4, 8, 4, contents=[(bytes(4), b"\3" + bytes(7))])
    body = _insns(
        i.ld_imm64(6, 0),
        i.mov64_imm(1, 1),
        i.stx(DW, 6, 0, 1),
        i.st(0, 10, -4, 0),
        i.ld_imm64(1, 0),
        i.mov64_reg(2, 10),
        i.alu64_imm(k.BPF_ADD, 2, -4),
        i.call_helper(k.BPF_FUNC_map_lookup_elem),
        i.jmp_imm(k.BPF_JEQ, 0, 0, 1),
        i.ldx(DW, 0, 0, 0),
        i.exit_(),
    )
    relocs = [Reloc(0, "map_value", "count", addend=8), Reloc(5, "map", "table")]
    with load_object(
        _object(ProgramSpec("p", FILTER, body, relocs=relocs), maps=[count, table])
    ) as loaded:
        assert loaded.programs["p"].test_run(data=PACKET).retval == 3
        assert loaded.maps["count"].lookup_raw(bytes(4)) == b"\5" * 8 + b"\1" + bytes(7)


def test_calls_and_callbacks_between_functions():
    # main calls sub(), then lets bpf_loop call cb() three times with a counter on its stack.
    body = _insns(
        i.call_pseudo(0),
        i.mov64_reg(6, 0),
        i.st(DW, 10, -8, 0),
        i.mov64_imm(1, 3),
        i.ld_imm64(2, 0),
        i.mov64_reg(3, 10),
        i.alu64_imm(k.BPF_ADD, 3, -8),
        i.mov64_imm(4, 0),
        i.call_helper(k.BPF_FUNC_loop),
        i.ldx(DW, 0, 10, -8),
        i.alu64_reg(k.BPF_ADD, 0, 6),
        i.exit_(),
        # sub, slot 13
        i.mov64_imm(0, 40),
        i.exit_(),
        # cb(index, context), slot 15
        i.ldx(DW, 1, 2, 0),
        i.alu64_imm(k.BPF_ADD, 1, 1),
        i.stx(DW, 2, 0, 1),
        i.mov64_imm(0, 0),
        i.exit_(),
    )
    program = ProgramSpec(
        "main",
        FILTER,
        body,
        relocs=[Reloc(0, "call", "sub"), Reloc(4, "func", "cb")],
        funcs=[(0, "main", 0), (13, "sub", 0), (15, "cb", 0)],
    )
    with load_object(_object(program)) as loaded:
        assert loaded.programs["main"].test_run(data=PACKET).retval == 43


def test_verifier_error_leads_to_the_source_line():
    bad = _insns(i.mov64_imm(1, 0), i.mov64_imm(2, 0), i.ldx(DW, 0, 1, 0), i.exit_())
    lines = [
        LineInfo(0, "/tmp/x.bt", "BEGIN {", 1, 1),
        LineInfo(2, "/tmp/x.bt", "  $x = *(uint64*)0;", 2, 8),
        LineInfo(3, "/tmp/x.bt", "}", 3, 1),
    ]
    with pytest.raises(VerifierError) as caught:
        load_object(_object(ProgramSpec("bad", FILTER, bad, lines=lines)))
    error = caught.value
    assert error.insn == 2
    assert error.source == ("/tmp/x.bt", 2, 8, "  $x = *(uint64*)0;")
    assert "R1 invalid mem access" in str(error)
    assert "loading program bad" in str(error)


def test_log_of_a_good_program_comes_when_asked_for():
    spec = _object(ProgramSpec("p", FILTER, _returns(0)))
    with load_object(spec, log_level=2) as loaded:
        assert any("(95) exit" in line for line in loaded.logs["p"])
    with load_object(spec) as loaded:
        assert loaded.logs == {}


def test_failure_closes_what_was_created_before(no_leaked_descriptor):
    maps = [MapSpec("m", k.BPF_MAP_TYPE_ARRAY, 4, 4, 1)]
    good, bad = (
        ProgramSpec("good", FILTER, _returns(0)),
        ProgramSpec("bad", FILTER, _insns(i.exit_())),
    )
    with pytest.raises(VerifierError):
        load_object(_object(good, bad, maps=maps))


def test_map_types_reach_the_kernel():
    btf = ProgramBtf()
    btf.function("unused")
    spec = MapSpec("m", k.BPF_MAP_TYPE_HASH, 4, 4, 4, key_type_id=1, value_type_id=1)
    with load_object(_object(maps=[spec], btf=btf.build())) as loaded:
        info = loaded.maps["m"].info
        assert (info.btf_key_type_id, info.btf_value_type_id) == (1, 1)
        loaded.maps["m"][5] = 6
        assert dict(loaded.maps["m"].items()) == {5: 6}


def test_types_on_a_map_that_takes_none_are_left_away():
    btf = ProgramBtf()
    btf.function("unused")
    spec = MapSpec("m", k.BPF_MAP_TYPE_QUEUE, 0, 4, 4, value_type_id=1)
    with load_object(_object(maps=[spec], btf=btf.build())) as loaded:
        assert loaded.maps["m"].info.btf_value_type_id == 0


def test_frozen_map_cannot_be_written():
    spec = MapSpec("m", k.BPF_MAP_TYPE_ARRAY, 4, 4, 1, freeze=True, contents=[(bytes(4), b"abcd")])
    with load_object(_object(maps=[spec])) as loaded:
        assert loaded.maps["m"].lookup_raw(bytes(4)) == b"abcd"
        with pytest.raises(SyscallError, match="frozen"):
            loaded.maps["m"].update_raw(bytes(4), b"efgh")


def test_map_of_maps_with_its_members_and_prog_array_with_its_programs():
    inner = MapSpec("inner", k.BPF_MAP_TYPE_ARRAY, 4, 8, 1)
    outer = MapSpec(
        "outer", k.BPF_MAP_TYPE_ARRAY_OF_MAPS, 4, 4, 3, inner=inner, fd_contents={2: "member"}
    )
    member = MapSpec("member", k.BPF_MAP_TYPE_ARRAY, 4, 8, 1)
    calls = MapSpec("calls", k.BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 2, fd_contents={1: "tail"})
    body = _insns(
        i.ld_imm64(2, 0),
        i.mov64_imm(3, 1),
        i.call_helper(k.BPF_FUNC_tail_call),
        i.mov64_imm(0, 1),
        i.exit_(),
    )
    main = ProgramSpec("main", FILTER, body, relocs=[Reloc(0, "map", "calls")])
    tail = ProgramSpec("tail", FILTER, _returns(99))
    with load_object(_object(main, tail, maps=[outer, member, calls])) as loaded:
        assert loaded.programs["main"].test_run(data=PACKET).retval == 99
        stored = int.from_bytes(loaded.maps["outer"].lookup_raw(b"\2\0\0\0"), "little")
        assert stored == loaded.maps["member"].info.id


def test_sizes_that_only_the_kernel_knows_are_made_up():
    ring = MapSpec("ring", k.BPF_MAP_TYPE_RINGBUF, 0, 0, 5000)
    perf = MapSpec("perf", k.BPF_MAP_TYPE_PERF_EVENT_ARRAY, 4, 4, 0)
    with load_object(_object(maps=[ring, perf])) as loaded:
        assert loaded.maps["ring"].info.max_entries == 8192
        assert loaded.maps["perf"].info.max_entries >= 1


def test_existing_map_takes_the_place_of_the_objects_own():
    spec = MapSpec("m", k.BPF_MAP_TYPE_ARRAY, 4, 8, 1)
    body = _insns(i.ld_imm64(1, 0), i.st(DW, 1, 0, 77), i.mov64_imm(0, 0), i.exit_())
    program = ProgramSpec("p", FILTER, body, relocs=[Reloc(0, "map_value", "m")])
    with load_object(_object(maps=[spec])) as first:
        with load_object(_object(program, maps=[spec]), reuse={"m": first.maps["m"]}) as loaded:
            loaded.programs["p"].test_run(data=PACKET)
        assert first.maps["m"].lookup_raw(bytes(4))[0] == 77


def test_only_the_named_programs_are_loaded():
    one, two = ProgramSpec("one", FILTER, _returns(1)), ProgramSpec("two", FILTER, _returns(2))
    two.autoload = False
    with load_object(_object(one, two)) as loaded:
        assert list(loaded.programs) == ["one"]
    with load_object(_object(one, two), programs=["two"]) as loaded:
        assert list(loaded.programs) == ["two"]
    with pytest.raises(NotFound, match="did you mean"):
        load_object(_object(one, two), programs=["oen"])


def test_tp_btf_program_finds_its_tracepoint_and_says_what_is_near():
    def program(target):
        return ProgramSpec(
            "p",
            k.BPF_PROG_TYPE_TRACING,
            _returns(0),
            expected_attach_type=k.BPF_TRACE_RAW_TP,
            attach_to=target,
        )

    with load_object(_object(program("sched_switch"))) as loaded:
        assert loaded.programs["p"].info.attach_btf_id > 0
    with pytest.raises(NotFound, match="no tracepoint with BTF sched_swich") as caught:
        load_object(_object(program("sched_swich")))
    assert "sched_switch" in caught.value.candidates


def test_unknown_kernel_function_names_what_is_near():
    program = ProgramSpec(
        "p",
        k.BPF_PROG_TYPE_TRACING,
        _returns(0),
        expected_attach_type=k.BPF_TRACE_FENTRY,
        attach_to="vfs_reed",
    )
    with pytest.raises(NotFound) as caught:
        load_object(_object(program))
    assert "vfs_read" in caught.value.candidates


def test_a_thousand_programs_load_in_a_moment_and_share_their_btf():
    lines = [LineInfo(0, "many.bt", "probe { }", 1, 1)]
    programs = [
        ProgramSpec(f"p{n}", FILTER, _returns(0), lines=lines, funcs=[(0, f"probe_{n}", 0)])
        for n in range(1000)
    ]
    before = time.monotonic()
    with load_object(_object(*programs)) as loaded:
        assert time.monotonic() - before < 3
        assert len({program.info.btf_id for program in loaded.programs.values()}) == 1


def test_arena_is_mapped_before_programs_and_holds_its_contents():
    feature("arena").require()
    arena = MapSpec(
        "arena", k.BPF_MAP_TYPE_ARENA, 0, 0, 4, flags=k.BPF_F_MMAPABLE, contents=[(b"", b"ready")]
    )
    body = _insns(i.ld_imm64(1, 0), i.mov64_imm(0, 0), i.exit_())
    program = ProgramSpec(
        "p", k.BPF_PROG_TYPE_SYSCALL, body, relocs=[Reloc(0, "map_value", "arena", 1)],
        flags=k.BPF_F_SLEEPABLE,
    )  # fmt: skip
    with load_object(_object(program, maps=[arena])) as loaded:
        memory = loaded.arenas["arena"]
        assert memory.read(0, 6) == b"ready\0"
        memory.write(8, b"more")
        assert memory.read(8, 4) == b"more"
        with pytest.raises(ValueError, match="reach out"):
            memory.read(4 * 4096, 1)


def test_btf_that_the_kernel_lacks_kinds_for_is_made_simpler(monkeypatch):
    """What an older kernel answers is played by the seam: no BTF with functions."""
    name = "with_functions"
    spec = _object(ProgramSpec("p", FILTER, _returns(3), funcs=[(0, name, 0)]))
    real = bpf.btf_load

    def old_kernel(data, **more):
        if Btf(data).ids_of_kind(BTF_KIND_FUNC):
            raise SyscallError(errno.EINVAL, "BPF_BTF_LOAD")
        return real(data, **more)

    monkeypatch.setattr(bpf, "btf_load", old_kernel)
    monkeypatch.setattr(btf_sanitize, "missing_features", lambda: {"btf_func"})
    with load_object(spec) as loaded:
        assert loaded.programs["p"].test_run(data=PACKET).retval == 3
        assert loaded.programs["p"].functions() == []


def test_kernel_without_btf_loads_without_it(monkeypatch):
    spec = _object(ProgramSpec("p", FILTER, _returns(3), funcs=[(0, "f", 0)]))

    def refuse(data, **more):
        raise SyscallError(errno.EINVAL, "BPF_BTF_LOAD")

    monkeypatch.setattr(bpf, "btf_load", refuse)
    monkeypatch.setattr(feature("btf"), "_answer", False)
    with load_object(spec) as loaded:
        assert loaded.btf_fd == 0
        assert loaded.programs["p"].test_run(data=PACKET).retval == 3

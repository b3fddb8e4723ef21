"""Programs on the running kernel: load, look into, run."""

from __future__ import annotations

import errno
import struct
import subprocess

import pytest

from bpflens.errors import SyscallError, VerifierError
from bpflens.kernel import bpf, feature, info
from bpflens.objects.btf import Btf
from bpflens.objects.map import Map
from bpflens.objects.program import Program, Statistics
from bpflens.uapi.bpf import (
    BPF_F_SLEEPABLE,
    BPF_PROG_TYPE_RAW_TRACEPOINT,
    BPF_PROG_TYPE_SOCKET_FILTER,
    BPF_PROG_TYPE_SYSCALL,
    BPF_PROG_TYPE_TRACEPOINT,
    BPF_PROG_TYPE_XDP,
)

pytestmark = pytest.mark.kernel

EXIT = struct.pack("=BBhi", 0x95, 0, 0, 0)
NO_R0 = EXIT


def use_map(fd):
    """r1 = map; r0 = 0; exit."""
    return (
        struct.pack("=BBhiBBhi", 0x18, 1 | 1 << 4, 0, fd, 0, 0, 0, 0)
        + struct.pack("=BBhi", 0xB7, 0, 0, 0)
        + EXIT
    )


@pytest.fixture
def program(return_1):
    with Program.load("socket_filter", return_1, name="accept") as loaded:
        yield loaded


def test_info_says_what_was_loaded(program):
    found = program.read_info(*info.PROG_ARRAYS)
    assert (found.type, found.name) == (BPF_PROG_TYPE_SOCKET_FILTER, "accept")
    assert found.gpl_compatible is True
    assert found.created_by_uid == 0
    assert found.load_time > 0
    assert found.verified_insns == 2
    assert found.xlated_prog_len == len(found.xlated_prog_insns) == 16
    assert found.jited_prog_len == len(found.jited_prog_insns) > 0
    assert found.nr_jited_ksyms == len(found.jited_ksyms) == 1
    assert found.jited_func_lens[0] <= found.jited_prog_len
    assert found.prog_tags == [found.tag]


def test_instructions_come_back(program, return_1):
    assert program.xlated() == return_1
    assert program.jited()
    assert program.type_name == "socket_filter"
    assert len(program.tag) == 16


def test_a_program_knows_its_maps():
    with (
        Map.create("array", key_size=4, value_size=8, max_entries=1) as used,
        Program.load("socket_filter", use_map(used.fd)) as program,
    ):
        assert program.info.map_ids == [used.id]


def test_the_real_bpftool_sees_the_same(program, real_bpftool):
    done = subprocess.run(
        [real_bpftool, "prog", "show", "id", str(program.id)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"{program.id}: socket_filter  name accept  tag {program.tag}  gpl" in done.stdout
    assert f"xlated 16B  jited {program.info.jited_prog_len}B" in done.stdout


def test_the_verifiers_reason_is_in_the_error():
    with pytest.raises(VerifierError, match="R0 !read_ok") as caught:
        Program.load("socket_filter", NO_R0, name="bad")
    assert caught.value.errno == errno.EACCES
    assert caught.value.program == "bad"


def test_a_long_log_is_complete():
    # Thousands of branches at log level 2: more than the first buffer holds.
    branch = struct.pack("=BBhi", 0x55, 0, 0, 1) + struct.pack("=BBhi", 0x07, 0, 0, 1)
    code = struct.pack("=BBhi", 0x85, 0, 0, 7) + branch * 300 + EXIT
    log = []
    with Program.load("tracepoint", code, log_level=2, log=log):
        assert sum(len(line) for line in log) > 1 << 16
        assert log[-1].startswith("processed ")


def test_a_packet_program_runs_on_data(return_1):
    with Program.load("sched_cls", return_1) as program:
        run = program.test_run(data=bytes(range(64)), repeat=100)
    assert run.retval == 1
    assert run.data == bytes(range(64))


def test_a_packet_program_may_be_given_too_little(program):
    with pytest.raises(SyscallError, match="BPF_PROG_TEST_RUN") as caught:
        program.test_run(data=b"x")
    assert caught.value.errno == errno.EINVAL


def test_a_syscall_program_changes_its_context():
    # r0 = 77; *(u32 *)(r1 + 0) = r0; r0 = 5; exit
    code = b"".join(
        struct.pack("=BBhi", *fields)
        for fields in ((0xB7, 0, 0, 77), (0x63, 1, 0, 0), (0xB7, 0, 0, 5))
    )
    code += EXIT
    with Program.load(BPF_PROG_TYPE_SYSCALL, code, flags=BPF_F_SLEEPABLE) as program:
        run = program.test_run(ctx=bytes(8))
        assert run.retval == 5
        assert run.ctx == struct.pack("=II", 77, 0)


def test_a_raw_tracepoint_program_runs_on_a_cpu_with_arguments():
    # r0 = *(u64 *)(r1 + 8); exit: the second argument
    code = struct.pack("=BBhi", 0x79, 0 | 1 << 4, 8, 0) + EXIT
    with Program.load(BPF_PROG_TYPE_RAW_TRACEPOINT, code) as program:
        run = program.test_run(ctx=struct.pack("=QQ", 3, 4), cpu=1)
        assert run.retval == 4


def test_a_tracepoint_program_cannot_be_test_run(return_0):
    with (
        Program.load(BPF_PROG_TYPE_TRACEPOINT, return_0) as program,
        pytest.raises(SyscallError, match=r"ENOTSUPP.*cannot be test run"),
    ):
        program.test_run()


def test_runs_are_counted_while_statistics_are_on(program):
    with Statistics():
        before = program.stats
        program.test_run(data=bytes(64), repeat=7)
        run = program.stats - before
    assert run.run_cnt == 7
    assert run.run_time_ns > 0
    assert run.average_ns == run.run_time_ns / 7
    program.test_run(data=bytes(64), repeat=3)
    assert (program.stats - before).run_cnt == 7


def test_a_program_is_found_by_id_and_pin(program, bpffs):
    with Program.from_id(program.id) as again:
        assert again.tag == program.tag
    program.pin(f"{bpffs}/accept")
    with Program.from_pin(f"{bpffs}/accept") as pinned:
        assert pinned.id == program.id
    assert bpf.prog_get_next_id(program.id - 1) == program.id


def test_a_map_is_bound_to_a_program(program):
    with Map.create("array", key_size=4, value_size=4, max_entries=1) as other:
        program.bind_map(other.fd)
        assert program.read_info("map_ids").map_ids == [other.id]


def test_a_program_without_output_has_an_empty_stream(program):
    feature.feature("prog_streams").require()
    assert program.read_stream() == b""


def test_functions_and_lines_come_with_btf(btf_of_a_function):
    btf, func_info, line_info = btf_of_a_function
    code = struct.pack("=BBhi", 0xB7, 0, 0, 0) + EXIT
    with (
        Btf.load(btf) as types,
        Program.load(
            BPF_PROG_TYPE_XDP,
            code,
            name="a_name_that_is_",
            btf_fd=types.fd,
            func_info=func_info,
            line_info=line_info,
        ) as program,
    ):
        assert [(f.insn_off, f.type_id) for f in program.functions()] == [(0, 3)]
        assert program.full_name == "a_name_that_is_longer"
        (line,) = program.lines()
        assert (line.line, line.column) == (12, 7)
        assert program.btf().string(line.line_off) == "return 0;"
        found = program.read_info("jited_line_info", "jited_ksyms")
        assert len(found.jited_line_info) == 1
        assert found.jited_ksyms[0] <= found.jited_line_info[0]


@pytest.fixture
def btf_of_a_function():
    names = b"\0int\0a_name_that_is_longer\0file.c\0return 0;\0"
    at = {name: names.index(name) for name in (b"int", b"a_name", b"file.c", b"return")}
    types = (
        struct.pack("=4I", at[b"int"], 1 << 24, 4, 1 << 24 | 32)
        + struct.pack("=3I", 0, 13 << 24, 1)
        + struct.pack("=3I", at[b"a_name"], 12 << 24, 2)
    )
    header = struct.pack("=HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(names))
    line = struct.pack("=4I", 0, at[b"file.c"], at[b"return"], 12 << 10 | 7)
    return header + types + names, struct.pack("=II", 0, 3), line

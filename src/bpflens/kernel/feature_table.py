"""The features this project asks kernels for: name, since when, what for, and how to try.

``FEATURES`` is the one table; adding a row adds the feature to ``has()``, ``feature probe`` and the
support matrix of the documentation. Rows are grouped as people look for them. Probes that are more
than a line have a function above the table.

Example::

    FEATURES["ringbuf"].since     # "5.8"
"""

from __future__ import annotations

import errno
import os
import struct

from bpflens.asm.instruction import (
    atomic,
    bswap,
    call_pseudo,
    encode,
    exit_,
    gotol,
    jmp32_imm,
    jmp_imm,
    ld_imm64,
    ldx,
    ldxsx,
    load_acquire,
    may_goto,
    mov64_imm,
    movsx64,
    st,
)
from bpflens.errors import NotSupported, SyscallError
from bpflens.kernel import bpf, link, perf
from bpflens.kernel import feature as _feature
from bpflens.kernel import probe as p
from bpflens.kernel.feature import Feature
from bpflens.kernel.memory import Buffer
from bpflens.uapi import bpf as u

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from bpflens.asm.instruction import Instruction

    _Probe = Callable[[], bool]
    _Row = tuple[str, str, _Probe, str]

__all__ = ["FEATURES"]


# --- instructions -------------------------------------------------------------------------------


def _runs(*insns: Instruction) -> bool:
    return p.loads(encode(insns))


def _atomic_fetch() -> bool:
    add, fetch = u.BPF_ADD, u.BPF_FETCH
    return _runs(
        mov64_imm(0, 1),
        st(u.BPF_DW, 10, -8, 0),
        atomic(u.BPF_DW, add | fetch, 10, -8, 0),
        exit_(),
    )


def _bounded_loops() -> bool:
    add_one = b"\x07\0\0\0\1\0\0\0"
    loop = encode([jmp_imm(u.BPF_JLT, 0, 10, -2), exit_()])
    return p.loads(encode([mov64_imm(0, 0)]) + add_one + loop)


def _large_insn_limit() -> bool:
    return p.loads(encode([mov64_imm(0, 1)]) * u.BPF_MAXINSNS + encode([exit_()]))


def _cpu_v4() -> bool:
    return _runs(
        st(u.BPF_DW, 10, -8, 0),
        ldxsx(u.BPF_W, 0, 10, -8),
        movsx64(0, 0, 8),
        bswap(0, 16),
        gotol(0),
        exit_(),
    )


def _load_acquire() -> bool:
    return _runs(st(u.BPF_DW, 10, -8, 0), load_acquire(u.BPF_DW, 0, 10, -8), exit_())


def _may_goto() -> bool:
    return _runs(mov64_imm(0, 0), may_goto(1), exit_(), exit_())


def _bpf_to_bpf() -> bool:
    return _runs(call_pseudo(1), exit_(), mov64_imm(0, 0), exit_())


def _sleepable() -> bool:
    return p.loads(p.RETURN_0, u.BPF_PROG_TYPE_SYSCALL, flags=u.BPF_F_SLEEPABLE)


def _global_data() -> bool:
    return _with_map(
        u.BPF_MAP_TYPE_ARRAY,
        lambda fd: _runs(ld_imm64(1, fd, u.BPF_PSEUDO_MAP_VALUE), ldx(u.BPF_DW, 0, 1, 0), exit_()),
    )


def _as(other: Feature) -> bool:
    # The answer of another feature, and its reason with it.
    if not other and other.why:
        raise NotSupported(other.name, "", other.why)
    return bool(other)


# --- maps ---------------------------------------------------------------------------------------


def _with_map(map_type: int, answer: Callable[[int], bool], flags: int = 0) -> bool:
    try:
        fd = bpf.map_create(map_type, 4, 8, 1, flags=flags)
    except SyscallError as error:
        return p.conclude(error)
    try:
        return answer(fd)
    finally:
        os.close(fd)


def _batch() -> bool:
    def answer(fd: int) -> bool:
        there, keys, values = Buffer(8), Buffer(4), Buffer(8)
        _, error = bpf.map_lookup_batch(fd, None, there, keys, values, 1)
        return error in (0, errno.ENOENT)

    return _with_map(u.BPF_MAP_TYPE_HASH, answer)


def _lookup_and_delete() -> bool:
    def answer(fd: int) -> bool:
        try:
            bpf.map_lookup_and_delete_elem(fd, bytes(4), Buffer(8))
        except SyscallError as error:
            return p.conclude(error)
        return True

    return _with_map(u.BPF_MAP_TYPE_HASH, answer)


def _map_freeze() -> bool:
    def answer(fd: int) -> bool:
        try:
            bpf.map_freeze(fd)
        except SyscallError as error:
            return p.conclude(error)
        return True

    return _with_map(u.BPF_MAP_TYPE_ARRAY, answer)


def _mmapable() -> bool:
    return _with_map(u.BPF_MAP_TYPE_ARRAY, lambda fd: True, u.BPF_F_MMAPABLE)


def _map(map_type: int) -> _Probe:
    return lambda: _as(_feature.map_type(map_type))


# --- programs and their attachment ----------------------------------------------------------------

_BAD_FD = -1


def _program(prog_type: int) -> _Probe:
    return lambda: _as(_feature.prog_type(prog_type))


def _tracing(attach_type: int) -> _Probe:
    # Type 1 of the kernel's BTF is an int: nothing to attach to, which a kernel that knows the
    # attach type says in its log.
    return lambda: p.knows_prog_type(
        u.BPF_PROG_TYPE_TRACING, expected_attach_type=attach_type, attach_btf_id=1
    )


def _lsm() -> bool:
    if not _as(_feature.prog_type(u.BPF_PROG_TYPE_LSM)):
        return False
    # Programs load where BPF is not among the active modules, and are then never called.
    try:
        with open("/sys/kernel/security/lsm") as file:
            return "bpf" in file.read().strip().split(",")
    except OSError:
        return True


def _helper(prog_type: int, number: int) -> _Probe:
    return lambda: _as(_feature.helper(prog_type, number))


def _kfunc(name: str) -> _Probe:
    return lambda: p.has_btf_name(name)


def _kprobe() -> bool:
    from bpflens.kernel import tracefs

    return perf.pmu_type("kprobe") is not None or os.path.exists(tracefs.path("kprobe_events"))


def _kprobe_many(attach_type: int) -> _Probe:
    session = attach_type == u.BPF_TRACE_KPROBE_SESSION

    def attempt(program: int) -> int:
        # No such function: ESRCH. Linux 5.18 said EINVAL, and is taken for one without.
        return link.kprobe_multi(program, symbols=["bpflens_no_function"], session=session)

    return lambda: p.link_answer(
        attempt, (errno.ESRCH,), u.BPF_PROG_TYPE_KPROBE, expected_attach_type=attach_type
    )


def _uprobe_many(attach_type: int) -> _Probe:
    session = attach_type == u.BPF_TRACE_UPROBE_SESSION

    def attempt(program: int) -> int:
        # A directory is no binary: EBADF from a kernel that got as far as opening the path.
        return link.uprobe_multi(program, "/", [1], session=session)

    return lambda: p.link_answer(
        attempt, (errno.EBADF,), u.BPF_PROG_TYPE_KPROBE, expected_attach_type=attach_type
    )


def _link(
    prog_type: int, attach_type: int, yes: tuple[int, ...] = (errno.EBADF,), target: int = _BAD_FD
) -> _Probe:
    def attempt(program: int) -> int:
        return bpf.link_create(program, target & 0xFFFFFFFF, attach_type)

    return lambda: p.link_answer(attempt, yes, prog_type, expected_attach_type=attach_type)


def _perf_link() -> bool:
    def attempt(program: int) -> int:
        return bpf.link_create(program, _BAD_FD & 0xFFFFFFFF, u.BPF_PERF_EVENT)

    return p.link_answer(attempt, (errno.EBADF,), u.BPF_PROG_TYPE_TRACEPOINT)


def _netfilter_link() -> bool:
    return p.link_answer(
        lambda program: link.netfilter(program, 255, 0),
        (errno.EAFNOSUPPORT,),
        u.BPF_PROG_TYPE_NETFILTER,
        expected_attach_type=u.BPF_NETFILTER,
    )


def _answers(command: Callable[[], object], yes: tuple[int, ...] = (errno.EBADF,)) -> _Probe:
    # A command given a bad descriptor: EINVAL where it is not known, EBADF where it is.
    def probe() -> bool:
        try:
            command()
        except SyscallError as error:
            return error.errno in yes or p.conclude(error)
        return True

    return probe


def _raw_tp_cookie() -> bool:
    try:
        bpf.raw_tracepoint_open(_BAD_FD & 0xFFFFFFFF, None, 1)
    except SyscallError as error:
        return error.errno == errno.EBADF or p.conclude(error)
    return True


def _stats() -> bool:
    return p.creates(lambda: bpf.enable_stats(u.BPF_STATS_RUN_TIME))


# --- BTF ----------------------------------------------------------------------------------------


def _btf(types: bytes, strings: bytes = b"\0int\0") -> _Probe:
    blob = p.btf_blob(p.BTF_INT + types, strings)
    return lambda: p.creates(lambda: bpf.btf_load(blob))


def _type(name: int, kind: int, size_or_type: int, *more: int, vlen: int = 0) -> bytes:
    info = kind << 24 | vlen
    return struct.pack(f"={3 + len(more)}I", name, info, size_or_type, *more)


_NAMES = b"\0int\0x\0"  # "int" at 1, "x" at 5
_FUNC = _type(0, 13, 1) + _type(5, 12, 2)
_GLOBAL_FUNC = _type(0, 13, 1) + _type(5, 12, 2, vlen=1)
_DATASEC = _type(5, 14, 1, 1) + _type(5, 15, 4, 2, 0, 4, vlen=1)
_FLOAT = _type(5, 16, 4)
_DECL_TAG = _type(5, 14, 1, 1) + _type(5, 17, 2, 0xFFFFFFFF)
_TYPE_TAG = _type(5, 18, 1) + _type(0, 2, 2)
_ENUM64 = _type(0, 19, 8, 5, 0, 0, vlen=1)

_TP = u.BPF_PROG_TYPE_TRACEPOINT
_KP = u.BPF_PROG_TYPE_KPROBE
_CLS = u.BPF_PROG_TYPE_SCHED_CLS

_ROWS: tuple[_Row, ...] = (
    # instructions
    ("bpf_to_bpf_calls", "4.16", _bpf_to_bpf, "functions of a program that call each other"),
    ("cpu_v2", "4.14", lambda: _runs(mov64_imm(0, 0), jmp_imm(u.BPF_JLT, 0, 1, 0), exit_()),
     "jumps on less than"),
    ("cpu_v3", "5.1", lambda: _runs(mov64_imm(0, 0), jmp32_imm(u.BPF_JEQ, 0, 1, 0), exit_()),
     "jumps that compare 32 bits"),
    ("cpu_v4", "6.6", _cpu_v4, "sign extension, byte swap, signed division, far jumps"),
    ("atomic_fetch", "5.12", _atomic_fetch, "atomic operations that give the old value"),
    ("load_acquire", "6.15", _load_acquire, "loads and stores that order memory"),
    ("large_insn_limit", "5.2", _large_insn_limit, "programs of a million instructions"),
    ("bounded_loops", "5.3", _bounded_loops, "loops whose end the verifier can see"),
    ("may_goto", "6.9", _may_goto, "loops that the kernel ends after a while"),
    ("bpf_loop", "5.17", _helper(_TP, u.BPF_FUNC_loop), "loops by a callback"),
    ("for_each_map_elem", "5.13", _helper(_TP, u.BPF_FUNC_for_each_map_elem),
     "a callback for each entry of a map"),
    ("open_coded_iter", "6.4", _kfunc("bpf_iter_num_new"), "loops by an iterator"),
    ("kfunc", "5.13", _kfunc("bpf_kfunc_desc"), "calls of kernel functions"),
    ("global_data", "5.2", _global_data, "addresses inside map values"),
    ("sleepable", "5.10", _sleepable, "programs that may sleep"),
    ("exceptions", "6.7", _kfunc("bpf_throw"), "leaving a program from any depth"),
    # maps
    ("batch", "5.6", _batch, "many entries of a map in one call"),
    ("lookup_and_delete", "5.14", _lookup_and_delete, "taking an entry out of a hash map"),
    ("map_freeze", "5.2", _map_freeze, "maps read-only for user space"),
    ("mmapable_array", "5.5", _mmapable, "arrays in user space's memory"),
    ("ringbuf", "5.8", _map(u.BPF_MAP_TYPE_RINGBUF), "one ordered event buffer for all CPUs"),
    ("user_ringbuf", "6.1", _map(u.BPF_MAP_TYPE_USER_RINGBUF), "events from user space"),
    ("task_storage", "5.11", _map(u.BPF_MAP_TYPE_TASK_STORAGE), "values kept with a task"),
    ("cgrp_storage", "6.2", _map(u.BPF_MAP_TYPE_CGRP_STORAGE), "values kept with a cgroup"),
    ("bloom_filter", "5.16", _map(u.BPF_MAP_TYPE_BLOOM_FILTER), "sets that may be wrong upwards"),
    ("arena", "6.9", _map(u.BPF_MAP_TYPE_ARENA), "memory shared with user space"),
    ("map_lookup_percpu_elem", "5.19", _helper(_TP, u.BPF_FUNC_map_lookup_percpu_elem),
     "the value of another CPU"),
    # helpers
    ("probe_read_kernel", "5.5", _helper(_KP, u.BPF_FUNC_probe_read_kernel),
     "reading kernel memory by its own name"),
    ("probe_read_user", "5.5", _helper(_KP, u.BPF_FUNC_probe_read_user),
     "reading user memory by its own name"),
    ("ktime_get_boot_ns", "5.8", _helper(_TP, u.BPF_FUNC_ktime_get_boot_ns),
     "the clock that goes on in suspend"),
    ("ktime_get_tai_ns", "6.1", _helper(_TP, u.BPF_FUNC_ktime_get_tai_ns), "atomic time"),
    ("ktime_get_coarse_ns", "5.11", _helper(_CLS, u.BPF_FUNC_ktime_get_coarse_ns),
     "the clock of the last tick"),
    ("get_attach_cookie", "5.15", _helper(_KP, u.BPF_FUNC_get_attach_cookie),
     "a number given when attaching"),
    ("get_func_ip", "5.15", _helper(_KP, u.BPF_FUNC_get_func_ip), "the function a probe is in"),
    ("get_stack", "4.18", _helper(_KP, u.BPF_FUNC_get_stack), "stacks without a map"),
    ("get_current_cgroup_id", "4.18", _helper(_TP, u.BPF_FUNC_get_current_cgroup_id),
     "the cgroup of the current task"),
    ("get_ns_current_pid_tgid", "5.7", _helper(_TP, u.BPF_FUNC_get_ns_current_pid_tgid),
     "process ids of a pid namespace"),
    ("get_current_task_btf", "5.11", _helper(_TP, u.BPF_FUNC_get_current_task_btf),
     "the current task as a typed pointer"),
    ("task_pt_regs", "5.15", _helper(_TP, u.BPF_FUNC_task_pt_regs), "a task's user registers"),
    ("send_signal", "5.3", _helper(_TP, u.BPF_FUNC_send_signal), "signals to the current task"),
    ("override_return", "4.16", _helper(_KP, u.BPF_FUNC_override_return),
     "changing what a function returns"),
    ("perf_event_read_value", "4.15", _helper(_KP, u.BPF_FUNC_perf_event_read_value),
     "reading hardware counters"),
    ("snprintf", "5.13", _helper(_TP, u.BPF_FUNC_snprintf), "formatting inside a program"),
    ("snprintf_btf", "5.10", _helper(_TP, u.BPF_FUNC_snprintf_btf), "typed data as text"),
    ("strncmp", "5.17", _helper(_TP, u.BPF_FUNC_strncmp), "comparing strings"),
    ("copy_from_user", "5.10", _helper(u.BPF_PROG_TYPE_SYSCALL, u.BPF_FUNC_copy_from_user),
     "reading user memory that is not there yet"),
    ("d_path", "5.10", _kfunc("bpf_d_path"), "the path of an open file"),
    ("skb_output", "5.5", _kfunc("bpf_skb_event_output"), "packets to a perf buffer"),
    ("timers", "5.15", _helper(u.BPF_PROG_TYPE_XDP, u.BPF_FUNC_timer_init), "callbacks later"),
    ("dynptr", "5.19", _helper(_TP, u.BPF_FUNC_ringbuf_reserve_dynptr),
     "pointers with their length"),
    ("kptr", "5.19", _helper(_TP, u.BPF_FUNC_kptr_xchg), "kernel pointers in maps"),
    # tracing
    ("kprobe", "4.1", _kprobe, "probes on kernel functions"),
    ("kprobe_multi", "5.18", _kprobe_many(u.BPF_TRACE_KPROBE_MULTI),
     "one program on many kernel functions"),
    ("kprobe_session", "6.10", _kprobe_many(u.BPF_TRACE_KPROBE_SESSION),
     "entry and return of a function by one program"),
    ("uprobe", "4.1", lambda: perf.pmu_type("uprobe") is not None, "probes on user programs"),
    ("uprobe_refcnt", "4.20",
     lambda: os.path.exists("/sys/bus/event_source/devices/uprobe/format/ref_ctr_offset"),
     "USDT semaphores set by the kernel"),
    ("uprobe_multi", "6.6", _uprobe_many(u.BPF_TRACE_UPROBE_MULTI),
     "one program on many places of a binary"),
    ("uprobe_session", "6.13", _uprobe_many(u.BPF_TRACE_UPROBE_SESSION),
     "entry and return of a user function by one program"),
    ("perf_event_cookie", "5.15", _perf_link, "links on perf events, with a cookie"),
    ("raw_tp", "4.17", _program(u.BPF_PROG_TYPE_RAW_TRACEPOINT), "raw tracepoints"),
    ("raw_tp_writable", "5.2", _program(u.BPF_PROG_TYPE_RAW_TRACEPOINT_WRITABLE),
     "tracepoints that take something back"),
    ("raw_tp_cookie", "6.10", _raw_tp_cookie, "a cookie for raw tracepoints"),
    ("tp_btf", "5.5", _tracing(u.BPF_TRACE_RAW_TP), "raw tracepoints with typed arguments"),
    ("fentry", "5.5", _tracing(u.BPF_TRACE_FENTRY), "entry of kernel functions, typed"),
    ("fexit", "5.5", _tracing(u.BPF_TRACE_FEXIT), "return of kernel functions, typed"),
    ("fmod_ret", "5.7", _tracing(u.BPF_MODIFY_RETURN), "changing what a function returns, typed"),
    ("fsession", "7.0", _kfunc("BPF_TRACE_FSESSION"), "fentry and fexit by one program"),
    ("iter", "5.8", _tracing(u.BPF_TRACE_ITER), "iterators over kernel objects"),
    ("lsm", "5.7", _lsm, "security hooks"),
    ("freplace", "5.6", _program(u.BPF_PROG_TYPE_EXT), "replacing functions of a program"),
    # networking and the rest
    ("tcx", "6.6", _link(_CLS, u.BPF_TCX_INGRESS, (errno.ENODEV,)),
     "tc programs by links, in order"),
    ("netkit", "6.7", _link(_CLS, u.BPF_NETKIT_PRIMARY, (errno.ENODEV,)),
     "devices made of two programs"),
    ("netfilter", "6.4", _netfilter_link, "netfilter hooks"),
    ("cgroup_link", "5.7", _link(u.BPF_PROG_TYPE_CGROUP_SKB, u.BPF_CGROUP_INET_INGRESS),
     "cgroup programs by links"),
    ("sockmap_link", "6.10", _link(u.BPF_PROG_TYPE_SK_MSG, u.BPF_SK_MSG_VERDICT),
     "sockmap programs by links"),
    ("xdp_link", "5.9", _kfunc("BPF_LINK_TYPE_XDP"), "XDP programs by links"),
    ("struct_ops", "5.6", _map(u.BPF_MAP_TYPE_STRUCT_OPS), "kernel interfaces written in BPF"),
    ("run_time_stats", "5.8", _stats, "statistics while a descriptor is open"),
    ("token", "6.9", _answers(lambda: bpf.token_create(_BAD_FD & 0xFFFFFFFF)),
     "BPF handed down to a user namespace"),
    ("path_fd", "6.5", _answers(lambda: bpf.obj_get("x", path_fd=_BAD_FD)),
     "pins relative to an open directory"),
    ("prog_streams", "6.17",
     _answers(lambda: bpf.prog_stream_read(_BAD_FD & 0xFFFFFFFF, 1, Buffer(8))),
     "output of a program, read by descriptor"),
    # BTF
    ("btf", "4.18", _btf(b""), "types handed to the kernel"),
    ("btf_func", "5.0", _btf(_FUNC, _NAMES), "types of functions"),
    ("btf_func_global", "5.6", _btf(_GLOBAL_FUNC, _NAMES), "functions verified by themselves"),
    ("btf_datasec", "5.2", _btf(_DATASEC, _NAMES), "types of variables and sections"),
    ("btf_float", "5.13", _btf(_FLOAT, _NAMES), "floating point types"),
    ("btf_decl_tag", "5.16", _btf(_DECL_TAG, _NAMES), "tags of declarations"),
    ("btf_type_tag", "5.17", _btf(_TYPE_TAG, _NAMES), "tags of types"),
    ("btf_enum64", "6.0", _btf(_ENUM64, _NAMES), "enumerators of 64 bits"),
    ("vmlinux_btf", "5.4", lambda: os.path.exists("/sys/kernel/btf/vmlinux"),
     "the types of the kernel itself"),
)  # fmt: skip

FEATURES: dict[str, Feature] = {
    name: Feature(name, since, probe, what) for name, since, probe, what in _ROWS
}
"""Every named feature."""

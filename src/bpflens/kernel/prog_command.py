"""The bpf(2) commands on programs: load, attach, test run, and what they print.

Turns instructions and their descriptions into a loaded program. The verifier's refusal becomes a
:class:`~bpflens.errors.VerifierError` that carries its log: a program is loaded without a log
first, which is quick, and once more with one when the kernel refuses.

Example::

    fd = prog_load(BPF_PROG_TYPE_SOCKET_FILTER, encode([mov64_imm(0, 0), exit_()]))
    print(prog_test_run(fd, data=bytes(64)).retval)
"""

from __future__ import annotations

import errno
import struct

from bpflens.kernel.command import (
    check,
    failure,
    kernel_name,
    memlock_was_raised,
    send,
    send_and_read,
)
from bpflens.kernel.memory import Buffer, address, address_or_null
from bpflens.uapi.bpf import (
    BPF_PROG_ATTACH,
    BPF_PROG_BIND_MAP,
    BPF_PROG_DETACH,
    BPF_PROG_LOAD,
    BPF_PROG_STREAM_READ_BY_FD,
    BPF_PROG_TEST_RUN,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Attempt = Callable[[int, Buffer | None], tuple[int, int]]

__all__ = [
    "TestRun",
    "load_with_log",
    "prog_attach",
    "prog_bind_map",
    "prog_detach",
    "prog_load",
    "prog_stream_read",
    "prog_test_run",
]

# Members of union bpf_attr, in its order.
_A_PROG_LOAD = struct.Struct("=IIQQIIQII16sIIIIQIIQIIIIQQIIiIQIi")
_A_ATTACH = struct.Struct("=6IQ")
_A_TEST = struct.Struct("=4IQQ4IQQ3I")
_A_3 = struct.Struct("=III")
_A_STREAM = struct.Struct("=QIII")

_LOG_FIRST = 1 << 16
_LOG_LARGEST = (1 << 32) - 1 >> 2
_LOG_LARGEST_OLD = (1 << 24) - 1


def prog_load(
    prog_type: int,
    insns: bytes,
    license: str = "GPL",
    *,
    name: str = "",
    flags: int = 0,
    expected_attach_type: int = 0,
    kern_version: int = 0,
    ifindex: int = 0,
    btf_fd: int = 0,
    func_info: bytes = b"",
    func_info_rec_size: int = 8,
    line_info: bytes = b"",
    line_info_rec_size: int = 16,
    attach_btf_id: int = 0,
    attach_prog_fd: int = 0,
    attach_btf_obj_fd: int = 0,
    fd_array: bytes = b"",
    fd_array_cnt: int = 0,
    core_relos: bytes = b"",
    core_relo_rec_size: int = 16,
    token_fd: int = 0,
    signature: bytes = b"",
    keyring_id: int = 0,
    log_level: int = 0,
    log: list[str] | None = None,
    explain: bool = True,
) -> int:
    """Load a program and return its file descriptor (BPF_PROG_LOAD).

    ``insns`` are the encoded instructions. With ``log_level`` the verifier's lines are appended
    to ``log``, also on success. Without it nothing is logged at first; when the kernel refuses,
    the program is tried once more with a log, so that
    :class:`~bpflens.errors.VerifierError` can say why. ``explain=False`` saves that second try.
    """
    license_bytes = license.encode()

    def attempt(level: int, buffer: Buffer | None) -> tuple[int, int]:
        size, where = (buffer.size, buffer.address) if buffer is not None else (0, 0)
        result, answer = send_and_read(
            BPF_PROG_LOAD, _A_PROG_LOAD, prog_type, len(insns) >> 3, address(insns),
            address(license_bytes), level, size, where, kern_version, flags, kernel_name(name),
            ifindex, expected_attach_type, btf_fd, func_info_rec_size if func_info else 0,
            address_or_null(func_info), len(func_info) // func_info_rec_size,
            line_info_rec_size if line_info else 0, address_or_null(line_info),
            len(line_info) // line_info_rec_size, attach_btf_id,
            attach_prog_fd or attach_btf_obj_fd,
            len(core_relos) // core_relo_rec_size, address_or_null(fd_array),
            address_or_null(core_relos), core_relo_rec_size if core_relos else 0, 0, token_fd,
            fd_array_cnt, address_or_null(signature), len(signature), keyring_id,
        )  # fmt: skip
        return result, answer[25]

    result, lines = load_with_log(attempt, log_level, explain)
    if log is not None:
        log.extend(lines)
    if result >= 0:
        return result
    if lines:
        from bpflens.errors import VerifierError

        raise VerifierError(-result, name or "(unnamed)", lines)
    raise failure(-result, "BPF_PROG_LOAD", prog_type=prog_type, name=name,
           attach_type=expected_attach_type)  # fmt: skip


def load_with_log(attempt: Attempt, level: int, explain: bool) -> tuple[int, list[str]]:
    """Call ``attempt(log_level, log)`` until it has an answer; return that and the log's lines.

    ``attempt`` returns the command's result and ``log_true_size``. The log grows until it holds
    everything; without ``level`` there is one only for a refusal that ``explain`` wants explained.
    """
    # The verifier gives up with EAGAIN when a signal is pending: not the program's fault.
    result = -errno.EAGAIN
    size = _LOG_FIRST
    buffer = Buffer(size) if level else None
    tries = 0
    raised = False
    while True:
        result, true_size = attempt(level, buffer)
        if result == -errno.EAGAIN and tries < 5:
            tries += 1
            continue
        if result == -errno.EPERM and not raised and memlock_was_raised():
            raised = True
            continue
        if result < 0 and buffer is None:
            if not explain:
                return result, []
            level, buffer = 1, Buffer(size)
            continue
        if result == -errno.ENOSPC and buffer is not None and size < _LOG_LARGEST:
            size = _larger_log(size, true_size)
            buffer = Buffer(size)
            continue
        return result, _log_lines(buffer)


def _larger_log(size: int, true_size: int) -> int:
    # Since Linux 6.4 (47a71c1f9af0 "bpf: Add log_true_size output field to return necessary log
    # buffer size"): the kernel says how much it takes. Kernels before 5.2 take 16 MiB at most.
    if true_size > size:
        return min(true_size + 1, _LOG_LARGEST)
    if size < _LOG_LARGEST_OLD:
        return min(size * 8, _LOG_LARGEST_OLD)
    return _LOG_LARGEST


def _log_lines(buffer: Buffer | None) -> list[str]:
    if buffer is None:
        return []
    end = buffer.raw.find(0)
    return bytes(buffer.view[: max(end, 0)]).decode("utf-8", "replace").splitlines()


def prog_attach(
    prog_fd: int,
    target: int,
    attach_type: int,
    *,
    flags: int = 0,
    replace_fd: int = 0,
    relative: int = 0,
    expected_revision: int = 0,
) -> None:
    """Attach a program to ``target`` (cgroup, map or ifindex) without a link (BPF_PROG_ATTACH)."""
    result = send(
        BPF_PROG_ATTACH, _A_ATTACH, target, prog_fd, attach_type, flags, replace_fd, relative,
        expected_revision,
    )  # fmt: skip
    check(result, "BPF_PROG_ATTACH", attach_type=attach_type)


def prog_detach(
    prog_fd: int,
    target: int,
    attach_type: int,
    *,
    flags: int = 0,
    relative: int = 0,
    expected_revision: int = 0,
) -> None:
    """Undo :func:`prog_attach`; ``prog_fd`` 0 takes whatever program is attached there."""
    result = send(
        BPF_PROG_DETACH, _A_ATTACH, target, prog_fd, attach_type, flags, 0, relative,
        expected_revision,
    )  # fmt: skip
    check(result, "BPF_PROG_DETACH", attach_type=attach_type)


class TestRun:
    """What BPF_PROG_TEST_RUN gave: ``retval``, ``duration`` (ns a run), ``data``, ``ctx``."""

    __test__ = False  # not a test, whatever its name makes pytest think
    __slots__ = ("ctx", "data", "duration", "retval")

    def __init__(self, retval: int, duration: int, data: bytes, ctx: bytes) -> None:
        self.retval = retval
        self.duration = duration
        self.data = data
        self.ctx = ctx

    def __repr__(self) -> str:
        return f"TestRun(retval={self.retval}, duration={self.duration}, data={self.data!r})"


def prog_test_run(
    prog_fd: int,
    *,
    data: bytes = b"",
    ctx: bytes = b"",
    data_size_out: int | None = None,
    ctx_size_out: int = 0,
    repeat: int = 0,
    flags: int = 0,
    cpu: int = 0,
    batch_size: int = 0,
) -> TestRun:
    """Run a program in the kernel on ``data`` and ``ctx`` (BPF_PROG_TEST_RUN).

    Without ``data_size_out`` there is room for the packet to grow by 256 bytes. Programs with a
    packet copy their context to ``ctx_size_out`` bytes; a syscall program changes the one it was
    given, and that is what then comes back. ``duration`` is the mean of the ``repeat`` runs in
    nanoseconds.
    """
    if data_size_out is None:
        data_size_out = len(data) + 256 if data else 0
    data_out, ctx_out, ctx_in = Buffer(data_size_out), Buffer(ctx_size_out), Buffer(len(ctx))
    ctx_in.raw[: len(ctx)] = ctx
    result, answer = send_and_read(
        BPF_PROG_TEST_RUN, _A_TEST, prog_fd, 0, len(data), data_size_out, address_or_null(data),
        data_out.address if data_size_out else 0, repeat, 0, len(ctx), ctx_size_out,
        ctx_in.address if ctx else 0, ctx_out.address if ctx_size_out else 0, flags, cpu,
        batch_size,
    )  # fmt: skip
    check(result, "BPF_PROG_TEST_RUN", fd=prog_fd, data_size=len(data))
    return TestRun(
        answer[1],
        answer[7],
        bytes(data_out.view[: min(answer[3], data_size_out)]),
        bytes(ctx_out.view[: min(answer[9], ctx_size_out)]) if ctx_size_out else bytes(ctx_in),
    )


def prog_bind_map(prog_fd: int, map_fd: int) -> None:
    """Tie the life of a map to a program that does not use it."""
    check(send(BPF_PROG_BIND_MAP, _A_3, prog_fd, map_fd, 0), "BPF_PROG_BIND_MAP", fd=prog_fd)


def prog_stream_read(prog_fd: int, stream_id: int, buffer: Buffer) -> int:
    """Read what a program printed to its stream (1 stdout, 2 stderr); return the bytes read."""
    result = send(
        BPF_PROG_STREAM_READ_BY_FD, _A_STREAM, buffer.address, buffer.size, stream_id, prog_fd
    )
    return check(result, "BPF_PROG_STREAM_READ_BY_FD", fd=prog_fd)

"""perf_event_open(2) and what is done with its descriptors.

Turns a description of an event into a descriptor, and that into enabled, stopped, read, or tied
to a BPF program. A tracepoint, a software clock, a uprobe and a hardware breakpoint are all perf
events; :func:`open_tracepoint`, :func:`open_probe` and :func:`open_breakpoint` say what each is
made of.

Example::

    fd = perf_event_open(PERF_TYPE_SOFTWARE, PERF_COUNT_SW_CPU_CLOCK, cpu=0, sample_freq=99)
    set_bpf(fd, program_fd)
    enable(fd)
"""

from __future__ import annotations

import errno
import os
import struct

from bpflens.errors import NotSupported, SyscallError
from bpflens.kernel import syscall as _seam
from bpflens.kernel.memory import Buffer, address

__all__ = [
    "Counter",
    "disable",
    "enable",
    "open_breakpoint",
    "open_probe",
    "open_tracepoint",
    "perf_event_open",
    "pmu_bit",
    "pmu_type",
    "query_bpf",
    "read_counter",
    "reset",
    "set_bpf",
    "set_filter",
    "set_output",
]

_PERF_TYPE_TRACEPOINT = 2
_PERF_TYPE_BREAKPOINT = 5
_PERF_FLAG_FD_CLOEXEC = 8

_IOC_ENABLE = 0x2400
_IOC_DISABLE = 0x2401
_IOC_RESET = 0x2403
_IOC_SET_OUTPUT = 0x2405
_IOC_SET_FILTER = 0x40082406
_IOC_SET_BPF = 0x40042408
_IOC_QUERY_BPF = 0xC008240A

# struct perf_event_attr up to sample_max_stack: PERF_ATTR_SIZE_VER5, of Linux 4.1. What came
# later is not used here, and a shorter attribute is accepted by every kernel.
_ATTR = struct.Struct("=IIQQQQQIIQQQQIiQIHH")

# Bit numbers of the flags word.
_DISABLED, _INHERIT, _EXCLUDE_USER, _EXCLUDE_KERNEL, _FREQ = 0, 1, 4, 5, 10
_ENABLE_ON_EXEC, _WATERMARK = 12, 14

_NR = _seam.number("perf_event_open") if _seam.arch() in _seam.NUMBERS else 0
_NR_IOCTL = _seam.number("ioctl") if _seam.arch() in _seam.NUMBERS else 0


def perf_event_open(
    type: int,
    config: int = 0,
    *,
    pid: int = -1,
    cpu: int = -1,
    group_fd: int = -1,
    sample_period: int = 0,
    sample_freq: int = 0,
    sample_type: int = 0,
    read_format: int = 0,
    wakeup: int = 0,
    watermark: bool = False,
    bp_type: int = 0,
    config1: int = 0,
    config2: int = 0,
    disabled: bool = False,
    inherit: bool = False,
    exclude_user: bool = False,
    exclude_kernel: bool = False,
    enable_on_exec: bool = False,
    flags: int = _PERF_FLAG_FD_CLOEXEC,
    what: str = "",
) -> int:
    """Open a perf event and return its descriptor.

    ``pid`` -1 is every process (then a ``cpu`` is needed), 0 this one. ``sample_freq`` (Hz) and
    ``sample_period`` (events) exclude each other; ``wakeup`` counts events, or bytes with
    ``watermark``. ``config1`` and ``config2`` are the unions that also hold a breakpoint's
    address and length or a probe's path and offset. ``what`` names the event in error messages.
    """
    bits = (
        disabled << _DISABLED
        | inherit << _INHERIT
        | exclude_user << _EXCLUDE_USER
        | exclude_kernel << _EXCLUDE_KERNEL
        | (sample_freq > 0) << _FREQ
        | enable_on_exec << _ENABLE_ON_EXEC
        | watermark << _WATERMARK
    )
    attr = Buffer(_ATTR.size)
    _ATTR.pack_into(
        attr.raw, 0, type, _ATTR.size, config, sample_freq or sample_period, sample_type,
        read_format, bits, wakeup, bp_type, config1, config2, 0, 0, 0, 0, 0, 0, 0, 0,
    )  # fmt: skip
    result = _seam.raw(_NR, attr.address, pid, cpu, group_fd, flags)
    if result < 0:
        raise _failure(-result, "perf_event_open" + (f" {what}" if what else ""))
    return result


def _failure(number: int, command: str) -> SyscallError:
    from bpflens.kernel.cause import explain

    return explain(number, command)


def open_tracepoint(
    id: int, *, pid: int = -1, cpu: int = 0, sample_period: int = 1, what: str = ""
) -> int:
    """Open the tracepoint with this id (see :func:`bpflens.kernel.tracefs.event_id`).

    With a BPF program set, one descriptor on one CPU serves every CPU.
    """
    return perf_event_open(
        _PERF_TYPE_TRACEPOINT,
        id,
        pid=pid,
        cpu=cpu if pid < 0 else -1,
        sample_period=sample_period,
        what=what or f"tracepoint {id}",
    )


def open_probe(
    kind: str,
    target: str,
    offset: int,
    *,
    retprobe: bool = False,
    ref_ctr_offset: int = 0,
    address_: int = 0,
    pid: int = -1,
    cpu: int = 0,
) -> int:
    """Open a ``"kprobe"`` or ``"uprobe"`` at ``offset`` in ``target``.

    ``target`` is a function's name, or the path of a binary; ``address_`` places a kprobe by
    address where ``target`` is empty. ``ref_ctr_offset`` is the file offset of a USDT semaphore.
    Raises :class:`~bpflens.errors.NotSupported` where the kernel has no such probes.
    """
    type = pmu_type(kind)
    if type is None:
        raise NotSupported(f"{kind} perf events", "4.17", f"there is no {kind} event source")
    config = ref_ctr_offset << 32
    if retprobe:
        config |= 1 << pmu_bit(kind, "retprobe")
    name = os.fsencode(target)
    return perf_event_open(
        type,
        config,
        pid=pid if pid > 0 else -1,
        cpu=-1 if pid > 0 else cpu,
        config1=address(name) if name else 0,
        config2=offset if name else address_,
        what=f"{kind} {target}+{offset:#x}" if name else f"{kind} {address_:#x}",
    )


def open_breakpoint(
    where: int, length: int, bp_type: int, *, pid: int = -1, cpu: int = 0, sample_period: int = 1
) -> int:
    """Open a hardware breakpoint on ``length`` bytes at ``where``.

    ``bp_type`` is HW_BREAKPOINT_R, _W, _RW or _X; an execute breakpoint has the length of a long.
    """
    return perf_event_open(
        _PERF_TYPE_BREAKPOINT,
        pid=pid,
        cpu=cpu,
        sample_period=sample_period,
        bp_type=bp_type,
        config1=where,
        config2=length,
        what=f"breakpoint {where:#x}",
    )


_DEVICES = "/sys/bus/event_source/devices"


def pmu_type(name: str) -> int | None:
    """Return the perf type of the event source ``name`` (``"uprobe"``), ``None`` if absent."""
    text = _read(f"{_DEVICES}/{name}/type")
    return int(text) if text else None


def pmu_bit(name: str, field: str) -> int:
    """Return the first bit of ``config`` that an event source's format gives to ``field``."""
    text = _read(f"{_DEVICES}/{name}/format/{field}")
    return int(text.partition(":")[2].partition("-")[0]) if text else 0


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return ""


def _ioctl(fd: int, request: int, argument: int, what: str) -> None:
    result = _seam.raw(_NR_IOCTL, fd, request, argument)
    if result < 0:
        raise _failure(-result, what)


def enable(fd: int) -> None:
    """Let the event count."""
    _ioctl(fd, _IOC_ENABLE, 0, "PERF_EVENT_IOC_ENABLE")


def disable(fd: int) -> None:
    """Stop the event."""
    _ioctl(fd, _IOC_DISABLE, 0, "PERF_EVENT_IOC_DISABLE")


def reset(fd: int) -> None:
    """Set the event's count to zero."""
    _ioctl(fd, _IOC_RESET, 0, "PERF_EVENT_IOC_RESET")


def set_bpf(fd: int, prog_fd: int) -> None:
    """Run a program at each event; it stays until the event is closed."""
    _ioctl(fd, _IOC_SET_BPF, prog_fd, "PERF_EVENT_IOC_SET_BPF (attach program to perf event)")


def set_output(fd: int, other: int) -> None:
    """Let the event write its records into the ring of event ``other`` (-1: its own)."""
    _ioctl(fd, _IOC_SET_OUTPUT, other, "PERF_EVENT_IOC_SET_OUTPUT")


def set_filter(fd: int, text: str) -> None:
    """Set a tracepoint's filter expression."""
    raw = text.encode()
    _ioctl(fd, _IOC_SET_FILTER, address(raw), f"PERF_EVENT_IOC_SET_FILTER {text!r}")


def query_bpf(fd: int) -> list[int]:
    """Return the ids of the programs that are attached to the tracepoint of this event."""
    count = 64
    while True:
        buffer = Buffer(8 + 4 * count)
        words = buffer.view.cast("I")
        words[0] = count
        result = _seam.raw(_NR_IOCTL, fd, _IOC_QUERY_BPF, buffer.address)
        if result == -errno.ENOSPC:
            count *= 4
            continue
        if result == -errno.ENOENT:
            return []
        if result < 0:
            raise _failure(-result, "PERF_EVENT_IOC_QUERY_BPF")
        return list(words[2 : 2 + words[1]])


class Counter:
    """A read of a counting event: its ``value``, and nanoseconds ``enabled`` and ``running``."""

    __slots__ = ("value", "enabled", "running")

    def __init__(self, value: int, enabled: int, running: int) -> None:
        self.value = value
        self.enabled = enabled
        self.running = running

    def __repr__(self) -> str:
        return f"Counter(value={self.value}, enabled={self.enabled}, running={self.running})"


def read_counter(fd: int) -> Counter:
    """Read an event opened with read_format TOTAL_TIME_ENABLED | TOTAL_TIME_RUNNING (3)."""
    data = os.read(fd, 24)
    if len(data) < 24:
        return Counter(int.from_bytes(data[:8], "little"), 0, 0)
    return Counter(*struct.unpack("=3Q", data))

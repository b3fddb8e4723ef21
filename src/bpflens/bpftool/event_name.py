"""Names of perf events: (type, config) → what perf calls them.

Types beyond the fixed ones belong to a PMU that the kernel numbered when it booted. sysfs names
most of them; it leaves out the two software clocks, whose number the kernel tells when it is asked
about an event of our own.

Example::

    names(0, 1)     # ("hardware", "instructions")
    names(6, 0)     # ("software", "cpu-clock"), where the kernel gave that clock the number 6
"""

from __future__ import annotations

import os

from bpflens.errors import SyscallError

__all__ = ["names"]

_TYPES = ("hardware", "software", "tracepoint", "hw-cache", "raw", "breakpoint")
_HARDWARE = (
    "cpu-cycles", "instructions", "cache-references", "cache-misses", "branch-instructions",
    "branch-misses", "bus-cycles", "stalled-cycles-frontend", "stalled-cycles-backend",
    "ref-cycles",
)  # fmt: skip
_SOFTWARE = (
    "cpu-clock", "task-clock", "page-faults", "context-switches", "cpu-migrations",
    "minor-faults", "major-faults", "alignment-faults", "emulation-faults", "dummy", "bpf-output",
    "cgroup-switches",
)  # fmt: skip
_CACHES = ("L1-dcache", "L1-icache", "LLC", "dTLB", "iTLB", "branch", "node")
_OPERATIONS = ("load", "store", "prefetch")
_RESULTS = ("refs", "misses")
_SOFTWARE_TYPE = 1
_HW_CACHE_TYPE = 3
_DEVICES = "/sys/bus/event_source/devices"


def names(type: int, config: int) -> tuple[str | None, str | None]:
    """Return the names of a type and its config, ``None`` for what has none."""
    if type < len(_TYPES):
        return _TYPES[type], _config(type, config)
    if config < 2 and _clock_type(config) == type:
        return _TYPES[_SOFTWARE_TYPE], _SOFTWARE[config]
    return _device(type), None


def _config(type: int, config: int) -> str | None:
    if type == _HW_CACHE_TYPE:
        cache, operation, result = config & 0xFF, config >> 8 & 0xFF, config >> 16
        return "-".join(
            table[at] if at < len(table) else str(at)
            for table, at in ((_CACHES, cache), (_OPERATIONS, operation), (_RESULTS, result))
        )
    table = {0: _HARDWARE, _SOFTWARE_TYPE: _SOFTWARE}.get(type, ())
    return table[config] if config < len(table) else None


def _device(type: int) -> str | None:
    try:
        found = os.listdir(_DEVICES)
    except OSError:
        return None
    for name in found:
        try:
            with open(f"{_DEVICES}/{name}/type") as file:
                if int(file.read()) == type:
                    return name
        except (OSError, ValueError):
            continue
    return None


_clocks: dict[int, int | None] = {}


def _clock_type(config: int) -> int | None:
    # The number that this kernel gave to a software clock: what it says of a link of our own.
    if config not in _clocks:
        try:
            _clocks[config] = _asked(config)
        except SyscallError:
            _clocks[config] = None  # no right to make one: the number stays a number
    return _clocks[config]


def _asked(config: int) -> int | None:
    from bpflens.kernel import bpf, link
    from bpflens.kernel.link_info import PerfEventEvent, link_info
    from bpflens.kernel.perf import perf_event_open
    from bpflens.kernel.probe import RETURN_0
    from bpflens.uapi.bpf import BPF_PROG_TYPE_PERF_EVENT

    held = [bpf.prog_load(BPF_PROG_TYPE_PERF_EVENT, RETURN_0)]
    try:
        held.append(
            perf_event_open(_SOFTWARE_TYPE, config, pid=0, sample_period=1 << 60, disabled=True)
        )
        held.append(link.perf_event(held[0], held[1]))
        info = link_info(held[2])
        return info.event_type if isinstance(info, PerfEventEvent) else None
    finally:
        for fd in reversed(held):
            os.close(fd)

"""Counting events: run a program after every so many page faults, context switches, cycles.

``software`` events exist everywhere, ``hardware`` ones where the machine (or its hypervisor) lets
the kernel have a performance counter.

Example::

    PerfEvent("software", "page-faults", 100).attach(program)
"""

from __future__ import annotations

import errno

from bpflens.attach.attachment import refused
from bpflens.attach.perf_attach import connect, open_each
from bpflens.errors import AttachError, NotSupported, SyscallError
from bpflens.kernel import cpu, perf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.attach.attachment import Attachment, HasFd

__all__ = ["HARDWARE", "SOFTWARE", "PerfEvent"]

_TYPE_HARDWARE = 0
_TYPE_SOFTWARE = 1

#: Software events by name: (PERF_COUNT_SW_*, after how many the program runs by default).
SOFTWARE: dict[str, tuple[int, int]] = {
    "cpu-clock": (0, 1_000_000),
    "cpu": (0, 1_000_000),
    "task-clock": (1, 1_000_000),
    "page-faults": (2, 100),
    "faults": (2, 100),
    "context-switches": (3, 1000),
    "cs": (3, 1000),
    "cpu-migrations": (4, 1),
    "minor-faults": (5, 100),
    "major-faults": (6, 1),
    "alignment-faults": (7, 1),
    "emulation-faults": (8, 1),
    "dummy": (9, 1),
    "bpf-output": (10, 1),
}
#: Hardware events by name: (PERF_COUNT_HW_*, default).
HARDWARE: dict[str, tuple[int, int]] = {
    "cpu-cycles": (0, 1_000_000),
    "cycles": (0, 1_000_000),
    "instructions": (1, 1_000_000),
    "cache-references": (2, 1_000_000),
    "cache-misses": (3, 1_000_000),
    "branch-instructions": (4, 100_000),
    "branches": (4, 100_000),
    "branch-misses": (5, 100_000),
    "bus-cycles": (6, 100_000),
    "frontend-stalls": (7, 1_000_000),
    "backend-stalls": (8, 1_000_000),
    "ref-cycles": (9, 1_000_000),
}


class PerfEvent:
    """Every ``count``-th ``event`` of ``kind`` software or hardware (``count`` 0: the default)."""

    __slots__ = ("count", "event", "kind", "pid")

    def __init__(self, kind: str, event: str, count: int = 0, *, pid: int = 0) -> None:
        self.kind = kind
        self.event = event
        self.count = count
        self.pid = pid

    def __str__(self) -> str:
        return f"{self.kind}:{self.event}:{self.count or ''}"

    def attach(self, program: HasFd, *, cookie: int = 0) -> Attachment:
        """Attach on every online CPU; raises :class:`~bpflens.errors.AttachError`."""
        table = SOFTWARE if self.kind == "software" else HARDWARE
        known = table.get(self.event)
        if known is None:
            from difflib import get_close_matches

            raise AttachError(
                str(self),
                f"no {self.kind} event {self.event}",
                get_close_matches(self.event, table),
            )
        number, default = known
        type = _TYPE_SOFTWARE if self.kind == "software" else _TYPE_HARDWARE

        def open_on(cpu_number: int) -> int:
            return perf.perf_event_open(
                type,
                number,
                pid=self.pid or -1,
                cpu=cpu_number,
                sample_period=self.count or default,
                what=str(self),
            )

        try:
            return connect(str(self), program, open_each(cpu.online(), open_on), cookie)
        except (SyscallError, NotSupported) as error:
            raise refused(str(self), error, self._hints(error)) from error

    def _hints(self, error: SyscallError | NotSupported) -> list[str]:
        missing = (errno.ENOENT, errno.EOPNOTSUPP)
        if self.kind == "hardware" and getattr(error, "errno", 0) in missing:
            return [
                "the machine or its hypervisor gives no performance counters",
                "software:cpu-clock and profile:hz:99 work without them",
            ]
        return []

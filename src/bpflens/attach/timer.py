"""Timers: ``profile`` on every CPU, ``interval`` on one, made of the software clock of perf.

Units are ``hz`` (times a second) and ``s``, ``ms``, ``us``, ``ns`` (the time between two).

Example::

    Timer("profile", "hz", 99).attach(program)
"""

from __future__ import annotations

from bpflens.attach.attachment import refused
from bpflens.attach.perf_attach import connect, open_each
from bpflens.errors import AttachError, NotSupported, SyscallError
from bpflens.kernel import cpu, perf
from bpflens.uapi.perf import PERF_COUNT_SW_CPU_CLOCK, PERF_TYPE_SOFTWARE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from bpflens.attach.attachment import Attachment, HasFd

__all__ = ["Timer"]

_NANOSECONDS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}


class Timer:
    """Fires every ``value`` ``unit``: ``profile`` on all online CPUs, ``interval`` on one.

    ``cpus`` chooses others, ``pid`` counts only while that process runs.
    """

    __slots__ = ("cpus", "kind", "pid", "unit", "value")

    def __init__(
        self, kind: str, unit: str, value: int, *, cpus: Sequence[int] = (), pid: int = 0
    ) -> None:
        self.kind = kind
        self.unit = unit
        self.value = value
        self.cpus = list(cpus)
        self.pid = pid

    def __str__(self) -> str:
        return f"{self.kind}:{self.unit}:{self.value}"

    def attach(self, program: HasFd, *, cookie: int = 0) -> Attachment:
        """Attach; raises :class:`~bpflens.errors.AttachError`."""
        freq, period = self._rate()
        cpus = self.cpus or cpu.online()
        if self.kind == "interval" and not self.cpus:
            cpus = cpus[:1]

        def open_on(number: int) -> int:
            return perf.perf_event_open(
                PERF_TYPE_SOFTWARE,
                PERF_COUNT_SW_CPU_CLOCK,
                pid=self.pid or -1,
                cpu=number,
                sample_freq=freq,
                sample_period=period,
                what=str(self),
            )

        try:
            return connect(str(self), program, open_each(cpus, open_on), cookie)
        except (SyscallError, NotSupported) as error:
            raise refused(str(self), error, self._hints()) from error

    def _rate(self) -> tuple[int, int]:
        if self.value <= 0:
            raise AttachError(str(self), "the number must be above 0")
        if self.unit == "hz":
            return self.value, 0
        if self.unit not in _NANOSECONDS:
            raise AttachError(str(self), f"no unit {self.unit}", ["hz", *_NANOSECONDS])
        return 0, self.value * _NANOSECONDS[self.unit]

    def _hints(self) -> list[str]:
        from bpflens.kernel.limits import sysctl

        highest = sysctl("kernel.perf_event_max_sample_rate")
        if self.unit == "hz" and highest is not None and self.value > highest:
            return [f"kernel.perf_event_max_sample_rate is {highest}: ask for less, or raise it"]
        return []

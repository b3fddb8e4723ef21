"""Read a perf buffer (map type perf_event_array): one ring for each CPU, drained in batches.

Opens a BPF output event on every online CPU, maps its ring and stores it in the map, so that
``bpf_perf_event_output`` with BPF_F_CURRENT_CPU finds it. Invariants: head is loaded before the
records it announces, tail is stored after they were handed out.

Lost events are exact where the kernel counts them (PERF_FORMAT_LOST); else they are the sum of
the PERF_RECORD_LOST records, which come with the next event that finds room.

Example::

    with PerfBuffer(events, pages=64) as buffer:
        buffer.wait(100)
        buffer.drain(take)
"""

from __future__ import annotations

import errno
import os

from bpflens.errors import SyscallError
from bpflens.kernel import bpf, cpu, perf
from bpflens.kernel.mmap import PAGE_SIZE, PROT_READ, PROT_WRITE, Mapping
from bpflens.ring.buffer import unmap
from bpflens.ring.perf_record import HEADER, Tally, walk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Self

    from bpflens.ring.buffer import HasFd
    from bpflens.ring.poller import Poller
    from bpflens.ring.record import Handler

__all__ = ["PerfBuffer"]

# include/uapi/linux/perf_event.h: places in struct perf_event_mmap_page, and constants.
_DATA_HEAD = 1024
_DATA_TAIL = 1032
_TYPE_SOFTWARE = 1
_COUNT_SW_BPF_OUTPUT = 10
_SAMPLE_RAW = 1 << 10
_FORMAT_LOST = 1 << 4


class _CpuRing:
    # The ring of one CPU.

    __slots__ = ("counts_lost", "data", "fd", "mapping", "tally")

    def __init__(self, number: int, pages: int, wakeup_events: int, tally: Tally) -> None:
        self.tally = tally
        self.fd, self.counts_lost = _open(number, wakeup_events)
        try:
            size = (pages + 1) * PAGE_SIZE
            self.mapping = Mapping(self.fd, size, PROT_READ | PROT_WRITE, what="perf buffer")
        except BaseException:
            os.close(self.fd)
            raise
        self.data = self.mapping.view[PAGE_SIZE:]

    def drain(self, handler: Handler) -> None:
        tail = self.mapping.load(_DATA_TAIL)
        available = self.mapping.load(_DATA_HEAD) - tail
        if not available:
            return
        before = self.tally.passed
        try:
            walk(self.data, tail, available, handler, self.tally)
        finally:
            self.mapping.store(_DATA_TAIL, tail + self.tally.passed - before)

    def lost(self) -> int:
        return int.from_bytes(os.read(self.fd, 16)[8:16], "little")

    def close(self) -> None:
        self.data.release()
        unmap(self.mapping)
        os.close(self.fd)


def _open(number: int, wakeup_events: int) -> tuple[int, bool]:
    # Since Linux 6.0 (119a784c8127 "perf: Add a counter for number of lost samples"): a read of
    # the event tells how many records were lost, to the last one.
    for read_format in (_FORMAT_LOST, 0):
        try:
            fd = perf.perf_event_open(
                _TYPE_SOFTWARE,
                _COUNT_SW_BPF_OUTPUT,
                cpu=number,
                sample_period=1,
                sample_type=_SAMPLE_RAW,
                read_format=read_format,
                wakeup=wakeup_events,
                what=f"BPF output of CPU {number}",
            )
        except SyscallError as error:
            if not read_format or error.errno != errno.EINVAL:
                raise
            continue
        return fd, bool(read_format)
    raise AssertionError


class PerfBuffer:
    """A reader of one perf_event_array map.

    ``pages`` (a power of two) is the size of each CPU's ring, ``wakeup_events`` after how many
    events a sleeping reader is woken, ``cpus`` which CPUs to read (all that are online).
    """

    __slots__ = ("_poller", "_rings", "fds", "header", "tally")

    def __init__(
        self,
        map: HasFd,
        *,
        pages: int = 64,
        wakeup_events: int = 1,
        cpus: Sequence[int] | None = None,
    ) -> None:
        self.header = HEADER
        self.tally = Tally()
        self.fds: list[int] = []
        self._rings: list[_CpuRing] = []
        self._poller: Poller | None = None
        try:
            for number in cpu.online() if cpus is None else cpus:
                ring = _CpuRing(number, pages, wakeup_events, self.tally)
                self._rings.append(ring)
                self.fds.append(ring.fd)
                key = number.to_bytes(4, "little")
                bpf.map_update_elem(map.fd, key, ring.fd.to_bytes(4, "little"))
                perf.enable(ring.fd)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def lost(self) -> int:
        """How many events found no room."""
        if all(ring.counts_lost for ring in self._rings):
            return sum(ring.lost() for ring in self._rings)
        return self.tally.lost

    def drain(self, handler: Handler) -> int:
        """Hand out what is there, CPU by CPU; return the number of events.

        ``handler(block, size, count)`` is that of :meth:`bpflens.ring.buffer.RingBuffer.drain`;
        ``size`` includes the kernel's padding of up to 7 bytes.
        """
        records = self.tally.records
        for ring in self._rings:
            ring.drain(handler)
        return self.tally.records - records

    def wait(self, timeout_ms: float = -1) -> bool:
        """Sleep until something may be there; False when the time passed first."""
        if self._poller is None:
            from bpflens.ring.poller import Poller

            self._poller = Poller([self])
        return self._poller.wait(timeout_ms)

    def close(self) -> None:
        """Close the events of all CPUs (the map stays open); a second call does nothing."""
        if self._poller is not None:
            self._poller.close()
        while self._rings:
            self._rings.pop().close()
        self.fds.clear()

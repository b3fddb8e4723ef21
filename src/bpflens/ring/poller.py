"""Wait for several buffers at once, cheaply at every rate of events.

At a low rate a reader sleeps in epoll and the kernel wakes it with each event. At a high rate
waking costs both sides more than the events do; then the poller sleeps a millisecond by the clock
and takes what has come together. It changes between the two by the rate it sees, and never spins.

Programs that send with BPF_RB_NO_WAKEUP wake nobody: give ``interval_ms``, the longest time that
an event may lie unread.

Example::

    poller = Poller([ring, other])
    while poller.wait(1000):
        poller.drain(take)
"""

from __future__ import annotations

import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Self, TypeAlias

    from bpflens.ring.buffer import RingBuffer
    from bpflens.ring.perf_buffer import PerfBuffer
    from bpflens.ring.record import Handler

    Buffer: TypeAlias = RingBuffer | PerfBuffer

__all__ = ["Poller"]

# Above this rate sleeping by the clock is cheaper than being woken; measured over this time.
_BUSY_RATE = 2000
_MEASURE = 0.005
_NAP = 0.001


class Poller:
    """Waits for any of ``buffers``, and for other descriptors added with :meth:`watch`.

    ``ready`` holds the watched descriptors that the last :meth:`wait` found readable.
    """

    __slots__ = ("_busy", "_epoll", "_interval", "_others", "_records", "_since", "_watched",
                 "buffers", "ready")  # fmt: skip

    def __init__(self, buffers: Sequence[Buffer] = (), *, interval_ms: float = 0) -> None:
        self.buffers: list[Buffer] = []
        self.ready: list[int] = []
        self._epoll = select.epoll()
        # The watched descriptors alone, for the time when buffers are not waited for.
        self._others: select.epoll | None = None
        self._watched: set[int] = set()
        self._interval = interval_ms
        self._busy = False
        self._records = 0
        self._since = time.monotonic()
        for buffer in buffers:
            self.add(buffer)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def add(self, buffer: Buffer) -> None:
        """Wait for this buffer too."""
        self.buffers.append(buffer)
        for fd in buffer.fds:
            self._epoll.register(fd, select.EPOLLIN)

    def watch(self, fd: int) -> None:
        """Let :meth:`wait` return when ``fd`` becomes readable; it then is in :attr:`ready`."""
        if self._others is None:
            self._others = select.epoll()
        self._others.register(fd, select.EPOLLIN)
        self._epoll.register(fd, select.EPOLLIN)
        self._watched.add(fd)

    def unwatch(self, fd: int) -> None:
        """Forget a watched descriptor."""
        if self._others is not None and fd in self._watched:
            self._watched.remove(fd)
            self._others.unregister(fd)
            self._epoll.unregister(fd)

    def wait(self, timeout_ms: float = -1) -> bool:
        """Sleep until a buffer or a watched descriptor may have something.

        Returns False when ``timeout_ms`` (negative: no limit) passed with nothing to do. With an
        ``interval_ms`` True only means that it is time to look.
        """
        self._measure()
        if self._busy:
            return self._nap()
        limit = timeout_ms
        if self._interval and not 0 <= timeout_ms < self._interval:
            limit = self._interval
        events = self._epoll.poll(limit / 1000 if limit >= 0 else None)
        self.ready = [fd for fd, _ in events if fd in self._watched]
        return bool(events) or limit != timeout_ms

    def drain(self, handler: Handler) -> int:
        """Drain every buffer; return the number of records handed out."""
        return sum(buffer.drain(handler) for buffer in self.buffers)

    def close(self) -> None:
        """Close the poller (not the buffers); a second call does nothing."""
        self._epoll.close()
        if self._others is not None:
            self._others.close()

    def _nap(self) -> bool:
        if self._others is None:
            time.sleep(_NAP)
            self.ready = []
        else:
            self.ready = [fd for fd, _ in self._others.poll(_NAP)]
        return True

    # Look at the rate of the last few milliseconds.
    def _measure(self) -> None:
        now = time.monotonic()
        elapsed = now - self._since
        if elapsed >= _MEASURE:
            records = sum(buffer.tally.records for buffer in self.buffers)
            self._busy = records - self._records > elapsed * _BUSY_RATE
            self._since = now
            self._records = records

"""Read a BPF ring buffer (map type ringbuf): the thin edge around the pure walk of its bytes.

The kernel maps three things: a page with the consumer position (ours to write), a page with the
producer position, and the data area twice in a row. Invariants: the producer position is loaded
before the records it announces, the consumer position is stored after the last block of a batch
was handed out, and never for a record that was not; :meth:`RingBuffer.drain` ends after one lap
even when the producer never rests.

A full ring buffer makes ``bpf_ringbuf_reserve`` fail in the program; only the program can count
that. Whoever compiled it passes ``dropped``, which reads the counter.

Example::

    with RingBuffer(events) as ring:
        while ring.wait(100):
            ring.drain(take)
"""

from __future__ import annotations

from bpflens.kernel.info import map_info
from bpflens.kernel.mmap import PAGE_SIZE, PROT_READ, PROT_WRITE, Mapping
from bpflens.ring.record import HEADER, Tally, walk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Protocol, Self

    from bpflens.ring.poller import Poller
    from bpflens.ring.record import Handler

    class HasFd(Protocol):
        """A map, as far as a reader looks at it."""

        @property
        def fd(self) -> int:
            """Its descriptor."""


__all__ = ["RingBuffer", "unmap"]

_ALL_BITS = (1 << 64) - 1
# Space is given back to the producer after an eighth of the buffer.
_BATCHES = 8


class RingBuffer:
    """A reader of one ring buffer map. There must be only one reader of a map.

    ``map`` is anything with an ``fd``; ``size`` its number of bytes (asked from the kernel if 0);
    ``dropped`` returns how many records found no room. ``header`` is the number of bytes in front
    of each payload of a block.
    """

    __slots__ = ("_batch", "_consumer", "_data", "_dropped", "_mask", "_poller", "_position",
                 "_producer", "_words", "fd", "fds", "header", "size", "tally")  # fmt: skip

    def __init__(
        self, map: HasFd, *, size: int = 0, dropped: Callable[[], int] | None = None
    ) -> None:
        self.fd = map.fd
        self.fds = [map.fd]
        self.header = HEADER
        self.size = size or map_info(self.fd).max_entries
        self.tally = Tally()
        self._dropped = dropped
        self._mask = self.size - 1
        self._batch = max(self.size // _BATCHES, PAGE_SIZE)
        self._poller: Poller | None = None
        self._consumer = Mapping(self.fd, PAGE_SIZE, PROT_READ | PROT_WRITE, what="ring buffer")
        try:
            area = PAGE_SIZE + 2 * self.size
            self._producer = Mapping(self.fd, area, PROT_READ, PAGE_SIZE, what="ring buffer data")
        except BaseException:
            self._consumer.close()
            raise
        self._data = self._producer.view[PAGE_SIZE:]
        self._words = self._data.cast("I")
        self._position = self._consumer.load(0)

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
        """How many records the programs could not store, by the counter given as ``dropped``."""
        return self._dropped() if self._dropped else 0

    @property
    def pending(self) -> int:
        """How many bytes are produced and not yet consumed."""
        return (self._producer.load(0) - self._position) & _ALL_BITS

    def drain(self, handler: Handler) -> int:
        """Hand out everything that is there, at most one lap; return the number of records.

        ``handler(block, size, count)`` gets ``count`` neighbouring records of ``size`` payload
        bytes, each behind :attr:`header` bytes, ``len(block) // count`` apart. The block is valid
        during the call only: its memory belongs to the producer again afterwards.
        """
        tally = self.tally
        records = tally.records
        begin = tally.passed
        while tally.passed - begin < self.size:
            available = self.pending
            if not available:
                break
            before = tally.passed
            start = self._position & self._mask
            try:
                walk(self._data, self._words, start, available, handler, tally, self._batch)
            finally:
                self._position = (self._position + tally.passed - before) & _ALL_BITS
                self._consumer.store(0, self._position)
            if tally.passed == before:
                break
        return tally.records - records

    def wait(self, timeout_ms: float = -1) -> bool:
        """Sleep until something may be there; False when the time passed first."""
        if self._poller is None:
            from bpflens.ring.poller import Poller

            self._poller = Poller([self])
        return self._poller.wait(timeout_ms)

    def close(self) -> None:
        """Unmap the buffer (the map stays open); a second call does nothing."""
        if self._poller is not None:
            self._poller.close()
        self._words.release()
        self._data.release()
        unmap(self._consumer)
        unmap(self._producer)


def unmap(mapping: Mapping) -> None:
    """Close a mapping, or leave that to the last view of it where a handler kept a block."""
    try:
        mapping.close()
    except BufferError:
        return

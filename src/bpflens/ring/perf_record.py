"""Walk the records of a perf buffer: bytes of its data area in, blocks of equal samples out.

A perf buffer is written with ``bpf_perf_event_output``: each event is a PERF_RECORD_SAMPLE whose
body is a 32-bit length and the bytes, padded to 8. Where the kernel had no room it says so with a
PERF_RECORD_LOST that carries the number of lost events; those are summed up exactly.

Unlike a BPF ring buffer the data area is mapped once, so that the record at its end may be wrapped;
that one is copied together and handed out as a block of its own.

Invariant: a record that has an unknown type is counted in ``Tally.unknown`` and passed over.

Example::

    consumed = walk(data, tail, available, handler, tally)
"""

from __future__ import annotations

from struct import Struct

from bpflens.errors import FormatError
from bpflens.ring.run import run_length

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Handler = Callable[[memoryview, int, int], object]

__all__ = ["HEADER", "Tally", "walk"]

#: Bytes in front of the payload of a sample: perf_event_header and the length of the raw data.
HEADER = 12

# include/uapi/linux/perf_event.h: enum perf_event_type.
_LOST = 2
_SAMPLE = 9

_HEADER = Struct("=IHH")
_LOST_BODY = Struct("=QQ")


class Tally:
    """What a reader has seen: ``records``, ``payload`` bytes, ``lost`` events, ``unknown`` ones.

    ``passed`` counts every byte walked over; it is brought up to date before a handler is called.
    """

    __slots__ = ("lost", "passed", "payload", "records", "unknown")

    def __init__(self) -> None:
        self.passed = 0
        self.records = 0
        self.payload = 0
        self.lost = 0
        self.unknown = 0


def walk(
    data: memoryview,
    tail: int,
    available: int,
    handler: Handler,
    tally: Tally | None = None,
) -> int:
    """Hand out the ``available`` bytes from position ``tail`` on; return the bytes consumed.

    ``data`` is the data area, its length a power of two. ``handler(block, size, count)`` gets
    ``count`` samples of ``size`` payload bytes each (padding of the kernel included), the payload
    of each behind ``HEADER`` bytes.

    Raises :class:`~bpflens.errors.FormatError` for a record that cannot be one.
    """
    tally = tally or Tally()
    headers = data.cast("Q")
    length = len(data)
    position = 0
    while position < available:
        start = (tail + position) & (length - 1)
        # Everything is 8-byte aligned, so that this header is never wrapped.
        kind, _misc, size = _HEADER.unpack_from(data, start)
        if size < 8 or size & 7 or position + size > available:
            raise FormatError("perf buffer", f"a record of {size} bytes", f"offset {start}")
        if kind == _SAMPLE:
            most = min(length - start, available - position) // size
            count = max(run_length(headers, start >> 3, size >> 3, most), 1)
            payload = size - HEADER
            tally.records += count
            tally.payload += count * payload
            tally.passed += count * size
            position += count * size
            handler(_joined(data, start, count * size), payload, count)
            continue
        if kind == _LOST:
            tally.lost += _LOST_BODY.unpack_from(_joined(data, start, size), 8)[1]
        else:
            tally.unknown += 1
        tally.passed += size
        position += size
    return position


# `size` bytes from `start` on, copied only where they are wrapped.
def _joined(data: memoryview, start: int, size: int) -> memoryview:
    end = start + size
    if end <= len(data):
        return data[start:end]
    return memoryview(bytes(data[start:]) + bytes(data[: end - len(data)]))

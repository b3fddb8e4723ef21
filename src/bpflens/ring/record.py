"""Walk the records of a BPF ring buffer: bytes of its data area in, blocks of equal records out.

A record is 8 bytes of header (length with two flag bits, then a page offset that is of no use to
a reader) and the payload, padded to 8 bytes. Neighbouring records of one length are handed over as
one *block*, so that a decoder can take them all with a single ``struct.unpack``; reading the
headers one by one in Python costs four times as much as the whole walk does.

Invariants: a record that its producer has not committed yet (the busy bit) ends the walk, for
records are consumed in order; a discarded record is passed over and never handed out; a block is
never wrapped, because the kernel maps the data area twice in a row.

This module reads no positions and stores none: see :mod:`bpflens.ring.buffer`.

Example::

    consumed = walk(data, words, start=0, available=64, handler=take)
"""

from __future__ import annotations

from bpflens.errors import FormatError
from bpflens.ring.run import run_length

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Handler = Callable[[memoryview, int, int], object]

__all__ = ["HEADER", "Tally", "payloads", "stride", "walk"]

#: Bytes of header in front of every payload of a ring buffer.
HEADER = 8

# include/uapi/linux/bpf.h: BPF_RINGBUF_BUSY_BIT and BPF_RINGBUF_DISCARD_BIT of the length word.
_BUSY = 1 << 31
_DISCARD = 1 << 30


class Tally:
    """What a reader has seen: ``records`` and ``payload`` bytes handed out, ``discarded`` records.

    ``passed`` counts every byte walked over, headers included; it is brought up to date before a
    handler is called, so that a handler that raises does not get the same block twice.
    """

    __slots__ = ("discarded", "passed", "payload", "records")

    def __init__(self) -> None:
        self.passed = 0
        self.records = 0
        self.payload = 0
        self.discarded = 0


def stride(size: int) -> int:
    """Return the distance between two neighbouring records of ``size`` payload bytes."""
    return (size + HEADER + 7) & ~7


def payloads(
    block: memoryview, size: int, count: int, header: int = HEADER
) -> Iterator[memoryview]:
    """Take a block apart: yield the payload of each of its ``count`` records."""
    step = len(block) // count
    for start in range(header, header + step * count, step):
        yield block[start : start + size]


def walk(
    data: memoryview,
    words: memoryview,
    start: int,
    available: int,
    handler: Handler,
    tally: Tally | None = None,
    most: int = 1 << 20,
) -> int:
    """Hand out what lies between ``start`` and ``start + available``; return the bytes consumed.

    ``data`` is the data area (mapped twice in a row), ``words`` the same memory as 32-bit words,
    ``start`` an offset below the size of the area. ``handler(block, size, count)`` gets ``count``
    records of ``size`` payload bytes each, ``stride(size)`` apart, the first header at the
    beginning of ``block``. The walk ends early at an uncommitted record and once ``most`` bytes
    were passed, so that their space can be given back while there is more to read.

    Raises :class:`~bpflens.errors.FormatError` for a record longer than what was produced.
    """
    tally = tally or Tally()
    position = start
    end = start + available
    stop = start + min(available, most)
    while position < stop:
        word = words[position >> 2]
        if word & _BUSY:
            break
        size = word & ~_DISCARD
        step = stride(size)
        if position + step > end:
            problem = f"a record of {size} bytes where {end - position} are left"
            raise FormatError("ring buffer", problem, f"offset {position}")
        count = run_length(words, position >> 2, step >> 2, max((stop - position) // step, 1))
        block_end = position + count * step
        tally.passed += count * step
        if word & _DISCARD:
            tally.discarded += count
        else:
            tally.records += count
            tally.payload += count * size
            handler(data[position:block_end], size, count)
        position = block_end
    return position - start

"""Find out how many neighbouring records carry the same header, without a loop over records.

The headers of a run are a strided slice of the buffer seen as words; the slice is compared with
the first header repeated, by one comparison of byte strings in C.

Example::

    run_length(words, index=0, step=6, limit=1000)     # 1000 if all have the header of the first
"""

from __future__ import annotations

__all__ = ["run_length"]

# How many headers are compared at once: little at first, so that records of changing sizes
# cost no more than a few look-ups, then a lot.
_FIRST_PROBE = 8
_LAST_PROBE = 8192


def run_length(items: memoryview, index: int, step: int, limit: int) -> int:
    """Count how many of the items ``index, index + step, …`` equal the first, at most ``limit``."""
    if limit < 2 or items[index] != items[index + step]:
        return min(limit, 1)
    one = items[index : index + 1].tobytes()
    count = 2
    probe = _FIRST_PROBE
    while count < limit:
        probe = min(probe, limit - count)
        first = index + count * step
        seen = items[first : first + probe * step : step].tobytes()
        if seen != one * probe:
            return count + _common_bits(seen, one * probe) // (len(one) * 8)
        count += probe
        probe = min(probe * 8, _LAST_PROBE)
    return count


# Length, in bits, of the common beginning of two different byte strings of one length.
def _common_bits(one: bytes, other: bytes) -> int:
    # Read as little-endian numbers on any machine: the lowest differing bit is the first in memory.
    difference = int.from_bytes(one, "little") ^ int.from_bytes(other, "little")
    return (difference & -difference).bit_length() - 1

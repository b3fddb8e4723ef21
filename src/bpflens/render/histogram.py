"""Histograms as people see them: bucket bounds, labels, bars; and as JSON.

The layout is bpftrace's: a label, the count, and a bar of up to 52 ``@``.

Example::

    buckets(Hist(), counts)     # [Bucket(low=4, high=8, count=3), ...]
"""

from __future__ import annotations

from struct import Struct

from bpflens.lang.types import Hist, LHist

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Bucket", "buckets", "json_buckets", "lines", "single"]

_WIDTH = 52
_SUFFIXES = ("", "K", "M", "G", "T", "P", "E")
_FLOAT = Struct("<f")


class Bucket:
    """Values from ``low`` (None: no lower bound) up to but without ``high`` (None: no bound)."""

    __slots__ = ("count", "high", "high_label", "low", "low_label")

    def __init__(
        self, low: int | None, high: int | None, count: int, low_label: str, high_label: str
    ) -> None:
        self.low = low
        self.high = high
        self.count = count
        self.low_label = low_label
        self.high_label = high_label


def buckets(kind: Hist | LHist, counts: Sequence[int]) -> list[Bucket]:
    """Return the buckets from the first to the last one that is not empty."""
    used = [i for i, count in enumerate(counts) if count]
    if not used:
        return []
    bound = _log2_bounds if isinstance(kind, Hist) else _linear_bounds
    return [bound(kind, i, counts[i]) for i in range(used[0], used[-1] + 1)]  # type: ignore[arg-type]


def _log2_bounds(kind: Hist, slot: int, count: int) -> Bucket:
    if slot == 0:
        return Bucket(None, 0, count, "", "0")
    index = slot - 1
    low, low_label = _log2_label(index, kind.bits)
    high, high_label = _log2_label(index + 1, kind.bits)
    return Bucket(low, high, count, low_label, high_label)


def _log2_label(index: int, bits: int) -> tuple[int, str]:
    exact = 1 << bits
    if index < exact:
        return index, str(index)
    power = (index >> bits) - 1
    value = exact + (index & (exact - 1))
    decade, rest = divmod(power, 10)
    return value << power, f"{value << rest}{_SUFFIXES[decade]}"


def _linear_bounds(kind: LHist, slot: int, count: int) -> Bucket:
    if slot == 0:
        return Bucket(None, kind.minimum, count, "", _linear_label(kind.minimum, kind.step))
    low = kind.minimum + (slot - 1) * kind.step
    low_label = _linear_label(low, kind.step)
    if slot == kind.slots - 1:
        return Bucket(kind.maximum, None, count, _linear_label(kind.maximum, kind.step), "")
    high = low + kind.step
    return Bucket(low, high, count, low_label, _linear_label(high, kind.step))


def _linear_label(value: int, step: int) -> str:
    if step % 1024:
        return str(value)
    if value % (1 << 20) == 0 and value:
        return f"{value >> 20}M"
    return f"{value >> 10}K" if value else "0"


def lines(found: Sequence[Bucket]) -> str:
    """Return the lines of a histogram, each with its newline."""
    largest = max((bucket.count for bucket in found), default=0)
    return "".join(_line(bucket, largest) for bucket in found)


def _line(bucket: Bucket, largest: int) -> str:
    if bucket.low is None:
        label = f"(..., {bucket.high_label})"
    elif bucket.high is None:
        label = f"[{bucket.low_label}, ...)"
    elif bucket.high == bucket.low + 1:
        label = f"[{bucket.low_label}]"
    else:
        label = f"[{bucket.low_label}, {bucket.high_label})"
    return f"{label:<16}{bucket.count:>8} |{'@' * _bar(bucket.count, largest):<{_WIDTH}}|\n"


def _bar(count: int, largest: int) -> int:
    # The reference computes in single precision, which shows in the length of a bar now and then.
    share = single(single(count) / single(largest)) if largest else 0.0
    return int(single(share * _WIDTH))


def single(value: float) -> float:
    """Round a number to single precision, in which the reference computes lengths."""
    single: float = _FLOAT.unpack(_FLOAT.pack(value))[0]
    return single


def json_buckets(found: Sequence[Bucket]) -> list[dict[str, int]]:
    """Return the buckets as JSON objects; ``max`` is inclusive, unbounded ends are left out."""
    result = []
    for bucket in found:
        item = {}
        if bucket.low is not None:
            item["min"] = bucket.low
        if bucket.high is not None:
            item["max"] = bucket.high - 1
        item["count"] = bucket.count
        result.append(item)
    return result

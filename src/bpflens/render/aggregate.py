"""Aggregates: from the slots of every CPU to one value.

Values come as a sequence of signed or unsigned 64-bit slots for each CPU (see the Aggregate types
of :mod:`bpflens.lang.types` for what the slots mean).

Example::

    merge(Count(), [[3], [4]])      # 7
    merge(Stats(), [[30, 3], [10, 1]])      # Summary(count=4, average=10, total=40)
"""

from __future__ import annotations

from bpflens.lang.types import Aggregate, Avg, Count, Hist, LHist, Max, Min, Stats, Sum, TSeries

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Summary", "is_empty", "merge", "sort_weight"]

_WORD = 1 << 64


class Summary:
    """What ``stats()`` keeps: number of values, their average (towards zero) and total."""

    __slots__ = ("average", "count", "total")

    def __init__(self, count: int, average: int, total: int) -> None:
        self.count = count
        self.average = average
        self.total = total


def merge(kind: Aggregate, cpus: Sequence[Sequence[int]]) -> object:
    """Merge the unsigned slots of all CPUs.

    Returns an int for count, sum, min, max and avg, a :class:`Summary` for stats, a list of bucket
    counts for hist and lhist, a dict of epoch → value for tseries.
    """
    if isinstance(kind, Count):
        return sum(slots[0] for slots in cpus)
    if isinstance(kind, (Hist, LHist)):
        return [sum(column) for column in zip(*cpus, strict=True)]
    if isinstance(kind, TSeries):
        return _series(kind, cpus)
    signed: bool = kind.signed  # type: ignore[attr-defined]
    if isinstance(kind, Sum):
        return _wrap(sum(slots[0] for slots in cpus), signed)
    if isinstance(kind, (Min, Max)):
        values = [_wrap(slots[0], signed) for slots in cpus if slots[1]]
        pick = min if isinstance(kind, Min) else max
        return pick(values) if values else 0
    total = _wrap(sum(slots[0] for slots in cpus), signed)
    count = sum(slots[1] for slots in cpus)
    average = _towards_zero(total, count)
    return average if isinstance(kind, Avg) else Summary(count, average, total)


def is_empty(kind: Aggregate, cpus: Sequence[Sequence[int]]) -> bool:
    """Whether no CPU ever recorded a value (so that a scalar prints nothing)."""
    if isinstance(kind, (Sum, Min, Max, Avg, Stats)):
        return not any(slots[1] for slots in cpus)
    return not any(any(slots) for slots in cpus)


def sort_weight(kind: Aggregate, value: object) -> int:
    """Return the number by which entries of a map of aggregates are ordered."""
    if isinstance(value, Summary):
        return value.average
    if isinstance(value, list):
        return sum(value)
    return value if isinstance(value, int) else 0


def _wrap(value: int, signed: bool) -> int:
    value %= _WORD
    return value - _WORD if signed and value >> 63 else value


def _towards_zero(total: int, count: int) -> int:
    if not count:
        return 0
    quotient = abs(total) // count
    return -quotient if total < 0 else quotient


def _series(kind: TSeries, cpus: Sequence[Sequence[int]]) -> dict[int, int]:
    found: dict[int, tuple[int, int]] = {}
    for slots in cpus:
        for at in range(0, len(slots), 3):
            epoch, value, count = slots[at], _wrap(slots[at + 1], kind.signed), slots[at + 2]
            if not count:
                continue
            have = found.get(epoch)
            found[epoch] = (value, count) if have is None else _combine(kind, have, value, count)
    newest = max(found, default=0)
    # Slots that the ring has not overwritten yet may be older than the window.
    recent = {e: v for e, v in found.items() if e > newest - kind.length}
    if kind.reducer == "avg":
        return {e: _towards_zero(v, c) for e, (v, c) in sorted(recent.items())}
    return {e: v for e, (v, _) in sorted(recent.items())}


def _combine(kind: TSeries, have: tuple[int, int], value: int, count: int) -> tuple[int, int]:
    if kind.reducer in ("sum", "avg"):
        return have[0] + value, have[1] + count
    if kind.reducer in ("min", "max"):
        pick = min if kind.reducer == "min" else max
        return pick(have[0], value), have[1] + count
    return value, have[1] + count

"""Time series as people see them: a graph with one line an interval; and as JSON.

Points come as ``{epoch: value}``, an epoch being the number of an interval since boot.

Example::

    lines(TSeries(10**8, 5), {17: 4, 18: 6}, newest=18, resolver=resolver)
"""

from __future__ import annotations

import time

from bpflens.render.histogram import single

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bpflens.lang.types import TSeries
    from bpflens.render.resolver import Resolver

    Points = Mapping[int, int]

__all__ = ["CLOCK", "json_points", "lines", "newest_epoch"]

# Epochs count the kernel's time since boot.
CLOCK = 1
_WIDTH = 53
_HALF = 21
_SECOND = 1_000_000_000
# Nanoseconds of a unit, its name, the digits it takes behind the seconds.
_UNITS = ((_SECOND, "", 0), (1_000_000, ".ms", 3), (1000, ".us", 6), (1, ".ns", 9))


def newest_epoch(series: Iterable[object]) -> int:
    """Return the last epoch of several series, which share one time axis; 0 without any point."""
    return max((max(points) for points in series if isinstance(points, dict) and points), default=0)


def lines(kind: TSeries, points: Points, newest: int, resolver: Resolver) -> str:
    """Return the lines of a graph, each with its newline."""
    if not points:
        return "<no data>\n"
    low, high = min(points.values()), max(points.values())
    if low == high:
        low, high = _widened(kind, low)
    digits, name = _unit(kind.interval)
    indent = len("hh:mm:ss") + (digits + 1 if digits else 0)
    bounds = f"{' ' * (indent + 1)}{low!s:<{_HALF}}{high!s:>{_WIDTH - _HALF}}\n"
    out = [bounds, f"{'hh:mm:ss' + name:<{indent + 1}}|{'_' * (_WIDTH - 2)}|\n"]
    zero = int(single(single(_WIDTH) * single(-low)) / single(high - low)) if low < 0 < high else 0
    for epoch in range(newest - kind.length + 1, newest + 1):
        when = resolver.wall_time(epoch * kind.interval, CLOCK)
        shown = points.get(epoch)
        bar = _bar(shown, low, high, zero)
        out.append(f"{_clock(when, digits)} {bar} {'-' if shown is None else shown}\n")
    out.append(f"{' ' * indent} v{'_' * (_WIDTH - 2)}v\n")
    out.append(bounds)
    return "".join(out)


def _widened(kind: TSeries, value: int) -> tuple[int, int]:
    # One value alone stands in the middle, unless it is at the end of what its type can hold.
    least, most = (-(1 << 63), (1 << 63) - 1) if kind.signed else (0, (1 << 64) - 1)
    return max(value - 1, least), min(value + 1, most)


def _unit(interval: int) -> tuple[int, str]:
    for size, name, digits in _UNITS:
        if interval % size == 0:
            return digits, name
    return 9, ".ns"


def _bar(value: int | None, low: int, high: int, zero: int) -> str:
    line = ["|", *" " * (_WIDTH - 2), "|"]
    if zero:
        line[zero] = "."
    if value is not None:
        share = single(single(_WIDTH - 1) * single(value - low)) / single(high - low)
        line[max(0, min(_WIDTH - 1, int(share)))] = "*"
    return "".join(line)


def _clock(when: int, digits: int) -> str:
    seconds, rest = divmod(when, _SECOND)
    shown = time.strftime("%H:%M:%S", time.localtime(seconds))
    return f"{shown}.{rest:09d}"[: len(shown) + 1 + digits] if digits else shown


def json_points(kind: TSeries, points: Points, newest: int, resolver: Resolver) -> list[object]:
    """Return the points as JSON objects; intervals without any value are left out."""
    found: list[object] = []
    for epoch in sorted(points):
        if epoch <= newest - kind.length:
            continue
        seconds, rest = divmod(resolver.wall_time(epoch * kind.interval, CLOCK), _SECOND)
        shown = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
        found.append({"interval_start": f"{shown}.{rest:09d}", "value": points[epoch]})
    return found

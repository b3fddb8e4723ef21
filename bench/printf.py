"""Lines through the ring buffer: how many are received a second, and how many are lost.

The load runs on one CPU and the tracer on another. "reported" is what the tracer itself says it
lost; lost lines that it does not report are the difference.
"""

from __future__ import annotations

import re
import time

from bench.measure import Row, in_turn, median
from bench.tracer import Load, Tracer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

SCRIPT = (
    "tracepoint:syscalls:sys_enter_getppid /pid == $1/ "
    '{ printf("%d %d %d %s\\n", pid, tid, cpu, comm); }'
)

# name → (events in a burst, bursts, pause between them in seconds)
CASES = {
    "as fast as it goes": (1_000_000, 1, 0.0),
    "10,000 every 10 ms": (10_000, 50, 0.01),
    "1,000 every 10 ms": (1_000, 100, 0.01),
}


def measure(sides: Mapping[str, Sequence[str] | None], runs: int) -> Iterator[Row]:
    """Yield four rows a case."""
    for case, (burst, bursts, pause) in CASES.items():

        def once(
            command: Sequence[str], burst: int = burst, bursts: int = bursts, pause: float = pause
        ) -> dict[str, float]:
            return _one(command, burst, bursts, pause)

        found = in_turn(sides, runs, once)
        for metric, unit in (
            ("received", "/s"), ("lost", "lines"), ("lost, reported", "lines"), ("CPU", "s"),
        ):  # fmt: skip
            figures = [median(found[side].get(metric)) for side in ("ours", "theirs")]
            yield Row(case, metric, unit, figures, note=f"of {burst * bursts:,} lines")


def _one(command: Sequence[str], burst: int, bursts: int, pause: float) -> dict[str, float]:
    with Load("getppid", burst, cpu=0) as load, Tracer(command, SCRIPT, load.pid, cpu=1) as tracer:
        started = time.monotonic()
        for _ in range(bursts):
            load.go()
            time.sleep(pause)
        # The last line is out when nothing more comes.
        size, last = -1, time.monotonic()
        while time.monotonic() - last < 0.3:
            if tracer.written() != size:
                size, last = tracer.written(), time.monotonic()
            time.sleep(0.002)
        tracer.stop()
    lines = len(
        re.findall(rb"^%d %d \d+ load$" % (load.pid, load.pid), tracer.output, re.MULTILINE)
    )
    text = tracer.output + tracer.errors
    reported = sum(int(count) for count in re.findall(rb"[Ll]ost (\d+) events", text))
    return {
        "received": lines / (last - started),
        "lost": burst * bursts - lines,
        "lost, reported": reported,
        "CPU": tracer.cpu_seconds,
    }

"""Attaching and detaching: from the start until attached, and from Ctrl-C until gone."""

from __future__ import annotations

from bench.measure import Row, in_turn, median
from bench.tracer import Tracer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

COUNT = " /pid == 1/ { @ = count(); }"
LIBC = "uprobe:/lib/x86_64-linux-gnu/libc.so.6:"

CASES = {
    "1 tracepoint": "tracepoint:syscalls:sys_enter_getppid" + COUNT,
    "2 tracepoints": (
        "tracepoint:syscalls:sys_enter_getppid,tracepoint:syscalls:sys_exit_getppid" + COUNT
    ),
    "25 tracepoints (sched)": "tracepoint:sched:*" + COUNT,
    "360 tracepoints (sys_enter)": "tracepoint:syscalls:sys_enter_*" + COUNT,
    "profile": "profile:hz:99 { @[kstack] = count(); }",
    "uprobe": LIBC + "malloc" + COUNT,
    "uprobes (mem*)": LIBC + "mem*" + COUNT,
}


def measure(sides: Mapping[str, Sequence[str] | None], runs: int) -> Iterator[Row]:
    """Yield two rows a case."""
    for case, script in CASES.items():

        def once(command: Sequence[str], script: str = script) -> dict[str, float]:
            with Tracer(command, script) as tracer:
                tracer.stop()
            return {
                "until attached": tracer.attach_seconds * 1e3,
                "until gone": tracer.exit_seconds * 1e3,
            }

        # The real tool takes half a minute to let go of 360 tracepoints.
        found = in_turn(sides, 1 if case.startswith("360") else runs, once)
        for metric in ("until attached", "until gone"):
            yield Row(case, metric, "ms", [median(found[side].get(metric)) for side in sides])

"""Printing big maps: from Ctrl-C to the end, with all keys printed."""

from __future__ import annotations

from bench.measure import Failed, Row, in_turn, median
from bench.tracer import Load, Tracer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

KEYS = 100_000
SEEK = "tracepoint:syscalls:sys_enter_lseek /pid == $1/ "

# name → (script, options, the least number of lines it prints)
CASES: dict[str, tuple[str, list[str], int]] = {
    "count by number": (SEEK + "{ @[args->offset] = count(); }", [], KEYS),
    "number by number": (SEEK + "{ @[args->offset] = args->offset; }", [], KEYS),
    "count by two": (SEEK + "{ @[comm, args->offset] = count(); }", [], KEYS),
    "count by number, JSON": (SEEK + "{ @[args->offset] = count(); }", ["-f", "json"], 1),
    "1000 histograms": (SEEK + "{ @[args->offset % 1000] = hist(args->offset); }", [], 1000),
}


def measure(sides: Mapping[str, Sequence[str] | None], runs: int) -> Iterator[Row]:
    """Yield three rows a case."""
    # The name of the limit changed between generations; each ignores the other's.
    limits = {"BPFTRACE_MAP_KEYS_MAX": str(KEYS + 1000), "BPFTRACE_MAX_MAP_KEYS": str(KEYS + 1000)}
    for case, (script, options, lines) in CASES.items():

        def once(
            command: Sequence[str],
            script: str = script,
            options: list[str] = options,
            lines: int = lines,
        ) -> dict[str, float]:
            with Load("lseek", KEYS) as load:
                tracer = Tracer(command, script, load.pid, options=options, variables=limits)
                with tracer:
                    load.go()
                    tracer.stop()
            printed = tracer.output.count(b"\n")
            if printed < lines:
                raise Failed(f"{script}: {printed} lines, not {lines}")
            return {
                "to the end": tracer.exit_seconds * 1e3,
                "CPU": tracer.cpu_seconds * 1e3,
                "memory": tracer.memory,
            }

        found = in_turn(sides, runs, once)
        for metric, unit in (("to the end", "ms"), ("CPU", "ms"), ("memory", "MiB")):
            yield Row(case, metric, unit, [median(found[side].get(metric)) for side in sides])

"""From the command to its end: wall time, CPU, memory, and instructions.

Instructions are counted where there is a callgrind, for the cases that trace nothing: probes that
fire under emulation are no measure.
"""

from __future__ import annotations

from bench.measure import Failed, Row, in_turn, instructions, median, run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

OPENAT = 'tracepoint:syscalls:sys_enter_openat { printf("%s %s\\n", comm, str(args->filename)); }'
READ = (
    "tracepoint:syscalls:sys_enter_read { @s[tid] = nsecs; } "
    "tracepoint:syscalls:sys_exit_read /@s[tid]/ "
    "{ @us[comm] = hist((nsecs - @s[tid]) / 1000); delete(@s[tid]); }"
)
STOP = " interval:ms:1 { exit(); }"

CASES = {
    "version": ["--version"],
    "BEGIN and exit": ["-e", "BEGIN { exit(); }"],
    "tracepoint with arguments": ["-e", OPENAT + STOP],
    "histogram of two probes": ["-e", READ + STOP],
    "360 tracepoints": [
        "-e",
        "tracepoint:syscalls:sys_enter_* { @[probe] = count(); }" + STOP,
    ],
    "uprobe": [
        "-e",
        "uprobe:/lib/x86_64-linux-gnu/libc.so.6:malloc /pid == 1/ { @ = count(); }" + STOP,
    ],
    "list tracepoints": ["-l", "tracepoint:*"],
}
COUNTED = ("version", "BEGIN and exit", "list tracepoints")


def measure(sides: Mapping[str, Sequence[str] | None], runs: int) -> Iterator[Row]:
    """Yield three or four rows a case."""
    for case, words in CASES.items():

        def once(command: Sequence[str], words: list[str] = words) -> dict[str, float]:
            usage = run([*command, *words])
            if usage.status:
                last = usage.output.decode(errors="replace").strip().splitlines()[-1:]
                raise Failed(f"{' '.join(words)[:60]}: status {usage.status}: {' '.join(last)}")
            return {"wall": usage.wall, "CPU": usage.cpu, "memory": usage.memory}

        found = in_turn(sides, runs, once)
        for metric, unit, scale in (("wall", "ms", 1e3), ("CPU", "ms", 1e3), ("memory", "MiB", 1)):
            figures = [median(found[side].get(metric)) for side in ("ours", "theirs")]
            scaled = [value * scale if value is not None else None for value in figures]
            yield Row(case, metric, unit, scaled)
        if case in COUNTED:
            counts = [
                instructions([*command, *words]) if command and found[side] else None
                for side, command in sides.items()
            ]
            yield Row(case, "instructions", "M", counts)

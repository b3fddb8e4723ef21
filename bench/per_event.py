"""What one event costs in the kernel: run time by the kernel's own statistics, least of the runs.

A program that returns at once reads about 46 ns: that is the statistics' own clock. Programs are
told apart from those of others by having come with the tracer and having run as often as the load.
"""

from __future__ import annotations

from bench.measure import Failed, Row, in_turn, least
from bench.tracer import Load, Tracer, kernel_statistics, load_program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

EVENTS = 300_000
ENTER = "tracepoint:syscalls:sys_enter_getppid /pid == $1/ "
EXIT = "tracepoint:syscalls:sys_exit_getppid /pid == $1/ "
OPEN = "tracepoint:syscalls:sys_enter_openat /pid == $1"

# name → kind of load, script ({} is the load generator), divisor of the number of events
CASES = {
    "return": ("getppid", "tracepoint:syscalls:sys_enter_getppid { $x = 1; }", 1),
    "count": ("getppid", ENTER + "{ @ = count(); }", 1),
    "increment": ("getppid", ENTER + "{ @++; }", 1),
    "count by comm": ("getppid", ENTER + "{ @[comm] = count(); }", 1),
    "count by thread": ("getppid", ENTER + "{ @[tid] = count(); }", 1),
    "sum": ("getppid", ENTER + "{ @ = sum(nsecs); }", 1),
    "stats": ("getppid", ENTER + "{ @ = stats(pid); }", 1),
    "hist by thread": ("getppid", ENTER + "{ @[tid] = hist(nsecs); }", 1),
    "lhist": ("getppid", ENTER + "{ @ = lhist(nsecs % 100, 0, 100, 10); }", 1),
    "latency": (
        "getppid",
        ENTER + "{ @start[tid] = nsecs; } "
        + EXIT + "{ @us = hist((nsecs - @start[tid]) / 1000); delete(@start[tid]); }",
        1,
    ),
    "count by kernel stack": ("getppid", ENTER + "{ @[kstack] = count(); }", 4),
    "count by user stack": ("getppid", ENTER + "{ @[ustack] = count(); }", 4),
    "count by three": ("getppid", ENTER + "{ @[pid, comm, cpu] = count(); }", 1),
    "count by string": ("openat", OPEN + "/ { @[str(args->filename)] = count(); }", 4),
    "compare a string": (
        "openat",
        OPEN + ' && str(args->filename) == "/nowhere/bpflens"/ { @ = count(); }',
        4,
    ),
    "walk structures": (
        "getppid",
        ENTER + "{ @[((struct task_struct *)curtask)->real_parent->comm] = count(); }",
        1,
    ),
    "uprobe count": ("function", "uprobe:{}:probed /pid == $1/ {{ @ = count(); }}", 8),
    "uprobe argument": ("function", "uprobe:{}:probed /pid == $1/ {{ @[arg0 & 7] = count(); }}", 8),
}  # fmt: skip


def measure(sides: Mapping[str, Sequence[str] | None], runs: int) -> Iterator[Row]:
    """Yield one row a case."""
    for case, (kind, script, divisor) in CASES.items():
        text = script.format(load_program()) if kind == "function" else script
        count = EVENTS // divisor

        def once(
            command: Sequence[str], kind: str = kind, text: str = text, count: int = count
        ) -> dict[str, float]:
            return {"run time": _one(command, kind, text, count)}

        found = in_turn(sides, runs, once)
        figures = [least(found[side].get("run time")) for side in ("ours", "theirs")]
        yield Row(case, "in the kernel", "ns", figures)


def _one(command: Sequence[str], kind: str, script: str, count: int) -> float:
    from bpflens.objects import iterate

    before = set(iterate.ids("prog"))
    with Load(kind, count) as load, Tracer(command, script, load.pid):
        mine = sorted(set(iterate.ids("prog")) - before)
        load.go()  # warm: maps filled, caches hot
        with kernel_statistics():
            start = _statistics(mine)
            load.go()
            end = _statistics(mine)
    spent = [
        end[id][1] - start[id][1]
        for id in mine
        if id in start and id in end and end[id][0] - start[id][0] >= 0.99 * count
    ]
    if not spent:
        raise Failed(f"no program ran {count} times")
    return sum(spent) / count


def _statistics(ids: list[int]) -> dict[int, tuple[int, int]]:
    # id → (how often it ran, nanoseconds)
    from bpflens.errors import SyscallError
    from bpflens.objects.program import Program

    found = {}
    for id in ids:
        try:
            with Program.from_id(id) as program:
                found[id] = (program.stats.run_cnt, program.stats.run_time_ns)
        except SyscallError:
            continue  # it belonged to somebody else, and is gone
    return found

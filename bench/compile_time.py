"""From the text of a script to bytecode: the command told to stop before loading.

``-d`` prints the last stage of the compiler and attaches nothing, in both commands (so printing is
part of it). What start-up costs by itself (``--version``) is taken off.
"""

from __future__ import annotations

from bench.measure import Failed, Row, in_turn, least, run
from bench.start_up import OPENAT, READ

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

CASES = {
    "BEGIN and exit": "BEGIN { exit(); }",
    "tracepoint with arguments": OPENAT,
    "histogram of two probes": READ,
    "many maps and probes": " ".join(
        f"tracepoint:syscalls:sys_enter_{name} {{ @n[comm, {i}] = count(); @sum{i} = sum({i}); }}"
        for i, name in enumerate(("read", "write", "openat", "close", "lseek", "mmap", "futex"))
    ),
}


def measure(sides: Mapping[str, Sequence[str] | None], runs: int) -> Iterator[Row]:
    """Yield one row a case: CPU beyond that of ``--version``."""

    def cpu(command: Sequence[str], words: list[str]) -> float:
        usage = run([*command, *words])
        if usage.status:
            raise Failed(f"{' '.join(words)[:60]}: status {usage.status}")
        return usage.cpu * 1e3

    idle = in_turn(sides, runs, lambda command: {"CPU": cpu(command, ["--version"])})
    for case, script in CASES.items():

        def once(command: Sequence[str], script: str = script) -> dict[str, float]:
            stage = "asm" if command is sides["ours"] else "codegen"
            return {"CPU": cpu(command, ["-d", stage, "-e", script])}

        found = in_turn(sides, runs, once)
        figures: list[float | None] = []
        for side in ("ours", "theirs"):
            whole, start = least(found[side].get("CPU")), least(idle[side].get("CPU"))
            figures.append(max(whole - start, 0.0) if whole and start else None)
        yield Row(case, "CPU to compile", "ms", figures)

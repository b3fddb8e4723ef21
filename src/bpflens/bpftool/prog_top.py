"""``prog top``: a live table of how much time programs take.

Statistics are switched on (BPF_ENABLE_STATS) only while it runs. Columns: runs a second, nanoseconds
a run, percent of one CPU. ``--sort COLUMN``, ``--filter EXPR``; ``--once`` measures one interval,
with ``-j`` as JSON for scripts. Ctrl-C ends it.

Example::

    $ bpftool prog top interval 2 --sort -cpu
    $ bpftool -j prog top --once
"""

from __future__ import annotations

import os
import time

from bpflens.bpftool import handle
from bpflens.bpftool.prog_show import full_name, type_name
from bpflens.bpftool.table import print_table
from bpflens.bpftool.tool import Failure
from bpflens.errors import SyscallError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.bpftool.table import Row
    from bpflens.bpftool.tool import Tool
    from bpflens.bpftool.words import Words
    from bpflens.objects.program import Program

    _Sample = dict[int, tuple[str, str, int, int]]

__all__ = ["top"]

_COLUMNS = ("id", "type", "name", "cpu", "runs_per_s", "ns_per_run", "run_cnt", "run_time_ns")
_CLEAR = "\033[H\033[2J"


def top(tool: Tool, words: Words) -> int:
    """Measure and print until Ctrl-C."""
    from bpflens.objects.program import Program, Statistics

    chosen: list[Program] = []
    if words and words.peek() not in ("i", "in", "int", "interval"):
        chosen = handle.programs(words)
    pause = _interval(words)
    words.end()
    if not tool.sort:
        tool.sort = "-cpu"
    tool.table = True
    try:
        with Statistics():
            _follow(tool, chosen, pause, Program)
    except SyscallError as error:
        raise handle.tell("can't switch run-time statistics on", error) from None
    except KeyboardInterrupt:
        pass  # that is how it ends
    finally:
        for program in chosen:
            program.close()
    return 0


def _interval(words: Words) -> float:
    if not words or not words.take_if("interval"):
        return 1.0
    word = words.take("seconds")
    try:
        return max(0.05, float(word))
    except ValueError:
        raise Failure(f"can't parse {word} as seconds") from None


def _follow(tool: Tool, chosen: list[Program], pause: float, kind: type[Program]) -> None:
    screen = tool.json is None and not tool.once and os.isatty(1)
    before, then = _sample(chosen, kind), time.monotonic_ns()
    while True:
        time.sleep(pause)
        now, at = _sample(chosen, kind), time.monotonic_ns()
        if screen:
            tool.out(_CLEAR)
        print_table(tool, _rows(before, now, at - then), _COLUMNS)
        if tool.once:
            return
        tool.out("\n" if not screen else "")
        tool.out.flush()
        before, then = now, at




def _sample(chosen: list[Program], kind: type[Program]) -> _Sample:
    found: _Sample = {}
    for program in chosen or handle.opened("prog", kind.from_id):
        info = program.read_info() if chosen else program.info
        name = full_name(program)
        found[info.id] = (type_name(info.type) or str(info.type), name, info.run_cnt,
                          info.run_time_ns)  # fmt: skip
        if not chosen:
            program.close()
    return found


def _rows(before: _Sample, now: _Sample, passed: int) -> list[Row]:
    rows: list[Row] = []
    for id, (kind, name, count, spent) in now.items():
        count_before, spent_before = before[id][2:] if id in before else (0, 0)
        runs, nanoseconds = count - count_before, spent - spent_before
        rows.append(
            {
                "id": id,
                "type": kind,
                "name": name,
                "cpu": 100 * nanoseconds / passed,
                "runs_per_s": runs * 1e9 / passed,
                "ns_per_run": nanoseconds / runs if runs else 0.0,
                "run_cnt": runs,
                "run_time_ns": nanoseconds,
            }
        )
    return rows

"""``prog top [PROG] [interval SECONDS]``: a live table of how much time programs take.

Statistics are switched on (BPF_ENABLE_STATS) only while it runs. Of each interval: percent of one
CPU, runs a second, nanoseconds a run, and how often and how long each program ran in it. ``--sort
COLUMN`` and ``--filter EXPR`` as for tables. On a terminal the table is drawn in place; in a pipe
one follows the other, under ``-j`` one line an interval. ``--once`` measures one interval. Ctrl-C
ends it.

Example::

    $ bpftool prog top interval 2 --sort -ns_per_run --filter 'cpu > 0.1'
    $ bpftool -j prog top --once
"""

from __future__ import annotations

import os
import time

from bpflens.bpftool import handle, table
from bpflens.bpftool.out import Json, Out
from bpflens.bpftool.prog_show import full_name, type_name
from bpflens.bpftool.tool import Failure
from bpflens.errors import SyscallError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.bpftool.table import Row
    from bpflens.bpftool.tool import Tool
    from bpflens.bpftool.words import Words
    from bpflens.objects.program import Program

    _Sample = dict[int, tuple[str, str, int, int]]

__all__ = ["COLUMNS", "rows_of", "top"]

COLUMNS = ("id", "type", "name", "cpu", "runs_per_s", "ns_per_run", "run_cnt", "run_time_ns")
_HOME, _REST_OF_LINE, _REST_OF_SCREEN = "\033[H", "\033[K", "\033[J"
_SHORTEST = 0.05


def top(tool: Tool, words: Words) -> int:
    """Measure and print until Ctrl-C."""
    from bpflens.objects.program import Program, Statistics

    chosen: list[Program] = []
    if words and not "interval".startswith(words.peek() or ""):
        chosen = handle.programs(words)
    try:
        pause = _interval(words)
        words.end()
        tool.sort = tool.sort or "-cpu,-run_cnt,id"
        with Statistics():
            _follow(tool, chosen, pause, Program)
    except SyscallError as error:
        raise handle.tell("can't measure programs", error) from None
    except KeyboardInterrupt:
        if tool.once:
            raise  # it has not measured
        tool.json = None  # every line was a whole
    finally:
        for program in chosen:
            program.close()
    return 0


def _interval(words: Words) -> float:
    if not words or not words.take_if("interval"):
        return 1.0
    word = words.take("seconds")
    try:
        pause = float(word)
    except ValueError:
        pause = -1.0
    if not _SHORTEST <= pause < 1e6:
        raise Failure(f"can't parse {word} as seconds (at least {_SHORTEST})")
    return pause


def _follow(tool: Tool, chosen: list[Program], pause: float, kind: type[Program]) -> None:
    live = os.isatty(1) and os.environ.get("TERM") != "dumb"
    screen = live and tool.json is None and not tool.once
    before, then = _sample(chosen, kind), time.monotonic_ns()
    while True:
        time.sleep(pause)
        now, at = _sample(chosen, kind), time.monotonic_ns()
        rows = table.chosen(tool, rows_of(before, now, at - then), COLUMNS)
        if screen:
            _draw(tool, rows)
        elif tool.json is not None and not tool.once:
            Json(tool.out).value(rows)
            tool.out("\n")
        else:
            table.print_table(tool, rows, COLUMNS)
            tool.out("" if tool.once else "\n")
        if tool.once:
            return
        tool.out.flush()
        before, then = now, at


def _draw(tool: Tool, rows: list[Row]) -> None:
    # Over what was drawn before, a line at a time: a screen that is cleared first flickers.
    height = os.get_terminal_size(1).lines
    drawn: list[str] = []
    page, tool.out = tool.out, Out(lambda data: drawn.append(bytes(data).decode()))
    try:
        table.print_table(tool, rows[: max(1, height - 2)], COLUMNS)
        tool.out.flush()
    finally:
        tool.out = page
    text = "".join(drawn).replace("\n", _REST_OF_LINE + "\n")
    tool.out(_HOME + text + _REST_OF_SCREEN)


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


def rows_of(before: _Sample, now: _Sample, passed: int) -> list[Row]:
    """Return what happened between two samples, ``passed`` nanoseconds apart."""
    rows: list[Row] = []
    for id, (kind, name, count, spent) in now.items():
        count_before, spent_before = before[id][2:] if id in before else (0, 0)
        runs, nanoseconds = count - count_before, spent - spent_before
        rows.append(
            {
                "id": id,
                "type": kind,
                "name": name,
                "cpu": round(100 * nanoseconds / passed, 4),
                "runs_per_s": round(runs * 1e9 / passed, 2),
                "ns_per_run": round(nanoseconds / runs, 1) if runs else 0.0,
                "run_cnt": runs,
                "run_time_ns": nanoseconds,
            }
        )
    return rows

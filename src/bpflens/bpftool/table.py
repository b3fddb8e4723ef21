"""Rows of named values as a table for people, filtered and sorted.

``--filter EXPR`` (see :mod:`bpflens.bpftool.expression`) lets rows through, ``--sort COLUMN`` sorts
them, ``-COLUMN`` the other way round; several columns are joined by commas. Colour is for
terminals: never in a pipe, never with NO_COLOR or TERM=dumb, unless ``--color always`` asks for it.

Example::

    print_table(tool, chosen(tool, rows), ("id", "type", "name"))
"""

from __future__ import annotations

import os

from bpflens.bpftool.expression import compile_filter, text_of
from bpflens.bpftool.tool import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bpflens.bpftool.tool import Tool

    Row = dict[str, object]

__all__ = ["chosen", "colored", "print_table"]

_BOLD, _DIM, _PLAIN = "\033[1m", "\033[2m", "\033[0m"


def chosen(tool: Tool, rows: Iterable[Row], known: Iterable[str] = ()) -> list[Row]:
    """Return the rows that ``--filter`` lets through, in the order of ``--sort``.

    ``known`` are columns that may be named although no row has them.
    """
    rows = list(rows)
    columns = {name for row in rows for name in row}
    if columns:
        columns.update(known)
    if tool.filter:
        test = compile_filter(tool.filter, columns)
        rows = [row for row in rows if test(row)]
    for wish in reversed(tool.sort.split(",") if tool.sort else ()):
        name = wish.strip().lstrip("-+")
        if columns and name not in columns:
            raise Failure(f"can't sort by '{name}': {_near(name, columns)}")
        rows.sort(key=lambda row, name=name: _order(row.get(name)),  # type: ignore[misc]
                  reverse=wish.strip().startswith("-"))  # fmt: skip
    return rows


def _near(name: str, columns: set[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, sorted(columns), 2, 0.5)
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"the columns are {', '.join(sorted(columns))}"


def _order(value: object) -> tuple[int, float, str]:
    if isinstance(value, (int, float)):
        return 1, value, ""
    return (0, 0, "") if value is None else (2, 0, text_of(value))


def print_table(tool: Tool, rows: list[Row], columns: Sequence[str]) -> None:
    """Print rows: JSON under ``-j``, else a table; columns that are all empty are left out."""
    if tool.json is not None:
        tool.json.value(rows)
        return
    shown = [name for name in columns if any(row.get(name) not in (None, "", []) for row in rows)]
    shown = shown or list(columns[:3])
    cells = [[_printable(text_of(row.get(name))) for name in shown] for row in rows]
    widths = [max([len(name), *(len(line[at]) for line in cells)]) for at, name in enumerate(shown)]
    numeric = [
        all(isinstance(row.get(name), (int, float, type(None))) for row in rows) for name in shown
    ]
    color = colored(tool)
    head = _line([name.upper() for name in shown], widths, numeric)
    tool.out(f"{_BOLD}{head}{_PLAIN}\n" if color else head + "\n")
    for number, line in enumerate(cells):
        text = _line(line, widths, numeric)
        tool.out(f"{_DIM}{text}{_PLAIN}\n" if color and number % 2 else text + "\n")


def colored(tool: Tool) -> bool:
    """Say whether output may have colour."""
    if tool.color == "always":
        return True
    if tool.color not in ("", "auto") or os.environ.get("NO_COLOR"):
        return False
    try:
        return os.isatty(1) and os.environ.get("TERM") != "dumb"
    except OSError:
        return False


def _printable(text: str) -> str:
    # Names of programs and commands come from strangers; none may steer the terminal.
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def _line(cells: list[str], widths: list[int], numeric: list[bool]) -> str:
    parts = [
        cell.rjust(width) if right else cell.ljust(width)
        for cell, width, right in zip(cells, widths, numeric, strict=True)
    ]
    return "  ".join(parts).rstrip()

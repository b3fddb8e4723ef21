"""Rows of named values as a table for people, filtered and sorted.

``--filter`` takes comparisons joined by ``and``, ``or`` and ``not`` (``type==hash and
max_entries>1000``, ``name~flow`` for a part of the text); a word alone asks whether the column says
something. ``--sort COLUMN`` sorts, ``-COLUMN`` the other way round.

Example::

    print_table(tool, rows, ("id", "type", "name"))
"""

from __future__ import annotations

import os

from bpflens.bpftool.tool import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bpflens.bpftool.tool import Tool

    Row = dict[str, object]
    Test = Callable[[Row], bool]

__all__ = ["chosen", "compile_filter", "print_table"]

_OPERATORS = ("==", "!=", ">=", "<=", "~", ">", "<", "=")
_BOLD, _DIM, _PLAIN = "\033[1m", "\033[2m", "\033[0m"


def chosen(tool: Tool, rows: list[Row]) -> list[Row]:
    """Return the rows that ``--filter`` lets through, in the order of ``--sort``."""
    if tool.filter:
        columns = {name for row in rows for name in row}
        test = compile_filter(tool.filter, columns)
        rows = [row for row in rows if test(row)]
    if tool.sort:
        key = tool.sort.lstrip("-+")
        if rows and not any(key in row for row in rows):
            raise Failure(f"can't sort by {key}: the columns are {', '.join(sorted(rows[0]))}")
        rows = sorted(rows, key=lambda row: _order(row.get(key)), reverse=tool.sort[0] == "-")
    return rows


def _order(value: object) -> tuple[int, float, str]:
    if isinstance(value, (int, float)):
        return 1, value, ""
    return (0, 0, "") if value is None else (2, 0, _text(value))


def print_table(tool: Tool, rows: list[Row], columns: Sequence[str]) -> int:
    """Print the chosen rows: JSON under ``-j``, else a table. Returns 0."""
    rows = chosen(tool, rows)
    if tool.json is not None:
        tool.json.value(rows)
        return 0
    if not tool.table:
        columns = [name for name in columns if any(row.get(name) not in (None, "") for row in rows)]
    cells = [[_text(row.get(name)) for name in columns] for row in rows]
    widths = [max([len(name), *(len(line[at]) for line in cells)]) for at, name in enumerate(columns)]
    numeric = [
        all(isinstance(row.get(name), (int, float, type(None))) for row in rows) for name in columns
    ]
    color = _color(tool)
    head = _line([name.upper() for name in columns], widths, numeric)
    tool.out(f"{_BOLD}{head}{_PLAIN}\n" if color else head + "\n")
    for number, line in enumerate(cells):
        text = _line(line, widths, numeric)
        tool.out(f"{_DIM}{text}{_PLAIN}\n" if color and number % 2 else text + "\n")
    return 0


def _color(tool: Tool) -> bool:
    if tool.color:
        return tool.color in ("always", "yes")
    try:
        return os.isatty(1) and not os.environ.get("NO_COLOR")
    except OSError:
        return False


def _line(cells: list[str], widths: list[int], numeric: list[bool]) -> str:
    parts = [
        cell.rjust(width) if right else cell.ljust(width)
        for cell, width, right in zip(cells, widths, numeric, strict=True)
    ]
    return "  ".join(parts).rstrip()


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.2f}"
    if isinstance(value, (list, tuple)):
        return ",".join(_text(one) for one in value)
    if isinstance(value, dict):
        return " ".join(_text(one) for one in value.values())
    return str(value)


# --- filters ------------------------------------------------------------------------------------


def compile_filter(text: str, columns: set[str]) -> Test:
    """Return the test that a filter means. Raises Failure when it means none."""
    parser = _Parser(_tokens(text), columns, text)
    test = parser.either()
    if parser.rest:
        raise Failure(f"filter {text!r}: what is {parser.rest[0]!r}?")
    return test


def _tokens(text: str) -> list[str]:
    for mark in ("(", ")"):
        text = text.replace(mark, f" {mark} ")
    marked = text
    for number, operator in enumerate(_OPERATORS):
        marked = marked.replace(operator, f" \0{number} ")
    return [
        _OPERATORS[int(word[1:])] if word[0] == "\0" else word.strip("'\"") for word in marked.split()
    ]


class _Parser:
    __slots__ = ("_columns", "_text", "rest")

    def __init__(self, words: list[str], columns: set[str], text: str) -> None:
        self.rest = words
        self._columns = columns
        self._text = text

    def _take(self) -> str:
        if not self.rest:
            raise Failure(f"filter {self._text!r}: it ends too early")
        return self.rest.pop(0)

    def _next_is(self, word: str) -> bool:
        if self.rest and self.rest[0].lower() == word:
            self.rest.pop(0)
            return True
        return False

    def either(self) -> Test:
        tests = [self._both()]
        while self._next_is("or"):
            tests.append(self._both())
        return lambda row: any(test(row) for test in tests)

    def _both(self) -> Test:
        tests = [self._one()]
        while self._next_is("and"):
            tests.append(self._one())
        return lambda row: all(test(row) for test in tests)

    def _one(self) -> Test:
        if self._next_is("not"):
            inner = self._one()
            return lambda row: not inner(row)
        if self._next_is("("):
            inner = self.either()
            if not self._next_is(")"):
                raise Failure(f"filter {self._text!r}: a ) is missing")
            return inner
        return self._comparison(self._take())

    def _comparison(self, column: str) -> Test:
        if self._columns and column not in self._columns:
            from difflib import get_close_matches

            near = get_close_matches(column, sorted(self._columns), 2, 0.5)
            hint = f"did you mean {' or '.join(near)}?" if near else ", ".join(sorted(self._columns))
            raise Failure(f"filter {self._text!r}: no column {column}; {hint}")
        if not self.rest or self.rest[0] not in _OPERATORS:
            return lambda row: bool(row.get(column))
        operator, wanted = self._take(), self._take()
        return lambda row: _compare(row.get(column), operator, wanted)


def _compare(value: object, operator: str, wanted: str) -> bool:
    if isinstance(value, (list, tuple)):
        return any(_compare(one, operator, wanted) for one in value)
    if operator == "~":
        return wanted in _text(value)
    left: float | str
    right: float | str
    try:
        right = float(int(wanted, 0)) if wanted[:2] == "0x" else float(wanted)
        left = float(value) if isinstance(value, (int, float)) else _text(value)
    except ValueError:
        left, right = _text(value), wanted
    if isinstance(left, str) or isinstance(right, str):
        left, right = _text(value), wanted
        if operator not in ("==", "=", "!="):
            return False
    return {
        "==": left == right, "=": left == right, "!=": left != right,
        ">": left > right, "<": left < right,  # type: ignore[operator]
        ">=": left >= right, "<=": left <= right,  # type: ignore[operator]
    }[operator]  # fmt: skip

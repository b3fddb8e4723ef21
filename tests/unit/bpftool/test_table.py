"""Filters, sorting and tables: what is let through, in which order, how it is laid out."""

from __future__ import annotations

import pytest

from bpflens.bpftool.expression import compile_filter
from bpflens.bpftool.out import Json, Out
from bpflens.bpftool.table import chosen, print_table
from bpflens.bpftool.tool import Failure, Tool

ROWS = [
    {"id": 1, "type": "hash", "name": "flows", "max_entries": 4096, "frozen": 0,
     "map_ids": [3, 4], "pids": [{"pid": 7, "comm": "my agent"}]},
    {"id": 2, "type": "array", "name": "counters", "max_entries": 4, "frozen": 1, "btf_id": 9},
    {"id": 3, "type": "lru_hash", "name": "tmp_flows", "max_entries": 1000, "jited": True},
]  # fmt: skip
COLUMNS = {name for row in ROWS for name in row}


def ids(text):
    test = compile_filter(text, COLUMNS)
    return [row["id"] for row in ROWS if test(row)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("type==hash and max_entries>1000", [1]),
        ("type==hash or type==array", [1, 2]),
        ("type = hash && max_entries >= 4K", [1]),
        ("max_entries<=1000", [2, 3]),
        ("max_entries==0x1000", [1]),
        ("max_entries != 4", [1, 3]),
        ("name~FLOW", [1, 3]),
        ("name !~ flow", [2]),
        ("not name~flow", [2]),
        ("!(name~flow) || id == 3", [2, 3]),
        ("frozen", [2]),
        ("not frozen", [1, 3]),
        ("map_ids==4", [1]),
        ("map_ids == 5", []),
        ("pids.comm == 'my agent'", [1]),
        ("pids~agent", [1]),
        ("pids.pid > 6", [1]),
        ("btf_id != 9", [1, 3]),
        ("btf_id < 100", [2]),
        ("jited == true", [3]),
        ("jited == yes", [3]),
        ("type > b", [1, 3]),
        ("name < 5", []),
        ("id==1 or id==2 and frozen", [1, 2]),
        ("(id==1 or id==2) and frozen", [2]),
        ("type == 'not'", []),
    ],
)
def test_a_filter_lets_the_right_rows_through(text, expected):
    assert ids(text) == expected


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("typ==hash", "did you mean type?"),
        ("zzz", "there are btf_id, frozen, id"),
        ("type==", "it ends where something to compare type with should be"),
        ("", "it ends where a column should be"),
        ("(type==hash", r"a \) is missing"),
        ("type==hash max", "what is 'max'?"),
        ("== 3", "'==' stands where a column should be"),
        ("name=='x", "the ' has no end"),
        ("__import__('os')", "no column is called __import__"),
        ("type.__class__==hash.", None),
    ],
)
def test_what_is_no_filter_is_refused_with_a_reason(text, complaint):
    if complaint is None:
        assert ids(text) == []  # a name with a dot is no attribute of Python's
        return
    with pytest.raises(Failure, match=complaint):
        compile_filter(text, COLUMNS)


def test_a_filter_on_nothing_is_not_blamed_for_its_columns():
    tool = Tool()
    tool.filter, tool.sort = "max_entries > 5", "-id"
    assert chosen(tool, []) == []


@pytest.mark.parametrize(
    ("sort", "expected"),
    [("id", [1, 2, 3]), ("-id", [3, 2, 1]), ("name", [2, 1, 3]), ("-btf_id,-id", [2, 3, 1]),
     ("+max_entries", [2, 3, 1])],
)  # fmt: skip
def test_rows_are_sorted(sort, expected):
    tool = Tool()
    tool.sort = sort
    assert [row["id"] for row in chosen(tool, ROWS)] == expected


def test_sorting_by_no_column_names_a_near_one():
    tool = Tool()
    tool.sort = "max_entires"
    with pytest.raises(Failure, match="did you mean max_entries"):
        chosen(tool, ROWS)


def table(color="", columns=("id", "type", "max_entries", "owner", "pids"), rows=ROWS):
    parts = []
    tool = Tool(Out(lambda data: parts.append(bytes(data))))
    tool.color = color
    print_table(tool, rows, columns)
    tool.out.flush()
    return b"".join(parts).decode()


def test_columns_line_up_numbers_to_the_right_and_empty_columns_are_left_out():
    assert table() == (
        "ID  TYPE      MAX_ENTRIES  PIDS\n"
        " 1  hash             4096  my agent(7)\n"
        " 2  array               4\n"
        " 3  lru_hash         1000\n"
    )


def test_colour_is_only_for_a_terminal_or_on_request(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert "\033" not in table()
    assert "\033" not in table("never")
    assert table("always").startswith("\033[1mID")
    monkeypatch.setattr("os.isatty", lambda fd: fd == 1)
    assert table().startswith("\033[1mID")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\033" not in table()


def test_names_cannot_steer_the_terminal():
    assert "\033" not in table(rows=[{"id": 1, "type": "\033[2Jx"}])


def test_a_table_is_json_under_j():
    parts = []
    tool = Tool(Out(lambda data: parts.append(bytes(data))))
    tool.json = Json(tool.out)
    print_table(tool, [{"id": 1}], ("id",))
    tool.out.flush()
    assert parts == [b'[{"id":1}]']

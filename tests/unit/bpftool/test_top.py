"""What happened between two samples of programs' counters."""

from __future__ import annotations

import pytest

from bpflens.bpftool.main import main
from bpflens.bpftool.out import Out
from bpflens.bpftool.prog_top import rows_of


def test_rows_tell_what_happened_in_between():
    before = {1: ("xdp", "a", 100, 5000), 2: ("xdp", "gone", 1, 1)}
    now = {1: ("xdp", "a", 300, 25_000), 3: ("kprobe", "new", 4, 1000)}
    rows = {row["id"]: row for row in rows_of(before, now, 2_000_000)}
    assert set(rows) == {1, 3}
    assert rows[1] == {
        "id": 1, "type": "xdp", "name": "a", "cpu": 1.0, "runs_per_s": 100_000.0,
        "ns_per_run": 100.0, "run_cnt": 200, "run_time_ns": 20_000,
    }  # fmt: skip
    assert (rows[3]["run_cnt"], rows[3]["ns_per_run"]) == (4, 250.0)


def test_a_program_that_did_not_run_has_no_average():
    assert rows_of({}, {1: ("xdp", "a", 0, 0)}, 10)[0]["ns_per_run"] == 0.0


@pytest.mark.parametrize("word", ["x", "0", "-1", "nan", "inf"])
def test_an_interval_that_is_none_is_refused(word):
    parts = []
    status = main(["-j", "prog", "top", "--", "interval", word], Out(lambda d: parts.append(d)))
    assert status == 255
    assert b"as seconds" in b"".join(bytes(part) for part in parts)

"""What the bpftool door does with programs beyond the real tool, on the running kernel."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ET

import pytest

from bpf_object import build
from bpflens.bpftool.main import main
from bpflens.bpftool.out import Out
from bpflens.load import object_file
from bpflens.load.collection import load_object

pytestmark = pytest.mark.kernel

COMMAND = [sys.executable, "-m", "bpflens", "bpftool"]


def run(*words):
    """Run a command; return its status and what it wrote on standard output."""
    parts = []
    status = main([str(word) for word in words], Out(lambda data: parts.append(bytes(data))))
    return status, b"".join(parts).decode()


def result(*words):
    """Run a command under -j that must succeed; return what it answers."""
    status, text = run("-j", *words)
    assert status == 0, text
    return json.loads(text)


@pytest.fixture
def zoo():
    with load_object(object_file.read(build("zoo.bpf.c"), "zoo")) as loaded:
        yield loaded


@pytest.fixture
def busy(zoo):
    """A program that runs all the time, and its id."""
    program = zoo.programs["count"]
    stop = threading.Event()

    def work():
        while not stop.is_set():
            program.test_run(data=bytes(64), repeat=200)
            time.sleep(0.005)

    thread = threading.Thread(target=work)
    thread.start()
    yield program
    stop.set()
    thread.join(20)


# --- top ----------------------------------------------------------------------------------------


def test_top_measures_a_program_that_runs(busy):
    (row,) = result("prog", "top", "id", busy.id, "interval", "0.5", "--once")
    assert row["id"] == busy.id
    assert row["run_cnt"] > 200
    assert 0 < row["ns_per_run"] < 1e6
    assert row["ns_per_run"] == pytest.approx(row["run_time_ns"] / row["run_cnt"], abs=0.1)
    assert 0 < row["cpu"] <= 100


def test_top_lists_the_busiest_first_and_filters(busy, zoo):
    rows = result("prog", "top", "interval", "0.3", "--once")
    assert {busy.id, zoo.programs["pass"].id} <= {row["id"] for row in rows}
    assert [row["cpu"] for row in rows] == sorted((row["cpu"] for row in rows), reverse=True)
    rows = result(
        "prog", "top", "interval", "0.3", "--once", "--filter", f"id=={busy.id} and run_cnt>0"
    )
    assert [row["id"] for row in rows] == [busy.id]


def _statistics_are_on():
    with open("/proc/sys/kernel/bpf_stats_enabled") as file:
        return file.read().strip() == "1"


def test_statistics_are_off_again_after_top(zoo):
    program = zoo.programs["count"]
    result("prog", "top", "id", program.id, "interval", "0.1", "--once")
    if _statistics_are_on():
        pytest.skip("statistics are on for the whole system")
    for _ in range(50):  # a neighbour's top may keep them on for a moment
        before = program.stats.run_cnt
        program.test_run(data=bytes(64), repeat=10)
        if program.stats.run_cnt == before:
            return
        time.sleep(0.2)
    pytest.fail("runs are still counted")


def test_top_prints_a_line_of_json_an_interval_until_ctrl_c(zoo):
    id = str(zoo.programs["count"].id)
    process = subprocess.Popen(
        [*COMMAND, "-j", "prog", "top", "id", id, "interval", "0.1"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        for _ in range(2):
            assert json.loads(process.stdout.readline())[0]["id"] == int(id)
        process.send_signal(signal.SIGINT)
        rest, error = process.communicate(timeout=20)
        assert (process.returncode, error) == (0, b"")
        for line in rest.splitlines():
            json.loads(line)
    finally:
        process.kill()
        process.wait()


def test_top_draws_in_place_on_a_terminal(zoo):
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "prog", "top", "id", str(zoo.programs["count"].id), "interval", "0.1"],
        stdout=theirs, stderr=subprocess.PIPE,
        env={**os.environ, "TERM": "xterm", "NO_COLOR": "1", "COLUMNS": "120", "LINES": "30"},
    )  # fmt: skip
    os.close(theirs)
    try:
        text = b""
        while text.count(b"\033[H") < 2:
            text += os.read(ours, 4096)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        assert b"NS_PER_RUN" in text
        assert b"\033[1m" not in text  # NO_COLOR
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
        os.close(ours)


def test_a_closed_pipe_ends_top_quietly(zoo):
    process = subprocess.Popen(
        [*COMMAND, "prog", "top", "id", str(zoo.programs["count"].id), "interval", "0.1"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        process.stdout.readline()
        process.stdout.close()
        process.wait(20)
        assert process.stderr.read() == b""
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


# --- tables -------------------------------------------------------------------------------------


def test_filters_show_the_usual_layout_of_what_fits(zoo):
    ids = {program.id for program in zoo.programs.values()}
    wanted = zoo.programs["count"].id
    status, text = run("prog", "show", "--filter", f"id=={wanted}")
    assert status == 0
    assert text == run("prog", "show", "id", wanted)[1]
    rows = result("prog", "show", "--filter", "type==xdp or type==cgroup_skb", "--sort", "-id")
    assert {row["id"] for row in rows} & ids == {
        zoo.programs[name].id for name in ("pass", "out", "in")
    }
    assert [row["id"] for row in rows] == sorted((row["id"] for row in rows), reverse=True)


def test_a_filtered_row_has_the_members_of_the_whole_list(zoo):
    wanted = zoo.maps["flows"].id
    (filtered,) = result("map", "show", "--filter", f"id=={wanted} and max_entries>=64")
    assert filtered == next(row for row in result("map", "show") if row["id"] == wanted)


def test_a_table_has_one_line_for_each_object(zoo):
    ids = [program.id for program in zoo.programs.values()]
    expression = " or ".join(f"id=={id}" for id in ids)
    status, text = run("prog", "show", "--table", "--sort", "id", "--filter", expression)
    assert status == 0
    head, *lines = text.splitlines()
    assert head.split()[:4] == ["ID", "TYPE", "NAME", "TAG"]
    assert [int(line.split()[0]) for line in lines] == sorted(ids)
    assert "\033" not in text


def test_a_wrong_filter_is_told_as_json(zoo):
    status, text = run("-j", "map", "show", "--filter", "max_entires > 3")
    assert status == 255
    assert "did you mean max_entries" in json.loads(text)["error"]


# --- one page -----------------------------------------------------------------------------------


def test_a_page_of_a_program_has_its_maps_and_source(zoo, bpffs):
    program = zoo.programs["count"]
    program.pin(f"{bpffs}/count")
    page = result("inspect", "prog", "id", program.id)
    assert page["program"]["name"] == "count"
    assert {one["id"] for one in page["maps"]} == set(program.info.map_ids)
    assert f"{bpffs}/count" in page["pinned"]
    assert any("lookup(&counters, &key)" in line for line in page["source"])
    status, text = run("inspect", "prog", "id", program.id)
    assert status == 0
    assert f"    {bpffs}/count\n" in text


def test_a_page_of_a_map_has_its_programs_and_types(zoo):
    page = result("inspect", "map", "id", zoo.maps["counters"].id)
    assert zoo.programs["count"].id in {one["id"] for one in page["programs"]}
    assert page["key"] == "u32"
    page = result("inspect", "map", "id", zoo.maps["flows"].id)
    assert page["value"].splitlines()[0] == "struct value {"
    assert "int wide : 13;" in page["value"]


@pytest.mark.parametrize("words", [(), ("porg", "id", "1"), ("prog", "id", "4294967295")])
def test_what_cannot_be_inspected_is_an_error(words):
    status, text = run("-j", "inspect", *words)
    assert status == 255
    assert json.loads(text)["error"]


def test_a_name_that_is_nearly_right_is_told(zoo):
    status, text = run("-j", "map", "show", "name", "conuters")
    assert status == 255
    assert "no map named conuters; did you mean counters" in json.loads(text)["error"]


# --- pictures -----------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["svg", "html", "dot"])
def test_a_picture_holds_every_instruction(zoo, tmp_path, suffix):
    program = zoo.programs["count"]
    file = tmp_path / f"flow.{suffix}"
    words = ["prog", "dump", "xlated", "id", program.id]
    assert run(*words, "visual", "linum", "file", file)[0] == 0
    text = file.read_text()
    listing = [
        line.split(": ", 1) for line in run(*words)[1].splitlines() if line[:4].strip().isdigit()
    ]
    assert len(listing) == len(program.xlated()) // 8 - sum("(18)" in line[1] for line in listing)
    assert "lookup" in text
    if suffix == "svg":
        shown = [
            node.text or "" for node in ET.fromstring(text).iter() if node.tag.endswith("text")
        ]
        for slot, instruction in listing:
            assert any(row == f"{slot.strip():>5}: {instruction}" for row in shown)


def test_a_picture_under_j_is_null_and_other_files_are_refused(zoo, tmp_path):
    words = ["-j", "prog", "dump", "xlated", "id", zoo.programs["count"].id, "visual", "file"]
    assert run(*words, tmp_path / "a.svg") == (0, "null\n")
    status, text = run(*words, tmp_path / "a.bin")
    assert status == 255
    assert ".svg, .html or .dot" in json.loads(text)["error"]

"""Links in tables, filters and pages of the bpftool door, on the running kernel."""

from __future__ import annotations

import json
import struct

import pytest

from bpflens.bpftool.main import main
from bpflens.bpftool.out import Out
from bpflens.objects.link import Link
from bpflens.objects.program import Program

pytestmark = pytest.mark.kernel

RETURN_0 = struct.pack("=BBhi", 0xB7, 0, 0, 0) + struct.pack("=BBhi", 0x95, 0, 0, 0)


def run(*words):
    """Run a command; return its status and what it wrote on standard output."""
    parts = []
    status = main([str(word) for word in words], Out(lambda data: parts.append(bytes(data))))
    return status, b"".join(parts).decode()


@pytest.fixture
def link():
    with (
        Program.load("raw_tracepoint", RETURN_0, name="exec_seen") as program,
        Link.raw_tracepoint(program, "sched_process_exec") as made,
    ):
        yield made


def test_a_table_tells_what_a_link_is_attached_to(link):
    info = link.info
    status, text = run("link", "show", "--table", "--filter", f"id=={info.id}")
    assert status == 0
    head, line = text.splitlines()
    assert head.split()[:5] == ["ID", "TYPE", "PROG_ID", "PROG_NAME", "TARGET"]
    assert line.split()[:5] == [
        str(info.id), "raw_tracepoint", str(info.prog_id), "exec_seen", "sched_process_exec",
    ]  # fmt: skip


def test_links_are_filtered_by_their_own_members_and_the_programs_name(link):
    status, text = run(
        "-j", "link", "show", "--filter", "tp_name==sched_process_exec and prog_name==exec_seen"
    )
    assert status == 0
    assert link.info.id in {row["id"] for row in json.loads(text)}
    status, text = run("-j", "link", "show", "--filter", f"id=={link.info.id}")
    (row,) = json.loads(text)
    assert row == json.loads(run("-j", "link", "show", "id", link.info.id)[1])


def test_a_page_of_a_link_has_its_program(link):
    status, text = run("-j", "inspect", "link", "id", link.info.id)
    assert status == 0
    page = json.loads(text)
    assert page["link"]["tp_name"] == "sched_process_exec"
    assert page["program"]["name"] == "exec_seen"


def test_a_page_of_a_program_has_its_links(link):
    page = json.loads(run("-j", "inspect", "prog", "id", link.info.prog_id)[1])
    assert [one["id"] for one in page["links"]] == [link.info.id]
    assert page["links"][0]["tp_name"] == "sched_process_exec"
    assert "sched_process_exec" in run("inspect", "prog", "id", link.info.prog_id)[1]

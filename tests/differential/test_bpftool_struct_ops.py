"""`struct_ops`, `iter` and `token`, beside the real tool."""

from __future__ import annotations

import json
import os

import pytest

from bpf_object import build
from bpftool_pair import both, ours, real

pytestmark = [pytest.mark.kernel, pytest.mark.differential]


@pytest.fixture
def congestion(tmp_path):
    path = tmp_path / "cc.bpf.o"
    path.write_bytes(build("congestion.bpf.c"))
    return str(path)


@pytest.fixture
def registered(congestion):
    """Register the tables of the object; gives the rows of `show`, unregisters afterwards."""
    before = {one["id"] for one in ours("-j", "struct_ops", "show").json}
    done = ours("struct_ops", "register", congestion)
    assert done.status == 0, done.err
    rows = [one for one in ours("-j", "struct_ops", "show").json if one["id"] not in before]
    yield rows
    for row in rows:
        ours("struct_ops", "unregister", "id", str(row["id"]))


def test_registered_tables_are_listed_alike(registered):
    assert registered
    for row in registered:
        id = str(row["id"])
        mine, theirs = both("-j", "struct_ops", "show", "id", id)
        # (The older tool gives the one table without the array around it.)
        assert mine.json == [row]
        assert theirs.json in (row, [row])
        mine, theirs = both("struct_ops", "show", "id", id)
        assert mine.out == theirs.out
        assert row["kernel_struct_ops"] == "tcp_congestion_ops"


def test_a_table_is_dumped_with_its_programs(registered):
    id = str(registered[0]["id"])
    mine = ours("-j", "struct_ops", "dump", "id", id).json
    info, table = (next(iter(one.values())) for one in mine)
    assert info["id"] == int(id)
    assert table["data"]["name"] == "bpf_" + registered[0]["name"]
    assert table["data"]["ssthresh"].startswith("u32 (struct sock *) ")
    assert "/prog_id:" in table["data"]["ssthresh"]
    # (The older tool leaves out the array, which makes two documents of it.)
    raw = real("struct_ops", "dump", "id", id, "--json").out.strip().removeprefix("[")
    theirs, end = json.JSONDecoder().raw_decode(raw)
    theirs, _ = json.JSONDecoder().raw_decode(raw[end:].lstrip(","))
    assert next(iter(theirs.values()))["data"] == table["data"]
    plain, theirs = both("struct_ops", "dump", "id", id)
    # The members that the older tool does not name differ, the table does not.
    start = next(n for n, line in enumerate(plain.lines) if "bpf_struct_ops_" in line)
    other = next(n for n, line in enumerate(theirs.lines) if "bpf_struct_ops_" in line)
    known, wanted = (
        [line.strip() for line in lines if "state" not in line and line.strip() not in "]}"]
        for lines in (plain.lines[start:], theirs.lines[other:])
    )
    # (It does not quote null pointers either, which then are no JSON.)
    assert [line.replace('"(nil)"', "(nil)") for line in known] == wanted


def test_unregistering_is_told_and_done(congestion):
    assert ours("struct_ops", "register", congestion).err.startswith(
        "Registered tcp_congestion_ops"
    )
    rows = ours("-j", "struct_ops", "show").json
    for row in rows:
        if row["kernel_struct_ops"] == "tcp_congestion_ops":
            done = ours("struct_ops", "unregister", "id", str(row["id"]))
            assert done.err == f"Unregistered tcp_congestion_ops {row['name']} id {row['id']}\n"
    assert ours("struct_ops", "show", "name", "nosuch").status == 255


def test_a_missing_table_is_told_in_the_real_words():
    mine, theirs = both("struct_ops", "show", "name", "nosuch")
    assert mine.err.startswith(theirs.err.rstrip("\n"))
    assert mine.status == theirs.status


def test_an_iterator_is_pinned_and_read(tmp_path, bpffs):
    path = tmp_path / "it.bpf.o"
    path.write_bytes(
        build(
            '#include "bpf.h"\n'
            "struct bpf_iter_meta { void *seq; unsigned long long session_id, seq_num; };\n"
            "struct bpf_iter__task { struct bpf_iter_meta *meta; void *task; };\n"
            'char LICENSE[] SEC("license") = "GPL";\n'
            'SEC("iter/task") int tasks(struct bpf_iter__task *ctx) { return 0; }\n'
        )
    )
    pin = f"{bpffs}/tasks"
    done = ours("iter", "pin", str(path), pin)
    assert done.status == 0, done.err
    with open(pin, "rb") as file:
        assert file.read() == b""
    told = ours("-j", "link", "show", "pinned", pin).json
    assert (told["type"], told["target_name"]) == ("iter", "task")
    assert ours("iter", "pin", str(path), pin).status != 0
    assert ours("iter", "pin", "/nonexistent.o", f"{bpffs}/x").status != 0
    os.unlink(pin)


def test_tokens_are_listed_by_their_mounts(tmp_path):
    from bpflens.kernel.memory import address
    from bpflens.kernel.syscall import syscall

    assert ours("-j", "token", "list").json == []
    place = tmp_path / "delegating"
    place.mkdir()
    kind, target = b"bpf\0", os.fsencode(place) + b"\0"
    options = b"delegate_cmds=map_create:prog_load,delegate_progs=xdp,delegate_attachs=xdp\0"
    try:
        syscall("mount", address(kind), address(target), address(kind), 0, address(options))
    except OSError as error:
        pytest.skip(f"this kernel delegates nothing: {error}")
    try:
        assert ours("-j", "token", "list").json == [
            {
                "token_info": str(place),
                "allowed_cmds": ["map_create", "prog_load"],
                "allowed_maps": [],
                "allowed_progs": ["xdp"],
                "allowed_attachs": ["xdp"],
            }
        ]
        assert ours("token", "list").lines == [
            f"token_info  {place}",
            "\tallowed_cmds:",
            "\t  map_create          prog_load           ",
            "\tallowed_maps:",
            "\tallowed_progs:",
            "\t  xdp                 ",
            "\tallowed_attachs:",
            "\t  xdp                 ",
        ]
    finally:
        syscall("umount2", address(target), 2)

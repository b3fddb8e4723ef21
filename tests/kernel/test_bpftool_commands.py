"""Commands of the bpftool door doing their real work: loading, running, changing, watching."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest

from bpf_object import build
from bpflens.bpftool.main import main
from bpflens.bpftool.out import Out
from bpflens.objects.map import Map
from bpflens.objects.program import Program

pytestmark = pytest.mark.kernel

# A tool of its own process, for what ends by a signal or a closed pipe.
COMMAND = [sys.executable, "-c", "import sys; sys.argv[0] = 'bpftool'; "
           "from bpflens.cli.main import run; run()"]  # fmt: skip


def run(*words):
    """Run a command; return its status and standard output."""
    parts = []
    status = main([str(word) for word in words], Out(lambda data: parts.append(bytes(data))))
    return status, b"".join(parts).decode()


def started(*words):
    """Start a command as a process."""
    environment = dict(os.environ, PYTHONPATH="src")
    return subprocess.Popen([*COMMAND, *map(str, words)], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, env=environment)  # fmt: skip


@pytest.fixture
def object_file(tmp_path):
    path = tmp_path / "zoo.bpf.o"
    path.write_bytes(build("zoo.bpf.c"))
    return path


@pytest.fixture
def counters(bpffs):
    """The path of a pinned array of four 64-bit numbers."""
    path = f"{bpffs}/counters"
    words = f"map create {path} type array key 4 value 8 entries 4 name counters"
    assert run(*words.split()) == (0, "")
    return path


# --- programs -----------------------------------------------------------------------------------


def test_load_pins_the_first_program(object_file, bpffs):
    assert run("prog", "load", object_file, f"{bpffs}/one") == (0, "")
    shown = json.loads(run("-j", "prog", "show", "pinned", f"{bpffs}/one")[1])
    assert shown["name"] == "count"
    assert shown["metadata"] == {"author": "zoo", "rev": 42}


def test_loadall_pins_every_program_and_every_map(object_file, bpffs):
    run("prog", "loadall", object_file, f"{bpffs}/programs", "pinmaps", f"{bpffs}/maps")
    assert sorted(os.listdir(f"{bpffs}/programs")) == [
        "a_rather_long_program_name", "count", "in", "out", "pass",
    ]  # fmt: skip
    assert {"counters", "flows", "zoo_bss", "zoo_rodata"} <= set(os.listdir(f"{bpffs}/maps"))


@pytest.mark.parametrize("which", ["name counters", "idx 0"])
def test_load_uses_an_existing_map(object_file, bpffs, counters, which):
    words = ["prog", "load", object_file, f"{bpffs}/one", "map", *which.split(), counters]
    assert run(*words) == (0, "")
    own = json.loads(run("-j", "map", "show", "pinned", counters)[1])["id"]
    assert own in json.loads(run("-j", "prog", "show", "pinned", f"{bpffs}/one")[1])["map_ids"]


def test_load_says_what_the_verifier_refused(tmp_path, bpffs, capfd):
    source = (
        '#include "bpf.h"\nLICENSE("GPL");\nstruct ctx { int *data; };\n'
        'SEC("socket") int bad(struct ctx *ctx) { return *(int *)(long)(ctx->data); }\n'
    )
    path = tmp_path / "bad.bpf.o"
    path.write_bytes(build(source))
    status, _ = run("prog", "load", path, f"{bpffs}/bad")
    told = capfd.readouterr().err
    assert status == 255
    assert "-- BEGIN PROG LOAD LOG --" in told
    assert told.splitlines()[-1].startswith("Error: failed to load object file: program bad: ")
    assert not os.path.exists(f"{bpffs}/bad")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("prog load /nonexistent.o {0}/x", "failed to open object file"),
        ("prog load {1} {0}/no/x", "can't pin BPF object: dir '{0}/no' doesn't exist"),
        ("prog load {1} {0}/x type nosuch", "unknown program type 'nosuch'"),
        ("prog load {1} {0}/x map name conters {2}", "unable to find map 'conters'"),
        ("prog load {1} {0}/x map idx 99 {2}", "map idx '99' not used"),
        ("prog load {1} {0}/x nonsense", "expected no more arguments"),
        ("-n prog load {1} /tmp/not-bpffs", "no BPF file system found"),
    ],
)
def test_load_complains_in_one_line(object_file, bpffs, counters, capfd, words, complaint):
    line = words.format(bpffs, object_file, counters).split()
    status, out = run("-j", *line)
    assert status == 255
    assert complaint.format(bpffs) in json.loads(out)["error"]
    assert "Traceback" not in capfd.readouterr().err


def test_run_gives_what_the_program_returned(object_file, bpffs, tmp_path):
    run("prog", "load", object_file, f"{bpffs}/one")
    (tmp_path / "packet").write_bytes(bytes(range(64)))
    words = ["prog", "run", "pinned", f"{bpffs}/one", "data_in", tmp_path / "packet"]
    found = json.loads(run("-j", *words, "data_out", "-", "repeat", 10)[1])
    assert found["retval"] == 0
    # What comes back has lost the addresses in front, as the kernel hands the packet on.
    assert found["data_out"] == [0] * 14 + list(range(14, 64))
    text = run(*words, "data_out", "-", "repeat", 10)[1]
    assert text.startswith("0000000\t0000 0000 0000 0000 0000 0000 0000 0e0f | ........ ........\n")
    assert "0000030\t3031 3233 3435 3637 3839 3a3b 3c3d 3e3f | 01234567 89:;<=>?\n" in text
    assert "Return value: 0, duration (average): " in text


def test_machine_code_is_disassembled_with_its_addressing(object_file, bpffs):
    run("prog", "load", object_file, f"{bpffs}/one")
    words = ["prog", "dump", "jited", "pinned", f"{bpffs}/one"]
    functions = json.loads(run("-j", *words)[1])
    assert [one["name"].rpartition("_")[2] for one in functions] == ["count", "helper"]
    assert functions[0]["insns"][0]["pc"] == "0x0"
    assert "int count(struct __sk_buff * skb):\n" in run(*words)[1]


def test_top_counts_only_while_it_runs(object_file, bpffs):
    run("prog", "load", object_file, f"{bpffs}/one")
    with Program.from_pin(f"{bpffs}/one") as program:
        before = program.stats.run_cnt
        tool = started("-j", "prog", "top", "pinned", f"{bpffs}/one", "interval", "1", "--once")
        for _ in range(30):
            program.test_run(data=bytes(64), repeat=50)
            time.sleep(0.05)
        out, told = tool.communicate(timeout=30)
        assert told == ""
        row = json.loads(out)[0]
        assert row["run_cnt"] > 0
        assert before == 0
        counted = program.stats.run_cnt
        program.test_run(data=bytes(64), repeat=50)
        assert program.stats.run_cnt == counted


_FIRST = """
#include "bpf.h"
LICENSE("GPL");
int shared_count = 5;
static volatile int hidden = 3;
int other(int x);
static NOINLINE int sub(int x) { return x + hidden; }
NOINLINE int mine(int x) { return x * 2 + shared_count; }
SEC("socket") int first(struct __sk_buff *skb) { return other(skb->len) + sub(1); }
"""
_SECOND = """
#include "bpf.h"
LICENSE("GPL");
extern int shared_count;
static volatile int hidden = 7;
int mine(int x);
static NOINLINE int sub(int x) { return x + 10 * hidden; }
NOINLINE int other(int x) { return mine(x) + sub(2); }
SEC("socket") int second(struct __sk_buff *skb) { shared_count++; return sub(skb->len); }
"""


def test_linked_files_run_as_one(tmp_path, bpffs):
    for name, source in (("one", _FIRST), ("two", _SECOND)):
        (tmp_path / name).write_bytes(build(source))
    words = [tmp_path / name for name in ("both", "one", "two")]
    assert run("gen", "object", *words) == (0, "")
    assert run("prog", "loadall", tmp_path / "both", f"{bpffs}/linked")[0] == 0
    with Program.from_pin(f"{bpffs}/linked/first") as program:
        # other(50) + sub(1), of which each file has its own: (50 * 2 + 5) + (2 + 70) + (1 + 3)
        assert program.test_run(data=bytes(64)).retval == 105 + 72 + 4
    status, out = run("-j", "gen", "object", tmp_path / "x", tmp_path / "one", tmp_path / "one")
    assert status == 255
    assert "is defined in" in json.loads(out)["error"]


# --- maps ---------------------------------------------------------------------------------------


def test_a_queue_is_pushed_peeked_and_popped(bpffs):
    path = f"{bpffs}/queue"
    run(*f"map create {path} type queue key 0 value 4 entries 4 name queue".split())
    for number in (1, 2):
        assert run(*f"map enqueue pinned {path} value {number} 0 0 0".split())[0] == 0
    assert run("map", "peek", "pinned", path) == (0, "value: 01 00 00 00\n")
    assert run("map", "dequeue", "pinned", path) == (0, "value: 01 00 00 00\n")
    found = json.loads(run("-j", "map", "pop", "pinned", path)[1])
    assert found == {"key": [], "value": ["0x02", "0x00", "0x00", "0x00"]}
    assert run("map", "pop", "pinned", path) == (254, "Error: empty map\n")
    assert run("-j", "map", "pop", "pinned", path) == (254, "null\n")


def test_a_map_of_maps_tells_the_inner_map(bpffs, counters):
    path = f"{bpffs}/outer"
    words = f"map create {path} type array_of_maps key 4 value 4 entries 2 name outer inner_map"
    assert run(*words.split(), "pinned", counters)[0] == 0
    run(*f"map update pinned {path} key 1 0 0 0 value pinned {counters}".split())
    inner = json.loads(run("-j", "map", "show", "pinned", counters)[1])["id"]
    status, text = run("map", "dump", "pinned", path)
    assert (status, text) == (0, f"key: 01 00 00 00  inner_map_id: {inner} \nFound 1 element\n")


def test_a_frozen_map_refuses_and_says_so(counters):
    assert run("map", "freeze", "pinned", counters)[0] == 0
    assert json.loads(run("-j", "map", "show", "pinned", counters)[1])["frozen"] == 1
    words = f"map update pinned {counters} key 0 0 0 0 value 1 0 0 0 0 0 0 0"
    status, out = run("-j", *words.split())
    assert status == 255
    assert json.loads(out)["error"].startswith("update failed: Operation not permitted")


def test_bytes_that_do_not_fit_change_nothing(counters):
    words = f"map update pinned {counters} key 0 0 0 0 value 300 0 0 0 0 0 0 0"
    assert run(*words.split())[0] == 255
    assert "00 00 00 00 00 00 00 00\n" in run("map", "dump", "pinned", counters)[1]


def test_what_cannot_be_dumped_says_why(bpffs):
    path = f"{bpffs}/ring"
    run(*f"map create {path} type ringbuf key 0 value 0 entries 4096 name ring".split())
    status, out = run("-j", "map", "dump", "pinned", path)
    assert status == 244
    assert "ring buffer" in json.loads(out)["error"]


@pytest.mark.parametrize("kind", ["hash", "percpu_hash"])
def test_an_exported_map_comes_back(bpffs, tmp_path, kind):
    path, saved = f"{bpffs}/table", tmp_path / "saved"
    run(*f"map create {path} type {kind} key 4 value 8 entries 100 name table".split())
    for number in range(5):
        words = f"map update pinned {path} key {number} 0 0 0 value {number} 0 0 0 0 0 0 1"
        run(*words.split())
    before = run("map", "dump", "pinned", path)[1]
    assert run("map", "export", "pinned", path, saved)[0] == 0
    with Map.from_pin(path) as table:
        table.clear()
    assert run("map", "import", "pinned", path, saved)[0] == 0
    after = run("map", "dump", "pinned", path)[1]
    assert sorted(after.splitlines()) == sorted(before.splitlines())
    saved.write_text("nonsense\n")
    assert run("map", "import", "pinned", path, saved)[0] == 255


def test_a_batch_of_many_updates_stores_all_and_stops_at_the_wrong_one(bpffs, tmp_path):
    path, file = f"{bpffs}/table", tmp_path / "commands"
    run(*f"map create {path} type hash key 4 value 4 entries 1000 name table".split())
    lines = [f"map update pinned {path} key {n} 0 0 0 value {n} 1 0x2 0" for n in range(100)]
    file.write_text("\n".join(lines) + "\n")
    assert run("batch", "file", file) == (0, "processed 100 commands\n")
    with Map.from_pin(path) as table:
        assert dict(table.items_raw()) == {
            bytes([n, 0, 0, 0]): bytes([n, 1, 2, 0]) for n in range(100)
        }
        table.clear()
        lines[60] = lines[60].replace("value 60", "value 300")
        file.write_text("\n".join(lines) + "\n")
        assert run("batch", "file", file)[0] == 255
        assert len(table) == 60


def test_watch_prints_what_changed(counters):
    tool = started("map", "watch", "pinned", counters, "interval", "0.5", "--once")
    time.sleep(1.0)
    out, told = tool.communicate(timeout=30)
    assert (out, told) == ("", "")
    tool = started("map", "watch", "pinned", counters, "interval", "3", "--once")
    time.sleep(1.5)
    run(*f"map update pinned {counters} key 2 0 0 0 value 7 0 0 0 0 0 0 0".split())
    out, _ = tool.communicate(timeout=30)
    assert out == "~ key: 02 00 00 00  value: 07 00 00 00 00 00 00 00\n"


# --- the rest -----------------------------------------------------------------------------------


def test_holders_are_found_without_an_iterator(counters):
    with Map.from_pin(counters) as held:
        tool = started("-j", "map", "show", "id", held.id)
        out, _ = tool.communicate(timeout=30)
    assert os.getpid() in [one["pid"] for one in json.loads(out)["pids"]]


def test_a_closed_pipe_ends_quietly(bpffs):
    with Map.create("array", key_size=4, value_size=8, max_entries=200_000, name="wide") as wide:
        tool = started("map", "dump", "id", wide.id)
        assert tool.stdout.readline().startswith("key: 00 00 00 00  value:")
        tool.stdout.close()
        assert tool.wait(timeout=30) == 141
        assert tool.stderr.read() == ""
        tool.stderr.close()


def test_inspect_shows_the_maps_of_a_program(object_file, bpffs):
    run("prog", "load", object_file, f"{bpffs}/one")
    page = json.loads(run("-j", "inspect", "prog", "pinned", f"{bpffs}/one")[1])
    assert "counters" in [one["name"] for one in page["maps"]]
    assert page["pinned"] == [f"{bpffs}/one"]
    assert run("inspect", "prog", "pinned", f"{bpffs}/one")[1].startswith("program\n    id")


def test_near_names_are_told(counters):
    status, out = run("-j", "map", "dump", "name", "conters")
    assert status == 255
    assert "did you mean counters" in json.loads(out)["error"]


def test_feature_probe_is_json_with_the_known_sections():
    found = json.loads(run("-j", "feature", "probe")[1])
    assert list(found) == [
        "system_config", "syscall_config", "program_types", "map_types", "helpers", "misc",
    ]  # fmt: skip
    assert found["map_types"]["have_array_map_type"] is True
    helpers = found["helpers"]["socket_filter_available_helpers"]
    assert "bpf_map_lookup_elem" in helpers
    assert "bpf_redirect" not in helpers

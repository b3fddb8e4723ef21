"""What the bpftool door does with maps beyond the real tool, on the running kernel."""

from __future__ import annotations

import json
import signal
import struct
import subprocess
import sys
import time

import pytest

from bpf_object import build
from bpflens.bpftool.main import main
from bpflens.bpftool.out import Out
from bpflens.load import object_file
from bpflens.load.collection import load_object
from bpflens.objects.map import Map

pytestmark = pytest.mark.kernel


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
def nested():
    """An array of two hash maps, the second slot empty."""
    with (
        Map.create("hash", key_size=4, value_size=8, max_entries=8, name="inner_one") as inner,
        Map.create(
            "array_of_maps", key_size=4, value_size=4, max_entries=2, name="outer", inner=inner
        ) as outer,
    ):
        inner.update_raw(struct.pack("=I", 5), struct.pack("=Q", 50))
        outer.update_raw(struct.pack("=I", 0), inner.fd.to_bytes(4, "little"))
        yield outer, inner


# --- typed input --------------------------------------------------------------------------------


def test_an_entry_is_written_and_read_by_the_names_of_its_fields(zoo):
    id = zoo.maps["flows"].id
    key = ["key", "saddr=10.0.0.1", "port=443", "proto=6", "tag='A'"]
    value = ["packets=5", "state=STATE_OLD", "name=eth0", "inner[1].medium=-3", "low=2"]
    assert run("map", "update", "id", id, *key, "value", *value)[0] == 0
    found = result("map", "lookup", "id", id, *key)["formatted"]
    assert found["key"]["saddr"] == int.from_bytes(bytes([10, 0, 0, 1]), "little")
    assert found["key"]["port"] == 443
    assert found["value"]["packets"] == 5
    assert found["value"]["state"] == "STATE_OLD"
    assert found["value"]["inner"][1]["medium"] == -3
    assert run("map", "delete", "id", id, *key)[0] == 0
    assert run("-j", "map", "lookup", "id", id, *key) == (254, "null\n")


def test_one_word_is_the_number_where_btf_knows_one(zoo):
    id = zoo.maps["counters"].id
    assert run("map", "update", "id", id, "key", 2, "value", 70000)[0] == 0
    assert zoo.maps["counters"].lookup_raw(struct.pack("=I", 2)) == struct.pack("=Q", 70000)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["key", "sadr=1", "value", "packets=1"], "did you mean saddr"),
        (["key", "port=70000", "value", "packets=1"], "does not fit: 0 to 65535"),
        (["key", "300", *"0 0 0 0 0 0 0".split(), "value", "packets=1"], "more than a byte holds"),
    ],
)
def test_wrong_fields_and_values_are_refused(zoo, words, complaint):
    status, text = run("-j", "map", "update", "id", zoo.maps["flows"].id, *words)
    assert status == 255
    assert complaint in json.loads(text)["error"]
    assert list(zoo.maps["flows"].items_raw()) == []


# --- export and import --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["flows", "counters", "percpu"])
def test_an_import_brings_back_what_was_exported(zoo, tmp_path, name):
    map = zoo.maps[name]
    for number in range(3):
        key = number.to_bytes(4, "little") + bytes(map.info.key_size - 4)
        map.update_raw(key, bytes((number * 37 + at) % 251 for at in range(map.stride)))
    before = dict(map.items_raw())
    file = tmp_path / "saved"
    assert run("map", "export", "id", map.id, file)[0] == 0
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(lines) == len(before)
    for key in before:
        map.update_raw(key, bytes(map.stride))
    assert result("map", "import", "id", map.id, file) == {"imported": len(before)}
    assert dict(map.items_raw()) == before


def test_an_export_names_fields_and_an_import_reads_them(zoo, tmp_path):
    map = zoo.maps["flows"]
    run("map", "update", "id", map.id, "key", "saddr=1.2.3.4", "value", "packets=9", "low=3")
    before = dict(map.items_raw())
    line = json.loads(run("map", "export", "id", map.id)[1])
    assert line["formatted"]["value"]["packets"] == 9
    map.clear()
    file = tmp_path / "named"
    file.write_text(json.dumps({"formatted": line["formatted"]}) + "\n")
    assert run("map", "import", "id", map.id, file)[0] == 0
    assert dict(map.items_raw()) == before


def test_the_elements_of_a_json_dump_can_be_imported(zoo, tmp_path):
    for name in ("counters", "percpu"):
        map = zoo.maps[name]
        map.update_raw(struct.pack("=I", 1), bytes(range(map.stride)))
        before = dict(map.items_raw())
        file = tmp_path / name
        entries = result("map", "dump", "id", map.id)
        file.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
        map.update_raw(struct.pack("=I", 1), bytes(map.stride))
        assert run("map", "import", "id", map.id, file)[0] == 0
        assert dict(map.items_raw()) == before


def test_many_entries_go_through_in_batches(tmp_path):
    with Map.create("hash", key_size=4, value_size=4, max_entries=50_000) as map:
        keys = struct.pack("=40000I", *range(40_000))
        map.update_batch(keys, keys)
        file = tmp_path / "many"
        began = time.process_time()
        assert run("map", "export", "id", map.id, file)[0] == 0
        map.clear()
        assert run("map", "import", "id", map.id, file)[0] == 0
        assert time.process_time() - began < 10
        assert len(dict(map.items_raw())) == 40_000


def test_references_of_a_map_of_maps_are_imported_by_id(nested, tmp_path):
    outer, inner = nested
    file = tmp_path / "outer"
    assert run("map", "export", "id", outer.id, file)[0] == 0
    file.write_text(file.read_text().replace('"key":"0x00', '"key":"0x01'))
    assert run("map", "import", "id", outer.id, file)[0] == 0
    assert outer.lookup_raw(struct.pack("=I", 1)) == struct.pack("=I", inner.id)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "line 2: no JSON object"),
        ("[]", 'line 2: an entry is {"key":..,"value":..}'),
        ('{"key":"0x00"}', "line 2: the key has 1 bytes, keys of the map have 4"),
        ('{"key":"0x0000000g","value":"0x00"}', "its key is not made of bytes"),
        ('{"key":"0x00000000"}', "it has no value"),
    ],
)
def test_a_wrong_line_of_an_import_is_named_and_nothing_is_stored(zoo, tmp_path, line, complaint):
    map = zoo.maps["counters"]
    good = '{"key":"0x01000000","value":"0x0900000000000000"}'
    file = tmp_path / "wrong"
    file.write_text(f"{good}\n{line}\n")
    status, text = run("-j", "map", "import", "id", map.id, file)
    assert status == 255
    assert complaint in json.loads(text)["error"]
    assert map.lookup_raw(struct.pack("=I", 1)) == bytes(8)


def test_a_map_without_keys_is_neither_exported_nor_imported(tmp_path):
    (tmp_path / "saved").write_text('{"key":"0x","value":"0x00000000"}\n')
    with Map.create("queue", key_size=0, value_size=4, max_entries=2) as map:
        for command in ("export", "import"):
            status, text = run("-j", "map", command, "id", map.id, tmp_path / "saved")
            assert status != 0
            assert "a queue has no keys" in json.loads(text)["error"]


# --- maps in maps -------------------------------------------------------------------------------


def test_a_recursive_dump_shows_inner_maps_indented(nested):
    outer, inner = nested
    status, text = run("map", "dump", "id", outer.id, "recursive")
    assert status == 0
    assert text == (
        f"key: 00 00 00 00  inner_map_id: {inner.id}\n"
        f"    {inner.id}: hash  name inner_one  flags 0x0\n"
        "    key: 05 00 00 00  value: 32 00 00 00 00 00 00 00\n"
        "    Found 1 element\n"
        "Found 1 element\n"
    )


def test_a_recursive_json_dump_holds_the_elements_of_inner_maps(nested):
    outer, inner = nested
    (entry,) = result("map", "dump", "id", outer.id, "recursive")
    assert entry["inner_map_id"] == inner.id
    assert entry["inner"]["name"] == "inner_one"
    (element,) = entry["inner"]["elements"]
    assert bytes(int(one, 16) for one in element["value"]) == struct.pack("=Q", 50)


def test_an_inner_map_that_cannot_be_listed_does_not_hide_the_others():
    with (
        Map.create("queue", key_size=0, value_size=4, max_entries=2, name="line") as inner,
        Map.create("hash_of_maps", key_size=4, value_size=4, max_entries=2, inner=inner) as outer,
    ):
        outer.update_raw(struct.pack("=I", 7), inner.fd.to_bytes(4, "little"))
        (entry,) = result("map", "dump", "id", outer.id, "recursive")
        assert "a queue has no keys" in entry["inner"]["error"]
        status, text = run("map", "dump", "id", outer.id, "recursive")
        assert status == 0
        assert "a queue has no keys" in text
        assert text.endswith("Found 1 element\n")


# --- watching -----------------------------------------------------------------------------------


@pytest.fixture
def watch():
    """Start ``map watch`` in a process of its own; what is left of it is ended afterwards."""
    started = []

    def start(*words):
        command = [sys.executable, "-m", "bpflens", "bpftool", *map(str, words)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def _when_it_reads(process, map):
    # The first look is taken soon after the map's descriptor is there.
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        listed = subprocess.run(
            ["grep", "-l", f"^map_id:\\s*{map.id}$", "-r", f"/proc/{process.pid}/fdinfo"],
            capture_output=True,
        )
        if listed.stdout:
            time.sleep(0.5)
            return
        time.sleep(0.05)
    pytest.fail("map watch did not open the map")


def test_changes_are_told_as_they_happen_until_ctrl_c(watch):
    with Map.create("hash", key_size=4, value_size=4, max_entries=8, name="seen") as map:
        map.update_raw(b"\1\0\0\0", b"\1\0\0\0")
        map.update_raw(b"\2\0\0\0", b"\1\0\0\0")
        process = watch("map", "watch", "id", map.id, "interval", "0.05")
        _when_it_reads(process, map)
        map.update_raw(b"\1\0\0\0", b"\7\0\0\0")
        del map[b"\2\0\0\0"]
        map.update_raw(b"\3\0\0\0", b"\3\0\0\0")
        lines = sorted(process.stdout.readline().decode() for _ in range(3))
        assert lines == [
            "+ key: 03 00 00 00  value: 03 00 00 00\n",
            "- key: 02 00 00 00  value: 01 00 00 00\n",
            "~ key: 01 00 00 00  value: 07 00 00 00\n",
        ]
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        assert process.stderr.read() == b""


def test_changes_are_json_lines_under_j(watch):
    with Map.create("array", key_size=4, value_size=4, max_entries=2, name="seen") as map:
        process = watch("-j", "map", "watch", "id", map.id, "interval", "0.05")
        _when_it_reads(process, map)
        map.update_raw(b"\1\0\0\0", b"\7\0\0\0")
        change = json.loads(process.stdout.readline())
        assert change["change"] == "changed"
        assert change["entry"]["value"] == ["0x07", "0x00", "0x00", "0x00"]


def test_what_cannot_be_watched_is_told_as_json():
    with Map.create("queue", key_size=0, value_size=4, max_entries=2) as map:
        status, text = run("-j", "map", "watch", "id", map.id)
    assert status != 0
    assert "a queue has no keys" in json.loads(text)["error"]

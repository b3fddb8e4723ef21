"""The bpftool door beside the real bpftool, on objects of the test's own, field by field."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

from bpf_object import build
from bpflens.bpftool.main import main
from bpflens.bpftool.out import Out
from bpflens.load import object_file
from bpflens.load.collection import load_object
from bpflens.objects.map import Map

pytestmark = [pytest.mark.kernel, pytest.mark.differential]


def run(*words):
    """Run a command of ours; return its status and what it wrote on standard output."""
    parts = []
    status = main([str(word) for word in words], Out(lambda data: parts.append(bytes(data))))
    return status, b"".join(parts).decode()


@pytest.fixture
def real(real_bpftool):
    def call(*words):
        command = [real_bpftool, *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout

    return call


@pytest.fixture
def zoo(bpffs):
    """Programs and maps, pinned under their names; the paths of the pins."""
    spec = object_file.read(build("zoo.bpf.c"), "zoo")
    with load_object(spec) as loaded:
        places = {}
        for name, one in [*loaded.maps.items(), *loaded.programs.items()]:
            places[name] = f"{bpffs}/{name.strip('.')}"
            one.pin(places[name])
        filling = loaded.maps["flows"]
        size = filling.info.value_size
        filling.update_raw(bytes([1, 0, 0, 10, 187, 1, 6, 0x41]), bytes(range(size)))
        filling.update_raw(bytes([2, 0, 0, 10, 187, 1, 17, 0]), b"\7\0\0\0" * (size // 4))
        filling.update_raw(bytes(8), bytes(8) + b"\xfe\xff\xff\xffname\0" + bytes(size - 17))
        counters = loaded.maps["counters"]
        counters.update_raw(bytes(4), (1 << 63).to_bytes(8, "little"))
        percpu = loaded.maps["percpu"]
        percpu.update_raw(b"\7\0\0\0", bytes(range(percpu.stride)))
        jumps = loaded.maps["jumps"]
        jumps.update_raw(b"\1\0\0\0", loaded.programs["count"].fd.to_bytes(4, "little"))
        yield places


MAPS = ["flows", "counters", "percpu", "jumps", ".bss", ".data", ".rodata"]
PROGRAMS = ["count", "a_rather_long_program_name", "pass", "out"]


def without(text, *members):
    """Plain or JSON text without what only one of the two tools can say."""
    for member in members:
        text = re.sub(rf'"{member}":(\[[^]]*\]|[^,}}]*),?', "", text)
    return re.sub(r"\n\tpids [^\n]*", "", text).replace(",}", "}")


def as_real_prints_pointers(text):
    # The real 7.1 prints pointers without quotes; 7.8 has them.
    return re.sub(r'"(0x[0-9a-f]+|\(nil\))"', r"\1", text)


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("options", [[], ["-j"], ["-p"]], ids=["plain", "json", "pretty"])
def test_a_dump_of_a_map_is_the_same_bytes(zoo, real, name, options):
    words = [*options, "map", "dump", "pinned", zoo[name]]
    status, text = real(*words)
    own_status, own = run(*words)
    assert own_status == status == 0
    if options:
        assert own == text
        json.loads(own)
    else:
        assert as_real_prints_pointers(own) == as_real_prints_pointers(text)


@pytest.mark.parametrize("name", MAPS)
def test_a_map_is_described_alike(zoo, real, name):
    for options in ([], ["-j"], ["-p"], ["-f"], ["-jf"]):
        words = [*options, "map", "show", "pinned", zoo[name]]
        assert without(run(*words)[1], "pids") == without(real(*words)[1], "pids")


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_is_described_alike(zoo, real, name):
    plain = ["prog", "show", "pinned", zoo[name]]
    assert without(run(*plain)[1]) == without(real(*plain)[1])
    words = ["-jf", *plain]
    own, text = json.loads(run(*words)[1]), json.loads(real(*words)[1])
    own.pop("pids", None)
    assert own.pop("orphaned") is False  # newer than the real one here
    assert own == text


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("option", ["", "opcodes", "linum"])
def test_instructions_are_the_same_text(zoo, real, name, option):
    for options in ([], ["-j"], ["-p"]):
        words = [*options, "prog", "dump", "xlated", "pinned", zoo[name], *option.split()]
        assert run(*words) == real(*words)


def test_the_raw_instructions_are_the_same_file(zoo, real, tmp_path):
    for tool, name in ((run, "own"), (real, "real")):
        tool("prog", "dump", "xlated", "pinned", zoo["count"], "file", tmp_path / name)
    assert (tmp_path / "own").read_bytes() == (tmp_path / "real").read_bytes() != b""


def test_the_graph_has_the_blocks_of_the_real_one(zoo, real):
    words = ["prog", "dump", "xlated", "pinned", zoo["count"], "visual"]
    own, text = run(*words)[1], real(*words)[1]
    nodes = re.compile(r"fn_\d+_bb_\d+ \[shape=\w+")
    assert nodes.findall(own) == nodes.findall(text)
    edges = re.compile(r"(fn_\d+_bb_\d+):s -> (fn_\d+_bb_\d+)")
    assert set(edges.findall(own)) == set(edges.findall(text))


@pytest.mark.parametrize(
    "words",
    [
        "map lookup pinned {counters} key 1 0 0 0",
        "map lookup pinned {counters} key hex 1 0 0 0",
        "map lookup pinned {counters} key 9 0 0 0",
        "map lookup pinned {percpu} key 7 0 0 0",
        "map getnext pinned {counters}",
        "map getnext pinned {counters} key 1 0 0 0",
        "map getnext pinned {counters} key 3 0 0 0",
        "map lookup pinned {counters} key 1 0",
        "map lookup pinned {counters} key 1 0 zz 0",
        "map update pinned {counters} key 1 0 0 0 value 1 0 0 0 0 0 0 0 noexist",
        "map update pinned {counters} key 1 0 0 0 value 1 0 0",
        "map update pinned {counters} key 1 0 0 0 key 1 0 0 0 value 1 0 0 0 0 0 0 0",
        "map delete pinned {percpu} key 9 0 0 0",
        "map delete pinned {counters} key 1 0 0 0",
        "map peek pinned {counters}",
        "map show id 999999999",
        "map show idx 1",
        "map show id x",
        "map create {counters}x type nosuch key 4 value 4 entries 4 name x",
        "map create {counters}x type hash key 4 value 4 entries 4 flags 0",
        "prog show id 999999999",
        "prog show tag 12",
        "prog show pinned {counters}",
        "prog dump nonsense pinned {count}",
        "prog dump xlated pinned {count} file /nonexistent/file",
        "link show id 999999999",
        "btf dump map pinned {flows}",
        "btf dump map pinned {flows} key",
        "btf dump map pinned {flows} all",
        "btf dump prog pinned {count} format raw",
        "btf dump map pinned {flows} format nonsense",
        "btf dump file /nonexistent",
        "btf show id 999999999",
        "batch file /nonexistent",
        "batch nonsense x",
    ],
)
def test_answers_refusals_and_statuses_are_the_same(zoo, real, words):
    line = words.format(**zoo).split()
    for options in ([], ["-j"]):
        status, text = real(*options, *line)
        own_status, own = run(*options, *line)
        if "error" in text:
            # The same words; a cause and a remedy may follow them.
            own_error, error = json.loads(own)["error"], json.loads(text)["error"]
            first = re.sub(r"\W+", " ", error)
            assert re.sub(r"\W+", " ", own_error).startswith(first.rstrip())
        else:
            assert own == text
        assert own_status == status


def test_a_batch_answers_as_the_real_one(zoo, real, tmp_path):
    file = tmp_path / "commands"
    file.write_text(
        f"map lookup pinned {zoo['counters']} key 1 0 0 0 # a comment\n"
        f"map update pinned {zoo['counters']} key 2 0 0 0 \\\n value 9 0 0 0 0 0 0 0\n"
        f"\nmap dump pinned '{zoo['counters']}'\n"
        f"map lookup pinned {zoo['counters']} key 9 0 0 0\nprog show\n"
    )
    for options in ([], ["-j"], ["-p"]):
        words = [*options, "batch", "file", file]
        assert run(*words) == real(*words)


def test_a_batch_with_show_ends_well(zoo, tmp_path):
    file = tmp_path / "commands"
    line = f"map show pinned {zoo['counters']}\n"
    file.write_text(line * 3)
    status, text = run("batch", "file", file)
    assert status == 0
    assert text.endswith("processed 3 commands\n")


def test_btf_is_dumped_the_same_as_a_header_and_as_json(zoo, real):
    words = ["-j", "btf", "dump", "map", "pinned", zoo["flows"], "all"]
    assert json.loads(run(*words)[1]) == json.loads(real(*words)[1])
    words = ["btf", "dump", "prog", "pinned", zoo["count"], "format", "c"]
    own, text = run(*words)[1], real(*words)[1]
    assert own.count("struct value {") == text.count("struct value {") == 1


def test_lists_hold_the_objects_that_the_real_one_lists(zoo, real):
    for kind in ("prog", "map", "link", "btf"):
        own = {one["id"] for one in json.loads(run("-j", kind, "show")[1])}
        text = {one["id"] for one in json.loads(real("-j", kind, "show")[1])}
        # Others come and go meanwhile; those of this test stay.
        assert own & text == own | text or len(own & text) >= len(zoo) // 2


def test_a_million_entries_cost_no_memory_and_few_calls(zoo, bpffs):
    import resource

    with Map.create("hash", key_size=4, value_size=8, max_entries=200_000, name="many") as many:
        count = 200_000
        keys = b"".join(n.to_bytes(4, "little") for n in range(count))
        many.update_batch(keys, bytes(8 * count))
        written = []
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        status = main(
            ["map", "dump", "id", str(many.id)], Out(lambda data: written.append(len(data)))
        )
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert status == 0
    line = len("key: 00 00 00 00  value: 00 00 00 00 00 00 00 00\n")
    assert sum(written) == line * count + len("Found 200000 elements\n")
    assert after - before < 40_000

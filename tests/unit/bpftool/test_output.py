"""JSON and help come out as the real tool writes them: against recorded output of bpftool 7.8."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bpflens.bpftool import help as help_texts
from bpflens.bpftool.grammar import OBJECT, OBJECTS
from bpflens.bpftool.main import main
from bpflens.bpftool.out import Json, Out, quoted

SAMPLES = sorted((Path(__file__).parents[2] / "data" / "bpftool").glob("*.txt"))
PRETTY = [path for path in SAMPLES if path.read_text().split("\n", 1)[1].startswith(("[{", "{"))]
HELP = [path for path in SAMPLES if "-help-" in path.name]


def recorded(path):
    """The output of a sample: without its first line (the command) and its last (the status)."""
    return path.read_text().split("\n", 1)[1].rpartition("[exit code")[0]


def run(*words):
    """Run a command; return its status and standard output."""
    parts = []
    status = main(list(words), Out(parts.append))
    return status, b"".join(bytes(part) for part in parts).decode()


@pytest.mark.parametrize("path", PRETTY, ids=lambda path: path.stem)
def test_pretty_json_is_laid_out_as_bpftool_does(path):
    text = recorded(path)
    parts = []
    Json(parts.append, pretty=True).value(json.loads(text))
    assert "".join(parts) + "\n" == text


def test_there_are_samples_of_pretty_json_and_of_help():
    assert len(PRETTY) > 10
    assert len(HELP) == len(OBJECTS)


@pytest.mark.parametrize("path", HELP, ids=lambda path: path.stem)
def test_help_has_every_line_of_the_real_one_in_its_order(path):
    name = path.stem.split("-", 2)[2]
    own = iter(line.rstrip() for line in help_texts.text(OBJECT[name]).splitlines())
    missing = [line for line in recorded(path).splitlines() if line.rstrip() not in own]
    assert missing == []


def test_compact_json_has_no_blanks():
    parts = []
    Json(parts.append).value([{"id": 1, "map_ids": [1, 2], "frozen": False, "name": None}])
    assert "".join(parts) == '[{"id":1,"map_ids":[1,2],"frozen":false,"name":null}]'


@pytest.mark.parametrize("text", ["a", 'a"b', "a\\b", "a\nb\x01", "ä€", "\x7f", "\udcff"])
def test_a_quoted_string_reads_back(text):
    expected = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    assert json.loads(quoted(text)) == expected


def test_an_error_inside_open_brackets_still_gives_json():
    parts = []
    writer = Json(parts.append, pretty=True)
    writer.start("[")
    writer.start("{")
    writer.member("id", 1)
    writer.name("elements")
    writer.start("[")
    assert writer.unwind(0, "gone")
    assert json.loads("".join(parts)) == [{"id": 1, "elements": [{"error": "gone"}]}]


def test_errors_are_escaped_json():
    status, out = run("-j", "map", "show", 'a"b', "c")
    assert status == 255
    assert json.loads(out) == {"error": "expected 'id', 'name' or 'pinned', got: 'a\"b'?"}


@pytest.mark.parametrize(
    "words", [["--frob"], ["-x"], ["prog", "-1"], ["--vers=1"], ["-k"], ["--sort"]]
)
def test_an_unknown_option_is_named(words):
    status, out = run("-j", *words)
    assert status == 255
    assert "unrecognized option" in json.loads(out)["error"]


@pytest.mark.parametrize("words", [["help"], ["-h"], ["frobnicate"], ["map", "help"], ["gen"]])
def test_help_is_null_under_json(words, capfd):
    _, out = run("-j", *words)
    json.loads(out)
    assert capfd.readouterr().err == ""


def test_perf_help_is_plain_even_under_json(capfd):
    status, _ = run("-j", "perf", "help")
    assert status == 0
    assert capfd.readouterr().err.startswith("Usage: bpftool perf { show | list }\n")


def test_options_stand_anywhere_and_may_be_cut():
    for words in (["-j", "version"], ["version", "-j"], ["version", "--js"], ["--json", "v"]):
        assert json.loads(run(*words)[1])["version"] == "7.8.0"
    assert run("-V")[1].startswith("bpftool v7.8.0\n")
    assert run("-jp", "version")[1].startswith('{\n    "version": "7.8.0",\n')


def test_the_first_name_that_begins_so_wins():
    assert OBJECT["map"].match("p").name == "pin"
    assert OBJECT["map"].match("pe").name == "peek"
    assert OBJECT["prog"].match("l").name == "list"
    assert OBJECT["prog"].match("loada").name == "loadall"
    assert OBJECT["map"].match("nosuch") is None


def test_every_command_of_the_table_has_its_code():
    import importlib

    for found in OBJECTS:
        for command in found.commands:
            module = importlib.import_module(f"bpflens.bpftool.{command.module}")
            assert command.module == "help" or callable(getattr(module, command.function))

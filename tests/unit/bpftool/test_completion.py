"""Completion: what may come next, and the scripts that ask for it, run by the shells themselves."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bpflens.bpftool.complete import candidates
from bpflens.bpftool.completion import script
from bpflens.bpftool.grammar import GLOBAL, OBJECT
from bpflens.bpftool.main import main
from bpflens.bpftool.out import Out

SOURCES = Path(__file__).parents[3] / "src"
SHELLS = ("bash", "zsh", "fish")


def run(*words):
    parts = []
    status = main(list(words), Out(lambda data: parts.append(bytes(data))))
    return status, b"".join(parts).decode()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([""], list(GLOBAL)),
        ([], list(GLOBAL)),
        (["p"], ["prog", "perf"]),
        (["-j", "p"], ["prog", "perf"]),
        (["map", "de"], ["delete", "dequeue"]),
        (["m", "du", "re"], ["recursive"]),
        (["prog", "dump", "x"], ["xlated"]),
        (["prog", "dump", "xlated", "id", "5", "vis"], ["visual"]),
        (["inspect", "m"], ["map"]),
        (["completion", "f"], ["fish"]),
        (["map", "create", "/p", "type", "lru"], ["lru_hash", "lru_percpu_hash"]),
        (["map", "create", "/p", "flags", "no_p"], ["no_prealloc"]),
        (["map", "show", "--sort", "max"], ["max_entries"]),
        (["prog", "top", "--sort", "ns"], ["ns_per_run"]),
        (["prog", "show", "--color", "a"], ["always", "auto"]),
        (["prog", "show", "--pre"], ["--pretty"]),
        (["prog", "show", "pinned", "/sys"], []),
        (["nosuch", ""], []),
        (["batch", ""], ["file"]),
    ],
)
def test_the_table_of_commands_is_offered(words, expected):
    assert candidates(words) == expected


def test_errors_are_no_part_of_a_shells_line(capfd):
    status, text = run("__complete", "map", "update", "name", "no such map", "key", "")
    assert (status, text) == (0, "")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("shell", SHELLS)
def test_every_object_and_command_is_in_the_script(shell):
    text = script(shell)
    if shell == "fish":
        assert "__complete" in text  # it asks for all of them
        return
    for name, found in OBJECT.items():
        names = " ".join(command.name for command in found.commands)
        assert f"{name}:" in text
        assert names in text


def test_an_unknown_shell_is_refused():
    status, text = run("-j", "completion", "tcsh")
    assert status == 255
    assert "expected 'bash', 'zsh' or 'fish', got: 'tcsh'?" in text


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("doors", [(), ("bpftool", "bpftrace")])
def test_the_shell_accepts_its_script(shell, doors, tmp_path):
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    file = tmp_path / "script"
    file.write_text(script(shell, doors))
    done = subprocess.run([shell, "-n", str(file)], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture
def bash(tmp_path):
    """Complete the last of some words with the real bash; return what it offers."""
    if shutil.which("bash") is None:
        pytest.skip("no bash here")
    for name, door in (("bpftool", "bpftool"), ("bpflens", "")):
        command = tmp_path / name
        command.write_text(f'#!/bin/sh\nexec {sys.executable} -m bpflens {door} "$@"\n')
        command.chmod(0o755)
    (tmp_path / "script").write_text(script("bash", ["bpftool", "bpftrace"]))

    def complete(*words):
        text = (
            f"source {tmp_path}/script\nCOMP_WORDS=({' '.join(repr(one) for one in words)})\n"
            f'COMP_CWORD={len(words) - 1}\n_{words[0]}\nprintf "%s\\n" "${{COMPREPLY[@]}}"'
        )
        path = f"{tmp_path}:{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-c", text], capture_output=True, text=True, timeout=60, cwd=tmp_path,
            env={**os.environ, "PATH": path, "PYTHONPATH": str(SOURCES)},
        )  # fmt: skip
        assert done.stderr == ""
        return done.stdout.split()

    return complete


def test_bash_completes_objects_commands_keywords_and_options(bash):
    assert bash("bpftool", "p") == ["prog", "perf"]
    assert bash("bpftool", "-j", "map", "de") == ["delete", "dequeue"]
    assert bash("bpftool", "prog", "dump", "xl") == ["xlated"]
    assert bash("bpftool", "map", "show", "--tab") == ["--table"]
    assert bash("bpflens", "bpf") == ["bpftool", "bpftrace"]
    assert bash("bpflens", "bpftool", "li") == ["link"]


def test_bash_asks_the_command_for_values(bash):
    assert bash("bpftool", "map", "create", "/p", "type", "lru_p") == ["lru_percpu_hash"]
    assert bash("bpflens", "bpftool", "map", "show", "--sort", "max") == ["max_entries"]


def test_bash_completes_paths_where_a_path_follows(bash, tmp_path):
    (tmp_path / "saved.bin").write_text("")
    assert bash("bpftool", "prog", "dump", "xlated", "id", "1", "file", "sav") == ["saved.bin"]

"""Which door is entered, and what becomes of what it lets escape."""

from __future__ import annotations

import sys
import types

import pytest

from bpflens import __version__
from bpflens.cli import exits
from bpflens.cli import main as cli
from bpflens.errors import Error, SyscallError, UsageError


@pytest.fixture
def doors(monkeypatch):
    """Stand-ins for the two core doors; a list of (door, words) that were asked for."""
    calls = []
    for name in ("bpftool", "trace"):
        module = types.ModuleType(f"bpflens.{name}.main")
        module.main = lambda words, name=name: calls.append((name, list(words))) or 0
        monkeypatch.setitem(sys.modules, f"bpflens.{name}", types.ModuleType(f"bpflens.{name}"))
        monkeypatch.setitem(sys.modules, f"bpflens.{name}.main", module)
    monkeypatch.setattr(cli, "_set_process_name", lambda name: None)
    return calls


@pytest.fixture
def door_that(doors, monkeypatch):
    """Make the tracing door raise what is given."""

    def install(error):
        def main(words):
            raise error

        monkeypatch.setattr(sys.modules["bpflens.trace.main"], "main", main)

    monkeypatch.delenv("BPFLENS_DEBUG", raising=False)
    return install


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["bpflens", "bpftool", "prog", "show"], ("bpftool", ["prog", "show"])),
        (["bpflens", "tool", "-j", "map"], ("bpftool", ["-j", "map"])),
        (["/usr/bin/bpflens", "trace", "-e", "x"], ("trace", ["-e", "x"])),
        (["bpflens", "bpftrace", "a.bt"], ("trace", ["a.bt"])),
        (["bpftool", "trace"], ("bpftool", ["trace"])),
        (["/opt/x/bpftrace", "bpftool"], ("trace", ["bpftool"])),
        (["bpftrace"], ("trace", [])),
    ],
)
def test_the_name_or_else_the_first_word_chooses_the_door(doors, argv, expected):
    assert cli.main(argv) == 0
    assert doors == [expected]


def test_version_is_the_package_version(capsys):
    assert cli.main(["bpflens", "--version"]) == exits.OK
    assert capsys.readouterr().out == f"bpflens {__version__}\n"


def test_help_names_each_door_that_exists_and_no_other(capsys):
    assert cli.main(["bpflens", "--help"]) == exits.OK
    out = capsys.readouterr().out
    for door in cli.DOORS:
        assert (door.summary in out) == bool(door.module)


def test_no_words_shows_the_help_but_is_a_wrong_use(capsys):
    assert cli.main(["bpflens"]) == exits.USAGE
    assert "Usage:" in capsys.readouterr().out


def test_unknown_command_is_one_sentence_with_the_known_ones(capsys):
    assert cli.main(["bpflens", "frobnicate"]) == exits.USAGE
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "frobnicate" in err
    assert "bpftool" in err


@pytest.mark.parametrize("door", [door for door in cli.DOORS if not door.module])
def test_a_door_that_this_version_lacks_is_refused_in_one_sentence(door, capsys, monkeypatch):
    monkeypatch.setattr(cli, "_set_process_name", lambda name: None)
    assert cli.main(["bpflens", door.words[0]]) == exits.FAILURE
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert door.command in err


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (Error("the map is full"), exits.FAILURE, "bpftrace: the map is full\n"),
        (UsageError("what?"), exits.USAGE, "bpftrace: what?\n"),
        (FileNotFoundError(2, "Missing", "a.bt"), exits.FAILURE, "bpftrace: a.bt: Missing"),
        (SyscallError(1, "BPF_PROG_LOAD"), exits.FAILURE, "bpftrace: BPF_PROG_LOAD: Operation not"),
        (ZeroDivisionError("oh"), exits.FAILURE, "bpftrace: internal error: ZeroDivisionError: oh"),
    ],
)  # fmt: skip
def test_what_escapes_a_door_becomes_one_line_and_a_status(door_that, capsys, error, status, text):
    door_that(error)
    assert cli.main(["bpftrace"]) == status
    err = capsys.readouterr().err
    assert err.startswith(text)
    assert err.count("\n") == 1


def test_the_debug_variable_lets_the_error_through(door_that, monkeypatch):
    door_that(ZeroDivisionError("oh"))
    monkeypatch.setenv("BPFLENS_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        cli.main(["bpftrace"])


def test_control_c_is_quiet(door_that, capsys):
    door_that(KeyboardInterrupt())
    assert cli.main(["bpftrace"]) == exits.INTERRUPTED
    assert capsys.readouterr() == ("", "")


def test_a_failing_bpftool_gives_255(doors, monkeypatch, capsys):
    def main(words):
        raise UsageError("no such word")

    monkeypatch.setattr(sys.modules["bpflens.bpftool.main"], "main", main)
    assert cli.main(["bpftool"]) == exits.TOOL_FAILURE
    assert "no such word" in capsys.readouterr().err


def test_a_door_that_leaves_by_sys_exit_keeps_its_status(door_that):
    door_that(SystemExit(7))
    assert cli.main(["bpftrace"]) == 7

"""bpflens link: what it makes, and what it refuses to touch."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from bpflens.cli import exits, link
from bpflens.cli.main import DOORS
from bpflens.errors import Error, NotFound, UsageError

CORE = [door.command for door in DOORS if door.module]


@pytest.fixture
def launcher(tmp_path, monkeypatch):
    """An executable called bpflens that is "running"."""
    path = tmp_path / "sbin" / "bpflens"
    path.parent.mkdir()
    path.write_text("#!/bin/sh\nexit 0\n")
    path.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(path), "link"])
    return path


@pytest.fixture
def directory(tmp_path):
    path = tmp_path / "bin"
    path.mkdir()
    return path


def test_without_names_every_door_of_this_version_is_linked(launcher, directory):
    assert link.main(["--dir", str(directory)]) == exits.OK
    assert sorted(os.listdir(directory)) == sorted(CORE)
    assert all(os.readlink(directory / name) == str(launcher) for name in CORE)


def test_only_the_names_given_are_linked(launcher, directory):
    link.main([f"--dir={directory}", "bpftool"])
    assert os.listdir(directory) == ["bpftool"]


def test_an_existing_file_is_left_alone(launcher, directory):
    (directory / "bpftool").write_text("the real one")
    with pytest.raises(Error, match="--force"):
        link.main(["--dir", str(directory), "bpftool"])
    assert (directory / "bpftool").read_text() == "the real one"


def test_force_replaces_it(launcher, directory):
    (directory / "bpftool").write_text("the real one")
    link.main(["--dir", str(directory), "--force", "bpftool"])
    assert os.readlink(directory / "bpftool") == str(launcher)
    assert os.listdir(directory) == ["bpftool"]


def test_a_directory_is_not_replaced_even_by_force(launcher, directory):
    (directory / "bpftool").mkdir()
    with pytest.raises(Error, match="is a directory"):
        link.main(["--dir", str(directory), "--force", "bpftool"])


def test_linking_twice_is_no_error(launcher, directory, capsys):
    link.main(["--dir", str(directory), "bpftool"])
    link.main(["--dir", str(directory), "bpftool"])
    assert "(was there)" in capsys.readouterr().out


def test_a_link_may_be_linked_to_in_turn(launcher, directory, tmp_path, monkeypatch):
    link.main(["--dir", str(directory), "bpftool"])
    monkeypatch.setattr(sys, "argv", [str(directory / "bpftool"), "link"])
    second = tmp_path / "second"
    second.mkdir()
    link.main(["--dir", str(second), "bpftrace"])
    assert os.path.realpath(second / "bpftrace") == str(launcher)


@pytest.mark.parametrize("python", [sys.executable, "/opt/has space/bin/python3"])
def test_run_as_a_module_it_writes_a_launcher_that_works(directory, monkeypatch, tmp_path, python):
    if python != sys.executable:
        spaced = tmp_path / "has space"
        spaced.mkdir()
        python = str(spaced / "python3")
        os.symlink(sys.executable, python)
    monkeypatch.setattr(sys, "argv", ["/x/bpflens/__main__.py", "link"])
    monkeypatch.setattr(sys, "executable", python)
    monkeypatch.setitem(link.NAMES, "bpflens", DOORS[0])
    link.main(["--dir", str(directory), "bpflens"])
    done = subprocess.run(
        [directory / "bpflens", "--version"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stdout.startswith("bpflens ")
    assert done.stderr == ""


def test_a_missing_directory_is_refused_with_what_to_do(launcher, tmp_path):
    with pytest.raises(Error, match="mkdir -p"):
        link.main(["--dir", str(tmp_path / "none")])


def test_no_directory_is_a_wrong_use(launcher):
    with pytest.raises(UsageError, match="--dir"):
        link.main(["bpftool"])


def test_an_unknown_name_is_answered_with_the_known_ones(launcher, directory):
    with pytest.raises(NotFound, match="bpftrace"):
        link.main(["--dir", str(directory), "bpftop"])


def test_a_name_of_a_missing_door_is_refused(launcher, directory):
    missing = [door.command for door in DOORS if not door.module]
    for name in missing:
        with pytest.raises(Error, match=name):
            link.main(["--dir", str(directory), name])


def test_a_directory_off_the_path_is_pointed_out(launcher, directory, capsys):
    link.main(["--dir", str(directory), "bpftool"])
    assert "not on PATH" in capsys.readouterr().err


def test_help_changes_nothing(launcher, capsys):
    assert link.main(["--help"]) == exits.OK
    assert "Usage:" in capsys.readouterr().out

"""The single file: the same bytes from the same sources, and it runs where there is nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def build(path, **environment):
    subprocess.run(
        [sys.executable, ROOT / "tools" / "build_pyz.py", "--output", path],
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        timeout=120,
        check=True,
    )
    return path


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return build(tmp_path_factory.mktemp("archive") / "bpflens.pyz")


def run(*words, **options):
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False, **options)


def test_the_same_sources_give_the_same_bytes(archive, tmp_path):
    again = build(tmp_path / "again.pyz", PYTHONHASHSEED="7", TZ="Asia/Tokyo")
    assert archive.read_bytes() == again.read_bytes()


def test_it_runs_without_any_installed_package(archive):
    done = run(sys.executable, "-I", "-S", archive, "--version")
    assert (done.stdout[:8], done.stderr, done.returncode) == ("bpflens ", "", 0)


def test_it_is_a_command_by_itself_and_by_the_name_of_a_link(archive, tmp_path):
    link = tmp_path / "kubectl-trace"
    link.symlink_to(archive)
    assert run(archive, "--version").stdout.startswith("bpflens ")
    assert "kubectl-trace" in run(link).stderr


def test_its_compiled_code_is_what_is_used(archive):
    code = f"import sys; sys.path[:0] = [{str(archive)!r}]; import bpflens; print(bpflens.__file__)"
    assert run(sys.executable, "-I", "-c", code).stdout.endswith("bpflens/__init__.pyc\n")


def test_code_compiled_for_another_interpreter_is_passed_over(archive, tmp_path):
    other = tmp_path / "other.pyz"
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(other, "w") as new:
        for entry in old.infolist():
            data = old.read(entry)
            new.writestr(entry, b"\0\0\r\n" + data[4:] if entry.filename[-4:] == ".pyc" else data)
    done = run(sys.executable, "-I", "-S", other, "--version")
    assert (done.stdout[:8], done.stderr, done.returncode) == ("bpflens ", "", 0)

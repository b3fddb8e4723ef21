"""The committed manual pages name every object, command, keyword and option of the table."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bpflens.bpftool.grammar import GLOBAL, OBJECTS, OPTIONS

ROOT = Path(__file__).parents[3]
PAGES = ROOT / "docs" / "man"


def plain(path):
    """The text of a page as a reader sees it, without fonts and escapes."""
    text = path.read_text()
    for mark in ("\\fB", "\\fI", "\\fR", "\\&"):
        text = text.replace(mark, "")
    return text.replace("\\-", "-").replace("\\e", "\\")


@pytest.mark.parametrize("found", OBJECTS, ids=lambda found: found.name)
def test_every_command_keyword_and_line_of_usage_is_in_the_page(found):
    text = plain(PAGES / f"bpflens-bpftool-{found.name}.8")
    for usage in found.usage:
        assert f"bpftool {found.name} {usage}" in text
    headings = [
        name.strip()
        for line in text.splitlines()
        if line.startswith(".SS ")
        for name in line[4:].split(",")
    ]
    commands = [command for command in found.commands if command.module != "help"]
    assert sorted(headings) == sorted(command.name for command in commands)
    for command in commands:
        assert all(f" {word}" in text for word in command.keywords.split())


@pytest.mark.parametrize("path", sorted(PAGES.glob("*.8")), ids=lambda path: path.stem)
def test_every_option_is_explained_in_every_page(path):
    text = plain(path)
    for short, long, _ in OPTIONS:
        assert f"-{short}" in text if short else f"--{long}" in text


def test_the_main_page_names_what_a_command_line_may_begin_with():
    text = plain(PAGES / "bpflens-bpftool.8")
    for word in GLOBAL:
        if word not in ("help", "version"):
            assert f"\n{word}" in text


def test_the_pages_can_be_made_again():
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "gen_man.py"), "--check"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode in (0, 1)  # 1: a docstring changed since; make writes the pages anew
    assert done.stderr == ""


@pytest.mark.parametrize("path", sorted(PAGES.glob("*.8")), ids=lambda path: path.stem)
def test_the_formatter_has_no_complaint(path):
    if shutil.which("groff") is None:
        pytest.skip("no groff here")
    done = subprocess.run(
        ["groff", "-man", "-ww", "-z", "-Tutf8", str(path)],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stderr == ""

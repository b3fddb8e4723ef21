"""The examples of the Python API run, and print what they promise."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import bpflens

pytestmark = pytest.mark.kernel

EXAMPLES = Path(__file__).parents[2] / "examples" / "python"
ARGUMENTS = {"count_syscalls.py": ["0.3"], "million_entries.py": ["20000"]}
PROMISED = {
    "count_syscalls.py": r"^ +\d+ +\d+ +\S",
    "million_entries.py": r"^20000 entries, sum 199990000$",
    "show_everything.py": r"^\d+ programs, \d+ maps$",
    "packet_filter.py": r"^IPv6: dropped, \d+ ns a packet$",
    "kernel_types.py": r"^  \+8 +dentry$",
}


def run(name):
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *ARGUMENTS.get(name, [])],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": os.path.dirname(bpflens.__path__[0])},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_is_run_here():
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(PROMISED)


@pytest.mark.parametrize("name", PROMISED)
def test_the_example_prints_what_it_promises(name):
    assert re.search(PROMISED[name], run(name), re.MULTILINE)


def test_the_refused_program_says_why():
    assert "refused: loading program careless: Permission denied" in run("packet_filter.py")

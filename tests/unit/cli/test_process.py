"""The command as a process: pipes that close, outputs that are full, its name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SRC = str(Path(__file__).parents[3] / "src")

# A door that writes more than a pipe holds, put in the place of a real one.
_STAND_IN = """
import sys, types
sys.path.insert(0, {src!r})
door = types.ModuleType("bpflens.trace.main")
def main(words):
{body}
door.main = main
sys.modules["bpflens.trace"] = types.ModuleType("bpflens.trace")
sys.modules["bpflens.trace.main"] = door
from bpflens.cli.main import run
run(["bpftrace"])
"""


def run_door(body: str, **options):
    indented = "\n".join("    " + line for line in body.splitlines())
    code = _STAND_IN.format(src=SRC, body=indented)
    return subprocess.Popen(
        [sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, **options
    )


def test_a_reader_that_goes_away_ends_the_command_quietly():
    process = run_door("for i in range(100000): print('line', i)\nreturn 0", stdout=subprocess.PIPE)
    assert process.stdout.readline() == "line 0\n"
    process.stdout.close()
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (141, "")


def test_a_full_disk_is_reported_once():
    with open("/dev/full", "w") as full:
        process = run_door("print('x' * 10)\nreturn 0", stdout=full)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert err == "bpftrace: No space left on device\n"


def test_a_closed_standard_output_is_no_fault():
    process = run_door("print('x')\nreturn 3", preexec_fn=lambda: os.close(1))
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (3, "")


def test_the_process_carries_the_name_of_the_tool():
    process = run_door("print(open('/proc/self/comm').read())\nreturn 0", stdout=subprocess.PIPE)
    out, _ = process.communicate(timeout=30)
    assert out.strip() == "bpftrace"


def test_the_package_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "bpflens", "--version"],
        env={**os.environ, "PYTHONPATH": SRC},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stdout.startswith("bpflens ")
    assert done.returncode == 0

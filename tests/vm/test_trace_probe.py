"""Probes on kernel functions where kprobes and fentry are: the guides' examples, many at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.vm

SOURCE = str(Path(__file__).parents[2] / "src")
FILE = "/etc/hostname"
CAT = f"/bin/cat {FILE}"
NOTIFY = "__BPFTRACE_NOTIFY_PROBES_ATTACHED"
ENVIRONMENT = {**os.environ, "PYTHONPATH": SOURCE}


def run(*words):
    done = subprocess.run(
        [sys.executable, "-m", "bpflens", "bpftrace", *words],
        env=ENVIRONMENT, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def test_the_first_example_of_the_guides(tmp_path):
    script = tmp_path / "example.bt"
    script.write_text(
        'BEGIN { printf("Tracing open syscalls\\n") }\n'
        'kprobe:do_sys_open { printf("opening file descriptor: %s\\n", str(arg1)) }\n'
        'END { printf("at the end\\n") }\n'
    )
    with subprocess.Popen(
        [sys.executable, "-m", "bpflens", "bpftrace", str(script)],
        env={**ENVIRONMENT, NOTIFY: "1"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as tracer:  # fmt: skip
        assert tracer.stdout.readline() == "Tracing open syscalls\n"
        assert tracer.stdout.readline() == NOTIFY + "\n"
        subprocess.run(["/bin/cat", FILE], check=True, capture_output=True)
        tracer.send_signal(signal.SIGINT)
        out, err = tracer.communicate(timeout=100)
    assert f"opening file descriptor: {FILE}\n" in out
    assert "at the end\n" in out
    # Newer kernels go around do_sys_open: its successor is probed, and that is said.
    assert "do_sys_openat2" in err


def test_files_that_are_opened_are_counted():
    status, out, err = run("-e", "kprobe:do_sys_open { @opens[str(arg1)] = count() }", "-c", CAT)
    assert status == 0
    assert "Attaching 1 probe...\n" in err
    assert f"@opens[{FILE}]: 1\n" in out


def test_a_filter_by_name():
    script = f'kprobe:do_sys_open /str(arg1) == "{FILE}"/ {{ @[comm] = count() }}'
    assert "@[cat]: 1\n" in run("-e", script, "-c", CAT)[1]


def test_a_map_that_is_cleared_leaves_nothing():
    script = "kprobe:do_sys_open* { @opens[probe] = count() } END { clear(@opens) }"
    assert "@opens" not in run("-e", script, "-c", CAT)[1]


def test_histograms_and_stacks():
    script = (
        "kretprobe:vfs_read /pid == cpid/ { @size = hist(retval) } "
        "kprobe:vfs_read /pid == cpid/ { @[kstack(2)] = count() }"
    )
    out = run("-e", script, "-c", CAT)[1]
    assert "@size: \n" in out or "@size:\n" in out
    assert "        vfs_read+" in out


def test_many_functions_at_once():
    script = (
        "kprobe:vfs_* /pid == cpid/ { @[func] = count() } "
        "kretprobe:vfs_* /pid == cpid/ { @returns = count() }"
    )
    status, out, err = run("-e", script, "-c", CAT)
    assert status == 0, err
    assert int(err.split()[1]) > 100
    assert "@[vfs_read]: " in out


def test_functions_with_typed_arguments():
    script = "fentry:vfs_re* /pid == cpid/ { @[probe, comm] = count() }"
    assert "@[fentry:vmlinux:vfs_read, cat]: " in run("-e", script, "-c", CAT)[1]


def test_a_function_that_does_not_exist():
    status, _, err = run("-e", "kprobe:vfs_reed { }")
    assert status == 1
    assert "No matches for kprobe vfs_reed." in err
    assert "vfs_read" in err


def test_an_offset_that_is_no_instruction():
    status, _, err = run("-e", "kprobe:vfs_read+1 { }")
    assert status == 255
    assert "no instruction begins 1 bytes into the function" in err


def test_functions_are_listed():
    status, out, err = run("-l", "kprobe:vfs_rea*")
    assert (status, err) == (0, "")
    assert {"kprobe:vfs_read", "kprobe:vfs_readv"} <= set(out.splitlines())

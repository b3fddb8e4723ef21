"""Scripts on kernels that have what many machines lack: the whole road, from text to lines."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.vm

SOURCE = str(Path(__file__).parents[2] / "src")
# What each script waits for: a child that opens this file and ends the trace by its own end.
FILE = "/etc/hostname"


def trace(script):
    command = [sys.executable, "-m", "bpflens", "bpftrace", "-c", f"/bin/cat {FILE}", "-e", script]
    done = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": SOURCE},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "script",
    [
        'kprobe:do_sys_openat2 /pid == cpid/ { printf("opened %s\\n", str(arg1)); }',
        "kprobe:do_sys_openat2 /pid == cpid/ { @name = str(arg1); } "
        'kretprobe:do_sys_openat2 /pid == cpid/ { printf("opened %s\\n", str(@name)); }',
        'kfunc:do_sys_openat2 /pid == cpid/ { printf("opened %s\\n", str(args->filename)); }',
        'fexit:do_sys_openat2 /pid == cpid/ { printf("opened %s\\n", str(args.filename)); }',
    ],
    ids=["kprobe", "kretprobe", "kfunc", "fexit"],
)
def test_a_kernel_function_is_seen_with_its_arguments(script):
    assert f"opened {FILE}\n" in trace(script)


def test_a_return_value_is_a_descriptor():
    output = trace(
        'kretprobe:do_sys_openat2 /pid == cpid && retval == 3/ { printf("fd %d\\n", retval); }'
    )
    assert "fd 3\n" in output


def test_a_kernel_stack_begins_at_the_probe():
    output = trace("kprobe:do_sys_openat2 /pid == cpid/ { @[kstack] = count(); }")
    assert "do_sys_openat2" in output
    assert "entry_SYSCALL_64" in output

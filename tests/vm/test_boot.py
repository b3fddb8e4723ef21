"""The machine that tools/vm.py boots is what it promises to be."""

from __future__ import annotations

import os

import pytest

pytestmark = pytest.mark.vm


def test_the_kernel_is_the_one_that_was_asked_for():
    assert os.uname().release.startswith(os.environ["BPFLENS_VM"] + ".")


@pytest.mark.parametrize(
    "path",
    [
        "/sys/kernel/btf/vmlinux",
        "/sys/kernel/tracing/available_filter_functions",
        "/sys/fs/bpf",
        "/sys/fs/cgroup/cgroup.controllers",
    ],
)
def test_what_tracing_needs_is_mounted(path):
    assert os.access(path, os.R_OK)


def test_files_can_be_written_and_are_not_the_hosts(tmp_path):
    (tmp_path / "file").write_text("x")
    with open("/proc/mounts") as file:
        assert "none / overlay" in file.read()

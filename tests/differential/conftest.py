"""Fixtures that these tests share with those of the kernel: places of their own, clean-up."""

from __future__ import annotations

import pytest

from kernel.conftest import bpffs, cgroup, close_all, load, netns, no_leaked_object, veth

__all__ = ["bpffs", "cgroup", "close_all", "load", "netns", "no_leaked_object", "veth"]


@pytest.fixture
def d0(netns):
    """The index of an interface called d0, alone in an own network namespace."""
    import socket
    import subprocess

    from bpflens.errors import NotSupported

    made = subprocess.run(["ip", "link", "add", "d0", "type", "veth", "peer", "name", "d1"])
    if made.returncode:
        raise NotSupported("veth", why="no pair of interfaces can be made (a module is missing)")
    for name in ("d0", "d1"):
        subprocess.run(["ip", "link", "set", name, "up"], check=True)
    return socket.if_nametoindex("d0")

"""Names of network devices, in the network namespace that they belong to.

An ifindex means nothing without its namespace. The kernel says which namespace an offloaded
program or map belongs to (device and inode of the namespace file); of links it does not say it, but
a process that holds the link lives in one. Names are asked for inside that namespace where this
process may enter it.

Example::

    name(3)                      # 'eth0', here
    name_for(3, holders=[1234])  # 'v0', in the namespace of process 1234
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["name", "name_for", "name_in_namespace", "same_namespace"]

_CLONE_NEWNET = 0x40000000


def name(ifindex: int) -> str:
    """Return the name of a device of this namespace, empty when there is none."""
    import socket

    try:
        return socket.if_indextoname(ifindex)
    except OSError:
        return ""


def same_namespace(pid: int) -> bool:
    """Say whether a process is in the network namespace of this one (or cannot be asked)."""
    try:
        return os.stat(f"/proc/{pid}/ns/net").st_ino == os.stat("/proc/self/ns/net").st_ino
    except OSError:
        return True


def name_for(ifindex: int, holders: Iterable[int]) -> str:
    """Return the device's name in the namespace of the first holder that lives in another one."""
    for pid in holders:
        if not same_namespace(pid):
            found = name_in_namespace(ifindex, f"/proc/{pid}/ns/net")
            if found:
                return found
    return name(ifindex)


def name_in_namespace(ifindex: int, path: str) -> str:
    """Return the device's name in the namespace whose file is ``path``; empty if it has none."""
    from bpflens.kernel.syscall import syscall

    try:
        there = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        here = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            syscall("setns", there, _CLONE_NEWNET)
            try:
                return name(ifindex)
            finally:
                syscall("setns", here, _CLONE_NEWNET)
        finally:
            os.close(here)
    except OSError:
        return ""
    finally:
        os.close(there)

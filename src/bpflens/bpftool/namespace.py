"""Do something in another network namespace, and be back afterwards.

Example::

    inside("/run/netns/lab", lambda: device.name(3))     # 'v0', or None if it may not be entered
"""

from __future__ import annotations

import os

from bpflens.kernel.syscall import syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    _T = TypeVar("_T")

__all__ = ["inode", "inside"]

_CLONE_NEWNET = 0x40000000
_HERE = "/proc/thread-self/ns/net"


def inside(path: str, work: Callable[[], _T]) -> _T | None:
    """Return what ``work`` returns in the namespace whose file is ``path``.

    ``None`` where this process may not enter it, or ``path`` is no namespace.
    """
    try:
        there = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        here = os.open(_HERE, os.O_RDONLY | os.O_CLOEXEC)
        try:
            try:
                syscall("setns", there, _CLONE_NEWNET)
            except OSError:
                return None
            try:
                return work()
            finally:
                syscall("setns", here, _CLONE_NEWNET)
        finally:
            os.close(here)
    finally:
        os.close(there)


def inode(path: str = _HERE) -> int:
    """Return the number of a network namespace, by default of this one; 0 if it is not told."""
    try:
        return os.stat(path).st_ino
    except OSError:
        return 0

"""One function through which every system call of the package passes.

Invariants: the C library's ``syscall`` gets its argument types here, once (without them 64-bit
addresses would be cut to 32 bits); a failure is a negative errno, the kernel's own convention, so
that hot paths can look at a number instead of catching an exception. This module explains
nothing: :mod:`bpflens.kernel.cause` turns a number into words when there is someone to read them.

Example::

    def fake(number, *args):
        return -errno.EPERM

    with set_syscall(fake):
        map_create(...)          # raises SyscallError: Operation not permitted (EPERM)
"""

from __future__ import annotations

import ctypes
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

__all__ = ["NUMBERS", "arch", "number", "raw", "set_syscall", "syscall"]

# The few calls the package makes; asm/unistd_64.h and asm-generic/unistd.h.
_X86_64 = {
    "mmap": 9, "munmap": 11, "ioctl": 16, "capget": 125, "capset": 126, "prctl": 157,
    "mount": 165, "umount2": 166, "setns": 308, "unshare": 272, "perf_event_open": 298,
    "prlimit64": 302, "bpf": 321, "pidfd_open": 434, "membarrier": 324, "fsopen": 430,
    "fsconfig": 431, "fsmount": 432,
}  # fmt: skip
_AARCH64 = {
    "mmap": 222, "munmap": 215, "ioctl": 29, "capget": 90, "capset": 91, "prctl": 167,
    "mount": 40, "umount2": 39, "setns": 268, "unshare": 97, "perf_event_open": 241,
    "prlimit64": 261, "bpf": 280, "pidfd_open": 434, "membarrier": 283, "fsopen": 430,
    "fsconfig": 431, "fsmount": 432,
}  # fmt: skip

NUMBERS = {"x86_64": _X86_64, "aarch64": _AARCH64}

_arch = os.uname().machine
_table = NUMBERS.get(_arch, _X86_64)

_libc = ctypes.CDLL(None, use_errno=True)
_libc_syscall = _libc["syscall"]
_libc_syscall.restype = ctypes.c_long
_libc_syscall.argtypes = [ctypes.c_long] * 7
_get_errno = ctypes.get_errno


def arch() -> str:
    """Return the machine's name as uname(2) spells it (``"x86_64"``, ``"aarch64"``)."""
    return _arch


def number(name: str) -> int:
    """Return the number of the system call ``name`` on this machine.

    Raises :class:`~bpflens.errors.NotSupported` on a machine that is neither x86-64 nor arm64.
    """
    if _arch not in NUMBERS:
        from bpflens.errors import NotSupported

        raise NotSupported(
            f"system call {name} on {_arch}", why="only x86_64 and aarch64 are known"
        )
    return _table[name]


def _real(nr: int, a: int = 0, b: int = 0, c: int = 0, d: int = 0, e: int = 0, f: int = 0) -> int:
    result: int = _libc_syscall(nr, a, b, c, d, e, f)
    return -_get_errno() if result == -1 else result


# Read through the module (``syscall.raw(...)``), never imported by name: tests replace it.
raw: Callable[..., int] = _real
"""Make system call ``nr``: ``raw(nr, *args)`` returns its result, or minus errno."""


def syscall(name: str, *args: int) -> int:
    """Make the system call ``name`` and return its result; raise a plain OSError on failure."""
    result = raw(number(name), *args)
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return result


class set_syscall:
    """Context manager that puts ``function`` in the place of the kernel.

    ``function(nr, *args)`` answers like :data:`raw`: a result, or minus errno. Addresses among
    ``args`` are real ones, readable with :func:`bpflens.kernel.memory.peek`.
    """

    __slots__ = ("_before", "_function")

    def __init__(self, function: Callable[..., int]) -> None:
        self._function = function
        self._before: Callable[..., int] | None = None

    def __enter__(self) -> None:
        global raw
        self._before, raw = raw, self._function

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        global raw
        if self._before is not None:
            raw = self._before

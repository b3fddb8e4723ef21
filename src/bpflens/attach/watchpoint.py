"""Hardware breakpoints: run a program when memory is written, read or executed.

A machine has few of them (four on x86-64). Addresses of user space belong to one process, whose
``pid`` is given; kernel addresses are watched on every CPU.

Example::

    Watchpoint(0x7ffd1234, 8, "w", pid=1234).attach(program)
"""

from __future__ import annotations

import errno
import os
import struct

from bpflens.attach.attachment import refused
from bpflens.attach.perf_attach import connect, open_each
from bpflens.errors import AttachError, NotSupported, SyscallError
from bpflens.kernel import cpu, perf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.attach.attachment import Attachment, HasFd

__all__ = ["Watchpoint"]

# include/uapi/linux/hw_breakpoint.h
_READ, _WRITE, _EXECUTE = 1, 2, 4
_MODES = {"r": _READ, "w": _WRITE, "x": _EXECUTE}


class Watchpoint:
    """``length`` bytes at ``address``; ``mode`` is any of the letters ``r``, ``w`` and ``x``."""

    __slots__ = ("address", "length", "mode", "pid")

    def __init__(self, address: int, length: int, mode: str, *, pid: int = 0) -> None:
        self.address = address
        self.length = length
        self.mode = mode
        self.pid = pid

    def __str__(self) -> str:
        return f"watchpoint:{self.address:#x}:{self.length}:{self.mode}"

    def attach(self, program: HasFd, *, cookie: int = 0) -> Attachment:
        """Attach; raises :class:`~bpflens.errors.AttachError`."""
        mode = self._mode()

        # The processor wants breakpoints on code to be as long as a word, whatever they are for.
        length = struct.calcsize("l") if mode == _EXECUTE else self.length

        def open_on(place: int) -> int:
            thread, number = (place, -1) if self.pid else (-1, place)
            return perf.open_breakpoint(self.address, length, mode, pid=thread, cpu=number)

        try:
            places = _threads(self.pid) if self.pid else cpu.online()
            return connect(str(self), program, open_each(places, open_on), cookie)
        except (SyscallError, NotSupported) as error:
            raise self._explained(error) from error

    def _mode(self) -> int:
        mode = 0
        for letter in self.mode:
            if letter not in _MODES:
                raise AttachError(str(self), f"no mode {letter!r}: r, w and x are known")
            mode |= _MODES[letter]
        if mode & _EXECUTE and mode != _EXECUTE:
            raise AttachError(str(self), "x cannot be combined with r or w")
        if not mode:
            raise AttachError(str(self), "the mode is empty: r, w and x are known")
        # x86-64 knows no breakpoint for reads alone.
        if mode == _READ and os.uname().machine == "x86_64":
            raise AttachError(str(self), "this machine cannot watch reads alone", ["use rw"])
        if self.length not in (1, 2, 4, 8):
            raise AttachError(str(self), "a length must be 1, 2, 4 or 8")
        return mode

    def _explained(self, error: SyscallError | NotSupported) -> AttachError:
        number = getattr(error, "errno", 0)
        if number == errno.ENOSPC:
            return AttachError(
                str(self), "all hardware breakpoints of the machine are in use",
                ["attach fewer watchpoints at a time"],
            )  # fmt: skip
        if number == errno.EINVAL and self.address % self.length:
            return AttachError(str(self), f"the address is not a multiple of {self.length}")
        if number == errno.ESRCH:
            return AttachError(str(self), f"there is no process {self.pid}")
        return refused(str(self), error)


# An event of one thread says nothing about the others; new ones are not watched.
def _threads(pid: int) -> list[int]:
    try:
        return [int(name) for name in os.listdir(f"/proc/{pid}/task")]
    except OSError:
        return [pid]

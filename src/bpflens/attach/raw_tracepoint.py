"""Raw tracepoints: the arguments of the tracepoint itself, without a record made of them.

Attaching and detaching cost microseconds. A program of type TRACING with expected attach type
BPF_TRACE_RAW_TP (``tp_btf``) named its tracepoint when it was loaded and sees typed arguments.

Example::

    RawTracepoint("sys_enter").attach(program)
"""

from __future__ import annotations

import errno

from bpflens.attach.attachment import Attachment, refused
from bpflens.errors import AttachError, SyscallError
from bpflens.kernel import bpf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.attach.attachment import HasFd

__all__ = ["RawTracepoint"]


class RawTracepoint:
    """The raw tracepoint ``event`` (without its system); "" for a program that names its own."""

    __slots__ = ("event",)

    def __init__(self, event: str = "") -> None:
        self.event = event

    def __str__(self) -> str:
        return f"rawtracepoint:{self.event}"

    def attach(self, program: HasFd, *, cookie: int = 0) -> Attachment:
        """Attach; raises :class:`~bpflens.errors.AttachError`."""
        try:
            fd = bpf.raw_tracepoint_open(program.fd, self.event or None, cookie)
        except SyscallError as error:
            raise self._explained(error, cookie) from error
        return Attachment(str(self), [fd], link_fd=fd)

    def _explained(self, error: SyscallError, cookie: int) -> AttachError:
        if error.errno == errno.ENOENT:
            return AttachError(str(self), "there is no such tracepoint", _near(self.event))
        return refused(str(self), error, feature="raw_tp_cookie" if cookie else "")


# Names of tracepoints like this one, wherever tracefs can be read.
def _near(event: str) -> list[str]:
    from difflib import get_close_matches

    from bpflens.kernel import tracefs

    try:
        names = {name for system in tracefs.systems() for name in tracefs.events(system)}
    except OSError:
        return []
    return get_close_matches(event, names, n=3)

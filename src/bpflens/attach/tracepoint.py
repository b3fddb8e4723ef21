"""Static tracepoints through perf events: ``sched:sched_switch``.

The program (type TRACEPOINT) sees the record that the format file describes. One event on one CPU
serves all CPUs. Detaching is slow (see :mod:`bpflens.attach.attachment`); raw tracepoints are not.

Example::

    Tracepoint("syscalls", "sys_enter_openat").attach(program, cookie=1)
"""

from __future__ import annotations

from bpflens.attach.attachment import refused
from bpflens.attach.perf_attach import connect
from bpflens.errors import AttachError, NotFound, NotSupported, SyscallError
from bpflens.kernel import cpu, perf, tracefs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.attach.attachment import Attachment, HasFd

__all__ = ["Tracepoint"]


class Tracepoint:
    """The tracepoint ``system:event``, in every process.

    The kernel runs a tracepoint's programs for all processes whatever its perf event is bound to;
    a program that wants one process compares the pid itself.
    """

    __slots__ = ("event", "system")

    def __init__(self, system: str, event: str) -> None:
        self.system = system
        self.event = event

    def __str__(self) -> str:
        return f"tracepoint:{self.system}:{self.event}"

    def attach(self, program: HasFd, *, cookie: int = 0) -> Attachment:
        """Attach; raises :class:`~bpflens.errors.AttachError`."""
        try:
            number = tracefs.event_id(self.system, self.event)
            event = perf.open_tracepoint(number, cpu=cpu.online()[0], what=str(self))
            return connect(str(self), program, [event], cookie, slow=True)
        except NotFound as error:
            raise AttachError(str(self), "there is no such tracepoint", error.candidates) from None
        except (SyscallError, NotSupported) as error:
            raise refused(str(self), error) from error

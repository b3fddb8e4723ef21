"""Programs that named their target when they were loaded: fentry, fexit, LSM, freplace, tp_btf.

Attaching only starts them. Entering and leaving such a program costs nanoseconds, there is no
breakpoint behind it.

Example::

    Tracing("fentry:vfs_read", BPF_TRACE_FENTRY).attach(program)
"""

from __future__ import annotations

import errno

from bpflens.attach.attachment import Attachment, refused
from bpflens.errors import AttachError, SyscallError
from bpflens.kernel import bpf, link

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.attach.attachment import HasFd

__all__ = ["Tracing"]


class Tracing:
    """A program of type TRACING, LSM or EXT with this expected attach type.

    ``target_fd`` and ``target_btf_id`` move a freplace (or fentry) program to another program.
    """

    __slots__ = ("attach_type", "name", "target_btf_id", "target_fd")

    def __init__(
        self, name: str, attach_type: int, *, target_fd: int = 0, target_btf_id: int = 0
    ) -> None:
        self.name = name
        self.attach_type = attach_type
        self.target_fd = target_fd
        self.target_btf_id = target_btf_id

    def __str__(self) -> str:
        return self.name

    def attach(self, program: HasFd, *, cookie: int = 0) -> Attachment:
        """Attach; raises :class:`~bpflens.errors.AttachError`."""
        try:
            fd = self._link(program, cookie)
        except SyscallError as error:
            raise self._explained(error) from error
        return Attachment(self.name, [fd], link_fd=fd)

    def _link(self, program: HasFd, cookie: int) -> int:
        if self.target_fd or cookie:
            return link.tracing(
                program.fd,
                self.attach_type,
                target_fd=self.target_fd,
                target_btf_id=self.target_btf_id,
                cookie=cookie,
            )
        # The older of the two commands does the same and is there on every kernel with BTF.
        return bpf.raw_tracepoint_open(program.fd)

    def _explained(self, error: SyscallError) -> AttachError:
        if error.errno == errno.EBUSY:
            reason = "something else is attached to this function, or too many programs are"
            return AttachError(self.name, reason)
        if error.errno == errno.ENOENT:
            return AttachError(self.name, "the kernel cannot trace this function")
        return refused(self.name, error)

"""Programs of a control group: what its processes may send, bind, open, set.

By a link where the kernel has them (since Linux 5.7), by BPF_PROG_ATTACH elsewhere or where the
flags ask for it.

Example::

    Cgroup("/sys/fs/cgroup/mine", BPF_CGROUP_INET_EGRESS).attach(program)
"""

from __future__ import annotations

import errno
import os

from bpflens.attach.attachment import Attachment, refused
from bpflens.errors import AttachError, SyscallError
from bpflens.kernel import bpf, link
from bpflens.uapi.bpf import BPF_F_ALLOW_MULTI

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.attach.attachment import HasFd

__all__ = ["Cgroup", "open_cgroup"]


class Cgroup:
    """The cgroup v2 directory ``path`` and one of its attach types.

    ``flags`` other than None attach without a link: 0 (the only program), BPF_F_ALLOW_OVERRIDE or
    BPF_F_ALLOW_MULTI.
    """

    __slots__ = ("attach_type", "flags", "path")

    def __init__(self, path: str, attach_type: int, *, flags: int | None = None) -> None:
        self.path = path
        self.attach_type = attach_type
        self.flags = flags

    def __str__(self) -> str:
        return f"cgroup:{self.path}"

    def attach(self, program: HasFd, *, cookie: int = 0) -> Attachment:
        """Attach; raises :class:`~bpflens.errors.AttachError`."""
        if cookie:
            raise AttachError(str(self), "a cgroup program carries no cookie")
        directory = open_cgroup(str(self), self.path)
        try:
            if self.flags is None:
                fd = link.cgroup(program.fd, directory, self.attach_type)
                os.close(directory)
                return Attachment(str(self), [fd], link_fd=fd)
            return self._without_link(program, directory, self.flags)
        except SyscallError as error:
            # Since Linux 5.7 (af6eea57437a "bpf: Implement bpf_link-based cgroup BPF program
            # attachment"): older kernels do not know the command.
            if self.flags is None and error.errno == errno.EINVAL:
                return self._as_before_links(program, directory, error)
            os.close(directory)
            raise refused(str(self), error) from error

    def _as_before_links(self, program: HasFd, directory: int, refusal: SyscallError) -> Attachment:
        try:
            return self._without_link(program, directory, BPF_F_ALLOW_MULTI)
        except SyscallError:
            # The first refusal is the one that says why.
            os.close(directory)
            raise refused(str(self), refusal) from refusal

    def _without_link(self, program: HasFd, directory: int, flags: int) -> Attachment:
        bpf.prog_attach(program.fd, directory, self.attach_type, flags=flags)
        # Detaching needs the program: a descriptor of our own, whatever happens to the caller's.
        prog_fd = os.dup(program.fd)

        def undo() -> None:
            try:
                bpf.prog_detach(prog_fd, directory, self.attach_type)
            finally:
                os.close(prog_fd)
                os.close(directory)

        return Attachment(str(self), [], undo=undo)


def open_cgroup(probe: str, path: str) -> int:
    """Open a cgroup directory; AttachError if there is none."""
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise AttachError(probe, f"{path}: {os.strerror(error.errno or 0)}") from None

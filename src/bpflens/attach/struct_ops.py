"""Put a table of functions into the kernel: register a struct_ops map.

A map made with BPF_F_LINK is registered by a link, an older one by storing its value; both go
away when the attachment is closed.

Example::

    StructOps("my_cc", loaded.maps["my_cc"], loaded.tables["my_cc"]).attach()
"""

from __future__ import annotations

import errno

from bpflens.attach.attachment import Attachment, refused
from bpflens.errors import AttachError, SyscallError
from bpflens.kernel import bpf, link
from bpflens.kernel.info import map_info
from bpflens.uapi.bpf import BPF_F_LINK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.attach.attachment import HasFd

__all__ = ["StructOps"]


class StructOps:
    """The table ``name`` in ``map``, with the ``value`` that the loader made for this kernel."""

    __slots__ = ("map", "name", "value")

    def __init__(self, name: str, map: HasFd, value: bytes) -> None:
        self.name = name
        self.map = map
        self.value = value

    def __str__(self) -> str:
        return f"struct_ops:{self.name}"

    def attach(self, program: HasFd | None = None, *, cookie: int = 0) -> Attachment:
        """Register the table; raises :class:`~bpflens.errors.AttachError`."""
        if cookie:
            raise AttachError(str(self), "a table of functions carries no cookie")
        map_fd = self.map.fd
        by_link = map_info(map_fd).map_flags & BPF_F_LINK
        try:
            bpf.map_update_elem(map_fd, bytes(4), self.value)
            if by_link:
                fd = link.struct_ops(map_fd)
                return Attachment(str(self), [fd], link_fd=fd)
        except SyscallError as error:
            if error.errno == errno.EEXIST:
                reason = "a table of this name is registered already"
                raise AttachError(str(self), reason) from error
            if error.errno == errno.EBUSY:
                raise AttachError(str(self), "the table was registered before") from error
            raise refused(str(self), error) from error

        def unregister() -> None:
            bpf.map_delete_elem(map_fd, bytes(4))

        return Attachment(str(self), [], undo=unregister)

"""Iterators: a program that walks kernel objects and writes what a reader of a file sees.

The link makes as many readers as are wanted; pinned, it is a file that ``cat`` reads.

Example::

    with Iterator("task").attach(program) as iterator:
        print(iterator.read().decode())
"""

from __future__ import annotations

import errno
import os

from bpflens.attach.attachment import Attachment, refused
from bpflens.errors import AttachError, SyscallError
from bpflens.kernel import bpf, link

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.attach.attachment import HasFd

__all__ = ["Iteration", "Iterator"]


class Iteration(Attachment):
    """An attached iterator: :meth:`open` starts one walk, :meth:`read` makes one to its end."""

    __slots__ = ()

    def open(self) -> int:
        """Return a descriptor that gives the output of one walk; the caller closes it."""
        return bpf.iter_create(self.link_fd)

    def read(self) -> bytes:
        """Walk once and return everything the program wrote."""
        with open(self.open(), "rb") as file:
            return file.read()


class Iterator:
    """The iterator ``name`` ("task", "bpf_map"...), over everything or one object only.

    ``map`` is the map of a ``bpf_map_elem`` iterator; ``cgroup`` a directory of cgroup v2;
    ``pid`` or ``tid`` narrow task iterators (since Linux 6.1).
    """

    __slots__ = ("cgroup", "map", "name", "order", "pid", "tid")

    def __init__(
        self,
        name: str,
        *,
        map: HasFd | None = None,
        cgroup: str = "",
        order: int = 0,
        pid: int = 0,
        tid: int = 0,
    ) -> None:
        self.name = name
        self.map = map
        self.cgroup = cgroup
        self.order = order
        self.pid = pid
        self.tid = tid

    def __str__(self) -> str:
        return f"iter:{self.name}"

    def attach(self, program: HasFd, *, cookie: int = 0) -> Iteration:
        """Attach; raises :class:`~bpflens.errors.AttachError`."""
        if cookie:
            raise AttachError(str(self), "an iterator carries no cookie")
        cgroup_fd = self._open_cgroup()
        try:
            fd = link.iterator(
                program.fd,
                map_fd=self.map.fd if self.map is not None else None,
                cgroup_fd=cgroup_fd,
                order=self.order,
                tid=self.tid,
                pid=self.pid,
            )
        except SyscallError as error:
            if error.errno == errno.EBADF and self.map is None:
                reason = "this iterator walks the entries of a map: name the map"
                raise AttachError(str(self), reason) from error
            raise refused(str(self), error) from error
        finally:
            if cgroup_fd is not None:
                os.close(cgroup_fd)
        return Iteration(str(self), [fd], link_fd=fd)

    def _open_cgroup(self) -> int | None:
        if not self.cgroup:
            return None
        from bpflens.attach.cgroup import open_cgroup

        return open_cgroup(str(self), self.cgroup)

"""Probes on user functions: ``uprobe``, ``uretprobe``, and many of them with one link.

Places are file offsets; :mod:`bpflens.attach.binary` makes them of symbols. A probe in every
process fires in those that start later, too.

Example::

    Uprobe("/usr/bin/python3", symbol="Py_BytesMain").attach(program)
    UprobeMulti("/usr/bin/python3", [0x1c0, 0x2d0]).attach(program, cookies=[1, 2])
"""

from __future__ import annotations

import errno
import os

from bpflens.attach.attachment import Attachment, refused
from bpflens.attach.binary import binary_path, place
from bpflens.attach.perf_attach import connect
from bpflens.errors import AttachError, NotFound, NotSupported, SyscallError
from bpflens.kernel import cpu, link, perf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from bpflens.attach.attachment import HasFd

__all__ = ["Uprobe", "UprobeMulti"]


class Uprobe:
    """The instruction ``offset`` bytes into ``symbol`` of the binary ``path``.

    ``address`` is a virtual address instead of a symbol, ``file_offset`` a ready place in the
    file. ``retprobe`` fires when the function returns. ``ref_ctr_offset`` is the file offset of a
    counter that is above zero while the probe is there. ``pid`` 0 is every process.
    """

    __slots__ = ("address", "file_offset", "offset", "path", "pid", "ref_ctr_offset", "retprobe",
                 "symbol")  # fmt: skip

    def __init__(
        self,
        path: str,
        *,
        symbol: str = "",
        offset: int = 0,
        address: int = 0,
        file_offset: int | None = None,
        retprobe: bool = False,
        pid: int = 0,
        ref_ctr_offset: int = 0,
    ) -> None:
        self.path = path
        self.symbol = symbol
        self.offset = offset
        self.address = address
        self.file_offset = file_offset
        self.retprobe = retprobe
        self.pid = pid
        self.ref_ctr_offset = ref_ctr_offset

    def __str__(self) -> str:
        kind = "uretprobe" if self.retprobe else "uprobe"
        where = self.symbol or f"{self.file_offset or self.address:#x}"
        return f"{kind}:{self.path}:{where}" + (f"+{self.offset}" if self.offset else "")

    def attach(self, program: HasFd, *, cookie: int = 0) -> Attachment:
        """Attach; raises :class:`~bpflens.errors.AttachError`."""
        try:
            path = binary_path(self.path)
            where = self.file_offset
            if where is None:
                where = self._resolved(path)
            event = perf.open_probe(
                "uprobe",
                path,
                where,
                retprobe=self.retprobe,
                ref_ctr_offset=self.ref_ctr_offset,
                pid=self.pid,
                cpu=cpu.online()[0],
            )
            return connect(str(self), program, [event], cookie, slow=True)
        except NotFound as error:
            raise AttachError(str(self), str(error), error.candidates) from None
        except (SyscallError, NotSupported) as error:
            raise refused(str(self), error, _hints(error, self.pid)) from error

    def _resolved(self, path: str) -> int:
        found = place(path, self.symbol, self.offset, self.address)
        if found.size and self.offset >= found.size:
            raise AttachError(
                str(self), f"{self.symbol} is {found.size} bytes long: +{self.offset} is behind it"
            )
        return found.offset


class UprobeMulti:
    """Many places (file offsets) of one binary, tied by one link (since Linux 6.6).

    ``cookies`` gives each place one of its own.
    """

    __slots__ = ("cookies", "offsets", "path", "pid", "ref_ctr_offsets", "retprobe", "session")

    def __init__(
        self,
        path: str,
        offsets: Sequence[int],
        *,
        retprobe: bool = False,
        session: bool = False,
        pid: int = 0,
        ref_ctr_offsets: Sequence[int] = (),
        cookies: Sequence[int] = (),
    ) -> None:
        self.cookies = list(cookies)
        self.path = path
        self.offsets = list(offsets)
        self.retprobe = retprobe
        self.session = session
        self.pid = pid
        self.ref_ctr_offsets = list(ref_ctr_offsets)

    def __str__(self) -> str:
        kind = "uretprobe" if self.retprobe else "uprobe"
        return f"{kind}:{self.path}:{len(self.offsets)} places"

    def attach(self, program: HasFd, *, cookie: int = 0) -> Attachment:
        """Attach; raises :class:`~bpflens.errors.AttachError`."""
        cookies = self.cookies or ([cookie] * len(self.offsets) if cookie else [])
        try:
            fd = link.uprobe_multi(
                program.fd,
                binary_path(self.path),
                self.offsets,
                ref_ctr_offsets=self.ref_ctr_offsets,
                cookies=cookies,
                pid=self.pid,
                return_probe=self.retprobe,
                session=self.session,
            )
        except NotFound as error:
            raise AttachError(str(self), str(error)) from None
        except SyscallError as error:
            feature = "uprobe_session" if self.session else "uprobe_multi"
            raise refused(str(self), error, _hints(error, self.pid), feature) from error
        return Attachment(str(self), [fd], link_fd=fd, slow=True)


def _hints(error: SyscallError | NotSupported, pid: int) -> list[str]:
    number = getattr(error, "errno", 0)
    if number == errno.ESRCH or (pid and not os.path.exists(f"/proc/{pid}")):
        return [f"there is no process {pid}"]
    if number in (errno.EACCES, errno.EPERM):
        return ["probes on user code need root (CAP_SYS_ADMIN)"]
    return []

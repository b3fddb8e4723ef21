"""Probes on kernel functions: ``kprobe``, ``kretprobe``, one by one or many with one link.

One by one they go through the kprobe event source of perf, or through tracefs' ``kprobe_events``
on kernels that have only that. Neither can be bound to one process: the program compares the pid.

Example::

    Kprobe("do_sys_openat2").attach(program, cookie=1)
    KprobeMulti(["vfs_read", "vfs_write"], retprobe=True).attach(program)
"""

from __future__ import annotations

import errno
import os

from bpflens.attach.attachment import Attachment, refused
from bpflens.attach.perf_attach import connect
from bpflens.errors import AttachError, NotSupported, SyscallError
from bpflens.kernel import cpu, link, perf, tracefs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Self

    from bpflens.attach.attachment import HasFd

__all__ = ["Kprobe", "KprobeMulti", "LegacyEvent"]


class Kprobe:
    """The instruction ``offset`` bytes into kernel ``function`` (of ``module``), or ``address``.

    ``retprobe`` fires when the function returns; ``legacy`` forces the way through tracefs.
    """

    __slots__ = ("address", "function", "legacy", "module", "offset", "retprobe")

    def __init__(
        self,
        function: str,
        *,
        offset: int = 0,
        address: int = 0,
        module: str = "",
        retprobe: bool = False,
        legacy: bool = False,
    ) -> None:
        self.function = function
        self.offset = offset
        self.address = address
        self.module = module
        self.retprobe = retprobe
        self.legacy = legacy

    def __str__(self) -> str:
        kind = "kretprobe" if self.retprobe else "kprobe"
        where = self.function or f"{self.address:#x}"
        if self.module and self.module != "vmlinux":
            where = f"{self.module}:{where}"
        return f"{kind}:{where}" + (f"+{self.offset}" if self.offset else "")

    def attach(self, program: HasFd, *, cookie: int = 0) -> Attachment:
        """Attach; raises :class:`~bpflens.errors.AttachError`."""
        try:
            if self.legacy or perf.pmu_type("kprobe") is None:
                return self._by_tracefs(program, cookie)
            event = perf.open_probe(
                "kprobe",
                self.function,
                self.offset,
                retprobe=self.retprobe,
                address_=self.address,
                cpu=cpu.online()[0],
            )
            return connect(str(self), program, [event], cookie, slow=True)
        except (SyscallError, NotSupported) as error:
            raise self._explained(error) from error

    def _by_tracefs(self, program: HasFd, cookie: int) -> Attachment:
        if not os.path.exists(tracefs.path("kprobe_events")):
            raise NotSupported("kprobe", why="this kernel was built without kprobes")
        where = self.function or f"{self.address:#x}"
        if self.module and self.module != "vmlinux":
            where = f"{self.module}:{where}"
        event = LegacyEvent("kprobe_events", "r" if self.retprobe else "p", where, self.offset)
        with event:
            number = tracefs.event_id(event.group, event.name)
            fd = perf.open_tracepoint(number, cpu=cpu.online()[0], what=str(self))
            attachment = connect(str(self), program, [fd], cookie, slow=True)
            attachment.then(event.keep())
        return attachment

    def _explained(self, error: SyscallError | NotSupported) -> AttachError:
        if isinstance(error, NotSupported):
            return AttachError(str(self), str(error), _OTHERS)
        number = error.errno
        if number == errno.ENOENT:
            hints = _near_functions(self.function)
            return AttachError(str(self), "there is no such kernel function", hints)
        if number == errno.EADDRNOTAVAIL:
            return AttachError(str(self), "no kernel function is at this address")
        if number in (errno.EILSEQ, errno.EINVAL) and self.offset:
            reason = f"no instruction begins {self.offset} bytes into the function"
            return AttachError(str(self), reason)
        if number == errno.EINVAL:
            return AttachError(str(self), "the kernel does not let this function be probed")
        return refused(str(self), error)


_OTHERS = ("tracepoints and fentry work without kprobes",)


class KprobeMulti:
    """Many kernel functions (``symbols`` or ``addresses``) tied by one link (since Linux 5.18).

    ``cookies`` gives each function one of its own.
    """

    __slots__ = ("addresses", "cookies", "retprobe", "session", "symbols")

    def __init__(
        self,
        symbols: Sequence[str] = (),
        *,
        addresses: Sequence[int] = (),
        cookies: Sequence[int] = (),
        retprobe: bool = False,
        session: bool = False,
    ) -> None:
        self.cookies = list(cookies)
        self.symbols = list(symbols)
        self.addresses = list(addresses)
        self.retprobe = retprobe
        self.session = session

    def __str__(self) -> str:
        kind = "kretprobe" if self.retprobe else "kprobe"
        names = self.symbols or [f"{address:#x}" for address in self.addresses]
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        return f"{kind}:{names[0] if names else ''}{more}"

    def attach(self, program: HasFd, *, cookie: int = 0) -> Attachment:
        """Attach; raises :class:`~bpflens.errors.AttachError`.

        The kernel refuses the whole set when it does not know one of the symbols.
        """
        count = len(self.symbols) or len(self.addresses)
        cookies = self.cookies or ([cookie] * count if cookie else [])
        try:
            fd = link.kprobe_multi(
                program.fd,
                symbols=self.symbols,
                addresses=self.addresses,
                cookies=cookies,
                return_probe=self.retprobe,
                session=self.session,
            )
        except SyscallError as error:
            raise self._explained(error) from error
        return Attachment(str(self), [fd], link_fd=fd, slow=True)

    def _explained(self, error: SyscallError) -> AttachError:
        if error.errno == errno.EOPNOTSUPP:
            why = NotSupported("kprobe_multi", "5.18", "it needs CONFIG_FPROBE")
            return AttachError(str(self), str(why), ["attach the functions one by one"])
        if error.errno in (errno.ESRCH, errno.ENOENT):
            return AttachError(str(self), "not every one of the functions can be traced")
        feature = "kprobe_session" if self.session else "kprobe_multi"
        return refused(str(self), error, feature=feature)


class LegacyEvent:
    """A probe defined by writing to ``kprobe_events`` or ``uprobe_events`` of tracefs.

    It exists from entering the context on; :meth:`keep` keeps it, and gives what removes it.
    """

    __slots__ = ("_file", "_kept", "_line", "group", "name")

    _count = 0

    def __init__(self, file: str, kind: str, where: str, offset: int = 0) -> None:
        LegacyEvent._count += 1
        self.group = "bpflens"
        self.name = f"{kind}_{os.getpid()}_{LegacyEvent._count}"
        self._file = file
        self._kept = False
        place = f"{where}+{offset}" if offset else where
        self._line = f"{kind}:{self.group}/{self.name} {place}"

    def __enter__(self) -> Self:
        tracefs.append(self._file, self._line)
        return self

    def __exit__(self, *_: object) -> None:
        if not self._kept:
            self.remove()

    def keep(self) -> Callable[[], None]:
        """Let the event live on; call what is returned to remove it."""
        self._kept = True
        return self.remove

    def remove(self) -> None:
        """Undefine the event; nothing may be attached to it any more."""
        tracefs.append(self._file, f"-:{self.group}/{self.name}")


def _near_functions(name: str) -> list[str]:
    from difflib import get_close_matches

    from bpflens.symbols.kallsyms import Kallsyms

    # Names that begin alike: comparing all of a hundred thousand would take seconds.
    return get_close_matches(name, Kallsyms().functions(f"{name[:3]}*"), n=3)

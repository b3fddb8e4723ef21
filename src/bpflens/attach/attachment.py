"""What attaching gives: an :class:`Attachment` that holds descriptors and is closed to detach.

Invariants: closing detaches, at once and only once; what was pinned stays attached until the pin
is removed. Detaching a tracepoint costs the kernel 15 to 80 ms of waiting for other CPUs (two
grace periods), so :func:`close_all` lets many of them wait side by side.

Example::

    attachments = [probe.attach(program) for probe in probes]
    close_all(attachments)
"""

from __future__ import annotations

import os

from bpflens.errors import AttachError, NotSupported, SyscallError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import TracebackType
    from typing import Protocol, Self

    class HasFd(Protocol):
        """A program or map, as far as an attachment looks at it."""

        @property
        def fd(self) -> int:
            """Its descriptor."""

    class Probe(Protocol):
        """What every kind of probe can do."""

        def attach(self, program: HasFd, *, cookie: int = 0) -> Attachment:
            """Tie the program to the probe."""


__all__ = ["Attachment", "HasFd", "Probe", "close_all", "refused"]

# Grace periods of the kernel pass for many closers at once; more threads than this gain nothing.
_CLOSERS = 32


class Attachment:
    """A program tied to a ``probe`` (its name, as a user would write it).

    ``link_fd`` is the BPF link, 0 where the kernel made none; ``fds`` every descriptor that keeps
    the program attached, in the order they are closed. ``slow`` says that closing waits.
    """

    __slots__ = ("_undo", "fds", "link_fd", "probe", "slow")

    def __init__(
        self,
        probe: str,
        fds: Sequence[int],
        *,
        link_fd: int = 0,
        slow: bool = False,
        undo: Callable[[], None] | None = None,
    ) -> None:
        self.probe = probe
        self.fds = list(fds)
        self.link_fd = link_fd
        self.slow = slow
        self._undo = undo

    def __repr__(self) -> str:
        state = "" if self.fds or self._undo else ", closed"
        return f"<Attachment {self.probe}{state}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def pin(self, path: str) -> None:
        """Pin the link at ``path``, so that it outlives this process.

        Raises :class:`~bpflens.errors.AttachError` where the kernel made no link.
        """
        if not self.link_fd:
            raise AttachError(self.probe, "this kernel made no link that could be pinned")
        from bpflens.kernel import bpf

        bpf.obj_pin(self.link_fd, path)

    def then(self, undo: Callable[[], None]) -> None:
        """Call ``undo`` after the descriptors were closed, before what was to be called so far."""
        before = self._undo

        def both() -> None:
            undo()
            if before is not None:
                before()

        self._undo = both

    def close(self) -> None:
        """Detach; a second call does nothing."""
        fds, self.fds, self.link_fd = self.fds, [], 0
        undo, self._undo = self._undo, None
        for fd in fds:
            os.close(fd)
        if undo is not None:
            undo()


def close_all(attachments: Iterable[Attachment]) -> None:
    """Close many attachments, those side by side whose closing waits for the kernel."""
    slow: list[Attachment] = []
    for attachment in attachments:
        if attachment.slow:
            slow.append(attachment)
        else:
            attachment.close()
    if len(slow) < 2:
        for attachment in slow:
            attachment.close()
        return
    _close_in_threads(slow)


def _close_in_threads(attachments: list[Attachment]) -> None:
    from threading import Thread

    def work() -> None:
        while True:
            try:
                attachment = attachments.pop()
            except IndexError:
                return
            attachment.close()

    threads = [Thread(target=work) for _ in range(min(_CLOSERS, len(attachments)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def refused(
    probe: str,
    error: SyscallError | NotSupported,
    hints: Sequence[str] = (),
    feature: str = "",
) -> AttachError:
    """Return the AttachError for what the kernel answered when ``probe`` was attached.

    ``feature`` is what the probe needs (see :mod:`bpflens.kernel.feature`): a kernel that certainly
    lacks it is the reason then, whatever number it answered with.
    """
    if feature and isinstance(error, SyscallError):
        from bpflens.kernel.feature import feature as look_up

        found = look_up(feature)
        if found.answer() is False:
            return AttachError(probe, str(NotSupported(feature, found.since, found.why)), hints)
    return AttachError(probe, str(error), hints)

"""Tie a program to a perf event: by a link where the kernel has them, by an ioctl elsewhere.

Example::

    attachment = connect("profile:hz:99", program, [perf_fd], cookie=3)
"""

from __future__ import annotations

import errno
import os

from bpflens.attach.attachment import Attachment
from bpflens.errors import NotSupported, SyscallError
from bpflens.kernel import link, perf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from bpflens.attach.attachment import HasFd

__all__ = ["connect", "open_each"]


def connect(
    probe: str, program: HasFd, events: Sequence[int], cookie: int = 0, *, slow: bool = False
) -> Attachment:
    """Run ``program`` at each of the perf events ``events``, which the attachment then owns.

    A link of the first event is the attachment's ``link_fd``. Raises
    :class:`~bpflens.errors.SyscallError`, or :class:`~bpflens.errors.NotSupported` for a cookie on
    a kernel that cannot carry one; the events are closed then.
    """
    links: list[int] = []
    try:
        for event in events:
            made = _tie(program.fd, event, cookie)
            if made:
                links.append(made)
            perf.enable(event)
    except BaseException:
        for fd in (*links, *events):
            os.close(fd)
        raise
    return Attachment(probe, [*links, *events], link_fd=links[0] if links else 0, slow=slow)


def open_each(places: Iterable[int], open_at: Callable[[int], int]) -> list[int]:
    """Open an event at each place (CPU, thread); on failure close those that were opened."""
    events: list[int] = []
    try:
        # Not a comprehension: on failure the events opened so far have to be known.
        for place in places:
            events.append(open_at(place))  # noqa: PERF401
    except BaseException:
        for fd in events:
            os.close(fd)
        raise
    return events


# The descriptor of the new link, or 0 where the program was set on the event itself.
def _tie(prog_fd: int, event: int, cookie: int) -> int:
    # Since Linux 5.15 (b89fbfbb854c "bpf: Implement minimal BPF perf link"): before, the command
    # does not know the attach type of a perf event.
    try:
        return link.perf_event(prog_fd, event, cookie)
    except SyscallError as error:
        if error.errno != errno.EINVAL:
            raise
        refusal = error
    if cookie:
        raise NotSupported("a cookie on a perf event", "5.15") from refusal
    try:
        perf.set_bpf(event, prog_fd)
    except SyscallError:
        # Both ways are refused: the newer one is the one to tell about.
        raise refusal from None
    return 0

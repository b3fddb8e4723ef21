"""Programs of network interfaces and namespaces: XDP, tcx, netkit, netfilter, sk_lookup, sockmap.

Interfaces and hooks are those of the network namespace this thread is in. Everything here is a
link and goes away when it is closed.

Example::

    Xdp("veth0").attach(program)
    Ordered("veth0", BPF_TCX_INGRESS).attach(program)
"""

from __future__ import annotations

import errno
import os
import socket

from bpflens.attach.attachment import Attachment, refused
from bpflens.errors import AttachError, SyscallError
from bpflens.kernel import link
from bpflens.uapi.bpf import ATTACH_TYPE_NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from bpflens.attach.attachment import HasFd

__all__ = ["Netfilter", "Netns", "Ordered", "Sockmap", "Xdp", "interface_index"]


def interface_index(probe: str, name: str | int) -> int:
    """Return the index of an interface; AttachError if there is none of this name."""
    if isinstance(name, int):
        return name
    try:
        return socket.if_nametoindex(name)
    except OSError:
        known = [other for _, other in socket.if_nameindex()]
        raise AttachError(probe, f"there is no interface {name} here", known[:8]) from None


def _linked(
    probe: str,
    cookie: int,
    make: Callable[[], int],
    *,
    busy: str = "",
    unknown: str = "",
    feature: str = "",
) -> Attachment:
    if cookie:
        raise AttachError(probe, "a network program carries no cookie")
    try:
        fd = make()
    except SyscallError as error:
        if error.errno == errno.EBUSY and busy:
            raise AttachError(probe, busy) from error
        if error.errno in (errno.EOPNOTSUPP, errno.EINVAL) and unknown:
            raise refused(probe, error, [unknown], feature) from error
        raise refused(probe, error, feature=feature) from error
    return Attachment(probe, [fd], link_fd=fd)


class Xdp:
    """XDP on an interface; ``flags`` choose the mode (XDP_FLAGS_SKB_MODE: generic)."""

    __slots__ = ("flags", "interface")

    def __init__(self, interface: str | int, *, flags: int = 0) -> None:
        self.interface = interface
        self.flags = flags

    def __str__(self) -> str:
        return f"xdp:{self.interface}"

    def attach(self, program: HasFd, *, cookie: int = 0) -> Attachment:
        """Attach; raises :class:`~bpflens.errors.AttachError`."""
        index = interface_index(str(self), self.interface)
        return _linked(
            str(self),
            cookie,
            lambda: link.xdp(program.fd, index, self.flags),
            busy="another XDP program is on this interface",
            unknown="the driver may lack native XDP: ask for generic mode",
        )


class Ordered:
    """tcx or netkit on an interface, in a list with an order.

    ``attach_type`` is BPF_TCX_INGRESS, BPF_TCX_EGRESS, BPF_NETKIT_PRIMARY or BPF_NETKIT_PEER;
    ``flags`` and ``relative`` place it (see :func:`bpflens.kernel.link.ordered`).
    """

    __slots__ = ("attach_type", "flags", "interface", "relative")

    def __init__(
        self, interface: str | int, attach_type: int, *, flags: int = 0, relative: int = 0
    ) -> None:
        self.interface = interface
        self.attach_type = attach_type
        self.flags = flags
        self.relative = relative

    def __str__(self) -> str:
        return f"{ATTACH_TYPE_NAMES[self.attach_type]}:{self.interface}"

    def attach(self, program: HasFd, *, cookie: int = 0) -> Attachment:
        """Attach; raises :class:`~bpflens.errors.AttachError`."""
        index = interface_index(str(self), self.interface)
        return _linked(
            str(self),
            cookie,
            lambda: link.ordered(
                program.fd, index, self.attach_type, flags=self.flags, relative=self.relative
            ),
            unknown="netkit programs go on netkit devices, from their primary end",
            feature="netkit" if "netkit" in ATTACH_TYPE_NAMES[self.attach_type] else "tcx",
        )


class Netfilter:
    """A netfilter hook of this network namespace (since Linux 6.4)."""

    __slots__ = ("defrag", "hook", "priority", "protocol")

    def __init__(
        self, protocol: int, hook: int, priority: int = 0, *, defrag: bool = False
    ) -> None:
        self.protocol = protocol
        self.hook = hook
        self.priority = priority
        self.defrag = defrag

    def __str__(self) -> str:
        return f"netfilter:{self.protocol}:{self.hook}:{self.priority}"

    def attach(self, program: HasFd, *, cookie: int = 0) -> Attachment:
        """Attach; raises :class:`~bpflens.errors.AttachError`."""
        return _linked(
            str(self),
            cookie,
            lambda: link.netfilter(
                program.fd, self.protocol, self.hook, self.priority, defrag=self.defrag
            ),
            busy="another program has this hook and priority",
            unknown="the priority must not be an extreme, and the protocol IPv4 or IPv6",
            feature="netfilter",
        )


class Netns:
    """A flow dissector or sk_lookup program of a network namespace, "" being our own."""

    __slots__ = ("attach_type", "path")

    def __init__(self, attach_type: int, path: str = "") -> None:
        self.attach_type = attach_type
        self.path = path

    def __str__(self) -> str:
        return f"{ATTACH_TYPE_NAMES[self.attach_type]}:{self.path}"

    def attach(self, program: HasFd, *, cookie: int = 0) -> Attachment:
        """Attach; raises :class:`~bpflens.errors.AttachError`."""
        path = self.path or "/proc/thread-self/ns/net"
        try:
            namespace = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise AttachError(str(self), f"{path}: {os.strerror(error.errno or 0)}") from None
        try:
            return _linked(
                str(self), cookie, lambda: link.netns(program.fd, namespace, self.attach_type)
            )
        finally:
            os.close(namespace)


class Sockmap:
    """An sk_msg or sk_skb program of a sockmap or sockhash, by a link (since Linux 6.10)."""

    __slots__ = ("attach_type", "map")

    def __init__(self, map: HasFd, attach_type: int) -> None:
        self.map = map
        self.attach_type = attach_type

    def __str__(self) -> str:
        return f"{ATTACH_TYPE_NAMES[self.attach_type]}:sockmap"

    def attach(self, program: HasFd, *, cookie: int = 0) -> Attachment:
        """Attach; raises :class:`~bpflens.errors.AttachError`.

        Kernels without such links are asked with BPF_PROG_ATTACH.
        """
        try:
            return _linked(
                str(self),
                cookie,
                lambda: link.sockmap(program.fd, self.map.fd, self.attach_type),
                busy="another program of this kind is on the map",
            )
        except AttachError as error:
            cause = error.__cause__
            if not isinstance(cause, SyscallError) or cause.errno != errno.EINVAL:
                raise
            return self._without_link(program, error)

    def _without_link(self, program: HasFd, refusal: AttachError) -> Attachment:
        from bpflens.kernel import bpf

        try:
            bpf.prog_attach(program.fd, self.map.fd, self.attach_type)
        except SyscallError:
            raise refusal from None
        prog_fd, map_fd = os.dup(program.fd), os.dup(self.map.fd)

        def undo() -> None:
            try:
                bpf.prog_detach(prog_fd, map_fd, self.attach_type)
            finally:
                os.close(prog_fd)
                os.close(map_fd)

        return Attachment(str(self), [], undo=undo)

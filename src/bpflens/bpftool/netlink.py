"""The little of rtnetlink that ``net`` needs: links with XDP, qdiscs, classes, filters.

Requests are packed and answers taken apart here; what the kernel says in words of a refusal
(extended acknowledgement) is kept in :class:`Refused`.

Example::

    with Route() as route:
        for index, attributes in route.links():
            print(index, attributes[IFLA_IFNAME])
"""

from __future__ import annotations

import os
import socket
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    Attributes = dict[int, bytes]

__all__ = ["IFLA_IFNAME", "IFLA_XDP", "Refused", "Route", "attributes", "text", "u32"]

IFLA_IFNAME = 3
IFLA_XDP = 43

_RTM_GETLINK, _RTM_SETLINK = 18, 19
_RTM_GETQDISC, _RTM_GETTCLASS, _RTM_GETTFILTER = 38, 42, 46
_NLM_F_REQUEST, _NLM_F_ACK, _NLM_F_DUMP = 1, 4, 0x300
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NLA_F_NESTED = 0x8000
_NLMSG_CAPPED, _NLMSG_ACK_TLVS = 0x100, 0x200
_SOL_NETLINK, _NETLINK_CAP_ACK, _NETLINK_EXT_ACK = 270, 10, 11
_IFLA_XDP_FD, _IFLA_XDP_FLAGS = 1, 3

_HEAD = struct.Struct("=IHHII")
_LINK = struct.Struct("=BxHiII")
_TC = struct.Struct("=Bx2xiIII")


class Refused(OSError):
    """The kernel said no; ``words`` is what it said beyond the number."""

    def __init__(self, number: int, words: str) -> None:
        OSError.__init__(self, number, os.strerror(number))
        self.words = words


def attributes(data: bytes) -> Attributes:
    """Take apart attributes (type and length in front of each)."""
    found: Attributes = {}
    at = 0
    while at + 4 <= len(data):
        size, kind = struct.unpack_from("=HH", data, at)
        if size < 4:
            break
        found[kind & 0x3FFF] = data[at + 4 : at + size]
        at += size + 3 & ~3
    return found


def text(data: bytes) -> str:
    """Return the string in an attribute."""
    return data.split(b"\0", 1)[0].decode("utf-8", "replace")


def u32(data: bytes) -> int:
    """Return the number in an attribute."""
    return int.from_bytes(data[:4], "little" if struct.pack("=H", 1)[0] else "big")


def _attribute(kind: int, data: bytes) -> bytes:
    return struct.pack("=HH", len(data) + 4, kind) + data + bytes(-len(data) % 4)


class Route:
    """A netlink socket; a context manager."""

    __slots__ = ("_sequence", "_socket")

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        self._sequence = 0
        for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK):
            try:  # noqa: SIM105 - contextlib is not worth importing for this
                self._socket.setsockopt(_SOL_NETLINK, option, 1)
            except OSError:
                pass  # older than 4.12: errors are numbers only

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._socket.close()

    def _ask(self, kind: int, flags: int, body: bytes) -> Iterator[tuple[int, bytes]]:
        self._sequence += 1
        size = _HEAD.size + len(body)
        head = _HEAD.pack(size, kind, flags | _NLM_F_REQUEST, self._sequence, 0)
        self._socket.send(head + body)
        while True:
            data = self._socket.recv(1 << 18)
            at = 0
            while at + _HEAD.size <= len(data):
                size, answer, flags, sequence, _ = _HEAD.unpack_from(data, at)
                message = data[at + _HEAD.size : at + size]
                at += size + 3 & ~3
                if sequence != self._sequence:
                    continue
                if answer == _NLMSG_DONE:
                    return
                if answer == _NLMSG_ERROR:
                    _check(message, flags)
                    return
                yield answer, message

    def links(self) -> list[tuple[int, Attributes]]:
        """Return (ifindex, attributes) of every device of this network namespace."""
        found = []
        body = _LINK.pack(0, 0, 0, 0, 0)
        for _, message in self._ask(_RTM_GETLINK, _NLM_F_DUMP, body):
            index = _LINK.unpack_from(message)[2]
            found.append((index, attributes(message[_LINK.size :])))
        return found

    def qdiscs(self, index: int) -> list[tuple[int, Attributes]]:
        """Return (handle, attributes) of the queueing disciplines of a device."""
        return self._traffic(_RTM_GETQDISC, index, 0)

    def classes(self, index: int) -> list[tuple[int, Attributes]]:
        """Return (handle, attributes) of the classes of a device."""
        return self._traffic(_RTM_GETTCLASS, index, 0)

    def filters(self, index: int, parent: int) -> list[tuple[int, Attributes]]:
        """Return (handle, attributes) of the filters at a parent of a device."""
        return self._traffic(_RTM_GETTFILTER, index, parent)

    def _traffic(self, kind: int, index: int, parent: int) -> list[tuple[int, Attributes]]:
        found = []
        body = _TC.pack(0, index, 0, parent, 0)
        for _, message in self._ask(kind, _NLM_F_DUMP, body):
            _, own, handle, _, _ = _TC.unpack_from(message)
            if own == index:  # the kernel gives the qdiscs of all devices
                found.append((handle, attributes(message[_TC.size :])))
        return found

    def set_xdp(self, index: int, fd: int, flags: int) -> None:
        """Attach the XDP program ``fd`` to a device; -1 detaches. Raises :class:`Refused`."""
        nested = _attribute(_IFLA_XDP_FD, struct.pack("=i", fd))
        nested += _attribute(_IFLA_XDP_FLAGS, struct.pack("=I", flags))
        body = _LINK.pack(0, 0, index, 0, 0) + _attribute(IFLA_XDP | _NLA_F_NESTED, nested)
        for _ in self._ask(_RTM_SETLINK, _NLM_F_ACK, body):
            pass


def _check(message: bytes, flags: int) -> None:
    number = -struct.unpack_from("=i", message)[0]
    if not number:
        return
    words = ""
    if flags & _NLMSG_ACK_TLVS:
        at = 4 + _HEAD.size
        if not flags & _NLMSG_CAPPED:
            at = 4 + struct.unpack_from("=I", message, 4)[0] + 3 & ~3
        words = text(attributes(message[at:]).get(1, b""))
    raise Refused(number, words)

"""What BPF_OBJ_GET_INFO_BY_FD says of links: one class for each link type.

Turns struct bpf_link_info into an object of the class that belongs to its type, with the kernel's
field names; names, addresses, offsets and cookies are fetched with a second call. A link type
that is not known here gives a plain :class:`LinkInfo`, whose ``raw`` holds the bytes.

Example::

    info = link_info(fd)
    if isinstance(info, PerfEventUprobe):
        print(info.file_name, hex(info.offset), info.cookie)
"""

from __future__ import annotations

import errno
import struct

from bpflens.errors import SyscallError
from bpflens.kernel.info import Info, text
from bpflens.kernel.memory import Buffer
from bpflens.kernel.object_command import obj_get_info_by_fd
from bpflens.uapi import bpf as _uapi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "Cgroup",
    "Iter",
    "KprobeMulti",
    "LinkInfo",
    "Netfilter",
    "Netkit",
    "Netns",
    "PerfEvent",
    "PerfEventEvent",
    "PerfEventKprobe",
    "PerfEventTracepoint",
    "PerfEventUprobe",
    "RawTracepoint",
    "Sockmap",
    "StructOps",
    "Tcx",
    "Tracing",
    "UprobeMulti",
    "Xdp",
    "link_info",
]

_SIZE = 64
_HEAD = struct.Struct("=III")
_2I = struct.Struct("=II")
_3I = struct.Struct("=III")
_Q = struct.Struct("=Q")


class LinkInfo(Info):
    """What every link has: ``type``, ``id``, ``prog_id``; ``raw`` is the whole structure."""

    __slots__ = ("type", "id", "prog_id", "raw")

    type: int
    id: int
    prog_id: int

    def __init__(self, raw: bytearray) -> None:
        self.type, self.id, self.prog_id = _HEAD.unpack_from(raw)
        self.raw = bytes(raw)

    def fields(self) -> dict[str, object]:
        """Return the fields by name, without ``raw``."""
        found = Info.fields(self)
        del found["raw"]
        return found


class RawTracepoint(LinkInfo):
    """A program on a raw tracepoint: ``tp_name``, ``cookie``."""

    __slots__ = ("tp_name", "cookie")

    def __init__(self, raw: bytearray, fd: int) -> None:
        LinkInfo.__init__(self, raw)
        (self.cookie,) = _Q.unpack_from(raw, 32)
        self.tp_name = _string(fd, 16, 24)


class Tracing(LinkInfo):
    """fentry, fexit, fmod_ret, LSM, freplace or tp_btf: what it is on, in ids of BTF."""

    __slots__ = ("attach_type", "target_obj_id", "target_btf_id", "cookie")

    def __init__(self, raw: bytearray, fd: int) -> None:
        LinkInfo.__init__(self, raw)
        self.attach_type, self.target_obj_id, self.target_btf_id = _3I.unpack_from(raw, 16)
        (self.cookie,) = _Q.unpack_from(raw, 32)


class Cgroup(LinkInfo):
    """A program on a cgroup: ``cgroup_id``, ``attach_type``."""

    __slots__ = ("cgroup_id", "attach_type")

    def __init__(self, raw: bytearray, fd: int) -> None:
        LinkInfo.__init__(self, raw)
        self.cgroup_id, self.attach_type = struct.unpack_from("=QI", raw, 16)


class Iter(LinkInfo):
    """An iterator: ``target_name`` and what it is limited to (map, cgroup, thread or process).

    Which of the fields means something depends on ``target_name``; the others are 0.
    """

    __slots__ = ("target_name", "map_id", "cgroup_id", "order", "tid", "pid")

    def __init__(self, raw: bytearray, fd: int) -> None:
        LinkInfo.__init__(self, raw)
        self.target_name = _string(fd, 16, 24)
        name = self.target_name
        self.map_id = _2I.unpack_from(raw, 24)[1] if "map" in name or "storage" in name else 0
        self.cgroup_id, self.order = (
            struct.unpack_from("=QI", raw, 32) if name == "cgroup" else (0, 0)
        )
        self.tid, self.pid = _2I.unpack_from(raw, 32) if name.startswith("task") else (0, 0)


class Netns(LinkInfo):
    """A program on a network namespace: ``netns_ino``, ``attach_type``."""

    __slots__ = ("netns_ino", "attach_type")

    def __init__(self, raw: bytearray, fd: int) -> None:
        LinkInfo.__init__(self, raw)
        self.netns_ino, self.attach_type = _2I.unpack_from(raw, 16)


class Xdp(LinkInfo):
    """An XDP program: ``ifindex`` (0 once the interface has gone)."""

    __slots__ = ("ifindex",)

    def __init__(self, raw: bytearray, fd: int) -> None:
        LinkInfo.__init__(self, raw)
        self.ifindex = _2I.unpack_from(raw, 16)[0]


class StructOps(LinkInfo):
    """A registered struct_ops map: ``map_id``."""

    __slots__ = ("map_id",)

    def __init__(self, raw: bytearray, fd: int) -> None:
        LinkInfo.__init__(self, raw)
        self.map_id = _2I.unpack_from(raw, 16)[0]


class Netfilter(LinkInfo):
    """A netfilter program: ``pf``, ``hooknum``, ``priority``, ``flags``."""

    __slots__ = ("pf", "hooknum", "priority", "flags")

    def __init__(self, raw: bytearray, fd: int) -> None:
        LinkInfo.__init__(self, raw)
        self.pf, self.hooknum, self.priority, self.flags = struct.unpack_from("=IIiI", raw, 16)


class Tcx(LinkInfo):
    """A tcx program: ``ifindex``, ``attach_type``."""

    __slots__ = ("ifindex", "attach_type")

    def __init__(self, raw: bytearray, fd: int) -> None:
        LinkInfo.__init__(self, raw)
        self.ifindex, self.attach_type = _2I.unpack_from(raw, 16)


class Netkit(Tcx):
    """A netkit program: ``ifindex``, ``attach_type``."""

    __slots__ = ()


class Sockmap(LinkInfo):
    """A program on a sockmap or sockhash: ``map_id``, ``attach_type``."""

    __slots__ = ("map_id", "attach_type")

    def __init__(self, raw: bytearray, fd: int) -> None:
        LinkInfo.__init__(self, raw)
        self.map_id, self.attach_type = _2I.unpack_from(raw, 16)


class KprobeMulti(LinkInfo):
    """Many kernel functions: ``count``, ``flags``, ``missed``, ``addrs``, ``cookies``.

    ``addrs`` are 0 where kernel addresses are hidden from this process.
    """

    __slots__ = ("count", "flags", "missed", "addrs", "cookies")

    def __init__(self, raw: bytearray, fd: int) -> None:
        LinkInfo.__init__(self, raw)
        self.count, self.flags, self.missed = struct.unpack_from("=IIQ", raw, 24)
        # Since Linux 6.9 (9fd112b1f82b "bpf: Store cookies in kprobe_multi bpf_link_info data").
        self.addrs, self.cookies = _tables(fd, self.count, 24, (16, 40))


class UprobeMulti(LinkInfo):
    """Many places of one binary: ``path``, ``offsets``, ``ref_ctr_offsets``, ``cookies``..."""

    __slots__ = ("path", "count", "flags", "pid", "offsets", "ref_ctr_offsets", "cookies")

    def __init__(self, raw: bytearray, fd: int) -> None:
        LinkInfo.__init__(self, raw)
        self.count, self.flags, self.pid = _3I.unpack_from(raw, 52)
        self.path = _string(fd, 16, 48)
        self.offsets, self.ref_ctr_offsets, self.cookies = _tables(fd, self.count, 52, (24, 32, 40))


class PerfEvent(LinkInfo):
    """A program on a perf event: ``perf_type`` (BPF_PERF_EVENT_*), ``cookie``."""

    __slots__ = ("perf_type", "cookie")

    def __init__(self, raw: bytearray, fd: int) -> None:
        LinkInfo.__init__(self, raw)
        (self.perf_type,) = struct.unpack_from("=I", raw, 16)
        self.cookie = 0


class PerfEventUprobe(PerfEvent):
    """A uprobe or uretprobe: ``file_name``, ``offset``, ``ref_ctr_offset``."""

    __slots__ = ("file_name", "offset", "ref_ctr_offset")

    def __init__(self, raw: bytearray, fd: int) -> None:
        PerfEvent.__init__(self, raw, fd)
        self.offset, self.cookie, self.ref_ctr_offset = struct.unpack_from("=IQQ", raw, 36)
        self.file_name = _string(fd, 24, 32)


class PerfEventKprobe(PerfEvent):
    """A kprobe or kretprobe: ``func_name``, ``offset``, ``addr``, ``missed``."""

    __slots__ = ("func_name", "offset", "addr", "missed")

    def __init__(self, raw: bytearray, fd: int) -> None:
        PerfEvent.__init__(self, raw, fd)
        self.offset, self.addr, self.missed, self.cookie = struct.unpack_from("=IQQQ", raw, 36)
        self.func_name = _string(fd, 24, 32)


class PerfEventTracepoint(PerfEvent):
    """A tracepoint: ``tp_name``."""

    __slots__ = ("tp_name",)

    def __init__(self, raw: bytearray, fd: int) -> None:
        PerfEvent.__init__(self, raw, fd)
        (self.cookie,) = _Q.unpack_from(raw, 40)
        self.tp_name = _string(fd, 24, 32)


class PerfEventEvent(PerfEvent):
    """Any other perf event: ``event_type`` (PERF_TYPE_*), ``config``."""

    __slots__ = ("config", "event_type")

    def __init__(self, raw: bytearray, fd: int) -> None:
        PerfEvent.__init__(self, raw, fd)
        self.config, self.event_type = struct.unpack_from("=QI", raw, 24)
        (self.cookie,) = _Q.unpack_from(raw, 40)


def _ask(fd: int, pointers: dict[int, Buffer], sizes: dict[int, int]) -> bytearray | None:
    # The second call: where to put strings and arrays, and how much room there is.
    buffer = Buffer(_SIZE)
    for at, room in pointers.items():
        _Q.pack_into(buffer.raw, at, room.address)
    for at, size in sizes.items():
        struct.pack_into("=I", buffer.raw, at, size)
    try:
        obj_get_info_by_fd(fd, buffer)
    except SyscallError as error:
        # A field that this kernel does not have, or a string cut short: what there is, is used.
        if error.errno not in (errno.EINVAL, errno.ENOSPC):
            raise
        return None
    return buffer.raw


def _string(fd: int, pointer: int, length: int) -> str:
    room = Buffer(4096)
    _ask(fd, {pointer: room}, {length: room.size})
    return text(room.raw)


def _tables(fd: int, count: int, count_at: int, pointers: tuple[int, ...]) -> list[list[int]]:
    rooms = {at: Buffer(8 * count) for at in pointers}
    if count and _ask(fd, rooms, {count_at: count}) is None:
        # Older kernels refuse to fill the tables they do not have: ask for the first alone.
        first = pointers[0]
        _ask(fd, {first: rooms[first]}, {count_at: count})
    return [list(room.view[: 8 * count].cast("Q")) for room in rooms.values()]


_KINDS: dict[int, Callable[[bytearray, int], LinkInfo]] = {
    _uapi.BPF_LINK_TYPE_RAW_TRACEPOINT: RawTracepoint,
    _uapi.BPF_LINK_TYPE_TRACING: Tracing,
    _uapi.BPF_LINK_TYPE_CGROUP: Cgroup,
    _uapi.BPF_LINK_TYPE_ITER: Iter,
    _uapi.BPF_LINK_TYPE_NETNS: Netns,
    _uapi.BPF_LINK_TYPE_XDP: Xdp,
    _uapi.BPF_LINK_TYPE_STRUCT_OPS: StructOps,
    _uapi.BPF_LINK_TYPE_NETFILTER: Netfilter,
    _uapi.BPF_LINK_TYPE_KPROBE_MULTI: KprobeMulti,
    _uapi.BPF_LINK_TYPE_UPROBE_MULTI: UprobeMulti,
    _uapi.BPF_LINK_TYPE_TCX: Tcx,
    _uapi.BPF_LINK_TYPE_NETKIT: Netkit,
    _uapi.BPF_LINK_TYPE_SOCKMAP: Sockmap,
}

_PERF_KINDS: dict[int, Callable[[bytearray, int], LinkInfo]] = {
    _uapi.BPF_PERF_EVENT_UPROBE: PerfEventUprobe,
    _uapi.BPF_PERF_EVENT_URETPROBE: PerfEventUprobe,
    _uapi.BPF_PERF_EVENT_KPROBE: PerfEventKprobe,
    _uapi.BPF_PERF_EVENT_KRETPROBE: PerfEventKprobe,
    _uapi.BPF_PERF_EVENT_TRACEPOINT: PerfEventTracepoint,
    _uapi.BPF_PERF_EVENT_EVENT: PerfEventEvent,
}


def link_info(fd: int) -> LinkInfo:
    """Return what the kernel says of the link ``fd``, as the class of its type."""
    buffer = Buffer(_SIZE)
    obj_get_info_by_fd(fd, buffer)
    raw = buffer.raw
    type = _HEAD.unpack_from(raw)[0]
    if type == _uapi.BPF_LINK_TYPE_PERF_EVENT:
        perf_type = struct.unpack_from("=I", raw, 16)[0]
        return _PERF_KINDS.get(perf_type, PerfEvent)(raw, fd)
    kind = _KINDS.get(type)
    return kind(raw, fd) if kind is not None else LinkInfo(raw)

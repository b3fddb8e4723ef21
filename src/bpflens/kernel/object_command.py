"""The bpf(2) commands on objects of every kind: ids, pins, info, links, BTF, queries.

Turns ids, paths and descriptors into descriptors and answers. The end of a walk over ids is
``None``, not an error.

Example::

    id = map_get_next_id(0)
    while id is not None:
        fd = map_get_fd_by_id(id)
        ...
        id = map_get_next_id(id)
"""

from __future__ import annotations

import errno
import struct

from bpflens.kernel.command import ENOTSUPP, check, failure, send, send_and_read
from bpflens.kernel.memory import Buffer, address
from bpflens.kernel.prog_command import load_with_log
from bpflens.uapi.bpf import (
    BPF_BTF_GET_FD_BY_ID,
    BPF_BTF_GET_NEXT_ID,
    BPF_BTF_LOAD,
    BPF_ENABLE_STATS,
    BPF_F_PATH_FD,
    BPF_ITER_CREATE,
    BPF_LINK_CREATE,
    BPF_LINK_DETACH,
    BPF_LINK_GET_FD_BY_ID,
    BPF_LINK_GET_NEXT_ID,
    BPF_LINK_UPDATE,
    BPF_MAP_GET_FD_BY_ID,
    BPF_MAP_GET_NEXT_ID,
    BPF_OBJ_GET,
    BPF_OBJ_GET_INFO_BY_FD,
    BPF_OBJ_PIN,
    BPF_PROG_GET_FD_BY_ID,
    BPF_PROG_GET_NEXT_ID,
    BPF_PROG_QUERY,
    BPF_RAW_TRACEPOINT_OPEN,
    BPF_TASK_FD_QUERY,
    BPF_TOKEN_CREATE,
)

__all__ = [
    "Query",
    "TaskFd",
    "btf_get_fd_by_id",
    "btf_get_next_id",
    "btf_load",
    "enable_stats",
    "iter_create",
    "link_create",
    "link_detach",
    "link_get_fd_by_id",
    "link_get_next_id",
    "link_update",
    "map_get_fd_by_id",
    "map_get_next_id",
    "obj_get",
    "obj_get_info_by_fd",
    "obj_pin",
    "prog_get_fd_by_id",
    "prog_get_next_id",
    "prog_query",
    "raw_tracepoint_open",
    "task_fd_query",
    "token_create",
]

# Members of union bpf_attr, in its order.
_A_OBJ = struct.Struct("=QIIi")
_A_ID = struct.Struct("=IIIi")
_A_INFO = struct.Struct("=IIQ")
_A_QUERY = struct.Struct("=4IQI4x4Q")
_A_RAW_TRACEPOINT = struct.Struct("=QI4xQ")
_A_BTF_LOAD = struct.Struct("=QQ5Ii")
_A_TASK_FD = struct.Struct("=4IQIIQQ")
_A_LINK_CREATE = struct.Struct("=4I48s")
_A_1 = struct.Struct("=I")
_A_2 = struct.Struct("=II")
_A_4 = struct.Struct("=4I")


def _next_id(command: int, what: str, after: int) -> int | None:
    result, answer = send_and_read(command, _A_ID, after, 0, 0, 0)
    if result == -errno.ENOENT:
        return None
    check(result, what)
    return answer[1]


def prog_get_next_id(after: int = 0) -> int | None:
    """Return the lowest program id above ``after``, or ``None``."""
    return _next_id(BPF_PROG_GET_NEXT_ID, "BPF_PROG_GET_NEXT_ID", after)


def map_get_next_id(after: int = 0) -> int | None:
    """Return the lowest map id above ``after``, or ``None``."""
    return _next_id(BPF_MAP_GET_NEXT_ID, "BPF_MAP_GET_NEXT_ID", after)


def link_get_next_id(after: int = 0) -> int | None:
    """Return the lowest link id above ``after``, or ``None``."""
    return _next_id(BPF_LINK_GET_NEXT_ID, "BPF_LINK_GET_NEXT_ID", after)


def btf_get_next_id(after: int = 0) -> int | None:
    """Return the lowest BTF id above ``after``, or ``None``."""
    return _next_id(BPF_BTF_GET_NEXT_ID, "BPF_BTF_GET_NEXT_ID", after)


def prog_get_fd_by_id(id: int) -> int:
    """Open the program with this id."""
    return check(send(BPF_PROG_GET_FD_BY_ID, _A_ID, id, 0, 0, 0), "BPF_PROG_GET_FD_BY_ID", id=id)


def map_get_fd_by_id(id: int, open_flags: int = 0) -> int:
    """Open the map with this id (``open_flags``: BPF_F_RDONLY, BPF_F_WRONLY)."""
    result = send(BPF_MAP_GET_FD_BY_ID, _A_ID, id, 0, open_flags, 0)
    return check(result, "BPF_MAP_GET_FD_BY_ID", id=id)


def link_get_fd_by_id(id: int) -> int:
    """Open the link with this id."""
    return check(send(BPF_LINK_GET_FD_BY_ID, _A_ID, id, 0, 0, 0), "BPF_LINK_GET_FD_BY_ID", id=id)


def btf_get_fd_by_id(id: int) -> int:
    """Open the BTF object with this id."""
    return check(send(BPF_BTF_GET_FD_BY_ID, _A_ID, id, 0, 0, 0), "BPF_BTF_GET_FD_BY_ID", id=id)


def obj_get_info_by_fd(fd: int, info: Buffer) -> int:
    """Fill ``info`` with the object's bpf_*_info; return how many bytes the kernel knows of it."""
    result, answer = send_and_read(BPF_OBJ_GET_INFO_BY_FD, _A_INFO, fd, info.size, info.address)
    check(result, "BPF_OBJ_GET_INFO_BY_FD", fd=fd)
    return answer[1]


def obj_pin(fd: int, path: str, path_fd: int | None = None) -> None:
    """Pin an object at ``path`` of a BPF file system (relative to ``path_fd`` where given)."""
    name = path.encode("utf-8", "surrogateescape")
    flags, at = (0, 0) if path_fd is None else (BPF_F_PATH_FD, path_fd)
    result = send(BPF_OBJ_PIN, _A_OBJ, address(name), fd, flags, at)
    check(result, f"BPF_OBJ_PIN {path}", path=path)


def obj_get(path: str, flags: int = 0, path_fd: int | None = None) -> int:
    """Open the object pinned at ``path`` (``flags``: BPF_F_RDONLY, BPF_F_WRONLY)."""
    name = path.encode("utf-8", "surrogateescape")
    at = 0
    if path_fd is not None:
        flags, at = flags | BPF_F_PATH_FD, path_fd
    return check(send(BPF_OBJ_GET, _A_OBJ, address(name), 0, flags, at), f"BPF_OBJ_GET {path}",
                  path=path)  # fmt: skip


class Query:
    """What BPF_PROG_QUERY found: ids and flags of the programs and links attached, in order."""

    __slots__ = ("attach_flags", "link_ids", "prog_attach_flags", "prog_ids", "revision")

    def __init__(
        self,
        attach_flags: int,
        prog_ids: list[int],
        prog_attach_flags: list[int],
        link_ids: list[int],
        revision: int,
    ) -> None:
        self.attach_flags = attach_flags
        self.prog_ids = prog_ids
        self.prog_attach_flags = prog_attach_flags
        self.link_ids = link_ids
        self.revision = revision


def prog_query(
    target: int, attach_type: int, *, query_flags: int = 0, links: bool = False
) -> Query:
    """Return the programs attached to ``target``, a cgroup, netns or map fd or an ifindex.

    ``links`` asks for link ids too, which tcx and netkit attach types know. The room for the
    answer grows until all of it fits.
    """
    count = 64
    with_flags = not links and not query_flags
    while True:
        room = [Buffer(4 * count) for _ in range(3)]
        flags_at = room[1].address if with_flags else 0
        result, answer = send_and_read(
            BPF_PROG_QUERY, _A_QUERY, target, attach_type, query_flags, 0, room[0].address, count,
            flags_at, room[2].address if links else 0, 0, 0,
        )  # fmt: skip
        if result == -errno.EINVAL and with_flags:
            # Before Linux 6.0 there was no place for the flags of each program.
            with_flags = False
        elif result == -errno.ENOSPC:
            count = max(answer[5], count * 2)
        else:
            break
    check(result, "BPF_PROG_QUERY", attach_type=attach_type)
    lists = [list(buffer.view.cast("I")[: answer[5]]) for buffer in room]
    return Query(answer[3], lists[0], lists[1] if flags_at else [], lists[2] if links else [],
                 answer[9])  # fmt: skip


class TaskFd:
    """What a perf event of a task is: ``prog_id``, ``type`` (BPF_FD_TYPE_*), ``name``, places."""

    __slots__ = ("name", "probe_addr", "probe_offset", "prog_id", "type")

    def __init__(
        self, prog_id: int, type: int, name: str, probe_offset: int, probe_addr: int
    ) -> None:
        self.prog_id = prog_id
        self.type = type
        self.name = name
        self.probe_offset = probe_offset
        self.probe_addr = probe_addr


def task_fd_query(pid: int, fd: int) -> TaskFd | None:
    """Say which program is attached to file descriptor ``fd`` of process ``pid``.

    ``None`` when that descriptor is something else than a perf event or raw tracepoint.
    """
    buffer = Buffer(4096)
    result, answer = send_and_read(
        BPF_TASK_FD_QUERY, _A_TASK_FD, pid, fd, 0, buffer.size, buffer.address, 0, 0, 0, 0
    )
    if result in (-ENOTSUPP, -errno.ENOENT, -errno.EBADF, -errno.EOPNOTSUPP):
        return None
    check(result, "BPF_TASK_FD_QUERY", fd=fd)
    name = bytes(buffer.view[: answer[3]]).split(b"\0", 1)[0].decode("utf-8", "replace")
    return TaskFd(answer[5], answer[6], name, answer[7], answer[8])


def raw_tracepoint_open(prog_fd: int, name: str | None = None, cookie: int = 0) -> int:
    """Attach to the raw tracepoint ``name``, or to the BTF target a program was loaded for."""
    text = name.encode() if name is not None else None
    where = 0 if text is None else address(text)
    # Since Linux 6.10 (68ca5d4eebb8 "bpf: support BPF cookie in raw tracepoint (raw_tp, tp_btf)
    # programs"): older kernels answer EINVAL to a cookie that is not zero.
    result = send(BPF_RAW_TRACEPOINT_OPEN, _A_RAW_TRACEPOINT, where, prog_fd, cookie)
    return check(result, f"BPF_RAW_TRACEPOINT_OPEN {name or ''}".rstrip(), tracepoint=name)


def link_create(
    prog_fd: int, target: int, attach_type: int, flags: int = 0, extra: bytes = b""
) -> int:
    """Create a link and return its file descriptor (BPF_LINK_CREATE).

    ``target`` is a file descriptor or an ifindex; ``extra`` the member of the union that belongs
    to the attach type (see :mod:`bpflens.kernel.link`).
    """
    result = send(BPF_LINK_CREATE, _A_LINK_CREATE, prog_fd, target, attach_type, flags, extra)
    return check(result, "BPF_LINK_CREATE", attach_type=attach_type)


def link_update(link_fd: int, new_fd: int, *, flags: int = 0, old_fd: int = 0) -> None:
    """Put another program (or struct_ops map) behind a link; ``old_fd`` needs BPF_F_REPLACE."""
    check(
        send(BPF_LINK_UPDATE, _A_4, link_fd, new_fd, flags, old_fd), "BPF_LINK_UPDATE", fd=link_fd
    )


def link_detach(link_fd: int) -> None:
    """Detach a link from what it is attached to, leaving a defunct link."""
    check(send(BPF_LINK_DETACH, _A_1, link_fd), "BPF_LINK_DETACH", fd=link_fd)


def btf_load(
    data: bytes,
    *,
    log_level: int = 0,
    log: list[str] | None = None,
    flags: int = 0,
    token_fd: int = 0,
) -> int:
    """Load BTF and return its file descriptor (BPF_BTF_LOAD).

    On refusal it is tried again with a log, whose lines the error carries.
    """

    def attempt(level: int, buffer: Buffer | None) -> tuple[int, int]:
        size, where = (buffer.size, buffer.address) if buffer is not None else (0, 0)
        result, answer = send_and_read(
            BPF_BTF_LOAD, _A_BTF_LOAD, address(data), where, len(data), size, level, 0, flags,
            token_fd,
        )  # fmt: skip
        return result, answer[5]

    result, lines = load_with_log(attempt, log_level, True)
    if log is not None:
        log.extend(lines)
    if result >= 0:
        return result
    if lines:
        from bpflens.errors import VerifierError

        raise VerifierError(-result, "BTF", lines)
    raise failure(-result, "BPF_BTF_LOAD")


def enable_stats(type: int = 0) -> int:
    """Switch run-time statistics on while the returned descriptor is open (BPF_ENABLE_STATS)."""
    return check(send(BPF_ENABLE_STATS, _A_1, type), "BPF_ENABLE_STATS")


def iter_create(link_fd: int) -> int:
    """Open a new run of an iterator link, to be read like a file."""
    return check(send(BPF_ITER_CREATE, _A_2, link_fd, 0), "BPF_ITER_CREATE", fd=link_fd)


def token_create(bpffs_fd: int) -> int:
    """Make a token of the delegation of a BPF file system mounted in a user namespace."""
    return check(send(BPF_TOKEN_CREATE, _A_2, 0, bpffs_fd), "BPF_TOKEN_CREATE")

"""``cgroup show|list|tree|attach|detach``: programs of control groups.

Attach types have the kernel's names, or the short names of old (``ingress``, ``connect4``), which
may be cut short.

Example::

    $ bpftool cgroup show /sys/fs/cgroup/mine
    ID       AttachType         AttachFlags     Name
    764      cgroup_inet_egress multi           count_bytes
"""

from __future__ import annotations

import errno
import os

from bpflens.bpftool import handle
from bpflens.bpftool.prog_show import full_name, type_name
from bpflens.bpftool.tool import Failure, strerror
from bpflens.bpftool.words import first_match
from bpflens.errors import SyscallError
from bpflens.kernel import bpf
from bpflens.objects.program import Program
from bpflens.uapi import bpf as u
from bpflens.uapi.bpf import ATTACH_TYPE_NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from bpflens.bpftool.tool import Tool
    from bpflens.bpftool.words import Words

    _Row = dict[str, object]

__all__ = ["attach", "detach", "show", "tree"]

# What is asked for, in this order; the short name that each has from older times.
_SHORT_NAMES = {
    u.BPF_CGROUP_INET_INGRESS: "ingress",
    u.BPF_CGROUP_INET_EGRESS: "egress",
    u.BPF_CGROUP_INET_SOCK_CREATE: "sock_create",
    u.BPF_CGROUP_INET_SOCK_RELEASE: "sock_release",
    u.BPF_CGROUP_INET4_BIND: "bind4",
    u.BPF_CGROUP_INET6_BIND: "bind6",
    u.BPF_CGROUP_INET4_POST_BIND: "post_bind4",
    u.BPF_CGROUP_INET6_POST_BIND: "post_bind6",
    u.BPF_CGROUP_INET4_CONNECT: "connect4",
    u.BPF_CGROUP_INET6_CONNECT: "connect6",
    u.BPF_CGROUP_UNIX_CONNECT: "connect_unix",
    u.BPF_CGROUP_INET4_GETPEERNAME: "getpeername4",
    u.BPF_CGROUP_INET6_GETPEERNAME: "getpeername6",
    u.BPF_CGROUP_UNIX_GETPEERNAME: "getpeername_unix",
    u.BPF_CGROUP_INET4_GETSOCKNAME: "getsockname4",
    u.BPF_CGROUP_INET6_GETSOCKNAME: "getsockname6",
    u.BPF_CGROUP_UNIX_GETSOCKNAME: "getsockname_unix",
    u.BPF_CGROUP_UDP4_SENDMSG: "sendmsg4",
    u.BPF_CGROUP_UDP6_SENDMSG: "sendmsg6",
    u.BPF_CGROUP_UNIX_SENDMSG: "sendmsg_unix",
    u.BPF_CGROUP_UDP4_RECVMSG: "recvmsg4",
    u.BPF_CGROUP_UDP6_RECVMSG: "recvmsg6",
    u.BPF_CGROUP_UNIX_RECVMSG: "recvmsg_unix",
    u.BPF_CGROUP_SOCK_OPS: "sock_ops",
    u.BPF_CGROUP_DEVICE: "device",
    u.BPF_CGROUP_SYSCTL: "sysctl",
    u.BPF_CGROUP_GETSOCKOPT: "getsockopt",
    u.BPF_CGROUP_SETSOCKOPT: "setsockopt",
    u.BPF_LSM_CGROUP: "lsm_cgroup",
}
_TYPES = tuple(_SHORT_NAMES)
_FLAGS = {u.BPF_F_ALLOW_MULTI: "multi", u.BPF_F_ALLOW_OVERRIDE: "override", 0: ""}
_WIDTH = 15


def show(tool: Tool, words: Words) -> int:
    """``cgroup show CGROUP [effective]``."""
    words.need(1)
    path = words.take("cgroup")
    effective = _effective(words)
    rows = _attached(path, effective)
    if tool.json is not None:
        tool.json.value(rows)
    elif rows:
        width = _type_width(rows)
        tool.out(_header(effective, width))
        tool.out("".join(_line(row, "", width) for row in rows))
    return 0


def tree(tool: Tool, words: Words) -> int:
    """``cgroup tree [CGROUP_ROOT] [effective]``: every cgroup below the root that has programs."""
    root = words.take() if words else _mount_point()
    effective = _effective(words)
    if not os.path.isdir(root):
        raise Failure(f"can't iterate over {root}: {_why_no_directory(root)}")
    if tool.json is not None:
        tool.json.start("[")
        for path in _walk(root):
            rows = _attached(path, effective, gone=True)
            if rows:
                tool.json.value({"cgroup": path, "programs": rows})
        tool.json.end()
        return 0
    found = [(path, rows) for path in _walk(root) if (rows := _attached(path, effective, True))]
    width = _type_width([row for _, rows in found for row in rows])
    tool.out(f"CgroupPath\n{_header(effective, width)}")
    for path, rows in found:
        indent = "" if path == root else "    "
        tool.out(f"{path}\n" + "".join(_line(row, indent, width) for row in rows))
    return 0


def _effective(words: Words) -> bool:
    found = False
    while words:
        word = words.peek()
        if not words.take_if("effective"):
            raise Failure(f"expected no more arguments, 'effective', got: '{word}'?")
        if found:
            raise Failure(f"duplicated argument: {word}")
        found = True
    return found


def _mount_point() -> str:
    with open("/proc/mounts", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            fields = line.split(" ")
            if fields[2] == "cgroup2":
                return fields[1].replace("\\040", " ")
    raise Failure("cgroup v2 isn't mounted")


def _why_no_directory(path: str) -> str:
    return os.strerror(errno.ENOTDIR if os.path.exists(path) else errno.ENOENT)


def _walk(root: str) -> Iterator[str]:
    # The directories of one mount, a parent before its children.
    device = os.stat(root).st_dev
    for path, folders, _ in os.walk(root):
        yield path
        folders[:] = [name for name in folders if _device(os.path.join(path, name)) == device]


def _device(path: str) -> int:
    try:
        return os.stat(path).st_dev
    except OSError:
        return -1


# --- what is attached ---------------------------------------------------------------------------


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise Failure(f"can't open cgroup {path}: {strerror(error)}") from None


def _attached(path: str, effective: bool, gone: bool = False) -> list[_Row]:
    # One row for each program; none where the cgroup has gone meanwhile and that may be.
    if gone and not os.path.isdir(path):
        return []
    directory = _open(path)
    try:
        return [row for attach_type in _TYPES for row in _rows(directory, attach_type, effective)]
    except SyscallError as error:
        if gone and error.errno == errno.ENOENT:
            return []
        failure = handle.tell(f"can't query bpf programs attached to {path}", error)
        if error.errno == errno.EBADF:
            failure.text += " (not a directory of a cgroup2 file system)"
        raise failure from None
    finally:
        os.close(directory)


def _rows(directory: int, attach_type: int, effective: bool) -> Iterator[_Row]:
    query_flags = u.BPF_F_QUERY_EFFECTIVE if effective else 0
    try:
        found = bpf.prog_query(directory, attach_type, query_flags=query_flags)
    except SyscallError as error:
        if error.errno == errno.EINVAL:
            return  # an attach type that this kernel does not know
        raise
    flags = found.prog_attach_flags or [0] * len(found.prog_ids)
    for id, own_flags in zip(found.prog_ids, flags, strict=False):
        row = _row(id, attach_type)
        if row is None:
            continue
        if not effective:
            number = own_flags or found.attach_flags
            row["attach_flags"] = _FLAGS.get(number, f"unknown({number:x})")
        yield {name: row[name] for name in _ORDER if name in row}


_ORDER = ("id", "attach_type", "attach_flags", "name", "attach_btf_name", "attach_btf_obj_id",
          "attach_btf_id")  # fmt: skip


def _row(id: int, attach_type: int) -> _Row | None:
    try:
        program = Program.from_id(id)
    except SyscallError:
        return None  # it has gone meanwhile
    with program:
        info = program.info
        row: _Row = {
            "id": info.id,
            "attach_type": ATTACH_TYPE_NAMES[attach_type],
            "name": full_name(program),
            "attach_btf_obj_id": info.attach_btf_obj_id,
            "attach_btf_id": info.attach_btf_id,
        }
        name = _target(info.attach_btf_obj_id, info.attach_btf_id)
        if name is not None:
            row["attach_btf_name"] = name
        return row


def _target(obj_id: int, type_id: int) -> str | None:
    # The kernel function that a program is made for: empty for most, None when it has no name.
    if not os.path.exists("/sys/kernel/btf/vmlinux"):
        return None
    if not type_id:
        return ""
    from bpflens.objects import btf

    try:
        with btf.Btf.from_id(obj_id) as found:
            name = found.name
        return btf.vmlinux().name(type_id) if name == "vmlinux" else None
    except (SyscallError, OSError, ValueError):
        return None


# --- plain output -------------------------------------------------------------------------------


def _type_width(rows: list[_Row]) -> int:
    # The columns line up, whatever the names.
    return max([_WIDTH, *(len(str(row["attach_type"])) for row in rows)])


def _header(effective: bool, width: int) -> str:
    flags = "" if effective else f"{'AttachFlags':<15} "
    return f"{'ID':<8} {'AttachType':<{width}} {flags}{'Name':<15}\n"


def _line(row: _Row, indent: str, width: int) -> str:
    parts = [f"{indent}{row['id']:<8} {row['attach_type']:<{width}}"]
    if "attach_flags" in row:
        parts.append(f" {row['attach_flags']:<15}")
    parts.append(f" {row['name']:<15}")
    if "attach_btf_name" in row:
        parts.append(f" {row['attach_btf_name']:<15}")
    elif row["attach_btf_id"]:
        parts.append(f" attach_btf_obj_id={row['attach_btf_obj_id']}")
        parts.append(f" attach_btf_id={row['attach_btf_id']}")
    return "".join(parts) + "\n"


# --- changes ------------------------------------------------------------------------------------


def attach(tool: Tool, words: Words) -> int:
    """``cgroup attach CGROUP ATTACH_TYPE PROG [multi] [override]``."""
    if len(words) < 4:
        raise Failure("too few parameters for cgroup attach")
    path = words.take("cgroup")
    directory = _open(path)
    try:
        attach_type = _attach_type(words.take("attach type"))
        with handle.one_program(words) as program:
            flags = 0
            while words:
                word = words.peek()
                found = words.take_keyword("multi", "override")
                if found is None:
                    raise Failure(f"unknown option: {word}")
                flags |= u.BPF_F_ALLOW_MULTI if found == "multi" else u.BPF_F_ALLOW_OVERRIDE
            try:
                bpf.prog_attach(program.fd, directory, attach_type, flags=flags)
            except SyscallError as error:
                raise _refused("attach", error, program, attach_type, path) from None
    finally:
        os.close(directory)
    return tool.done()


def detach(tool: Tool, words: Words) -> int:
    """``cgroup detach CGROUP ATTACH_TYPE PROG``."""
    if len(words) < 4:
        raise Failure("too few parameters for cgroup detach")
    path = words.take("cgroup")
    directory = _open(path)
    try:
        attach_type = _attach_type(words.take("attach type"))
        with handle.one_program(words) as program:
            words.end()
            try:
                bpf.prog_detach(program.fd, directory, attach_type)
            except SyscallError as error:
                raise _refused("detach", error, program, attach_type, path) from None
    finally:
        os.close(directory)
    return tool.done()


def _attach_type(word: str) -> int:
    for attach_type in _TYPES:
        if ATTACH_TYPE_NAMES[attach_type] == word:
            return attach_type
    # In the order of the kernel's numbers, which decides between names that begin alike.
    found = first_match(word, [_SHORT_NAMES[number] for number in sorted(_TYPES)])
    if found is None:
        from difflib import get_close_matches

        known = [*(ATTACH_TYPE_NAMES[number] for number in _TYPES), *_SHORT_NAMES.values()]
        near = get_close_matches(word, known, 3, 0.6)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise Failure(f"invalid attach type: {word}{hint}" if hint else "invalid attach type")
    return next(number for number, name in _SHORT_NAMES.items() if name == found)


_PROGRAM_TYPES = {
    "cgroup_skb": ("ingress", "egress"),
    "cgroup_sock": ("sock_create", "sock_release", "post_bind4", "post_bind6"),
    "sock_ops": ("sock_ops",),
    "cgroup_device": ("device",),
    "cgroup_sysctl": ("sysctl",),
    "cgroup_sockopt": ("getsockopt", "setsockopt"),
    "lsm": ("lsm_cgroup",),
}


def _refused(
    what: str, error: SyscallError, program: Program, attach_type: int, path: str
) -> Failure:
    short = _SHORT_NAMES[attach_type]
    wanted = "cgroup_sock_addr"
    for name, attach_types in _PROGRAM_TYPES.items():
        if short in attach_types:
            wanted = name
    kind = type_name(program.info.type) or str(program.info.type)
    text = f"failed to {what} program"
    if kind != wanted:
        why = f"{ATTACH_TYPE_NAMES[attach_type]} takes {wanted} programs, this one is {kind}"
        return Failure(f"{text}: {strerror(error)}: {why}")
    if error.errno == errno.EPERM and what == "attach":
        why = (
            f"a program without the same flags (multi, override) is on {path} or above it, "
            "or CAP_NET_ADMIN is missing"
        )
        return Failure(f"{text}: {strerror(error)}: {why}")
    if error.errno == errno.ENOENT and what == "detach":
        where = f"{path} as {ATTACH_TYPE_NAMES[attach_type]}"
        return Failure(f"{text}: {strerror(error)}: it is not attached to {where}")
    if error.errno == errno.EBADF:
        return Failure(f"{text}: {strerror(error)}: {path} is no cgroup2 directory")
    return handle.tell(text, error)

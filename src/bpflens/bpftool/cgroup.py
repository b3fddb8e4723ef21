"""``cgroup show|tree|attach|detach``: programs attached to cgroups.

Example::

    $ bpftool cgroup tree
    CgroupPath
    ID       AttachType               AttachFlags     Name
    /sys/fs/cgroup/system.slice
        764      cgroup_inet_ingress      multi           cg_ingress
"""

from __future__ import annotations

import errno
import os

from bpflens.bpftool import handle
from bpflens.bpftool.prog_attach import attach_type
from bpflens.bpftool.prog_show import full_name
from bpflens.bpftool.tool import Failure, cause, strerror
from bpflens.errors import SyscallError
from bpflens.kernel.object_command import prog_query
from bpflens.uapi import bpf as _uapi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.bpftool.tool import Tool
    from bpflens.bpftool.words import Words
    from bpflens.objects.program import Program

    Row = tuple[int, int, int]  # program id, attach type, flags

__all__ = ["attach", "detach", "show", "tree"]

_TYPES = (
    _uapi.BPF_CGROUP_INET_INGRESS, _uapi.BPF_CGROUP_INET_EGRESS,
    _uapi.BPF_CGROUP_INET_SOCK_CREATE, _uapi.BPF_CGROUP_INET_SOCK_RELEASE,
    _uapi.BPF_CGROUP_INET4_BIND, _uapi.BPF_CGROUP_INET6_BIND,
    _uapi.BPF_CGROUP_INET4_POST_BIND, _uapi.BPF_CGROUP_INET6_POST_BIND,
    _uapi.BPF_CGROUP_INET4_CONNECT, _uapi.BPF_CGROUP_INET6_CONNECT,
    _uapi.BPF_CGROUP_UNIX_CONNECT, _uapi.BPF_CGROUP_INET4_GETPEERNAME,
    _uapi.BPF_CGROUP_INET6_GETPEERNAME, _uapi.BPF_CGROUP_UNIX_GETPEERNAME,
    _uapi.BPF_CGROUP_INET4_GETSOCKNAME, _uapi.BPF_CGROUP_INET6_GETSOCKNAME,
    _uapi.BPF_CGROUP_UNIX_GETSOCKNAME, _uapi.BPF_CGROUP_UDP4_SENDMSG,
    _uapi.BPF_CGROUP_UDP6_SENDMSG, _uapi.BPF_CGROUP_UNIX_SENDMSG,
    _uapi.BPF_CGROUP_UDP4_RECVMSG, _uapi.BPF_CGROUP_UDP6_RECVMSG,
    _uapi.BPF_CGROUP_UNIX_RECVMSG, _uapi.BPF_CGROUP_SOCK_OPS, _uapi.BPF_CGROUP_DEVICE,
    _uapi.BPF_CGROUP_SYSCTL, _uapi.BPF_CGROUP_GETSOCKOPT, _uapi.BPF_CGROUP_SETSOCKOPT,
    _uapi.BPF_LSM_CGROUP,
)  # fmt: skip
_FLAGS = {0: "", _uapi.BPF_F_ALLOW_OVERRIDE: "override", _uapi.BPF_F_ALLOW_MULTI: "multi"}
_WIDTH = 24  # as wide as the longest attach type


def show(tool: Tool, words: Words) -> int:
    """Show what is attached to one cgroup."""
    words.need(1)
    path = words.take()
    effective = _effective(words)
    rows = _rows(path, effective)
    if tool.json is not None:
        tool.json.value(_listed(rows, effective))
        return 0
    if rows:
        tool.out(_header(effective) + _table(rows, effective, ""))
    return 0


def tree(tool: Tool, words: Words) -> int:
    """Show what is attached to a cgroup and all below."""
    root = words.take() if words else _root()
    effective = _effective(words)
    if not os.path.isdir(root):
        raise Failure(f"can't iterate over {root}: No such file or directory")
    if tool.json is not None:
        tool.json.start("[")
    else:
        tool.out(f"CgroupPath\n{_header(effective)}")
    device = os.stat(root).st_dev
    for parent, directories, _ in os.walk(root):
        directories.sort()
        try:
            if os.stat(parent).st_dev != device:
                directories.clear()  # another file system
                continue
            rows = _rows(parent, effective)
        except FileNotFoundError:
            continue  # it was removed meanwhile
        except Failure:
            if os.path.isdir(parent):
                raise
            continue
        if not rows:
            continue
        if tool.json is not None:
            tool.json.value({"cgroup": parent, "programs": _listed(rows, effective)})
        else:
            tool.out(f"{parent}\n{_table(rows, effective, '    ' if parent != root else '')}")
    if tool.json is not None:
        tool.json.end()
    return 0


def _effective(words: Words) -> bool:
    found = False
    while words:
        if not words.take_if("effective"):
            raise Failure(f"expected no more arguments, 'effective', got: '{words.peek()}'?")
        if found:
            raise Failure("duplicated argument: effective")
        found = True
    return found


def _root() -> str:
    with open("/proc/self/mounts") as file:
        for line in file:
            fields = line.split()
            if len(fields) > 2 and fields[2] == "cgroup2":
                return fields[1].replace("\\040", " ")
    raise Failure("cgroup v2 isn't mounted")


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise Failure(f"can't open cgroup {path}: {strerror(error)}") from None


def _rows(path: str, effective: bool) -> list[Row]:
    fd = _open(path)
    flags = _uapi.BPF_F_QUERY_EFFECTIVE if effective else 0
    rows: list[Row] = []
    try:
        for kind in _TYPES:
            try:
                found = prog_query(fd, kind, query_flags=flags)
            except SyscallError as error:
                if error.errno == errno.EINVAL:
                    continue  # a type that this kernel does not know
                text = f"can't query bpf programs attached to {path}: {strerror(error)}"
                if error.errno == errno.EBADF:
                    text += ": this is no directory of a cgroup2 file system"
                raise Failure(text) from None
            each = found.prog_attach_flags
            for number, id in enumerate(found.prog_ids):
                own = each[number] if number < len(each) else 0
                rows.append((id, kind, own or found.attach_flags))
    finally:
        os.close(fd)
    return rows


def _header(effective: bool) -> str:
    flags = "" if effective else f"{'AttachFlags':<15} "
    return f"{'ID':<8} {'AttachType':<{_WIDTH}} {flags}{'Name':<15}\n"


def _flags(flags: int) -> str:
    return _FLAGS.get(flags, f"unknown({flags:x})")


def _opened(id: int) -> Program | None:
    from bpflens.objects.program import Program

    try:
        return Program.from_id(id)
    except SyscallError:
        return None  # detached meanwhile


def _target(program: Program) -> str:
    # The kernel function that an LSM program of a cgroup is attached to.
    info = program.info
    if not info.attach_btf_id:
        return ""
    from bpflens.objects.btf import vmlinux

    types = vmlinux()
    return types.name(info.attach_btf_id) if info.attach_btf_id < types.nr_types else ""


def _type(kind: int) -> str:
    names = _uapi.ATTACH_TYPE_NAMES
    return names[kind] if kind < len(names) else f"type {kind}"


def _table(rows: list[Row], effective: bool, indent: str) -> str:
    lines = []
    for id, kind, flags in rows:
        program = _opened(id)
        if program is None:
            continue
        with program:
            shown = "" if effective else f"{_flags(flags):<15} "
            line = f"{indent}{id:<8} {_type(kind):<{_WIDTH}} {shown}{full_name(program):<15}"
            target = _target(program)
            lines.append(line + (f" {target:<15}" if target else "") + "\n")
    return "".join(lines)


def _listed(rows: list[Row], effective: bool) -> list[dict[str, object]]:
    listed = []
    for id, kind, flags in rows:
        program = _opened(id)
        if program is None:
            continue
        with program:
            one: dict[str, object] = {"id": id, "attach_type": _type(kind)}
            if not effective:
                one["attach_flags"] = _flags(flags)
            one["name"] = full_name(program)
            one["attach_btf_name"] = _target(program)
            one["attach_btf_obj_id"] = program.info.attach_btf_obj_id
            one["attach_btf_id"] = program.info.attach_btf_id
            listed.append(one)
    return listed


def attach(tool: Tool, words: Words) -> int:
    """Attach a program to a cgroup."""
    return _change(tool, words, True)


def detach(tool: Tool, words: Words) -> int:
    """Detach a program from a cgroup."""
    return _change(tool, words, False)


def _change(tool: Tool, words: Words, is_attach: bool) -> int:
    from bpflens.kernel.prog_command import prog_attach, prog_detach

    verb = "attach" if is_attach else "detach"
    if len(words) < 3:
        raise Failure(f"too few parameters for cgroup {verb}")
    path = words.take()
    fd = _open(path)
    try:
        word = words.take()
        kind = attach_type(word)
        if kind is None:
            raise Failure("invalid attach type")
        with handle.one_program(words) as program:
            flags = 0
            while words and is_attach:
                option = words.take_keyword("multi", "override")
                if option is None:
                    raise Failure(f"unknown option: {words.peek()}")
                flags |= (
                    _uapi.BPF_F_ALLOW_MULTI if option == "multi" else _uapi.BPF_F_ALLOW_OVERRIDE
                )
            words.end()
            try:
                if is_attach:
                    prog_attach(program.fd, fd, kind, flags=flags)
                else:
                    prog_detach(program.fd, fd, kind)
            except SyscallError as error:
                raise Failure(f"failed to {verb} program: {_why(error, program, kind)}") from None
    finally:
        os.close(fd)
    return tool.done()


def _why(error: SyscallError, program: Program, kind: int) -> str:
    text = cause(error)
    if error.errno == errno.EINVAL and not error.cause:
        text += f": a {program.type_name} program does not fit the attach type {_type(kind)}"
    elif error.errno == errno.ENOENT:
        text += ": it is not attached there so"
    elif error.errno == errno.EPERM and not error.cause:
        text += ": the cgroup or one above allows no (other) program of this type"
    return text

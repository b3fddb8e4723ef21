"""``perf show|list``: which processes have programs on which probes, by file descriptor.

Example::

    $ bpftool perf show
    pid 6844  fd 28: prog_id 954  tracepoint  sched_process_exec
"""

from __future__ import annotations

import os

from bpflens.bpftool import handle
from bpflens.errors import SyscallError
from bpflens.kernel.object_command import task_fd_query
from bpflens.uapi import bpf as _uapi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from bpflens.bpftool.tool import Tool
    from bpflens.bpftool.words import Words
    from bpflens.kernel.object_command import TaskFd

__all__ = ["show"]

_NAMES = {
    _uapi.BPF_FD_TYPE_RAW_TRACEPOINT: "raw_tracepoint",
    _uapi.BPF_FD_TYPE_TRACEPOINT: "tracepoint",
    _uapi.BPF_FD_TYPE_KPROBE: "kprobe",
    _uapi.BPF_FD_TYPE_KRETPROBE: "kretprobe",
    _uapi.BPF_FD_TYPE_UPROBE: "uprobe",
    _uapi.BPF_FD_TYPE_URETPROBE: "uretprobe",
}
# What a descriptor must be for the question to make sense; all others are passed over.
_TARGETS = ("anon_inode:[perf_event]", "anon_inode:bpf-raw-tracepoint", "anon_inode:bpf_link",
            "anon_inode:bpf-link")  # fmt: skip


def show(tool: Tool, words: Words) -> int:
    """Show all of them."""
    words.end()
    if tool.json is not None:
        tool.json.value([_members(*found) for found in _found()])
        return 0
    for pid, fd, found in _found():
        name = _NAMES.get(found.type, "")
        tool.out(f"pid {pid}  fd {fd}: prog_id {found.prog_id}  {name}  {_place(found)}\n")
    return 0


def _found() -> Iterator[tuple[int, int, TaskFd]]:
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
        folder = f"/proc/{pid}/fd/"
        try:
            fds = sorted(int(name) for name in os.listdir(folder))
        except OSError:
            continue
        for fd in fds:
            try:
                if not os.readlink(folder + str(fd)).startswith(_TARGETS):
                    continue
                found = task_fd_query(pid, fd)
            except SyscallError as error:
                if error.errno in (1, 13):
                    raise handle.tell("perf_query_support", error) from None
                continue
            except OSError:
                continue  # closed meanwhile
            if found is not None:
                yield pid, fd, found


def _place(found: TaskFd) -> str:
    name = _NAMES.get(found.type, "")
    if name.startswith("k"):
        if found.name:
            return f"func {found.name}  offset {found.probe_offset}"
        return f"addr {found.probe_addr}"
    if name.startswith("u"):
        return f"filename {found.name}  offset {found.probe_offset}"
    return found.name


def _members(pid: int, fd: int, found: TaskFd) -> dict[str, object]:
    name = _NAMES.get(found.type, "")
    members: dict[str, object] = {
        "pid": pid, "fd": fd, "prog_id": found.prog_id, "fd_type": name,
    }  # fmt: skip
    if name.startswith("k") and not found.name:
        members["addr"] = found.probe_addr
    elif name.startswith("k"):
        members |= {"func": found.name, "offset": found.probe_offset}
    elif name.startswith("u"):
        members |= {"filename": found.name, "offset": found.probe_offset}
    else:
        members["tracepoint"] = found.name
    return members

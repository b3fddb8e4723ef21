"""``perf show|list``: which processes have programs on perf events and raw tracepoints.

Every descriptor of every process is asked about; only those of the right kind of file are, which
spares a system call for each of the others.

Example::

    $ bpftool perf show
    pid 6844  fd 28: prog_id 954  tracepoint  sched_process_exec
"""

from __future__ import annotations

import os

from bpflens.bpftool.tool import Failure, cause
from bpflens.errors import SyscallError
from bpflens.kernel.object_command import TaskFd, task_fd_query
from bpflens.uapi import bpf as u

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from bpflens.bpftool.tool import Tool
    from bpflens.bpftool.words import Words

__all__ = ["show"]

# Perf events, and links: raw tracepoints and (since Linux 5.15) perf events behind a link.
_PERF_EVENT = "anon_inode:[perf_event]"
_BPF = "anon_inode:bpf"
_KINDS = {
    u.BPF_FD_TYPE_RAW_TRACEPOINT: "raw_tracepoint",
    u.BPF_FD_TYPE_TRACEPOINT: "tracepoint",
    u.BPF_FD_TYPE_KPROBE: "kprobe",
    u.BPF_FD_TYPE_KRETPROBE: "kretprobe",
    u.BPF_FD_TYPE_UPROBE: "uprobe",
    u.BPF_FD_TYPE_URETPROBE: "uretprobe",
}


def show(tool: Tool, words: Words) -> int:
    """``perf show``: one row for each descriptor with a program."""
    words.end()
    _check_support()
    rows = (_row(pid, fd, found) for pid, fd, found in _attached())
    if tool.json is not None:
        tool.json.start("[")
        for row in rows:
            tool.json.value(row)
        tool.json.end()
        return 0
    for row in rows:
        tool.out(_line(row))
    return 0


def _check_support() -> None:
    directory = os.open("/", os.O_RDONLY | os.O_CLOEXEC)
    try:
        task_fd_query(os.getpid(), directory)
    except SyscallError as error:
        raise Failure(f"perf_query_support: {cause(error)}") from None
    finally:
        os.close(directory)


def _attached() -> Iterator[tuple[int, int, TaskFd]]:
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
        folder = f"/proc/{pid}/fd"
        try:
            names = os.listdir(folder)
        except OSError:
            continue  # it has gone, or may not be looked at
        for name in names:
            if not _may_be(f"{folder}/{name}"):
                continue
            try:
                found = task_fd_query(pid, int(name))
            except SyscallError:
                continue
            if found is not None:
                yield pid, int(name), found


def _may_be(path: str) -> bool:
    try:
        target = os.readlink(path)
    except OSError:
        return False
    return target == _PERF_EVENT or target.startswith(_BPF)


def _row(pid: int, fd: int, found: TaskFd) -> dict[str, object]:
    row: dict[str, object] = {"pid": pid, "fd": fd, "prog_id": found.prog_id}
    kind = _KINDS.get(found.type)
    if kind is None:
        return row
    row["fd_type"] = kind
    if kind.endswith("tracepoint"):
        row["tracepoint"] = found.name
    elif kind.startswith("u"):
        row["filename"] = found.name
        row["offset"] = found.probe_offset
    elif found.name:
        row["func"] = found.name
        row["offset"] = found.probe_offset
    else:
        row["addr"] = found.probe_addr
    return row


def _line(row: dict[str, object]) -> str:
    words = [f"pid {row['pid']}  fd {row['fd']}: prog_id {row['prog_id']}"]
    for name, value in row.items():
        if name in ("fd_type", "tracepoint"):
            words.append(str(value))
        elif name not in ("pid", "fd", "prog_id"):
            words.append(f"{name} {value}")
    return "  ".join(words) + "\n"

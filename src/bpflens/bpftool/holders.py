"""Which processes hold an object, and where objects are pinned.

Holders are read from /proc: the descriptors of every process that are BPF objects, and their
fdinfo. That works wherever this process may look, without a BPF iterator. A process's own
descriptors (those of this command) do not count.

Example::

    table = holders("map")
    table[7]            # [(1234, "agent")]
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.bpftool.out import Json

    Holders = dict[int, list[tuple[int, str]]]

__all__ = ["holders", "pids_json", "pids_plain", "pinned_paths"]

_TARGET = {
    "prog": ("anon_inode:bpf-prog",),
    "map": ("anon_inode:bpf-map",),
    "link": ("anon_inode:bpf_link", "anon_inode:bpf-link", "anon_inode:bpf_iter_link"),
    "btf": ("anon_inode:btf", "anon_inode:[btf]"),
}
_FIELD = {"prog": b"prog_id:", "map": b"map_id:", "link": b"link_id:", "btf": b"btf_id:"}


def holders(kind: str) -> Holders:
    """Return the holders of each object of a kind: by id a list of (pid, command)."""
    targets = _TARGET[kind]
    found: Holders = {}
    own = os.getpid()
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
        if pid == own:
            continue
        ids = _held(pid, targets, _FIELD[kind])
        if ids:
            comm = _comm(pid)
            for id in ids:
                found.setdefault(id, []).append((pid, comm))
    return found


def _held(pid: int, targets: tuple[str, ...], field: bytes) -> list[int]:
    folder = f"/proc/{pid}/fd/"
    ids: dict[int, None] = {}
    try:
        names = os.listdir(folder)
    except OSError:
        return []  # it has gone, or may not be looked at
    readlink = os.readlink
    for name in names:
        try:
            target = readlink(folder + name)
        except OSError:
            continue
        if target[0] == "a" and target in targets:
            id = _id_of(pid, name, field)
            if id:
                ids[id] = None
    return list(ids)


def _id_of(pid: int, fd: str, field: bytes) -> int:
    try:
        info = os.open(f"/proc/{pid}/fdinfo/{fd}", os.O_RDONLY)
    except OSError:
        return 0
    try:
        text = os.read(info, 4096)
    except OSError:
        return 0
    finally:
        os.close(info)
    at = text.find(field)
    if at < 0:
        return 0
    return int(text[at + len(field) :].split(None, 1)[0])


def _comm(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="surrogateescape") as file:
            return file.read().rstrip("\n")
    except OSError:
        return ""


def pids_plain(found: list[tuple[int, str]] | None) -> str:
    """Return the "pids" line of plain output, empty without holders."""
    if not found:
        return ""
    return "\n\tpids " + ", ".join(f"{comm}({pid})" for pid, comm in found)


def pids_json(json: Json, found: list[tuple[int, str]] | None) -> None:
    """Write the "pids" member of an object, if there are holders."""
    if found:
        json.member("pids", [{"pid": pid, "comm": comm} for pid, comm in found])


def pinned_paths(kind: str) -> dict[int, list[str]]:
    """Return the paths of the pinned objects of a kind, by id, over all mounted bpffs."""
    from bpflens.kernel import object_command
    from bpflens.objects.pin import file_systems, kind_of

    found: dict[int, list[str]] = {}
    seen: set[str] = set()
    for place in file_systems():
        for parent, _, files in os.walk(place):
            for name in files:
                path = os.path.join(parent, name)
                if path in seen:
                    continue
                seen.add(path)
                try:
                    fd = object_command.obj_get(path)
                except OSError:
                    continue
                try:
                    if kind_of(fd) == kind:
                        id = _id_of(os.getpid(), str(fd), _FIELD[kind])
                        found.setdefault(id, []).append(path)
                finally:
                    os.close(fd)
    return found

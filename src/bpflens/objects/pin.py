"""Pins: objects with a path in a BPF file system.

Turns paths into objects and back. :func:`open_pin` finds out by itself what is pinned at a path;
:func:`walk` yields all that is pinned below a directory. bpffs is where such paths live; it is
looked for among the mounts, and :func:`mount` makes one.

Example::

    for path, kind in walk("/sys/fs/bpf"):
        print(kind, path)
"""

from __future__ import annotations

import os

from bpflens.errors import Error, NotFound, SyscallError
from bpflens.kernel import object_command as _objects
from bpflens.kernel import syscall as _seam
from bpflens.kernel.memory import address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from bpflens.objects.link import Link
    from bpflens.objects.map import Map
    from bpflens.objects.program import Program

__all__ = ["DEFAULT", "file_systems", "is_bpffs", "kind_of", "mount", "open_pin", "unpin", "walk"]

DEFAULT = "/sys/fs/bpf"
"""Where a BPF file system is by custom."""


def kind_of(fd: int) -> str:
    """Return ``"prog"``, ``"map"``, ``"link"``, ``"btf"`` or ``""`` for a descriptor."""
    target = os.readlink(f"/proc/self/fd/{fd}")
    name = target.partition("anon_inode:")[2].strip("[]")
    kinds = {"bpf-prog": "prog", "bpf-map": "map", "bpf_link": "link", "bpf-link": "link",
             "bpf_iter_link": "link", "btf": "btf"}  # fmt: skip
    return kinds.get(name, "link" if name.startswith(("bpf_link", "bpf-link")) else "")


def open_pin(path: str) -> Map | Program | Link:
    """Open what is pinned at ``path``. Raises SyscallError when nothing can be."""
    fd = _objects.obj_get(path)
    kind = kind_of(fd)
    if kind == "map":
        from bpflens.objects.map import Map

        return Map(fd)
    if kind == "prog":
        from bpflens.objects.program import Program

        return Program(fd)
    if kind == "link":
        from bpflens.objects.link import Link

        return Link(fd)
    os.close(fd)
    raise Error(f"{path}: an object of a kind that is not known here")


def unpin(path: str) -> None:
    """Remove a pin; the object goes when nobody else holds it."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        raise NotFound("pinned object at", path) from None
    except OSError as error:
        raise SyscallError(error.errno or 0, f"removing {path}") from None


def walk(directory: str = DEFAULT) -> Iterator[tuple[str, str]]:
    """Yield ``(path, kind)`` of all that is pinned below ``directory``, sorted by path.

    What may not be opened, or has gone meanwhile, is passed over.
    """
    for parent, directories, files in os.walk(directory):
        directories.sort()
        for name in sorted(files):
            path = os.path.join(parent, name)
            try:
                fd = _objects.obj_get(path)
            except SyscallError:
                continue
            try:
                yield path, kind_of(fd)
            finally:
                os.close(fd)


def file_systems() -> list[str]:
    """Return where BPF file systems are mounted."""
    found = []
    with open("/proc/self/mounts") as file:
        for line in file:
            fields = line.split()
            if len(fields) > 2 and fields[2] == "bpf":
                found.append(fields[1].replace("\\040", " "))
    return found


def is_bpffs(path: str) -> bool:
    """Say whether ``path`` (or the directory it would be made in) is on a BPF file system."""
    place = os.path.realpath(path)
    mounts = file_systems()
    while place not in mounts:
        parent = os.path.dirname(place)
        if parent == place or os.path.ismount(place):
            return False
        place = parent
    return True


def mount(directory: str = DEFAULT) -> None:
    """Mount a BPF file system on ``directory``."""
    kind, place, options = b"bpf", os.fsencode(directory), b"mode=0700"
    result = _seam.raw(
        _seam.number("mount"),
        address(kind),
        address(place),
        address(kind),
        0,
        address(options),
    )
    if result < 0:
        raise SyscallError(-result, f"mounting a BPF file system on {directory}", "", "run as root")

"""tracefs: where it is, which events it has, and the files that make probes.

Turns event names into ids and format texts. tracefs is looked for at its own place, then inside
debugfs, then in /proc/mounts; when it is nowhere it is mounted (root may), and when that fails the
error says how to do it by hand.

Example::

    event_id("sched", "sched_switch")       # 271
    format("syscalls", "sys_enter_openat")  # b'name: sys_enter_openat\\n...'
"""

from __future__ import annotations

import os

from bpflens.errors import NotFound, SyscallError
from bpflens.kernel import syscall as _seam
from bpflens.kernel.memory import address

__all__ = ["append", "event_id", "events", "find", "format", "is_event", "path", "systems"]

_PLACES = ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")

_found = ""


def find() -> str:
    """Return the directory of tracefs, mounting it when it is not mounted anywhere.

    Raises :class:`~bpflens.errors.SyscallError` when there is none and none can be mounted.
    """
    global _found
    if not _found:
        _found = _look() or _mount()
    return _found


def _look() -> str:
    for place in _PLACES:
        if os.path.exists(place + "/events"):
            return place
    try:
        with open("/proc/mounts") as file:
            for line in file:
                fields = line.split()
                if len(fields) > 2 and fields[2] == "tracefs":
                    return fields[1].replace("\\040", " ")
    except OSError:
        pass
    return ""


def _mount() -> str:
    place = _PLACES[0].encode()
    kind = b"tracefs"
    result = _seam.raw(_seam.number("mount"), address(kind), address(place), address(kind), 0, 0)
    if result < 0:
        raise SyscallError(
            -result,
            f"mounting tracefs on {_PLACES[0]}",
            "tracefs is not mounted, and mounting it failed",
            f"run as root, or `mount -t tracefs tracefs {_PLACES[0]}`",
        )
    return _PLACES[0]


def path(*parts: str) -> str:
    """Return the path of a file in tracefs."""
    return "/".join((find(), *parts))


def _read(name: str) -> bytes:
    with open(name, "rb") as file:
        return file.read()


def is_event(system: str, name: str) -> bool:
    """Say whether there is a tracepoint ``system:name``."""
    return os.path.exists(path("events", system, name, "id"))


def event_id(system: str, name: str) -> int:
    """Return the id that perf_event_open(2) wants for the tracepoint ``system:name``.

    Raises :class:`~bpflens.errors.NotFound` with near names, or
    :class:`~bpflens.errors.SyscallError` when tracefs may not be read.
    """
    return int(_event_file(system, name, "id"))


def format(system: str, name: str) -> bytes:
    """Return the text that describes the fields of the tracepoint ``system:name``."""
    return _event_file(system, name, "format")


def _event_file(system: str, name: str, file: str) -> bytes:
    where = path("events", system, name, file)
    try:
        return _read(where)
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound("tracepoint", f"{system}:{name}", _near(system, name)) from None
    except OSError as error:
        raise SyscallError(
            error.errno or 0,
            f"reading {where}",
            "tracefs is for root only",
            "run as root or with CAP_DAC_READ_SEARCH",
        ) from None


def _near(system: str, name: str) -> list[str]:
    import difflib

    known = [f"{system}:{event}" for event in events(system)]
    if not known:
        known = [f"{other}:{name}" for other in systems() if is_event(other, name)]
        return known[:3]
    return difflib.get_close_matches(f"{system}:{name}", known, 3, 0.6)


def systems() -> list[str]:
    """Return the names of all event systems (``sched``, ``syscalls``...), sorted."""
    root = path("events")
    try:
        with os.scandir(root) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir())
    except OSError as error:
        raise SyscallError(
            error.errno or 0, f"reading {root}", "tracefs is for root only", "run as root"
        ) from None


def events(system: str) -> list[str]:
    """Return the names of the tracepoints of ``system``, sorted; empty when there is none."""
    try:
        with os.scandir(path("events", system)) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir())
    except OSError:
        return []


def append(file: str, line: str) -> None:
    """Append ``line`` to a control file such as ``uprobe_events``.

    The file is opened for appending and not positioned: these files refuse to be sought in.
    """
    where = path(file)
    try:
        fd = os.open(where, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            os.write(fd, line.encode())
        finally:
            os.close(fd)
    except OSError as error:
        raise SyscallError(error.errno or 0, f"writing {line!r} to {where}") from None

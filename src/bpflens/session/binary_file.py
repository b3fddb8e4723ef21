"""Executables and libraries as user-space probes name them: which files, and what is in them.

Example::

    find("libc", 0)                         # ['/usr/lib/x86_64-linux-gnu/libc.so.6']
    functions("/usr/bin/python3.11")        # ['PyAIter_Check', 'PyAST_Check', ...]
"""

from __future__ import annotations

import os

from bpflens.errors import Error
from bpflens.lang.glob import has_wildcard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["executable", "find", "functions", "is_code", "mapped", "offsets", "static_probes"]

# Symbols of type FUNC, and those whose address a function returns when the library is loaded.
_STT_FUNC, _STT_GNU_IFUNC = 2, 10
_PT_LOAD, _PF_X = 1, 1


def find(name: str, pid: int = 0) -> list[str]:
    """Return the files that a path, a pattern, a program's or a library's name means.

    Paths stay as they were written. With a process, "" is its executable, "*" every file that it
    has mapped to run, and a path is meant as the process sees it; without, "*" is every process's.
    """
    if pid and name == "":
        return [executable(pid)] if os.path.exists(f"/proc/{pid}/exe") else []
    if name == "*":
        pids = [pid] if pid else [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]
        return sorted({path for one in pids for path in mapped(one)})
    if pid and name.startswith("/") and not name.startswith("/proc/"):
        name = _seen_from_here(pid, name)
    if has_wildcard(name):
        from glob import glob

        return sorted(path for path in glob(name) if _is_elf(path))
    from bpflens.attach.binary import binary_path

    try:
        return [binary_path(name)]
    except Error:
        return []


def executable(pid: int) -> str:
    """Return a path that leads to the executable of a process, in its own mount namespace."""
    return _seen_from_here(pid, os.readlink(f"/proc/{pid}/exe"))


def mapped(pid: int) -> list[str]:
    """Return the files that a process has mapped executable."""
    paths = set()
    try:
        with open(f"/proc/{pid}/maps", encoding="utf-8", errors="surrogateescape") as maps:
            for line in maps:
                words = line.split(None, 5)
                if len(words) == 6 and "x" in words[1] and words[5].startswith("/"):
                    paths.add(words[5].rstrip("\n"))
    except OSError:
        # The process is gone, or none of our business.
        return []
    found = [_seen_from_here(pid, path) for path in sorted(paths)]
    return [path for path in found if _is_elf(path)]


def _seen_from_here(pid: int, path: str) -> str:
    try:
        same = os.readlink(f"/proc/{pid}/ns/mnt") == os.readlink("/proc/self/ns/mnt")
    except OSError:
        same = False
    if same:
        return path
    return f"/proc/{pid}/root{path}"


def _is_elf(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(4) == b"\x7fELF"
    except OSError:
        return False


def functions(path: str) -> list[str]:
    """Return the names of the functions of a file, sorted; [] if it cannot be read."""
    from bpflens.elf import File

    try:
        with File(path) as file:
            names = _function_names(file.symbols()) | _function_names(file.dynamic_symbols())
            inside = file.gnu_debugdata()
            if inside is not None:
                with inside:
                    names |= _function_names(inside.symbols())
            from bpflens.elf.debuglink import find_debug_file

            other = find_debug_file(file, path)
        if other is not None:
            with File(other) as debug:
                names |= _function_names(debug.symbols())
    except (Error, OSError):
        return []
    return sorted(names)


def offsets(path: str, names: Iterable[str]) -> list[int]:
    """Return the places in a file where functions begin; raises NotFound for an unknown one."""
    from bpflens.attach.binary import place
    from bpflens.elf import File

    found = []
    with File(path) as file:
        for name in names:
            symbol = file.symbol(name)
            at = file.vaddr_to_offset(symbol.value) if symbol is not None else None
            found.append(place(path, name).offset if at is None else at)
    return found


def is_code(path: str, address: int) -> bool:
    """Whether a virtual address is in an executable segment of a file."""
    from bpflens.elf import File

    try:
        with File(path) as file:
            return any(
                segment.flags & _PF_X and 0 <= address - segment.vaddr < segment.memsz
                for segment in file.segments
                if segment.type == _PT_LOAD
            )
    except (Error, OSError):
        return False


def _function_names(symbols: Iterable[object]) -> set[str]:
    return {
        symbol.name  # type: ignore[attr-defined]
        for symbol in symbols
        if symbol.type in (_STT_FUNC, _STT_GNU_IFUNC) and symbol.value  # type: ignore[attr-defined]
    }


def static_probes(path: str) -> list[tuple[str, str]]:
    """Return ``(provider, name)`` of the static probes of a file, sorted."""
    from bpflens.elf import File

    try:
        with File(path) as file:
            return sorted({(note.provider, note.name) for note in file.usdt_notes()})
    except (Error, OSError):
        return []

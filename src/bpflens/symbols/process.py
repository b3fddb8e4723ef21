"""User addresses → functions: the mappings of a process, living or gone.

A :class:`Process` is made early, while the process lives: it reads /proc/PID/maps at once, and the
files' symbols when an address asks for them. Files are looked for below the process's own root
directory (containers), then here, then in /proc/PID/map_files (deleted files), and count only if
they are the very inode that is mapped. When the process has exited, what was read stays.

Kernel-made code ([vdso]) is read from memory; what a just-in-time compiler made comes from
/tmp/perf-PID.map. An address in no known mapping makes the maps be read again, for libraries
that were loaded meanwhile, but not more than ten times a second.

Invariants: a process that got the number of an earlier one is never taken for it (start times
are compared); caches have limits.

Example::

    process = Process(os.getpid())
    process.resolve(0x7f3a5c2f1a20)       # ('malloc', 32, '/usr/lib/x86_64-linux-gnu/libc.so.6')
"""

from __future__ import annotations

import os
import time
from bisect import bisect_right

from bpflens.elf.file import File
from bpflens.errors import FormatError
from bpflens.symbols.maps import parse_maps
from bpflens.symbols.module import Module, Modules
from bpflens.symbols.perf_map import PerfMap, read_perf_map
from bpflens.symbols.stack import Frame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from bpflens.elf.symbols import SymbolTable
    from bpflens.elf.usdt import UsdtNote
    from bpflens.symbols.maps import Mapping

__all__ = ["Process", "Processes"]

_MEMO = 1 << 16
_REFRESH_SECONDS = 0.1
_CHECK_SECONDS = 1.0
_MAX_PROCESSES = 512


class Process:
    """A process as it was when it was last read.

    ``pid`` is the number here; ``problem`` says why nothing is known (gone, or not ours to see),
    and is empty otherwise. ``modules`` may be shared with other processes.
    """

    __slots__ = (
        "_memo", "_modules", "_namespace", "_of_mapping", "_perf_map", "_perf_map_path",
        "_read_at", "_root", "_starts", "_uid", "identity", "maps", "pid", "problem",
    )  # fmt: skip

    def __init__(self, pid: int, modules: Modules | None = None) -> None:
        self.pid = pid
        self.maps: list[Mapping] = []
        self.problem = ""
        self._modules = modules if modules is not None else Modules()
        self._starts: list[int] = []
        self._memo: dict[int, Frame] = {}
        self._of_mapping: dict[int, Module | None] = {}
        self._perf_map: PerfMap | None = None
        self._perf_map_path = ""
        self._uid = -1
        self._root = self._namespace = -1
        self._read_at = 0.0
        self.identity = _identity(pid)
        self._open_root()
        self.refresh()

    def _open_root(self) -> None:
        # Descriptors of another root directory outlive the process, and with them its files.
        path = f"/proc/{self.pid}/root"
        try:
            there, here = os.stat(path), os.stat("/")
            if _namespace(self.pid) == _namespace(os.getpid()) and os.path.samestat(there, here):
                return
            self._root = os.open(path, os.O_PATH | os.O_CLOEXEC)
            # What is mounted below that directory is unmounted with the last user of the
            # namespace; so be one.
            self._namespace = os.open(f"/proc/{self.pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            # Not ours to see, or gone: files are then looked for here, and checked by inode.
            self.close()

    def refresh(self) -> bool:
        """Read the mappings again; False (and nothing is forgotten) when that cannot be done."""
        self._read_at = time.monotonic()
        try:
            text = _read(f"/proc/{self.pid}/maps")
            identity = _identity(self.pid)
        except OSError as error:
            if not self.maps:
                self.problem = f"process {self.pid}: {_why(error)}"
            return False
        if identity != self.identity:
            # Another program, or another process with the same number.
            if self.identity is None or identity is None or identity[0] != self.identity[0]:
                return False
            self.identity = identity
        if not text:
            if not self.maps:
                self.problem = f"process {self.pid}: it has no memory (a kernel thread, or exiting)"
            return False
        self.problem = ""
        self.maps = parse_maps(text)
        self._starts = [mapping.start for mapping in self.maps]
        self._of_mapping.clear()
        self._memo.clear()
        self._read_status()
        return True

    def _read_status(self) -> None:
        try:
            lines = _read(f"/proc/{self.pid}/status").decode().splitlines()
        except OSError:
            return
        values = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
        self._uid = int(values.get("Uid", "-1").split()[0])
        inner = values.get("NSpid", str(self.pid)).split()[-1]
        self._perf_map_path = f"/tmp/perf-{inner}.map"

    def is_current(self) -> bool:
        """Whether the number still means this process, running the program it ran."""
        return self.identity is not None and _identity(self.pid) == self.identity

    # ---- address → name ----

    def resolve(self, address: int) -> tuple[str, int, str] | None:
        """Return ``(name, distance, module path)`` of a function's address, or ``None``."""
        frame = self.frame(address)
        return (frame.name, frame.offset, frame.module) if frame.name else None

    def frame(self, address: int) -> Frame:
        """Return all that is known of an address: name, file, place in it, build id."""
        found = self._memo.get(address)
        if found is None:
            found = self._frame(address)
            # Only what a file or the kernel says stays true; other code comes and goes.
            if found.module and (found.name or found.build_id):
                if len(self._memo) >= _MEMO:
                    self._memo.clear()
                self._memo[address] = found
        return found

    def mapping(self, address: int) -> Mapping | None:
        """Return the mapping that contains an address, reading new ones if need be."""
        found = self._known_mapping(address)
        if found is None and time.monotonic() - self._read_at >= _REFRESH_SECONDS:
            self.refresh()
            found = self._known_mapping(address)
        return found

    def _known_mapping(self, address: int) -> Mapping | None:
        place = bisect_right(self._starts, address) - 1
        if place < 0 or address >= self.maps[place].end:
            return None
        return self.maps[place]

    def _frame(self, address: int) -> Frame:
        mapping = self.mapping(address)
        if mapping is None:
            return Frame(address)
        if mapping.path == "[vdso]":
            symbols = self._vdso(mapping)
            found = symbols.resolve(address - mapping.start) if symbols else None
            return Frame(address, *(found or ("", 0)), "[vdso]")
        if not mapping.inode:
            found = self._from_perf_map(address)
            return Frame(address, *(found or ("", 0)), mapping.path)
        module = self.module(mapping)
        place = mapping.file_offset(address)
        found = module.resolve(place) if module else None
        if found is None and mapping.executable and (module is None or module.problem):
            # Some runtimes map their code from a file in memory (memfd).
            found = self._from_perf_map(address)
        build_id = module.build_id if module else None
        return Frame(address, *(found or ("", 0)), mapping.path, build_id, place)

    def _from_perf_map(self, address: int) -> tuple[str, int] | None:
        # The runtime appends all the time: whatever is not found may be there by now.
        found = self._perf_map.resolve(address) if self._perf_map else None
        if found is None and self._perf_map_path:
            known = self._perf_map.size if self._perf_map else -1
            for path in self._below_root(self._perf_map_path):
                fresh = read_perf_map(path, self._uid, known)
                if fresh is not None:
                    self._perf_map = fresh
                    return fresh.resolve(address)
        return found

    def _vdso(self, mapping: Mapping) -> SymbolTable | None:
        return _vdso_symbols(self.pid, mapping)

    # ---- files ----

    def _below_root(self, path: str) -> Iterator[str]:
        # The paths under which a file of the process may be reached from here. The descriptor
        # works after its exit, the other form means something to a person.
        if self._root >= 0:
            yield f"/proc/{self.pid}/root{path}"
            yield f"/proc/self/fd/{self._root}{path}"
        else:
            yield path

    def module(self, mapping: Mapping) -> Module | None:
        """Return the file behind a mapping; ``None`` when it cannot be reached any more."""
        if mapping.start not in self._of_mapping:
            root = f"/proc/self/fd/{self._root}" if self._root >= 0 else ""
            self._of_mapping[mapping.start] = self._modules.open(
                self._paths(mapping), mapping.inode, mapping.path, root
            )
        return self._of_mapping[mapping.start]

    def _paths(self, mapping: Mapping) -> Iterator[str]:
        if not mapping.deleted:
            yield from self._below_root(mapping.path)
            yield mapping.path
        yield f"/proc/{self.pid}/map_files/{mapping.start:x}-{mapping.end:x}"

    def files(self) -> Iterator[tuple[str, str]]:
        """Yield ``(path the process sees, path to open here)`` of every mapped program file."""
        seen = set()
        for mapping in self.maps:
            key = (mapping.dev, mapping.inode)
            if mapping.executable and mapping.inode and key not in seen:
                seen.add(key)
                for path in self._paths(mapping):
                    if _inode(path) == mapping.inode:
                        yield mapping.path, path
                        break

    def usdt_probes(self) -> list[tuple[str, UsdtNote]]:
        """Return ``(path to open here, probe)`` of every static probe in the mapped files."""
        found: list[tuple[str, UsdtNote]] = []
        for _, path in self.files():
            try:
                with File(path) as file:
                    found += [(path, note) for note in file.usdt_notes()]
            except (OSError, FormatError):
                # A mapped file that is no ELF file (a .jar, say) has no probes.
                continue
        return found

    def close(self) -> None:
        """Let go of the other mount namespace, if it has one."""
        for fd in (self._root, self._namespace):
            if fd >= 0:
                os.close(fd)
        self._root = self._namespace = -1

    def __del__(self) -> None:
        if getattr(self, "_root", -1) >= 0:
            self.close()


class Processes:
    """Processes by number, with their files' symbols shared; the longest unused are forgotten."""

    __slots__ = ("_checked", "_limit", "_processes", "modules")

    def __init__(self, limit: int = _MAX_PROCESSES, modules: Modules | None = None) -> None:
        self.modules = modules if modules is not None else Modules()
        self._limit = limit
        self._processes: dict[int, Process] = {}
        self._checked: dict[int, float] = {}

    def __len__(self) -> int:
        return len(self._processes)

    def get(self, pid: int) -> Process:
        """Return the process of a number; call it early to have its maps when it has exited."""
        process = self._processes.pop(pid, None)
        now = time.monotonic()
        if process is None or now - self._checked[pid] >= _CHECK_SECONDS:
            process = self._checked_process(pid, process)
            self._checked[pid] = now
        self._processes[pid] = process
        while len(self._processes) > self._limit:
            oldest = next(iter(self._processes))
            self._processes.pop(oldest).close()
            del self._checked[oldest]
        return process

    def _checked_process(self, pid: int, known: Process | None) -> Process:
        if known is None:
            return Process(pid, self.modules)
        identity = _identity(pid)
        if identity is None or identity == known.identity:
            return known
        # A new process with an old number, or the same one after exec(2).
        known.close()
        return Process(pid, self.modules)

    def resolve(self, pid: int, address: int) -> tuple[str, int, str] | None:
        """Return ``(name, distance, module path)`` of an address in a process, or ``None``."""
        return self.get(pid).resolve(address)


def _identity(pid: int) -> tuple[int, str] | None:
    # When a process started, and what it runs (its exe link).
    try:
        stat = _read(f"/proc/{pid}/stat")
    except OSError:
        return None
    # The name in parentheses may hold anything, even ") ".
    started = int(stat.rpartition(b")")[2].split()[19])
    try:
        return started, os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return started, ""


def _namespace(pid: int) -> str:
    return os.readlink(f"/proc/{pid}/ns/mnt")


def _inode(path: str) -> int:
    try:
        return os.stat(path).st_ino
    except OSError:
        return 0


def _read(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.readall()


def _why(error: OSError) -> str:
    if isinstance(error, (FileNotFoundError, ProcessLookupError)):
        return "it has exited"
    return f"{error.strerror} (seeing another user's process needs CAP_SYS_PTRACE)"


# ---- [vdso] ----

_VDSO: dict[int, SymbolTable | None] = {}


def _vdso_symbols(pid: int, mapping: Mapping) -> SymbolTable | None:
    # All processes of one kind have the same code there, at different addresses. Its length
    # tells the kinds (64-bit, 32-bit) apart.
    length = mapping.end - mapping.start
    if length not in _VDSO:
        own = [each for each in parse_maps(_read("/proc/self/maps")) if each.path == "[vdso]"]
        if own and own[0].end - own[0].start == length:
            _VDSO[length] = _read_vdso("self", own[0])
        else:
            _VDSO[length] = _read_vdso(str(pid), mapping)
    return _VDSO[length]


def _read_vdso(who: str, mapping: Mapping) -> SymbolTable | None:
    try:
        fd = os.open(f"/proc/{who}/mem", os.O_RDONLY | os.O_CLOEXEC)
        try:
            data = os.pread(fd, mapping.end - mapping.start, mapping.start)
        finally:
            os.close(fd)
        return File(data).symbol_table("code")
    except (OSError, FormatError):
        # Not ours to see, or gone; then addresses in it stay without a name.
        return None

"""Symbols of files, each read once: by identity, shared between processes.

A :class:`Module` is the code of one ELF file: place in the file → name. :class:`Modules` keeps
them by device, inode, modification time and size, and by build id, so that a hundred containers
with the same library read its symbols once. The least recently used go when there are too many.

Invariants: a module is complete when it is made, and keeps no file open; a file that cannot be
read is a module too, with the reason in ``problem``, and resolves nothing.

Example::

    module = Modules().open(["/usr/bin/python3.11"])
    module.resolve(0x151850)                 # ('PySys_Audit', 42) or None
"""

from __future__ import annotations

import os

from bpflens.elf.debuglink import find_debug_file
from bpflens.elf.file import File
from bpflens.elf.symbols import SymbolTable
from bpflens.errors import FormatError
from bpflens.uapi.elf import PF_X, PT_LOAD, SHT_SYMTAB

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Module", "Modules"]

_MEMO = 1 << 16
_MAX_MODULES = 256


class Module:
    """The code of one ELF file. ``problem`` says why it has no symbols, if it has none."""

    __slots__ = ("_memo", "_segments", "_table", "build_id", "path", "problem")

    def __init__(self, path: str) -> None:
        self.path = path
        self.build_id: bytes | None = None
        self.problem = ""
        self._segments: list[tuple[int, int, int, int]] = []
        self._table: SymbolTable | None = None
        self._memo: dict[int, tuple[str, int] | None] = {}

    def load(self, file: File, root: str = "") -> None:
        """Fill it from an open file, and from the separate files with its symbols.

        ``root`` is the root directory of the process that maps the file.
        """
        self._segments = [
            (segment.flags & PF_X, segment.offset, segment.filesz, segment.vaddr)
            for segment in file.segments
            if segment.type == PT_LOAD
        ]
        self._segments.sort(reverse=True)
        more = _more_files(file, self.path, root)
        try:
            self._table = SymbolTable.from_file(file, "code", *more)
            # An empty table is said to be one; it costs nothing to find out now.
            if not len(self._table):
                self.problem = "the file is stripped"
        finally:
            for each in more:
                each.close()

    def vaddr(self, offset: int) -> int | None:
        """Return the virtual address (as symbols have it) of a place in the file."""
        for _, start, size, vaddr in self._segments:
            if 0 <= offset - start < size:
                return offset - start + vaddr
        return None

    def resolve(self, offset: int) -> tuple[str, int] | None:
        """Return ``(name, distance)`` of the function at a place in the file, or ``None``."""
        if offset in self._memo:
            return self._memo[offset]
        address = self.vaddr(offset)
        found = None
        if address is not None and self._table is not None:
            found = self._table.resolve(address)
        if len(self._memo) >= _MEMO:
            self._memo.clear()
        self._memo[offset] = found
        return found


def _more_files(file: File, path: str, root: str) -> list[File]:
    # The files that have symbols which a stripped file has not.
    if any(section.type == SHT_SYMTAB for section in file.sections):
        return []
    found = find_debug_file(file, path, root=root)
    if found is not None:
        return [File(found)]
    inner = file.gnu_debugdata()
    return [] if inner is None else [inner]


class Modules:
    """A cache of modules, for as many processes as one likes."""

    __slots__ = ("_by_build_id", "_by_identity", "_limit")

    def __init__(self, limit: int = _MAX_MODULES) -> None:
        self._limit = limit
        self._by_identity: dict[tuple[int, int, int, int], Module] = {}
        self._by_build_id: dict[bytes, Module] = {}

    def __len__(self) -> int:
        return len(self._by_identity)

    def open(
        self, paths: Iterable[str], inode: int = 0, shown: str = "", root: str = ""
    ) -> Module | None:
        """Return the module of the first of some paths that is the right file.

        ``inode`` (0: any) tells the right one; ``shown`` is the path that the process sees, below
        its root directory ``root``. ``None`` when none of the paths leads to the file.
        """
        for path in paths:
            try:
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            except OSError:
                continue
            status = os.fstat(fd)
            if inode and status.st_ino != inode:
                os.close(fd)
                continue
            key = (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)
            module = self._by_identity.pop(key, None)
            if module is None:
                module = self._load(fd, shown or path, root)
            else:
                os.close(fd)
            self._keep(key, module)
            return module
        return None

    def by_build_id(
        self, build_id: bytes, directories: Sequence[str] = ("/usr/lib/debug",)
    ) -> Module | None:
        """Return the module with a build id: one seen before, or one a distribution links to."""
        module = self._by_build_id.get(build_id)
        if module is not None or len(build_id) < 2:
            return module
        digits = build_id.hex()
        names = [f"{each}/.build-id/{digits[:2]}/{digits[2:]}" for each in directories]
        module = self.open(names)
        return module if module is not None and module.build_id == build_id else None

    def _load(self, fd: int, path: str, root: str) -> Module:
        module = Module(path)
        try:
            with File(fd) as file:
                module.build_id = file.build_id
                if module.build_id in self._by_build_id:
                    return self._by_build_id[module.build_id]
                module.load(file, root)
        except (FormatError, OSError) as error:
            module.problem = str(error)
        return module

    def _keep(self, key: tuple[int, int, int, int], module: Module) -> None:
        self._by_identity[key] = module
        if module.build_id:
            self._by_build_id[module.build_id] = module
        while len(self._by_identity) > self._limit:
            # Dictionaries keep the order of insertion; whoever was used last stands last.
            gone = self._by_identity.pop(next(iter(self._by_identity)))
            if gone.build_id and gone not in self._by_identity.values():
                self._by_build_id.pop(gone.build_id, None)

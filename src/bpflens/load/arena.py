"""The memory of an arena map: mapped where its programs will believe it to be.

An arena has one address for all: the first mapping fixes it, and instructions that refer to
variables inside carry it. So it is mapped before any program is loaded, and stays mapped.

Example::

    with Arena(fd, pages=16) as arena:
        arena.write(0, b"initial values")
"""

from __future__ import annotations

from bpflens.kernel.memory import peek, poke
from bpflens.kernel.mmap import MAP_SHARED, PAGE_SIZE, PROT_READ, PROT_WRITE
from bpflens.kernel.syscall import syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

__all__ = ["Arena"]

_MAP_FIXED_NOREPLACE = 0x100000


class Arena:
    """``pages`` pages of the arena map ``fd``, at ``address`` (0: where the kernel likes)."""

    __slots__ = ("address", "size")

    def __init__(self, fd: int, pages: int, address: int = 0) -> None:
        self.size = pages * PAGE_SIZE
        flags = MAP_SHARED | (_MAP_FIXED_NOREPLACE if address else 0)
        self.address = syscall("mmap", address, self.size, PROT_READ | PROT_WRITE, flags, fd, 0)

    def read(self, offset: int, size: int) -> bytes:
        """Return ``size`` bytes from ``offset`` on; pages that were never written are zero."""
        self._check(offset, size)
        return peek(self.address + offset, size)

    def write(self, offset: int, data: bytes) -> None:
        """Store ``data`` at ``offset``."""
        self._check(offset, len(data))
        poke(self.address + offset, data)

    def _check(self, offset: int, size: int) -> None:
        if not self.address:
            raise ValueError("the arena is closed")
        if offset < 0 or offset + size > self.size:
            raise ValueError(f"{size} bytes at {offset} reach out of an arena of {self.size}")

    def close(self) -> None:
        """Unmap it (the map and its contents stay); a second call does nothing."""
        address, self.address = self.address, 0
        if address:
            syscall("munmap", address, self.size)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

"""Memory shared with the kernel: rings and mmapable maps.

Turns a descriptor into a memoryview. Positions are read with acquire and stored with release
order, so that what a ring holds is never read before the position that says it is there.
Invariants: a mapping is page aligned; after :meth:`Mapping.close` its views cannot be used, and
closing while somebody holds a view of it raises BufferError rather than leaving that view dangling.

Example::

    with Mapping(fd, 4096, PROT_READ | PROT_WRITE) as page:
        position = page.load(0)
        page.store(0, position + 8)
"""

from __future__ import annotations

import mmap as _mmap

from bpflens.kernel import syscall as _seam

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

__all__ = ["MAP_SHARED", "PAGE_SIZE", "PROT_READ", "PROT_WRITE", "Mapping"]

MAP_SHARED = _mmap.MAP_SHARED
PROT_READ = _mmap.PROT_READ
PROT_WRITE = _mmap.PROT_WRITE
PAGE_SIZE = _mmap.PAGESIZE

_STRONG = _seam.arch() in ("x86_64", "i686")


class Mapping:
    """``size`` bytes of ``fd`` from ``offset`` on, shared with the kernel.

    ``view`` is a memoryview of bytes; :meth:`words` one of 64-bit numbers. Read-only mappings
    give read-only views. The kernel's data area of a ring is mapped twice in a row by the kernel
    itself, so that a record that wraps around can be read in one piece.
    """

    __slots__ = ("_lock", "_map", "_words", "size", "view")

    def __init__(
        self, fd: int, size: int, prot: int = PROT_READ, offset: int = 0, *, what: str = ""
    ) -> None:
        try:
            self._map = _mmap.mmap(fd, size, flags=MAP_SHARED, prot=prot, offset=offset)
        except OSError as error:
            raise _explained(error, what or f"mmap of {size} bytes", prot) from None
        self.size = size
        self.view = memoryview(self._map)
        self._words = self.view[: size & ~7].cast("Q")
        self._lock = None if _STRONG else _new_lock()

    def words(self) -> memoryview[int]:
        """Return the mapping as 64-bit numbers in the machine's byte order."""
        return self._words

    def load(self, offset: int) -> int:
        """Return the 64-bit number at byte ``offset``; what follows is read after it."""
        value = self._words[offset >> 3]
        if self._lock is not None:
            self._fence()
        return value

    def store(self, offset: int, value: int) -> None:
        """Store a 64-bit number at byte ``offset``, after everything that was read before."""
        if self._lock is not None:
            self._fence()
        self._words[offset >> 3] = value

    def _fence(self) -> None:
        # x86 keeps loads in order, and a store behind earlier loads. Elsewhere two rounds of a
        # lock make a full barrier: a release followed by an acquire is never reordered, what
        # stands before the first release stays before it, what follows the second acquire after.
        lock = self._lock
        if lock is not None:
            for _ in range(2):
                lock.acquire()
                lock.release()

    def close(self) -> None:
        """Unmap; does nothing the second time."""
        if not self._map.closed:
            self._words.release()
            self.view.release()
            self._map.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


if TYPE_CHECKING:
    from typing import Protocol

    class _Lock(Protocol):
        def acquire(self) -> bool: ...
        def release(self) -> None: ...


def _new_lock() -> _Lock | None:
    import _thread

    return _thread.allocate_lock()


def _explained(error: OSError, what: str, prot: int) -> OSError:
    import errno

    from bpflens.errors import SyscallError

    cause = ""
    if error.errno == errno.EPERM:
        cause = "RLIMIT_MEMLOCK is too low, or the memory may not be mapped this way"
        if prot & PROT_WRITE:
            cause += " (writable)"
    elif error.errno == errno.EINVAL:
        cause = "size or offset is not what the kernel maps for this object"
    return SyscallError(error.errno or 0, what, cause)

"""Where the bytes of an ELF file come from: memory, or a file read piece by piece.

A file is read with pread(2), not mapped: mapping a file that somebody truncates kills the reader
with SIGBUS, and a tracer looks at files that other people replace. Every read is checked against
the size, and one read is limited, so that a sparse file cannot ask for all memory.

Example::

    source = open_source("/bin/true")
    source.read(0, 4)               # b'\\x7fELF'
"""

from __future__ import annotations

import os

from bpflens.errors import FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import mmap
    from os import PathLike

    Input = bytes | bytearray | memoryview | mmap.mmap | str | PathLike[str] | int

__all__ = ["MAX_READ", "Bytes", "Descriptor", "open_source"]

MAX_READ = 1 << 31


class Bytes:
    """A source in memory. ``size`` is its length, ``path`` is empty."""

    __slots__ = ("_view", "path", "size")

    def __init__(self, data: bytes | bytearray | memoryview | mmap.mmap) -> None:
        self._view = memoryview(data).cast("B")
        self.size = len(self._view)
        self.path = ""

    def read(self, offset: int, size: int) -> bytes:
        """Return ``size`` bytes at ``offset``; FormatError when they are not all there."""
        _check(self.size, offset, size)
        return bytes(self._view[offset : offset + size])

    def close(self) -> None:
        """Let go of the memory."""
        self._view.release()


class Descriptor:
    """A source in a file, given by path or by a descriptor that becomes ours."""

    __slots__ = ("_fd", "path", "size")

    def __init__(self, path: str | PathLike[str] | int) -> None:
        if isinstance(path, int):
            self._fd = path
            self.path = ""
        else:
            self.path = os.fspath(path)
            self._fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        self.size = os.fstat(self._fd).st_size

    def read(self, offset: int, size: int) -> bytes:
        """Return ``size`` bytes at ``offset``; FormatError when they are not all there."""
        _check(self.size, offset, size)
        parts = []
        while size:
            part = os.pread(self._fd, size, offset)
            if not part:
                raise FormatError("ELF file", "the file became shorter", f"offset {offset:#x}")
            parts.append(part)
            offset += len(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """Close the file; reading afterwards raises OSError."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        if getattr(self, "_fd", -1) >= 0:
            self.close()


def open_source(source: Input) -> Bytes | Descriptor:
    """Return the source for bytes-like data, a path, or an open file descriptor."""
    if isinstance(source, (str, int)) or hasattr(source, "__fspath__"):
        return Descriptor(source)
    return Bytes(source)


def _check(total: int, offset: int, size: int) -> None:
    if offset < 0 or size < 0 or offset + size > total:
        raise FormatError(
            "ELF file", f"{size} bytes do not fit in a file of {total}", f"offset {offset:#x}"
        )
    if size > MAX_READ:
        raise FormatError("ELF file", f"a part of {size} bytes is too large", f"offset {offset:#x}")

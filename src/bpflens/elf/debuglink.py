"""Where the symbols of a stripped file are: separate debug files and .gnu_debugdata.

The search order is gdb's: the build id below each debug directory, then the name in
.gnu_debuglink beside the file, in its ``.debug`` directory, and below each debug directory. A
candidate counts only if it is the right one: same build id, or the CRC-32 that the link carries.

It does not ask a debuginfod server.

Example::

    with File("/usr/bin/python3.11") as file:
        found = find_debug_file(file)     # '/usr/lib/debug/.build-id/57/1d98….debug' or None
"""

from __future__ import annotations

import os

from bpflens.elf.file import File
from bpflens.errors import FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["DEBUG_DIRECTORIES", "candidates", "find_debug_file", "unpack_debugdata"]

DEBUG_DIRECTORIES = ("/usr/lib/debug",)

# .gnu_debugdata holds names of functions only: a few megabytes for the largest programs.
_MAX_DEBUGDATA = 1 << 28


def candidates(
    file: File, path: str = "", directories: Sequence[str] = DEBUG_DIRECTORIES
) -> Iterator[str]:
    """Yield the paths at which the separate debug file may be, the best first.

    ``path`` is where the file is (its own path when empty).
    """
    build_id = file.build_id
    if build_id and len(build_id) > 1:
        digits = build_id.hex()
        for directory in directories:
            yield f"{directory}/.build-id/{digits[:2]}/{digits[2:]}.debug"
    link = file.debuglink
    name = os.path.basename(link[0]) if link else ""
    folder = os.path.dirname(os.path.realpath(path or file.path)) if path or file.path else ""
    if not name or not folder:
        return
    yield f"{folder}/{name}"
    yield f"{folder}/.debug/{name}"
    for directory in directories:
        yield f"{directory}{folder}/{name}"


def find_debug_file(
    file: File,
    path: str = "",
    directories: Sequence[str] = DEBUG_DIRECTORIES,
    root: str = "",
) -> str | None:
    """Return the path of the separate debug file that belongs to a file, or ``None``.

    ``root`` is put before every candidate: the root directory of another mount namespace.
    """
    build_id = file.build_id
    link = file.debuglink
    for candidate in candidates(file, path, directories):
        found = root + candidate
        if os.path.isfile(found) and _belongs(found, build_id, link[1] if link else None):
            return found
    return None


def _belongs(path: str, build_id: bytes | None, crc: int | None) -> bool:
    try:
        with File(path) as candidate:
            other = candidate.build_id
            if build_id and other:
                return build_id == other
            return crc is not None and crc == _crc32(candidate)
    except (OSError, FormatError):
        # A candidate that is not an ELF file is just not the one.
        return False


def _crc32(file: File) -> int:
    from zlib import crc32

    total = 0
    for offset in range(0, file.size, 1 << 20):
        total = crc32(file.read(offset, min(1 << 20, file.size - offset)), total)
    return total


def unpack_debugdata(data: bytes) -> bytes:
    """Return the ELF file compressed in .gnu_debugdata; FormatError if it is damaged or vast."""
    import lzma

    decompressor = lzma.LZMADecompressor(memlimit=_MAX_DEBUGDATA)
    try:
        result = decompressor.decompress(data, _MAX_DEBUGDATA)
    except lzma.LZMAError as error:
        raise FormatError("ELF file", f"damaged xz data: {error}", ".gnu_debugdata") from None
    if not decompressor.eof:
        raise FormatError("ELF file", "xz data is cut short or too large", ".gnu_debugdata")
    return result

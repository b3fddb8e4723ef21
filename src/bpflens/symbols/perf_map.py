"""/tmp/perf-PID.map: the functions that a just-in-time compiler made.

Takes the text (``START SIZE name`` in hexadecimal, one function a line) and resolves addresses.
Runtimes append to the file and reuse memory, so of two functions at one place the later wins.

The file is anybody's: like perf, it is believed only when root or the owner of the process wrote
it, and it is never followed through a symbolic link.

Example::

    PerfMap(b"7f00a0 40 LazyCompile:~handler\\n").resolve(0x7f00b0)   # ('LazyCompile:...', 16)
"""

from __future__ import annotations

import os
import stat
from bisect import bisect_right

__all__ = ["PerfMap", "read_perf_map"]

_MAX_SIZE = 256 << 20
# Functions that start before an address but end before it too, which are looked past.
_WALK = 64


class PerfMap:
    """The functions of one map file; ``size`` is how much of the file it was made from."""

    __slots__ = ("_entries", "_starts", "size")

    def __init__(self, text: bytes) -> None:
        self.size = len(text)
        latest: dict[int, tuple[int, bytes]] = {}
        for line in text.splitlines():
            words = line.split(None, 2)
            if len(words) == 3:
                try:
                    start, size = int(words[0], 16), int(words[1], 16)
                except ValueError:
                    # A line that the runtime is just writing, or one for another tool.
                    continue
                latest[start] = (size, words[2])
        self._starts = sorted(latest)
        self._entries = [latest[start] for start in self._starts]

    def __len__(self) -> int:
        return len(self._starts)

    def resolve(self, address: int) -> tuple[str, int] | None:
        """Return ``(name, distance)`` of the function that contains an address, or ``None``."""
        place = bisect_right(self._starts, address)
        for index in range(place - 1, max(-1, place - 1 - _WALK), -1):
            size, name = self._entries[index]
            distance = address - self._starts[index]
            if distance < size:
                return name.decode(errors="backslashreplace"), distance
        return None


def read_perf_map(path: str, owner: int, known_size: int = -1) -> PerfMap | None:
    """Read a map file; ``None`` when it is absent, not to be believed, or as large as known.

    ``owner`` is the user id of the process it describes.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_uid not in (0, owner):
            return None
        if status.st_size == known_size:
            return None
        return PerfMap(_read(fd, min(status.st_size, _MAX_SIZE)))
    finally:
        os.close(fd)


def _read(fd: int, size: int) -> bytes:
    parts = []
    while size and (part := os.read(fd, size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)

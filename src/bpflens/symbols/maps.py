"""/proc/PID/maps → mappings: what lies where in a process.

Takes the text of the file and gives slots objects in the order of addresses. Escaped newlines in
names are undone; the mark `` (deleted)`` becomes a flag.

Example::

    for mapping in parse_maps(b"7f00-7f10 r-xp 00002000 08:01 42  /usr/lib/libc.so.6\\n"):
        print(mapping.path, hex(mapping.file_offset(0x7f04)))     # ... 0x2004
"""

from __future__ import annotations

import os

__all__ = ["Mapping", "parse_maps"]


class Mapping:
    """One mapping: ``start`` ≤ address < ``end``, from ``offset`` of a file.

    ``path`` is a name in brackets for the kernel's own (``[vdso]``, ``[heap]``), and empty for
    anonymous memory; ``inode`` is 0 when there is no file.
    """

    __slots__ = ("deleted", "dev", "end", "executable", "inode", "offset", "path", "start")

    def __init__(
        self,
        start: int,
        end: int,
        executable: bool,
        offset: int,
        dev: int,
        inode: int,
        path: str,
        deleted: bool,
    ) -> None:
        self.start = start
        self.end = end
        self.executable = executable
        self.offset = offset
        self.dev = dev
        self.inode = inode
        self.path = path
        self.deleted = deleted

    def file_offset(self, address: int) -> int:
        """Return the place in the file of an address inside the mapping."""
        return address - self.start + self.offset

    def __repr__(self) -> str:
        return f"<Mapping {self.start:#x}-{self.end:#x} {self.path!r} offset={self.offset:#x}>"


def parse_maps(text: bytes) -> list[Mapping]:
    """Return the mappings that the text of a maps file describes."""
    return [_parse(line) for line in text.splitlines() if line]


def _parse(line: bytes) -> Mapping:
    span, flags, offset, dev, inode, *rest = line.split(None, 5)
    start, _, end = span.partition(b"-")
    major, _, minor = dev.partition(b":")
    path = rest[0].decode(errors="surrogateescape").replace("\\012", "\n") if rest else ""
    deleted = path.endswith(" (deleted)")
    return Mapping(
        int(start, 16),
        int(end, 16),
        b"x" in flags,
        int(offset, 16),
        os.makedev(int(major, 16), int(minor, 16)),
        int(inode),
        path.removesuffix(" (deleted)"),
        deleted,
    )

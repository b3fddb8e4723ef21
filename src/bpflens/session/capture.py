"""Packets that a script sends (``skboutput``), as files that packet analysers read.

A file is a pcap file of raw IP packets with times in nanoseconds.
"""

from __future__ import annotations

from struct import pack

__all__ = ["Capture"]

# https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-05.html: nanoseconds, version 2.4, raw IP.
_MAGIC, _MAJOR, _MINOR, _RAW_IP = 0xA1B23C4D, 2, 4, 101
_MOST = 65535


class Capture:
    """One file; the header is written when it is made."""

    __slots__ = ("_file",)

    def __init__(self, path: str) -> None:
        self._file = open(path, "wb")  # noqa: SIM115
        self._file.write(pack("<IHHiIII", _MAGIC, _MAJOR, _MINOR, 0, 0, _MOST, _RAW_IP))

    def write(self, wall_ns: int, whole: int, data: bytes) -> None:
        """Add a packet of ``whole`` bytes, of which ``data`` was kept."""
        seconds, rest = divmod(wall_ns, 1_000_000_000)
        self._file.write(pack("<IIII", seconds, rest, len(data), max(whole, len(data))) + data)

    def close(self) -> None:
        """Write what is left."""
        self._file.close()

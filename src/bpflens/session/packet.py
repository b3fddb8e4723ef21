"""Packets that ``skboutput()`` sends, written to capture files.

The format is the classic one of libpcap (draft-ietf-opsawg-pcap), nanoseconds, raw IP packets::

    u32 magic, u16 major, u16 minor, u32 zone, u32 accuracy, u32 snaplen, u32 linktype
    u32 seconds, u32 nanoseconds, u32 captured, u32 original; the bytes        for each packet

Example::

    with open("out.pcap", "wb") as file:
        file.write(HEADER + record(time_ns, len(data), data))
"""

from __future__ import annotations

from struct import pack

__all__ = ["HEADER", "record"]

_NANOSECOND_MAGIC = 0xA1B23C4D
_LINKTYPE_RAW = 101
_SNAPLEN = 65535
HEADER = pack("<IHHIIII", _NANOSECOND_MAGIC, 2, 4, 0, 0, _SNAPLEN, _LINKTYPE_RAW)


def record(wall_ns: int, length: int, data: bytes) -> bytes:
    """Return a packet seen at a time since 1970, ``length`` bytes long before it was cut."""
    seconds, rest = divmod(wall_ns, 1_000_000_000)
    return pack("<IIII", seconds, rest, len(data), max(length, len(data))) + data

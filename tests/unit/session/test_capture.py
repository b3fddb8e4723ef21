"""Capture files of packets."""

from __future__ import annotations

import struct

from bpflens.session.capture import Capture


def test_a_packet_behind_the_header(tmp_path):
    path = tmp_path / "packets.pcap"
    capture = Capture(str(path))
    capture.write(5_000_000_007, 100, b"abcd")
    capture.close()
    data = path.read_bytes()
    magic, major, minor, _, _, _, link = struct.unpack_from("<IHHiIII", data)
    assert (magic, major, minor, link) == (0xA1B23C4D, 2, 4, 101)
    assert struct.unpack_from("<IIII", data, 24) == (5, 7, 4, 100)
    assert data[40:] == b"abcd"

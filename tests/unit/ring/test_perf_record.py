"""Walking perf buffer bytes: samples, lost events, wrap and damage."""

from __future__ import annotations

import random
import struct

import pytest

from bpflens.errors import FormatError
from bpflens.ring.perf_record import HEADER, Tally, walk
from bpflens.ring.record import payloads

SAMPLE, LOST, COMM = 9, 2, 3


def _sample(payload: bytes, misc: int = 1) -> bytes:
    # The kernel pads so that length word and data together end on 8 bytes.
    padded = payload.ljust(((len(payload) + 4 + 7) & ~7) - 4, b"\0")
    return struct.pack("=IHHI", SAMPLE, misc, 12 + len(padded), len(padded)) + padded


def _lost(count: int) -> bytes:
    return struct.pack("=IHHQQ", LOST, 0, 24, 5, count)


def _walk(raw: bytes, length: int = 4096, tail: int = 0):
    area = bytearray(length)
    for index, byte in enumerate(raw):
        area[(tail + index) % length] = byte
    got: list[bytes] = []
    blocks: list[int] = []

    def handler(block, size, count):
        blocks.append(count)
        got.extend(bytes(part) for part in payloads(block, size, count, HEADER))

    tally = Tally()
    consumed = walk(memoryview(bytes(area)), tail, len(raw), handler, tally)
    return got, blocks, consumed, tally


def test_equal_samples_come_as_one_block():
    values = [struct.pack("=QI", index, 9) for index in range(50)]
    got, blocks, consumed, tally = _walk(b"".join(map(_sample, values)))
    assert got == values
    assert blocks == [50]
    assert consumed == 50 * 24 == tally.passed
    assert tally.records == 50


def test_lost_events_are_added_up():
    raw = _sample(b"1234") + _lost(17) + _sample(b"5678") + _lost(2)
    got, _, consumed, tally = _walk(raw)
    assert got == [b"1234", b"5678"]
    assert tally.lost == 19
    assert consumed == len(raw)


def test_wrapped_sample_is_joined():
    values = [struct.pack("=QI", index, 1) for index in range(10)]
    for tail in range(4096 - 40, 4096, 8):
        got, _, _, _ = _walk(b"".join(map(_sample, values)), tail=tail)
        assert got == values


def test_wrapped_lost_record_is_joined():
    _, _, consumed, tally = _walk(_lost(3), tail=4096 - 8)
    assert (consumed, tally.lost) == (24, 3)


def test_position_beyond_the_first_lap():
    got, _, _, _ = _walk(_sample(b"abcd"), tail=4096 * 5 + 4088)
    assert got == [b"abcd"]


def test_unknown_records_are_counted_and_passed_over():
    raw = struct.pack("=IHHQ", COMM, 0, 16, 0) + _sample(b"abcd")
    got, _, _, tally = _walk(raw)
    assert got == [b"abcd"]
    assert tally.unknown == 1


@pytest.mark.parametrize("seed", range(10))
def test_samples_of_any_sizes_keep_their_order(seed):
    rng = random.Random(seed)
    values = [rng.randbytes(rng.choice((4, 4, 12, 20, 36))) for _ in range(900)]
    raw = b"".join(_sample(value, rng.choice((1, 1, 2))) for value in values)
    got, _, _, _ = _walk(raw, length=1 << 16, tail=rng.randrange(0, 1 << 16, 8))
    assert got == values


@pytest.mark.parametrize("size", [0, 4, 12, 4088])
def test_impossible_record_size_is_damage(size):
    with pytest.raises(FormatError, match="perf buffer"):
        _walk(struct.pack("=IHHQ", SAMPLE, 0, size, 0))

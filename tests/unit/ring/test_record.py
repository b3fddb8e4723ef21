"""Walking ring buffer bytes: runs, flag bits, wrap, limits and damage."""

from __future__ import annotations

import random
import struct

import pytest

from bpflens.errors import FormatError
from bpflens.ring.record import Tally, payloads, stride, walk

BUSY, DISCARD = 1 << 31, 1 << 30


def _record(payload: bytes, flags: int = 0, page: int = 0) -> bytes:
    body = struct.pack("=II", len(payload) | flags, page) + payload
    return body.ljust(stride(len(payload)), b"\xaa")


def _walk(raw: bytes, size: int = 4096, start: int = 0, **options: int):
    """Lay `raw` into a doubled data area at `start` and collect the payloads handed out."""
    area = bytearray(size)
    for index, byte in enumerate(raw):
        area[(start + index) % size] = byte
    data = memoryview(bytes(area * 2))
    got: list[bytes] = []
    blocks: list[int] = []

    def handler(block: memoryview, size: int, count: int) -> None:
        blocks.append(count)
        got.extend(bytes(part) for part in payloads(block, size, count))

    tally = Tally()
    consumed = walk(data, data.cast("I"), start, len(raw), handler, tally, **options)
    return got, blocks, consumed, tally


def test_equal_records_come_as_one_block():
    records = [struct.pack("=QQI", index, 7, 3) for index in range(100)]
    got, blocks, consumed, tally = _walk(b"".join(map(_record, records)))
    assert got == records
    assert blocks == [100]
    assert consumed == 100 * 32 == tally.passed
    assert (tally.records, tally.payload) == (100, 2000)


def test_page_offsets_of_headers_do_not_end_a_run():
    raw = b"".join(_record(b"x" * 8, page=index) for index in range(20))
    assert _walk(raw)[1] == [20]


@pytest.mark.parametrize("seed", range(20))
def test_records_of_any_sizes_keep_their_order(seed):
    rng = random.Random(seed)
    records = []
    while sum(stride(len(record)) for record in records) < 60_000:
        size = rng.choice((0, 1, 7, 8, 9, 24, 33))
        records += [rng.randbytes(size) for _ in range(rng.choice((1, 1, 2, 9, 17, 100)))]
    raw = b"".join(map(_record, records))
    got, _, consumed, tally = _walk(raw, size=1 << 17, start=rng.randrange(0, 1 << 17, 8))
    assert got == records
    assert consumed == len(raw)
    assert tally.records == len(records)


def test_busy_record_ends_the_walk_before_it():
    raw = _record(b"one.") * 10 + _record(b"two.", BUSY) + _record(b"tri.")
    got, _, consumed, _ = _walk(raw)
    assert got == [b"one."] * 10
    assert consumed == 160


def test_busy_record_inside_what_would_be_a_long_run():
    raw = _record(b"abcdefgh") * 777 + _record(b"abcdefgh", BUSY) + _record(b"abcdefgh") * 200
    got, _, consumed, _ = _walk(raw, size=1 << 16)
    assert len(got) == 777
    assert consumed == 777 * 16


def test_discarded_records_are_passed_over_and_counted():
    raw = _record(b"a") + _record(b"junk", DISCARD) * 3 + _record(b"b")
    got, _, consumed, tally = _walk(raw)
    assert got == [b"a", b"b"]
    assert tally.discarded == 3
    assert consumed == len(raw)


def test_block_may_cross_the_end_of_the_area():
    records = [bytes([index]) * 16 for index in range(10)]
    got, blocks, _, _ = _walk(b"".join(map(_record, records)), start=4096 - 40)
    assert got == records
    assert blocks == [10]


def test_full_area_is_read_from_any_start():
    records = [struct.pack("=Q", index) for index in range(256)]
    for start in (0, 8, 2048, 4088):
        got, _, consumed, _ = _walk(b"".join(map(_record, records)), start=start)
        assert got == records
        assert consumed == 4096


def test_limit_lets_space_be_given_back_in_between():
    got, _, consumed, _ = _walk(_record(b"12345678") * 100, most=160)
    assert len(got) == 10
    assert consumed == 160


def test_single_record_larger_than_the_limit_still_passes():
    got, _, consumed, _ = _walk(_record(b"x" * 1000), most=8)
    assert len(got) == 1
    assert consumed == 1008


def test_record_longer_than_what_was_produced_is_damage():
    with pytest.raises(FormatError, match="4000 bytes where 16 are left"):
        _walk(struct.pack("=II", 4000, 0) + bytes(8))


def test_block_of_a_raising_handler_counts_as_passed():
    raw = _record(b"12345678") * 4 + _record(b"1")
    data = memoryview(raw + bytes(4096 - len(raw)) + raw)
    tally = Tally()

    def handler(block, size, count):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        walk(data, data.cast("I"), 0, len(raw), handler, tally)
    assert tally.passed == 64

"""Reading and writing whole maps, with batches and without, while they change."""

from __future__ import annotations

import itertools
import struct

import pytest

from bpflens.errors import Error, SyscallError
from bpflens.objects import batch
from bpflens.uapi import bpf as u
from fake_bpf import FakeBpf


def key(number):
    return struct.pack("=I", number)


def value(number):
    return struct.pack("=Q", number)


def filled(kernel, count):
    fd = kernel.add(max_entries=max(count, 1) * 2)
    kernel.maps[fd].entries = {key(n): value(n * n) for n in range(count)}
    return fd


def read(fd, entries=1 << 20):
    found = {}
    for keys, values, count in batch.blocks(fd, 4, 8, entries):
        assert (len(keys), len(values)) == (4 * count, 8 * count)
        found.update(zip(keys.cast("I"), values.cast("Q"), strict=True))
    return found


@pytest.mark.parametrize("batches", [True, False])
@pytest.mark.parametrize("count", [0, 1, 1000, 100_000])
def test_every_entry_is_read_once(batches, count):
    if not batches and count > 10_000:
        count = 5000  # more than one block, without a quadratic fake taking minutes
    kernel = FakeBpf(batches=batches)
    fd = filled(kernel, count)
    with kernel.installed():
        assert read(fd) == {n: n * n for n in range(count)}


def test_a_million_entries_take_few_calls():
    kernel = FakeBpf()
    fd = filled(kernel, 500_000)
    with kernel.installed():
        assert sum(count for _, _, count in batch.blocks(fd, 4, 8, 1 << 20)) == 500_000
    assert len(kernel.calls) < 10


def test_a_bucket_that_does_not_fit_makes_the_block_grow():
    kernel = FakeBpf(bucket=3000)
    fd = filled(kernel, 5000)
    with kernel.installed():
        assert len(read(fd, entries=300)) == 5000


def test_deleting_the_key_under_the_walk_loses_nothing_else():
    def deleting(kernel, command):
        # Each third step deletes the key that was just given.
        if command == u.BPF_MAP_LOOKUP_ELEM and kernel.calls.count(command) % 3 == 0:
            entries = kernel.maps[fd].entries
            last = kernel.calls.count(command) - 1
            entries.pop(key(last), None)

    kernel = FakeBpf(batches=False, before=deleting)
    fd = filled(kernel, 300)
    with kernel.installed():
        found = read(fd)
    assert set(found) >= {key for key in range(300) if key % 3 != 2}
    assert all(value == key * key for key, value in found.items())


def test_a_map_that_always_changes_ends_the_walk_with_an_error(monkeypatch):
    monkeypatch.setattr(batch, "_PASSED", 1000)
    fresh = itertools.count(1000)

    def churning(kernel, command):
        if command != u.BPF_MAP_GET_NEXT_KEY:
            return
        entries = kernel.maps[fd].entries
        for old in [k for k in list(entries) if k != key(0)]:
            del entries[old]
        entries[key(next(fresh) % 2 + 1)] = value(0)

    kernel = FakeBpf(batches=False, before=churning)
    fd = filled(kernel, 1)
    with kernel.installed(), pytest.raises(Error, match="faster than it can be read"):
        read(fd)


@pytest.mark.parametrize("batches", [True, False])
def test_taking_empties_the_map(batches):
    kernel = FakeBpf(batches=batches)
    fd = filled(kernel, 5000)
    with kernel.installed():
        taken = sum(count for _, _, count in batch.take(fd, 4, 8, 5000))
    assert taken == 5000
    assert not kernel.maps[fd].entries


@pytest.mark.parametrize("batches", [True, False])
def test_updates_arrive(batches):
    kernel = FakeBpf(batches=batches)
    fd = kernel.add()
    keys, values = key(1) + key(2), value(10) + value(20)
    with kernel.installed():
        batch.update(fd, keys, values, 4, 8, 2)
    assert kernel.maps[fd].entries == {key(1): value(10), key(2): value(20)}


@pytest.mark.parametrize("batches", [True, False])
def test_a_full_map_stops_an_update(batches):
    kernel = FakeBpf(batches=batches)
    fd = kernel.add(max_entries=1)
    with kernel.installed(), pytest.raises(SyscallError, match="the map is full"):
        batch.update(fd, key(1) + key(2), value(1) + value(2), 4, 8, 2)


@pytest.mark.parametrize("batches", [True, False])
def test_deleting_passes_over_keys_that_are_not_there(batches):
    kernel = FakeBpf(batches=batches)
    fd = filled(kernel, 10)
    with kernel.installed():
        deleted = batch.delete(fd, b"".join(key(n) for n in (1, 77, 2, 88, 99, 3)), 4, 6)
    assert deleted == 3
    assert len(kernel.maps[fd].entries) == 7

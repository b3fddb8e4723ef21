"""A map is like a dict, and checks sizes before the kernel is told an address."""

from __future__ import annotations

import struct

import pytest

from bpflens.kernel import cpu
from bpflens.objects.map import Map
from bpflens.uapi.bpf import BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_PERCPU_HASH
from fake_bpf import FakeBpf


class Held(Map):
    # The descriptors of the fake belong to nobody.
    def __del__(self):
        self._fd = -1


@pytest.fixture
def kernel():
    fake = FakeBpf()
    with fake.installed():
        yield fake


@pytest.fixture
def counts(kernel):
    return Held(kernel.add(name="counts"), key="I", value="Q")


def test_entries_are_stored_found_and_deleted(counts):
    counts[1] = 10
    assert counts[1] == 10
    assert 1 in counts
    assert 2 not in counts
    assert len(counts) == 1
    del counts[1]
    with pytest.raises(KeyError):
        counts[1]
    with pytest.raises(KeyError):
        del counts[1]


def test_defaults_are_given_for_what_is_not_there(counts):
    assert counts.get(5) is None
    assert counts.get(5, 7) == 7


def test_many_entries_are_stored_and_walked(counts):
    counts.update({n: n * 2 for n in range(100)})
    assert dict(counts.items()) == {n: n * 2 for n in range(100)}
    assert sorted(counts) == list(range(100))
    assert sum(counts.values()) == 9900
    counts.clear()
    assert not list(counts)


def test_an_empty_map_is_true(counts):
    assert counts


def test_all_of_it_comes_as_two_blocks(counts):
    counts.update([(1, 10), (2, 20)])
    assert counts.read_all() == (struct.pack("=2I", 1, 2), struct.pack("=2Q", 10, 20))
    assert next(counts.items_raw()) == (struct.pack("=I", 1), struct.pack("=Q", 10))
    assert counts.delete_batch(struct.pack("=2I", 1, 9)) == 1


def test_wrong_sizes_never_reach_the_kernel(counts, kernel):
    del kernel.calls[:]
    with pytest.raises(ValueError, match="a key of 3 bytes for map 'counts'"):
        counts.lookup_raw(b"abc")
    with pytest.raises(ValueError, match="7 bytes for map 'counts'"):
        counts.update_raw(bytes(4), bytes(7))
    with pytest.raises(ValueError, match="5 bytes are no keys of 4"):
        counts.delete_batch(bytes(5))
    with pytest.raises(ValueError, match="1 bytes of values for 1 keys"):
        counts.update_batch(bytes(4), bytes(1))
    assert not kernel.calls


def test_a_per_cpu_value_is_a_list_of_rounded_values(kernel, monkeypatch):
    monkeypatch.setattr(cpu, "_possible", [0, 1, 2])
    fd = kernel.add(BPF_MAP_TYPE_PERCPU_HASH, value_size=4, stride=24)
    counts = Held(fd, key="I", value="I")
    assert counts.stride == 24
    counts[1] = [1, 2, 3]
    assert kernel.maps[fd].entries[struct.pack("=I", 1)] == struct.pack("=6I", 1, 0, 2, 0, 3, 0)
    assert counts[1] == [1, 2, 3]
    counts[2] = 9
    assert counts[2] == [9, 9, 9]
    with pytest.raises(ValueError, match="2 values for 3 possible CPUs"):
        counts[3] = [1, 2]


def test_an_array_is_as_long_as_it_was_made(kernel):
    assert len(Held(kernel.add(BPF_MAP_TYPE_ARRAY, max_entries=7))) == 7


def test_raw_bytes_are_kept_without_types(kernel):
    raw = Held(kernel.add())
    raw[b"abcd"] = b"12345678"
    assert raw[b"abcd"] == b"12345678"
    assert list(raw.items()) == [(b"abcd", b"12345678")]


def test_a_closed_map_refuses_instead_of_using_anothers_descriptor(counts):
    counts._fd = -1
    with pytest.raises(ValueError, match="closed"):
        counts[1]

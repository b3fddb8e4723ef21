"""Every bpf(2) command on maps, on the running kernel."""

from __future__ import annotations

import errno
import struct

import pytest

from bpflens.errors import SyscallError
from bpflens.kernel import bpf, info
from bpflens.kernel.memory import Buffer
from bpflens.uapi.bpf import (
    BPF_EXIST,
    BPF_F_MMAPABLE,
    BPF_MAP_TYPE_ARRAY,
    BPF_MAP_TYPE_HASH,
    BPF_MAP_TYPE_QUEUE,
    BPF_NOEXIST,
)

pytestmark = pytest.mark.kernel


def u32(*values):
    return struct.pack(f"={len(values)}I", *values)


def u64(*values):
    return struct.pack(f"={len(values)}Q", *values)


@pytest.fixture
def hash_map(close_all):
    fd = bpf.map_create(BPF_MAP_TYPE_HASH, 4, 8, 16, name="test_hash")
    close_all(fd)
    return fd


def test_an_entry_is_stored_found_and_deleted(hash_map):
    value = Buffer(8)
    assert not bpf.map_lookup_elem(hash_map, u32(1), value)
    bpf.map_update_elem(hash_map, u32(1), u64(42))
    assert bpf.map_lookup_elem(hash_map, u32(1), value)
    assert bytes(value) == u64(42)
    assert bpf.map_delete_elem(hash_map, u32(1))
    assert not bpf.map_delete_elem(hash_map, u32(1))


def test_update_flags_are_obeyed_and_explained(hash_map):
    with pytest.raises(SyscallError) as caught:
        bpf.map_update_elem(hash_map, u32(1), u64(1), BPF_EXIST)
    assert caught.value.errno == errno.ENOENT
    bpf.map_update_elem(hash_map, u32(1), u64(1))
    with pytest.raises(SyscallError, match="the key is there already"):
        bpf.map_update_elem(hash_map, u32(1), u64(1), BPF_NOEXIST)


def test_a_full_map_says_so(hash_map):
    for key in range(16):
        bpf.map_update_elem(hash_map, u32(key), u64(key))
    with pytest.raises(SyscallError, match=r"E2BIG.*the map is full.*max_entries"):
        bpf.map_update_elem(hash_map, u32(99), u64(0))


def test_keys_are_walked_to_the_end(hash_map):
    for key in (3, 1, 2):
        bpf.map_update_elem(hash_map, u32(key), u64(key))
    following, found, key = Buffer(4), [], None
    while bpf.map_get_next_key(hash_map, key, following):
        key = bytes(following)
        found.append(int.from_bytes(key, "little"))
    assert sorted(found) == [1, 2, 3]


def test_lookup_and_delete_takes_the_value(hash_map):
    bpf.map_update_elem(hash_map, u32(5), u64(50))
    value = Buffer(8)
    assert bpf.map_lookup_and_delete_elem(hash_map, u32(5), value)
    assert bytes(value) == u64(50)
    assert not bpf.map_lookup_and_delete_elem(hash_map, u32(5), value)


def test_a_queue_needs_no_key(close_all):
    fd = bpf.map_create(BPF_MAP_TYPE_QUEUE, 0, 4, 4)
    close_all(fd)
    for number in (1, 2):
        bpf.map_update_elem(fd, b"", u32(number))
    value = Buffer(4)
    assert bpf.map_lookup_elem(fd, b"", value)
    assert bytes(value) == u32(1)
    assert bpf.map_lookup_and_delete_elem(fd, b"", value)
    assert bpf.map_lookup_and_delete_elem(fd, b"", value)
    assert bytes(value) == u32(2)
    assert not bpf.map_lookup_elem(fd, b"", value)


def test_the_last_batch_counts_and_ends_with_enoent(hash_map):
    assert bpf.map_update_batch(hash_map, u32(1, 2, 3), u64(1, 2, 3), 3) == (3, 0)
    there, keys, values = Buffer(8), Buffer(64), Buffer(128)
    count, error = bpf.map_lookup_batch(hash_map, None, there, keys, values, 16)
    assert (count, error) == (3, errno.ENOENT)
    pairs = zip(keys.view.cast("I")[:3], values.view.cast("Q")[:3], strict=True)
    assert sorted(pairs) == [(1, 1), (2, 2), (3, 3)]


def test_a_batch_takes_and_deletes(hash_map):
    bpf.map_update_batch(hash_map, u32(1, 2, 3), u64(1, 2, 3), 3)
    assert bpf.map_delete_batch(hash_map, u32(1), 1) == (1, 0)
    there, keys, values = Buffer(8), Buffer(64), Buffer(128)
    count, error = bpf.map_lookup_and_delete_batch(hash_map, None, there, keys, values, 16)
    assert (count, error) == (2, errno.ENOENT)
    assert not bpf.map_get_next_key(hash_map, None, Buffer(4))


def test_arrays_have_no_batch_delete(close_all):
    fd = bpf.map_create(BPF_MAP_TYPE_ARRAY, 4, 8, 4)
    close_all(fd)
    assert bpf.map_delete_batch(fd, u32(0), 1) == (0, bpf.ENOTSUPP)


def test_a_frozen_map_is_read_only(close_all):
    fd = bpf.map_create(BPF_MAP_TYPE_ARRAY, 4, 8, 1)
    close_all(fd)
    bpf.map_freeze(fd)
    with pytest.raises(SyscallError, match="frozen"):
        bpf.map_update_elem(fd, u32(0), u64(1))


def test_names_are_made_acceptable(close_all):
    fd = bpf.map_create(BPF_MAP_TYPE_ARRAY, 4, 8, 1, name="a name/too-long for the kernel")
    close_all(fd)
    assert info.map_info(fd).name == "a_name_too_long"


def test_a_wrong_map_type_is_explained(errno_of):
    with pytest.raises(SyscallError, match=r"BPF_MAP_CREATE type 200 'x': .*EINVAL"):
        bpf.map_create(200, 4, 4, 1, name="x")


def test_info_has_every_field_that_was_given(close_all):
    fd = bpf.map_create(BPF_MAP_TYPE_ARRAY, 4, 24, 7, name="fields", flags=BPF_F_MMAPABLE)
    close_all(fd)
    found = info.map_info(fd)
    assert (found.type, found.key_size, found.value_size) == (BPF_MAP_TYPE_ARRAY, 4, 24)
    assert (found.max_entries, found.map_flags, found.name) == (7, BPF_F_MMAPABLE, "fields")
    assert found.id > 0


def test_a_map_is_found_by_its_id(hash_map, close_all):
    id = info.map_info(hash_map).id
    assert bpf.map_get_next_id(id - 1) == id
    again = bpf.map_get_fd_by_id(id)
    close_all(again)
    assert info.map_info(again).id == id


def test_an_id_that_is_not_there_is_enoent():
    with pytest.raises(SyscallError, match="no such object") as caught:
        bpf.map_get_fd_by_id(2**31 - 2)
    assert caught.value.errno == errno.ENOENT
    assert bpf.map_get_next_id(2**31 - 2) is None

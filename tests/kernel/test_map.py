"""The Map class on the running kernel: every type, typed and raw, single and in blocks."""

from __future__ import annotations

import errno
import os
import struct
import threading

import pytest

from bpflens.errors import NotFound, SyscallError
from bpflens.kernel import cpu, feature
from bpflens.objects import batch
from bpflens.objects.btf import Btf
from bpflens.objects.map import Map
from bpflens.spec import MapSpec
from bpflens.uapi import bpf as u

pytestmark = pytest.mark.kernel

HASHES = ("hash", "percpu_hash", "lru_hash", "lru_percpu_hash")


def u32(*values):
    return struct.pack(f"={len(values)}I", *values)


@pytest.mark.parametrize("type", HASHES)
def test_all_entries_of_a_hash_are_read_in_blocks(type):
    with Map.create(type, key="I", value="Q", max_entries=20_000) as counts:
        counts.update({n: n * 3 for n in range(10_000)})
        wanted = {n: n * 3 for n in range(10_000)}
        if counts.per_cpu:
            wanted = {n: [v] * cpu.possible_count() for n, v in wanted.items()}
        assert dict(counts.items()) == wanted
        assert counts.delete_batch(u32(*range(5_000), 99_999)) == 5_000
        taken = sum(count for _, _, count in counts.take_blocks())
        assert taken == 5_000
        assert len(counts) == 0


@pytest.mark.parametrize("type", ["array", "percpu_array"])
def test_an_array_is_read_written_and_cleared(type):
    with Map.create(type, key="I", value="I", max_entries=300) as slots:
        slots.update((n, n) for n in range(300))
        one = 299 if type == "array" else [299] * cpu.possible_count()
        assert slots[299] == one
        assert len(list(slots.items())) == 300
        slots.clear()
        assert not any(slots.read_all()[1])


def test_a_trie_is_walked_and_taken():
    with Map.create("lpm_trie", key_size=8, value="I", max_entries=8,
                    flags=u.BPF_F_NO_PREALLOC) as routes:  # fmt: skip
        key = u32(24) + bytes((10, 0, 0, 0))
        routes[key] = 7
        assert routes[u32(32) + bytes((10, 0, 0, 9))] == 7
        assert list(routes.items()) == [(key, 7)]
        assert [bytes(keys) for keys, _, _ in routes.take_blocks()] == [key]
        assert len(routes) == 0


def test_values_of_a_queue_and_a_stack_leave_in_their_order():
    for type, order in (("queue", [1, 2]), ("stack", [2, 1])):
        with Map.create(type, value="I", max_entries=4) as held:
            held.push(1)
            held.push(2)
            assert held.peek() == order[0]
            assert [held.take_one(), held.take_one()] == order
            with pytest.raises(KeyError):
                held.take_one()
            with pytest.raises(KeyError):
                held.peek()


def test_a_bloom_filter_answers():
    with Map.create("bloom_filter", value="I", max_entries=100) as seen:
        seen.push(5)
        assert seen.may_contain(5)
        assert not all(seen.may_contain(n) for n in range(1000, 1100))


def test_a_full_queue_pushes_out_its_oldest():
    with Map.create("queue", value="I", max_entries=2) as held:
        held.push(1)
        held.push(2)
        with pytest.raises(SyscallError, match="E2BIG"):
            held.push(3)
        held.push(3, flags=u.BPF_EXIST)
        assert held.peek() == 2


def test_a_map_of_maps_takes_maps_and_gives_ids():
    with (
        Map.create("array", key_size=4, value_size=8) as inner,
        Map.create("hash_of_maps", key="I", value_size=4, max_entries=2, inner=inner) as outer,
    ):
        outer[1] = inner
        assert int.from_bytes(outer[1], "little") == inner.id
        assert list(outer.keys()) == [1]


def test_a_program_array_takes_programs(return_0):
    from bpflens.objects.program import Program

    with (
        Map.create("prog_array", key="I", value="I", max_entries=2) as table,
        Program.load("socket_filter", return_0) as program,
    ):
        table[1] = program
        assert dict(table.items()) == {1: program.id}
        assert 0 not in table
        del table[1]


def test_noexist_and_exist_are_obeyed():
    with Map.create("hash", key="I", value="I", max_entries=2) as counts:
        with pytest.raises(SyscallError, match="ENOENT"):
            counts.store(1, 1, flags=u.BPF_EXIST)
        counts.store(1, 1, flags=u.BPF_NOEXIST)
        with pytest.raises(SyscallError, match="EEXIST"):
            counts.store(1, 2, flags=u.BPF_NOEXIST)


def test_pop_takes_the_value_out():
    with Map.create("hash", key="I", value="I", max_entries=2) as counts:
        counts[1] = 5
        assert counts.pop(1) == 5
        assert counts.pop(1, None) is None
        with pytest.raises(KeyError):
            counts.pop(1)


def test_a_map_outlives_its_handle_by_a_pin(bpffs):
    with Map.create("hash", key="I", value="I", max_entries=2, name="kept") as counts:
        counts[1] = 5
        counts.pin(f"{bpffs}/kept")
        id = counts.id
    with Map.from_pin(f"{bpffs}/kept") as again:
        assert again.id == id
        assert again[u32(1)] == u32(5)
    with Map.from_pin(f"{bpffs}/kept", open_flags=u.BPF_F_RDONLY) as reader:
        with pytest.raises(SyscallError, match="EPERM"):
            reader[u32(1)] = 1
        assert reader[u32(1)] == u32(5)


def test_a_map_is_found_by_name_or_its_neighbours_are_named():
    with Map.create("array", key_size=4, value_size=4, name="bpflens_unique_") as made:
        with Map.by_name("bpflens_unique_name") as found:
            assert found.id == made.id
        with pytest.raises(NotFound, match="did you mean bpflens_unique_"):
            Map.by_name("bpflens_uniqe_")


def test_a_spec_becomes_a_map_with_its_contents():
    inner = MapSpec("inner", u.BPF_MAP_TYPE_ARRAY, 4, 4, 1)
    spec = MapSpec("spec", u.BPF_MAP_TYPE_ARRAY, 4, 8, 3, contents=[(u32(1), bytes(range(8)))],
                   freeze=True)  # fmt: skip
    with Map.create(spec) as made:
        assert made.lookup_raw(u32(1)) == bytes(range(8))
        assert made.fdinfo()["frozen"] == "1"
    with Map.create(MapSpec("outer", u.BPF_MAP_TYPE_ARRAY_OF_MAPS, 4, 4, 1, inner=inner)) as outer:
        assert outer.type_name == "array_of_maps"


def test_an_mmapable_array_is_seen_in_memory():
    with (
        Map.create("array", key="I", value="Q", max_entries=10, flags=u.BPF_F_MMAPABLE) as shared,
        shared.mmap() as memory,
    ):
        memory.store(8 * 3, 77)
        assert shared[3] == 77
        shared[4] = 88
        assert memory.load(8 * 4) == 88


def test_btf_types_keys_and_values():
    names = b"\0int\0u64\0"
    types = struct.pack("=4I", 1, 1 << 24, 4, 32) + struct.pack("=4I", 5, 1 << 24, 8, 64)
    header = struct.pack("=HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(names))
    with (
        Btf.load(header + types + names) as btf,
        Map.create(
            "hash", key_size=4, value_size=8, max_entries=4, btf_fd=btf.fd, btf_key_type_id=1,
            btf_value_type_id=2,
        ) as typed,
    ):  # fmt: skip
        typed[1] = 1 << 40
        assert typed[1] == 1 << 40
        assert list(typed.items()) == [(1, 1 << 40)]
    with Map.create("hash", key_size=4, value_size=8, max_entries=4) as raw:
        assert raw.btf() is None


@pytest.mark.parametrize("number", range(1, len(u.MAP_TYPE_NAMES)))
def test_the_shapes_that_probes_use_are_accepted(number):
    feature.map_type(number).require()


def test_a_bucket_larger_than_a_block_is_read(monkeypatch):
    # One bucket holds every entry of a map of one bucket; a block of one entry must grow.
    monkeypatch.setattr(batch, "_BLOCK_BYTES", 1)
    with Map.create("hash", key="I", value="I", max_entries=5000) as counts:
        counts.update((n, n) for n in range(5000))
        assert len(counts) == 5000


def test_entries_deleted_while_walking_key_by_key_do_no_harm():
    with Map.create("hash", key="I", value="I", max_entries=1000) as counts:
        counts.update((n, n) for n in range(1000))
        seen = []
        for key in batch.keys(counts.fd, 4):
            seen.append(int.from_bytes(key, "little"))
            del counts[key]
        assert sorted(seen) == list(range(1000))


def test_a_frozen_map_refuses_writes():
    with Map.create("array", key="I", value="I", max_entries=1) as slots:
        slots.freeze()
        with pytest.raises(SyscallError, match="frozen") as caught:
            slots[0] = 1
        assert caught.value.errno == errno.EPERM


def test_closing_ends_the_map():
    counts = Map.create("array", key="I", value="I")
    id = counts.id
    fd = counts.release()
    assert counts.closed
    os.close(fd)
    with pytest.raises(SyscallError):
        Map.from_id(id)


def test_structs_are_dicts_where_btf_says_so():
    # struct pair { int a; char name[12]; };
    names = b"\0int\0char\0pair\0a\0name\0"
    at = {name: names.index(b"\0" + name + b"\0") + 1 for name in names.split(b"\0") if name}
    types = (
        struct.pack("=4I", at[b"int"], 1 << 24, 4, 1 << 24 | 32)
        + struct.pack("=4I", at[b"char"], 1 << 24, 1, 1 << 24 | 8)
        + struct.pack("=6I", 0, 3 << 24, 0, 2, 1, 12)
        + struct.pack("=3I", at[b"pair"], 4 << 24 | 2, 16)
        + struct.pack("=3I", at[b"a"], 1, 0)
        + struct.pack("=3I", at[b"name"], 3, 32)
    )
    header = struct.pack("=HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(names))
    with (
        Btf.load(header + types + names) as btf,
        Map.create(
            "hash", key_size=4, value_size=16, max_entries=4, btf_fd=btf.fd, btf_key_type_id=1,
            btf_value_type_id=4,
        ) as people,
    ):  # fmt: skip
        people[1] = {"a": -5, "name": "someone"}
        assert people[1] == {"a": -5, "name": "someone"}
        assert people.lookup_raw(u32(1)) == struct.pack("=i12s", -5, b"someone")


def test_threads_share_a_map_without_mixing_values():
    with Map.create("hash", key="I", value="Q", max_entries=64) as shared:
        wrong = []

        def work(own):
            for round in range(300):
                shared[own] = own * 1000 + round
                if shared[own] != own * 1000 + round:
                    wrong.append(own)

        threads = [threading.Thread(target=work, args=(own,)) for own in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong
        assert dict(shared.items()) == {own: own * 1000 + 299 for own in range(8)}


def test_an_arena_is_memory_of_both_sides():
    feature.feature("arena").require()
    with (
        Map.create("arena", key_size=0, value_size=0, max_entries=4, flags=u.BPF_F_MMAPABLE) as m,
        m.mmap() as memory,
    ):
        memory.store(0, 5)
        assert memory.load(0) == 5

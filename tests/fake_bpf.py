"""A kernel for unit tests: bpf(2) on maps that are dicts, put in the place of the real seam.

Only what the map commands need. ``batches`` switches batch commands off, as in an old kernel;
``bucket`` makes a hash map refuse batches smaller than its fullest bucket; ``before`` is called
with the name of each command, and may change the maps as a concurrent program would.
"""

from __future__ import annotations

import errno
import struct

from bpflens.kernel import map_command, object_command, syscall
from bpflens.kernel.memory import peek, poke
from bpflens.uapi import bpf as u

ENOTSUPP = 524


class FakeMap:
    def __init__(self, type, key_size, value_size, max_entries, name="", stride=0):
        self.type = type
        self.key_size = key_size
        self.value_size = value_size
        self.stride = stride or value_size
        self.max_entries = max_entries
        self.name = name
        self.entries = {}


class FakeBpf:
    def __init__(self, *, batches=True, bucket=1, before=None):
        self.batches = batches
        self.bucket = bucket
        self.before = before
        self.maps = {}
        self.calls = []
        self._next_fd = 1000

    def add(self, type=u.BPF_MAP_TYPE_HASH, key_size=4, value_size=8, max_entries=1 << 20, **more):
        self._next_fd += 1
        self.maps[self._next_fd] = FakeMap(type, key_size, value_size, max_entries, **more)
        return self._next_fd

    def installed(self):
        return syscall.set_syscall(self)

    def __call__(self, number, command=0, address=0, size=0, *_):
        assert number == syscall.number("bpf"), f"system call {number} is not faked"
        name = u.CMD_NAMES[command] if isinstance(u.CMD_NAMES, tuple) else str(command)
        self.calls.append(command)
        if self.before is not None:
            self.before(self, command)
        handler = _HANDLERS.get(command)
        assert handler is not None, f"bpf command {name} is not faked"
        return handler(self, address)

    # --- one entry ---

    def _element(self, address):
        fd, key, value, flags = map_command._A_ELEM.unpack(peek(address, 32))
        found = self.maps[fd]
        return found, peek(key, found.key_size) if key else None, value, flags

    def lookup(self, address):
        found, key, value, _ = self._element(address)
        if key not in found.entries:
            return -errno.ENOENT
        poke(value, found.entries[key])
        return 0

    def update(self, address):
        found, key, value, _ = self._element(address)
        if key not in found.entries and len(found.entries) >= found.max_entries:
            return -errno.E2BIG
        found.entries[key] = peek(value, found.stride)
        return 0

    def delete(self, address):
        found, key, _, _ = self._element(address)
        return 0 if found.entries.pop(key, None) is not None else -errno.ENOENT

    def next_key(self, address):
        found, key, value, _ = self._element(address)
        keys = list(found.entries)
        at = keys.index(key) + 1 if key in found.entries else 0
        if at >= len(keys):
            return -errno.ENOENT
        poke(value, keys[at])
        return 0

    # --- batches ---

    def _batch(self, address):
        fields = map_command._A_BATCH.unpack(peek(address, 56))
        return self.maps[fields[5]], fields

    def _done(self, address, count, error):
        poke(address + 32, struct.pack("=I", count))
        return -error

    def lookup_batch(self, address, delete=False):
        found, (cursor, following, keys, values, room, *_) = self._batch(address)
        if not self.batches:
            return -errno.EINVAL
        if room < self.bucket:
            return self._done(address, 0, errno.ENOSPC)
        start = struct.unpack("=I", peek(cursor, 4))[0] if cursor else 0
        entries = list(found.entries.items())[start:]
        for number, (key, value) in enumerate(entries[:room]):
            poke(keys + number * found.key_size, key)
            poke(values + number * found.stride, value)
            if delete:
                del found.entries[key]
        poke(following, struct.pack("=I", 0 if delete else start + room))
        return self._done(address, len(entries[:room]), errno.ENOENT * (len(entries) <= room))

    def lookup_and_delete_batch(self, address):
        return self.lookup_batch(address, delete=True)

    def update_batch(self, address):
        found, (_, _, keys, values, count, *_) = self._batch(address)
        if not self.batches:
            return -errno.EINVAL
        for number in range(count):
            key = peek(keys + number * found.key_size, found.key_size)
            if key not in found.entries and len(found.entries) >= found.max_entries:
                return self._done(address, number, errno.E2BIG)
            found.entries[key] = peek(values + number * found.stride, found.stride)
        return self._done(address, count, 0)

    def delete_batch(self, address):
        found, (_, _, keys, _, count, *_) = self._batch(address)
        if not self.batches:
            return -errno.EINVAL
        for number in range(count):
            key = peek(keys + number * found.key_size, found.key_size)
            if found.entries.pop(key, None) is None:
                return self._done(address, number, errno.ENOENT)
        return self._done(address, count, 0)

    # --- info ---

    def info(self, address):
        fd, length, where = object_command._A_INFO.unpack(peek(address, 16))
        found = self.maps[fd]
        head = struct.pack(
            "=6I16s", found.type, fd, found.key_size, found.value_size, found.max_entries, 0,
            found.name.encode(),
        )  # fmt: skip
        poke(where, head.ljust(length, b"\0")[:length])
        return 0


_HANDLERS = {
    u.BPF_MAP_LOOKUP_ELEM: FakeBpf.lookup,
    u.BPF_MAP_UPDATE_ELEM: FakeBpf.update,
    u.BPF_MAP_DELETE_ELEM: FakeBpf.delete,
    u.BPF_MAP_GET_NEXT_KEY: FakeBpf.next_key,
    u.BPF_MAP_LOOKUP_BATCH: FakeBpf.lookup_batch,
    u.BPF_MAP_LOOKUP_AND_DELETE_BATCH: FakeBpf.lookup_and_delete_batch,
    u.BPF_MAP_UPDATE_BATCH: FakeBpf.update_batch,
    u.BPF_MAP_DELETE_BATCH: FakeBpf.delete_batch,
    u.BPF_OBJ_GET_INFO_BY_FD: FakeBpf.info,
}

"""Maps read, written and emptied in blocks, key by key where the kernel has no batches.

Turns a map's descriptor and sizes into blocks of raw keys and raw values: a million entries are a
few dozen system calls and no Python object each. Invariants: every key that was in the map during
the whole walk is given once; a walk key by key survives that the key it stands on is deleted, and
ends even if that happens for ever.

``stride`` is what one value takes: the value size, for per-CPU maps rounded up to 8 bytes times
the number of possible CPUs.

Example::

    for keys, values, count in blocks(fd, map_type, 4, 8, max_entries=1 << 20):
        total += sum(values.cast("Q"))
"""

from __future__ import annotations

import errno

from bpflens.errors import Error
from bpflens.kernel import map_command as _maps
from bpflens.kernel.command import ENOTSUPP, failure
from bpflens.kernel.memory import Buffer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    _Read = Callable[..., tuple[int, int]]
    Block = tuple[memoryview, memoryview, int]

__all__ = ["blocks", "delete", "keys", "take", "update"]

# What says "no batches here": not in this kernel (EINVAL, before 5.6), not for this map type.
_NO_BATCH = frozenset((errno.EINVAL, errno.EOPNOTSUPP, ENOTSUPP))

_BLOCK_BYTES = 1 << 20  # of keys and values together: large enough to forget the call
_ONE_BY_ONE = 4096  # entries in a block that was read key by key
_RETRIES = 1000
_PASSES, _PASSED = 10, 100_000  # how long a walk key by key may go over what it has seen


def blocks(
    fd: int, key_size: int, stride: int, max_entries: int, *, flags: int = 0
) -> Iterator[Block]:
    """Yield ``(keys, values, count)``: memoryviews that are valid until the next block."""
    read = _Reader(fd, key_size, stride, max_entries, flags, _maps.map_lookup_batch)
    if read.supported:
        return iter(read)
    return _one_by_one(fd, key_size, stride, flags)


def take(fd: int, key_size: int, stride: int, max_entries: int) -> Iterator[Block]:
    """As :func:`blocks`, and delete what was given.

    In one step where the map type allows, so that no update between reading and deleting is
    lost; elsewhere by deleting each block after reading it.
    """
    read = _Reader(fd, key_size, stride, max_entries, 0, _maps.map_lookup_and_delete_batch)
    if read.supported:
        yield from read
        return
    for keys_, values, count in blocks(fd, key_size, stride, max_entries):
        delete(fd, bytes(keys_), key_size, count)
        yield keys_, values, count


class _Reader:
    # One walk with a batch command. The first call is made at once: it says whether there are
    # batches for this map.
    __slots__ = (
        "_fd", "_key_size", "_stride", "_flags", "_read", "_room", "_keys", "_values",
        "_here", "_there", "_first", "_retries", "supported",
    )  # fmt: skip

    def __init__(
        self, fd: int, key_size: int, stride: int, max_entries: int, flags: int, read: _Read
    ) -> None:
        self._fd = fd
        self._key_size = key_size
        self._stride = stride
        self._flags = flags
        self._read = read
        self._allocate(max(1, min(max_entries, max(256, _BLOCK_BYTES // (key_size + stride)))))
        # The place in a hash map is 4 bytes, that of other kinds a key.
        self._here, self._there = Buffer(max(key_size, 8)), Buffer(max(key_size, 8))
        self._retries = 0
        self._first = self._next(None)
        self.supported = self._first[1] not in _NO_BATCH

    def _allocate(self, room: int) -> None:
        self._room = room
        self._keys, self._values = Buffer(room * self._key_size), Buffer(room * self._stride)

    def _next(self, cursor: Buffer | None) -> tuple[int, int]:
        while True:
            count, error = self._read(
                self._fd, cursor, self._there, self._keys, self._values, self._room, self._flags
            )
            if error == errno.ENOSPC and count == 0:
                self._allocate(self._room * 2)  # one bucket of a hash map holds more than that
            elif error == errno.EINTR and count == 0 and self._retries < _RETRIES:
                self._retries += 1  # an entry went away while it was copied
            else:
                return count, error

    def __iter__(self) -> Iterator[Block]:
        count, error = self._first
        while True:
            if error not in (0, errno.ENOENT) and not (error == errno.EINTR and count):
                raise failure(error, _name(self._read), fd=self._fd)
            if count:
                keys_ = self._keys.view[: count * self._key_size]
                yield keys_, self._values.view[: count * self._stride], count
            if error == errno.ENOENT or not count:
                return
            self._here, self._there = self._there, self._here
            count, error = self._next(self._here)


def _name(read: _Read) -> str:
    return "BPF_" + getattr(read, "__name__", "map_batch").upper()


def _one_by_one(fd: int, key_size: int, stride: int, flags: int) -> Iterator[Block]:
    value = Buffer(stride)
    found_keys, found_values, count = bytearray(), bytearray(), 0
    for key in keys(fd, key_size):
        if not _maps.map_lookup_elem(fd, key, value, flags):
            continue  # deleted since, or an empty slot
        found_keys += key
        found_values += value.view[:stride]
        count += 1
        if count == _ONE_BY_ONE:
            yield memoryview(found_keys), memoryview(found_values), count
            found_keys, found_values, count = bytearray(), bytearray(), 0
    if count:
        yield memoryview(found_keys), memoryview(found_values), count


def keys(fd: int, key_size: int) -> Iterator[bytes]:
    """Yield every key, one system call each.

    When the key just given is deleted meanwhile, the kernel begins again with the first key: keys
    seen before are then passed over. Raises :class:`~bpflens.errors.Error` when that happens
    over and over.
    """
    following = Buffer(key_size)
    view = following.view
    seen: set[bytes] = set()
    passed = 0
    key: bytes | None = None
    while _maps.map_get_next_key(fd, key, following):
        key = bytes(view[:key_size])
        if key not in seen:
            seen.add(key)
            yield key
            continue
        passed += 1
        if passed > _PASSES * len(seen) + _PASSED:
            raise Error("reading a map: it changes faster than it can be read")


def update(
    fd: int, keys_: bytes, values: bytes, key_size: int, stride: int, count: int, flags: int = 0
) -> None:
    """Store ``count`` entries. Raises SyscallError at the first that the kernel refuses."""
    done = 0
    while done < count:
        rest_keys, rest_values = (
            (keys_, values) if not done else (keys_[done * key_size :], values[done * stride :])
        )
        stored, error = _maps.map_update_batch(fd, rest_keys, rest_values, count - done, flags)
        done += stored
        if error in _NO_BATCH and not stored:
            _update_one_by_one(fd, keys_, values, key_size, stride, done, count, flags)
            return
        if error or not stored:
            raise failure(error, "BPF_MAP_UPDATE_BATCH", fd=fd)


def _update_one_by_one(
    fd: int, keys_: bytes, values: bytes, key_size: int, stride: int, done: int, count: int,
    flags: int,
) -> None:  # fmt: skip
    for number in range(done, count):
        key = keys_[number * key_size : (number + 1) * key_size]
        value = values[number * stride : (number + 1) * stride]
        _maps.map_update_elem(fd, key, value, flags)


def delete(fd: int, keys_: bytes, key_size: int, count: int) -> int:
    """Delete ``count`` keys; those that are not there are passed over. Return how many were."""
    done = deleted = 0
    while done < count:
        rest = keys_ if not done else keys_[done * key_size :]
        removed, error = _maps.map_delete_batch(fd, rest, count - done)
        done += removed
        deleted += removed
        if error == errno.ENOENT:
            done += 1  # the batch stopped at a key that is not there
        elif error in _NO_BATCH and not removed:
            found = (keys_[at * key_size : (at + 1) * key_size] for at in range(done, count))
            return deleted + sum(_maps.map_delete_elem(fd, key) for key in found)
        elif error or not removed:
            raise failure(error, "BPF_MAP_DELETE_BATCH", fd=fd)
    return deleted

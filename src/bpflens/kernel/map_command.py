"""The bpf(2) commands on maps: create, one element, batches, freeze.

Turns keys and values (bytes or buffers of the sizes the map was made with) into system calls.
Answers that are part of normal work are no errors: a key that is not there is ``False``, and the
batch commands return ``(count, errno)`` for the caller to act on. Sizes are not checked here: the
kernel would write past a value buffer that is too small, so :class:`bpflens.objects.map.Map`
is what should be used where speed does not forbid it.

Example::

    fd = map_create(BPF_MAP_TYPE_ARRAY, 4, 8, 1, name="counter")
    map_update_elem(fd, bytes(4), (42).to_bytes(8, "little"))
"""

from __future__ import annotations

import errno
import struct

from bpflens.kernel.command import (
    ENOTSUPP,
    check,
    failure,
    kernel_name,
    memlock_was_raised,
    send,
    send_and_read,
)
from bpflens.kernel.memory import Buffer, address, address_or_null
from bpflens.uapi.bpf import (
    BPF_MAP_CREATE,
    BPF_MAP_DELETE_BATCH,
    BPF_MAP_DELETE_ELEM,
    BPF_MAP_FREEZE,
    BPF_MAP_GET_NEXT_KEY,
    BPF_MAP_LOOKUP_AND_DELETE_BATCH,
    BPF_MAP_LOOKUP_AND_DELETE_ELEM,
    BPF_MAP_LOOKUP_BATCH,
    BPF_MAP_LOOKUP_ELEM,
    BPF_MAP_UPDATE_BATCH,
    BPF_MAP_UPDATE_ELEM,
)

__all__ = [
    "map_create",
    "map_delete_batch",
    "map_delete_elem",
    "map_freeze",
    "map_get_next_key",
    "map_lookup_and_delete_batch",
    "map_lookup_and_delete_elem",
    "map_lookup_batch",
    "map_lookup_elem",
    "map_update_batch",
    "map_update_elem",
]

# Members of union bpf_attr, in its order.
_A_MAP_CREATE = struct.Struct("=7I16s5IQiiQI")
_A_ELEM = struct.Struct("=I4xQQQ")
_A_BATCH = struct.Struct("=4QIIQQ")
_A_1 = struct.Struct("=I")


def map_create(
    map_type: int,
    key_size: int,
    value_size: int,
    max_entries: int,
    *,
    name: str = "",
    flags: int = 0,
    inner_map_fd: int = 0,
    numa_node: int = 0,
    ifindex: int = 0,
    btf_fd: int = 0,
    btf_key_type_id: int = 0,
    btf_value_type_id: int = 0,
    btf_vmlinux_value_type_id: int = 0,
    map_extra: int = 0,
    value_type_btf_obj_fd: int = 0,
    token_fd: int = 0,
    excl_prog_hash: bytes = b"",
) -> int:
    """Create a map and return its file descriptor (BPF_MAP_CREATE).

    ``name`` is made acceptable by :func:`kernel_name`. On a kernel that charges maps to
    RLIMIT_MEMLOCK the limit is raised, once, when it was what stopped the creation.
    """
    values = (
        map_type, key_size, value_size, max_entries, flags, inner_map_fd, numa_node,
        kernel_name(name), ifindex, btf_fd, btf_key_type_id, btf_value_type_id,
        btf_vmlinux_value_type_id, map_extra, value_type_btf_obj_fd, token_fd,
        address_or_null(excl_prog_hash), len(excl_prog_hash),
    )  # fmt: skip
    result = send(BPF_MAP_CREATE, _A_MAP_CREATE, *values)
    if result == -errno.EPERM and memlock_was_raised():
        result = send(BPF_MAP_CREATE, _A_MAP_CREATE, *values)
    return check(result, "BPF_MAP_CREATE", map_type=map_type, name=name, max_entries=max_entries)


def map_lookup_elem(fd: int, key: bytes | Buffer, value: Buffer, flags: int = 0) -> bool:
    """Copy the value of ``key`` into ``value``; return whether the key is there.

    ``value`` must hold the map's value size, for per-CPU maps that size rounded up to 8 times the
    number of possible CPUs. A queue or stack takes an empty key and gives its head.
    """
    result = send(BPF_MAP_LOOKUP_ELEM, _A_ELEM, fd, address_or_null(key), value.address, flags)
    if result < 0:
        if result == -errno.ENOENT:
            return False
        raise failure(-result, "BPF_MAP_LOOKUP_ELEM", fd=fd)
    return True


def map_update_elem(fd: int, key: bytes | Buffer, value: bytes | Buffer, flags: int = 0) -> None:
    """Store ``value`` under ``key`` (flags: BPF_ANY, BPF_NOEXIST, BPF_EXIST, BPF_F_LOCK)."""
    result = send(BPF_MAP_UPDATE_ELEM, _A_ELEM, fd, address_or_null(key), address(value), flags)
    if result < 0:
        raise failure(-result, "BPF_MAP_UPDATE_ELEM", fd=fd)


def map_delete_elem(fd: int, key: bytes | Buffer) -> bool:
    """Delete ``key``; return whether it was there."""
    result = send(BPF_MAP_DELETE_ELEM, _A_ELEM, fd, address_or_null(key), 0, 0)
    if result < 0:
        if result == -errno.ENOENT:
            return False
        raise failure(-result, "BPF_MAP_DELETE_ELEM", fd=fd)
    return True


def map_get_next_key(fd: int, key: bytes | Buffer | None, following: Buffer) -> bool:
    """Copy the key after ``key`` (``None``: the first) into ``following``; ``False`` at the end.

    A hash map begins again from its first key when ``key`` is no longer there.
    """
    where = 0 if key is None else address_or_null(key)
    result = send(BPF_MAP_GET_NEXT_KEY, _A_ELEM, fd, where, following.address, 0)
    if result < 0:
        if result == -errno.ENOENT:
            return False
        raise failure(-result, "BPF_MAP_GET_NEXT_KEY", fd=fd)
    return True


def map_lookup_and_delete_elem(fd: int, key: bytes | Buffer, value: Buffer, flags: int = 0) -> bool:
    """Take the value of ``key`` out of the map into ``value``; return whether it was there."""
    where = address_or_null(key)
    result = send(BPF_MAP_LOOKUP_AND_DELETE_ELEM, _A_ELEM, fd, where, value.address, flags)
    if result < 0:
        if result == -errno.ENOENT:
            return False
        raise failure(-result, "BPF_MAP_LOOKUP_AND_DELETE_ELEM", fd=fd)
    return True


def map_freeze(fd: int) -> None:
    """Make the map read-only for user space, for good."""
    check(send(BPF_MAP_FREEZE, _A_1, fd), "BPF_MAP_FREEZE", fd=fd)


def _batch(
    command: int, fd: int, in_batch: int, out_batch: int, keys: int, values: int, count: int,
    elem_flags: int,
) -> tuple[int, int]:  # fmt: skip
    result, answer = send_and_read(
        command, _A_BATCH, in_batch, out_batch, keys, values, count, fd, elem_flags, 0
    )
    # A command that the kernel does not know leaves the count as it was: that is none.
    if result == -errno.EFAULT or result == -errno.EINVAL or result == -ENOTSUPP:
        return 0, -result
    return answer[4], -result if result < 0 else 0


def map_lookup_batch(
    fd: int,
    cursor: Buffer | None,
    following: Buffer,
    keys: Buffer,
    values: Buffer,
    count: int,
    elem_flags: int = 0,
) -> tuple[int, int]:
    """Read up to ``count`` entries into ``keys`` and ``values``; return ``(entries, errno)``.

    ``cursor`` is ``None`` for the first call, then what ``following`` received. ``errno`` is
    ENOENT with the last entries, ENOSPC when one bucket of a hash map has more entries than
    ``count`` (ask again with more), ENOTSUPP or EINVAL where there are no batches.
    """
    where = 0 if cursor is None else cursor.address
    return _batch(
        BPF_MAP_LOOKUP_BATCH, fd, where, following.address, keys.address, values.address, count,
        elem_flags,
    )  # fmt: skip


def map_lookup_and_delete_batch(
    fd: int,
    cursor: Buffer | None,
    following: Buffer,
    keys: Buffer,
    values: Buffer,
    count: int,
    elem_flags: int = 0,
) -> tuple[int, int]:
    """As :func:`map_lookup_batch`, taking the entries out of the map."""
    where = 0 if cursor is None else cursor.address
    return _batch(
        BPF_MAP_LOOKUP_AND_DELETE_BATCH, fd, where, following.address, keys.address,
        values.address, count, elem_flags,
    )  # fmt: skip


def map_update_batch(
    fd: int, keys: bytes | Buffer, values: bytes | Buffer, count: int, elem_flags: int = 0
) -> tuple[int, int]:
    """Store ``count`` entries; return how many were stored, and the errno that stopped it or 0."""
    return _batch(BPF_MAP_UPDATE_BATCH, fd, 0, 0, address(keys), address(values), count, elem_flags)


def map_delete_batch(
    fd: int, keys: bytes | Buffer, count: int, elem_flags: int = 0
) -> tuple[int, int]:
    """Delete ``count`` keys; return how many were deleted, and the errno that stopped it or 0."""
    return _batch(BPF_MAP_DELETE_BATCH, fd, 0, 0, address(keys), 0, count, elem_flags)

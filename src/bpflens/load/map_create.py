"""Create the maps of an object: inner templates, sizes the kernel insists on, contents, freezing.

Turns a :class:`~bpflens.spec.MapSpec` into the file descriptor of a new map. Contents that are file
descriptors themselves (the programs of a prog_array, the maps of a map of maps) come later, with
:func:`fill_descriptors`, when those exist.

Invariants: a template for inner maps is closed again; a map that could not be filled is closed.

Example::

    fd = create_map(MapSpec("counts", BPF_MAP_TYPE_HASH, 4, 8, 1024))
"""

from __future__ import annotations

import errno
import os

from bpflens.errors import NotFound, SyscallError
from bpflens.kernel import bpf
from bpflens.uapi.bpf import (
    BPF_MAP_TYPE_ARENA,
    BPF_MAP_TYPE_ARRAY,
    BPF_MAP_TYPE_ARRAY_OF_MAPS,
    BPF_MAP_TYPE_CGROUP_ARRAY,
    BPF_MAP_TYPE_CPUMAP,
    BPF_MAP_TYPE_DEVMAP,
    BPF_MAP_TYPE_DEVMAP_HASH,
    BPF_MAP_TYPE_HASH_OF_MAPS,
    BPF_MAP_TYPE_PERF_EVENT_ARRAY,
    BPF_MAP_TYPE_QUEUE,
    BPF_MAP_TYPE_RINGBUF,
    BPF_MAP_TYPE_SOCKHASH,
    BPF_MAP_TYPE_SOCKMAP,
    BPF_MAP_TYPE_STACK,
    BPF_MAP_TYPE_STACK_TRACE,
    BPF_MAP_TYPE_USER_RINGBUF,
    BPF_MAP_TYPE_XSKMAP,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from bpflens.spec import MapSpec

__all__ = ["create_map", "fill_descriptors", "has_direct_value"]

_RINGS = frozenset((BPF_MAP_TYPE_RINGBUF, BPF_MAP_TYPE_USER_RINGBUF))

# Kinds whose map_check_btf is map_check_no_btf: a key or value type makes the kernel refuse them.
_WITHOUT_BTF = frozenset((
    BPF_MAP_TYPE_ARRAY_OF_MAPS, BPF_MAP_TYPE_CGROUP_ARRAY, BPF_MAP_TYPE_CPUMAP,
    BPF_MAP_TYPE_DEVMAP, BPF_MAP_TYPE_DEVMAP_HASH, BPF_MAP_TYPE_HASH_OF_MAPS,
    BPF_MAP_TYPE_PERF_EVENT_ARRAY, BPF_MAP_TYPE_QUEUE, BPF_MAP_TYPE_RINGBUF,
    BPF_MAP_TYPE_SOCKHASH, BPF_MAP_TYPE_SOCKMAP, BPF_MAP_TYPE_STACK, BPF_MAP_TYPE_STACK_TRACE,
    BPF_MAP_TYPE_USER_RINGBUF, BPF_MAP_TYPE_XSKMAP,
))  # fmt: skip


def create_map(spec: MapSpec, btf_fd: int = 0, vmlinux_value_type_id: int = 0) -> int:
    """Create the map that ``spec`` describes, fill it, freeze it; return its file descriptor.

    ``btf_fd`` is the object's BTF, which the key and value type ids of the spec refer to.
    Raises :class:`~bpflens.errors.SyscallError`.
    """
    inner = create_map(_without_contents(spec.inner), btf_fd) if spec.inner is not None else 0
    try:
        fd = _create(spec, btf_fd, inner, vmlinux_value_type_id)
    finally:
        if inner:
            os.close(inner)
    try:
        for key, value in spec.contents:
            bpf.map_update_elem(fd, key, value)
        if spec.freeze:
            bpf.map_freeze(fd)
    except BaseException:
        os.close(fd)
        raise
    return fd


def fill_descriptors(spec: MapSpec, fd: int, descriptors: Mapping[str, int]) -> None:
    """Store the programs or maps that ``spec.fd_contents`` names in their slots of the map."""
    for slot, name in spec.fd_contents.items():
        member = descriptors.get(name)
        if member is None:
            raise NotFound(f"program or map for slot {slot} of map {spec.name}", name)
        bpf.map_update_elem(fd, slot.to_bytes(4, "little"), member.to_bytes(4, "little"))


def has_direct_value(type: int, max_entries: int) -> bool:
    """Whether instructions may carry an address inside the map's value."""
    # kernel/bpf/arraymap.c array_map_direct_value_addr: one entry only.
    return type == BPF_MAP_TYPE_ARENA or (type == BPF_MAP_TYPE_ARRAY and max_entries == 1)


def _create(spec: MapSpec, btf_fd: int, inner: int, vmlinux_value_type_id: int) -> int:
    typed = btf_fd and spec.type not in _WITHOUT_BTF and (spec.value_type_id or spec.key_type_id)
    with_btf = bool(typed or vmlinux_value_type_id)
    try:
        return _command(spec, btf_fd if with_btf else 0, inner, vmlinux_value_type_id)
    except SyscallError as error:
        # A type may be one this kind of map does not take; types of keys and values are only
        # there for people, unless the value holds something the kernel must know of (a lock, a
        # timer): then the second attempt is not the same map, but programs that use it say so.
        refused = (errno.EINVAL, errno.E2BIG, bpf.ENOTSUPP)
        if not typed or vmlinux_value_type_id or error.errno not in refused:
            raise
        try:
            return _command(spec, 0, inner, 0)
        except SyscallError:
            raise error from None


def _command(spec: MapSpec, btf_fd: int, inner: int, vmlinux_value_type_id: int) -> int:
    try:
        return _named(spec, spec.name, btf_fd, inner, vmlinux_value_type_id)
    except SyscallError as error:
        # Since Linux 4.15 (067cae47771c "bpf: Use char in prog and map name"): a kernel that knows
        # no names finds the attribute too long as soon as there is one.
        if error.errno != errno.E2BIG or not spec.name:
            raise
    return _named(spec, "", btf_fd, inner, vmlinux_value_type_id)


def _named(spec: MapSpec, name: str, btf_fd: int, inner: int, vmlinux_value_type_id: int) -> int:
    return bpf.map_create(
        spec.type,
        spec.key_size,
        spec.value_size,
        _entries(spec),
        name=name,
        flags=spec.flags,
        inner_map_fd=inner,
        numa_node=spec.numa_node,
        ifindex=spec.ifindex,
        btf_fd=btf_fd,
        btf_key_type_id=spec.key_type_id if btf_fd else 0,
        btf_value_type_id=spec.value_type_id if btf_fd else 0,
        btf_vmlinux_value_type_id=vmlinux_value_type_id,
        map_extra=spec.map_extra,
    )


# The number of entries, where the kernel's rules for a kind leave only one sensible choice.
def _entries(spec: MapSpec) -> int:
    if spec.type == BPF_MAP_TYPE_PERF_EVENT_ARRAY and not spec.max_entries:
        from bpflens.kernel import cpu

        return cpu.possible_count()
    if spec.type in _RINGS:
        page = os.sysconf("SC_PAGESIZE")
        size = page
        while size < spec.max_entries:
            size *= 2
        return size
    return spec.max_entries


# The same map without what only a real one holds: a template is never filled.
def _without_contents(spec: MapSpec) -> MapSpec:
    from copy import copy

    template = copy(spec)
    template.contents = []
    template.fd_contents = {}
    template.freeze = False
    return template

"""``map dump MAP``: all entries of a map, in blocks.

The kernel hands out entries by the thousand (BPF_MAP_LOOKUP_BATCH) and a template prints them by
the thousand; memory does not depend on how many there are. Maps without batches, and those where a
key may be without a value (devmaps, prog arrays), are read key by key.

A map that cannot be read by keys at all (ring buffer, queue) says so.

Example::

    $ bpftool map dump name counters
    key: 00 00 00 00  value: 2a 00 00 00 00 00 00 00
    Found 1 element
"""

from __future__ import annotations

import errno

from bpflens.bpftool import handle
from bpflens.bpftool.map_entry import OF_MAPS, OF_PROGRAMS, Entry, map_btf, missing_plain
from bpflens.bpftool.map_show import header_json, header_plain, type_name
from bpflens.bpftool.out import Json
from bpflens.bpftool.tool import Failure, errno_status, strerror
from bpflens.errors import SyscallError
from bpflens.uapi import bpf as _uapi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from bpflens.bpftool.tool import Tool
    from bpflens.bpftool.words import Words
    from bpflens.objects.map import Map

__all__ = ["BLOCKS", "check_readable", "dump", "dump_map"]

# Whose values are always there and readable in blocks; all others are asked key by key.
BLOCKS = frozenset(
    (
        _uapi.BPF_MAP_TYPE_HASH,
        _uapi.BPF_MAP_TYPE_ARRAY,
        _uapi.BPF_MAP_TYPE_PERCPU_HASH,
        _uapi.BPF_MAP_TYPE_PERCPU_ARRAY,
        _uapi.BPF_MAP_TYPE_LRU_HASH,
        _uapi.BPF_MAP_TYPE_LRU_PERCPU_HASH,
        _uapi.BPF_MAP_TYPE_LPM_TRIE,
    )
)
_RINGS = (_uapi.BPF_MAP_TYPE_RINGBUF, _uapi.BPF_MAP_TYPE_USER_RINGBUF)
_UNREADABLE = {
    _uapi.BPF_MAP_TYPE_RINGBUF: "a ring buffer has no keys; programs read it as a stream",
    _uapi.BPF_MAP_TYPE_USER_RINGBUF: "a ring buffer has no keys",
    _uapi.BPF_MAP_TYPE_QUEUE: "a queue has no keys; use 'map peek' or 'map dequeue'",
    _uapi.BPF_MAP_TYPE_STACK: "a stack has no keys; use 'map peek' or 'map pop'",
    _uapi.BPF_MAP_TYPE_BLOOM_FILTER: "a bloom filter gives no keys back",
}


def dump(tool: Tool, words: Words) -> int:
    """Dump the maps that MAP matches."""
    from bpflens.bpftool.words import Usage

    if len(words) not in (1, 2, 3):
        raise Usage
    found = handle.maps(words, _uapi.BPF_F_RDONLY)
    try:
        if words.take_if("recursive"):
            from bpflens.bpftool import map_nested

            words.end()
            return map_nested.dump(tool, _only(found))
        if words:
            raise Usage
        return _several(tool, found)
    finally:
        for map in found:
            map.close()


def _only(found: list[Map]) -> Map:
    if len(found) > 1:
        raise Failure("several maps match this handle")
    return found[0]


def _several(tool: Tool, found: list[Map]) -> int:
    if len(found) == 1:
        return dump_map(tool, found[0])
    typed = all(map.info.btf_id for map in found)
    # In plain output with BTF the text looks like JSON; it is laid out by the same writer.
    json = tool.json or (Json(tool.out, True) if typed else None)
    if json is not None:
        json.start("[")
    for number, map in enumerate(found):
        if json is not None:
            json.start("{")
            for name, value in header_json(map.info).items():
                json.member(name, value)
            json.name("elements")
        else:
            tool.out(("\n" if number else "") + header_plain(map.info))
        dump_map(tool, map, json, typed or tool.json is not None)
        if json is not None:
            json.end()
    if json is not None:
        json.end()
        if json is not tool.json:
            tool.out("\n")
    return 0


def dump_map(tool: Tool, map: Map, json: Json | None = None, typed: bool = True) -> int:
    """Dump one map, as the value that comes next of ``json`` where that is given."""
    btf = map_btf(map) if typed else None
    if tool.json is None and not map.info.btf_id:
        btf = None
    inside = json is not None
    writer = json or tool.json
    if writer is None and btf is not None:
        writer = Json(tool.out, True)
    is_json = tool.json is not None
    if writer is not None and (is_json or btf is not None or inside):
        count = _as_array(tool, map, btf, writer, is_json)
        if writer is not tool.json and not inside:
            tool.out("\n")
        return 0
    entry = Entry(map, None, json=False)
    count = 0
    try:
        for keys, values, several in _entries(tool, map):
            count += several
            for text in entry.rows(keys, values, several):
                tool.out(text)
    finally:
        tool.out(f"Found {count} element{'' if count == 1 else 's'}\n")
    return 0


def _as_array(tool: Tool, map: Map, btf: object, writer: Json, is_json: bool) -> int:
    count = 0
    check_readable(map)
    writer.start("[")
    entry = Entry(
        map,
        btf,  # type: ignore[arg-type]
        json=is_json,
        pretty=writer.pretty,
        depth=writer.depth,
    )
    for keys, values, several in _entries(tool, map, writer if is_json else None):
        count += several
        comma = writer.separator()
        if comma:
            tool.out(comma)
        # The template has a comma in front of every entry; the first has been written.
        rows = entry.rows(keys, values, several, ",")
        tool.out(next(rows)[1:])
        for text in rows:
            tool.out(text)
    writer.end()
    return count


def check_readable(map: Map) -> None:
    """Raise Failure for a map whose entries cannot be listed.

    Asked before anything is written, so that under -j the answer is an error and nothing else.
    """
    why = _UNREADABLE.get(map.info.type)
    if why is None:
        return
    number = 524 if map.info.type in _RINGS else errno.EINVAL
    name = type_name(map.info.type)
    raise Failure(f"can't dump map {map.info.id} of type {name}: {why}", -number & 0xFF)


def _entries(
    tool: Tool, map: Map, writer: Json | None = None
) -> Iterator[tuple[memoryview | bytes, memoryview | bytes, int]]:
    # Blocks of entries; what cannot be read is told in its place.
    check_readable(map)
    try:
        if map.info.type in BLOCKS:
            yield from map.blocks()
        else:
            yield from _one_by_one(tool, map, writer)
    except SyscallError as error:
        raise handle.tell("can't get next key", error, errno_status(error)) from None


def _one_by_one(
    tool: Tool, map: Map, writer: Json | None
) -> Iterator[tuple[memoryview | bytes, memoryview | bytes, int]]:
    from bpflens.kernel.map_command import map_lookup_elem
    from bpflens.kernel.memory import Buffer
    from bpflens.objects import batch

    value = Buffer(map.stride)
    type = map.info.type
    for key in batch.keys(map.fd, map.info.key_size):
        why = ""
        try:
            if map_lookup_elem(map.fd, key, value):
                yield key, value.view[: map.stride], 1
                continue
            if type in OF_MAPS or type in OF_PROGRAMS:
                continue  # an empty slot
            why, words = "<no entry>", "No such file or directory"
        except SyscallError as error:
            why = words = strerror(error)
            if error.errno == errno.ENOSPC and type == _uapi.BPF_MAP_TYPE_REUSEPORT_SOCKARRAY:
                why = "<cannot read>"
        if writer is not None:
            listed = [f"0x{byte:02x}" for byte in key]
            writer.value({"key": listed, "value": {"error": words}})
        elif tool.json is None:
            tool.out(missing_plain(key, why))

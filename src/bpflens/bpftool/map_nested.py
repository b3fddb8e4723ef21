"""``map dump MAP recursive``: a map of maps with the entries of its inner maps.

In plain output each inner map stands below its slot, described by its first line and indented;
under ``-j`` an entry has a member ``inner`` with the map's description and its ``elements``. A map
without inner maps is dumped as always.

Example::

    $ bpftool map dump name outer recursive
    key: 00 00 00 00  inner_map_id: 12
        12: hash  name inner  flags 0x0
        key: 01 00 00 00  value: 02 00 00 00
        Found 1 element
    Found 1 element
"""

from __future__ import annotations

import errno

from bpflens.bpftool import handle, map_dump
from bpflens.bpftool.map_entry import OF_MAPS
from bpflens.bpftool.map_show import header_json, header_plain
from bpflens.bpftool.out import Out
from bpflens.bpftool.template import hex_lines
from bpflens.bpftool.tool import Failure, errno_status, strerror
from bpflens.errors import SyscallError
from bpflens.objects import batch
from bpflens.uapi.bpf import BPF_F_RDONLY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from bpflens.bpftool.out import Json
    from bpflens.bpftool.tool import Tool
    from bpflens.objects.map import Map

__all__ = ["Indented", "dump"]

_STEP = b"    "


def dump(tool: Tool, map: Map) -> int:
    """Dump a map and the maps inside."""
    if map.info.type not in OF_MAPS:
        return map_dump.dump_map(tool, map)
    if tool.json is not None:
        _json(tool, map, tool.json)
    else:
        _plain(tool, map)
    return 0


class Indented:
    """Writes to ``out`` what it is called with, every line moved to the right."""

    __slots__ = ("_at_start", "_out")

    def __init__(self, out: Out) -> None:
        self._out = out
        self._at_start = True

    def __call__(self, data: bytes | bytearray | memoryview) -> None:
        text = bytes(data)
        if not text:
            return
        begin = _STEP if self._at_start else b""
        self._at_start = text.endswith(b"\n")
        body = text[:-1] if self._at_start else text
        end = b"\n" if self._at_start else b""
        self._out.block(begin + body.replace(b"\n", b"\n" + _STEP) + end)


def _entries(map: Map) -> Iterator[tuple[bytes, bytes]]:
    try:
        for key in batch.keys(map.fd, map.info.key_size):
            value = map.lookup_raw(key)
            if value is not None:  # a slot may be empty
                yield key, value
    except SyscallError as error:
        raise handle.tell("can't get next key", error, errno_status(error)) from None


def _inner(value: bytes) -> Map | None:
    # None for a map that has gone since its id was read.
    from bpflens.objects.map import Map

    id = int.from_bytes(value, "little")
    try:
        return Map.from_id(id, open_flags=BPF_F_RDONLY)
    except SyscallError as error:
        if error.errno == errno.ENOENT:
            return None
        raise handle.tell(f"can't open inner map {id}", error) from None


def _plain(tool: Tool, map: Map) -> None:
    count = 0
    for key, value in _entries(map):
        count += 1
        space, end = ("\n", "\n") if len(key) > 16 else (" ", "  ")
        id = int.from_bytes(value, "little")
        tool.out(f"key:{space}{hex_lines(key)}{end}inner_map_id: {id}\n")
        inner = _inner(value)
        if inner is None:
            continue
        outside, tool.out = tool.out, Out(Indented(tool.out))
        try:
            with inner:
                tool.out(header_plain(inner.info))
                dump(tool, inner)
        except Failure as failure:
            tool.out(f"Error: {failure.text}\n")  # the other inner maps may be readable
        finally:
            tool.out.flush()
            tool.out = outside
    tool.out(f"Found {count} element{'' if count == 1 else 's'}\n")


def _json(tool: Tool, map: Map, json: Json) -> None:
    json.start("[")
    for key, value in _entries(map):
        json.start("{")
        json.member("key", [f"0x{byte:02x}" for byte in key])
        json.member("value", [f"0x{byte:02x}" for byte in value])
        json.member("inner_map_id", int.from_bytes(value, "little"))
        inner = _inner(value)
        if inner is not None:
            with inner:
                json.name("inner")
                _described(tool, inner, json)
        json.end()
    json.end()


def _described(tool: Tool, inner: Map, json: Json) -> None:
    json.start("{")
    depth = json.depth
    for name, value in header_json(inner.info).items():
        json.member(name, value)
    try:
        map_dump.check_readable(inner)
        json.name("elements")
        if inner.info.type in OF_MAPS:
            _json(tool, inner, json)
        else:
            map_dump.dump_map(tool, inner, json)
    except (Failure, SyscallError) as error:
        text = error.text if isinstance(error, Failure) else strerror(error)
        if json.depth > depth:
            json.unwind(depth, text)
        else:
            json.member("error", text)
    json.end()

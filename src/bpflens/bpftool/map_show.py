"""``map show|list [MAP]``: what maps there are, in bpftool's plain and JSON layouts.

Example::

    $ bpftool map show name counters
    196: array  name counters  flags 0x0
        key 4B  value 8B  max_entries 4  memlock 344B
        btf_id 88
"""

from __future__ import annotations

from bpflens.bpftool import handle
from bpflens.bpftool.holders import holders, pids_json, pids_plain, pinned_paths
from bpflens.bpftool.prog_show import device_json, device_plain, fdinfo, memlock
from bpflens.bpftool.prog_show import type_name as prog_type_name
from bpflens.uapi.bpf import BPF_F_RDONLY, BPF_MAP_TYPE_PROG_ARRAY, MAP_TYPE_NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from bpflens.bpftool.tool import Tool
    from bpflens.bpftool.words import Words
    from bpflens.kernel.info import MapInfo
    from bpflens.objects.map import Map

__all__ = ["describe", "header_json", "header_plain", "printer", "show", "type_name"]


def show(tool: Tool, words: Words) -> int:
    """Show all maps, or those that MAP matches."""
    from bpflens.objects.map import Map

    if tool.table or tool.sort or tool.filter:
        from bpflens.bpftool import show_table

        return show_table.maps(tool, words)
    printer = _Printer(tool)
    json = tool.json
    if words:
        found = handle.maps(words, BPF_F_RDONLY)
        words.end()
        if json is not None and len(found) > 1:
            json.start("[")
        for map in found:
            with map:
                printer.show(map)
        if json is not None and len(found) > 1:
            json.end()
        return 0
    if json is not None:
        json.start("[")
    for map in handle.opened("map", lambda id: Map.from_id(id, open_flags=BPF_F_RDONLY)):
        with map:
            printer.show(map)
    if json is not None:
        json.end()
    return 0


def type_name(type: int) -> str | None:
    """Return the name of a map type, ``None`` for one that is not known here."""
    return MAP_TYPE_NAMES[type] if type < len(MAP_TYPE_NAMES) else None


def header_plain(info: MapInfo) -> str:
    """Return the first line of a map's description."""
    name = f"name {info.name}  " if info.name else ""
    kind = type_name(info.type) or f"type {info.type}"
    device = device_plain(info.ifindex, info.netns_dev, info.netns_ino)
    return f"{info.id}: {kind}  {name}flags 0x{info.map_flags:x}{device}\n"


def header_json(info: MapInfo) -> dict[str, object]:
    """Return the first members of a map's description."""
    found: dict[str, object] = {"id": info.id, "type": type_name(info.type) or info.type}
    if info.name:
        found["name"] = info.name
    found["flags"] = info.map_flags
    return found


def describe(map: Map) -> dict[str, object]:
    """Return everything that JSON output says of a map, but pins and holders."""
    info = map.info
    found = header_json(info)
    device = device_json(info.ifindex, info.netns_dev, info.netns_ino)
    if device:
        found["dev"] = device
    found["bytes_key"] = info.key_size
    found["bytes_value"] = info.value_size
    found["max_entries"] = info.max_entries
    found["bytes_memlock"] = memlock(map.fd)
    if info.type == BPF_MAP_TYPE_PROG_ARRAY:
        owner, jited = _owner(map)
        if owner is not None:
            found["owner_prog_type"] = prog_type_name(owner) or owner
        if jited is not None:
            found["owner_jited"] = bool(jited)
    found["frozen"] = fdinfo(map.fd, b"frozen:") or 0
    if info.btf_id:
        found["btf_id"] = info.btf_id
    return found


def _owner(map: Map) -> tuple[int | None, int | None]:
    # What the programs of a prog_array must be; nothing before one uses it.
    return fdinfo(map.fd, b"owner_prog_type:"), fdinfo(map.fd, b"owner_jited:")


def printer(tool: Tool) -> Callable[[Map], None]:
    """Return what prints one map after the other in the usual layout."""
    return _Printer(tool).show


class _Printer:
    __slots__ = ("_holders", "_pinned", "_tool")

    def __init__(self, tool: Tool) -> None:
        self._tool = tool
        self._holders = holders("map")
        self._pinned = pinned_paths("map") if tool.bpffs else {}

    def show(self, map: Map) -> None:
        if self._tool.json is None:
            self._tool.out(self._plain(map))
            return
        json = self._tool.json
        json.start("{")
        for name, value in describe(map).items():
            json.member(name, value)
        if self._pinned:
            json.member("pinned", self._pinned.get(map.id, []))
        pids_json(json, self._holders.get(map.id))
        json.end()

    def _plain(self, map: Map) -> str:
        info = map.info
        parts = [
            header_plain(info),
            f"\tkey {info.key_size}B  value {info.value_size}B  max_entries {info.max_entries}",
            f"  memlock {memlock(map.fd)}B",
        ]
        if info.type == BPF_MAP_TYPE_PROG_ARRAY:
            owner, jited = _owner(map)
            if owner is not None or jited is not None:
                parts.append("\n\t")
            if owner is not None:
                parts.append(f"owner_prog_type {prog_type_name(owner) or owner}  ")
            if jited is not None:
                parts.append(f"owner{'' if jited else ' not'} jited")
        parts.extend(f"\n\tpinned {path}" for path in self._pinned.get(info.id, ()))
        frozen = bool(fdinfo(map.fd, b"frozen:"))
        if info.btf_id or frozen:
            words = [f"btf_id {info.btf_id}"] if info.btf_id else []
            parts.append("\n\t" + "  ".join([*words, *(["frozen"] if frozen else [])]))
        parts.append(pids_plain(self._holders.get(info.id)))
        return "".join(parts) + "\n"

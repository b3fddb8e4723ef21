"""``prog|map|link show`` with ``--table``, ``--sort`` or ``--filter``: one line an object.

Example::

    $ bpftool map show --table --sort -bytes_memlock --filter 'type==hash and max_entries>1000'
"""

from __future__ import annotations

from bpflens.bpftool import handle
from bpflens.bpftool.holders import holders, pinned_paths
from bpflens.bpftool.table import print_table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from bpflens.bpftool.table import Row
    from bpflens.bpftool.tool import Tool
    from bpflens.bpftool.words import Words

__all__ = ["links", "maps", "programs"]

_PROGRAM = ("id", "type", "name", "tag", "run_cnt", "run_time_ns", "bytes_xlated", "bytes_jited",
            "bytes_memlock", "map_ids", "btf_id", "pinned", "pids")  # fmt: skip
_MAP = ("id", "type", "name", "flags", "bytes_key", "bytes_value", "max_entries", "bytes_memlock",
        "frozen", "btf_id", "pinned", "pids")  # fmt: skip
_LINK = ("id", "type", "prog_id", "prog_name", "target", "pinned", "pids")


def programs(tool: Tool, words: Words) -> int:
    """Print programs as a table."""
    from bpflens.bpftool.prog_show import describe
    from bpflens.objects.program import Program

    found = handle.programs(words) if words else handle.opened("prog", Program.from_id)
    words.end()
    rows = []
    for program in found:
        with program:
            rows.append(describe(program))
    return print_table(tool, _completed(tool, "prog", rows), _PROGRAM)


def maps(tool: Tool, words: Words) -> int:
    """Print maps as a table."""
    from bpflens.bpftool.map_show import describe
    from bpflens.objects.map import Map
    from bpflens.uapi.bpf import BPF_F_RDONLY

    found = (
        handle.maps(words, BPF_F_RDONLY)
        if words
        else handle.opened("map", lambda id: Map.from_id(id, open_flags=BPF_F_RDONLY))
    )
    words.end()
    rows = []
    for map in found:
        with map:
            rows.append(describe(map))
    return print_table(tool, _completed(tool, "map", rows), _MAP)


def links(tool: Tool, words: Words) -> int:
    """Print links as a table; what they are attached to is one column."""
    from bpflens.bpftool.link_detail import Detail
    from bpflens.bpftool.link_show import type_name
    from bpflens.objects.link import Link

    found = [handle.link(words)] if words else handle.opened("link", Link.from_id)
    words.end()
    detail = Detail(holders("link"))
    names = _program_names()
    rows: list[Row] = []
    for link in found:
        with link:
            info = link.info
        row: Row = {"id": info.id, "type": type_name(info.type) or info.type,
                    "prog_id": info.prog_id}  # fmt: skip
        details = detail.json(info)
        row["prog_name"] = names.get(info.prog_id, "")
        row["target"] = " ".join(
            str(value) for value in details.values() if isinstance(value, (str, int)) and value != ""
        )
        rows.append(row)
    return print_table(tool, _completed(tool, "link", rows), _LINK)


def _program_names() -> dict[int, str]:
    from bpflens.bpftool.prog_show import full_name
    from bpflens.objects.program import Program

    names = {}
    for program in handle.opened("prog", Program.from_id):
        with program:
            names[program.id] = full_name(program)
    return names


def _completed(tool: Tool, kind: str, rows: Iterable[Row]) -> list[Row]:
    held = holders(kind)
    pinned = pinned_paths(kind) if tool.bpffs else {}
    completed = []
    for row in rows:
        id = int(row["id"])  # type: ignore[call-overload]
        row["pinned"] = pinned.get(id, [])
        row["pids"] = [f"{comm}({pid})" for pid, comm in held.get(id, ())]
        completed.append(row)
    return completed

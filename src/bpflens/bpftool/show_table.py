"""``prog|map|link show`` with ``--table``, ``--sort`` or ``--filter``.

``--table`` prints one line an object. Without it the usual layout (plain or JSON) is printed, of
the objects that the filter lets through, in the order asked for: JSON has then always an array.

Example::

    $ bpftool map show --table --sort -bytes_memlock --filter 'type==hash and max_entries>1000'
"""

from __future__ import annotations

import errno

from bpflens.bpftool import handle
from bpflens.bpftool.holders import holders, pinned_paths
from bpflens.bpftool.table import chosen, print_table
from bpflens.errors import SyscallError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from bpflens.bpftool.table import Row
    from bpflens.bpftool.tool import Tool
    from bpflens.bpftool.words import Words

    Printer = Callable[[Any], None]

__all__ = ["COLUMNS", "links", "maps", "programs"]

_PROGRAM = ("id", "type", "name", "tag", "run_cnt", "run_time_ns", "bytes_xlated", "bytes_jited",
            "bytes_memlock", "map_ids", "btf_id", "uid", "loaded_at", "gpl_compatible", "jited",
            "recursion_misses", "pinned", "pids")  # fmt: skip
_MAP = ("id", "type", "name", "flags", "bytes_key", "bytes_value", "max_entries", "bytes_memlock",
        "frozen", "btf_id", "owner_prog_type", "owner_jited", "pinned", "pids")  # fmt: skip
_LINK = ("id", "type", "prog_id", "prog_name", "target", "attach_type", "pinned", "pids")

COLUMNS = {"prog": _PROGRAM, "map": _MAP, "link": _LINK}
"""What --sort and --filter may name, by object."""

# What a table has room for; the other columns are for filters and sorting.
_HIDDEN = {"uid", "loaded_at", "gpl_compatible", "jited", "attach_type", "owner_jited"}


def programs(tool: Tool, words: Words) -> int:
    """Print programs."""
    from bpflens.bpftool import prog_show
    from bpflens.objects.program import Program

    found = handle.programs(words) if words else handle.opened("prog", Program.from_id)
    words.end()
    rows = []
    for program in found:
        with program:
            rows.append(prog_show.describe(program))
    return _finish(tool, "prog", rows, _PROGRAM, Program.from_id, prog_show.printer)


def maps(tool: Tool, words: Words) -> int:
    """Print maps."""
    from bpflens.bpftool import map_show
    from bpflens.objects.map import Map
    from bpflens.uapi.bpf import BPF_F_RDONLY

    def by_id(id: int) -> Map:
        return Map.from_id(id, open_flags=BPF_F_RDONLY)

    found = handle.maps(words, BPF_F_RDONLY) if words else handle.opened("map", by_id)
    words.end()
    rows = []
    for map in found:
        with map:
            rows.append(map_show.describe(map))
    return _finish(tool, "map", rows, _MAP, by_id, map_show.printer)


def links(tool: Tool, words: Words) -> int:
    """Print links; in a table, what they are attached to is one column."""
    from bpflens.bpftool import link_show
    from bpflens.bpftool.link_detail import Detail
    from bpflens.objects.link import Link

    found = [handle.link(words)] if words else handle.opened("link", Link.from_id)
    words.end()
    detail = Detail(holders("link"))
    names = _program_names()
    rows: list[Row] = []
    for link in found:
        with link:
            info = link.info
        row = {**link_show.header_json(info), **detail.json(info)}
        row["prog_name"] = names.get(info.prog_id, "")
        row["target"] = _target(row)
        rows.append(row)
    return _finish(tool, "link", rows, _LINK, Link.from_id, link_show.printer)


_NO_TARGET = frozenset(
    ("id", "type", "prog_id", "prog_name", "cookie", "bpf_cookie", "missed", "ifindex", "func_cnt",
     "retprobe", "addr", "flags", "prio", "target_btf_id", "prog_type", "ref_ctr_offset")
)  # fmt: skip


def _target(row: Row) -> str:
    # Where a link is attached, in few words: its details but numbers that say little alone.
    words = [
        str(value)
        for name, value in row.items()
        if name not in _NO_TARGET and isinstance(value, (str, int)) and value != ""
    ]
    functions = row.get("funcs")
    if isinstance(functions, list):
        named = [str(one.get("func", "")) for one in functions[:3] if isinstance(one, dict)]
        more = f" and {len(functions) - 3} more" if len(functions) > 3 else ""
        words.append(" ".join(named) + more)
    return " ".join(words)


def _program_names() -> dict[int, str]:
    from bpflens.bpftool.prog_show import full_name
    from bpflens.objects.program import Program

    names = {}
    for program in handle.opened("prog", Program.from_id):
        with program:
            names[program.id] = full_name(program)
    return names


def _finish(
    tool: Tool, kind: str, rows: list[Row], columns: Sequence[str],
    by_id: Callable[[int], Any], printer: Callable[[Tool], Printer],
) -> int:  # fmt: skip
    held = holders(kind)
    pinned = pinned_paths(kind) if tool.bpffs else {}
    for row in rows:
        id = int(str(row["id"]))
        row["pinned"] = pinned.get(id, [])
        row["pids"] = [{"pid": pid, "comm": comm} for pid, comm in held.get(id, ())]
    rows = chosen(tool, rows, columns)
    if tool.table and tool.json is None:
        print_table(tool, rows, [name for name in columns if name not in _HIDDEN])
        return 0
    if tool.json is not None:
        tool.json.start("[")
    show = printer(tool)
    for row in rows:
        try:
            one = by_id(int(str(row["id"])))
        except SyscallError as error:
            if error.errno == errno.ENOENT:
                continue  # it went away meanwhile
            raise
        with one:
            show(one)
    if tool.json is not None:
        tool.json.end()
    return 0

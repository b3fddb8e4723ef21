"""``link show|list|detach``: what links there are, in bpftool's plain and JSON layouts.

The details of each link type are in :mod:`bpflens.bpftool.link_detail`.

Example::

    $ bpftool link show id 211
    211: perf_event  prog 954
        tracepoint sched_process_exec
"""

from __future__ import annotations

from bpflens.bpftool import handle
from bpflens.bpftool.holders import holders, pids_json, pids_plain, pinned_paths
from bpflens.bpftool.link_detail import Detail
from bpflens.bpftool.tool import errno_status
from bpflens.errors import SyscallError
from bpflens.kernel.link_info import StructOps
from bpflens.uapi.bpf import LINK_TYPE_NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from bpflens.bpftool.tool import Tool
    from bpflens.bpftool.words import Words
    from bpflens.kernel.link_info import LinkInfo
    from bpflens.objects.link import Link

__all__ = ["detach", "header_json", "printer", "show", "type_name"]


def type_name(type: int) -> str | None:
    """Return the name of a link type, ``None`` for one that is not known here."""
    return LINK_TYPE_NAMES[type] if type < len(LINK_TYPE_NAMES) else None


def show(tool: Tool, words: Words) -> int:
    """Show all links, or the one that LINK names."""
    from bpflens.objects.link import Link

    if tool.table or tool.sort or tool.filter:
        from bpflens.bpftool import show_table

        return show_table.links(tool, words)
    if words:
        found = handle.link(words)
        words.end()
        with found:
            _Printer(tool).show(found)
        return 0
    printer = _Printer(tool)
    if tool.json is not None:
        tool.json.start("[")
    for link in handle.opened("link", Link.from_id):
        with link:
            printer.show(link)
    if tool.json is not None:
        tool.json.end()
    return 0


def detach(tool: Tool, words: Words) -> int:
    """``link detach LINK``: detach it, whoever holds it."""
    words.need(2)
    with handle.link(words) as link:
        words.end()
        try:
            link.detach()
        except SyscallError as error:
            if error.errno != 95:
                raise handle.tell("failed link detach", error, errno_status(error)) from None
            kind = type_name(link.info.type) or "this kind"
            prefix = f"failed link detach: links of {kind} go with their last holder, not before"
            raise handle.tell(prefix, error, errno_status(error)) from None
    return tool.done()


def header_json(info: LinkInfo) -> dict[str, object]:
    """Return the first members of a link's description."""
    found: dict[str, object] = {"id": info.id, "type": type_name(info.type) or info.type}
    if not isinstance(info, StructOps):
        found["prog_id"] = info.prog_id
    return found


def printer(tool: Tool) -> Callable[[Link], None]:
    """Return what prints one link after the other in the usual layout."""
    return _Printer(tool).show


class _Printer:
    __slots__ = ("_detail", "_holders", "_pinned", "_tool")

    def __init__(self, tool: Tool) -> None:
        self._tool = tool
        self._holders = holders("link")
        self._pinned = pinned_paths("link") if tool.bpffs else {}
        self._detail = Detail(self._holders)

    def show(self, link: Link) -> None:
        info = link.info
        if self._tool.json is None:
            self._tool.out(self._plain(info))
            return
        json = self._tool.json
        described = {**header_json(info), **self._detail.json(info)}
        json.start("{")
        for name, value in described.items():
            json.member(name, value)
        if self._pinned:
            json.member("pinned", self._pinned.get(info.id, []))
        pids_json(json, self._holders.get(info.id))
        json.end()

    def _plain(self, info: LinkInfo) -> str:
        kind = type_name(info.type) or f"type {info.type}"
        target = f"map {info.map_id}" if isinstance(info, StructOps) else f"prog {info.prog_id}"
        parts = [f"{info.id}: {kind}  {target}  ", self._detail.plain(info)]
        parts.extend(f"\n\tpinned {path}" for path in self._pinned.get(info.id, ()))
        parts.append(pids_plain(self._holders.get(info.id)))
        return "".join(parts) + "\n"

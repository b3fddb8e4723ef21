"""``net show|list [dev NAME]``: programs attached to the network of this namespace.

XDP, tc (tcx, netkit, and classic filters), the flow dissector, netfilter. Netfilter links do not
say which namespace they belong to: those that only processes of other namespaces hold are left
out. With ``dev`` only what belongs to the device is shown.

Example::

    $ bpftool net show
    xdp:
    eth0(2) driver id 959
"""

from __future__ import annotations

import os

from bpflens.bpftool import handle
from bpflens.bpftool.netlink import IFLA_IFNAME, IFLA_XDP, Route, attributes, text, u32
from bpflens.bpftool.prog_show import full_name
from bpflens.bpftool.tool import Failure
from bpflens.bpftool.words import Usage
from bpflens.errors import SyscallError
from bpflens.kernel.object_command import prog_query
from bpflens.uapi import bpf as _uapi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from bpflens.bpftool.tool import Tool
    from bpflens.bpftool.words import Words
    from bpflens.kernel.link_info import Netfilter

__all__ = ["device", "show"]

_EINVAL = -22 & 0xFF
_XDP_PROG_ID = 4
_XDP_MODES = {1: "driver", 2: "generic", 3: "offload"}
_XDP_MULTI = 4
_XDP_IDS = ((6, "generic"), (5, "driver"), (7, "offload"))
_KINDS = (
    (_uapi.BPF_TCX_INGRESS, "tcx/ingress"),
    (_uapi.BPF_TCX_EGRESS, "tcx/egress"),
    (_uapi.BPF_NETKIT_PRIMARY, "netkit/primary"),
    (_uapi.BPF_NETKIT_PEER, "netkit/peer"),
)
_TCA_KIND, _TCA_OPTIONS = 1, 2
_TCA_BPF_ACT, _TCA_BPF_NAME, _TCA_BPF_ID = 1, 7, 11
_ACT_KIND, _ACT_OPTIONS = 1, 2
_ACT_BPF_NAME, _ACT_BPF_ID = 6, 8
_ROOT, _INGRESS, _EGRESS = 0xFFFFFFFF, 0xFFFFFFF2, 0xFFFFFFF3

Row = dict[str, object]


def device(words: Words) -> int:
    """Take "dev NAME" and return the ifindex."""
    import socket

    if not words.take_if("dev"):
        raise Failure(f"expected 'dev', got: '{words.peek()}'?", _EINVAL)
    name = words.take("devname")
    try:
        return socket.if_nametoindex(name)
    except OSError:
        raise Failure(f"invalid devname {name}", _EINVAL) from None


def show(tool: Tool, words: Words) -> int:
    """Show what is attached."""
    if len(words) not in (0, 2):
        raise Usage
    only = device(words) if words else 0
    xdp: list[Row] = []
    tc: list[Row] = []
    with Route() as route:
        for index, found in route.links():
            if only and index != only:
                continue
            name = text(found.get(IFLA_IFNAME, b""))
            xdp.extend(_xdp(index, name, found))
            tc.extend(_ordered(index, name))
            tc.extend(_classic(route, index, name))
    dissector = [] if only else _flow_dissector()
    netfilter = [] if only else list(_netfilter())
    if tool.json is not None:
        tool.json.value(
            [
                {
                    "xdp": xdp,
                    "tc": tc,
                    "flow_dissector": [{"id": id} for id in dissector],
                    "netfilter": [_netfilter_members(i) for i in netfilter],
                }
            ]
        )
        return 0
    _plain(tool, xdp, tc, dissector, netfilter)
    return 0


def _plain(
    tool: Tool, xdp: list[Row], tc: list[Row], dissector: list[int], netfilter: list[Netfilter]
) -> None:
    from bpflens.bpftool.link_detail import netfilter_plain

    tool.out("xdp:\n")
    for row in xdp:
        head = f"{row['devname']}({row['ifindex']})"
        modes = row.get("multi_attachments", [row])
        for one in modes:  # type: ignore[attr-defined]
            head += f" {one['mode']} id {one['id']}"
        tool.out(head + "\n")
    tool.out("\ntc:\n")
    for row in tc:
        tool.out(_tc_line(row) + "\n")
    tool.out("\nflow_dissector:\n" + "".join(f"id {id}" for id in dissector))
    tool.out("\nnetfilter:\n")
    for info in netfilter:
        tool.out(f"{netfilter_plain(info)} prog_id {info.prog_id}")
    tool.out("\n")


def _netfilter_members(info: Netfilter) -> Row:
    return {"pf": info.pf, "hook": info.hooknum, "prio": info.priority, "flags": info.flags,
            "id": info.prog_id}  # fmt: skip


def _tc_line(row: Row) -> str:
    line = f"{row['devname']}({row['ifindex']}) {row['kind']}"
    if row.get("name"):
        line += f" {row['name']}"
    if "prog_id" not in row:
        line += f" id {row['id']}" if "id" in row else ""
        acts = row.get("act")
        if acts:
            words = "".join(f"{one['name']} id {one['id']}" for one in acts)  # type: ignore[attr-defined]
            line += f" act [{words}] "
        return line
    line += f" prog_id {row['prog_id']} "
    if row["prog_flags"]:
        line += f"prog_flags {' '.join(map(str, row['prog_flags']))}"  # type: ignore[call-overload]
    if row["link_id"]:
        line += f"link_id {row['link_id']} "
        if row["link_flags"]:
            line += f"link_flags {' '.join(map(str, row['link_flags']))}"  # type: ignore[call-overload]
    return line


def _xdp(index: int, name: str, found: dict[int, bytes]) -> Iterator[Row]:
    if IFLA_XDP not in found:
        return
    xdp = attributes(found[IFLA_XDP])
    mode = xdp.get(2, b"\0")[0]
    row: Row = {"devname": name, "ifindex": index}
    if mode == _XDP_MULTI:
        row["multi_attachments"] = [
            {"mode": word, "id": u32(xdp[kind])} for kind, word in _XDP_IDS if kind in xdp
        ]
        yield row
    elif mode in _XDP_MODES and _XDP_PROG_ID in xdp:
        yield {**row, "mode": _XDP_MODES[mode], "id": u32(xdp[_XDP_PROG_ID])}


def _ordered(index: int, name: str) -> Iterator[Row]:
    # Programs that the kernel runs in an order of its own: tcx and netkit.
    for kind, word in _KINDS:
        try:
            found = prog_query(index, kind, links=True)
        except SyscallError:
            continue  # no such attach type in this kernel, or none for this device
        for number, id in enumerate(found.prog_ids):
            row: Row = {"devname": name, "ifindex": index, "kind": word}
            program = _name(id)
            if program:
                row["name"] = program
            link = found.link_ids[number] if number < len(found.link_ids) else 0
            yield {**row, "prog_id": id, "prog_flags": [], "link_id": link, "link_flags": []}


def _name(id: int) -> str:
    from bpflens.objects.program import Program

    try:
        with Program.from_id(id) as program:
            return full_name(program)
    except SyscallError:
        return ""


def _classic(route: Route, index: int, name: str) -> Iterator[Row]:
    # Filters of the bpf classifier, at every place of a device where filters may be.
    places: list[tuple[int, str]] = []
    for handle_, found in route.classes(index):
        places.append((handle_, text(found.get(_TCA_KIND, b"")) or "class"))
    for handle_, found in route.qdiscs(index):
        kind = text(found.get(_TCA_KIND, b""))
        if handle_ and kind != "clsact":
            places.append((handle_, kind))
    places += [(_ROOT, "root"), (_INGRESS, "clsact/ingress"), (_EGRESS, "clsact/egress")]
    seen: set[int] = set()
    for parent, kind in places:
        if parent in seen:
            continue
        seen.add(parent)
        try:
            filters = route.filters(index, parent)
        except OSError:
            continue  # nothing can be attached there
        for _, found in filters:
            if text(found.get(_TCA_KIND, b"")) == "bpf" and _TCA_OPTIONS in found:
                row: Row = {"devname": name, "ifindex": index, "kind": kind}
                yield row | _filter(attributes(found[_TCA_OPTIONS]))


def _filter(options: dict[int, bytes]) -> Row:
    row: Row = {}
    if _TCA_BPF_NAME in options:
        row["name"] = text(options[_TCA_BPF_NAME])
    if _TCA_BPF_ID in options:
        row["id"] = u32(options[_TCA_BPF_ID])
    if _TCA_BPF_ACT in options:
        acts = []
        for one in attributes(options[_TCA_BPF_ACT]).values():
            action = attributes(one)
            if text(action.get(_ACT_KIND, b"")) == "bpf" and _ACT_OPTIONS in action:
                own = attributes(action[_ACT_OPTIONS])
                if _ACT_BPF_ID in own:
                    acts.append(
                        {"name": text(own.get(_ACT_BPF_NAME, b"")), "id": u32(own[_ACT_BPF_ID])}
                    )
        row["act"] = acts
    return row


def _flow_dissector() -> list[int]:
    fd = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return prog_query(fd, _uapi.BPF_FLOW_DISSECTOR).prog_ids
    except SyscallError as error:
        if error.errno == 22:
            return []
        raise handle.tell("can't query prog", error) from None
    finally:
        os.close(fd)


def _netfilter() -> list[Netfilter]:
    from bpflens.bpftool.device import same_namespace
    from bpflens.bpftool.holders import holders
    from bpflens.kernel.link_info import Netfilter as Info
    from bpflens.objects.link import Link

    found: list[Netfilter] = []
    for link in handle.opened("link", Link.from_id):
        with link:
            info = link.info
        if isinstance(info, Info):
            found.append(info)
    if not found:
        return []
    held = holders("link")
    here = []
    for info in found:
        pids = [pid for pid, _ in held.get(info.id, ())]
        if not pids or any(map(same_namespace, pids)):
            here.append(info)
    here.sort(key=lambda info: (info.pf, info.hooknum, info.priority))
    return list(here)

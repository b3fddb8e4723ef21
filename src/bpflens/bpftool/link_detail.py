"""What a link is attached to, told for each link type in bpftool's plain and JSON layouts.

An interface has its name in the network namespace that the link belongs to: that of a process
which holds the link, or the one in which the kernel lists it.

Example::

    Detail(holders("link")).json(info)     # {"tracepoint": "sched_process_exec", "cookie": 0}
"""

from __future__ import annotations

from bpflens.kernel import link_info as _info
from bpflens.uapi import bpf as _uapi
from bpflens.uapi.bpf import ATTACH_TYPE_NAMES, PROG_TYPE_NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from bpflens.bpftool.holders import Holders
    from bpflens.kernel.link_info import LinkInfo
    from bpflens.symbols.kallsyms import Kallsyms

    _Details = dict[str, object]

__all__ = ["Detail", "attach_type_name", "netfilter_plain"]

_ITERATES_MAP = ("bpf_map_elem", "bpf_sk_storage_map")
_ITERATES_TASK = ("task", "task_file", "task_vma")
_ORDERS = ("order_unspec", "self_only", "descendants_pre", "descendants_post", "ancestors_up")
_FAMILIES = {1: "inet", 2: "ip", 3: "arp", 5: "netdev", 7: "bridge", 10: "ip6"}
_HOOKS = ("prerouting", "input", "forward", "output", "postrouting")
_ARP_HOOKS = ("input", "output")


def attach_type_name(attach_type: int) -> str | int:
    """Return the name of an attach type, the number for one that is not known here."""
    known = attach_type < len(ATTACH_TYPE_NAMES)
    return ATTACH_TYPE_NAMES[attach_type] if known else attach_type


def netfilter_plain(info: _info.Netfilter) -> str:
    """Return the line that says where a netfilter program is."""
    hooks = {1: _HOOKS, 2: _HOOKS, 7: _HOOKS, 10: _HOOKS, 3: _ARP_HOOKS}.get(info.pf, ())
    family = _FAMILIES.get(info.pf) or f"pf: {info.pf}"
    known = info.hooknum < len(hooks)
    hook = f" {hooks[info.hooknum]}" if known else f", hook {info.hooknum},"
    flags = f" flags 0x{info.flags:x}" if info.flags else ""
    return f"\n\t{family}{hook} prio {info.priority}{flags}"


class Detail:
    """Tells the details of links; keeps what several links need (symbols, holders)."""

    __slots__ = ("_holders", "_kallsyms")

    def __init__(self, holders: Holders) -> None:
        self._holders = holders
        self._kallsyms: Kallsyms | None = None

    def json(self, info: LinkInfo) -> _Details:
        """Return the members of JSON output that belong to the link's type."""
        tell = _JSON.get(type(info))
        return tell(self, info) if tell is not None else {}

    def plain(self, info: LinkInfo) -> str:
        """Return what plain output says after the header, up to the pins."""
        tell = _PLAIN.get(type(info))
        return tell(self, info) if tell is not None else ""

    # --- interfaces ---

    def _device(self, info: _info.Xdp | _info.Tcx) -> str:
        if not info.ifindex:
            return "(detached)"
        from bpflens.bpftool import device

        pids = [pid for pid, _ in self._holders.get(info.id, ())]
        if pids:
            return device.name_for(info.ifindex, pids) or "(unknown)"
        from bpflens.bpftool import link_place

        return link_place.device_name(info) or "(unknown)"

    def _device_json(self, info: _info.Xdp | _info.Tcx) -> _Details:
        found: _Details = {"devname": self._device(info), "ifindex": info.ifindex}
        if isinstance(info, _info.Tcx):
            found["attach_type"] = attach_type_name(info.attach_type)
        return found

    def _device_plain(self, info: _info.Xdp | _info.Tcx) -> str:
        name = self._device(info)
        text = f"\n\tifindex {name}({info.ifindex})  " if info.ifindex else f"\n\tifindex {name}  "
        return text + (_attach_type(info.attach_type) if isinstance(info, _info.Tcx) else "")

    # --- kernel functions ---

    def _functions(self, info: _info.KprobeMulti) -> list[tuple[int, str, str, int]]:
        # (address, function, module, cookie), by address.
        if self._kallsyms is None:
            from bpflens.symbols.kallsyms import Kallsyms

            self._kallsyms = Kallsyms()
        cookies = info.cookies or [0] * len(info.addrs)
        found = []
        for address, cookie in sorted(zip(info.addrs, cookies, strict=False)):
            symbol = self._kallsyms.resolve(address) if address else None
            name, _, module = symbol if symbol is not None else ("", 0, "")
            found.append((address, name, module, cookie))
        return found

    def _kprobe_multi_json(self, info: _info.KprobeMulti) -> _Details:
        return {
            "retprobe": bool(info.flags & _uapi.BPF_F_KPROBE_MULTI_RETURN),
            "func_cnt": info.count,
            "missed": info.missed,
            "funcs": [
                {"addr": address, "func": name, "module": module or None, "cookie": cookie}
                for address, name, module, cookie in self._functions(info)
            ],
        }

    def _kprobe_multi_plain(self, info: _info.KprobeMulti) -> str:
        if not info.count:
            return ""
        kind = "kretprobe" if info.flags & _uapi.BPF_F_KPROBE_MULTI_RETURN else "kprobe"
        parts = [f"\n\t{kind}.multi  func_cnt {info.count}  "]
        if info.missed:
            parts.append(f"missed {info.missed}  ")
        parts.append(f"\n\t{'addr':<16} {'cookie':<16} func [module]")
        for address, name, module, cookie in self._functions(info):
            where = f" [{module}]  " if module else "  "
            parts.append(f"\n\t{address:016x} {cookie:<16x} {name}{where}")
        return "".join(parts)


def _attach_type(attach_type: int) -> str:
    return f"attach_type {attach_type_name(attach_type)}  "


# --- tracing ------------------------------------------------------------------------------------


def _raw_tracepoint_json(_: Detail, info: _info.RawTracepoint) -> _Details:
    return {"tp_name": info.tp_name, "cookie": info.cookie}


def _raw_tracepoint_plain(_: Detail, info: _info.RawTracepoint) -> str:
    cookie = f"cookie {info.cookie}  " if info.cookie else ""
    return f"\n\ttp '{info.tp_name}'  {cookie}"


def _prog_type(info: LinkInfo) -> str | int:
    from bpflens.errors import SyscallError
    from bpflens.objects.program import Program

    try:
        with Program.from_id(info.prog_id) as program:
            kind = program.info.type
    except SyscallError:
        return "(unknown)"  # the program has gone: a freplace link outlives it
    return PROG_TYPE_NAMES[kind] if kind < len(PROG_TYPE_NAMES) else kind


def _tracing_json(_: Detail, info: _info.Tracing) -> _Details:
    return {
        "prog_type": _prog_type(info),
        "attach_type": attach_type_name(info.attach_type),
        "target_obj_id": info.target_obj_id,
        "target_btf_id": info.target_btf_id,
        "cookie": info.cookie,
    }


def _tracing_plain(_: Detail, info: _info.Tracing) -> str:
    text = f"\n\tprog_type {_prog_type(info)}  {_attach_type(info.attach_type)}"
    if info.target_obj_id or info.target_btf_id:
        text += f"\n\ttarget_obj_id {info.target_obj_id}  target_btf_id {info.target_btf_id}  "
    return text + (f"\n\tcookie {info.cookie}  " if info.cookie else "")


def _uprobe_multi_json(_: Detail, info: _info.UprobeMulti) -> _Details:
    return {
        "retprobe": bool(info.flags & _uapi.BPF_F_UPROBE_MULTI_RETURN),
        "path": info.path,
        "func_cnt": info.count,
        "pid": info.pid,
        "funcs": [
            {"offset": offset, "ref_ctr_offset": counter, "cookie": cookie}
            for offset, counter, cookie in _places(info)
        ],
    }


def _uprobe_multi_plain(_: Detail, info: _info.UprobeMulti) -> str:
    if not info.count:
        return ""
    kind = "uretprobe" if info.flags & _uapi.BPF_F_UPROBE_MULTI_RETURN else "uprobe"
    pid = f"pid {info.pid}  " if info.pid else ""
    parts = [
        f"\n\t{kind}.multi  path {info.path}  func_cnt {info.count}  {pid}",
        f"\n\t{'offset':<16}   {'ref_ctr_offset':<16}   {'cookies':<16}",
    ]
    for offset, counter, cookie in _places(info):
        parts.append(f"\n\t0x{offset:<16x} 0x{counter:<16x} 0x{cookie:<16x}")
    return "".join(parts)


def _places(info: _info.UprobeMulti) -> list[tuple[int, int, int]]:
    return list(zip(info.offsets, info.ref_ctr_offsets, info.cookies, strict=True))


# --- perf events --------------------------------------------------------------------------------


def _tracepoint_json(_: Detail, info: _info.PerfEventTracepoint) -> _Details:
    return {"tracepoint": info.tp_name, "cookie": info.cookie}


def _tracepoint_plain(_: Detail, info: _info.PerfEventTracepoint) -> str:
    if not info.tp_name:
        return ""
    return f"\n\ttracepoint {info.tp_name}  " + (f"cookie {info.cookie}  " if info.cookie else "")


def _kprobe_json(_: Detail, info: _info.PerfEventKprobe) -> _Details:
    return {
        "retprobe": info.perf_type == _uapi.BPF_PERF_EVENT_KRETPROBE,
        "addr": info.addr,
        "func": info.func_name,
        "offset": info.offset,
        "missed": info.missed,
        "cookie": info.cookie,
    }


def _kprobe_plain(_: Detail, info: _info.PerfEventKprobe) -> str:
    if not info.func_name and not info.addr:
        return ""
    kind = "kretprobe" if info.perf_type == _uapi.BPF_PERF_EVENT_KRETPROBE else "kprobe"
    text = f"\n\t{kind} " + (f"{info.addr:x} " if info.addr else "") + info.func_name
    if info.offset:
        text += f"+0x{info.offset:x}"
    if info.missed:
        text += f"  missed {info.missed}"
    if info.cookie:
        text += f"  cookie {info.cookie}"
    return text + "  "


def _uprobe_json(_: Detail, info: _info.PerfEventUprobe) -> _Details:
    return {
        "retprobe": info.perf_type == _uapi.BPF_PERF_EVENT_URETPROBE,
        "file": info.file_name,
        "offset": info.offset,
        "cookie": info.cookie,
        "ref_ctr_offset": info.ref_ctr_offset,
    }


def _uprobe_plain(_: Detail, info: _info.PerfEventUprobe) -> str:
    if not info.file_name:
        return ""
    kind = "uretprobe" if info.perf_type == _uapi.BPF_PERF_EVENT_URETPROBE else "uprobe"
    offset = f"0x{info.offset:x}" if info.offset else "0"
    text = f"\n\t{kind} {info.file_name}+{offset}  "
    if info.cookie:
        text += f"cookie {info.cookie}  "
    if info.ref_ctr_offset:
        text += f"ref_ctr_offset 0x{info.ref_ctr_offset:x}  "
    return text


def _event_json(_: Detail, info: _info.PerfEventEvent) -> _Details:
    from bpflens.bpftool import event_name

    kind, config = event_name.names(info.event_type, info.config)
    return {
        "event_type": info.event_type if kind is None else kind,
        "event_config": info.config if config is None else config,
        "cookie": info.cookie,
    }


def _event_plain(_: Detail, info: _info.PerfEventEvent) -> str:
    from bpflens.bpftool import event_name

    kind, config = event_name.names(info.event_type, info.config)
    told = f"{info.event_type} :" if kind is None else f"{kind}:"
    cookie = f"cookie {info.cookie}  " if info.cookie else ""
    return f"\n\tevent {told}{info.config if config is None else config}  {cookie}"


# --- the rest -----------------------------------------------------------------------------------


def _cgroup_json(_: Detail, info: _info.Cgroup) -> _Details:
    return {"cgroup_id": info.cgroup_id, "attach_type": attach_type_name(info.attach_type)}


def _cgroup_plain(_: Detail, info: _info.Cgroup) -> str:
    return f"\n\tcgroup_id {info.cgroup_id}  {_attach_type(info.attach_type)}"


def _iter_json(_: Detail, info: _info.Iter) -> _Details:
    found: _Details = {"target_name": info.target_name}
    if info.target_name in _ITERATES_MAP:
        found["map_id"] = info.map_id
    elif info.target_name in _ITERATES_TASK:
        if info.tid:
            found["tid"] = info.tid
        elif info.pid:
            found["pid"] = info.pid
    elif info.target_name == "cgroup":
        found["cgroup_id"] = info.cgroup_id
        found["order"] = _ORDERS[info.order] if info.order < len(_ORDERS) else "unknown"
    return found


def _iter_plain(detail: Detail, info: _info.Iter) -> str:
    text = []
    for name, value in _iter_json(detail, info).items():
        text.append(f"{name} {value} " if name in ("tid", "pid") else f"{name} {value}  ")
    return "".join(text)


def _netns_json(_: Detail, info: _info.Netns) -> _Details:
    return {"netns_ino": info.netns_ino, "attach_type": attach_type_name(info.attach_type)}


def _netns_plain(_: Detail, info: _info.Netns) -> str:
    return f"\n\tnetns_ino {info.netns_ino}  {_attach_type(info.attach_type)}"


def _netfilter_json(_: Detail, info: _info.Netfilter) -> _Details:
    return {"pf": info.pf, "hook": info.hooknum, "prio": info.priority, "flags": info.flags}


def _sockmap_json(_: Detail, info: _info.Sockmap) -> _Details:
    return {"map_id": info.map_id, "attach_type": attach_type_name(info.attach_type)}


def _sockmap_plain(_: Detail, info: _info.Sockmap) -> str:
    return f"\n\tmap_id {info.map_id}  {_attach_type(info.attach_type)}"


def _struct_ops_json(_: Detail, info: _info.StructOps) -> _Details:
    return {"map_id": info.map_id}


_JSON: dict[type, Callable[[Detail, Any], _Details]] = {
    _info.RawTracepoint: _raw_tracepoint_json,
    _info.Tracing: _tracing_json,
    _info.Cgroup: _cgroup_json,
    _info.Iter: _iter_json,
    _info.Netns: _netns_json,
    _info.Netfilter: _netfilter_json,
    _info.Tcx: Detail._device_json,
    _info.Netkit: Detail._device_json,
    _info.Xdp: Detail._device_json,
    _info.Sockmap: _sockmap_json,
    _info.StructOps: _struct_ops_json,
    _info.KprobeMulti: Detail._kprobe_multi_json,
    _info.UprobeMulti: _uprobe_multi_json,
    _info.PerfEventEvent: _event_json,
    _info.PerfEventTracepoint: _tracepoint_json,
    _info.PerfEventKprobe: _kprobe_json,
    _info.PerfEventUprobe: _uprobe_json,
}

_PLAIN: dict[type, Callable[[Detail, Any], str]] = {
    _info.RawTracepoint: _raw_tracepoint_plain,
    _info.Tracing: _tracing_plain,
    _info.Cgroup: _cgroup_plain,
    _info.Iter: _iter_plain,
    _info.Netns: _netns_plain,
    _info.Netfilter: lambda _, info: netfilter_plain(info),
    _info.Tcx: Detail._device_plain,
    _info.Netkit: Detail._device_plain,
    _info.Xdp: Detail._device_plain,
    _info.Sockmap: _sockmap_plain,
    _info.KprobeMulti: Detail._kprobe_multi_plain,
    _info.UprobeMulti: _uprobe_multi_plain,
    _info.PerfEventEvent: _event_plain,
    _info.PerfEventTracepoint: _tracepoint_plain,
    _info.PerfEventKprobe: _kprobe_plain,
    _info.PerfEventUprobe: _uprobe_plain,
}

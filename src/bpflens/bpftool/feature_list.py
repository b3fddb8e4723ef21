"""``feature list_builtins GROUP`` and ``feature explain NAME``.

The first lists the names that are known here, the second says what a feature, helper, program type,
map type, attach type or link type is for, since when kernels have it, and whether this one does.

Example::

    $ bpftool feature explain ringbuf
    ringbuf: one ordered event buffer for all CPUs
        since Linux 5.8
        this kernel: yes
"""

from __future__ import annotations

from bpflens.bpftool.tool import Failure
from bpflens.bpftool.words import Usage
from bpflens.uapi import bpf as u
from bpflens.uapi.helper import HELPER_NAMES, HELPER_SIGNATURES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.bpftool.tool import Tool
    from bpflens.bpftool.words import Words
    from bpflens.kernel.feature import Feature

__all__ = ["explain", "list_builtins"]

_GROUPS = {
    "prog_types": u.PROG_TYPE_NAMES,
    "map_types": u.MAP_TYPE_NAMES,
    "attach_types": u.ATTACH_TYPE_NAMES,
    "link_types": u.LINK_TYPE_NAMES,
    "helpers": HELPER_NAMES,
}


def list_builtins(tool: Tool, words: Words) -> int:
    """``feature list_builtins GROUP``: the names of a group, by number."""
    if not words:
        raise Usage
    group = words.take_keyword(*_GROUPS)
    if group is None:
        raise Failure(
            "expected 'prog_types', 'map_types', 'attach_types', 'link_types' or 'helpers', "
            f"got: {words.peek()}"
        )
    words.end()
    prefix = "bpf_" if group == "helpers" else ""
    names = [prefix + name for name in _GROUPS[group]]
    if tool.json is not None:
        tool.json.value(names)
    else:
        tool.out("".join(f"{name}\n" for name in names))
    return 0


# --- explain ------------------------------------------------------------------------------------


def explain(tool: Tool, words: Words) -> int:
    """``feature explain NAME``: what it is for, since when, and whether this kernel has it."""
    name = words.take("name of a feature, helper or type")
    words.end()
    found = [meaning for explain_as in _KINDS for meaning in explain_as(name)]
    if not found:
        raise _unknown(name)
    if tool.json is not None:
        tool.json.value(found)
    else:
        tool.out("".join(_plain(meaning) for meaning in found))
    return 0


def _plain(meaning: dict[str, object]) -> str:
    answer = {True: "yes", False: "no", None: "cannot be found out"}[meaning["available"]]  # type: ignore[index]
    lines = [f"{meaning['name']}: {meaning['what'] or meaning['kind']}"]
    if meaning.get("signature"):
        lines.append(f"\t{meaning['signature']}")
    if meaning["since"]:
        lines.append(f"\tsince Linux {meaning['since']}")
    if meaning["option"]:
        lines.append(f"\tneeds {meaning['option']}")
    why = f" ({meaning['why']})" if meaning["why"] else ""
    if meaning["kind"] not in ("attach type", "link type"):
        lines.append(f"\tthis kernel: {answer}{why}")
    if meaning.get("programs"):
        lines.append(f"\tprograms that may call it: {', '.join(meaning['programs'])}")  # type: ignore[arg-type]
    return "\n".join(lines) + "\n"


def _meaning(name: str, kind: str, what: str, since: str, feature: Feature) -> dict[str, object]:
    from bpflens.kernel.option import option

    here = feature.answer()
    known = kind in ("feature", "program type", "map type")
    return {
        "name": name,
        "kind": kind,
        "what": what,
        "since": since,
        "option": option(kind, name) if known else "",
        "available": here,
        "why": "" if here else feature.why,
    }


def _as_feature(name: str) -> list[dict[str, object]]:
    from bpflens.kernel.feature import all_features

    found = all_features().get(name)
    return [_meaning(name, "feature", found.what, found.since, found)] if found is not None else []


def _as_prog_type(name: str) -> list[dict[str, object]]:
    from bpflens.kernel.feature import prog_type

    if name not in u.PROG_TYPE_NAMES[1:]:
        return []
    found = prog_type(u.PROG_TYPE_NAMES.index(name))
    what, since = _PROGRAM_TYPES.get(name, ("", ""))
    return [_meaning(name, "program type", what, since, found)]


def _as_map_type(name: str) -> list[dict[str, object]]:
    from bpflens.kernel.feature import all_features, map_type

    if name not in u.MAP_TYPE_NAMES[1:] or name in all_features():
        return []
    found = map_type(u.MAP_TYPE_NAMES.index(name))
    what, since = _MAP_TYPES.get(name, ("", ""))
    return [_meaning(name, "map type", what, since, found)]


def _as_helper(name: str) -> list[dict[str, object]]:
    short = name.removeprefix("bpf_")
    if short not in HELPER_NAMES[1:]:
        return []
    from bpflens.errors import Error
    from bpflens.kernel.probe import NOISY_HELPERS, has_helper, has_prog_type

    number = HELPER_NAMES.index(short)
    result, parameters = HELPER_SIGNATURES[number]
    space = "" if result.endswith("*") else " "
    programs: list[str] = []
    noisy = number in NOISY_HELPERS
    for prog_type, program in enumerate(u.PROG_TYPE_NAMES):
        try:
            # Tracing programs and the like would have to name what they are attached to.
            usable = prog_type and program not in ("tracing", "struct_ops", "ext", "lsm")
            if usable and not noisy and has_prog_type(prog_type) and has_helper(prog_type, number):
                programs.append(program)
        except (OSError, Error):
            continue
    why = "not tried: the kernel would write a line into its log" if noisy else ""
    return [
        {
            "name": f"bpf_{short}",
            "kind": "helper",
            "what": "",
            "signature": f"{result}{space}bpf_{short}({parameters})",
            "since": _helper_since(number),
            "option": "",
            "available": None if noisy else bool(programs),
            "why": why,
            "programs": programs,
        }
    ]


# The last helper that each release of Linux brought; ids are given in order.
_LAST_HELPER = (
    (3, "3.19"), (11, "4.1"), (16, "4.2"), (22, "4.3"), (25, "4.4"), (26, "4.5"), (30, "4.6"),
    (36, "4.8"), (41, "4.9"), (44, "4.10"), (45, "4.11"), (47, "4.12"), (50, "4.13"), (53, "4.14"),
    (57, "4.15"), (59, "4.16"), (64, "4.17"), (80, "4.18"), (83, "4.19"), (90, "4.20"),
    (92, "5.0"), (98, "5.1"), (108, "5.2"), (110, "5.3"), (115, "5.5"), (118, "5.6"), (124, "5.7"),
    (135, "5.8"), (141, "5.9"), (155, "5.10"), (162, "5.11"), (163, "5.12"), (165, "5.13"),
    (168, "5.14"), (175, "5.15"), (179, "5.16"), (185, "5.17"), (193, "5.18"), (203, "5.19"),
    (207, "6.0"), (209, "6.1"), (211, "6.2"),
)  # fmt: skip


def _helper_since(number: int) -> str:
    return next((release for last, release in _LAST_HELPER if number <= last), "")


def _as_attach_or_link_type(name: str) -> list[dict[str, object]]:
    from bpflens.kernel.option import option

    found: list[dict[str, object]] = []
    for kind, names in (("attach type", u.ATTACH_TYPE_NAMES), ("link type", u.LINK_TYPE_NAMES)):
        if name in names and name != "unspec":
            needs = option(kind, name) if kind == "attach type" else ""
            number = names.index(name)
            found.append({"name": name, "kind": kind, "what": f"{kind} {number}", "since": "",
                          "option": needs, "available": None, "why": ""})  # fmt: skip
    return found


_KINDS = (_as_feature, _as_prog_type, _as_map_type, _as_helper, _as_attach_or_link_type)


def _unknown(name: str) -> Failure:
    from difflib import get_close_matches

    from bpflens.kernel.feature import all_features

    known = {*all_features(), *(f"bpf_{helper}" for helper in HELPER_NAMES[1:])}
    known |= {one for names in _GROUPS.values() for one in names if one != "unspec"}
    near = get_close_matches(name, sorted(known), 3, 0.6)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    return Failure(f"no feature, helper or type named {name}{hint}")


_PROGRAM_TYPES = {
    "socket_filter": ("packets that reach a socket: keep, cut or drop", "3.19"),
    "kprobe": ("kernel functions and user functions (kprobe, uprobe)", "4.1"),
    "sched_cls": ("packets in traffic control, in and out of an interface", "4.1"),
    "sched_act": ("an action of traffic control", "4.1"),
    "tracepoint": ("the kernel's stable trace events", "4.7"),
    "xdp": ("packets as the network driver receives them", "4.8"),
    "perf_event": ("samples of clocks and hardware counters", "4.9"),
    "cgroup_skb": ("packets of the processes of a cgroup", "4.10"),
    "cgroup_sock": ("sockets as processes of a cgroup make, bind and release them", "4.10"),
    "lwt_in": ("packets that arrive through a lightweight tunnel route", "4.10"),
    "lwt_out": ("packets that leave through a lightweight tunnel route", "4.10"),
    "lwt_xmit": ("packets that a tunnel route sends, with changes of headers", "4.10"),
    "sock_ops": ("events and settings of TCP connections", "4.13"),
    "sk_skb": ("data that arrives at the sockets of a sockmap", "4.14"),
    "cgroup_device": ("access of a cgroup to devices", "4.15"),
    "sk_msg": ("data that the sockets of a sockmap send", "4.17"),
    "raw_tracepoint": ("trace events with the kernel's own arguments", "4.17"),
    "cgroup_sock_addr": ("addresses that a cgroup binds, connects and sends to", "4.17"),
    "lwt_seg6local": ("packets of IPv6 segment routing", "4.18"),
    "lirc_mode2": ("decoding of infrared remote controls", "4.18"),
    "sk_reuseport": ("which socket of a group gets a connection", "4.19"),
    "flow_dissector": ("how packets are taken apart into flows", "4.20"),
    "cgroup_sysctl": ("reads and writes of sysctls by a cgroup", "5.2"),
    "raw_tracepoint_writable": ("trace events that take something back", "5.2"),
    "cgroup_sockopt": ("getsockopt and setsockopt of a cgroup", "5.3"),
    "tracing": ("kernel functions with typed arguments, iterators, typed trace events", "5.5"),
    "struct_ops": ("functions of a kernel structure, such as TCP congestion control", "5.6"),
    "ext": ("a function of another program, replaced", "5.6"),
    "lsm": ("decisions of the Linux security modules", "5.7"),
    "sk_lookup": ("which socket gets a packet, before the kernel looks", "5.9"),
    "syscall": ("programs that user space calls, and that may call bpf(2) themselves", "5.14"),
    "netfilter": ("packets at the hooks of netfilter", "6.4"),
}

_MAP_TYPES = {
    "hash": ("entries found by any key", "3.19"),
    "array": ("entries found by a number, all there from the start", "3.19"),
    "prog_array": ("programs to jump to (tail calls)", "4.2"),
    "perf_event_array": ("perf buffers or counters, one for each CPU", "4.3"),
    "percpu_hash": ("a hash with a value for each CPU", "4.6"),
    "percpu_array": ("an array with a value for each CPU", "4.6"),
    "stack_trace": ("stacks by their id", "4.6"),
    "cgroup_array": ("cgroups to compare with", "4.8"),
    "lru_hash": ("a hash that drops what was not used for long", "4.10"),
    "lru_percpu_hash": ("such a hash with a value for each CPU", "4.10"),
    "lpm_trie": ("the longest prefix that fits, for addresses", "4.11"),
    "array_of_maps": ("an array whose values are maps", "4.12"),
    "hash_of_maps": ("a hash whose values are maps", "4.12"),
    "devmap": ("interfaces to send packets to", "4.14"),
    "sockmap": ("sockets to pass data between, by number", "4.14"),
    "cpumap": ("CPUs to pass packets to", "4.15"),
    "xskmap": ("AF_XDP sockets to pass packets to", "4.18"),
    "sockhash": ("sockets to pass data between, by key", "4.18"),
    "cgroup_storage": ("a value for each cgroup that a program is attached to", "4.19"),
    "reuseport_sockarray": ("the sockets that an sk_reuseport program chooses from", "4.19"),
    "percpu_cgroup_storage": ("such a value for each CPU", "4.20"),
    "queue": ("values, first in first out", "4.20"),
    "stack": ("values, last in first out", "4.20"),
    "sk_storage": ("a value kept with a socket", "5.2"),
    "devmap_hash": ("interfaces to send packets to, by key", "5.4"),
    "struct_ops": ("a kernel structure filled with programs", "5.6"),
    "inode_storage": ("a value kept with an inode", "5.10"),
    "insn_array": ("addresses of instructions", "6.19"),
    "rhash": ("a hash that grows as it is filled", ""),
}

"""The forms of BPF_LINK_CREATE: one function for each kind of attachment.

Turns what a program attaches to (a perf event, functions, offsets in a binary, an interface, a
cgroup...) into the member of ``union bpf_attr`` that says so, and returns the link's descriptor.
All of them raise :class:`~bpflens.errors.SyscallError`.

Example::

    fd = perf_event(program_fd, event_fd, cookie=7)
    fd = uprobe_multi(program_fd, "/usr/bin/python3", [0x1234], return_probe=True)
"""

from __future__ import annotations

import os
import struct

from bpflens.kernel.memory import address, address_or_null, pack_u64
from bpflens.kernel.object_command import link_create
from bpflens.uapi.bpf import (
    BPF_CGROUP_ITER_ORDER_UNSPEC,
    BPF_F_AFTER,
    BPF_F_BEFORE,
    BPF_F_ID,
    BPF_F_KPROBE_MULTI_RETURN,
    BPF_F_LINK,
    BPF_F_REPLACE,
    BPF_F_UPROBE_MULTI_RETURN,
    BPF_NETFILTER,
    BPF_PERF_EVENT,
    BPF_STRUCT_OPS,
    BPF_TRACE_ITER,
    BPF_TRACE_KPROBE_MULTI,
    BPF_TRACE_KPROBE_SESSION,
    BPF_TRACE_UPROBE_MULTI,
    BPF_TRACE_UPROBE_SESSION,
    BPF_XDP,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "BPF_F_AFTER",
    "BPF_F_BEFORE",
    "BPF_F_ID",
    "BPF_F_LINK",
    "BPF_F_REPLACE",
    "cgroup",
    "iterator",
    "kprobe_multi",
    "netfilter",
    "netns",
    "ordered",
    "perf_event",
    "sockmap",
    "struct_ops",
    "tracing",
    "uprobe_multi",
    "xdp",
]

_KPROBE_MULTI = struct.Struct("=IIQQQ")
_UPROBE_MULTI = struct.Struct("=4QIII")
_TRACING = struct.Struct("=I4xQ")
_NETFILTER = struct.Struct("=IIiI")
_ORDERED = struct.Struct("=I4xQ")
_ITER = struct.Struct("=QI")
_U64 = struct.Struct("=Q")


def perf_event(prog_fd: int, perf_fd: int, cookie: int = 0) -> int:
    """Run a program at each event of ``perf_fd``; the event lives as long as the link."""
    # Since Linux 5.15 (b89fbfbb854c "bpf: Implement minimal BPF perf link").
    return link_create(prog_fd, perf_fd, BPF_PERF_EVENT, 0, _U64.pack(cookie))


def tracing(
    prog_fd: int, attach_type: int, *, target_fd: int = 0, target_btf_id: int = 0, cookie: int = 0
) -> int:
    """Attach an fentry, fexit, fmod_ret, LSM, tp_btf or freplace program.

    Where it attaches was said when it was loaded; ``target_fd`` and ``target_btf_id`` say it anew
    (freplace, or the same program on another target).
    """
    extra = _TRACING.pack(target_btf_id, cookie)
    return link_create(prog_fd, target_fd, attach_type, 0, extra)


def kprobe_multi(
    prog_fd: int,
    *,
    symbols: Sequence[str] = (),
    addresses: Sequence[int] = (),
    cookies: Sequence[int] = (),
    return_probe: bool = False,
    session: bool = False,
) -> int:
    """Attach to many kernel functions at once, by names or by addresses."""
    names = [name.encode() for name in symbols]
    name_table = pack_u64([address(name) for name in names])
    place_table, cookie_table = pack_u64(addresses), pack_u64(cookies)
    extra = _KPROBE_MULTI.pack(
        BPF_F_KPROBE_MULTI_RETURN if return_probe else 0,
        len(names) or len(addresses),
        address_or_null(name_table),
        address_or_null(place_table),
        address_or_null(cookie_table),
    )
    attach_type = BPF_TRACE_KPROBE_SESSION if session else BPF_TRACE_KPROBE_MULTI
    return link_create(prog_fd, 0, attach_type, 0, extra)


def uprobe_multi(
    prog_fd: int,
    path: str,
    offsets: Sequence[int],
    *,
    ref_ctr_offsets: Sequence[int] = (),
    cookies: Sequence[int] = (),
    pid: int = 0,
    return_probe: bool = False,
    session: bool = False,
) -> int:
    """Attach to many file offsets of one binary at once (``pid`` 0: in every process)."""
    name = os.fsencode(path)
    tables = [pack_u64(offsets), pack_u64(ref_ctr_offsets), pack_u64(cookies)]
    extra = _UPROBE_MULTI.pack(
        address(name),
        *(address_or_null(table) for table in tables),
        len(offsets),
        BPF_F_UPROBE_MULTI_RETURN if return_probe else 0,
        pid,
    )
    attach_type = BPF_TRACE_UPROBE_SESSION if session else BPF_TRACE_UPROBE_MULTI
    return link_create(prog_fd, 0, attach_type, 0, extra)


def iterator(
    prog_fd: int,
    *,
    map_fd: int | None = None,
    cgroup_fd: int | None = None,
    order: int = BPF_CGROUP_ITER_ORDER_UNSPEC,
    tid: int = 0,
    pid: int = 0,
    pid_fd: int = 0,
) -> int:
    """Make an iterator of a program, over all there is or one map, cgroup, thread or process."""
    if map_fd is not None:
        info = struct.pack("=I", map_fd)
    elif cgroup_fd is not None:
        info = struct.pack("=IIQ", order, cgroup_fd, 0)
    elif tid or pid or pid_fd:
        info = struct.pack("=III", tid, pid, pid_fd)
    else:
        info = b""
    # union bpf_iter_link_info has 16 bytes; a kernel that knows fewer accepts zeros behind them.
    info = info.ljust(16, b"\0") if info else info
    extra = _ITER.pack(address_or_null(info), len(info))
    return link_create(prog_fd, 0, BPF_TRACE_ITER, 0, extra)


def xdp(prog_fd: int, ifindex: int, flags: int = 0) -> int:
    """Attach to an interface (``flags``: XDP_FLAGS_SKB_MODE, _DRV_MODE, _HW_MODE)."""
    return link_create(prog_fd, ifindex, BPF_XDP, flags)


def ordered(
    prog_fd: int,
    target: int,
    attach_type: int,
    *,
    flags: int = 0,
    relative: int = 0,
    expected_revision: int = 0,
) -> int:
    """Attach to a place with an order of its own: tcx or netkit (ifindex), cgroup (fd).

    ``flags`` BPF_F_BEFORE or BPF_F_AFTER place it next to ``relative``, a program fd, a link fd
    with BPF_F_LINK, an id with BPF_F_ID; ``expected_revision`` refuses when the list has changed.
    """
    extra = _ORDERED.pack(relative, expected_revision)
    return link_create(prog_fd, target, attach_type, flags, extra)


def cgroup(prog_fd: int, cgroup_fd: int, attach_type: int) -> int:
    """Attach to a cgroup; links always allow others beside them (BPF_F_ALLOW_MULTI)."""
    return link_create(prog_fd, cgroup_fd, attach_type)


def netns(prog_fd: int, netns_fd: int, attach_type: int) -> int:
    """Attach a flow dissector or sk_lookup program to a network namespace."""
    return link_create(prog_fd, netns_fd, attach_type)


def netfilter(
    prog_fd: int, protocol: int, hook: int, priority: int = 0, *, defrag: bool = False
) -> int:
    """Attach to a netfilter hook of the current network namespace.

    ``protocol`` is NFPROTO_IPV4 (2) or NFPROTO_IPV6 (10), ``hook`` NF_INET_PRE_ROUTING (0)...
    """
    extra = _NETFILTER.pack(protocol, hook, priority, 1 if defrag else 0)
    return link_create(prog_fd, 0, BPF_NETFILTER, 0, extra)


def sockmap(prog_fd: int, map_fd: int, attach_type: int) -> int:
    """Attach an sk_msg or sk_skb program to a sockmap or sockhash."""
    # Since Linux 6.10 (699c23f02c65 "bpf: Add bpf_link support for sk_msg and sk_skb progs").
    return link_create(prog_fd, map_fd, attach_type)


def struct_ops(map_fd: int) -> int:
    """Register a struct_ops map made with BPF_F_LINK; closing the link unregisters it."""
    return link_create(map_fd, 0, BPF_STRUCT_OPS)

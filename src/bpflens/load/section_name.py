"""What the name of an ELF section says of the programs in it: type, attach type, target.

Turns ``"fentry.s/vfs_read"`` into program type TRACING, attach type BPF_TRACE_FENTRY, sleepable,
target ``vfs_read``. Follows libbpf's convention, so that any object built for libbpf loads.

Example::

    rule = match("kprobe/do_unlinkat")
    rule.type, rule.target("kprobe/do_unlinkat")      # (BPF_PROG_TYPE_KPROBE, 'do_unlinkat')
"""

from __future__ import annotations

from bpflens.uapi import bpf as k

__all__ = ["RULES", "SectionRule", "match"]


class SectionRule:
    """One kind of section.

    ``name`` without its target; ``type`` and ``attach_type`` as BPF_PROG_LOAD takes them; ``flags``
    for it; ``takes_target`` where ``name/target`` is meant; ``by_btf`` where the target is looked
    up in BTF at load time.
    """

    __slots__ = ("attach_type", "by_btf", "flags", "name", "takes_target", "type")

    def __init__(
        self,
        name: str,
        type: int,
        attach_type: int,
        flags: int = 0,
        takes_target: bool = False,
        by_btf: bool = False,
    ) -> None:
        self.name = name
        self.type = type
        self.attach_type = attach_type
        self.flags = flags
        self.takes_target = takes_target
        self.by_btf = by_btf

    def target(self, section: str) -> str:
        """Return what follows the name of the kind in ``section`` ("" if nothing does)."""
        return section[len(self.name) + 1 :] if self.takes_target else ""


_SLEEPABLE = k.BPF_F_SLEEPABLE
_FRAGS = k.BPF_F_XDP_HAS_FRAGS
_KPROBE = k.BPF_PROG_TYPE_KPROBE
_TRACING = k.BPF_PROG_TYPE_TRACING
_CLS = k.BPF_PROG_TYPE_SCHED_CLS
_SOCK = k.BPF_PROG_TYPE_CGROUP_SOCK
_ADDR = k.BPF_PROG_TYPE_CGROUP_SOCK_ADDR

# Sections whose name is followed by what to attach to: name, type, attach type, flags.
_TARGETED: tuple[tuple[str, int, int, int], ...] = (
    ("kprobe", _KPROBE, 0, 0),
    ("kretprobe", _KPROBE, 0, 0),
    ("uprobe", _KPROBE, 0, 0),
    ("uprobe.s", _KPROBE, 0, _SLEEPABLE),
    ("uretprobe", _KPROBE, 0, 0),
    ("uretprobe.s", _KPROBE, 0, _SLEEPABLE),
    ("kprobe.multi", _KPROBE, k.BPF_TRACE_KPROBE_MULTI, 0),
    ("kretprobe.multi", _KPROBE, k.BPF_TRACE_KPROBE_MULTI, 0),
    ("kprobe.session", _KPROBE, k.BPF_TRACE_KPROBE_SESSION, 0),
    ("uprobe.multi", _KPROBE, k.BPF_TRACE_UPROBE_MULTI, 0),
    ("uprobe.multi.s", _KPROBE, k.BPF_TRACE_UPROBE_MULTI, _SLEEPABLE),
    ("uretprobe.multi", _KPROBE, k.BPF_TRACE_UPROBE_MULTI, 0),
    ("uretprobe.multi.s", _KPROBE, k.BPF_TRACE_UPROBE_MULTI, _SLEEPABLE),
    ("uprobe.session", _KPROBE, k.BPF_TRACE_UPROBE_SESSION, 0),
    ("uprobe.session.s", _KPROBE, k.BPF_TRACE_UPROBE_SESSION, _SLEEPABLE),
    ("ksyscall", _KPROBE, 0, 0),
    ("kretsyscall", _KPROBE, 0, 0),
    ("usdt", _KPROBE, 0, 0),
    ("usdt.s", _KPROBE, 0, _SLEEPABLE),
    ("tracepoint", k.BPF_PROG_TYPE_TRACEPOINT, 0, 0),
    ("tp", k.BPF_PROG_TYPE_TRACEPOINT, 0, 0),
    ("raw_tracepoint", k.BPF_PROG_TYPE_RAW_TRACEPOINT, 0, 0),
    ("raw_tp", k.BPF_PROG_TYPE_RAW_TRACEPOINT, 0, 0),
    ("raw_tracepoint.w", k.BPF_PROG_TYPE_RAW_TRACEPOINT_WRITABLE, 0, 0),
    ("raw_tp.w", k.BPF_PROG_TYPE_RAW_TRACEPOINT_WRITABLE, 0, 0),
    ("struct_ops", k.BPF_PROG_TYPE_STRUCT_OPS, 0, 0),
    ("struct_ops.s", k.BPF_PROG_TYPE_STRUCT_OPS, 0, _SLEEPABLE),
)

# The same, with a target that is looked up in the kernel's BTF (or a program's) at load time.
_BY_BTF: tuple[tuple[str, int, int, int], ...] = (
    ("tp_btf", _TRACING, k.BPF_TRACE_RAW_TP, 0),
    ("fentry", _TRACING, k.BPF_TRACE_FENTRY, 0),
    ("fentry.s", _TRACING, k.BPF_TRACE_FENTRY, _SLEEPABLE),
    ("fmod_ret", _TRACING, k.BPF_MODIFY_RETURN, 0),
    ("fmod_ret.s", _TRACING, k.BPF_MODIFY_RETURN, _SLEEPABLE),
    ("fexit", _TRACING, k.BPF_TRACE_FEXIT, 0),
    ("fexit.s", _TRACING, k.BPF_TRACE_FEXIT, _SLEEPABLE),
    ("freplace", k.BPF_PROG_TYPE_EXT, 0, 0),
    ("lsm", k.BPF_PROG_TYPE_LSM, k.BPF_LSM_MAC, 0),
    ("lsm.s", k.BPF_PROG_TYPE_LSM, k.BPF_LSM_MAC, _SLEEPABLE),
    ("lsm_cgroup", k.BPF_PROG_TYPE_LSM, k.BPF_LSM_CGROUP, 0),
    ("iter", _TRACING, k.BPF_TRACE_ITER, 0),
    ("iter.s", _TRACING, k.BPF_TRACE_ITER, _SLEEPABLE),
)

# Sections that are named whole.
_WHOLE: tuple[tuple[str, int, int, int], ...] = (
    ("socket", k.BPF_PROG_TYPE_SOCKET_FILTER, 0, 0),
    ("sk_reuseport/migrate", k.BPF_PROG_TYPE_SK_REUSEPORT,
     k.BPF_SK_REUSEPORT_SELECT_OR_MIGRATE, 0),
    ("sk_reuseport", k.BPF_PROG_TYPE_SK_REUSEPORT, k.BPF_SK_REUSEPORT_SELECT, 0),
    ("tc/ingress", _CLS, k.BPF_TCX_INGRESS, 0),
    ("tc/egress", _CLS, k.BPF_TCX_EGRESS, 0),
    ("tcx/ingress", _CLS, k.BPF_TCX_INGRESS, 0),
    ("tcx/egress", _CLS, k.BPF_TCX_EGRESS, 0),
    ("tc", _CLS, 0, 0),
    ("classifier", _CLS, 0, 0),
    ("action", k.BPF_PROG_TYPE_SCHED_ACT, 0, 0),
    ("netkit/primary", _CLS, k.BPF_NETKIT_PRIMARY, 0),
    ("netkit/peer", _CLS, k.BPF_NETKIT_PEER, 0),
    ("syscall", k.BPF_PROG_TYPE_SYSCALL, 0, _SLEEPABLE),
    ("xdp.frags/devmap", k.BPF_PROG_TYPE_XDP, k.BPF_XDP_DEVMAP, _FRAGS),
    ("xdp/devmap", k.BPF_PROG_TYPE_XDP, k.BPF_XDP_DEVMAP, 0),
    ("xdp.frags/cpumap", k.BPF_PROG_TYPE_XDP, k.BPF_XDP_CPUMAP, _FRAGS),
    ("xdp/cpumap", k.BPF_PROG_TYPE_XDP, k.BPF_XDP_CPUMAP, 0),
    ("xdp.frags", k.BPF_PROG_TYPE_XDP, k.BPF_XDP, _FRAGS),
    ("xdp", k.BPF_PROG_TYPE_XDP, k.BPF_XDP, 0),
    ("perf_event", k.BPF_PROG_TYPE_PERF_EVENT, 0, 0),
    ("lwt_in", k.BPF_PROG_TYPE_LWT_IN, 0, 0),
    ("lwt_out", k.BPF_PROG_TYPE_LWT_OUT, 0, 0),
    ("lwt_xmit", k.BPF_PROG_TYPE_LWT_XMIT, 0, 0),
    ("lwt_seg6local", k.BPF_PROG_TYPE_LWT_SEG6LOCAL, 0, 0),
    ("sockops", k.BPF_PROG_TYPE_SOCK_OPS, k.BPF_CGROUP_SOCK_OPS, 0),
    ("sk_skb/stream_parser", k.BPF_PROG_TYPE_SK_SKB, k.BPF_SK_SKB_STREAM_PARSER, 0),
    ("sk_skb/stream_verdict", k.BPF_PROG_TYPE_SK_SKB, k.BPF_SK_SKB_STREAM_VERDICT, 0),
    ("sk_skb/verdict", k.BPF_PROG_TYPE_SK_SKB, k.BPF_SK_SKB_VERDICT, 0),
    ("sk_skb", k.BPF_PROG_TYPE_SK_SKB, 0, 0),
    ("sk_msg", k.BPF_PROG_TYPE_SK_MSG, k.BPF_SK_MSG_VERDICT, 0),
    ("lirc_mode2", k.BPF_PROG_TYPE_LIRC_MODE2, k.BPF_LIRC_MODE2, 0),
    ("flow_dissector", k.BPF_PROG_TYPE_FLOW_DISSECTOR, k.BPF_FLOW_DISSECTOR, 0),
    ("sk_lookup", k.BPF_PROG_TYPE_SK_LOOKUP, k.BPF_SK_LOOKUP, 0),
    ("netfilter", k.BPF_PROG_TYPE_NETFILTER, k.BPF_NETFILTER, 0),
    ("cgroup_skb/ingress", k.BPF_PROG_TYPE_CGROUP_SKB, k.BPF_CGROUP_INET_INGRESS, 0),
    ("cgroup_skb/egress", k.BPF_PROG_TYPE_CGROUP_SKB, k.BPF_CGROUP_INET_EGRESS, 0),
    ("cgroup/skb", k.BPF_PROG_TYPE_CGROUP_SKB, 0, 0),
    ("cgroup/sock_create", _SOCK, k.BPF_CGROUP_INET_SOCK_CREATE, 0),
    ("cgroup/sock_release", _SOCK, k.BPF_CGROUP_INET_SOCK_RELEASE, 0),
    ("cgroup/sock", _SOCK, k.BPF_CGROUP_INET_SOCK_CREATE, 0),
    ("cgroup/post_bind4", _SOCK, k.BPF_CGROUP_INET4_POST_BIND, 0),
    ("cgroup/post_bind6", _SOCK, k.BPF_CGROUP_INET6_POST_BIND, 0),
    ("cgroup/bind4", _ADDR, k.BPF_CGROUP_INET4_BIND, 0),
    ("cgroup/bind6", _ADDR, k.BPF_CGROUP_INET6_BIND, 0),
    ("cgroup/connect4", _ADDR, k.BPF_CGROUP_INET4_CONNECT, 0),
    ("cgroup/connect6", _ADDR, k.BPF_CGROUP_INET6_CONNECT, 0),
    ("cgroup/connect_unix", _ADDR, k.BPF_CGROUP_UNIX_CONNECT, 0),
    ("cgroup/sendmsg4", _ADDR, k.BPF_CGROUP_UDP4_SENDMSG, 0),
    ("cgroup/sendmsg6", _ADDR, k.BPF_CGROUP_UDP6_SENDMSG, 0),
    ("cgroup/sendmsg_unix", _ADDR, k.BPF_CGROUP_UNIX_SENDMSG, 0),
    ("cgroup/recvmsg4", _ADDR, k.BPF_CGROUP_UDP4_RECVMSG, 0),
    ("cgroup/recvmsg6", _ADDR, k.BPF_CGROUP_UDP6_RECVMSG, 0),
    ("cgroup/recvmsg_unix", _ADDR, k.BPF_CGROUP_UNIX_RECVMSG, 0),
    ("cgroup/getpeername4", _ADDR, k.BPF_CGROUP_INET4_GETPEERNAME, 0),
    ("cgroup/getpeername6", _ADDR, k.BPF_CGROUP_INET6_GETPEERNAME, 0),
    ("cgroup/getpeername_unix", _ADDR, k.BPF_CGROUP_UNIX_GETPEERNAME, 0),
    ("cgroup/getsockname4", _ADDR, k.BPF_CGROUP_INET4_GETSOCKNAME, 0),
    ("cgroup/getsockname6", _ADDR, k.BPF_CGROUP_INET6_GETSOCKNAME, 0),
    ("cgroup/getsockname_unix", _ADDR, k.BPF_CGROUP_UNIX_GETSOCKNAME, 0),
    ("cgroup/sysctl", k.BPF_PROG_TYPE_CGROUP_SYSCTL, k.BPF_CGROUP_SYSCTL, 0),
    ("cgroup/getsockopt", k.BPF_PROG_TYPE_CGROUP_SOCKOPT, k.BPF_CGROUP_GETSOCKOPT, 0),
    ("cgroup/setsockopt", k.BPF_PROG_TYPE_CGROUP_SOCKOPT, k.BPF_CGROUP_SETSOCKOPT, 0),
    ("cgroup/dev", k.BPF_PROG_TYPE_CGROUP_DEVICE, k.BPF_CGROUP_DEVICE, 0),
)  # fmt: skip

#: Every kind of section by its name.
RULES: dict[str, SectionRule] = {
    **{row[0]: SectionRule(*row, takes_target=True) for row in _TARGETED},
    **{row[0]: SectionRule(*row, takes_target=True, by_btf=True) for row in _BY_BTF},
    **{row[0]: SectionRule(*row) for row in _WHOLE},
}


def match(section: str) -> SectionRule | None:
    """Return the rule for a section name (without a leading ``?``), None if it has no meaning."""
    whole = RULES.get(section)
    if whole is not None:
        return whole
    rule = RULES.get(section.partition("/")[0])
    return rule if rule is not None and rule.takes_target else None

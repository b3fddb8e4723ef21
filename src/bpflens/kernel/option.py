"""Which kernel option brings what: for messages that name the option to switch on.

Turns the name of a program type, map type, attach type or feature into an option, and says whether
the running kernel was built without it. Only messages are made of this; what a kernel can do is
always tried (:mod:`bpflens.kernel.feature`).

Example::

    absent("attach type", "trace_kprobe_multi")     # "CONFIG_FPROBE" where it is not set
"""

from __future__ import annotations

from bpflens.kernel.limits import kernel_config

__all__ = ["absent", "option"]

_OPTIONS = {
    "program type": (
        ("CONFIG_BPF_EVENTS", "kprobe tracepoint perf_event raw_tracepoint "
                              "raw_tracepoint_writable"),
        ("CONFIG_CGROUP_BPF", "cgroup_skb cgroup_sock cgroup_device cgroup_sock_addr cgroup_sysctl "
                              "cgroup_sockopt sock_ops"),
        ("CONFIG_LWTUNNEL_BPF", "lwt_in lwt_out lwt_xmit"),
        ("CONFIG_IPV6_SEG6_BPF", "lwt_seg6local"),
        ("CONFIG_BPF_LIRC_MODE2", "lirc_mode2"),
        ("CONFIG_BPF_LSM", "lsm"),
        ("CONFIG_NET_SOCK_MSG", "sk_msg sk_skb"),
        ("CONFIG_NETFILTER_BPF_LINK", "netfilter"),
        ("CONFIG_BPF_JIT", "struct_ops tracing ext"),
        ("CONFIG_NET", "sched_cls sched_act xdp flow_dissector sk_lookup sk_reuseport"),
    ),
    "map type": (
        ("CONFIG_XDP_SOCKETS", "xskmap"),
        ("CONFIG_NET_SOCK_MSG", "sockmap sockhash"),
        ("CONFIG_CGROUP_BPF", "cgroup_storage percpu_cgroup_storage"),
        ("CONFIG_CGROUPS", "cgroup_array cgrp_storage"),
        ("CONFIG_BPF_LSM", "inode_storage"),
        ("CONFIG_PERF_EVENTS", "stack_trace"),
        ("CONFIG_NET", "devmap devmap_hash sk_storage reuseport_sockarray"),
        ("CONFIG_BPF_JIT", "struct_ops"),
    ),
    "attach type": (
        ("CONFIG_FPROBE", "trace_kprobe_multi trace_kprobe_session"),
        ("CONFIG_UPROBES", "trace_uprobe_multi trace_uprobe_session"),
        ("CONFIG_NETKIT", "netkit_primary netkit_peer"),
        ("CONFIG_NET_XGRESS", "tcx_ingress tcx_egress"),
        ("CONFIG_NETFILTER_BPF_LINK", "netfilter"),
        ("CONFIG_BPF_LSM", "lsm_mac lsm_cgroup"),
    ),
    "feature": (
        ("CONFIG_KPROBE_EVENTS", "kprobe"),
        ("CONFIG_UPROBE_EVENTS", "uprobe uprobe_refcnt"),
        ("CONFIG_FPROBE", "kprobe_multi kprobe_session"),
        ("CONFIG_UPROBES", "uprobe_multi uprobe_session"),
        ("CONFIG_BPF_KPROBE_OVERRIDE", "override_return"),
        ("CONFIG_BPF_LSM", "lsm"),
        ("CONFIG_NETKIT", "netkit"),
        ("CONFIG_NET_XGRESS", "tcx"),
        ("CONFIG_NETFILTER_BPF_LINK", "netfilter"),
        ("CONFIG_CGROUP_BPF", "cgroup_link"),
        ("CONFIG_NET_SOCK_MSG", "sockmap_link"),
        ("CONFIG_DEBUG_INFO_BTF", "vmlinux_btf tp_btf iter open_coded_iter kfunc exceptions d_path "
                                  "skb_output xdp_link fentry fexit fmod_ret fsession"),
        ("CONFIG_BPF_JIT", "freplace struct_ops"),
    ),
}  # fmt: skip


def option(kind: str, name: str) -> str:
    """Return the option that brings ``name``; empty when there is none in particular.

    ``kind`` is ``"program type"``, ``"map type"``, ``"attach type"`` or ``"feature"``.
    """
    for found, names in _OPTIONS[kind]:
        if name in names.split():
            return found
    return ""


def absent(kind: str, name: str) -> str:
    """Return that option if the running kernel is known to be built without it, else ``""``."""
    found = option(kind, name)
    config = kernel_config() if found else None
    return found if config is not None and config.get(found) not in ("y", "m") else ""

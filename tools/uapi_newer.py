"""UAPI names that are newer than the headers ``gen_uapi.py`` reads.

The distribution's headers are older than the kernels bpflens works on. ``NEWER_NAMES`` lists the
enumerators that came later and whose values the running kernel's BTF tells; ``NEWER_VALUES`` those
that no BTF holds (macros) or that are newer than the kernel the tables were made on. Values of the
kernel's ABI never change once released.
"""

from __future__ import annotations

# Enumerators to take from BTF, under the enum of linux/bpf.h they belong to.
NEWER_NAMES: dict[str, str] = {
    "bpf_cmd": "BPF_TOKEN_CREATE BPF_PROG_STREAM_READ_BY_FD",
    "bpf_link_type": """BPF_LINK_TYPE_NETFILTER BPF_LINK_TYPE_TCX BPF_LINK_TYPE_UPROBE_MULTI
        BPF_LINK_TYPE_NETKIT BPF_LINK_TYPE_SOCKMAP""",
    "bpf_map_type": """BPF_MAP_TYPE_CGRP_STORAGE BPF_MAP_TYPE_ARENA
        BPF_MAP_TYPE_CGROUP_STORAGE_DEPRECATED BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE_DEPRECATED""",
    "bpf_prog_type": "BPF_PROG_TYPE_NETFILTER",
    "bpf_attach_type": """BPF_STRUCT_OPS BPF_NETFILTER BPF_TCX_INGRESS BPF_TCX_EGRESS
        BPF_TRACE_UPROBE_MULTI BPF_CGROUP_UNIX_CONNECT BPF_CGROUP_UNIX_SENDMSG
        BPF_CGROUP_UNIX_RECVMSG BPF_CGROUP_UNIX_GETPEERNAME BPF_CGROUP_UNIX_GETSOCKNAME
        BPF_NETKIT_PRIMARY BPF_NETKIT_PEER BPF_TRACE_KPROBE_SESSION BPF_TRACE_UPROBE_SESSION""",
    "bpf_func_id": "BPF_FUNC_cgrp_storage_get BPF_FUNC_cgrp_storage_delete",
    "bpf_perf_event_type": """BPF_PERF_EVENT_UNSPEC BPF_PERF_EVENT_UPROBE BPF_PERF_EVENT_URETPROBE
        BPF_PERF_EVENT_KPROBE BPF_PERF_EVENT_KRETPROBE BPF_PERF_EVENT_TRACEPOINT
        BPF_PERF_EVENT_EVENT""",
    "bpf_cond_pseudo_jmp": "BPF_MAY_GOTO",
    "BPF_MAP_CREATE flags": """BPF_F_PATH_FD BPF_F_VTYPE_BTF_OBJ_FD BPF_F_TOKEN_FD
        BPF_F_SEGV_ON_FAULT BPF_F_NO_USER_CONV""",
    "BPF_LINK_CREATE flags": "BPF_F_UPROBE_MULTI_RETURN",
    "timer flags": "BPF_F_TIMER_ABS BPF_F_TIMER_CPU_PIN",
    "adjust room flags": """BPF_F_ADJ_ROOM_DECAP_L3_IPV4 BPF_F_ADJ_ROOM_DECAP_L3_IPV6
        BPF_F_NO_TUNNEL_KEY BPF_FIB_LOOKUP_MARK""",
    "bpf_skb_tstamp type": """BPF_SKB_CLOCK_REALTIME BPF_SKB_CLOCK_MONOTONIC BPF_SKB_CLOCK_TAI""",
    "sock_ops": """BPF_SOCK_OPS_TSTAMP_SCHED_CB BPF_SOCK_OPS_TSTAMP_SND_SW_CB
        BPF_SOCK_OPS_TSTAMP_SND_HW_CB BPF_SOCK_OPS_TSTAMP_ACK_CB BPF_SOCK_OPS_TSTAMP_SENDMSG_CB
        BPF_TCP_BOUND_INACTIVE TCP_BPF_SOCK_OPS_CB_FLAGS SK_BPF_CB_FLAGS
        SK_BPF_CB_TX_TIMESTAMPING SK_BPF_CB_MASK""",
    "tcx_action_base": "TCX_NEXT TCX_PASS TCX_DROP TCX_REDIRECT",
}

NEWER_VALUES: dict[str, dict[str, int]] = {
    # Macros, which BTF does not hold.
    "opcodes since 6.1": {
        "BPF_MEMSX": 0x80,
        "BPF_JCOND": 0xE0,
        "BPF_LOAD_ACQ": 0x100,
        "BPF_STORE_REL": 0x110,
        "BPF_ADDR_SPACE_CAST": 1,
    },
    "attach flags since 6.1": {
        "BPF_F_BEFORE": 1 << 3,
        "BPF_F_AFTER": 1 << 4,
        "BPF_F_ID": 1 << 5,
        "BPF_F_PREORDER": 1 << 6,
        "BPF_F_LINK": 1 << 13,
        "BPF_F_NETFILTER_IP_DEFRAG": 1 << 0,
        "BPF_F_UPROBE_MULTI_PATH_FD": 1 << 1,
    },
    "program flags since 6.1": {
        "BPF_F_XDP_DEV_BOUND_ONLY": 1 << 6,
        "BPF_F_TEST_REG_INVARIANTS": 1 << 7,
    },
    # The kernel's own, not in its UAPI headers, but visible in dumps.
    "internal opcodes": {
        "BPF_PROBE_MEM": 0x20,
        "BPF_PROBE_MEMSX": 0x40,
        "BPF_PROBE_MEM32": 0xA0,
        "BPF_PROBE_ATOMIC": 0xE0,
        "BPF_PROBE_MEM32SX": 0xC0,
        "BPF_TAIL_CALL": 0xF0,
        "BPF_CALL_ARGS": 0xE0,
    },
    # Of an enum that no type of the kernel refers to.
    "program streams": {"BPF_STREAM_STDOUT": 1, "BPF_STREAM_STDERR": 2},
    # Since Linux 6.19 and 7.x.
    "bpf_cmd": {"BPF_PROG_ASSOC_STRUCT_OPS": 38},
    "bpf_map_type": {"BPF_MAP_TYPE_INSN_ARRAY": 34, "BPF_MAP_TYPE_RHASH": 35},
    "bpf_link_type": {"BPF_LINK_TYPE_TRACING_MULTI": 15},
    "bpf_attach_type": {
        "BPF_TRACE_FSESSION": 58,
        "BPF_TRACE_FENTRY_MULTI": 59,
        "BPF_TRACE_FEXIT_MULTI": 60,
        "BPF_TRACE_FSESSION_MULTI": 61,
    },
    "map flags since 6.19": {
        "BPF_F_RB_OVERWRITE": 1 << 19,
        "BPF_F_CPU": 8,
        "BPF_F_ALL_CPUS": 16,
        "BPF_RB_OVERWRITE_POS": 4,
    },
    "more, since 6.18": {
        "BPF_COMMON_ATTRS": 1 << 16,
        "BPF_F_EGRESS": 1 << 1,
        "BPF_F_PAD_ZEROS": 1 << 0,
        "BPF_CGROUP_ITER_CHILDREN": 5,
        "SK_BPF_BYPASS_PROT_MEM": 1010,
    },
}

# Members of union bpf_attr since 6.19: a whole member, or fields to add to one.
Fields = tuple[tuple[str, int, int], ...]
NEWER_ATTRS: dict[str, Fields] = {
    "prog_assoc_struct_ops": (("map_fd", 0, 4), ("prog_fd", 4, 4), ("flags", 8, 4)),
    "link_create": (
        ("tracing_multi", 16, 24),
        ("tracing_multi.ids", 16, 8),
        ("tracing_multi.cookies", 24, 8),
        ("tracing_multi.cnt", 32, 4),
    ),
}

# Since Linux 6.2 up to 7.x; the same numbers on every 64-bit architecture.
NEWER_SYSCALLS: dict[int, str] = {
    451: "cachestat",
    452: "fchmodat2",
    453: "map_shadow_stack",
    454: "futex_wake",
    455: "futex_wait",
    456: "futex_requeue",
    457: "statmount",
    458: "listmount",
    459: "lsm_get_self_attr",
    460: "lsm_set_self_attr",
    461: "lsm_list_modules",
    462: "mseal",
    463: "setxattrat",
    464: "getxattrat",
    465: "listxattrat",
    466: "removexattrat",
    467: "open_tree_attr",
    468: "file_getattr",
    469: "file_setattr",
    470: "listns",
}

# x86-64 only: the uprobe trampolines' own system calls (6.11 and 6.18).
NEWER_SYSCALLS_X86_64: dict[int, str] = {335: "uretprobe", 336: "uprobe"}

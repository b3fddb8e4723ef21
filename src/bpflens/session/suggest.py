"""What to use where a probe kind is missing: what it needs, and the nearest probes that exist here.

Functions of the kernel are known by the events they stand behind: ``do_sys_open`` by the system
call, ``schedule`` by ``sched:sched_switch``. Any other name is compared with those of all
tracepoints, part by part.

Example::

    missing("kprobe")                      # 'this kernel has no kprobe (CONFIG_KPROBE_EVENTS ...)'
    nearest("kprobe", ["do_sys_open"])     # ['tracepoint:syscalls:sys_enter_openat', ...]
"""

from __future__ import annotations

from bpflens.kernel import tracefs
from bpflens.kernel.feature import feature
from bpflens.lang.glob import Glob

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["KIND_FEATURES", "hints", "missing", "nearest"]

#: Probe kinds that a kernel may lack, and the feature that each needs.
KIND_FEATURES = {
    "kprobe": "kprobe",
    "kretprobe": "kprobe",
    "fentry": "fentry",
    "fexit": "fexit",
    "uprobe": "uprobe",
    "uretprobe": "uprobe",
    "usdt": "uprobe",
    "iter": "iter",
}
_RETURNS = ("kretprobe", "fexit")
_MOST = 4
_MOST_TRIED = 100
# Beginnings of function names → system calls that come through them.
_CALLS = {
    "do_sys_open": "openat open openat2",
    "do_sys_openat2": "openat open openat2",
    "do_filp_open": "openat open openat2",
    "vfs_open": "openat open openat2",
    "vfs_read": "read pread64 readv",
    "ksys_read": "read",
    "vfs_write": "write pwrite64 writev",
    "ksys_write": "write",
    "vfs_fsync": "fsync fdatasync",
    "vfs_stat": "newstat newfstatat statx",
    "vfs_unlink": "unlink unlinkat",
    "do_unlinkat": "unlinkat unlink",
    "vfs_rename": "renameat2 rename",
    "vfs_mkdir": "mkdirat mkdir",
    "do_mkdirat": "mkdirat mkdir",
    "do_nanosleep": "clock_nanosleep nanosleep",
    "hrtimer_nanosleep": "clock_nanosleep nanosleep",
    "do_execve": "execve execveat",
    "do_mmap": "mmap",
    "vm_mmap": "mmap",
    "do_munmap": "munmap",
    "do_futex": "futex",
    "do_epoll_wait": "epoll_wait epoll_pwait",
    "security_file_open": "openat open openat2",
}
# Beginnings of function names → other tracepoints at or near them; the longest beginning counts.
_EVENTS = {
    "schedule": "sched:sched_switch",
    "__schedule": "sched:sched_switch",
    "finish_task_switch": "sched:sched_switch",
    "try_to_wake_up": "sched:sched_wakeup sched:sched_waking",
    "wake_up": "sched:sched_wakeup",
    "kernel_clone": "sched:sched_process_fork",
    "_do_fork": "sched:sched_process_fork",
    "copy_process": "sched:sched_process_fork",
    "do_exit": "sched:sched_process_exit",
    "do_execve": "sched:sched_process_exec",
    "tcp_": "tcp:* sock:inet_sock_set_state",
    "tcp_connect": "sock:inet_sock_set_state syscalls:sys_enter_connect",
    "tcp_v4_connect": "sock:inet_sock_set_state syscalls:sys_enter_connect",
    "tcp_sendmsg": "tcp:tcp_sendmsg_locked sock:sock_send_length syscalls:sys_enter_sendto",
    "tcp_recvmsg": "sock:sock_recv_length syscalls:sys_enter_recvfrom",
    "tcp_retransmit": "tcp:tcp_retransmit_skb",
    "tcp_set_state": "sock:inet_sock_set_state",
    "inet_csk_accept": "sock:inet_sock_set_state syscalls:sys_enter_accept4",
    "udp_": "udp:* net:net_dev_queue",
    "ip_": "net:net_dev_queue net:netif_receive_skb",
    "dev_queue_xmit": "net:net_dev_queue net:net_dev_start_xmit",
    "netif_": "net:netif_receive_skb net:netif_rx",
    "kfree_skb": "skb:kfree_skb",
    "consume_skb": "skb:consume_skb",
    "blk_": "block:block_rq_issue block:block_rq_complete",
    "submit_bio": "block:block_bio_queue",
    "bio_": "block:block_bio_queue block:block_bio_complete",
    "handle_mm_fault": "exceptions:page_fault_user",
    "do_user_addr_fault": "exceptions:page_fault_user",
    "oom_kill_process": "oom:mark_victim",
    "__alloc_pages": "kmem:mm_page_alloc",
    "__free_pages": "kmem:mm_page_free",
    "kmalloc": "kmem:kmalloc",
    "__kmalloc": "kmem:kmalloc",
    "kfree": "kmem:kfree",
    "kmem_cache_alloc": "kmem:kmem_cache_alloc",
    "kmem_cache_free": "kmem:kmem_cache_free",
    "send_signal": "signal:signal_generate",
    "do_send_sig": "signal:signal_generate",
    "get_signal": "signal:signal_deliver",
    "run_timer": "timer:timer_expire_entry",
    "hrtimer_": "timer:hrtimer_start timer:hrtimer_expire_entry",
    "process_one_work": "workqueue:workqueue_execute_start",
    "queue_work": "workqueue:workqueue_queue_work",
    "shrink_": "vmscan:*",
    "ext4_": "ext4:*",
    "xfs_": "xfs:*",
    "btrfs_": "btrfs:*",
    "nfs_": "nfs:*",
}
# What functions are called that do the work of a system call, before its name.
_CALL_PREFIXES = (
    "__x64_sys_", "__arm64_sys_", "__ia32_sys_", "__se_sys_", "__do_sys_", "ksys_", "do_sys_",
    "sys_", "SyS_", "__sys_", "vfs_", "do_",
)  # fmt: skip


def missing(kind: str) -> str:
    """Say what the kernel would need for a kind of probe; "" if it has it or nobody can tell."""
    name = KIND_FEATURES.get(kind)
    if name is None:
        return ""
    found = feature(name)
    if found.answer() is not False:
        return ""
    from bpflens.kernel.option import absent, option

    left_out = absent("feature", name)
    if left_out:
        return f"this kernel has no {kind}: it was built without {left_out}"
    if found.why:
        return f"this kernel does not take {kind}: {found.why}"
    needs = option("feature", name)
    since = f", in Linux since {found.since}" if found.since else ""
    return f"this kernel has no {kind}: it needs {needs or 'a newer kernel'}{since}"


def hints(kind: str, functions: Sequence[str]) -> list[str]:
    """Return sentences that name the nearest probes of this machine."""
    found = nearest(kind, functions)
    if not found:
        return ["`bpftrace -l 'tracepoint:*'` lists what can be traced here"]
    return [
        f"the nearest that exist here: {', '.join(found)}",
        f"their arguments are args.NAME: see `bpftrace -lv '{found[0]}'`",
    ]


def nearest(kind: str, functions: Sequence[str]) -> list[str]:
    """Return tracepoints that see what a probe on kernel functions (patterns) would see."""
    found: list[str] = []
    try:
        for function in functions[:_MOST_TRIED]:
            found += [name for name in _known(kind, function) if name not in found]
            if len(found) >= _MOST:
                break
        found = found or _similar(functions[0])
    except OSError:
        # tracefs cannot be read.
        return []
    return [f"tracepoint:{name}" for name in found[:_MOST]]


def _known(kind: str, function: str) -> list[str]:
    name = function.rstrip("*")
    direction = "exit" if kind in _RETURNS else "enter"
    calls = _longest(_CALLS, name).split() + [
        name[len(prefix) :] for prefix in _CALL_PREFIXES if name.startswith(prefix)
    ]
    wanted = [f"syscalls:sys_{direction}_{call}" for call in calls if call]
    wanted += _longest(_EVENTS, name).split()
    return _existing(wanted)


def _longest(table: dict[str, str], name: str) -> str:
    keys = [key for key in table if name.startswith(key)]
    return table[max(keys, key=len)] if keys else ""


def _existing(names: Iterable[str]) -> list[str]:
    found: list[str] = []
    for name in names:
        system, _, event = name.partition(":")
        if "*" in event:
            # A subsystem's events are named by the pattern as long as it has any.
            if system in tracefs.systems():
                found.append(name)
        elif tracefs.is_event(system, event) and name not in found:
            found.append(name)
    return found


def _similar(function: str) -> list[str]:
    # By shared parts of names: rare parts count more than "do" or "get".
    pattern = Glob(function) if "*" in function else None
    parts = {part for part in function.replace("*", "_").split("_") if len(part) > 1}
    scored: list[tuple[float, str]] = []
    for system in tracefs.systems():
        for event in tracefs.events(system):
            score = _score(parts, system, event)
            if pattern is not None and pattern.match(event):
                score += 2
            if score >= 2:
                scored.append((-score, f"{system}:{event}"))
    return [name for _, name in sorted(scored)[:_MOST]]


def _score(parts: set[str], system: str, event: str) -> float:
    words: Sequence[str] = event.split("_")
    score = sum(1.0 + len(part) / 8 for part in parts if part in words)
    if system in parts:
        score += 1
    return score - 0.1 * len(words) if score else 0

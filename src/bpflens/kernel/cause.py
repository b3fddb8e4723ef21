"""What an errno of bpf(2) or perf_event_open(2) most likely means, in words.

Turns ``(errno, command, context)`` into a SyscallError that says why and what to do. Looked at
only after a failure, so it may take its time: it reads capabilities, lockdown and sysctls of the
moment. It says "likely", because the kernel's number is all there is.

Example::

    explain(errno.EPERM, "BPF_MAP_CREATE")
    # BPF_MAP_CREATE: Operation not permitted (EPERM): CAP_BPF is missing; run as root or ...
"""

from __future__ import annotations

import errno

from bpflens.errors import SyscallError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["explain"]

_Reason = tuple[str, str]

# Program types whose attachment points the kernel guards with CAP_NET_ADMIN and CAP_PERFMON
# (bpf_prog_load() in kernel/bpf/syscall.c).
_NET_TYPES = frozenset(
    "sched_cls sched_act xdp sk_skb sk_msg lwt_in lwt_out lwt_xmit lwt_seg6local "
    "flow_dissector cgroup_device cgroup_sock cgroup_sock_addr cgroup_sockopt cgroup_sysctl "
    "sock_ops sk_reuseport netfilter ext".split()
)
_PERF_TYPES = frozenset(
    "kprobe tracepoint perf_event raw_tracepoint raw_tracepoint_writable tracing lsm "
    "struct_ops ext".split()
)
_LOCKABLE = frozenset(("tracing", "lsm", "ext"))


def explain(number: int, command: str, **context: object) -> SyscallError:
    """Return a SyscallError for errno ``number`` of ``command`` with cause and remedy.

    ``context`` may hold ``prog_type``, ``map_type``, ``attach_type``, ``path``, ``tracepoint``,
    ``id`` and ``max_entries``; whatever is there is used.
    """
    reason = _REASONS.get(number)
    cause, remedy = reason(command, context) if reason is not None else ("", "")
    return SyscallError(number, _described(command, context), cause, remedy)


def _described(command: str, context: dict[str, object]) -> str:
    words = [command]
    for key in ("map_type", "prog_type"):
        name = _type_name(key, context)
        if name:
            words.append(name)
    if context.get("name"):
        words.append(repr(context["name"]))
    if "id" in context:
        words.append(f"id {context['id']}")
    return " ".join(words)


def _type_name(key: str, context: dict[str, object]) -> str:
    value = context.get(key)
    if not isinstance(value, int):
        return ""
    from bpflens.uapi.bpf import MAP_TYPE_NAMES, PROG_TYPE_NAMES

    names = MAP_TYPE_NAMES if key == "map_type" else PROG_TYPE_NAMES
    return names[value] if value < len(names) else f"type {value}"


def _permission(command: str, context: dict[str, object]) -> _Reason:
    from bpflens.kernel import capability

    missing = [
        f"CAP_{capability.CAP_NAMES[number].upper()}"
        for number in _needed(command, context)
        if not capability.has(number)
    ]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        return f"{' and '.join(missing)} {verb} missing", "run as root or grant the capability"
    return _forbidden(command, context)


def _needed(command: str, context: dict[str, object]) -> list[int]:
    from bpflens.kernel.capability import CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON, CAP_SYS_ADMIN

    if command.startswith("perf_event_open"):
        return [CAP_PERFMON]
    if "_BY_ID" in command or "GET_NEXT_ID" in command or "ENABLE_STATS" in command:
        return [CAP_SYS_ADMIN]
    kind = _type_name("prog_type", context)
    needed = [CAP_BPF]
    if kind in _PERF_TYPES:
        needed.append(CAP_PERFMON)
    if kind in _NET_TYPES or _type_name("map_type", context) in (
        "devmap", "devmap_hash", "sockmap", "sockhash", "xskmap",
    ):  # fmt: skip
        needed.append(CAP_NET_ADMIN)
    return needed


def _forbidden(command: str, context: dict[str, object]) -> _Reason:
    # Every capability is there, and still no.
    from bpflens.kernel.limits import lockdown, sysctl

    level = lockdown()
    kind = _type_name("prog_type", context)
    if level == "confidentiality":
        return "kernel lockdown is at level confidentiality", "boot with lockdown=integrity or none"
    if kind in _LOCKABLE:
        return (
            f"all capabilities are there, yet this kernel refuses programs of type {kind} "
            "(a security module or the kernel's own build forbids them)",
            "use a tracepoint or another probe kind, or another kernel",
        )
    if command.startswith("perf_event_open"):
        paranoid = sysctl("kernel.perf_event_paranoid")
        if paranoid is not None and paranoid > 2:
            return f"kernel.perf_event_paranoid is {paranoid}", "lower it with sysctl"
    if "MAP_UPDATE" in command or "MAP_DELETE" in command or "MAP_LOOKUP" in command:
        return "the map is frozen, or was opened or created without this right", ""
    if "MAP_CREATE" in command or "BTF_LOAD" in command:
        return (
            "all capabilities are there; a security module, or RLIMIT_MEMLOCK before Linux 5.11, "
            "may forbid it",
            "try `ulimit -l unlimited`",
        )
    return "all capabilities are there; a security module or seccomp filter may forbid it", ""


def _left_out(context: dict[str, object]) -> _Reason:
    # The option that this kernel was built without, if that is what stands in the way.
    from bpflens.kernel.option import absent
    from bpflens.uapi.bpf import ATTACH_TYPE_NAMES

    number = context.get("attach_type")
    known = isinstance(number, int) and number < len(ATTACH_TYPE_NAMES)
    attach = ATTACH_TYPE_NAMES[number] if isinstance(number, int) and known else ""
    for kind, name in (
        ("program type", _type_name("prog_type", context)),
        ("map type", _type_name("map_type", context)),
        ("attach type", attach),
    ):
        option = absent(kind, name) if name else ""
        if option:
            return f"this kernel was built without {option}, which {name} needs", ""
    return "", ""


def _invalid(command: str, context: dict[str, object]) -> _Reason:
    left_out = _left_out(context)
    if left_out[0]:
        return left_out
    if "PROG_LOAD" in command:
        return (
            "this kernel does not know the program type, attach type, a flag or an instruction",
            "",
        )
    if "MAP_CREATE" in command:
        return "sizes, flags or map type are not what this kernel accepts", ""
    if "BATCH" in command:
        return "this kernel has no batch operations for the map", ""
    if "LINK_CREATE" in command or "ATTACH" in command:
        return "attach type and program do not match, or this kernel does not know the kind", ""
    return "an argument, or a command or flag that this kernel does not know", ""


def _too_big(command: str, context: dict[str, object]) -> _Reason:
    if "MAP_UPDATE" in command:
        return "the map is full, or the index is beyond its end", "make max_entries larger"
    if "MAP_CREATE" in command:
        return "the map is too large, or this kernel does not know one of the fields", ""
    if "PROG_LOAD" in command:
        return "the program is too long for this kernel, or a field is unknown to it", ""
    return "this kernel does not know one of the fields that were set", ""


def _no_entry(command: str, context: dict[str, object]) -> _Reason:
    if "path" in context:
        return "nothing is pinned there", "look at `bpflens bpftool map show pinned PATH`"
    if context.get("tracepoint") is not None:
        return f"there is no tracepoint {context['tracepoint']}", "see /sys/kernel/tracing/events"
    if "_BY_ID" in command:
        return "no such object; it may just have gone away", ""
    if command.startswith("perf_event_open"):
        return "this machine does not have the event", ""
    return "", ""


def _busy(command: str, context: dict[str, object]) -> _Reason:
    if "ATTACH" in command or "LINK_CREATE" in command or command.startswith("perf_event_open"):
        return "something else is attached there already", "detach it first"
    if "FREEZE" in command:
        return "the map is mapped writable, or is being written to", ""
    return "", ""


def _exists(command: str, context: dict[str, object]) -> _Reason:
    if "path" in context:
        return "the path exists already", "remove it first"
    if "MAP_UPDATE" in command:
        return "the key is there already", ""
    return "it is attached there already", ""


def _not_supported(command: str, context: dict[str, object]) -> _Reason:
    left_out = _left_out(context)
    if left_out[0]:
        return left_out
    if "TEST_RUN" in command:
        return "programs of this type cannot be test run", ""
    if "MAP_" in command:
        return "maps of this type do not have the operation", ""
    return "this kernel was built without it, or does not have it for this kind", ""


def _no_memory(command: str, context: dict[str, object]) -> _Reason:
    return "the kernel has no memory for it, or the memory cgroup's limit is reached", ""


def _fault(command: str, context: dict[str, object]) -> _Reason:
    return "an address handed over cannot be read or written", ""


def _no_system_call(command: str, context: dict[str, object]) -> _Reason:
    return "this kernel was built without it", "a kernel with CONFIG_BPF_SYSCALL is needed"


def _not_bpffs(command: str, context: dict[str, object]) -> _Reason:
    if "path" in context:
        return "the path is not on a BPF file system", "mount -t bpf bpf /sys/fs/bpf"
    return _permission(command, context)


def _access(command: str, context: dict[str, object]) -> _Reason:
    if "path" in context:
        return "the pin's permissions forbid it", ""
    if "TEST_RUN" in command:
        return "", ""
    return _permission(command, context)


def _eperm(command: str, context: dict[str, object]) -> _Reason:
    if "OBJ_PIN" in command:
        return _not_bpffs(command, context)
    return _permission(command, context)


_REASONS: dict[int, Callable[[str, dict[str, object]], _Reason]] = {
    errno.EPERM: _eperm,
    errno.EACCES: _access,
    errno.EINVAL: _invalid,
    errno.E2BIG: _too_big,
    errno.ENOENT: _no_entry,
    errno.EBUSY: _busy,
    errno.EEXIST: _exists,
    errno.EOPNOTSUPP: _not_supported,
    524: _not_supported,
    errno.ENOMEM: _no_memory,
    errno.EFAULT: _fault,
    errno.ENOSYS: _no_system_call,
}

"""``prog attach|detach PROG ATTACH_TYPE [MAP]``: programs of sockmaps, and flow dissectors.

Example::

    $ bpftool prog attach pinned /sys/fs/bpf/verdict sk_msg_verdict name sockets
"""

from __future__ import annotations

from bpflens.bpftool import handle
from bpflens.bpftool.tool import Failure
from bpflens.errors import SyscallError
from bpflens.kernel.prog_command import prog_attach, prog_detach
from bpflens.uapi import bpf as _uapi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.bpftool.tool import Tool
    from bpflens.bpftool.words import Words

__all__ = ["attach", "attach_type", "detach"]

_EINVAL = -22 & 0xFF

# Short names of bpftool for attach types whose own name is longer or other.
_SHORT = {
    _uapi.BPF_CGROUP_INET_INGRESS: "ingress",
    _uapi.BPF_CGROUP_INET_EGRESS: "egress",
    _uapi.BPF_CGROUP_INET_SOCK_CREATE: "sock_create",
    _uapi.BPF_CGROUP_INET_SOCK_RELEASE: "sock_release",
    _uapi.BPF_CGROUP_SOCK_OPS: "sock_ops",
    _uapi.BPF_CGROUP_DEVICE: "device",
    _uapi.BPF_CGROUP_INET4_BIND: "bind4",
    _uapi.BPF_CGROUP_INET6_BIND: "bind6",
    _uapi.BPF_CGROUP_INET4_CONNECT: "connect4",
    _uapi.BPF_CGROUP_INET6_CONNECT: "connect6",
    _uapi.BPF_CGROUP_UNIX_CONNECT: "connect_unix",
    _uapi.BPF_CGROUP_INET4_POST_BIND: "post_bind4",
    _uapi.BPF_CGROUP_INET6_POST_BIND: "post_bind6",
    _uapi.BPF_CGROUP_INET4_GETPEERNAME: "getpeername4",
    _uapi.BPF_CGROUP_INET6_GETPEERNAME: "getpeername6",
    _uapi.BPF_CGROUP_UNIX_GETPEERNAME: "getpeername_unix",
    _uapi.BPF_CGROUP_INET4_GETSOCKNAME: "getsockname4",
    _uapi.BPF_CGROUP_INET6_GETSOCKNAME: "getsockname6",
    _uapi.BPF_CGROUP_UNIX_GETSOCKNAME: "getsockname_unix",
    _uapi.BPF_CGROUP_UDP4_SENDMSG: "sendmsg4",
    _uapi.BPF_CGROUP_UDP6_SENDMSG: "sendmsg6",
    _uapi.BPF_CGROUP_UNIX_SENDMSG: "sendmsg_unix",
    _uapi.BPF_CGROUP_SYSCTL: "sysctl",
    _uapi.BPF_CGROUP_UDP4_RECVMSG: "recvmsg4",
    _uapi.BPF_CGROUP_UDP6_RECVMSG: "recvmsg6",
    _uapi.BPF_CGROUP_UNIX_RECVMSG: "recvmsg_unix",
    _uapi.BPF_CGROUP_GETSOCKOPT: "getsockopt",
    _uapi.BPF_CGROUP_SETSOCKOPT: "setsockopt",
    _uapi.BPF_TRACE_RAW_TP: "raw_tp",
    _uapi.BPF_TRACE_FENTRY: "fentry",
    _uapi.BPF_TRACE_FEXIT: "fexit",
    _uapi.BPF_MODIFY_RETURN: "mod_ret",
}


def attach_type(word: str) -> int | None:
    """Return the attach type of a name: exact, or a prefix of a short name."""
    names = _uapi.ATTACH_TYPE_NAMES
    if word in names:
        return names.index(word)
    for number in range(len(names)):
        short = _SHORT.get(number)
        if short is not None and short.startswith(word):
            return number
    return None


def attach(tool: Tool, words: Words) -> int:
    """Attach a program to a sockmap, or as flow dissector of this network namespace."""
    return _both(tool, words, True)


def detach(tool: Tool, words: Words) -> int:
    """Undo :func:`attach`."""
    return _both(tool, words, False)


def _both(tool: Tool, words: Words, is_attach: bool) -> int:
    words.need(3)
    with handle.one_program(words) as program:
        word = words.take("attach type")
        kind = attach_type(word)
        if kind is None:
            raise Failure("invalid attach/detach type", _EINVAL)
        if kind == _uapi.BPF_FLOW_DISSECTOR:
            _change(program.fd, 0, kind, is_attach, "the network namespace")
            return tool.done()
        words.need(2 if "/" not in (words.peek() or "") else 1)
        with handle.one_map(words) as map:
            words.end()
            _change(program.fd, map.fd, kind, is_attach, "map")
    return tool.done()


def _change(program: int, target: int, kind: int, is_attach: bool, what: str) -> None:
    try:
        (prog_attach if is_attach else prog_detach)(program, target, kind)
    except SyscallError as error:
        verb = "attach to" if is_attach else "detach from"
        raise handle.tell(f"failed prog {verb} {what}", error, _EINVAL) from None

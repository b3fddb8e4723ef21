"""``net attach|detach TYPE [PROG] dev NAME``: XDP by netlink, tcx by bpf(2).

Example::

    $ bpftool net attach xdpgeneric pinned /sys/fs/bpf/drop dev eth0 overwrite
"""

from __future__ import annotations

import errno

from bpflens.bpftool import handle
from bpflens.bpftool.net_show import device
from bpflens.bpftool.netlink import Refused, Route
from bpflens.bpftool.tool import Failure, errno_status, strerror
from bpflens.errors import SyscallError
from bpflens.kernel.prog_command import prog_attach, prog_detach
from bpflens.uapi import bpf as _uapi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.bpftool.tool import Tool
    from bpflens.bpftool.words import Words

__all__ = ["attach", "detach"]

_EINVAL = -22 & 0xFF
_IF_NOEXIST = 1
_XDP = {"xdp": 0, "xdpgeneric": 2, "xdpdrv": 4, "xdpoffload": 8}
_TCX = {"tcx_ingress": _uapi.BPF_TCX_INGRESS, "tcx_egress": _uapi.BPF_TCX_EGRESS}


def _type(words: Words) -> str:
    kind = words.take_keyword(*_XDP, *_TCX)
    if kind is None:
        raise Failure(f"invalid net attach/detach type: {words.peek()}", _EINVAL)
    return kind


def attach(tool: Tool, words: Words) -> int:
    """Attach a program to a device."""
    words.need(4)
    kind = _type(words)
    with handle.one_program(words) as program:
        index = device(words)
        option = words.take_keyword("overwrite", "prepend") if words else ""
        if option is None:
            text = f"expected 'overwrite' or 'prepend', got: '{words.peek()}'?"
            raise Failure(text, _EINVAL)
        words.end()
        if option == "overwrite" and kind not in _XDP:
            raise Failure("'overwrite' is only supported for xdp types", _EINVAL)
        if option == "prepend" and kind not in _TCX:
            raise Failure("'prepend' is only supported for tcx_ingress/tcx_egress", _EINVAL)
        try:
            if kind in _XDP:
                flags = _XDP[kind] | (0 if option == "overwrite" else _IF_NOEXIST)
                _set_xdp(index, program.fd, flags)
            else:
                flags = _uapi.BPF_F_BEFORE if option == "prepend" else 0
                prog_attach(program.fd, index, _TCX[kind], flags=flags)
        except OSError as error:
            text = f"interface {kind} attach failed: {_why(error, program.type_name, kind)}"
            raise Failure(text, errno_status(error)) from None
    return tool.done()


def detach(tool: Tool, words: Words) -> int:
    """Detach what is attached to a device."""
    words.need(3)
    kind = _type(words)
    index = device(words)
    words.end()
    try:
        if kind in _XDP:
            _set_xdp(index, -1, _XDP[kind])
        else:
            prog_detach(0, index, _TCX[kind])
    except OSError as error:
        text = f"interface {kind} detach failed: {_why(error, '', kind)}"
        raise Failure(text, errno_status(error)) from None
    return tool.done()


def _set_xdp(index: int, fd: int, flags: int) -> None:
    with Route() as route:
        route.set_xdp(index, fd, flags)


def _why(error: OSError, program_type: str, kind: str) -> str:
    text = strerror(error)
    if isinstance(error, Refused) and error.words:
        return f"{text}: {error.words}"
    if isinstance(error, SyscallError) and error.cause:
        text += f": {error.cause}"
    wanted = "xdp" if kind in _XDP else "sched_cls"
    if error.errno == errno.EINVAL and program_type and program_type != wanted:
        text += f": a {program_type} program, where one of type {wanted} is needed"
    return text

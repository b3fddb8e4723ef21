"""``kstack`` and ``ustack``: stacks of return addresses, kept once each in a stack map."""

from __future__ import annotations

from bpflens.lang import nodes as n
from bpflens.lang.types import STACK_FRAMES, Stack, Type
from bpflens.uapi.bpf import (
    BPF_F_REUSE_STACKID,
    BPF_F_USER_STACK,
    BPF_FUNC_get_stack,
    BPF_FUNC_get_stackid,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from bpflens.lang.analyse.checker import Checker
    from bpflens.lang.ir.ops import Value
    from bpflens.lang.lower.function import FunctionLowering, Ref

__all__ = ["check", "write"]

MODES = ("bpftrace", "perf", "raw", "build_id")
_MOST_FRAMES = 1024


def check(c: Checker, node: n.Node, arguments: Sequence[n.Node], user: bool) -> Type | None:
    """Type ``kstack([mode][, limit])``."""
    mode, limit = str(c.config["stack_mode"]), STACK_FRAMES
    for i, argument in enumerate(arguments):
        if isinstance(argument, n.Identifier) and i == 0 and argument.name in MODES:
            mode = argument.name
        elif isinstance(argument, n.Integer):
            limit = argument.value
        else:
            word = "ustack" if user else "kstack"
            c.error(
                argument,
                "arguments",
                f"{word}() expects a mode ({', '.join(MODES)}) and a number of frames",
            )
            return None
    if not 0 < limit <= _MOST_FRAMES:
        c.error(node, "arguments", f"a stack has 1 to {_MOST_FRAMES} frames ({limit} given)")
        return None
    return Stack(user, mode, limit)


def write(f: FunctionLowering, node: n.Node, place: Ref, wanted: Type) -> None:
    """Store a stack: its number in the stack map and, for user stacks, the process."""
    assert isinstance(wanted, Stack)
    name = f.resources.stack_map(wanted.limit)
    flags = BPF_F_REUSE_STACKID | (BPF_F_USER_STACK if wanted.user else 0)
    number = f.b.call(BPF_FUNC_get_stackid, f.ctx, f.b.map_fd(name), flags)
    f.b.store(place.base, place.off, number, 8)
    f.b.store(place.base, place.off + 8, _length(f, wanted), 4)
    from bpflens.lang.builtin import process_id

    pid = process_id(f) if wanted.user else 0
    f.b.store(place.base, place.off + 12, pid, 4)


def _length(f: FunctionLowering, wanted: Stack) -> Value:
    # Count the frames, which takes a second walk, if the script asks how many there are.
    if not f.resources.stack_lengths:
        return 0
    room = f.scratch(wanted.limit * 8)
    flags = BPF_F_USER_STACK if wanted.user else 0
    size = f.b.call(BPF_FUNC_get_stack, f.fn.ctx, f.address(room), wanted.limit * 8, flags)
    count, failed, done = f.fn.new("frames"), f.block("no_stack", cold=True), f.block("counted")
    f.b.assign(count, f.b.alu("rsh", size, 3))
    f.b.branch("slt", size, 0, failed, done)
    f.b.set_block(failed)
    f.b.assign(count, 0)
    f.b.jump(done)
    f.b.set_block(done)
    return count

"""``comm(pid)``: the name of another task, found by its number."""

from __future__ import annotations

from bpflens.lang.analyse.constant import kfunc_exists
from bpflens.lang.lower import event, memory
from bpflens.lang.types import COMM_SIZE, INT64, Enum, Int, String, Struct, Type

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from bpflens.lang import nodes as n
    from bpflens.lang.analyse.checker import Checker
    from bpflens.lang.lower.function import FunctionLowering, Ref

__all__ = ["check_comm", "write_comm"]

_SIZE = 64
# Programs of other kinds may not call functions that look tasks up.
_KINDS = frozenset((
    "tracepoint", "fentry", "fexit", "iter", "profile", "interval", "software", "hardware",
    "watchpoint",
))  # fmt: skip


def check_comm(c: Checker, node: n.Node, arguments: Sequence[n.Node]) -> Type | None:
    """Type ``comm(pid)``."""
    found = c.type(arguments[0])
    if len(arguments) > 1 or (found is not None and not isinstance(found, (Int, Enum))):
        c.error(node, "arguments", "Only integer supported for comm()'s pid")
    if not kfunc_exists(c.context, "bpf_task_from_pid"):
        c.error(node, "kernel", "comm(PID) needs the kernel function bpf_task_from_pid (Linux 6.2)")
    elif c.variant.kind not in _KINDS:
        c.error(
            node,
            "probe-kind",
            f"Syntax comm(PID) is not supported in this probe type yet. Type: {c.variant.kind}",
        )
    return String(_SIZE)


def write_comm(f: FunctionLowering, node: n.Call, place: Ref, wanted: Type) -> None:
    """Write the name of a task, "N/A" where there is none."""
    task_type = f.context.named_type("task_struct", "struct")
    assert isinstance(task_type, Struct)
    field = task_type.field("comm")
    assert field is not None
    pid = f.b.move(f.value(node.args[0]))
    task = f.b.kfunc("bpf_task_from_pid", pid)
    have, missing, done = f.block("task"), f.block("no_task", cold=True), f.block("named")
    f.b.branch("ne", task, 0, have, missing)
    f.b.set_block(have)
    size = min(COMM_SIZE, wanted.size)
    f.b.copy(place.base, place.off, task, field.offset, size, 8 if place.off % 8 == 0 else 1)
    memory.fill(f, place.at(size), wanted.size - size)
    f.b.kfunc("bpf_task_release", task)
    f.b.jump(done)
    f.b.set_block(missing)
    memory.store_bytes(f, b"N/A", place, wanted.size)

    def write_pid(at: Ref) -> None:
        f.b.store(at.base, at.off, pid, 8)

    text = b"No such process (pid=%lld)"
    event.emit(f, "warnf", [(INT64, write_pid)], format=text, place=f.resources.place(node))
    f.b.jump(done)
    f.b.set_block(done)

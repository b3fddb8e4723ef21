"""Functions that act on the current task: ``signal signal_thread override write_user``.

And what is said of its relatives: ``ppid pcomm leader_tid leader_comm``, which are short for
fields of ``struct task_struct``.
"""

from __future__ import annotations

from bpflens.lang import nodes as n
from bpflens.lang.analyse.constant import literal_of
from bpflens.lang.call import CallRule, count_arguments
from bpflens.lang.lower import memory
from bpflens.lang.lower.function import Ref
from bpflens.lang.types import BOOL, NONE, Aggregate, Enum, Int, NoneType, Type
from bpflens.uapi.bpf import (
    BPF_FUNC_override_return,
    BPF_FUNC_probe_write_user,
    BPF_FUNC_send_signal,
    BPF_FUNC_send_signal_thread,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.lang.analyse.checker import Checker
    from bpflens.lang.ir.ops import Value
    from bpflens.lang.lower.function import FunctionLowering

__all__ = ["CALLS", "SIGNALS", "check_relative", "needs_unsafe"]

_LAST_SIGNAL = 64
_MOST_WRITTEN = 1024
_SIGNAL_KINDS = frozenset((
    "kprobe", "kretprobe", "uprobe", "uretprobe", "usdt", "tracepoint", "profile", "fentry",
    "fexit", "rawtracepoint",
))  # fmt: skip
_TO_ALLOW = "unsafe. To use you need the --unsafe flag"
_UNSAFE = {"system": "an unsafe function being used in safe mode"}
# Numbers of asm-generic/signal.h, which x86 and arm64 share.
SIGNALS = {
    name: number
    for number, name in enumerate(
        "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT "
        "STOP TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS".split(),
        1,
    )
}


def needs_unsafe(c: Checker, node: n.Call) -> bool:
    """Complain about an unsafe function in safe mode; tell whether it may be used."""
    if c.context.options.get("unsafe"):
        return True
    c.error(
        node,
        "unsafe",
        f"{node.name}() is {_UNSAFE.get(node.name, _TO_ALLOW)}",
    )
    return False


# signals


def _signal_number(text: str) -> int | None:
    name = text.upper().removeprefix("SIG")
    if name.isdigit():
        return int(name)
    return SIGNALS.get(name)


def _check_signal(c: Checker, node: n.Call) -> Type | None:
    if not count_arguments(c, node, 1) or not needs_unsafe(c, node):
        return NONE
    if c.variant.kind not in _SIGNAL_KINDS:
        c.error(
            node,
            "probe-kind",
            f"{node.name}() can not be used for this probetype {c.variant.kind}",
        )
    argument = node.args[0]
    found = c.type(argument)
    value = literal_of(argument)
    if isinstance(value, bytes):
        if _signal_number(value.decode("utf-8", "replace")) is None:
            shown = value.decode("utf-8", "replace")
            c.error(argument, "signal", f"{shown} is not a valid signal")
    elif isinstance(value, int) and not isinstance(value, bool):
        if not 1 <= value <= _LAST_SIGNAL:
            c.error(
                argument,
                "signal",
                f"{node.name}() accepts a string literal or an integer between 1 and "
                f"{_LAST_SIGNAL} (inclusive)",
            )
    elif found is not None and not isinstance(found, (Int, Enum)):
        c.error(argument, "signal", f"{node.name}() accepts a string literal or an integer")
    return NONE


def _lower_signal(f: FunctionLowering, node: n.Call) -> Value:
    argument = node.args[0]
    value = literal_of(argument)
    number: Value
    if isinstance(value, bytes):
        known = _signal_number(value.decode("utf-8", "replace"))
        assert known is not None
        number = known
    else:
        number = f.value(argument)
    if isinstance(number, int):
        _send(f, node, number)
        return 0
    good, wrong, done = f.block("signal"), f.block("no_signal", cold=True), f.block("sent")
    low = f.b.alu("sub", number, 1)
    f.b.branch("lt", low, _LAST_SIGNAL, good, wrong)
    f.b.set_block(wrong)
    text = f"{node.name}() expects an integer between 1 and {_LAST_SIGNAL} (inclusive). Got %lld"
    _report(f, node, "errorf", text, number)
    f.b.jump(done)
    f.b.set_block(good)
    _send(f, node, number)
    f.b.jump(done)
    f.b.set_block(done)
    return 0


def _send(f: FunctionLowering, node: n.Call, number: Value) -> None:
    thread = node.name == "signal_thread"
    status = f.b.call(BPF_FUNC_send_signal_thread if thread else BPF_FUNC_send_signal, number)
    failed, done = f.block("signal_failed", cold=True), f.block("signalled")
    f.b.branch("ne", status, 0, failed, done)
    f.b.set_block(failed)
    _report(f, node, "warnf", "signal call failed with error %lld", status)
    f.b.jump(done)
    f.b.set_block(done)


def _report(f: FunctionLowering, node: n.Call, action: str, text: str, value: Value) -> None:
    from bpflens.lang.lower import event
    from bpflens.lang.types import INT64

    def write(place: Ref) -> None:
        f.b.store(place.base, place.off, value, 8)

    place = f.resources.place(node)
    event.emit(f, action, [(INT64, write)], format=text.encode(), place=place)


# what may harm


def _check_override(c: Checker, node: n.Call) -> Type | None:
    if not count_arguments(c, node, 1):
        return NONE
    if c.variant.kind != "kprobe":
        c.error(node, "probe-kind", "override() can only be used inside kprobes")
    needs_unsafe(c, node)
    found = c.type(node.args[0])
    if found is not None and not isinstance(found, (Int, Enum)):
        c.error(
            node, "arguments", f"override() only supports int arguments ({found.name} provided)"
        )
    return NONE


def _lower_override(f: FunctionLowering, node: n.Call) -> Value:
    f.b.call(BPF_FUNC_override_return, f.ctx, f.value(node.args[0]))
    return 0


def _check_write_user(c: Checker, node: n.Call) -> Type | None:
    if not count_arguments(c, node, 3):
        return BOOL
    needs_unsafe(c, node)
    for argument in node.args[:2]:
        found = c.type(argument)
        if isinstance(found, (NoneType, Aggregate)):
            c.error(argument, "arguments", f"write_user() expects a pointer, got {found.name}")
    c.integer(node.args[2], "write_user()")
    return BOOL


def _lower_write_user(f: FunctionLowering, node: n.Call) -> Value:
    to, source, length = node.args
    target = f.value(to)
    data = memory.place_of(f, source)
    size: Value = length.value if isinstance(length, n.Integer) else f.value(length)
    if not data.direct or not isinstance(size, int):
        # The helper reads memory of programs only, and wants to know how much of it there is.
        copy = f.scratch(_MOST_WRITTEN)
        size = memory.at_most(f, memory.at_least_one(f, size), _MOST_WRITTEN)
        memory.probe_read(
            f, copy, size, data if not data.direct else Ref(data.base, data.off, "kernel")
        )
        data = copy
    status = f.b.call(BPF_FUNC_probe_write_user, target, f.address(data), size)
    return f.b.bool_("eq", status, 0)


# relatives


_PATHS = {
    "ppid": ("real_parent", "pid"),
    "pcomm": ("real_parent", "comm"),
    "leader_tid": ("group_leader", "pid"),
    "leader_comm": ("group_leader", "comm"),
}


def _field_of_task(node: n.Node, arguments: list[n.Node]) -> n.Node:
    assert isinstance(node, (n.Identifier, n.Call))
    start, end = node.start, node.end
    base = arguments[0] if arguments else n.Identifier("curtask", start, end)
    for name in _PATHS[node.name]:
        base = n.Field(base, name, start, end)
    return base


def check_relative(c: Checker, node: n.Node, arguments: list[n.Node]) -> Type | None:
    """Type ``ppid``, ``pcomm``, ``leader_tid`` or ``leader_comm`` (with a task, if given)."""
    whole = c.variant.stands_for.get(node)
    if whole is None:
        whole = c.variant.stands_for[node] = _field_of_task(node, arguments)
    return c.type(whole)


CALLS: dict[str, CallRule] = {
    "signal": CallRule(_check_signal, _lower_signal),
    "signal_thread": CallRule(_check_signal, _lower_signal),
    "override": CallRule(_check_override, _lower_override),
    "write_user": CallRule(_check_write_user, _lower_write_user),
}

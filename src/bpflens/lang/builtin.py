"""Builtins: names that stand for a fact about the event (``pid``, ``comm``, ``nsecs``...).

One table, :data:`_TABLE`, has for each name a rule that types it and one that lowers it. Most may
also be called, ``pid()``; ``arguments`` are the call's.
"""

from __future__ import annotations

from bpflens.lang import nodes as n
from bpflens.lang.analyse.constant import probe_type
from bpflens.lang.types import (
    BOOL,
    COMM_SIZE,
    UINT64,
    Int,
    Pointer,
    Stack,
    String,
    Type,
    Username,
)  # fmt: skip
from bpflens.uapi import bpf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bpflens.lang.analyse.checker import Checker
    from bpflens.lang.ir.ops import Value
    from bpflens.lang.lower.function import FunctionLowering, Ref

    Check = Callable[[Checker, n.Node, Sequence[n.Node]], Type | None]
    Lower = Callable[[FunctionLowering, n.Node, Sequence[n.Node]], Value | Ref]
    Write = Callable[[FunctionLowering, n.Node, Ref, Type], None]

__all__ = ["BuiltinRule", "find", "names", "probe_name", "process_id"]

UINT32 = Int(4, False)
CLOCKS = ("monotonic", "boot", "tai", "sw_tai")


class BuiltinRule:
    """How a builtin is typed and lowered; ``write`` puts a memory value straight in its place."""

    __slots__ = ("check", "lower", "write")

    def __init__(self, check: Check, lower: Lower, write: Write | None = None) -> None:
        self.check = check
        self.lower = lower
        self.write = write


def find(name: str) -> BuiltinRule | None:
    """Return the rule of a builtin, or None if there is none of that name."""
    # Some scripts say what the reference's own library says.
    name = name.removeprefix("__builtin_")
    found = _TABLE.get(name)
    if found is None and name.startswith("arg") and name[3:].isdigit():
        return _TABLE["argN"]
    return found


def names() -> list[str]:
    """Return the names of all builtins."""
    return [name for name in _TABLE if name != "argN"]


def _fixed(type: Type) -> Check:
    def check(c: Checker, node: n.Node, arguments: Sequence[n.Node]) -> Type | None:
        if arguments:
            problem = f"{_name(node)}() takes no arguments ({len(arguments)} provided)"
            c.error(node, "arguments", problem)
        return type

    return check


def _name(node: n.Node) -> str:
    return node.name if isinstance(node, (n.Identifier, n.Call)) else "builtin"


def _helper(number: int) -> Lower:
    return lambda f, node, arguments: f.b.call(number)


# processes


def _check_namespace(c: Checker, node: n.Node, arguments: Sequence[n.Node]) -> Type | None:
    for argument in arguments:
        if not (isinstance(argument, n.Identifier) and argument.name in ("curr_ns", "init")):
            c.error(argument, "arguments", "Invalid PID namespace mode: expected curr_ns or init")
    return UINT32


def process_id(f: FunctionLowering) -> Value:
    """Return the process id under which this tool finds the current process in /proc."""
    return f.b.alu("rsh", _pid_tgid(f, ()), 32)


def _pid(f: FunctionLowering, node: n.Node, arguments: Sequence[n.Node]) -> Value:
    return f.b.alu("rsh", _pid_tgid(f, arguments), 32)


def _tid(f: FunctionLowering, node: n.Node, arguments: Sequence[n.Node]) -> Value:
    return f.b.zext(_pid_tgid(f, arguments), 32)


def _pid_tgid(f: FunctionLowering, arguments: Sequence[n.Node]) -> Value:
    namespace = f.context.options.get("pid_namespace")
    initial = any(isinstance(a, n.Identifier) and a.name == "init" for a in arguments)
    if namespace is None or initial:
        return f.b.call(bpf.BPF_FUNC_get_current_pid_tgid)
    # struct bpf_pidns_info { u32 pid, tgid } of the namespace that this tool itself lives in.
    assert isinstance(namespace, tuple)
    device, inode = namespace
    slot = f.fn.slot(8, 8, "pidns")
    f.b.zero(slot, 0, 8)
    f.b.call(bpf.BPF_FUNC_get_ns_current_pid_tgid, device, inode, f.b.slot_addr(slot), 8)
    low, high = f.b.load(slot, 0, 4), f.b.load(slot, 4, 4)
    return f.b.alu("or", low, f.b.alu("lsh", high, 32))


def _uid(f: FunctionLowering, node: n.Node, arguments: Sequence[n.Node]) -> Value:
    return f.b.zext(f.b.call(bpf.BPF_FUNC_get_current_uid_gid), 32)


def _gid(f: FunctionLowering, node: n.Node, arguments: Sequence[n.Node]) -> Value:
    return f.b.alu("rsh", f.b.call(bpf.BPF_FUNC_get_current_uid_gid), 32)


def _username(f: FunctionLowering, node: n.Node, arguments: Sequence[n.Node]) -> Ref:
    place = f.buffer(8)
    f.b.store(place.base, place.off, _uid(f, node, arguments), 8)
    return place


def _check_comm(c: Checker, node: n.Node, arguments: Sequence[n.Node]) -> Type | None:
    if not arguments:
        return String(COMM_SIZE)
    from bpflens.lang.call import task

    return task.check_comm(c, node, arguments)


def _comm(f: FunctionLowering, node: n.Node, arguments: Sequence[n.Node]) -> Ref:
    kind = f.type(node)
    place = f.buffer(kind.size, name="comm")
    _write_comm(f, node, place, kind)
    return place


def _write_comm(f: FunctionLowering, node: n.Node, place: Ref, wanted: Type) -> None:
    if isinstance(node, n.Call) and node.args:
        from bpflens.lang.call import task

        task.write_comm(f, node, place, wanted)
        return
    size = min(wanted.size, COMM_SIZE)
    if size == COMM_SIZE:
        from bpflens.lang.lower import memory
        from bpflens.lang.lower.task import comm_place

        comm = comm_place(f)
        if comm is not None:
            memory.write_comm(f, place, comm, wanted)
            return
    f.b.call(bpf.BPF_FUNC_get_current_comm, f.address(place), size)
    if wanted.size > size and not place.loose:
        from bpflens.lang.lower import memory

        memory.fill(f, place.at(size), wanted.size - size)


def _relative(c: Checker, node: n.Node, arguments: Sequence[n.Node]) -> Type | None:
    from bpflens.lang.call import process

    if len(arguments) > 1:
        problem = f"{_name(node)}() takes up to one argument ({len(arguments)} provided)"
        c.error(node, "arguments", problem)
        return None
    return process.check_relative(c, node, list(arguments))


def _stands_for_other(f: FunctionLowering, node: n.Node, arguments: Sequence[n.Node]) -> Value:
    raise AssertionError(f"{_name(node)} stands for another expression")


def _check_config(c: Checker, node: n.Node, arguments: Sequence[n.Node]) -> Type | None:
    # Type ``config``: a record of the configuration in force.
    whole = c.variant.stands_for.get(node)
    if whole is None:
        from bpflens.lang.analyse.constant import node_of

        start, end = node.start, node.end
        items = []
        for name, value in sorted(c.config.items()):
            if isinstance(value, (bool, int, str)):
                kept = value.encode() if isinstance(value, str) else value
                items.append(n.RecordItem(name, node_of(kept, start, end), start, end))
        whole = c.variant.stands_for[node] = n.Record(items, start, end)
    return c.type(whole)


def _check_curtask(c: Checker, node: n.Node, arguments: Sequence[n.Node]) -> Type | None:
    task = c.context.named_type("task_struct", "struct")
    return Pointer(task, "kernel") if task is not None else UINT64


# time and place


def _check_nsecs(c: Checker, node: n.Node, arguments: Sequence[n.Node]) -> Type | None:
    for argument in arguments:
        if not (isinstance(argument, n.Identifier) and argument.name in CLOCKS):
            problem = f"Invalid timestamp mode: expected one of {', '.join(CLOCKS)}"
            c.error(argument, "arguments", problem)
    return UINT64


def _nsecs(f: FunctionLowering, node: n.Node, arguments: Sequence[n.Node]) -> Value:
    clock = arguments[0].name if arguments else "boot"  # type: ignore[attr-defined]
    if clock == "monotonic":
        return f.b.call(bpf.BPF_FUNC_ktime_get_ns)
    if clock in ("tai", "sw_tai"):
        return f.b.call(bpf.BPF_FUNC_ktime_get_tai_ns)
    if f.context.target.has("ktime_get_boot_ns"):
        return f.b.call(bpf.BPF_FUNC_ktime_get_boot_ns)
    return f.b.call(bpf.BPF_FUNC_ktime_get_ns)


def _elapsed(f: FunctionLowering, node: n.Node, arguments: Sequence[n.Node]) -> Value:
    f.resources.uses_elapsed = True
    start = f.b.load(f.b.map_value(ELAPSED_MAP), 0, 8)
    return f.b.alu("sub", _nsecs(f, node, []), start)


def _numa(f: FunctionLowering, node: n.Node, arguments: Sequence[n.Node]) -> Value:
    return f.b.call(bpf.BPF_FUNC_get_numa_node_id)


def _ncpus(f: FunctionLowering, node: n.Node, arguments: Sequence[n.Node]) -> Value:
    return f.context.target.possible_cpus


def _rand(f: FunctionLowering, node: n.Node, arguments: Sequence[n.Node]) -> Value:
    return f.b.zext(f.b.call(bpf.BPF_FUNC_get_prandom_u32), 32)


# the probe


def _check_probe(c: Checker, node: n.Node, arguments: Sequence[n.Node]) -> Type | None:
    longest = max((len(match.name) for match in c.variant.matches), default=0)
    return String(longest + 1)


def _probe(f: FunctionLowering, node: n.Node, arguments: Sequence[n.Node]) -> Ref:
    if f.variant.syscalls is not None:
        from bpflens.lang.lower import prologue
        from bpflens.lang.lower.function import Ref

        return Ref(prologue.probe_name_place(f)[0])
    text = probe_name(f)
    place = f.buffer(len(text) + 1, name="probe")
    from bpflens.lang.lower import memory

    memory.store_node(f, n.String(text.encode()), place, String(len(text) + 1))
    return place


def _write_probe(f: FunctionLowering, node: n.Node, place: Ref, wanted: Type) -> None:
    from bpflens.lang.lower import memory

    if f.variant.syscalls is not None:
        from bpflens.lang.lower import prologue
        from bpflens.lang.lower.function import Ref

        address, size = prologue.probe_name_place(f)
        memory.copy(f, place, Ref(address), String(size), wanted)
        return
    memory.store_node(f, n.String(probe_name(f).encode()), place, wanted)


def probe_name(f: FunctionLowering) -> str:
    """Return the full name of the probe that a function belongs to."""
    return f.variant.matches[0].name if f.variant.matches else f.variant.point.text


def _check_probetype(c: Checker, node: n.Node, arguments: Sequence[n.Node]) -> Type | None:
    return String(len(probe_type(c.variant.kind)) + 1)


def _probetype(f: FunctionLowering, node: n.Node, arguments: Sequence[n.Node]) -> Ref:
    text = probe_type(f.variant.kind)
    place = f.buffer(len(text) + 1)
    from bpflens.lang.lower import memory

    memory.store_node(f, n.String(text.encode()), place, String(len(text) + 1))
    return place


def _rule(name: str) -> Check:
    def check(c: Checker, node: n.Node, arguments: Sequence[n.Node]) -> Type | None:
        from bpflens.lang import probe_argument

        found: Type | None = getattr(probe_argument, f"check_{name}")(c, node)
        return found

    return check


def _code(name: str) -> Lower:
    def lower(f: FunctionLowering, node: n.Node, arguments: Sequence[n.Node]) -> Value | Ref:
        from bpflens.lang import probe_argument

        found: Value | Ref = getattr(probe_argument, f"lower_{name}")(f, node)
        return found

    return lower


# stacks


def _check_stack(user: bool) -> Check:
    def check(c: Checker, node: n.Node, arguments: Sequence[n.Node]) -> Type | None:
        from bpflens.lang.call import stack

        return stack.check(c, node, arguments, user)

    return check


def _stack(user: bool) -> Lower:
    def lower(f: FunctionLowering, node: n.Node, arguments: Sequence[n.Node]) -> Ref:
        place = f.buffer(Stack.size)
        _write_stack(f, node, place, f.type(node))
        return place

    return lower


def _write_stack(f: FunctionLowering, node: n.Node, place: Ref, wanted: Type) -> None:
    from bpflens.lang.call import stack

    stack.write(f, node, place, wanted)


# children


def _check_cpid(c: Checker, node: n.Node, arguments: Sequence[n.Node]) -> Type | None:
    if not c.context.options.get("child"):
        c.warning(node, "cpid", "cpid is 0 because no child was started with -c")
    return UINT32


def _cpid(f: FunctionLowering, node: n.Node, arguments: Sequence[n.Node]) -> Value:
    return int(str(f.context.options.get("child") or 0))


def _has_cpid(f: FunctionLowering, node: n.Node, arguments: Sequence[n.Node]) -> Value:
    return int(bool(f.context.options.get("child")))


ELAPSED_MAP = "start_time"

_TABLE: dict[str, BuiltinRule] = {
    "pid": BuiltinRule(_check_namespace, _pid),
    "tid": BuiltinRule(_check_namespace, _tid),
    "uid": BuiltinRule(_fixed(UINT64), _uid),
    "gid": BuiltinRule(_fixed(UINT64), _gid),
    "username": BuiltinRule(_fixed(Username()), _username),
    "comm": BuiltinRule(_check_comm, _comm, _write_comm),
    "ppid": BuiltinRule(_relative, _stands_for_other),
    "pcomm": BuiltinRule(_relative, _stands_for_other),
    "leader_tid": BuiltinRule(_relative, _stands_for_other),
    "leader_comm": BuiltinRule(_relative, _stands_for_other),
    "config": BuiltinRule(_check_config, _stands_for_other),
    "curtask": BuiltinRule(_check_curtask, _helper(bpf.BPF_FUNC_get_current_task)),
    "cgroup": BuiltinRule(_fixed(UINT64), _helper(bpf.BPF_FUNC_get_current_cgroup_id)),
    "nsecs": BuiltinRule(_check_nsecs, _nsecs),
    "elapsed": BuiltinRule(_fixed(UINT64), _elapsed),
    "jiffies": BuiltinRule(_fixed(UINT64), _helper(bpf.BPF_FUNC_jiffies64)),
    "cpu": BuiltinRule(_fixed(UINT64), _helper(bpf.BPF_FUNC_get_smp_processor_id)),
    "numaid": BuiltinRule(_fixed(UINT64), _numa),
    "ncpus": BuiltinRule(_fixed(UINT64), _ncpus),
    "rand": BuiltinRule(_fixed(UINT32), _rand),
    "probe": BuiltinRule(_check_probe, _probe, _write_probe),
    "probetype": BuiltinRule(_check_probetype, _probetype),
    "kstack": BuiltinRule(_check_stack(False), _stack(False), _write_stack),
    "ustack": BuiltinRule(_check_stack(True), _stack(True), _write_stack),
    "args": BuiltinRule(_rule("args"), _code("args")),
    "argN": BuiltinRule(_rule("arg"), _code("arg")),
    "retval": BuiltinRule(_rule("retval"), _code("retval")),
    "ctx": BuiltinRule(_rule("ctx"), _code("ctx")),
    "func": BuiltinRule(_rule("func"), _code("func")),
    "usermode": BuiltinRule(_rule("usermode"), _code("usermode")),
    "cpid": BuiltinRule(_check_cpid, _cpid),
    "has_cpid": BuiltinRule(_fixed(BOOL), _has_cpid),
}

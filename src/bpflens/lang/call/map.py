"""Functions on maps: ``delete has_key find len``."""

from __future__ import annotations

from bpflens.lang import nodes as n
from bpflens.lang.call import CallRule, count_arguments
from bpflens.lang.lower import map as maps
from bpflens.lang.lower.function import Ref
from bpflens.lang.types import BOOL, INT64, Aggregate, Stack, Type
from bpflens.uapi.bpf import BPF_FUNC_for_each_map_elem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.lang.analyse.checker import Checker
    from bpflens.lang.ir.ops import Value
    from bpflens.lang.lower.function import FunctionLowering

__all__ = ["CALLS"]

DELETE_MESSAGE = "Can't delete map element because it does not exist."
_NO_KEYS = "call to {} expects a map with explicit keys (non-scalar map)"


def _check_delete(c: Checker, node: n.Call) -> Type | None:
    if not count_arguments(c, node, 1, 2):
        return None
    target = node.args[0]
    if not isinstance(target, (n.MapName, n.MapAccess)):
        c.error(target, "map-argument", f"{node.name}() only expects a map to be provided")
        return None
    name, key = maps.map_of(target)
    state = c.map(name, target)
    if len(node.args) == 2:
        key = node.args[1]
    c.use_key(state, target, key)
    return BOOL


def _lower_delete(f: FunctionLowering, node: n.Call) -> Value:
    target = node.args[0]
    status = maps.delete(f, target, node.args[1] if len(node.args) == 2 else None)
    return f.b.bool_("eq", status, 0) if not isinstance(status, int) else 1


def _check_has_key(c: Checker, node: n.Call) -> Type | None:
    if not count_arguments(c, node, 2):
        return None
    target = node.args[0]
    if not isinstance(target, n.MapName):
        c.error(target, "map-argument", f"{node.name}() expects a map as its first argument")
        return None
    state = c.map(target.name, target)
    if state.keyed is False:
        c.error(node, "map-shape", _NO_KEYS.format("has_key()"))
        return BOOL
    c.use_key(state, target, node.args[1])
    return BOOL


def _lower_has_key(f: FunctionLowering, node: n.Call) -> Value:
    target = node.args[0]
    assert isinstance(target, n.MapName)
    plan = f.plan(target.name)
    return f.b.bool_("ne", maps.lookup(f, maps.key_of(f, plan, node.args[1])), 0)


def _check_find(c: Checker, node: n.Call) -> Type | None:
    if not count_arguments(c, node, 3):
        return None
    target, key, out = node.args
    if not isinstance(target, n.MapName) or not isinstance(out, n.Variable):
        c.error(node, "map-argument", "find() expects a map, a key and a scratch variable")
        return None
    state = c.map(target.name, target)
    if state.keyed is False:
        c.error(node, "map-shape", _NO_KEYS.format("find"))
        return BOOL
    c.use_key(state, target, key)
    info = c.find_variable(out.name) or c.declare(out.name, out)
    c.variant.variables[out] = info
    if state.value is not None and not isinstance(state.value, Aggregate):
        c.assign_variable(info, node, state.value, False)
    return BOOL


def _lower_find(f: FunctionLowering, node: n.Call) -> Value:
    from bpflens.lang.lower import memory

    target, key, out = node.args
    assert isinstance(target, n.MapName)
    plan = f.plan(target.name)
    variable = f.variable(f.variant.variables[out])
    found = maps.lookup(f, maps.key_of(f, plan, key))
    have, done = f.block("found"), f.block("looked")
    result = f.fn.new("found")
    f.b.assign(result, 0)
    f.b.branch("ne", found, 0, have, done)
    f.b.set_block(have)
    if isinstance(variable, Ref):
        memory.copy(f, variable, Ref(found), plan.value, plan.value)
    else:
        f.b.assign(variable, memory.load(f, Ref(found), plan.value))
    f.b.assign(result, 1)
    f.b.jump(done)
    f.b.set_block(done)
    return result


def _check_len(c: Checker, node: n.Call) -> Type | None:
    if not count_arguments(c, node, 1):
        return None
    target = node.args[0]
    if isinstance(target, n.MapName):
        state = c.map(target.name, target)
        if state.keyed is None:
            state.keyed = True
            c.changed = True
        if state.keyed is False:
            c.error(node, "map-shape", _NO_KEYS.format("len()"))
        return INT64
    found = c.type(target)
    if found is not None and not isinstance(found, Stack):
        c.error(node, "arguments", "call to len() expects a map, ustack, or kstack")
    c.result.stack_lengths = True
    return INT64


def _lower_len(f: FunctionLowering, node: n.Call) -> Value:
    from bpflens.lang.ir.builder import Builder
    from bpflens.lang.ir.ops import Function

    target = node.args[0]
    if not isinstance(target, n.MapName):
        place = f.ref(target)
        return f.b.load(place.base, place.off + 8, 4)
    # bpf_for_each_map_elem returns how many entries its callback saw.
    callback = Function("count_entries", params=4)
    builder = Builder(callback)
    builder.ret(0)
    f.functions.append(callback)
    slot = f.fn.slot(8, 8, "unused")
    f.b.store(slot, 0, 0, 8)
    plan = f.plan(target.name)
    counts = [
        f.b.call(
            BPF_FUNC_for_each_map_elem,
            f.b.map_fd(spec.name),
            f.b.func_addr(callback),
            f.b.slot_addr(slot),
            0,
        )
        for spec in (plan.spec, plan.short)
        if spec is not None
    ]
    return counts[0] if len(counts) == 1 else f.b.alu("add", counts[0], counts[1])


CALLS: dict[str, CallRule] = {
    "delete": CallRule(_check_delete, _lower_delete),
    "has_key": CallRule(_check_has_key, _lower_has_key),
    "find": CallRule(_check_find, _lower_find),
    "len": CallRule(_check_len, _lower_len),
}

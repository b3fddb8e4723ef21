"""Lowering of script maps: keys, look-ups, assignment, counting up and down, deletion."""

from __future__ import annotations

from bpflens.lang import nodes as n
from bpflens.lang.lower.function import Ref
from bpflens.lang.types import Aggregate
from bpflens.uapi.bpf import (
    BPF_ANY,
    BPF_NOEXIST,
    BPF_FUNC_map_delete_elem,
    BPF_FUNC_map_lookup_elem,
    BPF_FUNC_map_update_elem,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.lang.ir.ops import Reg, Value
    from bpflens.lang.lower.function import FunctionLowering
    from bpflens.lang.lower.resource import MapPlan
    from bpflens.lang.types import Type

__all__ = [
    "add_in_place",
    "assign",
    "assign_scalar",
    "delete",
    "find_or_create",
    "key_address",
    "lookup",
    "map_of",
    "read_value",
    "report_full",
    "update",
]

FULL_MESSAGE = (
    "Map full; can't update element. Try increasing max_map_keys config or manually setting the "
    "max entries in a map declaration e.g. `let {name} = hash(5000)`"
)


def map_of(node: n.Node) -> tuple[str, n.Node | None]:
    """Return the name and the key expression of a map or map access node."""
    if isinstance(node, n.MapAccess):
        return node.map.name, node.key
    assert isinstance(node, n.MapName)
    return node.name, None


def key_address(f: FunctionLowering, plan: MapPlan, key: n.Node | None) -> Reg:
    """Build a key in temporary memory and return its address."""
    if plan.key is None or key is None:
        slot = f.fn.slot(4, 4, "key")
        f.b.store(slot, 0, 0, 4)
        return f.b.slot_addr(slot)
    place = f.buffer(plan.key.size, name="key")
    f.store(key, place, plan.key)
    return f.address(place)


def lookup(f: FunctionLowering, plan: MapPlan, key: Reg) -> Reg:
    """Return the address of an entry's value, or NULL."""
    return f.b.call(BPF_FUNC_map_lookup_elem, f.b.map_fd(plan.spec.name), key)


def read_value(f: FunctionLowering, node: n.Node) -> Value | Ref:
    """Read a map's value: a scalar in a register, else the place where it lies.

    A key that does not exist reads as zero.
    """
    name, key = map_of(node)
    plan = f.plan(name)
    value = plan.value
    if isinstance(value, Aggregate):
        from bpflens.lang.call import aggregate

        return aggregate.read(f, plan, key)
    if plan.scalar:
        base = f.b.map_value(plan.spec.name)
        if not value.is_scalar:
            return Ref(base)
        return f.b.load(base, 0, value.size, bool(getattr(value, "signed", False)))
    found = lookup(f, plan, key_address(f, plan, key))
    return _value_or_zero(f, found, value)


def _value_or_zero(f: FunctionLowering, found: Reg, value: Type) -> Value | Ref:
    have, missing, done = f.block("have"), f.block("missing"), f.block("read")
    result = f.fn.new("value")
    f.b.branch("ne", found, 0, have, missing)
    f.b.set_block(have)
    if value.is_scalar:
        f.b.assign(result, f.b.load(found, 0, value.size, bool(getattr(value, "signed", False))))
    else:
        f.b.assign(result, found)
    f.b.jump(done)
    f.b.set_block(missing)
    zero: Value = 0 if value.is_scalar else f.b.map_value(f.resources.zeroes(value.size))
    f.b.assign(result, zero)
    f.b.jump(done)
    f.b.set_block(done)
    return result if value.is_scalar else Ref(result)


def assign(f: FunctionLowering, target: n.Node, value: n.Node) -> None:
    """Lower ``@m[key] = value``."""
    name, key = map_of(target)
    plan = f.plan(name)
    if plan.scalar:
        base = f.b.map_value(plan.spec.name)
        _store_whole(f, value, Ref(base), plan.value)
        f.b.store(base, plan.set_offset, 1, 8)
        return
    place = f.buffer(max(plan.value.size, 8), name="value")
    _store_whole(f, value, place, plan.value)
    update(f, plan, key_address(f, plan, key), f.address(place), target)


def _store_whole(f: FunctionLowering, node: n.Node, place: Ref, wanted: Type) -> None:
    # Values of maps take whole words, so that what lies behind a short one is defined.
    if wanted.size % 8:
        f.b.zero(place.base, place.off + wanted.size // 8 * 8, 8)
    f.store(node, place, wanted)


def assign_scalar(f: FunctionLowering, target: n.Node, value: Value) -> None:
    """Store a computed scalar into a map."""
    name, key = map_of(target)
    plan = f.plan(name)
    if plan.scalar:
        base = f.b.map_value(plan.spec.name)
        f.b.store(base, 0, value, plan.value.size)
        f.b.store(base, plan.set_offset, 1, 8)
        return
    slot = f.fn.slot(8, 8, "value")
    f.b.store(slot, 0, value, 8)
    update(f, plan, key_address(f, plan, key), f.b.slot_addr(slot), target)


def update(
    f: FunctionLowering, plan: MapPlan, key: Reg, value: Reg, node: n.Node, flags: int = BPF_ANY
) -> None:
    """Store a value under a key; a map that is full is reported once on each CPU."""
    status = f.b.call(BPF_FUNC_map_update_elem, f.b.map_fd(plan.spec.name), key, value, flags)
    failed, done = f.block("full", cold=True), f.block("stored")
    f.b.branch("eq", status, 0, done, failed)
    f.b.set_block(failed)
    report_full(f, plan, node, status)
    f.b.jump(done)
    f.b.set_block(done)


def report_full(f: FunctionLowering, plan: MapPlan, node: n.Node, status: Value) -> None:
    """Tell user space that an entry did not fit."""
    from bpflens.lang.lower import event

    event.helper_error(f, node, FULL_MESSAGE.format(name=plan.name), "map_update_elem", status)


def add_in_place(f: FunctionLowering, target: n.Node, amount: Value, want: str = "") -> Value:
    """Add to a map's integer without losing updates of other CPUs.

    ``want`` is ``"old"`` or ``"new"`` where the value is used, "" where it is not.
    """
    name, key = map_of(target)
    plan = f.plan(name)
    if plan.scalar:
        base = f.b.map_value(plan.spec.name)
        f.b.store(base, plan.set_offset, 1, 8)
        return _atomic_add(f, base, amount, want)
    address = key_address(f, plan, key)
    found = lookup(f, plan, address)
    result = f.fn.new("result")
    have, missing, done = f.block("have"), f.block("missing"), f.block("added")
    f.b.branch("ne", found, 0, have, missing)
    f.b.set_block(have)
    value = _atomic_add(f, found, amount, want)
    if want:
        f.b.assign(result, value)
    f.b.jump(done)
    f.b.set_block(missing)
    slot = f.fn.slot(8, 8, "first")
    f.b.store(slot, 0, amount, 8)
    update(f, plan, address, f.b.slot_addr(slot), target, BPF_NOEXIST)
    if want:
        f.b.assign(result, amount if want == "new" else 0)
    f.b.jump(done)
    f.b.set_block(done)
    return result if want else 0


def _atomic_add(f: FunctionLowering, base: Reg, amount: Value, want: str) -> Value:
    old = f.b.atomic("add", base, 0, amount, 8, fetch=bool(want))
    if not want:
        return 0
    assert old is not None
    return old if want == "old" else f.b.alu("add", old, amount)


def find_or_create(
    f: FunctionLowering, plan: MapPlan, key: n.Node | None, node: n.Node
) -> tuple[Reg, object]:
    """Return this CPU's value of an aggregate, made on first use, and the block to leave by.

    The caller goes on in the current block, where the address is known to be good, and ends by
    jumping to the returned block, which it must then make current.
    """
    address = key_address(f, plan, key)
    first = lookup(f, plan, address)
    value = f.fn.new("slots")
    f.b.assign(value, first)
    have, missing, done = f.block("have"), f.block("missing", cold=True), f.block("done")
    f.b.branch("ne", value, 0, have, missing)
    f.b.set_block(missing)
    if not plan.scalar:
        zero = f.b.map_value(f.resources.zeroes(plan.spec.value_size))
        status = f.b.call(
            BPF_FUNC_map_update_elem, f.b.map_fd(plan.spec.name), address, zero, BPF_NOEXIST
        )
        f.b.assign(value, lookup(f, plan, address))
        full = f.block("full", cold=True)
        f.b.branch("ne", value, 0, have, full)
        f.b.set_block(full)
        report_full(f, plan, node, status)
    f.b.jump(done)
    f.b.set_block(have)
    return value, done


def delete(f: FunctionLowering, target: n.Node, key: n.Node | None) -> Value:
    """Delete an entry (or unset a scalar); returns the helper's status, 0 for a scalar."""
    name, own_key = map_of(target)
    plan = f.plan(name)
    if plan.scalar:
        if plan.set_offset >= 0:
            base = f.b.map_value(plan.spec.name)
            f.b.zero(base, 0, plan.spec.value_size)
        else:
            from bpflens.lang.lower import event

            event.emit(f, "clear", [], map=name)
        return 0
    address = key_address(f, plan, key if key is not None else own_key)
    return f.b.call(BPF_FUNC_map_delete_elem, f.b.map_fd(plan.spec.name), address)

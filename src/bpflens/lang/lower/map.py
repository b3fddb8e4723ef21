"""Lowering of script maps: keys, look-ups, assignment, counting up and down, deletion."""

from __future__ import annotations

from bpflens.lang import nodes as n
from bpflens.lang.lower import memory
from bpflens.lang.lower.function import Ref
from bpflens.lang.lower.resource import SHORT_KEY
from bpflens.lang.types import Aggregate, String
from bpflens.uapi.bpf import (
    BPF_ANY,
    BPF_NOEXIST,
    BPF_FUNC_map_delete_elem,
    BPF_FUNC_map_lookup_elem,
    BPF_FUNC_map_update_elem,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.lang.ir.ops import Block, Reg, Value
    from bpflens.lang.lower.function import FunctionLowering
    from bpflens.lang.lower.resource import MapPlan
    from bpflens.lang.types import Type

__all__ = [
    "Key",
    "add_in_place",
    "assign",
    "assign_scalar",
    "delete",
    "find_or_create",
    "key_of",
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


class Key:
    """A key in memory: its ``address``, and the kernel ``map`` that entries of such keys are in."""

    __slots__ = ("address", "map")

    def __init__(self, address: Reg, map: Reg) -> None:
        self.address = address
        self.map = map


def key_of(f: FunctionLowering, plan: MapPlan, key: n.Node | None) -> Key:
    """Build a key in temporary memory."""
    if plan.key is None or key is None:
        slot = f.fn.slot(4, 4, "key")
        f.b.store(slot, 0, 0, 4)
        return Key(f.b.slot_addr(slot), f.b.map_fd(plan.spec.name))
    if plan.short is not None:
        return _text_key(f, plan, plan.short.name, f.meant(key))
    place = f.buffer(plan.key.size, name="key")
    f.store(key, place, plan.key)
    return Key(f.address(place), f.b.map_fd(plan.spec.name))


def _text_key(f: FunctionLowering, plan: MapPlan, short: str, key: n.Node) -> Key:
    # Build a text key: one that is short goes, padded with zeroes, to the map of short keys. A text
    # is short if it and its NUL leave the last byte of a short key zero.
    assert plan.key is not None
    if isinstance(key, n.String) and len(key.value) < SHORT_KEY:
        place = f.buffer(SHORT_KEY, name="key")
        f.store(key, place, String(SHORT_KEY))
        return Key(f.address(place), f.b.map_fd(short))
    size = plan.key.size
    place = f.scratch(size)
    if isinstance(key, n.Call) and key.name == "str":
        f.b.zero(place.base, place.off, SHORT_KEY)
        f.store(key, Ref(place.base, place.off, loose=True), plan.key)
    else:
        # What comes from elsewhere may have anything behind its NUL.
        source = f.scratch(size)
        f.store(key, source, plan.key)
        f.b.zero(place.base, place.off, SHORT_KEY)
        memory.read_string(f, place, size, f.address(source), "bpf")
    address, map = f.fn.new("key"), f.fn.new("map")
    f.b.assign(address, f.address(place))
    f.b.assign(map, f.b.map_fd(short))
    long, done = f.block("long_key", cold=True), f.block("key")
    f.b.branch("eq", f.b.load(place.base, place.off + SHORT_KEY - 1, 1), 0, done, long)
    f.b.set_block(long)
    whole = f.scratch(size)
    memory.fill(f, whole, size)
    memory.read_string(f, whole, size, f.address(place), "bpf")
    f.b.assign(address, f.address(whole))
    f.b.assign(map, f.b.map_fd(plan.spec.name))
    f.b.jump(done)
    f.b.set_block(done)
    return Key(address, map)


def lookup(f: FunctionLowering, key: Key) -> Reg:
    """Return the address of an entry's value, or NULL."""
    return f.b.call(BPF_FUNC_map_lookup_elem, key.map, key.address)


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
    found = lookup(f, key_of(f, plan, key))
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
        _store_whole(f, value, Ref(base), plan.value, name)
        f.b.store(base, plan.set_offset, 1, 8)
        return
    place = f.buffer(max(plan.value.size, 8), name="value")
    _store_whole(f, value, place, plan.value)
    update(f, plan, key_of(f, plan, key), f.address(place), target)


def _store_whole(
    f: FunctionLowering, node: n.Node, place: Ref, wanted: Type, name: str = ""
) -> None:
    # Values of maps take whole words, so that what lies behind a short one is defined.
    if wanted.size % 8:
        f.b.zero(place.base, place.off + wanted.size // 8 * 8, 8)
    memory.store_over(f, node, place, wanted, name)


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
    update(f, plan, key_of(f, plan, key), f.b.slot_addr(slot), target)


def update(
    f: FunctionLowering, plan: MapPlan, key: Key, value: Reg, node: n.Node, flags: int = BPF_ANY
) -> None:
    """Store a value under a key; a map that is full is reported once on each CPU."""
    status = f.b.call(BPF_FUNC_map_update_elem, key.map, key.address, value, flags)
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
    entry = key_of(f, plan, key)
    found = lookup(f, entry)
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
    update(f, plan, entry, f.b.slot_addr(slot), target, BPF_NOEXIST)
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
) -> tuple[Reg, Block]:
    """Return this CPU's value of an aggregate, made on first use, and the block to leave by.

    The caller goes on in the current block, where the address is known to be good, and ends by
    jumping to the returned block, which it must then make current.
    """
    entry = key_of(f, plan, key)
    first = lookup(f, entry)
    value = f.fn.new("slots")
    f.b.assign(value, first)
    have, missing, done = f.block("have"), f.block("missing", cold=True), f.block("done")
    f.b.branch("ne", value, 0, have, missing)
    f.b.set_block(missing)
    if not plan.scalar:
        zero = f.b.map_value(f.resources.zeroes(plan.spec.value_size))
        status = f.b.call(BPF_FUNC_map_update_elem, entry.map, entry.address, zero, BPF_NOEXIST)
        f.b.assign(value, lookup(f, entry))
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
    entry = key_of(f, plan, key if key is not None else own_key)
    return f.b.call(BPF_FUNC_map_delete_elem, entry.map, entry.address)

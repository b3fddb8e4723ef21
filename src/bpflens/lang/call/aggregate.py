"""Map-value functions: ``count sum min max avg stats hist lhist tseries``.

Each CPU keeps its own slots (see the Aggregate classes of :mod:`bpflens.lang.types`), updated in
place without atomics; readers merge them.
"""

from __future__ import annotations

from bpflens.lang import nodes as n
from bpflens.lang.call import CallRule, count_arguments
from bpflens.lang.lower import map as maps
from bpflens.lang.types import (
    Aggregate,
    Avg,
    Count,
    Hist,
    LHist,
    Max,
    Min,
    Stats,
    Sum,
    TSeries,
    Type,
)  # fmt: skip
from bpflens.uapi.bpf import BPF_FUNC_ktime_get_boot_ns, BPF_FUNC_map_lookup_percpu_elem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.lang.analyse.checker import Checker
    from bpflens.lang.ir.ops import Reg, Value
    from bpflens.lang.lower.function import FunctionLowering, Ref
    from bpflens.lang.lower.resource import MapPlan

__all__ = ["CALLS", "lower_assignment", "read", "read_at"]

_MAX_LHIST_BUCKETS = 1000
_MAX_HIST_BITS = 5
_MAX_INTERVALS = 1_000_000


# typing


def _check_count(c: Checker, node: n.Call) -> Type | None:
    count_arguments(c, node, 0)
    return Count()


def _check_number(kind: type[Sum | Min | Max | Avg | Stats]):  # type: ignore[no-untyped-def]
    def check(c: Checker, node: n.Call) -> Type | None:
        if not count_arguments(c, node, 1):
            return None
        found = c.integer(node.args[0], f"{node.name}()")
        # A literal may stay what it is: its sign says nothing.
        return kind(bool(getattr(found, "signed", False))) if found is not None else None

    return check


def _check_hist(c: Checker, node: n.Call) -> Type | None:
    if not count_arguments(c, node, 1, 2):
        return None
    found = c.integer(node.args[0], "hist()")
    bits = _literal(c, node, 1, 0)
    if bits is not None and not 0 <= bits <= _MAX_HIST_BITS:
        c.error(node.args[1], "hist", f"hist: bits {bits} must be 0..{_MAX_HIST_BITS}")
        return None
    return Hist(bits or 0) if found is not None else None


def _literal(c: Checker, node: n.Call, index: int, default: int) -> int | None:
    if index >= len(node.args):
        return default
    argument = node.args[index]
    c.type(argument)
    if (
        isinstance(argument, n.Unary)
        and argument.op == "-"
        and isinstance(argument.operand, n.Integer)
    ):
        return -argument.operand.value
    if isinstance(argument, n.Positional):
        from bpflens.lang.analyse.expression import positional_value

        return positional_value(c.context, argument)
    if not isinstance(argument, n.Integer):
        c.error(argument, "literal", f"{node.name}() only accepts literal integers here")
        return None
    return argument.value


def _check_lhist(c: Checker, node: n.Call) -> Type | None:
    if not count_arguments(c, node, 4):
        return None
    found = c.integer(node.args[0], "lhist()")
    values = [_literal(c, node, i, 0) for i in (1, 2, 3)]
    low, high, step = values
    if low is None or high is None or step is None:
        return None
    if step < 1:
        c.error(node, "lhist", f"lhist() step must be >= 1 ({step} provided)")
        return None
    if low > high:
        c.error(
            node, "lhist", f"lhist() min must be less than max (provided min {low} and max {high})"
        )
        return None
    buckets = (high - low) // step
    if buckets > _MAX_LHIST_BUCKETS:
        c.error(
            node,
            "lhist",
            f"lhist() too many buckets, must be <= {_MAX_LHIST_BUCKETS} (would need {buckets})",
        )
        return None
    return LHist(low, high, step) if found is not None else None


def _check_tseries(c: Checker, node: n.Call) -> Type | None:
    if not count_arguments(c, node, 3, 4):
        return None
    found = c.integer(node.args[0], "tseries()")
    interval, length = _literal(c, node, 1, 0), _literal(c, node, 2, 0)
    reducer = ""
    if len(node.args) == 4:
        last = node.args[3]
        if not isinstance(last, n.String) or last.value not in (b"avg", b"max", b"min", b"sum"):
            c.error(
                last,
                "tseries",
                'tseries() expects one of "avg", "max", "min" or "sum" as its fourth argument',
            )
            return None
        reducer = last.value.decode()
    if interval is None or length is None or found is None:
        return None
    if interval < 1 or not 1 <= length <= _MAX_INTERVALS:
        c.error(
            node,
            "tseries",
            f"tseries() needs an interval of at least 1 ns and 1 to {_MAX_INTERVALS} intervals",
        )
        return None
    return TSeries(interval, length, reducer, bool(getattr(found, "signed", False)))


# lowering


def lower_assignment(f: FunctionLowering, target: n.Node, call: n.Call) -> None:
    """Lower ``@m[key] = count()`` and its like."""
    name, key = maps.map_of(target)
    plan = f.plan(name)
    value = f.value(call.args[0]) if call.args else 0
    slots, done = maps.find_or_create(f, plan, key, target)
    assert isinstance(plan.value, Aggregate)
    _UPDATES[type(plan.value)](f, slots, value, plan.value)
    f.b.jump(done)
    f.b.set_block(done)


def _add_slot(f: FunctionLowering, slots: Reg, index: int, amount: Value) -> None:
    f.b.store(slots, index * 8, f.b.alu("add", f.b.load(slots, index * 8, 8), amount), 8)


def _count(f: FunctionLowering, slots: Reg, value: Value, kind: Aggregate) -> None:
    _add_slot(f, slots, 0, 1)


def _sum(f: FunctionLowering, slots: Reg, value: Value, kind: Aggregate) -> None:
    _add_slot(f, slots, 0, value)
    f.b.store(slots, 8, 1, 8)


def _average(f: FunctionLowering, slots: Reg, value: Value, kind: Aggregate) -> None:
    _add_slot(f, slots, 0, value)
    _add_slot(f, slots, 1, 1)


def _extreme(f: FunctionLowering, slots: Reg, value: Value, kind: Aggregate) -> None:
    smaller = isinstance(kind, Min)
    op = (
        ("slt" if smaller else "sgt")
        if getattr(kind, "signed", False)
        else ("lt" if smaller else "gt")
    )
    compare, replace, done = f.block("compare"), f.block("replace"), f.block("kept")
    f.b.branch("eq", f.b.load(slots, 8, 8), 0, replace, compare)
    f.b.set_block(compare)
    f.b.branch(op, value, f.b.load(slots, 0, 8), replace, done)
    f.b.set_block(replace)
    f.b.store(slots, 0, value, 8)
    f.b.store(slots, 8, 1, 8)
    f.b.jump(done)
    f.b.set_block(done)


def _hist(f: FunctionLowering, slots: Reg, value: Value, kind: Aggregate) -> None:
    assert isinstance(kind, Hist)
    index = f.fn.new("bucket")
    positive, counted = f.block("positive"), f.block("counted")
    f.b.assign(index, 0)
    f.b.branch("slt", value, 0, counted, positive)
    f.b.set_block(positive)
    f.b.assign(index, f.b.alu("add", _log2_bucket(f, value, kind.bits), 1))
    f.b.jump(counted)
    f.b.set_block(counted)
    _count_bucket(f, slots, index, kind.slots)


def _log2_bucket(f: FunctionLowering, value: Value, bits: int) -> Value:
    # Return the bucket of a value that is not negative (see Hist).
    result = f.fn.new("log2")
    small, large, done = f.block("exact"), f.block("log2"), f.block("bucketed")
    f.b.branch("lt", value, 1 << bits, small, large)
    f.b.set_block(small)
    f.b.assign(result, value)
    f.b.jump(done)
    f.b.set_block(large)
    order, rest = f.fn.new("order"), f.fn.new("rest")
    f.b.assign(order, 0)
    f.b.assign(rest, value)
    for step in (32, 16, 8, 4, 2, 1):
        more, next_ = f.block("halve"), f.block("next")
        f.b.branch("ge", rest, 1 << step, more, next_)
        f.b.set_block(more)
        f.b.assign(rest, f.b.alu("rsh", rest, step))
        f.b.assign(order, f.b.alu("add", order, step))
        f.b.jump(next_)
        f.b.set_block(next_)
    if bits == 0:
        f.b.assign(result, f.b.alu("add", order, 1))
    else:
        exponent = f.b.alu("sub", order, bits)
        low = f.b.alu("and", f.b.alu("rsh", value, exponent), (1 << bits) - 1)
        high = f.b.alu("lsh", f.b.alu("add", exponent, 1), bits)
        f.b.assign(result, f.b.alu("or", high, low))
    f.b.jump(done)
    f.b.set_block(done)
    return result


def _count_bucket(f: FunctionLowering, slots: Reg, index: Value, count: int) -> None:
    inside, done = f.block("inside"), f.block("bucket_done")
    bounded = f.b.move(index)
    f.b.branch("lt", bounded, count, inside, done)
    f.b.set_block(inside)
    place = f.b.alu("add", slots, f.b.alu("lsh", bounded, 3))
    f.b.store(place, 0, f.b.alu("add", f.b.load(place, 0, 8), 1), 8)
    f.b.jump(done)
    f.b.set_block(done)


def _lhist(f: FunctionLowering, slots: Reg, value: Value, kind: Aggregate) -> None:
    assert isinstance(kind, LHist)
    index = f.fn.new("bucket")
    above, within, over, done = (f.block(x) for x in ("above", "within", "over", "counted"))
    f.b.assign(index, 0)
    f.b.branch("slt", value, kind.minimum, done, above)
    f.b.set_block(above)
    f.b.branch("slt", value, kind.maximum, within, over)
    f.b.set_block(within)
    distance = f.b.alu("sub", value, kind.minimum) if kind.minimum else value
    quotient = f.b.alu("div", distance, kind.step) if kind.step > 1 else distance
    f.b.assign(index, f.b.alu("add", quotient, 1))
    f.b.jump(done)
    f.b.set_block(over)
    f.b.assign(index, kind.slots - 1)
    f.b.jump(done)
    f.b.set_block(done)
    _count_bucket(f, slots, index, kind.slots)


def _tseries(f: FunctionLowering, slots: Reg, value: Value, kind: Aggregate) -> None:
    assert isinstance(kind, TSeries)
    epoch = f.b.alu("div", f.b.call(BPF_FUNC_ktime_get_boot_ns), kind.interval)
    position = f.b.alu("mod", epoch, kind.length)
    inside, fresh, add, done = (f.block(x) for x in ("inside", "fresh", "add", "recorded"))
    f.b.branch("lt", position, kind.length, inside, done)
    f.b.set_block(inside)
    place = f.b.alu("add", slots, f.b.alu("mul", position, 24))
    f.b.branch("ne", f.b.load(place, 0, 8), epoch, fresh, add)
    f.b.set_block(fresh)
    f.b.store(place, 0, epoch, 8)
    f.b.store(place, 8, value, 8)
    f.b.store(place, 16, 1, 8)
    f.b.jump(done)
    f.b.set_block(add)
    f.b.store(place, 16, f.b.alu("add", f.b.load(place, 16, 8), 1), 8)
    if kind.reducer in ("min", "max"):
        op = (
            ("slt" if kind.reducer == "min" else "sgt")
            if kind.signed
            else ("lt" if kind.reducer == "min" else "gt")
        )
        replace = f.block("replace")
        f.b.branch(op, value, f.b.load(place, 8, 8), replace, done)
        f.b.set_block(replace)
        f.b.store(place, 8, value, 8)
    elif kind.reducer in ("sum", "avg"):
        f.b.store(place, 8, f.b.alu("add", f.b.load(place, 8, 8), value), 8)
    else:
        f.b.store(place, 8, value, 8)
    f.b.jump(done)
    f.b.set_block(done)


def read(f: FunctionLowering, plan: MapPlan, key: n.Node | None) -> Value:
    """Read an aggregate as an integer, merging the slots of all CPUs (slow, and documented so)."""
    return read_at(f, plan, maps.key_of(f, plan, key))


def read_at(f: FunctionLowering, plan: MapPlan, key: maps.Key) -> Value:
    """Read the aggregate of a key."""
    kind = plan.value
    total, number = f.fn.new("total"), f.fn.new("number")
    f.b.assign(total, 0)
    f.b.assign(number, 0)
    for cpu in range(f.context.target.possible_cpus):
        found = f.b.call(BPF_FUNC_map_lookup_percpu_elem, key.map, key.address, cpu)
        have, next_ = f.block("have"), f.block("next")
        f.b.branch("ne", found, 0, have, next_)
        f.b.set_block(have)
        _merge(f, kind, found, total, number)
        f.b.jump(next_)
        f.b.set_block(next_)
    if isinstance(kind, (Avg, Stats)):
        some, done = f.block("some"), f.block("averaged")
        f.b.branch("ne", number, 0, some, done)
        f.b.set_block(some)
        f.b.assign(total, f.b.alu("sdiv" if kind.signed else "div", total, number))
        f.b.jump(done)
        f.b.set_block(done)
    return total


def _merge(f: FunctionLowering, kind: Type, found: Reg, total: Reg, number: Reg) -> None:
    value = f.b.load(found, 0, 8)
    if isinstance(kind, (Min, Max)):
        is_set = f.b.load(found, 8, 8)
        check, first, take, done = (f.block(x) for x in ("set", "first", "take", "merged"))
        f.b.branch("ne", is_set, 0, check, done)
        f.b.set_block(check)
        f.b.branch("eq", number, 0, take, first)
        f.b.set_block(first)
        smaller = isinstance(kind, Min)
        op = ("slt" if smaller else "sgt") if kind.signed else ("lt" if smaller else "gt")
        f.b.branch(op, value, total, take, done)
        f.b.set_block(take)
        f.b.assign(total, value)
        f.b.assign(number, 1)
        f.b.jump(done)
        f.b.set_block(done)
        return
    f.b.assign(total, f.b.alu("add", total, value))
    if isinstance(kind, (Avg, Stats)):
        f.b.assign(number, f.b.alu("add", number, f.b.load(found, 8, 8)))


_UPDATES = {
    Count: _count,
    Sum: _sum,
    Min: _extreme,
    Max: _extreme,
    Avg: _average,
    Stats: _average,
    Hist: _hist,
    LHist: _lhist,
    TSeries: _tseries,
}


def _not_alone(f: FunctionLowering, node: n.Call) -> Value | Ref:
    raise AssertionError(f"{node.name}() outside of a map assignment passed the checker")


CALLS: dict[str, CallRule] = {
    "count": CallRule(_check_count, _not_alone),
    "sum": CallRule(_check_number(Sum), _not_alone),
    "min": CallRule(_check_number(Min), _not_alone),
    "max": CallRule(_check_number(Max), _not_alone),
    "avg": CallRule(_check_number(Avg), _not_alone),
    "stats": CallRule(_check_number(Stats), _not_alone),
    "hist": CallRule(_check_hist, _not_alone),
    "lhist": CallRule(_check_lhist, _not_alone),
    "tseries": CallRule(_check_tseries, _not_alone),
}

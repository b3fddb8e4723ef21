"""Lowering of loops: ``while``, ``for`` over ranges and over maps, ``break`` and ``continue``.

The kernel has several ways to run a loop, and the cheapest that it has and that fits is taken:

* few rounds of a short body: a plain loop, which the verifier walks through;
* a range: an iterator of the kernel (``bpf_iter_num_new`` and so on), else ``bpf_loop`` with the
  body as its callback;
* ``while``: the kernel's loop budget (``may_goto``), else ``bpf_loop``;
* the entries of a map: ``bpf_for_each_map_elem``, which calls the body back.

What the body assigns is hidden from the verifier before the loop: see
:func:`bpflens.lang.lower.closure.hide`.
"""

from __future__ import annotations

from bpflens.lang.ir.ops import Slot
from bpflens.lang.lower.closure import Closure, IteratorGuard, hide, hide_memory
from bpflens.lang.lower.function import Ref
from bpflens.lang.types import Aggregate, Pointer, Tuple
from bpflens.uapi.bpf import BPF_FUNC_for_each_map_elem, BPF_FUNC_loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.lang import nodes as n
    from bpflens.lang.ir.ops import Block, Reg, Value
    from bpflens.lang.lower.function import FunctionLowering

__all__ = ["lower_for_map", "lower_for_range", "lower_jump", "lower_while"]

# The kernel's own limit of a loop (BPF_MAX_LOOPS).
_MAX_ROUNDS = 1 << 23
# A plain loop costs the verifier so many rounds of so many characters of script at most.
_PLAIN_ROUNDS = 16
_PLAIN_TEXT = 400
RANGE_MESSAGE = (
    f"A loop over more than {_MAX_ROUNDS} numbers was not run: the kernel allows no more."
)


def lower_while(f: FunctionLowering, node: n.While) -> None:
    """Lower ``while``: the kernel's own budget ends a loop that never would."""
    if not f.context.target.has("may_goto") and f.context.target.has("bpf_loop"):
        _while_by_callback(f, node)
        return
    before = _Preheader(f)
    head, test, body, done = (f.block(name) for name in ("while", "test", "body", "endwhile"))
    f.b.set_block(head)
    if f.context.target.has("may_goto"):
        f.b.may_goto(test, done)
    else:
        f.b.jump(test)
    f.b.set_block(test)
    f.condition(node.condition, body, done)
    f.b.set_block(body)
    _body(f, node.body, before.block, done)
    f.b.jump(before.block)
    before.fill(head)
    f.b.set_block(done)


def _while_by_callback(f: FunctionLowering, node: n.While) -> None:
    from bpflens.lang.lower import statement

    closure = Closure(f, "while", params=2)
    closure.open(closure.fn.params[1])
    body = f.block("body")
    f.condition(node.condition, body, f.loops[-1][1])
    f.b.set_block(body)
    statement.lower_block(f, node.body)
    closure.close()
    env = closure.fill()
    f.b.call(BPF_FUNC_loop, _MAX_ROUNDS, f.b.func_addr(closure.fn), env, 0)
    closure.leave()


def lower_for_range(f: FunctionLowering, node: n.ForRange) -> None:
    """Lower ``for $i : a..b``; both bounds are evaluated once."""
    first = f.value(node.first)
    if not isinstance(first, int):
        first = f.b.move(first)
    stop = f.value(node.stop)
    if isinstance(first, int) and isinstance(stop, int):
        if first >= stop:
            return
        if stop - first <= _PLAIN_ROUNDS and node.body.end - node.body.start <= _PLAIN_TEXT:
            _plain_range(f, node, first, stop)
            return
    rounds, done = _count_rounds(f, node, first, stop)
    if f.context.target.has("open_coded_iter"):
        _iterated_range(f, node, first, rounds)
    elif f.context.target.has("bpf_loop"):
        _called_range(f, node, first, rounds)
    else:
        _plain_range(f, node, first, f.b.alu("add", first, rounds))
    f.b.jump(done)
    f.b.set_block(done)


def _count_rounds(
    f: FunctionLowering, node: n.ForRange, first: Value, stop: Value
) -> tuple[Value, Block]:
    # Return how many rounds there are, at least one; an empty range goes straight to the end.
    some, fits, many, done = f.block("some"), f.block("for"), f.block("many", True), f.block("end")
    f.b.branch("slt", first, stop, some, done)
    f.b.set_block(some)
    rounds = f.b.alu("sub", stop, first)
    f.b.branch("gt", rounds, _MAX_ROUNDS, many, fits)
    f.b.set_block(many)
    from bpflens.lang.lower import event

    event.emit(f, "runtime_error", [], message=RANGE_MESSAGE, place=f.resources.place(node))
    f.b.jump(done)
    f.b.set_block(fits)
    return rounds, done


def _plain_range(f: FunctionLowering, node: n.ForRange, first: Value, stop: Value) -> None:
    variable = _variable(f, node)
    counter = f.fn.new("counter")
    f.b.assign(counter, first)
    head, body, step, done = (f.block(name) for name in ("for", "body", "step", "endfor"))
    f.b.jump(head)
    f.b.set_block(head)
    f.b.branch("slt", counter, stop, body, done)
    f.b.set_block(body)
    f.b.assign(variable, counter)
    _body(f, node.body, step, done)
    f.b.jump(step)
    f.b.set_block(step)
    f.b.assign(counter, f.b.alu("add", counter, 1))
    f.b.jump(head)
    f.b.set_block(done)


def _iterated_range(f: FunctionLowering, node: n.ForRange, first: Value, rounds: Value) -> None:
    variable = _variable(f, node)
    iterator = IteratorGuard(f.fn.slot(8, 8, "iterator"))
    f.b.kfunc("bpf_iter_num_new", f.b.slot_addr(iterator.slot), 0, rounds)
    before = _Preheader(f)
    head, body, done = (f.block(name) for name in ("for", "body", "endfor"))
    f.b.set_block(head)
    found = f.b.kfunc("bpf_iter_num_next", f.b.slot_addr(iterator.slot))
    f.b.branch("ne", found, 0, body, done)
    f.b.set_block(body)
    index = f.b.load(found, 0, 4)
    f.b.assign(variable, f.b.alu("add", index, first) if first != 0 else index)
    f.guards.append(iterator)
    _body(f, node.body, before.block, done)
    f.guards.pop()
    f.b.jump(before.block)
    before.fill(head)
    f.b.set_block(done)
    iterator.destroy(f)


def _called_range(f: FunctionLowering, node: n.ForRange, first: Value, rounds: Value) -> None:
    from bpflens.lang.lower import statement

    level = len(f.closures)
    closure = Closure(f, "for_range", params=2)
    index, env = closure.fn.params
    closure.open(env)
    variable = _variable(f, node)
    start = first if isinstance(first, int) else f.near(first, level)
    f.b.assign(variable, f.b.alu("add", f.b.zext(index, 32), start))
    statement.lower_block(f, node.body)
    closure.close()
    address = closure.fill()
    f.b.call(BPF_FUNC_loop, rounds, f.b.func_addr(closure.fn), address, 0)
    closure.leave()


def lower_for_map(f: FunctionLowering, node: n.ForMap) -> None:
    """Lower ``for $kv : @map``: the kernel calls the body with every entry."""
    from bpflens.lang.lower import statement

    plan = f.plan(node.map.name)
    info = f.variant.variables[node]
    closure = Closure(f, "for_each", params=4)
    _, key, value, env = closure.fn.params
    closure.open(env)
    mark = f.mark()
    assert isinstance(info.type, Tuple)
    place = f.buffer(info.type.size, name=info.name[1:])
    f.variables[info] = place
    _store_entry(f, node, key, value, place, info.type)
    statement.lower_block(f, node.body)
    f.release(mark)
    closure.close()
    address = closure.fill()
    f.b.call(
        BPF_FUNC_for_each_map_elem,
        f.b.map_fd(plan.spec.name),
        f.b.func_addr(closure.fn),
        address,
        0,
    )
    closure.leave()


def _store_entry(
    f: FunctionLowering, node: n.ForMap, key: Reg, value: Reg, place: Ref, kind: Tuple
) -> None:
    # Write the loop variable: the tuple of an entry's key and its value.
    from bpflens.lang.call import aggregate
    from bpflens.lang.lower import map as maps
    from bpflens.lang.lower import memory

    plan = f.plan(node.map.name)
    key_type, value_type = kind.items
    assert plan.key is not None
    at = place.at(kind.offsets[0])
    if key_type.is_scalar:
        memory.store_scalar(f, at, memory.load(f, Ref(key), plan.key), key_type)
    else:
        memory.copy(f, at, Ref(key), plan.key, key_type)
    end = kind.offsets[0] + key_type.size
    memory.fill(f, place.at(end), kind.offsets[1] - end)
    at = place.at(kind.offsets[1])
    if isinstance(plan.value, Aggregate):
        memory.store_scalar(
            f, at, aggregate.read_at(f, plan, maps.Key(key, f.b.map_fd(plan.spec.name))), value_type
        )
    elif value_type.is_scalar:
        memory.store_scalar(f, at, memory.load(f, Ref(value), plan.value), value_type)
    else:
        memory.copy(f, at, Ref(value), plan.value, value_type)
    end = kind.offsets[1] + value_type.size
    memory.fill(f, place.at(end), kind.size - end)


def lower_jump(f: FunctionLowering, node: n.Jump) -> None:
    """Lower ``break`` and ``continue``."""
    again, done = f.loops[-1]
    f.b.jump(done if node.kind == "break" else again)


# pieces


def _variable(f: FunctionLowering, node: n.ForRange) -> Reg:
    info = f.variant.variables[node]
    found = f.variables.get(info)
    if found is None:
        assert info.type is not None
        found = f.variables[info] = f.fn.new(info.name[1:])
    assert not isinstance(found, Ref)
    return found


def _body(f: FunctionLowering, body: n.Block, again: Block, done: Block) -> None:
    from bpflens.lang.lower import statement

    f.loops.append((again, done))
    statement.lower_block(f, body)
    f.loops.pop()


class _Preheader:
    # A block in front of a loop, to be filled when it is known what the loop assigns.

    __slots__ = ("block", "f", "known", "mark")

    def __init__(self, f: FunctionLowering) -> None:
        """End the current block. All blocks made from now on are taken for the loop's."""
        self.f = f
        self.block = f.block("before")
        # Variables that only the body has begin anew in every round.
        self.known = dict(f.variables)
        f.b.jump(self.block)
        self.mark = len(f.fn.blocks)

    def fill(self, head: Block) -> None:
        """Hide from the verifier what the loop, now lowered, assigns, and go to its head."""
        f = self.f
        assigned: set[object] = set()
        for block in f.fn.blocks[self.mark :]:
            for op in block.ops:
                assigned.add(op.dst)
                if op.kind in ("store", "atomic", "slot_addr"):
                    assigned.add(op.args[0])
        back = f.b.current
        f.b.set_block(self.block)
        for info, found in self.known.items():
            if isinstance(found, Ref):
                if isinstance(found.base, Slot) and found.base in assigned:
                    hide_memory(f, found.base)
            elif found in assigned and not (isinstance(info.type, Pointer) and info.type.trusted):
                f.b.assign(found, hide(f, found))
        f.b.jump(head)
        f.b.set_block(back)

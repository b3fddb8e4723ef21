"""Gives every virtual register of a legalised function one of r0 to r9, or a place on the stack.

A register's lifetime is a list of half-open ranges of positions, with holes where its value does
not matter. Registers are served in the order of how often they are used over how long they live
(in loops counts more, in cold blocks less), each takes the place its neighbours want it in (an
argument's register, the other side of a move) if that is free all its life. What lives across a
call can only be in r6 to r9; who finds no place is spilled, which leaves tiny lifetimes behind,
and everything starts again; that happens once or twice.

Positions: the operation number ``k`` of the layout reads its operands at ``4k``, a call overwrites
r0-r5 at ``4k + 1``, the result is written at ``4k + 2``. An operand that must still be there when
the result is written lives until ``4k + 3``.

What the kernel's verifier thinks of a value goes with it: a move copies bounds, and a spill of 8
aligned bytes keeps pointers, and bounds that were known when it was stored.

Example::

    allocation = allocate(fn)
    allocation.regs[value], allocation.frame[slot], allocation.frame_size
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from bpflens.lang.ir.flow import liveness, loop_depths, predecessors, reverse_postorder
from bpflens.lang.ir.frame import layout
from bpflens.lang.ir.legalise import CALL_KINDS, COMMUTATIVE, rematerial
from bpflens.lang.ir.ops import Block, Function, IrError, Op, Reg, Slot, Terminator

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.lang.ir.ops import Operand

__all__ = ["Allocation", "allocate"]

_CALLEE_SAVED = (6, 7, 8, 9)
# r1 and r0 last: they are the ones that contexts, arguments and results want to be in.
_ANY = (5, 4, 3, 2, 1, 0, 6, 7, 8, 9)
_UNARY = frozenset(("neg", "bswap", "sext", "zext", "move"))
_ROUNDS = 12
_NEVER = 1 << 62


class Allocation:
    """Where all are: ``regs`` by :class:`Reg`, ``frame`` offsets (negative) by :class:`Slot`."""

    __slots__ = ("frame", "frame_size", "regs")

    def __init__(self, regs: dict[object, int], frame: dict[object, int], frame_size: int) -> None:
        self.regs = regs
        self.frame = frame
        self.frame_size = frame_size


def allocate(fn: Function) -> Allocation:
    """Place all registers and slots of a legalised function; adds loads and stores for spills.

    Raises :class:`~bpflens.lang.ir.frame.FrameTooLarge` if the slots and spills do not fit.
    """
    tiny: set[Reg] = set()
    homes: dict[Reg, Slot] = {}
    for number in range(_ROUNDS):
        lifetimes = _Lifetimes(fn)
        # Only before the first spill: from then on some registers belong to a slot.
        if lifetimes.moves and not number:
            _coalesce(fn, lifetimes)
        regs, failed = _place(fn, lifetimes, tiny)
        if not failed:
            frame, size = layout(fn)
            return Allocation(regs, frame, size)
        _spill(fn, lifetimes, failed, homes, tiny)
    raise IrError(f"{fn.name}: no end to spilling")


class _Lifetimes:
    # Ranges, weights and wishes of all registers, each list indexed by register number.

    __slots__ = (
        "by_number", "calls", "defs", "live_in", "moves", "near", "no_r0",
        "params", "ranges", "same", "weight", "wish",
    )  # fmt: skip

    def __init__(self, fn: Function) -> None:
        count = fn.reg_count
        self.by_number: list[Reg | None] = [None] * count
        self.ranges: list[list[tuple[int, int]]] = [[] for _ in range(count)]
        self.weight = [0.0] * count
        #: (physical register, how much) and (register number, how much)
        self.wish: list[list[tuple[int, float]]] = [[] for _ in range(count)]
        self.near: list[list[tuple[int, float]]] = [[] for _ in range(count)]
        self.calls: list[int] = []
        self.no_r0: list[int] = []
        self.moves: list[tuple[Reg, Reg]] = []
        #: Registers that became another one.
        self.same: dict[int, int] = {}
        self.params = set(fn.params)
        #: Where each register is assigned, and the number of the one it is moved from (or -1).
        self.defs: list[list[tuple[int, int]]] = [[] for _ in range(count)]
        order = reverse_postorder(fn)
        depths = loop_depths(order)
        self.live_in, live_out = liveness(order)
        position = 4 * sum(len(block.ops) + 2 for block in fn.blocks)
        for block in reversed(fn.blocks):
            frequency = 8.0 ** min(depths[block], 6) * (0.05 if block.cold else 1.0)
            position = self._block(block, position, live_out[block], frequency)
        for number, param in enumerate(fn.params):
            if self.ranges[param.n]:
                self.by_number[param.n] = param
                self.wish[param.n].append((number + 1, 1.0))
        self.calls.reverse()
        for ranges in self.ranges:
            ranges.reverse()

    def _block(self, block: Block, position: int, live: int, frequency: float) -> int:
        """Walk one block backwards from ``position``; return where it begins."""
        ends: dict[int, int] = {}
        while live:
            low = live & -live
            ends[low.bit_length() - 1] = position
            live ^= low
        term = block.term
        assert term is not None
        position -= 4
        for arg in term.args:
            if type(arg) is Reg:
                self._use(arg, position + 1, ends, frequency)
                if term.kind == "ret":
                    self.wish[arg.n].append((0, frequency))
        for op in reversed(block.ops):
            position -= 4
            self._op(op, position, ends, frequency)
        position -= 4
        for n, end in ends.items():
            self._add(n, position, end)
        return position

    def _op(self, op: Op, position: int, ends: dict[int, int], frequency: float) -> None:
        dst, kind, args = op.dst, op.kind, op.args
        if dst is not None:
            n = dst.n
            self._add(n, position + 2, ends.pop(n, position + 3))
            source = args[0].n if kind == "move" and type(args[0]) is Reg else -1
            self.defs[n].append((position + 2, source))
            self.by_number[n] = dst
            self.weight[n] += frequency
        if kind in CALL_KINDS:
            self.calls.append(position + 1)
            if dst is not None:
                self.wish[dst.n].append((0, frequency))
            for number, arg in enumerate(args):
                if type(arg) is Reg:
                    self._use(arg, position + 1, ends, frequency)
                    self.wish[arg.n].append((number + 1, frequency))
            return
        late = position + 1
        if kind == "alu":
            first, second = args
            if type(second) is Reg and op.op not in COMMUTATIVE and second is not first:
                self._use(second, position + 3, ends, frequency)
            self._couple(op, args if op.op in COMMUTATIVE else args[:1], frequency)
        elif kind in _UNARY:
            self._couple(op, args, frequency)
            if kind == "move" and dst is not None and type(args[0]) is Reg:
                self.moves.append((dst, args[0]))
        elif kind == "bool":
            late = position + 3
        elif kind == "atomic" and dst is not None:
            # The destination receives the operand first, while the base is still needed.
            late = position + 3
            if op.op == "cmpxchg":
                self.no_r0.append(position + 1)
                self.wish[dst.n].append((0, frequency))
                expected = args[1]
                if type(expected) is Reg:
                    self.wish[expected.n].append((0, frequency))
                    self._use(expected, position + 1, ends, frequency)
                    args = [args[0], args[2]]
            else:
                self._couple(op, args[1:], frequency)
                self._use_all(args[1:], position + 1, ends, frequency)
                args = args[:1]
        self._use_all(args, late, ends, frequency)

    def _use_all(
        self, args: list[Operand], end: int, ends: dict[int, int], frequency: float
    ) -> None:
        for arg in args:
            if type(arg) is Reg:
                self._use(arg, end, ends, frequency)

    def _use(self, reg: Reg, end: int, ends: dict[int, int], frequency: float) -> None:
        n = reg.n
        if ends.get(n, 0) < end:
            ends[n] = end
        self.weight[n] += frequency
        self.by_number[n] = reg

    def _couple(self, op: Op, args: list[Operand], frequency: float) -> None:
        assert op.dst is not None
        for arg in args:
            if type(arg) is Reg:
                self.near[arg.n].append((op.dst.n, frequency))
                self.near[op.dst.n].append((arg.n, frequency))

    def _add(self, n: int, start: int, end: int) -> None:
        ranges = self.ranges[n]
        if ranges and ranges[-1][0] == end:
            ranges[-1] = (start, ranges[-1][1])
        else:
            ranges.append((start, end))


def _coalesce(fn: Function, life: _Lifetimes) -> None:
    # Make one register of the two sides of a move wherever their values allow it.
    #
    # They may both be alive as long as neither is assigned something else meanwhile: then they hold
    # the same value.
    leader: dict[Reg, Reg] = {}
    members: dict[Reg, list[Reg]] = {}
    params = set(fn.params)
    for dst, src in life.moves:
        one, two = leader.get(dst, dst), leader.get(src, src)
        if two in params:
            one, two = two, one
        if one is two or two in params or _differ(life, one, two) or _differ(life, two, one):
            continue
        life.ranges[one.n], life.ranges[two.n] = (
            _union(life.ranges[one.n], life.ranges[two.n]),
            [],
        )
        life.defs[one.n] += life.defs[two.n]
        life.weight[one.n] += life.weight[two.n]
        life.wish[one.n] += life.wish[two.n]
        life.near[one.n] += life.near[two.n]
        joined = [two, *members.pop(two, ())]
        for reg in joined:
            leader[reg] = one
        members.setdefault(one, []).extend(joined)
        for reg in joined:
            life.same[reg.n] = one.n
    if not leader:
        return
    for block in fn.blocks:
        kept: list[Op] = []
        for op in block.ops:
            _rename(op.args, leader)
            if op.dst is not None:
                op.dst = leader.get(op.dst, op.dst)
                if op.kind == "move" and op.args[0] is op.dst:
                    continue
            kept.append(op)
        block.ops = kept
        assert block.term is not None
        _rename(block.term.args, leader)


def _differ(life: _Lifetimes, one: Reg, two: Reg) -> bool:
    # Whether ``one`` is assigned something else than ``two`` while ``two`` is alive.
    ranges = life.ranges[two.n]
    for position, source in life.defs[one.n]:
        if life.same.get(source, source) != two.n and _alive(ranges, position):
            return True
    # A parameter is assigned at the very beginning.
    return bool(one in life.params and ranges and ranges[0][0] <= life.ranges[one.n][0][0])


def _alive(ranges: list[tuple[int, int]], position: int) -> bool:
    at = bisect_right(ranges, (position, _NEVER))
    return bool(at) and ranges[at - 1][1] > position


def _union(one: list[tuple[int, int]], two: list[tuple[int, int]]) -> list[tuple[int, int]]:
    result: list[tuple[int, int]] = []
    for start, end in sorted(one + two):
        if result and result[-1][1] >= start:
            if end > result[-1][1]:
                result[-1] = (result[-1][0], end)
        else:
            result.append((start, end))
    return result


def _rename(args: list[Operand], leader: dict[Reg, Reg]) -> None:
    for number, arg in enumerate(args):
        if type(arg) is Reg and arg in leader:
            args[number] = leader[arg]


class _Occupancy:
    # What one physical register is busy with: disjoint ranges, sorted.

    __slots__ = ("ends", "starts")

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.ends: list[int] = []

    def is_free(self, ranges: list[tuple[int, int]]) -> bool:
        starts, ends = self.starts, self.ends
        for start, end in ranges:
            at = bisect_left(starts, end)
            if at and ends[at - 1] > start:
                return False
        return True

    def take(self, ranges: list[tuple[int, int]]) -> None:
        for start, end in ranges:
            at = bisect_left(self.starts, start)
            self.starts.insert(at, start)
            self.ends.insert(at, end)


def _place(fn: Function, life: _Lifetimes, tiny: set[Reg]) -> tuple[dict[object, int], list[Reg]]:
    # Give out physical registers; return them and the registers that found none.
    busy = [_Occupancy() for _ in range(10)]
    place: dict[int, int] = {}
    failed: list[Reg] = []
    ranked: list[tuple[float, int]] = []
    for n, ranges in enumerate(life.ranges):
        if ranges:
            length = sum(end - start for start, end in ranges)
            urgent = 1e9 if life.by_number[n] in tiny else 0.0
            ranked.append((-(urgent + life.weight[n] / length), n))
    ranked.sort()
    for _, n in ranked:
        ranges = life.ranges[n]
        for phys in _candidates(life, n, place):
            if busy[phys].is_free(ranges) and not (
                phys == 0 and life.no_r0 and _crosses(sorted(life.no_r0), ranges)
            ):
                busy[phys].take(ranges)
                place[n] = phys
                break
        else:
            reg = life.by_number[n]
            assert reg is not None
            if reg in tiny:
                raise IrError(f"{fn.name}: more than ten registers needed at once")
            failed.append(reg)
    return {life.by_number[n]: phys for n, phys in place.items()}, failed


def _candidates(life: _Lifetimes, n: int, place: dict[int, int]) -> list[int]:
    # Physical registers to try, best first.
    crossing = _crosses(life.calls, life.ranges[n])
    allowed = _CALLEE_SAVED if crossing else _ANY
    score: dict[int, float] = {}
    for phys, much in life.wish[n]:
        score[phys] = score.get(phys, 0.0) + much
    for other, much in life.near[n]:
        if other in place:
            score[place[other]] = score.get(place[other], 0.0) + much
        else:
            # Not placed yet: what it would like itself, which both could then share.
            for phys, more in life.wish[other]:
                score[phys] = score.get(phys, 0.0) + min(much, more) / 2
    if not score:
        return list(allowed)
    wanted = sorted((phys for phys in score if phys in allowed), key=lambda phys: -score[phys])
    return wanted + [phys for phys in allowed if phys not in score]


def _crosses(points: list[int], ranges: list[tuple[int, int]]) -> bool:
    for start, end in ranges:
        at = bisect_left(points, start)
        if at < len(points) and points[at] < end:
            return True
    return False


def _spill(
    fn: Function,
    life: _Lifetimes,
    failed: list[Reg],
    homes: dict[Reg, Slot],
    tiny: set[Reg],
) -> None:
    # Keep ``failed`` in stack slots; their uses load them, their definitions store them.
    #
    # The first time, a loaded value is shared by the uses of it up to the next call. If the
    # register
    # made for that finds no place either, each use loads on its own.
    #
    # A comparison bounds what was loaded, not what is in the slot; so on both ways out of a branch
    # the register is stored back, for the verifier only.
    worker = _Spiller(fn, failed, homes, tiny)
    moved = worker.moved
    stores = [
        Op("store", None, [moved[param], worker.replace(fn, number)], size=8)
        for number, param in enumerate(fn.params)
        if param in moved
    ]
    preds = predecessors(fn.blocks)
    for block in list(fn.blocks):
        worker.block(block, stores if block is fn.blocks[0] else [], len(preds[block]) == 1)
    for block, reg, fresh in worker.bounded:
        assert block.term is not None
        names = 1 << reg.n
        for n, same in life.same.items():
            if same == reg.n:
                names |= 1 << n
        for number, target in enumerate(block.term.targets):
            if life.live_in[target] & names:
                store = Op("store", None, [moved[reg], fresh], size=8, pos=block.term.pos)
                if len(preds[target]) > 1:
                    between = fn.block("bounded", target.cold)
                    between.term = Terminator("jump", [], [target])
                    block.term.targets[number] = between
                    life.live_in[between], preds[between] = life.live_in[target], [block]
                    target = between
                target.ops.insert(0, store)


class _Spiller:
    __slots__ = (
        "again", "bounded", "cache", "fn", "homes", "material", "moved", "out", "seeds", "tiny",
    )  # fmt: skip

    def __init__(
        self, fn: Function, failed: list[Reg], homes: dict[Reg, Slot], tiny: set[Reg]
    ) -> None:
        self.fn = fn
        #: Those that are cheaper to compute again, and how.
        self.material = {reg: op for reg, op in rematerial(fn).items() if reg in set(failed)}
        self.moved = {
            reg: homes.get(reg) or fn.slot(8, 8, "spill")
            for reg in failed
            if reg not in self.material
        }
        self.again = {reg for reg in self.moved if reg in homes}
        self.homes = homes
        self.tiny = tiny
        self.cache: dict[Reg, Reg] = {}
        self.out: list[Op] = []
        #: Branches, a spilled register they compare, and the register that is compared instead.
        self.bounded: list[tuple[Block, Reg, Reg]] = []
        self.seeds: dict[Block, dict[Reg, Reg]] = {}

    def replace(self, fn: Function, number: int) -> Reg:
        """Let a parameter arrive in a register of its own, stored away at once."""
        fresh = fn.new()
        fn.params[number] = fresh
        self.tiny.add(fresh)
        return fresh

    def block(self, block: Block, before: list[Op], one_way_in: bool) -> None:
        moved, out = self.moved, list(before)
        self.out = out
        self.cache = dict(self.seeds.get(block, ())) if one_way_in else {}
        for op in block.ops:
            if op.dst in self.material:
                continue
            home = self._home_of(op)
            if home is not None and self._is_transfer(op, home):
                continue
            if op.kind in CALL_KINDS:
                op.args = [self._argument(arg) for arg in op.args]
                self.cache.clear()
            else:
                self._operands(op.args, op.pos)
            out.append(op)
            dst = op.dst
            if dst is not None and dst in moved:
                op.dst = self._fresh(dst)
                out.append(Op("store", None, [moved[dst], op.dst], size=8, pos=op.pos))
        term = block.term
        assert term is not None
        if term.kind == "ret":
            term.args = [self._argument(arg) for arg in term.args]
        elif term.args:
            compared = list(term.args)
            self._operands(term.args, term.pos)
            if term.op not in ("eq", "ne", "set"):
                self._bound(block, term, compared)
        block.ops = out

    def _bound(self, block: Block, term: Terminator, compared: list[Operand]) -> None:
        for reg, fresh in zip(compared, term.args, strict=True):
            if reg in self.moved and type(reg) is Reg and type(fresh) is Reg:
                self.bounded.append((block, reg, fresh))
                if fresh not in self.tiny:
                    for target in term.targets:
                        self.seeds.setdefault(target, {})[reg] = fresh

    def _home_of(self, op: Op) -> Slot | None:
        if op.kind in ("load", "store") and type(op.args[0]) is Slot:
            return op.args[0]
        return None

    def _is_transfer(self, op: Op, home: Slot) -> bool:
        # A load or store that an earlier round made for a register that is spilled again: its
        # definition stores it, its uses load it, so nothing is left for this one to do.
        reg = op.dst if op.kind == "load" else op.args[1]
        return type(reg) is Reg and reg in self.again and self.moved[reg] is home

    def _argument(self, arg: Operand) -> Operand:
        if type(arg) is Reg and arg in self.moved:
            return self.cache.get(arg) or Op("load", None, [self.moved[arg]], size=8)
        return self.material.get(arg, arg) if type(arg) is Reg else arg

    def _operands(self, args: list[Operand], pos: int) -> None:
        loaded: dict[Reg, Reg] = {}
        for number, arg in enumerate(args):
            if type(arg) is Reg and arg in self.moved:
                found = self.cache.get(arg) or loaded.get(arg)
                if found is None:
                    found = loaded[arg] = self._fresh(arg)
                    self.out.append(Op("load", found, [self.moved[arg]], size=8, pos=pos))
                args[number] = found
            elif type(arg) is Reg and arg in self.material:
                op = self.material[arg]
                args[number] = found = self.fn.new()
                self.tiny.add(found)
                self.out.append(Op(op.kind, found, op.args, off=op.off, ref=op.ref, pos=pos))

    def _fresh(self, reg: Reg) -> Reg:
        fresh = self.fn.new()
        if reg in self.again:
            self.tiny.add(fresh)
        else:
            self.cache[reg] = fresh
            self.homes[fresh] = self.moved[reg]
        return fresh

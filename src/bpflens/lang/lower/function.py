"""Lowering of one variant: its function, its variables, its temporary memory.

Three ways to evaluate an expression, chosen by what is wanted:

* :meth:`FunctionLowering.value` — a scalar, in a register;
* :meth:`FunctionLowering.ref` — something that lies in memory: where it lies, without copying it;
* :meth:`FunctionLowering.store` — any value, written straight to where it belongs (a map key, a
  field of an event), so that strings and tuples are built in place.

and :meth:`FunctionLowering.condition`, which branches without making a truth value first. The
rules for each node class are in the neighbours; this class is what they share.
"""

from __future__ import annotations

from bpflens.lang import nodes as n
from bpflens.lang.ir.builder import Builder
from bpflens.lang.ir.ops import Function, Op
from bpflens.lang.lower.resource import SCRATCH_ENTRIES, SCRATCH_MAP
from bpflens.lang.types import Pointer, Type, align_up
from bpflens.uapi.bpf import BPF_FUNC_map_lookup_elem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.lang.analyse.state import VariableInfo, Variant
    from bpflens.lang.context import Context
    from bpflens.lang.ir.ops import Block, Operand, Reg, Slot, Value
    from bpflens.lang.lower.closure import Closure, IteratorGuard
    from bpflens.lang.lower.resource import MapPlan, Resources
    from bpflens.lang.lower.subprogram import Frame

__all__ = ["STACK_LIMITS", "FunctionLowering", "Ref"]

#: How many bytes of temporary memory and variables may be on the stack: what is tried in turn.
STACK_LIMITS = (320, 128, 0)


class Ref:
    """A place in memory: ``base`` register or stack slot, byte offset, address space.

    ``space`` is ``"bpf"`` (stack, map value, event: plain loads and stores), ``"ctx"`` (plain
    loads at constant offsets), ``"btf"`` (a pointer that the verifier trusts: plain loads),
    ``"kernel"``, ``"user"`` or ``""`` (either: the address decides). What is written to a
    ``loose`` place is only read up to a string's NUL: nobody looks at the bytes behind it.
    """

    __slots__ = ("base", "loose", "off", "space")

    def __init__(
        self, base: Operand, off: int = 0, space: str = "bpf", loose: bool = False
    ) -> None:
        self.base = base
        self.off = off
        self.space = space
        self.loose = loose

    def at(self, offset: int) -> Ref:
        """Return the place ``offset`` bytes further on."""
        return Ref(self.base, self.off + offset, self.space, self.loose)

    @property
    def direct(self) -> bool:
        """Whether plain loads may read it."""
        return self.space in ("bpf", "ctx", "btf")


class FunctionLowering:
    """The lowering of one variant into ``fn``. ``b`` is the builder of the current function."""

    def __init__(
        self,
        context: Context,
        resources: Resources,
        variant: Variant,
        name: str,
        stack_limit: int = STACK_LIMITS[0],
    ) -> None:
        self.context = context
        self.resources = resources
        self.variant = variant
        self.fn = Function(name)
        self.b = Builder(self.fn)
        self.functions: list[Function] = [self.fn]
        self.loops: list[tuple[Block, Block]] = []
        self.calls: list[Frame] = []
        self.stack_limit = stack_limit
        self.stack_used = 0
        self.scratch_used = 0
        # What has to be undone on the way out: callbacks around this place, iterators in use.
        self.closures: list[Closure] = []
        self.guards: list[Closure | IteratorGuard] = []
        # Variables of the current function; those of the functions around it are captured.
        self.variables: dict[VariableInfo, Reg | Ref] = {}
        # The expression that is being evaluated, for messages about its place.
        self.here: n.Node | None = None
        # Of a program that serves many system calls: the number of the call at hand.
        self.call_number: Value = 0
        self._scratch: Reg | None = None
        self._entry = self.b.current
        self._body = self.b.block("body")
        self.b.set_block(self._body)

    def run(self) -> Function:
        """Lower the whole probe and return the main function."""
        from bpflens.lang.lower import prologue, statement

        self._reserve_variables()
        prologue.enter(self)
        statement.lower_probe(self, self.variant.probe)
        self._finish_entry()
        return self.fn

    # evaluation

    def type(self, node: n.Node) -> Type:
        """Return the type that analysis gave an expression."""
        return self.variant.types[node]

    def meant(self, node: n.Node) -> n.Node:
        """Return the expression that a node stands for: mostly the node itself."""
        other = self.variant.stands_for.get(node)
        return node if other is None else self.meant(other)

    def value(self, node: n.Node) -> Value:
        """Evaluate a scalar expression; integers come extended to 64 bits."""
        from bpflens.lang.lower import expression

        node = self.meant(node)
        around, self.here = self.here, node
        self.b.at(node.start)
        found = expression.lower_value(self, node)
        self.here = around
        return found

    def ref(self, node: n.Node) -> Ref:
        """Return where the value of an expression of a memory type lies."""
        from bpflens.lang.lower import expression

        node = self.meant(node)
        around, self.here = self.here, node
        self.b.at(node.start)
        found = expression.lower_ref(self, node)
        self.here = around
        return found

    def store(self, node: n.Node, place: Ref, wanted: Type) -> None:
        """Write the value of an expression to ``place``, as a value of type ``wanted``."""
        from bpflens.lang.lower import memory

        around, self.here = self.here, node
        self.b.at(node.start)
        memory.store_node(self, node, place, wanted)
        self.here = around

    def condition(self, node: n.Node, then: Block, otherwise: Block) -> None:
        """Branch on the truth of an expression."""
        from bpflens.lang.lower import expression

        node = self.meant(node)
        self.b.at(node.start)
        expression.lower_condition(self, node, then, otherwise)

    # memory

    def buffer(self, size: int, align: int = 8, name: str = "tmp") -> Ref:
        """Return temporary memory: stack while it is small, else per-CPU scratch memory."""
        size = max(align_up(size, 8), 8)
        limit = int(str(self.context.config["on_stack_limit"]))
        if size <= max(limit, 64) and self.stack_used + size <= self.stack_limit:
            self.stack_used += size
            return Ref(self.fn.slot(size, 8, name))
        return self.scratch(size)

    def scratch(self, size: int) -> Ref:
        """Return ``size`` bytes of this CPU's scratch memory."""
        offset = self.scratch_used
        self.scratch_used += align_up(size, 8)
        self.resources.scratch_size = max(self.resources.scratch_size, self.scratch_used)
        if self._scratch is None:
            self._scratch = self.functions[0].new("scratch")
        return Ref(self.near(self._scratch, 0), offset)

    def mark(self) -> tuple[int, int]:
        """Return how much temporary memory is taken, for :meth:`release`."""
        return self.stack_used, self.scratch_used

    def release(self, mark: tuple[int, int]) -> None:
        """Give back the temporary memory taken since a mark: nothing refers to it any more."""
        self.stack_used, self.scratch_used = mark

    def address(self, place: Ref) -> Reg:
        """Return the address of a place in a register, for a helper's argument."""
        from bpflens.lang.ir.ops import Reg, Slot

        if isinstance(place.base, Slot):
            return self.b.slot_addr(place.base, place.off)
        assert isinstance(place.base, Reg)
        return self.b.alu("add", place.base, place.off) if place.off else place.base

    # variables

    def variable(self, info: VariableInfo) -> Reg | Ref:
        """Return the register (scalars) or the memory of a variable, zero until assigned."""
        found = self.variables.get(info)
        if found is None:
            assert info.type is not None
            kind = info.type
            for level, closure in enumerate(self.closures):
                if info in closure.variables:
                    outer = closure.variables[info]
                    if isinstance(outer, Ref):
                        found = self.near_place(outer, level)
                    else:
                        plain = not (isinstance(kind, Pointer) and kind.trusted)
                        found = self.near(outer, level, plain)
                    break
            else:
                if kind.is_scalar:
                    found = self.fn.new(info.name[1:])
                else:
                    found = self.buffer(kind.size, name=info.name[1:])
            self.variables[info] = found
        return found

    def near(self, reg: Reg, level: int, plain: bool = False) -> Reg:
        """Return what stands here for a register of the function that is ``level`` callbacks deep.

        ``plain`` tells that the register is a number to the verifier, whatever it means.
        """
        for closure in self.closures[level:]:
            reg = closure.capture(reg, plain)
        return reg

    def near_place(self, place: Ref, level: int) -> Ref:
        """Return what stands here for a place that is known ``level`` callbacks deep."""
        base = place.base
        assert not isinstance(base, (int, Op))
        for closure in self.closures[level:]:
            base = closure.capture(base, False)
        return Ref(base, place.off, place.space, place.loose)

    @property
    def ctx(self) -> Reg:
        """The context of the program."""
        return self.near(self.functions[0].ctx, 0)

    def clear_variables(self, but: set[Reg]) -> None:
        """Let the current function's variables begin as zero."""
        for found in self.variables.values():
            if not isinstance(found, Ref) and found not in but:
                self.b.assign(found, 0)

    def hide_slot(self, slot: Slot) -> None:
        """Make the verifier forget the contents of ``slot`` if it holds a variable."""
        from bpflens.lang.lower.closure import hide_memory

        if any(isinstance(v, Ref) and v.base is slot for v in self.variables.values()):
            hide_memory(self, slot)

    def leave(self, value: Value = 0) -> None:
        """Leave the program with a value, out of whatever loops and callbacks this is in."""
        from bpflens.lang.lower.closure import escape

        escape(self, 0, value, lambda value: self.b.exit(value))

    def _reserve_variables(self) -> None:
        # Variables live as long as the function: they lie in front of what is only temporary. The
        # entry of a map that a loop is at lies in the callback's own frame.
        for info in self.variant.variables.values():
            if (
                info.type is not None
                and not info.type.is_scalar
                and not isinstance(info.node, n.ForMap)
            ):
                self.variable(info)

    # maps

    def plan(self, name: str) -> MapPlan:
        """Return how a script map lies in the kernel."""
        return self.resources.maps[name]

    # control

    def block(self, name: str, cold: bool = False) -> Block:
        """Make a block; ``cold`` ones are laid out behind all others."""
        block = self.b.block(name)
        if cold:
            self.b.unlikely(block)
        return block

    def _finish_entry(self) -> None:
        # The entry block can be written only now, when it is known whether scratch is needed.
        self.b.at(self.variant.probe.start)
        self.b.set_block(self._entry)
        self.clear_variables(set())
        if self._scratch is None:
            self.b.jump(self._body)
            return
        key = self.fn.slot(4, 4, "cpu_key")
        entry = self.variant.index % SCRATCH_ENTRIES
        self.resources.scratch_entries = max(self.resources.scratch_entries, entry + 1)
        self.b.store(key, 0, entry, 4)
        found = self.b.call(
            BPF_FUNC_map_lookup_elem, self.b.map_fd(SCRATCH_MAP), self.b.slot_addr(key)
        )
        leave = self.block("no_scratch", cold=True)
        have = self.block("have_scratch")
        self.b.branch("ne", found, 0, have, leave)
        self.b.set_block(have)
        self.b.assign(self._scratch, found)
        self.b.jump(self._body)
        self.b.set_block(leave)
        self.b.exit(0)

"""Callbacks that share their surroundings: loops whose body the kernel calls as a function.

The body of such a loop becomes a function of its own, which sees the variables of the code around
it. What it uses of them is found out while it is lowered: each gets a register of the callback
and a field of an *environment*, a piece of the caller's stack whose address the kernel hands
through. The caller fills the environment before the call and takes back what the callback
assigned; the callback loads the fields when it begins and stores what it assigned when it ends.

``return``, ``exit()`` and the like leave all loops at once: the callback stores a code in the
environment and stops the loop, and the caller acts on the code.

Layout of the environment::

    u64 code       which way the callback wants to leave, 0 for none
    u64 value      what it returns from the program
    u64 fields[]   variables, the context, addresses of larger variables

Example::

    closure = Closure(f, "for_each", params=4)
    closure.open(env=closure.fn.params[3])
    ...                                      # lower the body; f.b now appends to the callback
    closure.close()
    env = closure.fill()
    f.b.call(BPF_FUNC_for_each_map_elem, map, f.b.func_addr(closure.fn), env, 0)
    closure.leave()
"""

from __future__ import annotations

from bpflens.lang.ir.builder import Builder
from bpflens.lang.ir.ops import Function, Slot
from bpflens.uapi.bpf import BPF_FUNC_probe_read_kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from bpflens.lang.ir.ops import Reg, Value
    from bpflens.lang.lower.function import FunctionLowering

    Finish = Callable[[Value], None]

__all__ = ["Closure", "IteratorGuard", "escape", "hide", "hide_memory"]

_CODE, _VALUE, _FIELDS = 0, 8, 16
CONTINUE, BREAK = 0, 1


class IteratorGuard:
    """A loop over a kernel iterator, which has to be destroyed whichever way the loop is left."""

    __slots__ = ("slot",)

    def __init__(self, slot: Slot) -> None:
        self.slot = slot

    def destroy(self, f: FunctionLowering) -> None:
        """Give the iterator back to the kernel."""
        f.b.kfunc("bpf_iter_num_destroy", f.b.slot_addr(self.slot))


class _Capture:
    # One thing of the caller that the callback uses: a register, or a stack slot's address.

    __slots__ = ("assigned", "inner", "outer", "plain")

    def __init__(self, outer: Reg | Slot, inner: Reg, plain: bool) -> None:
        self.outer = outer
        self.inner = inner
        #: Whether it is a number to the verifier (and no pointer that it follows).
        self.plain = plain
        self.assigned = False


class Closure:
    """One callback: opened, lowered into, closed, called, left."""

    __slots__ = (
        "_body", "_captures", "_entry", "_env", "_escapes", "_last", "_slot", "_status", "f", "fn",
        "outer_b", "outer_fn", "outer_loops", "variables",
    )  # fmt: skip

    def __init__(self, f: FunctionLowering, name: str, params: int) -> None:
        self.f = f
        self.fn = Function(name, params)
        self._captures: dict[Reg | Slot, _Capture] = {}
        self._escapes: list[tuple[int, Finish]] = []
        self.outer_fn, self.outer_b, self.outer_loops = f.fn, f.b, f.loops
        self.variables = f.variables

    def open(self, env: Reg) -> None:
        """Let what is lowered from now on go into the callback."""
        f = self.f
        self._env = env
        builder = Builder(self.fn)
        self._entry, self._body = builder.current, self.fn.block("body")
        self._last = self.fn.block("return")
        self._status = self.fn.new("status")
        builder.set_block(self._body)
        builder.at(f.b.pos)
        f.functions.append(self.fn)
        f.fn, f.b, f.variables = self.fn, builder, {}
        f.closures.append(self)
        f.guards.append(self)
        again, stop = self.fn.block("continue"), self.fn.block("break")
        f.loops = [(again, stop)]
        for block, status in ((again, CONTINUE), (stop, BREAK)):
            f.b.set_block(block)
            self._finish(status)
        f.b.set_block(self._body)

    def close(self) -> None:
        """End the callback; the caller goes on where it was."""
        f = self.f
        b = f.b
        b.jump(f.loops[0][0])
        self._note_assigned()
        b.set_block(self._last)
        for number, capture in enumerate(self._captures.values()):
            if capture.assigned:
                b.store(self._env, _FIELDS + 8 * number, capture.inner, 8)
        b.ret(self._status)
        b.set_block(self._entry)
        for number, capture in enumerate(self._captures.values()):
            b.assign(capture.inner, b.load(self._env, _FIELDS + 8 * number, 8))
        captured = {capture.inner for capture in self._captures.values()}
        f.clear_variables(captured)
        b.jump(self._body)
        f.closures.pop()
        f.guards.pop()
        f.fn, f.b, f.loops, f.variables = (
            self.outer_fn, self.outer_b, self.outer_loops, self.variables,
        )  # fmt: skip

    def capture(self, outer: Reg | Slot, plain: bool) -> Reg:
        """Return the callback's register for a register or slot of the function around it."""
        found = self._captures.get(outer)
        if found is None:
            found = _Capture(outer, self.fn.new(outer.name), plain)
            self._captures[outer] = found
        return found.inner

    def _note_assigned(self) -> None:
        inner = {capture.inner: capture for capture in self._captures.values()}
        for block in self.fn.blocks:
            for op in block.ops:
                if op.dst in inner:
                    inner[op.dst].assigned = True

    def fill(self) -> Reg:
        """Write the environment, in the caller; return its address."""
        f = self.f
        size = _FIELDS + 8 * len(self._captures)
        self._slot = slot = f.fn.slot(size, 8, "env")
        f.b.store(slot, _CODE, 0, 8)
        f.b.store(slot, _VALUE, 0, 8)
        for number, capture in enumerate(self._captures.values()):
            value = capture.outer
            if isinstance(value, Slot):
                f.hide_slot(value)
                value = f.b.slot_addr(value)
            elif capture.assigned and capture.plain:
                value = hide(f, value)
            f.b.store(slot, _FIELDS + 8 * number, value, 8)
        return f.b.slot_addr(slot)

    def leave(self) -> None:
        """Take back what the callback assigned, and leave where it wanted to leave."""
        f = self.f
        for number, capture in enumerate(self._captures.values()):
            if capture.assigned and not isinstance(capture.outer, Slot):
                f.b.assign(capture.outer, f.b.load(self._slot, _FIELDS + 8 * number, 8))
        if not self._escapes:
            return
        code, value = f.b.load(self._slot, _CODE, 8), f.b.load(self._slot, _VALUE, 8)
        for number, (depth, finish) in enumerate(self._escapes):
            out, further = f.block("leave"), f.block("stay")
            f.b.branch("eq", code, number + 1, out, further)
            f.b.set_block(out)
            escape(f, depth, value, finish)
            f.b.set_block(further)

    def escape(self, depth: int, value: Value, finish: Finish) -> None:
        """Stop the loop from inside the callback, to go on by ``finish`` at guard ``depth``."""
        b = self.f.b
        self._escapes.append((depth, finish))
        b.store(self._env, _CODE, len(self._escapes), 8)
        b.store(self._env, _VALUE, value, 8)
        self._finish(BREAK)

    def _finish(self, status: int) -> None:
        self.f.b.assign(self._status, status)
        self.f.b.jump(self._last)


def escape(f: FunctionLowering, depth: int, value: Value, finish: Finish) -> None:
    """Leave all loops behind the first ``depth`` guards, then do ``finish`` with ``value``."""
    for guard in reversed(f.guards[depth:]):
        if isinstance(guard, Closure):
            guard.escape(depth, value, finish)
            return
        guard.destroy(f)
    finish(value)


def hide(f: FunctionLowering, value: Reg) -> Reg:
    """Return the same number, of which the verifier knows nothing.

    It follows a loop with known numbers through every single round, and those before Linux 6.7
    (ab5cfac139ab "bpf: verify callbacks as if they are called unknown number of times") take what
    a callback sees in its first round for what it always sees.
    """
    zero = f.b.load(f.b.map_value(f.resources.unknown()), 0, 8)
    return f.b.alu("add", value, zero)


def hide_memory(f: FunctionLowering, slot: Slot) -> None:
    """Make the verifier forget what it knows about the contents of a variable on the stack."""
    address = f.b.slot_addr(slot)
    f.b.call(BPF_FUNC_probe_read_kernel, address, slot.size, address)

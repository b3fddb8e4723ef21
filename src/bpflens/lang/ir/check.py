"""Whether a function keeps the rules of the representation.

A broken rule is a mistake in the compiler, so it raises :class:`~bpflens.lang.ir.ops.IrError` with
the place. The driver runs this after every pass when asked to (tests always ask).

What it does not know is the kernel's verifier: bounds and NULL checks are not looked at here.

Example::

    check_function(fn)      # silence is consent
"""

from __future__ import annotations

from bpflens.lang.ir.flow import reachable
from bpflens.lang.ir.ops import (
    ALU_OPS,
    ATOMIC_OPS,
    COMPARE_OPS,
    Block,
    Function,
    IrError,
    Op,
    Reg,
    Slot,
    Terminator,
)

__all__ = ["check_function"]

# kind: (has a destination, number of arguments or -1 for a call's, the first is an address)
_SHAPES: dict[str, tuple[bool, int, bool]] = {
    "const": (True, 1, False), "move": (True, 1, False), "alu": (True, 2, False),
    "neg": (True, 1, False), "bswap": (True, 1, False), "sext": (True, 1, False),
    "zext": (True, 1, False), "bool": (True, 2, False), "load": (True, 1, True),
    "store": (False, 2, True), "slot_addr": (True, 1, True), "map_fd": (True, 0, False),
    "map_value": (True, 0, False), "ksym": (True, 0, False), "func_addr": (True, 0, False),
    "call": (True, -1, False), "kfunc": (True, -1, False), "call_func": (True, -1, False),
}  # fmt: skip
_REFS: dict[str, type] = {
    "map_fd": str, "map_value": str, "ksym": str, "func_addr": Function,
    "call": int, "kfunc": str, "call_func": Function,
}  # fmt: skip
_TERMINATORS = {"jump": (0, 1), "branch": (2, 2), "may_goto": (0, 2), "ret": (1, 0)}


def check_function(fn: Function) -> None:
    """Raise :class:`IrError` at the first broken rule of ``fn``."""
    if not fn.blocks:
        raise IrError(f"{fn.name} has no blocks")
    own = set(fn.blocks)
    slots = set(fn.slots)
    for block in fn.blocks:
        for op in block.ops:
            _check_op(fn, block, op, slots)
        if block.term is None:
            if block in reachable(fn):
                raise IrError(f"{fn.name}: block {block} has no terminator")
            continue
        _check_terminator(fn, block, block.term, own)
    _check_definitions(fn)


def _check_op(fn: Function, block: Block, op: Op, slots: set[Slot]) -> None:
    def fail(problem: str) -> IrError:
        return IrError(f"{fn.name}: {block}: {op!r}: {problem}")

    if op.kind == "atomic":
        shape = (op.dst is not None, 3 if op.op == "cmpxchg" else 2, True)
        if op.op not in ATOMIC_OPS or op.size not in (4, 8):
            raise fail("no such atomic operation")
        if op.dst is None and op.op in ("xchg", "cmpxchg"):
            raise fail("it always fetches")
    elif op.kind in _SHAPES:
        shape = _SHAPES[op.kind]
    else:
        raise fail("no such kind")
    has_dst, count, is_address = shape
    if has_dst != (op.dst is not None):
        raise fail("destination missing" if has_dst else "it has no destination")
    if (len(op.args) > 5) if count < 0 else (len(op.args) != count):
        raise fail("wrong number of arguments")
    for number, arg in enumerate(op.args):
        if type(arg) is Slot:
            if number or not is_address:
                raise fail("a slot is no value")
            if arg not in slots:
                raise fail("the slot of another function")
            if not 0 <= op.off <= arg.size - (op.size if op.kind != "slot_addr" else 0):
                raise fail(f"outside of the slot's {arg.size} bytes")
        elif type(arg) is not Reg and (type(arg) is not int or (is_address and not number)):
            raise fail(f"operand {number} is {arg!r}")
    if op.kind == "const" and type(op.args[0]) is not int:
        raise fail("no constant")
    if op.kind == "slot_addr" and type(op.args[0]) is not Slot:
        raise fail("no slot")
    if (op.kind == "alu" and op.op not in ALU_OPS) or (
        op.kind == "bool" and op.op not in COMPARE_OPS
    ):
        raise fail("no such operator")
    if op.kind in _REFS and not isinstance(op.ref, _REFS[op.kind]):
        raise fail(f"refers to {op.ref!r}")


def _check_terminator(fn: Function, block: Block, term: Terminator, own: set[Block]) -> None:
    expected = _TERMINATORS.get(term.kind)
    if expected != (len(term.args), len(term.targets)):
        raise IrError(f"{fn.name}: {block}: {term!r}: malformed")
    if any(target not in own for target in term.targets):
        raise IrError(f"{fn.name}: {block}: {term!r}: leads to another function")
    if term.kind == "branch" and (term.op not in COMPARE_OPS or term.size not in (32, 64)):
        raise IrError(f"{fn.name}: {block}: {term!r}: no such operator")
    if any(type(arg) is Slot for arg in term.args):
        raise IrError(f"{fn.name}: {block}: {term!r}: a slot is no value")


def _check_definitions(fn: Function) -> None:
    # Every register is assigned on all paths to each of its uses (forward, must).
    blocks = reachable(fn)
    start = 0
    for param in fn.params:
        start |= 1 << param.n
    # What is assigned for sure at the start of each block; absent = not reached yet = everything.
    known: dict[Block, int] = {fn.blocks[0]: start}
    work = [fn.blocks[0]]
    while work:
        block = work.pop()
        assigned = known[block]
        for op in block.ops:
            if op.dst is not None:
                assigned |= 1 << op.dst.n
        assert block.term is not None
        for target in block.term.targets:
            before = known.get(target)
            after = assigned if before is None else before & assigned
            if after != before:
                known[target] = after
                work.append(target)
    for block in blocks:
        assigned = known[block]
        for op in block.ops:
            for arg in op.args:
                if type(arg) is Reg and not assigned >> arg.n & 1:
                    raise IrError(f"{fn.name}: {block}: {op!r}: {arg} may be unassigned")
            if op.dst is not None:
                assigned |= 1 << op.dst.n
        assert block.term is not None
        for arg in block.term.args:
            if type(arg) is Reg and not assigned >> arg.n & 1:
                raise IrError(f"{fn.name}: {block}: {block.term!r}: {arg} may be unassigned")

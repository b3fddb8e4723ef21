"""Readable, stable text of the intermediate representation, for ``-d ir`` and golden tests.

Registers and blocks are renumbered in order of appearance, so that the text does not depend on how
many of them a pass used up.

Example::

    func main(%ctx)
    entry:
      %0 = call 14()
      %1 = rsh %0, 32
      branch eq %1, 1 ? found : done
"""

from __future__ import annotations

from bpflens.lang.ir.ops import Block, Function, Reg, Slot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bpflens.lang.ir.ops import Op, Operand, Terminator

__all__ = ["format_function", "format_op", "format_program", "format_terminator"]


def format_program(functions: Iterable[Function]) -> str:
    """Return the text of several functions, an empty line between them."""
    return "\n".join(format_function(fn) for fn in functions)


def format_function(fn: Function) -> str:
    """Return the text of one function: its head, its slots, its blocks."""
    names = _Names(fn)
    params = ", ".join(names(param) for param in fn.params)
    lines = [f"func {fn.name}({params})"]
    lines += [
        f"  slot {names(slot)}: {slot.size}" + (f" align {slot.align}" if slot.align != 8 else "")
        for slot in names.used_slots
    ]
    for block in fn.blocks:
        lines.append(f"{names(block)}:" + (" (cold)" if block.cold else ""))
        lines += [f"  {format_op(op, names)}" for op in block.ops]
        if block.term is not None:
            lines.append(f"  {format_terminator(block.term, names)}")
    return "\n".join(lines) + "\n"


def format_op(op: Op, name: Callable[[object], str] = repr) -> str:
    """Return one operation as text; ``name`` spells registers, slots and numbers."""
    text = _BODY.get(op.kind, _call)(op, name)
    return f"{name(op.dst)} = {text}" if op.dst is not None else text


def format_terminator(term: Terminator, name: Callable[[object], str] = repr) -> str:
    """Return a terminator as text."""
    targets = " : ".join(name(target) for target in term.targets)
    if term.kind == "branch":
        width = "" if term.size == 64 else str(term.size)
        return f"branch {term.op}{width} {_list(term.args, name)} ? {targets}"
    return " ".join(filter(None, (term.kind, _list(term.args, name), targets)))


class _Names:
    # Names for the things of one function, numbered in the order in which it shows them.

    __slots__ = ("_names", "used_slots")

    def __init__(self, fn: Function) -> None:
        self._names: dict[object, str] = {}
        self.used_slots: list[Slot] = []
        taken: set[str] = set()
        for block in fn.blocks:
            self._names[block] = _unique(block.name or "block", taken)
        regs = 0
        for param in fn.params:
            regs = self._reg(param, regs)
        for block in fn.blocks:
            for op in block.ops:
                for arg in op.args:
                    if type(arg) is Reg:
                        regs = self._reg(arg, regs)
                    elif type(arg) is Slot and arg not in self._names:
                        self._names[arg] = "$" + _unique(arg.name or "slot", taken)
                        self.used_slots.append(arg)
                if op.dst is not None:
                    regs = self._reg(op.dst, regs)
            if block.term is not None:
                for arg in block.term.args:
                    if type(arg) is Reg:
                        regs = self._reg(arg, regs)

    def _reg(self, reg: Reg, count: int) -> int:
        if reg in self._names:
            return count
        if reg.name == "ctx":
            self._names[reg] = "%ctx"
            return count
        self._names[reg] = f"%{count}" + (f".{reg.name}" if reg.name else "")
        return count + 1

    def __call__(self, thing: object) -> str:
        if type(thing) is int:
            return str(thing)
        return self._names.get(thing) or repr(thing)


def _unique(name: str, taken: set[str]) -> str:
    found, number = name, 1
    while found in taken:
        number += 1
        found = f"{name}{number}"
    taken.add(found)
    return found


def _list(args: Iterable[Operand | Block], name: Callable[[object], str]) -> str:
    return ", ".join(name(arg) for arg in args)


def _off(off: int) -> str:
    return f" + {off}" if off > 0 else f" - {-off}" if off < 0 else ""


def _operator(op: Op, name: Callable[[object], str]) -> str:
    width = "" if op.size == 64 else str(op.size)
    return f"{op.op}{width} {_list(op.args, name)}"


def _unary(op: Op, name: Callable[[object], str]) -> str:
    return f"{op.kind}{op.size} {name(op.args[0])}"


def _plain(op: Op, name: Callable[[object], str]) -> str:
    return name(op.args[0])


def _bool(op: Op, name: Callable[[object], str]) -> str:
    return f"bool {_operator(op, name)}"


def _load(op: Op, name: Callable[[object], str]) -> str:
    sign = "s" if op.signed else ""
    return f"load{sign}{op.size} [{name(op.args[0])}{_off(op.off)}]"


def _store(op: Op, name: Callable[[object], str]) -> str:
    return f"store{op.size} [{name(op.args[0])}{_off(op.off)}], {name(op.args[1])}"


def _atomic(op: Op, name: Callable[[object], str]) -> str:
    where = f"[{name(op.args[0])}{_off(op.off)}]"
    return f"atomic {op.op}{op.size} {where}, {_list(op.args[1:], name)}"


def _slot_addr(op: Op, name: Callable[[object], str]) -> str:
    return f"&{name(op.args[0])}{_off(op.off)}"


def _reference(op: Op, name: Callable[[object], str]) -> str:
    return f"{op.kind} {_target(op)}{_off(op.off)}"


def _call(op: Op, name: Callable[[object], str]) -> str:
    return f"{op.kind} {_target(op)}({_list(op.args, name)})"


def _target(op: Op) -> str:
    return op.ref.name if isinstance(op.ref, Function) else str(op.ref)


_BODY: dict[str, Callable[[Op, Callable[[object], str]], str]] = {
    "const": _plain, "move": _plain, "alu": _operator, "neg": _unary, "bswap": _unary,
    "sext": _unary, "zext": _unary, "bool": _bool, "load": _load, "store": _store,
    "atomic": _atomic, "slot_addr": _slot_addr, "map_fd": _reference, "map_value": _reference,
    "ksym": _reference, "func_addr": _reference,
}  # fmt: skip

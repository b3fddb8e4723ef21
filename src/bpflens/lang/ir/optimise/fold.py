"""Constants and copies are carried to where they are used, and simplify what they can there.

One walk forward. Registers that are assigned once are known everywhere; of the others (scratch
variables) only numbers are known, within a block and in the blocks that only it leads to.

The kernel's verifier decides what may be replaced. A bound is proved by comparing a register and
then used by adding that register to a pointer; so a register is only ever replaced by another one
where all its uses are. Copies from and to variables are left to the register allocator, which
makes one register of both.

Example::

    %1 = add %0, 4        load8 [%1 + 4]        becomes        load8 [%0 + 8]
"""

from __future__ import annotations

from bpflens.lang.ir.ops import (
    INVERSE,
    SWAPPED,
    Block,
    Function,
    Op,
    Reg,
    Slot,
    Terminator,
)
from bpflens.lang.ir.optimise.arithmetic import byte_swap, compute, holds, sign_extend

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.lang.ir.ops import Operand

__all__ = ["run"]

_COMMUTATIVE = frozenset(("add", "mul", "and", "or", "xor"))
_ADDRESSED = frozenset(("load", "store", "atomic"))
_EXTENSIONS = frozenset(("neg", "bswap", "sext", "zext"))
_NUMBERS = frozenset(("const", "bool", "neg", "bswap", "sext", "zext"))
# ktime_get_ns, get_smp_processor_id, get_current_pid_tgid, get_current_uid_gid,
# get_current_cgroup_id: numbers, never pointers.
_NUMBER_HELPERS = frozenset((5, 8, 14, 15, 80))
# x op 0 == x
_ZERO_IS_NEUTRAL = frozenset(("add", "sub", "or", "xor", "lsh", "rsh", "arsh"))
_MASK64 = (1 << 64) - 1


def run(fn: Function, order: list[Block]) -> bool:
    """Fold ``fn``, its blocks in reverse postorder being ``order``; whether anything changed."""
    folder = _Folder(fn, order)
    for block in order:
        folder.block(block)
    return folder.changed


class _Folder:
    __slots__ = (
        "at_end", "bits", "changed", "definition", "depends", "here", "known", "local", "many",
        "pred", "uses",
    )  # fmt: skip

    def __init__(self, fn: Function, order: list[Block]) -> None:
        self.changed = False
        #: The operation that assigns a register, for those assigned once (None: a parameter).
        self.definition: dict[Reg, Op | None] = dict.fromkeys(fn.params)
        self.many: set[Reg] = set()
        #: How often a register is read; a copy of it counts for many.
        self.uses: dict[Reg, int] = {}
        #: The only predecessor of a block, where there is only one.
        self.pred: dict[Block, Block | None] = {order[0]: None}
        self._survey(order)
        #: What is known everywhere; numbers that variables have here.
        self.known: dict[Reg, Reg | int] = {}
        self.local: dict[Reg, int] = {}
        #: Which of those are of no use once a register is assigned again.
        self.depends: dict[Reg, list[Reg]] = {}
        #: Comparisons and sums of this block whose operands still have their values.
        self.here: dict[Reg, Op] = {}
        #: Numbers in variables at the end of blocks.
        self.at_end: dict[Block, dict[Reg, int]] = {}
        #: No more than so many low bits of a register can be set.
        self.bits: dict[Reg, int] = {}

    def _survey(self, order: list[Block]) -> None:
        definition, many, uses, pred = self.definition, self.many, self.uses, self.pred
        for block in order:
            for op in block.ops:
                dst = op.dst
                if dst is not None:
                    if dst in definition:
                        many.add(dst)
                    definition[dst] = op
                weight = 2 if op.kind == "move" else 1
                for arg in op.args:
                    if type(arg) is Reg:
                        uses[arg] = uses.get(arg, 0) + weight
            term = block.term
            assert term is not None
            for arg in term.args:
                if type(arg) is Reg:
                    uses[arg] = uses.get(arg, 0) + 1
            for target in term.targets:
                pred[target] = None if target in pred else block
        for reg in many:
            del definition[reg]

    def block(self, block: Block) -> None:
        before = self.pred.get(block)
        inherited = self.at_end.get(before) if before is not None else None
        self.local = dict(inherited) if inherited else {}
        self.depends.clear()
        self.here.clear()
        for op in block.ops:
            kind, args = op.kind, op.args
            for number, arg in enumerate(args):
                if type(arg) is Reg:
                    value = self.known.get(arg)
                    if value is None:
                        value = self.local.get(arg)
                        if value is None:
                            continue
                    if type(value) is int and not number and kind in _ADDRESSED:
                        continue
                    args[number] = value
                    self.changed = True
            if kind == "alu":
                self.alu(op)
            elif kind in _ADDRESSED:
                self.address(op)
            elif kind == "bool":
                self.bool_(op)
            elif kind in _EXTENSIONS:
                self.extension(op)
            elif kind == "move" and type(args[0]) is int:
                op.kind = "const"
            if op.dst is not None:
                self.learn(op, op.dst)
        self.terminator(block.term)
        if self.local:
            self.at_end[block] = self.local

    def learn(self, op: Op, dst: Reg) -> None:
        """Remember what ``dst`` is from here on."""
        kind = op.kind
        if dst in self.definition:
            if kind == "const":
                value = op.args[0]
                assert type(value) is int
                self.known[dst] = sign_extend(value)
            elif kind == "move":
                source = op.args[0]
                assert type(source) is Reg
                if source in self.definition:
                    self.known[dst] = source
            else:
                self.bits[dst] = self._bits(op)
                if kind == "bool" or (kind == "alu" and op.op == "add"):
                    self._keep_here(op, dst)
            return
        for reg in self.depends.pop(dst, ()):
            self.here.pop(reg, None)
        if kind == "const":
            value = op.args[0]
            assert type(value) is int
            self.local[dst] = sign_extend(value)
        else:
            self.local.pop(dst, None)

    def _keep_here(self, op: Op, dst: Reg) -> None:
        for arg in op.args:
            if type(arg) is Reg and arg not in self.definition:
                self.depends.setdefault(arg, []).append(dst)
        self.here[dst] = op

    def _bits(self, op: Op) -> int:
        """How many low bits of the result may be set, as far as the verifier can see it too.

        It gives up at divisions and byte swaps, and what is left out because of this number may be
        what bounds an index.
        """
        kind = op.kind
        if kind == "load":
            return 64 if op.signed else 8 * op.size
        if kind == "bool":
            return 1
        if kind == "zext":
            return min(op.size, self.width(op.args[0]))
        if kind == "alu":
            a, b = op.args
            name = op.op
            if name == "and":
                return min(self.width(a), self.width(b), op.size)
            if name in ("or", "xor"):
                return min(max(self.width(a), self.width(b)), op.size)
            if type(b) is int and name in ("rsh", "lsh"):
                shift = b & op.size - 1
                wide = self.width(a)
                if name == "rsh":
                    return max(min(wide, op.size) - shift, 0)
                return min(wide + shift, op.size)
            return op.size
        return 64 if kind != "neg" else op.size

    def width(self, arg: Operand) -> int:
        if type(arg) is int:
            return (arg & _MASK64).bit_length()
        return self.bits.get(arg, 64)  # type: ignore[arg-type]

    def become(self, op: Op, kind: str, *args: Operand, size: int = 0, off: int = 0) -> None:
        """Turn an operation into another one with the same destination."""
        op.kind, op.args, op.size, op.off, op.op = kind, list(args), size, off, ""
        self.changed = True

    def copy(self, op: Op, source: Operand, size: int) -> None:
        """Turn an operation into a copy of the low ``size`` bits of ``source``."""
        if size == 64 or self.width(source) <= size:
            self.become(op, "move", source)
        else:
            self.become(op, "zext", source, size=size)

    def only_use(self, arg: Operand, kind: str) -> Op | None:
        """The operation of ``kind`` that ``arg`` comes from, if nothing else uses its result."""
        if type(arg) is Reg and self.uses.get(arg) == 1:
            op = self.definition.get(arg)
            if op is not None and op.kind == kind:
                return op
        return None

    def is_fixed(self, arg: Operand) -> bool:
        """Whether an operand has the same value wherever it is known at all."""
        return type(arg) is int or arg in self.definition

    def is_number(self, arg: Operand) -> bool:
        """Whether an operand, assigned once, is no pointer: of those halves are taboo."""
        op = self.definition.get(arg) if type(arg) is Reg else None
        if op is None:
            return False
        if op.kind == "alu":
            return op.op not in ("add", "sub") or op.size == 32
        if op.kind == "load":
            return op.size < 8
        return op.kind in _NUMBERS or (op.kind == "call" and op.ref in _NUMBER_HELPERS)

    # operations

    def alu(self, op: Op) -> None:
        a, b = op.args
        name, size = op.op, op.size
        if type(a) is int:
            if type(b) is int:
                self.become(op, "const", compute(name, a, b, size))
                return
            if name in _COMMUTATIVE:
                a, b = b, a
                op.args = [a, b]
        if type(b) is int:
            self.alu_number(op, a, b)
        elif a is b and name in ("sub", "xor"):
            self.become(op, "const", 0)
        elif a is b and name in ("and", "or"):
            self.copy(op, a, size)

    def alu_number(self, op: Op, a: Operand, b: int) -> None:
        name, size = op.op, op.size
        b = sign_extend(b, size)
        low = b & (1 << size) - 1
        if name in _ZERO_IS_NEUTRAL and not (low if name[-2:] != "sh" else low & size - 1):
            self.copy(op, a, size)
        elif name == "sub":
            op.op, b = "add", sign_extend(-b, size)
            op.args[1] = b
            self.add_number(op, a, b)
        elif name == "add":
            self.add_number(op, a, b)
        elif name == "and":
            self.and_number(op, a, low)
        elif name == "mul":
            if low == 0:
                self.become(op, "const", 0)
            elif not low & low - 1:
                self.strength(op, "lsh", low.bit_length() - 1)
            elif b == -1:
                self.become(op, "neg", a, size=size)
        elif name in ("div", "mod") and low and not low & low - 1:
            if name == "mod":
                self.strength(op, "and", low - 1)
            else:
                self.strength(op, "rsh", low.bit_length() - 1)
        elif name == "sdiv" and b == 1:
            self.copy(op, a, size)

    def strength(self, op: Op, name: str, number: int) -> None:
        op.op = name
        op.args[1] = number
        self.changed = True
        self.alu_number(op, op.args[0], number)

    def add_number(self, op: Op, a: Operand, b: int) -> None:
        if op.size != 64 or type(a) is not Reg:
            return
        source = self.definition.get(a)
        if source is None:
            return
        if source.kind == "slot_addr":
            slot = source.args[0]
            if type(slot) is Slot and 0 <= source.off + b <= slot.size:
                self.become(op, "slot_addr", slot, off=source.off + b)
        elif source.kind == "map_value" and 0 <= source.off + b < 1 << 29:
            op.ref = source.ref
            self.become(op, "map_value", off=source.off + b)
        elif source.kind == "alu" and source.op == "add" and source.size == 64:
            # Only if nobody else looks at the sum: it might be compared, and thereby bounded.
            base, first = source.args
            fixed = self.is_fixed(base) or a in self.here
            if type(first) is int and self.uses.get(a) == 1 and fixed:
                op.args = [base, sign_extend(first + b)]
                self.changed = True

    def and_number(self, op: Op, a: Operand, mask: int) -> None:
        size = op.size
        if not mask:
            self.become(op, "const", 0)
        elif not mask & mask + 1 and self.width(a) <= mask.bit_length():
            self.become(op, "move", a)
        elif mask == (1 << size) - 1:
            self.copy(op, a, size)
        elif mask == 0xFFFFFFFF:
            self.become(op, "zext", a, size=32)

    def extension(self, op: Op) -> None:
        arg, size = op.args[0], op.size
        kind = op.kind
        if type(arg) is int:
            if kind == "neg":
                value = -arg
            elif kind == "bswap":
                value = byte_swap(arg, size)
            else:
                value = arg
            low = value & (1 << size) - 1
            self.become(op, "const", sign_extend(value, size) if kind == "sext" else low)
        elif (kind == "zext" and self.width(arg) <= size) or (
            kind == "sext" and (self.width(arg) < size or size == 64)
        ):
            self.become(op, "move", arg)

    def stored(self, op: Op) -> None:
        """Leave out what only changes bits that are not stored."""
        value = op.args[1]
        source = self.definition.get(value) if type(value) is Reg else None
        if source is None or op.size == 8:
            return
        bits = 8 * op.size
        if source.kind in ("zext", "sext"):
            covered = source.size >= bits
        elif source.kind == "alu" and source.op == "and":
            mask = source.args[1]
            covered = type(mask) is int and not ~mask & (1 << bits) - 1
        else:
            return
        if covered and self.is_number(source.args[0]):
            op.args[1] = source.args[0]
            self.changed = True

    def address(self, op: Op) -> None:
        base = op.args[0]
        if op.kind == "store":
            self.stored(op)
        if type(base) is not Reg:
            return
        source = self.definition.get(base)
        while source is not None:
            if source.kind == "slot_addr":
                slot, off = source.args[0], source.off + op.off
                if type(slot) is Slot and 0 <= off <= slot.size - op.size:
                    op.args[0], op.off = slot, off
                    self.changed = True
                return
            if source.kind != "alu" or source.op != "add" or source.size != 64:
                return
            inner, number = source.args
            if type(number) is not int or type(inner) is not Reg or inner not in self.definition:
                return
            if not -0x8000 <= op.off + number <= 0x7FFF:
                return
            op.args[0], op.off = inner, op.off + number
            self.changed = True
            source = self.definition[inner]

    # comparisons

    def bool_(self, op: Op) -> None:
        name, args, size = self.compare(op.op, op.args, op.size)
        op.op, op.args, op.size = name, args, size
        a, b = args
        if type(a) is int and type(b) is int:
            self.become(op, "const", int(holds(name, a, b, size)))
        elif name in ("ne", "eq") and b == 0 and self.width(a) == 1:
            # A truth value compared with 0: itself, or the other way round.
            if name == "ne":
                self.become(op, "move", a)
            else:
                self.become(op, "alu", a, 1, size=64)
                op.op = "xor"

    def compare(self, name: str, args: list[Operand], size: int) -> tuple[str, list[Operand], int]:
        """Return a simpler form of a comparison."""
        a, b = args
        if type(a) is int and type(b) is not int:
            a, b, name = b, a, SWAPPED[name]
        while b == 0 and name in ("ne", "eq") and type(a) is Reg:
            found = self.truth(a, name)
            if found is None:
                break
            name, (a, b), size = found
            self.changed = True
            if type(a) is int and type(b) is not int:
                a, b, name = b, a, SWAPPED[name]
        if type(b) is int and name in ("ne", "eq"):
            a, b, name, size = self.narrow(a, b, name, size)
        if type(b) is int:
            b = sign_extend(b, size)
        return name, [a, b], size

    def truth(self, reg: Reg, name: str) -> tuple[str, list[Operand], int] | None:
        """What is compared where ``reg ne 0`` or ``reg eq 0`` is asked of a comparison's result."""
        op = self.here.get(reg)
        if op is None or op.kind != "bool":
            op = self.definition.get(reg)
            if op is None or op.kind != "bool" or not all(map(self.is_fixed, op.args)):
                return None
        if name == "ne":
            return op.op, list(op.args), op.size
        if op.op in INVERSE:
            return INVERSE[op.op], list(op.args), op.size
        return None

    def narrow(self, a: Operand, b: int, name: str, size: int) -> tuple[Operand, Operand, str, int]:
        """Compare what a mask or an extension was made of, if it was made for this only."""
        source = self.only_use(a, "alu")
        if (
            source is not None
            and source.op == "and"
            and not b
            and name == "ne"
            and source.size >= size
            and all(map(self.is_fixed, source.args))
        ):
            self.changed = True
            return source.args[0], source.args[1], "set", size
        source = self.only_use(a, "zext")
        if (
            source is not None
            and source.size == 32
            and self.is_number(source.args[0])
            and (size == 32 or not b & _MASK64 & ~0xFFFFFFFF)
        ):
            self.changed = True
            return source.args[0], b, name, 32
        return a, b, name, size

    def terminator(self, term: Terminator | None) -> None:
        assert term is not None
        args = term.args
        for number, arg in enumerate(args):
            if type(arg) is Reg:
                value = self.known.get(arg)
                if value is None:
                    value = self.local.get(arg)
                    if value is None:
                        continue
                args[number] = value
                self.changed = True
        if term.kind != "branch":
            return
        if term.op == "eq" and args[1] == 0:
            source = self.only_use(args[0], "alu")
            if source is not None and source.op == "and":
                # "No bit of these" has no instruction, "any bit of these" has.
                term.op = "ne"
                term.targets.reverse()
        term.op, term.args, term.size = self.compare(term.op, args, term.size)
        a, b = term.args
        taken: bool
        if type(a) is int and type(b) is int:
            taken = holds(term.op, a, b, term.size)
        elif term.targets[0] is term.targets[1]:
            taken = True
        else:
            return
        term.kind, term.args, term.op = "jump", [], ""
        term.targets = [term.targets[0 if taken else 1]]
        self.changed = True

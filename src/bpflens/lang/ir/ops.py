"""What the intermediate representation is made of: registers, slots, operations, blocks, functions.

A :class:`Function` is a list of :class:`Block` objects; a block is a list of :class:`Op` objects
and one :class:`Terminator`. Operations work on an unlimited supply of 64-bit virtual registers
(:class:`Reg`). This is *not* static single assignment: a register may be assigned many times
(scratch variables are), though most are assigned once, and the passes profit from those.

An operand is a :class:`Reg`, or a plain ``int`` where an immediate will do; where an address is
wanted (load, store, atomic) the operand may also be a :class:`Slot`, a piece of this function's
stack frame.

Invariants, which :mod:`bpflens.lang.ir.check` verifies: every block ends in a terminator, targets
belong to the same function, a register is assigned on all paths before it is used, accesses to
slots stay inside them, at most five arguments in a call.

Example::

    fn = Function("main")
    entry = fn.block("entry")
    entry.ops.append(Op("const", fn.new(), [42]))
    entry.term = Terminator("ret", [0])

which is better written with :class:`bpflens.lang.ir.builder.Builder`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    Value: TypeAlias = "Reg | int"
    # An Op as an operand exists only behind legalise: something to be computed in place.
    Operand: TypeAlias = "Reg | Slot | Op | int"

__all__ = [
    "ALU_OPS",
    "ATOMIC_OPS",
    "COMPARE_OPS",
    "INVERSE",
    "MAX_STACK",
    "PURE_KINDS",
    "REMATERIAL_KINDS",
    "SWAPPED",
    "Block",
    "Function",
    "IrError",
    "Op",
    "Reg",
    "Slot",
    "Terminator",
]

#: Bytes of stack that one frame of a BPF function may have.
MAX_STACK = 512

#: Operators of ``alu``; all are unsigned but ``sdiv``, ``smod`` and ``arsh``.
ALU_OPS = frozenset(
    ("add", "sub", "mul", "div", "mod", "sdiv", "smod", "and", "or", "xor", "lsh", "rsh", "arsh")
)
#: Operators of ``atomic``; ``cmpxchg`` has two arguments behind the base: expected and new value.
ATOMIC_OPS = frozenset(("add", "and", "or", "xor", "xchg", "cmpxchg"))

#: A comparison and the one that holds exactly when it does not (``set`` has none).
INVERSE = {
    "eq": "ne", "ne": "eq", "gt": "le", "le": "gt", "ge": "lt", "lt": "ge",
    "sgt": "sle", "sle": "sgt", "sge": "slt", "slt": "sge",
}  # fmt: skip
#: A comparison and the one that says the same with its operands exchanged.
SWAPPED = {
    "eq": "eq", "ne": "ne", "gt": "lt", "lt": "gt", "ge": "le", "le": "ge",
    "sgt": "slt", "slt": "sgt", "sge": "sle", "sle": "sge", "set": "set",
}  # fmt: skip
#: Operators of ``branch`` and ``bool``; ``set`` is true when ``a & b`` is not zero.
COMPARE_OPS = frozenset(SWAPPED)

#: Kinds of operations that only compute their destination: unused ones may go.
PURE_KINDS = frozenset((
    "const", "move", "alu", "neg", "bswap", "sext", "zext", "bool", "load", "slot_addr", "map_fd",
    "map_value", "ksym", "func_addr",
))  # fmt: skip
#: Kinds that depend on nothing, so that repeating them is cheaper than keeping their result.
REMATERIAL_KINDS = frozenset(("const", "slot_addr", "map_fd", "map_value", "ksym", "func_addr"))


class IrError(Exception):
    """The representation is used against its rules: the compiler's mistake, never a script's."""


class Reg:
    """A virtual register. ``n`` numbers it within its function; ``name`` is only for printing."""

    __slots__ = ("n", "name")

    def __init__(self, n: int, name: str = "") -> None:
        self.n = n
        self.name = name

    def __repr__(self) -> str:
        return f"%{self.name}.{self.n}" if self.name else f"%{self.n}"


class Slot:
    """``size`` bytes of the stack frame, aligned to ``align``; where exactly is decided late.

    Slots that are never in use at the same time may share their bytes, so a slot's content is
    undefined until something is stored to it.
    """

    __slots__ = ("align", "n", "name", "size")

    def __init__(self, n: int, size: int, align: int, name: str = "") -> None:
        self.n = n
        self.size = size
        self.align = align
        self.name = name

    def __repr__(self) -> str:
        return f"${self.name or 'slot'}.{self.n}"


class Op:
    """One operation. ``dst`` is the register assigned (or ``None``), ``args`` are the operands.

    =============  ======================================================================
    kind           meaning, with the fields it uses
    =============  ======================================================================
    ``const``      dst = args[0], an ``int`` taken modulo 2**64
    ``move``       dst = args[0]
    ``alu``        dst = args[0] ``op`` args[1], on ``size`` bits (64, or 32: zero-extended)
    ``neg``        dst = -args[0], on ``size`` bits
    ``bswap``      dst = the low ``size`` bits of args[0] with their bytes reversed
    ``sext``       dst = the low ``size`` bits of args[0], sign-extended to 64
    ``zext``       dst = the low ``size`` bits of args[0], zero-extended to 64
    ``bool``       dst = 1 if args[0] ``op`` args[1] on ``size`` bits, else 0
    ``load``       dst = ``size`` bytes at args[0] + ``off``; sign-extended if ``signed``
    ``store``      ``size`` bytes at args[0] + ``off`` = args[1]
    ``atomic``     ``op`` on ``size`` bytes at args[0] + ``off`` with args[1] (and args[2]);
                   dst, where there is one, receives the old value
    ``slot_addr``  dst = address of slot args[0], plus ``off``
    ``map_fd``     dst = the map called ``ref``, as helpers want it
    ``map_value``  dst = address ``off`` bytes into the only value of array ``ref``
    ``ksym``       dst = address of the kernel variable ``ref``
    ``func_addr``  dst = address of function ``ref``, as bpf_loop and the like want it
    ``call``       dst = helper number ``ref`` (args...)
    ``kfunc``      dst = kernel function called ``ref`` (args...)
    ``call_func``  dst = ``ref`` (args...), another :class:`Function` of the program
    =============  ======================================================================

    ``pos`` is the script position that the operation comes from, -1 for none.
    """

    __slots__ = ("args", "dst", "kind", "off", "op", "pos", "ref", "signed", "size")

    def __init__(
        self,
        kind: str,
        dst: Reg | None,
        args: list[Operand],
        op: str = "",
        size: int = 0,
        off: int = 0,
        ref: str | int | Function | None = None,
        signed: bool = False,
        pos: int = -1,
    ) -> None:
        self.kind = kind
        self.dst = dst
        self.args = args
        self.op = op
        self.size = size
        self.off = off
        self.ref = ref
        self.signed = signed
        self.pos = pos

    def __repr__(self) -> str:
        from bpflens.lang.ir.print import format_op

        return format_op(self)


class Terminator:
    """What ends a block.

    ==============  =====================================================================
    kind            meaning
    ==============  =====================================================================
    ``jump``        go to targets[0]
    ``branch``      go to targets[0] if args[0] ``op`` args[1] on ``size`` bits, else targets[1]
    ``may_goto``    go to targets[0] while the kernel's loop budget lasts, then to targets[1]
    ``ret``         leave the function with args[0]; in the main function, the program
    ==============  =====================================================================
    """

    __slots__ = ("args", "kind", "op", "pos", "size", "targets")

    def __init__(
        self,
        kind: str,
        args: list[Operand],
        targets: list[Block],
        op: str = "",
        size: int = 64,
        pos: int = -1,
    ) -> None:
        self.kind = kind
        self.args = args
        self.targets = targets
        self.op = op
        self.size = size
        self.pos = pos

    def __repr__(self) -> str:
        from bpflens.lang.ir.print import format_terminator

        return format_terminator(self)


class Block:
    """Operations that run one after the other, then a terminator (``None`` while being built).

    A ``cold`` block is expected to run rarely and is laid out of the way.
    """

    __slots__ = ("cold", "n", "name", "ops", "term")

    def __init__(self, n: int, name: str = "", cold: bool = False) -> None:
        self.n = n
        self.name = name
        self.cold = cold
        self.ops: list[Op] = []
        self.term: Terminator | None = None

    def __repr__(self) -> str:
        return f"{self.name or 'b'}.{self.n}"


class Function:
    """One function with its own frame: the program itself, a callback or a subprogram.

    ``params`` are the registers that hold the arguments on entry, at most five. ``blocks[0]`` is
    where it begins.
    """

    __slots__ = ("_next_block", "_next_reg", "blocks", "name", "params", "slots")

    def __init__(self, name: str, params: int = 1) -> None:
        if not 0 <= params <= 5:
            raise IrError(f"function {name}: {params} parameters")
        self.name = name
        self.blocks: list[Block] = []
        self.slots: list[Slot] = []
        self._next_reg = 0
        self._next_block = 0
        self.params = [self.new() for _ in range(params)]
        if params == 1:
            self.params[0].name = "ctx"

    @property
    def ctx(self) -> Reg:
        """The first parameter, which in a program is its context."""
        return self.params[0]

    @property
    def reg_count(self) -> int:
        """One more than the highest number of a register."""
        return self._next_reg

    def new(self, name: str = "") -> Reg:
        """Return a fresh register, not assigned anywhere yet."""
        reg = Reg(self._next_reg, name)
        self._next_reg += 1
        return reg

    def slot(self, size: int, align: int = 8, name: str = "") -> Slot:
        """Reserve ``size`` bytes of stack. They hold nothing until stored to."""
        if size <= 0 or align not in (1, 2, 4, 8):
            raise IrError(f"slot {name}: {size} bytes aligned to {align}")
        slot = Slot(len(self.slots), size, align, name)
        self.slots.append(slot)
        return slot

    def block(self, name: str = "", cold: bool = False) -> Block:
        """Append a new, empty block; the first one is the entry."""
        block = Block(self._next_block, name, cold)
        self._next_block += 1
        self.blocks.append(block)
        return block

    def __repr__(self) -> str:
        from bpflens.lang.ir.print import format_function

        return format_function(self)

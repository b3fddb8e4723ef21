"""How the front of the compiler writes the intermediate representation: one call an operation.

A :class:`Builder` appends to the current block of one :class:`~bpflens.lang.ir.ops.Function`.
Methods that compute a value return the fresh register that holds it. Wherever a value is wanted, a
register or a plain ``int`` will do; wherever an address is wanted, a register or a
:class:`~bpflens.lang.ir.ops.Slot`. Immediates of any size may be given: what does not fit an
instruction is put into a register later.

What is appended after a terminator goes to a fresh block that nothing leads to, so that code
behind a ``return`` needs no special care; the optimiser drops it.

Rules of the verifier that the builder's user has to keep (the passes keep them from there on):

* a map value, or any other pointer that may be NULL, is compared with 0 before anything is added
  to it or read through it;
* an index is bounded (``and``, or an unsigned compare that branches) in the very register that is
  then added to the pointer;
* stack that a helper reads is stored to in full before the call;
* a context is read through ``fn.ctx`` with constant offsets.

Example, the whole of ``{ @ = count(); }`` on a per-CPU array::

    fn = Function("count")
    b = Builder(fn)
    key = fn.slot(4, 4, "key")
    b.store(key, 0, 0, 4)
    value = b.call(BPF_FUNC_map_lookup_elem, b.map_fd("AT_"), b.slot_addr(key))
    found, done = b.block("found"), b.block("done")
    b.branch("ne", value, 0, found, done)
    b.set_block(found)
    b.store(value, 0, b.alu("add", b.load(value, 0, 8), 1), 8)
    b.jump(done)
    b.set_block(done)
    b.exit(0)
"""

from __future__ import annotations

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

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.lang.ir.ops import Operand, Value

__all__ = ["Builder"]


class Builder:
    """Appends operations to ``fn``, at the end of ``current``, its current block.

    A new builder starts at the function's last block, or makes the entry of an empty function.
    """

    __slots__ = ("current", "fn", "pos")

    def __init__(self, fn: Function) -> None:
        self.fn = fn
        self.current = fn.blocks[-1] if fn.blocks else fn.block("entry")
        self.pos = -1

    def at(self, pos: int) -> None:
        """Set the script position that the following operations carry (-1: none)."""
        self.pos = pos

    # values

    def new(self, name: str = "") -> Reg:
        """Return a fresh register, to be given a value by :meth:`assign` on every path."""
        return self.fn.new(name)

    def const(self, value: int) -> Reg:
        """Return a register that holds ``value`` (modulo 2**64)."""
        return self._value("const", [value])

    def move(self, value: Value) -> Reg:
        """Return a fresh register with the same value, for the one given may change later."""
        return self._value("const" if type(value) is int else "move", [value])

    def assign(self, dst: Reg, value: Value) -> None:
        """Give ``dst`` a (new) value; a register may be assigned as often as one likes."""
        self._add(Op("const" if type(value) is int else "move", dst, [value], pos=self.pos))

    def alu(self, op: str, a: Value, b: Value, width: int = 64) -> Reg:
        """Return ``a op b``, op one of :data:`~bpflens.lang.ir.ops.ALU_OPS`.

        With ``width`` 32 only the low halves count and the result is zero-extended. As BPF has it,
        a division by zero gives 0 and a remainder by zero the dividend; shifts count modulo
        ``width``. ``sdiv`` and ``smod`` truncate towards zero, as C does.
        """
        if op not in ALU_OPS or width not in (32, 64):
            raise IrError(f"alu {op} of {width} bits")
        return self._value("alu", [a, b], op=op, size=width)

    def neg(self, a: Value, width: int = 64) -> Reg:
        """Return ``-a``."""
        return self._value("neg", [a], size=width)

    def not_(self, a: Value) -> Reg:
        """Return ``a`` with all bits inverted."""
        return self.alu("xor", a, -1)

    def bswap(self, a: Value, bits: int) -> Reg:
        """Return the low ``bits`` (16, 32, 64) of ``a``, bytes reversed, zero-extended."""
        return self._value("bswap", [a], size=self._bits(bits, (16, 32, 64)))

    def sext(self, a: Value, bits: int) -> Reg:
        """Return the low ``bits`` (8, 16, 32, 64) of ``a``, sign-extended to 64."""
        return self._value("sext", [a], size=self._bits(bits, (8, 16, 32, 64)))

    def zext(self, a: Value, bits: int) -> Reg:
        """Return the low ``bits`` (8, 16, 32, 64) of ``a``, zero-extended to 64."""
        return self._value("zext", [a], size=self._bits(bits, (8, 16, 32, 64)))

    def bool_(self, op: str, a: Value, b: Value, width: int = 64) -> Reg:
        """Return 1 if ``a op b`` (as for :meth:`branch`), else 0, without branching here.

        Costs nothing where its only use is a branch on it.
        """
        if op not in COMPARE_OPS:
            raise IrError(f"bool {op}")
        return self._value("bool", [a, b], op=op, size=width)

    # memory

    def load(self, base: Operand, off: int, size: int, signed: bool = False) -> Reg:
        """Return ``size`` (1, 2, 4, 8) bytes at ``base + off``, zero- or sign-extended."""
        return self._value(
            "load", [base], off=off, size=self._bits(size, (1, 2, 4, 8)), signed=signed
        )

    def store(self, base: Operand, off: int, value: Value, size: int) -> None:
        """Store the low ``size`` (1, 2, 4, 8) bytes of ``value`` at ``base + off``."""
        size = self._bits(size, (1, 2, 4, 8))
        self._add(Op("store", None, [base, value], size=size, off=off, pos=self.pos))

    def atomic(
        self, op: str, base: Operand, off: int, value: Value, size: int, fetch: bool = False
    ) -> Reg | None:
        """Do ``add``, ``and``, ``or``, ``xor`` or ``xchg`` on ``size`` (4, 8) bytes at once.

        With ``fetch`` (implied by xchg) the old value is returned, else ``None``.
        """
        if op not in ATOMIC_OPS or op == "cmpxchg":
            raise IrError(f"atomic {op}")
        size = self._bits(size, (4, 8))
        dst = self.fn.new() if fetch or op == "xchg" else None
        self._add(Op("atomic", dst, [base, value], op=op, size=size, off=off, pos=self.pos))
        return dst

    def cmpxchg(self, base: Operand, off: int, expected: Value, value: Value, size: int) -> Reg:
        """Store ``value`` if ``expected`` is what is there, at once; return what was there."""
        size = self._bits(size, (4, 8))
        return self._value("atomic", [base, expected, value], op="cmpxchg", size=size, off=off)

    def slot_addr(self, slot: Slot, off: int = 0) -> Reg:
        """Return the address of a stack slot, plus ``off``."""
        return self._value("slot_addr", [slot], off=off)

    def load_slot(self, slot: Slot, off: int, size: int, signed: bool = False) -> Reg:
        """Return ``size`` bytes of a stack slot."""
        return self.load(slot, off, size, signed)

    def store_slot(self, slot: Slot, off: int, value: Value, size: int) -> None:
        """Store the low ``size`` bytes of ``value`` into a stack slot."""
        self.store(slot, off, value, size)

    def copy(
        self, dst: Operand, dst_off: int, src: Operand, src_off: int, size: int, align: int = 8
    ) -> None:
        """Copy ``size`` bytes, in the largest pieces that ``align`` of both bases allows.

        The two must not overlap. This is unrolled: two instructions for every eight bytes.
        """
        for at, piece in _pieces(size, align, dst_off, src_off):
            self.store(dst, dst_off + at, self.load(src, src_off + at, piece), piece)

    def zero(self, base: Operand, off: int, size: int, align: int = 8) -> None:
        """Store ``size`` zero bytes, in the largest pieces that ``align`` of the base allows."""
        for at, piece in _pieces(size, align, off, off):
            self.store(base, off + at, 0, piece)

    # maps, calls

    def map_fd(self, map_name: str) -> Reg:
        """Return the map itself, for a helper's argument."""
        return self._value("map_fd", [], ref=map_name)

    def map_value(self, map_name: str, off: int = 0) -> Reg:
        """Return the address of byte ``off`` of the value of an ARRAY map with one entry."""
        return self._value("map_value", [], ref=map_name, off=off)

    def ksym(self, name: str) -> Reg:
        """Return the address of kernel variable ``name`` (a per-CPU one needs bpf_per_cpu_ptr)."""
        return self._value("ksym", [], ref=name)

    def call(self, helper_id: int, *args: Value) -> Reg:
        """Call a helper by number and return its result."""
        return self._value("call", self._arguments(args), ref=helper_id)

    def kfunc(self, name: str, *args: Value) -> Reg:
        """Call a kernel function by name and return its result."""
        return self._value("kfunc", self._arguments(args), ref=name)

    def call_func(self, func: Function, *args: Value) -> Reg:
        """Call another function of this program and return its result."""
        if len(args) != len(func.params):
            raise IrError(f"{len(args)} arguments for {func.name}")
        return self._value("call_func", self._arguments(args), ref=func)

    def func_addr(self, func: Function) -> Reg:
        """Return the address of another function of this program, for a callback argument."""
        return self._value("func_addr", [], ref=func)

    # control

    def block(self, name: str = "", cold: bool = False) -> Block:
        """Return a new block, empty and not yet current; ``cold`` ones are laid out last."""
        return self.fn.block(name, cold)

    def unlikely(self, block: Block) -> None:
        """Declare that a block runs rarely (map full, pointer NULL)."""
        block.cold = True

    def set_block(self, block: Block) -> None:
        """Continue at the end of ``block``. The block left needs a terminator before the end."""
        self.current = block

    @property
    def terminated(self) -> bool:
        """Whether the current block already has its terminator."""
        return self.current.term is not None

    def jump(self, block: Block) -> None:
        """End the block: go on in ``block``."""
        self._end(Terminator("jump", [], [block], pos=self.pos))

    def branch(
        self, op: str, a: Value, b: Value, then: Block, else_: Block, width: int = 64
    ) -> None:
        """End the block: go to ``then`` if ``a op b`` holds, else to ``else_``.

        ``op`` is eq ne gt ge lt le (unsigned), sgt sge slt sle (signed) or set (``a & b`` != 0).
        """
        if op not in COMPARE_OPS or width not in (32, 64):
            raise IrError(f"branch {op} on {width} bits")
        self._end(Terminator("branch", [a, b], [then, else_], op, width, self.pos))

    def may_goto(self, body: Block, exhausted: Block) -> None:
        """End the block: go to ``body`` while the kernel's loop budget lasts, else ``exhausted``.

        Since Linux 6.9 (011832b97b31 "bpf: Introduce may_goto instruction").
        """
        self._end(Terminator("may_goto", [], [body, exhausted], pos=self.pos))

    def exit(self, value: Value = 0) -> None:
        """End the block and the program, whose result is ``value``."""
        self._end(Terminator("ret", [value], [], pos=self.pos))

    def ret(self, value: Value = 0) -> None:
        """End the block: return ``value`` from a subprogram or callback."""
        self._end(Terminator("ret", [value], [], pos=self.pos))

    # pieces

    def _value(
        self,
        kind: str,
        args: list[Operand],
        op: str = "",
        size: int = 0,
        off: int = 0,
        ref: str | int | Function | None = None,
        signed: bool = False,
    ) -> Reg:
        dst = self.fn.new()
        self._add(Op(kind, dst, args, op, size, off, ref, signed, self.pos))
        return dst

    def _add(self, op: Op) -> None:
        if self.current.term is not None:
            self.current = self.fn.block("dead")
        self.current.ops.append(op)

    def _end(self, terminator: Terminator) -> None:
        if self.current.term is not None:
            self.current = self.fn.block("dead")
        self.current.term = terminator

    @staticmethod
    def _arguments(args: tuple[Value, ...]) -> list[Operand]:
        if len(args) > 5:
            raise IrError(f"a call with {len(args)} arguments")
        return list(args)

    @staticmethod
    def _bits(value: int, allowed: tuple[int, ...]) -> int:
        if value not in allowed:
            raise IrError(f"size {value} is none of {allowed}")
        return value


def _pieces(size: int, align: int, *offsets: int) -> list[tuple[int, int]]:
    # Cut ``size`` bytes into aligned pieces of 8, 4, 2 and 1: a list of ``(at, piece)``.
    pieces: list[tuple[int, int]] = []
    at = 0
    while at < size:
        piece = min(align, 8)
        while at + piece > size or any((off + at) % piece for off in offsets):
            piece //= 2
        pieces.append((at, piece))
        at += piece
    return pieces

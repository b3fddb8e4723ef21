"""Turns legalised functions whose registers are placed into BPF instructions.

All functions of a program go into one stream, the main one first. Calls and addresses of its own
functions are resolved here; maps, kernel functions and kernel variables are left to the loader as
:class:`~bpflens.spec.Reloc`. Instructions are built as 64-bit integers and packed at the end.

The order of the blocks is taken as it is; a jump to the block that follows costs nothing, and a
branch is turned round where that saves a jump.

Example::

    program = emit([(main, allocate(main)), (callback, allocate(callback))])
    program.insns, program.relocs, program.positions, program.funcs
"""

from __future__ import annotations

from struct import pack

from bpflens.lang.ir.legalise import CALL_KINDS, COMMUTATIVE
from bpflens.lang.ir.ops import INVERSE, Block, Function, IrError, Op, Reg, Slot, Terminator
from bpflens.spec import Reloc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from bpflens.lang.ir.ops import Operand
    from bpflens.lang.ir.regalloc import Allocation

__all__ = ["EmittedProgram", "emit"]

_FP = 10
_ALU = {
    "add": 0x00, "sub": 0x10, "mul": 0x20, "div": 0x30, "or": 0x40, "and": 0x50, "lsh": 0x60,
    "rsh": 0x70, "neg": 0x80, "mod": 0x90, "xor": 0xA0, "mov": 0xB0, "arsh": 0xC0, "sdiv": 0x30,
    "smod": 0x90,
}  # fmt: skip
_JUMP = {
    "eq": 0x10, "gt": 0x20, "ge": 0x30, "set": 0x40, "ne": 0x50, "sgt": 0x60, "sge": 0x70,
    "lt": 0xA0, "le": 0xB0, "slt": 0xC0, "sle": 0xD0,
}  # fmt: skip
_ATOMIC = {"add": 0x00, "or": 0x40, "and": 0x50, "xor": 0xA0, "xchg": 0xE0, "cmpxchg": 0xF0}
_SIZE = {1: 0x10, 2: 0x08, 4: 0x00, 8: 0x18}
_X = 0x08  # the second operand is a register
_MOV64, _MOV32, _MOV64_X, _MOV32_X, _ADD64 = 0xB7, 0xB4, 0xBF, 0xBC, 0x07
_LDX, _ST, _STX, _LDXSX, _STX_ATOMIC, _LD_IMM64 = 0x61, 0x62, 0x63, 0x81, 0xC3, 0x18
_JA, _GOTOL, _CALL, _EXIT, _MAY_GOTO, _TO_BE = 0x05, 0x06, 0x85, 0x95, 0xE5, 0xDC
# What the source register of ld_imm64 and of call says about the immediate.
_PSEUDO = {"map_fd": 1, "map_value": 2, "ksym": 3, "func_addr": 4}
_PSEUDO_CALL, _PSEUDO_KFUNC_CALL = 1, 2
_RELOC = {"map_fd": "map", "map_value": "map_value", "ksym": "ksym"}
_MASK32 = 0xFFFFFFFF
_MASK64 = (1 << 64) - 1


class EmittedProgram:
    """One program's instructions and what is known about them.

    ``insns`` is the raw stream; ``relocs`` what the loader fills in; ``positions`` are
    ``(slot, script position)`` pairs, one wherever the position changes; ``funcs`` are
    ``(slot, name)`` pairs of all functions, the main one first.
    """

    __slots__ = ("funcs", "insns", "positions", "relocs")

    def __init__(
        self,
        insns: bytes,
        relocs: list[Reloc],
        positions: list[tuple[int, int]],
        funcs: list[tuple[int, str]],
    ) -> None:
        self.insns = insns
        self.relocs = relocs
        self.positions = positions
        self.funcs = funcs


def emit(functions: Sequence[tuple[Function, Allocation]], cpu: int = 3) -> EmittedProgram:
    """Emit functions into one stream; calls among them are resolved.

    Jumps over more than 32767 instructions need version 4 of the instruction set.
    """
    emitter = _Emitter()
    for fn, allocation in functions:
        emitter.function(fn, allocation, cpu)
    emitter.resolve_calls()
    code = emitter.code
    return EmittedProgram(
        pack(f"<{len(code)}Q", *code), emitter.relocs, emitter.positions, emitter.funcs
    )


class _Emitter:
    __slots__ = (
        "calls", "code", "entries", "frame", "funcs", "jumps", "labels", "positions", "regs",
        "relocs", "start",
    )  # fmt: skip

    def __init__(self) -> None:
        self.code: list[int] = []
        #: Where the current block begins.
        self.start = 0
        self.relocs: list[Reloc] = []
        self.positions: list[tuple[int, int]] = []
        self.funcs: list[tuple[int, str]] = []
        self.entries: dict[Function, int] = {}
        self.calls: list[tuple[int, Function]] = []
        self.jumps: list[tuple[int, Block]] = []
        self.labels: dict[Block, int] = {}
        self.regs: dict[object, int] = {}
        self.frame: dict[object, int] = {}

    def function(self, fn: Function, allocation: Allocation, cpu: int) -> None:
        start = len(self.code)
        self.entries[fn] = start
        self.funcs.append((start, fn.name))
        self.regs, self.frame = allocation.regs, allocation.frame
        marks = len(self.positions), len(self.relocs), len(self.calls)
        self.body(fn, False)
        if self.resolve_jumps(False):
            return
        if cpu < 4:
            raise IrError(f"{fn.name}: a jump too far for version {cpu} of the instruction set")
        # Once more with the long form of everything.
        del self.code[start:], self.positions[marks[0] :]
        del self.relocs[marks[1] :], self.calls[marks[2] :]
        self.body(fn, True)
        self.resolve_jumps(True)

    def body(self, fn: Function, far: bool) -> None:
        self.jumps.clear()
        self.labels.clear()
        self.parallel_move([
            (self.regs[param], number + 1)
            for number, param in enumerate(fn.params)
            if param in self.regs
        ], False)  # fmt: skip
        last = -1
        blocks = fn.blocks
        for number, block in enumerate(blocks):
            self.start = self.labels[block] = len(self.code)
            for op in block.ops:
                if op.pos != last and op.pos >= 0:
                    last = self.mark(op.pos)
                _EMIT[op.kind](self, op)
            term = block.term
            assert term is not None
            if term.pos != last and term.pos >= 0:
                last = self.mark(term.pos)
            following = blocks[number + 1] if number + 1 < len(blocks) else None
            self.terminator(term, following, far)

    def mark(self, pos: int) -> int:
        at = len(self.code)
        if self.positions and self.positions[-1][0] == at:
            self.positions[-1] = (at, pos)
        else:
            self.positions.append((at, pos))
        return pos

    def put(self, opcode: int, dst: int = 0, src: int = 0, off: int = 0, imm: int = 0) -> None:
        self.code.append(
            opcode | dst << 8 | src << 12 | (off & 0xFFFF) << 16 | (imm & _MASK32) << 32
        )

    # moves

    def move(self, dst: int, src: int) -> None:
        if dst == src:
            return
        # Right behind "src = dst" there is nothing to do, unless this can be jumped to.
        code = self.code
        if len(code) == self.start or code[-1] != (_MOV64_X | src << 8 | dst << 12):
            self.put(_MOV64_X, dst, src)

    def constant(self, dst: int, value: int) -> None:
        if -0x80000000 <= value <= 0x7FFFFFFF:
            self.put(_MOV64, dst, imm=value)
        elif 0 <= value <= _MASK32:
            self.put(_MOV32, dst, imm=value)
        else:
            self.wide(dst, 0, value)

    def wide(self, dst: int, src: int, value: int) -> None:
        self.put(_LD_IMM64, dst, src, imm=value)
        self.put(0, imm=(value & _MASK64) >> 32)

    def material(self, op: Op, dst: int) -> None:
        """Compute what depends on nothing into a physical register."""
        kind = op.kind
        if kind == "const":
            value = op.args[0]
            assert type(value) is int
            self.constant(dst, value)
        elif kind == "slot_addr":
            self.put(_MOV64_X, dst, _FP)
            self.put(_ADD64, dst, imm=self.frame[op.args[0]] + op.off)
        elif kind == "load":
            self.put(_LDX | _SIZE[op.size], dst, _FP, self.frame[op.args[0]] + op.off)
        else:
            at = len(self.code)
            if kind == "func_addr":
                assert isinstance(op.ref, Function)
                self.calls.append((at, op.ref))
            else:
                self.relocs.append(Reloc(at, _RELOC[kind], str(op.ref), op.off))
            self.wide(dst, _PSEUDO[kind], op.off << 32)

    def arguments(self, args: Sequence[Operand], first: int) -> None:
        """Bring operands into the registers ``first`` and up, whatever is in them now."""
        moves: list[tuple[int, int]] = []
        later: list[tuple[int, Op | int]] = []
        for number, arg in enumerate(args):
            if type(arg) is Reg:
                moves.append((first + number, self.regs[arg]))
            else:
                assert type(arg) is Op or type(arg) is int
                later.append((first + number, arg))
        self.parallel_move(moves, True)
        for dst, arg in later:
            if type(arg) is Op:
                self.material(arg, dst)
            else:
                assert type(arg) is int
                self.constant(dst, arg)

    def parallel_move(self, moves: list[tuple[int, int]], r0_is_free: bool) -> None:
        """Do ``(dst, src)`` moves as if all at once."""
        waiting = {dst: src for dst, src in moves if dst != src}
        while waiting:
            needed = set(waiting.values())
            ready = [dst for dst in waiting if dst not in needed]
            for dst in ready:
                self.put(_MOV64_X, dst, waiting.pop(dst))
            if ready or not waiting:
                continue
            # Only cycles are left. A call overwrites r0, which is in none of them; on entry of a
            # function everything is free but what the parameters come in and go to.
            src = next(iter(waiting.values()))
            taken = () if r0_is_free else {reg for move in moves for reg in move}
            spare = next(reg for reg in range(10) if reg not in taken)
            self.put(_MOV64_X, spare, src)
            for other, source in waiting.items():
                if source == src:
                    waiting[other] = spare

    # operations

    def op_const(self, op: Op) -> None:
        self.material(op, self.regs[op.dst])

    def op_move(self, op: Op) -> None:
        self.move(self.regs[op.dst], self.regs[op.args[0]])

    def op_alu(self, op: Op) -> None:
        a, b = op.args
        dst, first = self.regs[op.dst], self.regs[a]
        name = op.op
        opcode = _ALU[name] | (0x07 if op.size == 64 else 0x04)
        off = 1 if name in ("sdiv", "smod") else 0
        if type(b) is int:
            self.move(dst, first)
            self.put(opcode, dst, 0, off, b)
            return
        second = self.regs[b]
        if dst == second and dst != first:
            assert name in COMMUTATIVE
            first, second = second, first
        self.move(dst, first)
        self.put(opcode | _X, dst, second, off)

    def op_neg(self, op: Op) -> None:
        dst = self.unary(op)
        self.put(0x87 if op.size == 64 else 0x84, dst)

    def op_bswap(self, op: Op) -> None:
        dst = self.unary(op)
        # "To big endian", which on the little-endian machines there are is a swap.
        self.put(_TO_BE, dst, imm=op.size)

    def unary(self, op: Op) -> int:
        dst = self.regs[op.dst]
        self.move(dst, self.regs[op.args[0]])
        return dst

    def op_sext(self, op: Op) -> None:
        self.put(_MOV64_X, self.regs[op.dst], self.regs[op.args[0]], op.size)

    def op_zext(self, op: Op) -> None:
        self.put(_MOV32_X, self.regs[op.dst], self.regs[op.args[0]])

    def op_bool(self, op: Op) -> None:
        a, b = op.args
        dst = self.regs[op.dst]
        self.put(_MOV64, dst, imm=1)
        self.compare(op.op, op.size, a, b, 1)
        self.put(_MOV64, dst, imm=0)

    def compare(self, name: str, size: int, a: Operand, b: Operand, off: int) -> None:
        opcode = _JUMP[name] | (0x05 if size == 64 else 0x06)
        if type(b) is int:
            self.put(opcode, self.regs[a], 0, off, b)
        else:
            self.put(opcode | _X, self.regs[a], self.regs[b], off)

    def address(self, op: Op) -> tuple[int, int]:
        base = op.args[0]
        if type(base) is Slot:
            return _FP, self.frame[base] + op.off
        return self.regs[base], op.off

    def op_load(self, op: Op) -> None:
        base, off = self.address(op)
        self.put((_LDXSX if op.signed else _LDX) | _SIZE[op.size], self.regs[op.dst], base, off)

    def op_store(self, op: Op) -> None:
        base, off = self.address(op)
        value = op.args[1]
        if type(value) is int:
            self.put(_ST | _SIZE[op.size], base, 0, off, value)
        else:
            self.put(_STX | _SIZE[op.size], base, self.regs[value], off)

    def op_atomic(self, op: Op) -> None:
        base, off = self.address(op)
        code = _ATOMIC[op.op] | (1 if op.dst is not None else 0)
        operand = self.regs[op.args[-1]]
        if op.op == "cmpxchg":
            self.move(0, self.regs[op.args[1]])
        elif op.dst is not None:
            self.move(self.regs[op.dst], operand)
            operand = self.regs[op.dst]
        self.put(_STX_ATOMIC | _SIZE[op.size], base, operand, off, code)
        if op.op == "cmpxchg":
            self.move(self.regs[op.dst], 0)

    def op_call(self, op: Op) -> None:
        self.arguments(op.args, 1)
        ref = op.ref
        if op.kind == "call":
            assert type(ref) is int
            self.put(_CALL, imm=ref)
        elif op.kind == "kfunc":
            self.relocs.append(Reloc(len(self.code), "kfunc", str(ref)))
            self.put(_CALL, 0, _PSEUDO_KFUNC_CALL)
        else:
            assert isinstance(ref, Function)
            self.calls.append((len(self.code), ref))
            self.put(_CALL, 0, _PSEUDO_CALL)
        if op.dst is not None and op.dst in self.regs:
            self.move(self.regs[op.dst], 0)

    # control

    def terminator(self, term: Terminator, following: Block | None, far: bool) -> None:
        kind = term.kind
        if kind == "ret":
            self.arguments(term.args, 0)
            self.put(_EXIT)
        elif kind == "jump":
            if term.targets[0] is not following:
                self.jump(term.targets[0], far)
        elif kind == "may_goto":
            body, exhausted = term.targets
            self.jumps.append((len(self.code), exhausted))
            self.put(_MAY_GOTO)
            if body is not following:
                self.jump(body, False)
        else:
            self.branch(term, following, far)

    def jump(self, target: Block, far: bool) -> None:
        self.jumps.append((len(self.code), target))
        self.put(_GOTOL if far else _JA)

    def branch(self, term: Terminator, following: Block | None, far: bool) -> None:
        then, other = term.targets
        if then is other:
            if then is not following:
                self.jump(then, far)
            return
        name = term.op
        a, b = term.args
        if far:
            self.compare(name, term.size, a, b, 1)
            self.jump(other, True)
            self.jump(then, True)
            return
        if then is following and name in INVERSE:
            name, then, other = INVERSE[name], other, then
        self.jumps.append((len(self.code), then))
        self.compare(name, term.size, a, b, 0)
        if other is not following:
            self.jump(other, False)

    def resolve_jumps(self, far: bool) -> bool:
        """Fill in the distances; return whether all of them fit."""
        code, labels = self.code, self.labels
        for at, target in self.jumps:
            distance = labels[target] - at - 1
            if code[at] & 0xFF == _GOTOL:
                code[at] |= (distance & _MASK32) << 32
            elif -0x8000 <= distance <= 0x7FFF:
                code[at] |= (distance & 0xFFFF) << 16
            elif far:
                raise IrError(f"a jump over {distance} instructions")
            else:
                return False
        return True

    def resolve_calls(self) -> None:
        code = self.code
        for at, fn in self.calls:
            if fn not in self.entries:
                raise IrError(f"function {fn.name} is called but not part of the program")
            code[at] |= ((self.entries[fn] - at - 1) & _MASK32) << 32


_EMIT = {
    "const": _Emitter.op_const, "slot_addr": _Emitter.op_const, "map_fd": _Emitter.op_const,
    "map_value": _Emitter.op_const, "ksym": _Emitter.op_const, "func_addr": _Emitter.op_const,
    "move": _Emitter.op_move, "alu": _Emitter.op_alu, "neg": _Emitter.op_neg,
    "bswap": _Emitter.op_bswap, "sext": _Emitter.op_sext, "zext": _Emitter.op_zext,
    "bool": _Emitter.op_bool, "load": _Emitter.op_load, "store": _Emitter.op_store,
    "atomic": _Emitter.op_atomic, **dict.fromkeys(CALL_KINDS, _Emitter.op_call),
}  # fmt: skip

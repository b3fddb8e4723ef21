"""Instructions → functions → basic blocks and the edges between them.

A program is cut into functions at the targets of bpf-to-bpf calls (and at callbacks whose address
is taken), a function into blocks at jump targets and behind conditional jumps. All places are slots
(8-byte units), as in dumps and line info.

Edges tell what the instructions do. bpftool's graphs differ in one point: they lead from an
``exit`` in the middle of a function to the block that follows it in memory; here that is an edge of
kind EXIT without a target. Loaded programs (``xlated=True``) keep the distance of a call in
``off``, as the kernel has used ``imm`` for the number of the function.

Example::

    for function in control_flow(insns):
        for block in function.blocks:
            print(block.start, block.end, block.edges)
"""

from __future__ import annotations

from bpflens.asm.instruction import LD_IMM64, slots
from bpflens.errors import FormatError
from bpflens.uapi.bpf import BPF_PSEUDO_CALL, BPF_PSEUDO_FUNC

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bpflens.asm.instruction import Instruction

__all__ = ["EXIT", "FALL", "JUMP", "Block", "Edge", "Function", "control_flow"]

# Kinds of edges.
FALL = "fall"
JUMP = "jump"
EXIT = "exit"


class Edge:
    """A way out of a block: ``kind`` FALL, JUMP or EXIT; ``target`` is a block's index or None."""

    __slots__ = ("kind", "target")

    def __init__(self, kind: str, target: int | None) -> None:
        self.kind = kind
        self.target = target

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Edge) and (self.kind, self.target) == (other.kind, other.target)

    def __hash__(self) -> int:
        return hash((self.kind, self.target))

    def __repr__(self) -> str:
        return f"Edge({self.kind!r}, {self.target!r})"


class Block:
    """Instructions that run one after the other.

    ``index`` is its place in the function; ``start`` and ``end`` are slots (end excluded);
    ``first`` and ``last`` index the program's list of instructions (last included).
    """

    __slots__ = ("edges", "end", "first", "index", "last", "start")

    def __init__(self, index: int, start: int, end: int, first: int, last: int) -> None:
        self.index = index
        self.start = start
        self.end = end
        self.first = first
        self.last = last
        self.edges: list[Edge] = []

    def __repr__(self) -> str:
        return f"Block({self.index}, slots {self.start}-{self.end - 1}, {self.edges})"


class Function:
    """A function: its number, its slots (end excluded) and its blocks in order of address."""

    __slots__ = ("blocks", "end", "index", "start")

    def __init__(self, index: int, start: int, end: int, blocks: list[Block]) -> None:
        self.index = index
        self.start = start
        self.end = end
        self.blocks = blocks

    def __repr__(self) -> str:
        return f"Function({self.index}, slots {self.start}-{self.end - 1}, {self.blocks})"


def control_flow(
    insns: Sequence[Instruction], *, xlated: bool = False, callbacks: bool = True
) -> list[Function]:
    """Return the functions of a program with their blocks and edges.

    ``callbacks=False`` does not begin a function where only an address is taken, as bpftool.
    Raises FormatError for calls and jumps that lead out of the program or of their function.
    """
    if not insns:
        return []
    at = slots(insns)
    index_of = {slot: i for i, slot in enumerate(at)}
    starts = _function_starts(insns, at, xlated, callbacks)
    for start in starts:
        if start not in index_of or start >= at[-1]:
            raise FormatError("BPF program", f"a call leads to slot {start}, which is no function")
    bounds = [*starts, at[-1]]
    return [_function(i, bounds[i], bounds[i + 1], insns, at, index_of) for i in range(len(starts))]


def _function_starts(
    insns: Sequence[Instruction], at: list[int], xlated: bool, callbacks: bool
) -> list[int]:
    found = {0}
    for slot, insn in zip(at, insns, strict=False):
        if insn.op == 0x85 and insn.src == BPF_PSEUDO_CALL:
            found.add(slot + 1 + (insn.off if xlated else insn.imm))
        elif callbacks and insn.op == LD_IMM64 and insn.src == BPF_PSEUDO_FUNC:
            low = insn.imm & 0xFFFFFFFF
            found.add(slot + 1 + (low - (1 << 32) if low >> 31 else low))
    return sorted(found)


def _targets(insn: Instruction, slot: int) -> tuple[int | None, bool] | None:
    # (slot of the jump or None, whether it may fall through); None for what does not jump.
    if insn.op & 7 not in (5, 6):
        return None
    code = insn.op & 0xF0
    if code == 0x80:
        return None
    if insn.op == 0x95:
        return None, False
    if insn.op == 0x06:
        return slot + 1 + insn.imm, False
    if insn.op == 0x0D:
        # gotox goes through a register; where to is in a map.
        return None, False
    return slot + 1 + insn.off, code != 0x00


def _function(
    number: int,
    start: int,
    end: int,
    insns: Sequence[Instruction],
    at: list[int],
    index_of: dict[int, int],
) -> Function:
    first, last = index_of[start], index_of[end] - 1
    heads = {start}
    for i in range(first, last + 1):
        jump = _targets(insns[i], at[i])
        if jump is None:
            continue
        target, falls = jump
        if target is not None:
            if not start <= target < end or target not in index_of:
                raise FormatError("BPF program", f"a jump to slot {target}", f"slot {at[i]}")
            heads.add(target)
        if falls and i < last:
            heads.add(at[i + 1])
    blocks = _blocks(sorted(heads), end, index_of)
    _connect(blocks, insns, at)
    return Function(number, start, end, blocks)


def _blocks(heads: Iterable[int], end: int, index_of: dict[int, int]) -> list[Block]:
    bounds = [*heads, end]
    return [
        Block(i, bounds[i], bounds[i + 1], index_of[bounds[i]], index_of[bounds[i + 1]] - 1)
        for i in range(len(bounds) - 1)
    ]


def _connect(blocks: list[Block], insns: Sequence[Instruction], at: list[int]) -> None:
    by_start = {block.start: block.index for block in blocks}
    for block in blocks:
        insn = insns[block.last]
        following = block.index + 1 if block.index + 1 < len(blocks) else None
        jump = _targets(insn, at[block.last])
        if insn.op == 0x95 or (jump is None and following is None):
            block.edges.append(Edge(EXIT, None))
            continue
        target, falls = jump or (None, True)
        if falls:
            block.edges.append(Edge(FALL if following is not None else EXIT, following))
        if target is not None:
            block.edges.append(Edge(JUMP, by_start[target]))

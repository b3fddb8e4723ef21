"""A program's control flow as a Graphviz digraph, in bpftool's form.

One cluster for each function, one node for each basic block with its instructions and source
lines. Two things are done right that the real tool does not: an ``exit`` in the middle of a
function leads to EXIT, and the source lines of the second function are its own.

Example::

    write(out, Listing(program), opcodes=False, linum=False)      # digraph "DOT graph ... {
"""

from __future__ import annotations

from bpflens.asm.cfg import EXIT, control_flow
from bpflens.uapi.bpf import BPF_PSEUDO_CALL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from bpflens.asm.cfg import Block, Function
    from bpflens.bpftool.listing import Listing, Source

__all__ = ["write"]

_FIXED = 2  # blocks 0 and 1 are ENTRY and EXIT
_EDGE = ' [style="solid,bold", color=black, weight=10, constraint=true];\n'
_LABEL = str.maketrans({mark: "\\" + mark for mark in '\\"{}<>| '})
_INSN = str.maketrans({mark: "\\" + mark for mark in "<>|&"})
_LONGEST_PATH = 32


def write(out: Callable[[str], object], listing: Listing, *, opcodes: bool, linum: bool) -> None:
    """Write the digraph."""
    functions = control_flow(listing.insns, xlated=True, callbacks=False)
    numbers = _numbers(listing, functions)
    texts = listing.texts()
    out('digraph "DOT graph for eBPF program" {\n')
    for function in functions:
        number = numbers[function.start]
        out(
            f'subgraph "cluster_{number}" {{\n\tstyle="dashed";\n\tcolor="black";\n'
            f'\tlabel="func_{number} ()";\n'
        )
        out(f'\tfn_{number}_bb_0 [shape=Mdiamond,style=filled,label="ENTRY"];\n\n')
        for block in function.blocks:
            label = _block(listing, texts, function, block, opcodes, linum)
            name = f"fn_{number}_bb_{block.index + _FIXED}"
            out(f'\t{name} [shape=record,style=filled,label="{{\\\n{label}}}"];\n\n')
        out(f'\tfn_{number}_bb_1 [shape=Mdiamond,style=filled,label="EXIT"];\n\n')
        _edges(out, number, function)
        out("}\n")
    out("}\n")


def _numbers(listing: Listing, functions: list[Function]) -> dict[int, int]:
    # Functions are numbered in the order in which calls lead to them.
    found = {0: 0}
    for slot, insn in zip(listing.at, listing.insns, strict=False):
        if insn.op == 0x85 and insn.src == BPF_PSEUDO_CALL:
            found.setdefault(slot + 1 + insn.off, len(found))
    for function in functions:
        found.setdefault(function.start, len(found))
    return found


def _block(
    listing: Listing, texts: list[str], function: Function, block: Block, opcodes: bool, linum: bool
) -> str:
    parts = []
    last = -1
    for index in range(block.first, block.last + 1):
        slot = listing.at[index]
        if slot in listing.prototypes:
            parts.append(f"; {listing.prototypes[slot]}:\\l\\\n")
        found = listing.source_at(slot)
        if found is not None and found[0] != last:
            last = found[0]
            parts.append(_source(found[1], linum))
        parts.append(f"{slot - function.start}: {texts[index].translate(_INSN)}\\l\\\n")
        if opcodes:
            size = 16 if listing.data[8 * slot] == 0x18 else 8
            raw = listing.data[8 * slot : 8 * slot + size].hex(" ")
            parts.append(f"\\ \\ \\ \\ {raw}\\l\\\n")
        if index != block.last:
            parts.append("| ")
    return "".join(parts)


def _source(source: Source, linum: bool) -> str:
    if not source.text:
        return ""
    line = f"; {source.text.translate(_LABEL)}\\l\\\n"
    if not linum:
        return line
    short = _shortened(source.file)
    dots = "..." if short != source.file else ""
    place = f"line:{source.line} col:{source.column}"
    return f"; [{dots}{short.translate(_LABEL)} {place}]\\l\\\n{line}"


def _shortened(path: str) -> str:
    if len(path) <= _LONGEST_PATH:
        return path
    at = path.find("/", len(path) - _LONGEST_PATH)
    if at < 0:
        at = path.rfind("/")
    return path if at < 3 else path[at:]


def _edges(out: Callable[[str], object], number: int, function: Function) -> None:
    out(f"\tfn_{number}_bb_0:s -> fn_{number}_bb_{_FIXED}:n{_EDGE}")
    for block in function.blocks:
        for edge in block.edges:
            leaves = edge.kind == EXIT or edge.target is None
            target = 1 if leaves else (edge.target or 0) + _FIXED
            out(f"\tfn_{number}_bb_{block.index + _FIXED}:s -> fn_{number}_bb_{target}:n{_EDGE}")
    out(f'\tfn_{number}_bb_0:s -> fn_{number}_bb_1:n [style="invis", constraint=true];\n')

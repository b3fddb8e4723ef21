"""A program's control flow as a picture: SVG, or HTML with the SVG in it, without Graphviz.

Blocks stand in the order of their addresses, one below the other, in columns of limited height per
function; edges run beside them, jumps on the right, jumps back on the left. That stays readable and
cheap for thousands of instructions, where layouts that minimise crossings do not.

Example::

    write(Listing(program), wish, "count_packets")     # wish.file = "graph.svg"
"""

from __future__ import annotations

from bpflens.asm.cfg import EXIT, FALL, control_flow
from bpflens.bpftool.prog_dump import write_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.asm.cfg import Function
    from bpflens.bpftool.listing import Listing
    from bpflens.bpftool.prog_dump import Wish

__all__ = ["svg", "write"]

_LINE, _GAP, _LETTER, _MARGIN = 15, 22, 7.3, 60
_LANES, _LANE = 12, 9
_LONGEST = 110

_STYLE = """\
text { font: 12px ui-monospace, monospace; white-space: pre; fill: #1c2330 }
.s { fill: #58708f; font-style: italic } .f { font-weight: bold; font-size: 14px }
rect { fill: #f7f9fc; stroke: #9fb2c9 } .x { fill: #fdf1ee; stroke: #d99a8b }
path { fill: none; stroke: #5f7fa8; stroke-width: 1.3 } .b { stroke: #b5563f }
.e { stroke: #b9c5d4 }
"""
_HTML = """\
<!doctype html><meta charset="utf-8"><title>{title}</title>
<style>body {{ margin: 1em; font-family: system-ui, sans-serif }}</style>
<h1>{title}</h1>
{svg}
"""


def write(listing: Listing, wish: Wish, title: str) -> None:
    """Write the picture to ``wish.file``; its ending says in which form."""
    if wish.file.endswith(".dot"):
        from bpflens.bpftool import graph

        parts: list[str] = []
        graph.write(parts.append, listing, opcodes=wish.opcodes, linum=wish.linum)
        write_file(wish.file, "".join(parts).encode())
        return
    text = svg(listing, opcodes=wish.opcodes, linum=wish.linum)
    if not wish.file.endswith(".svg"):
        text = _HTML.format(title=_escape(title), svg=text)
    write_file(wish.file, text.encode("utf-8", "replace"))


def svg(listing: Listing, *, opcodes: bool = False, linum: bool = False) -> str:
    """Return the control flow of all functions as one SVG document."""
    functions = control_flow(listing.insns, xlated=True, callbacks=True)
    texts = listing.texts()
    parts: list[str] = []
    left = 0.0
    height = 0.0
    for function in functions:
        drawing = _Drawing(listing, texts, function, left, opcodes, linum)
        parts.append(drawing.draw())
        left += drawing.width
        height = max(height, drawing.height)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {left:.0f} {height:.0f}">\n<style>{_STYLE}</style>\n'
        '<defs><marker id="a" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" style="fill:#5f7fa8"/>'
        f"</marker></defs>\n{''.join(parts)}</svg>\n"
    )


def _escape(text: str) -> str:
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    for mark, word in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;")):
        text = text.replace(mark, word)
    return text


class _Drawing:
    # One function: its blocks in a column, its edges in lanes beside it.
    __slots__ = ("_blocks", "_function", "_left", "_lines", "_title", "height", "width")

    def __init__(
        self, listing: Listing, texts: list[str], function: Function, left: float, opcodes: bool,
        linum: bool,
    ) -> None:  # fmt: skip
        self._function = function
        self._title = listing.prototypes.get(function.start, f"function at {function.start}")
        self._lines = [
            _block_lines(listing, texts, block.first, block.last, opcodes, linum)
            for block in function.blocks
        ]
        longest = max(len(line) for lines in self._lines for _, line in lines)
        longest = max(longest, len(self._title) + 4)
        self._left = left + _MARGIN + _LANES * _LANE
        self.width = longest * _LETTER + 20 + 2 * (_MARGIN + _LANES * _LANE)
        self._blocks: list[tuple[float, float]] = []
        top = 50.0
        for lines in self._lines:
            size = len(lines) * _LINE + 10
            self._blocks.append((top, size))
            top += size + _GAP
        self.height = top + 20

    def draw(self) -> str:
        """Return the elements of the function."""
        inner = self.width - 2 * (_MARGIN + _LANES * _LANE)
        parts = [f'<text class="f" x="{self._left:.0f}" y="30">{_escape(self._title)}</text>\n']
        for block, lines, (top, size) in zip(
            self._function.blocks, self._lines, self._blocks, strict=True
        ):
            leaves = any(edge.kind == EXIT for edge in block.edges)
            mark = ' class="x"' if leaves else ""
            parts.append(
                f'<rect{mark} x="{self._left:.0f}" y="{top:.0f}" width="{inner:.0f}" '
                f'height="{size:.0f}" rx="4"/>\n'
            )
            for number, (kind, line) in enumerate(lines):
                y = top + 16 + number * _LINE
                parts.append(
                    f'<text{kind} x="{self._left + 8:.0f}" y="{y:.0f}">{_escape(line)}</text>\n'
                )
        parts.extend(self._edges(inner))
        return "".join(parts)

    def _edges(self, inner: float) -> list[str]:
        parts = []
        for block in self._function.blocks:
            top, size = self._blocks[block.index]
            for edge in block.edges:
                if edge.target is None:
                    continue
                goal = self._blocks[edge.target][0]
                middle = self._left + inner / 2
                if edge.kind == FALL and edge.target == block.index + 1:
                    parts.append(
                        f'<path marker-end="url(#a)" d="M{middle:.0f} {top + size:.0f}'
                        f'V{goal:.0f}"/>\n'
                    )
                    continue
                back = edge.target <= block.index
                lane = 8 + (block.index + edge.target) % _LANES * _LANE
                side = self._left if back else self._left + inner
                x = side - lane if back else side + lane
                mark = ' class="b"' if back else ""
                parts.append(
                    f'<path{mark} marker-end="url(#a)" d="M{side:.0f} {top + size - 8:.0f}'
                    f'H{x:.0f}V{goal + 10:.0f}H{side:.0f}"/>\n'
                )
        return parts


def _block_lines(
    listing: Listing, texts: list[str], first: int, last: int, opcodes: bool, linum: bool
) -> list[tuple[str, str]]:
    # (class attribute, text) of every line of a block.
    lines: list[tuple[str, str]] = []
    before = -1
    for index in range(first, last + 1):
        slot = listing.at[index]
        found = listing.source_at(slot)
        if found is not None and found[0] != before:
            before, source = found
            if source.text:
                place = f" [{source.file.rpartition('/')[2]}:{source.line}]" if linum else ""
                lines.append((' class="s"', f"; {source.text}{place}"[:_LONGEST]))
        lines.append(("", f"{slot:4}: {texts[index]}"[:_LONGEST]))
        if opcodes:
            size = 16 if listing.data[8 * slot] == 0x18 else 8
            raw = listing.data[8 * slot : 8 * slot + size].hex(" ")
            lines.append((' class="s"', f"      {raw}"))
    return lines

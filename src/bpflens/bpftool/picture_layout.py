"""A program's control flow → boxes, rows of text and routes of jumps, with places in pixels.

Blocks stand under each other in order of address, so that a program of thousands of instructions
reads like its listing. What falls through goes straight down; jumps forward run in lanes at the
right, jumps back (loops) in lanes at the left. All jumps to one block share a lane, and short
lanes lie inside: a function with a hundred ``goto out`` has one line for them.

Pure: needs only what a :class:`bpflens.bpftool.listing.Listing` offers, draws nothing.

Example::

    layout = Layout(listing, opcodes=False, linum=False)
    layout.width, layout.height, len(layout.boxes)      # (760, 1312, 9)
"""

from __future__ import annotations

from bpflens.asm.cfg import EXIT, FALL, control_flow
from bpflens.uapi.bpf import BPF_PSEUDO_CALL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.asm.cfg import Block, Function
    from bpflens.bpftool.listing import Listing

__all__ = ["BYTES", "CHAR", "INSTRUCTION", "LINE", "PAD", "SOURCE", "Box", "Frame", "Layout",
           "Route", "Row"]  # fmt: skip

# Kinds of rows.
INSTRUCTION, SOURCE, BYTES = "i", "s", "o"

LINE = 15
PAD = 6
CHAR = 7.25

_GAP = 16
_LANE = 8
_HEAD = 34
_MARGIN = 24
_WIDEST = 120
_NARROWEST = 44


class Row:
    """A line of a box: its kind, its text, and the slot that it leads to (None for most)."""

    __slots__ = ("kind", "target", "text")

    def __init__(self, kind: str, text: str, target: int | None = None) -> None:
        self.kind = kind
        self.text = text
        self.target = target


class Box:
    """A block: its first slot, rows, ``top`` and ``bottom``; whether it falls through, exits."""

    __slots__ = ("bottom", "exits", "falls", "rows", "start", "top")

    def __init__(self, start: int, rows: list[Row], top: float) -> None:
        self.start = start
        self.rows = rows
        self.top = top
        self.bottom = top + len(rows) * LINE + 2 * PAD
        self.falls = False
        self.exits = False


class Route:
    """All jumps to ``target`` from one side: ``sources``, ``back`` (loops) and the lane."""

    __slots__ = ("back", "lane", "sources", "target")

    def __init__(self, target: Box, back: bool) -> None:
        self.target = target
        self.back = back
        self.sources: list[Box] = []
        self.lane = 0

    @property
    def span(self) -> tuple[float, float]:
        """The first and the last height that the route touches."""
        ends = [self.target.top, *(box.bottom for box in self.sources)]
        return min(ends), max(ends)


class Frame:
    """A function: its number, first slot, title, height of the title, and its boxes."""

    __slots__ = ("boxes", "index", "start", "title", "top")

    def __init__(self, index: int, start: int, title: str, top: float) -> None:
        self.index = index
        self.start = start
        self.title = title
        self.top = top
        self.boxes: list[Box] = []


class Layout:
    """Where everything is: ``frames``, ``routes``, ``left`` and ``box_width``, the whole size."""

    __slots__ = (
        "_linum", "_listing", "_opcodes", "_texts", "box_width", "frames", "height", "left",
        "routes", "width",
    )  # fmt: skip

    def __init__(self, listing: Listing, *, opcodes: bool, linum: bool) -> None:
        self._listing = listing
        self._opcodes = opcodes
        self._linum = linum
        self._texts = listing.texts()
        self.frames: list[Frame] = []
        self.routes: list[Route] = []
        y = float(_MARGIN)
        for function in control_flow(listing.insns, xlated=True, callbacks=False):
            y = self._function(function, y) + 2 * _GAP
        self.height = y
        longest = max((len(row.text) for box in self.boxes for row in box.rows), default=0)
        self.box_width = max(_NARROWEST, min(_WIDEST, longest)) * CHAR + 2 * PAD
        lanes_left = _assign([route for route in self.routes if route.back])
        lanes_right = _assign([route for route in self.routes if not route.back])
        self.left = _MARGIN + (lanes_left + 1) * _LANE
        self.width = self.left + self.box_width + (lanes_right + 2) * _LANE + _MARGIN

    @property
    def boxes(self) -> list[Box]:
        """All boxes, from top to bottom."""
        return [box for frame in self.frames for box in frame.boxes]

    @property
    def most(self) -> int:
        """How many characters of a row have room in a box."""
        return _WIDEST

    def lane_x(self, route: Route) -> float:
        """Return where the lane of a route is."""
        away = (route.lane + 1) * _LANE
        return self.left - away if route.back else self.left + self.box_width + away

    def _function(self, function: Function, y: float) -> float:
        title = self._listing.prototypes.get(function.start) or f"function {function.index}"
        frame = Frame(function.index, function.start, title, y)
        self.frames.append(frame)
        y += _HEAD
        last = -1
        for block in function.blocks:
            rows, last = self._rows(block, last)
            box = Box(block.start, rows, y)
            frame.boxes.append(box)
            y = box.bottom + _GAP
        self._connect(function, frame.boxes)
        return y

    def _connect(self, function: Function, boxes: list[Box]) -> None:
        routes: dict[tuple[int, bool], Route] = {}
        for block, box in zip(function.blocks, boxes, strict=True):
            for edge in block.edges:
                if edge.kind == EXIT or edge.target is None:
                    box.exits = True
                elif edge.kind == FALL and edge.target == block.index + 1:
                    box.falls = True
                else:
                    back = edge.target <= block.index
                    place = edge.target, back
                    if place not in routes:
                        routes[place] = Route(boxes[edge.target], back)
                    routes[place].sources.append(box)
        self.routes += routes.values()

    def _rows(self, block: Block, last: int) -> tuple[list[Row], int]:
        # A source line is told where it begins, and again where a block begins in its middle.
        rows: list[Row] = []
        listing = self._listing
        for index in range(block.first, block.last + 1):
            slot = listing.at[index]
            found = listing.source_at(slot)
            if found is not None and (found[0] != last or index == block.first):
                last = found[0]
                source = found[1]
                place = f"  [{source.file}:{source.line}:{source.column}]" if self._linum else ""
                if source.text:
                    rows.append(Row(SOURCE, f"; {source.text}{place}"))
            text = f"{slot:5}: {self._texts[index]}"
            rows.append(Row(INSTRUCTION, text, self._target(index, slot)))
            if self._opcodes:
                size = 16 if listing.data[8 * slot] == 0x18 else 8
                data = listing.data[8 * slot : 8 * slot + size]
                rows.append(Row(BYTES, f"       {data.hex(' ')}"))
        return rows, last

    def _target(self, index: int, slot: int) -> int | None:
        insn = self._listing.insns[index]
        if insn.op & 7 not in (5, 6) or insn.op in (0x95, 0x9D, 0x0D):
            return None
        if insn.op & 0xF0 == 0x80:
            return slot + 1 + insn.off if insn.src == BPF_PSEUDO_CALL else None
        return slot + 1 + (insn.imm if insn.op == 0x06 else insn.off)


def _assign(routes: list[Route]) -> int:
    # The shortest routes get the inner lanes; returns how many lanes there are.
    lanes: list[list[tuple[float, float]]] = []
    for route in sorted(routes, key=lambda one: one.span[1] - one.span[0]):
        first, last = route.span
        free = [
            number
            for number, taken in enumerate(lanes)
            if all(last < start or end < first for start, end in taken)
        ]
        if not free:
            free = [len(lanes)]
            lanes.append([])
        route.lane = free[0]
        lanes[route.lane].append((first, last))
    return len(lanes)

"""Control flow as SVG and HTML: against the instructions and edges of the program drawn."""

from __future__ import annotations

import re
import time
import xml.etree.ElementTree as ET

import pytest

from bpflens.asm.assemble import assemble
from bpflens.asm.disassemble import disassemble
from bpflens.asm.instruction import encode, slots
from bpflens.bpftool import picture
from bpflens.bpftool.picture_layout import Layout

SVG = "{http://www.w3.org/2000/svg}"

LOOP = """
    r1 = 10
again:
    r1 -= 1
    if r1 == 3 goto out
    if r1 != 0 goto again
    r0 = 1
    exit
out:
    r0 = 2
    exit
"""


class Line:
    def __init__(self, text, line):
        self.text, self.file, self.line, self.column = text, "a.c", line, 3


class FakeListing:
    """What the layout asks of a Listing, from a text of instructions."""

    def __init__(self, text, lines=(), prototypes=None):
        self.insns = assemble(text) if isinstance(text, str) else text
        self.at = slots(self.insns)
        self.data = encode(self.insns)
        self.prototypes = prototypes or {}
        self._lines = dict(lines)

    def texts(self):
        return disassemble(self.insns)

    def source_at(self, slot):
        found = [at for at in sorted(self._lines) if at <= slot]
        return (len(found) - 1, Line(self._lines[found[-1]], len(found))) if found else None


def drawn(listing, **options):
    layout = Layout(
        listing, opcodes=options.get("opcodes", False), linum=options.get("linum", False)
    )
    return layout, picture.svg(layout, "flow <of> x")


def test_every_instruction_stands_in_the_picture_once():
    listing = FakeListing(LOOP)
    _, text = drawn(listing)
    rows = [node.text for node in ET.fromstring(text.encode()).iter(f"{SVG}text")]
    expected = [f"{slot:5}: {one}" for slot, one in zip(listing.at, listing.texts(), strict=False)]
    assert [row for row in rows if re.match(r" *\d+:", row)] == expected


def test_loops_run_left_and_jumps_forward_right_of_the_boxes():
    layout, _ = drawn(FakeListing(LOOP))
    back = [route for route in layout.routes if route.back]
    forward = [route for route in layout.routes if not route.back]
    assert [(route.target.start, [box.start for box in route.sources]) for route in back] == [
        (1, [3])
    ]
    assert [(route.target.start, [box.start for box in route.sources]) for route in forward] == [
        (6, [1])
    ]
    assert layout.lane_x(back[0]) < layout.left
    assert layout.lane_x(forward[0]) > layout.left + layout.box_width


def test_blocks_that_leave_are_marked_and_do_not_fall_through():
    layout, text = drawn(FakeListing(LOOP))
    assert [(box.start, box.exits, box.falls) for box in layout.boxes] == [
        (0, False, True), (1, False, True), (3, False, True), (4, True, False), (6, True, False),
    ]  # fmt: skip
    assert text.count('class="x"') == 2


def test_source_lines_stand_where_they_begin_and_are_escaped():
    listing = FakeListing(LOOP, {0: "if (a < b && c)", 4: "return 1;"}, {0: "int f(void *p)"})
    _, text = drawn(listing, linum=True)
    rows = [node.text for node in ET.fromstring(text.encode()).iter(f"{SVG}text")]
    assert "int f(void *p)" in rows
    assert rows.index("; return 1;  [a.c:2:3]") == rows.index("    4: (b7) r0 = 1") - 1
    assert rows.count("; if (a < b && c)  [a.c:1:3]") == 3  # once for each block it is part of


def test_opcodes_stand_below_their_instruction():
    _, text = drawn(FakeListing("r0 = 7\nexit"), opcodes=True)
    assert "b7 00 00 00 07 00 00 00" in text


def test_links_lead_to_blocks_that_are_there():
    _, text = drawn(FakeListing(LOOP))
    names = set(re.findall(r'id="(b\d+)"', text))
    links = re.findall(r'href="#(b\d+)"', text)
    assert sorted(links) == ["b1", "b6"]
    assert set(links) <= names


@pytest.mark.parametrize("text", ["\x00\x1b[31m", "]]>", "é\u202e", "\udcff"])
def test_hostile_names_do_not_break_the_document(text):
    layout = Layout(FakeListing("r0 = 0\nexit", {0: text}), opcodes=False, linum=False)
    ET.fromstring(picture.svg(layout, text).encode("utf-8", "replace"))
    assert "<script>alert" not in picture.html(layout, "<script>alert(1)</script>")


def test_a_page_names_its_functions_and_needs_nothing_from_elsewhere():
    layout = Layout(FakeListing(LOOP, {}, {0: "int loop(void)"}), opcodes=False, linum=False)
    page = picture.html(layout, "loop")
    assert '<a href="#f0">int loop(void)</a>' in page
    assert "8 instructions, 5 blocks, 1 loops" in page
    assert not re.search(r'(src|href)="(?!#)', page)


def test_jumps_to_one_place_share_a_lane():
    text = "r1 = 0\n" + "if r1 == 5 goto out\n" * 40 + "out:\nr0 = 0\nexit\n"
    layout, _ = drawn(FakeListing(text))
    assert [route.lane for route in layout.routes] == [0]
    assert len(layout.routes[0].sources) >= 39


def test_lanes_of_routes_that_meet_differ():
    text = "".join(f"if r1 == {n} goto l{n}\n" for n in range(12))
    text += "".join(f"l{n}:\nr0 = {n}\n" for n in range(12)) + "exit\n"
    layout, _ = drawn(FakeListing(text))
    for one in layout.routes:
        for other in layout.routes:
            if one is not other and one.back == other.back and one.lane == other.lane:
                assert one.span[1] < other.span[0] or other.span[1] < one.span[0]


def test_four_thousand_instructions_are_drawn_quickly_and_stay_narrow():
    parts = [
        f"r1 += {n}\nr2 = r1\nif r2 == {n} goto out\nif r2 > 7 goto n{n}\nr3 = 1\nn{n}:\n"
        for n in range(800)
    ]
    listing = FakeListing("".join(parts) + "out:\nr0 = 0\nexit\n")
    assert len(listing.insns) > 4000
    began = time.process_time()
    layout, text = drawn(listing)
    assert time.process_time() - began < 3
    assert len(ET.fromstring(text.encode()).findall(f".//{SVG}text")) > 4000
    assert layout.width < 1200  # readable: it grows downwards only

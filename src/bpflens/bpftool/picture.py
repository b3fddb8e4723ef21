"""``prog dump xlated PROG visual file out.svg|out.html|out.dot``: the control flow as a picture.

SVG and HTML are drawn here, without Graphviz: one file that needs nothing else, with the source
lines beside the instructions, light or dark as the reader's system is. Calls and jumps are links;
in HTML there is a list of the functions, and pointing at a block lights up its jumps. ``.dot``
holds what ``visual`` alone prints.

Example::

    $ bpftool prog dump xlated id 756 visual linum file flow.html
"""

from __future__ import annotations

from bpflens.bpftool.picture_layout import CHAR, LINE, PAD, SOURCE, Layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from bpflens.bpftool.listing import Listing
    from bpflens.bpftool.picture_layout import Box, Frame, Route, Row
    from bpflens.bpftool.prog_dump import Wish

__all__ = ["html", "svg", "write"]

# Colours are written out, not kept in CSS variables: viewers other than browsers know none.
_LIGHT = {"paper": "#fff", "ink": "#1b1f24", "box": "#f6f8fa", "line": "#8c959f",
          "source": "#0a5a9c", "soft": "#6e7781", "jump": "#1a7f37", "back": "#cf222e",
          "exit": "#8250df"}  # fmt: skip
_DARK = {"paper": "#0d1117", "ink": "#e6edf3", "box": "#161b22", "line": "#545d68",
         "source": "#79c0ff", "soft": "#8b949e", "jump": "#3fb950", "back": "#ff7b72",
         "exit": "#bc8cff"}  # fmt: skip
_COLORS = """\
svg,body,header{{background:{paper};color:{ink}}}header{{border-color:{line}}}
header a{{color:{source}}}
text{{fill:{ink}}}text.s{{fill:{source}}}text.o{{fill:{soft}}}
rect{{fill:{box};stroke:{line}}}rect.x{{stroke:{exit}}}
path{{stroke:{line}}}path.j{{stroke:{jump}}}path.b{{stroke:{back}}}
.mf{{fill:{line}}}.mj{{fill:{jump}}}.mb{{fill:{back}}}
"""
_STYLE = (
    """\
text{font:12px ui-monospace,Menlo,Consolas,monospace;white-space:pre}
text.h{font-size:14px;font-weight:bold}
a text{text-decoration:underline}
rect{rx:4px}rect.x{stroke-width:2}
path{fill:none;stroke-width:1.3}path.b{stroke-dasharray:5 2}
.mf,.mj,.mb{stroke:none!important}
path.j:hover,path.b:hover,path.lit{stroke-width:3.5}
"""
    + _COLORS.format(**_LIGHT)
    + "@media(prefers-color-scheme:dark){\n"
    + _COLORS.format(**_DARK)
    + "}\n"
)
_PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>{title}</title>
<style>
body{{margin:0;font:14px system-ui,sans-serif}}
header{{position:sticky;top:0;border-bottom:1px solid;padding:6px 24px;\
max-height:30vh;overflow:auto}}
header a{{margin-right:1em;white-space:nowrap}}
:target rect{{stroke-width:3}}
g{{scroll-margin-top:31vh}}
{style}</style>
<header><b>{title}</b> &nbsp; {facts}<br>{links}</header>
<main style="overflow-x:auto">
{svg}</main>
<script>
const all = name => document.querySelectorAll("." + name);
for (const box of document.querySelectorAll("g[id^=b]")) {{
  const set = on => () => [...all("f" + box.id), ...all("t" + box.id)]
    .forEach(path => path.classList.toggle("lit", on));
  box.addEventListener("mouseenter", set(true));
  box.addEventListener("mouseleave", set(false));
}}
</script>
"""
_MARKERS = "".join(
    f'<marker id="{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
    f'orient="auto" markerUnits="userSpaceOnUse">'
    f'<path class="{name}" d="M0 0L8 4L0 8z"/></marker>'
    for name in ("mf", "mj", "mb")
)
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"})


def write(listing: Listing, wish: Wish, title: str) -> None:
    """Write the picture that the name of the file asks for."""
    from bpflens.bpftool.prog_dump import write_file

    if wish.file.endswith(".dot"):
        from bpflens.bpftool import graph

        parts: list[str] = []
        graph.write(parts.append, listing, opcodes=wish.opcodes, linum=wish.linum)
        text = "".join(parts)
    else:
        draw = svg if wish.file.endswith(".svg") else html
        text = draw(Layout(listing, opcodes=wish.opcodes, linum=wish.linum), title)
    write_file(wish.file, text.encode("utf-8", "replace"))


def svg(layout: Layout, title: str) -> str:
    """Return the picture as an SVG document."""
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + "".join(_svg(layout, title, _STYLE))


def html(layout: Layout, title: str) -> str:
    """Return the picture as a page."""
    count = sum(row.kind == "i" for box in layout.boxes for row in box.rows)
    loops = sum(route.back for route in layout.routes)
    facts = f"{count} instructions, {len(layout.boxes)} blocks, {loops} loops"
    links = "".join(
        f'<a href="#f{frame.start}">{_escaped(frame.title)}</a> ' for frame in layout.frames
    )
    drawn = "".join(_svg(layout, title, ""))
    return _PAGE.format(title=_escaped(title), style=_STYLE, facts=facts, links=links, svg=drawn)


def _svg(layout: Layout, title: str, style: str) -> Iterator[str]:
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{layout.width:.0f}" '
        f'height="{layout.height:.0f}" viewBox="0 0 {layout.width:.0f} {layout.height:.0f}">\n'
        f"<title>{_escaped(title)}</title>\n<defs>{_MARKERS}</defs>\n"
    )
    if style:
        yield f"<style>\n{style}</style>\n"
    for route in layout.routes:
        yield from _route(layout, route)
    known = {box.start for box in layout.boxes}
    for frame in layout.frames:
        yield from _frame(layout, frame, known)
    yield "</svg>\n"


def _route(layout: Layout, route: Route) -> Iterator[str]:
    # From the last row of each source along the lane to the first row of the target.
    side = layout.left if route.back else layout.left + layout.box_width
    lane = layout.lane_x(route)
    end = route.target.top + PAD + LINE / 2
    kind = "b" if route.back else "j"
    for source in route.sources:
        start = source.bottom - PAD - LINE / 2
        yield (
            f'<path class="{kind} fb{source.start} tb{route.target.start}" '
            f'd="M{side:.0f} {start:.0f}H{lane:.0f}V{end:.0f}H{side:.0f}" '
            f'marker-end="url(#m{kind})"><title>{source.start} to {route.target.start}</title>'
            "</path>\n"
        )


def _frame(layout: Layout, frame: Frame, known: set[int]) -> Iterator[str]:
    yield (
        f'<g id="f{frame.start}"><text class="h" x="{layout.left:.0f}" y="{frame.top + 18:.0f}">'
        f"{_escaped(frame.title)}</text></g>\n"
    )
    for number, box in enumerate(frame.boxes):
        yield from _box(layout, box, known)
        if box.falls and number + 1 < len(frame.boxes):
            middle = layout.left + 24
            below = frame.boxes[number + 1].top
            yield (
                f'<path d="M{middle:.0f} {box.bottom:.0f}V{below:.0f}" marker-end="url(#mf)"/>\n'
            )


def _box(layout: Layout, box: Box, known: set[int]) -> Iterator[str]:
    left = layout.left
    yield (
        f'<g id="b{box.start}"><rect{" class=" + chr(34) + "x" + chr(34) if box.exits else ""} '
        f'x="{left:.0f}" y="{box.top:.0f}" width="{layout.box_width:.0f}" '
        f'height="{box.bottom - box.top:.0f}"/>\n'
    )
    y = box.top + PAD + LINE - 4
    for row in box.rows:
        yield _row(row, left + PAD, y, layout.most, known)
        y += LINE
    yield "</g>\n"


def _row(row: Row, x: float, y: float, most: int, known: set[int]) -> str:
    text, whole = row.text, ""
    if len(text) > most:
        whole = f"<title>{_escaped(text)}</title>"
        text = text[: most - 1] + "…"
    kind = f' class="{row.kind}"' if row.kind != "i" else ""
    # Fonts differ in width; a row that would leave its box is drawn closer.
    tight = f' textLength="{len(text) * CHAR:.0f}"' if len(text) > most - 8 else ""
    if row.kind == SOURCE:
        tight += ' font-style="italic"'
    drawn = f'<text{kind} x="{x:.0f}" y="{y:.0f}"{tight}>{whole}{_escaped(text)}</text>'
    if row.target is not None and row.target in known:
        drawn = f'<a href="#b{row.target}">{drawn}</a>'
    return drawn + "\n"


def _escaped(text: str) -> str:
    # Characters that XML cannot hold at all become the replacement character.
    if not text.isprintable():
        text = "".join(one if one.isprintable() else "\ufffd" for one in text.replace("\t", "    "))
    return text.translate(_ESCAPES)

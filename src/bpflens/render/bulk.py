"""Big maps of plain shapes, printed many entries at a time.

Keys of integers and zero-padded strings with one number as the value are by far the most common
big maps. They are unpacked by one ``struct`` walk, sorted as tuples, and formatted a thousand at a
time by one ``%``, which is several times faster than entry by entry. Every other shape is left to
:mod:`bpflens.render.map`.

Example::

    lines(schema, data)         # b'@[1]: 5\\n@[2]: 9\\n...', or None for other shapes
"""

from __future__ import annotations

from itertools import chain, islice
from struct import iter_unpack

from bpflens.lang.types import (
    COMM_SIZE,
    Avg,
    Count,
    Int,
    Max,
    Min,
    Record,
    String,
    Sum,
    Tuple,
    Type,
)
from bpflens.render import map

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from bpflens.lang.program import MapSchema
    from bpflens.render.map import MapData

__all__ = ["lines"]

_BATCH = 1024
_CODES = {1: "b", 2: "h", 4: "i", 8: "q"}


def lines(schema: MapSchema, data: MapData, top: int = 0) -> bytes | None:
    """Return all lines of a map in printing order, or None where its shape is not plain."""
    kind = map.key_type(schema, data)
    if kind is None or not isinstance(schema.value, (Int, Count, Sum, Min, Max, Avg)):
        return None
    layout = _layout(kind, data.key_size)
    if layout is None:
        return None
    codes, template, strings = layout
    keys = list(iter_unpack(codes, data.keys))
    if any(key[i][-1] for i in strings for key in keys):
        return None
    rows = sorted(zip(map.numbers(schema.value, data), keys, strict=True))
    if top:
        rows = rows[-top:]
    line = schema.name.encode() + b"[" + template + b"]: %d\n"
    text = _format(line, ((*key, number) for number, key in rows), len(rows))
    return text.translate(None, b"\0") if b"%s" in template else text


def _layout(kind: Type, size: int) -> tuple[str, bytes, list[int]] | None:
    # Return the struct codes of a key, its template, and which items show it if they were cut: of
    # all texts, only the name of a task never is.
    if isinstance(kind, Record):
        return None
    items = list(kind.items) if isinstance(kind, Tuple) else [kind]
    offsets = kind.offsets if isinstance(kind, Tuple) else [0]
    codes, parts, cut_strings, at = "<", [], [], 0
    for i, (item, offset) in enumerate(zip(items, offsets, strict=True)):
        codes += "x" * (offset - at)
        if isinstance(item, Int):
            code = _CODES[item.size]
            codes += code if item.signed else code.upper()
            parts.append(b"%d")
        elif isinstance(item, String) and item.size:
            codes += f"{item.size}s"
            parts.append(b"%s")
            if not item.complete and item.size != COMM_SIZE:
                cut_strings.append(i)
        else:
            return None
        at = offset + item.size
    return codes + "x" * (size - at), b", ".join(parts), cut_strings


def _format(line: bytes, rows: Iterable[tuple[object, ...]], count: int) -> bytes:
    out, rows = [], iter(rows)
    whole = line * _BATCH
    for first in range(0, count, _BATCH):
        size = min(_BATCH, count - first)
        template = whole if size == _BATCH else line * size
        out.append(template % tuple(chain.from_iterable(islice(rows, size))))
    return b"".join(out)

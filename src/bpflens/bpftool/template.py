"""Many records of one layout → text, fast: a template and columns of values.

A :class:`Template` is compiled once for a layout: the text of one record with places for values,
and for each place where its bytes are and what becomes of them. Records are then formatted a
thousand at a time: one ``struct.unpack``, one ``%``, no Python code per record but for values
that need words (enumerators, text).

Example::

    template = Template(4, 8)
    template.text("key: ")
    template.hex(KEY, 0, 4)
    template.text("\\n")
    "".join(template.rows(keys, values, count))
"""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Convert = Callable[[object], object]

__all__ = ["KEY", "VALUE", "Template", "hex_lines"]

KEY, VALUE = 0, 1

_CHUNK = 1024
_CHUNK_BYTES = 1 << 20


def hex_lines(data: bytes) -> str:
    """Return bytes as bpftool prints them: 16 in a line, two spaces after 8."""
    if len(data) <= 8:
        return data.hex(" ")
    lines = []
    for at in range(0, len(data), 16):
        row = data[at : at + 16].hex(" ")
        lines.append(row if len(row) < 24 else f"{row[:23]}  {row[24:]}")
    return "\n".join(lines)


class _Place:
    # One value of a record: where it is, how it is unpacked, what is made of it.
    __slots__ = ("code", "convert", "json_hex", "offset", "size", "source")

    def __init__(
        self, source: int, offset: int, code: str, convert: Convert | None, json_hex: bool = False
    ) -> None:
        self.source = source
        self.offset = offset
        self.code = code
        self.size = struct.calcsize("=" + code)
        self.convert = convert
        self.json_hex = json_hex


class _Pass:
    # Values of one source that do not overlap, unpacked together.
    __slots__ = ("format", "places", "source")

    def __init__(self, source: int, stride: int, places: list[tuple[int, _Place]]) -> None:
        self.source = source
        self.places = places
        parts, at = [], 0
        for _, place in places:
            parts.append(f"{place.offset - at}x" if place.offset > at else "")
            parts.append(place.code)
            at = place.offset + place.size
        parts.append(f"{stride - at}x" if stride > at else "")
        self.format = "".join(parts)


class Template:
    """The text of one record and the places of its values.

    ``head`` stands in front of every record (the comma between two of them).
    """

    __slots__ = ("_passes", "_places", "_strides", "_text", "head")

    def __init__(self, key_stride: int, value_stride: int) -> None:
        self.head = ""
        self._strides = (key_stride, value_stride)
        self._text: list[str] = []
        self._places: list[_Place] = []
        self._passes: list[_Pass] | None = None

    def text(self, text: str) -> None:
        """Add text that is the same in every record."""
        self._text.append(text.replace("%", "%%"))

    def place(self, source: int, offset: int, code: str, convert: Convert | None = None) -> None:
        """Add a value: ``code`` is its struct format, ``convert`` makes it what is printed."""
        self._text.append("%s")
        self._places.append(_Place(source, offset, code, convert))

    def hex(self, source: int, offset: int, size: int) -> None:
        """Add bytes in hexadecimal, as :func:`hex_lines`."""
        self.place(source, offset, f"{size}s", hex_lines)  # type: ignore[arg-type]

    def json_hex(self, source: int, offset: int, size: int) -> None:
        """Add bytes as the strings of a JSON array, without its brackets."""
        if not size:
            return
        self._text.append('"0x%s"')
        self._places.append(_Place(source, offset, f"{size}s", _json_hex, True))

    def _compiled(self) -> list[_Pass]:
        passes: list[_Pass] = []
        for source in (KEY, VALUE):
            rest = [(at, place) for at, place in enumerate(self._places) if place.source == source]
            rest.sort(key=lambda pair: pair[1].offset)
            while rest:
                chosen: list[tuple[int, _Place]] = []
                left: list[tuple[int, _Place]] = []
                end = 0
                for pair in rest:
                    if pair[1].offset >= end:
                        chosen.append(pair)
                        end = pair[1].offset + pair[1].size
                    else:
                        left.append(pair)
                passes.append(_Pass(source, self._strides[source], chosen))
                rest = left
        return passes

    def rows(
        self, keys: memoryview | bytes, values: memoryview | bytes, count: int
    ) -> Iterator[str]:
        """Yield the text of ``count`` records, many records in a piece."""
        if self._passes is None:
            self._passes = self._compiled()
        text = self.head.replace("%", "%%") + "".join(self._text)
        width = sum(self._strides) + len(text)
        chunk = max(1, min(_CHUNK, _CHUNK_BYTES // (width or 1)))
        structs: dict[int, list[struct.Struct]] = {}
        sources = (keys, values)
        for at in range(0, count, chunk):
            k = min(chunk, count - at)
            if k not in structs:
                structs[k] = [struct.Struct("=" + one.format * k) for one in self._passes]
            total: list[object] = [None] * (k * len(self._places))
            for form, one in zip(structs[k], self._passes, strict=True):
                source = sources[one.source]
                self._fill(total, one, form, source, at * self._strides[one.source], k)
            yield (text * k) % tuple(total)

    def _fill(
        self, total: list[object], one: _Pass, form: struct.Struct, source: memoryview | bytes,
        start: int, k: int,
    ) -> None:  # fmt: skip
        width = len(self._places)
        stride = self._strides[one.source]
        if len(one.places) == 1 and one.places[0][1].size == stride:
            target, place = one.places[0]
            if place.json_hex or (place.convert is hex_lines and stride <= 8):
                data = bytes(source[start : start + k * stride])
                total[target::width] = _sliced(data, stride, place.json_hex)
                return
        flat: Sequence[object] = form.unpack_from(source, start)
        step = len(one.places)
        for at, (target, place) in enumerate(one.places):
            column = flat[at::step] if step > 1 else flat
            total[target::width] = column if place.convert is None else map(place.convert, column)


def _json_hex(data: object) -> str:
    return data.hex(" ").replace(" ", '","0x')  # type: ignore[attr-defined, no-any-return]


def _sliced(data: bytes, stride: int, json: bool) -> list[str]:
    # The hexadecimal text of all records at once, cut into records.
    text = _json_hex(data) if json else data.hex(" ")
    wide = 7 if json else 3
    step, width = wide * stride, wide * stride - (wide - 2)
    return [text[at : at + width] for at in range(0, len(text), step)]

"""Output as text, the way bpftrace prints it.

:class:`TextRenderer` turns events, maps and messages into bytes; it writes nothing itself.
:class:`bpflens.render.json.JsonRenderer` has the same methods.
"""

from __future__ import annotations

from bpflens.lang.types import Avg, Hist, LHist, Stats, TSeries
from bpflens.render import bulk, histogram, map, value
from bpflens.render.aggregate import Summary
from bpflens.render.printf import compile_format

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from bpflens.lang.program import CompiledProgram, EventSchema, MapSchema
    from bpflens.render.map import Entry, MapData
    from bpflens.render.printf import Formatter
    from bpflens.render.resolver import Resolver

__all__ = ["TextRenderer", "encode"]


def encode(shown: str) -> bytes:
    """Encode output; bytes that were not UTF-8 come out as they came in."""
    return shown.encode("utf-8", "surrogateescape")


class TextRenderer:
    """Renders what one compiled script produces. ``compat`` is ``"0.17"`` or ``"0.26"``."""

    def __init__(self, program: CompiledProgram, resolver: Resolver, compat: str = "") -> None:
        self.program = program
        self.resolver = resolver
        self.compat = compat
        self.trailer = str(program.config.get("str_trunc_trailer", ".."))
        # Another order of the entries of maps (see map.entries), where one was asked for.
        self.order = ""
        # Debian's 0.17 ends a histogram's first line in a blank, and maps of averages in a line.
        self._blank = " " if compat == "0.17" else ""
        self._formatters: dict[int, Formatter] = {}

    # events

    def printf(
        self, number: int, block: bytes | memoryview, base: int, stride: int, count: int
    ) -> bytes:
        """Format a run of records of one printf, each ``base`` bytes into its ``stride``."""
        found = self._formatters.get(number)
        if found is None:
            schema = self.program.events[number]
            found = self._formatters[number] = compile_format(schema, self.resolver, self.trailer)
        return found(block, base, stride, count)

    def raw(self, kind: str, data: bytes) -> bytes:
        """Render text made elsewhere (time, cat, join, system)."""
        return data

    def value(self, schema: EventSchema, record: bytes | memoryview) -> bytes:
        """Render ``print(value)``."""
        return encode(value.text(self.read(schema, record, 0)) + "\n")

    def read(self, schema: EventSchema, record: bytes | memoryview, index: int) -> object:
        """Read one field of a record."""
        field = schema.fields[index]
        return value.reader(field.type, self.resolver, self.trailer)(record, field.offset)

    # maps

    def map(self, schema: MapSchema, data: MapData, top: int = 0, div: int = 0) -> bytes:
        """Render a whole map; the last ``top`` entries of its order, values divided by ``div``."""
        extra = self.compat == "0.17" and (not data.keys or isinstance(schema.value, (Avg, Stats)))
        if div <= 1 and not extra and not self.order:
            plain = bulk.lines(schema, data, top)
            if plain is not None:
                return plain
        found = map.entries(schema, data, self.resolver, self.trailer, self.order)
        if top and schema.key is not None:
            found = found[-top:]
        name, kind = schema.name, schema.value
        if isinstance(kind, TSeries):
            return encode(self._series(name, kind, found))
        shown = "".join(self._entry(name, kind, key, item, div) for key, item in found)
        return encode(shown + "\n" if extra else shown)

    def map_item(self, schema: MapSchema, data: MapData) -> bytes:
        """Render ``print(@m[key])`` of an aggregate."""
        return self.map(schema, data)

    def _entry(self, name: str, kind: object, key: object, item: object, div: int) -> str:
        label = name if key is None else f"{name}[{map.key_text(key)}]"
        if isinstance(kind, (Hist, LHist)):
            assert isinstance(item, list)
            counts = item if div <= 1 or isinstance(kind, LHist) else [c // div for c in item]
            return f"{label}:{self._blank}\n{histogram.lines(histogram.buckets(kind, counts))}\n"
        return f"{label}: {self._item(item, div)}\n"

    def _series(self, name: str, kind: TSeries, found: Sequence[Entry]) -> str:
        from bpflens.render import series

        newest = series.newest_epoch(item for _, item in found)
        out = []
        for key, item in found:
            assert isinstance(item, dict)
            label = name if key is None else f"{name}[{map.key_text(key)}]"
            out.append(f"{label}:\n{series.lines(kind, item, newest, self.resolver)}\n")
        return "".join(out)

    def _item(self, item: object, div: int) -> str:
        if isinstance(item, Summary):
            if self.compat == "0.17":
                return f"count {item.count}, average {item.average}, total {item.total}"
            return f"{{ .count = {item.count}, .average = {item.average}, .total = {item.total} }}"
        if div > 1 and isinstance(item, int) and not isinstance(item, bool):
            quotient = abs(item) // div
            return str(-quotient if item < 0 else quotient)
        return value.text(item)

    # messages

    def attached(self, count: int) -> bytes:
        """Render the start message."""
        plural = "" if count == 1 else "s"
        if self.compat == "0.26":
            return f"Attached {count} probe{plural}\n".encode()
        return f"Attaching {count} probe{plural}...\n".encode()

    def lost(self, count: int) -> bytes:
        """Render that events were lost since the last such message."""
        return f"Lost {count} events\n".encode()

    def total_lost(self, count: int) -> bytes:
        """Render how many events the whole run lost."""
        return f"WARNING: Total lost event count: {count}\n".encode()

    def problem(self, schema: EventSchema, severity: str, message: str, code: int | None) -> bytes:
        """Render a run-time complaint with its place in the script."""
        if schema.place is None:
            return encode(f"{severity}: {message}\n")
        file, line, column, end, source = schema.place
        shown = f"{file}:{line}:{column}-{end}: {severity}: {message}\n"
        if code is not None:
            shown += f"Additional Info - helper: {schema.helper}, retcode: {code}\n"
        if schema.action in ("errorf", "warnf"):
            return encode(shown)
        before = source[: column - 1].replace("\t", "    ")
        marked = source[column - 1 : end - 1].replace("\t", "    ")
        source = source.replace("\t", "    ")
        return encode(f"{shown}{source}\n{' ' * len(before)}{'~' * max(len(marked), 1)}\n")

    @property
    def shows_empty_maps(self) -> bool:
        """Whether a map without entries leaves a trace at the end of a run."""
        return self.compat == "0.17"

    @property
    def separates_maps(self) -> bool:
        """Whether empty lines come before and between the maps at the end."""
        return True

"""Output as JSON, one object a line, in bpftrace's shapes."""

from __future__ import annotations

from bpflens.lang.types import Avg, Hist, LHist, TSeries
from bpflens.render import histogram, map, value
from bpflens.render.aggregate import Summary
from bpflens.render.text import TextRenderer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from bpflens.lang.program import EventSchema, MapSchema
    from bpflens.lang.types import Type
    from bpflens.render.map import Entry, MapData

__all__ = ["JsonRenderer", "dump", "plain"]

# Integers beyond this are not exact in the doubles that many readers of JSON use.
_EXACT = 1 << 53


def _line(kind: str, **fields: object) -> bytes:
    return (dump({"type": kind, **fields}) + "\n").encode("utf-8", "replace")


_ESCAPES = {code: f"\\u{code:04x}" for code in range(32)}
_ESCAPES |= {ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t", 34: '\\"', 92: "\\\\"}


def dump(item: object) -> str:
    """Write a value with the reference's spaces: behind ``:`` and between fields, not in arrays."""
    if isinstance(item, str):
        return f'"{item.translate(_ESCAPES)}"'
    if item is None:
        return "null"
    if isinstance(item, bool):
        return "true" if item else "false"
    if isinstance(item, dict):
        return f"{{{', '.join(f'{dump(name)}: {dump(part)}' for name, part in item.items())}}}"
    if isinstance(item, (list, tuple)):
        return f"[{','.join([dump(part) for part in item])}]"
    return str(item)


class JsonRenderer(TextRenderer):
    """Same methods as the text renderer, JSON lines as their result."""

    def printf(
        self, number: int, block: bytes | memoryview, base: int, stride: int, count: int
    ) -> bytes:
        """Render a run of records, one object each."""
        out = []
        for i in range(count):
            record = block[i * stride : (i + 1) * stride]
            out.append(self.raw("printf", super().printf(number, record, base, stride, 1)))
        return b"".join(out)

    def raw(self, kind: str, data: bytes) -> bytes:
        """Render text made elsewhere."""
        text = data.decode("utf-8", "replace")
        if kind == "join":
            text = text.removesuffix("\n")
        return _line(_RAW_TYPES.get(kind, kind), data=text)

    def value(self, schema: EventSchema, record: bytes | memoryview) -> bytes:
        """Render ``print(value)``."""
        return _line("value", data=plain(self.read(schema, record, 0)))

    def map(self, schema: MapSchema, data: MapData, top: int = 0, div: int = 0) -> bytes:
        """Render a whole map."""
        found = map.entries(schema, data, self.resolver, self.trailer, self.order)
        if top and schema.key is not None:
            found = found[-top:]
        if not found:
            return b""
        kind = schema.value
        if isinstance(kind, TSeries):
            return self._series_line(schema, kind, found)
        if schema.key is None:
            shown = self._plain_item(kind, found[0][1], div)
        else:
            shown = {_key(key): self._plain_item(kind, item, div) for key, item in found}
        return _line(_map_type(kind), data={schema.name: shown})

    def _series_line(self, schema: MapSchema, kind: TSeries, found: Sequence[Entry]) -> bytes:
        from bpflens.render import series

        newest = series.newest_epoch(item for _, item in found)
        shown = {}
        for key, item in found:
            assert isinstance(item, dict)
            points = series.json_points(kind, item, newest, self.resolver)
            if schema.key is None:
                return _line("tseries", data={schema.name: points})
            shown[_key(key)] = points
        return _line("tseries", data={schema.name: shown})

    def _plain_item(self, kind: Type, item: object, div: int) -> object:
        if isinstance(kind, (Hist, LHist)):
            assert isinstance(item, list)
            counts = item if div <= 1 or isinstance(kind, LHist) else [c // div for c in item]
            return histogram.json_buckets(histogram.buckets(kind, counts))
        if isinstance(item, Summary):
            return {"count": item.count, "average": item.average, "total": item.total}
        if div > 1 and isinstance(item, int):
            quotient = abs(item) // div
            return -quotient if item < 0 else quotient
        return plain(item)

    def attached(self, count: int) -> bytes:
        """Render the start message."""
        if self.compat == "0.17":
            return _line("attached_probes", data={"probes": count})
        return _line("attached_probes", count=count, data={"probes": count})

    def lost(self, count: int) -> bytes:
        """Render that events were lost."""
        if self.compat == "0.17":
            return _line("lost_events", data={"events": count})
        return _line("lost_events", count=count, data={"events": count})

    def total_lost(self, count: int) -> bytes:
        """Nothing: each loss was reported when it happened."""
        return b""

    def problem(self, schema: EventSchema, severity: str, message: str, code: int | None) -> bytes:
        """Render a run-time complaint."""
        place: dict[str, object] = {}
        if schema.place is not None:
            file, line, column, _, _ = schema.place
            place = {"filename": file, "line": line, "col": column}
        if schema.action in ("errorf", "warnf"):
            return _line(schema.action, msg=message, **place)
        if code is not None:
            return _line("helper_error", msg=message, helper=schema.helper, retcode=code, **place)
        return _line("runtime_error", msg=message, **place)

    @property
    def shows_empty_maps(self) -> bool:
        """JSON shows nothing for them."""
        return False

    @property
    def separates_maps(self) -> bool:
        """JSON lines stand alone."""
        return False


# What the reference calls the output of system().
_RAW_TYPES = {"system": "syscall"}


def _map_type(kind: Type) -> str:
    if isinstance(kind, Avg):
        return "stats"
    if isinstance(kind, (Hist, LHist)):
        return "hist"
    name = type(kind).__name__.lower()
    return name if name in ("stats", "tseries") else "map"


def _key(key: object) -> str:
    if isinstance(key, tuple):
        return ",".join(_key(item) for item in key)
    return value.text(key)


def plain(item: object) -> object:
    """Return what JSON shows for a value."""
    if isinstance(item, bool) or item is None:
        return item
    if isinstance(item, int):
        return item if -_EXACT <= item <= _EXACT else _exact(item)
    if isinstance(item, value.Symbolic):
        return item.text if item.is_symbol else item.number
    if isinstance(item, (tuple, list)):
        return [plain(part) for part in item]
    if isinstance(item, dict):
        return {name: plain(part) for name, part in item.items()}
    if isinstance(item, bytes):
        return list(item)
    return value.text(item)


def _exact(number: int) -> object:
    # As the reference does: a number that a double cannot hold travels as text.
    return number if int(float(number)) == number else str(number)

"""Maps: from the bytes read out of the kernel to ordered entries, then to text or JSON.

Big maps are the common case to be fast at: keys and values arrive as two blocks of bytes, simple
shapes are unpacked many at once, and whole outputs are built by joining.
"""

from __future__ import annotations

from struct import Struct as Packer
from struct import iter_unpack

from bpflens.lang.types import (
    Aggregate,
    Avg,
    Count,
    Hist,
    Int,
    LHist,
    Max,
    Min,
    Stats,
    String,
    Sum,
    Type,
)  # fmt: skip
from bpflens.render import aggregate, value
from bpflens.render.resolver import Resolver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from bpflens.lang.program import MapSchema

    Entry = tuple[object, object]

__all__ = ["MapData", "entries", "is_set", "key_text", "key_type", "numbers"]

_CODES = {1: "b", 2: "h", 4: "i", 8: "q"}


class MapData:
    """Raw entries of one map.

    ``keys`` and ``values`` are the entries' bytes one behind the other, ``key_size`` and
    ``value_size`` bytes each; a per-CPU map has ``cpus`` values of ``value_size`` bytes an entry.
    """

    __slots__ = ("cpus", "key_size", "keys", "value_size", "values")

    def __init__(
        self, keys: bytes, values: bytes, key_size: int, value_size: int, cpus: int = 1
    ) -> None:
        self.keys = keys
        self.values = values
        self.key_size = key_size
        self.value_size = value_size
        self.cpus = cpus

    def __len__(self) -> int:
        return len(self.keys) // self.key_size if self.key_size else 0


def is_set(schema: MapSchema, data: MapData) -> bool:
    """Whether a scalar map was ever assigned (a keyed map: whether it has entries)."""
    if schema.key is not None:
        return len(data) > 0
    if isinstance(schema.value, Aggregate):
        return not aggregate.is_empty(schema.value, _slots(schema.value, data, 0))
    offset = schema.set_offset
    return offset < 0 or any(data.values[offset : offset + 8])


def entries(
    schema: MapSchema, data: MapData, resolver: Resolver, trailer: str = "..", order: str = ""
) -> list[Entry]:
    """Return ``(key, value)`` pairs in printing order; keys are None for a scalar map.

    ``order`` asks for another one: "key" or "value", with "-" in front from high to low.
    """
    keys = _keys(key_type(schema, data), data, resolver, trailer)
    found = list(zip(keys, _values(schema.value, data, resolver, trailer), strict=True))
    if schema.key is not None and len(found) > 1:
        by_key = order.endswith("key")
        found.sort(key=_by_key if by_key else _order(schema, order != ""))
        if order.startswith("-"):
            found.reverse()
    return found


def key_type(schema: MapSchema, data: MapData) -> Type | None:
    """Return the type of the keys as they are in ``data``: short texts may come in short keys."""
    if isinstance(schema.key, String) and data.key_size < schema.key.size:
        return String(data.key_size)
    return schema.key


def _keys(kind: Type | None, data: MapData, resolver: Resolver, trailer: str) -> list[object]:
    if kind is None:
        return [None]
    if isinstance(kind, Int) and kind.size == 8:
        return [key for (key,) in iter_unpack("<q" if kind.signed else "<Q", data.keys)]
    read, size = value.reader(kind, resolver, trailer), data.key_size
    return [read(data.keys, at) for at in range(0, len(data.keys), size)]


def _values(kind: Type, data: MapData, resolver: Resolver, trailer: str) -> list[object]:
    count = max(len(data), 1) if data.key_size else 1
    if isinstance(kind, Aggregate):
        return _aggregates(kind, data, count)
    stride = data.value_size * data.cpus
    read = value.reader(kind, resolver, trailer)
    if isinstance(kind, Int) and kind.size == 8 and stride == 8:
        return [item for (item,) in iter_unpack("<q" if kind.signed else "<Q", data.values)]
    return [read(data.values, at * stride) for at in range(count)]


def numbers(kind: Type, data: MapData) -> list[int]:
    """Return the values of a map of integers or of aggregates that are one number."""
    if isinstance(kind, Count):
        # One slot a CPU: a row of the block is all there is to add up.
        return [sum(row) for row in iter_unpack(f"<{data.cpus}Q", data.values)]
    if isinstance(kind, Int) and data.cpus == 1 and kind.size == data.value_size:
        code = _CODES[kind.size]
        return [
            n for (n,) in iter_unpack("<" + (code if kind.signed else code.upper()), data.values)
        ]
    found = _values(kind, data, Resolver(), "")
    return [number for number in found if isinstance(number, int)]


def _aggregates(kind: Aggregate, data: MapData, count: int) -> list[object]:
    if isinstance(kind, Count):
        return list(numbers(kind, data))
    return [aggregate.merge(kind, _slots(kind, data, i)) for i in range(count)]


def _slots(kind: Aggregate, data: MapData, index: int) -> list[tuple[int, ...]]:
    packer = Packer(f"<{kind.slots}Q")
    start = index * data.value_size * data.cpus
    return [
        packer.unpack_from(data.values, start + cpu * data.value_size) for cpu in range(data.cpus)
    ]


def _by_key(entry: Entry) -> Any:
    return _comparable(entry[0])


def _order(schema: MapSchema, by_value: bool = False) -> Callable[[Entry], Any]:
    kind = schema.value
    if isinstance(kind, (Count, Sum, Min, Max, Avg, Int)):
        return lambda entry: (entry[1], _comparable(entry[0]))
    if isinstance(kind, (Stats, Hist, LHist)):
        return lambda entry: (aggregate.sort_weight(kind, entry[1]), _comparable(entry[0]))
    if by_value:
        return lambda entry: (value.text(entry[1]), _comparable(entry[0]))
    return _by_key


def _comparable(key: object) -> object:
    if isinstance(key, (int, str)):
        return key
    if isinstance(key, value.Symbolic):
        return key.number
    if isinstance(key, tuple):
        return tuple(map(_comparable, key))
    if isinstance(key, dict):
        return tuple(map(_comparable, key.values()))
    return value.text(key)


def key_text(key: object) -> str:
    """Write a key as it stands between the brackets: a tuple without its parentheses."""
    if isinstance(key, tuple):
        return ", ".join(map(value.text, key))
    return value.text(key)

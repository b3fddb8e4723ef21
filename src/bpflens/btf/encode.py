"""Python values to the bytes of a BTF type: the way back from :mod:`bpflens.btf.decode`.

=====================  ==================================================================
integer, pointer       ``int`` or ``bool`` that fits
enum                   ``int`` that fits, or the name of one of its values
float                  ``int`` or ``float``
array of ``char``      ``str`` that fits (its NUL may be left out if it just fits)
other array            list or tuple, of at most as many elements
struct, union          ``dict`` by name, also those inside anonymous members; or a tuple in order
any type               ``bytes`` of exactly its size, taken as they are
=====================  ==================================================================

What is not given is zero. A value that does not fit raises :class:`~bpflens.errors.FormatError`
that names the member: nothing is ever cut short.

Example::

    encode(btf, btf.find("flow_key"), {"saddr": 0x0100007F, "dport": 443})
"""

from __future__ import annotations

import struct
import sys

from bpflens.btf.types import Array, Datasec, Enum, Float, Int, Member, Ptr, Struct, Var
from bpflens.errors import FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from bpflens.btf.reader import Btf
    from bpflens.btf.types import Type

__all__ = ["encode"]

_MAX_DEPTH = 32
_MAX_SIZE = 1 << 26  # larger than any map value, smaller than what a damaged BTF may ask for


def encode(btf: Btf, id: int, value: object) -> bytes:
    """Return the bytes of the type ``id`` that mean ``value``."""
    found = btf.resolve(id)
    size = found.size if isinstance(found, Datasec) else btf.size_of(id)
    if size > _MAX_SIZE:
        raise FormatError("BTF", f"a type of {size} bytes is too large")
    order = sys.byteorder
    if btf.is_swapped:
        order = "big" if order == "little" else "little"
    writer = _Writer(btf, bytearray(size), order)
    writer.put(id, 0, value, btf.name(id), 0)
    return bytes(writer.out)


class _Writer:
    __slots__ = ("btf", "order", "out")

    def __init__(self, btf: Btf, out: bytearray, order: str) -> None:
        self.btf = btf
        self.out = out
        self.order = order

    def put(self, id: int, bit: int, value: object, where: str, depth: int) -> None:
        found = self.btf.resolve(id)
        if depth > _MAX_DEPTH:
            raise FormatError("BTF", "types are nested too deep", where)
        if isinstance(value, bytes | bytearray | memoryview):
            self.put_bytes(id, bit, bytes(value), where)
        elif isinstance(found, Var):
            self.put(found.type_id, bit, value, where, depth + 1)
        elif isinstance(found, Datasec):
            self.put_section(found, value, depth)
        elif isinstance(found, Struct):
            self.put_struct(found, bit, value, where, depth)
        elif isinstance(found, Array):
            self.put_array(found, bit, value, where, depth)
        elif isinstance(found, Float):
            self.put_float(found, bit, value, where)
        elif isinstance(found, Int):
            self.put_number(found, bit + found.bit_offset, found.bits, value, where)
        elif isinstance(found, Enum | Ptr):
            self.put_number(found, bit, self.btf.size_of(id) * 8, value, where)
        else:
            raise FormatError("BTF", f"{found.name or f'type {id}'} has no bytes", where)

    def put_bytes(self, id: int, bit: int, value: bytes, where: str) -> None:
        size = self.btf.size_of(id)
        if bit % 8 or len(value) != size:
            raise FormatError("value", f"{len(value)} bytes for {size}", where)
        self.out[bit // 8 : bit // 8 + size] = value

    def put_number(self, found: Type, bit: int, bits: int, value: object, where: str) -> None:
        if isinstance(value, str) and isinstance(found, Enum):
            value = _number_of(found, value, where)
        if not isinstance(value, int):
            raise FormatError("value", f"{value!r} is not a number", where)
        signed = bool(getattr(found, "is_signed", False))
        low, high = (-(1 << bits >> 1), (1 << bits >> 1) - 1) if signed else (0, (1 << bits) - 1)
        if isinstance(found, Int) and found.is_bool:
            high = 1
        if not low <= value <= high:
            raise FormatError("value", f"{value} is not between {low} and {high}", where)
        first, end = bit // 8, (bit + bits + 7) // 8
        if end > len(self.out):
            raise FormatError("BTF", "a member lies outside its struct", where)
        shift = bit - first * 8
        if self.order == "big":
            shift = (end - first) * 8 - shift - bits
        order: Literal["big", "little"] = "big" if self.order == "big" else "little"
        mask = (1 << bits) - 1
        old = int.from_bytes(self.out[first:end], order)
        new = old & ~(mask << shift) | (value & mask) << shift
        self.out[first:end] = new.to_bytes(end - first, order)

    def put_float(self, found: Float, bit: int, value: object, where: str) -> None:
        code = {2: "e", 4: "f", 8: "d"}.get(found.size)
        if code is None or bit % 8 or not isinstance(value, int | float):
            raise FormatError("value", f"{value!r} is no float of {found.size} bytes", where)
        try:
            data = struct.pack(("<" if self.order == "little" else ">") + code, value)
        except OverflowError:
            raise FormatError("value", f"{value} is too large", where) from None
        self.out[bit // 8 : bit // 8 + found.size] = data

    def put_array(self, found: Array, bit: int, value: object, where: str, depth: int) -> None:
        element = self.btf.resolve(found.type_id)
        if isinstance(value, str) and isinstance(element, Int) and element.size == 1:
            data = value.encode("utf-8", "surrogateescape")
            if len(data) > found.nr_elems:
                problem = f"{len(data)} bytes of text do not fit in {found.nr_elems}"
                raise FormatError("value", problem, where)
            self.out[bit // 8 : bit // 8 + len(data)] = data
            return
        if not isinstance(value, list | tuple):
            raise FormatError("value", f"{value!r} is not a list", where)
        if len(value) > found.nr_elems:
            problem = f"{len(value)} elements do not fit in {found.nr_elems}"
            raise FormatError("value", problem, where)
        step = self.btf.size_of(found.type_id) * 8
        for i, item in enumerate(value):
            self.put(found.type_id, bit + i * step, item, f"{where}[{i}]", depth + 1)

    def put_struct(self, found: Struct, bit: int, value: object, where: str, depth: int) -> None:
        if isinstance(value, tuple | list):
            items = list(_flat(self.btf, found, 0, 0))
            if len(value) > len(items):
                raise FormatError("value", f"{len(value)} values for {len(items)} members", where)
            pairs = list(zip(items, value, strict=False))
        elif isinstance(value, dict):
            places = {member.name: member for member in _flat(self.btf, found, 0, 0)}
            unknown = [key for key in value if key not in places]
            if unknown:
                raise FormatError("value", f"there is no member {unknown[0]!r}", where)
            pairs = [(places[key], item) for key, item in value.items()]
        else:
            raise FormatError("value", f"{value!r} is no dict of members", where)
        for member, item in pairs:
            inside = f"{where}.{member.name}" if where else member.name
            at = bit + member.bit_offset
            if member.bit_size:
                self.put_number(self.btf.resolve(member.type_id), at, member.bit_size, item, inside)
            else:
                self.put(member.type_id, at, item, inside, depth + 1)

    def put_section(self, found: Datasec, value: object, depth: int) -> None:
        if not isinstance(value, dict):
            raise FormatError("value", f"{value!r} is no dict of variables", found.name)
        places = {self.btf.name(item.type_id): item for item in found.vars}
        for key, item in value.items():
            if key not in places:
                raise FormatError("value", f"there is no variable {key!r}", found.name)
            self.put(places[key].type_id, places[key].offset * 8, item, key, depth + 1)


def _number_of(enum: Enum, name: str, where: str) -> int:
    for key, number in enum.values:
        if key == name:
            return number
    names = ", ".join(key for key, _ in enum.values[:8])
    raise FormatError("value", f"{name!r} is none of {names}", where)


def _flat(btf: Btf, found: Struct, base: int, depth: int) -> list[Member]:
    # The members with those of anonymous structs and unions in their places.
    if depth > 8:
        raise FormatError("BTF", "anonymous members are nested too deep", found.name)
    items: list[Member] = []
    for member in found.members:
        inner = btf.resolve(member.type_id)
        if not member.name and isinstance(inner, Struct):
            items += _flat(btf, inner, base + member.bit_offset, depth + 1)
            if len(items) > 65536:
                raise FormatError("BTF", "too many members", found.name)
        else:
            offset = base + member.bit_offset
            items.append(Member(member.name, member.type_id, offset, member.bit_size))
    return items

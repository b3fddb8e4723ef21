"""Bytes of a BTF type to Python values, by functions made for that type.

:func:`compile_decoder` looks at a type once and returns a function that turns its bytes into a
value; :func:`compile_batch` returns one for a block of many. What becomes of what:

===============================  ==========================================================
integer, pointer                 ``int`` (``_Bool``: ``bool``), bit-fields included
enum                             ``int``; with ``enum_names`` the name where there is one
float of 2, 4 or 8 bytes         ``float`` (``long double``: ``bytes``)
array of ``char``                ``str`` up to the first NUL, or what ``text`` makes of it
other array                      ``list``; a flexible one at the end takes the rest of the data
struct, union                    ``dict``, members of anonymous ones in their places;
                                 with ``as_tuple`` a ``tuple`` in the order of the members
section (``.bss``, ...)          ``dict`` by the names of the variables
===============================  ==========================================================

How: all plain members are read by one ``struct`` unpacking; members that lie on top of others
(unions) by a second, third, ...; the value is built by an expression that is generated as source.
Data shorter than the type raises :class:`~bpflens.errors.FormatError`, longer data is fine.

Example::

    decode = compile_decoder(btf, btf.find("flow_key"))
    decode(entry, 0)      # {'saddr': 16777226, 'daddr': ..., 'proto': 6}
"""

from __future__ import annotations

import struct
import sys

from bpflens.btf.encode import encode
from bpflens.btf.types import Array, Datasec, Enum, Float, Int, Ptr, Struct, Var
from bpflens.errors import FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from bpflens.btf.reader import Btf
    from bpflens.btf.types import Type

    # An expression before all leaves have their places: source text, and what will give some.
    Parts = list[str | Callable[[], str]]
    Data = bytes | bytearray | memoryview

__all__ = ["compile_batch", "compile_decoder", "decode_text", "encode"]

# Bounds that only damaged BTF reaches: nesting, members that become part of one expression, and
# how many of them lie on top of each other.
_MAX_DEPTH = 32
_MAX_LEAVES = 16384
_MAX_LAYERS = 512

_SIGNED = {1: "b", 2: "h", 4: "i", 8: "q"}
_UNSIGNED = {1: "B", 2: "H", 4: "I", 8: "Q"}
_FLOATS = {2: "e", 4: "f", 8: "d"}


def decode_text(data: bytes) -> str:
    """Return the text of a char array: up to the first NUL, wrong bytes replaced."""
    return data.partition(b"\0")[0].decode("utf-8", "replace")


def compile_decoder(
    btf: Btf,
    id: int,
    *,
    enum_names: bool = False,
    as_tuple: bool = False,
    text: Callable[[bytes], object] = decode_text,
) -> Callable[..., object]:
    """Return ``decode(data, offset=0)`` for the type ``id``.

    Raises :class:`FormatError` if the type has no bytes (void, a function) or is damaged.
    """
    plan = _Plan(btf, id, _Options(enum_names, as_tuple, text), 0)
    reads = "".join(f"        v{i} = u{i}(data, offset)\n" for i in range(len(plan.layers)))
    if plan.has_tail:
        reads += "        record = data[offset:]\n"
    source = (
        "def decode(data, offset=0):\n"
        "    try:\n"
        f"{reads}        return {plan.expression}\n"
        "    except error:\n"
        "        raise short(len(data) - offset) from None\n"
    )
    for i, layer in enumerate(plan.layers):
        plan.scope[f"u{i}"] = layer.unpack_from
    return plan.make(source)


def compile_batch(
    btf: Btf,
    id: int,
    stride: int = 0,
    *,
    enum_names: bool = False,
    as_tuple: bool = False,
    text: Callable[[bytes], object] = decode_text,
) -> Callable[[Data], list[object]]:
    """Return ``decode(block)``, which turns records of the type ``id`` into a list.

    Records are ``stride`` bytes apart (0 = the size of the type). A block that is no whole number
    of records raises :class:`FormatError`.
    """
    return _compile_batch(btf, id, stride, _Options(enum_names, as_tuple, text), 0)


def _compile_batch(
    btf: Btf, id: int, stride: int, options: _Options, depth: int
) -> Callable[[Data], list[object]]:
    plan = _Plan(btf, id, options, depth)
    stride = stride or plan.size
    if not 0 < plan.size <= stride:
        raise FormatError("BTF", f"records of {stride} bytes cannot hold {plan.title}")
    names = [f"v{i}" for i in range(len(plan.layers))]
    iterators = [f"u{i}(data)" for i in range(len(plan.layers))]
    if plan.has_tail or not names:
        names.append("record")
        iterators.append(f"[data[i : i + {stride}] for i in range(0, len(data), {stride})]")
    rows = iterators[0] if len(names) == 1 else f"zip({', '.join(iterators)})"
    source = (
        "def decode(data):\n"
        "    try:\n"
        f"        return [{plan.expression} for {', '.join(names)} in {rows}]\n"
        "    except error:\n"
        "        raise short(len(data)) from None\n"
    )
    for i, layer in enumerate(plan.layers):
        plan.scope[f"u{i}"] = _structure(f"{layer.format}{stride - layer.size}x").iter_unpack
    return plan.make(source)


def _structure(format: str) -> struct.Struct:
    try:
        return struct.Struct(format)
    except struct.error:
        raise FormatError("BTF", "a type is too large") from None


class _Options:
    __slots__ = ("as_tuple", "enum_names", "text")

    def __init__(self, enum_names: bool, as_tuple: bool, text: Callable[[bytes], object]) -> None:
        self.enum_names = enum_names
        self.as_tuple = as_tuple
        self.text = text


class _Leaf:
    # A piece that struct unpacks: ``count`` values of the letter ``code``, or one of bytes ("s").
    __slots__ = ("code", "count", "first", "is_bits", "layer", "offset", "size")

    def __init__(self, offset: int, code: str, count: int, size: int) -> None:
        self.offset = offset
        self.code = code
        self.count = count
        self.size = size
        self.is_bits = False
        self.layer = 0
        self.first = 0

    def one(self) -> str:
        return f"v{self.layer}[{self.first}]"

    def many(self) -> str:
        return f"v{self.layer}[{self.first}:{self.first + self.count}]"


class _EnumNames(dict[int, object]):
    # number → name, and any other number → itself
    __slots__ = ()

    def __missing__(self, key: int) -> object:
        return key


class _Plan:
    # What to unpack for a type (``layers``) and the source of the expression that makes its value.
    def __init__(self, btf: Btf, id: int, options: _Options, depth: int) -> None:
        self.btf = btf
        self.options = options
        self.order = sys.byteorder
        if btf.is_swapped:
            self.order = "big" if sys.byteorder == "little" else "little"
        self.title = btf.name(id) or f"the type {id}"
        self.scope: dict[str, object] = {"text": options.text, "error": struct.error}
        self.has_tail = False
        self._leaves: list[_Leaf] = []
        self._visits = 0
        self._shared: dict[tuple[int, str, int], _Leaf] = {}
        self._bits: _Leaf | None = None
        self._helpers: dict[tuple[str, int], str] = {}
        parts = self._value(id, 0, depth, True)
        found = btf.resolve(id)
        self.size = found.size if isinstance(found, Datasec) else btf.size_of(id)
        self.layers = self._place()
        self.expression = "".join([p if isinstance(p, str) else p() for p in parts])

    def make(self, source: str) -> Callable[..., list[object]]:
        size, title = self.size, self.title

        def short(length: int) -> FormatError:
            return FormatError("data", f"{length} bytes do not fit {title} of {size} bytes")

        self.scope["short"] = short
        # The source is made of our own words, numbers and repr() of names.
        exec(compile(source, f"<decoder of {title!a}>", "exec"), self.scope)
        made: Callable[..., list[object]] = self.scope["decode"]  # type: ignore[assignment]
        return made

    # -- leaves ---------------------------------------------------------------------------------

    def _leaf(self, offset: int, code: str, count: int, size: int) -> _Leaf:
        # Members of a union are often the same bytes read the same way.
        leaf = self._shared.get((offset, code, count))
        if leaf is None:
            leaf = self._shared[offset, code, count] = _Leaf(offset, code, count, size)
            self._leaves.append(leaf)
        return leaf

    def _visit(self, depth: int) -> None:
        self._visits += 1
        if depth > _MAX_DEPTH or self._visits > _MAX_LEAVES:
            raise FormatError("BTF", f"{self.title} has too many members, or nested too deep")

    def _place(self) -> list[struct.Struct]:
        formats: list[list[str]] = []
        ends: list[int] = []
        counts: list[int] = []
        for leaf in sorted(self._leaves, key=lambda leaf: leaf.offset):
            if leaf.is_bits and leaf.size in _UNSIGNED:
                leaf.code, leaf.count = _UNSIGNED[leaf.size], 1
            elif leaf.is_bits:
                leaf.count = leaf.size
            layer = next((i for i, end in enumerate(ends) if end <= leaf.offset), len(ends))
            if layer == len(ends):
                if layer == _MAX_LAYERS:
                    raise FormatError("BTF", f"{self.title} has too many members")
                formats.append(["<" if self.order == "little" else ">"])
                ends.append(0)
                counts.append(0)
            formats[layer].append(f"{leaf.offset - ends[layer]}x{leaf.count}{leaf.code}")
            leaf.layer, leaf.first = layer, counts[layer]
            ends[layer] = leaf.offset + leaf.size
            counts[layer] += 1 if leaf.code == "s" else leaf.count
        if self.size and not formats:
            formats, ends = [["="]], [0]
        # The first one asks for all bytes, so that padding at the end may not be missing.
        for format, end in zip(formats[:1], ends, strict=False):
            format.append(f"{max(0, self.size - end)}x")
        return [_structure("".join(format)) for format in formats]

    # -- values -----------------------------------------------------------------------------------

    def _value(self, id: int, bit: int, depth: int, is_last: bool) -> Parts:
        found = self.btf.resolve(id)
        self._visit(depth)
        if isinstance(found, Var):
            return self._value(found.type_id, bit, depth + 1, is_last)
        if isinstance(found, Int) and (bit % 8 or found.bits != found.size * 8 or found.bit_offset):
            return self._bit_field(found, bit + found.bit_offset, found.bits)
        if bit % 8:
            raise FormatError("BTF", f"a member of {self.title} does not begin at a byte")
        if isinstance(found, Struct):
            return self._struct(found, bit, depth, is_last)
        if isinstance(found, Array):
            return self._array(found, bit // 8, depth, is_last)
        if isinstance(found, Datasec):
            return self._section(found, depth)
        return self._scalar(found, bit // 8)

    def _scalar(self, found: Type, offset: int) -> Parts:
        code, size = self._code(found)
        if code == "s":
            leaf = self._leaf(offset, "s", size, size)
            if isinstance(found, Float):
                return [leaf.one]
            signed = bool(getattr(found, "is_signed", False))
            return ["int.from_bytes(", leaf.one, f", {self.order!r}, signed={signed})"]
        leaf = self._leaf(offset, code, 1, size)
        if self.options.enum_names and isinstance(found, Enum):
            return [self._names(found), "[", leaf.one, "]"]
        return [leaf.one]

    def _code(self, found: Type) -> tuple[str, int]:
        # The letter of struct for a scalar, or "s" if it has none.
        if isinstance(found, Ptr):
            return _UNSIGNED[self.btf.pointer_size], self.btf.pointer_size
        if isinstance(found, Float):
            return _FLOATS.get(found.size, "s"), found.size
        if isinstance(found, Int):
            if found.is_bool and found.size == 1:
                return "?", 1
            return (_SIGNED if found.is_signed else _UNSIGNED).get(found.size, "s"), found.size
        if isinstance(found, Enum):
            return (_SIGNED if found.is_signed else _UNSIGNED).get(found.size, "s"), found.size
        raise FormatError("BTF", f"{found.name or f'the type {found.id}'} has no bytes to read")

    def _names(self, enum: Enum) -> str:
        key = ("e", enum.id)
        if key not in self._helpers:
            self._helpers[key] = name = f"e{enum.id}"
            # Of several names for one number the first counts.
            self.scope[name] = _EnumNames((n, key) for key, n in reversed(enum.values))
        return self._helpers[key]

    def _bit_field(self, found: Type, bit: int, bits: int) -> Parts:
        first, end = bit // 8, (bit + bits + 7) // 8
        leaf = self._bits
        # Bit-fields side by side are read as one number.
        if leaf and leaf.offset <= first <= leaf.offset + leaf.size and end - leaf.offset <= 16:
            leaf.size = max(leaf.size, end - leaf.offset)
        else:
            leaf = self._bits = _Leaf(first, "s", end - first, end - first)
            leaf.is_bits = True
            self._leaves.append(leaf)
        shift = bit - leaf.offset * 8
        sign = 1 << bits >> 1 if getattr(found, "is_signed", False) else 0
        parts: Parts = [lambda: self._bits_source(leaf, shift, bits, sign)]
        if isinstance(found, Int) and found.is_bool:
            return ["(", *parts, " != 0)"]
        if self.options.enum_names and isinstance(found, Enum):
            return [self._names(found), "[", *parts, "]"]
        return parts

    def _bits_source(self, leaf: _Leaf, shift: int, bits: int, sign: int) -> str:
        source = leaf.one()
        if leaf.code == "s":
            source = f"int.from_bytes({source}, {self.order!r})"
        # On big-endian machines bits are counted from the most significant one.
        if self.order == "big":
            shift = leaf.size * 8 - shift - bits
        source = f"({source} >> {shift} & {(1 << bits) - 1:#x})"
        return f"(({source} ^ {sign:#x}) - {sign:#x})" if sign else source

    def _struct(self, found: Struct, bit: int, depth: int, is_last: bool) -> Parts:
        items = self._members(found, bit, depth, is_last)
        if self.options.as_tuple:
            return ["(", *[p for _, parts in items for p in (*parts, ", ")], ")"]
        parts: Parts = ["{"]
        for key, value in items:
            parts += (f"{key!r}: ", *value, ", ")
        return [*parts, "}"]

    def _members(
        self, found: Struct, bit: int, depth: int, is_last: bool
    ) -> list[tuple[str, Parts]]:
        self._visit(depth)
        items: list[tuple[str, Parts]] = []
        last = found.members[-1] if found.members else None
        for member in found.members:
            at = bit + member.bit_offset
            inner = self.btf.resolve(member.type_id)
            size = member.bit_size or self.btf.size_of(member.type_id) * 8
            if member.bit_offset + size > found.size * 8:
                raise FormatError("BTF", f"{found.name}.{member.name} lies outside {found.name}")
            stays_last = is_last and (member is last or found.kind != Struct.kind)
            if member.bit_size:
                items.append((member.name, self._bit_field(inner, at, member.bit_size)))
            elif not member.name and isinstance(inner, Struct):
                items += self._members(inner, at, depth + 1, stays_last)
            else:
                value = self._value(member.type_id, at, depth + 1, stays_last)
                items.append((member.name, value))
        return items

    def _section(self, found: Datasec, depth: int) -> Parts:
        parts: Parts = ["{"]
        for item in found.vars:
            size = self.btf.size_of(item.type_id)
            if item.offset + size > found.size:
                raise FormatError("BTF", f"a variable lies outside the section {found.name}")
            value = self._value(item.type_id, item.offset * 8, depth + 1, False)
            parts += (f"{self.btf.name(item.type_id)!r}: ", *value, ", ")
        return [*parts, "}"]

    def _array(self, found: Array, offset: int, depth: int, is_last: bool) -> Parts:
        element = self.btf.resolve(found.type_id)
        is_text = isinstance(element, Int) and element.is_char
        if not found.nr_elems:
            if is_last:
                self.has_tail = True
                return [f"{self._rest(found.type_id, is_text, depth)}(record[{offset}:])"]
            return ["text(b'')" if is_text else "[]"]
        size = self.btf.size_of(found.type_id) * found.nr_elems
        if is_text:
            return ["text(", self._leaf(offset, "s", size, size).one, ")"]
        if not size:
            return ["[]"]
        if _is_whole(element) and self._code(element)[0] != "s":
            leaf = self._leaf(offset, self._code(element)[0], found.nr_elems, size)
            if self.options.enum_names and isinstance(element, Enum):
                return ["[", self._names(element), "[x] for x in ", leaf.many, "]"]
            return ["list(", leaf.many, ")"]
        block = self._leaf(offset, "s", size, size)
        return [f"{self._batch(found.type_id, depth)}(", block.one, ")"]

    def _batch(self, id: int, depth: int) -> str:
        # The name of a function for arrays of this type.
        key = ("b", id)
        if key not in self._helpers:
            self._helpers[key] = name = f"b{id}"
            self.scope[name] = _compile_batch(self.btf, id, 0, self.options, depth + 1)
        return self._helpers[key]

    def _rest(self, id: int, is_text: bool, depth: int) -> str:
        # The name of a function for what follows a struct with a flexible array of this type.
        key = ("r", id)
        if key not in self._helpers:
            self._helpers[key] = name = f"r{id}"
            text, size = self.options.text, self.btf.size_of(id)
            batch = _compile_batch(self.btf, id, 0, self.options, depth + 1)
            if is_text:
                self.scope[name] = lambda rest: text(bytes(rest))
            else:
                self.scope[name] = lambda rest: batch(rest[: len(rest) // size * size])
        return self._helpers[key]


def _is_whole(found: Type) -> bool:
    # Whether the value fills all bytes of a plain type.
    if isinstance(found, Int):
        return found.bits == found.size * 8 and not found.bit_offset
    return isinstance(found, Enum | Float | Ptr)

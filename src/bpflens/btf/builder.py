"""Types to raw BTF bytes.

A :class:`Builder` is told types one after the other and gives each its id; ``build()`` returns the
whole as the kernel and every other reader takes it. Names are stored once. An id may be used before
its type is added (a struct that points at itself): ``next_id`` says what comes next.

With a ``base`` the result is split BTF: ids and strings go on where the base's end, and names that
the base has are not stored again. It neither checks that referred types exist nor removes
equal types; the kernel does the one and ``pahole`` the other.

Example::

    builder = Builder()
    number = builder.add_int("int", 4, BTF_INT_SIGNED)
    builder.add_struct("point", 8, [("x", number, 0), ("y", number, 32)])
    data = builder.build()
"""

from __future__ import annotations

import struct
import sys

from bpflens.btf.types import (
    Array,
    Datasec,
    DeclTag,
    Enum,
    Float,
    Func,
    FuncProto,
    Fwd,
    Int,
    Member,
    Param,
    SectionVar,
    Struct,
    TypeTag,
    Var,
)
from bpflens.errors import FormatError
from bpflens.uapi.btf import (
    BTF_FUNC_STATIC,
    BTF_KIND_ARRAY,
    BTF_KIND_CONST,
    BTF_KIND_DATASEC,
    BTF_KIND_DECL_TAG,
    BTF_KIND_ENUM,
    BTF_KIND_ENUM64,
    BTF_KIND_FLOAT,
    BTF_KIND_FUNC,
    BTF_KIND_FUNC_PROTO,
    BTF_KIND_FWD,
    BTF_KIND_INT,
    BTF_KIND_PTR,
    BTF_KIND_RESTRICT,
    BTF_KIND_STRUCT,
    BTF_KIND_TYPE_TAG,
    BTF_KIND_TYPEDEF,
    BTF_KIND_UNION,
    BTF_KIND_VAR,
    BTF_KIND_VOLATILE,
    BTF_MAGIC,
    BTF_MAX_VLEN,
    BTF_VAR_GLOBAL_ALLOCATED,
    BTF_VERSION,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bpflens.btf.reader import Btf
    from bpflens.btf.types import Type

    MemberLike = Member | tuple[str, int, int] | tuple[str, int, int, int]

__all__ = ["Builder"]

_FLAG = 1 << 31


class Builder:
    """Collects types and strings; every ``add_`` method returns the id of the new type."""

    __slots__ = ("_offsets", "_pieces", "_size", "_words", "base", "next_id")

    def __init__(self, base: Btf | None = None) -> None:
        self.base = base
        self.next_id = base.nr_types if base else 1
        self._words: list[int] = []
        self._offsets: dict[str, int] = {"": 0}
        self._pieces: list[bytes] = [] if base else [b""]
        self._size = base.end_str if base else 1
        if base:
            self._take_strings(base)

    def _take_strings(self, base: Btf) -> None:
        if base.base:
            self._take_strings(base.base)
        offset = base.start_str
        for piece in base.strings.split(b"\0")[:-1]:
            self._offsets.setdefault(piece.decode("utf-8", "surrogateescape"), offset)
            offset += len(piece) + 1

    def string(self, text: str) -> int:
        """Return the offset of a string, which is stored if it is new."""
        offset = self._offsets.get(text)
        if offset is None:
            piece = text.encode("utf-8", "surrogateescape")
            if b"\0" in piece:
                raise FormatError("BTF", f"the name {text!r} has a NUL in it")
            offset = self._offsets[text] = self._size
            self._pieces.append(piece)
            self._size += len(piece) + 1
        return offset

    def _add(
        self,
        kind: int,
        name: str,
        third: int,
        extra: Iterable[int] = (),
        vlen: int = 0,
        flag: bool = False,
    ) -> int:
        if vlen > BTF_MAX_VLEN:
            raise FormatError("BTF", f"{vlen} members are more than {BTF_MAX_VLEN}", name)
        self._words += (self.string(name), kind << 24 | vlen | (_FLAG if flag else 0), third)
        self._words += extra
        self.next_id += 1
        return self.next_id - 1

    def add_int(
        self, name: str, size: int, encoding: int = 0, bits: int = 0, bit_offset: int = 0
    ) -> int:
        """Add an integer of ``size`` bytes (``bits`` of them used; 0 = all)."""
        data = encoding << 24 | bit_offset << 16 | (bits or size * 8)
        return self._add(BTF_KIND_INT, name, size, (data,))

    def add_float(self, name: str, size: int) -> int:
        """Add a floating-point type."""
        return self._add(BTF_KIND_FLOAT, name, size)

    def add_ptr(self, type_id: int) -> int:
        """Add a pointer to a type (0 = void)."""
        return self._add(BTF_KIND_PTR, "", type_id)

    def add_typedef(self, name: str, type_id: int) -> int:
        """Add a typedef."""
        return self._add(BTF_KIND_TYPEDEF, name, type_id)

    def add_const(self, type_id: int) -> int:
        """Add a const form of a type."""
        return self._add(BTF_KIND_CONST, "", type_id)

    def add_volatile(self, type_id: int) -> int:
        """Add a volatile form of a type."""
        return self._add(BTF_KIND_VOLATILE, "", type_id)

    def add_restrict(self, type_id: int) -> int:
        """Add a restrict form of a pointer."""
        return self._add(BTF_KIND_RESTRICT, "", type_id)

    def add_type_tag(self, name: str, type_id: int, is_attribute: bool = False) -> int:
        """Add a tagged form of a type."""
        return self._add(BTF_KIND_TYPE_TAG, name, type_id, flag=is_attribute)

    def add_decl_tag(
        self, name: str, type_id: int, component_idx: int = -1, is_attribute: bool = False
    ) -> int:
        """Add a tag on a declaration, or on one of its members or parameters."""
        extra = (component_idx & 0xFFFFFFFF,)
        return self._add(BTF_KIND_DECL_TAG, name, type_id, extra, flag=is_attribute)

    def add_array(self, type_id: int, index_type_id: int, nr_elems: int) -> int:
        """Add an array."""
        return self._add(BTF_KIND_ARRAY, "", 0, (type_id, index_type_id, nr_elems))

    def add_struct(
        self, name: str, size: int, members: Iterable[MemberLike], kind_flag: bool | None = None
    ) -> int:
        """Add a struct; members are (name, type id, bit offset[, bits of a bit-field])."""
        return self._composite(BTF_KIND_STRUCT, name, size, members, kind_flag)

    def add_union(
        self, name: str, size: int, members: Iterable[MemberLike], kind_flag: bool | None = None
    ) -> int:
        """Add a union; members as for a struct."""
        return self._composite(BTF_KIND_UNION, name, size, members, kind_flag)

    def _composite(
        self, kind: int, name: str, size: int, members: Iterable[MemberLike], flag: bool | None
    ) -> int:
        items = [m if isinstance(m, Member) else Member(*m) for m in members]
        if flag is None:
            flag = any(m.bit_size for m in items)
        extra: list[int] = []
        for m in items:
            if m.bit_size and (not flag or m.bit_offset >> 24):
                raise FormatError("BTF", f"the bit-field {m.name} cannot be stored", name)
            extra += (self.string(m.name), m.type_id, m.bit_size << 24 | m.bit_offset)
        return self._add(kind, name, size, extra, len(items), flag)

    def add_enum(
        self,
        name: str,
        values: Iterable[tuple[str, int]],
        size: int = 4,
        is_signed: bool | None = None,
    ) -> int:
        """Add an enumeration of up to 32 bits; signed if one of its numbers is negative."""
        items = list(values)
        extra: list[int] = []
        for key, value in items:
            extra += (self.string(key), value & 0xFFFFFFFF)
        flag = any(value < 0 for _, value in items) if is_signed is None else is_signed
        return self._add(BTF_KIND_ENUM, name, size, extra, len(items), flag)

    def add_enum64(
        self,
        name: str,
        values: Iterable[tuple[str, int]],
        size: int = 8,
        is_signed: bool | None = None,
    ) -> int:
        """Add an enumeration of 64 bits."""
        items = list(values)
        extra: list[int] = []
        for key, value in items:
            extra += (self.string(key), value & 0xFFFFFFFF, value >> 32 & 0xFFFFFFFF)
        flag = any(value < 0 for _, value in items) if is_signed is None else is_signed
        return self._add(BTF_KIND_ENUM64, name, size, extra, len(items), flag)

    def add_fwd(self, name: str, is_union: bool = False) -> int:
        """Add a struct or union that is only declared."""
        return self._add(BTF_KIND_FWD, name, 0, flag=is_union)

    def add_func_proto(self, ret_type_id: int, params: Iterable[Param | tuple[str, int]]) -> int:
        """Add a prototype; parameters are (name, type id), and ``("", 0)`` at the end is ``...``"""
        items = [p if isinstance(p, Param) else Param(*p) for p in params]
        extra = [word for p in items for word in (self.string(p.name), p.type_id)]
        return self._add(BTF_KIND_FUNC_PROTO, "", ret_type_id, extra, len(items))

    def add_func(self, name: str, type_id: int, linkage: int = BTF_FUNC_STATIC) -> int:
        """Add a function with this prototype."""
        return self._add(BTF_KIND_FUNC, name, type_id, vlen=linkage)

    def add_var(self, name: str, type_id: int, linkage: int = BTF_VAR_GLOBAL_ALLOCATED) -> int:
        """Add a global variable."""
        return self._add(BTF_KIND_VAR, name, type_id, (linkage,))

    def add_datasec(
        self, name: str, size: int, vars: Iterable[SectionVar | tuple[int, int, int]]
    ) -> int:
        """Add a section; variables are (type id, offset, size)."""
        items = [v if isinstance(v, SectionVar) else SectionVar(*v) for v in vars]
        extra = [word for v in items for word in (v.type_id, v.offset, v.size)]
        return self._add(BTF_KIND_DATASEC, name, size, extra, len(items))

    def add_type(self, type: Type, ids: Callable[[int], int] = lambda id: id) -> int:
        """Add a copy of a type of another BTF; ``ids`` turns the ids it refers to into ours."""
        copy = _COPIERS.get(type.kind)
        if copy is None:
            raise FormatError("BTF", f"a type of kind {type.kind} cannot be copied", type.name)
        return copy(self, type, ids)

    def build(self, byteorder: str = sys.byteorder) -> bytes:
        """Return everything added so far as raw BTF."""
        order = "<" if byteorder == "little" else ">"
        types = struct.pack(f"{order}{len(self._words)}I", *self._words)
        strings = b"".join(piece + b"\0" for piece in self._pieces)
        lengths = (0, len(types), len(types), len(strings))
        return struct.pack(order + "HBBIIIII", BTF_MAGIC, BTF_VERSION, 0, 24, *lengths) + (
            types + strings
        )


# One copier per kind: what of a type is ids of other types differs from kind to kind.


def _copy_int(b: Builder, t: Int, ids: Callable[[int], int]) -> int:
    return b.add_int(t.name, t.size, t.encoding, t.bits, t.bit_offset)


def _copy_reference(b: Builder, t: TypeTag, ids: Callable[[int], int]) -> int:
    flag = getattr(t, "is_attribute", False)
    return b._add(t.kind, t.name, ids(t.type_id), flag=flag)


def _copy_array(b: Builder, t: Array, ids: Callable[[int], int]) -> int:
    return b.add_array(ids(t.type_id), ids(t.index_type_id), t.nr_elems)


def _copy_composite(b: Builder, t: Struct, ids: Callable[[int], int]) -> int:
    items = [Member(m.name, ids(m.type_id), m.bit_offset, m.bit_size) for m in t.members]
    return b._composite(t.kind, t.name, t.size, items, t.kind_flag)


def _copy_enum(b: Builder, t: Enum, ids: Callable[[int], int]) -> int:
    add = b.add_enum if t.kind == BTF_KIND_ENUM else b.add_enum64
    return add(t.name, t.values, t.size, t.is_signed)


def _copy_fwd(b: Builder, t: Fwd, ids: Callable[[int], int]) -> int:
    return b.add_fwd(t.name, t.is_union)


def _copy_func(b: Builder, t: Func, ids: Callable[[int], int]) -> int:
    return b.add_func(t.name, ids(t.type_id), t.linkage)


def _copy_func_proto(b: Builder, t: FuncProto, ids: Callable[[int], int]) -> int:
    return b.add_func_proto(ids(t.ret_type_id), [Param(p.name, ids(p.type_id)) for p in t.params])


def _copy_var(b: Builder, t: Var, ids: Callable[[int], int]) -> int:
    return b.add_var(t.name, ids(t.type_id), t.linkage)


def _copy_datasec(b: Builder, t: Datasec, ids: Callable[[int], int]) -> int:
    return b.add_datasec(t.name, t.size, [(ids(v.type_id), v.offset, v.size) for v in t.vars])


def _copy_float(b: Builder, t: Float, ids: Callable[[int], int]) -> int:
    return b.add_float(t.name, t.size)


def _copy_decl_tag(b: Builder, t: DeclTag, ids: Callable[[int], int]) -> int:
    return b.add_decl_tag(t.name, ids(t.type_id), t.component_idx, t.is_attribute)


# The values take the class of their kind; a dict cannot say so.
_COPIERS: dict[int, Callable[..., int]] = {
    BTF_KIND_INT: _copy_int,
    BTF_KIND_PTR: _copy_reference,
    BTF_KIND_ARRAY: _copy_array,
    BTF_KIND_STRUCT: _copy_composite,
    BTF_KIND_UNION: _copy_composite,
    BTF_KIND_ENUM: _copy_enum,
    BTF_KIND_FWD: _copy_fwd,
    BTF_KIND_TYPEDEF: _copy_reference,
    BTF_KIND_VOLATILE: _copy_reference,
    BTF_KIND_CONST: _copy_reference,
    BTF_KIND_RESTRICT: _copy_reference,
    BTF_KIND_FUNC: _copy_func,
    BTF_KIND_FUNC_PROTO: _copy_func_proto,
    BTF_KIND_VAR: _copy_var,
    BTF_KIND_DATASEC: _copy_datasec,
    BTF_KIND_FLOAT: _copy_float,
    BTF_KIND_DECL_TAG: _copy_decl_tag,
    BTF_KIND_TYPE_TAG: _copy_reference,
    BTF_KIND_ENUM64: _copy_enum,
}

"""The words of one type to its object: one reader per kind.

A reader gets the BTF, the id and name of the type, its info word and where its words begin. That
all its words exist is known from the walk over the types; that a name or a type it refers to
exists is found out when that name or type is read.

Since Linux 6.0 an enum says whether its numbers are signed; from older ones all are unsigned.

Example::

    READERS[info >> 24 & 0x7F](btf, id, name, info, position)
"""

from __future__ import annotations

from bpflens.btf.index import KIND_MASK, KIND_SHIFT, VLEN_MASK
from bpflens.btf.types import (
    Array,
    Const,
    Datasec,
    DeclTag,
    Enum,
    Enum64,
    Float,
    Func,
    FuncProto,
    Fwd,
    Int,
    Member,
    Param,
    Ptr,
    Restrict,
    SectionVar,
    Struct,
    Type,
    Typedef,
    TypeTag,
    Union,
    Unknown,
    Var,
    Volatile,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from bpflens.btf.reader import Btf

__all__ = ["READERS"]


def _unknown(btf: Btf, id: int, name: str, info: int, position: int) -> Type:
    return Unknown(id, name, info >> KIND_SHIFT & KIND_MASK)


def _int(btf: Btf, id: int, name: str, info: int, position: int) -> Type:
    size, data = btf.words[position + 2], btf.words[position + 3]
    return Int(id, name, size, data & 0xFF, data >> 24 & 0xF, data >> 16 & 0xFF)


def _reference(cls: Callable[[int, str, int], Type]) -> Callable[..., Type]:
    def read(btf: Btf, id: int, name: str, info: int, position: int) -> Type:
        return cls(id, name, btf.words[position + 2])

    return read


def _type_tag(btf: Btf, id: int, name: str, info: int, position: int) -> Type:
    return TypeTag(id, name, btf.words[position + 2], bool(info >> 31))


def _array(btf: Btf, id: int, name: str, info: int, position: int) -> Type:
    words = btf.words
    return Array(id, name, words[position + 3], words[position + 4], words[position + 5])


def _composite(cls: type[Struct]) -> Callable[..., Type]:
    def read(btf: Btf, id: int, name: str, info: int, position: int) -> Type:
        words = btf.words[position + 3 : position + 3 + 3 * (info & VLEN_MASK)].tolist()
        string = btf.string
        rows = zip(words[::3], words[1::3], words[2::3], strict=True)
        if info >> 31:
            members = [Member(string(n), t, o & 0xFFFFFF, o >> 24) for n, t, o in rows]
        else:
            members = [Member(string(n), t, o) for n, t, o in rows]
        return cls(id, name, btf.words[position + 2], tuple(members), bool(info >> 31))

    return read


def _enum(btf: Btf, id: int, name: str, info: int, position: int) -> Type:
    words = btf.words[position + 3 : position + 3 + 2 * (info & VLEN_MASK)].tolist()
    signed = bool(info >> 31)
    values = [
        (btf.string(n), v - (1 << 32) if signed and v >> 31 else v)
        for n, v in zip(words[::2], words[1::2], strict=True)
    ]
    return Enum(id, name, btf.words[position + 2], tuple(values), signed)


def _enum64(btf: Btf, id: int, name: str, info: int, position: int) -> Type:
    words = btf.words[position + 3 : position + 3 + 3 * (info & VLEN_MASK)].tolist()
    signed = bool(info >> 31)
    values = []
    for n, low, high in zip(words[::3], words[1::3], words[2::3], strict=True):
        value = high << 32 | low
        values.append((btf.string(n), value - (1 << 64) if signed and value >> 63 else value))
    return Enum64(id, name, btf.words[position + 2], tuple(values), signed)


def _fwd(btf: Btf, id: int, name: str, info: int, position: int) -> Type:
    return Fwd(id, name, bool(info >> 31))


def _func(btf: Btf, id: int, name: str, info: int, position: int) -> Type:
    return Func(id, name, btf.words[position + 2], info & VLEN_MASK)


def _func_proto(btf: Btf, id: int, name: str, info: int, position: int) -> Type:
    words = btf.words[position + 3 : position + 3 + 2 * (info & VLEN_MASK)].tolist()
    params = [Param(btf.string(n), t) for n, t in zip(words[::2], words[1::2], strict=True)]
    return FuncProto(id, name, btf.words[position + 2], tuple(params))


def _var(btf: Btf, id: int, name: str, info: int, position: int) -> Type:
    return Var(id, name, btf.words[position + 2], btf.words[position + 3])


def _datasec(btf: Btf, id: int, name: str, info: int, position: int) -> Type:
    words = btf.words[position + 3 : position + 3 + 3 * (info & VLEN_MASK)].tolist()
    rows = zip(words[::3], words[1::3], words[2::3], strict=True)
    return Datasec(id, name, btf.words[position + 2], tuple(SectionVar(*row) for row in rows))


def _float(btf: Btf, id: int, name: str, info: int, position: int) -> Type:
    return Float(id, name, btf.words[position + 2])


def _decl_tag(btf: Btf, id: int, name: str, info: int, position: int) -> Type:
    index = btf.words[position + 3]
    index -= (index >> 31) << 32
    return DeclTag(id, name, btf.words[position + 2], index, bool(info >> 31))


READERS: tuple[Callable[[Btf, int, str, int, int], Type], ...] = (
    _unknown,
    _int,
    _reference(Ptr),
    _array,
    _composite(Struct),
    _composite(Union),
    _enum,
    _fwd,
    _reference(Typedef),
    _reference(Volatile),
    _reference(Const),
    _reference(Restrict),
    _func,
    _func_proto,
    _var,
    _datasec,
    _float,
    _decl_tag,
    _type_tag,
    _enum64,
)

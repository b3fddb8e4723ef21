"""What a BTF type is once it has been read: one small class per kind.

A type knows its ``id`` and ``name``, the ids of the types it refers to, and nothing of the
:class:`~bpflens.btf.reader.Btf` it came from: references are ids, so that a type of a loop (a list
head that points at itself) costs no more than any other. Anonymous things have the name ``""``.

Objects are made by ``Btf.type`` and shared: treat them as immutable.

Example::

    task = btf.type(btf.find("task_struct", BTF_KIND_STRUCT))
    for member in task.members:
        print(member.name, member.bit_offset // 8, btf.type(member.type_id).kind)
"""

from __future__ import annotations

from bpflens.uapi.btf import (
    BTF_INT_BOOL,
    BTF_INT_CHAR,
    BTF_INT_SIGNED,
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
    BTF_KIND_UNKN,
    BTF_KIND_VAR,
    BTF_KIND_VOLATILE,
)

__all__ = [
    "Array",
    "Const",
    "Datasec",
    "DeclTag",
    "Enum",
    "Enum64",
    "Float",
    "Func",
    "FuncProto",
    "Fwd",
    "Int",
    "Member",
    "Param",
    "Ptr",
    "Restrict",
    "SectionVar",
    "Struct",
    "Type",
    "TypeTag",
    "Typedef",
    "Union",
    "Unknown",
    "Var",
    "Void",
    "Volatile",
]


class Member:
    """A member of a struct or union; ``bit_size`` is 0 unless it is a bit-field."""

    __slots__ = ("bit_offset", "bit_size", "name", "type_id")

    def __init__(self, name: str, type_id: int, bit_offset: int, bit_size: int = 0) -> None:
        self.name = name
        self.type_id = type_id
        self.bit_offset = bit_offset
        self.bit_size = bit_size

    @property
    def offset(self) -> int:
        """The offset in whole bytes (rounded down for a bit-field)."""
        return self.bit_offset >> 3

    def __repr__(self) -> str:
        bits = f", bits={self.bit_size}" if self.bit_size else ""
        return f"Member({self.name!r}, type_id={self.type_id}, bit_offset={self.bit_offset}{bits})"


class Param:
    """A parameter of a function prototype; ``...`` has no name and the type id 0."""

    __slots__ = ("name", "type_id")

    def __init__(self, name: str, type_id: int) -> None:
        self.name = name
        self.type_id = type_id

    def __repr__(self) -> str:
        return f"Param({self.name!r}, type_id={self.type_id})"


class SectionVar:
    """A variable (or function) of a section, with its place in the section."""

    __slots__ = ("offset", "size", "type_id")

    def __init__(self, type_id: int, offset: int, size: int) -> None:
        self.type_id = type_id
        self.offset = offset
        self.size = size

    def __repr__(self) -> str:
        return f"SectionVar(type_id={self.type_id}, offset={self.offset}, size={self.size})"


class Type:
    """What every type has: ``id``, ``name`` and the number of its ``kind``."""

    __slots__ = ("id", "name")
    kind = BTF_KIND_UNKN

    def __init__(self, id: int, name: str) -> None:
        self.id = id
        self.name = name

    def __repr__(self) -> str:
        slots = [slot for cls in reversed(type(self).__mro__) for slot in _own_slots(cls)]
        return f"{type(self).__name__}({', '.join(f'{s}={getattr(self, s)!r}' for s in slots)})"


def _own_slots(cls: type) -> tuple[str, ...]:
    slots: tuple[str, ...] = cls.__dict__.get("__slots__", ())
    return slots


class Void(Type):
    """The type with the id 0, which no BTF stores."""

    __slots__ = ()


class Unknown(Type):
    """A kind newer than this program, which the BTF's own layout section lets us step over."""

    __slots__ = ("number",)

    def __init__(self, id: int, name: str, number: int) -> None:
        self.id = id
        self.name = name
        self.number = number


class Int(Type):
    """An integer of ``size`` bytes, of which ``bits`` from ``bit_offset`` on are its value."""

    __slots__ = ("bit_offset", "bits", "encoding", "size")
    kind = BTF_KIND_INT

    def __init__(
        self, id: int, name: str, size: int, bits: int, encoding: int, bit_offset: int = 0
    ) -> None:
        self.id = id
        self.name = name
        self.size = size
        self.bits = bits
        self.encoding = encoding
        self.bit_offset = bit_offset

    @property
    def is_signed(self) -> bool:
        """Whether the value has a sign."""
        return bool(self.encoding & BTF_INT_SIGNED)

    @property
    def is_bool(self) -> bool:
        """Whether this is ``_Bool``."""
        return bool(self.encoding & BTF_INT_BOOL)

    @property
    def is_char(self) -> bool:
        """Whether this holds text: marked so, or named ``char`` (compilers never set the mark)."""
        return self.size == 1 and (bool(self.encoding & BTF_INT_CHAR) or self.name == "char")


class _Reference(Type):
    # Kinds that only refer to one other type.
    __slots__ = ("type_id",)

    def __init__(self, id: int, name: str, type_id: int) -> None:
        self.id = id
        self.name = name
        self.type_id = type_id


class Ptr(_Reference):
    """A pointer to ``type_id``."""

    __slots__ = ()
    kind = BTF_KIND_PTR


class Typedef(_Reference):
    """Another name for ``type_id``."""

    __slots__ = ()
    kind = BTF_KIND_TYPEDEF


class Volatile(_Reference):
    """``type_id``, volatile."""

    __slots__ = ()
    kind = BTF_KIND_VOLATILE


class Const(_Reference):
    """``type_id``, const."""

    __slots__ = ()
    kind = BTF_KIND_CONST


class Restrict(_Reference):
    """``type_id``, restrict."""

    __slots__ = ()
    kind = BTF_KIND_RESTRICT


class TypeTag(_Reference):
    """``type_id`` with a tag; ``is_attribute`` tells ``__attribute__((x))`` from a btf_type_tag."""

    __slots__ = ("is_attribute",)
    kind = BTF_KIND_TYPE_TAG

    def __init__(self, id: int, name: str, type_id: int, is_attribute: bool = False) -> None:
        self.id = id
        self.name = name
        self.type_id = type_id
        self.is_attribute = is_attribute


class Array(Type):
    """``nr_elems`` elements of ``type_id``."""

    __slots__ = ("index_type_id", "nr_elems", "type_id")
    kind = BTF_KIND_ARRAY

    def __init__(self, id: int, name: str, type_id: int, index_type_id: int, nr_elems: int) -> None:
        self.id = id
        self.name = name
        self.type_id = type_id
        self.index_type_id = index_type_id
        self.nr_elems = nr_elems


class Struct(Type):
    """A struct of ``size`` bytes; ``kind_flag`` as stored (members may be bit-fields)."""

    __slots__ = ("kind_flag", "members", "size")
    kind = BTF_KIND_STRUCT

    def __init__(
        self, id: int, name: str, size: int, members: tuple[Member, ...], kind_flag: bool = False
    ) -> None:
        self.id = id
        self.name = name
        self.size = size
        self.members = members
        self.kind_flag = kind_flag


class Union(Struct):
    """A union: a struct whose members lie on top of each other."""

    __slots__ = ()
    kind = BTF_KIND_UNION


class Enum(Type):
    """An enumeration of ``size`` bytes: ``values`` are (name, number), signed or not."""

    __slots__ = ("is_signed", "size", "values")
    kind = BTF_KIND_ENUM

    def __init__(
        self, id: int, name: str, size: int, values: tuple[tuple[str, int], ...], is_signed: bool
    ) -> None:
        self.id = id
        self.name = name
        self.size = size
        self.values = values
        self.is_signed = is_signed


class Enum64(Enum):
    """An enumeration with numbers of 64 bits."""

    __slots__ = ()
    kind = BTF_KIND_ENUM64


class Fwd(Type):
    """A struct or union that is only declared."""

    __slots__ = ("is_union",)
    kind = BTF_KIND_FWD

    def __init__(self, id: int, name: str, is_union: bool) -> None:
        self.id = id
        self.name = name
        self.is_union = is_union


class Func(Type):
    """A function; ``type_id`` is its prototype."""

    __slots__ = ("linkage", "type_id")
    kind = BTF_KIND_FUNC

    def __init__(self, id: int, name: str, type_id: int, linkage: int) -> None:
        self.id = id
        self.name = name
        self.type_id = type_id
        self.linkage = linkage


class FuncProto(Type):
    """A function's type: what it returns and its parameters."""

    __slots__ = ("params", "ret_type_id")
    kind = BTF_KIND_FUNC_PROTO

    def __init__(self, id: int, name: str, ret_type_id: int, params: tuple[Param, ...]) -> None:
        self.id = id
        self.name = name
        self.ret_type_id = ret_type_id
        self.params = params

    @property
    def is_variadic(self) -> bool:
        """Whether the last parameter is ``...``."""
        return bool(self.params) and not self.params[-1].name and not self.params[-1].type_id


class Var(Type):
    """A variable of type ``type_id``."""

    __slots__ = ("linkage", "type_id")
    kind = BTF_KIND_VAR

    def __init__(self, id: int, name: str, type_id: int, linkage: int) -> None:
        self.id = id
        self.name = name
        self.type_id = type_id
        self.linkage = linkage


class Datasec(Type):
    """A section of an object file (or the kernel's per-CPU area) and its variables."""

    __slots__ = ("size", "vars")
    kind = BTF_KIND_DATASEC

    def __init__(self, id: int, name: str, size: int, vars: tuple[SectionVar, ...]) -> None:
        self.id = id
        self.name = name
        self.size = size
        self.vars = vars


class Float(Type):
    """A floating-point number of ``size`` bytes."""

    __slots__ = ("size",)
    kind = BTF_KIND_FLOAT

    def __init__(self, id: int, name: str, size: int) -> None:
        self.id = id
        self.name = name
        self.size = size


class DeclTag(Type):
    """A tag (its name) on ``type_id``, or on its member or parameter ``component_idx`` (≥ 0)."""

    __slots__ = ("component_idx", "is_attribute", "type_id")
    kind = BTF_KIND_DECL_TAG

    def __init__(
        self, id: int, name: str, type_id: int, component_idx: int, is_attribute: bool = False
    ) -> None:
        self.id = id
        self.name = name
        self.type_id = type_id
        self.component_idx = component_idx
        self.is_attribute = is_attribute

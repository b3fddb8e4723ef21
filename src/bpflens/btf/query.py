"""Answers to a compiler's questions: members, functions, tracepoints, enumerators, variables.

Every function takes a :class:`~bpflens.btf.reader.Btf` and a name, reads only the types on the way
and returns ``None`` when there is no such thing; what to say about that is the caller's business.
Loops between types (only damaged BTF has them) end in :class:`~bpflens.errors.FormatError`.

Example::

    field(btf, btf.find("task_struct", BTF_KIND_STRUCT), "se.cfs_rq")   # Field(bit_offset=..., ...)
    [p.name for p in function(btf, "vfs_read").params]                 # ['file', 'buf', ...]
    enumerator(btf, "BPF_MAP_TYPE_HASH").value                         # 1
"""

from __future__ import annotations

from bpflens.btf.types import (
    Array,
    Datasec,
    Enum,
    Func,
    FuncProto,
    Param,
    Ptr,
    Struct,
    Var,
)
from bpflens.errors import FormatError
from bpflens.uapi.btf import (
    BTF_KIND_DATASEC,
    BTF_KIND_FUNC,
    BTF_KIND_STRUCT,
    BTF_KIND_TYPEDEF,
    BTF_KIND_UNION,
    BTF_KIND_VAR,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.btf.reader import Btf

__all__ = [
    "Enumerator",
    "Field",
    "Function",
    "Variable",
    "enumerator",
    "field",
    "function",
    "member",
    "members",
    "signature",
    "struct",
    "tracepoint",
    "variable",
]

# Bounds that only damaged BTF reaches. The kernel's deepest nest of anonymous structs is 5, and its
# largest struct has some hundred members.
_MAX_NESTING = 16
_MAX_STRUCTS = 256
_MAX_FIELDS = 65536

_TRACEPOINT_PREFIX = "btf_trace_"


class Field:
    """A place inside a type: where it begins and what lies there.

    ``bit_size`` is 0 unless it is a bit-field; ``path`` is the name as it was asked for.
    """

    __slots__ = ("bit_offset", "bit_size", "path", "type_id")

    def __init__(self, path: str, type_id: int, bit_offset: int, bit_size: int = 0) -> None:
        self.path = path
        self.type_id = type_id
        self.bit_offset = bit_offset
        self.bit_size = bit_size

    @property
    def offset(self) -> int:
        """The offset in whole bytes (rounded down for a bit-field)."""
        return self.bit_offset >> 3

    def __repr__(self) -> str:
        return f"Field({self.path!r}, {self.type_id}, {self.bit_offset}, {self.bit_size})"


class Function:
    """A function or tracepoint: its ``id``, parameters and what it returns (0 = void)."""

    __slots__ = ("id", "name", "params", "ret_type_id")

    def __init__(self, name: str, id: int, params: tuple[Param, ...], ret_type_id: int) -> None:
        self.name = name
        self.id = id
        self.params = params
        self.ret_type_id = ret_type_id

    def __repr__(self) -> str:
        return f"Function({self.name!r}, {self.id}, {self.params!r}, {self.ret_type_id})"


class Enumerator:
    """A named number and the enum it belongs to."""

    __slots__ = ("enum_id", "name", "value")

    def __init__(self, name: str, value: int, enum_id: int) -> None:
        self.name = name
        self.value = value
        self.enum_id = enum_id

    def __repr__(self) -> str:
        return f"Enumerator({self.name!r}, {self.value}, {self.enum_id})"


class Variable:
    """A global variable: its id and type, and its place in a section if that is known."""

    __slots__ = ("id", "name", "offset", "section", "size", "type_id")

    def __init__(
        self, name: str, id: int, type_id: int, section: str = "", offset: int = 0, size: int = 0
    ) -> None:
        self.name = name
        self.id = id
        self.type_id = type_id
        self.section = section
        self.offset = offset
        self.size = size

    @property
    def is_percpu(self) -> bool:
        """Whether every CPU has its own copy."""
        return self.section == ".data..percpu"


def struct(btf: Btf, name: str) -> int | None:
    """Return the id of the struct (or else union) called ``name``, or behind such a typedef."""
    for kind in (BTF_KIND_STRUCT, BTF_KIND_UNION):
        found = btf.find(name, kind)
        if found is not None:
            return found
    alias = btf.find(name, BTF_KIND_TYPEDEF)
    if alias is None:
        return None
    resolved = btf.resolve(alias)
    return resolved.id if isinstance(resolved, Struct) else None


def member(btf: Btf, struct_id: int, name: str) -> Field | None:
    """Find a member by name, also inside anonymous structs and unions, as C does."""
    return _member(btf, struct_id, name, 0, set())


def _member(btf: Btf, struct_id: int, name: str, base: int, seen: set[int]) -> Field | None:
    found = btf.resolve(struct_id)
    # A struct that was searched without success need not be searched again; that also ends loops.
    if not isinstance(found, Struct) or found.id in seen or len(seen) > _MAX_STRUCTS:
        return None
    seen.add(found.id)
    anonymous = []
    for item in found.members:
        if item.name == name:
            return Field(name, item.type_id, base + item.bit_offset, item.bit_size)
        if not item.name:
            anonymous.append(item)
    for item in anonymous:
        inner = _member(btf, item.type_id, name, base + item.bit_offset, seen)
        if inner is not None:
            return inner
    return None


def members(btf: Btf, struct_id: int) -> list[Field]:
    """Return all named members, those of anonymous structs and unions in their places.

    Raises :class:`FormatError` where anonymous members hold one another without end.
    """
    fields: list[Field] = []
    _members(btf, struct_id, 0, 0, fields)
    return fields


def _members(btf: Btf, struct_id: int, base: int, depth: int, fields: list[Field]) -> None:
    found = btf.resolve(struct_id)
    if depth > _MAX_NESTING or len(fields) > _MAX_FIELDS:
        raise FormatError("BTF", f"too many anonymous members at type {struct_id}")
    for item in found.members if isinstance(found, Struct) else ():
        if item.name:
            fields.append(Field(item.name, item.type_id, base + item.bit_offset, item.bit_size))
        else:
            _members(btf, item.type_id, base + item.bit_offset, depth + 1, fields)


def field(btf: Btf, type_id: int, path: str) -> Field | None:
    """Follow a path such as ``"se.run_node"`` or ``"thread.tls_array[2].base0"``.

    Pointers are not followed: a path stays inside one object.
    """
    bit_offset = 0
    bit_size = 0
    for part in path.replace("[", ".[").split("."):
        if part.startswith("[") and part.endswith("]"):
            array = btf.resolve(type_id)
            digits = part[1:-1]
            if not isinstance(array, Array) or not (digits.isascii() and digits.isdigit()):
                return None
            type_id = array.type_id
            bit_offset += int(digits) * btf.size_of(type_id) * 8
            bit_size = 0
            continue
        found = member(btf, type_id, part) if part else None
        if found is None:
            return None
        type_id, bit_size = found.type_id, found.bit_size
        bit_offset += found.bit_offset
    return Field(path, type_id, bit_offset, bit_size)


def signature(btf: Btf, type_id: int) -> FuncProto | None:
    """Return the prototype of a function, of a pointer to one, or of a typedef of either."""
    for _ in range(4):
        found = btf.resolve(type_id)
        if isinstance(found, FuncProto):
            return found
        if not isinstance(found, Func | Ptr):
            return None
        type_id = found.type_id
    return None


def function(btf: Btf, name: str) -> Function | None:
    """Find a function by name."""
    found = btf.find(name, BTF_KIND_FUNC)
    proto = signature(btf, found) if found is not None else None
    if found is None or proto is None:
        return None
    return Function(name, found, proto.params, proto.ret_type_id)


def tracepoint(btf: Btf, name: str) -> Function | None:
    """Find a raw tracepoint by name; its parameters are those a program sees.

    The kernel describes each by a typedef ``btf_trace_NAME`` of a pointer to the type of its
    probe functions, whose first parameter (``void *__data``) programs do not get. ``id`` is the
    typedef's, which loading a BTF-typed program asks for. The names of the parameters come
    from the function that calls the probes, where that function has BTF.
    """
    found = btf.find(_TRACEPOINT_PREFIX + name, BTF_KIND_TYPEDEF)
    proto = signature(btf, found) if found is not None else None
    if found is None or proto is None:
        return None
    params = proto.params[1:]
    if any(not param.name for param in params):
        params = _named_params(btf, name, params)
    return Function(name, found, params, proto.ret_type_id)


def _named_params(btf: Btf, name: str, params: tuple[Param, ...]) -> tuple[Param, ...]:
    # __bpf_trace_NAME has the types cast to u64; __traceiter_NAME (Linux 5.10) is as declared.
    for candidate in ("__traceiter_" + name, "__probestub_" + name):
        caller = function(btf, candidate)
        if caller and [p.type_id for p in caller.params[1:]] == [p.type_id for p in params]:
            return caller.params[1:]
    return params


def enumerator(btf: Btf, name: str) -> Enumerator | None:
    """Find an enumerator by name (of several with this name the one with the lowest type id)."""
    found = btf.find_enumerator(name)
    if not found:
        return None
    enum_id, number = min(found)
    enum = btf.type(enum_id)
    assert isinstance(enum, Enum)
    return Enumerator(name, enum.values[number][1], enum_id)


def variable(btf: Btf, name: str) -> Variable | None:
    """Find a global variable by name, with its place in its section."""
    found = btf.find(name, BTF_KIND_VAR)
    var = btf.type(found) if found is not None else None
    if not isinstance(var, Var):
        return None
    for section_id in btf.ids_of_kind(BTF_KIND_DATASEC):
        section = btf.type(section_id)
        assert isinstance(section, Datasec)
        for item in section.vars:
            if item.type_id == var.id:
                return Variable(name, var.id, var.type_id, section.name, item.offset, item.size)
    return Variable(name, var.id, var.type_id)

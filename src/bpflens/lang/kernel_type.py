"""From the kernel's BTF types to the types of the tracing language.

Conversion is lazy: a struct's fields are converted when a script first touches one. ``char``
arrays become strings, other integers keep size and sign, enums keep their enumerators.

Example::

    types = KernelTypes(btf)
    types.named("struct task_struct").field("comm").type     # String(16)
"""

from __future__ import annotations

from bpflens.btf import query
from bpflens.btf import types as btf_types
from bpflens.lang.types import (
    BOOL,
    NONE,
    Array,
    Enum,
    FieldInfo,
    Int,
    Pointer,
    String,
    Struct,
    Type,
)  # fmt: skip
from bpflens.uapi.btf import (
    BTF_KIND_ENUM,
    BTF_KIND_ENUM64,
    BTF_KIND_INT,
    BTF_KIND_STRUCT,
    BTF_KIND_TYPEDEF,
    BTF_KIND_UNION,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.btf import Btf

__all__ = ["KernelTypes"]

_KINDS = {
    "": (BTF_KIND_TYPEDEF, BTF_KIND_INT),
    "struct": (BTF_KIND_STRUCT,),
    "union": (BTF_KIND_UNION,),
    "enum": (BTF_KIND_ENUM, BTF_KIND_ENUM64),
}


class KernelTypes:
    """The types of one BTF, converted on demand; ``space`` is where pointers point by default."""

    __slots__ = ("_cache", "btf", "space")

    def __init__(self, btf: Btf, space: str = "kernel") -> None:
        self.btf = btf
        self.space = space
        self._cache: dict[int, Type] = {}

    def convert(self, type_id: int) -> Type:
        """Return the language's type for a BTF type id (0 is void)."""
        found = self._cache.get(type_id)
        if found is None:
            found = self._cache[type_id] = self._convert(self.btf.resolve(type_id))
        return found

    def named(self, name: str, tag: str = "") -> Type | None:
        """Return the type of that name ("task_struct" with tag "struct", or a typedef)."""
        for kind in _KINDS[tag]:
            type_id = self.btf.find(name, kind)
            if type_id is not None:
                return self.convert(type_id)
        return None

    def enumerator(self, name: str) -> tuple[int, Type] | None:
        """Return value and type of an enumerator of any kernel enum."""
        for type_id, value in self.btf.find_enumerator(name):
            return value, self.convert(type_id)
        return None

    def function(self, name: str) -> tuple[list[tuple[str, Type]], Type] | None:
        """Return the parameters ``(name, type)`` and the result type of a kernel function."""
        found = query.function(self.btf, name)
        return self._signature(found) if found else None

    def raw_tracepoint(self, event: str) -> list[tuple[str, Type]] | None:
        """Return the arguments of a raw tracepoint, from its ``btf_trace_EVENT`` prototype."""
        found = query.tracepoint(self.btf, event)
        return self._signature(found)[0] if found else None

    def variable(self, name: str) -> Type | None:
        """Return the type of a variable of the kernel."""
        found = query.variable(self.btf, name)
        return self.convert(found.type_id) if found else None

    def _signature(self, found: query.Function) -> tuple[list[tuple[str, Type]], Type]:
        params = [(param.name, self.convert(param.type_id)) for param in found.params]
        return params, self.convert(found.ret_type_id)

    def _convert(self, source: btf_types.Type) -> Type:
        if isinstance(source, btf_types.Int):
            return _integer(source)
        if isinstance(source, btf_types.Ptr):
            return Pointer(self.convert(source.type_id), self.space)
        if isinstance(source, btf_types.Struct):
            return self._struct(source)
        if isinstance(source, btf_types.Array):
            return self._array(source)
        if isinstance(source, btf_types.Enum):
            return _enum(source)
        return NONE

    def _struct(self, source: btf_types.Struct) -> Struct:
        word = "union" if isinstance(source, btf_types.Union) else "struct"
        name = source.name or f"(anonymous_{source.id})"
        return Struct(f"{word} {name}", source.size, lambda: self._fields(source, 0))

    def _fields(self, source: btf_types.Struct, base_bits: int) -> list[FieldInfo]:
        fields: list[FieldInfo] = []
        for member in source.members:
            bits = base_bits + member.bit_offset
            if not member.name:
                # Members of anonymous structs and unions are reached under their own names.
                inner = self.btf.resolve(member.type_id)
                if isinstance(inner, btf_types.Struct):
                    fields += self._fields(inner, bits)
                continue
            kind = self.convert(member.type_id)
            first_bit = bits if member.bit_size else 0
            fields.append(FieldInfo(member.name, kind, bits // 8, first_bit, member.bit_size))
        return fields

    def _array(self, source: btf_types.Array) -> Type:
        element = self.convert(source.type_id)
        if isinstance(element, Int) and element.size == 1 and element.signed:
            return String(source.nr_elems, complete=True)
        return Array(element, source.nr_elems)


def _integer(source: btf_types.Int) -> Type:
    if source.is_bool:
        return BOOL
    if source.size not in (1, 2, 4, 8):
        # __int128 and its like do not fit in a register; they are shown byte by byte.
        return Array(Int(1, False), source.size)
    # BTF calls plain char unsigned or signed by architecture; text is what people mean by it.
    return Int(source.size, source.is_signed or source.name == "char")


def _enum(source: btf_types.Enum) -> Type:
    values = {value: name for name, value in source.values}
    return Enum(source.name, source.size, source.is_signed, values)

"""From the kernel's BTF types to the types of the tracing language.

Conversion is lazy: a struct's fields are converted when a script first touches one. ``char``
arrays become strings, other integers keep size and sign, enums keep their enumerators.

Example::

    types = KernelTypes(btf)
    types.named("struct task_struct").field("comm").type     # String(16)
"""

from __future__ import annotations

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
)
from bpflens.uapi.btf import (
    BTF_KIND_ARRAY,
    BTF_KIND_ENUM,
    BTF_KIND_ENUM64,
    BTF_KIND_FUNC,
    BTF_KIND_FUNC_PROTO,
    BTF_KIND_INT,
    BTF_KIND_PTR,
    BTF_KIND_STRUCT,
    BTF_KIND_TYPEDEF,
    BTF_KIND_UNION,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.btf import Btf

__all__ = ["KernelTypes"]

_TAG_KINDS = {"struct": BTF_KIND_STRUCT, "union": BTF_KIND_UNION, "enum": BTF_KIND_ENUM}


class KernelTypes:
    """The types of one BTF, converted on demand; ``space`` is where pointers point by default."""

    __slots__ = ("_cache", "_enumerators", "btf", "space")

    def __init__(self, btf: Btf, space: str = "kernel") -> None:
        self.btf = btf
        self.space = space
        self._cache: dict[int, Type] = {}

    def convert(self, type_id: int) -> Type:
        """Return the language's type for a BTF type id (0 is void)."""
        if type_id == 0:
            return NONE
        found = self._cache.get(type_id)
        if found is None:
            found = self._cache[type_id] = self._convert(self.btf.resolve(type_id))
        return found

    def named(self, name: str, tag: str = "") -> Type | None:
        """Return the type of that name ("task_struct" with tag "struct", or a typedef)."""
        kinds = [_TAG_KINDS[tag]] if tag else [BTF_KIND_TYPEDEF, BTF_KIND_INT]
        if tag == "enum":
            kinds.append(BTF_KIND_ENUM64)
        for kind in kinds:
            type_id = self.btf.find(name, kind)
            if type_id is not None:
                return self.convert(type_id)
        return None

    def enumerator(self, name: str) -> tuple[int, Type] | None:
        """Return value and type of an enumerator of any kernel enum."""
        found = self.btf.find_enumerator(name)
        if found is None:
            return None
        type_id, value = found
        return value, self.convert(type_id)

    def function(self, name: str) -> tuple[list[tuple[str, Type]], Type] | None:
        """Return the parameters ``(name, type)`` and the result type of a kernel function."""
        type_id = self.btf.find(name, BTF_KIND_FUNC)
        if type_id is None:
            return None
        return self.prototype(self.btf.type(type_id).type_id)  # type: ignore[attr-defined]

    def raw_tracepoint(self, event: str) -> list[tuple[str, Type]] | None:
        """Return the arguments of a raw tracepoint, from its ``btf_trace_EVENT`` prototype."""
        type_id = self.btf.find(f"btf_trace_{event}", BTF_KIND_TYPEDEF)
        if type_id is None:
            return None
        pointer = self.btf.type(self.btf.resolve(type_id))
        found = self.prototype(pointer.type_id)  # type: ignore[attr-defined]
        # The first parameter is the void *__data of the tracepoint machinery.
        return found[0][1:] if found else None

    def prototype(self, type_id: int) -> tuple[list[tuple[str, Type]], Type] | None:
        """Return parameters and result of a function prototype."""
        proto = self.btf.type(self.btf.resolve(type_id))
        if proto.kind != BTF_KIND_FUNC_PROTO:
            return None
        params = [(p.name, self.convert(p.type_id)) for p in proto.params]  # type: ignore[attr-defined]
        return params, self.convert(proto.ret_type_id)  # type: ignore[attr-defined]

    def _convert(self, type_id: int) -> Type:
        source = self.btf.type(type_id)
        kind = source.kind
        if kind == BTF_KIND_INT:
            return _integer(source)
        if kind == BTF_KIND_PTR:
            return self._pointer(source.type_id)  # type: ignore[attr-defined]
        if kind in (BTF_KIND_STRUCT, BTF_KIND_UNION):
            return self._struct(type_id, source)
        if kind == BTF_KIND_ARRAY:
            return self._array(source)
        if kind in (BTF_KIND_ENUM, BTF_KIND_ENUM64):
            return _enum(source)
        return NONE

    def _pointer(self, target_id: int) -> Pointer:
        # Do not convert the target of a pointer to a struct eagerly: its own cache entry must
        # exist first where types refer to each other; Struct is lazy, so this ends.
        return Pointer(self.convert(target_id), self.space)

    def _struct(self, type_id: int, source: object) -> Struct:
        word = "union" if source.kind == BTF_KIND_UNION else "struct"  # type: ignore[attr-defined]
        name = source.name or f"(anonymous_{type_id})"  # type: ignore[attr-defined]
        return Struct(
            f"{word} {name}",
            source.size,  # type: ignore[attr-defined]
            lambda: list(self._fields(type_id, 0)),
        )

    def _fields(self, type_id: int, base_bits: int) -> list[FieldInfo]:
        fields: list[FieldInfo] = []
        for member in self.btf.type(type_id).members:  # type: ignore[attr-defined]
            bits = base_bits + member.bit_offset
            if not member.name:
                # Members of anonymous structs and unions are reached under their own names.
                inner = self.btf.resolve(member.type_id)
                if self.btf.type(inner).kind in (BTF_KIND_STRUCT, BTF_KIND_UNION):
                    fields += self._fields(inner, bits)
                continue
            fields.append(
                FieldInfo(
                    member.name,
                    self.convert(member.type_id),
                    bits // 8,
                    bits if member.bit_size else 0,
                    member.bit_size,
                )
            )
        return fields

    def _array(self, source: object) -> Type:
        element = self.convert(source.elem_type_id)  # type: ignore[attr-defined]
        length: int = source.nr_elems  # type: ignore[attr-defined]
        if isinstance(element, Int) and element.size == 1 and element.signed:
            return String(length)
        return Array(element, length)


def _integer(source: object) -> Type:
    name: str = source.name  # type: ignore[attr-defined]
    size: int = source.size  # type: ignore[attr-defined]
    if name in ("_Bool", "bool"):
        return BOOL
    if size not in (1, 2, 4, 8):
        # __int128 and its like do not fit in a register; they are shown byte by byte.
        return Array(Int(1, False), size)
    # BTF calls plain char unsigned or signed by architecture; text is what people mean by it.
    return Int(size, bool(source.is_signed) or name == "char")  # type: ignore[attr-defined]


def _enum(source: object) -> Type:
    values = {value.value: value.name for value in source.values}  # type: ignore[attr-defined]
    tag: str = source.name  # type: ignore[attr-defined]
    size: int = source.size  # type: ignore[attr-defined]
    signed = bool(source.is_signed)  # type: ignore[attr-defined]
    return Enum(tag, size, signed, values) if tag or values else Int(size, signed)

"""BTF for the maps of a script, so that ``bpftool map dump`` shows typed keys and values.

Script types become C types of the same layout; the result is one BTF blob, and the map specs get
the ids of their keys and values.
"""

from __future__ import annotations

from bpflens.btf.builder import Builder
from bpflens.lang.types import (
    Aggregate,
    Array,
    Avg,
    Bool,
    Buffer,
    Count,
    Enum,
    Int,
    Max,
    Min,
    Pointer,
    Record,
    Stats,
    String,
    Sum,
    Tuple,
    Type,
)  # fmt: skip
from bpflens.uapi.btf import BTF_INT_BOOL, BTF_INT_SIGNED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from bpflens.lang.lower.resource import Resources
    from bpflens.spec import MapSpec

__all__ = ["describe"]


def describe(resources: Resources, specs: Mapping[str, MapSpec]) -> bytes:
    """Describe the keys and values of script maps; sets their type ids and returns the BTF."""
    names = _Types()
    for plan in resources.maps.values():
        spec = specs[plan.spec.name]
        spec.key_type_id = names.of(plan.key) if plan.key is not None else names.integer(4, False)
        short = plan.short
        if short is not None:
            short.key_type_id = names.of(String(short.key_size))
            short.value_type_id = names.value(plan.value, spec.value_size, plan.set_offset)
        spec.value_type_id = names.value(plan.value, spec.value_size, plan.set_offset)
    return names.builder.build()


class _Types:
    # Adds types to one BTF, each once.

    def __init__(self) -> None:
        self.builder = Builder()
        self._ids: dict[Type, int] = {}

    def integer(self, size: int, signed: bool) -> int:
        """Return the id of an integer type."""
        return self.of(Int(size, signed))

    def of(self, kind: Type) -> int:
        """Return the id of the C type with the layout of ``kind``."""
        found = self._ids.get(kind)
        if found is None:
            found = self._ids[kind] = self._add(kind)
        return found

    def value(self, kind: Type, size: int, set_offset: int) -> int:
        """Return the id of a map's value: the type itself where it fills the value."""
        if set_offset < 0 and kind.size == size:
            return self.of(kind)
        members = [("value", self.of(kind), 0)]
        if set_offset >= 0:
            members.append(("is_set", self.integer(8, False), set_offset * 8))
        return self.builder.add_struct("", size, members)

    def _add(self, kind: Type) -> int:
        build = self.builder
        if isinstance(kind, Int):
            name = f"{'' if kind.signed else 'unsigned '}{_C_NAMES[kind.size]}"
            return build.add_int(name, kind.size, BTF_INT_SIGNED if kind.signed else 0)
        if isinstance(kind, Bool):
            return build.add_int("_Bool", 1, BTF_INT_BOOL)
        if isinstance(kind, Enum):
            return self.integer(kind.size, kind.signed)
        if isinstance(kind, String):
            char = build.add_int("char", 1, BTF_INT_SIGNED)
            return build.add_array(char, self.integer(4, False), kind.size)
        if isinstance(kind, Pointer):
            return build.add_ptr(0)
        if isinstance(kind, Array):
            return build.add_array(self.of(kind.element), self.integer(4, False), kind.length)
        if isinstance(kind, Tuple):
            names = (
                kind.names
                if isinstance(kind, Record)
                else [f"f{i}" for i in range(len(kind.items))]
            )
            members = [
                (name, self.of(item), offset * 8)
                for name, item, offset in zip(names, kind.items, kind.offsets, strict=True)
            ]
            return build.add_struct("", kind.size, members)
        if isinstance(kind, Aggregate):
            return self._slots(kind)
        if isinstance(kind, Buffer):
            data = build.add_array(self.integer(1, False), self.integer(4, False), kind.size - 4)
            length = self.integer(4, False)
            return build.add_struct("", kind.size, [("length", length, 0), ("data", data, 32)])
        return build.add_array(self.integer(1, False), self.integer(4, False), kind.size)

    def _slots(self, kind: Aggregate) -> int:
        word = self.integer(8, bool(getattr(kind, "signed", False)))
        names = _SLOT_NAMES.get(type(kind))
        if names is None:
            return self.builder.add_array(
                self.integer(8, False), self.integer(4, False), kind.slots
            )
        if len(names) == 1:
            return self.integer(8, False)
        members = [
            (name, word if i == 0 else self.integer(8, False), i * 64)
            for i, name in enumerate(names)
        ]
        return self.builder.add_struct("", kind.size, members)


_C_NAMES = {1: "char", 2: "short", 4: "int", 8: "long long"}
_SLOT_NAMES: dict[type[Aggregate], tuple[str, ...]] = {
    Count: ("count",),
    Sum: ("total", "is_set"),
    Min: ("value", "is_set"),
    Max: ("value", "is_set"),
    Avg: ("total", "count"),
    Stats: ("total", "count"),
}

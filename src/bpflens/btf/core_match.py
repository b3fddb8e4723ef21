"""Whether two types of two BTFs are the same for CO-RE's purposes: three notions of "same".

* :func:`fields_compatible`: may a field of the one type be read as a field of the other?
* :func:`types_compatible`: does ``bpf_core_type_exists`` hold?
* :func:`types_match`: does ``bpf_core_type_matches`` hold (members, sizes, signs and all)?

They follow libbpf's rules (``relo_core.c``), so that an object behaves here as it does there.
Typedefs and modifiers never count. A name may carry a flavour (``task_struct___old``), which does
not count either. Types that loop or nest too deep raise :class:`~bpflens.errors.FormatError`.

Example::

    essential_name("task_struct___old")      # 'task_struct'
"""

from __future__ import annotations

from bpflens.btf.types import Array, Enum, Float, FuncProto, Fwd, Int, Ptr, Struct, Union, Void
from bpflens.errors import FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.btf.reader import Btf
    from bpflens.btf.types import Type

__all__ = [
    "essential_name",
    "fields_compatible",
    "kinds_compatible",
    "types_compatible",
    "types_match",
]

_MAX_DEPTH = 32
# How many pairs one question may compare. Types of real programs need some hundred; without a
# bound, prototypes of prototypes in a hostile object could ask for any number.
_MAX_PAIRS = 1 << 16


def essential_name(name: str) -> str:
    """Return a name without its flavour: ``a___b`` → ``a``; what is around ``___`` is no ``_``."""
    for i in range(len(name) - 5, -1, -1):
        if name[i + 1 : i + 4] == "___" and name[i] != "_" and name[i + 4] != "_":
            return name[: i + 1]
    return name


def kinds_compatible(local: Type, target: Type) -> bool:
    """Return whether two types are of one kind (both sizes of enum are one)."""
    return local.kind == target.kind or (isinstance(local, Enum) and isinstance(target, Enum))


def _names_match(local: str, target: str) -> bool:
    return essential_name(local) == essential_name(target)


def fields_compatible(local_btf: Btf, local_id: int, target_btf: Btf, target_id: int) -> bool:
    """Return whether a field of the local type may be relocated to one of the target type."""
    for _ in range(_MAX_DEPTH):
        local, target = local_btf.resolve(local_id), target_btf.resolve(target_id)
        if isinstance(local, Struct) and isinstance(target, Struct):
            return True
        if not kinds_compatible(local, target):
            return False
        if isinstance(local, Array) and isinstance(target, Array):
            local_id, target_id = local.type_id, target.type_id
            continue
        if isinstance(local, Fwd | Enum):
            names = essential_name(local.name), essential_name(target.name)
            return not names[0] or not names[1] or names[0] == names[1]
        if isinstance(local, Int) and isinstance(target, Int):
            return not local.bit_offset and not target.bit_offset
        return isinstance(local, Ptr | Float)
    raise FormatError("CO-RE", "arrays are nested too deep", f"type {local_id}")


class _Comparison:
    # One question about two types: the BTFs and how many pairs have been looked at.
    __slots__ = ("left", "local", "target")

    def __init__(self, local: Btf, target: Btf) -> None:
        self.local = local
        self.target = target
        self.left = _MAX_PAIRS

    def pair(self, local_id: int, target_id: int, depth: int) -> tuple[Type, Type]:
        self.left -= 1
        if depth > _MAX_DEPTH or not self.left:
            raise FormatError("CO-RE", "types are nested too deep", f"type {local_id}")
        return self.local.resolve(local_id), self.target.resolve(target_id)

    def compatible(self, local_id: int, target_id: int, depth: int = 0) -> bool:
        while True:
            local, target = self.pair(local_id, target_id, depth)
            if not kinds_compatible(local, target):
                return False
            if isinstance(local, Void | Struct | Enum | Fwd):
                return True
            if isinstance(local, Int) and isinstance(target, Int):
                return not local.bit_offset and not target.bit_offset
            if isinstance(local, FuncProto) and isinstance(target, FuncProto):
                if len(local.params) != len(target.params):
                    return False
                for mine, theirs in zip(local.params, target.params, strict=True):
                    if not self.compatible(mine.type_id, theirs.type_id, depth + 1):
                        return False
                local_id, target_id = local.ret_type_id, target.ret_type_id
            elif isinstance(local, Ptr | Array) and isinstance(target, Ptr | Array):
                local_id, target_id = local.type_id, target.type_id
            else:
                return False
            depth += 1

    def match(self, local_id: int, target_id: int, behind_pointer: bool, depth: int = 0) -> bool:
        while True:
            local, target = self.pair(local_id, target_id, depth)
            if not _names_match(local.name, target.name):
                return False
            if isinstance(local, Fwd):
                return _forward_matches(local, target, behind_pointer)
            if isinstance(local, Enum):
                return isinstance(target, Enum) and _enums_match(local, target)
            if isinstance(local, Struct):
                return self.structs_match(local, target, behind_pointer, depth)
            if local.kind != target.kind:
                return False
            if isinstance(local, Int) and isinstance(target, Int):
                return local.size == target.size and local.is_signed == target.is_signed
            if isinstance(local, FuncProto) and isinstance(target, FuncProto):
                if len(local.params) != len(target.params):
                    return False
                for mine, theirs in zip(local.params, target.params, strict=True):
                    if not self.match(mine.type_id, theirs.type_id, behind_pointer, depth + 1):
                        return False
                local_id, target_id = local.ret_type_id, target.ret_type_id
            elif isinstance(local, Array) and isinstance(target, Array):
                if local.nr_elems != target.nr_elems:
                    return False
                local_id, target_id = local.type_id, target.type_id
            elif isinstance(local, Ptr) and isinstance(target, Ptr):
                behind_pointer = True
                local_id, target_id = local.type_id, target.type_id
            else:
                return isinstance(local, Void)
            depth += 1

    def structs_match(self, local: Struct, target: Type, behind_pointer: bool, depth: int) -> bool:
        if behind_pointer:
            if isinstance(target, Fwd):
                return target.is_union == isinstance(local, Union)
            return local.kind == target.kind
        if not isinstance(target, Struct) or local.kind != target.kind:
            return False
        if len(local.members) > len(target.members):
            return False
        by_name: dict[str, list[int]] = {}
        for member in target.members:
            by_name.setdefault(essential_name(member.name), []).append(member.type_id)
        for member in local.members:
            choices = by_name.get(essential_name(member.name), ())
            if not any(self.match(member.type_id, c, False, depth + 1) for c in choices):
                return False
        return True


def _forward_matches(local: Fwd, target: Type, behind_pointer: bool) -> bool:
    if isinstance(target, Fwd):
        return local.is_union == target.is_union
    return (
        behind_pointer
        and isinstance(target, Struct)
        and (local.is_union == isinstance(target, Union))
    )


def _enums_match(local: Enum, target: Enum) -> bool:
    if local.size != target.size or len(local.values) > len(target.values):
        return False
    names = {essential_name(name) for name, _ in target.values}
    return all(essential_name(name) in names for name, _ in local.values)


def types_compatible(local_btf: Btf, local_id: int, target_btf: Btf, target_id: int) -> bool:
    """Return whether the target type is what the local one describes, by kinds alone."""
    # The kinds of the types themselves count, before typedefs are looked through.
    if not kinds_compatible(local_btf.type(local_id), target_btf.type(target_id)):
        return False
    return _Comparison(local_btf, target_btf).compatible(local_id, target_id)


def types_match(local_btf: Btf, local_id: int, target_btf: Btf, target_id: int) -> bool:
    """Return whether the target type has all that the local one has, of the same form."""
    return _Comparison(local_btf, target_btf).match(local_id, target_id, False)

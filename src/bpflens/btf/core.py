"""CO-RE: what a relocation recorded by the compiler comes to on a given kernel.

The compiler leaves for each place in the code that depends on a kernel type: the kind of question
(offset of a field, does it exist, size of a type, value of an enumerator, ...), the type as the
program knows it (``local``) and an access string such as ``0:1:3`` that leads to the field.
:class:`Relocator` finds the types of the same name in the target BTF, follows the same names there
(not the same positions) and answers with a :class:`Result`. :mod:`bpflens.btf.core_patch` writes
it into the instruction.

The rules are libbpf's (``relo_core.c``). All candidates that fit must agree; no candidate means
"does not exist", which for most kinds makes the instruction invalid (``poison``), so that the
verifier refuses it unless it is never reached.

Bad records, and candidates that disagree, raise :class:`~bpflens.errors.FormatError`.

Example::

    relocator = Relocator(program_btf, vmlinux)
    for relo in ext.core_relo["tp_btf/sched_switch"]:
        result = relocator.relocate(relo.kind, relo.type_id, relo.access)
"""

from __future__ import annotations

import sys

from bpflens.btf.core_match import (
    essential_name,
    fields_compatible,
    kinds_compatible,
    types_compatible,
    types_match,
)
from bpflens.btf.types import Array, Enum, Int, Ptr, Struct
from bpflens.errors import FormatError
from bpflens.uapi.bpf import (
    BPF_CORE_ENUMVAL_EXISTS,
    BPF_CORE_ENUMVAL_VALUE,
    BPF_CORE_FIELD_BYTE_OFFSET,
    BPF_CORE_FIELD_BYTE_SIZE,
    BPF_CORE_FIELD_EXISTS,
    BPF_CORE_FIELD_LSHIFT_U64,
    BPF_CORE_FIELD_RSHIFT_U64,
    BPF_CORE_FIELD_SIGNED,
    BPF_CORE_TYPE_EXISTS,
    BPF_CORE_TYPE_ID_LOCAL,
    BPF_CORE_TYPE_ID_TARGET,
    BPF_CORE_TYPE_MATCHES,
    BPF_CORE_TYPE_SIZE,
    CORE_RELO_KIND_NAMES,
)
from bpflens.uapi.btf import BTF_KIND_ENUM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bpflens.btf.reader import Btf

__all__ = ["Relocator", "Result", "Spec", "match", "parse_access", "relocate"]

_MAX_SPEC = 64
_U64 = (1 << 64) - 1

_TYPE_KINDS = (
    BPF_CORE_TYPE_ID_LOCAL,
    BPF_CORE_TYPE_ID_TARGET,
    BPF_CORE_TYPE_EXISTS,
    BPF_CORE_TYPE_SIZE,
    BPF_CORE_TYPE_MATCHES,
)
_ENUM_KINDS = (BPF_CORE_ENUMVAL_EXISTS, BPF_CORE_ENUMVAL_VALUE)


class Result:
    """The answer to one relocation.

    ``value`` is the number on the target and ``original`` what the compiler assumed, both as 64
    unsigned bits; ``validate`` tells whether the instruction must hold ``original``. ``exists``:
    a candidate was found (``target_btf``, ``target_id``, and ``spec``, the way into it).
    ``poison``: the instruction must be made invalid. ``old_size`` and ``new_size`` are the sizes
    of the field for loads and stores (0 = does not matter), and ``bad_size`` that a load or store
    cannot be made to fit.
    """

    __slots__ = (
        "bad_size",
        "exists",
        "kind",
        "new_size",
        "old_size",
        "original",
        "poison",
        "spec",
        "target_btf",
        "target_id",
        "validate",
        "value",
        "where",
    )

    def __init__(self, kind: int, where: str) -> None:
        self.kind = kind
        self.where = where
        self.value = 0
        self.original = 0
        self.validate = True
        self.exists = False
        self.poison = False
        self.old_size = 0
        self.new_size = 0
        self.bad_size = False
        self.spec: Spec | None = None
        self.target_btf: Btf | None = None
        self.target_id = 0

    def __repr__(self) -> str:
        words = ["poison"] if self.poison else [f"{self.original} -> {self.value}"]
        if self.old_size != self.new_size:
            words.append(f"size {self.old_size} -> {self.new_size}")
        return f"<{self.where}: {', '.join(words)}>"


class _Step:
    # A named member (of the struct ``type_id``), or else an element (``type_id`` is its type).
    __slots__ = ("index", "name", "type_id")

    def __init__(self, type_id: int, index: int, name: str) -> None:
        self.type_id = type_id
        self.index = index
        self.name = name


class Spec:
    """A way into a type: the steps that have a meaning, and where they lead.

    ``path`` has every member on the way, also those without a name, as (id of the struct, number
    of the member): what a reduced BTF must keep.
    """

    __slots__ = ("bit_offset", "btf", "kind", "path", "root_id", "steps")

    def __init__(self, btf: Btf, root_id: int, kind: int) -> None:
        self.btf = btf
        self.root_id = root_id
        self.kind = kind
        self.steps: list[_Step] = []
        self.path: list[tuple[int, int]] = []
        self.bit_offset = 0

    def __str__(self) -> str:
        name = self.btf.name(self.root_id) or "<anon>"
        path = "".join(
            f".{s.name}" if s.name else f"[{s.index}]" if i or s.index else ""
            for i, s in enumerate(self.steps)
        )
        return f"{name}{'::' + path[1:] if self.kind in _ENUM_KINDS else path}"


def parse_access(btf: Btf, kind: int, type_id: int, access: str) -> Spec:
    """Follow an access string into the type of the program's own BTF."""
    spec = Spec(btf, type_id, kind)
    if not 0 <= kind < len(CORE_RELO_KIND_NAMES):
        raise FormatError("CO-RE", f"unknown kind of relocation {kind}")
    if kind in _TYPE_KINDS:
        if access != "0":
            raise FormatError("CO-RE", f"access {access!r} to a whole type", btf.name(type_id))
        return spec
    indexes = _indexes(access)
    root = btf.resolve(type_id)
    if kind in _ENUM_KINDS:
        if not isinstance(root, Enum) or len(indexes) > 1 or indexes[0] >= len(root.values):
            raise FormatError("CO-RE", f"access {access!r} is no enumerator", btf.name(type_id))
        spec.steps.append(_Step(root.id, indexes[0], root.values[indexes[0]][0]))
        return spec
    spec.steps.append(_Step(root.id, indexes[0], ""))
    spec.bit_offset = indexes[0] * btf.size_of(root.id) * 8
    for index in indexes[1:]:
        type_id = _enter(spec, type_id, index, access)
    return spec


def _indexes(access: str) -> list[int]:
    parts = access.split(":")
    if len(parts) > _MAX_SPEC or not all(
        p.isascii() and p.isdigit() and len(p) < 10 for p in parts
    ):
        raise FormatError("CO-RE", f"wrong access string {access[:80]!r}")
    return [int(part) for part in parts]


def _enter(spec: Spec, type_id: int, index: int, access: str) -> int:
    # One step down; returns the type that it leads to.
    btf = spec.btf
    found = btf.resolve(type_id)
    if isinstance(found, Struct) and index < len(found.members):
        member = found.members[index]
        spec.bit_offset += member.bit_offset
        spec.path.append((found.id, index))
        if member.name:
            spec.steps.append(_Step(found.id, index, member.name))
        return member.type_id
    if isinstance(found, Array) and (index < found.nr_elems or _is_flexible(spec, found)):
        element = btf.resolve(found.type_id).id
        spec.steps.append(_Step(element, index, ""))
        spec.bit_offset += index * btf.size_of(element) * 8
        return element
    raise FormatError("CO-RE", f"access {access!r} leads nowhere", btf.name(spec.root_id))


def _is_flexible(spec: Spec, array: Array) -> bool:
    # An array without a size at the end of a struct.
    last = spec.steps[-1]
    owner = spec.btf.type(last.type_id)
    return bool(
        not array.nr_elems
        and last.name
        and isinstance(owner, Struct)
        and last.index == len(owner.members) - 1
    )


class Relocator:
    """Answers the relocations of one object; remembers the candidates of each type.

    ``target`` is the kernel's BTF; ``modules`` gives those of modules and is only asked for
    types that the kernel's BTF does not have.
    """

    __slots__ = ("_candidates", "_modules", "local", "target")

    def __init__(
        self, local: Btf, target: Btf, modules: Callable[[], Iterable[Btf]] | None = None
    ) -> None:
        self.local = local
        self.target = target
        self._modules = modules
        self._candidates: dict[int, list[tuple[Btf, int]]] = {}

    def candidates(self, local_id: int) -> list[tuple[Btf, int]]:
        """Return the target types whose kind and name (flavours aside) are those of a local one."""
        found = self._candidates.get(local_id)
        if found is None:
            found = self._search(self.target, local_id)
            for module in self._modules() if self._modules and not found else ():
                found += self._search(module, local_id)
            self._candidates[local_id] = found
        return found

    def _search(self, btf: Btf, local_id: int) -> list[tuple[Btf, int]]:
        local = self.local.type(local_id)
        name = essential_name(local.name)
        ids = btf.find_all(name)
        ids += [id for long, id in btf.find_prefix(name + "___") if essential_name(long) == name]
        if btf is not self.target:
            ids = [id for id in ids if id >= btf.start_id]
        return [(btf, id) for id in sorted(ids) if kinds_compatible(local, btf.type(id))]

    def relocate(self, kind: int, local_id: int, access: str) -> Result:
        """Return what a relocation comes to on the target."""
        spec = parse_access(self.local, kind, local_id, access)
        where = f"{CORE_RELO_KIND_NAMES[kind]} {spec}"
        if kind == BPF_CORE_TYPE_ID_LOCAL:
            result = Result(kind, where)
            result.value = result.original = local_id
            result.validate = False
            result.exists = True
            return result
        if not self.local.name(local_id):
            raise FormatError("CO-RE", "an anonymous type cannot be looked for", where)
        chosen: Result | None = None
        offset = 0
        fitting = []
        for btf, id in self.candidates(local_id):
            target = match(spec, btf, id)
            if target is None:
                continue
            result = _calculate(kind, where, spec, target)
            if chosen is None:
                chosen, offset = result, target.bit_offset
            elif target.bit_offset != offset or (result.poison, result.value) != (
                chosen.poison,
                chosen.value,
            ):
                raise FormatError("CO-RE", "several types of this name disagree", where)
            fitting.append((btf, id))
        if chosen is None:
            return _calculate(kind, where, spec, None)
        # Those that did not fit once are not asked again, as libbpf does it: a program may
        # single out a flavour by a field that only it has.
        self._candidates[local_id] = fitting
        return chosen


def relocate(kind: int, local_btf: Btf, local_id: int, access: str, target_btf: Btf) -> Result:
    """Return what a single relocation comes to (a :class:`Relocator` is faster for many)."""
    return Relocator(local_btf, target_btf).relocate(kind, local_id, access)


def match(local: Spec, btf: Btf, id: int) -> Spec | None:
    """Follow the steps of a local spec into a candidate type by name; ``None`` if it lacks one."""
    target = Spec(btf, id, local.kind)
    if local.kind == BPF_CORE_TYPE_MATCHES:
        return target if types_match(local.btf, local.root_id, btf, id) else None
    if local.kind in _TYPE_KINDS:
        return target if types_compatible(local.btf, local.root_id, btf, id) else None
    if local.kind in _ENUM_KINDS:
        return _match_enumerator(local, target)
    type_id: int | None = id
    for number, step in enumerate(local.steps):
        assert type_id is not None
        if step.name:
            type_id = _match_member(local.btf, step, target, type_id, 0, set())
        else:
            type_id = _match_element(step, target, type_id, number == 0)
        if type_id is None:
            return None
    return target


def _match_enumerator(local: Spec, target: Spec) -> Spec | None:
    enum = target.btf.resolve(target.root_id)
    wanted = essential_name(local.steps[0].name)
    for index, (name, _) in enumerate(enum.values if isinstance(enum, Enum) else ()):
        if essential_name(name) == wanted:
            target.steps.append(_Step(enum.id, index, name))
            return target
    return None


def _match_element(step: _Step, target: Spec, type_id: int, is_root: bool) -> int | None:
    found = target.btf.resolve(type_id)
    if not is_root:
        if not isinstance(found, Array):
            return None
        if step.index >= found.nr_elems and not _is_flexible(target, found):
            return None
        found = target.btf.resolve(found.type_id)
    target.steps.append(_Step(found.id, step.index, ""))
    target.bit_offset += step.index * target.btf.size_of(found.id) * 8
    return found.id


def _match_member(
    local_btf: Btf, step: _Step, target: Spec, type_id: int, base: int, seen: set[int]
) -> int | None:
    found = target.btf.resolve(type_id)
    # A struct that was searched in vain is not searched again; that ends loops, too.
    if not isinstance(found, Struct) or found.id in seen or len(seen) > 256:
        return None
    seen.add(found.id)
    for index, member in enumerate(found.members):
        offset = base + member.bit_offset
        if not member.name:
            target.path.append((found.id, index))
            inner = _match_member(local_btf, step, target, member.type_id, offset, seen)
            if inner is not None:
                return inner
            target.path.pop()
        elif member.name == step.name:
            local = local_btf.type(step.type_id)
            assert isinstance(local, Struct)
            mine = local.members[step.index].type_id
            if not fields_compatible(local_btf, mine, target.btf, member.type_id):
                return None
            target.steps.append(_Step(found.id, index, member.name))
            target.path.append((found.id, index))
            target.bit_offset += offset
            return member.type_id
    return None


# -- what a spec comes to --------------------------------------------------------------------------


def _calculate(kind: int, where: str, local: Spec, target: Spec | None) -> Result:
    result = Result(kind, where)
    result.exists = target is not None
    result.spec = target
    if target is not None:
        result.target_btf, result.target_id = target.btf, target.root_id
    if kind in _TYPE_KINDS:
        result.original = _type_value(kind, local)
        result.value = _type_value(kind, target)
        # Linking may have changed the id that the instruction holds.
        result.validate = kind != BPF_CORE_TYPE_ID_TARGET
    elif kind in _ENUM_KINDS:
        result.original = _enumerator_value(kind, local)
        if target is None and kind == BPF_CORE_ENUMVAL_VALUE:
            result.poison = True
        else:
            result.value = _enumerator_value(kind, target)
    elif kind == BPF_CORE_FIELD_EXISTS:
        result.original, result.value = 1, int(target is not None)
    else:
        mine = _Access(kind, where, local)
        result.original, result.validate = mine.value & _U64, mine.validate
        if target is None:
            result.poison = True
        else:
            theirs = _Access(kind, where, target)
            result.value = theirs.value & _U64
            result.old_size, result.new_size = mine.size, theirs.size
            result.bad_size = mine.size != theirs.size and not _may_change_size(mine, theirs)
    return result


def _type_value(kind: int, spec: Spec | None) -> int:
    if spec is None:
        return 0
    if kind == BPF_CORE_TYPE_ID_TARGET:
        return spec.root_id
    return spec.btf.size_of(spec.root_id) if kind == BPF_CORE_TYPE_SIZE else 1


def _enumerator_value(kind: int, spec: Spec | None) -> int:
    if kind == BPF_CORE_ENUMVAL_EXISTS or spec is None:
        return int(spec is not None)
    enum = spec.btf.type(spec.steps[0].type_id)
    assert isinstance(enum, Enum)
    value = enum.values[spec.steps[0].index][1]
    if enum.kind == BTF_KIND_ENUM and value >> 31 & 1:
        value |= ~0xFFFFFFFF  # as libbpf: the stored number has a sign, whatever the enum says
    return value & _U64


class _Access:
    # The aspects of a field; ``size`` and ``type_id`` are those of what a load would load.
    __slots__ = ("btf", "size", "type_id", "validate", "value")

    def __init__(self, kind: int, where: str, spec: Spec) -> None:
        self.btf = spec.btf
        self.size = 0
        self.type_id = 0
        self.validate = True
        last = spec.steps[-1]
        if last.name:
            owner = spec.btf.type(last.type_id)
            assert isinstance(owner, Struct)
            member = owner.members[last.index]
            self.value = self._of_member(kind, where, spec, member.type_id, member.bit_size)
        else:
            self.value = self._of_element(kind, where, spec, last.type_id)

    def _of_element(self, kind: int, where: str, spec: Spec, type_id: int) -> int:
        if kind == BPF_CORE_FIELD_BYTE_OFFSET:
            self._remember_size(type_id)
            return spec.bit_offset // 8
        if kind == BPF_CORE_FIELD_BYTE_SIZE:
            return self.btf.size_of(type_id)
        raise FormatError("CO-RE", "this cannot be asked about an element of an array", where)

    def _of_member(self, kind: int, where: str, spec: Spec, type_id: int, bits: int) -> int:
        found = self.btf.resolve(type_id)
        self.validate = not bits
        if kind == BPF_CORE_FIELD_SIGNED:
            self.validate = True
            return int(isinstance(found, Int | Enum) and found.is_signed)
        at = spec.bit_offset
        if bits:
            offset, size = self._bit_field_place(where, self.btf.size_of(type_id), at, bits)
        else:
            offset, size = at // 8, self.btf.size_of(type_id)
            bits = size * 8
        if kind == BPF_CORE_FIELD_BYTE_OFFSET:
            if self.validate:
                self._remember_size(type_id)
            return offset
        if kind == BPF_CORE_FIELD_BYTE_SIZE:
            return size
        if kind == BPF_CORE_FIELD_RSHIFT_U64:
            self.validate = True
            return 64 - bits
        assert kind == BPF_CORE_FIELD_LSHIFT_U64
        if self.btf.is_swapped != (sys.byteorder == "big"):
            return (8 - size) * 8 + (at - offset * 8)
        return 64 - (at + bits - offset * 8)

    def _bit_field_place(self, where: str, size: int, at: int, bits: int) -> tuple[int, int]:
        # The smallest aligned number, from the declared size up, that holds all bits.
        while 0 < size <= 8:
            offset = at // 8 // size * size
            if at + bits - offset * 8 <= size * 8:
                return offset, size
            size *= 2
        raise FormatError("CO-RE", "a bit-field cannot be read by one load", where)

    def _remember_size(self, type_id: int) -> None:
        # Of an array that of one element: that is what a load would load.
        self.type_id = type_id
        for _ in range(_MAX_SPEC):
            found = self.btf.resolve(type_id)
            if not isinstance(found, Array):
                break
            type_id = found.type_id
        self.size = self.btf.size_of(type_id)


def _may_change_size(mine: _Access, theirs: _Access) -> bool:
    # Loads fill up with zeros: good for pointers (of 32 bits on some kernels, always of 64 for
    # the program) and for unsigned integers, and for nothing else.
    local, target = mine.btf.resolve(mine.type_id), theirs.btf.resolve(theirs.type_id)
    if isinstance(local, Ptr) and isinstance(target, Ptr):
        return True
    return (
        isinstance(local, Int)
        and isinstance(target, Int)
        and not local.is_signed
        and not target.is_signed
    )

"""An object file as skeletons see it: its name, maps, programs and global variables.

Example::

    shape = Shape("filter.bpf.o")
    shape.name, [map.identifier for map in shape.maps]      # 'filter_bpf', ['flows', 'bss']
"""

from __future__ import annotations

import os

from bpflens.bpftool import object_load
from bpflens.bpftool.tool import Failure
from bpflens.btf import Btf
from bpflens.btf import types as _t
from bpflens.btf.cdump import type_declaration
from bpflens.uapi.bpf import BPF_F_MMAPABLE, BPF_MAP_TYPE_STRUCT_OPS
from bpflens.uapi.btf import BTF_KIND_DATASEC

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.spec import MapSpec, ObjectSpec

__all__ = ["MapShape", "Shape", "Variable", "identifier"]

_SECTIONS = (".data", ".rodata", ".bss", ".kconfig")
_LONGEST_NAME = 15
_STATIC = 0


def identifier(text: str) -> str:
    """Return ``text`` as a C identifier: anything but letters and digits becomes ``_``."""
    return "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in text)


class Variable:
    """A global variable: identifier, type, offset and size in its section."""

    __slots__ = ("identifier", "name", "offset", "size", "type_id")

    def __init__(self, name: str, type_id: int, offset: int, size: int) -> None:
        self.name = name
        self.identifier = identifier(name)
        self.type_id = type_id
        self.offset = offset
        self.size = size


class MapShape:
    """A map: ``name`` for libbpf, ``identifier``, and for data sections the variables."""

    __slots__ = ("identifier", "is_mapped", "name", "section", "spec", "variables")

    def __init__(self, key: str, spec: MapSpec, object_name: str) -> None:
        self.spec = spec
        self.section = next((one for one in _SECTIONS if key.startswith(one)), "")
        self.name = key
        self.identifier = key
        if self.section:
            self.identifier = identifier(key[1:])
            self.name = object_name[: _LONGEST_NAME - len(key)] + key
        self.is_mapped = bool(self.section) and bool(spec.flags & BPF_F_MMAPABLE)
        self.variables: list[Variable] = []

    @property
    def is_table(self) -> bool:
        """Whether this is a struct_ops map, which gets a link."""
        return self.spec.type == BPF_MAP_TYPE_STRUCT_OPS


class Shape:
    """Everything a skeleton of one object file is made of."""

    __slots__ = ("btf", "data", "maps", "name", "programs", "spec")

    def __init__(self, path: str, name: str = "") -> None:
        self.spec: ObjectSpec = object_load.read(path)
        with open(path, "rb") as file:
            self.data = file.read()
        base = os.path.basename(path)
        self.name = name or identifier(base.removesuffix(".o"))
        if not self.spec.btf:
            raise Failure(f"{path} has no BTF: compile it with -g")
        self.btf = Btf(self.spec.btf, pointer_size=8)
        keys = object_load.map_order(self.spec)
        self.maps = [MapShape(key, self.spec.maps[key], self.name) for key in keys]
        self.programs = list(self.spec.programs)
        for key, one in zip(keys, self.maps, strict=True):
            if one.section:
                one.variables = self._variables(key)

    def _variables(self, section: str) -> list[Variable]:
        id = self.btf.find(section, BTF_KIND_DATASEC)
        found = self.btf.type(id) if id else None
        if not isinstance(found, _t.Datasec):
            return []
        variables = []
        for place in found.vars:
            var = self.btf.type(place.type_id)
            if isinstance(var, _t.Var) and var.linkage != _STATIC:
                variables.append(Variable(var.name, var.type_id, place.offset, place.size))
        return variables

    def bare(self, type_id: int) -> int:
        """Return the type without const and volatile in front."""
        found = self.btf.type(type_id)
        while isinstance(found, (_t.Const, _t.Volatile, _t.Restrict)):
            type_id = found.type_id
            found = self.btf.type(type_id)
        return type_id

    def declaration(self, variable: Variable, name: str, keep: bool = False) -> str:
        """Return the C declaration of a variable, indented by two tabs after its first line."""
        type_id = variable.type_id if keep else self.bare(variable.type_id)
        text = type_declaration(self.btf, type_id, name)
        if not keep:
            while text.startswith(("const ", "volatile ")):
                text = text.partition(" ")[2]
        return text.replace("\n", "\n\t\t")

    def alignment(self, type_id: int) -> int:
        """Return the alignment of a type, at most 4: that is right on every machine."""
        found = self.btf.resolve(type_id)
        if isinstance(found, _t.Array):
            return self.alignment(found.type_id)
        if isinstance(found, _t.Struct):
            return max([self.alignment(member.type_id) for member in found.members], default=1)
        return min(4, getattr(found, "size", 4) or 1)

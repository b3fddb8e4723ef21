"""An object file as skeletons see it: maps with identifiers, programs, global variables.

The names and the order are libbpf's, because a generated header is compiled against libbpf: maps
that the program defines come first, then data sections, then ``.kconfig``, then struct_ops; a data
section is a map called ``object.data``, whose identifier is ``data``. Global variables are those
that other files could use; static ones are not part of a skeleton.

Example::

    view = View("tiny.bpf.o", "tiny_bpf")
    [map.ident for map in view.maps]        # ['my_map', 'data', 'rodata', 'bss']
"""

from __future__ import annotations

import os

from bpflens.bpftool.tool import Failure, strerror
from bpflens.btf import Btf
from bpflens.btf.cdecl import Printer
from bpflens.btf.flat import Flat
from bpflens.btf.types import Const, Datasec, Restrict, TypeTag, Var, Volatile
from bpflens.errors import Error
from bpflens.load.object_file import read
from bpflens.uapi import bpf as u

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.spec import MapSpec, ProgramSpec

__all__ = ["MapView", "Variable", "View", "object_name", "sanitized"]

_SUFFIXES = (".data", ".rodata", ".bss", ".kconfig")
_ARENA = ".addr_space.1"
_STATIC = 0
_LONGEST_NAME = 63
# The status of the real tool for what is no object file: minus libbpf's number 4001.
_FORMAT = 95


def sanitized(name: str) -> str:
    """Return ``name`` with an underscore for whatever may not stand in an identifier of C."""
    return "".join(c if c.isascii() and c.isalnum() else "_" for c in name)


def object_name(path: str) -> str:
    """Return the name that an object has by its file: ``tiny_bpf`` for tiny.bpf.o."""
    return sanitized(os.path.basename(path)[:_LONGEST_NAME].removesuffix(".o"))


class Variable:
    """A global variable: ``name``, ``type_id``, where it is in its section, how large."""

    __slots__ = ("name", "offset", "size", "type_id")

    def __init__(self, name: str, type_id: int, offset: int, size: int) -> None:
        self.name = name
        self.type_id = type_id
        self.offset = offset
        self.size = size


class MapView:
    """A map: ``ident``, ``name`` for libbpf, ``spec``, whether it is a section of data.

    ``variables`` are None for what is not mapped into memory, empty for sections without types.
    """

    __slots__ = ("ident", "internal", "key", "name", "spec", "variables")

    def __init__(self, key: str, spec: MapSpec, name: str, ident: str, internal: bool) -> None:
        self.key = key
        self.spec = spec
        self.name = name
        self.ident = ident
        self.internal = internal
        self.variables: list[Variable] | None = None

    @property
    def is_struct_ops(self) -> bool:
        """Whether it holds a structure of the kernel."""
        return self.spec.type == u.BPF_MAP_TYPE_STRUCT_OPS

    @property
    def memory_ident(self) -> str:
        """The name of the structure of variables."""
        return "arena" if self.spec.type == u.BPF_MAP_TYPE_ARENA else self.ident


class View:
    """What is in the object file at ``path``: ``maps``, ``programs``, ``btf`` (None without)."""

    __slots__ = ("btf", "data", "maps", "name", "path", "programs", "spec")

    def __init__(self, path: str, name: str) -> None:
        self.path = path
        self.name = name
        try:
            with open(path, "rb") as file:
                self.data = file.read()
        except OSError as error:
            raise Failure(f"failed to open() {path}: {strerror(error)}") from None
        try:
            self.spec = read(self.data, name)
        except Error as error:
            raise Failure(f"failed to open BPF object file: {error}", _FORMAT) from None
        self.btf = Btf(self.spec.btf) if self.spec.btf else None
        self.programs: list[ProgramSpec] = list(self.spec.programs.values())
        self.maps = sorted(self._views(), key=_order)
        for map in self.maps:
            map.variables = self._variables(map)

    def _views(self) -> list[MapView]:
        found = []
        for key, spec in self.spec.maps.items():
            internal = key.startswith(_SUFFIXES)
            # A section with a name of its own goes by it.
            name = (key if key.count(".") > 1 else spec.name) if internal else key
            ident = name
            if internal:
                start = next(name.index(one) for one in _SUFFIXES if one in name)
                ident = sanitized(name[start + 1 :])
            found.append(MapView(key, spec, name, ident, internal))
        return found

    def _variables(self, map: MapView) -> list[Variable] | None:
        arena = map.spec.type == u.BPF_MAP_TYPE_ARENA and map.spec.contents
        if not (map.internal or arena) or self.btf is None:
            return None
        section = self.btf.find(_ARENA if arena else map.key)
        found = self.btf.type(section) if section is not None else None
        if not isinstance(found, Datasec):
            return [] if arena else None
        all = [(self.btf.type(one.type_id), one) for one in found.vars]
        # A section with nothing but static variables is not mapped into memory.
        return [
            Variable(var.name, var.type_id, one.offset, one.size)
            for var, one in sorted(all, key=lambda pair: pair[1].offset)
            if isinstance(var, Var) and var.linkage != _STATIC
        ] or None

    def declarer(self, strip: bool) -> Printer:
        """Return a printer of declarations; ``strip`` leaves out const, volatile and the like."""
        assert self.btf is not None
        kind = _Stripping if strip else Printer
        return kind(Flat(self.btf, bulk=False))


def _order(map: MapView) -> tuple[int, int]:
    if map.internal:
        return (2 if map.key == ".kconfig" else 1), 0
    return (3 if map.is_struct_ops else 0), 0


_MODIFIERS = (Const, Volatile, Restrict, TypeTag)


class _Stripping(Printer):
    # A declaration without its modifiers: a skeleton's variables may be written to.
    def _chain(self, id: int) -> list[int]:
        type = self._flat.btf.type
        return [one for one in Printer._chain(self, id) if not isinstance(type(one), _MODIFIERS)]

"""Make the BTF of an object file fit for the kernel: fill in what the compiler left to the linker.

The compiler writes data sections with size 0 and variables without offsets, names functions that
are somewhere else ``extern``, and calls hidden functions global. This turns the bytes into BTF that
BPF_BTF_LOAD accepts. Type ids stay what they are: every change is in place, and new types come
at the end.

Example::

    blob = finished(source, externs, hidden={"helper"})
"""

from __future__ import annotations

from struct import Struct as Packer

from bpflens.btf.types import Datasec, Func, FuncProto, Var
from bpflens.errors import FormatError
from bpflens.load.object_extern import KCONFIG
from bpflens.uapi.btf import (
    BTF_FUNC_GLOBAL,
    BTF_KIND_DATASEC,
    BTF_KIND_FUNC,
    BTF_KIND_INT,
    BTF_KIND_VAR,
    BTF_VAR_GLOBAL_ALLOCATED,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from bpflens.btf import Btf
    from bpflens.load.object_source import Source
    from bpflens.spec import Extern

__all__ = ["finished"]

_HEADER = Packer("<HBBIIIII")
_WORD = Packer("<I")
_VLEN = 0xFFFF
_SIGNED_32 = 1 << 24 | 32


def finished(source: Source, externs: Mapping[str, Extern], hidden: Container[str]) -> bytes:
    """Return the object's BTF with sizes, offsets and linkages filled in (``b""`` without BTF)."""
    if source.btf is None:
        return b""
    return _Finisher(source, source.btf, externs).run(hidden)


class _Finisher:
    __slots__ = (
        "_btf", "_externs", "_new", "_source", "_strings", "_strings_size", "_unused", "_words",
    )  # fmt: skip

    def __init__(self, source: Source, btf: Btf, externs: Mapping[str, Extern]) -> None:
        self._source = source
        self._btf = btf
        self._externs = externs
        # Words of the type section, to be changed; positions are those of `btf.position`.
        self._words = list(btf.words)
        self._new: list[int] = []
        self._unused: list[tuple[int, int]] = []
        self._strings = bytearray()
        self._strings_size = len(btf.strings)

    def run(self, hidden: Container[str]) -> bytes:
        btf = self._btf
        for id in btf.ids_of_kind(BTF_KIND_DATASEC):
            datasec = btf.type(id)
            assert isinstance(datasec, Datasec)
            if datasec.name == KCONFIG:
                self._place_options(datasec)
            elif datasec.name == ".ksyms":
                self._replace_externs(datasec)
            else:
                self._place_variables(datasec)
        for id in btf.ids_of_kind(BTF_KIND_FUNC):
            function = btf.type(id)
            if isinstance(function, Func) and function.name in hidden and function.linkage:
                # Static: verified where it is called, as its visibility means it.
                self._words[btf.position(id) + 1] &= ~_VLEN
        return self._built()

    # Sections with variables: size from the section header, offsets from the symbol table.
    def _place_variables(self, datasec: Datasec) -> None:
        section = self._source.section(datasec.name)
        if section is None:
            return
        places = {symbol.name: symbol.value for symbol in self._source.symbols_in(section)}
        position = self._btf.position(datasec.id)
        if section.size >> 32:
            raise FormatError("object file", f"{section.size} bytes of variables", section.name)
        self._words[position + 2] = section.size
        rows = []
        for entry in datasec.vars:
            var = self._btf.type(entry.type_id)
            # A static variable has no symbol of its own in some objects: the compiler's word.
            # A linked file has its offsets already, and may hold two static variables of one name.
            offset = entry.offset if datasec.size else places.get(var.name, entry.offset)
            size = entry.size or self._size(var)
            if offset + size > section.size:
                problem = f"variable {var.name} lies behind the end of its section"
                raise FormatError("object file", problem, section.name)
            rows.append((offset, entry.type_id, size))
        self._store_rows(position, rows)

    def _size(self, var: object) -> int:
        return self._btf.size_of(var.type_id) if isinstance(var, Var) else 0

    def _place_options(self, datasec: Datasec) -> None:
        position = self._btf.position(datasec.id)
        rows = []
        end = 0
        for entry in datasec.vars:
            extern = self._externs.get(self._btf.name(entry.type_id))
            if extern is None:
                # Declared but never used: no symbol, so no place; the kernel wants none either.
                continue
            self._words[self._btf.position(entry.type_id) + 3] = BTF_VAR_GLOBAL_ALLOCATED
            rows.append((extern.offset, entry.type_id, extern.size))
            end = max(end, extern.offset + extern.size)
        self._store_rows(position, rows)
        self._words[position + 2] = end

    # Functions and variables of the kernel: the kernel knows their types better than we do, and
    # refuses extern ones, so that each becomes an int variable or a global function.
    def _replace_externs(self, datasec: Datasec) -> None:
        btf = self._btf
        position = btf.position(datasec.id)
        number = btf.find("int", BTF_KIND_INT) or self._add_int()
        dummy = 0
        rows = []
        for index, entry in enumerate(datasec.vars):
            declared = btf.type(entry.type_id)
            type_id = entry.type_id
            at = btf.position(type_id)
            if isinstance(declared, Func):
                self._words[at + 1] = self._words[at + 1] & ~_VLEN | BTF_FUNC_GLOBAL
                dummy = dummy or self._add_variable("dummy_ksym", number)
                self._name_parameters(declared)
                type_id = dummy
            elif isinstance(declared, Var):
                self._words[at + 2] = number
                self._words[at + 3] = BTF_VAR_GLOBAL_ALLOCATED
            rows.append((index * 4, type_id, 4))
        self._store_rows(position, rows)
        self._words[position + 2] = len(rows) * 4

    # A function that the kernel takes as one of the program needs a name for each parameter.
    def _name_parameters(self, function: Func) -> None:
        proto = self._btf.type(function.type_id)
        if not isinstance(proto, FuncProto):
            return
        position = self._btf.position(proto.id) + 3
        for index, param in enumerate(proto.params):
            if param.type_id and not param.name:
                self._words[position + 2 * index] = self._string("dummy_ksym")

    def _store_rows(self, position: int, rows: list[tuple[int, int, int]]) -> None:
        count = self._words[position + 1] & _VLEN
        rows.sort()
        start = position + 3
        for index, (offset, type_id, size) in enumerate(rows):
            self._words[start + 3 * index : start + 3 * index + 3] = type_id, offset, size
        if len(rows) < count:
            self._words[position + 1] = self._words[position + 1] & ~_VLEN | len(rows)
            self._unused.append((start + 3 * len(rows), start + 3 * count))

    # --- new types ---

    def _add_int(self) -> int:
        return self._add([self._string("int"), BTF_KIND_INT << 24, 4, _SIGNED_32])

    def _add_variable(self, name: str, type_id: int) -> int:
        info = BTF_KIND_VAR << 24
        return self._add([self._string(name), info, type_id, BTF_VAR_GLOBAL_ALLOCATED])

    def _add(self, words: list[int]) -> int:
        self._new += words
        return self._btf.nr_types + len(self._new) // 4 - 1

    def _string(self, text: str) -> int:
        raw = text.encode() + b"\0"
        at = self._btf.strings.find(b"\0" + raw)
        if at >= 0:
            return at + 1
        at = self._strings.find(raw)
        if at < 0:
            at = len(self._strings)
            self._strings += raw
        return self._strings_size + at

    def _built(self) -> bytes:
        # Taken out only now, and from behind, so that positions stay right until the end.
        for start, stop in sorted(self._unused, reverse=True):
            del self._words[start:stop]
        words = self._words + self._new
        types = Packer(f"<{len(words)}I").pack(*words)
        strings = self._btf.strings + bytes(self._strings)
        header = _HEADER.pack(0xEB9F, 1, 0, _HEADER.size, 0, len(types), len(types), len(strings))
        return header + types + strings

"""The types of several object files as one .BTF, and their records as one .BTF.ext.

Types get new ids. A type without references that says the same as one before it is stored once;
what one file declares and another defines (functions, variables) becomes the definition. Sections
of variables are joined, each file's part moved to where its bytes went.

Example::

    types = MergedTypes()
    types.add(File("one.bpf.o"), {".bss": 0})
    types.add(File("two.bpf.o"), {".bss": 8})
    btf, ext = types.build({".bss": 16})
"""

from __future__ import annotations

from bpflens.btf import Btf, ext
from bpflens.btf import types as _t
from bpflens.btf.builder import Builder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from bpflens.elf import File

__all__ = ["MergedTypes"]

_ONCE = ("license", "version")  # sections that are in the result once
_EXTERN = 2  # BTF_FUNC_EXTERN and BTF_VAR_GLOBAL_EXTERN


class _Part:
    # The types of one file, and where its sections went.
    __slots__ = ("btf", "ids", "offsets", "places", "records")

    def __init__(
        self, btf: Btf, records: ext.Ext | None, offsets: Mapping[str, int],
        places: dict[tuple[str, str], int],
    ) -> None:  # fmt: skip
        self.btf = btf
        self.places = places  # where a symbol is, by its section and name
        self.records = records
        self.offsets = offsets
        self.ids: dict[int, int] = {0: 0}


class MergedTypes:
    """Gathers the types of files; :meth:`build` gives the result."""

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        self._parts: list[_Part] = []

    def add(self, file: File, offsets: Mapping[str, int]) -> None:
        """Take in a file whose sections begin at ``offsets`` of the joined ones."""
        section = file.section(".BTF")
        if section is None:
            return
        btf = Btf(section.data, pointer_size=8)
        records = file.section(".BTF.ext")
        found = ext.parse(records.data, btf) if records is not None else None
        names = {one.index: one.name for one in file.sections}
        places = {
            (names[symbol.shndx], symbol.name): symbol.value
            for symbol in file.symbols()
            if symbol.shndx in names and symbol.name
        }
        self._parts.append(_Part(btf, found, dict(offsets), places))

    def build(self, sizes: Mapping[str, int]) -> tuple[bytes, bytes]:
        """Return .BTF and .BTF.ext; ``sizes`` are those of the joined sections."""
        if not self._parts:
            return b"", b""
        builder = Builder()
        stored = self._number(builder.next_id)
        for part, id in stored:
            builder.add_type(part.btf.type(id), part.ids.__getitem__)
        self._sections(builder, sizes)
        records = self._records(builder)
        return builder.build(), records

    def _number(self, following: int) -> list[tuple[_Part, int]]:
        # Give every type its new id; return those to be stored, in the order of their ids.
        stored: list[tuple[_Part, int]] = []
        known: dict[str, int] = {}
        defined = self._defined()
        waiting: list[tuple[_Part, int, tuple[type, str]]] = []
        new_of: dict[tuple[int, int], int] = {}
        for number, part in enumerate(self._parts):
            for id in range(1, part.btf.nr_types):
                found = part.btf.type(id)
                if isinstance(found, _t.Datasec):
                    part.ids[id] = 0  # joined at the end; nothing refers to it
                    continue
                name = (type(found), found.name)
                is_extern = isinstance(found, (_t.Func, _t.Var)) and found.linkage == _EXTERN
                if is_extern and name in defined:
                    waiting.append((part, id, name))
                    continue
                said = _said(found)
                if said and said in known:
                    part.ids[id] = known[said]
                    continue
                part.ids[id] = new_of[number, id] = following
                if said:
                    known[said] = following
                stored.append((part, id))
                following += 1
        for part, id, name in waiting:
            part.ids[id] = new_of[defined[name]]
        return stored

    def _defined(self) -> dict[tuple[type, str], tuple[int, int]]:
        # Functions and variables that some file defines: (number of the file, id).
        found: dict[tuple[type, str], tuple[int, int]] = {}
        for number, part in enumerate(self._parts):
            for id in range(1, part.btf.nr_types):
                one = part.btf.type(id)
                if isinstance(one, (_t.Func, _t.Var)) and one.linkage == 1:
                    found.setdefault((type(one), one.name), (number, id))
        return found

    def _sections(self, builder: Builder, sizes: Mapping[str, int]) -> None:
        joined: dict[str, list[tuple[int, int, int]]] = {}
        for part in self._parts:
            for id in range(1, part.btf.nr_types):
                found = part.btf.type(id)
                if not isinstance(found, _t.Datasec):
                    continue
                if found.name in _ONCE and found.name in joined:
                    continue
                shift = part.offsets.get(found.name, 0)
                rows = joined.setdefault(found.name, [])
                seen = {row[0] for row in rows}
                for var in found.vars:
                    # clang leaves the offsets of global variables to their symbols.
                    place = (found.name, part.btf.name(var.type_id))
                    at = var.offset or part.places.get(place, 0)
                    if part.ids[var.type_id] not in seen:
                        rows.append((part.ids[var.type_id], shift + at, var.size))
        for name, rows in joined.items():
            rows.sort(key=lambda row: row[1])
            builder.add_datasec(name, sizes.get(name, 0), rows)

    def _records(self, builder: Builder) -> bytes:
        functions: dict[str, list[ext.FuncInfo]] = {}
        lines: dict[str, list[ext.LineInfo]] = {}
        relocations: dict[str, list[ext.CoreRelo]] = {}
        for part in self._parts:
            if part.records is None:
                continue
            string = part.btf.string
            for name, items in part.records.func_info.items():
                at = part.offsets.get(name, 0)
                functions.setdefault(name, []).extend(
                    ext.FuncInfo(one.insn_off + at, part.ids[one.type_id]) for one in items
                )
            for name, rows in part.records.line_info.items():
                at = part.offsets.get(name, 0)
                lines.setdefault(name, []).extend(
                    ext.LineInfo(
                        one.insn_off + at, builder.string(string(one.file_name_off)),
                        builder.string(string(one.line_off)), one.line_col,
                    )
                    for one in rows
                )  # fmt: skip
            for name, relos in part.records.core_relo.items():
                at = part.offsets.get(name, 0)
                relocations.setdefault(name, []).extend(
                    ext.CoreRelo(one.insn_off + at, part.ids[one.type_id], one.access, one.kind)
                    for one in relos
                )
        return ext.build(builder, functions, lines, relocations)


def _said(found: _t.Type) -> str:
    # What a type says if it refers to no other; "" else.
    if isinstance(found, (_t.Int, _t.Float, _t.Enum, _t.Fwd)):
        return repr(found).replace(f"id={found.id},", "", 1)
    return ""

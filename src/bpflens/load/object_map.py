"""The maps of an object file: BTF-defined ones, old definitions, and global variables.

Turns the sections ``.maps``, ``maps``, ``.data*``, ``.rodata*``, ``.bss*`` and ``.struct_ops*``
into :class:`~bpflens.spec.MapSpec` and remembers where in its section each map stands, for
relocations.

Example::

    maps = ObjectMaps(source)
    maps.specs["counts"], maps.at(section_index, offset)
"""

from __future__ import annotations

from struct import Struct as Packer

from bpflens.btf.types import Array, Datasec, Enum, FuncProto, Ptr, Struct, Var
from bpflens.errors import FormatError
from bpflens.load.object_source import ARENA_SECTION
from bpflens.spec import MapSpec
from bpflens.uapi.bpf import (
    BPF_F_LINK,
    BPF_F_MMAPABLE,
    BPF_F_RDONLY_PROG,
    BPF_MAP_TYPE_ARENA,
    BPF_MAP_TYPE_ARRAY,
    BPF_MAP_TYPE_ARRAY_OF_MAPS,
    BPF_MAP_TYPE_HASH_OF_MAPS,
    BPF_MAP_TYPE_PROG_ARRAY,
    BPF_MAP_TYPE_STRUCT_OPS,
)
from bpflens.uapi.btf import BTF_KIND_DATASEC, BTF_KIND_STRUCT, BTF_KIND_VAR
from bpflens.uapi.elf import STT_OBJECT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.btf import Btf
    from bpflens.elf import Section, Symbol
    from bpflens.load.object_source import Source

__all__ = ["ObjectMaps"]

_OLD_DEFINITION = Packer("<5I")
_OF_MAPS = (BPF_MAP_TYPE_ARRAY_OF_MAPS, BPF_MAP_TYPE_HASH_OF_MAPS)
# include/linux/bpf.h: BPF_OBJ_NAME_LEN without the NUL.
_LONGEST_NAME = 15
_STRUCT_OPS = {".struct_ops": 0, ".struct_ops.link": BPF_F_LINK}


class ObjectMaps:
    """``specs`` by name (data sections by the section's name), and where each one stands."""

    __slots__ = ("_places", "_source", "_values", "specs")

    def __init__(self, source: Source) -> None:
        self._source = source
        self.specs: dict[str, MapSpec] = {}
        # (section, offset) of a definition, or (section, -1) for a section that is one map.
        self._places: dict[tuple[int, int], str] = {}
        # Where the values array of a definition begins, for its initialisers.
        self._values: dict[str, int] = {}
        for section in source.data:
            self._add_data(section)
        old = source.section("maps")
        if old is not None and old.size:
            self._add_old(old)
        new = source.section(".maps")
        if new is not None and new.size:
            self._add_defined(new)
        for name, flags in _STRUCT_OPS.items():
            ops = source.section(name)
            if ops is not None and ops.size:
                self._add_struct_ops(ops, flags)
        self._add_arena()

    def at(self, section: int, offset: int) -> tuple[str, int, bool] | None:
        """Return ``(map, offset in its value, is a value)`` for a place in a section, or None."""
        whole = self._places.get((section, -1))
        if whole is not None:
            return whole, offset, True
        name = self._places.get((section, offset))
        return (name, 0, False) if name is not None else None

    # --- global variables ---

    def _add_data(self, section: Section) -> None:
        is_constant = section.name.startswith(".rodata")
        if section.size >> 32:
            raise FormatError("object file", f"{section.size} bytes of variables", section.name)
        # A section that is all zeros takes no room in the file; neither should it here.
        data = section.data
        btf = self._source.btf
        type_id = (btf.find(section.name, BTF_KIND_DATASEC) if btf else None) or 0
        self.specs[section.name] = MapSpec(
            _data_name(self._source.name, section.name),
            BPF_MAP_TYPE_ARRAY,
            4,
            section.size,
            1,
            flags=BPF_F_MMAPABLE | (BPF_F_RDONLY_PROG if is_constant else 0),
            value_type_id=type_id,
            contents=[(bytes(4), data)] if data.strip(b"\0") else [],
            freeze=is_constant,
        )
        self._places[section.index, -1] = section.name

    def _add_arena(self) -> None:
        section = self._source.section(ARENA_SECTION)
        if section is None or not section.size:
            return
        arenas = [spec for spec in self.specs.values() if spec.type == BPF_MAP_TYPE_ARENA]
        if len(arenas) != 1:
            raise FormatError(
                "object file", f"{len(arenas)} arena maps for the variables of {ARENA_SECTION}"
            )
        arenas[0].contents = [(b"", section.data)]
        self._places[section.index, -1] = next(
            name for name, spec in self.specs.items() if spec is arenas[0]
        )

    # --- definitions of the time before BTF ---

    def _add_old(self, section: Section) -> None:
        symbols = self._source.symbols_in(section)
        if not symbols or section.size % len(symbols):
            raise FormatError("object file", "definitions of different sizes", section.name)
        size = section.size // len(symbols)
        for symbol in symbols:
            raw = section.data[symbol.value : symbol.value + size]
            if len(raw) < _OLD_DEFINITION.size or any(raw[_OLD_DEFINITION.size :]):
                problem = f"map {symbol.name} is cut short, or has fields that are not known"
                raise FormatError("object file", problem, section.name)
            type, key_size, value_size, entries, flags = _OLD_DEFINITION.unpack_from(raw)
            key_type, value_type = self._old_types(symbol.name)
            self.specs[symbol.name] = MapSpec(
                symbol.name, type, key_size, value_size, entries, flags=flags,
                key_type_id=key_type, value_type_id=value_type,
            )  # fmt: skip
            self._places[section.index, symbol.value] = symbol.name

    # The types that BPF_ANNOTATE_KV_PAIR leaves in a struct of a certain name.
    def _old_types(self, name: str) -> tuple[int, int]:
        btf = self._source.btf
        id = btf.find(f"____btf_map_{name}", BTF_KIND_STRUCT) if btf else None
        pair = btf.type(id) if btf and id else None
        if not isinstance(pair, Struct) or [m.name for m in pair.members] != ["key", "value"]:
            return 0, 0
        return pair.members[0].type_id, pair.members[1].type_id

    # --- definitions in BTF ---

    def _add_defined(self, section: Section) -> None:
        btf = self._source.btf
        id = btf.find(".maps", BTF_KIND_DATASEC) if btf else None
        datasec = btf.type(id) if btf and id else None
        if btf is None or not isinstance(datasec, Datasec):
            raise FormatError("object file", "the section .maps needs BTF: compile with -g")
        places = {symbol.name: symbol for symbol in self._source.symbols_in(section)}
        for entry in datasec.vars:
            var = btf.type(entry.type_id)
            symbol = places.get(var.name)
            if not isinstance(var, Var) or symbol is None:
                raise FormatError("object file", f"no symbol for map {var.name}", section.name)
            definition = _Definition(btf, var.name, var.type_id)
            self.specs[var.name] = definition.spec
            self._values[var.name] = symbol.value + definition.values_offset
            self._places[section.index, symbol.value] = var.name
        self._fill(section)

    # Initialisers: `.values = { [2] = &inner }` are relocations inside the definition.
    def _fill(self, section: Section) -> None:
        symbols = [s for s in self._source.symbols_in(section) if s.type == STT_OBJECT]
        for relocation, target in self._source.relocations(section):
            owner = _covering(symbols, relocation.offset)
            start = self._values.get(owner.name, -1) if owner else -1
            slot, rest = divmod(relocation.offset - start, 8)
            if owner is None or start < 0 or rest or slot < 0:
                problem = f"an initialiser at {relocation.offset} belongs to no map"
                raise FormatError("object file", problem, section.name)
            spec = self.specs[owner.name]
            if spec.type not in (*_OF_MAPS, BPF_MAP_TYPE_PROG_ARRAY):
                raise FormatError("object file", f"map {owner.name} takes no initialisers")
            spec.fd_contents[slot] = target.name

    # --- tables of functions ---

    def _add_struct_ops(self, section: Section, flags: int) -> None:
        btf = self._source.btf
        if btf is None:
            raise FormatError("object file", f"the section {section.name} needs BTF")
        symbols = [s for s in self._source.symbols_in(section) if s.type == STT_OBJECT]
        for symbol in symbols:
            id = btf.find(symbol.name, BTF_KIND_VAR)
            var = btf.type(id) if id else None
            struct = btf.resolve(var.type_id) if isinstance(var, Var) else None
            if not isinstance(struct, Struct):
                raise FormatError("object file", f"{symbol.name} is no struct", section.name)
            data = section.data[symbol.value : symbol.value + symbol.size]
            self.specs[symbol.name] = MapSpec(
                symbol.name,
                BPF_MAP_TYPE_STRUCT_OPS,
                4,
                len(data),
                1,
                flags=flags,
                value_type_id=struct.id,
                contents=[(bytes(4), data)],
                struct_ops=struct.name,
            )
        for relocation, target in self._source.relocations(section):
            owner = _covering(symbols, relocation.offset)
            if owner is None:
                raise FormatError("object file", "a function pointer in no table", section.name)
            self.specs[owner.name].fd_contents[relocation.offset - owner.value] = target.name


class _Definition:
    # One map as a struct whose members are its attributes (bpf_helpers.h: __uint, __type, ...).

    __slots__ = ("_btf", "_has_inner", "_name", "spec", "values_offset")

    def __init__(self, btf: Btf, name: str, type_id: int, is_inner: bool = False) -> None:
        self._btf = btf
        self._name = name
        self._has_inner = False
        self.values_offset = -1
        self.spec = MapSpec(name, 0)
        definition = btf.resolve(type_id)
        if not isinstance(definition, Struct):
            raise self._wrong("is no struct")
        for member in definition.members:
            self._take(member.name, member.type_id, member.bit_offset // 8, is_inner)
        if not self.spec.type:
            raise self._wrong("has no type")
        if self.spec.type in _OF_MAPS and not self.spec.value_size:
            self.spec.value_size = 4

    def _wrong(self, problem: str) -> FormatError:
        return FormatError("object file", f"map {self._name} {problem}", ".maps")

    def _take(self, field: str, type_id: int, offset: int, is_inner: bool) -> None:
        spec = self.spec
        attribute = _NUMBERS.get(field)
        if attribute is not None:
            number = self._number(field, type_id)
            known = getattr(spec, attribute)
            if attribute in ("key_size", "value_size") and known not in (0, number):
                raise self._wrong(f"has a {field} of {number} for a type of {known} bytes")
            setattr(spec, attribute, number)
        elif field in ("key", "value"):
            self._set_type(field, type_id)
        elif field == "values" and not is_inner:
            self.values_offset = offset
            self._set_members(type_id)
        elif field == "pinning" and not is_inner:
            spec.pinning = self._number(field, type_id)
            if spec.pinning not in (0, 1):
                raise self._wrong(f"has an unknown pinning {spec.pinning}")
        else:
            raise self._wrong(f"has an unknown attribute {field!r}")

    # __uint(name, n) is `int (*name)[n]`, __ulong(name, n) an enum with that one value.
    def _number(self, field: str, type_id: int) -> int:
        found = self._btf.resolve(type_id)
        if isinstance(found, Ptr):
            array = self._btf.resolve(found.type_id)
            if isinstance(array, Array):
                return array.nr_elems
        if isinstance(found, Enum) and len(found.values) == 1:
            return found.values[0][1]
        raise self._wrong(f"has a {field} that is no number")

    def _set_type(self, field: str, type_id: int) -> None:
        pointer = self._btf.resolve(type_id)
        if not isinstance(pointer, Ptr):
            raise self._wrong(f"has a {field} that is no pointer to a type")
        size = self._btf.size_of(pointer.type_id)
        known = getattr(self.spec, f"{field}_size")
        if known not in (0, size):
            raise self._wrong(f"has a {field}_size of {known} for a type of {size} bytes")
        setattr(self.spec, f"{field}_size", size)
        setattr(self.spec, f"{field}_type_id", pointer.type_id)

    # __array(values, type): maps of one kind, or functions.
    def _set_members(self, type_id: int) -> None:
        btf = self._btf
        array = btf.resolve(type_id)
        pointer = btf.resolve(array.type_id) if isinstance(array, Array) else None
        if not isinstance(pointer, Ptr):
            raise self._wrong("has values that are no array of pointers")
        member = btf.resolve(pointer.type_id)
        if isinstance(member, FuncProto):
            self.spec.key_size = self.spec.key_size or 4
            self.spec.value_size = self.spec.value_size or 4
        else:
            self.spec.inner = _Definition(btf, f"{self._name}.inner", member.id, True).spec


_NUMBERS = {
    "type": "type",
    "max_entries": "max_entries",
    "map_flags": "flags",
    "numa_node": "numa_node",
    "key_size": "key_size",
    "value_size": "value_size",
    "map_extra": "map_extra",
}


# The object symbol that a place in the section belongs to.
def _covering(symbols: list[Symbol], offset: int) -> Symbol | None:
    for symbol in symbols:
        if symbol.value <= offset < symbol.value + symbol.size:
            return symbol
    return None


# The kernel's name of a data map: as much of the object's name as fits before the section's.
def _data_name(object_name: str, section: str) -> str:
    if section.count(".") > 1:
        return section
    # libbpf leaves room for the longest of the three usual names, so that they all begin alike.
    room = _LONGEST_NAME - max(len(section), len(".rodata"))
    return object_name[: max(room, 0)] + section

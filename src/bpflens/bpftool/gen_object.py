"""``gen object OUT IN...``: link BPF object files into one, statically.

Sections of one name are put behind each other, global symbols are resolved between the files, types
and their records are carried along with new ids. Debugging sections are left out: what the loader
needs is in .BTF and .BTF.ext.

Refused: two strong definitions of one symbol, licenses that differ, and files that are no BPF.

Example::

    $ bpftool gen object both.bpf.o one.bpf.o two.bpf.o
"""

from __future__ import annotations

import struct

from bpflens.bpftool.object_types import MergedTypes
from bpflens.bpftool.tool import Failure, strerror
from bpflens.bpftool.words import Usage
from bpflens.elf import File
from bpflens.elf.writer import Writer
from bpflens.errors import FormatError
from bpflens.uapi.elf import (
    EM_BPF,
    SHN_UNDEF,
    SHT_NOBITS,
    SHT_PROGBITS,
    SHT_REL,
    STB_GLOBAL,
    STB_LOCAL,
    STB_WEAK,
    STT_FILE,
    STT_SECTION,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.bpftool.tool import Tool
    from bpflens.bpftool.words import Words
    from bpflens.elf.file import Section, Symbol
    from bpflens.elf.writer import NewSection, NewSymbol

__all__ = ["link"]

_LEFT_OUT = (".debug", ".BTF", ".llvm_addrsig", ".comment", ".note")
_ONCE = ("license", "version")
_R_BPF_64_64, _R_BPF_64_ABS64, _R_BPF_64_ABS32, _R_BPF_64_32 = 1, 2, 3, 10


def link(tool: Tool, words: Words) -> int:
    """Link files."""
    if len(words) < 2:
        raise Usage
    out, paths = words.take(), words.rest()
    linker = _Linker()
    for path in paths:
        try:
            with File(path) as file:
                linker.add(path, file)
        except FormatError as error:
            raise Failure(f"failed to link '{path}': {error}") from None
        except OSError as error:
            raise Failure(f"failed to link '{path}': {strerror(error)}") from None
    data = linker.build()
    try:
        with open(out, "wb") as target:
            target.write(data)
    except OSError as error:
        raise Failure(f"failed to create '{out}': {strerror(error)}") from None
    return tool.done()


class _Merged:
    # A section of the result.
    __slots__ = ("align", "data", "flags", "name", "size", "symbol", "type", "written")

    def __init__(self, section: Section) -> None:
        self.name = section.name
        self.type = section.type
        self.flags = section.flags
        self.align = max(1, section.addralign)
        self.data = bytearray()
        self.size = 0
        self.written: NewSection | None = None
        self.symbol: NewSymbol | None = None

    def add(self, section: Section) -> int:
        """Put a section behind what is there; return where."""
        self.align = max(self.align, section.addralign)
        at = -(-self.size // max(1, section.addralign)) * max(1, section.addralign)
        self.size = at + section.size
        if self.type != SHT_NOBITS:
            self.data += bytes(at - len(self.data)) + section.data
        return at


class _Global:
    # A symbol that all files share.
    __slots__ = ("bind", "new", "offset", "owner", "section", "size", "type", "visibility")

    def __init__(self) -> None:
        self.section: _Merged | None = None
        self.offset = self.size = self.type = self.visibility = 0
        self.bind = STB_WEAK
        self.owner = ""
        self.new: NewSymbol | None = None


class _Local:
    # A symbol of one file, or a reference to a section.
    __slots__ = ("new", "offset", "section", "symbol")

    def __init__(self, section: _Merged, offset: int, symbol: Symbol) -> None:
        self.section = section
        self.offset = offset
        self.symbol = symbol
        self.new: NewSymbol | None = None


_Target = tuple[_Merged, int, int, "_Global | _Local", int]


class _Linker:
    __slots__ = ("_globals", "_locals", "_relocations", "_sections", "_types")

    def __init__(self) -> None:
        self._sections: dict[str, _Merged] = {}
        self._globals: dict[str, _Global] = {}
        self._locals: list[_Local] = []
        # (section, place, type, symbol, what to add because a section was moved)
        self._relocations: list[_Target] = []
        self._types = MergedTypes()

    def add(self, path: str, file: File) -> None:
        """Take in one file."""
        if file.machine != EM_BPF:
            raise Failure(f"failed to link '{path}': it is no BPF object")
        places: dict[int, tuple[_Merged, int]] = {}
        for section in file.sections:
            kept = section.type in (SHT_PROGBITS, SHT_NOBITS) and section.size
            if kept and not section.name.startswith(_LEFT_OUT):
                places[section.index] = self._place(path, section)
        symbols = self._symbols(path, file, places)
        for section in file.sections:
            if section.type == SHT_REL and section.info in places:
                self._relocate(file, section, places[section.info], symbols)
        offsets = {section.name: at for section, at in places.values()}
        self._types.add(file, offsets)

    def _place(self, path: str, section: Section) -> tuple[_Merged, int]:
        merged = self._sections.get(section.name)
        if merged is None:
            merged = self._sections[section.name] = _Merged(section)
        elif section.name in _ONCE:
            if bytes(merged.data) != section.data:
                raise Failure(f"failed to link '{path}': its {section.name} differs")
            return merged, 0
        elif merged.type != section.type:
            merged.type = SHT_PROGBITS
            merged.data += bytes(merged.size - len(merged.data))
        return merged, merged.add(section)

    def _symbols(
        self, path: str, file: File, places: dict[int, tuple[_Merged, int]]
    ) -> dict[int, _Global | _Local]:
        found: dict[int, _Global | _Local] = {}
        for symbol in file.symbols():
            if symbol.type == STT_FILE or (symbol.bind != STB_LOCAL and not symbol.name):
                continue
            if symbol.bind == STB_LOCAL:
                if symbol.shndx in places:
                    section, at = places[symbol.shndx]
                    local = _Local(section, at + symbol.value, symbol)
                    self._locals.append(local)
                    found[symbol.index] = local
                continue
            found[symbol.index] = self._global(path, symbol, places)
        return found

    def _global(self, path: str, symbol: Symbol, places: dict[int, tuple[_Merged, int]]) -> _Global:
        known = self._globals.setdefault(symbol.name, _Global())
        if symbol.shndx == SHN_UNDEF or symbol.shndx not in places:
            if known.section is None and symbol.bind == STB_GLOBAL:
                known.bind = STB_GLOBAL
            return known
        if known.section is not None:
            if known.section.name in _ONCE:
                return known
            if symbol.bind == STB_GLOBAL and known.bind == STB_GLOBAL:
                raise Failure(
                    f"failed to link '{path}': {symbol.name} is defined in {known.owner} too"
                )
            if symbol.bind == STB_WEAK:
                return known  # the first definition, or a strong one, stays
        section, at = places[symbol.shndx]
        known.section, known.offset = section, at + symbol.value
        known.size, known.type, known.visibility = symbol.size, symbol.type, symbol.visibility
        known.bind, known.owner = symbol.bind, path
        return known

    def _relocate(
        self, file: File, section: Section, place: tuple[_Merged, int],
        symbols: dict[int, _Global | _Local],
    ) -> None:  # fmt: skip
        merged, at = place
        for one in file.relocations(section):
            target = symbols.get(one.symbol)
            if target is None:
                raise FormatError("ELF file", f"a relocation to symbol {one.symbol}", merged.name)
            moved = 0
            if isinstance(target, _Local) and target.symbol.type == STT_SECTION:
                moved = target.offset
            self._relocations.append((merged, at + one.offset, one.type, target, moved))

    # --- writing ---

    def build(self) -> bytes:
        """Return the linked file."""
        for merged, at, kind, _, moved in self._relocations:
            if moved:
                _add_moved(merged, at, kind, moved)
        writer = Writer(machine=EM_BPF)
        for merged in self._sections.values():
            merged.written = writer.section(
                merged.name, bytes(merged.data), merged.type, merged.flags, size=merged.size,
                addralign=merged.align,
            )  # fmt: skip
        types, records = self._types.build({one.name: one.size for one in self._sections.values()})
        if types:
            writer.section(".BTF", types, addralign=4)
            writer.section(".BTF.ext", records, addralign=4)
        self._write_symbols(writer)
        for merged, at, kind, target, _ in self._relocations:
            new = target.new
            if isinstance(target, _Local) and target.symbol.type == STT_SECTION:
                new = target.section.symbol
            assert merged.written is not None
            assert new is not None
            writer.relocation(merged.written, at, new, kind)
        return writer.build()

    def _write_symbols(self, writer: Writer) -> None:
        for merged in self._sections.values():
            assert merged.written is not None
            merged.symbol = writer.symbol(
                "", section=merged.written, type=STT_SECTION, bind=STB_LOCAL
            )
        for local in self._locals:
            if local.symbol.type != STT_SECTION and local.section.written is not None:
                local.new = writer.symbol(
                    local.symbol.name, local.offset, local.symbol.size,
                    section=local.section.written, type=local.symbol.type, bind=STB_LOCAL,
                )  # fmt: skip
        for name, known in self._globals.items():
            section = known.section.written if known.section is not None else None
            known.new = writer.symbol(
                name, known.offset, known.size, section=SHN_UNDEF if section is None else section,
                type=known.type, bind=known.bind, visibility=known.visibility,
            )  # fmt: skip


def _add_moved(merged: _Merged, at: int, kind: int, moved: int) -> None:
    # What refers to a place in a section by number must follow where the section went.
    if kind == _R_BPF_64_ABS64:
        form, place = "<Q", at
    elif kind == _R_BPF_64_ABS32:
        form, place = "<I", at
    else:
        # The constant of an instruction: bytes for data, instructions for calls.
        form, place = "<i", at + 4
        if kind == _R_BPF_64_32:
            moved //= 8
    (value,) = struct.unpack_from(form, merged.data, place)
    struct.pack_into(form, merged.data, place, value + moved)

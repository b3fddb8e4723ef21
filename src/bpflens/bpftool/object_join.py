"""``gen object OUTPUT INPUT...``: several BPF object files linked into one.

Sections of the same name are put behind each other, symbols of one object found by the others (a
definition before a declaration, a strong one before a weak one), relocations moved with their
code, and BTF with its extensions joined (:mod:`bpflens.bpftool.link_btf`).

Example::

    bpftool gen object all.bpf.o filter.bpf.o library.bpf.o
"""

from __future__ import annotations

import struct

from bpflens.bpftool.link_btf import JoinedBtf
from bpflens.bpftool.tool import Failure, strerror
from bpflens.bpftool.words import Usage
from bpflens.btf import Btf
from bpflens.btf.ext import parse as parse_ext
from bpflens.elf import File
from bpflens.elf.writer import NewSection, NewSymbol, Writer
from bpflens.errors import Error
from bpflens.uapi.elf import (
    EM_BPF,
    SHF_ALLOC,
    SHF_EXECINSTR,
    SHN_UNDEF,
    SHT_NOBITS,
    SHT_PROGBITS,
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

__all__ = ["Linked", "link"]

# Sections that every object has once, and all must agree on.
_SAME = ("license", "version")
_CALL = 0x85
_INSN = 8


def link(tool: Tool, words: Words) -> int:
    """``gen object OUTPUT_FILE INPUT_FILE [INPUT_FILE...]``."""
    if len(words) < 2:
        raise Usage
    output = words.take("output")
    linked = Linked()
    for path in words.rest():
        try:
            with open(path, "rb") as file:
                linked.add(file.read())
        except OSError as error:
            raise Failure(f"failed to link '{path}': {strerror(error)}") from None
        except Failure as failure:
            raise Failure(f"failed to link '{path}': {failure.text}") from None
        except Error as error:
            raise Failure(f"failed to link '{path}': {error}") from None
    data = linked.build()
    try:
        with open(output, "wb") as out:
            out.write(data)
    except OSError as error:
        raise Failure(f"failed to create '{output}': {strerror(error)}") from None
    return tool.done()


class _Joined:
    # A section of the output, growing.
    __slots__ = ("align", "data", "flags", "name", "section", "size", "symbol", "type")

    def __init__(self, source: Section) -> None:
        self.name = source.name
        self.type = source.type
        self.flags = source.flags
        self.align = max(source.addralign, 1)
        self.data = bytearray()
        self.size = 0
        self.section: NewSection | None = None
        self.symbol: NewSymbol | None = None

    def append(self, source: Section) -> int:
        """Add the contents of a section; return where they begin."""
        align = max(source.addralign, 1)
        self.align = max(self.align, align)
        start = -(-self.size // align) * align
        if SHT_NOBITS not in (self.type, source.type):
            self.data += bytes(start - len(self.data)) + source.data
        elif self.type != source.type:
            raise Failure(f"section {self.name} has contents in one object and none in another")
        self.size = start + source.size
        return start


class _Name:
    # A global symbol: its definition (object number, section, value), once there is one.
    __slots__ = ("bind", "part", "place", "size", "symbol", "type", "visibility")

    def __init__(self, source: Symbol) -> None:
        self.part = -1
        self.place: tuple[_Joined, int] | None = None
        self.bind = source.bind
        self.type = source.type
        self.size = source.size
        self.visibility = source.visibility
        self.symbol: NewSymbol | None = None


class Linked:
    """Objects on their way into one: :meth:`add` each, then :meth:`build`."""

    __slots__ = ("_btf", "_count", "_lost", "_names", "_order", "_relocations", "_sections",
                 "_writer")  # fmt: skip

    def __init__(self) -> None:
        self._writer: Writer | None = None
        self._order = "<"
        self._sections: dict[str, _Joined] = {}
        self._names: dict[str, _Name] = {}
        self._relocations: list[tuple[_Joined, int, int, _Joined | _Name | NewSymbol]] = []
        self._btf = JoinedBtf()
        self._lost: set[tuple[int, str]] = set()
        self._count = 0

    def add(self, data: bytes) -> None:
        """Add an object file. Raises Failure or FormatError for what cannot be linked."""
        with File(data) as file:
            if file.machine != EM_BPF:
                raise Failure("it is no BPF object")
            if self._writer is None:
                self._order = "<" if data[5] == 1 else ">"
                self._writer = Writer(machine=EM_BPF, order=self._order)
            elif (data[5] == 1) != (self._order == "<"):
                raise Failure("its byte order is another one")
            places = self._add_sections(file)
            symbols = self._add_symbols(file, places)
            self._add_relocations(file, places, symbols)
            self._add_types(file, places)
        self._count += 1

    # --- the parts of one object ---

    def _add_sections(self, file: File) -> dict[int, tuple[_Joined, int]]:
        places = {}
        for source in file.sections:
            taken = source.type in (SHT_PROGBITS, SHT_NOBITS) and source.flags & SHF_ALLOC
            if not taken or not source.size or source.name == ".eh_frame":
                continue
            joined = self._sections.get(source.name)
            if joined is not None and source.name in _SAME:
                if source.data != bytes(joined.data):
                    raise Failure(f"its {source.name} differs from that of another object")
                places[source.index] = joined, 0
                continue
            if joined is None:
                joined = self._sections[source.name] = _Joined(source)
                self._section(joined)  # in the order of the input
            places[source.index] = joined, joined.append(source)
        return places

    def _add_symbols(
        self, file: File, places: dict[int, tuple[_Joined, int]]
    ) -> dict[int, tuple[_Joined | _Name | NewSymbol, int]]:
        # What each symbol of the file has become, and how far its section was moved.
        assert self._writer is not None
        found: dict[int, tuple[_Joined | _Name | NewSymbol, int]] = {}
        for source in file.symbols()[1:]:
            place = places.get(source.shndx) if not source.reserved else None
            if source.type == STT_SECTION:
                if place is not None:
                    found[source.index] = place
            elif source.bind == STB_LOCAL:
                if place is None or source.type == STT_FILE:
                    continue
                joined, start = place
                symbol = self._writer.symbol(
                    source.name, source.value + start, source.size, section=self._section(joined),
                    type=source.type, bind=STB_LOCAL, visibility=source.visibility,
                )  # fmt: skip
                found[source.index] = symbol, 0
            else:
                found[source.index] = self._global(source, place), 0
        return found

    def _global(self, source: Symbol, place: tuple[_Joined, int] | None) -> _Name:
        known = self._names.get(source.name)
        if known is None:
            known = self._names[source.name] = _Name(source)
        known.visibility = max(known.visibility, source.visibility)
        if place is None:
            if known.place is None and source.bind == STB_GLOBAL:
                known.bind = STB_GLOBAL
            return known
        if known.place is not None:
            if place[0].name in _SAME or source.bind == STB_WEAK:
                self._lost.add((self._count, source.name))
                return known
            if known.bind == STB_GLOBAL:
                raise Failure(f"{source.name} is defined in another object, too")
            self._lost.add((known.part, source.name))
        joined, start = place
        known.part, known.place = self._count, (joined, start + source.value)
        known.bind, known.type, known.size = source.bind, source.type, source.size
        return known

    def _add_relocations(
        self,
        file: File,
        places: dict[int, tuple[_Joined, int]],
        symbols: dict[int, tuple[_Joined | _Name | NewSymbol, int]],
    ) -> None:
        for index, (joined, start) in places.items():
            for one in file.relocations(index):
                if one.symbol not in symbols:
                    raise Failure(f"a relocation of {joined.name} names a symbol that is left out")
                target, moved = symbols[one.symbol]
                place = start + one.offset
                if isinstance(target, _Joined) and moved:
                    self._move(joined, place, moved)
                self._relocations.append((joined, place, one.type, target))

    def _move(self, joined: _Joined, place: int, moved: int) -> None:
        # The instruction itself says where in the section: in instructions for a call.
        if not joined.flags & SHF_EXECINSTR:
            raise Failure(f"static data of {joined.name} refers to a section")
        by = moved // _INSN if joined.data[place] == _CALL else moved
        imm = struct.unpack_from(self._order + "i", joined.data, place + 4)[0]
        struct.pack_into(self._order + "i", joined.data, place + 4, imm + by)

    def _add_types(self, file: File, places: dict[int, tuple[_Joined, int]]) -> None:
        section = file.section(".BTF")
        if section is None:
            raise Failure("it has no BTF")
        btf = Btf(section.data)
        extension = file.section(".BTF.ext")
        ext = parse_ext(extension.data, btf) if extension is not None else None
        starts = {joined.name: start for joined, start in places.values()}
        symbols = {
            (places[one.shndx][0].name, one.name): one.value
            for one in file.symbols()
            if not one.reserved and one.shndx in places and one.type != STT_SECTION
        }
        self._btf.add(btf, ext, starts, symbols)

    # --- the whole ---

    def _section(self, joined: _Joined) -> NewSection:
        # The section of the output; filled in the end.
        assert self._writer is not None
        if joined.section is None:
            joined.section = self._writer.section(joined.name, b"", joined.type, joined.flags)
        return joined.section

    def build(self) -> bytes:
        """Return the linked object file."""
        writer = self._writer
        assert writer is not None
        for joined in self._sections.values():
            section = self._section(joined)
            section.data, section.size = bytes(joined.data), joined.size
            section.addralign = joined.align
            joined.symbol = writer.symbol("", section=section, type=STT_SECTION, bind=STB_LOCAL)
        for name, one in self._names.items():
            where, value = one.place if one.place is not None else (None, 0)
            one.symbol = writer.symbol(
                name, value, one.size, section=SHN_UNDEF if where is None else self._section(where),
                type=one.type, bind=one.bind, visibility=one.visibility,
            )  # fmt: skip
        for joined, place, type, target in self._relocations:
            symbol = target if isinstance(target, NewSymbol) else target.symbol
            assert symbol is not None
            writer.relocation(self._section(joined), place, symbol, type)
        sizes = {joined.name: joined.size for joined in self._sections.values()}
        types, ext = self._btf.build(sizes, self._lost)
        writer.section(".BTF", types, addralign=4)
        writer.section(".BTF.ext", ext, addralign=4)
        return writer.build()

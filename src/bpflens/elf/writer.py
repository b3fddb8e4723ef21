"""A small ELF builder: sections, symbols, relocations, segments and notes in, bytes out.

Both word sizes and byte orders. The order of sections is the order of the calls; symbol and
string tables come at the end. Local symbols are sorted before the others, as the format demands,
and relocations follow them. More than 65,279 sections use the extended numbering.

Invariants: the same calls give the same bytes. A section with an address gets a file offset that
agrees with it modulo the page size, so that a segment over neighbouring sections is right.

It lays out; it does not link: addresses and relocated contents are the caller's.

Example::

    writer = Writer(machine=EM_BPF)
    text = writer.section("socket", code, flags=SHF_ALLOC | SHF_EXECINSTR)
    counter = writer.symbol("counter", section=maps, type=STT_OBJECT, bind=STB_GLOBAL)
    writer.relocation(text, 8, counter, R_BPF_64_64)
    data = writer.build()
"""

from __future__ import annotations

import struct

from bpflens.uapi.elf import (
    EM_X86_64,
    ET_REL,
    SHF_ALLOC,
    SHN_LORESERVE,
    SHN_UNDEF,
    SHN_XINDEX,
    SHT_DYNSYM,
    SHT_NOBITS,
    SHT_NOTE,
    SHT_PROGBITS,
    SHT_REL,
    SHT_RELA,
    SHT_STRTAB,
    SHT_SYMTAB,
    SHT_SYMTAB_SHNDX,
    STB_GLOBAL,
    STB_LOCAL,
    STT_NOTYPE,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["NewSection", "NewSymbol", "StringTable", "Writer", "build_id_section", "note"]

_PAGE = 4096


class StringTable:
    """A string table under construction: each text once, offset 0 is the empty one."""

    __slots__ = ("_offsets", "data")

    def __init__(self) -> None:
        self.data = bytearray(1)
        self._offsets: dict[bytes, int] = {b"": 0}

    def add(self, text: str | bytes) -> int:
        """Return the offset of a text, adding it when it is new."""
        raw = text if isinstance(text, bytes) else text.encode(errors="surrogateescape")
        offset = self._offsets.get(raw)
        if offset is None:
            offset = self._offsets[raw] = len(self.data)
            self.data += raw + b"\0"
        return offset


class NewSection:
    """A section being written; ``index`` is its number. ``data`` may still be changed.

    ``size`` counts for SHT_NOBITS, which has no data; ``link`` and ``info`` may be sections.
    """

    __slots__ = (
        "addr", "addralign", "data", "entsize", "flags", "index", "info", "link", "name",
        "offset", "size", "type",
    )  # fmt: skip

    def __init__(self, index: int, name: str, data: bytes, type: int) -> None:
        self.index = index
        self.name = name
        self.data = data
        self.type = type
        self.flags = 0
        self.addr = 0
        self.offset = 0
        self.size = 0
        self.link: NewSection | int = 0
        self.info: NewSection | int = 0
        self.addralign = 1
        self.entsize = 0

    @property
    def file_size(self) -> int:
        """The bytes that it takes in the file."""
        return 0 if self.type == SHT_NOBITS else len(self.data)


class NewSymbol:
    """A symbol being written; ``section`` is a section or a reserved number (SHN_ABS)."""

    __slots__ = ("bind", "index", "name", "section", "size", "type", "value", "visibility")

    def __init__(self, name: str, section: NewSection | int) -> None:
        self.name = name
        self.section = section
        self.value = 0
        self.size = 0
        self.type = STT_NOTYPE
        self.bind = STB_LOCAL
        self.visibility = 0
        self.index = 0


class Writer:
    """An ELF file under construction."""

    __slots__ = (
        "_relocations", "_segments", "_symbols", "bits", "entry", "flags", "machine", "order",
        "sections", "type",
    )  # fmt: skip

    def __init__(
        self,
        machine: int = EM_X86_64,
        bits: int = 64,
        order: str = "<",
        type: int = ET_REL,
        entry: int = 0,
        flags: int = 0,
    ) -> None:
        self.machine = machine
        self.bits = bits
        self.order = order
        self.type = type
        self.entry = entry
        self.flags = flags
        self.sections = [NewSection(0, "", b"", 0)]
        self.sections[0].addralign = 0
        self._symbols: dict[bool, list[NewSymbol]] = {False: [], True: []}
        self._relocations: dict[int, list[tuple[int, NewSymbol, int, int | None]]] = {}
        self._segments: list[tuple[int, int, list[NewSection]]] = []

    def section(
        self,
        name: str,
        data: bytes = b"",
        type: int = SHT_PROGBITS,
        flags: int = 0,
        *,
        addr: int = 0,
        size: int | None = None,
        link: NewSection | int = 0,
        info: NewSection | int = 0,
        addralign: int = 1,
        entsize: int = 0,
    ) -> NewSection:
        """Add a section at the end."""
        section = NewSection(len(self.sections), name, data, type)
        section.flags = flags
        section.addr = addr
        section.size = len(data) if size is None else size
        section.link = link
        section.info = info
        section.addralign = addralign
        section.entsize = entsize
        self.sections.append(section)
        return section

    def symbol(
        self,
        name: str,
        value: int = 0,
        size: int = 0,
        *,
        section: NewSection | int = SHN_UNDEF,
        type: int = STT_NOTYPE,
        bind: int = STB_GLOBAL,
        visibility: int = 0,
        dynamic: bool = False,
    ) -> NewSymbol:
        """Add a symbol to .symtab (or .dynsym)."""
        symbol = NewSymbol(name, section)
        symbol.value = value
        symbol.size = size
        symbol.type = type
        symbol.bind = bind
        symbol.visibility = visibility
        self._symbols[dynamic].append(symbol)
        return symbol

    def relocation(
        self,
        section: NewSection,
        offset: int,
        symbol: NewSymbol,
        type: int,
        addend: int | None = None,
    ) -> None:
        """Add a relocation; those of one section all have an addend, or none has."""
        self._relocations.setdefault(section.index, []).append((offset, symbol, type, addend))

    def segment(self, type: int, sections: Sequence[NewSection], flags: int = 4) -> None:
        """Add a program header over neighbouring sections."""
        self._segments.append((type, flags, list(sections)))

    def build(self) -> bytes:
        """Return the file. The writer is used up: its tables have been added as sections."""
        for dynamic in (False, True):
            if self._symbols[dynamic]:
                self._add_symbols(dynamic)
        for index, entries in self._relocations.items():
            self._add_relocations(self.sections[index], entries)
        names = StringTable()
        for section in self.sections:
            names.add(section.name)
        names.add(".shstrtab")
        last = self.section(".shstrtab", bytes(names.data), SHT_STRTAB)
        return self._assemble(names, last)

    # ---- tables ----

    def _add_symbols(self, dynamic: bool) -> None:
        symbols = self._symbols[dynamic]
        symbols.sort(key=_is_global)
        strings = StringTable()
        layout = struct.Struct(self.order + ("IBBHQQ" if self.bits == 64 else "IIIBBH"))
        entries = [bytes(layout.size)]
        numbers = [0]
        for index, symbol in enumerate(symbols, 1):
            symbol.index = index
            number, extended = _section_number(symbol)
            numbers.append(extended)
            head = (strings.add(symbol.name),)
            kind = (symbol.bind << 4 | symbol.type, symbol.visibility, number)
            place = (symbol.value, symbol.size)
            fields = head + kind + place if self.bits == 64 else head + place + kind
            entries.append(layout.pack(*fields))
        flags = SHF_ALLOC if dynamic else 0
        text = self.section(
            ".dynstr" if dynamic else ".strtab", bytes(strings.data), SHT_STRTAB, flags
        )
        table = self.section(
            ".dynsym" if dynamic else ".symtab", b"".join(entries),
            SHT_DYNSYM if dynamic else SHT_SYMTAB, flags, link=text,
            info=1 + sum(not _is_global(symbol) for symbol in symbols),
            addralign=self.bits // 8, entsize=layout.size,
        )  # fmt: skip
        if any(numbers):
            data = struct.pack(f"{self.order}{len(numbers)}I", *numbers)
            self.section(
                ".symtab_shndx", data, SHT_SYMTAB_SHNDX, link=table, addralign=4, entsize=4
            )

    def _add_relocations(
        self, section: NewSection, entries: list[tuple[int, NewSymbol, int, int | None]]
    ) -> None:
        rela = entries[0][3] is not None
        word = "Qq" if self.bits == 64 else "Ii"
        layout = struct.Struct(self.order + word[0] * 2 + (word[1] if rela else ""))
        shift = 32 if self.bits == 64 else 8
        data = b""
        for offset, symbol, type_, addend in entries:
            tail = (addend or 0,) if rela else ()
            data += layout.pack(offset, symbol.index << shift | type_, *tail)
        table = next(each for each in self.sections if each.type == SHT_SYMTAB)
        self.section(
            (".rela" if rela else ".rel") + section.name, data, SHT_RELA if rela else SHT_REL,
            link=table, info=section, addralign=self.bits // 8, entsize=layout.size,
        )  # fmt: skip

    # ---- layout ----

    def _assemble(self, names: StringTable, last: NewSection) -> bytes:
        wide = self.bits == 64
        header_size = 64 if wide else 52
        phdr_size, shdr_size = (56, 64) if wide else (32, 40)
        body = bytearray(header_size + phdr_size * len(self._segments))
        for section in self.sections[1:]:
            align = max(1, section.addralign)
            body += bytes(-len(body) % align)
            if section.addr:
                body += bytes((section.addr - len(body)) % _PAGE)
            section.offset = len(body)
            if section.type != SHT_NOBITS:
                body += section.data
                section.size = len(section.data)
        body += bytes(-len(body) % 8)
        shoff = len(body)
        count = len(self.sections)
        if count >= SHN_LORESERVE:
            self.sections[0].size = count
            self.sections[0].link = last
        layout = struct.Struct(self.order + ("IIQQQQIIQQ" if wide else "10I"))
        for section in self.sections:
            body += layout.pack(
                names.add(section.name), section.type, section.flags, section.addr,
                section.offset, section.size, _number(section.link), _number(section.info),
                section.addralign, section.entsize,
            )  # fmt: skip
        body[header_size : header_size + phdr_size * len(self._segments)] = self._program_headers()
        phoff = header_size if self._segments else 0
        body[:header_size] = self._ident() + struct.pack(
            self.order + ("HHIQQQIHHHHHH" if wide else "HHIIIIIHHHHHH"),
            self.type, self.machine, 1, self.entry, phoff, shoff, self.flags, header_size,
            phdr_size, len(self._segments), shdr_size, 0 if count >= SHN_LORESERVE else count,
            SHN_XINDEX if last.index >= SHN_LORESERVE else last.index,
        )  # fmt: skip
        return bytes(body)

    def _ident(self) -> bytes:
        return b"\x7fELF" + bytes((self.bits // 32, 1 if self.order == "<" else 2, 1)) + bytes(9)

    def _program_headers(self) -> bytes:
        result = b""
        for type_, flags, sections in self._segments:
            first = sections[0]
            filesz = max(each.offset + each.file_size for each in sections) - first.offset
            memsz = max(each.addr + each.size for each in sections) - first.addr
            align = _PAGE if type_ == 1 else max(1, first.addralign)
            place = (first.offset, first.addr, first.addr, filesz, max(memsz, filesz))
            if self.bits == 64:
                result += struct.pack(self.order + "IIQQQQQQ", type_, flags, *place, align)
            else:
                result += struct.pack(self.order + "8I", type_, *place, flags, align)
        return result


def note(name: bytes, type: int, desc: bytes, order: str = "<") -> bytes:
    """Return one note, padded to 4 bytes, for a section of type SHT_NOTE."""
    raw = name + b"\0"
    head = struct.pack(order + "III", len(raw), len(desc), type)
    return head + raw + bytes(-len(raw) % 4) + desc + bytes(-len(desc) % 4)


def build_id_section(writer: Writer, build_id: bytes, addr: int = 0) -> NewSection:
    """Add .note.gnu.build-id to a file."""
    data = note(b"GNU", 3, build_id, writer.order)
    return writer.section(".note.gnu.build-id", data, SHT_NOTE, SHF_ALLOC, addr=addr, addralign=4)


def _is_global(symbol: NewSymbol) -> bool:
    return symbol.bind != STB_LOCAL


def _section_number(symbol: NewSymbol) -> tuple[int, int]:
    # The number in the symbol, and the one in .symtab_shndx when it does not fit.
    if isinstance(symbol.section, int):
        return symbol.section, 0
    if symbol.section.index >= SHN_LORESERVE:
        return SHN_XINDEX, symbol.section.index
    return symbol.section.index, 0


def _number(value: NewSection | int) -> int:
    return value if isinstance(value, int) else value.index

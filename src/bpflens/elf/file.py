"""One ELF file: header, sections, segments, symbols, relocations, notes.

Takes bytes, a path or a descriptor and gives slots objects, read lazily and kept. Both word sizes
and byte orders; more than 65,280 sections or segments (the extended numbering of section 0) and
symbols whose section number is in ``.symtab_shndx``.

Invariants: the position of a symbol in :meth:`File.symbols` is its index in the table, which is
what :attr:`Relocation.symbol` refers to. Names of symbols come without a version
(``memcpy@@GLIBC_2.14`` → ``memcpy``). Anything that does not fit in the file raises FormatError.

It does not read DWARF, symbol version tables, or the odd relocation words of 64-bit MIPS.
For large tables use :meth:`File.symbol_table`, which makes no object per symbol.

Example::

    with File("probe.bpf.o") as file:
        for relocation in file.relocations(".text"):
            print(relocation.offset, file.symbols()[relocation.symbol].name)
"""

from __future__ import annotations

import struct
from itertools import chain

from bpflens.elf.source import open_source
from bpflens.errors import FormatError
from bpflens.uapi.elf import (
    DT_FLAGS_1,
    DT_NEEDED,
    DT_NULL,
    DT_SONAME,
    DT_STRSZ,
    DT_STRTAB,
    ELFCOMPRESS_ZLIB,
    ET_DYN,
    ET_EXEC,
    NT_GNU_BUILD_ID,
    PT_DYNAMIC,
    PT_INTERP,
    PT_LOAD,
    PT_NOTE,
    SHF_COMPRESSED,
    SHN_XINDEX,
    SHT_DYNSYM,
    SHT_NOBITS,
    SHT_NOTE,
    SHT_REL,
    SHT_RELA,
    SHT_SYMTAB,
    SHT_SYMTAB_SHNDX,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from bpflens.elf.source import Input
    from bpflens.elf.symbols import SymbolTable
    from bpflens.elf.usdt import UsdtNote

__all__ = ["File", "Note", "Relocation", "Section", "Segment", "Symbol"]

# Newer than the headers that the generated constants come from, or not in them.
_DF_1_PIE = 0x08000000
_ELFCOMPRESS_ZSTD = 2
_PN_XNUM = 0xFFFF

# What one compressed section may grow to; debug sections of the largest libraries stay below it.
_MAX_DECOMPRESSED = 1 << 30
# Names may overlap, so a small file can spell an enormous amount of text.
_MAX_NAME_BYTES = 1 << 27


class Section:
    """A section header, with access to the bytes it describes.

    ``link`` and ``info`` mean what the type says (symbol table of a relocation section, the
    section it applies to). ``data`` is kept after the first use; :meth:`read` is not.
    """

    __slots__ = (
        "_data", "_file", "addr", "addralign", "entsize", "flags", "index", "info", "link",
        "name", "offset", "size", "type",
    )  # fmt: skip

    def __init__(self, file: File, index: int, fields: tuple[int, ...]) -> None:
        self._file = file
        self._data: bytes | None = None
        self.index = index
        self.name = ""
        (_, self.type, self.flags, self.addr, self.offset, self.size,
         self.link, self.info, self.addralign, self.entsize) = fields  # fmt: skip

    def read(self) -> bytes:
        """Return the bytes in the file, as they are (empty for SHT_NOBITS)."""
        if self.type == SHT_NOBITS:
            return b""
        return self._file.read(self.offset, self.size)

    @property
    def data(self) -> bytes:
        """The contents, decompressed if SHF_COMPRESSED says so (empty for SHT_NOBITS)."""
        if self._data is None:
            data = self.read()
            if self.flags & SHF_COMPRESSED and data:
                data = _decompress(data, self._file.bits, self._file.order, self.name)
            self._data = data
        return self._data

    def __repr__(self) -> str:
        return f"<Section {self.index} {self.name!r} type={self.type:#x} size={self.size:#x}>"


class Segment:
    """A program header: what is mapped where (``offset``, ``vaddr``, ``filesz``, ``memsz``)."""

    __slots__ = ("_file", "align", "filesz", "flags", "memsz", "offset", "paddr", "type", "vaddr")

    def __init__(self, file: File, fields: tuple[int, ...]) -> None:
        self._file = file
        if file.bits == 64:
            (self.type, self.flags, self.offset, self.vaddr, self.paddr, self.filesz,
             self.memsz, self.align) = fields  # fmt: skip
        else:
            (self.type, self.offset, self.vaddr, self.paddr, self.filesz, self.memsz,
             self.flags, self.align) = fields  # fmt: skip

    def read(self) -> bytes:
        """Return the bytes of the segment that are in the file."""
        return self._file.read(self.offset, self.filesz)

    def __repr__(self) -> str:
        return (
            f"<Segment type={self.type:#x} vaddr={self.vaddr:#x} offset={self.offset:#x}"
            f" filesz={self.filesz:#x} memsz={self.memsz:#x} flags={self.flags}>"
        )


class Symbol:
    """One symbol; unpacks as ``name, value, size, type, bind, shndx``.

    ``shndx`` is a section number, already looked up where the table says SHN_XINDEX; the reserved
    ones (SHN_UNDEF, SHN_ABS, SHN_COMMON) are left as they are, and ``reserved`` tells the high
    ones from real sections. ``index`` is the place in the table.
    """

    __slots__ = (
        "bind", "index", "name", "reserved", "shndx", "size", "type", "value", "visibility",
    )  # fmt: skip

    def __init__(
        self, index: int, name: str, value: int, size: int, info: int, other: int, shndx: int
    ) -> None:
        self.index = index
        self.name = name
        self.value = value
        self.size = size
        self.type = info & 15
        self.bind = info >> 4
        self.visibility = other & 3
        self.shndx = shndx
        self.reserved = shndx >= 0xFF00

    def __iter__(self) -> Iterator[str | int]:
        return iter((self.name, self.value, self.size, self.type, self.bind, self.shndx))

    def __repr__(self) -> str:
        return (
            f"<Symbol {self.index} {self.name!r} value={self.value:#x} size={self.size}"
            f" type={self.type} bind={self.bind} shndx={self.shndx}>"
        )


class Relocation:
    """One relocation: patch ``offset`` with the value of symbol number ``symbol``.

    ``addend`` is ``None`` in a REL table, where it is stored in the place to patch.
    """

    __slots__ = ("addend", "offset", "symbol", "type")

    def __init__(self, offset: int, type: int, symbol: int, addend: int | None) -> None:
        self.offset = offset
        self.type = type
        self.symbol = symbol
        self.addend = addend

    def __repr__(self) -> str:
        return (
            f"<Relocation offset={self.offset:#x} type={self.type} symbol={self.symbol}"
            f" addend={self.addend}>"
        )


class Note:
    """One entry of a note section or segment: owner's ``name``, ``type``, ``desc`` bytes."""

    __slots__ = ("desc", "name", "type")

    def __init__(self, name: bytes, type: int, desc: bytes) -> None:
        self.name = name
        self.type = type
        self.desc = desc


class File:
    """An ELF file.

    ``source`` is bytes-like, a path, or a descriptor (which the object then owns). ``bits`` is 32
    or 64, ``order`` is ``"<"`` or ``">"``; ``type``, ``machine``, ``entry``, ``flags`` come from
    the header. A closed file still gives what it has already read.
    """

    __slots__ = (
        "_dynamic", "_lists", "_phdr", "_sections", "_segments", "_shdr", "_source", "bits",
        "entry", "flags", "machine", "order", "osabi", "path", "type",
    )  # fmt: skip

    def __init__(self, source: Input) -> None:
        self._source = open_source(source)
        self.path = self._source.path
        self._sections: list[Section] | None = None
        self._segments: list[Segment] | None = None
        self._dynamic: list[tuple[int, int]] | None = None
        self._lists: dict[int, list[Symbol]] = {}
        try:
            self._read_header()
        except BaseException:
            self._source.close()
            raise

    def _read_header(self) -> None:
        if self._source.size < 52:
            raise FormatError("ELF file", f"only {self._source.size} bytes long", self.path)
        ident = self._source.read(0, 16)
        if ident[:4] != b"\x7fELF":
            raise FormatError("ELF file", f"starts with {ident[:4]!r}", self.path)
        if ident[4] not in (1, 2) or ident[5] not in (1, 2):
            raise FormatError("ELF file", f"class {ident[4]}, byte order {ident[5]}", self.path)
        self.bits = 32 * ident[4]
        self.order = "<" if ident[5] == 1 else ">"
        self.osabi = ident[7]
        layout = struct.Struct(self.order + ("HHIIIIIHHHHHH", "HHIQQQIHHHHHH")[ident[4] - 1])
        fields = layout.unpack(self._source.read(16, layout.size))
        self.type, self.machine, _, self.entry = fields[:4]
        phoff, shoff, self.flags, _, phentsize, phnum, shentsize, shnum, shstrndx = fields[4:]
        self._phdr = (phoff, phentsize, phnum)
        self._shdr = (shoff, shentsize, shnum, shstrndx)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file under it."""
        self._source.close()

    def read(self, offset: int, size: int) -> bytes:
        """Return bytes of the file; FormatError when they are not all there."""
        return self._source.read(offset, size)

    @property
    def size(self) -> int:
        """The length of the file in bytes."""
        return self._source.size

    # ---- sections and segments ----

    @property
    def sections(self) -> list[Section]:
        """All sections by number (the first is the empty one), or an empty list."""
        if self._sections is None:
            self._sections = self._read_sections()
        return self._sections

    def _read_sections(self) -> list[Section]:
        offset, entsize, count, strndx = self._shdr
        if offset == 0:
            return []
        layout = struct.Struct(self.order + ("IIQQQQIIQQ" if self.bits == 64 else "10I"))
        if entsize != layout.size:
            raise FormatError("ELF file", f"section headers of {entsize} bytes", self.path)
        # gABI "Extended section numbering": what does not fit the header is in section 0.
        first = layout.unpack(self.read(offset, entsize))
        count = count or first[5]
        strndx = first[6] if strndx == SHN_XINDEX else strndx
        table = self.read(offset, count * entsize)
        raw = list(layout.iter_unpack(table))
        sections = [Section(self, index, fields) for index, fields in enumerate(raw)]
        if 0 < strndx < count:
            names = _Names(sections[strndx].read(), "section names")
            for section, fields in zip(sections, raw, strict=True):
                section.name = names.get(fields[0])
        return sections

    def section(self, name: str) -> Section | None:
        """Return the first section of that name, or ``None``."""
        for section in self.sections:
            if section.name == name:
                return section
        return None

    @property
    def segments(self) -> list[Segment]:
        """All program headers, in the order of the file."""
        if self._segments is None:
            self._segments = self._read_segments()
        return self._segments

    def _read_segments(self) -> list[Segment]:
        offset, entsize, count = self._phdr
        if offset == 0 or count == 0:
            return []
        layout = struct.Struct(self.order + ("IIQQQQQQ" if self.bits == 64 else "8I"))
        if entsize != layout.size:
            raise FormatError("ELF file", f"program headers of {entsize} bytes", self.path)
        if count == _PN_XNUM and self.sections:
            count = self.sections[0].info
        table = self.read(offset, count * entsize)
        return [Segment(self, fields) for fields in layout.iter_unpack(table)]

    def vaddr_to_offset(self, address: int) -> int | None:
        """Return where the byte at a virtual address is in the file (``None``: nowhere).

        This is the number that a uprobe wants for a symbol's value.
        """
        for segment in self.segments:
            if segment.type == PT_LOAD and 0 <= address - segment.vaddr < segment.filesz:
                return address - segment.vaddr + segment.offset
        return None

    def offset_to_vaddr(self, offset: int) -> int | None:
        """Return the virtual address of a byte of the file (``None``: it is not loaded).

        Where several segments map the same page of the file, an executable one is preferred.
        """
        found = None
        for segment in self.segments:
            if segment.type == PT_LOAD and 0 <= offset - segment.offset < segment.filesz:
                if segment.flags & 1:
                    return offset - segment.offset + segment.vaddr
                if found is None:
                    found = offset - segment.offset + segment.vaddr
        return found

    # ---- symbols and relocations ----

    def symbols(self, dynamic: bool = False) -> list[Symbol]:
        """Return all of .symtab (or .dynsym), the empty first one too; [] without a table."""
        section = self._table_section(SHT_DYNSYM if dynamic else SHT_SYMTAB)
        return self.symbols_of(section) if section else []

    def dynamic_symbols(self) -> list[Symbol]:
        """Return all of .dynsym."""
        return self.symbols(dynamic=True)

    def symbols_of(self, section: Section | int) -> list[Symbol]:
        """Return all symbols of one table (a section or its number), kept for the next call."""
        if isinstance(section, int):
            section = self._section_at(section, "symbol table")
        if section.index not in self._lists:
            self._lists[section.index] = self._read_symbols(section)
        return self._lists[section.index]

    def _table_section(self, type: int) -> Section | None:
        for section in self.sections:
            if section.type == type:
                return section
        return None

    def _section_at(self, index: int, what: str) -> Section:
        if not 0 <= index < len(self.sections):
            raise FormatError("ELF file", f"{what}: there is no section {index}", self.path)
        return self.sections[index]

    def _read_symbols(self, section: Section) -> list[Symbol]:
        names = _Names(self._section_at(section.link, "symbol names").read(), section.name)
        layout = struct.Struct(self.order + ("IBBHQQ" if self.bits == 64 else "IIIBBH"))
        table = _whole(section, layout)
        extended = self._extended_indexes(section)
        get = names.get
        result = []
        for index, fields in enumerate(layout.iter_unpack(table)):
            if self.bits == 64:
                name_offset, info, other, shndx, value, size = fields
            else:
                name_offset, value, size, info, other, shndx = fields
            name = get(name_offset)
            if "@" in name[1:]:
                name = name[: name.index("@", 1)]
            symbol = Symbol(index, name, value, size, info, other, shndx)
            if shndx == SHN_XINDEX and index < len(extended):
                symbol.shndx = extended[index]
                symbol.reserved = False
            result.append(symbol)
        return result

    def _extended_indexes(self, table: Section) -> tuple[int, ...]:
        # gABI: one word per symbol, in the section of this type that links to the table.
        for section in self.sections:
            if section.type == SHT_SYMTAB_SHNDX and section.link == table.index:
                data = section.read()
                words = struct.Struct(f"{self.order}{len(data) // 4}I")
                return words.unpack_from(data)
        return ()

    def symbol(self, name: str) -> Symbol | None:
        """Return the defined symbol of that name: .symtab first, then .dynsym; global first.

        The tables are read anew: for many names keep a :meth:`symbol_table`.
        """
        from bpflens.elf.symbols import find_symbol

        return find_symbol(self, name)

    def symbol_table(self, kinds: str = "function") -> SymbolTable:
        """Return a :class:`~bpflens.elf.symbols.SymbolTable` over .symtab and .dynsym.

        ``kinds`` is ``"function"``, ``"object"`` or ``"any"``.
        """
        from bpflens.elf.symbols import SymbolTable

        return SymbolTable.from_file(self, kinds)

    def relocations(self, section: Section | str | int) -> list[Relocation]:
        """Return the relocations that apply to a section, or those in a REL/RELA section."""
        if isinstance(section, str):
            found = self.section(section)
            if found is None:
                return []
            section = found
        elif isinstance(section, int):
            section = self._section_at(section, "relocations")
        if section.type in (SHT_REL, SHT_RELA):
            return self._read_relocations(section)
        tables = self.relocation_sections(section)
        return list(chain.from_iterable(map(self._read_relocations, tables)))

    def relocation_sections(self, section: Section) -> list[Section]:
        """Return the REL and RELA sections that apply to a section."""
        if section.index == 0:
            return []
        return [
            table
            for table in self.sections
            if table.type in (SHT_REL, SHT_RELA) and table.info == section.index
        ]

    def _read_relocations(self, section: Section) -> list[Relocation]:
        rela = section.type == SHT_RELA
        word = "Qq" if self.bits == 64 else "Ii"
        layout = struct.Struct(self.order + word[0] * 2 + (word[1] if rela else ""))
        shift, mask = (32, 0xFFFFFFFF) if self.bits == 64 else (8, 0xFF)
        table = _whole(section, layout)
        if rela:
            return [Relocation(o, i & mask, i >> shift, a) for o, i, a in layout.iter_unpack(table)]
        return [Relocation(o, i & mask, i >> shift, None) for o, i in layout.iter_unpack(table)]

    # ---- notes ----

    def notes(self) -> Iterator[Note]:
        """Yield the notes of all note sections, or of the note segments if there are none."""
        sections = [section for section in self.sections if section.type == SHT_NOTE]
        if sections:
            for section in sections:
                yield from self.notes_of(section)
            return
        for segment in self.segments:
            if segment.type == PT_NOTE:
                yield from _notes(segment.read(), self.order, segment.align)

    def notes_of(self, section: Section) -> Iterator[Note]:
        """Yield the notes of one section."""
        return _notes(section.data, self.order, section.addralign)

    @property
    def build_id(self) -> bytes | None:
        """The GNU build id (20 bytes as a rule), or ``None``."""
        for note in self.notes():
            if note.type == NT_GNU_BUILD_ID and note.name == b"GNU":
                return note.desc
        return None

    def usdt_notes(self) -> list[UsdtNote]:
        """Return the static probes of .note.stapsdt, addresses corrected for prelink."""
        from bpflens.elf.usdt import read_notes

        return read_notes(self)

    # ---- what kind of file ----

    @property
    def dynamic(self) -> list[tuple[int, int]]:
        """The dynamic section as ``(tag, value)`` pairs."""
        if self._dynamic is None:
            self._dynamic = self._read_dynamic()
        return self._dynamic

    def _read_dynamic(self) -> list[tuple[int, int]]:
        layout = struct.Struct(self.order + ("qQ" if self.bits == 64 else "iI"))
        for segment in self.segments:
            if segment.type == PT_DYNAMIC:
                data = segment.read()
                result: list[tuple[int, int]] = []
                for tag, value in layout.iter_unpack(data[: len(data) - len(data) % layout.size]):
                    if tag == DT_NULL:
                        break
                    result.append((tag, value))
                return result
        return []

    def _dynamic_strings(self, wanted: int) -> list[str]:
        values = dict(self.dynamic)
        offset = self.vaddr_to_offset(values.get(DT_STRTAB, -1))
        if offset is None or DT_STRSZ not in values:
            return []
        names = _Names(self.read(offset, values[DT_STRSZ]), "dynamic strings")
        return [names.get(value) for tag, value in self.dynamic if tag == wanted]

    @property
    def needed(self) -> list[str]:
        """The libraries that the dynamic linker loads with it (DT_NEEDED)."""
        return self._dynamic_strings(DT_NEEDED)

    @property
    def soname(self) -> str | None:
        """The name of a shared library (DT_SONAME)."""
        return next(iter(self._dynamic_strings(DT_SONAME)), None)

    @property
    def interpreter(self) -> str | None:
        """The path of the dynamic linker (PT_INTERP)."""
        for segment in self.segments:
            if segment.type == PT_INTERP:
                return segment.read().split(b"\0")[0].decode(errors="backslashreplace")
        return None

    @property
    def is_pie(self) -> bool:
        """Whether it is a position-independent executable, as opposed to a shared library."""
        if self.type != ET_DYN:
            return False
        flags = dict(self.dynamic).get(DT_FLAGS_1)
        if flags is not None and flags & _DF_1_PIE:
            return True
        # Linkers before 2016 did not set the flag. libc.so.6 has an interpreter but a name too.
        return self.interpreter is not None and self.soname is None

    @property
    def is_exec(self) -> bool:
        """Whether it is a program (fixed address or PIE)."""
        return self.type == ET_EXEC or self.is_pie

    # ---- where more symbols are ----

    @property
    def debuglink(self) -> tuple[str, int] | None:
        """The file name and CRC-32 of .gnu_debuglink, or ``None``."""
        section = self.section(".gnu_debuglink")
        if section is None:
            return None
        name, _, rest = section.data.partition(b"\0")
        place = (len(name) + 4) & ~3
        if not name or not rest or len(section.data) < place + 4:
            raise FormatError("ELF file", ".gnu_debuglink is too short", self.path)
        (crc,) = struct.unpack_from(self.order + "I", section.data, place)
        return name.decode(errors="surrogateescape"), crc

    @property
    def debugaltlink(self) -> tuple[str, bytes] | None:
        """The path and build id of .gnu_debugaltlink (dwz), or ``None``."""
        section = self.section(".gnu_debugaltlink")
        if section is None:
            return None
        name, _, build_id = section.data.partition(b"\0")
        return name.decode(errors="surrogateescape"), build_id

    def gnu_debugdata(self) -> File | None:
        """Return the small ELF file with more symbols inside .gnu_debugdata, or ``None``."""
        section = self.section(".gnu_debugdata")
        if section is None:
            return None
        from bpflens.elf.debuglink import unpack_debugdata

        return File(unpack_debugdata(section.data))

    def __repr__(self) -> str:
        return f"<File {self.path or 'in memory'!r} {self.bits}-bit machine={self.machine}>"


class _Names:
    # A string table. Decoded names are kept by offset; their sum is limited because names may
    # overlap: n symbols pointing into one string of n bytes would spell n*n/2 bytes.

    __slots__ = ("_budget", "_data", "_seen", "_what")

    def __init__(self, data: bytes, what: str) -> None:
        self._data = data
        self._what = what
        self._seen: dict[int, str] = {0: ""} if data[:1] == b"\0" or not data else {}
        self._budget = _MAX_NAME_BYTES + 8 * len(data)

    def get(self, offset: int) -> str:
        name = self._seen.get(offset)
        if name is None:
            end = self._data.find(b"\0", offset)
            if end < 0:
                raise FormatError("ELF file", f"name offset {offset} leads nowhere", self._what)
            self._budget -= end - offset
            if self._budget < 0:
                raise FormatError("ELF file", "the names are absurdly long", self._what)
            name = self._data[offset:end].decode(errors="backslashreplace")
            self._seen[offset] = name
        return name


def _whole(section: Section, layout: struct.Struct) -> bytes:
    # The entries of a table section; a partial last entry is damage.
    if section.entsize not in (0, layout.size):
        raise FormatError("ELF file", f"entries of {section.entsize} bytes", section.name)
    data = section.data
    if len(data) % layout.size:
        raise FormatError("ELF file", f"{len(data)} bytes hold no whole entries", section.name)
    return data


def _notes(data: bytes, order: str, align: int) -> Iterator[Note]:
    # Descriptions are padded to 4 bytes, or to 8 in sections aligned so (.note.gnu.property).
    mask = 7 if align == 8 else 3
    layout = struct.Struct(order + "III")
    place = 0
    while place + 12 <= len(data):
        name_size, desc_size, type_ = layout.unpack_from(data, place)
        desc = (place + 12 + name_size + mask) & ~mask
        end = desc + desc_size
        if end > len(data):
            raise FormatError("ELF file", "a note is larger than its section", f"note at {place}")
        name = data[place + 12 : place + 12 + name_size].rstrip(b"\0")
        yield Note(name, type_, data[desc:end])
        place = (end + mask) & ~mask


def _decompress(data: bytes, bits: int, order: str, name: str) -> bytes:
    layout = struct.Struct(order + ("I4xQQ" if bits == 64 else "III"))
    if len(data) < layout.size:
        raise FormatError("ELF file", "no compression header", name)
    kind, size, _ = layout.unpack_from(data)
    if size > _MAX_DECOMPRESSED:
        raise FormatError("ELF file", f"decompresses to {size} bytes", name)
    body = data[layout.size :]
    if kind == ELFCOMPRESS_ZLIB:
        result = _inflate(body, size, name)
    elif kind == _ELFCOMPRESS_ZSTD:
        result = _unzstd(body, size, name)
    else:
        raise FormatError("ELF file", f"compression type {kind}", name)
    if len(result) != size:
        raise FormatError("ELF file", f"decompresses to {len(result)} bytes, not {size}", name)
    return result


def _inflate(body: bytes, size: int, name: str) -> bytes:
    import zlib

    try:
        return zlib.decompressobj().decompress(body, size + 1)
    except zlib.error as error:
        raise FormatError("ELF file", f"damaged zlib data: {error}", name) from None


def _unzstd(body: bytes, size: int, name: str) -> bytes:
    try:
        zstd = __import__("compression.zstd", fromlist=["zstd"])
    except ImportError:
        raise FormatError(
            "ELF file", "zstd compression needs Python 3.14 or newer to be read", name
        ) from None
    try:
        data: bytes = zstd.ZstdDecompressor().decompress(body, size + 1)
    except zstd.ZstdError as error:
        raise FormatError("ELF file", f"damaged zstd data: {error}", name) from None
    return data

"""The raw parts of a BPF object file: sections by what they hold, symbols, BTF.

Turns an ELF file into what the other object modules ask for. Invariants: only little-endian
64-bit relocatable files with machine type BPF are taken; nothing is interpreted twice.

Example::

    source = Source(File("prog.bpf.o"), "prog")
    for section in source.code: print(section.name)
"""

from __future__ import annotations

from bpflens.btf import Btf
from bpflens.errors import FormatError
from bpflens.uapi.elf import (
    EM_BPF,
    ET_REL,
    SHF_ALLOC,
    SHF_EXECINSTR,
    SHN_ABS,
    SHN_COMMON,
    SHT_NOBITS,
    SHT_PROGBITS,
    STT_FUNC,
    STT_SECTION,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.btf.ext import Ext
    from bpflens.elf import File, Relocation, Section, Symbol

__all__ = ["ARENA_SECTION", "Source", "is_data", "text"]

#: The section of global variables that live in an arena.
ARENA_SECTION = ".addr_space.1"

_DATA = (".data", ".rodata", ".bss")


class Source:
    """One object file, taken apart.

    ``code`` are the sections with instructions, ``data`` those with global variables; ``btf`` and
    ``ext`` are None in a file without BTF; ``symbols`` is the whole symbol table in its order.
    """

    __slots__ = ("btf", "btf_bytes", "code", "data", "ext", "file", "name", "symbols")

    def __init__(self, file: File, name: str) -> None:
        if file.machine != EM_BPF or file.type != ET_REL:
            raise FormatError("object file", f"{file.path or name} is no relocatable BPF object")
        if file.bits != 64 or file.order != "<":
            raise FormatError("object file", "a BPF object for big-endian machines")
        self.file = file
        self.name = name
        self.symbols = file.symbols()
        self.code = [section for section in file.sections if _is_code(section)]
        self.data = [section for section in file.sections if is_data(section)]
        self.btf: Btf | None = None
        self.ext: Ext | None = None
        self.btf_bytes = b""
        self._read_btf()

    def _read_btf(self) -> None:
        section = self.file.section(".BTF")
        if section is None or not section.data:
            return
        self.btf_bytes = section.data
        self.btf = Btf(self.btf_bytes, pointer_size=8)
        extension = self.file.section(".BTF.ext")
        if extension is not None and extension.data:
            from bpflens.btf.ext import parse

            self.ext = parse(extension.data, self.btf)

    def section(self, name: str) -> Section | None:
        """Return the section of this name, or None."""
        return self.file.section(name)

    def section_of(self, symbol: Symbol) -> Section | None:
        """Return the section that a symbol is defined in, None for external ones."""
        if symbol.shndx in (0, SHN_ABS, SHN_COMMON) or symbol.reserved:
            return None
        if symbol.shndx >= len(self.file.sections):
            raise FormatError("object file", f"symbol {symbol.name} is in no section")
        return self.file.sections[symbol.shndx]

    def symbols_in(self, section: Section) -> list[Symbol]:
        """Return the named symbols of a section by their place in it."""
        found = [
            symbol
            for symbol in self.symbols
            if symbol.shndx == section.index
            and not symbol.reserved
            and symbol.name
            and symbol.type != STT_SECTION
        ]
        found.sort(key=_by_value)
        return found

    def functions_in(self, section: Section) -> list[Symbol]:
        """Return the function symbols of a section by their place in it."""
        return [symbol for symbol in self.symbols_in(section) if symbol.type == STT_FUNC]

    def relocations(self, section: Section) -> list[tuple[Relocation, Symbol]]:
        """Return the relocations of a section, each with its symbol, by their place."""
        found = []
        for relocation in self.file.relocations(section):
            if relocation.symbol >= len(self.symbols):
                problem = f"a relocation names symbol {relocation.symbol}, which does not exist"
                raise FormatError("object file", problem, section.name)
            found.append((relocation, self.symbols[relocation.symbol]))
        found.sort(key=_by_offset)
        return found


def is_data(section: Section) -> bool:
    """Whether a section holds global variables that become a map."""
    if not section.size or not section.flags & SHF_ALLOC:
        return False
    if section.type not in (SHT_PROGBITS, SHT_NOBITS):
        return False
    return any(section.name == name or section.name.startswith(name + ".") for name in _DATA)


def text(data: bytes) -> str:
    """Return the C string at the beginning of ``data``."""
    return data.partition(b"\0")[0].decode("utf-8", "replace")


def _is_code(section: Section) -> bool:
    wanted = SHF_ALLOC | SHF_EXECINSTR
    return section.type == SHT_PROGBITS and section.flags & wanted == wanted and section.size > 0


def _by_value(symbol: Symbol) -> int:
    return symbol.value


def _by_offset(pair: tuple[Relocation, Symbol]) -> int:
    return pair[0].offset

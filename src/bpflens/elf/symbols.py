"""Large symbol tables: address → symbol, name → symbol, globs, without an object per symbol.

Takes the bytes of symbol and string tables and keeps them as bytes. A name is looked up by a
search in the string table, an address by bisection in one sorted list of integers (value and
position packed in one), made at the first use; symbols become objects only when they are handed
out. A library with 258,000 symbols is ready in 60 ms, and a name is found in it in a few.

Invariants: only defined symbols are seen; where several names share an address the one that a
person would choose wins (a typed before an untyped, global before weak before local, fewer
leading underscores). An address resolves only inside a symbol's size; a symbol without a size
reaches to the next one of its segment.

It does not demangle (see :mod:`bpflens.symbols.demangle`) and knows no debug information.

Example::

    table = File("/lib/x86_64-linux-gnu/libc.so.6").symbol_table()
    table.address("malloc")              # 0x97fa0
    table.resolve(0x97fa8)               # ('malloc', 8)
    table.glob("str*cmp")                # [('strcmp', ...), ...]
"""

from __future__ import annotations

import struct
import sys
from array import array
from bisect import bisect_right
from itertools import compress

from bpflens.elf.file import Symbol
from bpflens.elf.glob import compile_glob, literal_prefix
from bpflens.errors import FormatError
from bpflens.uapi.elf import (
    EM_ARM,
    PF_X,
    PT_LOAD,
    SHT_DYNSYM,
    SHT_SYMTAB,
    STB_GLOBAL,
    STB_GNU_UNIQUE,
    STB_WEAK,
    STT_FUNC,
    STT_GNU_IFUNC,
    STT_NOTYPE,
    STT_OBJECT,
    SHT_GNU_versym,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bpflens.elf.file import File, Section

__all__ = ["SymbolTable", "find_symbol"]

# Which symbol types belong to a kind of table. "code" is for resolving addresses: hand-written
# assembly often leaves its functions untyped.
_TYPES = {
    "function": (STT_FUNC, STT_GNU_IFUNC),
    "code": (STT_FUNC, STT_GNU_IFUNC, STT_NOTYPE),
    "object": (STT_OBJECT,),
    "any": (STT_NOTYPE, STT_OBJECT, STT_FUNC, STT_GNU_IFUNC),
}
_BIND_ORDER = {STB_GLOBAL: 0, STB_GNU_UNIQUE: 0, STB_WEAK: 1}
# How many symbols before an address are looked at for one that contains it.
_WALK = 256
# Names may overlap, so a small file can spell an enormous amount of text.
_MAX_NAME_BYTES = 1 << 28


class SymbolTable:
    """The symbols of one or several tables of a file (and of the files with its symbols).

    Make it with :meth:`from_file`. ``len()`` counts the symbols of the chosen kind.
    """

    __slots__ = (
        "_base", "_keys", "_largest", "_limits", "_mask", "_parts", "_shift", "_types",
    )  # fmt: skip

    def __init__(
        self, parts: Iterable[_Part], kinds: str = "function", limits: Iterable[range] = ()
    ) -> None:
        self._parts = list(parts)
        self._types = _TYPES[kinds]
        self._limits = list(limits)
        self._keys: list[int] | None = None
        self._largest = 0
        self._base = []
        total = 0
        for part in self._parts:
            self._base.append(total)
            total += part.count
        self._shift = total.bit_length()
        self._mask = (1 << self._shift) - 1

    @classmethod
    def from_file(cls, file: File, kinds: str = "function", *more: File) -> SymbolTable:
        """Make a table over .symtab and .dynsym of a file, and of ``more`` files about it."""
        parts = [part for each in (file, *more) for part in _parts(each)]
        limits = [
            range(segment.vaddr, segment.vaddr + segment.memsz)
            for segment in file.segments
            if segment.type == PT_LOAD and (segment.flags & PF_X or kinds in ("object", "any"))
        ]
        return cls(parts, kinds, limits)

    def __len__(self) -> int:
        return len(self._sorted())

    # ---- address → name ----

    def resolve(self, address: int) -> tuple[str, int] | None:
        """Return ``(name, distance from its start)`` of what contains an address, or ``None``."""
        symbol = self.lookup(address)
        return None if symbol is None else (symbol.name, address - symbol.value)

    def lookup(self, address: int) -> Symbol | None:
        """Return the symbol that contains an address, or ``None``."""
        keys = self._sorted()
        place = bisect_right(keys, address << self._shift | self._mask)
        nearest = None
        best = None
        for index in range(place - 1, max(-1, place - 1 - _WALK), -1):
            packed = keys[index]
            start = packed >> self._shift
            if best is not None and start != best.value:
                break
            if nearest is not None and start + self._largest <= address:
                break
            size = self._size(packed & self._mask)
            if address < start + size:
                best = _better(best, self._at(packed & self._mask))
            elif not size and (nearest is None or nearest.value == start):
                nearest = _better(nearest, self._at(packed & self._mask))
            elif start + self._largest <= address:
                break
        if best is None and nearest is not None and self._same_segment(nearest.value, address):
            best = nearest
        return best

    def _same_segment(self, first: int, second: int) -> bool:
        if not self._limits:
            return True
        return any(first in limit and second in limit for limit in self._limits)

    def _sorted(self) -> list[int]:
        if self._keys is None:
            keys: list[int] = []
            for base, part in zip(self._base, self._parts, strict=True):
                keys += part.keys(self._types, base, self._shift)
                self._largest = max(self._largest, part.largest(self._types))
            keys.sort()
            self._keys = keys
        return self._keys

    def _at(self, index: int) -> Symbol:
        # Empty tables share a base with the next one; bisect_right gives the last of them.
        number = bisect_right(self._base, index) - 1
        return self._parts[number].symbol(index - self._base[number])

    def _size(self, index: int) -> int:
        number = bisect_right(self._base, index) - 1
        return self._parts[number].size(index - self._base[number])

    # ---- name → address ----

    def find(self, name: str) -> list[Symbol]:
        """Return the symbols of that name, the most likely first (global, default version)."""
        found: list[tuple[int, Symbol]] = []
        encoded = name.encode(errors="surrogateescape")
        for number, part in enumerate(self._parts):
            for index in part.find(encoded):
                symbol = part.symbol(index)
                if symbol.type in self._types:
                    rank = _BIND_ORDER.get(symbol.bind, 2) * 4 + part.hidden(index) * 2
                    found.append((rank + (number > 0), symbol))
        found.sort(key=_first)
        unique: dict[tuple[int, int], Symbol] = {}
        for _, symbol in found:
            unique.setdefault((symbol.value, symbol.size), symbol)
        return list(unique.values())

    def address(self, name: str) -> int | None:
        """Return the value of the most likely symbol of that name, or ``None``."""
        found = self.find(name)
        return found[0].value if found else None

    def names(self) -> Iterator[tuple[str, int]]:
        """Yield ``(name, value)`` of every symbol; one that two tables hold comes once."""
        yield from self.glob("*")

    def glob(self, pattern: str) -> list[tuple[str, int]]:
        """Return ``(name, value)`` of the names that match ``*``, ``?`` and ``[...]``."""
        encoded = pattern.encode(errors="surrogateescape")
        found: dict[tuple[bytes, int], None] = {}
        budget = _MAX_NAME_BYTES
        for part in self._parts:
            for pair in part.glob(self._types, encoded):
                found[pair] = None
                budget -= len(pair[0])
                if budget < 0:
                    raise FormatError("ELF file", "the names are absurdly long", "symbol table")
        return [(name.decode(errors="backslashreplace"), value) for name, value in found]

    def symbols(self) -> Iterator[Symbol]:
        """Yield every symbol in the order of addresses."""
        for packed in self._sorted():
            yield self._at(packed & self._mask)


def find_symbol(file: File, name: str) -> Symbol | None:
    """Return the most likely defined symbol of that name in a file, or ``None``."""
    found = SymbolTable(_parts(file), "any").find(name)
    return found[0] if found else None


class _Part:
    # One symbol table with its strings, in the byte order of the file.

    __slots__ = (
        "_arm", "_data", "_layout", "_order", "_strings", "_versions", "_wide", "count",
    )  # fmt: skip

    def __init__(self, file: File, section: Section) -> None:
        self._wide = file.bits == 64
        self._order = file.order
        self._layout = struct.Struct(file.order + ("IBBHQQ" if self._wide else "IIIBBH"))
        size = self._layout.size
        if section.entsize not in (0, size):
            raise FormatError("ELF file", f"entries of {section.entsize} bytes", section.name)
        data = section.data
        self._data = data[: len(data) - len(data) % size]
        self._strings = file.sections[section.link].data if section.link else b""
        self._versions = _versions(file, section)
        self._arm = file.machine == EM_ARM
        self.count = len(self._data) // size

    def symbol(self, index: int) -> Symbol:
        fields = self._layout.unpack_from(self._data, index * self._layout.size)
        if self._wide:
            name, info, other, shndx, value, size = fields
        else:
            name, value, size, info, other, shndx = fields
        if self._arm and info & 15 == STT_FUNC:
            value &= ~1
        text = self._name(name).decode(errors="backslashreplace")
        return Symbol(index, text, value, size, info, other, shndx)

    def _name(self, offset: int) -> bytes:
        end = self._strings.find(b"\0", offset)
        if end < 0:
            raise FormatError("ELF file", f"name offset {offset} leads nowhere", "symbol table")
        name = self._strings[offset:end]
        at = name.find(b"@", 1)
        return name if at < 0 else name[:at]

    def hidden(self, index: int) -> bool:
        # Whether it is an old version of a symbol, kept for programs linked long ago.
        place = index * 2
        if place + 2 > len(self._versions):
            return False
        high = self._versions[place + (1 if self._order == "<" else 0)]
        return bool(high & 0x80)

    def size(self, index: int) -> int:
        if self._wide:
            place = index * 24 + 16
            raw = self._data[place : place + 8]
        else:
            place = index * 16 + 8
            raw = self._data[place : place + 4]
        return int.from_bytes(raw, "little" if self._order == "<" else "big")

    # The columns are cut out by slices with a step: one C loop each, no Python loop.

    def _column(self, code: str, word: int) -> array[int]:
        words = array(code)
        words.frombytes(self._data)
        column = words[word :: self._layout.size // words.itemsize]
        if (self._order == "<") != (sys.byteorder == "little"):
            column.byteswap()
        return column

    def _values(self) -> Iterable[int]:
        values = self._column("Q", 1) if self._wide else self._column("I", 1)
        return [value & ~1 for value in values] if self._arm else values

    def _typed(self, types: tuple[int, ...]) -> bytes:
        # One byte per symbol: not 0 if it is of one of the types.
        table = bytes(kind & 15 in types for kind in range(256))
        return self._data[4 if self._wide else 12 :: self._layout.size].translate(table)

    def _defined(self) -> array[int]:
        # One number per symbol: not 0 (SHN_UNDEF) if it is defined.
        return self._column("H", 3 if self._wide else 7)

    def keys(self, types: tuple[int, ...], base: int, shift: int) -> list[int]:
        columns = zip(self._values(), self._typed(types), self._defined(), strict=True)
        return [
            value << shift | index
            for index, (value, typed, defined) in enumerate(columns, base)
            if typed and defined and value
        ]

    def largest(self, types: tuple[int, ...]) -> int:
        sizes = self._column("Q" if self._wide else "I", 2)
        return max(compress(sizes, self._typed(types)), default=0)

    def glob(self, types: tuple[int, ...], pattern: bytes) -> Iterable[tuple[bytes, int]]:
        columns = zip(
            self._column("I", 0), self._values(), self._typed(types), self._defined(), strict=True
        )
        chosen = [(name, value) for name, value, typed, defined in columns if typed and defined]
        strings = self._strings
        prefix = literal_prefix(pattern)
        if prefix:
            starts = strings.startswith
            chosen = [pair for pair in chosen if starts(prefix, pair[0])]
        if prefix + b"*" == pattern or pattern == b"*":
            return ((self._name(name), value) for name, value in chosen if name)
        match = compile_glob(pattern, b"\0@").match
        found = ((match(strings, name), value) for name, value in chosen if name)
        return ((hit.group(), value) for hit, value in found if hit)

    def find(self, name: bytes) -> list[int]:
        # Linkers share tails ("open" inside "fopen"), so every occurrence counts, not only whole
        # strings.
        if not name or b"\0" in name:
            return []
        offsets = _occurrences(self._strings, name + b"\0")
        offsets += _occurrences(self._strings, name + b"@")
        if len(offsets) > 8:
            wanted = set(offsets)
            found = [i for i, offset in enumerate(self._column("I", 0)) if offset in wanted]
        else:
            found = sorted(i for offset in offsets for i in self._with_name_at(offset))
        return [index for index in found if self._is_defined(index)]

    def _is_defined(self, index: int) -> bool:
        place = index * self._layout.size + (6 if self._wide else 14)
        return self._data[place : place + 2] != b"\0\0"

    def _with_name_at(self, offset: int) -> list[int]:
        step = self._layout.size
        word = struct.pack(self._order + "I", offset)
        return [p // step for p in _occurrences(self._data, word) if p % step == 0]


def _first(pair: tuple[int, Symbol]) -> int:
    return pair[0]


def _occurrences(data: bytes, what: bytes) -> list[int]:
    places = []
    place = data.find(what)
    while place >= 0:
        places.append(place)
        place = data.find(what, place + 1)
    return places


def _parts(file: File) -> list[_Part]:
    wanted = [section for section in file.sections if section.type in (SHT_SYMTAB, SHT_DYNSYM)]
    wanted.sort(key=lambda section: section.type)
    return [_Part(file, section) for section in wanted if section.link < len(file.sections)]


def _versions(file: File, section: Section) -> bytes:
    for other in file.sections:
        if other.type == SHT_GNU_versym and other.link == section.index:
            return other.data
    return b""


def _better(old: Symbol | None, new: Symbol) -> Symbol:
    if old is None or _rank(new) < _rank(old):
        return new
    return old


def _rank(symbol: Symbol) -> tuple[bool, bool, int, int, str]:
    # What a reader would call the place; perf's choice is close to this.
    name = symbol.name
    return (
        not symbol.size,
        symbol.type == STT_NOTYPE,
        _BIND_ORDER.get(symbol.bind, 2),
        len(name) - len(name.lstrip("_")),
        name,
    )

"""Raw BTF bytes to types, on demand.

:class:`Btf` takes the bytes (or an ``mmap``) of a BTF and reads only what is asked for: the header
at once, the position of each type when the first type is needed (or never, when an index from
:mod:`bpflens.btf.cache` is given), a type when ``type(id)`` asks for it. Types are remembered.

Invariants: nothing outside the given bytes is ever read; wrong bytes raise
:class:`~bpflens.errors.FormatError` and nothing else, at the latest when the wrong place is
reached; every following of references is bounded.

Split BTF (a kernel module) continues the ids and strings of a ``base``. Bytes of the other byte
order are turned around once, at the start.

It does not read ELF files nor ``/sys``: give it a section's bytes, or see ``bpflens.objects.btf``.

Example::

    btf = Btf(data)
    task = btf.type(btf.find("task_struct", BTF_KIND_STRUCT))
"""

from __future__ import annotations

import struct
import sys
from bisect import bisect_left, bisect_right

from bpflens.btf.index import (
    KIND_MASK,
    KIND_SHIFT,
    MAX_NAME,
    Index,
    kinds_of,
    sort_enumerators,
    sort_types,
    walk,
)
from bpflens.btf.parse import READERS
from bpflens.btf.types import (
    Array,
    Const,
    Enum,
    Int,
    Ptr,
    Restrict,
    Type,
    Typedef,
    TypeTag,
    Unknown,
    Var,
    Void,
    Volatile,
)
from bpflens.errors import FormatError
from bpflens.uapi.btf import (
    BTF_KIND_ENUM,
    BTF_KIND_ENUM64,
    BTF_KIND_FUNC,
    BTF_KIND_INT,
    BTF_MAGIC,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    import mmap
    from collections.abc import Iterator, Sequence

__all__ = ["Btf"]

# struct btf_header: u16 magic; u8 version; u8 flags; u32 hdr_len, type_off, type_len, str_off,
# str_len; and, in BTF of kernels after 6.18, u32 layout_off, layout_len. Offsets count from the
# header's end.
_HEADER = "HBBIIIII"
_HEADER_SIZE = 24

# The kernel's own limit for chains of typedefs and modifiers (MAX_RESOLVE_DEPTH).
_MAX_DEPTH = 32

# libbpf's names of a C long, from whose size it learns that of a pointer.
_LONG_NAMES = (
    "long unsigned int",
    "long int",
    "unsigned long",
    "long",
    "int long",
    "unsigned long int",
    "long int unsigned",
    "int unsigned long",
    "int long unsigned",
    "unsigned int long",
    "long unsigned",
)

# Below this many types a dict of all names costs less than the sorted tables.
_SMALL = 4096


class Btf:
    """The types of one BTF, and those of its ``base``.

    Ids run from 1 (0 is ``void``) to ``nr_types - 1``; those from ``start_id`` on are this BTF's
    own. ``index`` saves the walk over all types; it must belong to exactly these bytes.
    """

    __slots__ = (
        "_by_name",
        "_data",
        "_index",
        "layout",
        "_long_size",
        "_nr_types",
        "_str_start",
        "_str_stop",
        "_types",
        "base",
        "is_swapped",
        "start_id",
        "start_str",
        "words",
    )

    def __init__(
        self,
        data: bytes | bytearray | memoryview | mmap.mmap,
        base: Btf | None = None,
        index: Index | None = None,
        pointer_size: int = 0,
    ) -> None:
        if isinstance(data, memoryview | bytearray):
            data = bytes(data)
        self.base = base
        self._types: dict[int, Type] = {}
        self._by_name: dict[str, list[int]] | None = None
        self._index = index
        self._nr_types = 0
        self._long_size = pointer_size
        self._open(data)
        self.start_id = base.nr_types if base else 1
        self.start_str = base.end_str if base else 0
        if not base:
            self._types[0] = Void(0, "void")

    def _open(self, data: bytes | mmap.mmap) -> None:
        if len(data) < _HEADER_SIZE:
            raise FormatError("BTF", f"{len(data)} bytes are too few for a header")
        order = "<" if data[0] == BTF_MAGIC & 0xFF else ">"
        fields = struct.unpack_from(order + _HEADER, data)
        magic, version, _flags, size, type_off, type_len, str_off, str_len = fields
        if magic != BTF_MAGIC:
            raise FormatError("BTF", f"wrong magic number {magic:#06x}, want {BTF_MAGIC:#06x}")
        if version != 1:
            raise FormatError("BTF", f"unknown version {version}")
        if size < _HEADER_SIZE or size + str_off + str_len > len(data):
            raise FormatError("BTF", "sections reach past the end of the data", "header")
        if type_off % 4 or type_len % 4 or type_off + type_len > str_off:
            raise FormatError("BTF", "the type section is out of place", "header")
        self._str_start: int = size + str_off
        self._str_stop: int = size + str_off + str_len
        self._check_strings(data)
        self.layout = _layout_section(data, order, size)
        self.is_swapped = (order == "<") != (sys.byteorder == "little")
        section = memoryview(data)[size + type_off : size + type_off + type_len]
        self.words: memoryview = _swapped(section) if self.is_swapped else section.cast("I")
        self._data = data

    def _check_strings(self, data: bytes | mmap.mmap) -> None:
        # Every name ends inside the section because the section ends with a NUL.
        start, stop = self._str_start, self._str_stop
        if start == stop:
            if not self.base:
                raise FormatError("BTF", "the string section is empty", "header")
        elif data[stop - 1] or (data[start] and not self.base):
            raise FormatError("BTF", "the string section does not begin and end with a NUL")

    # -- sizes and identity -------------------------------------------------------------------

    @property
    def index(self) -> Index:
        """The index; made on first use by a walk over all types if none was given."""
        index = self._index
        if index is None:
            index = self._index = Index(walk(self.words, self.layout))
        return index

    @property
    def nr_types(self) -> int:
        """One more than the highest id (as libbpf's ``btf__type_cnt``)."""
        if not self._nr_types:
            self._nr_types = self.start_id + len(self.index.offsets) - 1
        return self._nr_types

    @property
    def end_str(self) -> int:
        """One more than the highest string offset: where a split BTF on top of this one begins."""
        return self.start_str + self._str_stop - self._str_start

    @property
    def raw(self) -> bytes:
        """All bytes, as they were given."""
        return self._data[:]

    @property
    def strings(self) -> bytes:
        """The bytes of the string section."""
        return self._data[self._str_start : self._str_stop]

    @property
    def pointer_size(self) -> int:
        """The size of a pointer: as told, or that of ``long`` in this BTF, or 8."""
        if not self._long_size:
            self._long_size = self._size_of_long()
        return self._long_size

    def _size_of_long(self) -> int:
        if self.base:
            return self.base.pointer_size
        # Not by name: that would sort all names of a kernel's BTF that has no index.
        kinds = self.own_kinds()
        i = kinds.find(BTF_KIND_INT)
        while i >= 0:
            found = self.type(i + self.start_id)
            if isinstance(found, Int) and found.size in (4, 8) and found.name in _LONG_NAMES:
                return found.size
            i = kinds.find(BTF_KIND_INT, i + 1)
        return 8

    # -- types --------------------------------------------------------------------------------

    def type(self, id: int) -> Type:
        """Return the type with this id; the id 0 is :class:`Void`.

        Raises :class:`FormatError` for an id that does not exist (ids come from the BTF itself).
        """
        found = self._types.get(id)
        if found is None:
            found = self._types[id] = self._read(id)
        return found

    def _read(self, id: int) -> Type:
        if id < self.start_id and self.base:
            return self.base.type(id)
        position = self.position(id)
        info = self.words[position + 1]
        kind = info >> KIND_SHIFT & KIND_MASK
        name = self.string(self.words[position])
        if kind < len(READERS):
            return READERS[kind](self, id, name, info, position)
        return Unknown(id, name, kind)

    def string(self, offset: int) -> str:
        """Return the string at this offset of the string section (the base's come first)."""
        if offset < self.start_str and self.base:
            return self.base.string(offset)
        if not offset:
            return ""
        start = self._str_start + offset - self.start_str
        if start >= self._str_stop:
            raise FormatError("BTF", f"string offset {offset} is outside the string section")
        end = self._data.find(b"\0", start, start + MAX_NAME)
        if end < 0:
            raise FormatError("BTF", f"the string at offset {offset} is too long")
        # Names of other languages may hold any bytes; they come back unchanged on output.
        return self._data[start:end].decode("utf-8", "surrogateescape")

    def position(self, id: int) -> int:
        """Return where the own type ``id`` begins in ``words``, for readers of raw words."""
        own = id - self.start_id
        offsets = self.index.offsets
        if not 0 <= own < len(offsets) - 1:
            raise FormatError("BTF", f"there is no type with the id {id}")
        return offsets[own]

    def kind(self, id: int) -> int:
        """Return the kind of a type without making it."""
        if id < self.start_id:
            return self.base.kind(id) if self.base else 0
        info: int = self.words[self.position(id) + 1]
        return info >> KIND_SHIFT & KIND_MASK

    def name(self, id: int) -> str:
        """Return the name of a type without making it."""
        if id < self.start_id:
            return self.base.name(id) if self.base else "void"
        return self.string(self.words[self.position(id)])

    def resolve(self, id: int) -> Type:
        """Return the type below all typedefs, const, volatile, restrict and type tags."""
        for _ in range(_MAX_DEPTH):
            found = self.type(id)
            if not isinstance(found, Typedef | Const | Volatile | Restrict | TypeTag):
                return found
            id = found.type_id
        raise FormatError("BTF", f"typedefs and modifiers go round in a circle at type {id}")

    def size_of(self, id: int) -> int:
        """Return the size of a type in bytes.

        Raises :class:`FormatError` for types without one (void, functions, forward declarations).
        """
        factor = 1
        for _ in range(_MAX_DEPTH):
            found = self.resolve(id)
            if isinstance(found, Array):
                factor *= found.nr_elems
                id = found.type_id
            elif isinstance(found, Var):
                id = found.type_id
            else:
                size = self.pointer_size if isinstance(found, Ptr) else getattr(found, "size", None)
                if size is None:
                    break
                if factor * size > 0xFFFFFFFF:
                    raise FormatError("BTF", f"an array has more than 2^32 bytes at type {id}")
                return factor * size
        raise FormatError("BTF", f"type {id} ({self.name(id) or 'anonymous'}) has no size")

    # -- look-ups -----------------------------------------------------------------------------

    def find(self, name: str, kind: int | None = None) -> int | None:
        """Return the lowest id of a type with this name (and kind), or ``None``."""
        if self.base:
            found = self.base.find(name, kind)
            if found is not None:
                return found
        for id in self._own_ids(name):
            if kind is None or self.kind(id) == kind:
                return id
        return None

    def find_all(self, name: str) -> list[int]:
        """Return the ids of all types with this name, ascending."""
        own = self._own_ids(name)
        return self.base.find_all(name) + own if self.base else own

    def _own_ids(self, name: str) -> list[int]:
        if not name:
            return []
        # The sorted tables hold no names of a base, and most names of a module's BTF lie there.
        if self.base or len(self.index.offsets) < _SMALL:
            return (self._by_name or self._collect_names()).get(name, [])
        positions = self._sorted_types()
        key = name.encode("utf-8", "surrogateescape")
        i = bisect_left(positions, key, key=self.name_at)
        found = []
        while i < len(positions) and self.name_at(positions[i]) == key:
            found.append(self.id_at(positions[i]))
            i += 1
        return found

    def _collect_names(self) -> dict[str, list[int]]:
        names: dict[str, list[int]] = {}
        words = self.words
        for i, position in enumerate(self.index.offsets[:-1], self.start_id):
            if words[position]:
                names.setdefault(self.string(words[position]), []).append(i)
        self._by_name = names
        return names

    def _sorted_types(self) -> Sequence[int]:
        index = self.index
        if index.by_name is None:
            index.by_name = sort_types(self.words, self.strings, index.offsets)
        return index.by_name

    def name_at(self, position: int) -> bytes:
        """Return the bytes of the own name whose offset is the word at ``position``."""
        start = self._str_start + self.words[position] - self.start_str
        return self._data[start : self._data.find(b"\0", start, self._str_stop)]

    def id_at(self, position: int) -> int:
        """Return the id of the own type that begins at (or spans) ``position``."""
        return bisect_right(self.index.offsets, position) - 1 + self.start_id

    def find_prefix(self, prefix: str, kind: int | None = None) -> Iterator[tuple[str, int]]:
        """Yield (name, id) of all types whose name begins with ``prefix``."""
        if self.base:
            yield from self.base.find_prefix(prefix, kind)
        if self.base or len(self.index.offsets) < _SMALL:
            for name, ids in (self._by_name or self._collect_names()).items():
                if name.startswith(prefix):
                    yield from ((name, id) for id in ids if kind is None or self.kind(id) == kind)
            return
        key = prefix.encode("utf-8", "surrogateescape")
        positions = self._sorted_types()
        for i in range(bisect_left(positions, key, key=self.name_at), len(positions)):
            name_bytes = self.name_at(positions[i])
            if not name_bytes.startswith(key):
                break
            info = self.words[positions[i] + 1]
            if kind is None or info >> KIND_SHIFT & KIND_MASK == kind:
                yield name_bytes.decode("utf-8", "surrogateescape"), self.id_at(positions[i])

    def own_kinds(self) -> bytes:
        """Return the kind of each own type, one byte each, the first for ``start_id``."""
        index = self.index
        if index.kinds is None:
            index.kinds = kinds_of(self.words, index.offsets)
        return index.kinds

    def ids_of_kind(self, kind: int) -> list[int]:
        """Return the ids of all types of one kind (those of the base first)."""
        found = self.base.ids_of_kind(kind) if self.base else []
        kinds = self.own_kinds()
        found += [i for i, k in enumerate(kinds, self.start_id) if k == kind]
        return found

    def funcs(self) -> Iterator[tuple[str, int]]:
        """Yield (name, id) of every function."""
        if self.base:
            yield from self.base.funcs()
        offsets = self.index.offsets
        words, string, start = self.words, self.string, self.start_id
        for i, kind in enumerate(self.own_kinds()):
            if kind == BTF_KIND_FUNC:
                yield string(words[offsets[i]]), i + start

    def find_enumerator(self, name: str) -> list[tuple[int, int]]:
        """Return (id of the enum, number of the value in it) for each enumerator of this name."""
        found = self.base.find_enumerator(name) if self.base else []
        if not name:
            return found
        if self.base or len(self.index.offsets) < _SMALL:
            for id in self._own_enums():
                enum = self.type(id)
                assert isinstance(enum, Enum)
                found += [(id, i) for i, (key, _) in enumerate(enum.values) if key == name]
            return found
        positions = self._sorted_enumerators()
        wanted = name.encode("utf-8", "surrogateescape")
        i = bisect_left(positions, wanted, key=self.name_at)
        while i < len(positions) and self.name_at(positions[i]) == wanted:
            id = self.id_at(positions[i])
            step = 2 if self.type(id).kind == BTF_KIND_ENUM else 3
            found.append((id, (positions[i] - self.position(id) - 3) // step))
            i += 1
        return found

    def _own_enums(self) -> list[int]:
        kinds = (BTF_KIND_ENUM, BTF_KIND_ENUM64)
        return [i for i, kind in enumerate(self.own_kinds(), self.start_id) if kind in kinds]

    def _sorted_enumerators(self) -> Sequence[int]:
        index = self.index
        if index.enumerators is None:
            index.enumerators = sort_enumerators(
                self.words, self.strings, index.offsets, self.own_kinds()
            )
        return index.enumerators


def _layout_section(data: bytes | mmap.mmap, order: str, size: int) -> bytes | None:
    # Only headers that are long enough have the two fields.
    if size < _HEADER_SIZE + 8 or len(data) < size:
        return None
    offset, length = struct.unpack_from(order + "II", data, _HEADER_SIZE)
    if not length:
        return None
    if offset % 4 or length % 4 or size + offset + length > len(data):
        raise FormatError("BTF", "the layout section is out of place", "header")
    return data[size + offset : size + offset + length]


def _swapped(section: memoryview) -> memoryview:
    # A type section is made of 32-bit words only, so that turning each around is a full conversion.
    from array import array

    words = array("I")
    words.frombytes(section)
    words.byteswap()
    return memoryview(words)

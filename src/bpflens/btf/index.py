"""Where each type of a BTF lies, and its types and enumerators in the order of their names.

BTF is a list without an index: the only way to the type with the id N is past all types before it,
and the only way to a name is through all names. :func:`walk` steps over the types once (15 ms for
a kernel's 126,000) and that is enough for everything; :func:`complete` adds the sorted tables that
:mod:`bpflens.btf.cache` keeps on disk, so that later starts need neither.

All positions are counted in 32-bit words from the start of the type section. An index holds no
names: it is searched by comparing the name that the BTF has at a position, and so it is small
(1 MB for a kernel) and a search touches few pages of it.

Example::

    offsets = walk(words)           # memoryview("I") of the type section
    words[offsets[7 - 1] + 1]       # the info word of the type 7 of a BTF without a base
"""

from __future__ import annotations

from bpflens.errors import FormatError
from bpflens.uapi.btf import (
    BTF_KIND_ARRAY,
    BTF_KIND_DATASEC,
    BTF_KIND_DECL_TAG,
    BTF_KIND_ENUM,
    BTF_KIND_ENUM64,
    BTF_KIND_FUNC_PROTO,
    BTF_KIND_INT,
    BTF_KIND_STRUCT,
    BTF_KIND_UNION,
    BTF_KIND_VAR,
    NR_BTF_KINDS,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from array import array
    from collections.abc import Sequence

__all__ = ["Index", "complete", "kinds_of", "sort_enumerators", "sort_types", "walk"]

# The kernel's headers after Linux 6.18 have a count of 24 bits and a kind of 7; those before have
# 16 and 5, with the bits between them zero. One reading serves both.
KIND_SHIFT = 24
KIND_MASK = 0x7F
VLEN_MASK = 0xFFFFFF

# Longer names are refused. The kernel's own limit is 512 bytes (KSYM_NAME_LEN); tags may be longer.
# Without a limit, a small hostile file could name one huge string from every type.
MAX_NAME = 16384

# Words after the three common ones: (fixed, for each of vlen elements).
_LAYOUT = {
    BTF_KIND_INT: (1, 0),
    BTF_KIND_ARRAY: (3, 0),
    BTF_KIND_STRUCT: (0, 3),
    BTF_KIND_UNION: (0, 3),
    BTF_KIND_ENUM: (0, 2),
    BTF_KIND_FUNC_PROTO: (0, 2),
    BTF_KIND_VAR: (1, 0),
    BTF_KIND_DATASEC: (0, 3),
    BTF_KIND_DECL_TAG: (1, 0),
    BTF_KIND_ENUM64: (0, 3),
}


class Index:
    """The tables of one BTF (without those of its base).

    ``offsets`` has the position of each type in the order of the ids and, last, the end of the
    section. The rest is made when it is needed if it is ``None``: ``kinds`` has the kind of each
    type as a byte; ``by_name`` the positions of all named types sorted by name and then id;
    ``enumerators`` the positions of all enumerators sorted by name and then position.
    """

    __slots__ = ("by_name", "enumerators", "kinds", "offsets")

    def __init__(
        self,
        offsets: Sequence[int],
        kinds: bytes | None = None,
        by_name: Sequence[int] | None = None,
        enumerators: Sequence[int] | None = None,
    ) -> None:
        self.offsets = offsets
        self.kinds = kinds
        self.by_name = by_name
        self.enumerators = enumerators


class _Sizes(dict[int, int]):
    # info word → size in words. A kernel has 126,000 types but few hundred different info words,
    # so nearly every type costs one dict look-up.
    __slots__ = ("layout",)

    def __init__(self, layout: bytes | None) -> None:
        self.layout = layout

    def __missing__(self, info: int) -> int:
        kind = info >> KIND_SHIFT & KIND_MASK
        if 0 < kind < NR_BTF_KINDS:
            fixed, each = _LAYOUT.get(kind, (0, 0))
        else:
            fixed, each = _unknown_layout(self.layout, kind)
        size = self[info] = 3 + fixed + each * (info & VLEN_MASK)
        return size


def _unknown_layout(layout: bytes | None, kind: int) -> tuple[int, int]:
    # The optional layout section holds, for each kind, u8 info_sz, u8 elem_sz, u16 flags.
    entry = layout[4 * kind : 4 * kind + 4] if layout and kind else b""
    if len(entry) < 4 or entry[0] % 4 or entry[1] % 4:
        raise FormatError("BTF", f"unknown kind {kind}")
    return entry[0] // 4, entry[1] // 4


def walk(words: memoryview, layout: bytes | None = None) -> array[int]:
    """Return the position of each type, and the end of the section as the last item.

    ``layout`` is the BTF's layout section, which tells the size of kinds that we do not know.
    Raises :class:`FormatError` where a type is of an unknown kind or reaches past the end.
    """
    from array import array  # which pulls in collections: 2 ms that a start with a cache saves

    offsets: list[int] = []
    append = offsets.append
    sizes = _Sizes(layout)
    position = 0
    end = len(words)
    try:
        while position < end:
            append(position)
            position += sizes[words[position + 1]]
    except IndexError:
        position = end + 1
    except FormatError as error:
        raise FormatError("BTF", error.problem, f"type section offset {position * 4}") from None
    if position != end:
        where = f"type section offset {offsets[-1] * 4}"
        raise FormatError("BTF", "the last type is cut short", where)
    append(end)
    return array("I", offsets)


def kinds_of(words: memoryview, offsets: Sequence[int]) -> bytes:
    """Return the kind of each type, one byte each."""
    return bytes([words[p + 1] >> KIND_SHIFT & KIND_MASK for p in offsets[:-1]])


def sort_types(words: memoryview, strings: bytes, offsets: Sequence[int]) -> array[int]:
    """Return the positions of all named types, sorted by name."""
    return _sort(words, strings, offsets[:-1])


def sort_enumerators(
    words: memoryview, strings: bytes, offsets: Sequence[int], kinds: bytes
) -> array[int]:
    """Return the positions of all enumerators, sorted by name."""
    positions: list[int] = []
    for kind, step in ((BTF_KIND_ENUM, 2), (BTF_KIND_ENUM64, 3)):
        i = kinds.find(kind)
        while i >= 0:
            first = offsets[i] + 3
            positions.extend(range(first, first + step * (words[offsets[i] + 1] & VLEN_MASK), step))
            i = kinds.find(kind, i + 1)
    positions.sort()
    return _sort(words, strings, positions)


def _sort(words: memoryview, strings: bytes, positions: Sequence[int]) -> array[int]:
    # latin-1 keeps the order of the bytes, and Python compares such strings fastest. A name that is
    # not a proper one (outside the strings, or absurdly long) is left out: it cannot be asked for.
    from array import array

    text = strings.decode("latin-1")
    find = text.find
    size = len(text)
    names: dict[int, str] = {}
    for position in positions:
        start = words[position]
        if 0 < start < size:
            end = find("\0", start, start + MAX_NAME)
            if end > start:
                names[position] = text[start:end]
    return array("I", sorted(names, key=names.__getitem__))


def complete(words: memoryview, strings: bytes, offsets: Sequence[int]) -> Index:
    """Make the full index of a BTF without a base: kinds, types by name, enumerators by name."""
    kinds = kinds_of(words, offsets)
    by_name = sort_types(words, strings, offsets)
    return Index(offsets, kinds, by_name, sort_enumerators(words, strings, offsets, kinds))

"""How C lays types out: sizes, alignments, packed structs, and padding that says so.

What a compiler would do by itself is left to it; only where it would arrive at another layout than
the BTF records, a struct is packed or a gap filled with unnamed bit-fields. The rules are those of
libbpf's ``btf_dump.c`` and ``btf__align_of``.

Example::

    layout = Layout(flat)
    layout.size(id), layout.align(id)       # in bytes; 0 = has none
"""

from __future__ import annotations

from bpflens.btf.index import VLEN_MASK
from bpflens.errors import FormatError
from bpflens.uapi.btf import (
    BTF_KIND_ARRAY,
    BTF_KIND_CONST,
    BTF_KIND_ENUM,
    BTF_KIND_ENUM64,
    BTF_KIND_FLOAT,
    BTF_KIND_INT,
    BTF_KIND_PTR,
    BTF_KIND_RESTRICT,
    BTF_KIND_STRUCT,
    BTF_KIND_TYPE_TAG,
    BTF_KIND_TYPEDEF,
    BTF_KIND_UNION,
    BTF_KIND_VOLATILE,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from bpflens.btf.flat import Flat

__all__ = ["Layout"]

_STRUCTS = (BTF_KIND_STRUCT, BTF_KIND_UNION)
# Kinds whose third word is their size.
_SIZED = (*_STRUCTS, BTF_KIND_ENUM, BTF_KIND_ENUM64, BTF_KIND_INT, BTF_KIND_FLOAT)
_SAME = (
    BTF_KIND_TYPEDEF,
    BTF_KIND_CONST,
    BTF_KIND_VOLATILE,
    BTF_KIND_RESTRICT,
    BTF_KIND_TYPE_TAG,
)

# Bounds that only damaged BTF reaches: links between types, lines of padding in one gap.
_MAX_CHAIN = 256
_MAX_LINES = 1 << 16


class Layout:
    """Answers about the types of one BTF, and remembers them."""

    __slots__ = ("_aligns", "_kinds", "_pointer_size", "_positions", "_sizes", "_words")

    def __init__(self, flat: Flat) -> None:
        self._words = flat.words
        self._kinds = flat.kinds
        self._positions = flat.positions
        self._pointer_size = flat.btf.pointer_size
        self._sizes: dict[int, int] = {}
        self._aligns: dict[int, int] = {}

    def size(self, id: int) -> int:
        """Return the size in bytes, 0 for what has none."""
        size = self._sizes.get(id)
        if size is None:
            factor, at = 1, id
            size = 0
            for _ in range(_MAX_CHAIN):
                kind, p = self._kinds[at], self._positions[at]
                if kind in (BTF_KIND_PTR, *_SIZED):
                    is_pointer = kind == BTF_KIND_PTR
                    size = factor * (self._pointer_size if is_pointer else self._words[p + 2])
                    break
                if kind == BTF_KIND_ARRAY:
                    factor *= self._words[p + 5]
                    at = self._words[p + 3]
                elif kind in _SAME:
                    at = self._words[p + 2]
                else:
                    break
            self._sizes[id] = size
        return size

    def align(self, id: int, depth: int = 0) -> int:
        """Return the alignment in bytes: 1 for what must have been packed, 0 for what has none."""
        align = self._aligns.get(id)
        if align is not None:
            return align
        if depth > _MAX_CHAIN:
            raise FormatError("BTF", f"types are nested too deep at type {id}")
        kind, p = self._kinds[id], self._positions[id]
        if kind in _SIZED and kind not in _STRUCTS:
            align = min(self._pointer_size, self._words[p + 2])
        elif kind == BTF_KIND_PTR:
            align = self._pointer_size
        elif kind in _SAME:
            align = self.align(self._words[p + 2], depth + 1)
        elif kind == BTF_KIND_ARRAY:
            align = self.align(self._words[p + 3], depth + 1)
        elif kind in _STRUCTS:
            align = self._struct_align(p, depth)
        else:
            align = 0
        self._aligns[id] = align
        return align

    def _struct_align(self, p: int, depth: int) -> int:
        words = self._words
        has_bits = words[p + 1] >> 31
        widest = 1
        for i in range(p + 3, p + 3 + 3 * (words[p + 1] & VLEN_MASK), 3):
            align = self.align(words[i + 1], depth + 1)
            if not align:
                return 0
            if not (has_bits and words[i + 2] >> 24) and words[i + 2] % (8 * align):
                return 1
            widest = max(widest, align)
        return 1 if words[p + 2] % widest else widest

    def is_packed(
        self, types: Sequence[int], offsets: Sequence[int], widths: Sequence[int], size: int
    ) -> bool:
        """Return whether the compiler's own alignment would give another layout."""
        if widths:
            # Bit-fields may begin anywhere.
            rows = zip(offsets, widths, strict=True)
            offsets = [0 if bits else at for at, bits in rows]
        aligns = self._aligns
        widest = 1
        for type_id, at in zip(types, offsets, strict=True):
            align = aligns.get(type_id) or self.align(type_id)
            if align > 1:
                if at % (8 * align):
                    return True
                if align > widest:
                    widest = align
        return size % widest != 0

    def pad(
        self, lines: list[str], tabs: str, offset: int, until: int, align: int, in_bits: bool
    ) -> None:
        """Add members without a name that fill the bits from ``offset`` until ``until``.

        ``align`` is the alignment of what follows; ``in_bits`` tells that the gap lies between
        two bit-fields.
        """
        # Largest types first; natural alignment is left to the compiler where it does the same.
        pads = (("long", self._pointer_size * 8), ("int", 32), ("short", 16), ("char", 8))
        name, width, start = "", 0, offset
        for name, width in pads:  # noqa: B007
            start = -(-offset // width) * width
            if start <= until:
                break
        if offset < start <= until:
            natural = -(-offset // (align * 8 or 8)) * (align * 8 or 8)
            if (
                in_bits
                or (start == until and natural != start)
                or (start != until and until - start <= start - offset)
            ):
                lines.append(f"{tabs}{name}: {start - offset if in_bits else 0};")
            offset = start
        whole = (until - offset) // width
        if whole > _MAX_LINES:
            raise FormatError("BTF", f"a gap of {until - offset} bits is too large")
        lines.extend([f"{tabs}{name}: {width};"] * whole)
        left = until - offset - whole * width
        if left:
            smallest = next(pad for pad in reversed(pads) if pad[1] >= left)
            lines.append(f"{tabs}{smallest[0]}: {left};")

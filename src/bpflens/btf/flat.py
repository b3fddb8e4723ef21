"""A whole BTF (with its base) as plain tables, for work that visits every type.

Making an object per type costs a third of a second for a kernel; the printers (``cdump``,
``rawdump``) therefore look at the words themselves. ``Flat`` puts the words of a base and of a
split BTF behind each other, so that one position table and one name table serve both.

Example::

    flat = Flat(btf)
    position = flat.positions[id]
    flat.names[flat.words[position]]       # the name of the type
"""

from __future__ import annotations

from array import array
from itertools import accumulate

from bpflens.btf.index import KIND_MASK, KIND_SHIFT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from bpflens.btf.reader import Btf

__all__ = ["Flat"]


class _Names(dict[int, str]):
    # string offset → string; what is not a whole stored string (the tail of one) is looked up.
    __slots__ = ("btf",)

    def __init__(self, btf: Btf) -> None:
        self.btf = btf

    def __missing__(self, offset: int) -> str:
        name = self[offset] = self.btf.string(offset)
        return name


class _Positions:
    # Positions by id without a table: (first id, offsets, shift) of each part, the last one first.
    __slots__ = ("parts",)

    def __init__(self, parts: list[tuple[int, Sequence[int], int]]) -> None:
        self.parts = parts

    def __getitem__(self, id: int) -> int:
        for first, offsets, shift in self.parts:
            if id >= first:
                return offsets[id - first] + shift
        raise IndexError(id)


class _Kinds:
    # Kinds by id without a table.
    __slots__ = ("count", "flat")

    def __init__(self, flat: Flat) -> None:
        self.flat = flat
        self.count = flat.count

    def __getitem__(self, id: int) -> int:
        if id >= self.count:
            raise IndexError(id)
        return self.flat.words[self.flat.positions[id] + 1] >> KIND_SHIFT & KIND_MASK


class Flat:
    """``words``, and by type id ``positions`` and ``kinds``; ``names`` by string offset.

    The id 0 has a position as well (of three zero words at the end). With ``bulk`` the tables are
    made at once, and with them ``by_kind[kind]``, the ids of a kind, ascending; that pays if most
    types will be visited. Without, nothing is made that grows with the number of types.
    """

    __slots__ = ("btf", "by_kind", "count", "kinds", "names", "positions", "words")

    def __init__(self, btf: Btf, bulk: bool = True) -> None:
        chain = [btf]
        while chain[0].base:
            chain.insert(0, chain[0].base)
        words = array("I")
        shifts = []
        for part in chain:
            shifts.append(len(words))
            words.frombytes(part.words.cast("B"))
        zero = len(words)
        words.extend((0, 0, 0))
        self.btf = btf
        self.words: Sequence[int] = words
        self.count = btf.nr_types
        self.names: dict[int, str] = _Names(btf)
        self.by_kind: list[list[int]] = [[] for _ in range(KIND_MASK + 1)]
        if not bulk:
            parts = [(p.start_id, p.index.offsets, s) for p, s in zip(chain, shifts, strict=True)]
            self.positions: Sequence[int] = _Positions([*reversed(parts), (0, [zero], 0)])  # type: ignore[assignment]
            self.kinds: Sequence[int] = _Kinds(self)  # type: ignore[assignment]
            return
        positions = [zero, *chain[0].index.offsets[:-1]]
        for part, shift in zip(chain[1:], shifts[1:], strict=True):
            positions += [p + shift for p in part.index.offsets[:-1]]
        self.positions = positions
        kinds = b"\0" + b"".join([part.own_kinds() for part in chain])
        self.kinds = kinds
        add = [ids.append for ids in self.by_kind]
        for id, kind in enumerate(kinds):
            add[kind](id)
        for part in chain:
            _unpack_names(self.names, part)


def _unpack_names(names: dict[int, str], btf: Btf) -> None:
    strings = btf.strings
    if not strings.isascii() or len(strings) > 1 << 26:
        return  # offsets count bytes: leave other text to be looked up piece by piece
    pieces = strings[:-1].decode().split("\0")
    offsets = accumulate([len(piece) + 1 for piece in pieces], initial=btf.start_str)
    names.update(zip(offsets, pieces, strict=False))

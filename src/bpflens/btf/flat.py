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

from itertools import accumulate

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


class Flat:
    """``words``, and by type id ``positions`` and ``kinds``; ``names`` by string offset.

    The id 0 has a position as well (of three zero words). With ``bulk`` everything is unpacked
    at once, which pays if most types will be visited.
    """

    __slots__ = ("btf", "count", "kinds", "names", "positions", "words")

    def __init__(self, btf: Btf, bulk: bool = True) -> None:
        chain = [btf]
        while chain[0].base:
            chain.insert(0, chain[0].base)
        words: list[int] = [0, 0, 0]
        positions: list[int] = [0]
        kinds = [b"\0"]
        for part in chain:
            shift = len(words)
            words += part.words.tolist()
            positions += [p + shift for p in part.index.offsets[:-1]]
            kinds.append(part.own_kinds())
        self.btf = btf
        self.words: Sequence[int] = words
        self.positions: Sequence[int] = positions
        self.kinds = b"".join(kinds)
        self.count = btf.nr_types
        self.names: dict[int, str] = _Names(btf)
        if bulk:
            for part in chain:
                _unpack_names(self.names, part)


def _unpack_names(names: dict[int, str], btf: Btf) -> None:
    strings = btf.strings
    if not strings.isascii() or len(strings) > 1 << 26:
        return  # offsets count bytes: leave other text to be looked up piece by piece
    pieces = strings[:-1].decode().split("\0")
    offsets = accumulate([len(piece) + 1 for piece in pieces], initial=btf.start_str)
    names.update(zip(offsets, pieces, strict=False))

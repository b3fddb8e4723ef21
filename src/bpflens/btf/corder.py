"""In which order C wants types: what must stand before what, and bpftool's sorting.

A type that is embedded in another must be defined first; one that is only pointed at need not be,
if it has a name. :class:`Order` says, for a type, which definitions must now be written, in order,
each only once. :func:`sorted_ids` gives the order in which bpftool 7.8 asks for them: anonymous
enums, enums, typedefs of integers, structs and unions, prototypes, the rest; each by name.

Example::

    order = Order(flat)
    order.needed(struct_id)       # [id of an embedded struct, ..., struct_id]
"""

from __future__ import annotations

from bpflens.btf.flat import Flat
from bpflens.btf.index import VLEN_MASK
from bpflens.errors import FormatError
from bpflens.uapi.btf import (
    BTF_KIND_ARRAY,
    BTF_KIND_CONST,
    BTF_KIND_DATASEC,
    BTF_KIND_DECL_TAG,
    BTF_KIND_ENUM,
    BTF_KIND_ENUM64,
    BTF_KIND_FLOAT,
    BTF_KIND_FUNC,
    BTF_KIND_FUNC_PROTO,
    BTF_KIND_FWD,
    BTF_KIND_INT,
    BTF_KIND_PTR,
    BTF_KIND_RESTRICT,
    BTF_KIND_STRUCT,
    BTF_KIND_TYPE_TAG,
    BTF_KIND_TYPEDEF,
    BTF_KIND_UNION,
    BTF_KIND_VAR,
    BTF_KIND_VOLATILE,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Order", "sorted_ids"]

_MODIFIERS = (BTF_KIND_CONST, BTF_KIND_VOLATILE, BTF_KIND_RESTRICT, BTF_KIND_TYPE_TAG)
_STRUCTS = (BTF_KIND_STRUCT, BTF_KIND_UNION)
_ENUMS = (BTF_KIND_ENUM, BTF_KIND_ENUM64)
# Kinds that have no C definition of their own.
_SILENT = (BTF_KIND_FUNC, BTF_KIND_VAR, BTF_KIND_DATASEC, BTF_KIND_DECL_TAG)
# Kinds that refer to one other type, of which they are a form.
_CHAIN = (BTF_KIND_PTR, BTF_KIND_TYPEDEF, *_MODIFIERS)
_MAX_DEPTH = 256
_U64 = (1 << 64) - 1


class Order:
    """Remembers what has been ordered already."""

    __slots__ = ("_busy", "_done", "_flat", "_left", "_queue", "_referenced")

    def __init__(self, flat: Flat) -> None:
        self._flat = flat
        self._done = bytearray(flat.count)
        self._done[0] = 1
        self._busy = bytearray(flat.count)
        self._queue: list[int] = []
        self._referenced: set[int] | None = None
        # Prototypes are visited again and again; in a damaged BTF without end.
        self._left = 16 * flat.count + 10000

    def needed(self, id: int) -> list[int]:
        """Return the ids whose definitions must be written for ``id``, those not asked before."""
        if self._done[id]:
            return []
        self._queue = []
        self._order(id, False, 0)
        return self._queue

    def is_done(self, id: int) -> bool:
        """Return whether nothing is left to be written for ``id``."""
        return bool(self._done[id])

    def _order(self, id: int, through_pointer: bool, depth: int) -> bool:
        # Whether the definition must stand first (a strong link); False if a forward
        # declaration will do. Follows btf_dump_order_type() of libbpf's btf_dump.c.
        if self._done[id]:
            return True
        flat = self._flat
        kind = flat.kinds[id]
        position = flat.positions[id]
        has_name = flat.words[position] != 0
        if self._busy[id]:
            if through_pointer and has_name and kind in _STRUCTS:
                return False
            raise FormatError("BTF", f"the type {id} contains itself")
        if depth > _MAX_DEPTH:
            raise FormatError("BTF", f"types are nested too deep at type {id}")
        if kind == BTF_KIND_PTR:
            strong = self._order(flat.words[position + 2], True, depth + 1)
            self._done[id] = 1
            return strong
        if kind in _STRUCTS:
            return self._order_struct(id, position, through_pointer and has_name, depth)
        if kind in (BTF_KIND_INT, BTF_KIND_FLOAT) or kind in _SILENT:
            self._done[id] = 1
            return False
        if kind in _MODIFIERS:
            return self._order(flat.words[position + 2], through_pointer, depth + 1)
        if kind == BTF_KIND_ARRAY:
            return self._order(flat.words[position + 3], False, depth + 1)
        if kind == BTF_KIND_TYPEDEF:
            strong = self._order(flat.words[position + 2], through_pointer, depth + 1)
            if through_pointer and not strong:
                return False
            self._queue.append(id)
            self._done[id] = 1
            return True
        if kind in _ENUMS or kind == BTF_KIND_FWD:
            if has_name or not self._is_referenced(id):
                self._queue.append(id)
            self._done[id] = 1
            return True
        if kind == BTF_KIND_FUNC_PROTO:
            return self._order_prototype(position, through_pointer, depth)
        raise FormatError("BTF", f"the type {id} of kind {kind} has no form in C")

    def _order_struct(self, id: int, position: int, may_wait: bool, depth: int) -> bool:
        if may_wait:
            return False
        words, done = self._flat.words, self._done
        self._busy[id] = 1
        end = position + 3 + 3 * (words[position + 1] & VLEN_MASK)
        for member in words[position + 4 : end : 3]:
            if not done[member]:
                self._order(member, False, depth + 1)
        if words[position]:
            self._queue.append(id)
        self._busy[id] = 0
        done[id] = 1
        return True

    def _order_prototype(self, position: int, through_pointer: bool, depth: int) -> bool:
        words = self._flat.words
        self._left -= 1
        if not self._left:
            raise FormatError("BTF", "prototypes refer to each other without end")
        end = position + 3 + 2 * (words[position + 1] & VLEN_MASK)
        strong = self._order(words[position + 2], through_pointer, depth + 1)
        for param in words[position + 4 : end : 2]:
            strong = self._order(param, through_pointer, depth + 1) or strong
        return strong

    def _is_referenced(self, id: int) -> bool:
        # An anonymous enum that nothing refers to holds constants; any other is part of a type.
        if self._referenced is None:
            self._referenced = _referenced_ids(self._flat)
        return id in self._referenced


def _referenced_ids(flat: Flat) -> set[int]:
    # Functions refer to prototypes only, so that they need not be looked at.
    words, positions, by_kind = flat.words, flat.positions, _by_kind(flat)
    found: set[int] = set()
    add = found.update
    for kind in (*_CHAIN, BTF_KIND_FUNC_PROTO, BTF_KIND_VAR, BTF_KIND_DECL_TAG):
        add([words[positions[id] + 2] for id in by_kind[kind]])
    for id in by_kind[BTF_KIND_ARRAY]:
        add(words[positions[id] + 3 : positions[id] + 5])
    for kind, step in ((BTF_KIND_STRUCT, 3), (BTF_KIND_UNION, 3), (BTF_KIND_FUNC_PROTO, 2)):
        for id in by_kind[kind]:
            p = positions[id]
            add(words[p + 4 : p + 3 + step * (words[p + 1] & VLEN_MASK) : step])
    return found


def _by_kind(flat: Flat) -> list[list[int]]:
    # A dump of some types has no tables; it gets here only if an anonymous enum is among them.
    if not any(flat.by_kind):
        flat.by_kind = Flat(flat.btf).by_kind
    return flat.by_kind


# -- bpftool's sorting -----------------------------------------------------------------------------

_RANKS = {
    BTF_KIND_ENUM: 1,
    BTF_KIND_ENUM64: 1,
    BTF_KIND_INT: 2,
    BTF_KIND_FLOAT: 2,
    BTF_KIND_STRUCT: 3,
    BTF_KIND_UNION: 3,
    BTF_KIND_FUNC_PROTO: 4,
}
_LAST = 10


def sorted_ids(flat: Flat, order: Order) -> Iterator[int]:
    """Yield ids in bpftool's order; ``order`` says what is done, which is then left out.

    Integers, functions and variables are left out from the start: they define nothing.
    """
    first, late = _named(flat)
    first.sort()
    yield from _by_hash(flat, first)
    # What is left defines something only if it leads to a typedef or forward declaration that
    # nothing before has led to. Only those need sorting, and most kernels have few.
    late += _by_kind(flat)[BTF_KIND_FWD]
    last = _leading_to(flat, order, {id for id in late if not order.is_done(id)})
    last.sort()
    yield from _by_hash(flat, last)


def _key(rank: int, sort_name: str, name: str) -> str:
    # One string that sorts as the three do: the rank, the name to sort by, the type's own name.
    return f"{chr(rank)}{sort_name}\0{name}"


def _named(flat: Flat) -> tuple[list[tuple[str, int]], list[int]]:
    # Sort keys of what defines something, and the typedefs that come with the rest.
    words, names, positions, by_kind = flat.words, flat.names, flat.positions, _by_kind(flat)
    first: list[tuple[str, int]] = []
    late: list[int] = []
    for kind in _STRUCTS:
        rows = [(names[words[positions[id]]], id) for id in by_kind[kind]]
        first += [(f"\3{name}\0{name}", id) for name, id in rows if name]
    for kind in _ENUMS:
        for id in by_kind[kind]:
            name = names[words[positions[id]]]
            first.append((_key(1 if name else 0, _enum_name(flat, id, name), name), id))
    for id in by_kind[BTF_KIND_TYPEDEF]:
        name = names[words[positions[id]]]
        end = _end_of_chain(flat, id)
        rank = _RANKS.get(flat.kinds[end], _LAST) if name else _LAST
        if rank == _LAST:
            late.append(id)
        else:
            first.append((_key(rank, names[words[positions[end]]], name), id))
    return first, late


def _enum_name(flat: Flat, id: int, name: str) -> str:
    position = flat.positions[id]
    if name or not flat.words[position + 1] & VLEN_MASK:
        return name
    return flat.names[flat.words[position + 3]]


def _end_of_chain(flat: Flat, id: int) -> int:
    words, positions, kinds = flat.words, flat.positions, flat.kinds
    for _ in range(_MAX_DEPTH):
        kind = kinds[id]
        if kind in _CHAIN or kind == BTF_KIND_DECL_TAG:
            id = words[positions[id] + 2]
        elif kind == BTF_KIND_ARRAY:
            id = words[positions[id] + 3]
        else:
            return id
    raise FormatError("BTF", f"types are nested too deep at type {id}")


def _leading_to(flat: Flat, order: Order, pending: set[int]) -> list[tuple[str, int]]:
    if not pending:
        return []
    words, positions, kinds = flat.words, flat.positions, flat.kinds
    found: list[tuple[str, int]] = []
    for id in _users(flat, order, pending):
        end = _end_of_chain(flat, id)
        name = flat.names[words[positions[id]]]
        # Only these look through to what they refer to.
        through = kinds[id] in _CHAIN or kinds[id] == BTF_KIND_ARRAY
        sort_name = flat.names[words[positions[end]]] if through else name
        found.append((_key(_LAST, sort_name, name), id))
    return found


def _users(flat: Flat, order: Order, pending: set[int]) -> set[int]:
    # ``pending`` and whatever leads to it, over any number of steps.
    words, positions, by_kind, is_done = flat.words, flat.positions, _by_kind(flat), order.is_done
    forms: dict[int, list[int]] = {}
    for kind in (*_CHAIN, BTF_KIND_ARRAY):
        at = 3 if kind == BTF_KIND_ARRAY else 2
        for id in by_kind[kind]:
            if not is_done(id):
                forms.setdefault(words[positions[id] + at], []).append(id)
    # Prototypes use what they return and their parameters: every other word from the third on.
    many = [(2, 2, id) for id in by_kind[BTF_KIND_FUNC_PROTO]]
    many += [(4, 3, id) for kind in _STRUCTS for id in by_kind[kind] if not is_done(id)]
    chosen = set(pending)
    fresh = pending
    while fresh:
        more = fresh
        while more:
            more = {user for id in more for user in forms.get(id, ())} - chosen
            chosen |= more
            fresh |= more
        found = set()
        for first, step, id in many:
            p = positions[id]
            end = p + 3 + step * (words[p + 1] & VLEN_MASK)
            if not fresh.isdisjoint(words[p + first : end : step]):
                found.add(id)
        fresh = found - chosen
        chosen |= fresh
    return chosen


def _by_hash(flat: Flat, rows: list[tuple[str, int]]) -> Iterator[int]:
    # Rows that are equal but for their ids (types of one name) are ordered by what they consist
    # of, so that the result does not depend on the ids.
    rows.append(("end", 0))
    i = 0
    while i < len(rows) - 1:
        key, id = rows[i]
        i += 1
        if rows[i][0] != key:
            yield id
            continue
        ids = [id]
        while rows[i][0] == key:
            ids.append(rows[i][1])
            i += 1
        yield from sorted(ids, key=lambda id: (_hash(flat, id, True, 0), id))


def _hash_name(value: int, flat: Flat, offset: int) -> int:
    if not offset:
        return value
    inner = 0
    for byte in flat.names[offset].encode("utf-8", "surrogateescape"):
        inner = inner * 31 + (byte - 256 if byte > 127 else byte) & _U64
    return value * 31 + inner & _U64


def _hash(flat: Flat, id: int, with_members: bool, depth: int) -> int:
    # btf_type_disambig_hash() of bpftool's btf.c
    if depth > _MAX_DEPTH:
        raise FormatError("BTF", f"types are nested too deep at type {id}")
    words, p, kind = flat.words, flat.positions[id], flat.kinds[id]
    value = _hash_name(0, flat, words[p])
    count = words[p + 1] & VLEN_MASK
    if kind in _ENUMS:
        step = 2 if kind == BTF_KIND_ENUM else 3
        for offset in words[p + 3 : p + 3 + step * count : step]:
            value = _hash_name(value, flat, offset)
    elif kind in _STRUCTS and with_members:
        for i in range(p + 3, p + 3 + 3 * count, 3):
            value = _hash_name(value, flat, words[i])
            value = value * 31 + _hash(flat, words[i + 1], False, depth + 1) & _U64
    elif kind in _CHAIN or kind == BTF_KIND_DECL_TAG:
        value = value * 31 + _hash(flat, words[p + 2], with_members, depth + 1) & _U64
    elif kind == BTF_KIND_ARRAY:
        value = value * 31 + words[p + 5] & _U64
        value = value * 31 + _hash(flat, words[p + 3], with_members, depth + 1) & _U64
    return value

"""Several split BTF files over one base → one split BTF, as ``btf dump file A file B`` shows it.

Types are put behind each other with new ids. A type that says the same as one before it, in the
same ids, is not stored twice; types that are equal only through others of their own file are.

Example::

    merged([Btf(one, vmlinux), Btf(two, vmlinux)], vmlinux)
"""

from __future__ import annotations

from bpflens.btf import Btf
from bpflens.btf.builder import Builder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["merged"]

# Kinds whose members name other types; two of them are compared by their whole description.
_NAMELESS = ("Var", "Datasec", "DeclTag", "Func")


def merged(parts: Sequence[Btf], base: Btf) -> Btf:
    """Return one BTF with the types of all ``parts``, each of which stands on ``base``."""
    builder = Builder(base)
    known: dict[str, int] = {}
    for part in parts:
        ids: dict[int, int] = {}
        following = builder.next_id
        # Ids are given before types are stored, so that a type may refer to a later one.
        for id in range(part.start_id, part.nr_types):
            said = _said(part, id)
            if said in known:
                ids[id] = known[said]
                continue
            ids[id] = following
            following += 1
            if said:
                known[said] = ids[id]
        stored = builder.next_id
        for id in range(part.start_id, part.nr_types):
            if ids[id] == stored:
                builder.add_type(part.type(id), _renumber(ids))
                stored += 1
    return Btf(builder.build(), base)


def _renumber(ids: dict[int, int]) -> Callable[[int], int]:
    return lambda id: ids.get(id, id)


def _said(part: Btf, id: int) -> str:
    # What a type says, if it refers to nothing but the base; "" else.
    found = part.type(id)
    text = repr(found)
    references = [getattr(found, "type_id", 0), getattr(found, "ret_type_id", 0)]
    references += [getattr(found, "index_type_id", 0)]
    references += [one.type_id for one in getattr(found, "members", ())]
    references += [one.type_id for one in getattr(found, "params", ())]
    if type(found).__name__ in _NAMELESS or any(one >= part.start_id for one in references):
        return ""
    return text.replace(f"id={found.id},", "", 1)

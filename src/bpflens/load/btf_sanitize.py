"""BTF for kernels that do not know all kinds of types: replace those, keep every id.

Turns BTF bytes and the set of what a kernel lacks into bytes it accepts. A type of an unknown kind
becomes one of an older kind that takes the same room, so that ids, offsets and all other types
stay what they are. Nothing is looked up in a kernel here; :func:`missing_features` asks.

Example::

    blob = sanitized(blob, {"btf_enum64", "btf_type_tag"})
"""

from __future__ import annotations

from struct import Struct as Packer

from bpflens.btf import Btf
from bpflens.errors import FormatError
from bpflens.uapi.btf import (
    BTF_KIND_CONST,
    BTF_KIND_DATASEC,
    BTF_KIND_DECL_TAG,
    BTF_KIND_ENUM,
    BTF_KIND_ENUM64,
    BTF_KIND_FLOAT,
    BTF_KIND_FUNC,
    BTF_KIND_FUNC_PROTO,
    BTF_KIND_INT,
    BTF_KIND_STRUCT,
    BTF_KIND_TYPE_TAG,
    BTF_KIND_TYPEDEF,
    BTF_KIND_UNION,
    BTF_KIND_VAR,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container

    Change = Callable[[list[int], int, int], None]

__all__ = ["FEATURES", "missing_features", "sanitized"]

#: Kinds of types that came later than BTF itself, as features of a kernel.
FEATURES = (
    "btf_func", "btf_func_global", "btf_datasec", "btf_float", "btf_decl_tag", "btf_type_tag",
    "btf_enum64",
)  # fmt: skip

_KIND = 0x1F << 24
_KIND_FLAG = 1 << 31
_VLEN = 0xFFFF
_BYTE = 8  # encoding word of an unsigned integer of 8 bits


def missing_features() -> set[str]:
    """Return which of :data:`FEATURES` the running kernel certainly lacks."""
    from bpflens.kernel.feature import feature

    return {name for name in FEATURES if feature(name).answer() is False}


def sanitized(data: bytes, missing: Container[str]) -> bytes:
    """Return the BTF with every type replaced that a kernel without ``missing`` would refuse."""
    btf = Btf(data, pointer_size=8)
    words = list(btf.words)
    for id in range(1, btf.nr_types):
        position = btf.position(id)
        info = words[position + 1]
        kind = info >> 24 & 0x1F
        if kind == BTF_KIND_ENUM64 and "btf_enum64" in missing:
            _to_union(words, position, info, _integer(btf))
            continue
        change = _change(kind, missing)
        if change is not None:
            change(words, position, info)
    # The type section stands where it stood: only its words are others.
    start = int.from_bytes(data[4:8], "little") + int.from_bytes(data[8:12], "little")
    packed = Packer(f"<{len(words)}I").pack(*words)
    return data[:start] + packed + data[start + len(packed) :]


def _change(kind: int, missing: Container[str]) -> Change | None:
    for feature, change in _CHANGES.get(kind, ()):
        if feature in missing:
            return change
    return None


def _set_kind(words: list[int], position: int, kind: int, vlen: int = 0) -> None:
    words[position + 1] = kind << 24 | vlen


def _to_byte(words: list[int], position: int, info: int) -> None:
    _set_kind(words, position, BTF_KIND_INT)
    words[position + 2] = 1
    words[position + 3] = _BYTE


# A section of variables becomes a struct with them as members, all of one size in words.
def _to_struct(words: list[int], position: int, info: int) -> None:
    count = info & _VLEN
    # Names of sections begin with a dot, which no struct may: better none at all.
    words[position] = 0
    _set_kind(words, position, BTF_KIND_STRUCT, count)
    for at in range(position + 3, position + 3 + 3 * count, 3):
        type_id, offset, _ = words[at : at + 3]
        words[at : at + 3] = 0, type_id, offset * 8


def _to_enum(words: list[int], position: int, info: int) -> None:
    _set_kind(words, position, BTF_KIND_ENUM, info & _VLEN)
    words[position + 2] = 4


def _to_typedef(words: list[int], position: int, info: int) -> None:
    _set_kind(words, position, BTF_KIND_TYPEDEF)


def _to_static(words: list[int], position: int, info: int) -> None:
    words[position + 1] = info & ~_VLEN


def _to_empty_struct(words: list[int], position: int, info: int) -> None:
    words[position] = 0
    _set_kind(words, position, BTF_KIND_STRUCT)


def _to_const(words: list[int], position: int, info: int) -> None:
    words[position] = 0
    _set_kind(words, position, BTF_KIND_CONST)


# Enumerators of 64 bits become members of an integer type: their names stay to be read.
def _to_union(words: list[int], position: int, info: int, integer: int) -> None:
    count = info & _VLEN
    _set_kind(words, position, BTF_KIND_UNION, count)
    for at in range(position + 3, position + 3 + 3 * count, 3):
        words[at + 1 : at + 3] = integer, 0


def _integer(btf: Btf) -> int:
    for id in btf.ids_of_kind(BTF_KIND_INT):
        if btf.size_of(id) <= 8:
            return id
    raise FormatError("BTF", "no integer type to stand for enumerators of 64 bits")


def _without_flag(words: list[int], position: int, info: int) -> None:
    words[position + 1] = info & ~_KIND_FLAG


_CHANGES: dict[int, tuple[tuple[str, Change], ...]] = {
    BTF_KIND_VAR: (("btf_datasec", _to_byte),),
    BTF_KIND_DATASEC: (("btf_datasec", _to_struct),),
    BTF_KIND_FUNC_PROTO: (("btf_func", _to_enum),),
    BTF_KIND_FUNC: (("btf_func", _to_typedef), ("btf_func_global", _to_static)),
    BTF_KIND_FLOAT: (("btf_float", _to_empty_struct),),
    BTF_KIND_DECL_TAG: (("btf_decl_tag", _to_byte),),
    BTF_KIND_TYPE_TAG: (("btf_type_tag", _to_const),),
    BTF_KIND_ENUM: (("btf_enum64", _without_flag),),
}

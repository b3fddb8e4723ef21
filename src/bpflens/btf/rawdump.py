"""BTF as it is, type by type: the text and JSON of ``bpftool btf dump ... format raw``.

:func:`text` gives the lines, :func:`describe` one type as a dict in the order of bpftool's JSON
(for a writer that indents), :func:`json_text` the whole as compact JSON. Nothing is followed or
checked beyond what is printed, so that damaged BTF can be looked at, too.

Two places differ on purpose: a number of an unsigned 32-bit enum above 2^31 is the same number in
JSON as in text (bpftool extends its sign), and JSON escapes every character that needs it.

Example::

    sys.stdout.writelines(text(btf, [26]))     # [26] STRUCT 'flow_key' size=16 vlen=5 ...
"""

from __future__ import annotations

from bpflens.btf.flat import Flat
from bpflens.btf.index import KIND_MASK, KIND_SHIFT, VLEN_MASK
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
    KIND_NAMES,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from bpflens.btf.reader import Btf

__all__ = ["describe", "json_text", "text"]

_ENCODINGS = {0: "(none)", 1: "SIGNED", 2: "CHAR", 4: "BOOL"}
_LINKAGES = {0: "static", 1: "global", 2: "extern"}
_BLOCK = 8192


def text(btf: Btf, ids: Iterable[int] | None = None) -> Iterator[str]:
    """Yield the text in pieces; ``ids`` chooses types (of a split BTF else only its own)."""
    flat = _flat(btf, ids is None)
    chosen = range(btf.start_id, flat.count) if ids is None else _checked(flat, ids)
    for start in range(0, len(chosen), _BLOCK):
        block = chosen[start : start + _BLOCK]
        found: dict[int, str] = {}
        by_kind: dict[int, list[int]] = {}
        for id in block:
            by_kind.setdefault(flat.kinds[id], []).append(id)
        for kind, same in by_kind.items():
            found.update(zip(same, _TEXTS.get(kind, _text_other)(flat, same), strict=True))
        yield "\n".join([found[id] for id in block]) + "\n"


def describe(btf: Btf, id: int) -> dict[str, object]:
    """Return one type as bpftool's JSON has it."""
    flat = _flat(btf, False)
    return _describe(flat, _checked(flat, [id])[0])


def json_text(btf: Btf, ids: Iterable[int] | None = None) -> Iterator[str]:
    """Yield compact JSON, ``{"types":[...]}``, in pieces; ``ids`` as for :func:`text`."""
    from json import JSONEncoder

    encode = JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode
    flat = _flat(btf, ids is None)
    chosen = range(btf.start_id, flat.count) if ids is None else _checked(flat, ids)
    yield '{"types":['
    for start in range(0, len(chosen), _BLOCK):
        block = encode([_describe(flat, id) for id in chosen[start : start + _BLOCK]])
        yield f"{',' if start else ''}{block[1:-1]}"
    yield "]}"


def _flat(btf: Btf, bulk: bool) -> Flat:
    flat = Flat(btf, bulk)
    flat.names[0] = "(anon)"
    return flat


def _checked(flat: Flat, ids: Iterable[int]) -> list[int]:
    chosen = list(ids)
    for id in chosen:
        if not 0 <= id < flat.count:
            raise FormatError("BTF", f"there is no type with the id {id}")
    return chosen


# -- text: one function per kind, for all types of the kind at once ------------------------------


def _text_other(flat: Flat, ids: list[int]) -> list[str]:
    words, names, positions = flat.words, flat.names, flat.positions
    return [f"[{id}] {_kind_name(flat.kinds[id])} '{names[words[positions[id]]]}'" for id in ids]


def _kind_name(kind: int) -> str:
    return KIND_NAMES[kind] if kind < len(KIND_NAMES) else KIND_NAMES[0]


def _text_int(flat: Flat, ids: list[int]) -> list[str]:
    return [
        "[{id}] INT '{name}' size={size} bits_offset={bits_offset} nr_bits={nr_bits}"
        " encoding={encoding}".format(**_describe(flat, id))
        for id in ids
    ]


def _text_reference(flat: Flat, ids: list[int]) -> list[str]:
    words, names, positions = flat.words, flat.names, flat.positions
    kind = _kind_name(flat.kinds[ids[0]])
    rows = [(id, positions[id]) for id in ids]
    return [f"[{id}] {kind} '{names[words[p]]}' type_id={words[p + 2]}" for id, p in rows]


def _text_array(flat: Flat, ids: list[int]) -> list[str]:
    words, names, positions = flat.words, flat.names, flat.positions
    found = []
    for id in ids:
        p = positions[id]
        element, index, count = words[p + 3 : p + 6]
        name = names[words[p]]
        found.append(
            f"[{id}] ARRAY '{name}' type_id={element} index_type_id={index} nr_elems={count}"
        )
    return found


def _text_composite(flat: Flat, ids: list[int]) -> list[str]:
    words, names = flat.words, flat.names
    kind = _kind_name(flat.kinds[ids[0]])
    found = []
    for id in ids:
        p = flat.positions[id]
        info = words[p + 1]
        count = info & VLEN_MASK
        end = p + 3 + 3 * count
        rows = zip(
            words[p + 3 : end : 3], words[p + 4 : end : 3], words[p + 5 : end : 3], strict=True
        )
        lines = [f"[{id}] {kind} '{names[words[p]]}' size={words[p + 2]} vlen={count}"]
        if not info >> 31:
            lines += [f"\n\t'{names[n]}' type_id={t} bits_offset={o}" for n, t, o in rows]
        else:
            for n, t, o in rows:
                bits = f" bitfield_size={o >> 24}" if o >> 24 else ""
                lines.append(f"\n\t'{names[n]}' type_id={t} bits_offset={o & 0xFFFFFF}{bits}")
        found.append("".join(lines))
    return found


def _text_enum(flat: Flat, ids: list[int]) -> list[str]:
    words, names = flat.words, flat.names
    kind = flat.kinds[ids[0]]
    found = []
    for id in ids:
        p = flat.positions[id]
        signed, count = words[p + 1] >> 31, words[p + 1] & VLEN_MASK
        suffix = ("LL" if signed else "ULL") if kind == BTF_KIND_ENUM64 else ""
        encoding = "SIGNED" if signed else "UNSIGNED"
        head = f"encoding={encoding} size={words[p + 2]} vlen={count}"
        lines = [f"[{id}] {_kind_name(kind)} '{names[words[p]]}' {head}"]
        lines += [f"\n\t'{n}' val={v}{suffix}" for n, v in _values(flat, id)]
        found.append("".join(lines))
    return found


def _text_fwd(flat: Flat, ids: list[int]) -> list[str]:
    return ["[{id}] FWD '{name}' fwd_kind={fwd_kind}".format(**_describe(flat, id)) for id in ids]


def _text_func(flat: Flat, ids: list[int]) -> list[str]:
    words, names, linkage = flat.words, flat.names, _LINKAGES.get
    return [
        f"[{id}] FUNC '{names[words[p]]}' type_id={words[p + 2]}"
        f" linkage={linkage(words[p + 1] & VLEN_MASK, '(unknown)')}"
        for id, p in [(id, flat.positions[id]) for id in ids]
    ]


def _text_func_proto(flat: Flat, ids: list[int]) -> list[str]:
    # One formatting for all parameters of a prototype: there are 100,000 in a kernel.
    words, names, positions = flat.words, flat.names, flat.positions
    formats: dict[int, str] = {}
    found = []
    for id in ids:
        p = positions[id]
        count = words[p + 1] & VLEN_MASK
        head = f"[{id}] FUNC_PROTO '{names[words[p]]}' ret_type_id={words[p + 2]} vlen={count}"
        if count:
            params: list[int | str] = [*words[p + 3 : p + 3 + 2 * count]]
            params[::2] = [names[n] for n in words[p + 3 : p + 3 + 2 * count : 2]]
            format = formats.get(count)
            if format is None:
                format = formats[count] = "\n\t'%s' type_id=%d" * count
            head += format % tuple(params)
        found.append(head)
    return found


def _text_var(flat: Flat, ids: list[int]) -> list[str]:
    return [
        "[{id}] VAR '{name}' type_id={type_id}, linkage={linkage}".format(**_describe(flat, i))
        for i in ids
    ]


def _text_datasec(flat: Flat, ids: list[int]) -> list[str]:
    words, names, positions = flat.words, flat.names, flat.positions
    found = []
    for id in ids:
        p = positions[id]
        count = words[p + 1] & VLEN_MASK
        lines = [f"[{id}] DATASEC '{names[words[p]]}' size={words[p + 2]} vlen={count}"]
        for i in range(p + 3, p + 3 + 3 * count, 3):
            var, offset, size = words[i : i + 3]
            lines.append(f"\n\ttype_id={var} offset={offset} size={size}")
            if var < flat.count:
                name = names[words[positions[var]]]
                lines.append(f" ({_kind_name(flat.kinds[var])} '{name}')")
        found.append("".join(lines))
    return found


def _text_float(flat: Flat, ids: list[int]) -> list[str]:
    return ["[{id}] FLOAT '{name}' size={size}".format(**_describe(flat, id)) for id in ids]


def _text_decl_tag(flat: Flat, ids: list[int]) -> list[str]:
    return [
        "[{id}] DECL_TAG '{name}' type_id={type_id} component_idx={component_idx}".format(
            **_describe(flat, id)
        )
        for id in ids
    ]


_TEXTS: dict[int, Callable[[Flat, list[int]], list[str]]] = {
    BTF_KIND_INT: _text_int,
    BTF_KIND_PTR: _text_reference,
    BTF_KIND_ARRAY: _text_array,
    BTF_KIND_STRUCT: _text_composite,
    BTF_KIND_UNION: _text_composite,
    BTF_KIND_ENUM: _text_enum,
    BTF_KIND_FWD: _text_fwd,
    BTF_KIND_TYPEDEF: _text_reference,
    BTF_KIND_VOLATILE: _text_reference,
    BTF_KIND_CONST: _text_reference,
    BTF_KIND_RESTRICT: _text_reference,
    BTF_KIND_FUNC: _text_func,
    BTF_KIND_FUNC_PROTO: _text_func_proto,
    BTF_KIND_VAR: _text_var,
    BTF_KIND_DATASEC: _text_datasec,
    BTF_KIND_FLOAT: _text_float,
    BTF_KIND_DECL_TAG: _text_decl_tag,
    BTF_KIND_TYPE_TAG: _text_reference,
    BTF_KIND_ENUM64: _text_enum,
}


# -- the same as dicts -------------------------------------------------------------------------


def _describe(flat: Flat, id: int) -> dict[str, object]:
    words, p = flat.words, flat.positions[id]
    kind = words[p + 1] >> KIND_SHIFT & KIND_MASK
    row: dict[str, object] = {"id": id, "kind": _kind_name(kind), "name": flat.names[words[p]]}
    fill = _FIELDS.get(kind)
    if fill:
        row.update(fill(flat, id, p, words[p + 1], words[p + 2]))
    return row


def _values(flat: Flat, id: int) -> list[tuple[str, int]]:
    words, names, p = flat.words, flat.names, flat.positions[id]
    is_wide = flat.kinds[id] == BTF_KIND_ENUM64
    step, bits = (3, 64) if is_wide else (2, 32)
    end = p + 3 + step * (words[p + 1] & VLEN_MASK)
    numbers = list(words[p + 4 : end : step])
    if is_wide:
        numbers = [
            low | high << 32 for low, high in zip(numbers, words[p + 5 : end : 3], strict=True)
        ]
    if words[p + 1] >> 31:
        numbers = [n - (1 << bits) if n >> (bits - 1) else n for n in numbers]
    return [(names[n], v) for n, v in zip(words[p + 3 : end : step], numbers, strict=True)]


def _int(flat: Flat, id: int, p: int, info: int, third: int) -> dict[str, object]:
    data = flat.words[p + 3]
    return {
        "size": third,
        "bits_offset": data >> 16 & 0xFF,
        "nr_bits": data & 0xFF,
        "encoding": _ENCODINGS.get(data >> 24 & 0xF, "UNKN"),
    }


def _reference(flat: Flat, id: int, p: int, info: int, third: int) -> dict[str, object]:
    return {"type_id": third}


def _array(flat: Flat, id: int, p: int, info: int, third: int) -> dict[str, object]:
    element, index, count = flat.words[p + 3 : p + 6]
    return {"type_id": element, "index_type_id": index, "nr_elems": count}


def _composite(flat: Flat, id: int, p: int, info: int, third: int) -> dict[str, object]:
    words, names, count = flat.words, flat.names, info & VLEN_MASK
    members = []
    for i in range(p + 3, p + 3 + 3 * count, 3):
        name, type_id, offset = words[i : i + 3]
        bits = offset >> 24 if info >> 31 else 0
        at = offset & 0xFFFFFF if info >> 31 else offset
        member = {"name": names[name], "type_id": type_id, "bits_offset": at}
        if bits:
            member["bitfield_size"] = bits
        members.append(member)
    return {"size": third, "vlen": count, "members": members}


def _enum(flat: Flat, id: int, p: int, info: int, third: int) -> dict[str, object]:
    return {
        "encoding": "SIGNED" if info >> 31 else "UNSIGNED",
        "size": third,
        "vlen": info & VLEN_MASK,
        "values": [{"name": name, "val": value} for name, value in _values(flat, id)],
    }


def _fwd(flat: Flat, id: int, p: int, info: int, third: int) -> dict[str, object]:
    return {"fwd_kind": "union" if info >> 31 else "struct"}


def _func(flat: Flat, id: int, p: int, info: int, third: int) -> dict[str, object]:
    return {"type_id": third, "linkage": _LINKAGES.get(info & VLEN_MASK, "(unknown)")}


def _func_proto(flat: Flat, id: int, p: int, info: int, third: int) -> dict[str, object]:
    words, names, count = flat.words, flat.names, info & VLEN_MASK
    places = range(p + 3, p + 3 + 2 * count, 2)
    params = [{"name": names[words[i]], "type_id": words[i + 1]} for i in places]
    return {"ret_type_id": third, "vlen": count, "params": params}


def _var(flat: Flat, id: int, p: int, info: int, third: int) -> dict[str, object]:
    return {"type_id": third, "linkage": _LINKAGES.get(flat.words[p + 3], "(unknown)")}


def _datasec(flat: Flat, id: int, p: int, info: int, third: int) -> dict[str, object]:
    words, count = flat.words, info & VLEN_MASK
    rows = [words[i : i + 3] for i in range(p + 3, p + 3 + 3 * count, 3)]
    variables = [{"type_id": t, "offset": o, "size": s} for t, o, s in rows]
    return {"size": third, "vlen": count, "vars": variables}


def _float(flat: Flat, id: int, p: int, info: int, third: int) -> dict[str, object]:
    return {"size": third}


def _decl_tag(flat: Flat, id: int, p: int, info: int, third: int) -> dict[str, object]:
    index = flat.words[p + 3]
    return {"type_id": third, "component_idx": index - ((index >> 31) << 32)}


_FIELDS: dict[int, Callable[[Flat, int, int, int, int], dict[str, object]]] = {
    BTF_KIND_INT: _int,
    BTF_KIND_PTR: _reference,
    BTF_KIND_ARRAY: _array,
    BTF_KIND_STRUCT: _composite,
    BTF_KIND_UNION: _composite,
    BTF_KIND_ENUM: _enum,
    BTF_KIND_FWD: _fwd,
    BTF_KIND_TYPEDEF: _reference,
    BTF_KIND_VOLATILE: _reference,
    BTF_KIND_CONST: _reference,
    BTF_KIND_RESTRICT: _reference,
    BTF_KIND_FUNC: _func,
    BTF_KIND_FUNC_PROTO: _func_proto,
    BTF_KIND_VAR: _var,
    BTF_KIND_DATASEC: _datasec,
    BTF_KIND_FLOAT: _float,
    BTF_KIND_DECL_TAG: _decl_tag,
    BTF_KIND_TYPE_TAG: _reference,
    BTF_KIND_ENUM64: _enum,
}

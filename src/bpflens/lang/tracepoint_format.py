"""tracefs ``format`` files: the fields of a tracepoint's record, with their types.

The text is the kernel's (Documentation/trace/events.rst)::

    field:const char * filename;	offset:24;	size:8;	signed:0;
    field:__data_loc char[] comm;	offset:8;	size:4;	signed:0;

C types are mapped by size and sign; pointers keep their target's name so that BTF can give it a
meaning; ``__data_loc`` fields hold, in 32 bits, length and offset of text inside the record.
"""

from __future__ import annotations

from bpflens.lang.types import BOOL, NONE, Array, FieldInfo, Int, Pointer, String, Struct, Type

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    # (name, tag) → type, as the script's preamble or BTF know it
    Lookup = Callable[[str, str], Type | None]

__all__ = ["parse_format"]

_QUALIFIERS = frozenset(("const", "volatile", "__user", "__rcu", "__percpu", "__kernel", "extern"))
# A string field without a fixed end is read up to this many bytes.
_DATA_LOC_LIMIT = 64


def parse_format(
    text: bytes, system: str, event: str, lookup: Lookup, string_size: int = _DATA_LOC_LIMIT
) -> Struct:
    """Return the record of a tracepoint as a struct type; ``common_`` fields are left out.

    ``string_size`` is the size given to ``__data_loc`` strings.
    """
    space = "user" if system == "syscalls" else "kernel"
    fields = []
    size = 0
    for line in text.decode("utf-8", "replace").splitlines():
        parts = [part.strip() for part in line.split(";")]
        if not parts[0].startswith("field:"):
            continue
        values = dict(part.split(":", 1) for part in parts[1:] if ":" in part)
        offset, width = int(values["offset"]), int(values["size"])
        size = max(size, offset + width)
        declaration = parts[0][len("field:") :]
        field = _field(
            declaration, offset, width, values["signed"] == "1", space, lookup, string_size
        )
        if not field.name.startswith("common_"):
            fields.append(field)
    return Struct(f"struct _tracepoint_{system}_{event}", size, lambda: fields)


def _field(
    declaration: str,
    offset: int,
    width: int,
    signed: bool,
    space: str,
    lookup: Lookup,
    string_size: int,
) -> FieldInfo:
    base, name, length = _split(declaration)
    words = [word for word in base.replace("*", " * ").split() if word not in _QUALIFIERS]
    if "__data_loc" in words or "__rel_loc" in words:
        kind: Type = String(string_size) if "char" in words else Array(Int(1, False), 0)
        return FieldInfo(name, kind, offset, data_loc=True, bit_offset=int("__rel_loc" in words))
    if "*" in words:
        return FieldInfo(name, _pointer(words, space, lookup), offset)
    if length is not None:
        return FieldInfo(name, _array(words, width, length, signed, lookup), offset)
    return FieldInfo(name, _plain(words, width, signed, lookup), offset)


def _split(declaration: str) -> tuple[str, str, str | None]:
    # Split ``type name[length]`` into its three parts; ``length`` is None without brackets.
    length = None
    if declaration.endswith("]"):
        declaration, length = declaration[:-1].rsplit("[", 1)
    at = max(declaration.rfind(" "), declaration.rfind("*")) + 1
    return declaration[:at].strip(), declaration[at:].strip(), length


def _pointer(words: list[str], space: str, lookup: Lookup) -> Pointer:
    stars = words.count("*")
    names = [word for word in words if word != "*"]
    target = _named(names, lookup)
    if target is None:
        target = NONE if names[-1:] == ["void"] else Int(1, True) if "char" in names else NONE
    for _ in range(stars - 1):
        target = Pointer(target, space)
    return Pointer(target, space)


def _array(words: list[str], width: int, length: str, signed: bool, lookup: Lookup) -> Type:
    if words[-1:] == ["char"] and "unsigned" not in words:
        return String(width, complete=True)
    count = int(length) if length.isdigit() and int(length) else 0
    if not count:
        return Array(Int(1, signed), width)
    return Array(_plain(words, width // count, signed, lookup), count)


def _plain(words: list[str], width: int, signed: bool, lookup: Lookup) -> Type:
    if words[-1:] == ["bool"]:
        return BOOL
    if words and words[0] in ("struct", "union", "enum"):
        found = _named(words, lookup)
        if found is not None and found.size == width:
            return found
    if width in (1, 2, 4, 8):
        return Int(width, signed)
    return Array(Int(1, False), width)


def _named(words: list[str], lookup: Lookup) -> Type | None:
    if len(words) >= 2 and words[0] in ("struct", "union", "enum"):
        return lookup(words[1], words[0])
    if len(words) == 1 and words[0] not in ("void", "char"):
        return lookup(words[0], "")
    if words and words[-1] in ("int", "long", "short", "char"):
        size = 8 if "long" in words else 2 if "short" in words else 1 if "char" in words else 4
        return Int(size, "unsigned" not in words)
    return None

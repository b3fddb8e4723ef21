"""C text of single types: declarations, definitions, padding, names that occur twice.

A declaration in C is wound around the name: ``int (*name[3])(void)``. For a type it is therefore
two strings, what stands before the name and what behind it, which are worked out once per type and
remembered (not for anonymous structs and enums, which are written out in place).

:class:`Printer` writes definitions to ``out`` and keeps what it has written: a struct that was
already announced is not announced again, a second type of one name becomes ``name___2``. It
follows libbpf's ``btf_dump.c``.

Example::

    Printer(flat).declare(id, "handler", 0)       # 'int (*handler)(struct pt_regs *)'
"""

from __future__ import annotations

from bpflens.btf.clayout import Layout
from bpflens.btf.index import VLEN_MASK
from bpflens.errors import FormatError
from bpflens.uapi.btf import (
    BTF_KIND_ARRAY,
    BTF_KIND_CONST,
    BTF_KIND_ENUM,
    BTF_KIND_ENUM64,
    BTF_KIND_FLOAT,
    BTF_KIND_FUNC_PROTO,
    BTF_KIND_FWD,
    BTF_KIND_INT,
    BTF_KIND_PTR,
    BTF_KIND_RESTRICT,
    BTF_KIND_STRUCT,
    BTF_KIND_TYPE_TAG,
    BTF_KIND_TYPEDEF,
    BTF_KIND_UNION,
    BTF_KIND_UNKN,
    BTF_KIND_VOLATILE,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.btf.flat import Flat

__all__ = ["Printer"]

_STRUCTS = (BTF_KIND_STRUCT, BTF_KIND_UNION)
_ENUMS = (BTF_KIND_ENUM, BTF_KIND_ENUM64)
_NUMBERS = (BTF_KIND_INT, BTF_KIND_FLOAT)
_MODIFIERS = {
    BTF_KIND_CONST: "const",
    BTF_KIND_VOLATILE: "volatile",
    BTF_KIND_RESTRICT: "restrict",
}
_DROPPED = (*_MODIFIERS, BTF_KIND_TYPE_TAG)
_NAMED = frozenset((*_STRUCTS, *_ENUMS, *_NUMBERS, BTF_KIND_FWD, BTF_KIND_TYPEDEF))
_LINKS = (BTF_KIND_PTR, BTF_KIND_FUNC_PROTO, BTF_KIND_TYPE_TAG, *_MODIFIERS)

# GCC's own names for the element types of Arm SIMD vectors, which no other compiler knows.
_ALIASES = {
    "__Poly8_t": "unsigned char",
    "__Poly16_t": "unsigned short",
    "__Poly64_t": "unsigned long long",
    "__Poly128_t": "unsigned __int128",
}

# Bounds that only damaged BTF reaches: links in a declaration, nested definitions, the length of a
# declaration, and how often an anonymous struct is written out beyond once per type.
_MAX_CHAIN = 256
_MAX_DEPTH = 64
_MAX_TEXT = 1 << 20
_MAX_EXTRA = 1 << 12


class Printer:
    """Writes definitions and declarations of the types of one BTF."""

    def __init__(self, flat: Flat, number_names: bool = True) -> None:
        self.out: list[str] = []
        self._number_names = number_names
        self._flat = flat
        self._words = flat.words
        self._kinds = flat.kinds
        self._positions = flat.positions
        self._names = flat.names
        self._pointer_size = flat.btf.pointer_size
        self._written = bytearray(flat.count)  # defined
        self._busy = bytearray(flat.count)  # being defined
        self._announced = bytearray(flat.count)  # forward declared
        # A visit as part of another type writes nothing any more.
        self._quiet = bytearray(flat.count)
        self._quiet[0] = 1
        self._resolved: dict[int, str] = {}
        self._tags: dict[str, int] = {}  # how often a struct, union or enum name was used
        self._idents: dict[str, int] = {}  # the same for typedefs and enumerators
        self._named: dict[int, tuple[str, str]] = {}
        self._anonymous: dict[int, tuple[str, str]] = {}
        # What a member of a type needs, once known: text before and behind, size in bits.
        self._places: dict[int, tuple[str, str, int]] = {}
        self._layout = Layout(flat)
        self._inlined = 0
        self._left = 64 * flat.count + 100000  # visits; more than any sound BTF needs

    def take(self) -> str:
        """Return what has been written since the last call."""
        text = "".join(self.out)
        self.out.clear()
        return text

    # -- names ------------------------------------------------------------------------------------

    def _count(self, counts: dict[str, int], name: str) -> str:
        number = counts[name] = counts.get(name, 0) + 1
        return name if number == 1 else f"{name}___{number}"

    def _name(self, id: int, counts: dict[str, int]) -> str:
        name = self._resolved.get(id)
        if name is None:
            p = self._positions[id]
            name = self._names[self._words[p]]
            kind = self._kinds[id]
            # What is only declared does not clash with its definition.
            only_declared = kind == BTF_KIND_FWD or (
                kind in _ENUMS and not self._words[p + 1] & VLEN_MASK
            )
            if name and self._number_names and not only_declared:
                name = self._count(counts, name)
            self._resolved[id] = name
        return name

    def _tag(self, id: int) -> str:
        # "struct name", or just "struct" for an anonymous one.
        kind = self._kinds[id]
        if kind in _ENUMS:
            word = "enum"
        elif kind == BTF_KIND_FWD:
            word = "union" if self._words[self._positions[id] + 1] >> 31 else "struct"
        else:
            word = "struct" if kind == BTF_KIND_STRUCT else "union"
        name = self._name(id, self._tags)
        return f"{word} {name}" if name else word

    # -- declarations -----------------------------------------------------------------------------

    def declare(self, id: int, name: str, level: int) -> str:
        """Return the declaration of ``name`` (may be empty) as of type ``id``."""
        known = (self._named if name else self._anonymous).get(id)
        before, behind = known or self._declaration(id, bool(name), level)
        return f"{before}{name}{behind}"

    def _declaration(self, id: int, has_name: bool, level: int) -> tuple[str, str]:
        simple = self._simple(id, has_name)
        if simple:
            return simple
        inlined = self._inlined
        before, links = self._before(id, has_name, level)
        # Parameters come last, and from left to right: they may number names, too.
        behind = "".join(
            [link if isinstance(link, str) else self._parameters(link, level) for link in links]
        )
        if len(before) + len(behind) > _MAX_TEXT:
            raise FormatError("BTF", f"the declaration of type {id} is too long")
        if inlined == self._inlined:
            (self._named if has_name else self._anonymous)[id] = before, behind
        return before, behind

    def _simple(self, id: int, has_name: bool) -> tuple[str, str] | None:
        # Most types in declarations: something with a name, or a pointer to such.
        kind, p = self._kinds[id], self._positions[id]
        is_pointer = kind == BTF_KIND_PTR
        if is_pointer:
            id_below = self._words[p + 2]
            kind, p = self._kinds[id_below], self._positions[id_below]
        else:
            id_below = id
        if kind not in _NAMED or not self._words[p]:
            return None
        text = self._terminal(id_below, kind, 0)
        if is_pointer:
            found = self._named[id] = self._anonymous[id] = f"{text} *", ""
            return found
        self._named[id] = f"{text} ", ""
        self._anonymous[id] = text, ""
        return self._named[id] if has_name else self._anonymous[id]

    def _before(self, id: int, has_name: bool, level: int) -> tuple[str, list[str | int]]:
        words, kinds, positions = self._words, self._kinds, self._positions
        chain = self._chain(id)
        i = len(chain) - 1
        before: list[str] = []
        behind: list[str | int] = []
        after_pointer = True
        while i >= 0:
            link = chain[i]
            kind = kinds[link]
            i -= 1
            if kind == BTF_KIND_PTR:
                before.append("*" if after_pointer else " *")
            elif kind in _MODIFIERS:
                before.append(f" {_MODIFIERS[kind]}")
            elif kind == BTF_KIND_TYPE_TAG:
                i = self._modifiers(chain, i, before)
                before.append(self._type_tag(link))
            elif kind in (BTF_KIND_ARRAY, BTF_KIND_FUNC_PROTO):
                # GCC puts const on arrays and volatile on functions that do not return.
                while i >= 0 and kinds[chain[i]] in _DROPPED:
                    i -= 1
                is_array = kind == BTF_KIND_ARRAY
                behind.insert(0, f"[{words[positions[link] + 5]}]" if is_array else link)
                if i < 0:
                    break
                if not is_array:
                    before.append(" (")
                    behind.insert(0, ")")
                else:
                    if has_name and not after_pointer:
                        before.append(" ")
                    if kinds[chain[i]] != BTF_KIND_ARRAY:
                        before.append("(")
                        behind.insert(0, ")")
                after_pointer = True
                continue
            else:
                i = self._modifiers(chain, i, before)
                before.append(self._terminal(link, kind, level))
            after_pointer = kind == BTF_KIND_PTR
        if has_name and not after_pointer:
            before.append(" ")
        return "".join(before), behind

    def _chain(self, id: int) -> list[int]:
        # From the type down to the one that has a name (or members) of its own.
        words, kinds, positions = self._words, self._kinds, self._positions
        chain = [id]
        while True:
            kind = kinds[id]
            if kind in _LINKS:
                id = words[positions[id] + 2]
            elif kind == BTF_KIND_ARRAY:
                id = words[positions[id] + 3]
            else:
                return chain
            chain.append(id)
            if len(chain) > _MAX_CHAIN:
                raise FormatError("BTF", f"types are nested too deep at type {id}")

    def _modifiers(self, chain: list[int], i: int, before: list[str]) -> int:
        while i >= 0 and self._kinds[chain[i]] in _MODIFIERS:
            before.append(f"{_MODIFIERS[self._kinds[chain[i]]]} ")
            i -= 1
        return i

    def _type_tag(self, id: int) -> str:
        position = self._positions[id]
        name = self._names[self._words[position]]
        if self._words[position + 1] >> 31:
            return f" __attribute__(({name}))"
        return f' __attribute__((btf_type_tag("{name}")))'

    def _terminal(self, id: int, kind: int, level: int) -> str:
        if kind in _NUMBERS:
            return self._names[self._words[self._positions[id]]]
        if kind == BTF_KIND_TYPEDEF:
            return self._name(id, self._idents)
        if kind == BTF_KIND_UNKN and not id:
            return "void"
        has_name = self._words[self._positions[id]]
        if kind in _STRUCTS:
            return self._tag(id) if has_name else self._inline(id, level)
        if kind in _ENUMS:
            return self._tag(id) if has_name else self._inline(id, level)
        if kind == BTF_KIND_FWD:
            return self._tag(id)
        raise FormatError("BTF", f"the type {id} of kind {kind} has no form in C")

    def _inline(self, id: int, level: int) -> str:
        self._inlined += 1
        if level > _MAX_DEPTH or self._inlined > _MAX_EXTRA + 2 * self._flat.count:
            raise FormatError("BTF", f"anonymous types are nested too deep at type {id}")
        return self._definition(id, level)

    def _parameters(self, id: int, level: int) -> str:
        words, names = self._words, self._names
        p = self._positions[id]
        count = words[p + 1] & VLEN_MASK
        if not count or (count == 1 and not words[p + 4]):
            return "(void)"
        if level > _MAX_DEPTH:
            raise FormatError("BTF", f"prototypes are nested too deep at type {id}")
        params = []
        size = 0
        for i in range(p + 3, p + 3 + 2 * count, 2):
            if not words[i + 1] and i == p + 1 + 2 * count:
                params.append("...")
                break
            text = self._parameter(words[i + 1], names[words[i]], level)
            size += len(text)
            if size > _MAX_TEXT:
                raise FormatError("BTF", f"the prototype {id} is too long")
            params.append(text)
        return f"({', '.join(params)})"

    def _parameter(self, id: int, name: str, level: int) -> str:
        known = (self._named if name else self._anonymous).get(id)
        if known:
            return f"{known[0]}{name}{known[1]}"
        # A prototype whose parameters lead back to it would never end.
        if self._busy[id] > 8:
            raise FormatError("BTF", f"the prototype {id} has itself as a parameter")
        self._busy[id] += 2
        try:
            return self.declare(id, name, level)
        finally:
            self._busy[id] -= 2

    # -- definitions ------------------------------------------------------------------------------

    def definition(self, id: int) -> str:
        """Return the definition of a struct, union or enum, without the semicolon."""
        return self._definition(id, 0)

    def _definition(self, id: int, level: int) -> str:
        if self._kinds[id] in _ENUMS:
            return self._enum(id, level)
        return self._struct(id, level)

    def _enum(self, id: int, level: int) -> str:
        words, names, idents = self._words, self._names, self._idents
        p = self._positions[id]
        tag, size, info = self._tag(id), words[p + 2], words[p + 1]
        count = info & VLEN_MASK
        if not count:
            return tag
        is_wide = self._kinds[id] == BTF_KIND_ENUM64
        signed = info >> 31
        tabs = "\n" + "\t" * (level + 1)
        suffix = ("LL," if signed else "ULL,") if is_wide else ","
        lines = [tag, " {"]
        step = 3 if is_wide else 2
        needs_word = True
        for i in range(p + 3, p + 3 + step * count, step):
            name = names[words[i]]
            number = idents[name] = idents.get(name, 0) + 1
            if number > 1 and self._number_names:
                name = f"{name}___{number}"
            value = words[i + 1]
            if is_wide:
                value |= words[i + 2] << 32
                needs_word = needs_word and not words[i + 2]
                if signed and value >> 63:
                    value -= 1 << 64
            elif signed and value >> 31:
                value -= 1 << 32
            lines.append(f"{tabs}{name} = {value}{suffix}")
        lines.append("\n" + "\t" * level + "}")
        if size == 1:
            lines.append(" __attribute__((mode(byte)))")
        elif size == 8 and self._pointer_size == 8 and needs_word:
            lines.append(" __attribute__((mode(word)))")
        return "".join(lines)

    def _struct(self, id: int, level: int) -> str:
        words, layout, places = self._words, self._layout, self._places
        p = self._positions[id]
        info, size = words[p + 1], words[p + 2]
        end = p + 3 + 3 * (info & VLEN_MASK)
        names, types = words[p + 3 : end : 3], words[p + 4 : end : 3]
        offsets, widths = words[p + 5 : end : 3], (0,) * len(types)
        if info >> 31:
            widths = tuple([at >> 24 for at in offsets])
            offsets = [at & 0xFFFFFF for at in offsets]
        is_struct = self._kinds[id] == BTF_KIND_STRUCT
        packed = is_struct and layout.is_packed(types, offsets, widths, size)
        tabs = "\n" + "\t" * (level + 1)
        lines = [f"{self._tag(id)} {{"]
        reached = before = 0
        for name, type_id, at, bits in zip(names, types, offsets, widths, strict=True):
            if at > reached:
                align = 1 if packed else layout.align(type_id)
                layout.pad(lines, tabs, reached, at, align, bool(before and bits))
            place = places.get(type_id) or self._place(type_id)
            if place and name:
                text = f"{tabs}{place[0]}{self._names[name]}{place[1]}"
                reached = at + place[2]
            else:
                text = tabs + self.declare(type_id, self._names[name], level + 1)
                reached = at + layout.size(type_id) * 8
            if bits:
                text = f"{text}: {bits}"
                reached = at + bits
            lines.append(f"{text};")
            before = bits
        if is_struct and size * 8 > reached:
            layout.pad(lines, tabs, reached, size * 8, layout.align(id), False)
        lines.append("\n" + "\t" * level + "}" if size or types else "}")
        if packed:
            lines.append(" __attribute__((packed))")
        return "".join(lines)

    def _place(self, type_id: int) -> tuple[str, str, int] | None:
        # What a member needs if its declaration is the same everywhere: text before and behind its
        # name, and its size in bits.
        known = self._named.get(type_id) or self._simple(type_id, True)
        if not known:
            return None
        place = self._places[type_id] = known[0], known[1], self._layout.size(type_id) * 8
        return place

    # -- what is written when ---------------------------------------------------------------------

    def emit(self, id: int) -> None:
        """Write the definition of a type, after the forward declarations that it needs."""
        if self._written[id]:
            return
        kind = self._kinds[id]
        if kind in _STRUCTS:
            self._busy[id] = 1
            self._announce_members(id, id if self._words[self._positions[id]] else 0, 0)
            self.out.append(f"{self._struct(id, 0)};\n\n")
            self._busy[id] = 0
        elif kind in _ENUMS:
            self.out.append(f"{self._enum(id, 0)};\n\n")
        elif kind == BTF_KIND_FWD:
            self.out.append(f"{self._tag(id)};\n\n")
        elif kind == BTF_KIND_TYPEDEF:
            self._typedef(id, 0)
        self._written[id] = self._quiet[id] = 1

    def _typedef(self, id: int, depth: int) -> None:
        self._busy[id] = 1
        self._announce(self._words[self._positions[id] + 2], id, depth + 1)
        if not self._announced[id]:
            self._write_typedef(id)
        self._busy[id] = 0
        self._written[id] = self._quiet[id] = 1

    def _write_typedef(self, id: int) -> None:
        p = self._positions[id]
        if self._names[self._words[p]] == "__builtin_va_list":
            return  # every compiler has its own
        name = self._name(id, self._idents)
        if name == "__gnuc_va_list" and not self._words[p + 2]:
            # Old GCC describes it as void, which does not compile.
            self.out.append("typedef __builtin_va_list __gnuc_va_list;\n\n")
        else:
            self.out.append(f"typedef {self.declare(self._words[p + 2], name, 0)};\n\n")

    def _announce_members(self, id: int, container: int, depth: int) -> bool:
        words, quiet = self._words, self._quiet
        p = self._positions[id]
        all_quiet = True
        for member in words[p + 4 : p + 3 + 3 * (words[p + 1] & VLEN_MASK) : 3]:
            if not quiet[member] and not self._announce(member, container, depth + 1):
                all_quiet = False
        return all_quiet

    def _announce(self, id: int, container: int, depth: int) -> bool:
        # Write what must stand before a type of which this one is a part. Returns whether a later
        # visit would write nothing.
        if self._quiet[id]:
            return True
        self._left -= 1
        if depth > _MAX_CHAIN or self._left < 0:
            raise FormatError("BTF", f"types are nested too deep at type {id}")
        kind, p = self._kinds[id], self._positions[id]
        if self._busy[id] & 1:
            self._announce_busy(id, kind, container)
            return False
        if kind == BTF_KIND_TYPEDEF:
            self._typedef(id, depth)
            return True
        if kind in _STRUCTS:
            quiet = self._announce_struct(id, container, depth)
        elif kind == BTF_KIND_FUNC_PROTO:
            quiet = self._announce(self._words[p + 2], container, depth + 1)
            for i in range(p + 4, p + 4 + 2 * (self._words[p + 1] & VLEN_MASK), 2):
                quiet = self._announce(self._words[i], container, depth + 1) and quiet
        elif kind == BTF_KIND_PTR or kind in _DROPPED:
            quiet = self._announce(self._words[p + 2], container, depth + 1)
        elif kind == BTF_KIND_ARRAY:
            quiet = self._announce(self._words[p + 3], container, depth + 1)
        else:
            if kind == BTF_KIND_INT:
                self._alias(id)
            elif kind == BTF_KIND_FWD:
                self.out.append(f"{self._tag(id)};\n\n")
            self._written[id] = 1
            quiet = True
        if quiet:
            self._quiet[id] = 1
        return quiet

    def _announce_busy(self, id: int, kind: int, container: int) -> None:
        # The type is being defined, and something that it needs points back at it.
        if self._announced[id]:
            return
        if kind == BTF_KIND_TYPEDEF:
            self._write_typedef(id)
            self._announced[id] = 1
        elif id != container and self._words[self._positions[id]]:
            self.out.append(f"{self._tag(id)};\n\n")
            self._announced[id] = 1

    def _announce_struct(self, id: int, container: int, depth: int) -> bool:
        if not self._words[self._positions[id]]:
            self._busy[id] = 1
            quiet = self._announce_members(id, container, depth)
            self._busy[id] = 0
            return quiet
        if self._announced[id]:
            return True
        if id == container:
            return False
        self.out.append(f"{self._tag(id)};\n\n")
        self._announced[id] = 1
        return True

    def _alias(self, id: int) -> None:
        name = self._names[self._words[self._positions[id]]]
        if name in _ALIASES:
            self.out.append(f"typedef {_ALIASES[name]} {name};\n\n")

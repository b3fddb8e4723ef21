"""``gen skeleton FILE --python``: a typed Python module that embeds an object.

It has a class for the object, with its maps and programs as properties; a class for each section of
global variables, with a property for each; and a class for each structure that user space meets: of
keys and values of maps, of variables, and of ring-buffer records (the value type of a ring buffer,
or what a global pointer points to).

Example::

    bpftool --python gen skeleton tiny.bpf.o > tiny_skeleton.py
"""

from __future__ import annotations

import base64
import keyword
import zlib

from bpflens.bpftool.skeleton_view import sanitized
from bpflens.btf.types import Array, Enum, Float, Int, Ptr, Struct, Union
from bpflens.uapi.bpf import MAP_TYPE_NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from bpflens.bpftool.skeleton_view import MapView, Variable, View
    from bpflens.btf import Btf
    from bpflens.btf.types import Type

__all__ = ["module"]

_HEAD = '''\
"""The BPF object {file}: its maps, programs, variables and records.

Written by bpflens; changes are lost when it is written again.
"""

from __future__ import annotations

import base64
import struct
import zlib

from bpflens.attach.skeleton import Section, Skeleton
from bpflens.objects.map import Map
from bpflens.objects.program import Program

__all__ = {names}


_zeros = bytes


def _int(data: bytes | bytearray, at: int, size: int, signed: bool = False) -> int:
    return int.from_bytes(data[at : at + size], "{order}", signed=signed)


def _bits(data: bytes, bit: int, count: int, signed: bool = False) -> int:
    first, last = bit // 8, (bit + count + 7) // 8
    value = _int(data, first, last - first) >> {bit_shift} & ((1 << count) - 1)
    return value - (1 << count) if signed and value >> (count - 1) else value


def _put_bits(out: bytearray, bit: int, count: int, value: int) -> None:
    first, last = bit // 8, (bit + count + 7) // 8
    shift, mask = {bit_shift}, (1 << count) - 1
    old = _int(out, first, last - first) & ~(mask << shift)
    out[first:last] = (old | (value & mask) << shift).to_bytes(last - first, "{order}")


def _float(data: bytes, at: int, size: int) -> float:
    found: float = struct.unpack_from("{sign}" + ("f" if size == 4 else "d"), data, at)[0]
    return found


def _text(data: bytes, at: int, size: int) -> str:
    raw = bytes(data[at : at + size])
    return raw.split(b"\\0", 1)[0].decode("utf-8", "surrogateescape")


def _text_bytes(value: str, size: int) -> bytes:
    raw = value.encode("utf-8", "surrogateescape")
    if len(raw) > size:
        raise ValueError(f"{{value!r}} has more than {{size}} bytes")
    return raw.ljust(size, b"\\0")
'''


def module(view: View) -> str:
    """Return the text of the module."""
    return _Module(view).text()


class _Module:
    # Collects the structures on its way through maps and variables.
    __slots__ = ("_btf", "_classes", "_names", "_view")

    def __init__(self, view: View) -> None:
        self._view = view
        self._btf: Btf | None = view.btf
        self._names: dict[int, str] = {}
        self._classes: list[str] = []

    def text(self) -> str:
        view = self._view
        for map in view.maps:
            for type_id in (map.spec.key_type_id, map.spec.value_type_id):
                if type_id and not map.internal and not map.is_struct_ops:
                    self._want(type_id)
        sections = [map for map in view.maps if map.variables and map.internal]
        bodies = [self._section(map) for map in sections]
        main = self._main(sections)
        names = [*self._names.values(), *(_title(map.ident) for map in sections), self._title()]
        little = view.data[5:6] == b"\1"
        head = _HEAD.format(
            file=view.path.rpartition("/")[2],
            names=repr(sorted(dict.fromkeys(names))).replace("'", '"'),
            order="little" if little else "big",
            sign="<" if little else ">",
            bit_shift="(bit % 8)" if little else "(last * 8 - bit - count)",
        )
        return "\n\n".join([head, *self._classes, *bodies, main, self._object()])

    def _title(self) -> str:
        return _title(self._view.name)

    # --- structures ---

    def _want(self, type_id: int) -> str:
        # The Python type of a type; a structure's class is written before it is used.
        assert self._btf is not None
        found = self._btf.resolve(type_id)
        if isinstance(found, Struct):
            return self._struct(found, "")
        if isinstance(found, Array):
            if _is_text(self._btf, found):
                return "str"
            return f"list[{self._want(found.type_id)}]"
        if isinstance(found, Int) and found.is_bool:
            return "bool"
        return "float" if isinstance(found, Float) else "int"

    def _struct(self, found: Struct, hint: str) -> str:
        known = self._names.get(found.id)
        if known is not None:
            return known
        name = _title(found.name or hint or f"anonymous_{found.id}")
        if name in self._names.values():
            name += str(found.id)
        self._names[found.id] = name
        assert self._btf is not None
        fields = [
            _Field(self, self._btf, one, name) for one in found.members if one.name or one.type_id
        ]
        kind = "union" if isinstance(found, Union) else "struct"
        lines = [
            f"class {name}:",
            f'    """``{kind} {found.name or "(anonymous)"}``, {found.size} bytes."""\n',
            f"    SIZE = {found.size}",
            f"    __slots__ = ({''.join(repr(f.name) + ', ' for f in fields)})\n".replace("'", '"'),
            "    def __init__(",
            "        self,",
            *(f"        {f.name}: {f.type}{f.default}," for f in fields),
            "    ) -> None:",
            *(f"        self.{f.name} = {f.initial}" for f in fields),
            *(["        pass"] if not fields else []),
            "",
            "    @classmethod",
            f"    def unpack(cls, data: bytes, at: int = 0) -> {name}:",
            '        """Read one from bytes."""',
            "        return cls(",
            *(f"            {f.unpacked('at')}," for f in fields),
            "        )",
            "",
            "    def pack(self) -> bytes:",
            '        """Return the bytes of it."""',
            "        out = bytearray(self.SIZE)",
            *(f"        {line}" for f in fields for line in f.packed(kind == "union")),
            "        return bytes(out)",
            "",
            "    def __repr__(self) -> str:",
            '        fields = ", ".join(f"{n}={getattr(self, n)!r}" for n in self.__slots__)',
            f'        return f"{name}({{fields}})"',
        ]
        self._classes.append("\n".join(lines) + "\n")
        return name

    # --- variables ---

    def _section(self, map: MapView) -> str:
        constant = map.spec.freeze
        what = "Constants: to be set before the object is loaded" if constant else "Variables"
        lines = [f"class {_title(map.ident)}(Section):", f'    """{what} (``{map.key}``)."""\n',
                 "    __slots__ = ()\n"]  # fmt: skip
        for one in map.variables or ():
            lines.extend(self._variable(one))
        return "\n".join(lines).rstrip("\n") + "\n"

    def _variable(self, one: Variable) -> Iterator[str]:
        assert self._btf is not None
        self._want_target(one.type_id, one.name)
        kind = self._want(one.type_id)
        name = _identifier(one.name, _RESERVED | _TYPES)
        reading = _reading(self, self._btf, one.type_id, "0", name)
        writing = _writing(self, self._btf, one.type_id, "value")
        yield "    @property"
        yield f"    def {name}(self) -> {kind}:"
        yield f'        """At byte {one.offset}, {one.size} bytes."""'
        yield f"        data = self.read({one.offset}, {one.size})"
        yield f"        return {reading}\n"
        yield f"    @{name}.setter"
        yield f"    def {name}(self, value: {kind}) -> None:"
        yield f"        self.write({one.offset}, {writing})\n"

    def _want_target(self, type_id: int, name: str) -> None:
        # "const struct event *unused" is how an object tells of a type that it only sends.
        assert self._btf is not None
        found = self._btf.resolve(type_id)
        if isinstance(found, Struct):
            self._struct(found, name)
        if isinstance(found, Ptr) and found.type_id:
            target = self._btf.resolve(found.type_id)
            if isinstance(target, Struct):
                self._struct(target, "")

    # --- the object ---

    def _main(self, sections: list[MapView]) -> str:
        view = self._view
        lines = [
            f"class {self._title()}(Skeleton):",
            f'    """The object {view.name}: load(), attach(), close()."""\n',
            "    def __init__(self) -> None:",
            f'        super().__init__(zlib.decompress(base64.b85decode(_OBJECT)), "{view.name}")',
        ]
        lines += [
            f'        self.{_identifier(map.ident)} = {_title(map.ident)}(self, "{map.key}")'
            for map in sections
        ]
        taken = {_identifier(map.ident) for map in sections}
        for map in view.maps:
            if map.internal:
                continue
            name = _free(_identifier(map.ident), taken, "map")
            lines += ["", "    @property", f"    def {name}(self) -> Map:",
                      f'        """{self._map_text(map)}."""',
                      f'        return self.map("{map.key}")']  # fmt: skip
        for program in view.programs:
            name = _free(_identifier(program.name), taken, "program")
            lines += ["", "    @property", f"    def {name}(self) -> Program:",
                      f'        """Of section {program.section}."""',
                      f'        return self.program("{program.name}")']  # fmt: skip
        return "\n".join(lines) + "\n"

    def _map_text(self, map: MapView) -> str:
        spec = map.spec
        known = spec.type < len(MAP_TYPE_NAMES)
        parts = [MAP_TYPE_NAMES[spec.type] if known else f"type {spec.type}"]
        for word, type_id in (("of", spec.key_type_id), ("to", spec.value_type_id)):
            if type_id and self._btf is not None and not map.is_struct_ops:
                parts.append(f"{word} {self._want(type_id)}")
        return " ".join(parts)

    def _object(self) -> str:
        data = base64.b85encode(zlib.compress(self._view.data, 9)).decode("ascii")
        lines = [f'    "{data[at : at + 90]}"' for at in range(0, len(data), 90)]
        return "# The object file.\n_OBJECT = (\n" + "\n".join(lines) + "\n)\n"


class _Field:
    # A member of a structure: how it is declared, read and stored.
    __slots__ = ("_btf", "_member", "_module", "default", "initial", "name", "type")

    def __init__(self, module: _Module, btf: Btf, member, owner: str) -> None:  # type: ignore[no-untyped-def]
        self._module, self._btf, self._member = module, btf, member
        self.name = _identifier(member.name or f"anonymous_{member.bit_offset // 8}")
        found = btf.resolve(member.type_id)
        if isinstance(found, Struct):
            self.type = module._struct(found, f"{owner}_{self.name}")
        else:
            self.type = module._want(member.type_id)
        simple = {"int": "0", "float": "0.0", "bool": "False", "str": '""'}.get(self.type)
        self.default = f" = {simple}" if simple else " | None = None"
        self.initial = self.name
        if simple is None:
            size = btf.size_of(member.type_id)
            empty = f"_zeros({size})"
            reading = _reading(module, btf, member.type_id, "0", self.name, empty)
            self.initial = f"{self.name} if {self.name} is not None else {reading}"

    def unpacked(self, at: str) -> str:
        member = self._member
        if member.bit_size:
            signed = getattr(self._btf.resolve(member.type_id), "is_signed", False)
            return f"_bits(data, {at} * 8 + {member.bit_offset}, {member.bit_size}, {signed})"
        place = f"{at} + {member.bit_offset // 8}" if member.bit_offset else at
        return _reading(self._module, self._btf, member.type_id, place, self.name)

    def packed(self, in_union: bool) -> list[str]:
        member = self._member
        if member.bit_size:
            return [f"_put_bits(out, {member.bit_offset}, {member.bit_size}, self.{self.name})"]
        size = self._btf.size_of(member.type_id)
        first = member.bit_offset // 8
        stored = _writing(self._module, self._btf, member.type_id, f"self.{self.name}")
        if not in_union:
            return [f"out[{first}:{first + size}] = {stored}"]
        # The first member of a union that is not empty is the one that counts.
        return [f"part = {stored}", f"out[:{size}] = part if not any(out) else out[:{size}]"]


def _is_text(btf: Btf, found: Array) -> bool:
    item = btf.resolve(found.type_id)
    return isinstance(item, Int) and item.size == 1 and item.name == "char"


def _reading(
    module: _Module, btf: Btf, type_id: int, at: str, name: str, data: str = "data"
) -> str:
    # The expression that reads a value at a place of ``data``.
    found: Type = btf.resolve(type_id)
    if isinstance(found, Struct):
        return f"{module._struct(found, name)}.unpack({data}, {at})"
    if isinstance(found, Array):
        size = btf.size_of(type_id)
        if _is_text(btf, found):
            return f"_text({data}, {at}, {size})"
        item = btf.size_of(found.type_id)
        index = f"i{at.count('i')}"
        inner = _reading(module, btf, found.type_id, f"{at} + {index} * {item}", name, data)
        return f"[{inner} for {index} in range({found.nr_elems})]"
    size = btf.size_of(type_id)
    if isinstance(found, Float):
        return f"_float({data}, {at}, {size})"
    if isinstance(found, Int) and found.is_bool:
        return f"bool(_int({data}, {at}, {size}))"
    signed = ", True" if isinstance(found, Int | Enum) and found.is_signed else ""
    return f"_int({data}, {at}, {size}{signed})"


def _writing(module: _Module, btf: Btf, type_id: int, value: str) -> str:
    # The expression that makes bytes of a value.
    found: Type = btf.resolve(type_id)
    order = "little" if module._view.data[5:6] == b"\1" else "big"
    size = btf.size_of(type_id)
    if isinstance(found, Struct):
        return f"{value}.pack()"
    if isinstance(found, Array):
        if _is_text(btf, found):
            return f"_text_bytes({value}, {size})"
        item = f"one{value.count('one')}"
        inner = _writing(module, btf, found.type_id, item)
        joined = f'b"".join({inner} for {item} in {value})'
        return f'{joined}[:{size}].ljust({size}, b"\\0")'
    if isinstance(found, Float):
        sign = "<" if order == "little" else ">"
        return f'struct.pack("{sign}{"f" if size == 4 else "d"}", {value})'
    signed = ", signed=True" if isinstance(found, Int | Enum) and found.is_signed else ""
    return f'int({value}).to_bytes({size}, "{order}"{signed})'


def _title(name: str) -> str:
    title = "".join(part[:1].upper() + part[1:] for part in sanitized(name).split("_") if part)
    return title if title and not title[0].isdigit() else f"Type{title}"


# What structures and sections have already, and names of types in annotations.
_RESERVED = {"SIZE", "pack", "unpack", "self", "read", "write", "prepare", "close"}
_TYPES = {"int", "str", "bool", "float", "list", "bytes"}


def _identifier(name: str, reserved: set[str] = _RESERVED) -> str:
    name = sanitized(name)
    if name in reserved:
        return f"{name}_"
    return f"{name}_" if keyword.iskeyword(name) or not name or name[0].isdigit() else name


# What every skeleton has already.
_TAKEN = {"attach", "attachments", "close", "detach", "load", "loaded", "map", "program",
          "sections", "spec"}  # fmt: skip


def _free(name: str, taken: set[str], kind: str) -> str:
    if name in taken or name in _TAKEN:
        name = f"{name}_{kind}"
    taken.add(name)
    return name

"""``gen skeleton FILE --python``: a typed Python module for one object file.

The module has a class with the maps and programs as attributes, the global variables as properties
of their sections, and a class for each struct that is the value of a map or travels in a ring
buffer. It carries the object in itself and stands on :mod:`bpflens` alone.

Example::

    $ bpftool gen skeleton filter.bpf.o --python > filter_skel.py
    >>> with FilterBpf.load() as skeleton:
    ...     skeleton.attach()
    ...     skeleton.bss.hits
"""

from __future__ import annotations

from bpflens.btf import types as _t

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.bpftool.skeleton_data import MapShape, Shape

__all__ = ["write"]

_HEAD = '''\
"""BPF object {name}: written by bpftool gen skeleton --python; do not change it by hand."""

from __future__ import annotations

import base64
import zlib
from typing import Any

from bpflens.attach.attachment import Attachment, close_all
from bpflens.attach.loaded_object import ObjectAttacher
from bpflens.attach.section import can_attach
from bpflens.load import object_file
from bpflens.load.collection import Loaded, load_object
from bpflens.objects.map import Map
from bpflens.objects.program import Program

__all__ = [{exports}]

OBJECT = zlib.decompress(base64.b85decode(
{data}
))
"""The object file itself."""
'''

_RECORD = '''

class {name}:
    """struct {struct}, {size} bytes."""

    __slots__ = ({slots})
{annotations}
    SIZE = {size}

    @classmethod
    def parse(cls, data: bytes | memoryview, offset: int = 0) -> {name}:
        """Read one from the bytes of a map value or a ring buffer record."""
        decode = _decoder("{struct}")
        fields = decode(data, offset)
        self = cls.__new__(cls)
        for name in cls.__slots__:
            setattr(self, name, fields[name])
        return self

    def __repr__(self) -> str:
        shown = ", ".join(f"{{name}}={{getattr(self, name)!r}}" for name in self.__slots__)
        return f"{name}({{shown}})"
'''

_DECODER = '''

_decoders: dict[str, Any] = {}


def _decoder(name: str) -> Any:
    found = _decoders.get(name)
    if found is None:
        from bpflens.btf import Btf
        from bpflens.btf.decode import compile_decoder

        btf = Btf(object_file.read(OBJECT).btf, pointer_size=8)
        found = _decoders[name] = compile_decoder(btf, btf.find(name))
    return found
'''

_SECTION = '''

class {name}:
    """The global variables of section {section}, in the kernel."""

    __slots__ = ("_map",)

    def __init__(self, map: Map) -> None:
        self._map = map

    def _read(self, offset: int, size: int) -> bytes:
        value = self._map.lookup_raw(bytes(4)) or b""
        return value[offset : offset + size]

    def _write(self, offset: int, data: bytes) -> None:
        value = bytearray(self._map.lookup_raw(bytes(4)) or b"")
        value[offset : offset + len(data)] = data
        self._map.update_raw(bytes(4), bytes(value))
'''

_NUMBER = '''
    @property
    def {name}(self) -> int:
        """{declaration}"""
        return int.from_bytes(self._read({offset}, {size}), "little", signed={signed})
'''

_NUMBER_SETTER = '''
    @{name}.setter
    def {name}(self, value: int) -> None:
        self._write({offset}, value.to_bytes({size}, "little", signed={signed}))
'''

_RAW = '''
    @property
    def {name}(self) -> bytes:
        """{declaration}"""
        return self._read({offset}, {size})
'''

_RAW_SETTER = '''
    @{name}.setter
    def {name}(self, value: bytes) -> None:
        self._write({offset}, value[:{size}].ljust({size}, b"\\0"))
'''

_CLASS = '''

class {name}:
    """The loaded object; a context manager that detaches and closes everything."""

    def __init__(self, loaded: Loaded) -> None:
        self.loaded = loaded
        self.attachments: list[Attachment] = []
{maps}{programs}
    @classmethod
    def load(cls, **options: Any) -> {name}:
        """Load it (options: those of bpflens.load.collection.load_object)."""
        return cls(load_object(object_file.read(OBJECT, "{object}"), **options))

    def attach(self) -> None:
        """Attach every program whose section says to what."""
        self.attachments += ObjectAttacher(self.loaded).attach_all()

    def attachable(self) -> list[str]:
        """Return the names of the programs that attach() attaches."""
        specs = self.loaded.spec.programs
        return [name for name in self.loaded.programs if can_attach(specs[name])]

    def close(self) -> None:
        """Detach and close."""
        close_all(self.attachments)
        self.attachments.clear()
        self.loaded.close()

    def __enter__(self) -> {name}:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
'''


def _camel(text: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in text.split("_") if part)


def write(shape: Shape) -> str:
    """Return the text of the module."""
    name = _camel(shape.name)
    records = _records(shape)
    sections = [one for one in shape.maps if one.variables and one.is_mapped]
    classes = [name, *(_camel(struct.name) for struct in records)]
    parts = [_HEAD.format(name=shape.name, exports=", ".join(f'"{one}"' for one in sorted(classes)),
                          data=_packed(shape.data))]  # fmt: skip
    if records:
        parts.append(_DECODER)
    parts += [_record(shape, struct) for struct in records]
    parts += [_section(shape, one) for one in sections]
    parts.append(_main(shape, name, sections))
    return "".join(parts)


def _packed(data: bytes) -> str:
    import base64
    import zlib

    text = base64.b85encode(zlib.compress(data, 9)).decode()
    return "\n".join(f'    "{text[at : at + 90]}"' for at in range(0, len(text), 90))


def _records(shape: Shape) -> list[_t.Struct]:
    # Structs that are values or keys of maps, and those that only programs use: what goes
    # through a ring buffer is not tied to it in BTF, so every struct of the file's own counts.
    found: dict[str, _t.Struct] = {}
    for one in shape.maps:
        for id in (one.spec.key_type_id, one.spec.value_type_id):
            struct = shape.btf.resolve(id) if id else None
            if isinstance(struct, _t.Struct) and struct.name:
                found.setdefault(struct.name, struct)
    for id in range(1, shape.btf.nr_types):
        struct = shape.btf.type(id)
        if (
            isinstance(struct, _t.Struct)
            and struct.name.endswith(("event", "record", "_t", "sample"))
            and all(member.name.isidentifier() for member in struct.members)
        ):
            found.setdefault(struct.name, struct)
    return list(found.values())


def _record(shape: Shape, struct: _t.Struct) -> str:
    names = [member.name for member in struct.members if member.name]
    annotations = "".join(
        f"\n    {member.name}: {_python_type(shape, member.type_id)}"
        for member in struct.members
        if member.name
    )
    slots = ", ".join(f'"{name}"' for name in names) + ("," if len(names) == 1 else "")
    return _RECORD.format(name=_camel(struct.name), struct=struct.name, size=struct.size,
                          slots=slots, annotations=annotations)  # fmt: skip


def _python_type(shape: Shape, type_id: int) -> str:
    found = shape.btf.resolve(type_id)
    if isinstance(found, _t.Int):
        return "bool" if found.is_bool else "int"
    if isinstance(found, _t.Array):
        element = shape.btf.resolve(found.type_id)
        if isinstance(element, _t.Int) and element.is_char:
            return "str"
        return f"list[{_python_type(shape, found.type_id)}]"
    if isinstance(found, _t.Struct):
        return "dict[str, Any]"
    return "int" if isinstance(found, _t.Ptr) else "Any"


def _section(shape: Shape, one: MapShape) -> str:
    parts = [_SECTION.format(name=f"_{_camel(one.identifier)}", section=one.section)]
    for variable in one.variables:
        found = shape.btf.resolve(variable.type_id)
        declaration = " ".join(shape.declaration(variable, variable.identifier).split())
        fields = {
            "name": variable.identifier, "offset": variable.offset, "size": variable.size,
            "declaration": declaration.replace("\\", ""),
            "signed": isinstance(found, (_t.Int, _t.Enum)) and found.is_signed,
        }  # fmt: skip
        number = isinstance(found, (_t.Int, _t.Enum, _t.Ptr))
        parts.append((_NUMBER if number else _RAW).format(**fields))
        if one.section not in (".rodata", ".kconfig"):
            parts.append((_NUMBER_SETTER if number else _RAW_SETTER).format(**fields))
    return "".join(parts)


def _main(shape: Shape, name: str, sections: list[MapShape]) -> str:
    maps = []
    for one, key in zip(shape.maps, _keys(shape), strict=True):
        if one in sections:
            maps.append(
                f"        self.{one.identifier} = _{_camel(one.identifier)}"
                f'(loaded.maps["{key}"])\n'
            )
        elif not one.section:
            maps.append(f'        self.{one.identifier}: Map = loaded.maps["{key}"]\n')
    programs = [f'        self.{one}: Program = loaded.programs["{one}"]\n' for one in shape.programs]
    return _CLASS.format(name=name, maps="".join(maps), programs="".join(programs),
                         object=shape.name)  # fmt: skip


def _keys(shape: Shape) -> list[str]:
    from bpflens.bpftool.object_load import map_order

    return map_order(shape.spec)

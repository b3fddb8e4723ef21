"""BTF types → places of a :class:`~bpflens.bpftool.template.Template`, printed as bpftool does.

The rules are those of bpftool's own dumper: structs are objects, character arrays with only
printable characters and a NUL are strings, other arrays are arrays, enumerators stand by their
names, bit-fields and 128-bit numbers are hexadecimal. Plain output differs from JSON in two: there
a bit-field has no quotes, and a pointer is "0x..." or "(nil)".

Example::

    template = Template(4, 8)
    Formatter(template, Json(template.text, True), btf, plain=True).add(value_type_id, VALUE, 0)
"""

from __future__ import annotations

from bpflens.bpftool.out import Json, quoted
from bpflens.bpftool.template import VALUE, Template
from bpflens.btf.types import (
    Array,
    Const,
    Datasec,
    Enum,
    Enum64,
    Float,
    Int,
    Ptr,
    Restrict,
    Struct,
    Typedef,
    TypeTag,
    Var,
    Volatile,
)
from bpflens.uapi.btf import BTF_INT_BOOL, BTF_INT_CHAR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from bpflens.btf import Btf
    from bpflens.btf.types import Type

__all__ = ["Formatter", "value_text"]

_MODIFIERS = (Typedef, Const, Volatile, Restrict, TypeTag)
_CODES = {1: "B", 2: "H", 4: "I", 8: "Q"}
_DEEPEST = 64


def value_text(
    btf: Btf, type_id: int, data: bytes, *, plain: bool, pretty: bool, depth: int
) -> str:
    """Return one value as text, indented for ``depth``."""
    template = Template(0, len(data))
    json = Json(template.text, pretty, depth)
    Formatter(template, json, btf, plain).add(type_id, VALUE, 0)
    return "".join(template.rows(b"", data, 1))


class Formatter:
    """Adds values of BTF types to a template; ``json`` writes to that template.

    ``functions`` may say how to print a pointer to the type with a given id (struct_ops keep the
    ids of programs in pointers to functions).
    """

    __slots__ = ("_btf", "_depth", "_functions", "_json", "_plain", "_template")

    def __init__(
        self,
        template: Template,
        json: Json,
        btf: Btf,
        plain: bool,
        functions: Callable[[int], Callable[[int], str] | None] | None = None,
    ) -> None:
        self._functions = functions
        self._template = template
        self._json = json
        self._btf = btf
        self._plain = plain
        self._depth = 0

    def add(self, type_id: int, source: int, offset: int) -> None:
        """Add a value of a type that begins at ``offset`` of ``source``."""
        self._add(type_id, source, offset * 8)

    def _place(
        self, source: int, offset: int, code: str, convert: Callable[..., object] | None = None
    ) -> None:
        comma = self._json.separator()
        if comma:
            self._template.text(comma)
        self._template.place(source, offset, code, convert)

    def _word(self, text: str) -> None:
        self._json.raw(text)

    def _add(self, type_id: int, source: int, bit: int) -> None:
        found = self._btf.type(type_id)
        steps = 0
        while isinstance(found, _MODIFIERS) and steps < _DEEPEST:
            found = self._btf.type(found.type_id)
            steps += 1
        self._depth += 1
        if self._depth > _DEEPEST:
            self._word('"(nested too deep)"')
        else:
            self._one(found, source, bit)
        self._depth -= 1

    def _one(self, found: Type, source: int, bit: int) -> None:
        if isinstance(found, Int):
            self._int(found, source, bit)
        elif isinstance(found, Struct):
            self._struct(found, source, bit)
        elif isinstance(found, Array):
            self._array(found, source, bit)
        elif isinstance(found, Enum):
            self._enum(found, source, bit >> 3)
        elif isinstance(found, Ptr):
            named = self._functions(found.type_id) if self._functions is not None else None
            self._place(source, bit >> 3, "Q", named or (_pointer if self._plain else None))
        elif isinstance(found, Datasec):
            self._section(found, source, bit)
        elif isinstance(found, Var):
            self._json.start("{")
            self._json.name(found.name)
            self._add(found.type_id, source, bit)
            self._json.end()
        elif isinstance(found, Float) and found.size in (4, 8):
            self._place(source, bit >> 3, "f" if found.size == 4 else "d", _float)
        else:
            self._word('"(unsupported-kind)"')

    def _struct(self, found: Struct, source: int, bit: int) -> None:
        self._json.start("{")
        for member in found.members:
            self._json.name(member.name)
            at = bit + member.bit_offset
            if member.bit_size:
                self._bits(source, at, member.bit_size)
            else:
                self._add(member.type_id, source, at)
        self._json.end()

    def _section(self, found: Datasec, source: int, bit: int) -> None:
        self._json.start("{")
        self._json.name(found.name)
        self._json.start("[")
        for var in found.vars:
            self._add(var.type_id, source, bit + var.offset * 8)
        self._json.end()
        self._json.end()

    def _array(self, found: Array, source: int, bit: int) -> None:
        if found.nr_elems and self._holds_text(found.type_id):
            json = self._json
            text = _Text(json.line(), self._char_number(found.type_id))
            self._place(source, bit >> 3, f"{found.nr_elems}s", text)
            return
        size = self._btf.size_of(found.type_id)
        self._json.start("[")
        for index in range(found.nr_elems):
            self._add(found.type_id, source, bit + index * size * 8)
        self._json.end()

    def _holds_text(self, type_id: int) -> bool:
        # A typedef of char is not text for bpftool.
        found = self._btf.type(type_id)
        while isinstance(found, (Const, Volatile, Restrict, TypeTag)):
            found = self._btf.type(found.type_id)
        return isinstance(found, Int) and found.is_char

    def _char_number(self, type_id: int) -> Callable[[int], str]:
        # What one element is when the whole is no text.
        found = self._btf.resolve(type_id)
        if isinstance(found, Int) and found.encoding & BTF_INT_CHAR:
            table = _char_words(self._plain)
            return table.__getitem__
        if isinstance(found, Int) and found.is_signed:
            return lambda byte: str(byte - 256 if byte > 127 else byte)
        return str

    def _int(self, found: Int, source: int, bit: int) -> None:
        bits = found.bits
        if bit & 7 or found.bit_offset or bits & 7 or (bits not in (8, 16, 32, 64)):
            self._bits(source, bit + found.bit_offset, bits)
            return
        code = _CODES[bits >> 3]
        if found.encoding & BTF_INT_CHAR:
            words = _char_words(self._plain)
            self._place(source, bit >> 3, "B", words.__getitem__)
        elif found.encoding & BTF_INT_BOOL:
            self._place(source, bit >> 3, code, _bool)
        else:
            self._place(source, bit >> 3, code.lower() if found.is_signed else code)

    def _bits(self, source: int, bit: int, size: int) -> None:
        count = ((bit & 7) + size + 7) >> 3
        shift, mask = bit & 7, (1 << size) - 1
        form = "0x{:x}" if self._plain else '"0x{:x}"'

        def convert(data: bytes) -> str:
            return form.format(int.from_bytes(data, "little") >> shift & mask)

        self._place(source, bit >> 3, f"{count}s", convert)

    def _enum(self, found: Enum, source: int, offset: int) -> None:
        code = _CODES.get(found.size)
        if code is None:
            self._word('"(unsupported-kind)"')
            return
        wide = isinstance(found, Enum64)
        sign = 1 << (found.size * 8 - 1)
        names = _Words()
        for name, number in reversed(found.values):
            names[number & (sign * 2 - 1)] = quoted(name)
        names.sign = sign if found.is_signed or not wide else 0
        self._place(source, offset, code, names.__getitem__)


class _Words(dict[int, str]):
    # Enumerators by their bits; what has no name is a number.
    __slots__ = ("sign",)

    sign: int

    def __missing__(self, bits: int) -> str:
        number = bits - self.sign * 2 if self.sign and bits & self.sign else bits
        text = self[bits] = str(number)
        return text


class _Text:
    # Characters: a string if all are printable and a NUL ends them, else an array of numbers.
    __slots__ = ("_line", "_number")

    def __init__(self, line: str, number: Callable[[int], str]) -> None:
        self._line = line
        self._number = number

    def __call__(self, data: bytes) -> str:
        end = data.find(0)
        if end >= 0:
            text = data[:end]
            if text.isascii():
                word = text.decode("ascii")
                if word.isprintable():
                    return quoted(word)
        return f"[{','.join(map(self._number, data))}{self._line}]"


_char_tables: dict[bool, list[str]] = {}


def _char_words(plain: bool) -> list[str]:
    table = _char_tables.get(plain)
    if table is None:
        table = _char_tables[plain] = [
            quoted(chr(byte))
            if 32 <= byte < 127
            else (f"0x{byte:x}" if plain else f'"\\u00{byte:02x}"')
            for byte in range(256)
        ]
    return table


def _pointer(value: int) -> str:
    return f'"{value:#x}"' if value else '"(nil)"'


def _bool(value: int) -> str:
    return "true" if value else "false"


def _float(value: float) -> str:
    # JSON has no words for infinity and "not a number".
    text = repr(value)
    return text if text[-1].isdigit() else f'"{text}"'

"""Keys and values by the names of their fields: ``key saddr=10.0.0.1 dport=443``.

The map's BTF says what there is. A word is ``field=value`` (``a.b=1`` for members of members,
``a[2]=1`` for elements), or ``=value`` for a key or value that is no struct; there a single word
does too (``value 5``). Values are numbers (range-checked), characters of a text, names of
enumerators, ``true``/``false``, for 32-bit numbers an IPv4 address, for 16 bytes an IPv6 address,
in network order, and ``1,2,3`` for arrays. Numbers of the kernel's types ``__be16``, ``__be32`` and
``__be64`` are stored in network order too. Fields not named are zero.

Example::

    $ bpftool map update name flows key saddr=10.0.0.1 dport=443 value packets=5
"""

from __future__ import annotations

from bpflens.bpftool.tool import Failure
from bpflens.btf import types as _t

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.bpftool.words import Words
    from bpflens.btf import Btf
    from bpflens.objects.map import Map

__all__ = ["encode", "take_single", "take_typed"]

_NETWORK = frozenset(("__be16", "__be32", "__be64"))


def take_typed(words: Words, map: Map, name: str, type_id: int, size: int) -> bytes:
    """Take all words with "=" and return the bytes of a key or value."""
    btf = map.btf() if type_id else None
    if btf is None:
        raise Failure(
            f"the {name} of map {map.info.name} has no type information (BTF): give {size} bytes"
        )
    data = bytearray(size)
    while "=" in (words.peek() or ""):
        path, _, value = words.take().partition("=")
        encode(btf, type_id, data, path, value)
    return bytes(data)


def take_single(words: Words, map: Map, name: str, type_id: int, size: int) -> bytes:
    """Take one word that stands for all bytes of a key or value and return them."""
    btf = map.btf()
    value = words.take(name)
    if btf is None:
        raise Failure(f"{name} expected {size} bytes got 1")
    data = bytearray(size)
    encode(btf, type_id, data, "", value)
    return bytes(data)


def encode(btf: Btf, type_id: int, data: bytearray, path: str, value: str) -> None:
    """Store the value of one field in ``data``."""
    found, bit, bits, network = _place(btf, type_id, path)
    if isinstance(found, _t.Struct) and not path and len(found.members) == 1:
        found, bit, bits, network = _place(btf, type_id, found.members[0].name)
    if isinstance(found, _t.Array):
        _store_array(btf, found, data, bit >> 3, path, value)
        return
    size = getattr(found, "size", 8 if isinstance(found, _t.Ptr) else 0)
    if not size or isinstance(found, _t.Struct):
        raise Failure(f"{path or 'it'} is {_kind(found)}: name one of its members")
    width = bits or (found.bits if isinstance(found, _t.Int) else size * 8)
    number = _number(found, width, path, value)
    if network and width in (16, 32, 64) and value.count(".") != 3:
        number = int.from_bytes(number.to_bytes(width >> 3, "big"), "little")
    whole = int.from_bytes(data, "little")
    mask = (1 << width) - 1
    whole = whole & ~(mask << bit) | (number & mask) << bit
    data[:] = whole.to_bytes(len(data), "little")


def _kind(found: _t.Type) -> str:
    word = "union" if isinstance(found, _t.Union) else "struct"
    if isinstance(found, _t.Struct):
        return f"{word} {found.name}".strip()
    return "of a kind without values"


def _place(btf: Btf, type_id: int, path: str) -> tuple[_t.Type, int, int, bool]:
    # The type, the bit and (of a bit-field) the number of bits that a path leads to; whether its
    # numbers are in network order.
    found, network = btf.resolve(type_id), _is_network(btf, type_id)
    bit = bits = 0
    for part in path.replace("[", ".[").split(".") if path else ():
        if not part:
            continue
        if part.startswith("["):
            network = isinstance(found, _t.Array) and _is_network(btf, found.type_id)
            found, bit = _element(btf, found, bit, part, path)
            bits = 0
            continue
        member = _member(btf, found, part)
        if member is None:
            raise Failure(f"no field {part} in {_kind(found)}{_near(btf, found, part)}")
        bit += member[1]
        bits = member[2]
        found, network = btf.resolve(member[0]), _is_network(btf, member[0])
    return found, bit, bits, network


def _is_network(btf: Btf, type_id: int) -> bool:
    found = btf.type(type_id)
    while isinstance(found, (_t.Typedef, _t.Const, _t.Volatile, _t.TypeTag)):
        if found.name in _NETWORK:
            return True
        found = btf.type(found.type_id)
    return False


def _element(btf: Btf, found: _t.Type, bit: int, part: str, path: str) -> tuple[_t.Type, int]:
    index = part[1:].removesuffix("]")
    if not isinstance(found, _t.Array) or not index.isdigit():
        raise Failure(f"{path}: {part} is no element of an array")
    if int(index) >= found.nr_elems:
        raise Failure(f"{path}: the array has {found.nr_elems} elements")
    bit += int(index) * btf.size_of(found.type_id) * 8
    return btf.resolve(found.type_id), bit


def _member(btf: Btf, found: _t.Type, name: str) -> tuple[int, int, int] | None:
    # Members of members without a name count as own ones, as in C.
    if not isinstance(found, _t.Struct):
        return None
    for member in found.members:
        if member.name == name:
            return member.type_id, member.bit_offset, member.bit_size
        if not member.name:
            inner = _member(btf, btf.resolve(member.type_id), name)
            if inner is not None:
                return inner[0], inner[1] + member.bit_offset, inner[2]
    return None


def _near(btf: Btf, found: _t.Type, name: str) -> str:
    if not isinstance(found, _t.Struct):
        return ""
    from difflib import get_close_matches

    names = [member.name for member in found.members if member.name]
    near = get_close_matches(name, names, 2, 0.5)
    if near:
        return f"; did you mean {' or '.join(near)}?"
    return f"; the fields are {', '.join(names)}"


def _number(found: _t.Type, width: int, path: str, value: str) -> int:
    if isinstance(found, _t.Enum):
        for name, number in found.values:
            if name == value:
                return number
    if isinstance(found, _t.Float):
        import struct

        form, plain = ("=f", "=I") if found.size == 4 else ("=d", "=Q")
        try:
            bits: int = struct.unpack(plain, struct.pack(form, float(value)))[0]
        except (ValueError, OverflowError):
            raise Failure(f"{path or 'value'}: {value} is no number that fits") from None
        return bits
    if value in ("true", "false"):
        return int(value == "true")
    if width == 32 and value.count(".") == 3:
        return int.from_bytes(_address(value, 4), "little")
    try:
        number = int(value, 0)
    except ValueError:
        if len(value) == 3 and value[0] == value[2] == "'":
            return ord(value[1])
        known = ""
        if isinstance(found, _t.Enum):
            known = f"; its names are {', '.join(name for name, _ in found.values[:8])}"
        raise Failure(f"{path or 'value'}: {value} is no number{known}") from None
    signed = isinstance(found, (_t.Int, _t.Enum)) and found.is_signed
    low, high = (-(1 << width - 1), (1 << width - 1) - 1) if signed else (0, (1 << width) - 1)
    if not low <= number <= high:
        raise Failure(f"{path or 'value'}: {value} does not fit: {low} to {high}")
    return number


def _address(text: str, size: int) -> bytes:
    import socket

    try:
        return socket.inet_pton(socket.AF_INET if size == 4 else socket.AF_INET6, text)
    except OSError:
        raise Failure(f"{text} is no IPv{4 if size == 4 else 6} address") from None


def _store_array(
    btf: Btf, found: _t.Array, data: bytearray, at: int, path: str, value: str
) -> None:
    # Text for characters, an address or hexadecimal digits for other bytes.
    size = btf.size_of(found.id)
    element = btf.resolve(found.type_id)
    if isinstance(element, _t.Int) and _is_text(element):
        raw = value.encode()
        if len(raw) >= size:
            raise Failure(f"{path}: {len(raw)} characters and a NUL do not fit into {size} bytes")
    elif "," in value or btf.size_of(found.type_id) > 1:
        _store_elements(btf, found, data, at, path, value)
        return
    elif ":" in value and size == 16:
        raw = _address(value, 16)
    elif value.count(".") == 3 and size == 4:
        raw = _address(value, 4)
    else:
        try:
            raw = bytes.fromhex(value.removeprefix("0x").replace(":", ""))
        except ValueError:
            raise Failure(f"{path}: {value} is neither an address nor hexadecimal digits") from None
        if len(raw) != size:
            raise Failure(f"{path}: {len(raw)} bytes, where there are {size}")
    data[at : at + size] = raw + bytes(size - len(raw))


def _is_text(element: _t.Int) -> bool:
    # clang does not set the encoding of "char".
    return element.size == 1 and (element.is_char or element.name == "char")


def _store_elements(
    btf: Btf, found: _t.Array, data: bytearray, at: int, path: str, value: str
) -> None:
    values = value.split(",")
    if len(values) > found.nr_elems:
        raise Failure(f"{path}: {len(values)} values, where the array has {found.nr_elems}")
    size = btf.size_of(found.type_id)
    for number, one in enumerate(values):
        part = bytearray(size)
        encode(btf, found.type_id, part, "", one)
        data[at + number * size : at + (number + 1) * size] = part

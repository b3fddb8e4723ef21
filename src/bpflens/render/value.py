"""Values: from their bytes in a record or a map to Python objects, and from those to text.

:func:`reader` compiles a type to a function ``(buffer, offset) → object``: int, bool, str (text,
with bytes that are not UTF-8 kept as surrogates), :class:`Symbolic`, :class:`StackTrace`, tuple,
dict (records and structs), list, :class:`RawBytes`. :func:`text` writes such an object as the
language's ``print`` does.
"""

from __future__ import annotations

from struct import Struct as Packer

from bpflens.lang.types import (
    Array,
    Bool,
    Buffer,
    CgroupPath,
    Enum,
    FieldInfo,
    Inet,
    Int,
    Ksym,
    Mac,
    NoneType,
    Pointer,
    Record,
    Stack,
    String,
    Struct,
    Timestamp,
    Tuple,
    Type,
    Username,
    Usym,
)  # fmt: skip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bpflens.render.resolver import Frame, Resolver

    Reader = Callable[[bytes | memoryview, int], object]

__all__ = [
    "RawBytes",
    "StackTrace",
    "Symbolic",
    "escaped",
    "frame_text",
    "reader",
    "stack_text",
    "text",
]

_CODES = {1: "b", 2: "h", 4: "i", 8: "q"}
_AF_INET6 = 10


class Symbolic:
    """A number with a name: an enumerator, a pointer in hex, a symbol (``is_symbol``)."""

    __slots__ = ("is_symbol", "number", "text")

    def __init__(self, number: int, text: str, is_symbol: bool = False) -> None:
        self.number = number
        self.text = text
        self.is_symbol = is_symbol

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Symbolic) and self.number == other.number

    def __hash__(self) -> int:
        return hash(self.number)


class StackTrace:
    """A stack: its frames (None where it could not be taken) and how to show them."""

    __slots__ = ("frames", "mode")

    def __init__(self, frames: Sequence[Frame] | None, mode: str) -> None:
        self.frames = frames
        self.mode = mode


class RawBytes(bytes):
    """Bytes of ``buf()``, which print escaped."""


def reader(kind: Type, resolver: Resolver, trailer: str = "..") -> Reader:
    """Return a function that reads a value of a type out of a buffer."""
    make = _READERS.get(type(kind))
    if make is None:
        size = kind.size
        return lambda data, at: RawBytes(data[at : at + size])
    return make(kind, resolver, trailer)


def _int(kind: Int, resolver: Resolver, trailer: str) -> Reader:
    code = _CODES[kind.size]
    unpack = Packer("<" + (code if kind.signed else code.upper())).unpack_from
    return lambda data, at: unpack(data, at)[0]


def _bool(kind: Bool, resolver: Resolver, trailer: str) -> Reader:
    return lambda data, at: data[at] != 0


def _enum(kind: Enum, resolver: Resolver, trailer: str) -> Reader:
    read = _int(Int(kind.size, kind.signed), resolver, trailer)
    names = kind.values

    def convert(data: bytes | memoryview, at: int) -> object:
        number = read(data, at)
        assert isinstance(number, int)
        return Symbolic(number, names.get(number) or str(number))

    return convert


def _pointer(kind: Pointer, resolver: Resolver, trailer: str) -> Reader:
    unpack = Packer("<Q").unpack_from

    def convert(data: bytes | memoryview, at: int) -> object:
        number = unpack(data, at)[0]
        return Symbolic(number, f"{number:#x}")

    return convert


def _string(kind: String, resolver: Resolver, trailer: str) -> Reader:
    size = kind.size
    mark = "" if kind.complete else trailer

    def convert(data: bytes | memoryview, at: int) -> str:
        whole = bytes(data[at : at + size])
        end = whole.find(b"\0")
        if end < 0:
            return whole.decode("utf-8", "surrogateescape") + mark
        return whole[:end].decode("utf-8", "surrogateescape")

    return convert


def _buffer(kind: Buffer, resolver: Resolver, trailer: str) -> Reader:
    unpack = Packer("<I").unpack_from
    capacity = kind.capacity

    def convert(data: bytes | memoryview, at: int) -> RawBytes:
        length = min(unpack(data, at)[0], capacity)
        return RawBytes(data[at + 4 : at + 4 + length])

    return convert


def _array(kind: Array, resolver: Resolver, trailer: str) -> Reader:
    read, step, length = reader(kind.element, resolver, trailer), kind.element.size, kind.length
    return lambda data, at: [read(data, at + i * step) for i in range(length)]


def _tuple(kind: Tuple, resolver: Resolver, trailer: str) -> Reader:
    parts = [
        (reader(item, resolver, trailer), offset)
        for item, offset in zip(kind.items, kind.offsets, strict=True)
    ]
    return lambda data, at: tuple(read(data, at + offset) for read, offset in parts)


def _record(kind: Record, resolver: Resolver, trailer: str) -> Reader:
    read, names = _tuple(kind, resolver, trailer), kind.names
    return lambda data, at: dict(zip(names, read(data, at), strict=True))  # type: ignore[call-overload]


def _struct(kind: Struct, resolver: Resolver, trailer: str) -> Reader:
    parts: list[tuple[str, Reader]] | None = None

    def convert(data: bytes | memoryview, at: int) -> object:
        nonlocal parts
        # Made on first use: structs refer to each other.
        if parts is None:
            parts = [(f.name, _field(f, resolver, trailer)) for f in kind.fields]
        return {name: read(data, at) for name, read in parts}

    return convert


def _field(field: FieldInfo, resolver: Resolver, trailer: str) -> Reader:
    if not field.bit_size:
        read, offset = reader(field.type, resolver, trailer), field.offset
        return lambda data, at: read(data, at + offset)
    first, shift, bits = field.bit_offset // 8, field.bit_offset % 8, field.bit_size
    count = (shift + bits + 7) // 8

    def convert(data: bytes | memoryview, at: int) -> int:
        whole = int.from_bytes(data[at + first : at + first + count], "little") >> shift
        # As the reference has it, bit-fields have no sign.
        return whole & ((1 << bits) - 1)

    return convert


def _ksym(kind: Ksym, resolver: Resolver, trailer: str) -> Reader:
    unpack = Packer("<Q").unpack_from

    def convert(data: bytes | memoryview, at: int) -> Symbolic:
        address = unpack(data, at)[0]
        return Symbolic(address, resolver.kernel_symbol(address).symbol or f"{address:#x}", True)

    return convert


def _usym(kind: Usym, resolver: Resolver, trailer: str) -> Reader:
    unpack = Packer("<QII").unpack_from

    def convert(data: bytes | memoryview, at: int) -> Symbolic:
        address, pid, probe = unpack(data, at)
        name = resolver.user_symbol(address, pid, probe).symbol
        return Symbolic(address, name or f"{address:#x}", True)

    return convert


def _stack(kind: Stack, resolver: Resolver, trailer: str) -> Reader:
    unpack = Packer("<qII").unpack_from

    def convert(data: bytes | memoryview, at: int) -> StackTrace:
        number, _, pid = unpack(data, at)
        return StackTrace(resolver.stack(kind.user, number, pid, kind.limit), kind.mode)

    return convert


def _inet(kind: Inet, resolver: Resolver, trailer: str) -> Reader:
    def convert(data: bytes | memoryview, at: int) -> str:
        from socket import AF_INET, AF_INET6, inet_ntop

        six = data[at] == _AF_INET6
        raw = bytes(data[at + 8 : at + (24 if six else 12)])
        return inet_ntop(AF_INET6 if six else AF_INET, raw)

    return convert


def _mac(kind: Mac, resolver: Resolver, trailer: str) -> Reader:
    return lambda data, at: ":".join(f"{byte:02X}" for byte in data[at : at + 6])


def _cgroup_path(kind: CgroupPath, resolver: Resolver, trailer: str) -> Reader:
    unpack = Packer("<QQ").unpack_from
    return lambda data, at: resolver.cgroup_path(*unpack(data, at))


def _timestamp(kind: Timestamp, resolver: Resolver, trailer: str) -> Reader:
    unpack = Packer("<QII").unpack_from
    return lambda data, at: resolver.timestamp(*unpack(data, at))


def _username(kind: Username, resolver: Resolver, trailer: str) -> Reader:
    unpack = Packer("<Q").unpack_from
    return lambda data, at: resolver.user_name(unpack(data, at)[0])


def _none(kind: NoneType, resolver: Resolver, trailer: str) -> Reader:
    return lambda data, at: None


_READERS: dict[type[Type], Callable[..., Reader]] = {
    Int: _int,
    Bool: _bool,
    Enum: _enum,
    Pointer: _pointer,
    String: _string,
    Buffer: _buffer,
    Array: _array,
    Tuple: _tuple,
    Record: _record,
    Struct: _struct,
    Ksym: _ksym,
    Usym: _usym,
    Stack: _stack,
    Inet: _inet,
    Mac: _mac,
    CgroupPath: _cgroup_path,
    Timestamp: _timestamp,
    Username: _username,
    NoneType: _none,
}


def text(value: object) -> str:
    """Write a value as ``print`` shows it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, str)):
        return str(value)
    if isinstance(value, Symbolic):
        return value.text
    if isinstance(value, tuple):
        return f"({', '.join(map(text, value))})"
    if isinstance(value, dict):
        inner = ", ".join(f".{name} = {text(item)}" for name, item in value.items())
        return f"{{ {inner} }}" if value else "{}"
    if isinstance(value, list):
        return f"[{','.join(map(text, value))}]"
    if isinstance(value, bytes):
        return escaped(value)
    if isinstance(value, StackTrace):
        return stack_text(value)
    return "" if value is None else str(value)


def escaped(data: bytes) -> str:
    """Write bytes as ``buf()`` prints: printable ones as they are, others as ``\\xNN``."""
    return "".join(chr(b) if 32 <= b < 127 else f"\\x{b:02x}" for b in data)


def stack_text(stack: StackTrace) -> str:
    """Write a stack: a newline, then a line for each frame.

    A sample of user mode has no kernel stack; what is not there has no lines.
    """
    frames = stack.frames or ()
    return "\n" + "".join(frame_text(frame, stack.mode) + "\n" for frame in frames)


def frame_text(frame: Frame, mode: str) -> str:
    """Write one frame, indented, in one of the modes bpftrace, perf and raw."""
    if mode == "raw":
        return f"{frame.address:x}"
    if mode == "perf":
        name = f"{frame.symbol}+{frame.offset}" if frame.symbol else f"{frame.address:#x}"
        return f"\t{frame.address:x} {name} ({frame.module or '[unknown]'})"
    if not frame.symbol:
        return f"        {frame.address:#x}"
    place = f"@{frame.place}" if frame.place else ""
    return f"        {frame.symbol}+{frame.offset}{place}"

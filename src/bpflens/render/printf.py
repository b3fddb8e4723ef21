"""printf: from runs of equal records to text, many at once.

:func:`compile_format` turns a format and the layout of its event into a function that formats a
whole block of records. Where every argument is an integer or a zero-padded string, the block is
unpacked in one go and formatted by one ``%``; other arguments are converted record by record.
"""

from __future__ import annotations

from struct import Struct as Packer

from bpflens.lang.format_string import parse
from bpflens.lang.types import COMM_SIZE, Bool, Enum, Int, Pointer, String
from bpflens.render import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from bpflens.lang.format_string import Directive
    from bpflens.lang.program import EventSchema, FieldSchema
    from bpflens.render.resolver import Resolver

    # (block, bytes in front of the first record, bytes from one record to the next, records)
    Formatter = Callable[[bytes | memoryview, int, int, int], bytes]

__all__ = ["compile_format", "format_one"]

# Records formatted by one "%": more gains nothing, and the tuple of arguments stays small.
_BATCH = 1024
# C's length modifiers → bytes; without one an integer is an int.
_LENGTHS = {"": 4, "hh": 1, "h": 2, "l": 8, "ll": 8, "j": 8, "z": 8, "t": 8, "L": 8}
_CODES = {1: "b", 2: "h", 4: "i", 8: "q"}


def compile_format(schema: EventSchema, resolver: Resolver, trailer: str = "..") -> Formatter:
    """Return ``(block, base, stride, count) → bytes`` for records that follow each other.

    Each record begins ``base`` bytes into its share of ``stride`` bytes of the block.
    """
    directives = parse(schema.format)
    wanted = [d for d in directives if d.takes_value]
    pairs = list(zip(wanted, schema.fields, strict=True))
    if all(_is_plain(directive, field) for directive, field in pairs):
        return _plain(schema, directives, pairs)
    return _general(schema, directives, pairs, resolver, trailer)


def _is_plain(directive: Directive, field: FieldSchema) -> bool:
    if "#" in directive.flags or directive.precision >= 0:
        return False
    if directive.conversion in ("d", "i", "u", "x", "X", "o"):
        return isinstance(field.type, (Int, Bool, Enum, Pointer))
    # The name of a task is padded with zero bytes, which are dropped from the finished text.
    short = isinstance(field.type, String) and field.type.size == COMM_SIZE
    return directive.conversion == "s" and short and directive.width < 0


def _plain(
    schema: EventSchema,
    directives: list[Directive],
    pairs: list[tuple[Directive, FieldSchema]],
) -> Formatter:
    template = b"".join(_template(directive) for directive in directives)
    layout, at = "<", 0
    for directive, field in pairs:
        layout += "x" * (field.offset - at)
        code, size = _code(directive, field)
        layout += code
        at = field.offset + size
    layouts: dict[tuple[int, int, int], tuple[Packer, bytes]] = {}
    per_record = len(pairs)

    def batch(base: int, stride: int, count: int) -> tuple[Packer, bytes]:
        found = layouts.get((base, stride, count))
        if found is None:
            one = "x" * base + layout[1:] + "x" * (stride - base - at)
            found = layouts[base, stride, count] = Packer("<" + one * count), template * count
        return found

    def format_block(block: bytes | memoryview, base: int, stride: int, count: int) -> bytes:
        if not per_record:
            return template.replace(b"%%", b"%") * count
        out, first, size = [], 0, _BATCH
        while first < count:
            # Powers of two only: a layout for every number of records would fill the memory.
            while size > count - first:
                size >>= 1
            packer, text = batch(base, stride, size)
            out.append(text % packer.unpack_from(block, first * stride))
            first += size
        return b"".join(out).translate(None, b"\0")

    return format_block


def _code(directive: Directive, field: FieldSchema) -> tuple[str, int]:
    kind = field.type
    if isinstance(kind, String):
        return f"{kind.size}s", kind.size
    size = min(_LENGTHS[directive.length], kind.size)
    code = _CODES[size]
    if isinstance(kind, (Bool, Enum)) and kind.size < 8:
        size, code = kind.size, _CODES[kind.size]
    return (code if directive.conversion in ("d", "i") else code.upper()), size


def _template(directive: Directive) -> bytes:
    if not directive.takes_value:
        return directive.text.replace(b"%", b"%%")
    width = str(directive.width) if directive.width >= 0 else ""
    conversion = {"i": "d", "u": "d", "p": "s"}.get(directive.conversion, directive.conversion)
    return f"%{directive.flags}{width}{conversion}".encode()


def _general(
    schema: EventSchema,
    directives: list[Directive],
    pairs: list[tuple[Directive, FieldSchema]],
    resolver: Resolver,
    trailer: str,
) -> Formatter:
    readers = iter([(value.reader(f.type, resolver, trailer), f.offset) for _, f in pairs])
    steps: list[tuple[Directive, Callable[..., object] | None, int]] = []
    for directive in directives:
        read, offset = next(readers) if directive.takes_value else (None, 0)
        steps.append((directive, read, offset))

    def format_block(block: bytes | memoryview, base: int, stride: int, count: int) -> bytes:
        out = []
        for start in range(base, base + count * stride, stride):
            for directive, read, offset in steps:
                if read is None:
                    out.append(directive.text)
                else:
                    out.append(format_one(directive, read(block, start + offset)))
        return b"".join(out)

    return format_block


def format_one(directive: Directive, item: object) -> bytes:
    """Format one value by one directive, as C's printf would."""
    conversion = directive.conversion
    if conversion in ("d", "i", "u", "x", "X", "o", "c", "p"):
        return _integer(directive, _number(item))
    if conversion in ("rx", "rh") or (conversion == "r" and isinstance(item, (bytes, list))):
        data = bytes(item) if isinstance(item, (bytes, list)) else str(item).encode()
        if conversion == "r":
            shown = value.escaped(data)
        elif conversion == "rh":
            shown = data.hex(" ")
        else:
            shown = "".join(f"\\x{byte:02x}" for byte in data)
    elif conversion == "gr":
        from bpflens.render.gfp_flag import describe

        shown = describe(_number(item))
    else:
        shown = value.text(item)
    encoded = shown.encode("utf-8", "surrogateescape")
    if directive.precision >= 0 and conversion == "s":
        encoded = encoded[: directive.precision]
    return _padded(directive, encoded)


def _number(item: object) -> int:
    if isinstance(item, value.Symbolic):
        return item.number
    return int(item) if isinstance(item, (int, bool)) else 0


def _integer(directive: Directive, number: int) -> bytes:
    conversion = directive.conversion
    if conversion == "c":
        return _padded(directive, bytes([number & 0xFF]))
    if conversion == "p":
        return _padded(directive, f"{number & (1 << 64) - 1:#x}".encode())
    bits = _LENGTHS[directive.length] * 8
    number &= (1 << bits) - 1
    if conversion in ("d", "i"):
        number -= (number >> (bits - 1)) << bits
        digits = str(abs(number))
        sign = (
            "-"
            if number < 0
            else "+"
            if "+" in directive.flags
            else " "
            if " " in directive.flags
            else ""
        )
    else:
        digits = format(number, {"u": "d"}.get(conversion, conversion))
        sign = ""
        if "#" in directive.flags and number:
            sign = {"x": "0x", "X": "0X", "o": "0"}.get(conversion, "")
    if "0" in directive.flags and "-" not in directive.flags:
        digits = digits.rjust(directive.width - len(sign), "0")
    return _padded(directive, (sign + digits).encode())


def _padded(directive: Directive, shown: bytes) -> bytes:
    if directive.width < 0:
        return shown
    return shown.ljust(directive.width) if "-" in directive.flags else shown.rjust(directive.width)

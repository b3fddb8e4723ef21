"""Where the fields of a C struct lie, by the System V ABI of x86-64 and arm64.

Bitfields share the storage unit of their declared type; ``packed`` and ``aligned`` count. The
integer types that every C program of the kernel's world knows by name are here too.

Example::

    placer = Placer(is_union=False, packed=False, align_of=lambda type: type.align)
    placer.add(Declarator("a", Int(1, True), 0, 0))
    placer.add(Declarator("b", Int(4, True), 0, 0))
    placer.finish(0)            # (8, 4); placer.fields[1].offset is 4
"""

from __future__ import annotations

from bpflens.lang.types import BOOL, NONE, Bool, Enum, FieldInfo, Int, Struct, Type, align_up

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BASE_TYPES", "Declarator", "Placer"]


class Declarator:
    """One declared name and its type; ``bits`` is the width of a bitfield, else -1."""

    __slots__ = ("align", "bits", "end", "name", "packed", "start", "type")

    def __init__(self, name: str, type: Type, start: int, end: int) -> None:
        self.name = name
        self.type = type
        self.start, self.end = start, end
        self.bits = -1
        self.packed = False
        self.align = 0


class Placer:
    """Puts the fields of one struct or union at their offsets: ``fields`` grows as they come."""

    __slots__ = ("_align", "_align_of", "_bit", "_is_union", "_packed", "_size", "fields")

    def __init__(self, is_union: bool, packed: bool, align_of: Callable[[Type], int]) -> None:
        self.fields: list[FieldInfo] = []
        self._is_union = is_union
        self._packed = packed
        self._align_of = align_of
        self._bit = 0  # the first bit that is free
        self._size = 0  # in bits
        self._align = 1

    def add(self, field: Declarator) -> bool:
        """Place the next field; False if it is a bitfield that cannot be."""
        if self._is_union:
            self._bit = 0
        fits = True
        if field.bits >= 0:
            fits = self._bitfield(field)
        else:
            self._plain(field)
        self._size = max(self._size, self._bit)
        return fits

    def finish(self, align: int) -> tuple[int, int]:
        """Return size and alignment of the whole in bytes; ``align`` is what was asked for."""
        align = max(self._align, align, 1)
        return align_up((self._size + 7) // 8, align), align

    def _plain(self, field: Declarator) -> None:
        align = 1 if self._packed or field.packed else self._align_of(field.type)
        align = max(align, field.align)
        offset = align_up((self._bit + 7) // 8, align)
        self._align = max(self._align, align)
        self._bit = (offset + field.type.size) * 8
        if field.name:
            self.fields.append(FieldInfo(field.name, field.type, offset))
        elif isinstance(field.type, Struct):
            for inner in field.type.fields:
                bit = inner.bit_offset + offset * 8 if inner.bit_size else 0
                moved = FieldInfo(
                    inner.name, inner.type, inner.offset + offset, bit, inner.bit_size
                )
                self.fields.append(moved)

    def _bitfield(self, field: Declarator) -> bool:
        unit = field.type.size * 8
        if not isinstance(field.type, Int | Bool | Enum) or field.bits > unit:
            return False
        if field.bits == 0:
            self._bit = align_up(self._bit, unit)
            return True
        packed = self._packed or field.packed
        # A bitfield may not cross a boundary of its declared type, unless it is packed.
        if not packed and self._bit // unit != (self._bit + field.bits - 1) // unit:
            self._bit = align_up(self._bit, unit)
        if field.name:
            if not packed:
                self._align = max(self._align, self._align_of(field.type))
            info = FieldInfo(field.name, field.type, self._bit // 8, self._bit, field.bits)
            self.fields.append(info)
        self._bit += field.bits
        return True


def _integers() -> dict[str, Type]:
    table: dict[str, Type] = {"void": NONE, "bool": BOOL, "_Bool": BOOL}
    for bits in (8, 16, 32, 64):
        for name in (f"u{bits}", f"__u{bits}", f"uint{bits}_t", f"uint{bits}", f"u_int{bits}_t"):
            table[name] = Int(bits // 8, False)
        for name in (f"s{bits}", f"__s{bits}", f"int{bits}_t", f"int{bits}"):
            table[name] = Int(bits // 8, True)
        for order in ("le", "be"):
            table[f"__{order}{bits}"] = Int(bits // 8, False)
    for name in ("size_t", "uintptr_t", "dma_addr_t", "sector_t", "ino_t", "u_long", "ulong"):
        table[name] = Int(8, False)
    for name in ("ssize_t", "intptr_t", "ptrdiff_t", "loff_t", "off_t", "time_t", "ktime_t"):
        table[name] = Int(8, True)
    for name in ("uid_t", "gid_t", "dev_t", "u_int", "uint", "gfp_t", "socklen_t"):
        table[name] = Int(4, False)
    table["pid_t"] = Int(4, True)
    table["umode_t"] = table["ushort"] = table["u_short"] = table["sa_family_t"] = Int(2, False)
    table["mode_t"] = Int(4, False)
    table["uchar"] = table["u_char"] = Int(1, False)
    return table


#: Names of integers that every C program of the kernel's world knows.
BASE_TYPES = _integers()

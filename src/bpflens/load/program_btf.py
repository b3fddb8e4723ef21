"""Add to an object's BTF what loading needs: source lines as strings, functions as types.

Turns the BTF bytes of a spec plus ``LineInfo`` and ``funcs`` into one larger BTF blob and the
binary ``line_info`` and ``func_info`` records that refer to it. All programs of an object share
the one blob, so that ten thousand programs cost one BTF_LOAD.

Invariants: type ids of the original stay what they are (new types come behind); a string is stored
once; records come out in ascending order with one record per instruction, as the kernel demands.

Example::

    btf = ProgramBtf(spec.btf)
    func_info = btf.func_info([(0, "main", 0)])
    line_info = btf.line_info(program.lines)
    blob = btf.build()
"""

from __future__ import annotations

from struct import Struct

from bpflens.errors import FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from bpflens.spec import LineInfo

__all__ = ["FUNC_INFO_SIZE", "LINE_INFO_SIZE", "ProgramBtf", "identifier"]

#: Size of one record of ``line_info`` (struct bpf_line_info) and of ``func_info``.
LINE_INFO_SIZE = 16
FUNC_INFO_SIZE = 8

_HEADER = Struct("<HBBIIIII")
_MAGIC = 0xEB9F
_TYPE = Struct("<III")
_LINE = Struct("<IIII")
_FUNC = Struct("<II")

# include/uapi/linux/btf.h: kinds, and the encoding word of a signed 32-bit INT.
_KIND_INT = 1
_KIND_FUNC = 12
_KIND_FUNC_PROTO = 13
_SIGNED_32 = 1 << 24 | 32

# struct bpf_line_info packs line and column as line << 10 | column.
_MOST_COLUMN = (1 << 10) - 1
_MOST_LINE = (1 << 22) - 1


_IDENTIFIER = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
# include/linux/kallsyms.h: KSYM_NAME_LEN was 128 before Linux 6.1.
_LONGEST_SYMBOL = 127


def identifier(text: str) -> str:
    """Return ``text`` as a C identifier, as names of BTF functions must be.

    ``"uprobe:/bin/sh:main"`` becomes ``"uprobe__bin_sh_main"``.
    """
    name = "".join(c if c in _IDENTIFIER else "_" for c in text[:_LONGEST_SYMBOL])
    return name if name and not name[0].isdigit() else "_" + name[: _LONGEST_SYMBOL - 1]


class ProgramBtf:
    """BTF that grows: the ``base`` bytes of an object (may be empty) and what is added to them."""

    __slots__ = ("_added", "_base", "_base_strings", "_base_types", "_functions", "_next",
                 "_offsets", "_proto", "_strings", "_strings_end")  # fmt: skip

    def __init__(self, base: bytes = b"") -> None:
        self._base = base
        self._base_types, self._base_strings = _sections(base)
        self._next = 0
        self._added = bytearray()
        self._strings: list[bytes] = []
        self._strings_end = len(self._base_strings)
        self._offsets: dict[str, int] = {}
        self._functions: dict[str, int] = {}
        self._proto = 0

    def string(self, text: str) -> int:
        """Return the offset of ``text`` in the string section, adding it if it is new."""
        offset = self._offsets.get(text)
        if offset is None:
            raw = text.encode("utf-8", "replace").replace(b"\0", b" ") + b"\0"
            # Found inside the original strings it costs nothing; offset 0 is the empty string.
            at = self._base_strings.find(b"\0" + raw)
            offset = at + 1 if at >= 0 else self._append(raw)
            self._offsets[text] = offset
        return offset

    def function(self, name: str) -> int:
        """Return the id of a static FUNC called ``name`` that takes nothing and gives an int."""
        name = identifier(name)
        known = self._functions.get(name)
        if known is None:
            if not self._proto:
                number = self._add(
                    self.string("int"), _KIND_INT, 4, _SIGNED_32.to_bytes(4, "little")
                )
                self._proto = self._add(0, _KIND_FUNC_PROTO, number)
            known = self._functions[name] = self._add(self.string(name), _KIND_FUNC, self._proto)
        return known

    def line_info(self, lines: Sequence[LineInfo], slots: bytes = b"") -> bytes:
        """Return the ``line_info`` records for ``lines`` (sorted here, first one of a slot wins).

        With ``slots``, the instruction bytes, lines are left out that point behind the program or
        at the second half of a 16-byte instruction, either of which the kernel would refuse.
        """
        records = []
        last = -1
        for line in sorted(lines, key=_by_slot):
            if line.insn == last or (slots and not _is_instruction(slots, line.insn)):
                continue
            last = line.insn
            place = min(line.line, _MOST_LINE) << 10 | min(max(line.column, 0), _MOST_COLUMN)
            records.append(
                _LINE.pack(line.insn, self.string(line.file), self.string(line.text), place)
            )
        return b"".join(records)

    def func_info(self, funcs: Sequence[tuple[int, str, int]]) -> bytes:
        """Return the ``func_info`` records for ``(slot, name, type_id)``; id 0 is made up here."""
        return b"".join(
            _FUNC.pack(slot, type_id or self.function(name))
            for slot, name, type_id in sorted(funcs)
        )

    def build(self) -> bytes:
        """Return the whole blob, or ``b""`` when nothing was given and nothing added."""
        types = self._base_types + bytes(self._added)
        if not types:
            if not self._strings:
                return b""
            self.function("unnamed")
            types = bytes(self._added)
        strings = self._base_strings + b"".join(self._strings)
        size = _HEADER.size
        header = _HEADER.pack(_MAGIC, 1, 0, size, 0, len(types), len(types), len(strings))
        return header + types + strings

    def _append(self, raw: bytes) -> int:
        offset = self._strings_end
        self._strings.append(raw)
        self._strings_end += len(raw)
        return offset

    def _first_free_id(self) -> int:
        if not self._base:
            return 1
        from bpflens.btf import Btf

        return Btf(self._base).nr_types

    def _add(self, name: int, kind: int, size_or_type: int, extra: bytes = b"") -> int:
        if not self._next:
            self._next = self._first_free_id()
        self._added += _TYPE.pack(name, kind << 24, size_or_type) + extra
        self._next += 1
        return self._next - 1


def _by_slot(line: LineInfo) -> int:
    return line.insn


# Whether `slot` begins an instruction: inside the program and not the second half of a wide one.
def _is_instruction(slots: bytes, slot: int) -> bool:
    return 0 <= slot * 8 < len(slots) and slots[slot * 8] != 0


# The type section and the string section of a BTF blob.
def _sections(data: bytes) -> tuple[bytes, bytes]:
    if not data:
        return b"", b"\0"
    if len(data) < _HEADER.size or _HEADER.unpack_from(data)[0] != _MAGIC:
        raise FormatError("BTF", "no little-endian BTF header")
    _, _, _, header, type_off, type_len, string_off, string_len = _HEADER.unpack_from(data)
    types = data[header + type_off : header + type_off + type_len]
    strings = data[header + string_off : header + string_off + string_len]
    if len(types) != type_len or len(strings) != string_len:
        raise FormatError("BTF", "sections reach behind its end")
    return types, strings

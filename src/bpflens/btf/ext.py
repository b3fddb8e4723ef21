"""The ``.BTF.ext`` section of an object file: what BTF says about single instructions.

``parse`` turns its bytes into records per code section: which function begins where (func_info),
which source line an instruction came from (line_info), and which instructions depend on the
layout of kernel types (core_relo, see :mod:`bpflens.btf.core`). ``build`` is the way back.

Instruction offsets are in bytes from the start of the code section, as stored; the kernel wants
them counted in instructions, which :func:`pack_func_info` and :func:`pack_line_info` write.
Text is looked up in the BTF that belongs to the section.

Example::

    ext = parse(section_bytes, btf)
    for relo in ext.core_relo.get("tp_btf/sched_switch", ()):
        print(relo.insn_off, relo.kind, relo.access)
"""

from __future__ import annotations

import struct

from bpflens.errors import FormatError
from bpflens.uapi.btf import BTF_MAGIC, BTF_VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import TypeVar

    from bpflens.btf.builder import Builder
    from bpflens.btf.reader import Btf

    _Record = TypeVar("_Record")

__all__ = [
    "CoreRelo",
    "Ext",
    "FuncInfo",
    "LineInfo",
    "build",
    "pack_func_info",
    "pack_line_info",
    "parse",
]

# struct btf_ext_header: u16 magic; u8 version, flags; u32 hdr_len; then offset and length of
# func_info, of line_info and (not in the oldest compilers' output) of core_relo.
_PREFIX = "HBBI"
_MIN_HEADER = 24
_FULL_HEADER = 32


class FuncInfo:
    """A function (``type_id`` is its FUNC) begins at ``insn_off``."""

    __slots__ = ("insn_off", "type_id")

    def __init__(self, insn_off: int, type_id: int) -> None:
        self.insn_off = insn_off
        self.type_id = type_id


class LineInfo:
    """The code from ``insn_off`` on comes from this line; file and text are string offsets."""

    __slots__ = ("file_name_off", "insn_off", "line_col", "line_off")

    def __init__(self, insn_off: int, file_name_off: int, line_off: int, line_col: int) -> None:
        self.insn_off = insn_off
        self.file_name_off = file_name_off
        self.line_off = line_off
        self.line_col = line_col

    @property
    def line(self) -> int:
        """The number of the line."""
        return self.line_col >> 10

    @property
    def column(self) -> int:
        """The number of the column."""
        return self.line_col & 0x3FF


class CoreRelo:
    """The instruction at ``insn_off`` depends on the ``access`` to the local type ``type_id``."""

    __slots__ = ("access", "insn_off", "kind", "type_id")

    def __init__(self, insn_off: int, type_id: int, access: str, kind: int) -> None:
        self.insn_off = insn_off
        self.type_id = type_id
        self.access = access
        self.kind = kind


class Ext:
    """All records, by the name of the code section."""

    __slots__ = ("core_relo", "func_info", "line_info")

    def __init__(
        self,
        func_info: dict[str, list[FuncInfo]],
        line_info: dict[str, list[LineInfo]],
        core_relo: dict[str, list[CoreRelo]],
    ) -> None:
        self.func_info = func_info
        self.line_info = line_info
        self.core_relo = core_relo


def parse(data: bytes | memoryview, btf: Btf) -> Ext:
    """Read a ``.BTF.ext`` section; ``btf`` is the one from the same file.

    Raises :class:`FormatError` for wrong bytes.
    """
    data = bytes(data)
    if len(data) < _MIN_HEADER:
        raise FormatError("BTF.ext", f"{len(data)} bytes are too few for a header")
    order = "<" if data[0] == BTF_MAGIC & 0xFF else ">"
    magic, version, _flags, header = struct.unpack_from(order + _PREFIX, data)
    if magic != BTF_MAGIC or version != BTF_VERSION or header < _MIN_HEADER:
        raise FormatError("BTF.ext", f"wrong magic {magic:#x}, version {version} or header size")
    words = 6 if header >= _FULL_HEADER and len(data) >= _FULL_HEADER else 4
    places = [*struct.unpack_from(f"{order}{words}I", data, 8), 0, 0]
    reader = _Reader(data, order, btf)

    def relo(insn_off: int, type_id: int, access: int, kind: int) -> CoreRelo:
        return CoreRelo(insn_off, type_id, btf.string(access), kind)

    return Ext(
        reader.records(header, places[0], places[1], 2, FuncInfo),
        reader.records(header, places[2], places[3], 4, LineInfo),
        reader.records(header, places[4], places[5], 4, relo),
    )


class _Reader:
    # One of the three parts: u32 record size, and then for each code section its name, the
    # number of records and the records. Records may be longer than we know; the rest is skipped.
    __slots__ = ("btf", "data", "order")

    def __init__(self, data: bytes, order: str, btf: Btf) -> None:
        self.data = data
        self.order = order
        self.btf = btf

    def records(
        self, header: int, offset: int, length: int, words: int, make: Callable[..., _Record]
    ) -> dict[str, list[_Record]]:
        found: dict[str, list[_Record]] = {}
        if not length:
            return found
        start = header + offset
        end = start + length
        if offset % 4 or length < 4 or end > len(self.data):
            raise FormatError("BTF.ext", "a part is out of place", f"offset {start}")
        (size,) = struct.unpack_from(self.order + "I", self.data, start)
        if size < words * 4 or size % 4:
            raise FormatError("BTF.ext", f"records of {size} bytes", f"offset {start}")
        record = struct.Struct(f"{self.order}{words}I{size - words * 4}x")
        at = start + 4
        while at < end:
            if end - at < 8:
                raise FormatError("BTF.ext", "a section is cut short", f"offset {at}")
            name, count = struct.unpack_from(self.order + "II", self.data, at)
            stop = at + 8 + count * size
            if not count or stop > end:
                raise FormatError("BTF.ext", f"a section of {count} records", f"offset {at}")
            items = [make(*row) for row in record.iter_unpack(self.data[at + 8 : stop])]
            found.setdefault(self.btf.string(name), []).extend(items)
            at = stop
        return found


def build(
    builder: Builder,
    func_info: Mapping[str, Sequence[FuncInfo]],
    line_info: Mapping[str, Sequence[LineInfo]],
    core_relo: Mapping[str, Sequence[CoreRelo]],
) -> bytes:
    """Return a ``.BTF.ext`` section; names of sections and accesses go into ``builder``."""
    string = builder.string
    parts = [
        _part(builder, func_info, 2, lambda r: (r.insn_off, r.type_id)),
        _part(builder, line_info, 4, _line_words),
        _part(builder, core_relo, 4, lambda r: (r.insn_off, r.type_id, string(r.access), r.kind)),
    ]
    places: list[int] = []
    offset = 0
    for part in parts:
        places += (offset, len(part))
        offset += len(part)
    header = struct.pack("=" + _PREFIX + "6I", BTF_MAGIC, BTF_VERSION, 0, _FULL_HEADER, *places)
    return header + b"".join(parts)


def _part(
    builder: Builder,
    sections: Mapping[str, Sequence[_Record]],
    words: int,
    unmake: Callable[[_Record], tuple[int, ...]],
) -> bytes:
    if not any(sections.values()):
        return b""
    out = [struct.pack("=I", words * 4)]
    for name, items in sections.items():
        if items:
            out.append(struct.pack("=II", builder.string(name), len(items)))
            out += [struct.pack(f"={words}I", *unmake(item)) for item in items]
    return b"".join(out)


def _line_words(info: LineInfo) -> tuple[int, int, int, int]:
    return info.insn_off, info.file_name_off, info.line_off, info.line_col


def pack_func_info(records: Iterable[FuncInfo], start: int = 0) -> bytes:
    """Return records as BPF_PROG_LOAD takes them: offsets in instructions.

    ``start`` is taken away from each offset: where in its section the program begins, in bytes.
    """
    pack = struct.Struct("=II").pack
    return b"".join([pack((r.insn_off - start) // 8, r.type_id) for r in records])


def pack_line_info(records: Iterable[LineInfo], start: int = 0) -> bytes:
    """Return records as BPF_PROG_LOAD takes them; ``start`` as for :func:`pack_func_info`."""
    pack = struct.Struct("=IIII").pack
    rows = ((r.insn_off - start, r.file_name_off, r.line_off, r.line_col) for r in records)
    return b"".join([pack(offset // 8, *rest) for offset, *rest in rows])

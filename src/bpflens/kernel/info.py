"""What BPF_OBJ_GET_INFO_BY_FD says of programs, maps, links and BTF.

Turns the bpf_*_info structures into objects whose attributes have the kernel's names. Structures
grow with the kernel: a field that an older kernel does not have is 0. Arrays (instructions, map
ids, line info...) are asked for by name in :func:`prog_info`, because each costs a copy.

Example::

    info = prog_info(fd, ("map_ids", "xlated_prog_insns"))
    print(info.name, info.tag.hex(), info.map_ids, len(info.xlated_prog_insns))
"""

from __future__ import annotations

import struct

from bpflens.kernel.memory import Buffer
from bpflens.kernel.object_command import obj_get_info_by_fd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "PROG_ARRAYS",
    "BtfInfo",
    "FuncInfo",
    "Info",
    "MapInfo",
    "ProgInfo",
    "SourceLine",
    "TokenInfo",
    "btf_data",
    "btf_info",
    "map_hash",
    "map_info",
    "prog_info",
    "text",
    "token_info",
]


class Info:
    """The base of all: a readable repr of the fields that say something, and :meth:`fields`."""

    __slots__ = ()

    def fields(self) -> dict[str, object]:
        """Return the fields by name, in the kernel's order."""
        kinds = reversed(type(self).__mro__)
        names = [name for kind in kinds for name in getattr(kind, "__slots__", ())]
        return {name: getattr(self, name) for name in names}

    def __repr__(self) -> str:
        shown = (f"{name}={value!r}" for name, value in self.fields().items() if value)
        return f"{type(self).__name__}({', '.join(shown)})"


def text(raw: bytes | bytearray) -> str:
    """Return the characters of ``raw`` before its first NUL."""
    return raw.split(b"\0", 1)[0].decode("utf-8", "replace")


# --- maps ---------------------------------------------------------------------------------------

_MAP = struct.Struct("=6I16sIIQQ4IQQI4x")


class MapInfo(Info):
    """Every field of struct bpf_map_info, under its name."""

    __slots__ = (
        "type", "id", "key_size", "value_size", "max_entries", "map_flags", "name", "ifindex",
        "btf_vmlinux_value_type_id", "netns_dev", "netns_ino", "btf_id", "btf_key_type_id",
        "btf_value_type_id", "btf_vmlinux_id", "map_extra",
    )  # fmt: skip

    type: int
    id: int
    key_size: int
    value_size: int
    max_entries: int
    map_flags: int
    name: str
    ifindex: int
    btf_vmlinux_value_type_id: int
    netns_dev: int
    netns_ino: int
    btf_id: int
    btf_key_type_id: int
    btf_value_type_id: int
    btf_vmlinux_id: int
    map_extra: int

    def __init__(self, raw: bytes | bytearray) -> None:
        (
            self.type, self.id, self.key_size, self.value_size, self.max_entries, self.map_flags,
            name, self.ifindex, self.btf_vmlinux_value_type_id, self.netns_dev, self.netns_ino,
            self.btf_id, self.btf_key_type_id, self.btf_value_type_id, self.btf_vmlinux_id,
            self.map_extra, _, _,
        ) = _MAP.unpack_from(raw)  # fmt: skip
        self.name = text(name)


def map_info(fd: int) -> MapInfo:
    """Return what the kernel says of the map ``fd``."""
    buffer = Buffer(_MAP.size)
    obj_get_info_by_fd(fd, buffer)
    return MapInfo(buffer.raw)


def map_hash(fd: int) -> bytes:
    """Return the SHA-256 of a frozen map's contents, which a signed loader compares.

    Since Linux 6.18 (ea2e6467ac36 "bpf: Return hashes of maps in BPF_OBJ_GET_INFO_BY_FD"), for
    array maps.
    """
    digest, buffer = Buffer(32), Buffer(_MAP.size)
    struct.pack_into("=QI", buffer.raw, 88, digest.address, digest.size)
    obj_get_info_by_fd(fd, buffer)
    return bytes(digest)


# --- programs -----------------------------------------------------------------------------------

_PROG = struct.Struct("=II8sIIQQQIIQ16sIIQQIIQQIIQIIQQIIIIQQQQIII4x")


class FuncInfo(Info):
    """One record of a program's func_info: ``insn_off`` (in instructions) and BTF ``type_id``."""

    __slots__ = ("insn_off", "type_id")

    def __init__(self, insn_off: int, type_id: int) -> None:
        self.insn_off = insn_off
        self.type_id = type_id


class SourceLine(Info):
    """One record of a program's line_info: where instruction ``insn_off`` comes from.

    ``file_name_off`` and ``line_off`` are offsets into the strings of the program's BTF;
    ``line`` and ``column`` count from 1.
    """

    __slots__ = ("insn_off", "file_name_off", "line_off", "line", "column")

    def __init__(self, insn_off: int, file_name_off: int, line_off: int, line_col: int) -> None:
        self.insn_off = insn_off
        self.file_name_off = file_name_off
        self.line_off = line_off
        self.line = line_col >> 10
        self.column = line_col & 0x3FF


class ProgInfo(Info):
    """Every field of struct bpf_prog_info, under its name.

    The arrays are empty unless they were asked for. ``*_hidden`` say that there are instructions
    which this process may not see (net.core.bpf_jit_harden, kernel.kptr_restrict).
    """

    __slots__ = (
        "type", "id", "tag", "jited_prog_len", "xlated_prog_len", "load_time", "created_by_uid",
        "name", "ifindex", "gpl_compatible", "netns_dev", "netns_ino", "btf_id",
        "func_info_rec_size", "line_info_rec_size", "jited_line_info_rec_size", "nr_map_ids",
        "nr_jited_ksyms", "nr_jited_func_lens", "nr_func_info", "nr_line_info",
        "nr_jited_line_info", "nr_prog_tags", "run_time_ns", "run_cnt", "recursion_misses",
        "verified_insns", "attach_btf_obj_id", "attach_btf_id",
        "jited_prog_insns", "xlated_prog_insns", "map_ids", "jited_ksyms", "jited_func_lens",
        "func_info", "line_info", "jited_line_info", "prog_tags", "jited_hidden", "xlated_hidden",
    )  # fmt: skip

    type: int
    id: int
    tag: bytes
    jited_prog_len: int
    xlated_prog_len: int
    load_time: int
    created_by_uid: int
    name: str
    ifindex: int
    gpl_compatible: bool
    netns_dev: int
    netns_ino: int
    btf_id: int
    func_info_rec_size: int
    line_info_rec_size: int
    jited_line_info_rec_size: int
    nr_map_ids: int
    nr_jited_ksyms: int
    nr_jited_func_lens: int
    nr_func_info: int
    nr_line_info: int
    nr_jited_line_info: int
    nr_prog_tags: int
    run_time_ns: int
    run_cnt: int
    recursion_misses: int
    verified_insns: int
    attach_btf_obj_id: int
    attach_btf_id: int

    def __init__(self, raw: bytes | bytearray) -> None:
        (
            self.type, self.id, self.tag, self.jited_prog_len, self.xlated_prog_len, _, _,
            self.load_time, self.created_by_uid, self.nr_map_ids, _, name, self.ifindex, gpl,
            self.netns_dev, self.netns_ino, self.nr_jited_ksyms, self.nr_jited_func_lens, _, _,
            self.btf_id, self.func_info_rec_size, _, self.nr_func_info, self.nr_line_info, _, _,
            self.nr_jited_line_info, self.line_info_rec_size, self.jited_line_info_rec_size,
            self.nr_prog_tags, _, self.run_time_ns, self.run_cnt, self.recursion_misses,
            self.verified_insns, self.attach_btf_obj_id, self.attach_btf_id,
        ) = _PROG.unpack_from(raw)  # fmt: skip
        self.name = text(name)
        self.gpl_compatible = bool(gpl & 1)
        self.jited_prog_insns = b""
        self.xlated_prog_insns = b""
        self.map_ids: list[int] = []
        self.jited_ksyms: list[int] = []
        self.jited_func_lens: list[int] = []
        self.func_info: list[FuncInfo] = []
        self.line_info: list[SourceLine] = []
        self.jited_line_info: list[int] = []
        self.prog_tags: list[bytes] = []
        self.jited_hidden = False
        self.xlated_hidden = False


# Each array: offsets in the structure of its pointer and its count, the offset of its record
# size (0: fixed), and the size of a record in bytes.
_ARRAYS = {
    "jited_prog_insns": (24, 16, 0, 1),
    "xlated_prog_insns": (32, 20, 0, 1),
    "map_ids": (56, 52, 0, 4),
    "jited_ksyms": (112, 104, 0, 8),
    "jited_func_lens": (120, 108, 0, 4),
    "func_info": (136, 144, 132, 8),
    "line_info": (152, 148, 172, 16),
    "jited_line_info": (160, 168, 176, 8),
    "prog_tags": (184, 180, 0, 8),
}
PROG_ARRAYS = tuple(_ARRAYS)
"""The names that :func:`prog_info` takes: every array of struct bpf_prog_info."""

_U32 = struct.Struct("=I")
_U64 = struct.Struct("=Q")


def prog_info(fd: int, arrays: Iterable[str] = ()) -> ProgInfo:
    """Return what the kernel says of the program ``fd``, with the arrays named in ``arrays``."""
    buffer = Buffer(_PROG.size)
    obj_get_info_by_fd(fd, buffer)
    info = ProgInfo(buffer.raw)
    wanted = {name: _room(name, buffer.raw) for name in arrays}
    wanted = {name: room for name, room in wanted.items() if room.size}
    if not wanted:
        return info
    request = Buffer(_PROG.size)
    for name, room in wanted.items():
        pointer, count, record, _ = _ARRAYS[name]
        request.raw[count : count + 4] = buffer.raw[count : count + 4]
        if record:
            request.raw[record : record + 4] = buffer.raw[record : record + 4]
        _U64.pack_into(request.raw, pointer, room.address)
    obj_get_info_by_fd(fd, request)
    for name, room in wanted.items():
        _fill(info, name, room, request.raw)
    return info


def _room(name: str, raw: bytearray) -> Buffer:
    _, count, record, size = _ARRAYS[name]
    number = _U32.unpack_from(raw, count)[0]
    if record:
        size = _U32.unpack_from(raw, record)[0] or size
    return Buffer(number * size)


def _fill(info: ProgInfo, name: str, room: Buffer, answer: bytearray) -> None:
    pointer, count, record, size = _ARRAYS[name]
    if not _U64.unpack_from(answer, pointer)[0]:
        # The kernel takes the pointer away where dumping is not allowed to this process.
        if name in ("jited_prog_insns", "xlated_prog_insns"):
            setattr(info, name.split("_", 1)[0] + "_hidden", True)
        return
    if record:
        size = _U32.unpack_from(answer, record)[0] or size
    number = min(_U32.unpack_from(answer, count)[0], room.size // size)
    data = room.view[: number * size]
    setattr(info, name, _decoded(name, data, size))


def _decoded(name: str, data: memoryview, size: int) -> object:
    if name.endswith("_insns"):
        return bytes(data)
    if name == "prog_tags":
        return [bytes(data[at : at + 8]) for at in range(0, len(data), 8)]
    if name == "func_info":
        return [FuncInfo(*_FUNC.unpack_from(data, at)) for at in range(0, len(data), size)]
    if name == "line_info":
        return [SourceLine(*_LINE.unpack_from(data, at)) for at in range(0, len(data), size)]
    if name in ("map_ids", "jited_func_lens"):
        return list(data.cast("I"))
    return list(data.cast("Q"))


_FUNC = struct.Struct("=II")
_LINE = struct.Struct("=IIII")


# --- BTF and tokens -----------------------------------------------------------------------------

_BTF = struct.Struct("=QIIQII")


class BtfInfo(Info):
    """Every field of struct bpf_btf_info: ``btf_size``, ``id``, ``name``, ``kernel_btf``."""

    __slots__ = ("btf_size", "id", "name", "kernel_btf")

    def __init__(self, btf_size: int, id: int, name: str, kernel_btf: bool) -> None:
        self.btf_size = btf_size
        self.id = id
        self.name = name
        self.kernel_btf = kernel_btf


def btf_info(fd: int) -> BtfInfo:
    """Return what the kernel says of the BTF object ``fd`` (without its data)."""
    name, buffer = Buffer(128), Buffer(_BTF.size)
    _BTF.pack_into(buffer.raw, 0, 0, 0, 0, name.address, name.size, 0)
    obj_get_info_by_fd(fd, buffer)
    _, size, id, _, _, kernel = _BTF.unpack_from(buffer.raw)
    return BtfInfo(size, id, text(name.raw), bool(kernel))


def btf_data(fd: int) -> bytes:
    """Return the raw BTF of the object ``fd``."""
    size = btf_info(fd).btf_size
    data, buffer = Buffer(size), Buffer(_BTF.size)
    _BTF.pack_into(buffer.raw, 0, data.address, size, 0, 0, 0, 0)
    obj_get_info_by_fd(fd, buffer)
    return bytes(data)


_TOKEN = struct.Struct("=4Q")


class TokenInfo(Info):
    """Every field of struct bpf_token_info: what a token allows, as bit sets."""

    __slots__ = ("allowed_cmds", "allowed_maps", "allowed_progs", "allowed_attachs")

    def __init__(self, cmds: int, maps: int, progs: int, attachs: int) -> None:
        self.allowed_cmds = cmds
        self.allowed_maps = maps
        self.allowed_progs = progs
        self.allowed_attachs = attachs


def token_info(fd: int) -> TokenInfo:
    """Return what the token ``fd`` allows."""
    buffer = Buffer(_TOKEN.size)
    obj_get_info_by_fd(fd, buffer)
    return TokenInfo(*_TOKEN.unpack_from(buffer.raw))

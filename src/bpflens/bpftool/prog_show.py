"""``prog show|list [PROG]``: what programs there are, in bpftool's plain and JSON layouts.

Example::

    $ bpftool prog show id 756
    756: socket_filter  name sock_count  tag 3afb13fb508a97ae  gpl
        loaded_at 2026-11-22T15:30:53+0000  uid 0
        xlated 248B  jited 165B  memlock 4096B  map_ids 196,206,204
        btf_id 88
"""

from __future__ import annotations

import os
import time

from bpflens.bpftool import handle
from bpflens.bpftool.holders import holders, pids_json, pids_plain, pinned_paths
from bpflens.uapi.bpf import BPF_MAP_TYPE_ARRAY, PROG_TYPE_NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from bpflens.bpftool.holders import Holders
    from bpflens.bpftool.tool import Tool
    from bpflens.bpftool.words import Words
    from bpflens.btf import Btf
    from bpflens.kernel.info import ProgInfo
    from bpflens.objects.program import Program

__all__ = [
    "describe",
    "device_json",
    "device_plain",
    "fdinfo",
    "full_name",
    "header_json",
    "header_plain",
    "loaded_at",
    "memlock",
    "printer",
    "show",
    "type_name",
]

_PREFIX = "bpf_metadata_"


def show(tool: Tool, words: Words) -> int:
    """Show all programs, or those that PROG matches."""
    if tool.table or tool.sort or tool.filter:
        from bpflens.bpftool import show_table

        return show_table.programs(tool, words)
    printer = _Printer(tool)
    if words:
        found = handle.programs(words)
        words.end()
        several = tool.json is not None and len(found) > 1
        if several and tool.json is not None:
            tool.json.start("[")
        for program in found:
            with program:
                printer.show(program)
        if several and tool.json is not None:
            tool.json.end()
        return 0
    from bpflens.objects.program import Program

    if tool.json is not None:
        tool.json.start("[")
    for program in handle.opened("prog", Program.from_id):
        with program:
            printer.show(program)
    if tool.json is not None:
        tool.json.end()
    return 0


def type_name(type: int) -> str | None:
    """Return the name of a program type, ``None`` for one that is not known here."""
    return PROG_TYPE_NAMES[type] if type < len(PROG_TYPE_NAMES) else None


def full_name(program: Program) -> str:
    """Return the program's name, uncut where BTF knows it."""
    name = program.info.name
    return program.full_name if len(name) == 15 and program.info.btf_id else name


def memlock(fd: int) -> int:
    """Return how much memory the kernel charges for an object."""
    return fdinfo(fd, b"memlock:") or 0


def fdinfo(fd: int, field: bytes) -> int | None:
    """Return a number from the descriptor's fdinfo, ``None`` if it is not there."""
    info = os.open(f"/proc/self/fdinfo/{fd}", os.O_RDONLY)
    try:
        text = os.read(info, 4096)
    finally:
        os.close(info)
    at = text.find(b"\n" + field)
    return int(text[at + 1 + len(field) :].split(None, 1)[0]) if at >= 0 else None


def device_plain(ifindex: int, dev: int, inode: int) -> str:
    """Return what plain output says of the device that something is offloaded to."""
    if not ifindex:
        return ""
    name = _device(inode, ifindex)
    return f"  offloaded_to {name or f'ifindex {ifindex} ns_dev {dev} ns_ino {inode}'}"


def device_json(ifindex: int, dev: int, inode: int) -> dict[str, object] | None:
    """Return the member "dev" of JSON output, ``None`` for what is not offloaded."""
    if not ifindex:
        return None
    found: dict[str, object] = {"ifindex": ifindex, "ns_dev": dev, "ns_inode": inode}
    name = _device(inode, ifindex)
    if name:
        found["ifname"] = name
    return found


def _device(inode: int, ifindex: int) -> str:
    from bpflens.bpftool import device

    return device.name(ifindex) if os.stat("/proc/self/ns/net").st_ino == inode else ""


def header_plain(program: Program) -> str:
    """Return the first line of a program's description."""
    info = program.info
    kind = type_name(info.type)
    parts = [f"{info.id}: {kind or f'type {info.type}'}  "]
    if info.name:
        parts.append(f"name {full_name(program)}  ")
    parts.append(f"tag {info.tag.hex()}")
    parts.append(device_plain(info.ifindex, info.netns_dev, info.netns_ino))
    if info.gpl_compatible:
        parts.append("  gpl")
    if info.run_time_ns:
        parts.append(f" run_time_ns {info.run_time_ns} run_cnt {info.run_cnt}")
    if info.recursion_misses:
        parts.append(f" recursion_misses {info.recursion_misses}")
    return "".join(parts) + "\n"


def header_json(program: Program) -> dict[str, object]:
    """Return the first members of a program's description."""
    info = program.info
    found: dict[str, object] = {"id": info.id, "type": type_name(info.type) or info.type}
    if info.name:
        found["name"] = full_name(program)
    found["tag"] = info.tag.hex()
    found["gpl_compatible"] = info.gpl_compatible
    if info.run_time_ns:
        found["run_time_ns"] = info.run_time_ns
        found["run_cnt"] = info.run_cnt
    if info.recursion_misses:
        found["recursion_misses"] = info.recursion_misses
    return found


def describe(program: Program) -> dict[str, object]:
    """Return everything that JSON output says of a program, but holders, pins and metadata."""
    info = program.info
    found = header_json(program)
    device = device_json(info.ifindex, info.netns_dev, info.netns_ino)
    if device:
        found["dev"] = device
    if info.load_time:
        found["loaded_at"] = loaded_at(info)
        found["uid"] = info.created_by_uid
    found["orphaned"] = False
    found["bytes_xlated"] = info.xlated_prog_len
    found["jited"] = bool(info.jited_prog_len)
    if info.jited_prog_len:
        found["bytes_jited"] = info.jited_prog_len
    found["bytes_memlock"] = memlock(program.fd)
    if info.map_ids:
        found["map_ids"] = info.map_ids
    if info.btf_id:
        found["btf_id"] = info.btf_id
    return found


_boot: list[int] = []


def loaded_at(info: ProgInfo) -> int:
    """Return when a program was loaded, in seconds since 1970."""
    if not _boot:
        _boot.append(time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME))
    return (_boot[0] + info.load_time) // 1_000_000_000


def printer(tool: Tool) -> Callable[[Program], None]:
    """Return what prints one program after the other in the usual layout."""
    return _Printer(tool).show


class _Printer:
    __slots__ = ("_holders", "_metadata", "_pinned", "_tool")

    def __init__(self, tool: Tool) -> None:
        self._tool = tool
        self._holders: Holders = holders("prog")
        self._pinned = pinned_paths("prog") if tool.bpffs else {}
        self._metadata = _Metadata()

    def show(self, program: Program) -> None:
        if self._tool.json is not None:
            self._json(program)
        else:
            self._tool.out(self._plain(program))

    def _json(self, program: Program) -> None:
        json = self._tool.json
        assert json is not None
        json.start("{")
        for name, value in describe(program).items():
            json.member(name, value)
        if self._pinned:
            json.member("pinned", self._pinned.get(program.id, []))
        pids_json(json, self._holders.get(program.id))
        found = self._metadata.of(program)
        if found:
            json.name("metadata")
            json.start("{")
            for name, text in self._metadata.texts(found, json.depth, False, json.pretty):
                json.name(name)
                json.raw(text)
            json.end()
        json.end()

    def _plain(self, program: Program) -> str:
        info = program.info
        parts = [header_plain(program)]
        if info.load_time:
            when = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(loaded_at(info)))
            parts.append(f"\tloaded_at {when}  uid {info.created_by_uid}\n")
        jited = f"jited {info.jited_prog_len}B" if info.jited_prog_len else "not jited"
        parts.append(f"\txlated {info.xlated_prog_len}B  {jited}  memlock {memlock(program.fd)}B")
        if info.map_ids:
            parts.append("  map_ids " + ",".join(map(str, info.map_ids)))
        parts.extend(f"\n\tpinned {path}" for path in self._pinned.get(info.id, ()))
        if info.btf_id:
            parts.append(f"\n\tbtf_id {info.btf_id}")
        parts.append(pids_plain(self._holders.get(info.id)))
        parts.append("\n")
        found = self._metadata.of(program)
        if found:
            parts.append("\tmetadata:")
            for name, text in self._metadata.texts(found, 0, True, False):
                parts.append(f"\n\t\t{name} = {text}")
            parts.append("\n")
        return "".join(parts)


class _Metadata:
    # Variables called bpf_metadata_* in a program's .rodata. Programs share maps and BTF, so both
    # are remembered by id.
    __slots__ = ("_sections",)

    def __init__(self) -> None:
        self._sections: dict[int, _Section | None] = {}

    def of(self, program: Program) -> _Section | None:
        for id in program.info.map_ids:
            if id not in self._sections:
                self._sections[id] = _section(id)
            found = self._sections[id]
            if found is not None:
                return found if found.variables else None
        return None

    def texts(
        self, found: _Section, depth: int, plain: bool, pretty: bool
    ) -> list[tuple[str, str]]:
        from bpflens.bpftool.btf_format import value_text

        return [
            (
                name,
                value_text(
                    found.btf, type_id, found.data[offset:], plain=plain, pretty=pretty, depth=depth
                ),
            )
            for name, type_id, offset in found.variables
        ]


class _Section:
    # The .rodata of a program: its BTF, its bytes, its (name, type, offset) of metadata.
    __slots__ = ("btf", "data", "variables")

    def __init__(self, btf: Btf, data: bytes, variables: list[tuple[str, int, int]]) -> None:
        self.btf = btf
        self.data = data
        self.variables = variables


def _section(map_id: int) -> _Section | None:
    from bpflens.errors import SyscallError
    from bpflens.objects.map import Map

    try:
        with Map.from_id(map_id) as found:
            info = found.info
            if (
                info.type != BPF_MAP_TYPE_ARRAY
                or info.key_size != 4
                or info.max_entries != 1
                or not info.btf_value_type_id
                or ".rodata" not in info.name
            ):
                return None
            return _variables(found)
    except SyscallError:
        return None  # it may not be read, or has gone


def _variables(found) -> _Section | None:  # type: ignore[no-untyped-def]
    from bpflens.btf.types import Datasec

    btf = found.btf()
    section = btf.type(found.info.btf_value_type_id) if btf is not None else None
    if not isinstance(section, Datasec):
        return None
    variables = []
    for var in section.vars:
        one = btf.type(var.type_id)
        if one.name.startswith(_PREFIX):
            variables.append((one.name[len(_PREFIX) :], one.type_id, var.offset))
    data = found.lookup_raw(bytes(4)) if variables else b""
    return _Section(btf, data or b"", variables if data else [])

"""``struct_ops show|dump|register|unregister``: tables of functions given to the kernel.

Example::

    $ bpftool struct_ops register cubic.bpf.o
    Registered tcp_congestion_ops bpf_cubic id 1032
"""

from __future__ import annotations

import os

from bpflens.bpftool import handle, object_load, pinning
from bpflens.bpftool.btf_format import Formatter
from bpflens.bpftool.out import Json, quoted
from bpflens.bpftool.prototype import prototype
from bpflens.bpftool.template import VALUE, Template
from bpflens.bpftool.tool import Failure, errno_status
from bpflens.bpftool.words import Usage, c_number
from bpflens.errors import AttachError, SyscallError
from bpflens.uapi.bpf import BPF_MAP_TYPE_STRUCT_OPS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bpflens.bpftool.tool import Tool
    from bpflens.bpftool.words import Words
    from bpflens.btf import Btf
    from bpflens.objects.map import Map

__all__ = ["dump", "register", "show", "unregister"]

_PREFIX = "bpf_struct_ops_"


def _types() -> Btf:
    from bpflens.objects.btf import vmlinux

    return vmlinux()


def _kernel_name(map: Map) -> str:
    # The value is a struct bpf_struct_ops_NAME of the kernel.
    types, id = _types(), map.info.btf_vmlinux_value_type_id
    return types.name(id).removeprefix(_PREFIX) if id < types.nr_types else ""


def _chosen(words: Words, must: bool) -> Iterator[Map]:
    # The struct_ops maps that "id N", "name NAME" or nothing means; the caller closes them.
    from bpflens.objects.map import Map

    if not words and must:
        raise Usage
    how = words.take_keyword("id", "name") if words else ""
    if how is None or (how and len(words) != 1):
        raise Usage
    if how == "id":
        yield _by_id(words.take())
        return
    name = words.take() if how else ""
    found = False
    for map in handle.opened("map", Map.from_id):
        if map.info.type == BPF_MAP_TYPE_STRUCT_OPS and name in ("", map.info.name):
            found = True
            yield map
        else:
            map.close()
    if name and not found:
        raise Failure(f"no struct_ops found for {name}")


def _by_id(word: str) -> Map:
    from bpflens.objects.map import Map

    id = c_number(word)
    if not id or id >> 32:
        raise Failure(f"invalid id {word}")
    try:
        map = Map.from_id(id)
    except SyscallError as error:
        raise handle.tell(f"can't get map by id ({id})", error) from None
    if map.info.type != BPF_MAP_TYPE_STRUCT_OPS:
        name = map.info.name
        map.close()
        raise Failure(f"{name} id {id} is not a struct_ops map")
    return map


def show(tool: Tool, words: Words) -> int:
    """List the struct_ops maps."""
    json = tool.json
    if json is not None:
        json.start("[")
    for map in _chosen(words, False):
        with map:
            name = _kernel_name(map)
            if json is not None:
                one = {"id": map.id, "name": map.info.name, "kernel_struct_ops": name}
                json.value(one)
            else:
                tool.out(f"{map.id}: {map.info.name:<15} {name:<32}\n")
    if json is not None:
        json.end()
    return 0


def dump(tool: Tool, words: Words) -> int:
    """Print the tables, with the programs in them by name."""
    plain = tool.json is None
    json = tool.json or Json(tool.out, True)
    json.start("[")
    for map in _chosen(words, False):
        with map:
            _dump_one(json, map, plain)
    json.end()
    if plain:
        tool.out("\n")
    return 0


def _dump_one(json: Json, map: Map, plain: bool) -> None:
    from bpflens.kernel.memory import Buffer
    from bpflens.kernel.object_command import obj_get_info_by_fd
    from bpflens.uapi.btf import BTF_KIND_STRUCT

    types = _types()
    info_type = types.find("bpf_map_info", BTF_KIND_STRUCT)
    if info_type is None:
        raise Failure("can't find bpf_map_info from btf_vmlinux")
    info = Buffer(max(types.size_of(info_type), 88))
    obj_get_info_by_fd(map.fd, info)
    value = map.lookup_raw(bytes(4))
    if value is None:
        raise Failure(f"can't lookup struct_ops map {map.info.name} id {map.id}")
    name = _PREFIX + _kernel_name(map)
    for member, type_id, data in (
        ("bpf_map_info", info_type, bytes(info)),
        (name, map.info.btf_vmlinux_value_type_id, value),
    ):
        json.start("{")
        json.name(member)
        template = Template(0, len(data))
        writer = Json(template.text, json.pretty, json.depth)
        formatter = Formatter(template, writer, types, plain, _functions(types))
        formatter.add(type_id, VALUE, 0)
        json.raw("".join(template.rows(b"", data, 1)))
        json.end()


def _functions(types: Btf) -> Callable[[int], Callable[[int], str] | None]:
    # In a registered table the pointers to functions hold ids of programs.
    from bpflens.btf.types import FuncProto

    def named(type_id: int) -> Callable[[int], str] | None:
        found = types.resolve(type_id) if type_id else None
        if not isinstance(found, FuncProto):
            return None
        text = prototype(types, found.id)
        return lambda id: quoted(f"{text} {_program(id)}")

    return named


def _program(id: int) -> str:
    from bpflens.objects.program import Program

    if not id:
        return "0"
    try:
        with Program.from_id(id) as program:
            return f"{program.full_name}/prog_id:{id}"
    except (SyscallError, OverflowError):
        return f"<unknown_prog_name>/prog_id:{id}"


def register(tool: Tool, words: Words) -> int:
    """Load an object and register its tables; pin their links in LINK_DIR where given."""
    from bpflens.attach.struct_ops import StructOps

    if not 1 <= len(words) <= 2:
        raise Usage
    file = words.take()
    directory = words.take() if words else ""
    spec = object_load.read(file)
    if directory:
        pinning.ready_directory(tool, directory)
    count = 0
    with object_load.load(tool, spec) as loaded:
        for name, table in loaded.tables.items():
            map = loaded.maps[name]
            try:
                made = StructOps(name, map, table).attach()
            except AttachError as error:
                raise Failure(f"can't register struct_ops {name}: {error}") from None
            count += 1
            if made.link_fd and directory:
                pinning.pin(tool, made.link_fd, f"{directory.rstrip('/')}/{name}")
            # What was stored stays registered when this process ends; a link does not, unless
            # it is pinned.
            tool.note(f"Registered {_kernel_name(map)} {name} id {map.id}")
            if made.link_fd and not directory:
                tool.note(f"The table {name} goes when this command ends; give LINK_DIR to keep it")
            for fd in made.fds:
                os.close(fd)
            made.fds.clear()
    if not count:
        raise Failure(f"no struct_ops map in {file}")
    return tool.done()


def unregister(tool: Tool, words: Words) -> int:
    """Take tables out of the kernel."""
    from bpflens.kernel.map_command import map_delete_elem

    for map in _chosen(words, True):
        with map:
            name = f"{_kernel_name(map)} {map.info.name} id {map.id}"
            try:
                map_delete_elem(map.fd, bytes(4))
            except SyscallError as error:
                raise handle.tell(f"can't unload {name}", error, errno_status(error)) from None
            tool.note(f"Unregistered {name}")
    return tool.done()

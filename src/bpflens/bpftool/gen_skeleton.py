"""``gen skeleton FILE [name NAME]`` and ``gen subskeleton``: C headers that embed an object.

The header is for programs that use libbpf: its structures name the maps, programs, links and global
variables of the object file, its functions open, load, attach and destroy it. With ``--python`` the
skeleton is a Python module (:mod:`bpflens.bpftool.gen_python`).

Example::

    bpftool gen skeleton tiny.bpf.o > tiny.skel.h
"""

from __future__ import annotations

import os

from bpflens.bpftool.skeleton_text import (
    ASSERTS_END,
    ASSERTS_START,
    CREATE,
    ELF_END,
    ELF_START,
    FUNCTIONS,
    HEAD,
    OPENED,
    STRUCT_OPS_INIT,
)
from bpflens.bpftool.skeleton_view import MapView, View, object_name, sanitized
from bpflens.bpftool.tool import Failure, strerror
from bpflens.bpftool.words import Usage
from bpflens.btf.types import Enum, Enum64, Float, Int, Ptr, Struct
from bpflens.btf.types import FuncProto as _FuncProto

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from bpflens.bpftool.tool import Tool
    from bpflens.bpftool.words import Words

__all__ = ["declared_maps", "hexadecimal", "maps_table", "programs_table", "shadow_types",
           "skeleton", "subskeleton", "take_file"]  # fmt: skip

# sizeof(struct bpf_map_skeleton), and what it was before it had the member "link".
_MAP_SIZE, _OLD_MAP_SIZE = 32, 24


def skeleton(tool: Tool, words: Words) -> int:
    """``gen skeleton FILE [name NAME]``."""
    path, name = take_file(words)
    if tool.use_loader:
        raise Failure(
            "light skeletons (-L) embed a program that loads the object, which this tool does "
            "not write; leave out -L for a skeleton that uses libbpf, or use --python for one "
            "that needs neither"
        )
    view = View(path, name)
    if tool.python:
        from bpflens.bpftool import gen_python

        return _answer(tool, gen_python.module(view))
    return _answer(tool, "".join(_skeleton(view)))


def subskeleton(tool: Tool, words: Words) -> int:
    """``gen subskeleton FILE [name NAME]``."""
    path, name = take_file(words)
    if tool.use_loader:
        raise Failure("cannot use loader for subskeletons")
    view = View(path, name)
    if view.btf is None:
        raise Failure(f"need btf type information for {name}")
    from bpflens.bpftool import gen_subskeleton

    return _answer(tool, gen_subskeleton.text(view))


def _answer(tool: Tool, text: str) -> int:
    # Under -j the text is a string, so that what comes out is JSON.
    if tool.json is not None:
        tool.json.value(text)
    else:
        tool.out(text)
    return 0


def take_file(words: Words) -> tuple[str, str]:
    """Take ``FILE [name NAME]``; return the path and the object's name."""
    if not words:
        raise Usage
    path = words.take("file")
    name = ""
    while words:
        words.need(2)
        word = words.peek()
        if not words.take_if("name"):
            raise Failure(f"unknown arg {word}")
        if name:
            raise Failure("object name already specified")
        name = words.take("object name")[:63]
    try:
        os.stat(path)
    except OSError as error:
        raise Failure(f"failed to stat() {path}: {strerror(error)}") from None
    return path, name or object_name(path)


# --- the header ---------------------------------------------------------------------------------


def _skeleton(view: View) -> Iterator[str]:
    guard = f"__{view.name}_SKEL_H__".upper()

    def filled(template: str) -> str:
        return template.replace("@", view.name)

    yield HEAD.replace("#GUARD#", guard).replace("@", view.name)
    yield declared_maps(view, "struct bpf_map *")
    yield shadow_types(view)
    ops = [map for map in view.maps if map.is_struct_ops]
    if view.programs:
        members = "".join(f"\t\tstruct bpf_program *{one.name};\n" for one in view.programs)
        yield f"\tstruct {{\n{members}\t}} progs;\n"
    if view.programs or ops:
        names = [one.name for one in view.programs] + [map.ident for map in ops]
        members = "".join(f"\t\tstruct bpf_link *{name};\n" for name in names)
        yield f"\tstruct {{\n{members}\t}} links;\n"
    yield from _sections(view)
    yield filled(FUNCTIONS)
    yield from (STRUCT_OPS_INIT.replace("@", map.ident) for map in ops)
    yield filled(OPENED)
    yield filled(CREATE)
    yield maps_table(view, in_memory=True)
    yield programs_table(view, links=True)
    yield filled(ELF_START)
    yield hexadecimal(view.data)
    yield filled(ELF_END)
    if view.btf is not None:
        yield filled(ASSERTS_START)
        yield "".join(_asserts(view))
        yield ASSERTS_END
    yield f"\n#endif /* {guard} */\n"


def declared_maps(view: View, kind: str) -> str:
    """Return the member "maps" of a skeleton's structure."""
    if not view.maps:
        return ""
    members = "".join(f"\t\t{kind}{map.ident};\n" for map in view.maps)
    return f"\tstruct {{\n{members}\t}} maps;\n"


def _sections(view: View) -> Iterator[str]:
    if view.btf is None:
        return
    printers = {strip: view.declarer(strip) for strip in (True, False)}
    for map in view.maps:
        if map.variables is None:
            continue
        printer = printers[map.key != ".kconfig"]
        yield f"\tstruct {view.name}__{map.memory_ident} {{\n"
        end = pads = 0
        for variable in map.variables:
            # The header may be compiled for 32 bits: no more than that is left to alignment.
            align = min(_align(view, variable.type_id), 4)
            if -(-end // align) * align != variable.offset:
                yield f"\t\tchar __pad{pads}[{variable.offset - end}];\n"
                pads += 1
            yield f"\t\t{printer.declare(variable.type_id, sanitized(variable.name), 2)};\n"
            end = variable.offset + variable.size
        yield f"\t}} *{map.memory_ident};\n"


def _align(view: View, type_id: int) -> int:
    from bpflens.btf.clayout import Layout
    from bpflens.btf.flat import Flat

    assert view.btf is not None
    return Layout(Flat(view.btf, bulk=False)).align(type_id) or 1


def _asserts(view: View) -> Iterator[str]:
    for map in view.maps:
        for variable in map.variables or ():
            name = sanitized(variable.name)
            assert view.btf is not None
            size = view.btf.size_of(variable.type_id)
            yield (
                f"\t_Static_assert(sizeof(s->{map.memory_ident}->{name}) == {size}, "
                f"\"unexpected size of '{name}'\");\n"
            )


def shadow_types(view: View) -> str:
    """Return the member "struct_ops": what may be set of the structures before they are loaded."""
    ops = [map for map in view.maps if map.is_struct_ops]
    if view.btf is None or not ops:
        return ""
    return "\tstruct {\n" + "".join(_shadow(view, map) for map in ops) + "\t} struct_ops;\n"


def _shadow(view: View, map: MapView) -> str:
    btf = view.btf
    assert btf is not None
    found = btf.type(map.spec.value_type_id)
    assert isinstance(found, Struct)
    printer = view.declarer(strip=False)
    parts = [f"\t\tstruct {view.name}__{map.ident}__{found.name} {{\n"]
    end = 0
    for number, member in enumerate(found.members):
        offset = member.bit_offset // 8
        if end < offset:
            parts.append(f"\t\t\tchar __padding_{number}[{offset - end}];\n")
        kind = btf.resolve(member.type_id)
        size = btf.size_of(kind.id)
        if isinstance(kind, Int | Float | Enum | Enum64):
            parts.append(f"\t\t\t{printer.declare(kind.id, member.name, 3)};\n")
        elif isinstance(kind, Ptr) and isinstance(btf.resolve(kind.type_id), _FuncProto):
            parts.append(f"\t\t\tstruct bpf_program *{member.name};\n")
        else:
            parts.append(f"\t\t\tchar __unsupported_{number}[{size}];\n")
        end = offset + size
    if end < found.size:
        parts.append(f"\t\t\tchar __padding_end[{found.size - end}];\n")
    return "".join(parts) + f"\t\t}} *{map.ident};\n"


# --- tables -------------------------------------------------------------------------------------


def maps_table(view: View, *, in_memory: bool) -> str:
    """Return the statements that tell libbpf of the maps.

    ``in_memory``: of a skeleton, with the places of variables and links; else of a subskeleton.
    """
    if not view.maps:
        return ""
    size = _OLD_MAP_SIZE
    if in_memory and any(map.is_struct_ops for map in view.maps):
        size = _MAP_SIZE
    parts = [
        f"\n\t/* maps */\n\ts->map_cnt = {len(view.maps)};\n\ts->map_skel_sz = {size};\n"
        "\ts->maps = (struct bpf_map_skeleton *)calloc(s->map_cnt,\n"
        f"\t\t\tsizeof(*s->maps) > {size} ? sizeof(*s->maps) : {size});\n"
        "\tif (!s->maps) {\n\t\terr = -ENOMEM;\n\t\tgoto err;\n\t}\n"
    ]
    for number, map in enumerate(view.maps):
        name = map.name if in_memory or not map.internal else map.name[map.name.index(".") :]
        parts.append(
            f"\n\tmap = (struct bpf_map_skeleton *)((char *)s->maps + {number} * s->map_skel_sz);\n"
            f'\tmap->name = "{name}";\n\tmap->map = &obj->maps.{map.ident};\n'
        )
        if in_memory and map.variables is not None:
            parts.append(f"\tmap->mmaped = (void **)&obj->{map.memory_ident};\n")
        if in_memory and map.is_struct_ops:
            parts.append(f"\tmap->link = &obj->links.{map.ident};\n")
    return "".join(parts)


def programs_table(view: View, *, links: bool) -> str:
    """Return the statements that tell libbpf of the programs."""
    if not view.programs:
        return ""
    parts = [
        f"\n\t/* programs */\n\ts->prog_cnt = {len(view.programs)};\n"
        "\ts->prog_skel_sz = sizeof(*s->progs);\n"
        "\ts->progs = (struct bpf_prog_skeleton *)calloc(s->prog_cnt, s->prog_skel_sz);\n"
        "\tif (!s->progs) {\n\t\terr = -ENOMEM;\n\t\tgoto err;\n\t}\n"
    ]
    for number, program in enumerate(view.programs):
        name = program.name
        parts.append(f'\n\ts->progs[{number}].name = "{name}";\n')
        parts.append(f"\ts->progs[{number}].prog = &obj->progs.{name};\n")
        if links:
            parts.append(f"\ts->progs[{number}].link = &obj->links.{name};\n")
    return "".join(parts)


def hexadecimal(data: bytes) -> str:
    """Return bytes as the inside of a string of C, in lines of 78 characters."""
    words = ["\\0", *(f"\\x{byte:02x}" for byte in range(1, 256))]
    parts = []
    size = 0
    for byte in data:
        width = 4 if byte else 2
        size += width
        if size > 78:
            parts.append("\\\n")
            size = width
        parts.append(words[byte])
    return "".join(parts)

"""The C header of a subskeleton: a part of an object that something else has opened.

It owns nothing; it finds the maps, programs and variables that it names in an object that is open
already, at run time.

Example::

    text(View("library.bpf.o", "library_bpf"))      # '/* SPDX-License-Identifier: ...'
"""

from __future__ import annotations

from bpflens.bpftool.gen_skeleton import declared_maps, maps_table, programs_table, shadow_types
from bpflens.bpftool.skeleton_text import (
    STRUCT_OPS_INIT,
    SUBSKELETON_END,
    SUBSKELETON_HEAD,
    SUBSKELETON_OPEN,
)
from bpflens.btf.types import Array, FuncProto, Ptr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from bpflens.bpftool.skeleton_view import View

__all__ = ["text"]


def text(view: View) -> str:
    """Return the header for an object with BTF."""
    guard = f"__{view.name}_SUBSKEL_H__".upper()

    def filled(template: str) -> str:
        return template.replace("#GUARD#", guard).replace("@", view.name)

    found = [(map, one) for map in view.maps for one in map.variables or ()]
    parts = [filled(SUBSKELETON_HEAD), declared_maps(view, "struct bpf_map *"), shadow_types(view)]
    if view.programs:
        members = "".join(f"\t\tstruct bpf_program *{one.name};\n" for one in view.programs)
        parts.append(f"\tstruct {{\n{members}\t}} progs;\n")
    parts.extend(_sections(view))
    parts.append(filled(SUBSKELETON_OPEN).replace("#COUNT#", str(len(found))))
    for number, (map, one) in enumerate(found):
        ident = map.memory_ident
        parts.append(
            f'\n\ts->vars[{number}].name = "{one.name}";\n'
            f"\ts->vars[{number}].map = &obj->maps.{map.ident};\n"
            f"\ts->vars[{number}].addr = (void **) &obj->{ident}.{one.name};\n"
        )
    parts.append(maps_table(view, in_memory=False))
    parts.append(programs_table(view, links=False))
    parts.append("\n\terr = bpf_object__open_subskeleton(s);\n\tif (err)\n\t\tgoto err;\n\n")
    parts.extend(STRUCT_OPS_INIT.replace("@", map.ident) for map in view.maps if map.is_struct_ops)
    parts.append(filled(SUBSKELETON_END))
    return "".join(parts)


def _sections(view: View) -> Iterator[str]:
    printers = {strip: view.declarer(strip) for strip in (True, False)}
    for map in view.maps:
        if map.variables is None:
            continue
        printer = printers[map.key != ".kconfig"]
        yield f"\tstruct {view.name}__{map.memory_ident} {{\n"
        for one in map.variables:
            declared = printer.declare(one.type_id, "", 2)
            # Of an array or function pointer C has no simple pointer type.
            if _needs_typeof(view, one.type_id):
                declared = f"__typeof__({declared})"
            yield f"\t\t{declared} *{one.name};\n"
        yield f"\t}} {map.memory_ident};\n"


def _needs_typeof(view: View, type_id: int) -> bool:
    btf = view.btf
    assert btf is not None
    found = btf.resolve(type_id)
    return isinstance(found, Array) or (
        isinstance(found, Ptr) and isinstance(btf.type(found.type_id), FuncProto)
    )

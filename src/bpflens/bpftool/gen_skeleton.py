"""``gen skeleton FILE`` and ``gen subskeleton FILE``: a header through which C uses an object.

The same structures and functions as the real tool's, for libbpf 1.x. ``--python`` writes a typed
Python module instead (:mod:`bpflens.bpftool.gen_python`).

Example::

    $ bpftool gen skeleton filter.bpf.o > filter.skel.h
"""

from __future__ import annotations

from bpflens.bpftool.skeleton_data import Shape
from bpflens.bpftool.tool import Failure
from bpflens.bpftool.words import Usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from bpflens.bpftool.skeleton_data import MapShape
    from bpflens.bpftool.tool import Tool
    from bpflens.bpftool.words import Words

    Out = Callable[[str], object]

__all__ = ["skeleton", "subskeleton"]

_MAP_SIZE, _MAP_SIZE_WITH_LINK = 24, 32  # of struct bpf_map_skeleton
_LICENSE = "/* SPDX-License-Identifier: (LGPL-2.1 OR BSD-2-Clause) */\n\n"
_INCLUDES = "#include <errno.h>\n#include <stdlib.h>\n#include <bpf/libbpf.h>\n\n"


def skeleton(tool: Tool, words: Words) -> int:
    """Write a skeleton."""
    shape = _shape(tool, words)
    if tool.python:
        from bpflens.bpftool.gen_python import write

        tool.out(write(shape))
        return 0
    if tool.use_loader:
        raise Failure(
            "light skeletons (-L) are not written by this version: they hold a loader program; "
            "leave -L out for a full skeleton"
        )
    _skeleton(tool.out, shape)
    return 0


def subskeleton(tool: Tool, words: Words) -> int:
    """Write a subskeleton: for a library that is linked into a larger object."""
    _subskeleton(tool.out, _shape(tool, words))
    return 0


def _shape(tool: Tool, words: Words) -> Shape:
    if not words:
        raise Usage
    path = words.take()
    name = ""
    while words:
        if not words.take_if("name"):
            raise Failure(f"unknown arg {words.peek()}")
        if name:
            raise Failure("object name already specified")
        name = words.take("object name")
    return Shape(path, name)


# --- the structure ------------------------------------------------------------------------------


def _members(out: Out, shape: Shape, links: bool) -> None:
    if shape.maps:
        out("\tstruct {\n")
        for one in shape.maps:
            out(f"\t\tstruct bpf_map *{one.identifier};\n")
        out("\t} maps;\n")
    tables = [one for one in shape.maps if one.is_table]
    if links and tables:
        out("\tstruct {\n")
        for one in tables:
            kernel = one.spec.struct_ops
            out(f"\t\tstruct {shape.name}__{kernel}__{one.identifier} *{one.identifier};\n")
        out("\t} struct_ops;\n")
    if shape.programs:
        out("\tstruct {\n")
        for name in shape.programs:
            out(f"\t\tstruct bpf_program *{name};\n")
        out("\t} progs;\n")
    if links and (shape.programs or tables):
        out("\tstruct {\n")
        for name in [*shape.programs, *(one.identifier for one in tables)]:
            out(f"\t\tstruct bpf_link *{name};\n")
        out("\t} links;\n")


def _section(out: Out, shape: Shape, one: MapShape) -> None:
    # A data section as a struct with the layout that BTF tells, padded where it must be.
    out(f"\tstruct {shape.name}__{one.identifier} {{\n")
    at = pads = 0
    keep = one.section == ".kconfig"
    for variable in one.variables:
        align = shape.alignment(variable.type_id)
        if -(-at // align) * align != variable.offset:
            out(f"\t\tchar __pad{pads}[{variable.offset - at}];\n")
            pads += 1
        out(f"\t\t{shape.declaration(variable, variable.identifier, keep)};\n")
        at = variable.offset + variable.size
    out(f"\t}} *{one.identifier};\n")


_METHODS = """\

#ifdef __cplusplus
\tstatic inline struct {0} *open(const struct bpf_object_open_opts *opts = nullptr);
\tstatic inline struct {0} *open_and_load();
\tstatic inline int load(struct {0} *skel);
\tstatic inline int attach(struct {0} *skel);
\tstatic inline void detach(struct {0} *skel);
\tstatic inline void destroy(struct {0} *skel);
\tstatic inline const void *elf_bytes(size_t *sz);
#endif /* __cplusplus */
}};

static void
{0}__destroy(struct {0} *obj)
{{
\tif (!obj)
\t\treturn;
\tif (obj->skeleton)
\t\tbpf_object__destroy_skeleton(obj->skeleton);
\tfree(obj);
}}

static inline int
{0}__create_skeleton(struct {0} *obj);

static inline struct {0} *
{0}__open_opts(const struct bpf_object_open_opts *opts)
{{
\tstruct {0} *obj;
\tint err;

\tobj = (struct {0} *)calloc(1, sizeof(*obj));
\tif (!obj) {{
\t\terrno = ENOMEM;
\t\treturn NULL;
\t}}

\terr = {0}__create_skeleton(obj);
\tif (err)
\t\tgoto err_out;

\terr = bpf_object__open_skeleton(obj->skeleton, opts);
\tif (err)
\t\tgoto err_out;

{1}\treturn obj;
err_out:
\t{0}__destroy(obj);
\terrno = -err;
\treturn NULL;
}}

static inline struct {0} *
{0}__open(void)
{{
\treturn {0}__open_opts(NULL);
}}

static inline int
{0}__load(struct {0} *obj)
{{
\treturn bpf_object__load_skeleton(obj->skeleton);
}}

static inline struct {0} *
{0}__open_and_load(void)
{{
\tstruct {0} *obj;
\tint err;

\tobj = {0}__open();
\tif (!obj)
\t\treturn NULL;
\terr = {0}__load(obj);
\tif (err) {{
\t\t{0}__destroy(obj);
\t\terrno = -err;
\t\treturn NULL;
\t}}
\treturn obj;
}}

static inline int
{0}__attach(struct {0} *obj)
{{
\treturn bpf_object__attach_skeleton(obj->skeleton);
}}

static inline void
{0}__detach(struct {0} *obj)
{{
\tbpf_object__detach_skeleton(obj->skeleton);
}}

static inline const void *{0}__elf_bytes(size_t *sz);

static inline int
{0}__create_skeleton(struct {0} *obj)
{{
\tstruct bpf_object_skeleton *s;
\tstruct bpf_map_skeleton *map __attribute__((unused));
\tint err;

\ts = (struct bpf_object_skeleton *)calloc(1, sizeof(*s));
\tif (!s)\t{{
\t\terr = -ENOMEM;
\t\tgoto err;
\t}}

\ts->sz = sizeof(*s);
\ts->name = "{0}";
\ts->obj = &obj->obj;
"""

_CREATED = """\

\ts->data = (void *){0}__elf_bytes(&s->data_sz);

\tobj->skeleton = s;
\treturn 0;
err:
\tbpf_object__destroy_skeleton(s);
\treturn err;
}}

static inline const void *{0}__elf_bytes(size_t *sz)
{{
\tstatic const char data[] __attribute__((__aligned__(8))) = "\\
"""

_CPP = """\
#ifdef __cplusplus
struct {0} *{0}::open(const struct bpf_object_open_opts *opts) {{ return {0}__open_opts(opts); }}
struct {0} *{0}::open_and_load() {{ return {0}__open_and_load(); }}
int {0}::load(struct {0} *skel) {{ return {0}__load(skel); }}
int {0}::attach(struct {0} *skel) {{ return {0}__attach(skel); }}
void {0}::detach(struct {0} *skel) {{ {0}__detach(skel); }}
void {0}::destroy(struct {0} *skel) {{ {0}__destroy(skel); }}
const void *{0}::elf_bytes(size_t *sz) {{ return {0}__elf_bytes(sz); }}
#endif /* __cplusplus */

__attribute__((unused)) static void
{0}__assert(struct {0} *s __attribute__((unused)))
{{
#ifdef __cplusplus
#define _Static_assert static_assert
#endif
"""

_END = """\
#ifdef __cplusplus
#undef _Static_assert
#endif
}

"""


def _skeleton(out: Out, shape: Shape) -> None:
    name = shape.name
    guard = f"__{name.upper()}_SKEL_H__"
    out(f"{_LICENSE}/* THIS FILE IS AUTOGENERATED BY BPFTOOL! */\n#ifndef {guard}\n")
    out(f"#define {guard}\n\n{_INCLUDES}#define BPF_SKEL_SUPPORTS_MAP_AUTO_ATTACH 1\n\n")
    out(f"struct {name} {{\n\tstruct bpf_object_skeleton *skeleton;\n\tstruct bpf_object *obj;\n")
    _table_types(out, shape)
    _members(out, shape, True)
    mapped = [one for one in shape.maps if one.is_mapped]
    for one in mapped:
        _section(out, shape, one)
    tables = [one for one in shape.maps if one.is_table]
    pointers = "".join(
        f"\tobj->struct_ops.{one.identifier} = (__typeof__(obj->struct_ops.{one.identifier}))\n"
        f"\t\tbpf_map__initial_value(obj->maps.{one.identifier}, NULL);\n"
        for one in tables
    )
    out(_METHODS.format(name, pointers + "\n" if pointers else ""))
    _maps(out, shape, True)
    _programs(out, shape, True)
    out(_CREATED.format(name))
    _bytes(out, shape.data)
    out('";\n\n\t*sz = sizeof(data) - 1;\n\treturn (const void *)data;\n}\n\n')
    out(_CPP.format(name))
    for one in mapped:
        for variable in one.variables:
            word = variable.identifier
            out(f"\t_Static_assert(sizeof(s->{one.identifier}->{word}) == {variable.size}, "
                f"\"unexpected size of '{word}'\");\n")  # fmt: skip
    out(f"{_END}#endif /* {guard} */\n")


def _table_types(out: Out, shape: Shape) -> None:
    # What a table of functions looks like before it is loaded: its functions are programs.
    from bpflens.btf import types as _t
    from bpflens.uapi.btf import BTF_KIND_STRUCT

    for one in shape.maps:
        if not one.is_table:
            continue
        id = shape.btf.find(one.spec.struct_ops, BTF_KIND_STRUCT)
        found = shape.btf.type(id) if id else None
        if not isinstance(found, _t.Struct):
            continue
        out(f"\tstruct {shape.name}__{one.spec.struct_ops}__{one.identifier} {{\n")
        at = pads = 0
        for member in found.members:
            inner = shape.btf.resolve(member.type_id)
            size = shape.btf.size_of(member.type_id)
            place = member.bit_offset // 8
            if place > at:
                out(f"\t\tchar __unsupported_{pads}[{place - at}];\n")
                pads += 1
            at = place + size
            target = shape.btf.resolve(inner.type_id) if isinstance(inner, _t.Ptr) else None
            if isinstance(target, _t.FuncProto):
                out(f"\t\tstruct bpf_program *{member.name};\n")
            else:
                out(f"\t\tchar {member.name or f'__unsupported_{pads}'}[{size}]"
                    f" __attribute__((aligned({shape.alignment(member.type_id)})));\n")  # fmt: skip
        out("\t};\n")


def _maps(out: Out, shape: Shape, full: bool) -> None:
    if not shape.maps:
        return
    tables = full and any(one.is_table for one in shape.maps)
    size = _MAP_SIZE_WITH_LINK if tables else _MAP_SIZE
    out(
        f"\n\t/* maps */\n\ts->map_cnt = {len(shape.maps)};\n\ts->map_skel_sz = {size};\n"
        "\ts->maps = (struct bpf_map_skeleton *)calloc(s->map_cnt,\n"
        f"\t\t\tsizeof(*s->maps) > {size} ? sizeof(*s->maps) : {size});\n"
        "\tif (!s->maps) {\n\t\terr = -ENOMEM;\n\t\tgoto err;\n\t}\n"
    )
    for number, one in enumerate(shape.maps):
        name = one.name if full or not one.section else one.name[one.name.index(".") :]
        out(
            "\n\tmap = (struct bpf_map_skeleton *)"
            f"((char *)s->maps + {number} * s->map_skel_sz);\n"
            f'\tmap->name = "{name}";\n\tmap->map = &obj->maps.{one.identifier};\n'
        )
        if full and one.is_mapped:
            out(f"\tmap->mmaped = (void **)&obj->{one.identifier};\n")
        if full and one.is_table:
            out(f"\tmap->link = &obj->links.{one.identifier};\n")


def _programs(out: Out, shape: Shape, links: bool) -> None:
    if not shape.programs:
        return
    out(
        f"\n\t/* programs */\n\ts->prog_cnt = {len(shape.programs)};\n"
        "\ts->prog_skel_sz = sizeof(*s->progs);\n"
        "\ts->progs = (struct bpf_prog_skeleton *)calloc(s->prog_cnt, s->prog_skel_sz);\n"
        "\tif (!s->progs) {\n\t\terr = -ENOMEM;\n\t\tgoto err;\n\t}\n"
    )
    for number, name in enumerate(shape.programs):
        out(f'\n\ts->progs[{number}].name = "{name}";\n')
        out(f"\ts->progs[{number}].prog = &obj->progs.{name};\n")
        if links:
            out(f"\ts->progs[{number}].link = &obj->links.{name};\n")


def _bytes(out: Out, data: bytes) -> None:
    # The object as a C string, in lines of at most 78 characters.
    words = ["\\0" if byte == 0 else f"\\x{byte:02x}" for byte in data]
    line: list[str] = []
    width = 0
    for word in words:
        if width + len(word) > 77:
            out("".join(line) + "\\\n")
            line, width = [], 0
        line.append(word)
        width += len(word)
    out("".join(line))


# --- subskeletons -------------------------------------------------------------------------------

_SUB_OPEN = """\

#ifdef __cplusplus
\tstatic inline struct {0} *open(const struct bpf_object *src);
\tstatic inline void destroy(struct {0} *skel);
#endif /* __cplusplus */
}};

static inline void
{0}__destroy(struct {0} *skel)
{{
\tif (!skel)
\t\treturn;
\tif (skel->subskel)
\t\tbpf_object__destroy_subskeleton(skel->subskel);
\tfree(skel);
}}

static inline struct {0} *
{0}__open(const struct bpf_object *src)
{{
\tstruct {0} *obj;
\tstruct bpf_object_subskeleton *s;
\tstruct bpf_map_skeleton *map __attribute__((unused));
\tint err;

\tobj = (struct {0} *)calloc(1, sizeof(*obj));
\tif (!obj) {{
\t\terr = -ENOMEM;
\t\tgoto err;
\t}}
\ts = (struct bpf_object_subskeleton *)calloc(1, sizeof(*s));
\tif (!s) {{
\t\terr = -ENOMEM;
\t\tgoto err;
\t}}
\ts->sz = sizeof(*s);
\ts->obj = src;
\ts->var_skel_sz = sizeof(*s->vars);
\tobj->subskel = s;

\t/* vars */
\ts->var_cnt = {1};
\ts->vars = (struct bpf_var_skeleton *)calloc({1}, sizeof(*s->vars));
\tif (!s->vars) {{
\t\terr = -ENOMEM;
\t\tgoto err;
\t}}
"""

_SUB_END = """\

\terr = bpf_object__open_subskeleton(s);
\tif (err)
\t\tgoto err;

\treturn obj;
err:
\t{0}__destroy(obj);
\terrno = -err;
\treturn NULL;
}}

#ifdef __cplusplus
struct {0} *{0}::open(const struct bpf_object *src) {{ return {0}__open(src); }}
void {0}::destroy(struct {0} *skel) {{ {0}__destroy(skel); }}
#endif /* __cplusplus */

#endif /* {1} */
"""


def _subskeleton(out: Out, shape: Shape) -> None:
    name = shape.name
    guard = f"__{name.upper()}_SUBSKEL_H__"
    out(f"{_LICENSE}/* THIS FILE IS AUTOGENERATED! */\n#ifndef {guard}\n#define {guard}\n\n")
    out(f"{_INCLUDES}struct {name} {{\n\tstruct bpf_object *obj;\n")
    out("\tstruct bpf_object_subskeleton *subskel;\n")
    _members(out, shape, False)
    sections = [one for one in shape.maps if one.variables]
    count = sum(len(one.variables) for one in sections)
    for one in sections:
        out(f"\tstruct {name}__{one.identifier} {{\n")
        for variable in one.variables:
            word = f"*{variable.identifier}"
            keep = one.section == ".kconfig"
            out(f"\t\t{shape.declaration(variable, word, keep)};\n")
        out(f"\t}} {one.identifier};\n")
    out(_SUB_OPEN.format(name, count))
    number = 0
    for one in sections:
        for variable in one.variables:
            out(
                f'\n\ts->vars[{number}].name = "{variable.name}";\n'
                f"\ts->vars[{number}].map = &obj->maps.{one.identifier};\n"
                f"\ts->vars[{number}].addr = (void **) &obj->{one.identifier}."
                f"{variable.identifier};\n"
            )
            number += 1
    _maps(out, shape, False)
    _programs(out, shape, False)
    out(_SUB_END.format(name, guard))

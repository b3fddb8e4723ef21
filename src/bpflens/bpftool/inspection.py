"""``inspect prog|map|link ...``: one page with an object and everything around it.

A program with its maps, links, pins, holders, attach points and source lines; a map with the
programs that use it; a link with its program.

Example::

    $ bpftool inspect prog name count_packets
"""

from __future__ import annotations

from bpflens.bpftool import handle
from bpflens.bpftool.holders import holders, pinned_paths
from bpflens.bpftool.link_detail import Detail
from bpflens.bpftool.link_show import type_name as link_type
from bpflens.bpftool.map_show import describe as describe_map
from bpflens.bpftool.prog_show import describe as describe_program
from bpflens.bpftool.prog_show import full_name
from bpflens.bpftool.tool import Failure
from bpflens.errors import Error, SyscallError
from bpflens.objects.link import Link
from bpflens.objects.map import Map
from bpflens.objects.program import Program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from bpflens.bpftool.tool import Tool
    from bpflens.bpftool.words import Words
    from bpflens.btf import Btf
    from bpflens.kernel.link_info import LinkInfo

    Page = dict[str, object]

__all__ = ["inspect"]

_LINES = 12


def inspect(tool: Tool, words: Words) -> int:
    """Print the page of an object."""
    kind = words.take_keyword("prog", "map", "link")
    if kind is None:
        raise Failure(f"expected 'prog', 'map' or 'link', got: '{words.peek() or ''}'?")
    if kind == "prog":
        with handle.one_program(words) as program:
            words.end()
            page = _program(program)
    elif kind == "map":
        with handle.one_map(words) as map:
            words.end()
            page = _map(map)
    else:
        with handle.link(words) as link:
            words.end()
            page = _link(link)
    if tool.json is not None:
        tool.json.value(page)
    else:
        tool.out(_text(page))
    return 0


def _program(program: Program) -> Page:
    id = program.id
    page: Page = {"program": describe_program(program)}
    page["maps"] = [one for one in map(_brief_map, program.info.map_ids) if one]
    page["links"] = [_described(link) for link in _links_of(id)]
    page["pinned"] = pinned_paths("prog").get(id, [])
    page["holders"] = _held("prog", id)
    page["source"] = _source(program)
    return page


def _map(map: Map) -> Page:
    page: Page = {"map": describe_map(map)}
    page["programs"] = [
        {"id": program.id, "type": program.type_name, "name": name}
        for program, name in _programs_using(map.id)
    ]
    page["key"], page["value"] = _types(map)
    page["pinned"] = pinned_paths("map").get(map.id, [])
    page["holders"] = _held("map", map.id)
    return page


def _link(link: Link) -> Page:
    info = link.info
    page: Page = {"link": _described(info)}
    try:
        with Program.from_id(info.prog_id) as program:
            page["program"] = describe_program(program)
            page["source"] = _source(program)
    except SyscallError:
        page["program"] = None
    page["pinned"] = pinned_paths("link").get(info.id, [])
    page["holders"] = _held("link", info.id)
    return page


def _brief_map(id: int) -> Page:
    try:
        with Map.from_id(id) as found:
            info = found.info
            return {
                "id": id, "type": found.type_name, "name": info.name,
                "bytes_key": info.key_size, "bytes_value": info.value_size,
                "max_entries": info.max_entries,
            }  # fmt: skip
    except SyscallError:
        return {}


def _links_of(id: int) -> Iterator[LinkInfo]:
    for link in handle.opened("link", Link.from_id):
        with link:
            info = link.info
        if info.prog_id == id:
            yield info


def _described(info: LinkInfo) -> Page:
    head: Page = {"id": info.id, "type": link_type(info.type) or info.type, "prog_id": info.prog_id}
    return head | Detail(holders("link")).json(info)


def _programs_using(id: int) -> list[tuple[Program, str]]:
    found = []
    for program in handle.opened("prog", Program.from_id):
        with program:
            if id in program.info.map_ids:
                found.append((program, full_name(program)))
    return found


def _held(kind: str, id: int) -> list[Page]:
    return [{"pid": pid, "comm": comm} for pid, comm in holders(kind).get(id, ())]


def _types(found: Map) -> tuple[str, str]:
    # The key and the value as C declarations, with their members.
    btf = found.btf() if found.info.btf_id else None
    if btf is None:
        return "", ""
    texts = []
    for id in (found.info.btf_key_type_id, found.info.btf_value_type_id):
        try:
            texts.append(_declaration(btf, id) if id else "")
        except Error:
            texts.append("")
    return texts[0], texts[1]


def _declaration(btf: Btf, id: int) -> str:
    from bpflens.btf.cdump import type_declaration
    from bpflens.btf.types import Struct

    text = type_declaration(btf, id).strip()
    found = btf.resolve(id)
    if not isinstance(found, Struct):
        return text
    lines = [f"{text} {{"]
    for member in found.members:
        bits = f" : {member.bit_size}" if member.bit_size else ""
        named = type_declaration(btf, member.type_id, member.name).strip()
        lines.append(f"    {named + bits + ';':<36} /* {member.bit_offset >> 3} */")
    return "\n".join([*lines, "}"])


def _source(program: Program) -> list[str]:
    # Each line of source once, in the order of the instructions.
    btf = program.btf()
    if btf is None:
        return []
    found: dict[str, None] = {}
    for record in program.lines():
        file = btf.string(record.file_name_off).rpartition("/")[2]
        text = btf.string(record.line_off).strip()
        if not text:
            continue  # what the compiler added
        found[f"{file}:{record.line}: {text}"] = None
    return list(found)


# --- plain --------------------------------------------------------------------------------------


def _text(page: Page) -> str:
    lines: list[str] = []
    for title, content in page.items():
        if not content:
            continue
        lines.append(title)
        if isinstance(content, dict):
            lines += [f"    {name:<14} {_shown(name, value)}" for name, value in content.items()]
        elif isinstance(content, list):
            shown = content[:_LINES] if title == "source" else content
            lines += [f"    {_value(one)}" for one in shown]
            if len(shown) < len(content):
                lines.append(f"    ... {len(content) - len(shown)} lines more")
        else:
            lines += [f"    {line}" for line in str(content).splitlines()]
    return "\n".join(lines) + "\n"


def _shown(name: str, value: object) -> str:
    if name == "loaded_at" and isinstance(value, int):
        import time

        return time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(value))
    return _value(value)


def _value(value: object) -> str:
    if isinstance(value, dict):
        return "  ".join(f"{name} {_value(one)}" for name, one in value.items())
    if isinstance(value, list):
        return ",".join(map(_value, value))
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)

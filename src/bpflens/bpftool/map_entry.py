"""One layout of a map's entries → a template that prints any number of them.

Three layouts, as in bpftool: bytes in plain text, bytes in JSON (with a "formatted" member where
BTF knows the types), and by BTF in plain output, which looks like JSON but is not quite.

Example::

    entry = Entry(map, plain=True)
    for keys, values, count in map.blocks():
        out("".join(entry.rows(keys, values, count)))
"""

from __future__ import annotations

from bpflens.bpftool.out import Json
from bpflens.bpftool.template import KEY, VALUE, Template, hex_lines
from bpflens.uapi.bpf import (
    BPF_MAP_TYPE_ARRAY_OF_MAPS,
    BPF_MAP_TYPE_HASH_OF_MAPS,
    BPF_MAP_TYPE_PROG_ARRAY,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from bpflens.btf import Btf
    from bpflens.objects.map import Map

__all__ = ["OF_MAPS", "OF_PROGRAMS", "Entry", "map_btf", "missing_plain"]

OF_MAPS = frozenset((BPF_MAP_TYPE_ARRAY_OF_MAPS, BPF_MAP_TYPE_HASH_OF_MAPS))
OF_PROGRAMS = frozenset((BPF_MAP_TYPE_PROG_ARRAY,))


def map_btf(map: Map) -> Btf | None:
    """Return the BTF that describes the map's entries, ``None`` without one."""
    info = map.info
    if info.btf_vmlinux_value_type_id:
        from bpflens.objects.btf import vmlinux

        return vmlinux()
    return map.btf() if info.btf_value_type_id else None


class Entry:
    """Prints entries of one map. ``btf`` is what :func:`map_btf` gives.

    ``json`` says JSON (else plain); ``pretty`` and ``depth`` how it is laid out. Entries by BTF are
    laid out pretty in plain output.
    """

    __slots__ = ("_template", "is_array")

    def __init__(
        self, map: Map, btf: Btf | None, *, json: bool, pretty: bool = False, depth: int = 0
    ) -> None:
        self._template = Template(map.info.key_size, map.stride)
        self.is_array = json or btf is not None
        if not self.is_array:
            _plain(self._template, map)
            return
        writer = Json(self._template.text, pretty or not json, depth)
        writer.start("{")
        if json:
            _bytes(self._template, writer, map)
            if btf is not None:
                writer.name("formatted")
                writer.start("{")
                _typed(self._template, writer, map, btf, False)
                writer.end()
        elif btf is not None:
            _typed(self._template, writer, map, btf, True)
        writer.end()

    def rows(
        self, keys: memoryview | bytes, values: memoryview | bytes, count: int, separator: str = ""
    ) -> Iterator[str]:
        """Yield the text of entries, each with ``separator`` in front."""
        if separator and self._template.head != separator:
            self._template.head = separator
        return self._template.rows(keys, values, count)


def _plain(template: Template, map: Map) -> None:
    info = map.info
    key, value = info.key_size, info.value_size
    if map.per_cpu:
        if key:
            template.text("key:\n")
            template.hex(KEY, 0, key)
            template.text("\n")
        step = value + 7 & ~7
        for cpu in range(map.stride // (step or 8) if value else 0):
            template.text(f"value (CPU {cpu:02d}):" + ("\n" if value > 16 else " "))
            template.hex(VALUE, cpu * step, value)
            template.text("\n")
        return
    apart = key > 16 or value > 16
    space = "\n" if apart else " "
    if key:
        template.text("key:" + space)
        template.hex(KEY, 0, key)
        template.text("  " if key + value <= 24 and not apart else "\n")
    if value:
        if info.type in OF_MAPS:
            template.text("inner_map_id:" + space)
            template.place(VALUE, 0, "I")
            template.text(" ")
        else:
            template.text("value:" + space)
            template.hex(VALUE, 0, value)
    template.text("\n")


def _array(template: Template, writer: Json, source: int, offset: int, size: int) -> None:
    writer.start("[")
    if size:
        writer.raw("")
        template.json_hex(source, offset, size)
    writer.end()


def _bytes(template: Template, writer: Json, map: Map) -> None:
    info = map.info
    writer.name("key")
    _array(template, writer, KEY, 0, info.key_size)
    if map.per_cpu:
        step = info.value_size + 7 & ~7
        writer.name("values")
        writer.start("[")
        for cpu in range(map.stride // step if step else 0):
            writer.start("{")
            writer.member("cpu", cpu)
            writer.name("value")
            _array(template, writer, VALUE, cpu * step, info.value_size)
            writer.end()
        writer.end()
        return
    writer.name("value")
    _array(template, writer, VALUE, 0, info.value_size)
    if info.type in OF_MAPS:
        writer.name("inner_map_id")
        writer.raw("")
        template.place(VALUE, 0, "I")


def _typed(template: Template, writer: Json, map: Map, btf: Btf, plain: bool) -> None:
    from bpflens.bpftool.btf_format import Formatter

    info = map.info
    formatter = Formatter(template, writer, btf, plain)
    if info.btf_key_type_id:
        writer.name("key")
        formatter.add(info.btf_key_type_id, KEY, 0)
    type_id = info.btf_vmlinux_value_type_id or info.btf_value_type_id
    if not map.per_cpu:
        writer.name("value")
        formatter.add(type_id, VALUE, 0)
        return
    step = info.value_size + 7 & ~7
    writer.name("values")
    writer.start("[")
    for cpu in range(map.stride // step):
        writer.start("{")
        writer.member("cpu", cpu)
        writer.name("value")
        formatter.add(type_id, VALUE, cpu * step)
        writer.end()
    writer.end()


def missing_plain(key: bytes, why: str) -> str:
    """Return the plain text of a key whose value cannot be read."""
    apart = len(key) > 16 or len(why) > 16
    space = "\n" if apart else " "
    between = "  " if len(key) + len(why) <= 24 and not apart else "\n"
    return f"key:{space}{hex_lines(key)}{between}value:{space}{why}\n"

"""``map export MAP [FILE]`` and ``map import MAP [FILE]``: a whole map as JSON lines.

One line an entry, ``{"key":"0x01000000","value":"0x2a..."}``; values of per-CPU maps are of all
CPUs. Where the map has BTF a line says the same by name in ``"formatted"``. Reading and writing
goes in batches.

An import adds to what is there and overwrites. It takes the lines of an export and those of
``map dump -j``; the bytes count, and where ``key`` or ``value`` is left out or is no text, it is
read by name: ``{"key":{"saddr":167772161},"value":5}``. Values of maps of maps and of program
arrays are ids.

Example::

    $ bpftool map export name counters saved && bpftool map import name counters saved
"""

from __future__ import annotations

from bpflens.bpftool import handle
from bpflens.bpftool.map_dump import BLOCKS, check_readable
from bpflens.bpftool.map_entry import OF_MAPS, OF_PROGRAMS, map_btf
from bpflens.bpftool.out import Json
from bpflens.bpftool.template import KEY, VALUE, Template
from bpflens.bpftool.tool import Failure, strerror
from bpflens.errors import Error, SyscallError
from bpflens.uapi.bpf import BPF_F_RDONLY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, BinaryIO

    from bpflens.bpftool.tool import Tool
    from bpflens.bpftool.words import Words
    from bpflens.objects.map import Map

    Block = tuple[bytes | memoryview, bytes | memoryview, int]

__all__ = ["export_map", "import_map", "read_entry"]

_AT_ONCE = 16384


# --- export -------------------------------------------------------------------------------------


def export_map(tool: Tool, words: Words) -> int:
    """Write all entries."""
    with handle.one_map(words, BPF_F_RDONLY) as map:
        path = words.take() if words else "-"
        words.end()
        check_readable(map)
        template = _template(map)
        file = None if path == "-" else _open(path, "wb")
        try:
            for keys, values, count in _blocks(map):
                for text in template.rows(keys, values, count):
                    if file is None:
                        tool.out(text)
                    else:
                        file.write(text.encode("utf-8", "surrogateescape"))
        except SyscallError as error:
            raise handle.tell("export failed", error) from None
        finally:
            if file is not None:
                file.close()
    if path == "-":
        tool.json = None  # the lines are JSON already
        return 0
    return tool.done()


def _template(map: Map) -> Template:
    info = map.info
    template = Template(info.key_size, map.stride)
    writer = Json(template.text)
    writer.start("{")
    for name, source, size in (("key", KEY, info.key_size), ("value", VALUE, map.stride)):
        writer.name(name)
        writer.raw('"0x')
        template.place(source, 0, f"{size}s", bytes.hex)  # type: ignore[arg-type]
        template.text('"')
    btf = map_btf(map)
    if btf is not None and info.btf_key_type_id and not map.per_cpu:
        from bpflens.bpftool.btf_format import Formatter

        formatter = Formatter(template, writer, btf, False)
        writer.name("formatted")
        writer.start("{")
        writer.name("key")
        formatter.add(info.btf_key_type_id, KEY, 0)
        writer.name("value")
        formatter.add(info.btf_value_type_id, VALUE, 0)
        writer.end()
    writer.end()
    template.text("\n")
    return template


def _blocks(map: Map) -> Iterator[Block]:
    if map.info.type in BLOCKS:
        yield from map.blocks()
        return
    from bpflens.objects import batch

    for key in batch.keys(map.fd, map.info.key_size):
        value = map.lookup_raw(key)
        if value is not None:  # a slot may be empty
            yield key, value, 1


def _open(path: str | int, mode: str) -> BinaryIO:
    try:
        return open(path, mode, closefd=path != 0)  # type: ignore[return-value]
    except OSError as error:
        raise Failure(f"can't open {path}: {strerror(error)}") from None


# --- import -------------------------------------------------------------------------------------


def import_map(tool: Tool, words: Words) -> int:
    """Store the entries of a file."""
    with handle.one_map(words) as map:
        path = words.take() if words else "-"
        words.end()
        check_readable(map)
        with _open(0 if path == "-" else path, "rb") as file:
            count = _import(map, file)
    if tool.json is not None:
        tool.json.value({"imported": count})
    return 0


def _import(map: Map, file: BinaryIO) -> int:
    from itertools import islice

    count = number = 0
    while lines := list(islice(file, _AT_ONCE)):
        keys, values = _plain_lines(map, lines) or _any_lines(map, lines, number, count)
        if map.info.type in OF_MAPS or map.info.type in OF_PROGRAMS:
            size = map.info.key_size
            for at in range(0, len(keys) // size):
                _refer(map, keys[at * size : (at + 1) * size], values[at * 4 : at * 4 + 4])
        else:
            _store(map, keys, values)
        count += len(keys) // map.info.key_size
        number += len(lines)
    return count


def _plain_lines(map: Map, lines: list[bytes]) -> tuple[bytes, bytes] | None:
    # Lines as an export writes them, all at once; None where only one of them is different.
    from json import loads

    try:
        entries = loads(b"[" + b",".join(lines) + b"]")
        found = []
        for name, size in (("key", map.info.key_size), ("value", map.stride)):
            texts = [entry[name] for entry in entries]
            if {len(text) for text in texts} != {2 * size + 2}:
                return None
            data = bytes.fromhex("".join(texts).replace("0x", ""))
            if len(data) != size * len(lines):
                return None
            found.append(data)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return found[0], found[1]


def _any_lines(map: Map, lines: list[bytes], number: int, count: int) -> tuple[bytes, bytes]:
    # Line by line, so that a wrong one can be named.
    from json import loads

    keys, values = bytearray(), bytearray()
    for at, line in enumerate(lines, number + 1):
        if not line.strip():
            continue
        try:
            key, value = read_entry(map, loads(line))
        except ValueError as error:
            raise Failure(f"line {at}: no JSON object: {error}; {_so_far(count)}") from None
        except Error as error:
            raise Failure(f"line {at}: {error}; {_so_far(count)}") from None
        keys += key
        values += value
    return bytes(keys), bytes(values)


def _so_far(count: int) -> str:
    return f"{count} entries before it are stored" if count else "nothing is stored"


def read_entry(map: Map, entry: Any) -> tuple[bytes, bytes]:
    """Return the bytes of the key and the value that a line means."""
    if not isinstance(entry, dict):
        raise Failure('an entry is {"key":..,"value":..}')
    info = map.info
    formatted = entry.get("formatted")
    by_name = formatted if isinstance(formatted, dict) else {}
    key = _bytes(map, "key", entry.get("key", by_name.get("key")), info.btf_key_type_id)
    if len(key) != info.key_size:
        raise Failure(f"the key has {len(key)} bytes, keys of the map have {info.key_size}")
    if isinstance(entry.get("values"), list):
        return key, _of_cpus(map, entry["values"])
    value = _bytes(map, "value", entry.get("value", by_name.get("value")), info.btf_value_type_id)
    if map.per_cpu and len(value) == info.value_size:
        padded = value + bytes(-len(value) % 8)
        value = padded * (map.stride // len(padded))
    if len(value) != map.stride:
        raise Failure(f"the value has {len(value)} bytes, values of the map have {map.stride}")
    return key, value


def _of_cpus(map: Map, values: list[Any]) -> bytes:
    # As "map dump -j" writes them: [{"cpu":0,"value":[..]},..].
    step = map.info.value_size + 7 & ~7
    found = bytearray(map.stride)
    for one in values:
        cpu = one.get("cpu") if isinstance(one, dict) else None
        if not isinstance(cpu, int) or not 0 <= cpu < map.stride // step:
            raise Failure(f"no such CPU: {cpu}")
        value = _bytes(map, "value", one.get("value"), map.info.btf_value_type_id)
        if len(value) != map.info.value_size:
            raise Failure(f"the value of CPU {cpu} has {len(value)} bytes")
        found[cpu * step : cpu * step + len(value)] = value
    return bytes(found)


def _bytes(map: Map, name: str, given: Any, type_id: int) -> bytes:
    if given is None:
        raise Failure(f"it has no {name}")
    try:
        if isinstance(given, str) and given.startswith("0x"):
            return bytes.fromhex(given[2:])
        if isinstance(given, list) and given and all(_is_hex(one) for one in given):
            return bytes(int(one, 16) for one in given)
    except ValueError:
        raise Failure(f"its {name} is not made of bytes in hexadecimal") from None
    btf = map.btf() if type_id else None
    if btf is None:
        raise Failure(f'its {name} is no "0x..", and the map has no BTF to read it by name')
    from bpflens.btf.encode import encode

    try:
        return encode(btf, type_id, given)
    except Error:
        plain = _with_numbers(given)  # bit-fields and pointers are exported as "0x.."
        if plain == given:
            raise
        return encode(btf, type_id, plain)


def _with_numbers(given: Any) -> Any:
    if isinstance(given, dict):
        return {name: _with_numbers(one) for name, one in given.items()}
    if isinstance(given, list):
        return [_with_numbers(one) for one in given]
    if isinstance(given, str) and given.startswith("0x"):
        try:
            return int(given, 16)
        except ValueError:
            return given
    return 0 if given == "(nil)" else given


def _is_hex(one: object) -> bool:
    return isinstance(one, str) and one.startswith("0x") and len(one) <= 4


def _store(map: Map, keys: bytes, values: bytes) -> None:
    if not keys:
        return
    try:
        map.update_batch(keys, values)
    except SyscallError as error:
        raise handle.tell("import failed", error) from None


def _refer(map: Map, key: bytes, value: bytes) -> None:
    # The kernel gives ids and takes descriptors.
    from bpflens.objects.map import Map
    from bpflens.objects.program import Program

    id = int.from_bytes(value, "little")
    try:
        held = Map.from_id(id) if map.info.type in OF_MAPS else Program.from_id(id)
        with held:
            map.update_raw(key, held.fd.to_bytes(4, "little"))
    except SyscallError as error:
        raise handle.tell(f"import of the reference to {id} failed", error) from None

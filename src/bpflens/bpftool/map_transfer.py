"""``map export MAP [FILE]`` and ``map import MAP [FILE]``: a whole map as JSON lines.

One line an entry, ``{"key":"0x01000000","value":"0x2a..."}``; values of per-CPU maps are of all
CPUs. Reading and writing goes in batches. An import adds to what is there and overwrites.

Example::

    $ bpftool map export name counters saved && bpftool map import name counters saved
"""

from __future__ import annotations

from bpflens.bpftool import handle
from bpflens.bpftool.template import KEY, VALUE, Template
from bpflens.bpftool.tool import Failure, strerror
from bpflens.errors import SyscallError
from bpflens.uapi.bpf import BPF_F_RDONLY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

    from bpflens.bpftool.tool import Tool
    from bpflens.bpftool.words import Words
    from bpflens.objects.map import Map

__all__ = ["export_map", "import_map"]

_AT_ONCE = 16384


def export_map(tool: Tool, words: Words) -> int:
    """Write all entries."""
    with handle.one_map(words, BPF_F_RDONLY) as map:
        path = words.take() if words else "-"
        words.end()
        template = Template(map.info.key_size, map.stride)
        template.text('{"key":"0x')
        template.place(KEY, 0, f"{map.info.key_size}s", bytes.hex)  # type: ignore[arg-type]
        template.text('","value":"0x')
        template.place(VALUE, 0, f"{map.stride}s", bytes.hex)  # type: ignore[arg-type]
        template.text('"}\n')
        file = None if path == "-" else _open(path, "wb")
        try:
            for keys, values, count in map.blocks():
                for text in template.rows(keys, values, count):
                    if file is None:
                        tool.out(text)
                    else:
                        file.write(text.encode())
        except SyscallError as error:
            raise handle.tell("export failed", error) from None
        finally:
            if file is not None:
                file.close()
    if tool.json is not None and path != "-":
        tool.json.value(None)
    return 0


def import_map(tool: Tool, words: Words) -> int:
    """Store the entries of a file."""
    with handle.one_map(words) as map:
        path = words.take() if words else "-"
        words.end()
        file = _open(0 if path == "-" else path, "rb")
        with file:
            _import(map, file)
    return tool.done()


def _open(path: str | int, mode: str) -> BinaryIO:
    try:
        return open(path, mode, closefd=path != 0)  # type: ignore[return-value]
    except OSError as error:
        raise Failure(f"can't open {path}: {strerror(error)}") from None


def _import(map: Map, file: BinaryIO) -> None:
    from json import loads

    keys, values = bytearray(), bytearray()
    count = 0
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            entry = loads(line)
            key, value = (bytes.fromhex(entry[name][2:]) for name in ("key", "value"))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise Failure(f'line {number}: not {{"key":"0x..","value":"0x.."}}') from None
        if len(key) != map.info.key_size or len(value) != map.stride:
            raise Failure(
                f"line {number}: {len(key)} and {len(value)} bytes, where the map has keys of "
                f"{map.info.key_size} and values of {map.stride} bytes"
            )
        keys += key
        values += value
        count += 1
        if count % _AT_ONCE == 0:
            _store(map, keys, values)
            keys, values = bytearray(), bytearray()
    _store(map, keys, values)


def _store(map: Map, keys: bytearray, values: bytearray) -> None:
    try:
        map.update_batch(bytes(keys), bytes(values))
    except SyscallError as error:
        raise handle.tell("import failed", error) from None

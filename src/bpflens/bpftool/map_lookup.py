"""``map lookup``, ``getnext``, ``peek``, ``pop`` and ``dequeue``: one entry of a map.

Example::

    $ bpftool map lookup name counters key 1 0 0 0
    key: 01 00 00 00  value: 2a 00 00 00 00 00 00 00
"""

from __future__ import annotations

from bpflens.bpftool import handle
from bpflens.bpftool.element import take_element
from bpflens.bpftool.map_entry import Entry, map_btf
from bpflens.bpftool.template import hex_lines
from bpflens.bpftool.tool import Failure, errno_status
from bpflens.bpftool.words import Usage
from bpflens.errors import SyscallError
from bpflens.kernel import map_command as _maps
from bpflens.kernel.memory import Buffer
from bpflens.uapi.bpf import BPF_F_RDONLY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.bpftool.tool import Tool
    from bpflens.bpftool.words import Words
    from bpflens.objects.map import Map

__all__ = ["getnext", "lookup", "pop"]

_NOT_FOUND = 254


def lookup(tool: Tool, words: Words, command: str) -> int:
    """Print one entry; ``peek`` is the same with a map that has no keys."""
    if len(words) < 1:
        raise Usage
    with handle.one_map(words, BPF_F_RDONLY) as map:
        element = take_element(words, map, want_value=False, want_flags=False)
        value = Buffer(map.stride)
        try:
            found = _maps.map_lookup_elem(map.fd, element.key, value)
        except SyscallError as error:
            raise handle.tell("lookup failed", error, errno_status(error)) from None
        if found:
            _print(tool, map, element.key, bytes(value))
            return 0
        if not map.info.key_size:
            return _empty(tool)
        if tool.json is not None:
            tool.json.value(None)
        else:
            tool.out(f"key:\n{hex_lines(element.key)}\n\nNot found\n")
        return _NOT_FOUND


def _empty(tool: Tool) -> int:
    # A queue or stack without elements.
    if tool.json is not None:
        tool.json.value(None)
    else:
        tool.out("Error: empty map\n")
    return _NOT_FOUND


def _print(tool: Tool, map: Map, key: bytes, value: bytes) -> None:
    btf = map_btf(map)
    json = tool.json
    if json is not None:
        entry = Entry(map, btf, json=True, pretty=json.pretty, depth=json.depth)
        json.raw("".join(entry.rows(key, value, 1)))
        return
    entry = Entry(map, btf, json=False)
    tool.out("".join(entry.rows(key, value, 1)) + ("\n" if entry.is_array else ""))


def getnext(tool: Tool, words: Words) -> int:
    """Print the key after a key, or the first."""
    if len(words) < 1:
        raise Usage
    with handle.one_map(words, BPF_F_RDONLY) as map:
        key = None
        if words:
            key = take_element(words, map, want_value=False, want_flags=False).key
        following = Buffer(map.info.key_size)
        try:
            found = _maps.map_get_next_key(map.fd, key, following)
        except SyscallError as error:
            raise handle.tell("can't get next key", error, errno_status(error)) from None
        if not found:
            raise Failure("can't get next key: No such file or directory", _NOT_FOUND)
        after = bytes(following)
    if tool.json is not None:
        tool.json.value({"key": None if key is None else _listed(key), "next_key": _listed(after)})
        return 0
    before = "key: None" if key is None else f"key:\n{hex_lines(key)}"
    tool.out(f"{before}\nnext key:\n{hex_lines(after)}\n")
    return 0


def pop(tool: Tool, words: Words) -> int:
    """Take an element out of a queue or stack and print it."""
    if len(words) < 1:
        raise Usage
    with handle.one_map(words) as map:
        words.end()
        value = Buffer(map.stride)
        try:
            found = _maps.map_lookup_and_delete_elem(map.fd, b"", value)
        except SyscallError as error:
            raise handle.tell("pop failed", error, errno_status(error)) from None
        if not found:
            return _empty(tool)
        _print(tool, map, b"", bytes(value))
    return 0


def _listed(data: bytes) -> list[str]:
    return [f"0x{byte:02x}" for byte in data]

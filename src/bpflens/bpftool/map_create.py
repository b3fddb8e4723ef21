"""``map create FILE type T key K value V entries N name NAME``: make a map and pin it.

``flags`` takes a number as in bpftool, or names of flags joined by commas
(``flags no_prealloc,rdonly_prog``).

Example::

    $ bpftool map create /sys/fs/bpf/counts type hash key 4 value 8 entries 1024 name counts
"""

from __future__ import annotations

from bpflens.bpftool import handle, pinning
from bpflens.bpftool.tool import Failure
from bpflens.bpftool.words import c_number
from bpflens.errors import SyscallError
from bpflens.uapi import bpf as _uapi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.bpftool.tool import Tool
    from bpflens.bpftool.words import Words
    from bpflens.objects.map import Map

__all__ = ["create", "flags_of"]

_SIZES = {"key": "key size", "value": "value size", "entries": "max entries"}


def create(tool: Tool, words: Words) -> int:
    """Create a map and pin it."""
    from bpflens.objects.map import Map

    words.need(7)
    wish = _Wish(tool, words)
    if wish.name is None:
        raise Failure("map name not specified")
    try:
        pinning.ready_file(tool, wish.path)
        try:
            made = Map.create(
                wish.type, key_size=wish.sizes.get("key", 0), value_size=wish.sizes.get("value", 0),
                max_entries=wish.sizes.get("entries", 0), name=wish.name, flags=wish.flags,
                inner=wish.inner, ifindex=wish.ifindex,
            )  # fmt: skip
        except SyscallError as error:
            raise handle.tell("map create failed", error) from None
        with made:
            pinning.pin(tool, made.fd, wish.path)
    finally:
        if wish.inner is not None:
            wish.inner.close()
    return tool.done()


class _Wish:
    # What the words ask for.
    __slots__ = ("flags", "ifindex", "inner", "name", "path", "sizes", "type")

    def __init__(self, tool: Tool, words: Words) -> None:
        self.path = words.take()
        self.type = 0
        self.name: str | None = None
        self.sizes: dict[str, int] = {}
        self.flags = 0
        self.inner: Map | None = None
        self.ifindex = 0
        while words:
            words.need(2)
            found = words.take_keyword(
                "type", "name", "key", "value", "entries", "flags", "dev", "offload_dev",
                "inner_map",
            )  # fmt: skip
            if found is None:
                raise Failure(f"unknown arg {words.peek()}")
            self._take(tool, words, found)

    def _take(self, tool: Tool, words: Words, found: str) -> None:
        if found == "type":
            if self.type:
                raise Failure("map type already specified")
            word = words.take()
            if word not in _uapi.MAP_TYPE_NAMES:
                raise Failure(f"unrecognized map type: {word}{_near(word, _uapi.MAP_TYPE_NAMES)}")
            self.type = _uapi.MAP_TYPE_NAMES.index(word)
        elif found == "name":
            self.name = words.take()
            if len(self.name) > 15:
                tool.hint("Warning: map name is longer than 15 characters, it will be truncated.")
        elif found in _SIZES:
            if self.sizes.get(found):
                raise Failure(f"{_SIZES[found]} already specified")
            self.sizes[found] = words.number(_SIZES[found])
        elif found == "flags":
            if self.flags:
                raise Failure("flags already specified")
            self.flags = flags_of(words.take())
        elif found == "inner_map":
            if self.inner is not None:
                raise Failure("inner_map already specified")
            self.inner = handle.one_map(words)
        else:
            self._device(tool, words, found)

    def _device(self, tool: Tool, words: Words, found: str) -> None:
        if found == "dev":
            tool.hint(
                "Warning: 'bpftool map create [...] dev <ifname>' syntax is deprecated.\n"
                "Going further, please use 'offload_dev <ifname>' to request hardware offload "
                "for the map."
            )
        if self.ifindex:
            raise Failure("offload device already specified")
        name = words.take()
        import socket

        try:
            self.ifindex = socket.if_nametoindex(name)
        except OSError as error:
            raise Failure(f"unrecognized netdevice '{name}': {error.strerror}") from None


def flags_of(word: str) -> int:
    """Return the number of map flags: a number, or names without BPF_F_ joined by commas."""
    number = c_number(word)
    if number is not None:
        return number
    found = 0
    for name in word.split(","):
        flag = getattr(_uapi, f"BPF_F_{name.upper()}", None)
        if not isinstance(flag, int):
            raise Failure(f"can't parse {word} as flags: no map flag is called {name}")
        found |= flag
    return found


def _near(word: str, names: tuple[str, ...]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(word, names, 2, 0.6)
    return f" (did you mean {' or '.join(near)}?)" if near else ""

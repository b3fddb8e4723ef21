"""The words that describe an entry of a map → bytes of its key and value, and flags.

As in bpftool: ``key DATA``, ``value VALUE`` and ``any|exist|noexist`` in any order. DATA is bytes
(decimal, 0x.., 0.. octal; after ``hex`` all hexadecimal), checked to be bytes: 300 is refused, not
cut. Where the map has BTF, DATA may also be typed (:mod:`bpflens.bpftool.typed`): fields by name,
``key saddr=10.0.0.1 dport=443``, or one word for a number of several bytes, ``value 5``.

Example::

    take_element(Words("key 1 0 0 0 value 42 0 0 0".split()), map)
"""

from __future__ import annotations

from bpflens.bpftool import handle
from bpflens.bpftool.map_entry import OF_MAPS, OF_PROGRAMS
from bpflens.bpftool.tool import Failure
from bpflens.bpftool.words import c_number
from bpflens.uapi.bpf import BPF_ANY, BPF_EXIST, BPF_NOEXIST

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from bpflens.bpftool.words import Words
    from bpflens.objects.handle import Handle
    from bpflens.objects.map import Map

__all__ = ["Element", "bytes_of", "take_element"]

_FLAGS = {"any": BPF_ANY, "noexist": BPF_NOEXIST, "exist": BPF_EXIST}


class Element:
    """``key``, ``value`` and ``flags``; :meth:`close` closes what the value refers to."""

    __slots__ = ("_held", "flags", "key", "value")

    def __init__(self) -> None:
        self.key = b""
        self.value = b""
        self.flags = BPF_ANY
        self._held: Handle | None = None

    def hold(self, held: Handle) -> None:
        """Make the value the descriptor of a map or program, open until :meth:`close`."""
        self._held = held
        self.value = held.fd.to_bytes(4, "little")

    def close(self) -> None:
        """Close what the value refers to."""
        if self._held is not None:
            self._held.close()


def take_element(
    words: Words, map: Map, *, want_key: bool = True, want_value: bool = True,
    want_flags: bool = True, warn: Callable[[str], None] | None = None,
) -> Element:  # fmt: skip
    """Take all words that are left; complain of what is missing, doubled or wrong."""
    info = map.info
    element = Element()
    key = want_key and bool(info.key_size)
    value = want_value and bool(info.value_size)
    flags = want_flags
    while words:
        if words.take_if("key"):
            if not key:
                raise Failure("duplicate key" if info.key_size else "unnecessary key")
            key = False
            element.key = _data(words, map, "key", info.key_size, info.btf_key_type_id)
        elif words.take_if("value"):
            if not value:
                known = want_value and info.value_size
                raise Failure("duplicate value" if known else "unnecessary value")
            value = False
            _value(words, map, element, warn)
        elif (found := words.take_keyword("any", "noexist", "exist")) is not None:
            if not flags:
                raise Failure(f"flags specified multiple times: {words.peek() or found}")
            flags = False
            element.flags = _FLAGS[found]
        else:
            raise Failure(f"expected key or value, got: {words.peek()}")
    if key or value:
        element.close()
        raise Failure(f"did not find {'key' if key else 'value'}")
    return element


def _value(words: Words, map: Map, element: Element, warn: Callable[[str], None] | None) -> None:
    info = map.info
    if info.type in OF_MAPS:
        if info.value_size != 4:
            raise Failure("value smaller than 4B for map in map?")
        if not words:
            raise Failure("not enough value arguments for map in map")
        element.hold(handle.one_map(words))
    elif info.type in OF_PROGRAMS:
        if info.value_size != 4:
            raise Failure("value smaller than 4B for map of progs?")
        if not words:
            raise Failure("not enough value arguments for map of progs")
        if warn is not None and "id".startswith(words.peek() or "-"):
            warn(
                "Warning: updating program array via MAP_ID, make sure this map is kept open\n"
                "         by some process or pinned otherwise update will be lost"
            )
        element.hold(handle.one_program(words))
    else:
        one = _data(words, map, "value", info.value_size, info.btf_value_type_id)
        if map.per_cpu:
            padded = one + bytes(-len(one) % 8)
            one = padded * (map.stride // len(padded))
        element.value = one


def _data(words: Words, map: Map, name: str, size: int, type_id: int) -> bytes:
    word = words.peek() or ""
    if "=" in word:
        from bpflens.bpftool.typed import take_typed

        return take_typed(words, map, name, type_id, size)
    following = words.peek(1)
    is_single = following is None or c_number(following) is None
    if type_id and size > 1 and word and is_single and not "hex".startswith(word):
        # One word for all bytes; the real tool complains here of the bytes that are missing.
        from bpflens.bpftool.typed import take_single

        return take_single(words, map, name, type_id, size)
    return bytes_of(words, name, size)


def bytes_of(words: Words, name: str, size: int) -> bytes:
    """Take ``size`` bytes."""
    base = 16 if words.take_if("hex") else 0
    found = bytearray()
    while len(found) < size:
        word = words.peek()
        if word is None:
            break
        number = c_number(word, base)
        if number is None:
            so_far = f"; {name} expected {size} bytes got {len(found)}"
            raise Failure(f"error parsing byte: {word}{so_far}")
        if number > 255:
            shown = "hex " if base else ""
            raise Failure(
                f"error parsing byte: {word}: {shown}{word} is more than a byte holds (255); "
                "give each byte as its own word"
            )
        words.take()
        found.append(number)
    if len(found) != size:
        raise Failure(f"{name} expected {size} bytes got {len(found)}")
    return bytes(found)

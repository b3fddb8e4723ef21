"""Many ``map update`` lines of a batch file in a row → one batch command of the kernel.

A run of lines that differ only in the bytes of key and value is checked and converted column by
column, without a Python step per line, and stored with BPF_MAP_UPDATE_BATCH. Nothing changes but
the time: entries are stored in their order, and the first line that is not of the plain form, or
that the kernel refuses, is left to the ordinary road, which says what is wrong.

Example::

    done = update_run(["map update id 7 key 1 0 0 0 value 2 0 0 0", ...])
"""

from __future__ import annotations

from bpflens.bpftool import handle
from bpflens.bpftool.map_entry import OF_MAPS, OF_PROGRAMS
from bpflens.bpftool.tool import Failure
from bpflens.bpftool.words import Words
from bpflens.kernel.map_command import map_update_batch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.objects.map import Map

__all__ = ["SHORTEST", "run_length", "update_run"]

SHORTEST = 16
"""Runs of fewer lines are not worth it."""

_HANDLES = ("id", "name", "pinned")
_BYTES = {str(number): number for number in range(256)}
_BYTES |= {f"0x{number:x}": number for number in range(256)}
_BYTES |= {f"0x{number:02x}": number for number in range(256)}
_HEX = {f"{number:x}": number for number in range(256)}
_HEX |= {f"{number:02x}": number for number in range(256)}


def run_length(lines: list[str], start: int) -> int:
    """Return how many lines from ``start`` on are updates of one map in one form; 0 if too few."""
    line = lines[start]
    if not line.startswith("map update "):
        return 0
    head = line[: line.find(" key ") + 5]
    if len(head) < 16:
        return 0
    end = start + 1
    while end < len(lines) and lines[end].startswith(head):
        end += 1
    return end - start if end - start >= SHORTEST else 0


def update_run(lines: list[str]) -> int:
    """Store the entries of lines that :func:`run_length` found; return how many were stored."""
    width = len(lines[0].split())
    words = " ".join(lines).split()
    if len(words) != width * len(lines) or width < 7 or words[2] not in _HANDLES:
        return 0
    try:
        map = handle.one_map(Words(words[2:4]))
    except Failure:
        return 0
    with map:
        found = _columns(map, words, width, len(lines))
        if found is None:
            return 0
        stored, _ = map_update_batch(map.fd, *found, len(lines))
        return stored


def _columns(map: Map, words: list[str], width: int, count: int) -> tuple[bytes, bytes] | None:
    # Keys and values of all lines; None when they are not all of the plain form.
    info = map.info
    if map.per_cpu or info.type in OF_MAPS or info.type in OF_PROGRAMS:
        return None
    key_at = 5 + (words[5] == "hex")
    value_word = key_at + info.key_size
    if value_word + 1 >= width or words[value_word] != "value":
        return None
    value_at = value_word + 1 + (words[value_word + 1] == "hex")
    if value_at + info.value_size != width:
        return None
    for at in (*range(5), value_word, *([5] if key_at == 6 else []),
               *([value_at - 1] if value_at > value_word + 1 else [])):  # fmt: skip
        if words[at::width].count(words[at]) != count:
            return None
    try:
        keys = _block(words, width, key_at, info.key_size, count, key_at == 6)
        is_hex = value_at > value_word + 1
        values = _block(words, width, value_at, info.value_size, count, is_hex)
    except KeyError:
        return None
    return keys, values


def _block(words: list[str], width: int, at: int, size: int, count: int, is_hex: bool) -> bytes:
    table = _HEX if is_hex else _BYTES
    block = bytearray(size * count)
    for number in range(size):
        block[number::size] = bytes(map(table.__getitem__, words[at + number :: width]))
    return bytes(block)

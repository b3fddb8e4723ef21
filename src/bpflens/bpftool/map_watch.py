"""``map watch MAP [interval SECONDS]``: changes of a map as they happen, until Ctrl-C.

The map is read in blocks again and again (every second); what appeared (``+``), changed (``~``)
and went (``-``) since the last time is printed as ``map dump`` prints entries. Under ``-j`` each
change is a line of its own. ``--once`` stops after the first look.

Example::

    $ bpftool map watch name counters interval 0.5
    ~ key: 00 00 00 00  value: 2b 00 00 00 00 00 00 00
"""

from __future__ import annotations

import time
from contextlib import suppress

from bpflens.bpftool import handle
from bpflens.bpftool.map_dump import check_readable
from bpflens.bpftool.map_entry import Entry, map_btf
from bpflens.bpftool.out import Json
from bpflens.bpftool.tool import Failure
from bpflens.errors import SyscallError
from bpflens.uapi.bpf import BPF_F_RDONLY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.bpftool.tool import Tool
    from bpflens.bpftool.words import Words
    from bpflens.objects.map import Map

__all__ = ["watch"]

_WORDS = {"+": "added", "~": "changed", "-": "deleted"}


def watch(tool: Tool, words: Words) -> int:
    """Print changes until Ctrl-C."""
    with handle.one_map(words, BPF_F_RDONLY) as map:
        pause = _interval(words)
        words.end()
        check_readable(map)
        json = tool.json
        entry = Entry(map, map_btf(map), json=json is not None)
        before = _read(map)
        tool.json = None  # every change is a line of its own
        with suppress(KeyboardInterrupt):  # that is how it ends
            _follow(tool, map, entry, before, pause, json is not None)
    return 0


def _interval(words: Words) -> float:
    if not words or not words.take_if("interval"):
        return 1.0
    word = words.take("seconds")
    try:
        pause = float(word)
    except ValueError:
        pause = -1.0
    if not 0.01 <= pause < 1e6:
        raise Failure(f"can't parse {word} as seconds (at least 0.01)")
    return pause


def _read(map: Map) -> dict[bytes, bytes]:
    try:
        return dict(map.items_raw())
    except SyscallError as error:
        raise handle.tell("can't read the map", error) from None


def _follow(
    tool: Tool, map: Map, entry: Entry, before: dict[bytes, bytes], pause: float, json: bool
) -> None:
    while True:
        time.sleep(pause)
        now = _read(map)
        for key, value in now.items():
            if key not in before:
                _print(tool, entry, "+", key, value, json)
            elif before[key] != value:
                _print(tool, entry, "~", key, value, json)
        for key, value in before.items():
            if key not in now:
                _print(tool, entry, "-", key, value, json)
        tool.out.flush()
        if tool.once:
            return
        before = now


def _print(tool: Tool, entry: Entry, mark: str, key: bytes, value: bytes, json: bool) -> None:
    text = "".join(entry.rows(key, value, 1))
    if not json:
        tool.out(f"{mark} {text}" + ("\n" if entry.is_array else ""))
        return
    line = Json(tool.out)
    line.start("{")
    line.member("change", _WORDS[mark])
    line.name("entry")
    line.raw(text)
    line.end()
    tool.out("\n")

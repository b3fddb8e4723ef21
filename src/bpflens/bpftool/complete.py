"""The words of a command line so far → what may come next (``__complete``, for shells).

Objects, commands and keywords come from the table of commands; ids, names, tags, devices, types,
columns and the fields of a map's key and value are looked up. Nothing is ever an error here: where
nothing is known, nothing is offered and the shell completes file names.

Example::

    candidates(["map", "show", "name", "co"])      # ["counters"]
"""

from __future__ import annotations

from bpflens.bpftool.grammar import GLOBAL, OBJECT, OPTIONS
from bpflens.bpftool.words import first_match

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from bpflens.bpftool.tool import Tool

__all__ = ["FILES", "VALUES", "candidates", "complete"]

FILES = ("pinned", "file", "pinmaps", "kernel_btf", "data_in", "data_out", "ctx_in", "ctx_out")
"""Keywords that a path follows."""

VALUES = ("id", "name", "tag", "dev", "offload_dev", "xdpmeta_dev", "type", "flags", "key", "value",
          "--sort", "--filter")  # fmt: skip
"""Words behind which something is looked up."""

_HANDLES = {"prog": "prog", "map": "map", "link": "link", "inner_map": "map"}
_OF_OBJECT = {"prog": "prog", "map": "map", "link": "link", "cgroup": "prog", "net": "prog",
              "struct_ops": "map", "iter": "map", "btf": "btf"}  # fmt: skip
_WITH_VALUE = {f"-{short}" for short, _, takes in OPTIONS if short and takes} | {
    f"--{long}" for _, long, takes in OPTIONS if long and takes
}


def complete(tool: Tool, words: list[str]) -> int:
    """Print what may stand in the place of the last word, one a line."""
    from bpflens.errors import Error

    try:
        for word in candidates(words):
            tool.out(word + "\n")
    except (Error, OSError):
        pass  # a shell's line is no place for errors
    return 0


def candidates(words: list[str]) -> list[str]:
    """Return what may stand in the place of the last of ``words`` (which may be empty)."""
    *before, word = words or [""]
    previous = before[-1] if before else ""
    plain = _without_options(before)
    if previous in _WITH_VALUE:
        return _begins(word, _of_option(previous, plain))
    if word.startswith("-"):
        return _begins(word, _options())
    if not plain:
        return _begins(word, GLOBAL)
    first = first_match(plain[0], GLOBAL)
    if first == "inspect" and len(plain) == 1:
        return _begins(word, ("prog", "map", "link"))
    if first == "completion":
        return _begins(word, ("bash", "zsh", "fish"))
    if first == "batch":
        return _begins(word, ("file",)) if len(plain) == 1 else []
    if first == "inspect":
        return _begins(word, _values(first, plain) or ("id", "pinned", "tag", "name"))
    if first not in OBJECT:
        return []
    if len(plain) == 1:
        return _begins(word, (command.name for command in OBJECT[first].commands))
    if plain[-1] in FILES:
        return []
    found = _values(first, plain)
    if not found:
        command = OBJECT[first].match(plain[1])
        found = command.keywords.split() if command is not None else ()
    return _begins(word, found)


def _begins(word: str, names: Iterable[str]) -> list[str]:
    return [name for name in dict.fromkeys(names) if name.startswith(word)]


def _options() -> list[str]:
    short = [f"-{option[0]}" for option in OPTIONS if option[0]]
    return [f"--{option[1]}" for option in OPTIONS if option[1]] + short


def _without_options(words: list[str]) -> list[str]:
    kept = []
    skip = False
    for word in words:
        if not skip and not word.startswith("-"):
            kept.append(word)
        skip = not skip and word in _WITH_VALUE
    return kept


def _of_option(option: str, plain: list[str]) -> Iterable[str]:
    if option in ("--sort", "--filter"):
        if plain[1:2] and plain[1].startswith("to"):
            from bpflens.bpftool.prog_top import COLUMNS

            return COLUMNS
        from bpflens.bpftool.show_table import COLUMNS as SHOWN

        return SHOWN.get(first_match(plain[0], OBJECT) or "" if plain else "", ())
    return ("always", "auto", "never") if option == "--color" else ()


# --- values -------------------------------------------------------------------------------------


def _values(first: str, plain: list[str]) -> Iterable[str]:
    previous = plain[-1]
    if previous in ("id", "name", "tag"):
        if plain[1] == "create":
            return ()
        return _objects(_kind(first, plain[:-1]), previous)
    if previous in ("dev", "offload_dev", "xdpmeta_dev"):
        return _devices()
    if previous == "type" and first == "map":
        from bpflens.uapi.bpf import MAP_TYPE_NAMES

        return MAP_TYPE_NAMES[1:]
    if previous == "flags" and first == "map":
        from bpflens.uapi import bpf

        return [name[6:].lower() for name in dir(bpf) if name.startswith("BPF_F_")]
    if first == "map" and ("key" in plain or "value" in plain) and len(plain) > 3:
        return _fields(plain)
    return ()


def _kind(first: str, before: list[str]) -> str:
    # Which kind of object the nearest word before asks for; the object's own otherwise.
    for at in range(len(before) - 1, 0, -1):
        if before[at] in _HANDLES and not (at == 1 and first != "inspect"):
            return _HANDLES[before[at]]
    if first == "map" and "value" in before:
        return "prog"
    if first == "prog" and before[1:2] and before[1] in ("attach", "detach") and len(before) > 4:
        return "map"
    return _OF_OBJECT.get(first, "prog")


def _objects(kind: str, how: str) -> list[str]:
    from bpflens.kernel import object_command

    if how == "id":
        following = getattr(object_command, f"{kind}_get_next_id")
        found, id = [], following(0)
        while id is not None:
            found.append(str(id))
            id = following(id)
        return found
    if kind == "map":
        from bpflens.bpftool.handle import opened
        from bpflens.objects.map import Map
        from bpflens.uapi.bpf import BPF_F_RDONLY

        names = []
        for map in opened("map", lambda id: Map.from_id(id, open_flags=BPF_F_RDONLY)):
            with map:
                names.append(map.info.name)
        return sorted({name for name in names if name})
    if kind == "prog":
        return sorted({name for name in _programs(how) if name})
    return []


def _programs(how: str) -> list[str]:
    from bpflens.bpftool.handle import opened
    from bpflens.bpftool.prog_show import full_name
    from bpflens.objects.program import Program

    found = []
    for program in opened("prog", Program.from_id):
        with program:
            found.append(program.tag if how == "tag" else full_name(program))
    return found


def _devices() -> list[str]:
    import os

    return sorted(os.listdir("/sys/class/net"))


def _fields(plain: list[str]) -> list[str]:
    # What a key or value of the map may name: "saddr=", "dport=", ...
    from bpflens.bpftool import handle
    from bpflens.bpftool.words import Words
    from bpflens.btf.types import Struct
    from bpflens.uapi.bpf import BPF_F_RDONLY

    at = max(number for number, word in enumerate(plain) if word in ("key", "value"))
    with handle.one_map(Words(plain[2:]), BPF_F_RDONLY) as map:
        btf, info = map.btf(), map.info
        type_id = info.btf_key_type_id if plain[at] == "key" else info.btf_value_type_id
        found = btf.resolve(type_id) if btf is not None and type_id else None
        if not isinstance(found, Struct):
            return []
        given = {word.partition("=")[0] for word in plain[at + 1 :]}
        return [f"{one.name}=" for one in found.members if one.name and one.name not in given]

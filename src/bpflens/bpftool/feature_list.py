"""``feature list_builtins GROUP`` and ``feature explain NAME``: names known, and what they mean.

Example::

    $ bpftool feature list_builtins link_types
    unspec
    raw_tracepoint
"""

from __future__ import annotations

from bpflens.bpftool.tool import Failure
from bpflens.bpftool.words import Usage
from bpflens.uapi import bpf as _uapi
from bpflens.uapi.helper import HELPER_NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.bpftool.tool import Tool
    from bpflens.bpftool.words import Words

__all__ = ["explain", "list_builtins"]

_GROUPS = ("prog_types", "map_types", "attach_types", "link_types", "helpers")


def list_builtins(tool: Tool, words: Words) -> int:
    """List the names of a group."""
    words.need(1)
    group = words.take_keyword(*_GROUPS)
    if group is None:
        raise Usage
    words.end()
    names = _names(group)
    if tool.json is not None:
        tool.json.value(names)
    else:
        tool.out("".join(f"{name}\n" for name in names))
    return 0


def _names(group: str) -> list[str]:
    if group == "helpers":
        return [f"bpf_{name or 'unspec'}" for name in HELPER_NAMES]
    table = {
        "prog_types": _uapi.PROG_TYPE_NAMES,
        "map_types": _uapi.MAP_TYPE_NAMES,
        "attach_types": _uapi.ATTACH_TYPE_NAMES,
        "link_types": _uapi.LINK_TYPE_NAMES,
    }[group]
    return list(table)


def explain(tool: Tool, words: Words) -> int:
    """Say what a feature is, since when Linux has it, and whether this kernel does."""
    words.need(1)
    name = words.take()
    words.end()
    found = _found(name.removeprefix("bpf_") if name.startswith("bpf_") else name)
    if not found:
        from difflib import get_close_matches

        near = get_close_matches(name, sorted(_all_names()), 3, 0.6)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise Failure(f"no feature named {name}{hint}")
    if tool.json is not None:
        tool.json.value(found)
        return 0
    for one in found:
        tool.out(f"{one['name']} ({one['kind']})\n")
        if one["what"]:
            tool.out(f"\t{one['what']}\n")
        if one["since"]:
            tool.out(f"\tin Linux since {one['since']}\n")
        words_of = {True: "available", False: "NOT available", None: "not certain"}
        tool.out(f"\tthis kernel: {words_of[one['available']]}\n")  # type: ignore[index]
        if one["option"]:
            tool.out(f"\tneeds {one['option']}\n")
    return 0


def _all_names() -> set[str]:
    from bpflens.kernel.feature import all_features

    return {*all_features(), *_uapi.PROG_TYPE_NAMES, *_uapi.MAP_TYPE_NAMES, *HELPER_NAMES}


def _found(name: str) -> list[dict[str, object]]:
    # The same word may be a feature, a program type, a map type and a helper.
    from bpflens.kernel import feature
    from bpflens.kernel.option import option

    found: list[dict[str, object]] = []
    if name in feature.all_features():
        found.append(_row(name, "feature", feature.feature(name), option("feature", name)))
    for kind, names, make in (
        ("program type", _uapi.PROG_TYPE_NAMES, feature.prog_type),
        ("map type", _uapi.MAP_TYPE_NAMES, feature.map_type),
    ):
        if name in names:
            one = make(names.index(name))
            found.append(_row(name, kind, one, option(kind, name)))
    if name in HELPER_NAMES:
        found.append(_helper(name))
    return found


def _row(name: str, kind: str, one, needs: str) -> dict[str, object]:  # type: ignore[no-untyped-def]
    return {
        "name": name,
        "kind": kind,
        "what": one.what if one.what != one.name else "",
        "since": one.since,
        "available": one.answer(),
        "option": needs,
    }


def _helper(name: str) -> dict[str, object]:
    from bpflens.errors import Error
    from bpflens.kernel.probe import has_helper
    from bpflens.uapi.helper import HELPER_SIGNATURES

    number = HELPER_NAMES.index(name)
    result, parameters = HELPER_SIGNATURES[number][:2]
    allowed = []
    for kind in range(1, len(_uapi.PROG_TYPE_NAMES)):
        try:
            if has_helper(kind, number):
                allowed.append(_uapi.PROG_TYPE_NAMES[kind])
        except (Error, OSError):
            continue  # programs of this type cannot be loaded here
    what = f"{result} bpf_{name}({parameters})"
    if allowed:
        what += f"; for programs of type {', '.join(allowed)}"
    return {"name": f"bpf_{name}", "kind": "helper", "what": what, "since": "",
            "available": bool(allowed), "option": ""}  # fmt: skip

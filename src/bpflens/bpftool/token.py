"""``token show|list``: what BPF file systems delegate, as their mount options say.

Example::

    $ bpftool token list
    token_info  /run/delegated
        allowed_cmds:
          map_create          prog_load
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.bpftool.tool import Tool
    from bpflens.bpftool.words import Words

__all__ = ["show"]

_KINDS = ("cmds", "maps", "progs", "attachs")


def show(tool: Tool, words: Words) -> int:
    """Show the mounts that delegate something."""
    words.end()
    found = _mounts()
    if tool.json is not None:
        tool.json.value(
            [
                {"token_info": place, **{f"allowed_{kind}": given[kind] for kind in _KINDS}}
                for place, given in found
            ]
        )
        return 0
    for place, given in found:
        tool.out(f"token_info  {place}")
        for kind in _KINDS:
            tool.out(f"\n\tallowed_{kind}:")
            for at, name in enumerate(given[kind]):
                tool.out(("" if at % 4 else "\n\t  ") + f"{name:<20}")
        tool.out("\n")
    return 0


def _mounts() -> list[tuple[str, dict[str, list[str]]]]:
    found = []
    with open("/proc/self/mounts") as file:
        for line in file:
            fields = line.split()
            if len(fields) < 4 or fields[2] != "bpf" or "delegate_" not in fields[3]:
                continue
            options = dict(option.partition("=")[::2] for option in fields[3].split(","))
            given = {
                kind: [name for name in options.get(f"delegate_{kind}", "").split(":") if name]
                for kind in _KINDS
            }
            found.append((fields[1].replace("\\040", " "), given))
    return found

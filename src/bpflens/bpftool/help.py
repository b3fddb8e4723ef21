"""The help texts, made from the table of commands.

Help goes to standard error, as the real tool's does; under ``-j`` it is ``null``, but for ``perf``
and ``iter``, whose help is plain text even then (scripts may read it).

Example::

    show(tool, OBJECT["link"])      # Usage: bpftool link { show | list }   [LINK] ...
"""

from __future__ import annotations

from bpflens.bpftool.grammar import OBJECT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.bpftool.grammar import Object
    from bpflens.bpftool.tool import Tool

__all__ = ["show", "text"]

_MAIN = """\
Usage: bpftool [OPTIONS] OBJECT {{ COMMAND | help }}
       bpftool batch file FILE
       bpftool version
       bpftool inspect {{ prog PROG | map MAP | link LINK }}
       bpftool completion {{ bash | zsh | fish }}

       OBJECT := {{ {objects} }}
       OPTIONS := {{ {{-j|--json}} [{{-p|--pretty}}] | {{-d|--debug}} |
                    {{-V|--version}} }}
"""
_PLAIN_ALWAYS = ("perf", "iter")


def text(found: Object | None) -> str:
    """Return the help of an object, or of the whole."""
    if found is None:
        return _MAIN.format(objects=" | ".join(OBJECT))
    lines = [f"bpftool {found.name} {usage}" for usage in found.usage]
    return "Usage: " + "\n       ".join(lines) + "\n" + found.legend


def show(tool: Tool, found: Object | None) -> int:
    """Print the help of an object; return 0."""
    if tool.json is not None and (found is None or found.name not in _PLAIN_ALWAYS):
        tool.json.value(None)
        return 0
    tool.note(text(found).removesuffix("\n"))
    return 0

"""``bpflens completion bash|zsh|fish``: shell completion of bpflens and of bpftool.

Example::

    $ eval "$(bpflens completion bash)"
"""

from __future__ import annotations

from bpflens.cli import exits
from bpflens.cli.main import DOORS
from bpflens.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

_SHELLS = ("bash", "zsh", "fish")


def main(words: Sequence[str]) -> int:
    """Print the completion script of a shell; return the exit status."""
    if len(words) != 1 or words[0] not in _SHELLS:
        raise UsageError(f"Usage: bpflens completion {'|'.join(_SHELLS)}")
    from bpflens.bpftool.completion import script

    names = [name for door in DOORS if door.module for name in door.words]
    print(script(words[0], [*names, "link", "completion"]), end="")
    return exits.OK

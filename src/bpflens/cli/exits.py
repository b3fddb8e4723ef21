"""The exit statuses of every command, in one place.

A shell reports a process that died of signal N as 128 + N; INTERRUPTED and BROKEN_PIPE follow it,
so that a script cannot tell our clean ending from the signal's own.

Example::

    from bpflens.cli import exits

    sys.exit(exits.USAGE)
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

__all__ = ["BROKEN_PIPE", "FAILURE", "INTERRUPTED", "OK", "TOOL_FAILURE", "USAGE"]

OK: Final = 0
FAILURE: Final = 1
USAGE: Final = 2
# SIGINT is 2 and SIGPIPE 13 on every architecture that Linux has BPF for.
INTERRUPTED: Final = 130
BROKEN_PIPE: Final = 141
# What bpftool gives for any failure (its main() returns -1).
TOOL_FAILURE: Final = 255

"""Measurements of the tracing command, side by side with the real one where it is installed.

    python3 tools/dev.py bench                     everything
    python3 tools/dev.py bench start-up per-event  some of it
    python3 tools/dev.py bench --runs 9 --json rows.json printf

Each module measures one thing and yields rows: case, metric, ours, theirs. The two commands are run
in turn, never one after all of the other, so that a busy machine slows both. Times are the least of
several runs where the machine only ever adds to them, and medians where it does not.
"""

from __future__ import annotations

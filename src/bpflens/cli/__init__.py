"""The command line: argument words → one front door, and what goes wrong → one sentence.

:mod:`bpflens.cli.main` chooses the door, :mod:`bpflens.cli.link` makes the doors' own names,
:mod:`bpflens.cli.exits` holds the exit statuses. No other part of bpflens imports this one.

Example::

    $ bpflens trace -e 'BEGIN { printf("hello\\n"); exit() }'
    hello
"""

from __future__ import annotations

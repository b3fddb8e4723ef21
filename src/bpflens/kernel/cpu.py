"""Which CPUs there are.

Turns the kernel's lists (``0-3,8``) into numbers. ``possible`` is what per-CPU map values are
sized by, ``online`` where events can be opened; they differ on machines that can grow.

Example::

    possible_count()      # 4
    online()              # [0, 1, 2, 3]
"""

from __future__ import annotations

import os

__all__ = ["online", "parse_list", "possible", "possible_count"]

_SYSTEM = "/sys/devices/system/cpu/"

_possible: list[int] = []


def parse_list(text: str) -> list[int]:
    """Return the numbers of a list like ``"0-3,8"``.

    Raises :class:`~bpflens.errors.FormatError` for anything else.
    """
    numbers: list[int] = []
    try:
        for part in text.strip().split(","):
            if part:
                first, _, last = part.partition("-")
                numbers.extend(range(int(first), int(last or first) + 1))
    except ValueError:
        from bpflens.errors import FormatError

        raise FormatError("CPU list", f"{text.strip()!r} is not like 0-3,8") from None
    return numbers


def _read(name: str) -> list[int]:
    try:
        with open(_SYSTEM + name) as file:
            return parse_list(file.read())
    except OSError:
        # No /sys, as in a bare container: what the C library says is the best guess left.
        return list(range(os.cpu_count() or 1))


def online() -> list[int]:
    """Return the CPUs that run now."""
    return _read("online")


def possible() -> list[int]:
    """Return the CPUs that may ever run until the next boot."""
    if not _possible:
        _possible.extend(_read("possible"))
    return list(_possible)


def possible_count() -> int:
    """Return how many values a per-CPU map holds for each key: the last possible CPU plus one."""
    if not _possible:
        _possible.extend(_read("possible"))
    return _possible[-1] + 1

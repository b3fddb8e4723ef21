"""Names of numbers, as the C library has them: errors, signals, system calls.

Lists indexed by the number; an empty string stands where there is no name.
"""

from __future__ import annotations

__all__ = ["errors", "signals", "system_calls"]

_LAST_ERROR = 133
_LAST_SIGNAL = 64
# strsignal() leaves the real-time signals to their numbers; glibc keeps the first two to itself.
_FIRST_REAL_TIME = 34


def errors() -> list[str]:
    """Return the messages of strerror(3)."""
    from os import strerror

    names = [strerror(number) for number in range(_LAST_ERROR + 1)]
    return ["" if name.startswith("Unknown error") else name for name in names]


def signals() -> list[str]:
    """Return the descriptions of strsignal(3)."""
    from signal import strsignal

    names = ["Unknown signal 0"]
    for number in range(1, _LAST_SIGNAL + 1):
        if number < _FIRST_REAL_TIME:
            names.append(strsignal(number) or f"Unknown signal {number}")
        else:
            names.append(f"Real-time signal {number - _FIRST_REAL_TIME}")
    return names


def system_calls(arch: str) -> list[str]:
    """Return the names of an architecture's system calls."""
    from bpflens.uapi import syscall

    x86 = arch == "x86_64"
    table = syscall.SYSCALL_NAMES_X86_64 if x86 else syscall.SYSCALL_NAMES_AARCH64
    names = [""] * (max(table) + 1)
    for number, name in table.items():
        names[number] = name
    return names

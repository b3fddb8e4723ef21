"""Addresses ↔ names: of the kernel, of processes, of files.

* :mod:`bpflens.symbols.kallsyms` the kernel's symbols
* :mod:`bpflens.symbols.process` the mappings and symbols of a process, living or gone
* :mod:`bpflens.symbols.module` symbols of one file, shared between processes
* :mod:`bpflens.symbols.stack` addresses → frames → text
* :mod:`bpflens.symbols.binary` which file a name such as ``bash`` or ``libc`` means
* :mod:`bpflens.symbols.demangle` C++ and Rust names

The names below are imported on first use.

Example::

    from bpflens.symbols import Kallsyms

    Kallsyms().resolve(0xffffffff81234567)      # ('vfs_read', 7, '')
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.symbols.binary import find_binary, find_library
    from bpflens.symbols.demangle import demangle
    from bpflens.symbols.kallsyms import Kallsyms
    from bpflens.symbols.process import Process, Processes
    from bpflens.symbols.stack import Frame

__all__ = [
    "Frame",
    "Kallsyms",
    "Process",
    "Processes",
    "demangle",
    "find_binary",
    "find_library",
]

_HOME = {
    "Frame": "stack",
    "Kallsyms": "kallsyms",
    "Process": "process",
    "Processes": "process",
    "demangle": "demangle",
    "find_binary": "binary",
    "find_library": "binary",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value

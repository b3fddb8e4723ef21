"""bpflens: see, trace and measure a Linux system through BPF, in pure Python.

One package does the work of bpftool, bpftrace, ebpf_exporter and kubectl-trace. The names below
are the public Python API; they are imported on first use, so that ``import bpflens`` is free.

Example::

    from bpflens import Map

    with Map.by_name("counters") as counters:
        for key, value in counters.items():
            print(key, value)
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.errors import (
        AttachError,
        CompileError,
        Error,
        FormatError,
        NotFound,
        NotSupported,
        SyscallError,
        UsageError,
        VerifierError,
    )
    from bpflens.kernel.feature import Feature
    from bpflens.objects.btf import Btf
    from bpflens.objects.iterate import btfs, links, maps, programs
    from bpflens.objects.link import Link
    from bpflens.objects.map import Map
    from bpflens.objects.pin import open_pin
    from bpflens.objects.program import Program, Statistics
    from bpflens.spec import MapSpec, ObjectSpec, ProgramSpec

__version__ = "0.1.0"

__all__ = [
    "AttachError",
    "Btf",
    "CompileError",
    "Error",
    "Feature",
    "FormatError",
    "Link",
    "Map",
    "MapSpec",
    "NotFound",
    "NotSupported",
    "ObjectSpec",
    "Program",
    "ProgramSpec",
    "Statistics",
    "SyscallError",
    "UsageError",
    "VerifierError",
    "__version__",
    "btfs",
    "links",
    "maps",
    "open_pin",
    "programs",
]

_ERRORS = (
    "AttachError CompileError Error FormatError NotFound NotSupported SyscallError UsageError "
    "VerifierError"
)
# Where each public name lives (PEP 562): a name costs nothing until it is used.
_HOMES = {
    **dict.fromkeys(_ERRORS.split(), "bpflens.errors"),
    **dict.fromkeys(("btfs", "links", "maps", "programs"), "bpflens.objects.iterate"),
    **dict.fromkeys(("MapSpec", "ObjectSpec", "ProgramSpec"), "bpflens.spec"),
    **dict.fromkeys(("Program", "Statistics"), "bpflens.objects.program"),
    "Btf": "bpflens.objects.btf",
    "Feature": "bpflens.kernel.feature",
    "Link": "bpflens.objects.link",
    "Map": "bpflens.objects.map",
    "open_pin": "bpflens.objects.pin",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))

"""Object files on the command line → loaded objects; and what is said when that fails.

A refusal by the verifier is printed as libbpf prints it (the log between BEGIN and END, on standard
error), then the one line of the error, which names the source line where it can.

Example::

    spec = read("filter.bpf.o")
    with load(tool, spec, {}) as loaded:
        ...
"""

from __future__ import annotations

import os

from bpflens.bpftool.tool import Failure, cause, strerror
from bpflens.errors import Error, FormatError, SyscallError, VerifierError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bpflens.bpftool.tool import Tool
    from bpflens.btf import Btf
    from bpflens.load.collection import Loaded
    from bpflens.objects.map import Map
    from bpflens.spec import ObjectSpec

__all__ = ["load", "map_order", "read"]

_LAST_LINES = 40
_ALL_LEVELS = 1 + 2 + 4


def read(path: str) -> ObjectSpec:
    """Read an object file."""
    from bpflens.load import object_file

    if not os.path.exists(path):
        raise Failure(f"failed to open object file: {path}: No such file or directory")
    try:
        return object_file.read(path)
    except FormatError as error:
        raise Failure(f"failed to open object file: {path}: {error}") from None
    except OSError as error:
        raise Failure(f"failed to open object file: {path}: {strerror(error)}") from None


def load(
    tool: Tool,
    spec: ObjectSpec,
    reuse: Mapping[str, Map] | None = None,
    *,
    programs: Iterable[str] | None = None,
    kernel_types: Btf | None = None,
) -> Loaded:
    """Load an object; complain as the real tool does."""
    from bpflens.load.collection import load_object

    try:
        loaded = load_object(
            spec,
            reuse=reuse,
            programs=programs,
            kernel_types=kernel_types,
            log_level=_ALL_LEVELS if tool.debug else 0,
        )
    except VerifierError as error:
        _tell_log(tool, error)
        raise Failure(f"failed to load object file: {_verdict(error)}") from None
    except SyscallError as error:
        raise Failure(f"failed to load object file: {error.command}: {cause(error)}") from None
    except Error as error:
        raise Failure(f"failed to load object file: {error}") from None
    for name, lines in loaded.logs.items():
        tool.note(f"prog '{name}': -- BEGIN PROG LOAD LOG --")
        for line in lines:
            tool.note(line)
        tool.note("-- END PROG LOAD LOG --")
    return loaded


def _tell_log(tool: Tool, error: VerifierError) -> None:
    name = error.program
    left_out = len(error.log) - _LAST_LINES
    lines = error.log if tool.debug or left_out <= 0 else error.log[-_LAST_LINES:]
    tool.note(f"prog '{name}': BPF program load failed: -{error.errno_name}")
    tool.note(f"prog '{name}': -- BEGIN PROG LOAD LOG --")
    if lines is not error.log:
        tool.note(f"({left_out} lines left out; --debug shows all)")
    for line in lines:
        tool.note(line)
    tool.note("-- END PROG LOAD LOG --")


def _verdict(error: VerifierError) -> str:
    useful = [line for line in error.log if line.strip() and not line.startswith("processed ")]
    why = useful[-1] if useful else strerror(error)
    text = f"program {error.program}: {strerror(error)}: {why}"
    if error.source is not None:
        file, line, column, source = error.source
        text += f" at {file}:{line}:{column}: {source.strip()}"
    return text


def map_order(spec: ObjectSpec) -> list[str]:
    """Return the names of an object's maps in the order in which libbpf numbers them.

    Maps that the program declares, data sections, build options, tables of functions.
    """

    def rank(name: str) -> int:
        if spec.maps[name].struct_ops:
            return 3
        return 2 if name == ".kconfig" else int(name.startswith("."))

    return sorted(spec.maps, key=rank)

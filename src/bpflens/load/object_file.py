"""Read a BPF object file as clang writes it: ELF in, :class:`~bpflens.spec.ObjectSpec` out.

Everything that does not depend on the running kernel happens here: maps are described, programs
linked with the functions they call, line info and BTF made ready. What does (types, symbols,
build options, functions of the kernel) is left as relocations and externs for
:func:`bpflens.load.collection.load_object`. Reading the same file gives the same spec anywhere.

Not here: a section name that means nothing gives a program of type 0, which the loader refuses
unless a type is set on the spec first.

Example::

    spec = read("filter.bpf.o")
    with load_object(spec) as loaded:
        ...
"""

from __future__ import annotations

import os

from bpflens.elf import File
from bpflens.load.object_btf import finished
from bpflens.load.object_extern import KCONFIG, collect, kconfig_map
from bpflens.load.object_map import ObjectMaps
from bpflens.load.object_program import Linker
from bpflens.load.object_source import Source
from bpflens.spec import ObjectSpec
from bpflens.uapi.elf import STV_HIDDEN, STV_INTERNAL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.elf.source import Input

__all__ = ["read"]


def read(source: Input, name: str = "") -> ObjectSpec:
    """Read an object file: a path, its bytes, or an open descriptor.

    ``name`` is the object's name in the names of its data maps (``name.bss``); from the path if
    empty. Raises :class:`~bpflens.errors.FormatError`.
    """
    with File(source) as file:
        return _read(Source(file, name or _object_name(source)))


def _read(source: Source) -> ObjectSpec:
    maps = ObjectMaps(source)
    externs = collect(source)
    options = kconfig_map(source, externs)
    if options is not None:
        maps.specs[KCONFIG] = options
    programs = Linker(source, maps, externs).programs()
    hidden = {
        symbol.name
        for section in source.code
        for symbol in source.functions_in(section)
        if symbol.visibility in (STV_HIDDEN, STV_INTERNAL)
    }
    return ObjectSpec(
        maps.specs,
        programs,
        btf=finished(source, externs, hidden),
        name=source.name,
        externs=externs,
    )


# The file's name without directory and endings, as libbpf makes it.
def _object_name(source: Input) -> str:
    if isinstance(source, int | bytes | bytearray | memoryview) or hasattr(source, "read"):
        return "object"
    return os.path.basename(os.fsdecode(source)).partition(".")[0]

"""What an object file expects of the kernel: ``__kconfig`` and ``__ksym`` declarations.

Turns undefined symbols and the BTF sections ``.kconfig`` and ``.ksyms`` into
:class:`~bpflens.spec.Extern`, and lays out the map ``.kconfig`` that will hold the values of build
options. Values are looked up when the object is loaded, never here.

Example::

    externs = collect(source)
    externs["CONFIG_HZ"].offset
"""

from __future__ import annotations

from bpflens.btf.types import Array, Datasec, Enum, Func, Int, Struct, Var, Void
from bpflens.errors import FormatError
from bpflens.spec import Extern, MapSpec
from bpflens.uapi.bpf import BPF_F_MMAPABLE, BPF_F_RDONLY_PROG, BPF_MAP_TYPE_ARRAY
from bpflens.uapi.btf import BTF_KIND_DATASEC
from bpflens.uapi.elf import STB_GLOBAL, STB_WEAK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.btf import Btf
    from bpflens.elf import Symbol
    from bpflens.load.object_source import Source

__all__ = ["KCONFIG", "collect", "kconfig_map"]

#: The name of the map that holds the values of build options.
KCONFIG = ".kconfig"
_KSYMS = ".ksyms"
# More characters than any build option of a kernel has.
_LONGEST = 4096


def collect(source: Source) -> dict[str, Extern]:
    """Return the externs of an object by name, those of ``.kconfig`` with their places.

    Raises :class:`~bpflens.errors.FormatError` for a declaration that BTF does not explain.
    """
    declared = _declared(source.btf) if source.btf else {}
    externs: dict[str, Extern] = {}
    for symbol in source.symbols:
        if symbol.shndx or not symbol.name or symbol.bind not in (STB_GLOBAL, STB_WEAK):
            continue
        if symbol.name not in declared:
            raise FormatError("object file", f"{symbol.name} is declared, but nowhere defined")
        section, type_id = declared[symbol.name]
        btf = source.btf
        assert btf is not None
        externs[symbol.name] = _extern(btf, symbol, section, type_id)
    if btf := source.btf:
        _lay_out(btf, externs)
    return externs


def kconfig_map(source: Source, externs: dict[str, Extern]) -> MapSpec | None:
    """Return the map for the values of build options, or None when none is asked for."""
    options = [extern for extern in externs.values() if extern.kind == "kconfig"]
    if not options or source.btf is None:
        return None
    size = max(option.offset + option.size for option in options)
    return MapSpec(
        source.name[: 15 - len(KCONFIG)] + KCONFIG,
        BPF_MAP_TYPE_ARRAY,
        4,
        size,
        1,
        flags=BPF_F_MMAPABLE | BPF_F_RDONLY_PROG,
        value_type_id=source.btf.find(KCONFIG, BTF_KIND_DATASEC) or 0,
        freeze=True,
    )


# Section and type (VAR or FUNC) of every extern that BTF knows.
def _declared(btf: Btf) -> dict[str, tuple[str, int]]:
    found = {}
    for section in (KCONFIG, _KSYMS):
        id = btf.find(section, BTF_KIND_DATASEC)
        datasec = btf.type(id) if id else None
        if isinstance(datasec, Datasec):
            for entry in datasec.vars:
                found[btf.name(entry.type_id)] = (section, entry.type_id)
    return found


def _extern(btf: Btf, symbol: Symbol, section: str, type_id: int) -> Extern:
    weak = symbol.bind == STB_WEAK
    declared = btf.type(type_id)
    if isinstance(declared, Func):
        return Extern(symbol.name, "kfunc", declared.type_id, weak=weak)
    if not isinstance(declared, Var):
        raise FormatError("object file", f"extern {symbol.name} is neither variable nor function")
    if section == KCONFIG:
        _check_option(btf, symbol.name, declared.type_id)
        size = btf.size_of(declared.type_id)
        return Extern(symbol.name, "kconfig", declared.type_id, weak=weak, size=size)
    if isinstance(btf.resolve(declared.type_id), Void):
        return Extern(symbol.name, "ksym", 0, weak=weak)
    return Extern(symbol.name, "ksym", declared.type_id, weak=weak)


def _check_option(btf: Btf, name: str, type_id: int) -> None:
    found = btf.resolve(type_id)
    if isinstance(found, Array):
        element = btf.resolve(found.type_id)
        fits = isinstance(element, Int) and element.size == 1 and 0 < found.nr_elems <= _LONGEST
    elif isinstance(found, Enum):
        fits = found.name == "libbpf_tristate" and found.size == 4
    else:
        fits = isinstance(found, Int) and found.size in (1, 2, 4, 8)
    if not fits:
        raise FormatError("object file", f"build option {name} has a type that no option has")


# Place the options one after another: large alignments first, small ones inside them.
def _lay_out(btf: Btf, externs: dict[str, Extern]) -> None:
    options = [extern for extern in externs.values() if extern.kind == "kconfig"]
    options.sort(key=lambda option: (-_alignment(btf, option.type_id), option.size, option.name))
    offset = 0
    for option in options:
        alignment = _alignment(btf, option.type_id)
        option.offset = (offset + alignment - 1) // alignment * alignment
        offset = option.offset + option.size


def _alignment(btf: Btf, type_id: int) -> int:
    found = btf.resolve(type_id)
    if isinstance(found, Array):
        return _alignment(btf, found.type_id)
    if isinstance(found, Struct):
        return max((_alignment(btf, member.type_id) for member in found.members), default=1)
    return max(min(btf.size_of(type_id), 8), 1)

"""Fill in what instructions could not know: map descriptors, addresses, call distances, kernel ids.

Turns the raw instruction stream of a :class:`~bpflens.spec.ProgramSpec` and a :class:`Resolver`
into the bytes that BPF_PROG_LOAD takes. Pure: numbers come in through the resolver.

Invariants: only the slots named by relocations change; a relocation at an instruction that cannot
carry it is an error, never a silent patch.

Example::

    resolver = Resolver(maps={"counts": MapTarget(5, direct=True)})
    insns = patch(program, resolver)
"""

from __future__ import annotations

from struct import Struct

from bpflens.errors import FormatError, NotFound
from bpflens.uapi.bpf import (
    BPF_PSEUDO_BTF_ID,
    BPF_PSEUDO_CALL,
    BPF_PSEUDO_FUNC,
    BPF_PSEUDO_KFUNC_CALL,
    BPF_PSEUDO_MAP_FD,
    BPF_PSEUDO_MAP_VALUE,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bpflens.spec import ProgramSpec, Reloc

__all__ = ["MISSING_CALL", "KernelTarget", "MapTarget", "Resolver", "near", "patch"]

_LD_IMM64 = 0x18
_CALL = 0x85
#: A helper number that does not exist: a call of a weak kernel function that this kernel lacks
#: becomes this, which the verifier refuses only if the call can be reached.
MISSING_CALL = 2002000000

_REGS_OFF_IMM = Struct("<BBhi")


class MapTarget:
    """A map in the kernel: its descriptor, and whether an address inside its value can be had."""

    __slots__ = ("direct", "fd")

    def __init__(self, fd: int, direct: bool = False) -> None:
        self.fd = fd
        self.direct = direct


class KernelTarget:
    """A kernel function or variable.

    ``btf_id`` is its id in the BTF of vmlinux or of a module; ``fd_index`` the place of the
    module's BTF in the program's fd_array (0 = vmlinux), ``btf_fd`` that BTF's descriptor.
    A variable without BTF has only an ``address``.
    """

    __slots__ = ("address", "btf_fd", "btf_id", "fd_index")

    def __init__(
        self, btf_id: int = 0, address: int = 0, btf_fd: int = 0, fd_index: int = 0
    ) -> None:
        self.btf_id = btf_id
        self.address = address
        self.btf_fd = btf_fd
        self.fd_index = fd_index


class Resolver:
    """Answers what a name in a relocation stands for.

    ``maps`` by name; ``kernel(name, is_call)`` gives a :class:`KernelTarget` or None for functions
    and variables of the kernel; ``core(program, insns, slot, index)`` applies the CO-RE relocation
    ``program.core[index]`` to the instruction at ``slot``.
    """

    __slots__ = ("core", "kernel", "maps")

    def __init__(
        self,
        maps: Mapping[str, MapTarget] | None = None,
        kernel: Callable[[str, bool], KernelTarget | None] | None = None,
        core: Callable[[ProgramSpec, bytearray, int, int], None] | None = None,
    ) -> None:
        self.maps = maps or {}
        self.kernel = kernel
        self.core = core


def patch(program: ProgramSpec, resolver: Resolver) -> bytes:
    """Return the instructions of ``program`` with every relocation filled in.

    Raises :class:`~bpflens.errors.NotFound` for a name nobody knows and
    :class:`~bpflens.errors.FormatError` for a relocation that does not fit its instruction.
    """
    if not program.relocs:
        return program.insns
    insns = bytearray(program.insns)
    functions = {name: slot for slot, name, _ in program.funcs}
    for reloc in program.relocs:
        at = reloc.insn * 8
        wide = 16 if reloc.kind in _WIDE else 8
        if at < 0 or at + wide > len(insns):
            raise _misfit(program, reloc, "lies behind the end of the program")
        if reloc.kind in _WIDE and insns[at] != _LD_IMM64:
            raise _misfit(program, reloc, "is not at a 64-bit load")
        if reloc.kind in _CALLS and insns[at] != _CALL:
            raise _misfit(program, reloc, "is not at a call")
        apply = _KINDS.get(reloc.kind)
        if apply is None:
            raise _misfit(program, reloc, "is of an unknown kind")
        apply(program, insns, reloc, resolver, functions)
    return bytes(insns)


def near(name: str, names: Mapping[str, object]) -> list[str]:
    """Return the names most like ``name``, for a message."""
    import difflib

    return difflib.get_close_matches(name, list(names), n=3)


def _misfit(program: ProgramSpec, reloc: Reloc, problem: str) -> FormatError:
    what = f"relocation {reloc.kind} of {reloc.name or 'nothing'} {problem}"
    return FormatError(f"program {program.name}", what, f"instruction {reloc.insn}")


# Set source register and immediate (64 bits) of the wide load at `at`.
def _set_wide(insns: bytearray, at: int, source: int, low: int, high: int) -> None:
    insns[at + 1] = insns[at + 1] & 0x0F | source << 4
    insns[at + 4 : at + 8] = (low & 0xFFFFFFFF).to_bytes(4, "little")
    insns[at + 12 : at + 16] = (high & 0xFFFFFFFF).to_bytes(4, "little")


def _map(
    program: ProgramSpec, insns: bytearray, reloc: Reloc, resolver: Resolver, _: dict[str, int]
) -> None:
    target = _map_target(reloc, resolver)
    if reloc.addend:
        raise _misfit(program, reloc, f"points {reloc.addend} bytes into a map itself")
    _set_wide(insns, reloc.insn * 8, BPF_PSEUDO_MAP_FD, target.fd, 0)


def _map_value(
    program: ProgramSpec, insns: bytearray, reloc: Reloc, resolver: Resolver, _: dict[str, int]
) -> None:
    target = _map_target(reloc, resolver)
    if not target.direct:
        # kernel/bpf/verifier.c resolve_pseudo_ldimm64: only maps with map_direct_value_addr.
        raise _misfit(
            program, reloc, "needs an address in the map: only an array with one entry (or an "
            "arena) has one",
        )  # fmt: skip
    _set_wide(insns, reloc.insn * 8, BPF_PSEUDO_MAP_VALUE, target.fd, reloc.addend)


def _map_target(reloc: Reloc, resolver: Resolver) -> MapTarget:
    target = resolver.maps.get(reloc.name)
    if target is None:
        raise NotFound("map", reloc.name, near(reloc.name, resolver.maps))
    return target


def _function(functions: dict[str, int], reloc: Reloc) -> int:
    slot = functions.get(reloc.name)
    if slot is None:
        raise NotFound("function in the program", reloc.name, near(reloc.name, functions))
    return slot + reloc.addend


def _func(
    _: ProgramSpec, insns: bytearray, reloc: Reloc, _r: Resolver, functions: dict[str, int]
) -> None:
    distance = _function(functions, reloc) - reloc.insn - 1
    _set_wide(insns, reloc.insn * 8, BPF_PSEUDO_FUNC, distance, 0)


def _call(
    _: ProgramSpec, insns: bytearray, reloc: Reloc, _r: Resolver, functions: dict[str, int]
) -> None:
    distance = _function(functions, reloc) - reloc.insn - 1
    _REGS_OFF_IMM.pack_into(insns, reloc.insn * 8, _CALL, BPF_PSEUDO_CALL << 4, 0, distance)


def _kfunc(
    _: ProgramSpec, insns: bytearray, reloc: Reloc, resolver: Resolver, _f: dict[str, int]
) -> None:
    target = _kernel_target(reloc, resolver, "kernel function", call=True)
    if target is None:
        _REGS_OFF_IMM.pack_into(insns, reloc.insn * 8, _CALL, 0, 0, MISSING_CALL)
        return
    regs = BPF_PSEUDO_KFUNC_CALL << 4
    _REGS_OFF_IMM.pack_into(insns, reloc.insn * 8, _CALL, regs, target.fd_index, target.btf_id)


def _ksym(
    _: ProgramSpec, insns: bytearray, reloc: Reloc, resolver: Resolver, _f: dict[str, int]
) -> None:
    target = _kernel_target(reloc, resolver, "kernel symbol", call=False)
    if target is None:
        _set_wide(insns, reloc.insn * 8, 0, 0, 0)
    elif target.btf_id:
        _set_wide(insns, reloc.insn * 8, BPF_PSEUDO_BTF_ID, target.btf_id, target.btf_fd)
    else:
        address = target.address + reloc.addend
        _set_wide(insns, reloc.insn * 8, 0, address, address >> 32)


def _kernel_target(reloc: Reloc, resolver: Resolver, what: str, call: bool) -> KernelTarget | None:
    target = resolver.kernel(reloc.name, call) if resolver.kernel else None
    if target is None and not reloc.weak:
        raise NotFound(what, reloc.name)
    return target


def _core(
    program: ProgramSpec, insns: bytearray, reloc: Reloc, resolver: Resolver, _: dict[str, int]
) -> None:
    if resolver.core is None:
        raise _misfit(program, reloc, "cannot be applied: the kernel's BTF is not known")
    resolver.core(program, insns, reloc.insn, reloc.addend)


_WIDE = frozenset(("map", "map_value", "func", "ksym"))
_CALLS = frozenset(("call", "kfunc"))
_KINDS = {
    "map": _map,
    "map_value": _map_value,
    "func": _func,
    "call": _call,
    "kfunc": _kfunc,
    "ksym": _ksym,
    "core": _core,
}

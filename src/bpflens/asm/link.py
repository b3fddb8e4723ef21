"""Program spec → instructions that a :class:`~bpflens.asm.interpreter.Machine` can run.

The loader's relocations, resolved against fakes: maps and kernel functions get small numbers that
the machine's tables know, subprograms their distance, kernel variables their address. CO-RE is not
done here: apply it before, or compile for the target at hand.

Example::

    linked = link_program(spec.programs["main"], {"counts": counts}, kernel.kfuncs())
    Machine(linked.insns, maps=linked.maps, kfuncs=linked.kfuncs)
"""

from __future__ import annotations

from bpflens.asm.instruction import Instruction, decode, slots
from bpflens.asm.memory import MachineError
from bpflens.uapi.bpf import (
    BPF_PSEUDO_CALL,
    BPF_PSEUDO_FUNC,
    BPF_PSEUDO_KFUNC_CALL,
    BPF_PSEUDO_MAP_FD,
    BPF_PSEUDO_MAP_VALUE,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Protocol

    from bpflens.asm.fake_map import FakeMap
    from bpflens.asm.interpreter import Helper

    class RelocLike(Protocol):
        """A :class:`bpflens.spec.Reloc`."""

        @property
        def insn(self) -> int:
            """Slot."""

        @property
        def kind(self) -> str:
            """What to fill in."""

        @property
        def name(self) -> str:
            """Of what."""

        @property
        def addend(self) -> int:
            """Offset from it."""

        @property
        def weak(self) -> bool:
            """Whether it may be missing."""

    class ProgramLike(Protocol):
        """A :class:`bpflens.spec.ProgramSpec`."""

        @property
        def insns(self) -> bytes:
            """Raw instructions."""

        @property
        def relocs(self) -> Sequence[RelocLike]:
            """Open places."""

        @property
        def funcs(self) -> Sequence[tuple[int, str, int]]:
            """Slot, name and type id of the functions."""


__all__ = ["Linked", "link", "link_program"]


class Linked:
    """``insns``, and the numbers in them: ``maps`` and ``kfuncs`` as Machine takes them."""

    __slots__ = ("insns", "kfuncs", "maps")

    def __init__(self, insns: list[Instruction]) -> None:
        self.insns = insns
        self.maps: dict[int, FakeMap] = {}
        self.kfuncs: dict[int, Helper] = {}


def link(
    insns: bytes, relocs: Iterable[RelocLike], maps: Mapping[str, FakeMap]
) -> tuple[list[Instruction], dict[int, FakeMap]]:
    """Resolve the map relocations of instructions; others must be resolved already.

    Returns the instructions and the ``maps`` argument for Machine. Raises MachineError for a map
    that is not given.
    """
    wanted = [reloc for reloc in relocs if reloc.kind in ("map", "map_value")]
    linked = _Linker(insns, (), maps, {}, {}).run(wanted)
    return linked.insns, linked.maps


def link_program(
    program: ProgramLike,
    maps: Mapping[str, FakeMap],
    kfuncs: Mapping[str, Helper] | None = None,
    ksyms: Mapping[str, int] | None = None,
) -> Linked:
    """Resolve all relocations of a program; ``ksyms`` gives the addresses of kernel variables.

    Raises MachineError for names that are not given (weak ones become 0) and for CO-RE.
    """
    linker = _Linker(program.insns, program.funcs, maps, kfuncs or {}, ksyms or {})
    return linker.run(program.relocs)


class _Linker:
    def __init__(
        self,
        insns: bytes,
        funcs: Sequence[tuple[int, str, int]],
        maps: Mapping[str, FakeMap],
        kfuncs: Mapping[str, Helper],
        ksyms: Mapping[str, int],
    ) -> None:
        self.out = Linked(decode(insns))
        self.by_slot = dict(zip(slots(self.out.insns), self.out.insns, strict=False))
        self.functions = {name: slot for slot, name, _ in funcs}
        self.maps = maps
        self.kfuncs = kfuncs
        self.ksyms = ksyms
        self.numbers: dict[str, int] = {}

    def run(self, relocs: Iterable[RelocLike]) -> Linked:
        for reloc in relocs:
            insn = self.by_slot.get(reloc.insn)
            apply = getattr(self, f"_{reloc.kind}", None)
            if insn is None or apply is None:
                raise MachineError(f"relocation {reloc.kind} of {reloc.name}", reloc.insn)
            apply(insn, reloc)
        return self.out

    def _map(self, insn: Instruction, reloc: RelocLike) -> None:
        insn.src = BPF_PSEUDO_MAP_FD
        insn.imm = self._map_number(reloc)

    def _map_value(self, insn: Instruction, reloc: RelocLike) -> None:
        insn.src = BPF_PSEUDO_MAP_VALUE
        insn.imm = self._map_number(reloc) | reloc.addend << 32

    def _map_number(self, reloc: RelocLike) -> int:
        if reloc.name not in self.maps:
            raise MachineError(f"map {reloc.name} was not given", reloc.insn)
        number = self.numbers.setdefault(reloc.name, len(self.numbers) + 1)
        self.out.maps[number] = self.maps[reloc.name]
        return number

    def _distance(self, reloc: RelocLike) -> int:
        if reloc.name not in self.functions:
            raise MachineError(f"the program has no function {reloc.name}", reloc.insn)
        return self.functions[reloc.name] + reloc.addend - reloc.insn - 1

    def _func(self, insn: Instruction, reloc: RelocLike) -> None:
        insn.src = BPF_PSEUDO_FUNC
        insn.imm = self._distance(reloc) & 0xFFFFFFFF

    def _call(self, insn: Instruction, reloc: RelocLike) -> None:
        insn.src = BPF_PSEUDO_CALL
        insn.imm = self._distance(reloc)

    def _kfunc(self, insn: Instruction, reloc: RelocLike) -> None:
        # A missing one fails when it is called, with this name.
        number = self.numbers.setdefault(f"kfunc:{reloc.name}", len(self.numbers) + 1)
        insn.src = BPF_PSEUDO_KFUNC_CALL
        insn.imm = number
        if reloc.name in self.kfuncs:
            self.out.kfuncs[number] = self.kfuncs[reloc.name]
        elif not reloc.weak:
            raise MachineError(f"kernel function {reloc.name} was not given", reloc.insn)

    def _ksym(self, insn: Instruction, reloc: RelocLike) -> None:
        if reloc.name not in self.ksyms and not reloc.weak:
            raise MachineError(f"kernel variable {reloc.name} was not given", reloc.insn)
        insn.src = 0
        insn.imm = self.ksyms[reloc.name] + reloc.addend if reloc.name in self.ksyms else 0

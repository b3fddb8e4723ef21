"""Apply CO-RE relocations of an object's programs against the types of the running kernel.

Example::

    core = CoreRelocations(local_btf, vmlinux_types)
    core.apply(program, insns, slot, index)
"""

from __future__ import annotations

from bpflens.btf.core import Relocator
from bpflens.btf.core_patch import apply_bytes
from bpflens.errors import FormatError, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from bpflens.btf import Btf
    from bpflens.btf.core import Result
    from bpflens.spec import ProgramSpec

__all__ = ["CoreRelocations"]


class CoreRelocations:
    """Relocates against ``target`` (None: the running kernel and its modules)."""

    __slots__ = ("_answers", "_local", "_relocator", "_target")

    def __init__(self, local: Btf, target: Btf | None = None) -> None:
        self._local = local
        self._target = target
        self._relocator: Relocator | None = None
        self._answers: dict[tuple[int, int, str], Result] = {}

    def apply(self, program: ProgramSpec, insns: bytearray, slot: int, index: int) -> None:
        """Put the answer to ``program.core[index]`` into the instruction at ``slot``.

        What the kernel does not have becomes an instruction that the verifier refuses when it is
        reached. Raises :class:`~bpflens.errors.FormatError` for a relocation that is wrong.
        """
        relo = program.core[index]
        key = relo.kind, relo.type_id, relo.access
        try:
            result = self._answers.get(key)
            if result is None:
                result = self._answers[key] = self._all().relocate(*key)
            apply_bytes(insns, slot * 8, result)
        except FormatError as error:
            problem = f"program {program.name}: {error.problem}"
            raise FormatError(error.what, problem, error.where) from None

    def question(self, program: ProgramSpec, insn: int) -> str:
        """Return what the relocation at an instruction asked for, "" if there is none there."""
        for reloc in program.relocs:
            if reloc.kind == "core" and reloc.insn == insn:
                relo = program.core[reloc.addend]
                return self._answers[relo.kind, relo.type_id, relo.access].where
        return ""

    def _all(self) -> Relocator:
        if self._relocator is None:
            if self._target is not None:
                self._relocator = Relocator(self._local, self._target)
            else:
                from bpflens.objects.btf import vmlinux

                self._relocator = Relocator(self._local, vmlinux(), _modules)
        return self._relocator


def _modules() -> Iterator[Btf]:
    from bpflens.objects.btf import module, modules

    for name in modules():
        try:
            yield module(name)
        except NotFound:
            # Unloaded since its name was read.
            continue

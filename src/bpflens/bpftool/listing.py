"""A loaded program as text: instructions with names of calls and maps, prototypes, source lines.

:class:`Listing` asks the kernel for everything a dump needs, once. Names of helpers and kernel
functions come from /proc/kallsyms, those of the program's own functions from its BTF and tags (so
that the long list of symbols is read only where a helper is called).

Example::

    listing = Listing(program)
    for slot, text in listing.instructions():
        print(slot, text)
"""

from __future__ import annotations

from bpflens.asm.disassemble import disassemble, xlated_imm_name
from bpflens.asm.instruction import decode, slots
from bpflens.bpftool.tool import Failure
from bpflens.uapi.bpf import BPF_PSEUDO_CALL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from bpflens.asm.instruction import Instruction
    from bpflens.btf import Btf
    from bpflens.kernel.info import SourceLine
    from bpflens.objects.program import Program
    from bpflens.symbols.kallsyms import Kallsyms

__all__ = ["Listing", "Source"]


class Source:
    """A source line: its text without leading blanks, its file, line and column."""

    __slots__ = ("column", "file", "line", "text")

    def __init__(self, btf: Btf, record: SourceLine) -> None:
        self.text = btf.string(record.line_off).lstrip()
        self.file = btf.string(record.file_name_off)
        self.line = record.line
        self.column = record.column


class Listing:
    """A program's instructions and what explains them.

    ``insns`` and ``at`` are the instructions and their slots, ``prototypes`` the text for the slots
    where functions begin, ``data`` the raw bytes.
    """

    __slots__ = ("_btf", "_calls", "_info", "_lines", "_symbols", "at", "data", "insns", "offsets",
                 "prototypes")  # fmt: skip

    def __init__(self, program: Program) -> None:
        arrays = ("xlated_prog_insns", "func_info", "line_info", "jited_ksyms", "prog_tags")
        self._info = info = program.read_info(*arrays)
        if not info.xlated_prog_insns:
            raise Failure(
                "error retrieving insn dump: kernel.kptr_restrict set? "
                "(the kernel hides instructions where net.core.bpf_jit_harden is 2 or "
                "CAP_SYSLOG and CAP_PERFMON are missing)"
            )
        self.data = info.xlated_prog_insns
        self.insns: list[Instruction] = decode(self.data)
        self.at = slots(self.insns)
        self._btf = program.btf()
        self._symbols: Kallsyms | None = None
        self._calls = 0
        self.prototypes = self._find_prototypes()
        self._lines: list[SourceLine] = info.line_info if self._btf is not None else []
        self.offsets = [line.insn_off for line in self._lines]

    def _find_prototypes(self) -> dict[int, str]:
        if self._btf is None:
            return {}
        from bpflens.bpftool.prototype import prototype

        found = {}
        for record in self._info.func_info:
            text = prototype(self._btf, record.type_id)
            if text:
                found[record.insn_off] = text
        return found

    def texts(self) -> list[str]:
        """Return the text of every instruction."""
        return disassemble(self.insns, call_name=self._call, imm_name=xlated_imm_name)

    def instructions(self) -> Iterator[tuple[int, str]]:
        """Yield (slot, text) of every instruction."""
        return zip(self.at, self.texts(), strict=False)

    def sources(self) -> dict[int, Source]:
        """Return the source line that begins at a slot, by slot."""
        found: dict[int, Source] = {}
        lines, offsets = self._lines, self.offsets
        following = 0
        for slot in self.at[: len(self.insns)]:
            if following >= len(lines):
                break
            if slot < offsets[following]:
                continue
            last = following
            while last + 1 < len(lines) and offsets[last + 1] <= slot:
                last += 1
            assert self._btf is not None
            found[slot] = Source(self._btf, lines[last])
            following += 1
        return found

    def source_at(self, slot: int) -> tuple[int, Source] | None:
        """Return the source line that a slot belongs to, and its number among all lines."""
        from bisect import bisect_right

        number = bisect_right(self.offsets, slot) - 1
        if number < 0 or self._btf is None:
            return None
        return number, Source(self._btf, self._lines[number])

    # --- names of what is called ---

    def _call(self, insn: Instruction) -> str | None:
        if insn.src == BPF_PSEUDO_CALL:
            return self._own(insn)
        return self._kernel_name(insn.imm)

    def _own(self, insn: Instruction) -> str:
        info = self._info
        number = insn.imm & 0xFFFFFFFF
        if not info.jited_ksyms and not info.nr_jited_ksyms:
            return f"{insn.off:+d}"
        address = info.jited_ksyms[number] if number < len(info.jited_ksyms) else 0
        if not address:
            return f"{insn.off:+d}#0x0"
        name = self._own_name(number)
        return f"{insn.off:+d}#{name or f'{address:#x}'}"

    def _own_name(self, number: int) -> str:
        # As the kernel names its code: bpf_prog_TAG_NAME.
        info = self._info
        if self._btf is None or number >= len(info.prog_tags) or number >= len(info.func_info):
            return ""
        name = self._btf.name(info.func_info[number].type_id)
        tag = info.prog_tags[number] if number else info.tag
        return f"bpf_prog_{tag.hex()}_{name}"

    def _kernel_name(self, imm: int) -> str:
        # The constant of a call is its distance from __bpf_call_base.
        from bpflens.errors import SyscallError

        if self._symbols is None:
            from bpflens.symbols.kallsyms import Kallsyms

            self._symbols = Kallsyms()
            try:
                self._calls = self._symbols.address("__bpf_call_base") or 0
            except SyscallError:
                self._calls = 0  # addresses are hidden
        address = self._calls + imm & 0xFFFFFFFFFFFFFFFF
        found = self._symbols.resolve(address) if self._calls else None
        return found[0] if found is not None and found[1] == 0 else f"{address:#x}"

"""``prog dump jited``: the machine code of a program, disassembled.

capstone disassembles, in the spelling of AT&T on x86; it is imported when it is needed, and where
it is missing the answer is the real tool's: no support.

Operands keep their addressing in JSON (``0x0(%rax, %rax)``), and targets of jumps are told
relative to the function, as the addresses of the lines are.

Example::

    $ bpftool prog dump jited id 756
    bpf_prog_3afb13fb508a97ae_sock_count:
       0:   nopl    (%rax, %rax)
"""

from __future__ import annotations

from bpflens.bpftool.prog_dump import source_json, source_plain, write_file
from bpflens.bpftool.tool import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from bpflens.bpftool.prog_dump import Wish
    from bpflens.bpftool.tool import Tool
    from bpflens.btf import Btf
    from bpflens.kernel.info import ProgInfo
    from bpflens.objects.program import Program

__all__ = ["dump"]

_NOTHING = "error retrieving jit dump: no instructions returned or kernel.kptr_restrict set?"


def dump(tool: Tool, program: Program, wish: Wish) -> None:
    """Print the machine code, or write it to a file."""
    info = program.read_info(
        "jited_prog_insns", "jited_ksyms", "jited_func_lens", "func_info", "line_info",
        "jited_line_info", "prog_tags",
    )  # fmt: skip
    if not info.jited_prog_insns:
        raise Failure(_NOTHING)
    if wish.file:
        write_file(wish.file, info.jited_prog_insns)
        tool.done()
        return
    _Dump(tool, program, info, wish).run()


def _disassembler() -> Any:
    import os

    try:
        import capstone
    except ImportError:
        why = "the Python package capstone is missing"
        raise Failure(f"No JIT disassembly support ({why})") from None
    if os.uname().machine == "aarch64":
        return capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM)
    disassembler = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    disassembler.syntax = capstone.CS_OPT_SYNTAX_ATT
    return disassembler


class _Dump:
    __slots__ = ("_btf", "_disassembler", "_info", "_tool", "_wish")

    def __init__(self, tool: Tool, program: Program, info: ProgInfo, wish: Wish) -> None:
        self._tool = tool
        self._info = info
        self._wish = wish
        self._btf: Btf | None = program.btf()
        self._disassembler = _disassembler()

    def run(self) -> None:
        """Print every function."""
        json = self._tool.json
        info = self._info
        if json is not None:
            json.start("[")
        at = 0
        lengths = info.jited_func_lens or [len(info.jited_prog_insns)]
        for number, length in enumerate(lengths):
            self._function(number, info.jited_prog_insns[at : at + length])
            at += length
        if json is not None:
            json.end()

    def _names(self, number: int) -> tuple[str, str]:
        # The prototype and the name of a function, as the kernel names its code.
        info = self._info
        prototype = own = ""
        if self._btf is not None and number < len(info.func_info):
            from bpflens.bpftool.prototype import prototype as described

            type_id = info.func_info[number].type_id
            prototype, own = described(self._btf, type_id), self._btf.name(type_id)
        if number >= len(info.jited_ksyms) or not info.jited_ksyms[number]:
            return prototype, "unknown"
        # The main function carries the tag of the whole program.
        tag = info.prog_tags[number] if 0 < number < len(info.prog_tags) else info.tag
        name = own or info.name
        return prototype, f"bpf_prog_{tag.hex()}_{name}" if name else f"bpf_prog_{tag.hex()}"

    def _function(self, number: int, code: bytes) -> None:
        json, out = self._tool.json, self._tool.out
        prototype, name = self._names(number)
        lines = self._lines(number, len(code))
        if json is None:
            if prototype:
                out(f"{prototype}:\n")
            out(f"{name}:\n")
        else:
            json.start("{")
            if prototype:
                json.member("proto", prototype)
            json.member("name", name)
            json.name("insns")
            json.start("[")
        for insn in self._disassembler.disasm(code, 0):
            self._instruction(insn, lines.pop(insn.address, None))
        if json is None:
            out("\n")
        else:
            json.end()
            json.end()

    def _lines(self, number: int, length: int) -> dict[int, Any]:
        # Source lines by their place in the function's code.
        from bpflens.bpftool.listing import Source

        info = self._info
        if self._btf is None or number >= len(info.jited_ksyms):
            return {}
        start = info.jited_ksyms[number]
        return {
            address - start: Source(self._btf, record)
            for address, record in zip(info.jited_line_info, info.line_info, strict=False)
            if start and start <= address < start + length
        }

    def _instruction(self, insn: Any, source: Any) -> None:
        json, out, wish = self._tool.json, self._tool.out, self._wish
        if json is not None:
            members = source_json(source, wish.linum) if source is not None else {}
            members |= {
                "pc": f"{insn.address:#x}",
                "operation": insn.mnemonic,
                "operands": _operands(insn.op_str),
            }
            if wish.opcodes:
                members["opcodes"] = [f"0x{byte:02x}" for byte in insn.bytes]
            json.value(members)
            return
        if source is not None:
            out(source_plain(source, wish.linum))
        out(f"{insn.address:4x}:\t{insn.mnemonic}\t{insn.op_str}".rstrip("\t") + "\n")
        if wish.opcodes:
            out("\t" + "".join(f"{byte:02x} " for byte in insn.bytes) + "\n")


def _operands(text: str) -> list[str]:
    # Split at commas outside parentheses, so that an address stays one operand.
    found: list[str] = []
    depth = 0
    part = ""
    for letter in text:
        if letter == "," and not depth:
            found.append(part.strip())
            part = ""
            continue
        depth += (letter in "([") - (letter in ")]")
        part += letter
    if part.strip():
        found.append(part.strip())
    return found

"""Text → instructions: what the disassembler prints, plus labels and names of maps and functions.

One instruction a line, in the kernel's notation; blank lines and comments (``//``, ``#``, ``;``)
are skipped, and so are the ``12:`` and ``(bf)`` in front of instructions in dumps (except that
``(18)`` makes ``r1 = 5`` a 64-bit load, as does ``ll`` behind it). Beyond the kernel's notation:

=========================  ===================================================================
``name:``                  a label; jumps and calls may say it in place of ``pc+N``
``r1 = map[counts]``       load of a map by name; ``map[fd:5]`` by file descriptor
``r1 = map[data][0]+8``    address of a map's value
``r2 = func[callback]``    address of a function of the program, by label
``call sub``               call of a function of the program, by label
``call bpf_loop``          helper by name (``call 181`` and ``call bpf_loop#181`` also)
``call kfunc:bpf_x``       kernel function by name; ``kernel-function#77`` by BTF id
=========================  ===================================================================

Errors are FormatError with the line. What a program means is not checked.

Example::

    assemble('''
        r0 = 0
        if r1 == 0 goto out
        r0 = 1
    out:
        exit
    ''')
"""

from __future__ import annotations

import re

from bpflens.asm import instruction as make
from bpflens.asm.instruction import LD_IMM64, Instruction
from bpflens.errors import FormatError
from bpflens.uapi import bpf
from bpflens.uapi.helper import HELPER_NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Builder = Callable[["_Assembler", re.Match[str]], Instruction]

__all__ = ["Assembly", "Relocation", "assemble", "assemble_relocatable"]


class Relocation:
    """A name that is filled in later; the attributes of :class:`bpflens.spec.Reloc`.

    ``insn`` is a slot, ``kind`` "map", "map_value" or "kfunc".
    """

    __slots__ = ("addend", "insn", "kind", "name", "weak")

    def __init__(self, insn: int, kind: str, name: str, addend: int = 0) -> None:
        self.insn = insn
        self.kind = kind
        self.name = name
        self.addend = addend
        self.weak = False

    def __repr__(self) -> str:
        return f"Relocation({self.insn}, {self.kind!r}, {self.name!r}, {self.addend})"


class Assembly:
    """``insns``, the ``relocs`` that are still open, and the slot of every label."""

    __slots__ = ("insns", "labels", "relocs")

    def __init__(
        self, insns: list[Instruction], relocs: list[Relocation], labels: dict[str, int]
    ) -> None:
        self.insns = insns
        self.relocs = relocs
        self.labels = labels


def assemble(text: str, maps: Mapping[str, int] | None = None) -> list[Instruction]:
    """Assemble a program whose map names all stand in ``maps`` (name → file descriptor)."""
    assembly = assemble_relocatable(text)
    index = dict(zip(make.slots(assembly.insns), assembly.insns, strict=False))
    for reloc in assembly.relocs:
        if reloc.kind == "kfunc" or not maps or reloc.name not in maps:
            raise FormatError("BPF assembly", f"nothing is known of {reloc.kind} {reloc.name}")
        insn = index[reloc.insn]
        insn.imm = maps[reloc.name] | reloc.addend << 32
    return assembly.insns


def assemble_relocatable(text: str) -> Assembly:
    """Assemble a program and leave names of maps and kernel functions as relocations."""
    assembler = _Assembler()
    for number, line in enumerate(text.splitlines(), 1):
        try:
            assembler.line(line)
        except ValueError as error:
            raise FormatError(
                "BPF assembly", str(error), f"line {number}: {line.strip()}"
            ) from None
    return assembler.finish()


class _Assembler:
    def __init__(self) -> None:
        self.insns: list[Instruction] = []
        self.slot = 0
        self.labels: dict[str, int] = {}
        self.relocs: list[Relocation] = []
        # (instruction, its slot, label, "off" or "imm")
        self.open: list[tuple[Instruction, int, str, str]] = []

    def line(self, line: str) -> None:
        text = re.sub(r"(//|#(?!\d)|;).*", "", line).strip()
        label = re.fullmatch(r"([A-Za-z_.$][\w.$]*):", text)
        if label:
            if label[1] in self.labels:
                raise ValueError(f"label {label[1]} is there twice")
            self.labels[label[1]] = self.slot
            return
        head = re.match(r"(?:\d+:\s*)?(?:\(([0-9a-f]{2})\)\s*)?", text)
        assert head is not None
        body = text[head.end() :]
        if body:
            self.add(self.parse(body, int(head[1], 16) if head[1] else None))

    def parse(self, body: str, op: int | None) -> Instruction:
        if op == LD_IMM64 and not body.endswith("ll") and "[" not in body:
            body += " ll"
        for pattern, build in _PATTERNS:
            match = pattern.fullmatch(body)
            if match:
                insn = build(self, match)
                if op is not None and insn.op != op:
                    raise ValueError(f"opcode {insn.op:02x} where ({op:02x}) is written")
                return insn
        raise ValueError("no such instruction")

    def add(self, insn: Instruction) -> None:
        make.encode([insn])
        self.insns.append(insn)
        self.slot += 2 if insn.wide else 1

    def target(self, insn: Instruction, where: str, field: str) -> Instruction:
        # `pc+3` is a number at once, a label when all are known.
        near = re.fullmatch(r"(?:pc)?([+-]\d+)", where)
        if near:
            setattr(insn, field, int(near[1]) & 0xFFFFFFFF if insn.wide else int(near[1]))
        else:
            self.open.append((insn, self.slot, where, field))
        return insn

    def finish(self) -> Assembly:
        for insn, slot, label, field in self.open:
            if label not in self.labels:
                raise FormatError("BPF assembly", f"no label {label}")
            distance = self.labels[label] - slot - 1
            setattr(insn, field, distance & 0xFFFFFFFF if insn.wide else distance)
        return Assembly(self.insns, self.relocs, self.labels)


_SIZES = {"8": bpf.BPF_B, "16": bpf.BPF_H, "32": bpf.BPF_W, "64": bpf.BPF_DW}
_ALU = {
    "+=": bpf.BPF_ADD, "-=": bpf.BPF_SUB, "*=": bpf.BPF_MUL, "/=": bpf.BPF_DIV, "|=": bpf.BPF_OR,
    "&=": bpf.BPF_AND, "<<=": bpf.BPF_LSH, ">>=": bpf.BPF_RSH, "%=": bpf.BPF_MOD,
    "^=": bpf.BPF_XOR, "s>>=": bpf.BPF_ARSH, "s/=": bpf.BPF_DIV, "s%=": bpf.BPF_MOD,
}  # fmt: skip
_JUMPS = {
    "==": bpf.BPF_JEQ, "!=": bpf.BPF_JNE, ">": bpf.BPF_JGT, ">=": bpf.BPF_JGE, "<": bpf.BPF_JLT,
    "<=": bpf.BPF_JLE, "&": bpf.BPF_JSET, "s>": bpf.BPF_JSGT, "s>=": bpf.BPF_JSGE,
    "s<": bpf.BPF_JSLT, "s<=": bpf.BPF_JSLE,
}  # fmt: skip
_ATOMICS = {
    "add": bpf.BPF_ADD, "or": bpf.BPF_OR, "and": bpf.BPF_AND, "xor": bpf.BPF_XOR,
}  # fmt: skip


def _number(text: str) -> int:
    return int(text, 0)


def _signed(text: str) -> int:
    # Jumps and 32-bit operations are printed with unsigned constants.
    value = int(text, 0)
    return value - (1 << 32) if 0x7FFFFFFF < value <= 0xFFFFFFFF else value


def _off(text: str) -> int:
    return int(text.replace(" ", "") or "0", 0)


def _alu(a: _Assembler, m: re.Match[str]) -> Instruction:
    kind, d, word, operand = m["k"], int(m["d"]), m["op"], m["o"]
    signed = 1 if word in ("s/=", "s%=") else 0
    register = re.fullmatch(r"([rw])(\d+)", operand)
    if register:
        if register[1] != kind:
            raise ValueError("a 64-bit and a 32-bit register")
        by_register = make.alu64_reg if kind == "r" else make.alu32_reg
        return by_register(_ALU[word], d, int(register[2]), signed)
    by_constant = make.alu64_imm if kind == "r" else make.alu32_imm
    return by_constant(_ALU[word], d, _number(operand), signed)


def _mov(a: _Assembler, m: re.Match[str]) -> Instruction:
    d, s, bits = int(m["d"]), int(m["s"]), m["bits"]
    if m["k"] != m["k2"]:
        raise ValueError("a 64-bit and a 32-bit register")
    if bits:
        return (make.movsx64 if m["k"] == "r" else make.movsx32)(d, s, int(bits))
    return (make.mov64_reg if m["k"] == "r" else make.mov32_reg)(d, s)


def _mov_imm(a: _Assembler, m: re.Match[str]) -> Instruction:
    value = _number(m["imm"])
    if m["ll"]:
        return make.ld_imm64(int(m["d"]), value & (1 << 64) - 1)
    if m["k"] == "w":
        return make.mov32_imm(int(m["d"]), value)
    if not -0x80000000 <= value <= 0x7FFFFFFF:
        raise ValueError("the constant does not fit 32 signed bits; a 64-bit load ends in ll")
    return make.mov64_imm(int(m["d"]), value)


def _neg(a: _Assembler, m: re.Match[str]) -> Instruction:
    return (make.neg64 if m["k"] == "r" else make.neg32)(int(m["d"]))


def _swap(a: _Assembler, m: re.Match[str]) -> Instruction:
    d, bits = int(m["d"]), int(m["bits"])
    return make.bswap(d, bits) if m["how"] == "bswap" else make.endian(d, bits, m["how"] == "be")


def _ldx(a: _Assembler, m: re.Match[str]) -> Instruction:
    build = make.ldx if m["sign"] == "u" else make.ldxsx
    return build(_SIZES[m["bits"]], int(m["d"]), int(m["s"]), _off(m["off"]))


def _stx(a: _Assembler, m: re.Match[str]) -> Instruction:
    return make.stx(_SIZES[m["bits"]], int(m["d"]), _off(m["off"]), int(m["s"]))


def _st(a: _Assembler, m: re.Match[str]) -> Instruction:
    return make.st(_SIZES[m["bits"]], int(m["d"]), _off(m["off"]), _number(m["imm"]))


def _lock(a: _Assembler, m: re.Match[str]) -> Instruction:
    size, d, off = _SIZES[m["bits"]], int(m["d"]), _off(m["off"])
    return make.atomic(size, _ALU[m["op"]], d, off, int(m["s"]))


def _fetch(a: _Assembler, m: re.Match[str]) -> Instruction:
    op = bpf.BPF_XCHG if m["op"] == "xchg" else _ATOMICS[m["op"].removeprefix("fetch_")]
    if m["r"] != m["s"]:
        raise ValueError("the result goes to the register of the operand")
    size, d, off = _SIZES[m["bits"]], int(m["d"]), _off(m["off"])
    return make.atomic(size, op | bpf.BPF_FETCH, d, off, int(m["s"]))


def _cmpxchg(a: _Assembler, m: re.Match[str]) -> Instruction:
    size, d, off = _SIZES[m["bits"]], int(m["d"]), _off(m["off"])
    return make.atomic(size, bpf.BPF_CMPXCHG, d, off, int(m["s"]))


def _acquire(a: _Assembler, m: re.Match[str]) -> Instruction:
    return make.load_acquire(_SIZES[m["bits"]], int(m["r"]), int(m["d"]), _off(m["off"]))


def _release(a: _Assembler, m: re.Match[str]) -> Instruction:
    return make.store_release(_SIZES[m["bits"]], int(m["d"]), _off(m["off"]), int(m["s"]))


def _cast(a: _Assembler, m: re.Match[str]) -> Instruction:
    return make.addr_space_cast(int(m["d"]), int(m["s"]), int(m["to"]), int(m["from"]))


def _conditional(a: _Assembler, m: re.Match[str]) -> Instruction:
    op, d = _JUMPS[m["op"]], int(m["d"])
    register = re.fullmatch(r"([rw])(\d+)", m["o"])
    wide = m["k"] == "r"
    if register:
        if register[1] != m["k"]:
            raise ValueError("a 64-bit and a 32-bit register")
        insn = (make.jmp_reg if wide else make.jmp32_reg)(op, d, int(register[2]), 0)
    else:
        insn = (make.jmp_imm if wide else make.jmp32_imm)(op, d, _signed(m["o"]), 0)
    return a.target(insn, m["to"], "off")


def _goto(a: _Assembler, m: re.Match[str]) -> Instruction:
    if m["how"] == "gotol":
        return a.target(make.gotol(0), m["to"], "imm")
    return a.target(make.may_goto(0) if m["how"] == "may_goto" else make.ja(0), m["to"], "off")


def _call(a: _Assembler, m: re.Match[str]) -> Instruction:
    what, number = m["what"], m["n"]
    if what == "kernel-function":
        return make.call_kfunc(int(number or 0))
    if what.startswith("kfunc:"):
        a.relocs.append(Relocation(a.slot, "kfunc", what[6:]))
        return make.call_kfunc(0)
    if number is not None or what.isdigit():
        return make.call_helper(int(number if number is not None else what))
    if what.startswith("bpf_") and what[4:] in HELPER_NAMES:
        return make.call_helper(HELPER_NAMES.index(what[4:]))
    return a.target(make.call_pseudo(0), what, "imm")


def _map(a: _Assembler, m: re.Match[str]) -> Instruction:
    value = m["off"] is not None
    kind = bpf.BPF_PSEUDO_MAP_VALUE if value else bpf.BPF_PSEUDO_MAP_FD
    addend = int(m["off"]) if value else 0
    fd = re.fullmatch(r"(?:fd|id):(\d+)", m["name"])
    if fd:
        return make.ld_imm64(int(m["d"]), int(fd[1]) | addend << 32, kind)
    a.relocs.append(Relocation(a.slot, "map_value" if value else "map", m["name"], addend))
    return make.ld_imm64(int(m["d"]), addend << 32, kind)


def _func(a: _Assembler, m: re.Match[str]) -> Instruction:
    insn = make.ld_imm64(int(m["d"]), 0, bpf.BPF_PSEUDO_FUNC)
    return a.target(insn, m["to"], "imm")


def _packet(a: _Assembler, m: re.Match[str]) -> Instruction:
    mode = bpf.BPF_IND if m["s"] else bpf.BPF_ABS
    op = bpf.BPF_LD | mode | _SIZES[m["bits"]]
    return Instruction(op, 0, int(m["s"] or 0), 0, int(m["imm"]))


_REG = r"(?P<k>[rw])(?P<d>\d+)"
_NUM = r"-?(?:0x[0-9a-fA-F]+|\d+)"
_TO = r"(?P<to>\S+)"
_AT = r"\((?P<sign>[us])(?P<bits>8|16|32|64) \*\)\(r(?P<d>\d+) ?(?P<off>[+-] ?\d+|)\)"
_SOURCE = r"[rw](?P<s>\d+)"
_PATTERNS: list[tuple[re.Pattern[str], Builder]] = [
    (re.compile(pattern), build)
    for pattern, build in (
        (rf"{_REG} = (?:\(s(?P<bits>8|16|32)\) ?)?(?P<k2>[rw])(?P<s>\d+)", _mov),
        (rf"{_REG} = (?P<imm>{_NUM})(?P<ll> ?ll)?", _mov_imm),
        (rf"{_REG} (?P<op>s?[-+*/|&%^<>]+=) (?P<o>[rw]\d+|{_NUM})", _alu),
        (rf"{_REG} = -(?P=k)(?P=d)", _neg),
        (rf"{_REG} = (?P<how>be|le|bswap)(?P<bits>16|32|64) (?P=k)(?P=d)", _swap),
        (rf"\*{_AT} = {_SOURCE}", _stx),
        (rf"\*{_AT} = (?P<imm>{_NUM})", _st),
        (rf"lock \*{_AT} (?P<op>[+|&^]=) {_SOURCE}", _lock),
        (
            rf"[rw](?P<r>\d+) = atomic(?:64)?_(?P<op>fetch_\w+|xchg)\({_AT}, {_SOURCE}\)",
            _fetch,
        ),
        (rf"[rw]0 = atomic(?:64)?_cmpxchg\({_AT}, [rw]0, {_SOURCE}\)", _cmpxchg),
        (rf"[rw](?P<r>\d+) = load_acquire\({_AT}\)", _acquire),
        (rf"store_release\({_AT}, {_SOURCE}\)", _release),
        (
            r"r(?P<d>\d+) = addr_space_cast\(r(?P<s>\d+), (?P<to>\d+), (?P<from>\d+)\)",
            _cast,
        ),
        (rf"if {_REG} (?P<op>\S+) (?P<o>[rw]\d+|{_NUM}) goto {_TO}", _conditional),
        (rf"(?P<how>goto|gotol|may_goto) {_TO}", _goto),
        (r"call (?P<what>[^#\s]+)(?:#(?P<n>-?\d+))?", _call),
        (r"exit", lambda a, m: make.exit_()),
        (r"r(?P<d>\d+) = map\[(?P<name>[^\]]+)\](?:\[0\]\+(?P<off>\d+))?", _map),
        (r"r(?P<d>\d+) = (?:func|subprog)\[(?P<to>[^\]]+)\]", _func),
        (
            r"[rw]0 = \*\(u(?P<bits>8|16|32) \*\)skb\[(?:r(?P<s>\d+) \+ )?(?P<imm>-?\d+)\]",
            _packet,
        ),
    )
]
# Loads put their register first, where the address pattern has its own: written out by itself.
_PATTERNS.append(
    (
        re.compile(
            r"[rw](?P<d>\d+) = \*\((?P<sign>[us])(?P<bits>8|16|32|64) \*\)"
            r"\(r(?P<s>\d+) ?(?P<off>[+-] ?\d+|)\)"
        ),
        _ldx,
    )
)

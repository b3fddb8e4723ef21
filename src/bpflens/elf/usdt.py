"""Static probes (USDT): the notes of ``.note.stapsdt`` and the operands of their arguments.

Takes an ELF file and gives one :class:`UsdtNote` per place; a probe that the compiler copied has
several. Addresses are corrected for prelink: a note remembers where ``.stapsdt.base`` was.
An argument string such as ``-4@%eax 8@-8(%rbp) 4@$3`` becomes :class:`Argument` objects, for
x86-64 (and i386) and for aarch64; parsing is lazy, so that a probe with an operand nobody can
read is still listed.

It does not read memory or registers: operands are descriptions for a code generator.

Example::

    for note in File("/usr/bin/python3.11").usdt_notes():
        print(note.provider, note.name, note.offset, [str(a) for a in note.arguments])
"""

from __future__ import annotations

import struct

from bpflens.errors import FormatError
from bpflens.uapi.elf import EM_386, EM_AARCH64, EM_X86_64, SHT_NOTE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from bpflens.elf.file import File

__all__ = ["Argument", "UsdtNote", "parse_arguments", "read_notes"]

_NT_STAPSDT = 3


class UsdtNote:
    """One place of a static probe.

    ``pc`` is the virtual address, ``offset`` the place in the file that a uprobe takes (``None``:
    not loaded); ``semaphore`` and ``semaphore_offset`` are those of the counter that switches the
    probe on (0: it has none). ``args`` is the string as the compiler wrote it.
    """

    __slots__ = (
        "_arguments", "_machine", "args", "base", "name", "offset", "pc", "provider",
        "semaphore", "semaphore_offset",
    )  # fmt: skip

    def __init__(
        self,
        provider: str,
        name: str,
        pc: int,
        base: int,
        semaphore: int,
        args: str,
        machine: int = EM_X86_64,
        offset: int | None = None,
        semaphore_offset: int = 0,
    ) -> None:
        self.provider = provider
        self.name = name
        self.pc = pc
        self.base = base
        self.semaphore = semaphore
        self.args = args
        self.offset = offset
        self.semaphore_offset = semaphore_offset
        self._machine = machine
        self._arguments: list[Argument] | None = None

    @property
    def arguments(self) -> list[Argument]:
        """The operands; FormatError when the string is not one of this machine."""
        if self._arguments is None:
            self._arguments = parse_arguments(self.args, self._machine)
        return self._arguments

    def __repr__(self) -> str:
        return f"<UsdtNote {self.provider}:{self.name} pc={self.pc:#x} args={self.args!r}>"


class Argument:
    """Where a probe's argument is at the moment the probe is hit.

    ``size`` is 1, 2, 4 or 8 bytes, ``signed`` tells how to widen it, ``floating`` that it is a
    float. ``kind`` is one of

    * ``"constant"``: ``value``;
    * ``"register"``: ``register``, of which ``width`` bytes starting at bit ``shift`` count;
    * ``"memory"``: at ``register + index * scale + offset``, plus the address of ``symbol`` where
      one is named; ``index_width`` is 4 when only the low half of the index counts, and
      ``index_signed`` tells how it is widened; ``segment`` is ``"fs"``, ``"gs"`` or empty.

    Registers have the names of the kernel's ``pt_regs`` on x86 (``ax``, ``di``, ``r8``, ``ip``),
    and ``x0`` … ``x30``, ``sp``, ``pc`` on aarch64; vector registers keep their own names. An
    absent register is ``""``. The address of ``symbol`` already includes the ``ip`` in
    ``symbol(%rip)``, where ``register`` is therefore empty.
    """

    __slots__ = (
        "floating", "index", "index_signed", "index_width", "kind", "offset", "register",
        "scale", "segment", "shift", "signed", "size", "symbol", "text", "value", "width",
    )  # fmt: skip

    def __init__(self, text: str, kind: str, size: int = 0, signed: bool = False) -> None:
        self.text = text
        self.kind = kind
        self.size = size
        self.signed = signed
        self.floating = False
        self.value = 0
        self.register = ""
        self.width = 8
        self.shift = 0
        self.offset = 0
        self.index = ""
        self.index_width = 8
        self.index_signed = False
        self.scale = 1
        self.symbol = ""
        self.segment = ""

    def __str__(self) -> str:
        return self.text


def read_notes(file: File) -> list[UsdtNote]:
    """Return the probes of a file, in the order of its notes."""
    base = file.section(".stapsdt.base")
    return [
        _read_note(file, note.desc, base.addr if base else 0)
        for section in file.sections
        if section.type == SHT_NOTE and section.name == ".note.stapsdt"
        for note in file.notes_of(section)
        if note.type == _NT_STAPSDT and note.name == b"stapsdt"
    ]


def _read_note(file: File, desc: bytes, base: int) -> UsdtNote:
    words = struct.Struct(file.order + ("3Q" if file.bits == 64 else "3I"))
    strings = desc[words.size :].split(b"\0")
    if len(desc) < words.size or len(strings) < 4:
        raise FormatError("ELF file", "a probe's note is cut short", ".note.stapsdt")
    pc, noted_base, semaphore = words.unpack_from(desc)
    # Prelink moves code but does not rewrite notes; the base section moved with the code.
    moved = base - noted_base if base and noted_base else 0
    pc += moved
    provider, name, args = (text.decode(errors="backslashreplace") for text in strings[:3])
    semaphore_offset = None
    if semaphore:
        semaphore += moved
        semaphore_offset = file.vaddr_to_offset(semaphore)
    return UsdtNote(
        provider, name, pc, noted_base + moved, semaphore, args, file.machine,
        file.vaddr_to_offset(pc), semaphore_offset or 0,
    )  # fmt: skip


def parse_arguments(text: str, machine: int = EM_X86_64) -> list[Argument]:
    """Return the operands in a note's argument string; FormatError when one is not understood."""
    if machine in (EM_X86_64, EM_386):
        parse = _parse_x86
    elif machine == EM_AARCH64:
        parse = _parse_aarch64
    elif not text.strip():
        return []
    else:
        raise FormatError("USDT arguments", f"machine {machine} is not known", text)
    return [_parse_one(word, parse) for word in _words(text)]


def _words(text: str) -> Iterator[str]:
    # Operands are separated by spaces, but "[sp, 16]" is one.
    depth = 0
    start = 0
    for place, character in enumerate(text):
        if character in "([":
            depth += 1
        elif character in ")]":
            depth -= 1
        elif character == " " and depth <= 0:
            if place > start:
                yield text[start:place]
            start = place + 1
    if start < len(text):
        yield text[start:]


def _parse_one(word: str, parse: Parser) -> Argument:
    head, at, operand = word.rpartition("@")
    argument = parse(word, operand)
    if not at:
        argument.size = argument.width if argument.kind == "register" else 8
        return argument
    # "-4" is a signed int, "8f" a double.
    argument.floating = head.endswith("f")
    number = _integer(head.removesuffix("f"))
    if number is None or abs(number) not in (1, 2, 4, 8, 16):
        raise FormatError("USDT arguments", f"size {head!r}", word)
    argument.size = abs(number)
    argument.signed = number < 0
    return argument


# ---- x86, AT&T syntax ----

# Names of the 8-byte registers in pt_regs for every spelling: name, width, bit shift.
_X86: dict[str, tuple[str, int, int]] = {"rip": ("ip", 8, 0), "eip": ("ip", 4, 0)}
for _name in ("ax", "bx", "cx", "dx"):
    _X86.update({
        "r" + _name: (_name, 8, 0), "e" + _name: (_name, 4, 0), _name: (_name, 2, 0),
        _name[0] + "l": (_name, 1, 0), _name[0] + "h": (_name, 1, 8),
    })  # fmt: skip
for _name in ("si", "di", "bp", "sp"):
    _X86.update({
        "r" + _name: (_name, 8, 0), "e" + _name: (_name, 4, 0), _name: (_name, 2, 0),
        _name + "l": (_name, 1, 0),
    })  # fmt: skip
for _name in ("r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"):
    _X86.update({
        _name: (_name, 8, 0), _name + "d": (_name, 4, 0), _name + "w": (_name, 2, 0),
        _name + "b": (_name, 1, 0),
    })  # fmt: skip
_X86_VECTOR = {"xmm": 16, "ymm": 32, "zmm": 64}


def _parse_x86(word: str, operand: str) -> Argument:
    if operand.startswith("$"):
        value, symbol = _sum(operand[1:], word)
        argument = Argument(word, "constant")
        argument.value = value
        argument.symbol = symbol
        return argument
    if operand.startswith("%") and ":" not in operand:
        argument = Argument(word, "register")
        argument.register, argument.width, argument.shift = _x86_register(operand, word)
        return argument
    return _x86_memory(word, operand)


def _x86_memory(word: str, operand: str) -> Argument:
    argument = Argument(word, "memory")
    if operand.startswith("%") and ":" in operand:
        segment, _, operand = operand[1:].partition(":")
        argument.segment = segment
        if segment not in ("fs", "gs", "ds", "ss", "es", "cs"):
            raise FormatError("USDT arguments", f"segment {segment!r}", word)
        if segment not in ("fs", "gs"):
            argument.segment = ""
    place, bracket, inside = operand.partition("(")
    argument.offset, argument.symbol = _sum(place, word) if place else (0, "")
    if bracket:
        if not inside.endswith(")"):
            raise FormatError("USDT arguments", f"operand {operand!r}", word)
        base, index, scale = (*inside[:-1].split(","), "", "")[:3]
        if base:
            argument.register, _, _ = _x86_register(base, word)
        if index:
            argument.index, argument.index_width, _ = _x86_register(index, word)
        if scale:
            argument.scale = _integer(scale) or 0
        if argument.scale not in (1, 2, 4, 8) or inside.count(",") > 2:
            raise FormatError("USDT arguments", f"operand {operand!r}", word)
    elif not place:
        raise FormatError("USDT arguments", f"operand {operand!r}", word)
    if argument.symbol and argument.register == "ip":
        argument.register = ""
    return argument


def _x86_register(text: str, word: str) -> tuple[str, int, int]:
    name = text.strip().removeprefix("%")
    if name in _X86:
        return _X86[name]
    width = _X86_VECTOR.get(name[:3])
    if width and name[3:].isdecimal() and int(name[3:]) < 32:
        return name, width, 0
    raise FormatError("USDT arguments", f"register {text!r}", word)


# ---- aarch64 ----

_EXTEND = {"lsl": (8, False), "sxtx": (8, True), "uxtw": (4, False), "sxtw": (4, True)}
_A64_VECTOR = {"b": 1, "h": 2, "s": 4, "d": 8, "q": 16, "v": 16}


def _parse_aarch64(word: str, operand: str) -> Argument:
    if operand.startswith("["):
        return _aarch64_memory(word, operand)
    number = _integer(operand.removeprefix("#"))
    if number is not None:
        argument = Argument(word, "constant")
        argument.value = number
        return argument
    name, width = _aarch64_register(operand, word)
    # Reads of the zero register give zero.
    argument = Argument(word, "register" if name else "constant")
    argument.register = name
    argument.width = width
    return argument


def _aarch64_memory(word: str, operand: str) -> Argument:
    argument = Argument(word, "memory")
    parts = [part.strip() for part in operand[1:].removesuffix("]").split(",")]
    if not operand.endswith("]") or len(parts) > 3:
        raise FormatError("USDT arguments", f"operand {operand!r}", word)
    argument.register, _ = _aarch64_register(parts[0], word)
    if len(parts) > 1:
        text = parts[1].removeprefix("#")
        number = _integer(text)
        if text.startswith(":lo12:"):
            argument.offset, argument.symbol = _sum(text[6:], word)
            # The base register holds the page of the symbol, whose address is known whole.
            argument.register = ""
        elif number is not None:
            argument.offset = number
        else:
            argument.index, argument.index_width = _aarch64_register(text, word)
    if len(parts) > 2:
        extend, _, amount = parts[2].partition(" ")
        shift = _integer(amount.strip().removeprefix("#") or "0")
        if extend not in _EXTEND or shift is None or not 0 <= shift <= 4 or not argument.index:
            raise FormatError("USDT arguments", f"operand {operand!r}", word)
        argument.index_width, argument.index_signed = _EXTEND[extend]
        argument.scale = 1 << shift
    return argument


def _aarch64_register(text: str, word: str) -> tuple[str, int]:
    if text in ("sp", "wsp"):
        return "sp", 8 if text == "sp" else 4
    if text in ("xzr", "wzr"):
        return "", 8 if text == "xzr" else 4
    aliases = {"fp": "x29", "lr": "x30"}
    text = aliases.get(text, text)
    kind, number = text[:1], text[1:]
    if number.isdecimal() and len(number) <= 2:
        if kind in ("x", "w") and int(number) <= 30:
            return "x" + str(int(number)), 8 if kind == "x" else 4
        if kind in _A64_VECTOR and int(number) <= 31:
            return text, _A64_VECTOR[kind]
    raise FormatError("USDT arguments", f"register {text!r}", word)


# ---- numbers ----


def _integer(text: str) -> int | None:
    sign = -1 if text.startswith("-") else 1
    digits = text[1:] if text[:1] in ("-", "+") else text
    try:
        if not digits.isascii() or not digits[:1].isdecimal() or "_" in digits:
            return None
        return sign * int(digits, 16 if digits[:2] in ("0x", "0X") else 10)
    except ValueError:
        return None


def _sum(text: str, word: str) -> tuple[int, str]:
    # "16-8", "name+4", "4+name", "name": a constant and at most one symbol.
    total = 0
    symbol = ""
    for term in text.replace("-", "+-").split("+"):
        number = _integer(term)
        if number is not None:
            total += number
        elif term and not symbol and not term.startswith("-"):
            symbol = term
        elif term:
            raise FormatError("USDT arguments", f"operand {text!r}", word)
    return total, symbol


if TYPE_CHECKING:
    from collections.abc import Callable

    Parser = Callable[[str, str], Argument]

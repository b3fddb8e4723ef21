"""The programs of an object file: functions, the subprograms they call, relocations, line info.

Turns the code sections into :class:`~bpflens.spec.ProgramSpec`. Every function outside ``.text`` is
a program; those of ``.text`` are appended to each program that uses them, with the distances of
calls filled in. What refers to maps, to the kernel or to its types becomes relocations.

Example::

    programs = link(source, maps, externs)
"""

from __future__ import annotations

from struct import Struct as Packer

from bpflens.errors import FormatError
from bpflens.load.section_name import match
from bpflens.spec import CoreRelo, LineInfo, ProgramSpec, Reloc
from bpflens.uapi.bpf import BPF_PSEUDO_CALL, BPF_PSEUDO_FUNC
from bpflens.uapi.elf import SHF_EXECINSTR, STB_LOCAL, STT_SECTION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bpflens.btf.ext import CoreRelo as ExtRelo
    from bpflens.btf.ext import LineInfo as ExtLine
    from bpflens.elf import Section, Symbol
    from bpflens.load.object_map import ObjectMaps
    from bpflens.load.object_source import Source
    from bpflens.spec import Extern

__all__ = ["Linker"]

_TEXT = ".text"
_LD_IMM64 = 0x18
_CALL = 0x85
_INSN = Packer("<BBhi")
# kernel: a callback of bpf_throw() is named by a tag on the program's function.
_EXCEPTION_TAG = "exception_callback:"

# More than any program that the verifier takes (it allows 8 frames).
_DEEPEST = 100


class _Function:
    # A function of a code section: `start` and `size` in bytes.

    __slots__ = ("name", "section", "size", "start")

    def __init__(self, name: str, section: Section, start: int, size: int) -> None:
        self.name = name
        self.section = section
        self.start = start
        self.size = size


class _Code:
    # What is known about one code section, by byte offset in it.

    __slots__ = ("cores", "data", "functions", "lines", "relocations", "types")

    def __init__(self, source: Source, section: Section) -> None:
        self.data = section.data
        self.functions = [
            _Function(symbol.name, section, symbol.value, symbol.size)
            for symbol in source.functions_in(section)
            if symbol.size
        ]
        self.relocations = {
            relocation.offset: symbol for relocation, symbol in source.relocations(section)
        }
        ext = source.ext
        name = section.name
        self.lines: list[ExtLine] = ext.line_info.get(name, []) if ext else []
        self.cores: list[ExtRelo] = ext.core_relo.get(name, []) if ext else []
        self.types = (
            {info.insn_off: info.type_id for info in ext.func_info.get(name, [])} if ext else {}
        )

    def covering(self, offset: int) -> _Function | None:
        for function in self.functions:
            if function.start <= offset < function.start + function.size:
                return function
        return None


class Linker:
    """Makes the programs of one object; see the module."""

    __slots__ = ("_code", "_exceptions", "_externs", "_license", "_maps", "_source", "_version")

    def __init__(self, source: Source, maps: ObjectMaps, externs: Mapping[str, Extern]) -> None:
        self._source = source
        self._maps = maps
        self._externs = externs
        self._code = {section.index: _Code(source, section) for section in source.code}
        self._exceptions = _exception_callbacks(source)
        license = source.section("license")
        self._license = (
            license.data.partition(b"\0")[0].decode("utf-8", "replace") if license else ""
        )
        version = source.section("version")
        data = version.data if version else b""
        self._version = int.from_bytes(data[:4], "little") if len(data) >= 4 else 0

    def programs(self) -> dict[str, ProgramSpec]:
        """Return the programs by the names of their functions."""
        found: dict[str, ProgramSpec] = {}
        for section in self._source.code:
            if section.name == _TEXT:
                continue
            code = self._code[section.index]
            for symbol in self._source.functions_in(section):
                if symbol.bind == STB_LOCAL:
                    problem = f"program {symbol.name} is static"
                    raise FormatError("object file", problem, section.name)
            for function in code.functions:
                if function.name in found:
                    raise FormatError("object file", f"two programs are called {function.name}")
                found[function.name] = self._program(function)
        return found

    # --- one program ---

    def _program(self, main: _Function) -> ProgramSpec:
        section = main.section.name
        autoload = not section.startswith("?")
        section = section.removeprefix("?")
        rule = match(section)
        linked = _Linked(self, main)
        return ProgramSpec(
            main.name,
            rule.type if rule else 0,
            bytes(linked.insns),
            relocs=linked.relocs,
            license=self._license,
            expected_attach_type=rule.attach_type if rule else 0,
            attach_to=rule.target(section) if rule else "",
            flags=rule.flags if rule else 0,
            funcs=linked.funcs,
            lines=linked.lines,
            core=linked.core,
            section=section,
            autoload=autoload,
            kern_version=self._version,
        )

    # --- what the instructions of a function refer to ---

    def code_of(self, function: _Function) -> _Code:
        """Return what is known about the section of a function."""
        return self._code[function.section.index]

    def exception_callback(self, function: _Function) -> _Function | None:
        """Return the function that a tag names as the callback of bpf_throw(), if any."""
        name = self._exceptions.get(function.name)
        if name is None:
            return None
        for code in self._code.values():
            for candidate in code.functions:
                if candidate.name == name:
                    return candidate
        raise FormatError("object file", f"exception callback {name} is nowhere defined")

    def callee(self, function: _Function, offset: int, imm: int) -> _Function | None:
        """Return the function that the call at ``offset`` goes to, None for one of the kernel."""
        symbol = self.code_of(function).relocations.get(offset)
        if symbol is None:
            # A call inside the section: the compiler filled in the distance.
            return self._at(function.section, offset + 8 * (imm + 1), function)
        section = self._source.section_of(symbol)
        if section is None:
            return None
        base = 8 * (imm + 1) if symbol.type == STT_SECTION else 0
        return self._at(section, symbol.value + base, function)

    def address_taken(self, symbol: Symbol, imm: int, user: _Function) -> _Function | None:
        """Return the function whose address a wide load takes, None if it takes something else."""
        section = self._source.section_of(symbol)
        if section is None or not section.flags & SHF_EXECINSTR:
            return None
        return self._at(section, symbol.value + imm, user)

    def _at(self, section: Section, offset: int, user: _Function) -> _Function:
        code = self._code.get(section.index)
        found = code.covering(offset) if code else None
        if found is None or found.start != offset:
            problem = f"{user.name} refers to no function at {offset} of {section.name}"
            raise FormatError("object file", problem, user.section.name)
        if section.name != _TEXT and found is not user and section is not user.section:
            problem = f"{user.name} calls {found.name}, which is a program of its own"
            raise FormatError("object file", problem, user.section.name)
        return found

    def reference(self, slot: int, symbol: Symbol, imm: int, user: _Function) -> Reloc:
        """Return the relocation for a wide load of something that is no function of the object."""
        extern = self._externs.get(symbol.name) if not symbol.shndx else None
        if extern is not None:
            if extern.kind == "kconfig":
                return Reloc(slot, "map_value", ".kconfig", extern.offset)
            return Reloc(slot, "ksym", extern.name, imm, extern.weak)
        section = self._source.section_of(symbol)
        place = None
        if section is not None:
            place = self._maps.at(section.index, symbol.value + imm)
        if place is None:
            where = section.name if section is not None else "nowhere"
            problem = f"{user.name} refers to {symbol.name or 'something'} of {where}"
            raise FormatError("object file", problem, user.section.name)
        name, offset, is_value = place
        return Reloc(slot, "map_value" if is_value else "map", name, offset)

    def kernel_call(self, slot: int, symbol: Symbol, user: _Function) -> Reloc:
        """Return the relocation for a call of a kernel function."""
        extern = self._externs.get(symbol.name)
        if extern is None or extern.kind != "kfunc":
            problem = f"{user.name} calls {symbol.name}, which is nowhere declared"
            raise FormatError("object file", problem, user.section.name)
        return Reloc(slot, "kfunc", symbol.name, 0, extern.weak)

    def line(self, slot: int, info: ExtLine) -> LineInfo:
        """Return a line record with its text."""
        btf = self._source.btf
        assert btf is not None
        file, text = btf.string(info.file_name_off), btf.string(info.line_off)
        return LineInfo(slot, file, text, info.line, info.column)


class _Linked:
    # One program with all the functions it uses, one behind the other.

    __slots__ = ("_depth", "_linker", "_slots", "core", "funcs", "insns", "lines", "relocs")

    def __init__(self, linker: Linker, main: _Function) -> None:
        self._linker = linker
        self._slots: dict[tuple[int, int], int] = {}
        self.insns = bytearray()
        self.relocs: list[Reloc] = []
        self.funcs: list[tuple[int, str, int]] = []
        self.lines: list[LineInfo] = []
        self.core: list[CoreRelo] = []
        self._depth = 0
        self._slot_of(main)
        callback = linker.exception_callback(main)
        if callback is not None:
            self._slot_of(callback)

    # Where a function begins; one that is new is appended, and behind it what it calls in turn:
    # the order that libbpf puts them in, so that a program has the same tag from either loader.
    def _slot_of(self, function: _Function) -> int:
        key = function.section.index, function.start
        slot = self._slots.get(key)
        if slot is None:
            if self._depth == _DEEPEST:
                problem = f"functions call each other more than {_DEEPEST} deep"
                raise FormatError("object file", problem, function.section.name)
            self._depth += 1
            slot = self._slots[key] = len(self.insns) // 8
            self._append(function, slot)
            self._connect(function)
            self._depth -= 1
        return slot

    def _append(self, function: _Function, slot: int) -> None:
        code = self._linker.code_of(function)
        start, end = function.start, function.start + function.size
        if end > len(code.data) or function.size % 8 or start % 8:
            raise FormatError("object file", f"function {function.name} is cut short")
        self.insns += code.data[start:end]
        self.funcs.append((slot, function.name, code.types.get(start, 0)))
        for line in code.lines:
            if start <= line.insn_off < end:
                self.lines.append(self._linker.line(slot + (line.insn_off - start) // 8, line))
        for relo in code.cores:
            if start <= relo.insn_off < end:
                at = slot + (relo.insn_off - start) // 8
                self.relocs.append(Reloc(at, "core", "", len(self.core)))
                self.core.append(CoreRelo(relo.type_id, relo.access, relo.kind))

    # Fill in calls and addresses of functions, note what else the instructions refer to.
    def _connect(self, function: _Function) -> None:
        base = self._slots[function.section.index, function.start]
        relocations = self._linker.code_of(function).relocations
        for index in _instructions(self.insns, base, function.size // 8):
            op, regs, _, imm = _INSN.unpack_from(self.insns, index * 8)
            offset = function.start + (index - base) * 8
            symbol = relocations.get(offset)
            if op == _CALL and regs >> 4 == BPF_PSEUDO_CALL:
                self._call(function, index, offset, imm, symbol)
            elif op == _LD_IMM64 and symbol is not None:
                self._wide(function, index, imm, symbol)
            elif symbol is not None:
                problem = f"{function.name}: a relocation of {symbol.name} at no reference"
                raise FormatError("object file", problem, function.section.name)

    def _call(
        self, user: _Function, index: int, offset: int, imm: int, symbol: Symbol | None
    ) -> None:
        callee = self._linker.callee(user, offset, imm)
        if callee is None:
            assert symbol is not None
            self.relocs.append(self._linker.kernel_call(index, symbol, user))
            return
        distance = self._slot_of(callee) - index - 1
        _INSN.pack_into(self.insns, index * 8, _CALL, BPF_PSEUDO_CALL << 4, 0, distance)

    def _wide(self, user: _Function, index: int, imm: int, symbol: Symbol) -> None:
        at = index * 8
        taken = self._linker.address_taken(symbol, imm, user)
        if taken is not None:
            distance = self._slot_of(taken) - index - 1
            self.insns[at + 1] = self.insns[at + 1] & 0x0F | BPF_PSEUDO_FUNC << 4
            self.insns[at + 4 : at + 8] = distance.to_bytes(4, "little", signed=True)
            self.insns[at + 12 : at + 16] = bytes(4)
            return
        self.relocs.append(self._linker.reference(index, symbol, imm, user))


# The slots where instructions begin: the second half of a wide one is none.
def _instructions(insns: bytearray, start: int, count: int) -> Iterator[int]:
    index = start
    while index < start + count:
        yield index
        index += 2 if insns[index * 8] == _LD_IMM64 else 1


# Which function's tag names which callback.
def _exception_callbacks(source: Source) -> dict[str, str]:
    btf = source.btf
    if btf is None:
        return {}
    from bpflens.btf.types import DeclTag
    from bpflens.uapi.btf import BTF_KIND_DECL_TAG

    found = {}
    for id in btf.ids_of_kind(BTF_KIND_DECL_TAG):
        tag = btf.type(id)
        if isinstance(tag, DeclTag) and tag.name.startswith(_EXCEPTION_TAG):
            found[btf.name(tag.type_id)] = tag.name.removeprefix(_EXCEPTION_TAG)
    return found

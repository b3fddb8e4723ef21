"""Tell a program built with libbpf's ``usdt.bpf.h`` where the arguments of a static probe are.

Such a program looks its arguments up at run time: the cookie of each place is the number of an
entry of the map ``__bpf_usdt_specs``, and the entry says for every argument whether it is a
constant, in a register, or in memory at a register. This turns the operands of
:mod:`bpflens.elf.usdt` into those entries.

Invariants: equal entries are stored once; an operand that the object's format cannot express is
an error that names it.

Example::

    specs = UsdtSpecs(loaded.maps["__bpf_usdt_specs"])
    specs.attach(Usdt("/usr/bin/python3", "python", "gc__start"), program)
"""

from __future__ import annotations

import os
from struct import Struct as Packer

from bpflens.attach.binary import binary_path
from bpflens.attach.usdt import notes
from bpflens.errors import AttachError, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.attach.attachment import Attachment, HasFd
    from bpflens.attach.usdt import Usdt
    from bpflens.elf.usdt import Argument, UsdtNote
    from bpflens.objects.map import Map

__all__ = ["SPECS_MAP", "UsdtSpecs", "packed_spec"]

#: The name of the map that usdt.bpf.h declares.
SPECS_MAP = "__bpf_usdt_specs"

# struct __bpf_usdt_arg_spec: u64 val_off; u32 arg_type (with index register and scale in its upper
# bits in newer versions); s16 reg_off; bool arg_signed; char arg_bitshift.
_ARG = Packer("<qIhBb")
_MOST_ARGS = 12
_TAIL = Packer("<Qh6x")
_SPEC_SIZE = _MOST_ARGS * _ARG.size + _TAIL.size
_CONST, _REG, _REG_DEREF, _SIB = range(4)

# Byte offsets in struct pt_regs as programs see it.
_X86_64 = {
    "r15": 0, "r14": 8, "r13": 16, "r12": 24, "bp": 32, "bx": 40, "r11": 48, "r10": 56, "r9": 64,
    "r8": 72, "ax": 80, "cx": 88, "dx": 96, "si": 104, "di": 112, "ip": 128, "sp": 152,
}  # fmt: skip
_AARCH64 = {**{f"x{n}": 8 * n for n in range(31)}, "sp": 248, "pc": 256}


class UsdtSpecs:
    """Fills one object's map of argument places; ``map`` is its ``__bpf_usdt_specs``.

    ``knows_index`` says that the object's format has room for an index register.
    """

    __slots__ = ("_knows_index", "_map", "_numbers")

    def __init__(self, map: Map, *, knows_index: bool = False) -> None:
        self._map = map
        self._knows_index = knows_index
        self._numbers: dict[bytes, int] = {}

    def attach(self, probe: Usdt, program: HasFd, *, cookie: int = 0) -> Attachment:
        """Attach at every place of the probe; ``cookie`` is what bpf_usdt_cookie() returns.

        Raises :class:`~bpflens.errors.AttachError`.
        """
        try:
            found = notes(binary_path(probe.path), probe.provider, probe.name)
        except NotFound as error:
            raise AttachError(str(probe), str(error)) from None
        numbers = [self._number(probe, note, cookie) for note in found]
        return probe.attach(program, cookies=numbers)

    def _number(self, probe: Usdt, note: UsdtNote, cookie: int) -> int:
        spec = packed_spec(str(probe), note.arguments, cookie, self._knows_index)
        number = self._numbers.get(spec)
        if number is None:
            number = len(self._numbers)
            info = self._map.info
            if number >= info.max_entries:
                reason = f"the object has room for {info.max_entries} places of arguments"
                raise AttachError(str(probe), reason, ["set BPF_USDT_MAX_SPEC_CNT higher"])
            if info.value_size != _SPEC_SIZE:
                reason = f"{SPECS_MAP} has values of {info.value_size} bytes, not {_SPEC_SIZE}"
                raise AttachError(str(probe), reason)
            self._map.update_raw(number.to_bytes(4, "little"), spec)
            self._numbers[spec] = number
        return number


def packed_spec(
    probe: str, arguments: list[Argument], cookie: int, knows_index: bool = False
) -> bytes:
    """Return the entry (struct __bpf_usdt_spec) for these operands.

    Raises :class:`~bpflens.errors.AttachError` for an operand that it cannot hold.
    """
    if len(arguments) > _MOST_ARGS:
        raise AttachError(probe, f"{len(arguments)} arguments; an object can look at {_MOST_ARGS}")
    parts = [_packed(probe, argument, knows_index) for argument in arguments]
    parts.append(bytes(_ARG.size * (_MOST_ARGS - len(parts))))
    parts.append(_TAIL.pack(cookie, len(arguments)))
    return b"".join(parts)


def _packed(probe: str, argument: Argument, knows_index: bool) -> bytes:
    registers = _AARCH64 if os.uname().machine == "aarch64" else _X86_64
    shift = 64 - 8 * argument.size
    if argument.symbol or argument.segment or argument.floating or shift < 0:
        raise _unreadable(probe, argument)
    if argument.kind == "constant":
        return _ARG.pack(argument.value, _CONST, 0, argument.signed, shift)
    register = registers.get(argument.register)
    if register is None:
        raise _unreadable(probe, argument)
    if argument.kind == "register":
        if argument.shift:
            raise _unreadable(probe, argument)
        return _ARG.pack(0, _REG, register, argument.signed, shift)
    if not argument.index:
        return _ARG.pack(argument.offset, _REG_DEREF, register, argument.signed, shift)
    index = registers.get(argument.index)
    if not knows_index or index is None or argument.index_width != 8:
        raise _unreadable(probe, argument)
    kind = _SIB | index << 8 | (argument.scale.bit_length() - 1) << 20
    return _ARG.pack(argument.offset, kind, register, argument.signed, shift)


def _unreadable(probe: str, argument: Argument) -> AttachError:
    return AttachError(probe, f"the object's format cannot say where {argument.text!r} is")

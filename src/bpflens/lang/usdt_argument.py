"""``argN`` of static probes: from the operands that the compiler noted to loads.

A probe that the compiler copied has several places, and its arguments may be elsewhere at each of
them; then the cookie of the attachment says which place was hit.
"""

from __future__ import annotations

from bpflens.elf.usdt import parse_arguments
from bpflens.lang.lower import memory
from bpflens.lang.lower.function import Ref
from bpflens.uapi.bpf import BPF_FUNC_get_attach_cookie
from bpflens.uapi.elf import EM_AARCH64, EM_X86_64

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from bpflens.elf.usdt import Argument
    from bpflens.lang.analyse.state import Variant
    from bpflens.lang.ir.ops import Value
    from bpflens.lang.lower.function import FunctionLowering

__all__ = ["argument_count", "lower"]


def _places(variant: Variant) -> list[str]:
    found = variant.matches[0].options.get("operands") if variant.matches else None
    return [str(text) for text in found] if isinstance(found, list) else []


def argument_count(variant: Variant, arch: str) -> int:
    """Return how many arguments the probe has at any of its places."""
    return max((len(_parsed(text, arch)) for text in _places(variant)), default=0)


def _parsed(text: str, arch: str) -> Sequence[Argument]:
    return parse_arguments(text, EM_X86_64 if arch == "x86_64" else EM_AARCH64)


def lower(f: FunctionLowering, number: int) -> Value:
    """Return the value of an argument at the place that was hit."""
    arch = f.context.target.arch
    operands = [
        parsed[number] if number < len(parsed) else None
        for parsed in (_parsed(text, arch) for text in _places(f.variant))
    ]
    kinds = {str(operand) for operand in operands}
    if len(kinds) <= 1:
        return _value(f, operands[0] if operands else None)
    result, done = f.fn.new(f"arg{number}"), f.block("have_argument")
    place = f.b.call(BPF_FUNC_get_attach_cookie, f.fn.ctx)
    f.b.assign(result, 0)
    for index, operand in enumerate(operands):
        here, other = f.block("place"), f.block("elsewhere")
        f.b.branch("eq", place, index, here, other)
        f.b.set_block(here)
        f.b.assign(result, _value(f, operand))
        f.b.jump(done)
        f.b.set_block(other)
    f.b.jump(done)
    f.b.set_block(done)
    return result


def _value(f: FunctionLowering, operand: Argument | None) -> Value:
    if operand is None:
        return 0
    if operand.kind == "constant":
        return _constant(operand.value, operand.size or 8, operand.signed)
    if operand.kind == "register":
        value = _register(f, operand.register)
        if operand.shift:
            value = f.b.alu("rsh", value, operand.shift)
        return _widened(f, value, min(operand.size or operand.width, operand.width), operand)
    return _from_memory(f, operand)


def _constant(value: int, size: int, signed: bool) -> int:
    # The compiler may write an unsigned number as the negative one of the same bits.
    bits = size * 8
    value &= (1 << bits) - 1
    return value - (1 << bits) if signed and value >> (bits - 1) else value


def _register(f: FunctionLowering, name: str) -> Value:
    from bpflens.lang.probe_argument import register

    # The notes of arm64 say x0 where pt_regs says r0.
    return register(f, f"r{name[1:]}" if name[:1] == "x" and name[1:].isdigit() else name)


def _widened(f: FunctionLowering, value: Value, size: int, operand: Argument) -> Value:
    if size >= 8:
        return value
    return f.b.sext(value, size * 8) if operand.signed else f.b.zext(value, size * 8)


def _from_memory(f: FunctionLowering, operand: Argument) -> Value:
    address = _register(f, operand.register) if operand.register else f.b.const(0)
    if operand.index:
        index = _register(f, operand.index)
        if operand.index_width == 4:
            index = f.b.sext(index, 32) if operand.index_signed else f.b.zext(index, 32)
        if operand.scale != 1:
            index = f.b.alu("mul", index, operand.scale)
        address = f.b.alu("add", address, index)
    if operand.offset:
        address = f.b.alu("add", address, operand.offset)
    assert not isinstance(address, int)
    size = operand.size if operand.size in (1, 2, 4, 8) else 8
    slot = f.fn.slot(8, 8, "argument")
    memory.probe_read(f, Ref(slot), size, Ref(address, 0, "user"))
    return f.b.load(slot, 0, size, operand.signed)

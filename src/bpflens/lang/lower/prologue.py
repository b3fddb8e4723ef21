"""What a program does before its block: is this event for it?

``-p`` makes programs whose probes cannot be bound to a process compare the process first. A program
that serves many system calls (see :mod:`bpflens.lang.analyse.syscall_group`) looks the number of
the call up in a bitmap; the registers it finds there are what ``args`` reads later.
"""

from __future__ import annotations

from bpflens.lang import nodes as n

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from bpflens.lang.ir.ops import Reg, Value
    from bpflens.lang.lower.function import FunctionLowering

__all__ = ["enter", "probe_name_place", "syscall_field"]

# Kinds that the kernel attaches for all processes.
_UNBOUND = frozenset(
    ("kprobe", "kretprobe", "fentry", "fexit", "tracepoint", "rawtracepoint", "profile")
)
# More calls than any architecture has; a power of two, so that the table needs no other check.
_MOST_CALLS = 512
# Offsets in struct pt_regs: what the table of arguments does not say.
_NUMBER = {"x86_64": (120, 8), "aarch64": (280, 4)}
_ARGUMENTS = {
    "x86_64": (112, 104, 96, 56, 72, 64),
    "aarch64": (272, 8, 16, 24, 32, 40),
}
# Code of 32-bit programs has its own segment (arch/x86/include/asm/segment.h: __USER32_CS); its
# system calls have other numbers, and the tracepoints leave them out, too.
_CODE_SEGMENT, _CODE_SEGMENT_OF_32_BIT = 136, 0x23
# Where fields of a system call's record lie: its number, then eight bytes for each argument.
_NUMBER_OFFSET, _FIRST_OFFSET = 8, 16


def enter(f: FunctionLowering) -> None:
    """Write the checks at the begin of a probe's program."""
    pid = int(str(f.context.options.get("pid") or 0))
    if f.variant.syscalls is not None:
        _check_call(f)
    if pid and f.variant.kind in _UNBOUND:
        _check_pid(f, pid)


def _check_pid(f: FunctionLowering, pid: int) -> None:
    from bpflens.lang import builtin

    rule = builtin.find("pid")
    assert rule is not None
    found = rule.lower(f, n.Identifier("pid"), [])
    assert not hasattr(found, "base")
    _go_on_if(f, "eq", found, pid)


def _go_on_if(f: FunctionLowering, op: str, a: Value, b: int) -> None:
    mine, others = f.block("mine"), f.block("others", cold=True)
    f.b.branch(op, a, b, mine, others)
    f.b.set_block(others)
    f.b.exit(0)
    f.b.set_block(mine)


def _check_call(f: FunctionLowering) -> None:
    group, arch = f.variant.syscalls, f.context.target.arch
    assert group is not None
    registers = f.b.load(f.fn.ctx, 0, 8)
    if group.direction == "enter":
        f.call_number = f.b.load(f.fn.ctx, 8, 8)
    else:
        offset, size = _NUMBER[arch]
        f.call_number = f.b.load(registers, offset, size)
    if arch == "x86_64":
        segment = f.b.load(registers, _CODE_SEGMENT, 8)
        _go_on_if(f, "ne", segment, _CODE_SEGMENT_OF_32_BIT)
    _go_on_if(f, "lt", f.call_number, _MOST_CALLS)
    table = f.resources.table(f"calls_{f.variant.index + 1}", _bitmap(group.names))
    word = f.b.alu("lsh", f.b.alu("rsh", f.call_number, 6), 3)
    bits = f.b.load(f.b.alu("add", f.b.map_value(table), word), 0, 8)
    shifted = f.b.alu("rsh", bits, f.b.alu("and", f.call_number, 63))
    _go_on_if(f, "set", shifted, 1)


def _number(f: FunctionLowering) -> Reg:
    assert not isinstance(f.call_number, int)
    return f.near(f.call_number, 0, plain=True)


def _bitmap(numbers: Mapping[int, str]) -> bytes:
    bits = sum(1 << number for number in numbers)
    return bits.to_bytes(_MOST_CALLS // 8, "little")


def syscall_field(f: FunctionLowering, offset: int) -> Reg:
    """Return a field of the record that a system call's own tracepoint would have made."""
    assert f.variant.syscalls is not None
    if offset == _NUMBER_OFFSET:
        return _number(f)
    if f.variant.syscalls.direction == "exit":
        return f.b.load(f.ctx, 8, 8)
    arguments = _ARGUMENTS[f.context.target.arch]
    registers = f.b.load(f.ctx, 0, 8)
    return f.b.load(registers, arguments[(offset - _FIRST_OFFSET) // 8], 8)


def probe_name_place(f: FunctionLowering) -> tuple[Reg, int]:
    """Return the address and the size of the name of the probe at hand, in a table."""
    group = f.variant.syscalls
    assert group is not None
    longest = max(len(name) for name in group.names.values()) + 1
    # A power of two: the verifier sees that no number leads out of the table.
    size = 1 << (longest - 1).bit_length()
    rows = [group.names.get(i, "").encode().ljust(size, b"\0") for i in range(_MOST_CALLS)]
    table = f.resources.table(f"names_{f.variant.index + 1}", b"".join(rows))
    number = f.b.alu("and", _number(f), _MOST_CALLS - 1)
    row = f.b.alu("lsh", number, size.bit_length() - 1)
    return f.b.alu("add", f.b.map_value(table), row), longest

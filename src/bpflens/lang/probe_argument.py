"""What a probe hands to its program: ``args``, ``argN``, ``retval``, ``ctx``, ``func``, registers.

Each kind of probe has its own context; here is where that is known, for typing and for lowering.
"""

from __future__ import annotations

from bpflens.lang.lower.function import Ref
from bpflens.lang.types import NONE, UINT64, Bool, Int, Ksym, Pointer, Struct, Type, Usym
from bpflens.uapi import bpf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.lang import nodes as n
    from bpflens.lang.analyse.checker import Checker
    from bpflens.lang.ir.ops import Value
    from bpflens.lang.lower.function import FunctionLowering

__all__ = [
    "ARGUMENT_REGISTERS",
    "INSTRUCTION_POINTER",
    "PT_REGS",
    "check_arg",
    "check_args",
    "check_ctx",
    "check_func",
    "check_retval",
    "check_usermode",
    "lower",
    "lower_arg",
    "lower_args",
    "lower_ctx",
    "lower_func",
    "lower_retval",
    "lower_usermode",
    "register",
]

# Offsets in struct pt_regs (arch/x86/include/uapi/asm/ptrace.h) and in arm64's user_pt_regs.
PT_REGS: dict[str, dict[str, int]] = {
    "x86_64": {name: i * 8 for i, name in enumerate((
        "r15", "r14", "r13", "r12", "bp", "bx", "r11", "r10", "r9", "r8", "ax", "cx", "dx", "si",
        "di", "orig_ax", "ip", "cs", "flags", "sp", "ss",
    ))},
    "aarch64": {**{f"r{i}": i * 8 for i in range(31)}, "sp": 248, "pc": 256, "pstate": 264},
}  # fmt: skip
ARGUMENT_REGISTERS = {
    "x86_64": ("di", "si", "dx", "cx", "r8", "r9"),
    "aarch64": ("r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7"),
}
_RESULT = {"x86_64": "ax", "aarch64": "r0"}
INSTRUCTION_POINTER = {"x86_64": "ip", "aarch64": "pc"}
_REGISTER_KINDS = ("kprobe", "kretprobe", "uprobe", "uretprobe", "usdt")
_EVENT_KINDS = ("profile", "interval", "software", "hardware", "watchpoint")
_OWN_KINDS = ("begin", "end", "self", "test", "bench")
_ARG_KINDS = ("kprobe", "uprobe", "usdt", "rawtracepoint")
_ARGS_KINDS = ("tracepoint", "rawtracepoint", "fentry", "fexit", "uprobe", "iter")


def check_args(c: Checker, node: n.Node) -> Type | None:
    """Type ``args``: a pointer to the struct of the probe's arguments."""
    kind = c.variant.kind
    if kind not in _ARGS_KINDS:
        c.error(
            node,
            "args",
            "The args builtin can only be used with tracepoint, rawtracepoint, fentry/fexit, and"
            f" uprobe probes ({kind} used here)",
        )
        return None
    if c.variant.args is None:
        why = (
            "this kernel has no BTF (CONFIG_DEBUG_INFO_BTF)"
            if c.context.types() is None
            else "its arguments are not known"
        )
        c.error(node, "args", f"Cannot read the arguments of {c.variant.point.text}: {why}")
    return c.variant.args


def lower_args(f: FunctionLowering, node: n.Node) -> Value:
    """Return the context pointer that ``args`` stands for."""
    return f.ctx


def lower(f: FunctionLowering, node: n.Field, base: Pointer) -> Value | Ref | None:
    """Lower ``args.field``, or return None where the context is a plain struct in memory."""
    if f.variant.syscalls is None and f.variant.kind == "tracepoint":
        return None
    struct = base.target
    assert isinstance(struct, Struct)
    field = struct.field(node.name)
    assert field is not None
    if f.variant.kind == "iter":
        return _of_iterator(f, field.offset) if isinstance(field.type, Pointer) else None
    if f.variant.syscalls is not None:
        from bpflens.lang.lower import prologue

        return prologue.syscall_field(f, field.offset)
    if f.variant.kind == "uprobe":
        return _register_argument(f, field.offset // 8)
    if isinstance(field.type, Struct):
        return Ref(f.ctx, field.offset, "ctx")
    # Raw tracepoints and fentry: an array of 64-bit words, one an argument, the result behind.
    value = f.b.load(f.ctx, field.offset, 8)
    if isinstance(field.type, (Int, Bool)) and field.type.size < 8:
        bits = field.type.size * 8
        signed = bool(getattr(field.type, "signed", False))
        return f.b.sext(value, bits) if signed else f.b.zext(value, bits)
    return value


def _of_iterator(f: FunctionLowering, offset: int) -> Value:
    # The objects of an iterator are NULL at its end. Read like this, a pointer is a number to the
    # verifier, which wants no check before each use of it.
    from bpflens.lang.lower import memory

    slot = f.fn.slot(8, 8, "object")
    memory.probe_read(f, Ref(slot), 8, Ref(f.ctx, offset, "kernel"))
    return f.b.load(slot, 0, 8)


def check_arg(c: Checker, node: n.Node) -> Type | None:
    """Type ``argN``."""
    name = node.name  # type: ignore[attr-defined]
    kind = c.variant.kind
    if kind not in _ARG_KINDS:
        c.error(
            node,
            "arg",
            f"The {name} builtin can only be used with 'kprobes', 'uprobes' and 'usdt' probes"
            f" ({kind} used here)",
            *(
                ["Use args.FIELD; `bpftrace -lv PROBE` lists the fields"]
                if kind in _ARGS_KINDS
                else []
            ),
        )
        return None
    number = int(name[3:])
    limit = len(ARGUMENT_REGISTERS[c.target.arch])
    if kind == "usdt":
        from bpflens.lang.usdt_argument import argument_count

        count = argument_count(c.variant, c.target.arch)
        if number >= count:
            many = f"{count} argument{'' if count == 1 else 's'}"
            c.error(node, "arg", f"{name} is not there: {c.variant.point.text} has {many}")
        return UINT64
    if kind in ("kprobe", "uprobe") and number >= limit:
        c.error(node, "arg", f"arch {c.target.arch} doesn't support {name}")
        return None
    return UINT64


def lower_arg(f: FunctionLowering, node: n.Node) -> Value:
    """Lower ``argN``."""
    number = int(node.name[3:])  # type: ignore[attr-defined]
    if f.variant.kind == "rawtracepoint":
        return f.b.load(f.ctx, number * 8, 8)
    if f.variant.kind == "usdt":
        from bpflens.lang import usdt_argument

        return usdt_argument.lower(f, number)
    return _register_argument(f, number)


def _register_argument(f: FunctionLowering, number: int) -> Value:
    arch = f.context.target.arch
    return register(f, ARGUMENT_REGISTERS[arch][number])


def register(f: FunctionLowering, name: str) -> Value:
    """Load a register of the traced code."""
    return f.b.load(f.ctx, PT_REGS[f.context.target.arch][name], 8)


def check_retval(c: Checker, node: n.Node) -> Type | None:
    """Type ``retval``."""
    kind = c.variant.kind
    if kind in ("kretprobe", "uretprobe"):
        return UINT64
    if kind == "fexit":
        return c.variant.result or UINT64
    hint = ["try to use args.ret instead"] if kind == "tracepoint" else []
    c.error(
        node,
        "retval",
        "The retval builtin can only be used with 'kretprobe' and 'uretprobe' and 'fentry' probes"
        f" ({kind} used here)" + (" (try to use args.ret instead)" if hint else ""),
    )
    return None


def lower_retval(f: FunctionLowering, node: n.Node) -> Value:
    """Lower ``retval``."""
    if f.variant.kind == "fexit":
        value = f.b.load(f.ctx, len(f.variant.params) * 8, 8)
        kind = f.type(node)
        if isinstance(kind, Int) and kind.size < 8:
            bits = kind.size * 8
            return f.b.sext(value, bits) if kind.signed else f.b.zext(value, bits)
        return value
    return register(f, _RESULT[f.context.target.arch])


def check_ctx(c: Checker, node: n.Node) -> Type | None:
    """Type ``ctx``."""
    kind = c.variant.kind
    if kind == "iter":
        return c.variant.args
    name = ""
    if kind in _REGISTER_KINDS:
        name = "pt_regs"
    elif kind in _EVENT_KINDS:
        name = "bpf_perf_event_data"
    found = c.context.named_type(name, "struct") if name else None
    return Pointer(found if found is not None else NONE, "ctx")


def lower_ctx(f: FunctionLowering, node: n.Node) -> Value:
    """Lower ``ctx``."""
    return f.ctx


def check_func(c: Checker, node: n.Node) -> Type | None:
    """Type ``func``."""
    kind = c.variant.kind
    if kind in ("uprobe", "uretprobe"):
        return Usym()
    if kind in ("kprobe", "kretprobe", "fentry", "fexit"):
        return Ksym()
    c.error(node, "func", f"The func builtin can not be used with '{kind}' probes")
    return None


def lower_func(f: FunctionLowering, node: n.Node) -> Ref:
    """Lower ``func``: the address of the probed function, kept as a symbol."""
    kind = f.variant.kind
    if f.variant.multi or kind in ("kretprobe", "uretprobe", "fentry", "fexit"):
        address = f.b.call(bpf.BPF_FUNC_get_func_ip, f.ctx)
    else:
        address = register(f, INSTRUCTION_POINTER[f.context.target.arch])  # type: ignore[assignment]
    place = f.buffer(16)
    f.b.store(place.base, place.off, address, 8)
    if kind in ("uprobe", "uretprobe"):
        from bpflens.lang.builtin import process_id

        pid = process_id(f)
        f.b.store(place.base, place.off + 8, pid, 8)
    return place


def check_usermode(c: Checker, node: n.Node) -> Type | None:
    """Type ``usermode``."""
    if c.target.arch != "x86_64":
        c.error(node, "usermode", "'usermode' builtin is only supported on x86_64")
    if c.variant.kind not in (*_REGISTER_KINDS, *_EVENT_KINDS, *_OWN_KINDS):
        c.error(
            node,
            "usermode",
            f"The usermode builtin can not be used with '{c.variant.kind}' probes",
        )
    return Int(1, False)


def lower_usermode(f: FunctionLowering, node: n.Node) -> Value:
    """Lower ``usermode``: the privilege level in the low bits of the code segment register."""
    if f.variant.kind in _OWN_KINDS:
        # This tool itself runs these, from its process.
        return 1
    return f.b.bool_("eq", f.b.alu("and", register(f, "cs"), 3), 3)

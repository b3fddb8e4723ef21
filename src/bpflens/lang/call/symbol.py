"""Functions on symbols and registers: ``ksym usym kaddr uaddr percpu_kaddr reg``."""

from __future__ import annotations

from bpflens.lang import nodes as n
from bpflens.lang.call import CallRule, count_arguments, literal_text
from bpflens.lang.types import UINT64, Int, Ksym, Pointer, Type, Usym
from bpflens.uapi.bpf import (
    BPF_FUNC_get_func_ip,
    BPF_FUNC_per_cpu_ptr,
    BPF_FUNC_probe_read_kernel,
    BPF_FUNC_this_cpu_ptr,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.lang.analyse.checker import Checker
    from bpflens.lang.ir.ops import Value
    from bpflens.lang.lower.function import FunctionLowering, Ref

__all__ = ["CALLS", "in_buffer", "launder"]

_USER_KINDS = ("uprobe", "uretprobe", "usdt")
_REGISTER_KINDS = (
    "kprobe", "kretprobe", "uprobe", "uretprobe", "usdt",
    "profile", "interval", "software", "hardware", "watchpoint",
)  # fmt: skip


def in_buffer(f: FunctionLowering, node: n.Call) -> Ref:
    """Lower a call by having its value written to temporary memory."""
    from bpflens.lang import call

    kind = f.type(node)
    place = f.buffer(kind.size)
    rule = call.find(node.name)
    assert rule is not None
    assert rule.write is not None
    rule.write(f, node, place, kind)
    return place


# names for addresses


def _check_address(c: Checker, node: n.Call) -> bool:
    if not count_arguments(c, node, 1):
        return False
    found = c.type(node.args[0])
    if found is not None and not isinstance(found, (Int, Pointer)):
        c.error(node, "arguments", f"{node.name}() expects an integer or pointer argument")
        return False
    return True


def _check_ksym(c: Checker, node: n.Call) -> Type | None:
    return Ksym() if _check_address(c, node) else None


def _check_usym(c: Checker, node: n.Call) -> Type | None:
    return Usym() if _check_address(c, node) else None


def _write_ksym(f: FunctionLowering, node: n.Node, place: Ref, wanted: Type) -> None:
    assert isinstance(node, n.Call)
    f.b.store(place.base, place.off, f.value(node.args[0]), 8)


def _write_usym(f: FunctionLowering, node: n.Node, place: Ref, wanted: Type) -> None:
    assert isinstance(node, n.Call)
    f.b.store(place.base, place.off, f.value(node.args[0]), 8)
    from bpflens.lang.builtin import process_id

    pid = process_id(f)
    f.b.store(place.base, place.off + 8, pid, 8)


# addresses of names


def _check_kaddr(c: Checker, node: n.Call) -> Type | None:
    if not count_arguments(c, node, 1):
        return None
    name = literal_text(c, node, 0)
    if name is not None and c.target.kernel_symbol(name) is None:
        c.error(node, "kernel-symbol", f"Failed to resolve kernel symbol: {name}")
    return UINT64


def _lower_kaddr(f: FunctionLowering, node: n.Call) -> Value:
    name = node.args[0]
    assert isinstance(name, n.String)
    address = f.context.target.kernel_symbol(name.value.decode("utf-8", "replace"))
    assert address is not None
    return f.b.const(address)


def _check_uaddr(c: Checker, node: n.Call) -> Type | None:
    if not count_arguments(c, node, 1):
        return None
    name = literal_text(c, node, 0)
    if name is None:
        return UINT64
    if c.variant.kind not in _USER_KINDS:
        c.error(
            node,
            "probe-kind",
            f"uaddr can not be used for this probetype: {c.variant.kind}",
        )
        return UINT64
    path = str(c.variant.matches[0].options.get("path", "")) if c.variant.matches else ""
    found = c.target.user_symbol(path, name)
    if found is None:
        c.error(node, "user-symbol", f"Could not resolve symbol: {path}:{name}")
        return UINT64
    # What the pointer points at has the symbol's size, where that is the size of an integer.
    size = found[1] if found[1] in (1, 2, 4, 8) else 8
    return Pointer(Int(size, False), "user")


def _lower_uaddr(f: FunctionLowering, node: n.Call) -> Value:
    # The symbol's place in the file, moved by as much as the code itself was moved.
    from bpflens.lang import probe_argument

    name = node.args[0]
    assert isinstance(name, n.String)
    options = f.variant.matches[0].options
    path = str(options["path"])
    found = f.context.target.user_symbol(path, name.value.decode("utf-8", "replace"))
    assert found is not None
    probed = _probed_address(f, path)
    if probed is None:
        return f.b.const(found[0])
    if f.variant.kind == "uretprobe":
        here: Value = f.b.call(BPF_FUNC_get_func_ip, f.ctx)
    else:
        here = probe_argument.register(f, probe_argument.INSTRUCTION_POINTER[f.context.target.arch])
    return f.b.alu("add", here, found[0] - probed)


def _probed_address(f: FunctionLowering, path: str) -> int | None:
    options = f.variant.matches[0].options
    offset = int(str(options.get("offset", 0)))
    if "symbol" in options:
        found = f.context.target.user_symbol(path, str(options["symbol"]))
        return found[0] + offset if found is not None else None
    address = options.get("address")
    return int(str(address)) if address is not None else None


# variables of the kernel that every CPU has its own of


def _check_percpu(c: Checker, node: n.Call) -> Type | None:
    if not count_arguments(c, node, 1, 2):
        return None
    if len(node.args) == 2:
        c.integer(node.args[1], "percpu_kaddr()")
    name = literal_text(c, node, 0)
    if name is None:
        return None
    kernel = c.context.types()
    kind = kernel.variable(name) if kernel else None
    if kind is None:
        c.error(node, "kernel-symbol", f'Could not resolve variable "{name}" from BTF')
        return None
    return Pointer(kind, "kernel")


def _lower_percpu(f: FunctionLowering, node: n.Call) -> Value:
    name = node.args[0]
    assert isinstance(name, n.String)
    variable = f.b.ksym(name.value.decode("utf-8", "replace"))
    if len(node.args) == 1:
        return launder(f, f.b.call(BPF_FUNC_this_cpu_ptr, variable))
    found = f.b.call(BPF_FUNC_per_cpu_ptr, variable, f.value(node.args[1]))
    result = f.fn.new("address")
    f.b.assign(result, 0)
    have, done = f.block("have"), f.block("done")
    f.b.branch("ne", found, 0, have, done)
    f.b.set_block(have)
    f.b.assign(result, launder(f, found))
    f.b.jump(done)
    f.b.set_block(done)
    return result


def launder(f: FunctionLowering, pointer: Value) -> Value:
    """Return a pointer's value as a number, with which the verifier allows any arithmetic."""
    known, plain = f.fn.slot(8, 8, "known"), f.fn.slot(8, 8, "plain")
    f.b.store(known, 0, pointer, 8)
    f.b.call(BPF_FUNC_probe_read_kernel, f.b.slot_addr(plain), 8, f.b.slot_addr(known))
    return f.b.load(plain, 0, 8)


# registers


def _check_reg(c: Checker, node: n.Call) -> Type | None:
    from bpflens.lang.probe_argument import PT_REGS

    if not count_arguments(c, node, 1):
        return None
    name = literal_text(c, node, 0)
    if name is not None and name not in PT_REGS[c.target.arch]:
        c.error(
            node,
            "register",
            f"'{name}' is not a valid register on this architecture ({c.target.arch})",
        )
    if c.variant.kind not in _REGISTER_KINDS:
        c.error(node, "probe-kind", f'reg can not be used with "{c.variant.kind}" probes')
    return UINT64


def _lower_reg(f: FunctionLowering, node: n.Call) -> Value:
    from bpflens.lang.probe_argument import register

    name = node.args[0]
    assert isinstance(name, n.String)
    return register(f, name.value.decode())


CALLS: dict[str, CallRule] = {
    "ksym": CallRule(_check_ksym, in_buffer, _write_ksym),
    "usym": CallRule(_check_usym, in_buffer, _write_usym),
    "kaddr": CallRule(_check_kaddr, _lower_kaddr),
    "uaddr": CallRule(_check_uaddr, _lower_uaddr),
    "percpu_kaddr": CallRule(_check_percpu, _lower_percpu),
    "reg": CallRule(_check_reg, _lower_reg),
}

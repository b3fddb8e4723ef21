"""Functions of networking: ``ntop pton macaddr bswap socket_cookie skboutput``."""

from __future__ import annotations

from bpflens.lang import nodes as n
from bpflens.lang.call import CallRule, count_arguments, literal_text
from bpflens.lang.call.symbol import in_buffer
from bpflens.lang.lower import memory
from bpflens.lang.lower.function import Ref
from bpflens.lang.types import (
    UINT64,
    Array,
    Buffer,
    Enum,
    Inet,
    Int,
    Mac,
    Pointer,
    String,
    Struct,
    Type,
)  # fmt: skip
from bpflens.uapi.bpf import BPF_FUNC_get_socket_cookie, BPF_FUNC_ktime_get_boot_ns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.lang.analyse.checker import Checker
    from bpflens.lang.ir.ops import Value
    from bpflens.lang.lower.function import FunctionLowering

__all__ = ["CALLS"]

_AF_INET, _AF_INET6 = 2, 10
_SIZES = {4: _AF_INET, 16: _AF_INET6}
_MOST_PACKET = 32 * 1024 - 64
UINT32 = Int(4, False)
# Kinds whose programs know the kernel's types.
_TYPED_KINDS = ("fentry", "fexit", "rawtracepoint", "iter")


def _bytes(size: int) -> Array:
    return Array(Int(1, False), size)


# addresses


def _check_ntop(c: Checker, node: n.Call) -> Type | None:
    if not count_arguments(c, node, 1, 2):
        return Inet()
    if len(node.args) == 2:
        found = c.type(node.args[0])
        if found is not None and not isinstance(found, (Int, Enum)):
            c.error(
                node,
                "arguments",
                f"ntop() only supports int arguments ({found.name} provided)",
            )
    found = c.type(node.args[-1])
    if found is None:
        return Inet()
    if isinstance(found, (Array, String)):
        if found.size not in _SIZES:
            c.error(node, "arguments", "ntop() argument must be 4 or 16 bytes in size")
    elif not isinstance(found, (Int, Enum)):
        c.error(
            node,
            "arguments",
            f"ntop() expects an integer or array argument, got {found.name}",
        )
    return Inet()


def _write_ntop(f: FunctionLowering, node: n.Node, place: Ref, wanted: Type) -> None:
    assert isinstance(node, n.Call)
    address = node.args[-1]
    kind = f.type(address)
    array = isinstance(kind, (Array, String))
    family: Value = _SIZES.get(kind.size, _AF_INET) if array else _AF_INET
    if len(node.args) == 2:
        family = f.value(node.args[0])
    f.b.store(place.base, place.off, family, 8)
    f.b.zero(place.base, place.off + 8, 16)
    if array:
        raw = _bytes(kind.size)
        memory.copy(f, place.at(8), f.ref(address), raw, raw)
    else:
        f.b.store(place.base, place.off + 8, f.value(address), 4)


def _packed(text: str) -> bytes | None:
    from socket import AF_INET, AF_INET6, inet_pton

    try:
        return inet_pton(AF_INET6 if ":" in text else AF_INET, text)
    except OSError:
        return None


def _check_pton(c: Checker, node: n.Call) -> Type | None:
    if not count_arguments(c, node, 1):
        return None
    text = literal_text(c, node, 0)
    if text is None:
        return None
    packed = _packed(text)
    if packed is None:
        c.error(
            node,
            "address",
            f"pton() expects an string argument of an IPv4/IPv6 address, got {text}",
        )
        return None
    return _bytes(len(packed))


def _write_pton(f: FunctionLowering, node: n.Node, place: Ref, wanted: Type) -> None:
    assert isinstance(node, n.Call)
    text = node.args[0]
    assert isinstance(text, n.String)
    packed = _packed(text.value.decode())
    assert packed is not None
    memory.store_bytes(f, packed, place, wanted.size)


def _check_macaddr(c: Checker, node: n.Call) -> Type | None:
    if not count_arguments(c, node, 1):
        return Mac()
    found = c.type(node.args[0])
    if isinstance(node.args[0], n.String):
        c.error(node, "arguments", "macaddr() does not support literal string arguments")
    elif found is not None and not isinstance(found, (Array, String, Pointer, Int)):
        c.error(
            node,
            "arguments",
            f"macaddr() only supports array or pointer arguments ({found.name} provided)",
        )
    elif isinstance(found, (Array, String)) and found.size < 6:
        c.error(node, "arguments", "macaddr() argument must be at least 6 bytes in size")
    return Mac()


def _write_macaddr(f: FunctionLowering, node: n.Node, place: Ref, wanted: Type) -> None:
    assert isinstance(node, n.Call)
    source = memory.place_of(f, node.args[0])
    f.b.zero(place.base, place.off, wanted.size)
    memory.copy(f, place, source, _bytes(6), _bytes(6))


# byte order


def _check_bswap(c: Checker, node: n.Call) -> Type | None:
    if not count_arguments(c, node, 1):
        return None
    found = c.type(node.args[0])
    if found is None:
        return None
    if not isinstance(found, (Int, Enum)):
        c.error(
            node,
            "arguments",
            f"bswap() only supports integer arguments ({found.name} provided)",
        )
        return None
    return Int(found.size, False)


def _lower_bswap(f: FunctionLowering, node: n.Call) -> Value:
    size = f.type(node).size
    value = f.value(node.args[0])
    if size == 1:
        return f.b.zext(value, 8)
    return f.b.bswap(value, size * 8)


# sockets and packets


def _check_cookie(c: Checker, node: n.Call) -> Type | None:
    if not count_arguments(c, node, 1):
        return UINT64
    if c.variant.kind not in _TYPED_KINDS:
        c.error(node, "probe-kind", f'socket_cookie can not be used with "{c.variant.kind}" probes')
    found = c.type(node.args[0])
    if found is None:
        return UINT64
    target = found.target if isinstance(found, Pointer) else None
    if not isinstance(target, Struct) or target.tag != "struct sock":
        shown = f"'{found.name}'" if isinstance(target, Struct) else found.name
        c.error(
            node,
            "arguments",
            f"socket_cookie() only supports 'struct sock *' as the argument ({shown} provided)",
        )
    return UINT64


def _lower_cookie(f: FunctionLowering, node: n.Call) -> Value:
    return f.b.call(BPF_FUNC_get_socket_cookie, f.value(node.args[0]))


def _check_skboutput(c: Checker, node: n.Call) -> Type | None:
    if not count_arguments(c, node, 4):
        return UINT32
    literal_text(c, node, 0)
    if c.variant.kind not in _TYPED_KINDS:
        c.error(node, "probe-kind", f'skboutput can not be used with "{c.variant.kind}" probes')
    found = c.type(node.args[1])
    target = found.target if isinstance(found, Pointer) else None
    if found is not None and not (isinstance(target, Struct) and target.tag == "struct sk_buff"):
        c.error(
            node.args[1],
            "arguments",
            f"skboutput() expects a 'struct sk_buff *' ({found.name} provided)",
        )
    for argument in node.args[2:]:
        c.integer(argument, "skboutput()")
    return UINT32


def _lower_skboutput(f: FunctionLowering, node: n.Call) -> Value:
    # Send the linear part of a packet: its first bytes, as many as were asked for.
    from bpflens.lang.lower import event

    path, packet, length, offset = node.args
    assert isinstance(path, n.String)
    kind = f.type(packet)
    assert isinstance(kind, Pointer)
    assert isinstance(kind.target, Struct)
    struct = kind.target
    base = f.value(packet)
    skip = f.value(offset)

    def field(name: str, size: int) -> Value:
        found = struct.field(name)
        assert found is not None
        assert not isinstance(base, int)
        place = Ref(base, found.offset, "btf" if kind.trusted else "kernel")
        return memory.load(f, place, Int(size, False))

    data, whole, paged = field("data", 8), field("len", 4), field("data_len", 4)
    linear = f.b.alu("sub", f.b.alu("sub", whole, paged), skip)
    most = length.value if isinstance(length, n.Integer) else _MOST_PACKET
    most = max(1, min(most, _MOST_PACKET))
    count = memory.at_most(f, memory.at_most(f, f.value(length), linear), most)

    def write_time(place: Ref) -> None:
        f.b.store(place.base, place.off, f.b.call(BPF_FUNC_ktime_get_boot_ns), 8)

    def write_length(place: Ref) -> None:
        f.b.store(place.base, place.off, whole, 4)

    def write_data(place: Ref) -> None:
        f.b.store(place.base, place.off, count, 4)
        source = Ref(f.b.alu("add", data, skip), 0, "kernel")
        memory.probe_read(f, place.at(4), count, source)

    fields = [(UINT64, write_time), (UINT32, write_length), (Buffer(most), write_data)]
    event.emit(f, "skboutput", fields, format=path.value)
    return 0


CALLS: dict[str, CallRule] = {
    "ntop": CallRule(_check_ntop, in_buffer, _write_ntop),
    "pton": CallRule(_check_pton, in_buffer, _write_pton),
    "macaddr": CallRule(_check_macaddr, in_buffer, _write_macaddr),
    "bswap": CallRule(_check_bswap, _lower_bswap),
    "socket_cookie": CallRule(_check_cookie, _lower_cookie),
    "skboutput": CallRule(_check_skboutput, _lower_skboutput),
}

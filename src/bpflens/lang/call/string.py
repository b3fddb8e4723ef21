"""Functions that read text and bytes: ``str buf strncmp``."""

from __future__ import annotations

from bpflens.lang import nodes as n
from bpflens.lang.call import CallRule, count_arguments
from bpflens.lang.call.symbol import in_buffer
from bpflens.lang.lower import memory
from bpflens.lang.lower.function import Ref
from bpflens.lang.types import (
    UINT64,
    Array,
    Buffer,
    Int,
    Pointer,
    String,
    Type,
)  # fmt: skip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.lang.analyse.checker import Checker
    from bpflens.lang.ir.ops import Value
    from bpflens.lang.lower.function import FunctionLowering

__all__ = ["CALLS"]

# Buffers of this size and more are cut without a sign, as the reference does.
_UNMARKED_SIZE = 1024


def _limit(context_config: dict[str, object]) -> int:
    return int(str(context_config["max_strlen"]))


def _literal_text(c_params: list[str], node: n.Node) -> bytes | None:
    # Return the text of ``str($1)`` and ``str($1 + off)``, which is known before running.
    if isinstance(node, n.Positional) and node.index > 0:
        return (c_params[node.index - 1] if node.index <= len(c_params) else "").encode(
            "utf-8", "surrogateescape"
        )
    if isinstance(node, n.Binary) and node.op == "+":
        left, right = node.left, node.right
        if isinstance(right, n.Positional):
            left, right = right, left
        if isinstance(left, n.Positional) and isinstance(right, n.Integer):
            base = _literal_text(c_params, left)
            return base[right.value :] if base is not None else None
    return None


def _check_str(c: Checker, node: n.Call) -> Type | None:
    if not count_arguments(c, node, 1, 2):
        return None
    text = _literal_text(c.context.params, node.args[0])
    if text is not None:
        return String(len(text) + 1)
    found = c.type(node.args[0])
    size = _limit(c.config)
    if len(node.args) == 2:
        size = _check_length(c, node, size)
    if found is None:
        return String(size)
    if not isinstance(found, (Int, Pointer, String, Array)):
        c.error(
            node.args[0],
            "arguments",
            f"str() expects an integer or a pointer type as first argument ({found.name} provided)",
        )
    return String(size)


def _check_length(c: Checker, node: n.Call, limit: int) -> int:
    length = node.args[1]
    found = c.type(length)
    if isinstance(length, n.Integer):
        if length.value + 1 > limit:
            c.warning(
                node,
                "length",
                f"length param ({length.value}) is too long and will be shortened to {limit} bytes"
                " (see BPFTRACE_MAX_STRLEN)",
            )
            return limit
        return length.value + 1
    if found is not None and not isinstance(found, Int):
        c.error(
            length,
            "arguments",
            f"{node.name}() expects an integer as its length ({found.name} provided)",
        )
    return limit


def _write_str(f: FunctionLowering, node: n.Node, place: Ref, wanted: Type) -> None:
    assert isinstance(node, n.Call)
    text = _literal_text(f.context.params, node.args[0])
    if text is not None:
        memory.store_node(f, n.String(text), place, wanted)
        return
    own = f.type(node)
    kind = f.type(node.args[0])
    # Whoever reads the result sees whole buffers (keys are hashed, values are compared), so what
    # lies behind the text has to be zero.
    if not place.loose:
        memory.fill(f, place, wanted.size)
    if isinstance(kind, (String, Array)):
        source = f.ref(node.args[0])
        address, space = f.address(source), source.space
    else:
        address = f.value(node.args[0])  # type: ignore[assignment]
        space = _space(f, node.args[0], kind)
    size = min(own.size, wanted.size)
    if len(node.args) == 2:
        # A length counts the NUL.
        memory.read_string(f, place, _length(f, node, size), address, space)
        return
    count = memory.read_string(f, place, size, address, space)
    if size == own.size and size < _UNMARKED_SIZE:
        memory.mark_cut(f, place, size, count, address, space)


def _space(f: FunctionLowering, node: n.Node, kind: Type) -> str:
    if isinstance(kind, Pointer):
        return kind.space
    # A bare number: arguments of user probes are user addresses; else the address decides.
    return "user" if f.variant.kind in ("uprobe", "uretprobe", "usdt") else ""


def _length(f: FunctionLowering, node: n.Call, size: int) -> Value:
    length = f.meant(node.args[1])
    if isinstance(length, n.Integer):
        return max(1, min(length.value, size))
    # The verifier wants to see that the length stays within the buffer, and that there is one.
    return memory.at_most(f, memory.at_least_one(f, f.value(length)), size)


def _check_buf(c: Checker, node: n.Call) -> Type | None:
    if not count_arguments(c, node, 1, 2):
        return None
    found = c.type(node.args[0])
    most = _limit(c.config) - 4
    size = most
    if len(node.args) == 2:
        length = node.args[1]
        c.type(length)
        if isinstance(length, n.Integer):
            size = length.value
    elif isinstance(found, (Array, String)):
        size = found.size
    elif found is not None:
        c.error(
            node, "arguments", "buf() expects a length argument for non-array type " + found.name
        )
    return Buffer(min(size, most))


def _write_buf(f: FunctionLowering, node: n.Node, place: Ref, wanted: Type) -> None:
    assert isinstance(node, n.Call)
    assert isinstance(wanted, Buffer)
    kind = f.type(node.args[0])
    own = f.type(node)
    assert isinstance(own, Buffer)
    capacity = min(own.capacity, wanted.capacity)
    if isinstance(kind, (Array, String)):
        source = f.ref(node.args[0])
    else:
        address = f.value(node.args[0])
        base = f.b.const(address) if isinstance(address, int) else address
        source = Ref(base, 0, _space(f, node.args[0], kind))
    length: Value = capacity
    if len(node.args) == 2 and not isinstance(node.args[1], n.Integer):
        length = memory.at_most(f, f.value(node.args[1]), capacity)
    if not place.loose:
        memory.fill(f, place.at(4), wanted.size - 4)
    f.b.store(place.base, place.off, length, 4)
    if source.direct and isinstance(length, int):
        memory.copy(
            f, place.at(4), source, Array(Int(1, False), length), Array(Int(1, False), length)
        )
        return
    source = Ref(source.base, source.off, "kernel" if source.direct else source.space)
    memory.probe_read(f, place.at(4), length, source)


def _check_strncmp(c: Checker, node: n.Call) -> Type | None:
    if not count_arguments(c, node, 3):
        return None
    for argument in node.args[:2]:
        found = c.type(argument)
        if found is not None and not isinstance(found, (String, Array)):
            c.error(argument, "arguments", f"strncmp() expects strings ({found.name} provided)")
    c.type(node.args[2])
    if not isinstance(node.args[2], n.Integer):
        c.error(node.args[2], "arguments", "strncmp() expects a literal length")
    return UINT64


def _first_bytes(f: FunctionLowering, node: n.Node, size: int) -> Ref:
    # Return memory with the first bytes of a text, zeroes behind its NUL.
    # One byte more than is compared: a text cut short ends in a NUL of its own.
    room = min(size + 1, f.type(node).size)
    place = f.buffer(room)
    memory.store_node(f, node, place, String(room))
    return place


def _lower_strncmp(f: FunctionLowering, node: n.Call) -> Value:
    left, right, length = node.args
    assert isinstance(length, n.Integer)
    size = min(length.value, f.type(left).size, f.type(right).size)
    result = f.fn.new("different")
    equal, different, done = f.block("equal"), f.block("differ"), f.block("compared")
    if size == 0:
        return 0
    a, b = (_first_bytes(f, argument, size) for argument in (left, right))
    memory.branch_words(f, a, b, size, equal, different)
    for block, value in ((equal, 0), (different, 1)):
        f.b.set_block(block)
        f.b.assign(result, value)
        f.b.jump(done)
    f.b.set_block(done)
    return result


CALLS: dict[str, CallRule] = {
    "str": CallRule(_check_str, in_buffer, _write_str),
    "buf": CallRule(_check_buf, in_buffer, _write_buf),
    "strncmp": CallRule(_check_strncmp, _lower_strncmp),
}

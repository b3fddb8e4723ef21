"""Functions on text: ``strlen strcap strstr strcontains str_concat memcmp path``.

And names of numbers: ``strerror signal_name syscall_name``, looked up in read-only tables.
"""

from __future__ import annotations

from bpflens.lang import nodes as n
from bpflens.lang.analyse.constant import kfunc_exists
from bpflens.lang.call import CallRule, count_arguments
from bpflens.lang.call.symbol import in_buffer
from bpflens.lang.lower import memory
from bpflens.lang.lower.function import Ref
from bpflens.lang.types import (
    BOOL,
    INT64,
    UINT64,
    Array,
    Enum,
    Int,
    Pointer,
    String,
    Struct,
    Type,
)  # fmt: skip
from bpflens.uapi.bpf import BPF_FUNC_d_path, BPF_FUNC_loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from bpflens.lang.analyse.checker import Checker
    from bpflens.lang.ir.builder import Builder
    from bpflens.lang.ir.ops import Function, Value
    from bpflens.lang.lower.function import FunctionLowering

__all__ = ["CALLS"]

_NAME_SIZE = 64
_MOST_NAMES = 512
_PATH_KINDS = ("fentry", "fexit", "iter")


# what counts as text


def _check_text(c: Checker, node: n.Node) -> Type | None:
    # Type an argument that must be a string, an array of characters or a pointer to them.
    found = c.type(node)
    if found is None or isinstance(found, String):
        return found
    inner: Type | None = None
    if isinstance(found, Array):
        inner, what = found.element, "arrays must contain"
    elif isinstance(found, Pointer):
        inner, what = found.target, "pointers must point to"
    if inner is None:
        c.error(node, "text", "string-like values must be either strings, arrays or pointers")
        return None
    if not (isinstance(inner, Int) and inner.size == 1):
        c.error(node, "text", f"string-like {what} a char-like type")
        return None
    return found


def _capacity(f: FunctionLowering, kind: Type) -> int:
    if isinstance(kind, (String, Array)):
        return kind.size
    return int(str(f.context.config["max_strlen"]))


def _in_memory(f: FunctionLowering, node: n.Node) -> tuple[Ref, int]:
    # Return where a text lies in BPF memory, NUL-terminated or full, and its room.
    kind = f.type(node)
    size = _capacity(f, kind)
    if isinstance(kind, String):
        place = f.ref(node)
        if place.direct:
            return place, size
    else:
        place = memory.place_of(f, node)
    copy = f.scratch(size)
    memory.read_string(f, copy, size, f.address(place), place.space)
    return copy, size


def _check_strlen(c: Checker, node: n.Call) -> Type | None:
    if count_arguments(c, node, 1):
        _check_text(c, node.args[0])
    return UINT64


def _lower_strlen(f: FunctionLowering, node: n.Call) -> Value:
    # A copy up to the NUL tells how long it was.
    kind = f.type(node.args[0])
    size = _capacity(f, kind)
    place = f.ref(node.args[0]) if isinstance(kind, String) else memory.place_of(f, node.args[0])
    # One more byte than there can be text: a full buffer has no NUL of its own.
    copy = f.scratch(size + 8)
    count = memory.read_string(f, copy, size + 1, f.address(place), place.space)
    length, some, done = f.fn.new("length"), f.block("some"), f.block("measured")
    f.b.assign(length, 0)
    f.b.branch("sgt", count, 0, some, done)
    f.b.set_block(some)
    f.b.assign(length, memory.at_most(f, f.b.alu("sub", count, 1), size))
    f.b.jump(done)
    f.b.set_block(done)
    return length


def _check_strcap(c: Checker, node: n.Call) -> Type | None:
    if count_arguments(c, node, 1):
        _check_text(c, node.args[0])
    return INT64


def _lower_strcap(f: FunctionLowering, node: n.Call) -> Value:
    kind = f.type(node.args[0])
    if isinstance(kind, (String, Array)):
        return kind.size
    return _lower_strlen(f, node)


# search


def _check_two(c: Checker, node: n.Call) -> bool:
    if not count_arguments(c, node, 2):
        return False
    for argument in node.args:
        _check_text(c, argument)
    return True


def _check_strstr(c: Checker, node: n.Call) -> Type | None:
    _check_two(c, node)
    return INT64


def _check_strcontains(c: Checker, node: n.Call) -> Type | None:
    _check_two(c, node)
    return BOOL


def _lower_strstr(f: FunctionLowering, node: n.Call) -> Value:
    if isinstance(node.args[1], n.String) and not node.args[1].value:
        return 0
    haystack, size = _in_memory(f, node.args[0])
    needle, length = _in_memory(f, node.args[1])
    if kfunc_exists(f.context, "bpf_strnstr"):
        # Since Linux 6.17 (e91370550f1f "bpf: Add kfuncs for read-only string operations").
        found = f.b.kfunc("bpf_strnstr", f.address(haystack), f.address(needle), size)
        # Whatever it is that keeps it from searching, nothing was found.
        result, missing, done = f.fn.new("index"), f.block("missing"), f.block("searched")
        f.b.assign(result, f.b.sext(found, 32))
        f.b.branch("slt", result, 0, missing, done)
        f.b.set_block(missing)
        f.b.assign(result, -1)
        f.b.jump(done)
        f.b.set_block(done)
        return result
    return _search(f, haystack, size, needle, length)


def _search(f: FunctionLowering, haystack: Ref, size: int, needle: Ref, length: int) -> Value:
    # Search by a loop over all places, with a loop over the needle's bytes inside.
    state = f.fn.slot(32, 8, "search")
    f.b.store(state, 0, f.address(haystack), 8)
    f.b.store(state, 8, f.address(needle), 8)
    f.b.store(state, 16, -1, 8)
    f.b.store(state, 24, 0, 8)
    inner = _compare_at(size, length)
    outer = _try_at(inner, size, length)
    f.functions += [inner, outer]
    f.b.call(BPF_FUNC_loop, size, f.b.func_addr(outer), f.b.slot_addr(state), 0)
    return f.b.load(state, 16, 8)


def _callback(name: str, body: Callable[[Builder, Function], None]) -> Function:
    from bpflens.lang.ir.builder import Builder
    from bpflens.lang.ir.ops import Function

    function = Function(name, params=2)
    builder = Builder(function)
    body(builder, function)
    return function


def _bounded_byte(b: Builder, base: Value, index: Value, size: int, outside: object) -> Value:
    # Load ``base[index]``, leaving for a block where the index is too large.
    inside = b.block("inside")
    bounded = b.move(index)
    b.branch("lt", bounded, size, inside, outside)  # type: ignore[arg-type]
    b.set_block(inside)
    return b.load(b.alu("add", base, bounded), 0, 1)


def _compare_at(size: int, length: int) -> Function:
    # Callback: compare one byte of the needle; stop at a difference or at its end.
    def body(b: Builder, fn: Function) -> None:
        step, state = fn.params
        index = b.zext(step, 32)
        end, differs, matched = b.block("end"), b.block("differs"), b.block("matched")
        same, go_on = b.block("same"), b.block("next")
        wanted = _bounded_byte(b, b.load(state, 8, 8), index, length, matched)
        b.branch("eq", wanted, 0, matched, same)
        b.set_block(same)
        at = b.alu("add", b.load(state, 24, 8), index)
        found = _bounded_byte(b, b.load(state, 0, 8), at, size, differs)
        b.branch("eq", found, wanted, go_on, differs)
        b.set_block(matched)
        b.store(state, 16, b.load(state, 24, 8), 8)
        b.jump(end)
        b.set_block(differs)
        b.jump(end)
        b.set_block(end)
        b.ret(1)
        b.set_block(go_on)
        b.ret(0)

    return _callback("compare_text", body)


def _try_at(inner: Function, size: int, length: int) -> Function:
    # Callback: try one place of the haystack; stop where the needle was found or the text ends.
    def body(b: Builder, fn: Function) -> None:
        step, state = fn.params
        index = b.zext(step, 32)
        stop, try_, go_on = b.block("stop"), b.block("try"), b.block("next")
        here = _bounded_byte(b, b.load(state, 0, 8), index, size, stop)
        b.branch("eq", here, 0, stop, try_)
        b.set_block(try_)
        b.store(state, 24, index, 8)
        # One step more than the needle has bytes: the end of a full buffer is found there.
        b.call(BPF_FUNC_loop, length + 1, b.func_addr(inner), state, 0)
        b.branch("sge", b.load(state, 16, 8), 0, stop, go_on)
        b.set_block(stop)
        b.ret(1)
        b.set_block(go_on)
        b.ret(0)

    return _callback("search_text", body)


def _lower_strcontains(f: FunctionLowering, node: n.Call) -> Value:
    return f.b.bool_("sge", _lower_strstr(f, node), 0)


# concatenation and comparison


def _check_concat(c: Checker, node: n.Call) -> Type | None:
    sizes = []
    limit = int(str(c.config["max_strlen"]))
    if count_arguments(c, node, 2):
        for argument in node.args:
            found = _check_text(c, argument)
            sizes.append(found.size if isinstance(found, (String, Array)) else limit)
    return String(min(sum(sizes) or limit, limit))


def _write_concat(f: FunctionLowering, node: n.Node, place: Ref, wanted: Type) -> None:
    assert isinstance(node, n.Call)
    size = f.type(node).size
    # Twice the room: the verifier cannot see that both parts together stay within one.
    joined = f.scratch(2 * size)
    memory.fill(f, joined, size)
    first, room = _in_memory(f, node.args[0])
    count = memory.read_string(f, joined, min(size, room), f.address(first), first.space)
    second, room = _in_memory(f, node.args[1])
    end = f.fn.new("end")
    f.b.assign(end, f.b.alu("sub", count, 1))
    some, done = f.block("some"), f.block("joined")
    f.b.branch("lt", end, size, some, done)
    f.b.set_block(some)
    left = memory.at_most(f, f.b.alu("sub", size, end), room)
    target = Ref(f.b.alu("add", f.address(joined), end))
    memory.read_string(f, target, left, f.address(second), second.space)
    f.b.jump(done)
    f.b.set_block(done)
    memory.copy(f, place, joined, String(size), wanted)


def _check_memcmp(c: Checker, node: n.Call) -> Type | None:
    if not count_arguments(c, node, 3):
        return INT64
    for argument in node.args[:2]:
        c.type(argument)
    c.type(node.args[2])
    if c.final and not isinstance(node.args[2], n.Integer):
        c.error(node.args[2], "literal", "memcmp() expects a literal number of bytes")
    return Int(4, True)


def _lower_memcmp(f: FunctionLowering, node: n.Call) -> Value:
    left, right, count = node.args
    assert isinstance(count, n.Integer)
    sizes = [count.value, *(f.type(x).size for x in (left, right) if not f.type(x).is_scalar)]
    size = min(sizes)
    if size <= 0:
        return 0
    a, b = (_bytes_of(f, argument, size) for argument in (left, right))
    result, done = f.fn.new("order"), f.block("compared")
    at = 0
    while at < size:
        piece = memory.piece(a.off + at, b.off + at, size - at)
        x, y = f.b.load(a.base, a.off + at, piece), f.b.load(b.base, b.off + at, piece)
        same, differs = f.block("same"), f.block("differs", cold=True)
        f.b.branch("eq", x, y, same, differs)
        f.b.set_block(differs)
        _order(f, result, x, y, piece)
        f.b.jump(done)
        f.b.set_block(same)
        at += piece
    f.b.assign(result, 0)
    f.b.jump(done)
    f.b.set_block(done)
    return result


def _bytes_of(f: FunctionLowering, node: n.Node, size: int) -> Ref:
    kind = f.type(node)
    place = memory.place_of(f, node) if isinstance(kind, Pointer) else f.ref(node)
    if place.direct:
        return place
    copy = f.buffer(size)
    memory.probe_read(f, copy, size, place)
    return copy


def _order(f: FunctionLowering, result: Value, x: Value, y: Value, piece: int) -> None:
    # The first byte in memory is the one that decides, so it has to be the highest.
    if piece > 1:
        x, y = f.b.bswap(x, piece * 8), f.b.bswap(y, piece * 8)
    less, more, known = f.block("less"), f.block("more"), f.block("known")
    f.b.branch("lt", x, y, less, more)
    for block, value in ((less, -1), (more, 1)):
        f.b.set_block(block)
        f.b.assign(result, value)  # type: ignore[arg-type]
        f.b.jump(known)
    f.b.set_block(known)


# paths


def _check_path(c: Checker, node: n.Call) -> Type | None:
    limit = int(str(c.config["max_strlen"]))
    if not count_arguments(c, node, 1, 2):
        return String(limit)
    if c.variant.kind not in _PATH_KINDS:
        c.error(
            node,
            "probe-kind",
            "The path function can only be used with 'fentry', 'fexit', 'iter' probes",
        )
    found = c.type(node.args[0])
    if found is not None and not isinstance(found, (Struct, Pointer)):
        c.error(
            node,
            "arguments",
            f"path() only supports pointer or C type argument ({found.name} provided)",
        )
    if len(node.args) == 2:
        size = node.args[1]
        c.type(size)
        if not isinstance(size, n.Integer):
            c.error(node, "literal", "path: invalid size value, need non-negative literal")
        else:
            return String(max(1, min(size.value, limit)))
    return String(limit)


def _write_path(f: FunctionLowering, node: n.Node, place: Ref, wanted: Type) -> None:
    assert isinstance(node, n.Call)
    argument = node.args[0]
    found = f.address(memory.place_of(f, argument))
    size = min(f.type(node).size, wanted.size)
    memory.fill(f, place, wanted.size if not place.loose else 8 if wanted.size >= 8 else 1)
    f.b.call(BPF_FUNC_d_path, found, f.address(place), size)


# names of numbers


def _check_name(c: Checker, node: n.Call) -> Type | None:
    if count_arguments(c, node, 1):
        found = c.type(node.args[0])
        if found is not None and not isinstance(found, (Int, Enum)):
            c.error(
                node,
                "arguments",
                f"{node.name}() only supports int arguments ({found.name} provided)",
            )
    return String(_NAME_SIZE)


def _table(name: str, arch: str) -> tuple[list[str], str]:
    # Return the names of all numbers, and what stands for a number without one.
    from bpflens.lang import number_name

    if name == "strerror":
        return number_name.errors(), "Unknown error"
    if name == "signal_name":
        return number_name.signals(), "N/A"
    return number_name.system_calls(arch), "Unknown syscall"


def _write_name(f: FunctionLowering, node: n.Node, place: Ref, wanted: Type) -> None:
    assert isinstance(node, n.Call)
    names, unknown = _table(node.name, f.context.target.arch)
    names = [name or unknown for name in names[: _MOST_NAMES - 1]]
    names.append(unknown)
    data = b"".join(name.encode()[: _NAME_SIZE - 1].ljust(_NAME_SIZE, b"\0") for name in names)
    base = f.b.map_value(f.resources.table(f"{node.name}_table", data))
    number = f.value(node.args[0])
    if node.name == "strerror":
        number = _magnitude(f, number)
    index = memory.at_most(f, number, len(names) - 1)
    source = Ref(f.b.alu("add", base, f.b.alu("lsh", index, 6)))
    memory.copy(f, place, source, String(_NAME_SIZE), wanted)


def _magnitude(f: FunctionLowering, number: Value) -> Value:
    result, negative, done = f.fn.new("number"), f.block("negative"), f.block("positive")
    f.b.assign(result, number)
    f.b.branch("slt", result, 0, negative, done)
    f.b.set_block(negative)
    f.b.assign(result, f.b.neg(result))
    f.b.jump(done)
    f.b.set_block(done)
    return result


CALLS: dict[str, CallRule] = {
    "strlen": CallRule(_check_strlen, _lower_strlen),
    "strcap": CallRule(_check_strcap, _lower_strcap),
    "strstr": CallRule(_check_strstr, _lower_strstr),
    "strcontains": CallRule(_check_strcontains, _lower_strcontains),
    "str_concat": CallRule(_check_concat, in_buffer, _write_concat),
    "memcmp": CallRule(_check_memcmp, _lower_memcmp),
    "path": CallRule(_check_path, in_buffer, _write_path),
    "strerror": CallRule(_check_name, in_buffer, _write_name),
    "signal_name": CallRule(_check_name, in_buffer, _write_name),
    "syscall_name": CallRule(_check_name, in_buffer, _write_name),
}

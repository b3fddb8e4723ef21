"""Lowering of loads, stores, copies and string comparison, for every address space."""

from __future__ import annotations

from bpflens.lang import nodes as n
from bpflens.lang.lower.function import Ref
from bpflens.lang.types import (
    COMM_SIZE,
    Array,
    Buffer,
    Int,
    Pointer,
    Record,
    String,
    Tuple,
    Type,
    align_up,
)  # fmt: skip
from bpflens.uapi.bpf import (
    BPF_FUNC_probe_read_kernel,
    BPF_FUNC_probe_read_kernel_str,
    BPF_FUNC_probe_read_user,
    BPF_FUNC_probe_read_user_str,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.lang.ir.ops import Block, Reg, Value
    from bpflens.lang.lower.function import FunctionLowering

__all__ = [
    "at_least_one",
    "at_most",
    "branch_equal",
    "branch_words",
    "copy",
    "fill",
    "load",
    "mark_cut",
    "piece",
    "place_of",
    "probe_read",
    "read_string",
    "store_bytes",
    "store_node",
    "store_over",
    "store_scalar",
    "widened",
    "write_comm",
]

# Copies up to this many bytes are unrolled; longer ones are left to a helper.
_UNROLL = 256
_UNROLLED_ZEROES = 128
# A string behind which nobody looks is copied up to its NUL if it may be longer than this.
_WHOLE_STRING = 64
# What a buffer begins with.
_LENGTH = Int(4, False)


def load(
    f: FunctionLowering, place: Ref, type: Type, bit_offset: int = 0, bit_size: int = 0
) -> Value:
    """Load a scalar of a type from a place, extended to 64 bits; bit-fields by their bits."""
    if bit_size:
        return _load_bits(f, place, type, bit_offset, bit_size)
    size, signed = type.size, bool(getattr(type, "signed", False))
    if place.direct:
        return f.b.load(place.base, place.off, size, signed)
    slot = Ref(f.fn.slot(8, 8, "read"))
    probe_read(f, slot, size, place)
    return f.b.load(slot.base, 0, size, signed)


def _load_bits(
    f: FunctionLowering, place: Ref, type: Type, bit_offset: int, bit_size: int
) -> Value:
    # The place is that of the byte which holds the field's first bit.
    shift = bit_offset % 8
    size = next((s for s in (1, 2, 4, 8) if s * 8 >= shift + bit_size), 8)
    # Keep loads naturally aligned: the verifier wants it of the context and of the stack.
    while size < 8 and place.off % size:
        place, shift = place.at(-1), shift + 8
        size = next((s for s in (1, 2, 4, 8) if s * 8 >= shift + bit_size), 8)
    whole = load(f, place, Int(size, False))
    left = 64 - shift - bit_size
    moved = f.b.alu("lsh", whole, left) if left else whole
    # As the reference has it, bit-fields have no sign.
    return f.b.alu("rsh", moved, 64 - bit_size) if bit_size < 64 else moved


def store_scalar(f: FunctionLowering, place: Ref, value: Value, type: Type) -> None:
    """Store a scalar as a value of a type."""
    f.b.store(place.base, place.off, value, type.size)


def store_node(f: FunctionLowering, node: n.Node, place: Ref, wanted: Type) -> None:
    """Write the value of an expression to a place of BPF memory, as a value of type ``wanted``."""
    from bpflens.lang.lower import expression

    node = f.meant(node)
    if wanted.is_scalar:
        store_scalar(f, place, f.value(node), wanted)
        return
    if isinstance(node, n.String):
        store_bytes(f, node.value, place, wanted.size)
        return
    if isinstance(wanted, Record) and isinstance(node, n.Record):
        _store_record(f, node, place, wanted)
        return
    if isinstance(wanted, Tuple) and isinstance(node, n.Tuple):
        _store_items(f, node.items, place, wanted)
        return
    writer = expression.writer(f, node)
    if writer is not None:
        writer(f, node, place, wanted)
        return
    if isinstance(node, n.Field) and isinstance(wanted, String) and wanted.size >= COMM_SIZE:
        from bpflens.lang.lower import task

        comm = task.comm_source(f, node)
        if comm is not None:
            write_comm(f, place, comm, wanted)
            return
    copy(f, place, f.ref(node), f.type(node), wanted)


def write_comm(f: FunctionLowering, place: Ref, comm: Ref, wanted: Type) -> None:
    """Copy the name of a task by plain loads; zeroes follow it up to its size."""
    f.b.copy(place.base, place.off, comm.base, comm.off, COMM_SIZE, 8 if place.off % 8 == 0 else 1)
    if not place.loose:
        fill(f, place.at(COMM_SIZE), wanted.size - COMM_SIZE)


def store_over(f: FunctionLowering, node: n.Node, place: Ref, wanted: Type, name: str) -> None:
    """Give a variable or scalar map called ``name`` a new value, which the old one may be part of.

    A value is written piece by piece, so one that is made of the old value is made elsewhere.
    """
    f.b.at(node.start)
    if not name or isinstance(f.meant(node), n.String) or not _mentions(f, node, name):
        store_node(f, node, place, wanted)
        return
    made = f.buffer(wanted.size, name="made")
    store_node(f, node, made, wanted)
    copy(f, place, made, wanted, wanted)


def _mentions(f: FunctionLowering, node: n.Node, name: str) -> bool:
    for part in n.walk(f.meant(node)):
        if isinstance(part, (n.Variable, n.MapName)) and part.name == name:
            return True
        other = f.variant.stands_for.get(part)
        if other is not None and _mentions(f, other, name):
            return True
        if isinstance(part, n.Call) and part.name in f.resources.functions:
            # What a function of the script reads is not looked into.
            return True
    return False


def _store_items(f: FunctionLowering, values: list[n.Node], place: Ref, wanted: Tuple) -> None:
    at = 0
    for value, item, offset in zip(values, wanted.items, wanted.offsets, strict=True):
        # Padding is part of a map key, so it has to be zero.
        fill(f, place.at(at), offset - at)
        store_node(f, value, place.at(offset), item)
        at = offset + item.size
    fill(f, place.at(at), wanted.size - at)


def _store_record(f: FunctionLowering, node: n.Record, place: Ref, wanted: Record) -> None:
    # Values are evaluated in the order in which they are written, wherever they belong.
    names = [item.name for item in node.items]
    if names == list(wanted.names):
        _store_items(f, [item.value for item in node.items], place, wanted)
        return
    fill(f, place, wanted.size)
    for item in node.items:
        index = wanted.names.index(item.name)
        store_node(f, item.value, place.at(wanted.offsets[index]), wanted.items[index])


def fill(f: FunctionLowering, place: Ref, size: int) -> None:
    """Make ``size`` bytes zero: unrolled while short, by a copy of zeroes when long."""
    if size <= 0:
        return
    if size <= _UNROLLED_ZEROES:
        f.b.zero(place.base, place.off, size)
        return
    zero = f.b.map_value(f.resources.zeroes(size))
    f.b.call(BPF_FUNC_probe_read_kernel, f.address(place), size, zero)


def store_bytes(f: FunctionLowering, data: bytes, place: Ref, size: int) -> None:
    """Store bytes known beforehand, zeroes behind them up to ``size``."""
    padded = data[:size].ljust(min(size, align_up(len(data) + 1, 8)), b"\0")
    at = 0
    while at < len(padded):
        step = piece(place.off + at, 0, len(padded) - at)
        value = int.from_bytes(padded[at : at + step], "little")
        f.b.store(place.base, place.off + at, value, step)
        at += step
    if not place.loose:
        fill(f, place.at(at), size - at)


def piece(one: int, other: int, left: int) -> int:
    """Return how many bytes to take at once at two offsets, of ``left`` bytes still to go."""
    return next(s for s in (8, 4, 2, 1) if s <= left and one % s == 0 and other % s == 0)


def at_most(f: FunctionLowering, value: Value, most: Value) -> Reg:
    """Return the smaller of two unsigned numbers, in a way that the verifier can follow."""
    result = f.fn.new("length")
    f.b.assign(result, value)
    clamp, done = f.block("clamp", cold=True), f.block("clamped")
    f.b.branch("le", result, most, done, clamp)
    f.b.set_block(clamp)
    f.b.assign(result, most)
    f.b.jump(done)
    f.b.set_block(done)
    return result


def at_least_one(f: FunctionLowering, value: Value) -> Reg:
    """Return an unsigned number, 1 instead of 0: the verifier wants no empty reads."""
    result = f.fn.new("length")
    f.b.assign(result, value)
    zero, done = f.block("empty", cold=True), f.block("some")
    f.b.branch("eq", result, 0, zero, done)
    f.b.set_block(zero)
    f.b.assign(result, 1)
    f.b.jump(done)
    f.b.set_block(done)
    return result


def place_of(f: FunctionLowering, node: n.Node) -> Ref:
    """Return the memory that an expression means: where it lies, or where it points."""
    kind = f.type(node)
    if not kind.is_scalar:
        return f.ref(node)
    value = f.value(node)
    base = f.b.const(value) if isinstance(value, int) else value
    if isinstance(kind, Pointer):
        return Ref(base, 0, "btf" if kind.trusted else kind.space)
    # A bare number: arguments of user probes are user addresses; else the address decides.
    return Ref(base, 0, "user" if f.variant.kind in ("uprobe", "uretprobe", "usdt") else "")


def copy(f: FunctionLowering, to: Ref, source: Ref, type: Type, wanted: Type) -> None:
    """Copy a value that lies at ``source`` as ``type`` to ``to`` as ``wanted``."""
    if isinstance(type, Tuple) and isinstance(wanted, Tuple) and type != wanted:
        _copy_items(f, to, source, type, wanted)
        return
    if isinstance(wanted, Buffer) and isinstance(type, Buffer) and wanted.size < type.size:
        f.b.store(to.base, to.off, at_most(f, load(f, source, _LENGTH), wanted.capacity), 4)
        _copy_bytes(f, to.at(4), source.at(4), wanted.capacity)
        return
    if isinstance(wanted, Buffer) and isinstance(type, (Array, String)):
        f.b.store(to.base, to.off, min(type.size, wanted.capacity), 4)
        to, wanted = to.at(4), Array(Int(1, False), wanted.capacity)
    size = min(type.size, wanted.size)
    text = isinstance(type, String) and isinstance(wanted, String)
    if text and (not source.direct or (to.loose and size > _WHOLE_STRING)):
        # A string of the kernel ends at its NUL; what lies behind it is not ours to show.
        _copy_string(f, to, source, size, wanted.size)
        return
    if source.direct:
        _copy_bytes(f, to, source, size)
    else:
        probe_read(f, to, size, source)
    fill(f, to.at(size), wanted.size - size)


def _copy_string(f: FunctionLowering, to: Ref, source: Ref, size: int, whole: int) -> None:
    # Copy text up to its NUL, at most size bytes; the whole place is zero behind it.
    if not to.loose:
        fill(f, to, whole)
    address = f.address(source)
    count = read_string(f, to, size, address, source.space)
    if size <= whole and size > 1:
        mark_cut(f, to, size, count, address, source.space)


def mark_cut(
    f: FunctionLowering, place: Ref, size: int, count: Value, address: Value, space: str
) -> None:
    """Put the next byte where the NUL is, if the text was cut: a full buffer tells the reader."""
    full, done = f.block("full", cold=True), f.block("read")
    f.b.branch("eq", count, size, full, done)
    f.b.set_block(full)
    last = Ref(f.b.alu("add", address, size - 1), 0, space)
    probe_read(f, place.at(size - 1), 1, last)
    f.b.jump(done)
    f.b.set_block(done)


def _copy_items(f: FunctionLowering, to: Ref, source: Ref, type: Tuple, wanted: Tuple) -> None:
    at = 0
    for i, item in enumerate(wanted.items):
        offset = wanted.offsets[i]
        fill(f, to.at(at), offset - at)
        j = i
        if isinstance(wanted, Record) and isinstance(type, Record):
            j = type.names.index(wanted.names[i])
        inner = source.at(type.offsets[j])
        if item.is_scalar:
            store_scalar(f, to.at(offset), load(f, inner, type.items[j]), item)
        else:
            copy(f, to.at(offset), inner, type.items[j], item)
        at = offset + item.size
    fill(f, to.at(at), wanted.size - at)


def _copy_bytes(f: FunctionLowering, to: Ref, source: Ref, size: int) -> None:
    if size <= 0:
        return
    if size <= _UNROLL or source.space == "ctx":
        aligned = 8 if source.off % 8 == 0 and to.off % 8 == 0 else 1
        f.b.copy(to.base, to.off, source.base, source.off, size, aligned)
        return
    # Both sides are kernel memory to the helper: it copies faster than unrolled code would.
    f.b.call(BPF_FUNC_probe_read_kernel, f.address(to), size, f.address(source))


def probe_read(f: FunctionLowering, to: Ref, size: Value, source: Ref) -> Value:
    """Read bytes of kernel or user memory; what cannot be read is zero. Returns 0 or -errno."""
    address = f.address(source)
    if source.space == "user":
        return _read(f, BPF_FUNC_probe_read_user, to, size, address)
    if source.space in ("kernel", "btf"):
        return _read(f, BPF_FUNC_probe_read_kernel, to, size, address)
    return _either(f, address, BPF_FUNC_probe_read_user, BPF_FUNC_probe_read_kernel, to, size)


def read_string(f: FunctionLowering, to: Ref, size: Value, address: Value, space: str) -> Value:
    """Read a NUL-terminated string; returns its length with the NUL, or -errno."""
    if space == "user":
        return _read(f, BPF_FUNC_probe_read_user_str, to, size, address)
    if space in ("kernel", "btf", "bpf", "ctx"):
        return _read(f, BPF_FUNC_probe_read_kernel_str, to, size, address)
    return _either(
        f, address, BPF_FUNC_probe_read_user_str, BPF_FUNC_probe_read_kernel_str, to, size
    )


def _read(f: FunctionLowering, helper: int, to: Ref, size: Value, address: Value) -> Reg:
    status = f.b.call(helper, f.address(to), size, address)
    if not f.context.options.get("probe_errors") or f.here is None:
        return status
    # Asked for by -k: say where memory could not be read.
    from bpflens.lang.lower.event import helper_error
    from bpflens.uapi.helper import HELPER_NAMES

    failed, done = f.block("unreadable", cold=True), f.block("was_read")
    f.b.branch("slt", status, 0, failed, done)
    f.b.set_block(failed)
    helper_error(f, f.here, "Bad address", HELPER_NAMES[helper], status)
    f.b.jump(done)
    f.b.set_block(done)
    return status


def _either(
    f: FunctionLowering, address: Value, user: int, kernel: int, to: Ref, size: Value
) -> Reg:
    # An address of unknown origin is read by what it is: the upper half belongs to the kernel.
    result = f.fn.new("length")
    in_kernel, in_user, done = f.block("in_kernel"), f.block("in_user"), f.block("read")
    f.b.branch("slt", address, 0, in_kernel, in_user)
    for block, helper in ((in_kernel, kernel), (in_user, user)):
        f.b.set_block(block)
        f.b.assign(result, _read(f, helper, to, size, address))
        f.b.jump(done)
    f.b.set_block(done)
    return result


def branch_equal(
    f: FunctionLowering, left: n.Node, right: n.Node, equal: Block, different: Block
) -> None:
    """Compare two strings, arrays or tuples for equality and branch."""
    left, right = f.meant(left), f.meant(right)
    left_type, right_type = f.type(left), f.type(right)
    if isinstance(left, n.String):
        left, right, left_type, right_type = right, left, right_type, left_type
    if isinstance(right, n.String) and isinstance(left_type, String):
        _branch_literal(f, left, left_type, right.value, equal, different)
        return
    if isinstance(left_type, String):
        _branch_strings(f, left, right, equal, different)
        return
    from bpflens.lang.analyse.state import unify

    wide = unify(left_type, right_type) or left_type
    a, b = _in_bpf(f, left, wide), _in_bpf(f, right, wide)
    branch_words(f, a, b, wide.size, equal, different)


def widened(type: Type) -> Type:
    """Return the stored form of a type (integers of tuples take eight bytes)."""
    from bpflens.lang.analyse.state import widen

    return widen(type)


def _in_bpf(f: FunctionLowering, node: n.Node, wanted: Type) -> Ref:
    place = f.buffer(wanted.size)
    store_node(f, node, place, wanted)
    return place


def _branch_literal(
    f: FunctionLowering, node: n.Node, type: String, text: bytes, equal: Block, different: Block
) -> None:
    if len(text) >= type.size:
        # The literal does not fit: a full buffer without a NUL can still match its first bytes.
        if len(text) > type.size:
            f.b.jump(different)
            return
        wanted = text
    else:
        wanted = text + b"\0"
    from bpflens.lang.lower import expression

    place = expression.string_prefix(f, node, len(wanted))
    at = 0
    while at < len(wanted):
        piece = next(s for s in (8, 4, 2, 1) if at + s <= len(wanted) and (place.off + at) % s == 0)
        value = int.from_bytes(wanted[at : at + piece], "little")
        more = f.block("same") if at + piece < len(wanted) else equal
        word = f.b.load(place.base, place.off + at, piece)
        f.b.branch("eq", word, value, more, different)
        at += piece
        if at < len(wanted):
            f.b.set_block(more)


def _branch_strings(
    f: FunctionLowering, left: n.Node, right: n.Node, equal: Block, different: Block
) -> None:
    sizes = (f.type(left).size, f.type(right).size)
    size = min(sizes)
    a, b = (f.buffer(size), f.buffer(size))
    store_node(f, left, a, String(size))
    store_node(f, right, b, String(size))
    branch_words(f, a, b, size, equal, different)


def branch_words(
    f: FunctionLowering, a: Ref, b: Ref, size: int, equal: Block, different: Block
) -> None:
    """Compare two pieces of BPF memory of one size, word by word, and branch."""
    at = 0
    if size == 0:
        f.b.jump(equal)
    while at < size:
        piece = next(
            s for s in (8, 4, 2, 1)
            if at + s <= size and (a.off + at) % s == 0 and (b.off + at) % s == 0
        )  # fmt: skip
        more = f.block("same") if at + piece < size else equal
        x = f.b.load(a.base, a.off + at, piece)
        y = f.b.load(b.base, b.off + at, piece)
        f.b.branch("eq", x, y, more, different)
        at += piece
        if at < size:
            f.b.set_block(more)

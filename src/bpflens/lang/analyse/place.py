"""Type rules of what reaches into memory: fields, indexes, casts, and types as they are written."""

from __future__ import annotations

from bpflens.lang import nodes as n
from bpflens.lang.types import (
    BOOL,
    NONE,
    UINT64,
    Array,
    Avg,
    Bool,
    Buffer,
    CgroupPath,
    Count,
    Enum,
    Inet,
    Int,
    Ksym,
    Mac,
    Max,
    Min,
    Pointer,
    Record,
    Stack,
    String,
    Struct,
    Sum,
    Timestamp,
    Tuple,
    Type,
    Username,
    Usym,
)  # fmt: skip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.lang.analyse.checker import Checker

__all__ = [
    "check_cast", "check_field", "check_index", "check_offsetof", "check_sizeof",
    "check_tuple_item", "offset_of", "resolve_type",
]  # fmt: skip

_NAMED: dict[str, Type] = {
    "bool": BOOL, "void": NONE, "string": String(0), "buffer": Buffer(0), "inet": Inet(),
    "usym_t": Usym(), "ksym_t": Ksym(), "kstack_t": Stack(False), "ustack_t": Stack(True),
    "timestamp": Timestamp(), "macaddr_t": Mac(), "mac_address": Mac(),
    "cgroup_path_t": CgroupPath(), "username_t": Username(), "username": Username(),
}  # fmt: skip
for _bits in (8, 16, 32, 64):
    for _signed in (False, True):
        _type = Int(_bits // 8, _signed)
        _u = "" if _signed else "u"
        for _name in (f"{_u}int{_bits}", f"{_u}int{_bits}_t", f"{'s' if _signed else 'u'}{_bits}",
                      f"__{'s' if _signed else 'u'}{_bits}"):  # fmt: skip
            _NAMED[_name] = _type
_NAMED.update({
    "char": Int(1, True), "short": Int(2, True), "int": Int(4, True), "long": Int(8, True),
    "size_t": UINT64, "unsigned": Int(4, False), "uintptr_t": UINT64, "pid_t": Int(4, True),
    "ssize_t": Int(8, True), "off_t": Int(8, True),
})  # fmt: skip


# Aggregates that have one number as their value.
_CASTABLE = (Count, Sum, Min, Max, Avg)


def resolve_type(c: Checker, node: n.Node) -> Type | None:
    """Return the type that a written type means."""
    match node:
        case n.NamedType(name, tag):
            return _named_type(c, node, name, tag)
        case n.PointerType(target):
            inner = resolve_type(c, target)
            return Pointer(inner) if inner is not None else None
        case n.ArrayType(element, length):
            return _array_type(c, node, element, length)
        case n.Index(n.TypeArg(inner), length):
            # A type that came as a macro's argument: ``sizeof(T[4])``.
            return _array_type(c, node, inner, length)
        case n.TypeofType(operand):
            return resolve_type(c, operand) if _is_type(operand) else c.type(operand)
    return c.type(node)


def _is_type(node: n.Node) -> bool:
    return isinstance(node, (n.NamedType, n.PointerType, n.ArrayType, n.TypeofType))


def _named_type(c: Checker, node: n.Node, name: str, tag: str) -> Type | None:
    if not tag and name in _NAMED:
        return _NAMED[name]
    if not tag:
        words = name.split()
        if len(words) > 1 and set(words) <= {"unsigned", "signed", "long", "short", "int", "char"}:
            size = 8 if "long" in words else 2 if "short" in words else 1 if "char" in words else 4
            return Int(size, "unsigned" not in words)
    found = c.context.named_type(name, tag)
    if found is None:
        shown = f"{tag} {name}" if tag else name
        hints = (
            []
            if c.context.types()
            else [
                "this kernel has no BTF (CONFIG_DEBUG_INFO_BTF), so only types that the script"
                " defines are known"
            ]
        )
        c.error(node, "unknown-type", f'Cannot resolve unknown type "{shown}"', *hints)
    return found


def _array_type(c: Checker, node: n.Node, element: n.Node, length: n.Node | None) -> Type | None:
    inner = resolve_type(c, element)
    if inner is None:
        return None
    count = 0
    if length is not None:
        c.type(length)
        if not isinstance(length, n.Integer):
            c.error(length, "array-length", "an array's length must be an integer literal")
            return None
        count = length.value
    if isinstance(inner, String) and inner.size == 0:
        return String(count)
    if isinstance(inner, Buffer) and inner.capacity == 0:
        return Buffer(count)
    return Array(inner, count)


def check_field(c: Checker, node: n.Field) -> Type | None:
    """Check ``base.name``; pointers to structs are followed."""
    base = c.type(node.base)
    if base is None:
        return None
    if isinstance(base, Record):
        if node.name in base.names:
            return base.items[base.names.index(node.name)]
        c.error(
            node,
            "unknown-field",
            f"Record does not contain field: {node.name}",
            *_close(node.name, base.names),
        )
        return None
    space = ""
    while isinstance(base, Pointer):
        space, base = base.space, base.target
        if isinstance(base, Struct):
            break
    if not isinstance(base, Struct):
        c.error(
            node,
            "not-a-struct",
            f"Can not access field '{node.name}' on expression of type '{base.name}'",
        )
        return None
    field = base.field(node.name)
    if field is None:
        what = base.tag
        message = f"Struct/union of type '{what}' does not contain a field named '{node.name}'"
        c.error(node, "unknown-field", message, *_close(node.name, [f.name for f in base.fields]))
        return None
    found = field.type
    if isinstance(found, Pointer) and space in ("kernel", "user") and not found.space:
        return Pointer(found.target, space)
    if isinstance(found, Pointer) and space == "user":
        return Pointer(found.target, "user")
    return found


def _close(name: str, names: list[str] | tuple[str, ...]) -> list[str]:
    from difflib import get_close_matches

    close = get_close_matches(name, names, n=1)
    return [f"Did you mean '{close[0]}'?"] if close else []


def check_tuple_item(c: Checker, node: n.TupleItem) -> Type | None:
    """Check ``tuple.0``."""
    return _tuple_item(c, node, c.type(node.base), node.index)


def _tuple_item(c: Checker, node: n.Node, base: Type | None, index: int) -> Type | None:
    if base is None:
        return None
    if not isinstance(base, Tuple):
        c.error(
            node,
            "not-a-tuple",
            f"Can not access index '{index}' on expression of type '{base.name}'",
        )
        return None
    if index >= len(base.items):
        c.error(
            node,
            "tuple-index",
            f"Invalid tuple index: {index}. Found {len(base.items)} elements in tuple.",
        )
        return None
    return base.items[index]


def check_index(c: Checker, node: n.Index) -> Type | None:
    """Check ``base[index]`` on arrays, pointers, strings and tuples."""
    base, index = c.type(node.base), c.type(node.index)
    if base is None or index is None:
        return None
    if isinstance(base, Tuple):
        if isinstance(node.index, n.Integer):
            return _tuple_item(c, node, base, node.index.value)
        c.error(node, "tuple-index", "Tuples must be indexed with an integer literal")
        return None
    if not isinstance(index, (Int, Bool, Enum)):
        c.error(
            node.index,
            "index",
            f"The array index operator [] only accepts integer indices, got {index.name}",
        )
        return None
    if isinstance(base, Pointer):
        return base.target if base.target != NONE else _void_index(c, node)
    if isinstance(base, String):
        return _in_bounds(c, node, Int(1, True), base.size)
    if isinstance(base, Array):
        return _in_bounds(c, node, base.element, base.length)
    c.error(
        node,
        "index",
        "The array index operator [] can only be used on arrays, pointers, and tuples, found"
        f" {base.name}.",
    )
    return None


def _void_index(c: Checker, node: n.Index) -> Type | None:
    c.error(node, "index", "a void pointer cannot be indexed; cast it first, e.g. ((uint64 *)p)[0]")
    return None


def _in_bounds(c: Checker, node: n.Index, element: Type, length: int) -> Type | None:
    index = node.index
    if isinstance(index, n.Integer) and length and not 0 <= index.value < length:
        c.error(
            node, "index", f"the index {index.value} is out of bounds for array of size {length}"
        )
        return None
    return element


def check_cast(c: Checker, node: n.Cast) -> Type | None:
    """Check ``(type)operand``."""
    operand = c.type(node.operand)
    wanted = resolve_type(c, node.type)
    if operand is None or wanted is None:
        return wanted
    if isinstance(wanted, Array) and wanted.length == 0 and wanted.element.size:
        # (T[])e takes as many elements as the value has bytes for.
        wanted = Array(wanted.element, max(operand.size // wanted.element.size, 1))
    if _cast_allowed(operand, wanted):
        if isinstance(wanted, Pointer) and isinstance(operand, Pointer) and not wanted.space:
            return _in_space(wanted, operand.space)
        if isinstance(wanted, Pointer) and not wanted.space:
            return _in_space(wanted, _default_space(c, node.operand))
        return wanted
    c.error(node, "cast", f'Cannot cast from "{operand.name}" to "{wanted.name}"')
    return None


def _in_space(pointer: Pointer, space: str) -> Pointer:
    target = pointer.target
    if isinstance(target, Pointer) and not target.space:
        target = _in_space(target, space)
    return Pointer(target, space)


def _default_space(c: Checker, node: n.Node) -> str:
    # A number that becomes a pointer: arguments and registers of user probes are user addresses;
    # what comes from the kernel's own probes may be either, so the address decides at run time.
    if c.variant.kind in ("uprobe", "uretprobe", "usdt"):
        return "user"
    if isinstance(node, n.Identifier) and node.name == "curtask":
        return "kernel"
    return ""


def _cast_allowed(operand: Type, wanted: Type) -> bool:
    number = isinstance(operand, (Int, Bool, Enum, Pointer, Ksym, Usym, *_CASTABLE))
    if isinstance(wanted, (Int, Bool, Enum)):
        return number or (isinstance(operand, (Array, String)) and operand.size in (1, 2, 4, 8))
    if isinstance(wanted, Pointer):
        return isinstance(operand, (Int, Enum, Pointer, Array, Struct, String))
    if isinstance(wanted, Array):
        return (number and wanted.size <= 8) or isinstance(operand, (Array, String))
    if isinstance(wanted, (String, Buffer)):
        return isinstance(operand, (String, Buffer, Array))
    if isinstance(wanted, Struct):
        return isinstance(operand, (Struct, Pointer, Int))
    return type(operand) is type(wanted)


def check_sizeof(c: Checker, node: n.Sizeof) -> Type | None:
    """Check ``sizeof(...)``."""
    found = resolve_type(c, node.operand)
    if found is not None:
        c.variant.types[node.operand] = found
    return UINT64


def check_offsetof(c: Checker, node: n.Offsetof) -> Type | None:
    """Check ``offsetof(type, a.b)``."""
    found = resolve_type(c, node.operand)
    if found is None:
        return UINT64
    c.variant.types[node.operand] = found
    for name in node.path:
        field = found.field(name) if isinstance(found, Struct) else None
        if field is None:
            c.error(node, "unknown-field", f"'{found.name}' has no field named '{name}'")
            return UINT64
        found = field.type
    return UINT64


def offset_of(node: n.Offsetof, found: Type) -> int:
    """Return the offset in bytes of a checked ``offsetof`` into type ``found``."""
    offset = 0
    for name in node.path:
        assert isinstance(found, Struct)
        field = found.field(name)
        assert field is not None
        offset += field.offset
        found = field.type
    return offset

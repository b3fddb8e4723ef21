"""Functions that tell user space something: ``printf print time exit clear zero`` and others."""

from __future__ import annotations

from bpflens.lang import nodes as n
from bpflens.lang.call import CallRule, count_arguments, literal_node
from bpflens.lang.call.process import needs_unsafe
from bpflens.lang.lower import event
from bpflens.lang.lower.function import Ref
from bpflens.lang.program import EXIT_MAP
from bpflens.lang.types import (
    INT64,
    NONE,
    Aggregate,
    Array,
    Avg,
    Count,
    Int,
    Max,
    Min,
    NoneType,
    Pointer,
    String,
    Sum,
    Type,
)  # fmt: skip
from bpflens.uapi.bpf import BPF_FUNC_trace_printk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.lang.analyse.checker import Checker
    from bpflens.lang.ir.ops import Value
    from bpflens.lang.lower.function import FunctionLowering

__all__ = ["CALLS", "leave"]

_JOIN_ARGUMENTS = 16
_JOIN_SIZE = 1024
_PRINTK_ARGUMENTS = 3
_NUMBERS = (Count, Sum, Min, Max, Avg)


def _check_format(c: Checker, node: n.Call) -> Type | None:
    # Check ``printf``-like calls: the format's directives against the arguments' types.
    if not node.args:
        c.error(node, "arguments", f"{node.name}() requires at least one argument (0 provided)")
        return NONE
    types = [c.type(argument) for argument in node.args[1:]]
    text = node.args[0] = literal_node(node.args[0])
    if not isinstance(text, n.String):
        c.type(text)
        c.error(text, "format", f"{node.name}() expects a string literal as its first argument")
        return NONE
    if node.name == "system":
        needs_unsafe(c, node)
    if c.final:
        _check_directives(c, node, text.value, types)
    return NONE


def _check_directives(c: Checker, node: n.Call, text: bytes, types: list[Type | None]) -> None:
    from bpflens.lang.format_string import FormatError, check_types, parse

    try:
        directives = parse(text)
    except FormatError as problem:
        c.error(node, "format", f"{node.name}: {problem}")
        return
    wanted = sum(1 for directive in directives if directive.takes_value)
    if wanted != len(types):
        few = "not enough" if len(types) < wanted else "too many"
        c.error(
            node,
            "format",
            f"{node.name}: {few} arguments for format string ({len(types)} supplied, {wanted}"
            " expected)",
        )
        return
    for complaint in check_types(directives, types):
        c.error(node, "format", f"{node.name}: {complaint}")


def _sent_type(type: Type) -> Type:
    # Return the type in which a value travels: integers keep sign and take eight bytes.
    if isinstance(type, Int):
        return Int(8, type.signed)
    if isinstance(type, Aggregate):
        return Int(8, bool(getattr(type, "signed", False)))
    return type


def _lower_format(f: FunctionLowering, node: n.Call) -> Value:
    text = node.args[0]
    assert isinstance(text, n.String)
    types = [_sent_type(f.type(argument)) for argument in node.args[1:]]
    event.emit_nodes(
        f, node.name, node.args[1:], types, format=text.value, place=f.resources.place(node)
    )
    return 0


def _check_print(c: Checker, node: n.Call) -> Type | None:
    if not count_arguments(c, node, 1, 3):
        return NONE
    target = node.args[0]
    if isinstance(target, n.MapName):
        state = c.map(target.name, target)
        if state.value is None and c.final:
            c.error(target, "undefined-map", f"Undefined map: {target.name}")
        for argument in node.args[1:]:
            found = c.type(argument)
            if found is not None and not isinstance(found, Int):
                c.error(argument, "arguments", "print() expects integers for top and div")
        return NONE
    if isinstance(target, n.MapAccess) and _aggregate_of(c, target) is not None:
        c.use_key(c.map(target.map.name, target), target, target.key)
        return NONE
    if len(node.args) > 1:
        c.error(node, "arguments", f"Non-map print() only takes 1 argument, {len(node.args)} found")
    found = c.type(target)
    if isinstance(found, NoneType):
        c.error(target, "arguments", "print() cannot print a value of type 'none'")
    return NONE


def _aggregate_of(c: Checker, node: n.MapAccess) -> Aggregate | None:
    # An aggregate that has one number as its value is read like any other value.
    state = c.maps.get(node.map.name)
    if state is None or not isinstance(state.value, Aggregate):
        return None
    return None if isinstance(state.value, _NUMBERS) else state.value


def _lower_print(f: FunctionLowering, node: n.Call) -> Value:
    target = node.args[0]
    if isinstance(target, n.MapName):
        _emit_map(f, "print_map", target.name, node.args[1:])
        return 0
    if isinstance(target, n.MapAccess):
        plan = f.plan(target.map.name)
        if isinstance(plan.value, Aggregate) and not isinstance(plan.value, _NUMBERS):
            assert plan.key is not None
            key = plan.key
            event.emit_nodes(
                f, "print_map_item", [target.key], [key], exact=True, map=target.map.name
            )
            return 0
    kind = f.type(target)
    event.emit_nodes(f, "print_value", [target], [_sent_type(kind)])
    return 0


def _emit_map(f: FunctionLowering, action: str, name: str, nodes: list[n.Node]) -> None:
    event.emit_nodes(f, action, nodes, [INT64] * len(nodes), map=name)


def _check_whole_map(c: Checker, node: n.Call) -> Type | None:
    if not count_arguments(c, node, 1):
        return NONE
    target = node.args[0]
    if not isinstance(target, n.MapName):
        c.error(target, "map-argument", f"{node.name}() expects a map to be provided")
        return NONE
    state = c.map(target.name, target)
    if state.value is None and c.final:
        c.error(target, "undefined-map", f"Undefined map: {target.name}")
    return NONE


def _lower_whole_map(f: FunctionLowering, node: n.Call) -> Value:
    target = node.args[0]
    assert isinstance(target, n.MapName)
    _emit_map(f, node.name, target.name, [])
    return 0


def _check_exit(c: Checker, node: n.Call) -> Type | None:
    if count_arguments(c, node, 0, 1) and node.args:
        found = c.type(node.args[0])
        if found is not None and not isinstance(found, Int):
            c.error(
                node.args[0],
                "arguments",
                f"exit() only supports integer arguments ({found.name} provided)",
            )
    return NONE


def _lower_exit(f: FunctionLowering, node: n.Call) -> Value:
    leave(f, f.value(node.args[0]) if node.args else 0)
    return 0


def leave(f: FunctionLowering, code: Value) -> None:
    """End the probe and ask for the end of the run.

    The event keeps the order among other events; the map tells the session even where the ring was
    too full for the event.
    """
    f.resources.uses_exit = True
    state = f.b.map_value(EXIT_MAP)
    f.b.store(state, 0, code, 8)
    f.b.store(state, 8, 1, 8)
    event.emit(f, "exit", [(INT64, lambda place: f.b.store(place.base, place.off, code, 8))])
    # Nothing behind exit() runs any more in this probe.
    f.leave()


def _check_time(c: Checker, node: n.Call) -> Type | None:
    if count_arguments(c, node, 0, 1) and node.args and not isinstance(node.args[0], n.String):
        c.type(node.args[0])
        c.error(node.args[0], "arguments", "time() expects a string literal")
    return NONE


def _lower_time(f: FunctionLowering, node: n.Call) -> Value:
    text = node.args[0].value if node.args and isinstance(node.args[0], n.String) else b"%H:%M:%S\n"
    event.emit(f, "time", [], format=text)
    return 0


def _check_join(c: Checker, node: n.Call) -> Type | None:
    if not count_arguments(c, node, 1, 2):
        return NONE
    found = c.type(node.args[0])
    if found is not None and not isinstance(found, (Pointer, Int)):
        c.error(
            node.args[0],
            "arguments",
            f"join() only supports int or pointer arguments ({found.name} provided)",
        )
    if len(node.args) == 2 and not isinstance(node.args[1], n.String):
        c.type(node.args[1])
        c.error(node.args[1], "arguments", "join() expects a string literal as its delimiter")
    return NONE


def _lower_join(f: FunctionLowering, node: n.Call) -> Value:
    from bpflens.lang.lower import memory

    delimiter = (
        node.args[1].value if len(node.args) == 2 and isinstance(node.args[1], n.String) else b" "
    )
    kind = f.type(node.args[0])
    space = kind.space if isinstance(kind, Pointer) else ""
    array = f.b.move(f.value(node.args[0]))

    def write_all(place: Ref) -> None:
        pointer = Ref(f.fn.slot(8, 8, "argument"))
        for i in range(_JOIN_ARGUMENTS):
            to = place.at(i * _JOIN_SIZE)
            f.b.store(to.base, to.off, 0, 1)
            memory.probe_read(f, pointer, 8, Ref(array, i * 8, space))
            address = f.b.load(pointer.base, 0, 8)
            memory.read_string(f, to, _JOIN_SIZE, address, space)

    whole = Array(String(_JOIN_SIZE), _JOIN_ARGUMENTS)
    event.emit(f, "join", [(whole, write_all)], format=delimiter)
    return 0


def _check_assert(c: Checker, node: n.Call) -> Type | None:
    if count_arguments(c, node, 2):
        c.type(node.args[0])
        if not isinstance(node.args[1], n.String):
            c.type(node.args[1])
            c.error(node.args[1], "arguments", "assert() expects a string literal as its message")
    return NONE


def _lower_assert(f: FunctionLowering, node: n.Call) -> Value:
    message = node.args[1]
    assert isinstance(message, n.String)
    failed, held = f.block("assert_failed", cold=True), f.block("assert_held")
    f.condition(node.args[0], held, failed)
    f.b.set_block(failed)
    text = b"assert failed: " + message.value.replace(b"%", b"%%")
    event.emit(f, "errorf", [], format=text, place=f.resources.place(node))
    leave(f, 1)
    f.b.set_block(held)
    return 0


def _check_debugf(c: Checker, node: n.Call) -> Type | None:
    _check_format(c, node)
    c.warning(
        node,
        "debugf",
        "The debugf() builtin is not recommended for production use. For more information see "
        "bpf_trace_printk in bpf-helpers(7).",
    )
    if len(node.args) - 1 > _PRINTK_ARGUMENTS:
        c.error(
            node, "arguments", f"cannot use more than {_PRINTK_ARGUMENTS} conversion specifiers"
        )
        return NONE
    text = node.args[0]
    if not c.final or not isinstance(text, n.String):
        return NONE
    from bpflens.lang.format_string import FormatError, parse

    try:
        wanted = [piece.conversion for piece in parse(text.value) if piece.takes_value]
    except FormatError:
        return NONE
    for conversion, argument in zip(wanted, node.args[1:], strict=False):
        kind = c.type(argument)
        if conversion not in ("d", "u", "x", "p", "s"):
            c.error(text, "format", f"Invalid format specifier for `debugf`: {conversion}")
        elif kind is not None and isinstance(kind, String) != (conversion == "s"):
            c.error(argument, "format", f"Type does not match format specifier: {conversion}")
    return NONE


def _lower_debugf(f: FunctionLowering, node: n.Call) -> Value:
    from bpflens.lang.lower import memory

    text = node.args[0]
    assert isinstance(text, n.String)
    size = len(text.value) + 1
    format = f.buffer(size)
    memory.store_bytes(f, text.value, format, size)
    values: list[Value] = []
    for argument in node.args[1:]:
        scalar = f.type(argument).is_scalar
        values.append(f.value(argument) if scalar else f.address(f.ref(argument)))
    f.b.call(BPF_FUNC_trace_printk, f.address(format), size, *values)
    return 0


def _check_unwatch(c: Checker, node: n.Call) -> Type | None:
    if count_arguments(c, node, 1):
        found = c.type(node.args[0])
        if found is not None and not isinstance(found, (Int, Pointer)):
            c.error(
                node, "arguments", f"unwatch() only supports int arguments ({found.name} provided)"
            )
    return NONE


def _lower_unwatch(f: FunctionLowering, node: n.Call) -> Value:
    event.emit_nodes(f, "unwatch", node.args, [INT64])
    return 0


CALLS: dict[str, CallRule] = {
    "printf": CallRule(_check_format, _lower_format),
    "errorf": CallRule(_check_format, _lower_format),
    "warnf": CallRule(_check_format, _lower_format),
    "debugf": CallRule(_check_debugf, _lower_debugf),
    "unwatch": CallRule(_check_unwatch, _lower_unwatch),
    "cat": CallRule(_check_format, _lower_format),
    "system": CallRule(_check_format, _lower_format),
    "print": CallRule(_check_print, _lower_print),
    "clear": CallRule(_check_whole_map, _lower_whole_map),
    "zero": CallRule(_check_whole_map, _lower_whole_map),
    "exit": CallRule(_check_exit, _lower_exit),
    "time": CallRule(_check_time, _lower_time),
    "join": CallRule(_check_join, _lower_join),
    "assert": CallRule(_check_assert, _lower_assert),
}

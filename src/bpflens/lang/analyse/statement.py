"""Type rules of statements and declarations."""

from __future__ import annotations

from bpflens.lang import nodes as n
from bpflens.lang.types import (
    UINT64,
    Aggregate,
    Bool,
    Enum,
    Int,
    NoneType,
    Pointer,
    String,
    Tuple,
    Type,
)  # fmt: skip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from bpflens.lang.analyse.checker import Checker

__all__ = [
    "aggregation_of",
    "check_block",
    "check_condition",
    "check_map_declaration",
    "check_probe",
    "is_flexible",
]

_MAP_TYPES = ("hash", "lruhash", "percpuhash", "percpulruhash")


def check_probe(c: Checker, probe: n.Probe) -> None:
    """Check the predicate and the body of a probe."""
    c.push_scope()
    if probe.predicate is not None:
        check_condition(c, probe.predicate, "predicate")
    check_block(c, probe.body)
    c.pop_scope()


def check_block(c: Checker, block: n.Block) -> Type | None:
    """Check a block in a scope of its own; return the type of its value."""
    c.push_scope()
    ended = False
    for statement in block.statements:
        if ended:
            c.warning(statement, "unreachable", "Unreachable statement.")
        _check_statement(c, statement)
        ended = _leaves(statement)
    result = c.type(block.result) if block.result is not None else None
    c.pop_scope()
    return result


def _leaves(node: n.Node | None) -> bool:
    # Whether nothing behind a statement runs.
    if isinstance(node, n.ExprStmt):
        node = node.expr
    if isinstance(node, (n.Return, n.Jump)):
        return True
    if isinstance(node, n.Call):
        return node.name == "exit"
    if isinstance(node, n.Block):
        return any(map(_leaves, node.statements))
    return isinstance(node, n.If) and _leaves(node.then) and _leaves(node.otherwise)


def _check_statement(c: Checker, node: n.Node) -> None:
    _RULES[type(node)](c, node)


def check_condition(c: Checker, node: n.Node, what: str) -> None:
    """Check an expression whose truth is asked."""
    found = c.type(node)
    if found is None or isinstance(found, (Int, Bool, Enum, Pointer, String)):
        return
    if isinstance(found, Aggregate):
        return
    c.error(node, "condition", f"Invalid condition in {what}: {found.name}")


def check_map_declaration(c: Checker, node: n.MapDecl) -> None:
    """Check ``let @m = type(n);``."""
    state = c.map(node.name, node)
    if node.map_type not in _MAP_TYPES:
        c.error(
            node,
            "map-type",
            f"Invalid bpf map type: {node.map_type}",
            f"Valid map types: {', '.join(_MAP_TYPES)}",
        )
        return
    if isinstance(node.max_entries, n.Integer) and node.max_entries.value > 0:
        state.max_entries = node.max_entries.value
    else:
        c.error(node, "map-type", "the number of entries of a map must be a positive integer")
    state.map_type = node.map_type
    state.whole = True


def _expr_statement(c: Checker, node: n.ExprStmt) -> None:
    found = c.type(node.expr)
    silent = (n.Call, n.IncDec, n.Ternary, n.If, n.Block)
    if found is not None and not isinstance(found, NoneType) and not isinstance(node.expr, silent):
        c.warning(node.expr, "discarded", "Return value discarded.")


def _assign(c: Checker, node: n.Assign) -> None:
    target = node.target
    if isinstance(target, n.Variable):
        _assign_variable(c, node, target)
    elif isinstance(target, (n.MapName, n.MapAccess)):
        _assign_map(c, node, target)
    else:
        c.type(target)
        c.error(target, "assign", "Only scratch variables and maps can be assigned to")


def _assign_variable(c: Checker, node: n.Assign, target: n.Variable) -> None:
    value = c.type(node.value)
    info = c.find_variable(target.name)
    if node.op != "=":
        found = c.type(target)
        if info is not None:
            info.assigned = True
        if found is not None and value is not None:
            _check_compound(c, node, found, value)
        return
    if isinstance(value, (NoneType, Aggregate)) and not _castable(value):
        c.error(node, "assign", f"Value '{value.name}' cannot be assigned to a scratch variable.")
        return
    if info is None:
        info = c.declare(target.name, target)
    c.variant.variables[target] = info
    if value is not None:
        kept = UINT64 if isinstance(value, Aggregate) else value
        c.assign_variable(info, node, kept, is_flexible(node.value))


def _assign_map(c: Checker, node: n.Assign, target: n.MapName | n.MapAccess) -> None:
    name = target.name if isinstance(target, n.MapName) else target.map.name
    state = c.map(name, target)
    c.use_key(state, target, target.key if isinstance(target, n.MapAccess) else None)
    value = c.type(node.value)
    if value is None:
        return
    if node.op != "=":
        if state.value is None:
            c.assign_map(state, node, value, is_flexible(node.value))
        elif isinstance(state.value, Pointer) and node.op in ("+=", "-=") and _is_number(value):
            return
        elif isinstance(value, Aggregate) or not _is_number(state.value) or not _is_number(value):
            c.error(
                node,
                "assign",
                f"The {node.op} operator can not be used on expressions of types"
                f" {state.value.name}, {value.name}",
            )
        return
    direct = isinstance(aggregation_of(node.value), n.Call)
    if isinstance(value, Aggregate) and not direct:
        if isinstance(state.value, Int) and _castable(value):
            return
        hint = (
            f"Add a cast to integer if you want the value of the aggregate, e.g. `{name} ="
            " (int64)...;`."
        )
        c.error(
            node,
            "assign",
            f"Map value '{value.name}' cannot be assigned from one map to another. The function"
            " that returns this type must be called directly.",
            *([hint] if _castable(value) else []),
        )
        return
    c.assign_map(state, node, value, is_flexible(node.value))


def aggregation_of(node: n.Node) -> n.Node:
    """Return the call whose value a block gives: what ``{ ...; avg($x) }`` ends in."""
    while isinstance(node, n.Block) and node.result is not None:
        node = node.result
    return node


def _check_compound(c: Checker, node: n.Assign, target: Type, value: Type) -> None:
    pointer = isinstance(target, Pointer) and node.op in ("+=", "-=")
    if not (_is_number(target) or pointer) or not _is_number(value):
        c.error(
            node,
            "assign",
            f"The {node.op} operator can not be used on expressions of types {target.name},"
            f" {value.name}",
        )


def _is_number(type: Type) -> bool:
    return isinstance(type, (Int, Bool, Enum)) or _castable(type)


def _castable(type: Type) -> bool:
    # Aggregates that have one number as their value, which a program can read.
    return type.__class__.__name__ in ("Count", "Sum", "Min", "Max", "Avg")


def is_flexible(node: n.Node) -> bool:
    """Whether an expression is a literal that suits signed and unsigned types alike."""
    return isinstance(node, n.Integer) and 0 <= node.value < 1 << 63


def _let(c: Checker, node: n.Let) -> None:
    value = c.type(node.value) if node.value is not None else None
    if c.find_variable(node.name) is not None and c.final:
        existing = c.find_variable(node.name)
        if existing is not None and existing.node is not node:
            c.error(
                node,
                "shadow",
                f"Variable {node.name} was already declared. Variable shadowing is not allowed.",
            )
    info = c.declare(node.name, node)
    c.variant.variables[node] = info
    if node.type is not None:
        from bpflens.lang.analyse.place import resolve_type

        declared = resolve_type(c, node.type)
        if declared is not None:
            info.type, info.fixed = declared, True
    if value is None:
        return
    if isinstance(value, (NoneType, Aggregate)) and not _castable(value):
        c.error(node, "assign", f"Value '{value.name}' cannot be assigned to a scratch variable.")
        return
    kept = UINT64 if isinstance(value, Aggregate) else value
    c.assign_variable(info, node, kept, node.value is not None and is_flexible(node.value))


def _discard(c: Checker, node: n.Discard) -> None:
    c.type(node.value)


def _if(c: Checker, node: n.If) -> None:
    if isinstance(node.condition, n.Comptime):
        c.type(node)
        return
    check_condition(c, node.condition, "if()")
    check_block(c, node.then)
    if isinstance(node.otherwise, n.If):
        _if(c, node.otherwise)
    elif node.otherwise is not None:
        check_block(c, node.otherwise)


def _loop_body(c: Checker, body: n.Block) -> None:
    c.loop_depth += 1
    check_block(c, body)
    c.loop_depth -= 1


def _while(c: Checker, node: n.While) -> None:
    c.warning(
        node, "deprecated", "While loops are deprecated; use for loops: for $i : 0..10 { ... }"
    )
    check_condition(c, node.condition, "while()")
    _loop_body(c, node.body)


def _for_range(c: Checker, node: n.ForRange) -> None:
    for bound in (node.first, node.stop):
        found = c.type(bound)
        if found is not None and not _is_number(found):
            c.error(bound, "range", f"Loop range requires an integer, found {found.name}")
    c.push_scope()
    info = c.declare(node.name, node)
    c.variant.variables[node] = info
    if info.type is None:
        info.type = Int(8, True)
    _loop_body(c, node.body)
    c.pop_scope()


def _for_map(c: Checker, node: n.ForMap) -> None:
    state = c.map(node.map.name, node.map)
    state.whole = True
    if state.keyed is False:
        c.error(
            node.map,
            "map-shape",
            f"Maps used as the target of a for loop must have keys: {state.name} has none",
        )
        return
    if state.keyed is None:
        state.keyed = True
        c.changed = True
    c.push_scope()
    info = c.declare(node.name, node)
    c.variant.variables[node] = info
    if state.key is not None and state.value is not None:
        value = state.value
        if isinstance(value, Aggregate):
            if not _castable(value) and value.__class__.__name__ != "Stats":
                c.error(
                    node.map, "map-value", f"Loop expression does not support type: {value.name}"
                )
            value = Int(8, getattr(value, "signed", False))
        found = Tuple([state.key, value])
        if info.type != found:
            info.type = found
            c.changed = True
    _loop_body(c, node.body)
    c.pop_scope()


def _unroll(c: Checker, node: n.Unroll) -> None:
    count = node.count
    c.type(count)
    if not isinstance(count, n.Integer):
        c.error(count, "unroll", "unroll count must be an integer literal")
    elif count.value > 100:
        c.error(count, "unroll", "unroll maximum value is 100")
    elif count.value < 1:
        c.error(count, "unroll", "unroll minimum value is 1")
    check_block(c, node.body)


def _return(c: Checker, node: n.Return) -> None:
    if c.calling:
        from bpflens.lang.analyse import subprogram

        subprogram.check_return(c, node, c.calling[-1])
        return
    if node.value is None:
        return
    found = c.type(node.value)
    if found is not None and not _is_number(found):
        c.error(node, "return", f"Only integers can be returned from a probe, found {found.name}")


def _jump(c: Checker, node: n.Jump) -> None:
    if not c.loop_depth:
        c.error(node, "jump", f"{node.kind} statement outside of a loop")


def _import(c: Checker, node: n.Import) -> None:
    c.error(node, "import", "import is only allowed at the top of a script")


def _block(c: Checker, node: n.Block) -> None:
    check_block(c, node)


_RULES: dict[type[n.Node], Callable[..., None]] = {
    n.ExprStmt: _expr_statement,
    n.Assign: _assign,
    n.Let: _let,
    n.Discard: _discard,
    n.If: _if,
    n.While: _while,
    n.ForRange: _for_range,
    n.ForMap: _for_map,
    n.Unroll: _unroll,
    n.Return: _return,
    n.Jump: _jump,
    n.Import: _import,
    n.Block: _block,
}

"""Type rules of ``fn`` functions and of calls to them.

A function is compiled into each place that calls it, so its body is typed once for each variant
that uses it, with parameters as variables of fixed types.
"""

from __future__ import annotations

from bpflens.lang import nodes as n
from bpflens.lang.analyse.state import VariableInfo, unify
from bpflens.lang.types import NONE, NoneType, Type

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.lang.analyse.checker import Checker

__all__ = ["check_call", "check_declaration", "check_return", "find"]


def find(c: Checker, name: str) -> n.Function | None:
    """Return the script's function of that name."""
    if c.functions is None:
        c.functions = {
            item.name: item for item in c.result.tree.items if isinstance(item, n.Function)
        }
    return c.functions.get(name)


def check_call(c: Checker, node: n.Call, function: n.Function) -> Type | None:
    """Type a call of a function; its body is typed for this variant on the way."""
    if len(node.args) != len(function.params):
        c.error(
            node,
            "arguments",
            f"Function `{node.name}` requires {len(function.params)} arguments, "
            f"got {len(node.args)}",
        )
        return None
    types = [c.type(argument) for argument in node.args]
    if function in c.calling:
        c.error(node, "recursion", f"Function `{node.name}` calls itself, which BPF cannot do")
        return None
    infos = _enter(c, function)
    for argument, found, info in zip(node.args, types, infos, strict=True):
        wanted = info.type
        if found is not None and wanted is not None and unify(wanted, found) is None:
            c.error(
                argument,
                "arguments",
                f"Expected {wanted.name} for argument `{info.name}` got {found.name}",
            )
    return _body(c, function)


def check_declaration(c: Checker, function: n.Function) -> None:
    """Type a function that nothing calls, so that mistakes in it are found."""
    _enter(c, function)
    _body(c, function)


def _enter(c: Checker, function: n.Function) -> list[VariableInfo]:
    from bpflens.lang.analyse.place import resolve_type

    c.enter_function(function)
    infos = []
    for param in function.params:
        info = c.declare(param.name, param)
        info.fixed = True
        info.type = resolve_type(c, param.type) or info.type
        info.assigned = True
        c.variant.variables[param] = info
        infos.append(info)
    return infos


def _body(c: Checker, function: n.Function) -> Type | None:
    from bpflens.lang.analyse.place import resolve_type
    from bpflens.lang.analyse.statement import check_block

    wanted = resolve_type(c, function.result)
    c.results[function] = wanted
    check_block(c, function.body)
    if c.final and not isinstance(wanted, NoneType) and not _returns(function.body):
        c.error(function, "return", f"Function `{function.name}` does not return on all paths")
    c.leave_function()
    return wanted


def _returns(block: n.Block) -> bool:
    # Whether every way through a block ends in a ``return``.
    last = block.result if block.result is not None else next(reversed(block.statements), None)
    if isinstance(last, n.ExprStmt):
        last = last.expr
    if isinstance(last, n.Return):
        return True
    if isinstance(last, n.Block):
        return _returns(last)
    if isinstance(last, n.If) and last.otherwise is not None:
        other = last.otherwise
        return _returns(last.then) and _returns(n.Block([other], None))
    return False


def check_return(c: Checker, node: n.Return, function: n.Function) -> None:
    """Check a ``return`` inside of a function."""
    wanted = c.results.get(function)
    found = c.type(node.value) if node.value is not None else NONE
    if wanted is None or found is None:
        return
    if found != wanted and unify(wanted, found) is None:
        c.error(
            node,
            "return",
            f"Function `{function.name}` returns {wanted.name}, not {found.name}",
        )

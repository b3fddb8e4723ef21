"""Functions of the language. Each family is a module; this table says where a name lives.

A family module has a dict ``CALLS`` of :class:`CallRule` by name. Modules are imported when a
script first uses one of their functions.

Example::

    rule = find("printf")
    rule.check(checker, node)
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from bpflens.lang import nodes as n
    from bpflens.lang.analyse.checker import Checker
    from bpflens.lang.ir.ops import Value
    from bpflens.lang.lower.function import FunctionLowering, Ref
    from bpflens.lang.types import Type

    Check = Callable[[Checker, n.Call], Type | None]
    Lower = Callable[[FunctionLowering, n.Call], Value | Ref]
    Write = Callable[[FunctionLowering, n.Node, Ref, Type], None]

__all__ = ["CallRule", "count_arguments", "find", "literal_node", "literal_text", "names", "near"]

_FAMILIES = {
    "aggregate": "count sum min max avg stats hist lhist tseries",
    "output": "printf print errorf warnf debugf time exit clear zero cat system join assert "
    "unwatch",
    "string": "str buf strncmp",
    "text": "strlen strcap strstr strcontains str_concat memcmp path strerror signal_name "
    "syscall_name",
    "map": "delete has_key find len",
    "symbol": "ksym usym kaddr uaddr percpu_kaddr reg",
    "process": "signal signal_thread override write_user",
    "net": "ntop pton macaddr bswap socket_cookie skboutput",
    "cgroup": "cgroupid cgroup_path strftime",
    "compile_time": "is_array is_integer is_unsigned_integer is_ptr is_str is_literal kfunc_exist "
    "kfunc_allowed fail static_assert kptr uptr is_err container_of",
}
_HOME = {name: family for family, text in _FAMILIES.items() for name in text.split()}


class CallRule:
    """How a function is typed and lowered; ``write`` puts a memory value straight in its place."""

    __slots__ = ("check", "lower", "write")

    def __init__(self, check: Check, lower: Lower, write: Write | None = None) -> None:
        self.check = check
        self.lower = lower
        self.write = write


def find(name: str) -> CallRule | None:
    """Return the rule of a function, or None if there is none of that name."""
    family = _HOME.get(name)
    if family is None:
        return None
    from importlib import import_module

    rules: dict[str, CallRule] = import_module(f"bpflens.lang.call.{family}").CALLS
    return rules[name]


def names() -> list[str]:
    """Return the names of all functions."""
    return list(_HOME)


def near(name: str) -> list[str]:
    """Return a hint with the nearest name of a function, or nothing."""
    from difflib import get_close_matches

    close = get_close_matches(name, _HOME, n=1)
    return [f"Did you mean '{close[0]}'?"] if close else []


def count_arguments(c: Checker, node: n.Call, least: int, most: int | None = None) -> bool:
    """Complain unless the number of arguments is right; tell whether it is."""
    most = least if most is None else most
    given = len(node.args)
    if least <= given <= most:
        return True
    if least == most or most == 0:
        wanted = f"requires {_number(most)}"
    elif given < least:
        wanted = f"requires at least {_number(least)}"
    else:
        wanted = f"takes up to {_number(most)}"
    c.error(node, "arguments", f"{node.name}() {wanted} ({given} provided)")
    return False


def _number(count: int) -> str:
    if count <= 1:
        return "one argument" if count else "no arguments"
    return f"{count} arguments"


def literal_node(node: n.Node) -> n.Node:
    """Return the literal that a macro's body consists of, if that is what a node is."""
    from bpflens.lang import nodes

    while isinstance(node, nodes.Block) and not node.statements and node.result is not None:
        node = node.result
    return node


def literal_text(c: Checker, node: n.Call, index: int) -> str | None:
    """Return the text of an argument that must be a string literal; complain if it is not."""
    from bpflens.lang import nodes

    argument = literal_node(node.args[index])
    if isinstance(argument, nodes.String):
        node.args[index] = argument
        return argument.value.decode("utf-8", "surrogateescape")
    found = c.type(argument)
    if found is not None or c.final:
        shown = found.name if found is not None else "none"
        hints = []
        if isinstance(argument, nodes.Positional):
            hints.append(f"Use str(${argument.index}) to treat ${argument.index} as a string")
        message = f"{node.name}() expects a string literal ({shown} provided)"
        c.error(node, "literal", message, *hints)
    return None

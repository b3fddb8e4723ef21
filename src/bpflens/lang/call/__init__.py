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

__all__ = ["CallRule", "count_arguments", "find", "names", "near"]

_FAMILIES = {
    "aggregate": "count sum min max avg stats hist lhist tseries",
    "output": "printf print errorf warnf time exit clear zero cat system join assert",
    "string": "str buf strncmp macaddr",
    "map": "delete has_key find len",
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
    if least == most:
        wanted = "no arguments" if least == 0 else f"{least} argument{'s' if least > 1 else ''}"
        message = f"{node.name}() requires {wanted} ({given} provided)"
    elif given < least:
        message = f"{node.name}() requires at least {least} argument{'s' if least > 1 else ''} ({given} provided)"  # fmt: skip
    else:
        message = f"{node.name}() takes up to {most} arguments ({given} provided)"
    c.error(node, "arguments", message)
    return False

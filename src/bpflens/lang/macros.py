"""Macros expanded: every use of a macro becomes a block with the macro's body.

A macro's parameters are ``$v`` (a variable of the caller, changed in place), ``@m`` (a map of the
caller) and plain names, which stand for an expression or, where a type is wanted, for a type
passed as ``typeof(T)``; an expression is put in at every use and evaluated each time. Several
macros may share a name if their parameters tell them apart.

Expansion is hygienic: variables that a macro assigns get a name of their own for each use, maps
have to be passed. Macros of the script hide functions of the language of the same signature.

Example::

    expand(program, diagnostics)    # "macro twice(x) { x + x } begin { twice(2) }"
"""

from __future__ import annotations

from bpflens.lang import nodes as n
from bpflens.lang.recursion import roomy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    from bpflens.lang.diagnostic import Diagnostics
    from bpflens.lang.nodes import Expr, Node, Program

    _N = TypeVar("_N", bound="Node")

__all__ = ["MacroTable", "clone", "expand"]

# What all expansions of one script may add up to: macros that use their parameters twice double
# their size with each level.
_MAX_NODES = 200_000


def expand(
    program: Program,
    diagnostics: Diagnostics,
    further: Sequence[n.Macro] = (),
    is_function: Callable[[str], bool] = lambda name: False,
) -> Program:
    """Expand all macros of a program in place and remove their definitions.

    ``further`` are macros from elsewhere (the C preamble). ``is_function`` tells names of the
    language: a use of one that fits no macro is left alone.
    """
    table = MacroTable(diagnostics)
    kept: list[n.Item] = []
    for item in (*further, *program.items):
        if isinstance(item, n.Macro):
            table.add(item)
        else:
            kept.append(item)
    program.items = kept
    if table:
        expander = _Expander(table, diagnostics, is_function)
        roomy(lambda: expander.run(program))
    return program


def clone(node: _N) -> _N:
    """Return a copy of a tree."""
    values = []
    for name in node.__match_args__:
        value = getattr(node, name)
        if isinstance(value, n.Node):
            value = clone(value)
        elif isinstance(value, list):
            value = [clone(item) if isinstance(item, n.Node) else item for item in value]
        values.append(value)
    return type(node)(*values, node.start, node.end)  # type: ignore[call-arg]


class MacroTable:
    """Macros by name; those that share one differ in their parameters."""

    __slots__ = ("_by_name", "_diagnostics")

    def __init__(self, diagnostics: Diagnostics) -> None:
        self._by_name: dict[str, list[n.Macro]] = {}
        self._diagnostics = diagnostics

    def __bool__(self) -> bool:
        return bool(self._by_name)

    def add(self, macro: n.Macro) -> None:
        """Add a macro; one that an older one would always hide is an error."""
        older = self.find(macro.name, macro.params)
        if older is not None:
            message = f"Redefinition of macro: {macro.name}"
            error = self._diagnostics.error("macro", message, macro.start, macro.end)
            error.notes.append(("This is the original definition.", older.start, older.end))
        elif self._has_distinct_parameters(macro):
            self._by_name.setdefault(macro.name, []).append(macro)

    def named(self, name: str) -> list[n.Macro]:
        """Return the macros of that name."""
        return self._by_name.get(name, [])

    def find(self, name: str, args: Sequence[Node]) -> n.Macro | None:
        """Return the macro that a use means."""
        return next((macro for macro in self.named(name) if _mismatches(macro, args) == 0), None)

    def _has_distinct_parameters(self, macro: n.Macro) -> bool:
        words = {n.Variable: "Variable", n.MapName: "Map", n.Identifier: "Ident"}
        seen: set[tuple[type, str]] = set()
        for param in macro.params:
            assert isinstance(param, n.Variable | n.MapName | n.Identifier)
            if (type(param), param.name) in seen:
                word = words[type(param)]
                message = f"{word} for macro argument has already been used: {param.name}"
                self._diagnostics.error("macro", message, param.start, param.end)
                return False
            seen.add((type(param), param.name))
        return True


def _mismatches(macro: n.Macro, args: Sequence[Node]) -> int:
    # 0 for a macro that fits; a wrong number of arguments counts more than any wrong kind.
    params = macro.params
    kinds = (n.Variable, n.MapName)
    wrong = sum(
        isinstance(param, kinds) and type(param) is not type(arg)
        for param, arg in zip(params, args, strict=False)
    )
    return 1024 * abs(len(params) - len(args)) + wrong


# One expansion: what the names of the macro stand for.
class _Scope:
    __slots__ = ("exprs", "macro", "maps", "variables")

    def __init__(self, macro: n.Macro) -> None:
        self.macro = macro
        self.exprs: dict[str, Node] = {}
        self.maps: dict[str, str] = {}
        self.variables: dict[str, str] = {}


# The complaint is recorded; the use stays as it is.
class _MacroError(Exception):
    pass


class _Expander:
    def __init__(
        self, table: MacroTable, diagnostics: Diagnostics, is_function: Callable[[str], bool]
    ) -> None:
        self.table = table
        self.diagnostics = diagnostics
        self.is_function = is_function
        self.stack: list[n.Macro] = []
        self.scope: _Scope | None = None
        self.uses = 0
        self.budget = _MAX_NODES

    def run(self, program: Program) -> None:
        for item in program.items:
            if isinstance(item, n.Probe | n.Function):
                self.visit(item)

    def visit(self, node: Node) -> Node:
        # Expands below a node and returns what takes its place.
        rule = _RULES.get(type(node))
        return rule(self, node) if rule else self.visit_children(node)

    def visit_children(self, node: Node) -> Node:
        for name in node.__match_args__:
            value = getattr(node, name)
            if isinstance(value, n.Node):
                setattr(node, name, self.visit(value))
            elif isinstance(value, list):
                for i, item in enumerate(value):
                    if isinstance(item, n.Node):
                        value[i] = self.visit(item)
        return node

    # uses of macros

    def _identifier(self, node: n.Identifier) -> Node:
        if self.scope is not None and node.name in self.scope.exprs:
            return self._copy(self.scope.exprs[node.name], node)
        if not self.table.named(node.name):
            return node
        return self._use(node, node.name, [])

    def _call(self, node: n.Call) -> Node:
        self.visit_children(node)
        if not self.table.named(node.name):
            return node
        return self._use(node, node.name, node.args)

    def _use(self, node: Node, name: str, args: list[Expr]) -> Node:
        macro = self.table.find(name, args)
        if macro is None:
            # A bare word may also be an enumerator or a type.
            if not self.is_function(name) and isinstance(node, n.Call):
                self._complain_about_arguments(node, args)
            return node
        if macro in self.stack:
            chain = self.stack[self.stack.index(macro) :]
            names = " > ".join(each.name for each in (*chain, macro))
            message = f"Recursive macro call detected. Call chain: {names}"
            self.diagnostics.error("macro-recursion", message, node.start, node.end)
            return node
        try:
            return self._expand(macro, node, args)
        except _MacroError:
            return node

    def _expand(self, macro: n.Macro, node: Node, args: list[Expr]) -> Node:
        self.uses += 1
        scope = _Scope(macro)
        for param, arg in zip(macro.params, args, strict=True):
            match param, arg:
                case n.Variable(name), n.Variable(target):
                    scope.variables[name] = target
                case n.MapName(name), n.MapName(target):
                    scope.maps[name] = target
                case n.Identifier(name), n.Variable() | n.MapName():
                    # Its value, so that the macro cannot pass it on to one that changes it.
                    scope.exprs[name] = n.Block([], arg, arg.start, arg.end)
                case n.Identifier(name), _:
                    scope.exprs[name] = arg
        body = self._copy(macro.body, node)
        self._rename(body, scope)
        outer, self.scope = self.scope, scope
        self.stack.append(macro)
        try:
            self.visit(body)
        finally:
            self.stack.pop()
            self.scope = outer
        return body

    def _rename(self, body: n.Block, scope: _Scope) -> None:
        # Variables that the macro itself assigns are its own.
        prefix = f"$${scope.macro.name}_{self.uses}_"
        for inner in n.walk(body):
            match inner:
                case n.Let(name) if name in scope.variables:
                    message = f"Variable declaration shadows macro arg {name}"
                    self.diagnostics.error("macro", message, inner.start, inner.end)
                    continue
                case n.Assign(n.Variable(name)) | n.Let(name):
                    pass
                case n.ForMap(name) | n.ForRange(name):
                    pass
                case _:
                    continue
            scope.variables.setdefault(name, prefix + name[1:])

    def _copy(self, node: _N, use: Node) -> _N:
        if self.budget < 0:
            raise _MacroError
        copy = clone(node)
        self.budget -= sum(1 for _ in n.walk(copy))
        if self.budget < 0:
            message = f"macros expand to more than {_MAX_NODES} nodes"
            self.diagnostics.error("macro-size", message, use.start, use.end)
            raise _MacroError
        return copy

    # names inside a macro

    def _variable(self, node: n.Variable) -> Node:
        if self.scope is not None:
            node.name = self.scope.variables.get(node.name, node.name)
        return node

    def _map_name(self, node: n.MapName) -> Node:
        if self.scope is None:
            return node
        if node.name in self.scope.maps:
            node.name = self.scope.maps[node.name]
        else:
            message = (
                f"Unhygienic access to map: {node.name}. "
                "Maps must be passed into the macro as arguments."
            )
            self.diagnostics.error("macro-hygiene", message, node.start, node.end)
        return node

    def _named(self, node: n.Let | n.ForMap | n.ForRange) -> Node:
        if self.scope is not None:
            node.name = self.scope.variables.get(node.name, node.name)
        return self.visit_children(node)

    # types inside a macro

    def _type_operand(self, node: n.Sizeof | n.TypeofType) -> Node:
        node.operand = self._operand(node.operand)
        return node

    def _offsetof(self, node: n.Offsetof) -> Node:
        node.operand = self._operand(node.operand)
        if self.scope is not None and len(node.path) == 1:
            arg = self.scope.exprs.get(node.path[0])
            if arg is not None:
                node.path = self._path(arg) or node.path
        return node

    def _operand(self, operand: Node) -> Node:
        # A bare word here is a parameter or a type, never a use of a macro.
        if isinstance(operand, n.Identifier):
            arg = self.scope.exprs.get(operand.name) if self.scope else None
            if arg is None:
                return operand
            if isinstance(arg, n.TypeArg):
                return self._copy(_passed_type(arg), operand)
            return self._copy(arg, operand)
        return self.visit(operand)

    def _path(self, arg: Node) -> list[str]:
        names: list[str] = []
        inner = arg
        while isinstance(inner, n.Field):
            names.append(inner.name)
            inner = inner.base
        if isinstance(inner, n.Identifier):
            return [inner.name, *reversed(names)]
        if names:
            message = (
                "FieldAccess expressions must be made up entirely of idents (e.g. a.b.c) "
                "to replace the second argument in `offsetof`"
            )
            self.diagnostics.error("macro", message, arg.start, arg.end)
        return []

    def _named_type(self, node: n.NamedType) -> Node:
        arg = self.scope.exprs.get(node.name) if self.scope else None
        if arg is None:
            return node
        passed = _passed_type(arg) if isinstance(arg, n.TypeArg) else arg
        match passed:
            case n.Identifier(name) | n.NamedType(name, ""):
                return n.NamedType(name, node.tag, node.start, node.end)
        if node.tag == "" and isinstance(arg, n.TypeArg):
            if isinstance(passed, n.NamedType | n.PointerType | n.ArrayType | n.TypeofType):
                return self._copy(passed, node)
            return n.TypeofType(self._copy(passed, node), False, node.start, node.end)
        from bpflens.lang.printer import unparse

        name = self.stack[-1].name
        message = (
            f"Invalid replacement for macro '{name}' type parameter '{node.name}' "
            f"which makes up the type '{unparse(node)}'"
        )
        self.diagnostics.error("macro-type", message, arg.start, arg.end)
        return node

    # complaints

    def _complain_about_arguments(self, node: n.Call, args: list[Expr]) -> None:
        name = node.name
        closest = min(self.table.named(name), key=lambda macro: _mismatches(macro, args))
        message = f"Call to {name}() has arguments that do not match any definition."
        error = self.diagnostics.error("macro-arguments", message, node.start, node.end)
        if len(closest.params) != len(args):
            note = (
                f"The closest definition of {name}() has a different number of arguments. "
                f"Expected: {len(closest.params)} but got {len(args)}"
            )
            error.notes.append((note, closest.start, closest.end))
            return
        for param, arg in zip(closest.params, args, strict=True):
            match param:
                case n.MapName(wanted):
                    kind = "map"
                case n.Variable(wanted):
                    kind = "variable"
                case _:
                    continue
            if type(arg) is type(param):
                continue
            found = {n.Variable: "a variable", n.MapName: "a map"}.get(type(arg), "an expression")
            message = f"Mismatched arg. {name}() expects a {kind} for arg {wanted} but got {found}."
            error = self.diagnostics.error("macro-arguments", message, arg.start, arg.end)
            note = "This is the argument in the closest definition."
            error.notes.append((note, param.start, param.end))


def _passed_type(arg: n.TypeArg) -> Node:
    return arg.type.operand if isinstance(arg.type, n.TypeofType) else arg.type


_RULES: dict[type, Callable[[_Expander, Node], Node]] = {
    n.Call: _Expander._call,  # type: ignore[dict-item]
    n.ForMap: _Expander._named,  # type: ignore[dict-item]
    n.ForRange: _Expander._named,  # type: ignore[dict-item]
    n.Identifier: _Expander._identifier,  # type: ignore[dict-item]
    n.Let: _Expander._named,  # type: ignore[dict-item]
    n.MapName: _Expander._map_name,  # type: ignore[dict-item]
    n.NamedType: _Expander._named_type,  # type: ignore[dict-item]
    n.Offsetof: _Expander._offsetof,  # type: ignore[dict-item]
    n.Sizeof: _Expander._type_operand,  # type: ignore[dict-item]
    n.TypeofType: _Expander._type_operand,  # type: ignore[dict-item]
    n.Variable: _Expander._variable,  # type: ignore[dict-item]
}

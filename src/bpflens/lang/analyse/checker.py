"""The type checker: goes over a script until nothing changes, then once more to complain.

Types of maps and variables may depend on uses further down or in other probes, so the script is
walked several times; complaints of all but the last walk are thrown away. The rules themselves are
in the neighbours: :mod:`.statement`, :mod:`.expression`, :mod:`.place` (fields, indexes, casts),
and, for names that scripts call, :mod:`bpflens.lang.builtin` and :mod:`bpflens.lang.call`.
"""

from __future__ import annotations

from bpflens.lang import nodes as n
from bpflens.lang.analyse.state import (
    MapState,
    TypedProgram,
    VariableInfo,
    Variant,
    unify,
    widen,
)  # fmt: skip
from bpflens.lang.diagnostic import Diagnostics
from bpflens.lang.types import Aggregate, Bool, Enum, Int, NoneType, Pointer, Type

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from bpflens.lang.context import Context
    from bpflens.lang.diagnostic import Diagnostic

__all__ = ["Checker", "analyse"]

# More walks than any chain of dependent maps seen in practice; stops what would never settle.
_MAX_WALKS = 16


def analyse(tree: n.Program, variants: Sequence[Variant], context: Context) -> TypedProgram:
    """Type a whole script; complaints go to ``context.diagnostics``."""
    return Checker(tree, variants, context).run()


class Checker:
    """The state of one analysis. Rules get it as their first argument and call its methods."""

    def __init__(self, tree: n.Program, variants: Sequence[Variant], context: Context) -> None:
        self.context = context
        self.target = context.target
        self.config = context.config
        self.result = TypedProgram(tree)
        self.result.variants = list(variants)
        self.maps = self.result.maps
        self.diagnostics = Diagnostics()
        self.final = False
        self.changed = False
        self.loop_depth = 0
        self._spare = _no_variant()
        self.variant: Variant = variants[0] if variants else self._spare
        self.functions: dict[str, n.Function] | None = None
        # Functions whose bodies are being checked right now, the innermost last.
        self.calling: list[n.Function] = []
        self.results: dict[n.Function, Type | None] = {}
        self._called: set[n.Function] = set()
        self._callers: list[tuple[list[dict[str, VariableInfo]], int]] = []
        self._scopes: list[dict[str, VariableInfo]] = []
        self._infos: dict[tuple[int, n.Node], VariableInfo] = {}

    def run(self) -> TypedProgram:
        """Walk until nothing changes, then once more keeping the complaints."""
        for _ in range(_MAX_WALKS):
            self.changed = False
            self.diagnostics = Diagnostics()
            self._walk()
            if not self.changed:
                break
        self.final = True
        self.diagnostics = self.context.diagnostics
        self._walk()
        self._warn_unused()
        return self.result

    def _warn_unused(self) -> None:
        for item in self.result.tree.items:
            if isinstance(item, n.MapDecl) and not self.maps[item.name].used:
                self.warning(item, "unused-map", f"Unused map: {item.name}")
        seen: set[n.Node] = set()
        for (_, node), info in self._infos.items():
            if isinstance(node, n.Let) and not info.assigned and node not in seen:
                seen.add(node)
                self.warning(node, "unassigned", f"Variable {info.name} was never assigned to.")

    def _walk(self) -> None:
        from bpflens.lang.analyse import statement

        for item in self.result.tree.items:
            if isinstance(item, n.MapDecl):
                statement.check_map_declaration(self, item)
        for variant in self.result.variants:
            self.variant = variant
            self._scopes = []
            statement.check_probe(self, variant.probe)
        self._check_uncalled()

    def _check_uncalled(self) -> None:
        from bpflens.lang.analyse import subprogram

        for item in self.result.tree.items:
            if isinstance(item, n.Function) and item not in self._called:
                self.variant = self._spare
                self._scopes = []
                subprogram.check_declaration(self, item)

    # functions

    def enter_function(self, function: n.Function) -> None:
        """Go into the body of a function, which sees none of its caller's variables."""
        self._callers.append((self._scopes, self.loop_depth))
        if self.variant is not self._spare:
            self._called.add(function)
        self.calling.append(function)
        self._scopes, self.loop_depth = [{}], 0

    def leave_function(self) -> None:
        """Return to the caller."""
        self.calling.pop()
        self._scopes, self.loop_depth = self._callers.pop()

    # expressions

    def type(self, node: n.Node) -> Type | None:
        """Return the type of an expression; None while (or because) it cannot be known."""
        from bpflens.lang.analyse import expression

        found = expression.check(self, node)
        if found is not None:
            self.variant.types[node] = found
        return found

    def stand(self, node: n.Node, other: n.Node) -> Type | None:
        """Have a node stand for another one, and type that."""
        self.variant.stands_for[node] = other
        return self.type(other)

    def integer(self, node: n.Node, what: str) -> Type | None:
        """Type an expression that must be an integer (aggregates count as their value)."""
        found = self.type(node)
        if found is None:
            return None
        if isinstance(found, (Int, Bool, Enum, Pointer)):
            return found
        if isinstance(found, Aggregate) and type(found).__name__ in (
            "Count",
            "Sum",
            "Min",
            "Max",
            "Avg",
        ):
            return found
        self.error(
            node,
            "not-an-integer",
            f"{what} only supports integer arguments ({found.name} provided)",
        )
        return None

    # scopes and variables

    def push_scope(self) -> None:
        """Enter a block."""
        self._scopes.append({})

    def pop_scope(self) -> None:
        """Leave a block."""
        self._scopes.pop()

    def find_variable(self, name: str) -> VariableInfo | None:
        """Return the variable that a name means here."""
        for scope in reversed(self._scopes):
            if name in scope:
                return scope[name]
        return None

    def declare(self, name: str, node: n.Node) -> VariableInfo:
        """Make a variable in the innermost block; walks after the first get the same one again."""
        key = (self.variant.index, node)
        info = self._infos.get(key)
        if info is None:
            info = self._infos[key] = VariableInfo(name, node)
        self._scopes[-1][name] = info
        return info

    def assign_variable(self, info: VariableInfo, node: n.Node, type: Type, literal: bool) -> None:
        """Record that a value of a type is assigned to a variable."""
        info.assigned = True
        if info.fixed and info.type is not None:
            if unify(info.type, type) is None:
                self._mismatch(node, info.name, type, info.type, "variable")
            return
        self._settle(info, node, widen(type), literal, "variable")

    # maps

    def map(self, name: str, node: n.Node) -> MapState:
        """Return the state of a map, new on its first use."""
        state = self.maps.get(name)
        if state is None:
            state = self.maps[name] = MapState(name, node)
            self.changed = True
        state.used = state.used or not isinstance(node, n.MapDecl)
        return state

    def use_key(self, state: MapState, node: n.Node, key: n.Node | None) -> None:
        """Record how a map is indexed: by ``key``, or as a scalar."""
        keyed = key is not None
        if state.keyed is None:
            state.keyed = keyed
            self.changed = True
        elif state.keyed != keyed:
            if keyed:
                self.error(
                    node,
                    "map-shape",
                    f"{state.name} used as a map with an explicit key (non-scalar map), previously"
                    " used without an explicit key (scalar map)",
                )
            else:
                self.error(
                    node,
                    "map-shape",
                    f"{state.name} used as a map without an explicit key (scalar map), previously"
                    " used with an explicit key (non-scalar map)",
                )
            return
        if key is None:
            return
        type = self.type(key)
        if type is None:
            return
        self.set_key(state, key, type)

    def set_key(self, state: MapState, node: n.Node, type: Type) -> None:
        """Record the type of a key."""
        if isinstance(type, (NoneType, Aggregate)):
            self.error(node, "map-key", f"{type.name} cannot be used as a map key")
            return
        wide = widen(type)
        if state.key is None:
            state.key = wide
            self.changed = True
            return
        both = unify(state.key, wide)
        if both is None:
            self.error(
                node,
                "map-key",
                f"Argument mismatch for {state.name}: trying to access with arguments:"
                f" '{wide.name}' when map expects arguments: '{state.key.name}'",
            )
        elif both != state.key:
            state.key = both
            self.changed = True

    def assign_map(self, state: MapState, node: n.Node, type: Type, literal: bool = False) -> None:
        """Record that a value of a type is assigned to a map."""
        if isinstance(type, NoneType):
            self.error(
                node, "map-value", f"Value 'none' cannot be assigned to a map ({state.name})"
            )
            return
        self._settle(state, node, widen(type), literal, "map")

    def _settle(
        self, holder: VariableInfo | MapState, node: n.Node, type: Type, literal: bool, what: str
    ) -> None:
        attribute = "type" if isinstance(holder, VariableInfo) else "value"
        current: Type | None = getattr(holder, attribute)
        if current is None:
            setattr(holder, attribute, type)
            holder.flexible = literal
            self.changed = True
            return
        # A literal that is not negative adapts to the sign already chosen, and the other way round.
        if literal and isinstance(current, Int) and isinstance(type, Int):
            return
        if holder.flexible and isinstance(current, Int) and isinstance(type, Int):
            both: Type | None = type
        else:
            both = unify(current, type)
        if both is None:
            self._mismatch(node, holder.name, type, current, what)
            return
        if both != current:
            setattr(holder, attribute, both)
            self.changed = True
        if holder.flexible and isinstance(type, Int):
            holder.flexible = False
            self.changed = True

    def _mismatch(self, node: n.Node, name: str, new: Type, old: Type, what: str) -> None:
        if isinstance(old, Aggregate) or isinstance(new, Aggregate):
            self.error(
                node,
                "type-mismatch",
                f"Type mismatch for {name}: trying to assign value of type '{new.name}' when {what}"
                f" already has a type '{old.name}'",
            )
            return
        self.error(
            node,
            "type-mismatch",
            f"Type mismatch for {name}: trying to assign value of type '{new.name}' when {what}"
            f" already contains a value of type '{old.name}'",
        )

    # complaints

    def error(self, node: n.Node, code: str, message: str, *hints: str) -> Diagnostic:
        """Complain about a node."""
        return self.diagnostics.error(code, message, node.start, node.end, *hints)

    def warning(self, node: n.Node, code: str, message: str, *hints: str) -> Diagnostic:
        """Warn about a node."""
        return self.diagnostics.warning(code, message, node.start, node.end, *hints)


def _no_variant() -> Variant:
    # A script without probes still has its declarations checked.
    point = n.AttachPoint("", "")
    return Variant(n.Probe([point], None, n.Block([], None)), point, "begin", [], -1)

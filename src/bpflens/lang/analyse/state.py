"""What analysis finds out, in tables beside the tree: variables, maps, variants of probes.

A :class:`Variant` is one probe block seen from one kind of attach point: the unit that has types
of its own and becomes one program in the kernel (possibly attached to many things).
"""

from __future__ import annotations

from bpflens.lang.types import (
    Array,
    Bool,
    Buffer,
    Enum,
    Int,
    NoneType,
    Pointer,
    Record,
    String,
    Struct,
    Tuple,
    Type,
    promote,
)  # fmt: skip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from bpflens.lang import nodes as n
    from bpflens.lang.analyse.syscall_group import SyscallGroup

__all__ = ["MapState", "Match", "TypedProgram", "VariableInfo", "Variant", "unify", "widen"]


class VariableInfo:
    """One scratch variable: ``type`` settles during analysis; ``fixed`` once declared with a type.

    ``flexible`` while only non-negative literals were assigned, which suit either sign.
    """

    __slots__ = ("assigned", "fixed", "flexible", "name", "node", "type")

    def __init__(self, name: str, node: n.Node) -> None:
        self.name = name
        self.node = node
        self.type: Type | None = None
        self.fixed = False
        self.flexible = False
        self.assigned = False


class MapState:
    """One map of the script. ``keyed`` is None until the first use tells.

    ``whole`` maps have to be one map in the kernel: the script says of what type, or walks it.
    """

    __slots__ = (
        "flexible", "key", "keyed", "max_entries", "name", "node", "used", "value", "map_type",
        "whole",
    )  # fmt: skip

    def __init__(self, name: str, node: n.Node) -> None:
        self.name = name
        self.node = node
        self.keyed: bool | None = None
        self.key: Type | None = None
        self.value: Type | None = None
        self.flexible = False
        self.map_type = ""
        self.max_entries = 0
        self.whole = False
        self.used = False


class Match:
    """One thing that an attach point stands for: full probe name, and what attaching it needs."""

    __slots__ = ("name", "options")

    def __init__(self, name: str, options: dict[str, object]) -> None:
        self.name = name
        self.options = options


class Variant:
    """One probe block for one attach point (or one match of it), with its own types.

    ``kind`` is the probe type; ``args`` the type of the ``args`` builtin (a pointer to a struct),
    or None; ``result`` the type of ``retval`` where BTF knows it. ``types`` maps expression nodes
    to types, ``variables`` the Variable/Let/For nodes to their :class:`VariableInfo`, and
    ``stands_for`` what is only short for another expression to that expression.
    """

    __slots__ = (
        "args", "index", "kind", "matches", "multi", "params", "point", "probe", "result",
        "stands_for",
        "syscalls", "types", "variables",
    )  # fmt: skip

    def __init__(
        self, probe: n.Probe, point: n.AttachPoint, kind: str, matches: Sequence[Match], index: int
    ) -> None:
        self.probe = probe
        self.point = point
        self.kind = kind
        self.matches = list(matches)
        self.index = index
        self.args: Pointer | None = None
        # Whether one link of the kernel ties the program to all matches (of one file).
        self.multi = False
        # Set where one program serves many system calls.
        self.syscalls: SyscallGroup | None = None
        self.params: list[tuple[str, Type]] = []
        self.result: Type | None = None
        self.types: dict[n.Node, Type] = {}
        self.variables: dict[n.Node, VariableInfo] = {}
        self.stands_for: dict[n.Node, n.Node] = {}


class TypedProgram:
    """The result of analysis: variants in declaration order, maps in order of first use."""

    __slots__ = ("maps", "stack_lengths", "tree", "variants")

    def __init__(self, tree: n.Program) -> None:
        self.tree = tree
        self.variants: list[Variant] = []
        self.maps: dict[str, MapState] = {}
        # Whether any len() asks for the number of a stack's frames.
        self.stack_lengths = False


def widen(type: Type) -> Type:
    """Return the type in which a value is kept: an integer by itself takes 8 bytes.

    Inside of a tuple it keeps its size, which makes keys short.
    """
    return Int(8, type.signed) if isinstance(type, Int) else type


def unify(current: Type, new: Type) -> Type | None:
    """Return the type that holds values of both, or None where they do not go together."""
    if current == new:
        # Equal by structure; keep whichever pointer is not trusted, for both must be readable.
        return current
    if isinstance(current, (Int, Enum, Bool)) and isinstance(new, (Int, Enum, Bool)):
        return promote(current, new)
    if isinstance(current, Buffer) and isinstance(new, Buffer):
        return current if current.capacity >= new.capacity else new
    if isinstance(current, String) and isinstance(new, String):
        return current if current.size >= new.size else new
    if isinstance(current, Record) and isinstance(new, Record):
        return _unify_records(current, new)
    if isinstance(current, Tuple) and isinstance(new, Tuple):
        return _unify_tuples(current, new)
    if isinstance(current, Pointer) and isinstance(new, Pointer):
        return _unify_pointers(current, new)
    if isinstance(current, Pointer) and isinstance(new, Int):
        return current
    if isinstance(current, Array) and isinstance(new, Array) and current.size == new.size:
        return current
    if isinstance(current, Struct) and isinstance(new, Struct) and current.tag == new.tag:
        return current
    return None


def _unify_tuples(current: Tuple, new: Tuple) -> Type | None:
    if len(current.items) != len(new.items) or type(current) is not type(new):
        return None
    items = [unify(a, b) for a, b in zip(current.items, new.items, strict=True)]
    if any(item is None for item in items):
        return None
    whole = [item for item in items if item is not None]
    return Tuple(whole)


def _unify_records(current: Record, new: Record) -> Type | None:
    # The order of fields is that of the first record; another order means the same.
    if sorted(current.names) != sorted(new.names):
        return None
    items = []
    for name, item in zip(current.names, current.items, strict=True):
        both = unify(item, new.items[new.names.index(name)])
        if both is None:
            return None
        items.append(both)
    return Record(current.names, items)


def _unify_pointers(current: Pointer, new: Pointer) -> Pointer:
    target = new.target if isinstance(current.target, NoneType) else current.target
    space = current.space if current.space == new.space else ""
    return Pointer(target, space)

"""The syntax tree of a script: one slots class a construct, nothing but shape and place.

Every node has ``start`` and ``end`` (positions, see :mod:`bpflens.lang.source`; ``end`` exclusive).
Types never live on nodes: passes keep them in side tables keyed by the node itself (nodes hash by
identity). Trees are not changed after desugaring. ``__match_args__`` lists the fields in the order
of the constructor, for ``match`` and for generic walks.

Classes are written out by hand because 60 dataclasses would cost forty times as much to import.

Example::

    match node:
        case Binary("+", Integer(a), Integer(b)):
            return Integer(a + b, "", start=node.start, end=node.end)
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TypeAlias

    Item: TypeAlias = "Probe | Macro | Function | MapDecl"
    Expr: TypeAlias = "Node"
    Stmt: TypeAlias = "Node"
    TypeExpr: TypeAlias = "Node"

# fmt: off
__all__ = [
    "ArrayType", "Assign", "AttachPoint", "Binary", "Block", "Boolean", "CDefinition", "Call",
    "Cast", "Comptime", "Config", "ConfigEntry", "Discard", "ExprStmt", "Field", "ForMap",
    "ForRange", "Function", "Identifier", "If", "Import", "IncDec", "Index", "Integer", "Jump",
    "Let", "Macro", "MapAccess", "MapDecl", "MapName", "NamedType", "Node", "Offsetof", "Param",
    "PointerType", "Positional", "Probe", "Program", "Record", "RecordItem", "Return", "Sizeof",
    "String", "Ternary", "Tuple", "TupleItem", "TypeArg", "TypeofType", "Unary", "Unroll",
    "Variable", "While", "walk",
]
# fmt: on


class Node:
    """What all nodes share: a place, their field names, and a readable repr."""

    __slots__ = ("end", "start")
    __match_args__: tuple[str, ...] = ()

    start: int
    end: int

    def __repr__(self) -> str:
        inner = ", ".join(repr(getattr(self, name)) for name in self.__match_args__)
        return f"{type(self).__name__}({inner})"

    def children(self) -> Iterator[Node]:
        """Yield the nodes directly below this one, in source order."""
        for name in self.__match_args__:
            value = getattr(self, name)
            if isinstance(value, Node):
                yield value
            elif isinstance(value, list):
                for item in value:
                    if isinstance(item, Node):
                        yield item


def walk(node: Node) -> Iterator[Node]:
    """Yield a node and everything below it, parents before children."""
    stack = [node]
    while stack:
        current = stack.pop()
        yield current
        stack.extend(reversed(list(current.children())))


# script level


class Program(Node):
    """A whole script; ``items`` are its probes, macros, functions and map declarations."""

    __match_args__ = ("preamble", "config", "imports", "items")
    __slots__ = __match_args__

    def __init__(
        self,
        preamble: list[CDefinition],
        config: Config | None,
        imports: list[Import],
        items: list[Item],
        start: int = 0,
        end: int = 0,
    ) -> None:
        self.preamble = preamble
        self.config = config
        self.imports = imports
        self.items = items
        self.start, self.end = start, end


class CDefinition(Node):
    """One C definition of the preamble, its source in ``text``.

    ``kind`` is ``"include"``, ``"define"``, ``"struct"``, ``"union"``, ``"enum"`` or ``"typedef"``.
    """

    __match_args__ = ("text", "kind", "name")
    __slots__ = __match_args__

    def __init__(self, text: str, kind: str, name: str, start: int = 0, end: int = 0) -> None:
        self.text = text
        self.kind = kind
        self.name = name
        self.start, self.end = start, end


class Config(Node):
    """The ``config = { ... }`` block."""

    __match_args__ = ("entries",)
    __slots__ = __match_args__

    def __init__(self, entries: list[ConfigEntry], start: int = 0, end: int = 0) -> None:
        self.entries = entries
        self.start, self.end = start, end


class ConfigEntry(Node):
    """One ``name = value`` of the config block."""

    __match_args__ = ("name", "value")
    __slots__ = __match_args__

    def __init__(self, name: str, value: Expr, start: int = 0, end: int = 0) -> None:
        self.name = name
        self.value = value
        self.start, self.end = start, end


class Import(Node):
    """``import "path";``, at the root or as a statement."""

    __match_args__ = ("path",)
    __slots__ = __match_args__

    def __init__(self, path: str, start: int = 0, end: int = 0) -> None:
        self.path = path
        self.start, self.end = start, end


class Probe(Node):
    """A probe block. The predicate stays apart until desugaring."""

    __match_args__ = ("attach_points", "predicate", "body")
    __slots__ = __match_args__

    def __init__(
        self,
        attach_points: list[AttachPoint],
        predicate: Expr | None,
        body: Block,
        start: int = 0,
        end: int = 0,
    ) -> None:
        self.attach_points = attach_points
        self.predicate = predicate
        self.body = body
        self.start, self.end = start, end


class AttachPoint(Node):
    """One attach point as written ("kprobe:vfs_*"); ``name`` is the ``name=`` in front, or "".

    Its parts are taken apart later (:mod:`bpflens.lang.attach_point`).
    """

    __match_args__ = ("text", "name")
    __slots__ = __match_args__

    def __init__(self, text: str, name: str, start: int = 0, end: int = 0) -> None:
        self.text = text
        self.name = name
        self.start, self.end = start, end


class Macro(Node):
    """``macro name($v, @m, ident) { ... }``; params are Variable, MapName or Identifier nodes."""

    __match_args__ = ("name", "params", "body")
    __slots__ = __match_args__

    def __init__(
        self,
        name: str,
        params: list[Expr],
        body: Block,
        start: int = 0,
        end: int = 0,
    ) -> None:
        self.name = name
        self.params = params
        self.body = body
        self.start, self.end = start, end


class Function(Node):
    """``fn name($a : type) : type { ... }``."""

    __match_args__ = ("name", "params", "result", "body")
    __slots__ = __match_args__

    def __init__(
        self,
        name: str,
        params: list[Param],
        result: TypeExpr,
        body: Block,
        start: int = 0,
        end: int = 0,
    ) -> None:
        self.name = name
        self.params = params
        self.result = result
        self.body = body
        self.start, self.end = start, end


class Param(Node):
    """One parameter of a function, ``name`` with its ``$``."""

    __match_args__ = ("name", "type")
    __slots__ = __match_args__

    def __init__(self, name: str, type: TypeExpr, start: int = 0, end: int = 0) -> None:
        self.name = name
        self.type = type
        self.start, self.end = start, end


class MapDecl(Node):
    """``let @m = lruhash(100);``."""

    __match_args__ = ("name", "map_type", "max_entries")
    __slots__ = __match_args__

    def __init__(
        self,
        name: str,
        map_type: str,
        max_entries: Expr,
        start: int = 0,
        end: int = 0,
    ) -> None:
        self.name = name
        self.map_type = map_type
        self.max_entries = max_entries
        self.start, self.end = start, end


# statements


class Block(Node):
    """``{ stmts; expr }``: as a statement, a body, or an expression whose value is ``result``."""

    __match_args__ = ("statements", "result")
    __slots__ = __match_args__

    def __init__(
        self,
        statements: list[Stmt],
        result: Expr | None,
        start: int = 0,
        end: int = 0,
    ) -> None:
        self.statements = statements
        self.result = result
        self.start, self.end = start, end


class ExprStmt(Node):
    """An expression used as a statement."""

    __match_args__ = ("expr",)
    __slots__ = __match_args__

    def __init__(self, expr: Expr, start: int = 0, end: int = 0) -> None:
        self.expr = expr
        self.start, self.end = start, end


class Assign(Node):
    """``target = value`` or a compound assignment: ``op`` is ``"="``, ``"+="``...

    The target is a Variable, MapName or MapAccess; anything else is refused later.
    """

    __match_args__ = ("target", "op", "value")
    __slots__ = __match_args__

    def __init__(self, target: Expr, op: str, value: Expr, start: int = 0, end: int = 0) -> None:
        self.target = target
        self.op = op
        self.value = value
        self.start, self.end = start, end


class Let(Node):
    """``let $x [: type] [= value];``."""

    __match_args__ = ("name", "type", "value")
    __slots__ = __match_args__

    def __init__(
        self,
        name: str,
        type: TypeExpr | None,
        value: Expr | None,
        start: int = 0,
        end: int = 0,
    ) -> None:
        self.name = name
        self.type = type
        self.value = value
        self.start, self.end = start, end


class Discard(Node):
    """``_ = expr;``."""

    __match_args__ = ("value",)
    __slots__ = __match_args__

    def __init__(self, value: Expr, start: int = 0, end: int = 0) -> None:
        self.value = value
        self.start, self.end = start, end


class If(Node):
    """``if``, as a statement or as an expression (value = last expression of the block taken)."""

    __match_args__ = ("condition", "then", "otherwise")
    __slots__ = __match_args__

    def __init__(
        self,
        condition: Expr,
        then: Block,
        otherwise: Block | If | None,
        start: int = 0,
        end: int = 0,
    ) -> None:
        self.condition = condition
        self.then = then
        self.otherwise = otherwise
        self.start, self.end = start, end


class While(Node):
    """``while (c) { ... }``."""

    __match_args__ = ("condition", "body")
    __slots__ = __match_args__

    def __init__(self, condition: Expr, body: Block, start: int = 0, end: int = 0) -> None:
        self.condition = condition
        self.body = body
        self.start, self.end = start, end


class ForRange(Node):
    """``for $i : a..b { ... }``; ``first`` inclusive, ``stop`` exclusive."""

    __match_args__ = ("name", "first", "stop", "body")
    __slots__ = __match_args__

    def __init__(
        self,
        name: str,
        first: Expr,
        stop: Expr,
        body: Block,
        start: int = 0,
        end: int = 0,
    ) -> None:
        self.name = name
        self.first = first
        self.stop = stop
        self.body = body
        self.start, self.end = start, end


class ForMap(Node):
    """``for $kv : @map { ... }``."""

    __match_args__ = ("name", "map", "body")
    __slots__ = __match_args__

    def __init__(self, name: str, map: MapName, body: Block, start: int = 0, end: int = 0) -> None:
        self.name = name
        self.map = map
        self.body = body
        self.start, self.end = start, end


class Unroll(Node):
    """``unroll(n) { ... }``."""

    __match_args__ = ("count", "body")
    __slots__ = __match_args__

    def __init__(self, count: Expr, body: Block, start: int = 0, end: int = 0) -> None:
        self.count = count
        self.body = body
        self.start, self.end = start, end


class Return(Node):
    """``return [value];``."""

    __match_args__ = ("value",)
    __slots__ = __match_args__

    def __init__(self, value: Expr | None, start: int = 0, end: int = 0) -> None:
        self.value = value
        self.start, self.end = start, end


class Jump(Node):
    """``break`` or ``continue``."""

    __match_args__ = ("kind",)
    __slots__ = __match_args__

    def __init__(self, kind: str, start: int = 0, end: int = 0) -> None:
        self.kind = kind
        self.start, self.end = start, end


# expressions


class Integer(Node):
    """An integer literal; ``text`` as written ("0x10", "1e3", "5s")."""

    __match_args__ = ("value", "text")
    __slots__ = __match_args__

    def __init__(self, value: int, text: str, start: int = 0, end: int = 0) -> None:
        self.value = value
        self.text = text
        self.start, self.end = start, end


class String(Node):
    """A string literal, escapes replaced."""

    __match_args__ = ("value",)
    __slots__ = __match_args__

    def __init__(self, value: bytes, start: int = 0, end: int = 0) -> None:
        self.value = value
        self.start, self.end = start, end


class Boolean(Node):
    """``true`` or ``false``."""

    __match_args__ = ("value",)
    __slots__ = __match_args__

    def __init__(self, value: bool, start: int = 0, end: int = 0) -> None:
        self.value = value
        self.start, self.end = start, end


class Identifier(Node):
    """A bare word: builtin, macro, enumerator or constant."""

    __match_args__ = ("name",)
    __slots__ = __match_args__

    def __init__(self, name: str, start: int = 0, end: int = 0) -> None:
        self.name = name
        self.start, self.end = start, end


class Variable(Node):
    """``$name`` (name with the ``$``)."""

    __match_args__ = ("name",)
    __slots__ = __match_args__

    def __init__(self, name: str, start: int = 0, end: int = 0) -> None:
        self.name = name
        self.start, self.end = start, end


class MapName(Node):
    """``@name`` used without a key (name with the ``@``)."""

    __match_args__ = ("name",)
    __slots__ = __match_args__

    def __init__(self, name: str, start: int = 0, end: int = 0) -> None:
        self.name = name
        self.start, self.end = start, end


class MapAccess(Node):
    """``@m[k]``; several keys come as one Tuple marked ``implicit``."""

    __match_args__ = ("map", "key")
    __slots__ = __match_args__

    def __init__(self, map: MapName, key: Expr, start: int = 0, end: int = 0) -> None:
        self.map = map
        self.key = key
        self.start, self.end = start, end


class Positional(Node):
    """``$1``; ``$#`` is index 0."""

    __match_args__ = ("index",)
    __slots__ = __match_args__

    def __init__(self, index: int, start: int = 0, end: int = 0) -> None:
        self.index = index
        self.start, self.end = start, end


class Call(Node):
    """``name(args)``; type arguments (``sizeof``-like and macros) come as TypeArg nodes."""

    __match_args__ = ("name", "args")
    __slots__ = __match_args__

    def __init__(self, name: str, args: list[Expr], start: int = 0, end: int = 0) -> None:
        self.name = name
        self.args = args
        self.start, self.end = start, end


class TypeArg(Node):
    """A type where an expression could stand."""

    __match_args__ = ("type",)
    __slots__ = __match_args__

    def __init__(self, type: TypeExpr, start: int = 0, end: int = 0) -> None:
        self.type = type
        self.start, self.end = start, end


class Unary(Node):
    """``- ! ~ * &``."""

    __match_args__ = ("op", "operand")
    __slots__ = __match_args__

    def __init__(self, op: str, operand: Expr, start: int = 0, end: int = 0) -> None:
        self.op = op
        self.operand = operand
        self.start, self.end = start, end


class IncDec(Node):
    """``++`` and ``--``, before or behind."""

    __match_args__ = ("op", "prefix", "target")
    __slots__ = __match_args__

    def __init__(self, op: str, prefix: bool, target: Expr, start: int = 0, end: int = 0) -> None:
        self.op = op
        self.prefix = prefix
        self.target = target
        self.start, self.end = start, end


class Binary(Node):
    """Any two-operand operator, ``&&`` and ``||`` included."""

    __match_args__ = ("op", "left", "right")
    __slots__ = __match_args__

    def __init__(self, op: str, left: Expr, right: Expr, start: int = 0, end: int = 0) -> None:
        self.op = op
        self.left = left
        self.right = right
        self.start, self.end = start, end


class Ternary(Node):
    """``c ? a : b``; ``then`` is None for ``c ?: b``."""

    __match_args__ = ("condition", "then", "otherwise")
    __slots__ = __match_args__

    def __init__(
        self,
        condition: Expr,
        then: Expr | None,
        otherwise: Expr,
        start: int = 0,
        end: int = 0,
    ) -> None:
        self.condition = condition
        self.then = then
        self.otherwise = otherwise
        self.start, self.end = start, end


class Field(Node):
    """``base.name`` or ``base->name``."""

    __match_args__ = ("base", "name")
    __slots__ = __match_args__

    def __init__(self, base: Expr, name: str, start: int = 0, end: int = 0) -> None:
        self.base = base
        self.name = name
        self.start, self.end = start, end


class TupleItem(Node):
    """``base.0``."""

    __match_args__ = ("base", "index")
    __slots__ = __match_args__

    def __init__(self, base: Expr, index: int, start: int = 0, end: int = 0) -> None:
        self.base = base
        self.index = index
        self.start, self.end = start, end


class Index(Node):
    """``base[i]`` on arrays, pointers, strings, tuples."""

    __match_args__ = ("base", "index")
    __slots__ = __match_args__

    def __init__(self, base: Expr, index: Expr, start: int = 0, end: int = 0) -> None:
        self.base = base
        self.index = index
        self.start, self.end = start, end


class Cast(Node):
    """``(type)operand``."""

    __match_args__ = ("type", "operand")
    __slots__ = __match_args__

    def __init__(self, type: TypeExpr, operand: Expr, start: int = 0, end: int = 0) -> None:
        self.type = type
        self.operand = operand
        self.start, self.end = start, end


class Tuple(Node):
    """``(a, b)``; ``implicit`` for the keys of ``@m[a, b]``."""

    __match_args__ = ("items", "implicit")
    __slots__ = __match_args__

    def __init__(self, items: list[Expr], implicit: bool, start: int = 0, end: int = 0) -> None:
        self.items = items
        self.implicit = implicit
        self.start, self.end = start, end


class Record(Node):
    """``(name = value, ...)``."""

    __match_args__ = ("items",)
    __slots__ = __match_args__

    def __init__(self, items: list[RecordItem], start: int = 0, end: int = 0) -> None:
        self.items = items
        self.start, self.end = start, end


class RecordItem(Node):
    """One named value of a record."""

    __match_args__ = ("name", "value")
    __slots__ = __match_args__

    def __init__(self, name: str, value: Expr, start: int = 0, end: int = 0) -> None:
        self.name = name
        self.value = value
        self.start, self.end = start, end


class Sizeof(Node):
    """``sizeof(type or expr)``."""

    __match_args__ = ("operand",)
    __slots__ = __match_args__

    def __init__(self, operand: TypeExpr | Expr, start: int = 0, end: int = 0) -> None:
        self.operand = operand
        self.start, self.end = start, end


class Offsetof(Node):
    """``offsetof(type or expr, field.sub)``."""

    __match_args__ = ("operand", "path")
    __slots__ = __match_args__

    def __init__(
        self,
        operand: TypeExpr | Expr,
        path: list[str],
        start: int = 0,
        end: int = 0,
    ) -> None:
        self.operand = operand
        self.path = path
        self.start, self.end = start, end


class Comptime(Node):
    """``comptime expr``."""

    __match_args__ = ("operand",)
    __slots__ = __match_args__

    def __init__(self, operand: Expr, start: int = 0, end: int = 0) -> None:
        self.operand = operand
        self.start, self.end = start, end


# types as written


class NamedType(Node):
    """``int32``, or with ``tag`` ("struct", "union", "enum") ``struct task_struct``."""

    __match_args__ = ("name", "tag")
    __slots__ = __match_args__

    def __init__(self, name: str, tag: str, start: int = 0, end: int = 0) -> None:
        self.name = name
        self.tag = tag
        self.start, self.end = start, end


class PointerType(Node):
    """``T *``."""

    __match_args__ = ("target",)
    __slots__ = __match_args__

    def __init__(self, target: TypeExpr, start: int = 0, end: int = 0) -> None:
        self.target = target
        self.start, self.end = start, end


class ArrayType(Node):
    """``T[N]``; also ``string[N]`` and ``buffer[N]``."""

    __match_args__ = ("element", "length")
    __slots__ = __match_args__

    def __init__(
        self, element: TypeExpr, length: Expr | None, start: int = 0, end: int = 0
    ) -> None:
        self.element = element
        self.length = length
        self.start, self.end = start, end


class TypeofType(Node):
    """``typeof(x)``; ``typeinfo`` for ``typeinfo(x)``."""

    __match_args__ = ("operand", "typeinfo")
    __slots__ = __match_args__

    def __init__(
        self,
        operand: TypeExpr | Expr,
        typeinfo: bool,
        start: int = 0,
        end: int = 0,
    ) -> None:
        self.operand = operand
        self.typeinfo = typeinfo
        self.start, self.end = start, end

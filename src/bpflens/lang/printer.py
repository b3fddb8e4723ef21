"""Syntax trees as text: an indented tree for people who debug, and source text again.

:func:`dump` shows every node and field (``-d ast``). :func:`unparse` writes the tree as a script
that parses to the same tree, with no more parentheses than that takes; comments and layout of the
original are gone. Messages use it to name an expression.

Example::

    unparse(Binary("*", Binary("+", Integer(1, "1"), Integer(2, "2")), Identifier("pid")))
    # '(1 + 2) * pid'
"""

from __future__ import annotations

from bpflens.lang import nodes as n
from bpflens.lang.recursion import roomy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from bpflens.lang.nodes import Node

__all__ = ["dump", "quote", "unparse"]

_INDENT = "  "
# Binding strength: comma-free contexts take anything, operands of unary operators almost nothing.
_TERNARY, _UNARY, _POSTFIX = 0, 11, 12
_PRECEDENCE = {
    op: level
    for level, ops in enumerate(
        ("||", "&&", "|", "^", "&", "== !=", "< <= > >=", "<< >>", "+ -", "* / %"), 1
    )
    for op in ops.split()
}
_ESCAPES = {0x0A: "\\n", 0x09: "\\t", 0x0D: "\\r", 0x22: '\\"', 0x5C: "\\\\"}


def dump(node: Node, note: Callable[[Node], str] | None = None) -> str:
    """Return a tree as indented lines; ``note`` may add something to the line of a node."""
    return roomy(lambda: "".join(f"{line}\n" for line in _dump(node, "", "", note)))


def unparse(node: Node, indent: str = "") -> str:
    """Return the source text of any node."""
    return roomy(lambda: _text(node, indent))


def quote(value: bytes) -> str:
    """Return bytes as a string literal."""
    text = value.decode("utf-8", "surrogateescape")
    pieces = []
    for char in text:
        code = ord(char)
        if code in _ESCAPES:
            pieces.append(_ESCAPES[code])
        elif 0xDC80 <= code <= 0xDCFF:
            pieces.append(f"\\x{code - 0xDC00:02x}")
        elif code < 0x20 or code == 0x7F:
            pieces.append(f"\\{code:03o}")
        else:
            pieces.append(char)
    return '"' + "".join(pieces) + '"'


def _text(node: Node, indent: str = "") -> str:
    return _WRITERS[type(node)](node, indent)


def _dump(node: Node, indent: str, label: str, note: Callable[[Node], str] | None) -> Iterator[str]:
    fields = [(name, getattr(node, name)) for name in node.__match_args__]
    words = [type(node).__name__]
    words += [_scalar(value) for _, value in fields if not isinstance(value, n.Node | list | None)]
    yield f"{indent}{label}{' '.join(words)}{note(node) if note else ''}"
    for name, value in fields:
        if isinstance(value, n.Node):
            yield from _dump(value, indent + _INDENT, f"{name}: ", note)
        elif isinstance(value, list) and value and isinstance(value[0], n.Node):
            yield f"{indent}{_INDENT}{name}"
            for item in value:
                yield from _dump(item, indent + 2 * _INDENT, "", note)
        elif isinstance(value, list) and value:
            yield f"{indent}{_INDENT}{name}: {'.'.join(value)}"


def _scalar(value: object) -> str:
    if isinstance(value, bytes):
        return quote(value)
    return repr(value) if isinstance(value, str) else str(value).lower()


# One writer a node. Each takes the node and the indentation of the line that it begins on.


def _at(node: Node, strength: int, indent: str) -> str:
    # An operand, in parentheses where it binds less than its place demands.
    text = _text(node, indent)
    return f"({text})" if _strength(node) < strength else text


def _strength(node: Node) -> int:
    match node:
        case n.Ternary():
            return _TERNARY
        case n.Binary(op):
            return _PRECEDENCE[op]
        case n.Unary() | n.Cast() | n.Comptime() | n.If() | n.Block():
            return _UNARY
        case n.IncDec(_, prefix):
            return _UNARY if prefix else _POSTFIX
    return _POSTFIX


def _list(nodes: Sequence[Node], indent: str) -> str:
    return ", ".join(_text(item, indent) for item in nodes)


def _binary(node: n.Binary, indent: str) -> str:
    strength = _PRECEDENCE[node.op]
    left, right = _at(node.left, strength, indent), _at(node.right, strength + 1, indent)
    if node.op == "/" and right.startswith("{"):
        right = f"({right})"
    return f"{left} {node.op} {right}"


def _unary(node: n.Unary, indent: str) -> str:
    operand = _at(node.operand, _UNARY, indent)
    # "- -x" and "& &x" must not run together.
    return f"{node.op}{' ' if operand[0] in '+-&' else ''}{operand}"


def _incdec(node: n.IncDec, indent: str) -> str:
    target = _text(node.target, indent)
    return f"{node.op}{target}" if node.prefix else f"{target}{node.op}"


def _ternary(node: n.Ternary, indent: str) -> str:
    then = "" if node.then is None else " " + _text(node.then, indent) + " "
    otherwise = _text(node.otherwise, indent)
    return f"{_at(node.condition, 1, indent)} ?{then}: {otherwise}"


def _cast(node: n.Cast, indent: str) -> str:
    operand = _at(node.operand, _UNARY, indent)
    # A block, an if or comptime would not be taken for an operand.
    if isinstance(node.operand, n.Block):
        operand = f"({operand})"
    return f"({_text(node.type)}){operand}"


def _map_access(node: n.MapAccess, indent: str) -> str:
    key = node.key
    if isinstance(key, n.Tuple) and key.implicit:
        return f"{node.map.name}[{_list(key.items, indent)}]"
    return f"{node.map.name}[{_text(key, indent)}]"


def _tuple(node: n.Tuple, indent: str) -> str:
    return f"({_list(node.items, indent)}{',' if len(node.items) == 1 else ''})"


def _if(node: n.If, indent: str) -> str:
    text = f"if ({_text(node.condition, indent)}) {_block(node.then, indent)}"
    if node.otherwise is not None:
        text += f" else {_text(node.otherwise, indent)}"
    return text


def _block(node: n.Block, indent: str) -> str:
    inner = indent + _INDENT
    lines = [f"{inner}{_statement(item, inner)}\n" for item in node.statements]
    if node.result is not None:
        lines.append(f"{inner}{_text(node.result, inner)}\n")
    return "{\n" + "".join(lines) + indent + "}" if lines else "{ }"


def _statement(node: Node, indent: str) -> str:
    text = _text(node, indent)
    blocks = n.If | n.Block | n.While | n.ForMap | n.ForRange | n.Unroll
    return text if isinstance(node, blocks) else text + ";"


def _let(node: n.Let, indent: str) -> str:
    text = f"let {node.name}"
    if node.type is not None:
        text += f" : {_text(node.type)}"
    return text if node.value is None else f"{text} = {_text(node.value, indent)}"


def _program(node: n.Program, indent: str) -> str:
    parts = [_text(item) for item in node.preamble]
    if node.config is not None:
        parts.append(_text(node.config))
    parts += [_text(item) + ";" for item in node.imports]
    parts += [_text(item) for item in node.items]
    return "\n\n".join(parts) + "\n" if parts else ""


def _config(node: n.Config, indent: str) -> str:
    entries = "".join(f"{_INDENT}{_text(entry)};\n" for entry in node.entries)
    return "config = {\n" + entries + "}"


def _probe(node: n.Probe, indent: str) -> str:
    points = ",\n".join(_text(point) for point in node.attach_points)
    if node.predicate is not None:
        points += f"\n/{_text(node.predicate)}/"
    return f"{points}\n{_block(node.body, indent)}"


def _function(node: n.Function, indent: str) -> str:
    params = _list(node.params, indent)
    return f"fn {node.name}({params}) : {_text(node.result)} {_block(node.body, indent)}"


def _for_range(node: n.ForRange, indent: str) -> str:
    bounds = f"{_at(node.first, 1, indent)}..{_at(node.stop, 1, indent)}"
    return f"for ({node.name} : {bounds}) {_block(node.body, indent)}"


def _named_type(node: n.NamedType, indent: str) -> str:
    return f"{node.tag} {node.name}" if node.tag else node.name


def _array_type(node: n.ArrayType, indent: str) -> str:
    length = "" if node.length is None else _text(node.length)
    return f"{_text(node.element)}[{length}]"


def _index(node: n.Index, indent: str) -> str:
    base = _at(node.base, _POSTFIX, indent)
    # "@m[1]" would be an element of the map, not of its value.
    base = f"({base})" if isinstance(node.base, n.MapName) else base
    return f"{base}[{_text(node.index, indent)}]"


def _operand(node: Node, indent: str) -> str:
    # "x[0]" alone would be read as a type.
    text = _text(node, indent)
    return f"({text})" if isinstance(node, n.Index) else text


def _attach_point(node: n.AttachPoint, indent: str) -> str:
    return f"{node.name}={node.text}" if node.name else node.text


def _import(node: n.Import, indent: str) -> str:
    return f"import {quote(node.path.encode('utf-8', 'surrogateescape'))}"


_WRITERS: dict[type, Callable[[Any, str], str]] = {
    n.ArrayType: _array_type,
    n.Assign: lambda s, i: f"{_text(s.target, i)} {s.op} {_text(s.value, i)}",
    n.AttachPoint: _attach_point,
    n.Binary: _binary,
    n.Block: _block,
    n.Boolean: lambda s, i: "true" if s.value else "false",
    n.CDefinition: lambda s, i: s.text if s.text.startswith("#") else f"{s.text};",
    n.Call: lambda s, i: f"{s.name}({_list(s.args, i)})",
    n.Cast: _cast,
    n.Comptime: lambda s, i: f"comptime {_at(s.operand, _UNARY, i)}",
    n.Config: _config,
    n.ConfigEntry: lambda s, i: f"{s.name} = {_text(s.value)}",
    n.Discard: lambda s, i: f"_ = {_text(s.value, i)}",
    n.ExprStmt: lambda s, i: _text(s.expr, i),
    n.Field: lambda s, i: f"{_at(s.base, _POSTFIX, i)}.{s.name}",
    n.ForMap: lambda s, i: f"for ({s.name} : {s.map.name}) {_block(s.body, i)}",
    n.ForRange: _for_range,
    n.Function: _function,
    n.Identifier: lambda s, i: s.name,
    n.If: _if,
    n.Import: _import,
    n.IncDec: _incdec,
    n.Index: _index,
    n.Integer: lambda s, i: s.text or str(s.value),
    n.Jump: lambda s, i: s.kind,
    n.Let: _let,
    n.Macro: lambda s, i: f"macro {s.name}({_list(s.params, i)}) {_block(s.body, i)}",
    n.MapAccess: _map_access,
    n.MapDecl: lambda s, i: f"let {s.name} = {s.map_type}({_text(s.max_entries)});",
    n.MapName: lambda s, i: s.name,
    n.NamedType: _named_type,
    n.Offsetof: lambda s, i: f"offsetof({_operand(s.operand, i)}, {'.'.join(s.path)})",
    n.Param: lambda s, i: f"{s.name} : {_text(s.type)}",
    n.PointerType: lambda s, i: f"{_text(s.target)} *".replace("* *", "**"),
    n.Positional: lambda s, i: f"${s.index or '#'}",
    n.Probe: _probe,
    n.Program: _program,
    n.Record: lambda s, i: f"({_list(s.items, i)})",
    n.RecordItem: lambda s, i: f"{s.name} = {_text(s.value, i)}",
    n.Return: lambda s, i: f"return {_text(s.value, i)}" if s.value else "return",
    n.Sizeof: lambda s, i: f"sizeof({_operand(s.operand, i)})",
    n.String: lambda s, i: quote(s.value),
    n.Ternary: _ternary,
    n.Tuple: _tuple,
    n.TupleItem: lambda s, i: f"{_at(s.base, _POSTFIX, i)}.{s.index}",
    n.TypeArg: lambda s, i: _text(s.type),
    n.TypeofType: lambda s, i: (
        f"{'typeinfo' if s.typeinfo else 'typeof'}({_operand(s.operand, i)})"
    ),
    n.Unary: _unary,
    n.Unroll: lambda s, i: f"unroll ({_text(s.count, i)}) {_block(s.body, i)}",
    n.Variable: lambda s, i: s.name,
    n.While: lambda s, i: f"while ({_text(s.condition, i)}) {_block(s.body, i)}",
}

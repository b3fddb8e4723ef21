"""C++ names: the tree of :mod:`bpflens.symbols.itanium` → text, spelled as c++filt spells it.

A type is printed in two parts, left and right of what it declares, because C++ writes
``void (*name)(int)``. A pack of template arguments prints all of its members, or one of them while
an expansion walks over it.

Example::

    text(parse("_ZN3foo3barEi"))     # 'foo::bar(int)'
"""

from __future__ import annotations

from bpflens.symbols.itanium import template_arguments

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bpflens.symbols.itanium import Node

    Arguments = tuple[list[Node], "Arguments"] | None

__all__ = ["text"]

_MAX_LENGTH = 1 << 16
_SUFFIX = {"int": "", "unsigned int": "u", "long": "l", "unsigned long": "ul", "long long": "ll",
           "unsigned long long": "ull"}  # fmt: skip
_SIMPLE = ("name", "nested", "list")


def text(tree: Node) -> str:
    """Return the text of a tree; OverflowError when it would be absurdly long."""
    return _Printer().whole(tree)


class _Printer:
    __slots__ = ("arguments", "in_lambda", "index", "written")

    def __init__(self) -> None:
        # What template parameters mean here: (arguments, what they mean one level out).
        self.arguments: Arguments = None
        # Which member of a pack an expansion is at.
        self.index = 0
        self.in_lambda = 0
        self.written = 0

    def whole(self, node: Node) -> str:
        left, right = self.parts(node)
        return left + right

    def parts(self, node: Node) -> tuple[str, str]:
        found = _PARTS[node[0]](self, node)
        if isinstance(found, str):
            found = found, ""
        # A tree is a graph: substitutions may double the text at every step.
        self.written += len(found[0]) + len(found[1])
        if self.written > 64 * _MAX_LENGTH or len(found[0]) > _MAX_LENGTH:
            raise OverflowError
        return found

    def joined(self, nodes: Sequence[Node]) -> str:
        # An empty pack leaves no comma behind.
        return ", ".join(text for text in map(self.whole, nodes) if text)

    # ---- names ----

    def name(self, node: Node) -> str:
        return str(node[1])

    def nested(self, node: Node) -> str:
        return f"{self.whole(node[1])}::{self.whole(node[2])}"

    def template(self, node: Node) -> str:
        arguments = self.joined(node[2])
        name = self.whole(node[1])
        opening = " <" if name.endswith("<") else "<"
        # c++filt parts two ">" by a space, but forgets it where an empty pack stood between.
        closing = " >" if arguments.endswith(">") and self.whole(node[2][-1]) else ">"
        return f"{name}{opening}{arguments}{closing}"

    def member(self, node: Node) -> str:
        return self.whole(node[1]) + str(node[2])

    def structor(self, node: Node) -> str:
        return str(node[2]) + self.whole(node[1])

    def default(self, node: Node) -> str:
        return f"{{default arg#{node[1] + 1}}}"

    def tagged(self, node: Node) -> str:
        return f"{self.whole(node[1])}[abi:{node[2]}]"

    def binding(self, node: Node) -> str:
        return f"[{self.joined(node[1])}]"

    def lambda_(self, node: Node) -> str:
        self.in_lambda += 1
        parameters = self.joined(node[1])
        self.in_lambda -= 1
        return f"{{lambda({parameters})#{node[2]}}}"

    def operator(self, node: Node) -> str:
        name = str(node[1])
        return f"operator{' ' if name[0].isalpha() else ''}{name}"

    def conversion(self, node: Node) -> str:
        return f"operator {self.whole(node[1])}"

    def literal_operator(self, node: Node) -> str:
        return f'operator"" {self.whole(node[1])}'

    # ---- encodings ----

    def encoding(self, node: Node) -> tuple[str, str]:
        _, name, result, parameters, quals, constraint = node
        outer = self.arguments
        arguments = template_arguments(name)
        if arguments is not None:
            self.arguments = (arguments, outer)
        right = f"({self.joined(parameters)}){quals}"
        left = self.whole(name)
        if result is not None:
            result_left, result_right = self.parts(result)
            space = "" if result_left.endswith((" ", "(*", "(&")) else " "
            left = f"{result_left}{space}{left}"
            right += result_right
        if constraint is not None:
            right += f" requires {self.whole(constraint)}"
        self.arguments = outer
        return left + right, ""

    def local(self, node: Node) -> str:
        function = node[1]
        if function[0] == "encoding":
            # The result of an enclosing function is left out.
            function = (*function[:2], None, *function[3:])
        return f"{self.whole(function)}::{self.whole(node[2])}"

    def special(self, node: Node) -> str:
        return str(node[1]) + self.whole(node[2])

    def construction(self, node: Node) -> str:
        return f"construction vtable for {self.whole(node[1])}-in-{self.whole(node[2])}"

    # ---- types ----

    def qual(self, node: Node) -> tuple[str, str]:
        left, right = self.parts(node[1])
        quals = str(node[2])
        inner = self.resolved(node[1])
        if inner[0] == "array":
            return left.rstrip(" ") + quals + " ", right
        if inner[0] == "pointer" and inner[2] != "*":
            # References are not qualified; through a template parameter it may look so.
            quals = quals.replace(" const", "").replace(" volatile", "")
        if inner[0] == "qual" and inner[2] == quals:
            return left, right
        return left + quals, right

    def argument(self, node: Node) -> Node | None:
        # What a template parameter stands for; a pack if it is one and ``whole``.
        if self.arguments is None or self.in_lambda:
            return None
        arguments, _ = self.arguments
        return arguments[node[1]] if node[1] < len(arguments) else None

    def resolved(self, node: Node) -> Node:
        # The node behind template parameters, to see of what kind it is.
        levels = self.arguments
        while node[0] == "parameter" and levels is not None and not self.in_lambda:
            arguments, levels = levels
            if node[1] >= len(arguments):
                break
            node = arguments[node[1]]
            if node[0] == "pack":
                if self.index >= len(node[1]):
                    break
                node = node[1][self.index]
        return node

    def parameter(self, node: Node) -> tuple[str, str]:
        found = self.argument(node)
        if found is None or self.arguments is None:
            return (f"auto:{node[1] + 1}" if self.in_lambda else f"T{node[1]}"), ""
        if found[0] == "pack":
            if self.index >= len(found[1]):
                return "", ""
            found = found[1][self.index]
        # An argument was written outside of the template: its parameters are those of there.
        inner = self.arguments
        self.arguments = inner[1]
        parts = self.parts(found)
        self.arguments = inner
        return parts

    def pointer(self, node: Node) -> tuple[str, str]:
        _, target, mark = node
        target = self.resolved(target)
        if mark != "*" and target[0] == "pointer" and target[2] != "*":
            # Reference collapsing: only && to && stays &&.
            mark = "&&" if mark == target[2] == "&&" else "&"
            target = self.resolved(target[1])
        left, right = self.parts(target)
        bare = target
        while bare[0] == "qual":
            bare = self.resolved(bare[1])
        if bare[0] == "function":
            return f"{left}({mark}", f"){right}"
        if bare[0] == "array":
            return f"{left}({mark}", f") {right}"
        return left + mark, right

    def member_pointer(self, node: Node) -> tuple[str, str]:
        target = self.resolved(node[2])
        left, right = self.parts(target)
        owner = self.whole(node[1])
        if target[0] == "function":
            return f"{left}({owner}::*", f"){right}"
        if target[0] == "array":
            return f"{left}({owner}::*", f") {right}"
        return f"{left} {owner}::*", right

    def function(self, node: Node) -> tuple[str, str]:
        _, result, parameters, quals, throws = node
        left, right = self.parts(result)
        space = "" if left.endswith((" ", "(*", "(&")) else " "
        after = self.whole(throws) if throws else ""
        return f"{left}{space}", f"({self.joined(parameters)}){quals}{after}{right}"

    def noexcept(self, node: Node) -> str:
        return f" noexcept({self.whole(node[1])})"

    def throw(self, node: Node) -> str:
        return f" throw({self.joined(node[1])})"

    def array(self, node: Node) -> tuple[str, str]:
        left, right = self.parts(node[1])
        if not left.endswith(" "):
            left += " "
        return left, f"[{self.whole(node[2])}]{right}"

    def vector(self, node: Node) -> str:
        return f"{self.whole(node[1])} __vector({self.whole(node[2])})"

    def vendor(self, node: Node) -> str:
        return f"{self.whole(node[1])} {self.whole(node[2])}"

    def bits(self, node: Node) -> str:
        return f"{node[2]}({self.whole(node[1])})"

    def decltype(self, node: Node) -> str:
        return f"decltype ({self.whole(node[1])})"

    def pack(self, node: Node) -> str:
        return self.joined(node[1])

    def expansion(self, node: Node) -> str:
        size = self.pack_size(node[1], 0)
        if size is None:
            return self.whole(node[1]) + "..."
        outer = self.index
        found = []
        for self.index in range(size):
            found.append(self.whole(node[1]))
        self.index = outer
        return ", ".join(text for text in found if text)

    def pack_size(self, node: object, depth: int) -> int | None:
        # How many members the first pack has that a pattern mentions.
        if depth > 100:
            return None
        if isinstance(node, tuple):
            if node[0] == "parameter":
                found = self.argument(node)
                return len(found[1]) if found is not None and found[0] == "pack" else None
            if node[0] in ("expansion", "builtin", "name", "lambda"):
                return None
        elif not isinstance(node, list):
            return None
        for child in node:
            size = self.pack_size(child, depth + 1)
            if size is not None:
                return size
        return None

    # ---- expressions ----

    def literal(self, node: Node) -> str:
        type_ = node[1]
        value = str(node[2])
        name = type_[1] if type_[0] == "builtin" else None
        if name in _SUFFIX:
            return value + _SUFFIX[name]
        if name == "bool" and value in ("0", "1"):
            return "true" if value == "1" else "false"
        if name == "decltype(nullptr)":
            return f"({name}){value or '0'}"
        if name in ("float", "double", "long double"):
            return f"({name})[{value}]"
        return f"({self.whole(type_)}){value}"

    def operand(self, node: Node) -> str:
        whole = self.whole(node)
        return whole if self.resolved(node)[0] in _SIMPLE else f"({whole})"

    def unary(self, node: Node) -> str:
        _, name, operand, code = node
        if code == "ad":
            function = operand
            if function[0] == "encoding" and function[1][0] == "nested" and not function[4]:
                return f"&{self.whole(function[1])}"
        if code in ("sP", "sZ"):
            size = len(operand[1]) if code == "sP" else self.pack_size(operand, 0)
            if size is not None:
                return str(size)
        if code in ("st", "sz", "at", "az", "te", "ti", "nx"):
            return f"{name}({self.whole(operand)})"
        return f"{name}{self.operand(operand)}"

    def postfix(self, node: Node) -> str:
        return f"{self.operand(node[2])}{node[1]}"

    def binary(self, node: Node) -> str:
        _, name, first, second = node
        if name == "[]":
            return f"{self.operand(first)}[{self.whole(second)}]"
        if name == "()":
            return f"{self.operand(first)}({self.whole(second)})"
        found = f"{self.operand(first)}{name}{self.operand(second)}"
        return f"({found})" if name == ">" else found

    def ternary(self, node: Node) -> str:
        first, second, third = map(self.operand, node[1:])
        return f"{first}?{second} : {third}"

    def access(self, node: Node) -> str:
        return f"{self.operand(node[1])}{node[2]}{self.whole(node[3])}"

    def call(self, node: Node) -> str:
        called = node[1]
        if called[0] == "encoding":
            called = called[1]
        return f"{self.operand(called)}({self.joined(node[2])})"

    def cast(self, node: Node) -> str:
        if len(node[2]) == 1:
            return f"({self.whole(node[1])}){self.operand(node[2][0])}"
        return f"({self.whole(node[1])})({self.joined(node[2])})"

    def named_cast(self, node: Node) -> str:
        return f"{node[1]}<{self.whole(node[2])}>({self.whole(node[3])})"

    def list_(self, node: Node) -> str:
        type_ = self.whole(node[1]) if node[1] else ""
        return f"{type_}{{{self.joined(node[2])}}}"

    def new(self, node: Node) -> str:
        _, name, placement, type_, values = node
        before = f"({self.joined(placement)}) " if placement else ""
        after = f"({self.joined(values)})" if values else ""
        return f"{name} {before}{self.whole(type_)}{after}"

    def fold(self, node: Node) -> str:
        _, code, name, first, second = node
        if code == "fl":
            return f"(...{name}{self.operand(first)})"
        if code == "fr":
            return f"({self.operand(first)}{name}...)"
        return f"({self.operand(first)}{name}...{name}{self.operand(second)})"


_PARTS: dict[str, Callable[[_Printer, Node], str | tuple[str, str]]] = {
    "name": _Printer.name,
    "builtin": _Printer.name,
    "standard": _Printer.name,
    "nested": _Printer.nested,
    "template": _Printer.template,
    "member": _Printer.member,
    "structor": _Printer.structor,
    "default": _Printer.default,
    "tagged": _Printer.tagged,
    "binding": _Printer.binding,
    "lambda": _Printer.lambda_,
    "operator": _Printer.operator,
    "conversion": _Printer.conversion,
    "literal operator": _Printer.literal_operator,
    "encoding": _Printer.encoding,
    "local": _Printer.local,
    "special": _Printer.special,
    "construction": _Printer.construction,
    "qual": _Printer.qual,
    "pointer": _Printer.pointer,
    "member pointer": _Printer.member_pointer,
    "function": _Printer.function,
    "noexcept": _Printer.noexcept,
    "throw": _Printer.throw,
    "array": _Printer.array,
    "vector": _Printer.vector,
    "vendor": _Printer.vendor,
    "bits": _Printer.bits,
    "decltype": _Printer.decltype,
    "parameter": _Printer.parameter,
    "pack": _Printer.pack,
    "expansion": _Printer.expansion,
    "literal": _Printer.literal,
    "unary": _Printer.unary,
    "postfix": _Printer.postfix,
    "binary": _Printer.binary,
    "ternary": _Printer.ternary,
    "access": _Printer.access,
    "call": _Printer.call,
    "cast": _Printer.cast,
    "named cast": _Printer.named_cast,
    "list": _Printer.list_,
    "new": _Printer.new,
    "fold": _Printer.fold,
}

"""C++ names (Itanium ABI): mangled text → a tree of tuples.

A recursive-descent parser of the grammar in "Itanium C++ ABI", section 5.1. A node is a tuple whose
first item is its kind; :mod:`bpflens.symbols.itanium_text` turns the tree into text. Template
parameters stay numbers in the tree: the same piece of it (a substitution) may mean another argument
where it is used again.

Invariants: :func:`parse` returns a tree for a whole name or raises :class:`Unknown`; it takes time
linear in the name for the nodes it makes, and nesting is limited.

Example::

    parse("_ZN3foo3barEi")   # ('encoding', ('nested', ('name', 'foo'), ('name', 'bar')), None, ...)
"""

from __future__ import annotations

from bpflens.symbols.itanium_codes import (
    BUILTIN,
    BUILTIN_D,
    OPERATORS,
    SPECIAL,
    STANDARD,
    STANDARD_FULL,
    TYPE_OPERAND,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Node = tuple[Any, ...]

__all__ = ["Unknown", "parse", "template_arguments"]

_MAX_DEPTH = 200


class Unknown(Exception):
    """The name is not of this grammar, or uses a part of it that is not known here."""


def parse(name: str) -> Node:
    """Return the tree of a name that starts with ``_Z``; raise Unknown."""
    if not name.startswith("_Z"):
        raise Unknown(name)
    parser = _Parser(name)
    parser.place = 2
    try:
        tree = parser.encoding(True)
    except (IndexError, RecursionError):
        raise Unknown(name) from None
    if parser.place != len(name):
        raise Unknown(name)
    return tree


class _Parser:
    __slots__ = ("depth", "in_conversion", "place", "seen", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.place = 0
        self.depth = 0
        # In "operator T_", arguments that follow are those of the operator, not of T_.
        self.in_conversion = False
        # What S_, S0_ ... refer to.
        self.seen: list[Node] = []

    # ---- characters ----

    def peek(self, length: int = 1) -> str:
        return self.text[self.place : self.place + length]

    def take(self, expected: str) -> bool:
        if self.text.startswith(expected, self.place):
            self.place += len(expected)
            return True
        return False

    def need(self, expected: str) -> None:
        if not self.take(expected):
            raise Unknown(self.text)

    def next(self) -> str:
        character = self.text[self.place]
        self.place += 1
        return character

    def number(self) -> int:
        start = self.place
        while self.peek().isdecimal():
            self.place += 1
        if start == self.place:
            raise Unknown(self.text)
        return int(self.text[start : self.place])

    def sequence(self, base: int = 36) -> int:
        # "_" is 0, "0_" is 1, and so on.
        start = self.place
        while self.peek() != "_":
            if not self.peek().isalnum():
                raise Unknown(self.text)
            self.place += 1
        digits = self.text[start : self.place]
        self.place += 1
        try:
            return int(digits, base) + 1 if digits else 0
        except ValueError:
            raise Unknown(self.text) from None

    def discriminator(self) -> None:
        if self.take("__"):
            self.number()
            self.need("_")
        elif self.take("_"):
            self.next()

    # ---- encodings ----

    def encoding(self, top: bool = False) -> Node:
        if self.peek() in ("T", "G") and self.peek(2) != "Ts":
            return self.special()
        name = self.name()
        if self.peek() in ("", "E", ".") or (not top and self.peek() == "_"):
            return name
        quals, plain = _take_quals(name)
        result = None
        if template_arguments(plain) is not None and not _has_no_result(plain):
            result = self.type()
        parameters = self.parameters()
        return ("encoding", plain, result, parameters, quals, self.constraint())

    def constraint(self) -> Node | None:
        return self.expression() if self.take("Q") else None

    def parameters(self) -> list[Node]:
        found = []
        while self.peek() not in ("", "E", ".", "Q") and not self.text.startswith("_", self.place):
            if self.peek(2) in ("RE", "OE"):
                break
            found.append(self.type())
        if found == [("builtin", "void")]:
            return []
        return found

    def special(self) -> Node:
        code = self.next() + self.next()
        if code[0] == "T" and code[1] in SPECIAL:
            if code == "TA":
                return ("special", SPECIAL["A"], self.template_argument())
            return ("special", SPECIAL[code[1]], self.type())
        if code in ("Th", "Tv"):
            self.call_offset(code[1])
            kind = "non-virtual thunk to " if code == "Th" else "virtual thunk to "
            return ("special", kind, self.encoding())
        if code == "Tc":
            self.call_offset(self.next())
            self.call_offset(self.next())
            return ("special", "covariant return thunk to ", self.encoding())
        if code == "TC":
            derived = self.type()
            self.number()
            self.need("_")
            return ("construction", self.type(), derived)
        if code == "TH":
            return ("special", "TLS init function for ", self.encoding())
        if code == "TW":
            return ("special", "TLS wrapper function for ", self.encoding())
        if code == "GV":
            return ("special", "guard variable for ", self.name())
        if code == "GR":
            name = self.name()
            return ("special", f"reference temporary #{self.sequence()} for ", name)
        if code == "GA":
            return ("special", "hidden alias for ", self.encoding())
        if code == "GT":
            kind = "non-transaction clone for " if self.next() == "n" else "transaction clone for "
            return ("special", kind, self.encoding())
        raise Unknown(self.text)

    def call_offset(self, kind: str) -> None:
        for _ in range(1 if kind == "h" else 2):
            self.take("n")
            self.number()
            self.need("_")

    # ---- names ----

    def name(self) -> Node:
        first = self.peek()
        if first == "N":
            return self.nested()
        if first == "Z":
            return self.local()
        if first == "S" and self.peek(2) != "St":
            found = self.substitution()
            if self.peek() != "I":
                raise Unknown(self.text)
            return ("template", found, self.template_arguments())
        if self.take("St"):
            name: Node = ("nested", ("name", "std"), self.unqualified())
        else:
            name = self.unqualified()
        if self.peek() == "I":
            self.seen.append(name)
            name = ("template", name, self.template_arguments())
        return name

    def nested(self) -> Node:
        self.need("N")
        quals = self.qualifiers()
        if self.take("R"):
            quals += " &"
        elif self.take("O"):
            quals += " &&"
        if self.take("H"):
            # C++23: an explicit object parameter has no other mark in the text.
            quals = ""
        scope = self.prefix()
        return ("member", scope, quals) if quals else scope

    def prefix(self) -> Node:
        scope: Node | None = None
        while not self.take("E"):
            first = self.peek()
            add = True
            if first == "S":
                if self.take("St"):
                    found: Node = ("name", "std")
                    add = False
                else:
                    found = self.substitution()
                    add = False
                if scope is not None:
                    raise Unknown(self.text)
                scope = found
            elif first == "I":
                if scope is None:
                    raise Unknown(self.text)
                scope = ("template", scope, self.template_arguments())
            elif first == "T" and scope is None:
                scope = self.template_parameter()
            elif first == "D" and self.peek(2) in ("Dt", "DT") and scope is None:
                scope = self.decltype()
            elif first == "M":
                # A data member whose initialiser holds a lambda.
                self.place += 1
                add = False
            else:
                name = self.unqualified(scope)
                scope = name if scope is None else ("nested", scope, name)
            if add and self.peek() != "E":
                assert scope is not None
                self.seen.append(scope)
        if scope is None:
            raise Unknown(self.text)
        return scope

    def local(self) -> Node:
        self.need("Z")
        function = self.encoding()
        self.need("E")
        if self.take("s"):
            self.discriminator()
            return ("nested", function, ("name", "string literal"))
        if self.take("d"):
            number = self.sequence(10)
            return ("nested", ("nested", function, ("default", number)), self.name())
        entity = self.name()
        self.discriminator()
        quals, entity = _take_quals(entity)
        whole: Node = ("local", function, entity)
        return ("member", whole, quals) if quals else whole

    def unqualified(self, scope: Node | None = None) -> Node:
        first = self.peek()
        if first.isdecimal():
            name = self.source_name()
        elif first == "L":
            # A name with internal linkage.
            self.place += 1
            name = self.source_name()
            self.discriminator()
        elif first == "U":
            name = self.unnamed()
        elif first in ("C", "D") and self.peek(2) not in ("DC",):
            name = self.structor(scope)
        elif self.take("DC"):
            bound = []
            while not self.take("E"):
                bound.append(self.source_name())
            name = ("binding", bound)
        else:
            name = self.operator_name()
        while self.take("B"):
            name = ("tagged", name, self.source_name()[1])
        return name

    def source_name(self) -> Node:
        length = self.number()
        text = self.text[self.place : self.place + length]
        if len(text) < length or not length:
            raise Unknown(self.text)
        self.place += length
        if text.startswith(("_GLOBAL__N", "_GLOBAL_.N", "_GLOBAL_$N")):
            return ("name", "(anonymous namespace)")
        return ("name", text)

    def structor(self, scope: Node | None) -> Node:
        if scope is None:
            raise Unknown(self.text)
        kind = self.next()
        inherited = kind == "C" and self.take("I")
        if self.next() not in ("12345" if kind == "C" else "012345"):
            raise Unknown(self.text)
        if inherited:
            self.type()
        return ("structor", _last_name(scope), "~" if kind == "D" else "")

    def unnamed(self) -> Node:
        if self.take("Ut"):
            number = self.sequence(10)
            found: Node = ("name", f"{{unnamed type#{number + 1}}}")
        elif self.take("Ul"):
            parameters = self.parameters_of_lambda()
            self.need("E")
            found = ("lambda", parameters, self.sequence(10) + 1)
        else:
            raise Unknown(self.text)
        return found

    def parameters_of_lambda(self) -> list[Node]:
        found = []
        while self.peek() != "E":
            if self.peek() == "T" and self.peek(2) in ("Ty", "Tn", "Tt", "Tp"):
                raise Unknown(self.text)
            found.append(self.type())
        return [] if found == [("builtin", "void")] else found

    def operator_name(self) -> Node:
        code = self.peek(2)
        if code == "cv":
            self.place += 2
            outer, self.in_conversion = self.in_conversion, True
            type_ = self.type()
            self.in_conversion = outer
            return ("conversion", type_)
        if code == "li":
            self.place += 2
            return ("literal operator", self.source_name())
        if code[:1] == "v" and code[1:].isdecimal():
            self.place += 2
            return ("operator", self.source_name()[1])
        if code in OPERATORS:
            self.place += 2
            return ("operator", OPERATORS[code][0].rstrip())
        raise Unknown(self.text)

    # ---- substitutions and templates ----

    def substitution(self) -> Node:
        self.need("S")
        first = self.peek()
        if first in STANDARD:
            self.place += 1
            full, last = STANDARD_FULL[first]
            of_structor = self.peek() in ("C", "D")
            found: Node = ("standard", full if of_structor else STANDARD[first], last)
            while self.take("B"):
                found = ("tagged", found, self.source_name()[1])
                self.seen.append(found)
            return found
        if first == "t":
            self.place += 1
            return ("nested", ("name", "std"), self.unqualified())
        return self.seen[self.sequence()]

    def template_parameter(self) -> Node:
        self.need("T")
        if self.take("L"):
            raise Unknown(self.text)
        return ("parameter", self.sequence(10))

    def template_arguments(self) -> list[Node]:
        self.need("I")
        outer, self.in_conversion = self.in_conversion, False
        found = []
        while not self.take("E"):
            if self.take("Q"):
                self.expression()
            else:
                found.append(self.template_argument())
        self.in_conversion = outer
        return found

    def template_argument(self) -> Node:
        first = self.peek()
        if first == "X":
            self.place += 1
            found = self.expression()
            self.need("E")
            return found
        if first == "L":
            return self.literal()
        if first in ("J", "I"):
            self.place += 1
            pack = []
            while not self.take("E"):
                pack.append(self.template_argument())
            return ("pack", pack)
        return self.type()

    # ---- types ----

    def qualifiers(self) -> str:
        found = ""
        while True:
            if self.take("r"):
                found = " __restrict" + found
            elif self.take("V"):
                found = " volatile" + found
            elif self.take("K"):
                found = " const" + found
            else:
                return found

    def type(self) -> Node:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise Unknown(self.text)
        try:
            return self._type()
        finally:
            self.depth -= 1

    def _type(self) -> Node:
        first = self.peek()
        if first in ("r", "V", "K"):
            quals = self.qualifiers()
            inner = self.type() if self.peek() != "F" else self.function(quals)
            found: Node = inner if inner[0] == "function" and inner[3] else ("qual", inner, quals)
        elif first in ("P", "R", "O"):
            self.place += 1
            found = ("pointer", self.type(), {"P": "*", "R": "&", "O": "&&"}[first])
        elif first in ("C", "G"):
            self.place += 1
            found = ("qual", self.type(), " _Complex" if first == "C" else " _Imaginary")
        elif first == "F":
            found = self.function("")
        elif first == "A":
            found = self.array()
        elif first == "M":
            self.place += 1
            owner = self.type()
            found = ("member pointer", owner, self.type())
        elif first == "T":
            return self.type_of_parameter()
        elif first == "D":
            return self.type_d()
        elif first == "S" and self.peek(2) != "St":
            found = self.substitution()
            if self.peek() != "I":
                return found
            found = ("template", found, self.template_arguments())
        elif first in BUILTIN:
            self.place += 1
            return ("builtin", BUILTIN[first])
        elif first == "u":
            self.place += 1
            found = self.source_name()
            if self.peek() == "I":
                found = ("template", found, self.template_arguments())
        elif first == "U":
            found = self.vendor()
        elif first in ("N", "Z") or first.isdecimal() or first == "S":
            found = self.name()
        else:
            raise Unknown(self.text)
        self.seen.append(found)
        return found

    def type_of_parameter(self) -> Node:
        if self.peek(2) in ("Ts", "Tu", "Te"):
            # An elaborated name: struct, union, enum.
            self.place += 2
            found = self.name()
        else:
            found = self.template_parameter()
            self.seen.append(found)
            if self.peek() != "I" or self.in_conversion:
                return found
            found = ("template", found, self.template_arguments())
        self.seen.append(found)
        return found

    def vendor(self) -> Node:
        if self.peek(2) in ("Ut", "Ul"):
            return self.name()
        self.need("U")
        qualifier = self.source_name()
        if self.peek() == "I":
            qualifier = ("template", qualifier, self.template_arguments())
        return ("vendor", self.type(), qualifier)

    def type_d(self) -> Node:
        second = self.peek(2)[1:]
        if second in BUILTIN_D:
            self.place += 2
            return ("builtin", BUILTIN_D[second])
        if second in ("t", "T"):
            found = self.decltype()
        elif second == "p":
            self.place += 2
            found = ("expansion", self.type())
        elif second == "v":
            found = self.vector()
        elif second == "F":
            self.place += 2
            return self.fixed_float()
        elif second in ("B", "U"):
            self.place += 2
            size = (
                self.expression() if not self.peek().isdecimal() else ("name", str(self.number()))
            )
            self.need("_")
            return ("bits", size, "signed _BitInt" if second == "B" else "unsigned _BitInt")
        elif second in ("o", "O", "w", "x"):
            found = self.function("")
        else:
            raise Unknown(self.text)
        self.seen.append(found)
        return found

    def fixed_float(self) -> Node:
        bits = self.number()
        suffix = self.next()
        if suffix == "b":
            return ("builtin", "std::bfloat16_t")
        return ("builtin", f"_Float{bits}" + ("x" if suffix == "x" else ""))

    def decltype(self) -> Node:
        self.place += 2
        found = self.expression()
        self.need("E")
        return ("decltype", found)

    def vector(self) -> Node:
        self.need("Dv")
        if self.peek() == "_":
            self.place += 1
            size = self.expression()
        else:
            size = ("name", str(self.number()))
        self.need("_")
        return ("vector", self.type(), size)

    def function(self, quals: str) -> Node:
        throws: Node | None = None
        if self.take("Do"):
            throws = ("name", " noexcept")
        elif self.take("DO"):
            throws = ("noexcept", self.expression())
            self.need("E")
        elif self.take("Dw"):
            types = []
            while not self.take("E"):
                types.append(self.type())
            throws = ("throw", types)
        self.take("Dx")
        self.need("F")
        self.take("Y")
        result = self.type()
        parameters = self.parameters()
        if self.take("R"):
            quals += " &"
        elif self.take("O"):
            quals += " &&"
        self.need("E")
        return ("function", result, parameters, quals, throws)

    def array(self) -> Node:
        self.need("A")
        if self.peek() == "_":
            size: Node = ("name", "")
        elif self.peek().isdecimal():
            size = ("name", str(self.number()))
        else:
            size = self.expression()
        self.need("_")
        return ("array", self.type(), size)

    # ---- expressions ----

    def literal(self) -> Node:
        self.need("L")
        if self.peek(2) == "_Z" or self.peek() == "Z":
            self.take("_")
            self.need("Z")
            found = self.encoding()
        else:
            type_ = self.type()
            start = self.place
            while self.peek() not in ("E", ""):
                self.place += 1
            digits = self.text[start : self.place]
            found = ("literal", type_, "-" + digits[1:] if digits[:1] == "n" else digits)
        self.need("E")
        return found

    def expression(self) -> Node:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise Unknown(self.text)
        try:
            return self._expression()
        finally:
            self.depth -= 1

    def expressions(self) -> list[Node]:
        found = []
        while not self.take("E"):
            found.append(self.expression())
        return found

    def _expression(self) -> Node:
        first = self.peek()
        code = self.peek(2)
        if first == "L":
            return self.literal()
        if first == "T":
            return self.template_parameter()
        if first == "X":
            self.place += 1
            found = self.expression()
            self.need("E")
            return found
        if code in ("fp", "fL"):
            found_parameter = self.function_parameter()
            if found_parameter is not None:
                return found_parameter
        if code in ("fl", "fr", "fL", "fR"):
            return self.fold(code)
        if code == "sr":
            return self.unresolved()
        if code == "sp":
            self.place += 2
            return ("expansion", self.expression())
        if code in ("il", "tl"):
            self.place += 2
            type_ = self.type() if code == "tl" else None
            return ("list", type_, self.expressions())
        if code == "cv":
            self.place += 2
            type_ = self.type()
            operands = self.expressions() if self.take("_") else [self.expression()]
            return ("cast", type_, operands)
        if code in ("cl", "cp"):
            self.place += 2
            called = self.expression()
            return ("call", called, self.expressions())
        if code in ("on", "dn", "gs") or first.isdecimal() or first == "U":
            return self.simple_name(code)
        if code in OPERATORS:
            return self.operation(code)
        raise Unknown(self.text)

    def simple_name(self, code: str) -> Node:
        if code == "gs":
            self.place += 2
            return self.expression()
        if code == "on":
            self.place += 2
            name = self.operator_name()
        elif code == "dn":
            self.place += 2
            return ("structor", self.type() if not self.peek().isdecimal() else
                    self.source_name(), "~")  # fmt: skip
        else:
            name = self.unqualified()
        if self.peek() == "I":
            name = ("template", name, self.template_arguments())
        return name

    def function_parameter(self) -> Node | None:
        start = self.place
        if self.take("fpT"):
            return ("name", "this")
        if self.take("fL"):
            if not self.peek().isdecimal():
                self.place = start
                return None
            self.number()
            self.need("p")
        else:
            self.need("fp")
        self.qualifiers()
        return ("name", f"{{parm#{self.sequence(10) + 1}}}")

    def fold(self, code: str) -> Node:
        self.place += 2
        operator = OPERATORS.get(self.peek(2))
        if operator is None:
            raise Unknown(self.text)
        self.place += 2
        first = self.expression()
        second = self.expression() if code in ("fL", "fR") else None
        return ("fold", code, operator[0], first, second)

    def unresolved(self) -> Node:
        self.need("sr")
        if self.take("N"):
            scope = self.type()
            while not self.take("E"):
                scope = ("nested", scope, self.simple_name(self.peek(2)))
        elif self.peek().isdecimal():
            scope = self.simple_name(self.peek(2))
            while not self.take("E"):
                scope = ("nested", scope, self.simple_name(self.peek(2)))
            name = self.simple_name(self.peek(2))
            if name[0] == "template":
                return ("template", ("nested", scope, name[1]), name[2])
            return ("nested", scope, name)
        else:
            scope = self.type()
        return ("nested", scope, self.simple_name(self.peek(2)))

    def operation(self, code: str) -> Node:
        self.place += 2
        name, count = OPERATORS[code]
        if code in ("nw", "na"):
            placement = []
            while not self.take("_"):
                placement.append(self.expression())
            type_ = self.type()
            self.take("pi")
            values = self.expressions()
            return ("new", name, placement, type_, values)
        if code in ("sc", "dc", "cc", "rc"):
            return ("named cast", name, self.type(), self.expression())
        if code in TYPE_OPERAND:
            return ("unary", name, self.type(), code)
        if code in ("pp", "mm"):
            if self.take("_"):
                return ("unary", name, self.expression(), code)
            return ("postfix", name, self.expression())
        if code == "sP":
            pack = []
            while not self.take("E"):
                pack.append(self.template_argument())
            return ("unary", name, ("pack", pack), code)
        if code in ("dt", "pt"):
            owner = self.expression()
            return ("access", owner, name, self.simple_or_unresolved())
        operands = [self.expression() for _ in range(count)]
        if count == 1:
            return ("unary", name, operands[0], code)
        if count == 2:
            return ("binary", name, *operands)
        return ("ternary", *operands) if count == 3 else ("name", name)

    def simple_or_unresolved(self) -> Node:
        return self.unresolved() if self.peek(2) == "sr" else self.simple_name(self.peek(2))


def template_arguments(node: Node) -> list[Node] | None:
    """Return the arguments of a name that is a template's, or ``None``."""
    while node[0] in ("nested", "local", "tagged"):
        node = node[2] if node[0] != "tagged" else node[1]
    found: list[Node] | None = node[2] if node[0] == "template" else None
    return found


def _has_no_result(node: Node) -> bool:
    if node[0] in ("nested", "local"):
        return _has_no_result(node[2])
    if node[0] in ("template", "tagged"):
        return _has_no_result(node[1])
    return node[0] in ("structor", "conversion")


def _last_name(node: Node) -> Node:
    # What a constructor of the class is called.
    if node[0] in ("nested", "local"):
        return _last_name(node[2])
    if node[0] in ("template", "tagged"):
        return _last_name(node[1])
    if node[0] == "standard":
        return ("name", node[2])
    return node


def _take_quals(node: Node) -> tuple[str, Node]:
    return (node[2], node[1]) if node[0] == "member" else ("", node)

"""C declarations: structs, unions, enums and typedefs, laid out in memory as a C compiler does.

Where fields lie is worked out by :mod:`bpflens.lang.c_layout`. Members of anonymous structs and
unions appear under their own names. Names that the script does not define are looked up by the
caller (the kernel's BTF).

Example::

    declarations = Declarations(lookup)
    declarations.read(definition, sources, diagnostics, constant)   # "struct x { char a; int b; }"
    declarations.named("x", "struct").field("b").offset             # 4
"""

from __future__ import annotations

from bpflens.lang.c_layout import BASE_TYPES, Declarator, Placer
from bpflens.lang.fold import evaluate
from bpflens.lang.lexer import EOF, NAME, GiveUp, Resync
from bpflens.lang.parse_statement import StatementParser
from bpflens.lang.source import Source
from bpflens.lang.types import (
    NONE,
    Array,
    Enum,
    FieldInfo,
    Int,
    Pointer,
    String,
    Struct,
    Type,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bpflens.lang.diagnostic import Diagnostics
    from bpflens.lang.fold import Constant
    from bpflens.lang.nodes import CDefinition

__all__ = ["Declarations"]

_TAGS = frozenset(("struct", "union", "enum"))
_INTEGER_WORDS = frozenset(
    ("char", "short", "int", "long", "signed", "unsigned", "float", "double", "__int128")
)
_QUALIFIERS = frozenset(
    "const volatile restrict __restrict register static extern inline __signed__ _Atomic"
    " __user __kernel __rcu __percpu __iomem __force __bitwise __randomize_layout".split()
)


class Declarations:
    """All C types of one script, by tag and by typedef; ``enumerators`` by name."""

    __slots__ = ("_aligns", "_incomplete", "enumerators", "lookup", "tags", "typedefs")

    def __init__(self, lookup: Callable[[str, str], Type | None]) -> None:
        self.lookup = lookup
        self.tags: dict[str, Type] = {}
        self.typedefs: dict[str, Type] = {}
        self.enumerators: dict[str, tuple[int, Enum]] = {}
        self._aligns: dict[int, int] = {}
        # Structs that were mentioned and not (yet) defined.
        self._incomplete: dict[str, Struct] = {}

    def named(self, name: str, tag: str) -> Type | None:
        """Return a type that the script defines ("foo" with tag "struct", or a typedef)."""
        if not tag:
            return self.typedefs.get(name)
        full = f"{tag} {name}"
        return None if full in self._incomplete else self.tags.get(full)

    def read(
        self,
        definition: CDefinition,
        diagnostics: Diagnostics,
        constant: Callable[[str], Constant | None],
        aliases: Mapping[str, str],
    ) -> None:
        """Read one definition; ``aliases`` are macros that stand for types or attributes."""
        source = Source("", definition.text, definition.start)
        parser = _DeclarationParser(source, diagnostics, self, constant, aliases)
        parser.definition_statement()

    def finish(self) -> None:
        """Give structs that were only mentioned the fields that the kernel knows for them."""
        for full, struct in self._incomplete.items():
            tag, _, name = full.partition(" ")
            found = self.lookup(name, tag)
            if isinstance(found, Struct):
                struct.size = found.size
                struct.loader = _fields_of(found)

    def mention(self, name: str, tag: str) -> Type:
        """Return a struct by tag, incomplete if it is not defined so far."""
        full = f"{tag} {name}"
        known = self.tags.get(full)
        if known is None:
            known = self.tags[full] = self._incomplete[full] = Struct(full, 0)
        return known

    def define(self, full: str, size: int, align: int, fields: list[FieldInfo]) -> Struct:
        """Complete a struct or union."""
        struct = self._incomplete.pop(full, None) or Struct(full, 0)
        struct.size = size
        struct.loader = lambda: fields
        self._aligns[id(struct)] = align
        self.tags[full] = struct
        return struct

    def is_complete(self, type: Type) -> bool:
        """Whether a type may be a field: the kernel's own structs may."""
        if not isinstance(type, Struct) or type.tag not in self._incomplete:
            return True
        tag, _, name = type.tag.partition(" ")
        found = self.lookup(name, tag)
        if not isinstance(found, Struct):
            return False
        type.size = found.size
        type.loader = _fields_of(found)
        return True

    def align_of(self, type: Type) -> int:
        """Return the alignment of a type in memory."""
        if isinstance(type, Array):
            return self.align_of(type.element)
        if isinstance(type, String):
            return 1
        if isinstance(type, Struct):
            known = self._aligns.get(id(type))
            if known is None:
                known = max((self.align_of(field.type) for field in type.fields), default=1)
                self._aligns[id(type)] = known
            return known
        return max(type.align, 1)


def _fields_of(found: Struct) -> Callable[[], list[FieldInfo]]:
    return lambda: found.fields


class _Attributes:
    __slots__ = ("align", "packed")

    def __init__(self) -> None:
        self.packed = False
        self.align = 0


# Reads one C definition. Constant expressions are those of scripts.
class _DeclarationParser(StatementParser):
    __slots__ = ("aliases", "constant", "declarations")

    def __init__(
        self,
        source: Source,
        diagnostics: Diagnostics,
        declarations: Declarations,
        constant: Callable[[str], Constant | None],
        aliases: Mapping[str, str],
    ) -> None:
        super().__init__(source, diagnostics)
        self.depth = 0
        self.operators = 0
        self.macro_names = set()
        self.declarations = declarations
        self.constant = constant
        self.aliases = aliases

    def definition_statement(self) -> None:
        # "struct x {...}" or "typedef ... name".
        try:
            self.advance()
            is_typedef = self.value == "typedef"
            if is_typedef:
                self.advance()
            base, attributes = self._specifiers()
            while is_typedef:
                declarator = self._declarator(base, attributes)
                if not declarator.name:
                    raise self.fail("expected a name for this typedef")
                self.declarations.typedefs[declarator.name] = declarator.type
                if self.kind != ",":
                    break
                self.advance()
            if self.kind == ";":
                self.advance()
            if self.kind != EOF:
                raise self.fail("unexpected input in a C definition")
        except (Resync, GiveUp):
            return

    # specifiers: what stands in front of declarators

    def _specifiers(self) -> tuple[Type, _Attributes]:
        attributes = _Attributes()
        words: list[str] = []
        found: Type | None = None
        while self.kind == NAME:
            word = self.value
            if word == "__attribute__":
                self._attribute(attributes)
            elif word in _TAGS:
                found = self._tagged(attributes)
            elif word in _QUALIFIERS:
                self.advance()
            elif word in _INTEGER_WORDS:
                words.append(word)
                self.advance()
            elif self._alias(word, words, attributes):
                self.advance()
            elif found is None and not words:
                found = self._named(word)
            else:
                break  # the name that is declared
        if words:
            found = _integer(words)
        if found is None:
            raise self.fail("expected a type")
        return found, attributes

    def _alias(self, word: str, words: list[str], attributes: _Attributes) -> bool:
        # "#define u32 unsigned int", "#define __packed __attribute__((packed))"
        body = self.aliases.get(word)
        if body is None:
            return word == "__packed" and _set_packed(attributes)
        if body.startswith("__attribute__"):
            attributes.packed = attributes.packed or "packed" in body
            return True
        parts = body.split()
        if not all(part in _INTEGER_WORDS or part in _QUALIFIERS for part in parts):
            return False
        words += [part for part in parts if part in _INTEGER_WORDS]
        return True

    def _named(self, word: str) -> Type:
        known = (
            self.declarations.typedefs.get(word)
            or BASE_TYPES.get(word)
            or self.declarations.lookup(word, "")
        )
        if known is None:
            message = f"unknown type name '{word}'"
            raise self.fail(message, *_near(word, self.declarations.typedefs))
        self.advance()
        return known

    def _attribute(self, attributes: _Attributes) -> None:
        self.advance()
        self.expect("(")
        self.expect("(")
        depth = 2
        while depth and self.kind != EOF:
            if self.value in ("packed", "__packed__"):
                attributes.packed = True
            elif self.value in ("aligned", "__aligned__"):
                self.advance()
                if self.kind == "(":
                    self.advance()
                    attributes.align = max(self._constant(), attributes.align)
                    self.expect(")")
                else:
                    attributes.align = 16
                continue
            depth += (self.kind == "(") - (self.kind == ")")
            self.advance()

    # struct, union, enum

    def _tagged(self, outer: _Attributes) -> Type:
        tag, start = self.value, self.start
        self.advance()
        attributes = _Attributes()
        self._attributes(attributes)
        name = ""
        if self.kind == NAME:
            name = self.value
            self.advance()
        if self.kind != "{":
            if not name:
                raise self.fail(f"expected a name or '{{' after '{tag}'")
            return self._mentioned(name, tag)
        full = f"{tag} {name or f'(anonymous at {start})'}"
        if tag == "enum":
            return self._enum(name, full)
        fields = self._fields()
        # Behind the brace "packed" still counts for all fields.
        self._attributes(attributes)
        placer = Placer(tag == "union", attributes.packed, self.declarations.align_of)
        for field in fields:
            if not placer.add(field):
                self.report(f"bad width of bitfield '{field.name}'", field.start, field.end)
        size, align = placer.finish(attributes.align)
        return self.declarations.define(full, size, align, placer.fields)

    def _mentioned(self, name: str, tag: str) -> Type:
        if tag != "enum":
            return self.declarations.mention(name, tag)
        known = self.declarations.tags.get(f"enum {name}") or self.declarations.lookup(name, tag)
        if known is None:
            message = f"unknown type 'enum {name}'"
            self.report(message, self.start, self.end)
            raise Resync
        return known

    def _fields(self) -> list[Declarator]:
        self.enter()
        self.advance()
        fields: list[Declarator] = []
        while self.kind != "}":
            if self.kind == EOF:
                raise self.fail("expected '}'")
            if self.kind == ";":
                self.advance()
                continue
            base, own = self._specifiers()
            if self.kind in (";", "}"):
                # An anonymous struct or union; anything else without a name declares nothing.
                if isinstance(base, Struct) and "(anonymous" in base.tag:
                    fields.append(Declarator("", base, self.start, self.end))
            else:
                fields.append(self._field(base, own))
                while self.kind == ",":
                    self.advance()
                    fields.append(self._field(base, own))
            if self.kind == ";":
                self.advance()
            elif self.kind != "}":
                raise self.fail("expected ';' after a field")
        self.advance()
        self.depth -= 1
        return fields

    def _field(self, base: Type, own: _Attributes) -> Declarator:
        attributes = _Attributes()
        attributes.packed, attributes.align = own.packed, own.align
        declarator = self._declarator(base, attributes)
        if self.kind == ":":
            self.advance()
            declarator.bits = self._constant()
            self._attributes(attributes)
        declarator.packed, declarator.align = attributes.packed, attributes.align
        if not self.declarations.is_complete(declarator.type):
            message = f"field '{declarator.name}' has incomplete type '{declarator.type.name}'"
            self.report(message, declarator.start, declarator.end)
        return declarator

    def _enum(self, name: str, full: str) -> Type:
        self.advance()
        values: list[tuple[str, int]] = []
        following = 0
        while self.kind != "}":
            if self.kind != NAME:
                raise self.fail("expected the name of an enumerator")
            word = self.value
            self.advance()
            if self.kind == "=":
                self.advance()
                following = self._constant(dict(values))
            values.append((word, following))
            following += 1
            if self.kind == ",":
                self.advance()
            elif self.kind != "}":
                raise self.fail("expected ',' or '}'")
        self.advance()
        self._attributes(_Attributes())
        numbers = [number for _, number in values]
        signed = min(numbers, default=0) < 0
        large = max(numbers, default=0) > (0x7FFFFFFF if signed else 0xFFFFFFFF)
        size = 8 if large or min(numbers, default=0) < -0x80000000 else 4
        names: dict[int, str] = {}
        for word, number in values:
            names.setdefault(number, word)
        enum = Enum(name or "(anonymous)", size, signed, names)
        if name:
            self.declarations.tags[full] = enum
        for word, number in values:
            self.declarations.enumerators[word] = (number, enum)
        return enum

    # declarators: "*name[4]", "(*name)(int)"

    def _declarator(self, base: Type, attributes: _Attributes) -> Declarator:
        while self.kind == "*" or self.value in _QUALIFIERS:
            if self.kind == "*":
                base = Pointer(base)
            self.advance()
        self._attributes(attributes)
        inner: tuple[int, str] | None = None
        name, start, end = "", self.start, self.end
        if self.kind == NAME:
            name = self.value
            self.advance()
        elif self.kind == "(":
            inner = self._inner_declarator()
            name = inner[1]
        base = self._suffixes(base)
        if inner is not None:
            for _ in range(inner[0]):
                base = Pointer(base)
        self._attributes(attributes)
        return Declarator(name, base, start, end)

    def _inner_declarator(self) -> tuple[int, str]:
        # "(*name)": a pointer to a function or an array; returns its stars and its name.
        self.advance()
        stars, name = 0, ""
        while self.kind == "*" or self.value in _QUALIFIERS:
            stars += self.kind == "*"
            self.advance()
        if self.kind == NAME:
            name = self.value
            self.advance()
        self.expect(")")
        return stars, name

    def _suffixes(self, base: Type) -> Type:
        if self.kind == "(":
            # A function: nothing but a pointer to it can be a field, and that shows as a number.
            depth = 0
            while self.kind != EOF:
                depth += (self.kind == "(") - (self.kind == ")")
                self.advance()
                if depth == 0:
                    break
            return NONE
        lengths: list[int] = []
        while self.kind == "[":
            self.advance()
            lengths.append(0 if self.kind == "]" else self._constant())
            self.expect("]")
        for length in reversed(lengths):
            base = _array(base, length)
        return base

    def _attributes(self, attributes: _Attributes) -> None:
        while self.kind == NAME:
            if self.value == "__attribute__":
                self._attribute(attributes)
            elif self.value == "__packed" or self._is_attribute_alias():
                attributes.packed = attributes.packed or "packed" in self.aliases.get(
                    self.value, self.value
                )
                self.advance()
            else:
                return

    def _is_attribute_alias(self) -> bool:
        return self.aliases.get(self.value, "").startswith("__attribute__")

    def _constant(self, names: Mapping[str, int] | None = None) -> int:
        start = self.start
        node = self.expression()

        def value_of(name: str) -> Constant | None:
            if names and name in names:
                return names[name]
            if name in self.declarations.enumerators:
                return self.declarations.enumerators[name][0]
            return self.constant(name)

        value = evaluate(node, value_of)
        if not isinstance(value, int):
            self.report("expected a constant integer", start, self.last_end)
            raise Resync
        return value


def _set_packed(attributes: _Attributes) -> bool:
    attributes.packed = True
    return True


def _integer(words: list[str]) -> Type:
    unsigned = "unsigned" in words
    if "char" in words:
        return Int(1, not unsigned)
    if "short" in words:
        return Int(2, not unsigned)
    if "double" in words or "float" in words or "__int128" in words:
        # No register of a program holds these; they are shown as bits.
        unit = 4 if "float" in words else 8
        return Array(Int(unit, False), 2 if "long" in words or "__int128" in words else 1)
    return Int(8 if "long" in words else 4, not unsigned)


def _array(element: Type, length: int) -> Type:
    if isinstance(element, Int) and element.size == 1 and element.signed:
        return String(length, complete=True)
    return Array(element, length)


def _near(word: str, typedefs: Mapping[str, Type]) -> list[str]:
    from difflib import get_close_matches

    close = get_close_matches(word, [*typedefs, *BASE_TYPES], n=1)
    return [f"Did you mean '{close[0]}'?"] if close else []

"""Rust names, both manglings: mangled text → text as rustfilt writes it, without hashes.

The old mangling dresses a path up as C++ (``_ZN4core3fmt5Write9write_fmt17h0123456789abcdefE``);
the new one ("v0", RFC 2603, ``_R...``) has generic arguments, impls and constants. Both give
``core::fmt::Write::write_fmt``.

Invariants: :func:`parse_legacy` and :func:`parse_v0` return the text of a whole name, or raise
:class:`NotRust`; back references cannot make them loop, and the text is limited.

Example::

    parse_v0("_RNvC6_123foo3bar")     # '123foo::bar'
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["NotRust", "parse_legacy", "parse_v0"]

_MAX_DEPTH = 200
_MAX_LENGTH = 1 << 16

_ESCAPES = {
    "SP": "@", "BP": "*", "RF": "&", "LT": "<", "GT": ">", "LP": "(", "RP": ")", "C": ",",
}  # fmt: skip
_BASIC = {
    "a": "i8", "b": "bool", "c": "char", "d": "f64", "e": "str", "f": "f32", "h": "u8",
    "i": "isize", "j": "usize", "l": "i32", "m": "u32", "n": "i128", "o": "u128", "s": "i16",
    "t": "u16", "u": "()", "v": "...", "x": "i64", "y": "u64", "z": "!", "p": "_",
}  # fmt: skip
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


class NotRust(Exception):
    """The name is not one that the Rust compiler makes."""


# ---- the old mangling ----


def parse_legacy(name: str) -> str:
    """Return the path in a name like ``_ZN...17h<16 hex digits>E``."""
    if not name.startswith("_ZN") or not name.endswith("E"):
        raise NotRust(name)
    parts = []
    place = 3
    while place < len(name) - 1:
        start = place
        while name[place].isdecimal():
            place += 1
        if start == place:
            raise NotRust(name)
        length = int(name[start:place])
        parts.append(name[place : place + length])
        place += length
    if place != len(name) - 1 or len(parts) < 2 or not _is_hash(parts[-1]):
        raise NotRust(name)
    return "::".join(map(_unescape, parts[:-1]))


def _is_hash(part: str) -> bool:
    digits = part[1:]
    # Five different digits at least: C++ names of that form have fewer.
    return (
        len(part) == 17
        and part[0] == "h"
        and all(c in "0123456789abcdef" for c in digits)
        and len(set(digits)) >= 5
    )


def _unescape(part: str) -> str:
    if part.startswith("_$"):
        part = part[1:]
    found = ""
    while part:
        if part.startswith(".."):
            found += "::"
            part = part[2:]
        elif part.startswith("$"):
            code, closing, rest = part[1:].partition("$")
            if not closing:
                return found + part
            found += _escape(code)
            part = rest
        else:
            found += part[0]
            part = part[1:]
    return found


def _escape(code: str) -> str:
    if code in _ESCAPES:
        return _ESCAPES[code]
    try:
        character = chr(int(code[1:], 16)) if code[:1] == "u" else ""
    except (ValueError, OverflowError):
        character = ""
    if not character.isprintable() or not character:
        raise NotRust(code)
    return character


# ---- v0 ----


def parse_v0(name: str) -> str:
    """Return the text of a name like ``_RNv...``."""
    if not name.startswith("_R") or not name.isascii():
        raise NotRust(name)
    parser = _V0(name[2:])
    try:
        if parser.peek().isdecimal():
            raise NotRust(name)
        parser.path(True)
        if parser.place < len(parser.text):
            # The crate that made this copy of a generic function.
            parser.silently(lambda: parser.path(False))
    except (IndexError, RecursionError):
        raise NotRust(name) from None
    if parser.place != len(parser.text):
        raise NotRust(name)
    return "".join(parser.out)


class _V0:
    # Reads and writes at the same time; a back reference reads an earlier place once more.

    __slots__ = ("bound", "depth", "length", "out", "place", "quiet", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.place = 0
        self.depth = 0
        # How many lifetimes the binders around here have introduced.
        self.bound = 0
        self.quiet = 0
        self.length = 0
        self.out: list[str] = []

    def write(self, text: str) -> None:
        if not self.quiet:
            self.length += len(text)
            if self.length > _MAX_LENGTH:
                raise NotRust(self.text)
            self.out.append(text)

    def silently(self, action: Callable[[], object]) -> None:
        self.quiet += 1
        action()
        self.quiet -= 1

    def deeper(self) -> None:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise NotRust(self.text)

    # ---- characters and numbers ----

    def peek(self) -> str:
        return self.text[self.place : self.place + 1]

    def take(self, expected: str) -> bool:
        if self.peek() == expected:
            self.place += 1
            return True
        return False

    def next(self) -> str:
        character = self.text[self.place]
        self.place += 1
        return character

    def base62(self) -> int:
        if self.take("_"):
            return 0
        value = 0
        while not self.take("_"):
            digit = _DIGITS.find(self.next())
            if digit < 0 or value > 1 << 64:
                raise NotRust(self.text)
            value = value * 62 + digit
        return value + 1

    def optional(self, tag: str) -> int:
        return self.base62() + 1 if self.take(tag) else 0

    def identifier(self) -> tuple[str, int]:
        return (lambda number: (self.undisambiguated(), number))(self.optional("s"))

    def undisambiguated(self) -> str:
        puny = self.take("u")
        start = self.place
        if self.peek() == "0":
            self.place += 1
        else:
            while self.peek().isdecimal():
                self.place += 1
        if start == self.place:
            raise NotRust(self.text)
        length = int(self.text[start : self.place])
        self.take("_")
        name = self.text[self.place : self.place + length]
        if len(name) < length:
            raise NotRust(self.text)
        self.place += length
        return _punycode(name) if puny else name

    # ---- paths ----

    def path(self, in_value: bool) -> None:
        self.deeper()
        kind = self.next()
        if kind == "C":
            self.write(self.identifier()[0])
        elif kind == "N":
            self.nested(in_value)
        elif kind in "MX":
            self.optional("s")
            self.silently(lambda: self.path(in_value))
            self.impl(kind == "X")
        elif kind == "Y":
            self.impl(True)
        elif kind == "I":
            self.path(in_value)
            self.write("::<" if in_value else "<")
            self.list_until_end(self.generic_argument)
            self.write(">")
        elif kind == "B":
            self.back(lambda: self.path(in_value))
        else:
            raise NotRust(self.text)
        self.depth -= 1

    def nested(self, in_value: bool) -> None:
        namespace = self.next()
        if not namespace.isalpha():
            raise NotRust(self.text)
        self.path(in_value)
        name, number = self.identifier()
        if namespace.isupper():
            kind = {"C": "closure", "S": "shim"}.get(namespace, namespace)
            self.write(f"::{{{kind}{':' if name else ''}{name}#{number}}}")
        elif name:
            self.write(f"::{name}")

    def impl(self, of_trait: bool) -> None:
        self.write("<")
        self.type()
        if of_trait:
            self.write(" as ")
            self.path(False)
        self.write(">")

    def generic_argument(self) -> None:
        if self.take("L"):
            self.lifetime(self.base62())
        elif self.take("K"):
            self.constant(False)
        else:
            self.type()

    def list_until_end(self, item: Callable[[], None]) -> int:
        count = 0
        while not self.take("E"):
            if count:
                self.write(", ")
            item()
            count += 1
        return count

    def back(self, again: Callable[[], None]) -> None:
        start = self.place - 1
        target = self.base62()
        if target >= start:
            raise NotRust(self.text)
        if self.quiet:
            return
        here = self.place
        self.place = target
        again()
        self.place = here

    def lifetime(self, index: int) -> None:
        if index == 0:
            self.write("'_")
            return
        depth = self.bound - index
        if depth < 0:
            raise NotRust(self.text)
        self.write("'" + (chr(97 + depth) if depth < 26 else f"_{depth}"))

    def binder(self, body: Callable[[], None]) -> None:
        count = self.optional("G")
        if count > 256:
            raise NotRust(self.text)
        if count:
            self.write("for<")
            for number in range(count):
                if number:
                    self.write(", ")
                self.bound += 1
                self.lifetime(1)
            self.write("> ")
        body()
        self.bound -= count

    # ---- types ----

    def type(self) -> None:
        self.deeper()
        kind = self.next()
        if kind in _BASIC:
            self.write(_BASIC[kind])
        elif kind in "RQ":
            self.reference("&mut " if kind == "Q" else "&")
        elif kind in "PO":
            self.write("*mut " if kind == "O" else "*const ")
            self.type()
        elif kind in "AS":
            self.write("[")
            self.type()
            if kind == "A":
                self.write("; ")
                self.constant(True)
            self.write("]")
        elif kind == "T":
            self.write("(")
            self.write(",)" if self.list_until_end(self.type) == 1 else ")")
        elif kind == "F":
            self.binder(self.function)
        elif kind == "D":
            self.dynamic()
        elif kind == "W":
            self.write("pattern type")
            raise NotRust(self.text)
        elif kind == "B":
            self.back(self.type)
        else:
            self.place -= 1
            self.path(False)
        self.depth -= 1

    def reference(self, mark: str) -> None:
        self.write(mark[:1])
        if self.take("L"):
            index = self.base62()
            if index:
                self.lifetime(index)
                self.write(" ")
        self.write(mark[1:])
        self.type()

    def function(self) -> None:
        if self.take("U"):
            self.write("unsafe ")
        if self.take("K"):
            abi = "C" if self.take("C") else self.undisambiguated().replace("_", "-")
            self.write(f'extern "{abi}" ')
        self.write("fn(")
        self.list_until_end(self.type)
        self.write(")")
        if not self.take("u"):
            self.write(" -> ")
            self.type()

    def dynamic(self) -> None:
        self.write("dyn ")
        self.binder(self.bounds)
        if not self.take("L"):
            raise NotRust(self.text)
        index = self.base62()
        if index:
            self.write(" + ")
            self.lifetime(index)

    def bounds(self) -> None:
        count = 0
        while not self.take("E"):
            if count:
                self.write(" + ")
            count += 1
            self.dynamic_trait()

    def dynamic_trait(self) -> None:
        # Bindings of associated types go into the same angle brackets as the arguments.
        open_ = self.open_path()
        while self.take("p"):
            self.write(", " if open_ else "<")
            open_ = True
            self.write(self.undisambiguated() + " = ")
            self.type()
        if open_:
            self.write(">")

    def open_path(self) -> bool:
        if self.take("B"):
            opened = [False]

            def again() -> None:
                opened[0] = self.open_path()

            self.back(again)
            return opened[0]
        if self.take("I"):
            self.path(False)
            self.write("<")
            self.list_until_end(self.generic_argument)
            return True
        self.path(False)
        return False

    # ---- constants ----

    def constant(self, in_value: bool) -> None:
        self.deeper()
        kind = self.next()
        if kind == "B":
            self.back(lambda: self.constant(in_value))
        elif kind == "p":
            self.write("_")
        elif kind in "hjmoty":
            self.write(str(int(self.hexadecimal() or "0", 16)))
        elif kind in "ailnsx":
            sign = "-" if self.take("n") else ""
            self.write(sign + str(int(self.hexadecimal() or "0", 16)))
        elif kind == "b":
            self.write({"0": "false", "1": "true"}[self.hexadecimal()])
        elif kind == "c":
            self.write(_character(int(self.hexadecimal(), 16)))
        else:
            self.place -= 1
            self.structured(in_value)
        self.depth -= 1

    def hexadecimal(self) -> str:
        start = self.place
        while not self.take("_"):
            if self.next() not in "0123456789abcdef":
                raise NotRust(self.text)
        return self.text[start : self.place - 1]

    def structured(self, in_value: bool) -> None:
        # Strings, references, arrays, tuples and values of structs; braces part a value from a
        # type where both could stand.
        if not in_value:
            self.write("{")
        kind = self.next()
        if kind == "e":
            self.write("*" + self.string())
        elif kind == "R" and self.peek() == "e":
            self.place += 1
            self.write(self.string())
        elif kind in "RQ":
            self.write("&mut " if kind == "Q" else "&")
            self.constant(True)
        elif kind == "A":
            self.write("[")
            self.list_until_end(lambda: self.constant(True))
            self.write("]")
        elif kind == "T":
            self.write("(")
            self.write(",)" if self.list_until_end(lambda: self.constant(True)) == 1 else ")")
        elif kind == "V":
            self.path(True)
            self.fields()
        else:
            raise NotRust(self.text)
        if not in_value:
            self.write("}")

    def fields(self) -> None:
        kind = self.next()
        if kind == "T":
            self.write("(")
            self.list_until_end(lambda: self.constant(True))
            self.write(")")
        elif kind == "S":
            self.write(" { ")
            self.list_until_end(self.field)
            self.write(" }")
        elif kind != "U":
            raise NotRust(self.text)

    def field(self) -> None:
        self.write(self.identifier()[0] + ": ")
        self.constant(True)

    def string(self) -> str:
        digits = self.hexadecimal()
        try:
            text = bytes.fromhex(digits).decode()
        except ValueError:
            raise NotRust(self.text) from None
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _character(code: int) -> str:
    try:
        character = chr(code)
    except (ValueError, OverflowError):
        raise NotRust(hex(code)) from None
    if character in "'\\":
        return f"'\\{character}'"
    return f"'{character}'" if character.isprintable() else f"'\\u{{{code:x}}}'"


def _punycode(name: str) -> str:
    # RFC 3492 with "_" where others have "-".
    head, _, tail = name.rpartition("_")
    try:
        return (
            f"{head}-{tail}".encode().decode("punycode")
            if head
            else tail.encode().decode("punycode")
        )
    except ValueError:
        raise NotRust(name) from None

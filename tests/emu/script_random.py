"""Random scripts that are well typed, and what they must leave in their maps.

:func:`make` writes a script as text and, beside each piece of it, what the piece means as a Python
function. Inputs come from maps, which the compiler cannot see through. The reference is written
from the language's rules alone: 64-bit arithmetic, division and right shift without a sign, 1 as
the result of a division by zero, comparison with a sign if either side has one and no literal
adapts to the other.

Example::

    script = make(7)
    script.text, script.expected()       # 'BEGIN { ... }', {"@a": {None: 5}, ...}
"""

from __future__ import annotations

import random

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Evaluate = Callable[["World"], object]
    Execute = Callable[["World"], None]

MASK = (1 << 64) - 1
WORDS = ["", "a", "ab", "abc", "abcdefg", "abcdefgh", "abcdefghi", "zz top", "0123456789abcdefghij"]
EDGES = [0, 1, 2, 3, 7, 8, 15, 63, 64, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**31 - 1,
         2**31, 2**32 - 1, 2**32, 2**62, 2**63 - 1]  # fmt: skip
INPUTS = 6


class Break(Exception):
    """A ``break`` of the script."""


class Continue(Exception):
    """A ``continue`` of the script."""


class Return(Exception):
    """A ``return`` of the script."""


class World:
    """Variables and maps while the reference runs."""

    def __init__(self) -> None:
        self.variables: dict[str, object] = {}
        self.maps: dict[str, dict[object, object]] = {}

    def map(self, name: str) -> dict[object, object]:
        return self.maps.setdefault(name, {})


class Expr:
    """A piece of the script that has a value: 64 bits for integers, extended by their type."""

    def __init__(
        self,
        text: str,
        run: Evaluate,
        signed: bool = True,
        literal: bool = False,
        truth: bool = False,
    ) -> None:
        self.text = text
        self.run = run
        self.signed = signed
        self.literal = literal
        self.truth = truth


def extend(bits: int, size: int, signed: bool) -> int:
    bits &= (1 << 8 * size) - 1
    if signed and bits >> (8 * size - 1):
        bits -= 1 << 8 * size
    return bits & MASK


def as_signed(bits: int) -> int:
    return bits - (1 << 64) if bits >> 63 else bits


def arithmetic(op: str, a: int, b: int) -> int:
    if op == "/":
        return a // b if b else 1
    if op == "%":
        return a % b if b else 1
    if op == "<<":
        return a << (b & 63) & MASK
    if op == ">>":
        return a >> (b & 63)
    return {
        "+": a + b, "-": a - b, "*": a * b, "&": a & b, "|": a | b, "^": a ^ b,
    }[op] & MASK  # fmt: skip


def compare(op: str, a: int, b: int) -> bool:
    return {"==": a == b, "!=": a != b, "<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b}[op]


class Script:
    """A whole script: its text, and the statements to run for the reference."""

    def __init__(self, text: str, statements: list[Execute]) -> None:
        self.text = text
        self.statements = statements

    def expected(self) -> dict[str, dict[object, object]]:
        world = World()
        try:
            for statement in self.statements:
                statement(world)
        except Return:
            pass
        return {name: entries for name, entries in world.maps.items() if entries}


def make(seed: int, size: int = 10) -> Script:
    return _Writer(random.Random(seed)).script(size)


class _Writer:
    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.integers: dict[str, tuple[int, bool]] = {}
        self.strings: list[str] = []
        self.tuples: list[str] = []
        self.loops = 0
        self.counter = 0
        self.results = 0
        self.protected: list[str] = []

    def script(self, size: int) -> Script:
        lines: list[str] = []
        runs: list[Execute] = []
        for name, cast, signed in (("@si", "int64", True), ("@ui", "uint64", False)):
            for k in range(INPUTS):
                value = self.number()
                if signed and self.rng.random() < 0.5:
                    value = -value
                lines.append(f"{name}[{k}] = ({cast}){value};" if value >= 0 else f"{name}[{k}] = ({cast})({value});")  # fmt: skip
                runs.append(self._input(name, k, value & MASK, signed))
        lines.append("@a = (int64)1; @b = (uint64)2; @k[3] = (int64)-4;")
        runs += [
            self._input("@a", None, 1, True),
            self._input("@b", None, 2, False),
            self._input("@k", 3, -4 & MASK, True),
        ]
        for _ in range(size):
            text, run = self.statement(3)
            lines.append(text)
            runs.append(run)
        return Script("BEGIN {\n  " + "\n  ".join(lines) + "\n}\n", runs)

    def _input(self, name: str, k: int | None, value: int, signed: bool) -> Execute:
        shown = as_signed(value) if signed else value
        return lambda w: w.map(name).__setitem__(k, shown)

    def number(self) -> int:
        if self.rng.random() < 0.6:
            return self.rng.choice(EDGES)
        return self.rng.getrandbits(self.rng.choice((3, 8, 16, 31, 33, 62)))

    # expressions

    def integer(self, depth: int) -> Expr:
        """An integer that is no literal."""
        choice = self.rng.random()
        if depth <= 0 or choice < 0.25:
            return self.leaf()
        if choice < 0.55:
            return self.binary(depth)
        if choice < 0.72:
            return self.cast(depth)
        if choice < 0.8:
            return self.unary(depth)
        if choice < 0.88:
            return self.ternary(depth)
        return self.truth(depth)

    def operand(self, depth: int) -> Expr:
        if self.rng.random() < 0.25:
            value = self.number()
            return Expr(str(value), lambda w: value, True, literal=True)
        return self.integer(depth)

    def leaf(self) -> Expr:
        choice = self.rng.random()
        if self.integers and choice < 0.5:
            name = self.rng.choice(sorted(self.integers))
            return Expr(name, lambda w: w.variables[name], self.integers[name][1])
        if self.tuples and choice < 0.6:
            name, at = self.rng.choice(self.tuples), self.rng.choice((0, 2))
            return Expr(f"{name}.{at}", lambda w: w.variables[name][at] & MASK, True)  # type: ignore[index]
        if choice < 0.7:
            name, signed = self.rng.choice((("@a", True), ("@b", False)))
            return Expr(name, lambda w: w.map(name).get(None, 0) & MASK, signed)  # type: ignore[operator]
        if choice < 0.75:
            key = self.key()
            return Expr(f"@k[{key.text}]", lambda w: w.map("@k").get(as_signed(key.run(w)), 0) & MASK, True)  # type: ignore[arg-type, operator]  # fmt: skip
        name, signed = self.rng.choice((("@si", True), ("@ui", False)))
        k = self.rng.randrange(INPUTS)
        return Expr(f"{name}[{k}]", lambda w: w.map(name)[k] & MASK, signed)  # type: ignore[operator]

    def binary(self, depth: int) -> Expr:
        op = self.rng.choice(["+", "-", "*", "&", "|", "^", "/", "%", "<<", ">>"])
        a = self.integer(depth - 1)
        if op in ("<<", ">>"):
            by = self.rng.randrange(64)
            return Expr(f"({a.text} {op} {by})", lambda w: arithmetic(op, a.run(w), by), a.signed)  # type: ignore[arg-type]  # fmt: skip
        b = self.operand(depth - 1)
        if self.rng.random() < 0.5:
            a, b = b, a
        signed = op == "-" or (b if a.literal else a).signed or (a if b.literal else b).signed
        return Expr(f"({a.text} {op} {b.text})", lambda w: arithmetic(op, a.run(w), b.run(w)), signed)  # type: ignore[arg-type]  # fmt: skip

    def cast(self, depth: int) -> Expr:
        size, signed = self.rng.choice((1, 2, 4, 8)), self.rng.random() < 0.5
        a = self.integer(depth - 1)
        word = f"{'' if signed else 'u'}int{8 * size}"
        return Expr(f"({word})({a.text})", lambda w: extend(a.run(w), size, signed), signed)  # type: ignore[arg-type]  # fmt: skip

    def unary(self, depth: int) -> Expr:
        a = self.integer(depth - 1)
        if self.rng.random() < 0.5:
            return Expr(f"(-{a.text})", lambda w: -a.run(w) & MASK, True)  # type: ignore[operator]
        wide = f"({'int64' if a.signed else 'uint64'})({a.text})"
        return Expr(f"(~{wide})", lambda w: ~a.run(w) & MASK, a.signed)  # type: ignore[operator]

    def ternary(self, depth: int) -> Expr:
        c, a, b = self.truth(depth - 1), self.integer(depth - 1), self.integer(depth - 1)
        cast = self.rng.choice(("int64", "uint64"))
        text = f"({c.text} ? ({cast})({a.text}) : ({cast})({b.text}))"
        return Expr(text, lambda w: a.run(w) if c.run(w) else b.run(w), cast == "int64")

    def truth(self, depth: int) -> Expr:
        choice = self.rng.random()
        if choice < 0.2 and depth > 0:
            a, b = self.truth(depth - 1), self.truth(depth - 1)
            if self.rng.random() < 0.5:
                return self.boolean(f"({a.text} && {b.text})", lambda w: bool(a.run(w)) and bool(b.run(w)))  # fmt: skip
            return self.boolean(f"({a.text} || {b.text})", lambda w: bool(a.run(w)) or bool(b.run(w)))  # fmt: skip
        if choice < 0.3 and depth > 0:
            a = self.integer(depth - 1)
            return self.boolean(f"(!{a.text})", lambda w: not a.run(w))
        if choice < 0.45:
            return self.string_test()
        if choice < 0.55 and self.tuples:
            return self.tuple_test()
        if choice < 0.62:
            key = self.key()
            return self.boolean(f"has_key(@k, {key.text})", lambda w: as_signed(key.run(w)) in w.map("@k"))  # type: ignore[arg-type]  # fmt: skip
        return self.comparison(depth)

    def boolean(self, text: str, run: Evaluate) -> Expr:
        return Expr(text, lambda w: int(bool(run(w))), False, truth=True)

    def comparison(self, depth: int) -> Expr:
        op = self.rng.choice(["==", "!=", "<", "<=", ">", ">="])
        a, b = self.integer(depth - 1), self.operand(depth - 1)
        if self.rng.random() < 0.5:
            a, b = b, a
        signed = (b if a.literal else a).signed or (a if b.literal else b).signed
        view = as_signed if signed else lambda bits: bits
        return self.boolean(f"({a.text} {op} {b.text})", lambda w: compare(op, view(a.run(w)), view(b.run(w))))  # type: ignore[arg-type]  # fmt: skip

    def string(self) -> Expr:
        if self.strings and self.rng.random() < 0.6:
            name = self.rng.choice(self.strings)
            return Expr(name, lambda w: w.variables[name])
        word = self.rng.choice(WORDS)
        return Expr(f'"{word}"', lambda w: word, literal=True)

    def string_test(self) -> Expr:
        if not self.strings:
            return self.comparison(1)
        name = self.rng.choice(self.strings)
        other = self.string()
        op = self.rng.choice(("==", "!="))
        return self.boolean(f"({name} {op} {other.text})", lambda w: (w.variables[name] == other.run(w)) == (op == "=="))  # fmt: skip

    def tuple_test(self) -> Expr:
        name = self.rng.choice(self.tuples)
        text, run = self.tuple_value()
        return self.boolean(f"({name} == {text})", lambda w: w.variables[name] == run(w))

    def tuple_value(self) -> tuple[str, Evaluate]:
        a, word, b = self.integer(1), self.rng.choice(WORDS), self.integer(1)
        if self.rng.random() < 0.5:
            small = self.rng.randrange(3)
            a = Expr(str(small), lambda w: small)
        text = f'((int64)({a.text}), "{word}", (int64)({b.text}))'
        return text, lambda w: (as_signed(a.run(w)), word, as_signed(b.run(w)))  # type: ignore[arg-type]  # fmt: skip

    def key(self) -> Expr:
        a = self.integer(1)
        return Expr(f"(int64)({a.text} & 7)", lambda w: a.run(w) & 7)  # type: ignore[operator]

    # statements

    def statement(self, depth: int) -> tuple[str, Execute]:
        kinds = [self.declare, self.assign_integer, self.assign_integer, self.step, self.scalar,
                 self.scalar, self.keyed, self.keyed, self.aggregate, self.text, self.pair,
                 self.result, self.result, self.by_text]  # fmt: skip
        if depth > 0:
            kinds += [self.branch, self.branch, self.range_loop, self.range_loop, self.while_loop,
                      self.map_loop]  # fmt: skip
        if self.loops:
            kinds += [self.jump]
        return self.rng.choice(kinds)(depth)

    def block(self, depth: int) -> tuple[str, Execute]:
        """Statements in braces; variables declared inside are gone behind them."""
        saved = dict(self.integers), list(self.strings), list(self.tuples)
        parts = [self.statement(depth - 1) for _ in range(self.rng.randint(1, 3))]
        self.integers, self.strings, self.tuples = saved
        runs = [run for _, run in parts]

        def run(w: World) -> None:
            for each in runs:
                each(w)

        return "{ " + " ".join(text for text, _ in parts) + " }", run

    def fresh(self) -> str:
        self.counter += 1
        return f"$v{self.counter}"

    def declare(self, depth: int) -> tuple[str, Execute]:
        value, name = self.integer(2), self.fresh()
        size, signed = self.rng.choice((1, 2, 4, 8, 8, 8)), self.rng.random() < 0.5
        word = f"{'' if signed else 'u'}int{8 * size}"
        self.integers[name] = size, signed
        how = f"let {name} : {word} = ({word})({value.text});"
        if size == 8 and self.rng.random() < 0.5:
            how = f"{name} = ({word})({value.text});"
        return how, lambda w: w.variables.__setitem__(name, extend(value.run(w), size, signed))  # type: ignore[arg-type]  # fmt: skip

    def assign_integer(self, depth: int) -> tuple[str, Execute]:
        names = [name for name in sorted(self.integers) if name not in self.protected]
        if not names:
            return self.declare(depth)
        name = self.rng.choice(names)
        size, signed = self.integers[name]
        value = self.integer(2)
        word = f"{'' if signed else 'u'}int{8 * size}"
        if self.rng.random() < 0.5:
            return f"{name} = ({word})({value.text});", lambda w: w.variables.__setitem__(name, extend(value.run(w), size, signed))  # type: ignore[arg-type]  # fmt: skip
        op = self.rng.choice(["+", "-", "*", "&", "|", "^"])
        return f"{name} {op}= ({word})({value.text});", lambda w: w.variables.__setitem__(
            name,
            extend(
                arithmetic(op, w.variables[name], extend(value.run(w), size, signed)), size, signed
            ),  # type: ignore[arg-type]  # fmt: skip
        )

    def step(self, depth: int) -> tuple[str, Execute]:
        names = [name for name in sorted(self.integers) if name not in self.protected]
        if not names:
            return self.declare(depth)
        name, (sign, by) = self.rng.choice(names), self.rng.choice((("++", 1), ("--", -1)))
        size, signed = self.integers[name]
        text = f"{name}{sign};" if self.rng.random() < 0.5 else f"{sign}{name};"
        return text, lambda w: w.variables.__setitem__(name, extend(w.variables[name] + by, size, signed))  # type: ignore[operator]  # fmt: skip

    def _store(self, name: str, signed: bool, key: Evaluate, value: Evaluate) -> Execute:
        def run(w: World) -> None:
            bits = value(w)
            w.map(name)[key(w)] = as_signed(bits) if signed else bits  # type: ignore[arg-type]

        return run

    def scalar(self, depth: int) -> tuple[str, Execute]:
        name, word, signed = self.rng.choice((("@a", "int64", True), ("@b", "uint64", False)))
        value = self.integer(2)
        none: Evaluate = lambda w: None  # noqa: E731
        old: Evaluate = lambda w: w.map(name).get(None, 0) & MASK  # type: ignore[operator]  # noqa: E731
        choice = self.rng.random()
        if choice < 0.5:
            return f"{name} = ({word})({value.text});", self._store(name, signed, none, value.run)
        if choice < 0.8:
            op = self.rng.choice(["+", "-", "*", "&", "|", "^"])
            text = f"{name} {op}= ({word})({value.text});"
            return text, self._store(name, signed, none, lambda w: arithmetic(op, old(w), value.run(w)))  # type: ignore[arg-type]  # fmt: skip
        return f"{name}++;", self._store(name, signed, none, lambda w: old(w) + 1 & MASK)  # type: ignore[operator]  # fmt: skip

    def keyed(self, depth: int) -> tuple[str, Execute]:
        if "@k" in self.protected:
            return self.result(depth)
        key, value = self.key(), self.integer(2)
        at: Evaluate = lambda w: as_signed(key.run(w))  # type: ignore[arg-type]  # noqa: E731
        old: Evaluate = lambda w: w.map("@k").get(at(w), 0) & MASK  # type: ignore[operator]  # noqa: E731
        choice = self.rng.random()
        if choice < 0.45:
            return f"@k[{key.text}] = (int64)({value.text});", self._store(
                "@k", True, at, value.run
            )
        if choice < 0.7:
            op = self.rng.choice(["+", "-", "*", "&", "|", "^"])
            text = f"@k[{key.text}] {op}= (int64)({value.text});"
            return text, self._store("@k", True, at, lambda w: arithmetic(op, old(w), value.run(w)))  # type: ignore[arg-type]  # fmt: skip
        if choice < 0.85:
            return f"@k[{key.text}]++;", self._store("@k", True, at, lambda w: old(w) + 1 & MASK)  # type: ignore[operator]  # fmt: skip
        return f"delete(@k, {key.text});", lambda w: w.map("@k").pop(at(w), None) and None

    def by_text(self, depth: int) -> tuple[str, Execute]:
        word, key, value = self.string(), self.key(), self.integer(1)
        if self.rng.random() < 0.5:
            text = f"@s[{word.text}] = (int64)({value.text});"
            return text, self._store("@s", True, word.run, value.run)
        text = f"@p[{key.text}, {word.text}] = (int64)({value.text});"
        return text, self._store("@p", True, lambda w: (as_signed(key.run(w)), word.run(w)), value.run)  # type: ignore[arg-type]  # fmt: skip

    def aggregate(self, depth: int) -> tuple[str, Execute]:
        kind = self.rng.choice(("count", "sum", "min", "max"))
        key, value = self.key(), self.integer(2)
        name = f"@{kind}"
        argument = "" if kind == "count" else f"(int64)({value.text})"

        def run(w: World) -> None:
            entries, at = w.map(name), as_signed(key.run(w))  # type: ignore[arg-type]
            new = as_signed(value.run(w))  # type: ignore[arg-type]
            old = entries.get(at)
            if kind == "count":
                entries[at] = (old or 0) + 1  # type: ignore[operator]
            elif old is None:
                entries[at] = new
            elif kind == "sum":
                entries[at] = as_signed(old + new & MASK)  # type: ignore[operator]
            else:
                entries[at] = min(old, new) if kind == "min" else max(old, new)  # type: ignore[call-overload]  # fmt: skip

        return f"{name}[{key.text}] = {kind}({argument});", run

    def text(self, depth: int) -> tuple[str, Execute]:
        if self.strings and self.rng.random() < 0.5:
            name = self.rng.choice(self.strings)
        else:
            name = self.fresh()
        a, b, c = self.string(), self.string(), self.truth(1)
        self.strings = [*self.strings, name] if name not in self.strings else self.strings
        if self.rng.random() < 0.4:
            return f"{name} = {c.text} ? {a.text} : {b.text};", lambda w: w.variables.__setitem__(name, a.run(w) if c.run(w) else b.run(w))  # fmt: skip
        return f"{name} = {a.text};", lambda w: w.variables.__setitem__(name, a.run(w))

    def pair(self, depth: int) -> tuple[str, Execute]:
        text, run = self.tuple_value()
        name = (
            self.rng.choice(self.tuples)
            if self.tuples and self.rng.random() < 0.5
            else self.fresh()
        )
        self.tuples = [*self.tuples, name] if name not in self.tuples else self.tuples
        return f"{name} = {text};", lambda w: w.variables.__setitem__(name, run(w))

    def result(self, depth: int) -> tuple[str, Execute]:
        self.results += 1
        number, value = self.results, self.integer(4)
        return f"@r[{number}] = (uint64)({value.text});", self._store("@r", False, lambda w: number, value.run)  # fmt: skip

    def branch(self, depth: int) -> tuple[str, Execute]:
        test = self.truth(2)
        then, run_then = self.block(depth)
        if self.rng.random() < 0.5:
            return f"if {test.text} {then}" if test.text[0] == "(" else f"if ({test.text}) {then}", lambda w: run_then(w) if test.run(w) else None  # fmt: skip
        other, run_other = self.block(depth)
        return f"if ({test.text}) {then} else {other}", lambda w: run_then(w) if test.run(w) else run_other(w)  # fmt: skip

    def range_loop(self, depth: int) -> tuple[str, Execute]:
        name = self.fresh()
        first = self.rng.choice((0, 0, 1, -3, 1000))
        count = self.rng.choice((0, 1, 3, 10, 40))
        stop, last = str(first + count), lambda w: first + count
        if self.rng.random() < 0.5:
            bound = self.integer(1)
            stop = f"({first} + ({bound.text} & 15))"
            last = lambda w: first + (bound.run(w) & 15)  # type: ignore[operator]  # noqa: E731
        self.integers[name] = 8, True
        self.protected.append(name)
        text, run = self.loop_body(depth)
        self.protected.pop()
        del self.integers[name]

        def loop(w: World) -> None:
            for value in range(first, last(w)):
                w.variables[name] = value & MASK
                if not _round(run, w):
                    break

        return f"for {name} : ({first})..({stop}) {text}", loop

    def while_loop(self, depth: int) -> tuple[str, Execute]:
        name = self.fresh()
        count = self.rng.choice((0, 1, 5, 60))
        test = self.truth(1)
        self.integers[name] = 8, True
        self.protected.append(name)
        text, run = self.loop_body(depth)
        self.protected.pop()
        del self.integers[name]

        def loop(w: World) -> None:
            w.variables[name] = 0
            while as_signed(w.variables[name]) < count and (count < 20 or test.run(w)):  # type: ignore[arg-type]  # fmt: skip
                w.variables[name] = w.variables[name] + 1 & MASK  # type: ignore[operator]
                if not _round(run, w):
                    break

        more = f" && {test.text}" if count >= 20 else ""
        return f"{name} = (int64)0; while ({name} < {count}{more}) {{ {name}++; {text[1:]}", loop

    def loop_body(self, depth: int) -> tuple[str, Execute]:
        self.loops += 1
        found = self.block(min(depth, 2))
        self.loops -= 1
        return found

    def map_loop(self, depth: int) -> tuple[str, Execute]:
        """The order is the kernel's, so the body adds up and stores by key."""
        if "@k" in self.protected:
            return self.result(depth)
        name, total = self.fresh(), self.fresh()
        limit, self.results = self.rng.randrange(-5, 9), self.results + 1
        number, factor = self.results, self.integer(1)
        skip = f"if ({name}.0 > {limit}) {{ continue; }}" if self.rng.random() < 0.5 else ""
        text = (
            f"{total} = (int64)0; for {name} : @k {{ {skip} {total} += {name}.0 * 3 + {name}.1"
            f" * (int64)({factor.text}); @seen[{name}.0] = {name}.1; }} @r[{number}] = (uint64){total};"
        )

        def run(w: World) -> None:
            result = 0
            by = as_signed(factor.run(w))  # type: ignore[arg-type]
            for key, value in w.map("@k").items():
                if skip and key > limit:  # type: ignore[operator]
                    continue
                result += key * 3 + value * by  # type: ignore[operator]
                w.map("@seen")[key] = value
            w.map("@r")[number] = result & MASK

        return text, run

    def jump(self, depth: int) -> tuple[str, Execute]:
        test = self.truth(1)
        kind, error = self.rng.choice(
            (("break", Break), ("continue", Continue), ("break", Break), ("return", Return))
        )

        def run(w: World) -> None:
            if test.run(w):
                raise error

        return f"if ({test.text}) {{ {kind}; }}", run


def _round(run: Execute, w: World) -> bool:
    try:
        run(w)
    except Break:
        return False
    except Continue:
        pass
    return True

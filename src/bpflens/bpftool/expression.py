"""The text of ``--filter`` → a test of a row of named values.

``type == hash and max_entries > 1000``, ``not (frozen or name ~ tmp)``, ``map_ids == 7``,
``pids.comm == "my agent"``, ``bytes_memlock >= 4K``. Comparisons are ``== != < <= > >=``, ``~``
(contains) and ``!~``; ``and``, ``or``, ``not`` may be written ``&&``, ``||``, ``!``. A name alone
asks whether its value says something. Of a list, one fitting element is enough. Numbers may be
hexadecimal or end in K, M, G.

A column that a row does not have equals nothing and is different from everything. Nothing is ever
evaluated as Python.

Example::

    test = compile_filter("type==hash and max_entries>1000", {"type", "max_entries"})
    test({"type": "hash", "max_entries": 4096})      # True
"""

from __future__ import annotations

from bpflens.bpftool.tool import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Row = Mapping[str, object]
    Test = Callable[[Row], bool]

__all__ = ["compile_filter", "text_of"]

_OPERATORS = ("==", "!=", ">=", "<=", "!~", "&&", "||", "(", ")", "~", ">", "<", "=", "!")
_COMPARISONS = frozenset(("==", "=", "!=", ">=", "<=", "~", "!~", ">", "<"))
_AND, _OR, _NOT = ("and", "&&"), ("or", "||"), ("not", "!")
_UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def compile_filter(text: str, columns: set[str]) -> Test:
    """Return the test that ``text`` means. Raises Failure for what means none, or no column.

    With no ``columns`` at all (nothing to show) names are not checked.
    """
    parser = _Parser(text, columns)
    test = parser.either()
    if parser.rest:
        raise parser.failure(f"what is {parser.rest[0][1]!r}?")
    return test


def text_of(value: object) -> str:
    """Return a value as it stands in a table and as ``~`` sees it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.2f}"
    if isinstance(value, (list, tuple)):
        return ",".join(text_of(one) for one in value)
    if isinstance(value, dict):
        if set(value) == {"pid", "comm"}:
            return f"{value['comm']}({value['pid']})"
        return " ".join(text_of(one) for one in value.values())
    return str(value)


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    # (kind, text): kind "operator", "word" or "quoted". Raises ValueError for an open quote.
    at = 0
    while at < len(text):
        mark = text[at]
        if mark.isspace():
            at += 1
        elif mark in "'\"":
            end = text.find(mark, at + 1)
            if end < 0:
                raise ValueError(f"the {mark} has no end")
            yield "quoted", text[at + 1 : end]
            at = end + 1
        elif (found := _operator(text, at)) is not None:
            yield "operator", found
            at += len(found)
        else:
            end = at
            while end < len(text) and not text[end].isspace() and text[end] not in "'\"":
                if _operator(text, end) is not None:
                    break
                end += 1
            yield "word", text[at:end]
            at = end


def _operator(text: str, at: int) -> str | None:
    for operator in _OPERATORS:
        if text.startswith(operator, at):
            return operator
    return None


class _Parser:
    # Recursive descent: either := both {or both}; both := one {and one}.
    __slots__ = ("_columns", "_text", "rest")

    def __init__(self, text: str, columns: set[str]) -> None:
        self._text = text
        self._columns = columns
        try:
            self.rest = list(_tokens(text))
        except ValueError as error:
            raise self.failure(str(error)) from None

    def failure(self, why: str) -> Failure:
        return Failure(f"filter '{self._text}': {why}")

    def _next_is(self, words: tuple[str, ...]) -> bool:
        if self.rest and self.rest[0][0] != "quoted" and self.rest[0][1].lower() in words:
            del self.rest[0]
            return True
        return False

    def either(self) -> Test:
        tests = [self._both()]
        while self._next_is(_OR):
            tests.append(self._both())
        return tests[0] if len(tests) == 1 else lambda row: any(test(row) for test in tests)

    def _both(self) -> Test:
        tests = [self._one()]
        while self._next_is(_AND):
            tests.append(self._one())
        return tests[0] if len(tests) == 1 else lambda row: all(test(row) for test in tests)

    def _one(self) -> Test:
        if self._next_is(_NOT):
            inner = self._one()
            return lambda row: not inner(row)
        if self._next_is(("(",)):
            inner = self.either()
            if not self._next_is((")",)):
                raise self.failure("a ) is missing")
            return inner
        return self._comparison()

    def _comparison(self) -> Test:
        name = self._operand("a column")
        self._check(name)
        if not self.rest or self.rest[0][1] not in _COMPARISONS or self.rest[0][0] != "operator":
            return lambda row: bool(_value(row, name))
        operator = self.rest.pop(0)[1]
        wanted = self._operand(f"something to compare {name} with")
        number = _number(wanted)
        if operator in ("!=", "!~"):
            same = "==" if operator == "!=" else "~"
            return lambda row: not _holds(_value(row, name), same, wanted, number)
        return lambda row: _holds(_value(row, name), operator, wanted, number)

    def _operand(self, what: str) -> str:
        if not self.rest:
            raise self.failure(f"it ends where {what} should be")
        kind, text = self.rest.pop(0)
        if kind == "operator":
            raise self.failure(f"'{text}' stands where {what} should be")
        return text

    def _check(self, name: str) -> None:
        if not self._columns or name.partition(".")[0] in self._columns:
            return
        from difflib import get_close_matches

        known = sorted(self._columns)
        near = get_close_matches(name, known, 2, 0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}"
        raise self.failure(f"no column is called {name}; {hint}")


def _value(row: Row, name: str) -> object:
    # "pids.comm" is the list of what the elements of "pids" have there.
    if name in row or "." not in name:
        return row.get(name)
    first, _, rest = name.partition(".")
    value = row.get(first)
    if isinstance(value, dict):
        return _value(value, rest)
    if isinstance(value, (list, tuple)):
        return [_value(one, rest) for one in value if isinstance(one, dict)]
    return None


def _number(text: str) -> float | int | None:
    unit = _UNITS.get(text[-1:].lower(), 1)
    digits = text[:-1] if unit > 1 and not text.lower().startswith("0x") else text
    try:
        return int(digits, 0) * (unit if digits is not text else 1)
    except ValueError:
        pass
    try:
        return float(digits) * (unit if digits is not text else 1)
    except ValueError:
        return None


def _holds(value: object, operator: str, wanted: str, number: float | None) -> bool:
    if value is None:
        return False
    if isinstance(value, (list, tuple)):
        return any(_holds(one, operator, wanted, number) for one in value)
    if isinstance(value, bool):
        value = text_of(value)
        wanted = {"true": "yes", "1": "yes", "false": "no", "0": "no"}.get(wanted.lower(), wanted)
        number = None
    if operator == "~":
        return wanted.lower() in text_of(value).lower()
    if isinstance(value, (int, float)) and number is not None:
        return _ordered(value, operator, number)
    if isinstance(value, (int, float)):
        return False
    return _ordered(text_of(value), operator, wanted)


def _ordered(left: object, operator: str, right: object) -> bool:
    if operator in ("==", "="):
        return left == right
    if operator == ">":
        return bool(left > right)  # type: ignore[operator]
    if operator == "<":
        return bool(left < right)  # type: ignore[operator]
    return bool(left >= right if operator == ">=" else left <= right)  # type: ignore[operator]

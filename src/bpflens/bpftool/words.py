"""The words of a command, taken one after the other.

bpftool takes any prefix of a keyword; where several begin alike, the first of the table wins.
:class:`Words` keeps that rule in one place, with the real tool's complaints.

Example::

    words = Words(["n", "counters"])
    words.take_keyword("id", "name", "pinned")     # 'name'
    words.take()                                   # 'counters'
"""

from __future__ import annotations

from bpflens.bpftool.tool import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Usage", "Words", "c_number", "first_match"]


class Usage(Exception):
    """The words make no command: the help of the object is the answer, and a failure."""


def first_match(word: str, names: Iterable[str]) -> str | None:
    """Return the first of ``names`` that begins with ``word``."""
    for name in names:
        if name.startswith(word):
            return name
    return None


class Words:
    """The words not yet taken."""

    __slots__ = ("_at", "_words")

    def __init__(self, words: list[str]) -> None:
        self._words = words
        self._at = 0

    def __len__(self) -> int:
        return len(self._words) - self._at

    def peek(self, ahead: int = 0) -> str | None:
        """Return the next word without taking it, None at the end."""
        at = self._at + ahead
        return self._words[at] if at < len(self._words) else None

    def take(self, what: str = "") -> str:
        """Take the next word; ``what`` names it in the complaint that there is none."""
        word = self.peek()
        if word is None:
            raise Failure(f"expected {what or 'one more argument'}")
        self._at += 1
        return word

    def take_if(self, keyword: str) -> bool:
        """Take the next word if it is ``keyword`` or a prefix of it."""
        word = self.peek()
        if word is None or not keyword.startswith(word):
            return False
        self._at += 1
        return True

    def take_keyword(self, *keywords: str) -> str | None:
        """Take the next word if it is a prefix of one of ``keywords``; return the first such."""
        word = self.peek()
        found = first_match(word, keywords) if word is not None else None
        if found is not None:
            self._at += 1
        return found

    def rest(self) -> list[str]:
        """Take all that is left."""
        found = self._words[self._at :]
        self._at = len(self._words)
        return found

    def need(self, count: int) -> None:
        """Complain unless ``count`` words are left."""
        if len(self) < count:
            before = self._words[self._at - 1] if self._at else (self.peek() or "")
            raise Failure(f"'{before}' needs at least {count} arguments, {len(self)} found")

    def end(self) -> None:
        """Complain of a word that is left over."""
        word = self.peek()
        if word is not None:
            raise Failure(f"what is '{word}'?")

    def number(self, what: str) -> int:
        """Take a number of 32 bits: decimal, 0x.. or 0.. (octal), as strtoul reads it."""
        word = self.take(what)
        found = c_number(word)
        if found is None or found >> 32:
            raise Failure(f"can't parse {word} as {what}")
        return found


def c_number(word: str, base: int = 0) -> int | None:
    """Read a number as strtoul does, None when it is none; no sign."""
    try:
        if base == 0 and len(word) > 1 and word[0] == "0" and word[1] not in "xX":
            base = 8
        return int(word, base) if word[:1].isalnum() and "_" not in word else None
    except ValueError:
        return None

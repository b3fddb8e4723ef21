"""Patterns for the names of things to attach to: ``*``, and sets such as ``[abc]`` or ``[a-z]``.

``?`` is an ordinary character here, as it is in the original. A pattern is cut at its stars into
pieces of fixed length, so that a name is matched by a few calls of ``str`` methods: kernels have
100,000 names to try.

Example::

    Glob("vfs_[rw]*").filter(["vfs_read", "vfs_open", "vfs_write"])     # ['vfs_read', 'vfs_write']
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TypeAlias

    # What stands between two stars: text, or single characters and sets of them.
    Piece: TypeAlias = "str | list[frozenset[str]]"

__all__ = ["Glob", "has_wildcard"]


def has_wildcard(text: str) -> bool:
    """Whether a name is a pattern."""
    return "*" in text or "]" in text[text.find("[") + 1 :] * ("[" in text)


class Glob:
    """A compiled pattern."""

    __slots__ = ("_pieces", "pattern")

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self._pieces = [_piece(text) for text in _split(pattern)]

    def match(self, name: str) -> bool:
        """Whether the whole name fits the pattern."""
        pieces = self._pieces
        first, last = pieces[0], pieces[-1]
        if len(pieces) == 1:
            return len(name) == len(first) and _at(name, first, 0)
        end = len(name) - len(last)
        at = len(first)
        if end < at or not _at(name, first, 0) or not _at(name, last, end):
            return False
        for piece in pieces[1:-1]:
            at = _find(name, piece, at, end)
            if at < 0:
                return False
            at += len(piece)
        return True

    def filter(self, names: Iterable[str]) -> list[str]:
        """Return the names that fit, in their order."""
        pieces = self._pieces
        if len(pieces) == 1 and isinstance(pieces[0], str):
            only = pieces[0]
            return [name for name in names if name == only]
        if len(pieces) == 2 and isinstance(pieces[0], str) and isinstance(pieces[1], str):
            head, tail = pieces[0], pieces[1]
            if not head and not tail:
                return list(names)
            least = len(head) + len(tail)
            return [
                name
                for name in names
                if name.startswith(head) and name.endswith(tail) and len(name) >= least
            ]
        return [name for name in names if self.match(name)]


def _split(pattern: str) -> list[str]:
    # At the stars, but not at those inside a set.
    pieces = [""]
    at = 0
    while at < len(pattern):
        close = _set_end(pattern, at) if pattern[at] == "[" else 0
        if close:
            pieces[-1] += pattern[at:close]
            at = close
            continue
        if pattern[at] == "*":
            pieces.append("")
        else:
            pieces[-1] += pattern[at]
        at += 1
    return pieces


def _set_end(text: str, at: int) -> int:
    # Behind the "]" that closes the "[" here; 0 if there is none, for then "[" means itself.
    first = at + 2 if text[at + 1 : at + 2] in ("!", "^") else at + 1
    return text.find("]", first + 1) + 1


def _piece(text: str) -> Piece:
    if "[" not in text:
        return text
    sets: list[frozenset[str]] = []
    plain = True
    at = 0
    while at < len(text):
        close = _set_end(text, at) if text[at] == "[" else 0
        if close:
            plain = False
            sets.append(_set(text[at + 1 : close - 1]))
            at = close
        else:
            sets.append(frozenset(text[at]))
            at += 1
    return text if plain else sets


def _set(text: str) -> frozenset[str]:
    negated = text[:1] in ("!", "^") and len(text) > 1
    body = text[1:] if negated else text
    members: set[str] = set()
    at = 0
    while at < len(body):
        if body[at + 1 : at + 2] == "-" and at + 2 < len(body):
            members.update(map(chr, range(ord(body[at]), ord(body[at + 2]) + 1)))
            at += 3
        else:
            members.add(body[at])
            at += 1
    # Names of symbols are ASCII, so that the complement is small.
    return frozenset(map(chr, range(1, 128))) - members if negated else frozenset(members)


def _at(name: str, piece: Piece, at: int) -> bool:
    if isinstance(piece, str):
        return name.startswith(piece, at)
    return all(name[at + i] in members for i, members in enumerate(piece))


def _find(name: str, piece: Piece, at: int, end: int) -> int:
    if isinstance(piece, str):
        return name.find(piece, at, end)
    for start in range(at, end - len(piece) + 1):
        if _at(name, piece, start):
            return start
    return -1

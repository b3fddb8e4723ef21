"""Where every piece of a script came from: one integer names a place in any of its files.

A script may consist of several texts (the script itself, imports, the standard library). Each
:class:`Source` occupies a range of one offset space, so that a *position* (an ``int``) names file
and place at once; a span is a ``(start, end)`` pair of positions, ``end`` exclusive. Nothing here
reads files.

Example::

    sources = SourceMap()
    script = sources.add("stdin", "BEGIN { exit() }")
    sources.location(script.base + 8)      # ('stdin', 1, 9)
"""

from __future__ import annotations

from bisect import bisect_right

__all__ = ["Source", "SourceMap"]


class Source:
    """One text: ``name`` as messages show it; ``base`` is the position of its first character."""

    __slots__ = ("_starts", "base", "name", "text")

    def __init__(self, name: str, text: str, base: int = 0) -> None:
        self.name = name
        self.text = text
        self.base = base
        self._starts: list[int] | None = None

    def line_column(self, position: int) -> tuple[int, int]:
        """Return the 1-based line and column of a position; a column counts characters."""
        starts = self._line_starts()
        offset = min(max(position - self.base, 0), len(self.text))
        line = bisect_right(starts, offset)
        return line, offset - starts[line - 1] + 1

    def line(self, number: int) -> str:
        """Return the text of a 1-based line, without its newline ("" past the end)."""
        starts = self._line_starts()
        if not 1 <= number <= len(starts):
            return ""
        end = starts[number] - 1 if number < len(starts) else len(self.text)
        return self.text[starts[number - 1] : end]

    def _line_starts(self) -> list[int]:
        if self._starts is None:
            starts, at = [0], self.text.find("\n")
            while at >= 0:
                starts.append(at + 1)
                at = self.text.find("\n", at + 1)
            self._starts = starts
        return self._starts


class SourceMap:
    """All texts of one script, in the order in which they were added."""

    __slots__ = ("_bases", "sources")

    def __init__(self) -> None:
        self.sources: list[Source] = []
        self._bases: list[int] = []

    def add(self, name: str, text: str) -> Source:
        """Add a text behind those already there and return it."""
        last = self.sources[-1] if self.sources else None
        # One position is left free between texts, so that "end of file" belongs to one of them.
        base = last.base + len(last.text) + 1 if last else 0
        source = Source(name, text, base)
        self.sources.append(source)
        self._bases.append(base)
        return source

    def find(self, position: int) -> Source:
        """Return the text that a position lies in."""
        return self.sources[max(bisect_right(self._bases, position) - 1, 0)]

    def location(self, position: int) -> tuple[str, int, int]:
        """Return ``(file name, line, column)`` of a position."""
        source = self.find(position)
        return (source.name, *source.line_column(position))

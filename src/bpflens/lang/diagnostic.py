"""What is wrong with a script, as data: severity, stable code, message, place, hints.

Passes append to a :class:`Diagnostics`; nobody prints. :func:`render` is the one place that makes
text of them, in the layout that users of bpftrace know::

    stdin:1:9-14: ERROR: Undefined or undeclared variable: $x
    BEGIN { $x + 1 }
            ~~~~~
    HINT: ...

All errors come before all warnings.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bpflens.lang.source import SourceMap

__all__ = ["Diagnostic", "Diagnostics", "render"]


class Diagnostic:
    """One complaint. ``code`` is stable ("undefined-variable"); ``start``/``end`` are positions.

    ``severity`` is ``"error"`` or ``"warning"``. ``notes`` are ``(message, start, end)`` triples
    pointing at other places that matter.
    """

    __slots__ = ("code", "end", "hints", "message", "notes", "severity", "start")

    def __init__(
        self,
        severity: str,
        code: str,
        message: str,
        start: int,
        end: int,
        hints: Sequence[str] = (),
        notes: Sequence[tuple[str, int, int]] = (),
    ) -> None:
        self.severity = severity
        self.code = code
        self.message = message
        self.start = start
        self.end = end
        self.hints = list(hints)
        self.notes = list(notes)

    def __str__(self) -> str:
        return self.message

    def __repr__(self) -> str:
        return (
            f"Diagnostic({self.severity}, {self.code}, {self.message!r}, {self.start}, {self.end})"
        )


class Diagnostics:
    """A growing list of diagnostics, shared by all passes of one compilation."""

    __slots__ = ("items",)

    def __init__(self) -> None:
        self.items: list[Diagnostic] = []

    def error(self, code: str, message: str, start: int, end: int, *hints: str) -> Diagnostic:
        """Append an error and return it, so that the caller may add notes."""
        return self._add(Diagnostic("error", code, message, start, end, hints))

    def warning(self, code: str, message: str, start: int, end: int, *hints: str) -> Diagnostic:
        """Append a warning and return it."""
        return self._add(Diagnostic("warning", code, message, start, end, hints))

    @property
    def has_errors(self) -> bool:
        """Whether any of them is an error."""
        return any(item.severity == "error" for item in self.items)

    def errors(self) -> list[Diagnostic]:
        """Return the errors, in order of appearance."""
        return [item for item in self.items if item.severity == "error"]

    def __iter__(self) -> Iterator[Diagnostic]:
        return iter(self.items)

    def _add(self, item: Diagnostic) -> Diagnostic:
        # A pass that visits a node twice (macro expansion, type resolution) must not say it twice.
        for other in self.items:
            if (other.code, other.message, other.start, other.end) == (
                item.code, item.message, item.start, item.end,
            ):  # fmt: skip
                return other
        self.items.append(item)
        return item


def render(items: Iterable[Diagnostic], sources: SourceMap) -> str:
    """Turn diagnostics into text, errors first; the empty string for none."""
    ordered = sorted(items, key=lambda item: item.severity != "error")
    return "".join(_render_one(item, sources) for item in ordered)


def _render_one(item: Diagnostic, sources: SourceMap) -> str:
    label = "ERROR" if item.severity == "error" else "WARNING"
    lines = [_place(label, item.message, item.start, item.end, sources)]
    lines += [_place("NOTE", *note, sources) for note in item.notes]
    lines += [f"HINT: {hint}\n" for hint in item.hints]
    return "".join(lines)


def _place(label: str, message: str, start: int, end: int, sources: SourceMap) -> str:
    source = sources.find(start)
    line, column = source.line_column(start)
    last_line, last_column = source.line_column(max(end, start))
    if last_line != line:
        return f"{source.name}:{line}-{last_line}: {label}: {message}\n"
    last_column = max(last_column, column + 1)
    text = source.line(line)
    # The real tool shows a tab as four blanks; the underline must stay below what it means.
    before = text[: column - 1].replace("\t", "    ")
    marked = text[column - 1 : last_column - 1].replace("\t", "    ")
    return (
        f"{source.name}:{line}:{column}-{last_column}: {label}: {message}\n"
        f"{text.replace(chr(9), '    ')}\n{' ' * len(before)}{'~' * max(len(marked), 1)}\n"
    )

"""Glob patterns as regular expressions that run over a blob of names, without cutting it up.

``*`` (any run), ``?`` (one character) and ``[...]``, ``[!...]`` (a set) are translated for bytes
in which names end at one of the ``stops``; so a match at a known place needs no copy of the name.
No pattern takes more than linear time per place and star: each literal behind a star is searched
once and not given back.

It knows no ``{a,b}`` and no escapes; a ``[`` without its ``]`` is a plain character.

Example::

    match = compile_glob(b"str*cmp", b"\\0").match
    match(b"\\0strcmp\\0", 1) is not None      # True
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
    from collections.abc import Iterator

__all__ = ["compile_glob", "is_glob", "literal_prefix", "translate_glob"]


def is_glob(name: str) -> bool:
    """Whether a name has a character that makes it a pattern."""
    return "*" in name or "?" in name or "[" in name


def literal_prefix(pattern: bytes) -> bytes:
    """Return what stands before the first special character."""
    ends = [place for place in map(pattern.find, (b"*", b"?", b"[")) if place >= 0]
    return pattern[: min(ends, default=len(pattern))]


def compile_glob(pattern: bytes, stops: bytes) -> re.Pattern[bytes]:
    """Compile a pattern whose match covers a whole name and is followed by one of ``stops``."""
    # Imported here: re takes 6 ms, and most questions ask for one name.
    import re

    return re.compile(translate_glob(pattern, stops) + b"(?=[" + _escape(stops) + b"])")


def translate_glob(pattern: bytes, stops: bytes) -> bytes:
    """Return the regular expression of a pattern, without what must follow it."""
    anything = b"[^" + _escape(stops) + b"]"
    # The runs between stars, each a list of pieces.
    runs: list[list[bytes]] = [[]]
    for piece in _pieces(pattern):
        if piece == b"*":
            if runs[-1] or len(runs) == 1:
                runs.append([])
        elif piece == b"?":
            runs[-1].append(anything)
        elif len(piece) > 1:
            runs[-1].append(b"(?![" + _escape(stops) + b"])" + piece)
        else:
            runs[-1].append(_escape(piece))
    if len(runs) == 1:
        return b"".join(runs[0])
    first, *middle, last = (b"".join(run) for run in runs)
    # Atomic groups: the leftmost place of a middle run is always good enough.
    searches = b"".join(b"(?>" + anything + b"*?" + run + b")" for run in middle)
    return first + searches + anything + b"*" + last


def _pieces(pattern: bytes) -> Iterator[bytes]:
    # Single characters, and whole sets as regular expressions.
    place = 0
    while place < len(pattern):
        character = pattern[place : place + 1]
        end = pattern.find(b"]", place + 2) if character == b"[" else -1
        if end < 0:
            yield character
            place += 1
            continue
        body = pattern[place + 1 : end]
        negated = body[:1] in (b"!", b"^")
        yield b"[" + (b"^" if negated else b"") + _set(body[1:] if negated else body) + b"]"
        place = end + 1


def _set(body: bytes) -> bytes:
    # "a-f_" keeps its range; everything else loses its meaning.
    return b"-".join(_escape(part) for part in body.split(b"-")) if body else b"^\\s\\S"


def _escape(text: bytes) -> bytes:
    # Every ASCII character that is not a letter, a digit or "_" loses its meaning.
    return b"".join(
        b"\\" + bytes((byte,)) if byte < 128 and not (chr(byte).isalnum() or byte == 95)
        else bytes((byte,))
        for byte in text
    )  # fmt: skip

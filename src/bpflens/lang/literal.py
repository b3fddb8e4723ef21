"""The value of an integer as people write it: in scripts, in attach points, in configuration.

One rule for all of them: decimal, octal (``0755``) and hexadecimal digits with ``_`` between them,
``<digit>e<digits>`` for powers of ten, C suffixes (accepted, and held to their range) and durations
(``ns us ms s m h d``), which become nanoseconds. Values are unsigned 64-bit; a sign is not part
of a literal.

Example::

    to_uint("1_000ms")      # 1000000000
    to_uint("99x")          # LiteralError("invalid trailing bytes: 99x")
"""

from __future__ import annotations

__all__ = ["U64_MAX", "LiteralError", "integer_suffix", "to_uint"]

U64_MAX = (1 << 64) - 1

_DIGITS = "0123456789"
_OCTAL = "01234567"
_HEX = "0123456789abcdefABCDEF"

# suffix -> (largest value of that type, factor)
_SUFFIXES = {
    "": (U64_MAX, 1),
    "u": ((1 << 32) - 1, 1),
    "ul": (U64_MAX, 1),
    "ull": (U64_MAX, 1),
    "l": ((1 << 63) - 1, 1),
    "ll": ((1 << 63) - 1, 1),
    "ns": (U64_MAX, 1),
    "us": (U64_MAX, 10**3),
    "ms": (U64_MAX, 10**6),
    "s": (U64_MAX, 10**9),
    "m": (U64_MAX, 60 * 10**9),
    "h": (U64_MAX, 3600 * 10**9),
    "d": (U64_MAX, 86400 * 10**9),
}

# No 64-bit number has more digits than this, and Python refuses to read very long ones.
_LONGEST = 64


class LiteralError(ValueError):
    """An integer that cannot be read; the message says why and repeats the text."""


def to_uint(text: str) -> int:
    """Return the value of an integer literal; raise :class:`LiteralError` if it is none."""
    if text.isascii() and text.isdigit() and text[0] != "0" and len(text) < 20:
        return int(text)
    plain = text.replace("_", "")
    digits, base = plain, 10
    if plain[:2] in ("0x", "0X"):
        digits, base = plain[2:], 16
    elif len(plain) > 1 and plain[0] == "0" and plain[1] in _DIGITS:
        digits, base = plain[1:] if plain[1] in _OCTAL else plain, 8
    end = _span(digits, _HEX if base == 16 else _OCTAL if base == 8 else _DIGITS)
    if end == 0:
        raise LiteralError(f"invalid integer: {text}")
    value = int(digits[:end], base) if end <= _LONGEST else U64_MAX + 1
    if base == 10 and digits[end : end + 1] in ("e", "E"):
        value, end = _scientific(text, digits, value, end)
    if value > U64_MAX:
        raise _overflow(text, U64_MAX)
    suffix = _lower(digits[end:])
    if suffix not in _SUFFIXES:
        raise LiteralError(f"invalid trailing bytes: {text}")
    largest, factor = _SUFFIXES[suffix]
    if value > largest // factor:
        raise _overflow(text, largest)
    return value * factor


def integer_suffix(text: str) -> tuple[int, int]:
    """Return where a word that begins like an integer goes wrong, as ``(start, end)``.

    The two are equal if there is nothing wrong with its ending. Used to point at ``"10parsecs"``.
    """
    if text[:2] in ("0x", "0X"):
        end = 2 + _span(text[2:], _HEX + "_")
    else:
        end = _span(text, _DIGITS + "_")
        if text[end : end + 1] in ("e", "E"):
            end += 1
            end += _span(text[end:], _DIGITS + "_")
    suffix = _lower(text[end:])
    return end + max(n for n in range(4) if suffix[:n] in _SUFFIXES), len(text)


def _scientific(text: str, digits: str, value: int, end: int) -> tuple[int, int]:
    stop = end + 1 + _span(digits[end + 1 :], _DIGITS)
    if stop == end + 1:
        return value, end  # "5e": the "e" is a suffix that does not exist
    if not 1 <= value <= 9:
        raise LiteralError(f"coefficient part of scientific literal must be 1-9: {text}")
    power = digits[end + 1 : stop]
    if len(power) > 2 or int(power) > 19:
        raise _overflow(text, U64_MAX)
    return value * 10 ** int(power), stop


def _span(text: str, alphabet: str) -> int:
    # How many characters at the start of the text belong to the alphabet.
    return len(text) - len(text.lstrip(alphabet))


def _lower(suffix: str) -> str:
    # C's suffixes may be capitals; "1M" is not a minute.
    return suffix.replace("U", "u").replace("L", "l")


def _overflow(text: str, largest: int) -> LiteralError:
    return LiteralError(f"overflow error, maximum value is {largest}: {text}")

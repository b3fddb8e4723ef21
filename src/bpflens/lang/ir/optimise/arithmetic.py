"""What BPF's arithmetic and comparisons give for known numbers.

Numbers are kept as signed 64-bit integers, the form in which immediates are written.

Example::

    compute("div", -1, 2, 64)        # 0x7fffffffffffffff: div is unsigned
    holds("lt", 1, -1, 64)           # True: lt is unsigned
"""

from __future__ import annotations

__all__ = ["byte_swap", "compute", "holds", "sign_extend"]

_SIGNED = frozenset(("sgt", "sge", "slt", "sle"))


def sign_extend(value: int, bits: int = 64) -> int:
    """Return the low ``bits`` of ``value`` as a signed number."""
    half = 1 << (bits - 1)
    return ((value + half) & ((1 << bits) - 1)) - half


def byte_swap(value: int, bits: int) -> int:
    """Return the low ``bits`` of ``value`` with their bytes reversed."""
    low = value & ((1 << bits) - 1)
    return sign_extend(int.from_bytes(low.to_bytes(bits // 8, "little"), "big"))


def compute(name: str, a: int, b: int, bits: int) -> int:
    """Return ``a name b`` on ``bits`` (32: zero-extended) as ``alu`` computes it."""
    mask = (1 << bits) - 1
    x, y = a & mask, b & mask
    result: int
    if name == "add":
        result = x + y
    elif name == "sub":
        result = x - y
    elif name == "mul":
        result = x * y
    elif name == "and":
        result = x & y
    elif name == "or":
        result = x | y
    elif name == "xor":
        result = x ^ y
    elif name == "lsh":
        result = x << (y & bits - 1)
    elif name == "rsh":
        result = x >> (y & bits - 1)
    elif name == "arsh":
        result = sign_extend(x, bits) >> (y & bits - 1)
    elif name == "div":
        result = x // y if y else 0
    elif name == "mod":
        result = x % y if y else x
    else:
        result = _signed_division(name, sign_extend(x, bits), sign_extend(y, bits))
    return sign_extend(result & mask)


def _signed_division(name: str, x: int, y: int) -> int:
    # Python rounds down, C and BPF towards zero.
    if name == "sdiv":
        if not y:
            return 0
        return abs(x) // abs(y) if (x < 0) == (y < 0) else -(abs(x) // abs(y))
    if not y:
        return x
    return -(abs(x) % abs(y)) if x < 0 else abs(x) % abs(y)


def holds(name: str, a: int, b: int, bits: int) -> bool:
    """Return whether ``a name b`` holds on ``bits``, as ``branch`` decides it."""
    if name in _SIGNED:
        x, y = sign_extend(a, bits), sign_extend(b, bits)
    else:
        x, y = a & (1 << bits) - 1, b & (1 << bits) - 1
    if name == "eq":
        return x == y
    if name == "ne":
        return x != y
    if name == "set":
        return bool(x & y)
    if name in ("gt", "sgt"):
        return x > y
    if name in ("ge", "sge"):
        return x >= y
    if name in ("lt", "slt"):
        return x < y
    return x <= y

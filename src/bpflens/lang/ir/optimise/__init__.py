"""Better code with the same meaning, one pass a module."""

from __future__ import annotations

from bpflens.lang.ir.ops import Function

__all__ = ["optimise"]


def optimise(fn: Function, check: bool = False) -> None:
    """Run all passes on ``fn``, in place."""

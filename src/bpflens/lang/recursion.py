"""Room for walking deep trees recursively.

The parser bounds the depth of a tree (:data:`~bpflens.lang.parse_type.MAX_NESTING` levels of
brackets and :data:`~bpflens.lang.parse_expression.MAX_OPERATORS` operators in a row), but that is
more than Python's own limit of 1,000 frames. A pass that walks trees runs inside :func:`roomy`.

Example::

    tree = roomy(lambda: folder.fold(tree))
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    _T = TypeVar("_T")

__all__ = ["roomy"]

# Four frames for each of 2,000 operators, and ten for each of 200 levels of blocks. Frames of
# Python functions do not use the C stack, so that the only price is their memory.
_FRAMES = 10_000


def roomy(function: Callable[[], _T]) -> _T:
    """Call a function with enough frames for the deepest tree that the parser lets through."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(limit + _FRAMES)
    try:
        return function()
    finally:
        sys.setrecursionlimit(limit)

"""C++ and Rust names as people write them."""

from __future__ import annotations

__all__ = ["demangle"]


def demangle(name: str) -> str:
    """Return the name."""
    return name

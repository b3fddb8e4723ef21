"""GFP flags: the bits of a memory allocation's flags by name, for ``%gr``.

The order is that of the kernel's own tables (include/trace/events/mmflags.h): combinations come
first, then the bits that are left. Bits are those of include/linux/gfp_types.h of Linux 6.18.

Example::

    describe(0xCC0)     # "GFP_KERNEL"
"""

from __future__ import annotations

__all__ = ["describe"]

_BITS = {
    name: 1 << number
    for number, name in enumerate(
        "DMA HIGHMEM DMA32 MOVABLE RECLAIMABLE HIGH IO FS ZERO UNUSED DIRECT_RECLAIM "
        "KSWAPD_RECLAIM WRITE NOWARN RETRY_MAYFAIL NOFAIL NORETRY MEMALLOC COMP NOMEMALLOC "
        "HARDWALL THISNODE ACCOUNT ZEROTAGS SKIP_ZERO SKIP_KASAN NO_OBJ_EXT".split()
    )
}


def _bits(text: str) -> int:
    return sum(_BITS[name] for name in text.split())


_KERNEL = "DIRECT_RECLAIM KSWAPD_RECLAIM IO FS"
_USER = f"{_KERNEL} HARDWALL"
_LIGHT = f"{_USER} HIGHMEM MOVABLE COMP NOMEMALLOC NOWARN SKIP_KASAN"
_NAMES: tuple[tuple[str, int], ...] = (
    ("GFP_TRANSHUGE", _bits(_LIGHT) & ~_BITS["KSWAPD_RECLAIM"]),
    ("GFP_TRANSHUGE_LIGHT", _bits(_LIGHT) & ~_BITS["DIRECT_RECLAIM"] & ~_BITS["KSWAPD_RECLAIM"]),
    ("GFP_HIGHUSER_MOVABLE", _bits(f"{_USER} HIGHMEM MOVABLE SKIP_KASAN")),
    ("GFP_HIGHUSER", _bits(f"{_USER} HIGHMEM")),
    ("GFP_USER", _bits(_USER)),
    ("GFP_KERNEL_ACCOUNT", _bits(f"{_KERNEL} ACCOUNT")),
    ("GFP_KERNEL", _bits(_KERNEL)),
    ("GFP_NOFS", _bits("DIRECT_RECLAIM KSWAPD_RECLAIM IO")),
    ("GFP_ATOMIC", _bits("HIGH KSWAPD_RECLAIM")),
    ("GFP_NOIO", _bits("DIRECT_RECLAIM KSWAPD_RECLAIM")),
    ("GFP_NOWAIT", _bits("KSWAPD_RECLAIM NOWARN")),
    ("GFP_DMA", _BITS["DMA"]),
    ("__GFP_HIGHMEM", _BITS["HIGHMEM"]),
    ("GFP_DMA32", _BITS["DMA32"]),
    *(
        (f"__GFP_{name}", _BITS[name])
        for name in (
            "HIGH IO FS ZERO DIRECT_RECLAIM KSWAPD_RECLAIM WRITE NOWARN RETRY_MAYFAIL NOFAIL "
            "NORETRY MEMALLOC COMP NOMEMALLOC HARDWALL THISNODE ACCOUNT ZEROTAGS SKIP_ZERO "
            "SKIP_KASAN NO_OBJ_EXT"
        ).split()
    ),
)


def describe(flags: int) -> str:
    """Return the names of all flags, joined by ``|``; bits without a name come last, in hex."""
    shown, left = [], flags
    for name, bits in _NAMES:
        if left & bits == bits:
            shown.append(name)
            left &= ~bits
    if left or not shown:
        shown.append(f"{left:#x}" if left else "0")
    return "|".join(shown)

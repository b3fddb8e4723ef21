"""The memory an interpreted program sees: regions at addresses, and nothing between them.

A region is a ``bytearray`` placed somewhere in a 64-bit address space: a stack frame, a context, a
map value, an object that a test puts there to be probed. Every access must lie inside one region
(and not write to a read-only one); anything else raises :class:`MachineError`, as the verifier or
the kernel's fault handler would have stopped it.

Addresses at 1 << 47 and above are the kernel's, those below the user's; regions placed without an
address go to the kernel's half, with unmapped room between them.

Example::

    memory = Memory()
    at = memory.add(bytearray(b"hello\\0"), "greeting")
    memory.load(at, 1)            # 0x68
"""

from __future__ import annotations

from bisect import bisect_right, insort

from bpflens.errors import Error

__all__ = ["USER_END", "MachineError", "Memory", "Region"]

USER_END = 1 << 47

# Where regions without an address go, and the unmapped room kept behind each.
_KERNEL_HEAP = 0xFFFF888000000000
_GAP = 4096


class MachineError(Error):
    """An interpreted program did what no kernel would let it do.

    ``insn`` is the slot of the instruction (None outside of a run), ``reason`` what was wrong.
    """

    def __init__(self, reason: str, insn: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.insn = insn

    def __str__(self) -> str:
        return self.reason if self.insn is None else f"instruction {self.insn}: {self.reason}"


class Region:
    """A stretch of memory: ``base`` address, ``data``, a ``name`` for messages, ``writable``."""

    __slots__ = ("base", "data", "name", "writable")

    def __init__(self, base: int, data: bytearray, name: str, writable: bool) -> None:
        self.base = base
        self.data = data
        self.name = name
        self.writable = writable


class Memory:
    """An address space: regions by address, with checked loads and stores (little-endian)."""

    __slots__ = ("_bases", "_last", "_next", "_regions")

    def __init__(self) -> None:
        self._bases: list[int] = []
        self._regions: dict[int, Region] = {}
        self._next = _KERNEL_HEAP
        self._last = Region(0, bytearray(), "", False)

    def add(
        self, data: bytearray, name: str, *, writable: bool = True, at: int | None = None
    ) -> int:
        """Place ``data`` (not copied) into the address space and return its address.

        Raises ValueError when ``at`` overlaps another region.
        """
        if at is None:
            at = self._next
            self._next += (len(data) + 2 * _GAP - 1) // _GAP * _GAP
        i = bisect_right(self._bases, at)
        if i and at < self._bases[i - 1] + max(len(self._regions[self._bases[i - 1]].data), 1):
            raise ValueError(f"{name} at {at:#x} overlaps {self._regions[self._bases[i - 1]].name}")
        if i < len(self._bases) and at + len(data) > self._bases[i]:
            raise ValueError(f"{name} at {at:#x} overlaps {self._regions[self._bases[i]].name}")
        insort(self._bases, at)
        self._regions[at] = Region(at, data, name, writable)
        return at

    def remove(self, base: int) -> None:
        """Take the region at ``base`` away again; later accesses to it fail."""
        region = self._regions.pop(base)
        del self._bases[bisect_right(self._bases, base) - 1]
        if self._last is region:
            self._last = Region(0, bytearray(), "", False)

    def find(self, address: int, size: int, write: bool = False) -> tuple[bytearray, int]:
        """Return the bytes that hold ``address`` and the offset in them.

        Raises MachineError when ``size`` bytes from there are not all in one region.
        """
        region = self._last
        offset = address - region.base
        if not 0 <= offset <= len(region.data) - size:
            i = bisect_right(self._bases, address)
            if not i:
                raise _outside(address, size, write, None)
            region = self._regions[self._bases[i - 1]]
            offset = address - region.base
            if offset + size > len(region.data):
                raise _outside(address, size, write, region)
            self._last = region
        if write and not region.writable:
            raise MachineError(f"write of {size} bytes to read-only {region.name}+{offset}")
        return region.data, offset

    def load(self, address: int, size: int) -> int:
        """Return the unsigned little-endian number of ``size`` bytes at ``address``."""
        data, offset = self.find(address, size)
        return int.from_bytes(data[offset : offset + size], "little")

    def store(self, address: int, size: int, value: int) -> None:
        """Store the low ``size`` bytes of ``value`` at ``address``."""
        data, offset = self.find(address, size, True)
        data[offset : offset + size] = (value & (1 << 8 * size) - 1).to_bytes(size, "little")

    def read(self, address: int, size: int) -> bytes:
        """Return ``size`` bytes from ``address`` (b"" for size 0 wherever it is)."""
        if not size:
            return b""
        data, offset = self.find(address, size)
        return bytes(data[offset : offset + size])

    def write(self, address: int, value: bytes | bytearray) -> None:
        """Store bytes at ``address``."""
        if value:
            data, offset = self.find(address, len(value), True)
            data[offset : offset + len(value)] = value

    def read_string(self, address: int, limit: int) -> bytes:
        """Return the bytes before the first NUL, at most ``limit``; they may end a region."""
        data, offset = self.find(address, 1)
        end = data.find(0, offset, offset + limit)
        if end >= 0:
            return bytes(data[offset:end])
        if len(data) - offset < limit:
            return bytes(data[offset:]) + self.read_string(
                address + len(data) - offset, limit - len(data) + offset
            )
        return bytes(data[offset : offset + limit])


def _outside(address: int, size: int, write: bool, below: Region | None) -> MachineError:
    what = "write" if write else "read"
    text = f"{what} of {size} bytes at {address:#x}"
    if address < 4096:
        text += ": a NULL pointer"
    elif below is not None and address - below.base < len(below.data) + _GAP:
        text += f": beyond {below.name} ({len(below.data)} bytes) at offset {address - below.base}"
    else:
        text += ": no memory there"
    return MachineError(text)

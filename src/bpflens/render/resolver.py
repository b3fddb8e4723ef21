"""What rendering asks about the machine: names for addresses, numbers and times.

:class:`Resolver` is the base and answers without knowing anything (addresses stay numbers), which
is what tests and offline readers want; :mod:`bpflens.session` has the one that asks the system.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Frame", "Resolver"]


class Frame:
    """One frame of a stack: address, symbol (or ""), offset in it, module or file, source place."""

    __slots__ = ("address", "module", "offset", "place", "symbol")

    def __init__(
        self, address: int, symbol: str = "", offset: int = 0, module: str = "", place: str = ""
    ) -> None:
        self.address = address
        self.symbol = symbol
        self.offset = offset
        self.module = module
        self.place = place


class Resolver:
    """Answers nothing: every name is a number in hex."""

    def kernel_symbol(self, address: int) -> Frame:
        """Name a kernel address."""
        return Frame(address)

    def user_symbol(self, address: int, pid: int, probe: int) -> Frame:
        """Name an address of a process."""
        return Frame(address)

    def stack(self, user: bool, number: int, pid: int, limit: int) -> Sequence[Frame] | None:
        """Return the frames behind a stack's number, None where it could not be taken."""
        return None

    def user_name(self, uid: int) -> str:
        """Return the name of a user."""
        return str(uid)

    def cgroup_path(self, cgroup: int, pattern: int) -> str:
        """Return the paths of a cgroup, ``unified:/path``."""
        return str(cgroup)

    def wall_time(self, nanoseconds: int, clock: int) -> int:
        """Turn a time of one of the kernel's clocks into nanoseconds since 1970."""
        return nanoseconds

    def timestamp(self, nanoseconds: int, clock: int, format: int) -> str:
        """Format a time of one of the kernel's clocks."""
        return "(?)"

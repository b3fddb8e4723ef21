"""An object of the kernel held by a file descriptor.

Turns a descriptor into something that closes itself. Invariants: a handle owns its descriptor;
after :meth:`Handle.close` any use raises ValueError instead of reaching a descriptor that
belongs to somebody else by then.

Example::

    with Map.by_name("counters") as counters:   # a Handle
        counters.pin("/sys/fs/bpf/counters")
"""

from __future__ import annotations

import os

from bpflens.kernel import object_command as _objects

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

__all__ = ["Handle"]


class Handle:
    """Base of Map, Program, Link and Btf: owns ``fd``; a context manager that closes it."""

    __slots__ = ("_fd", "__weakref__")

    def __init__(self, fd: int) -> None:
        self._fd = fd

    @property
    def fd(self) -> int:
        """The file descriptor. Raises ValueError when the object has been closed."""
        if self._fd < 0:
            raise ValueError(f"this {type(self).__name__} is closed")
        return self._fd

    def fileno(self) -> int:
        """Return the file descriptor, as files do."""
        return self.fd

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` or :meth:`release` was called."""
        return self._fd < 0

    def close(self) -> None:
        """Close the descriptor; the object lives on while others hold it or it is pinned."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def release(self) -> int:
        """Give the descriptor away: the caller closes it from now on."""
        fd = self.fd
        self._fd = -1
        return fd

    def pin(self, path: str) -> None:
        """Pin the object at ``path`` in a BPF file system, so that it outlives this process."""
        _objects.obj_pin(self.fd, path)

    def fdinfo(self) -> dict[str, str]:
        """Return what /proc/self/fdinfo says of the descriptor (``"memlock"``, ``"frozen"``...)."""
        found = {}
        with open(f"/proc/self/fdinfo/{self.fd}") as file:
            for line in file:
                name, _, value = line.partition(":")
                found[name] = value.strip()
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # A handle whose creation failed half way has no _fd.
        fd = getattr(self, "_fd", -1)
        if fd >= 0:
            self._fd = -1
            os.close(fd)

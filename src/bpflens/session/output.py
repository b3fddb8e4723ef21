"""Where a run's results and messages go: buffered writes, and what happens when nobody reads."""

from __future__ import annotations

import os

__all__ = ["Output"]

_FLUSH_SIZE = 1 << 16


class Output:
    """Results on ``fd``, messages on ``message_fd``.

    ``mode`` is ``"full"`` (written in large pieces), ``"line"`` or ``"none"`` (written at once).
    ``broken`` becomes True when the reader is gone (EPIPE); ``problem`` holds any other reason why
    a write failed (a full disk), after which nothing more is written.
    """

    def __init__(self, fd: int = 1, message_fd: int = 2, mode: str = "line") -> None:
        self.fd = fd
        self.message_fd = message_fd
        self.mode = mode
        self.broken = False
        self.problem: OSError | None = None
        self._parts: list[bytes] = []
        self._size = 0

    def write(self, data: bytes) -> None:
        """Add results; they are written when there is enough, or at the next :meth:`flush`."""
        if not data:
            return
        self._parts.append(data)
        self._size += len(data)
        if self._size >= _FLUSH_SIZE:
            self._write_out()

    def flush(self) -> None:
        """Write what has been added so far, unless the mode is to wait for more."""
        if self._parts and self.mode != "full":
            self._write_out()

    def close(self) -> None:
        """Write everything that is left."""
        self._write_out()

    def message(self, text: str) -> None:
        """Write a message for people; results added before come first."""
        self.message_bytes(text.encode("utf-8", "surrogateescape"))

    def message_bytes(self, data: bytes, *, ahead: bool = False) -> None:
        """Write an encoded message, ``ahead`` of results that have not been written yet or not."""
        if not ahead:
            self.flush()
        try:
            _write_all(self.message_fd, data)
        except OSError:
            # Nobody listens to messages any more; results go on.
            return

    def _write_out(self) -> None:
        data, self._parts, self._size = b"".join(self._parts), [], 0
        if self.broken or not data:
            return
        try:
            _write_all(self.fd, data)
        except BrokenPipeError:
            self.broken = True
        except OSError as error:
            self.broken = True
            self.problem = error


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]

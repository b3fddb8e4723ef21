"""The command of ``-c``: started at once for its pid, held back until it is released."""

from __future__ import annotations

import os

from bpflens.errors import NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import Self
else:
    import _signal as signal  # see run.py

__all__ = ["Child"]


class Child:
    """The command of ``-c``: started stopped, released once everything is attached."""

    def __init__(self, command: str) -> None:
        self.pid = 0
        self._command = command
        self._gate = -1
        self._status: int | None = None

    def __enter__(self) -> Self:
        if self._command:
            self._start()
        return self

    def _start(self) -> None:
        from shlex import split
        from shutil import which

        words = split(self._command)
        path = which(words[0]) if words else None
        if path is None:
            raise NotFound("program", words[0] if words else "''")
        gate, self._gate = os.pipe2(os.O_CLOEXEC)
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._gate)
            # Nothing is written to the gate if the tracer dies: end of file lets go as well.
            released = os.read(gate, 1)
            if released:
                os.execv(path, words)
            os._exit(127)
        os.close(gate)

    def release(self) -> None:
        """Let the command run."""
        if self._gate >= 0:
            os.write(self._gate, b"x")
            os.close(self._gate)
            self._gate = -1

    def is_running(self) -> bool:
        """Whether the command still runs; reaps it when it has ended."""
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._status = status
        return self._status is None

    def __exit__(self, *_: object) -> None:
        if not self.pid:
            return
        if self._gate >= 0:
            os.close(self._gate)
        if self._status is None and self.is_running():
            os.kill(self.pid, signal.SIGTERM)
            os.waitpid(self.pid, 0)

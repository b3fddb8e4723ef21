"""A tracing command that runs beside a load, and what the kernel says of its programs.

Example::

    with Load("getppid", 100_000) as load, Tracer(command, SCRIPT, load.pid) as tracer:
        load.go()
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time

from bench.measure import Child, Failed, environment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import IO, Self

__all__ = ["Load", "Tracer", "kernel_statistics", "load_program"]

_READY = b"__BPFTRACE_NOTIFY_PROBES_ATTACHED"
_HERE = os.path.dirname(os.path.abspath(__file__))


class Tracer:
    """The command at work on a script; entering waits until its probes are attached."""

    def __init__(
        self,
        command: Sequence[str],
        script: str,
        *arguments: object,
        cpu: int | None = None,
        options: Sequence[str] = (),
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self._command = [*command, *options, "-e", script, *map(str, arguments)]
        self._cpu = cpu
        self._environment = environment(**{_READY.decode(): "1"}, **(variables or {}))
        self._stopped = False
        self.attach_seconds = 0.0
        self.exit_seconds = 0.0
        self.cpu_seconds = 0.0
        self.memory = 0.0
        self.output = b""
        self.errors = b""

    def __enter__(self) -> Self:
        self._out, self._err = tempfile.TemporaryFile(), tempfile.TemporaryFile()
        self._child = Child(self._command, self._out, self._err, self._environment)
        if self._cpu is not None:
            os.sched_setaffinity(self._child.pid, {self._cpu})
        try:
            self._wait_until_attached(self._child.started + 120)
        except BaseException:
            self._child.kill()
            self.__exit__()
            raise
        self.attach_seconds = time.monotonic() - self._child.started
        return self

    def __exit__(self, *_: object) -> None:
        if not self._stopped:
            self.stop()
        self._out.close()
        self._err.close()

    def stop(self) -> None:
        """Press Ctrl-C, and wait for the end."""
        self._stopped = True
        started = time.monotonic()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._child.pid, signal.SIGINT)
        usage = self._child.wait(120)
        self.exit_seconds = time.monotonic() - started
        self.cpu_seconds, self.memory = usage.cpu, usage.memory
        self.output, self.errors = self._read(self._out), self._read(self._err)

    def written(self) -> int:
        """Return how many bytes of output there are so far."""
        return os.fstat(self._out.fileno()).st_size

    def _wait_until_attached(self, end: float) -> None:
        while time.monotonic() < end:
            text = self._read(self._out, 4096) + self._read(self._err, 4096)
            if _READY in text:
                return
            if self._child.ended():
                last = text.decode(errors="replace").strip().splitlines()[-1:]
                raise Failed(f"ended before its probes were attached: {' '.join(last)}")
            time.sleep(0.002)
        raise Failed("did not say that its probes are attached")

    @staticmethod
    def _read(file: IO[bytes], size: int = 1 << 30) -> bytes:
        return os.pread(file.fileno(), size, 0)


class Load:
    """A program that makes events: ``count`` calls of one kind each time it is told to go.

    ``seconds`` is what the last round took of CPU. It runs on one CPU, so that a tracer can be
    put on another.
    """

    def __init__(self, kind: str, count: int, cpu: int = 0) -> None:
        self.count = count
        self.seconds = 0.0
        self._command = [load_program(), kind, str(count), str(cpu)]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self.pid = self._process.pid
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=30)

    def go(self) -> None:
        """Make the events, and wait until they are made."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("go\n")
        self.seconds = int(self._process.stdout.readline()) / 1e9


def load_program() -> str:
    """Return the path of the load generator, compiling it when it is older than its source."""
    source, program = os.path.join(_HERE, "load.c"), os.path.join(_HERE, "load")
    if not os.path.exists(program) or os.path.getmtime(program) < os.path.getmtime(source):
        try:
            subprocess.run(["cc", "-O2", "-o", program, source], check=True)
        except FileNotFoundError:
            raise SystemExit("bench: the load generator needs a C compiler (cc)") from None
    return program


@contextlib.contextmanager
def kernel_statistics() -> Iterator[None]:
    """Let the kernel keep the run time of every program while this is entered."""
    from bpflens.kernel import bpf

    fd = bpf.enable_stats()
    try:
        yield
    finally:
        os.close(fd)

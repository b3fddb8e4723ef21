"""Run a command and weigh it; count its instructions; rows of results.

Example::

    usage = run(["bpftrace", "--version"])
    usage.wall, usage.cpu, usage.memory      # seconds, seconds, MiB
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import IO

__all__ = [
    "Child",
    "Failed",
    "Row",
    "Usage",
    "environment",
    "in_turn",
    "instructions",
    "least",
    "median",
    "run",
]


class Usage:
    """What one run of a command took: seconds, MiB, and what came out."""

    __slots__ = ("cpu", "memory", "output", "status", "wall")

    def __init__(self, wall: float, cpu: float, memory: float, status: int, output: bytes) -> None:
        self.wall = wall
        self.cpu = cpu
        self.memory = memory
        self.status = status
        self.output = output


class Row:
    """One figure of each side, ours and theirs; None where it could not be had."""

    __slots__ = ("case", "metric", "note", "ours", "theirs", "unit")

    def __init__(
        self,
        case: str,
        metric: str,
        unit: str,
        figures: Sequence[float | None],
        note: str = "",
    ) -> None:
        self.case = case
        self.metric = metric
        self.unit = unit
        self.ours, self.theirs = figures
        self.note = note

    @property
    def ratio(self) -> float | None:
        """Ours divided by theirs."""
        return self.ours / self.theirs if self.ours is not None and self.theirs else None

    def __str__(self) -> str:
        figures = [_figure(value) for value in (self.ours, self.theirs)]
        ratio = f"{self.ratio:.2f}" if self.ratio is not None else ""
        return (
            f"{self.case:<28} {self.metric:<22} {figures[0]:>11} {figures[1]:>11} {self.unit:<7}"
            f"{ratio:>6}  {self.note}".rstrip()
        )


def _figure(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def environment(**more: str) -> dict[str, str]:
    """Return the environment of every command that is measured.

    Python may keep its compiled code, as it does where the package is installed.
    """
    env = {key: text for key, text in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return {**env, **more}


class Child:
    """A command that is running; :meth:`wait` gives what it took.

    It is started by a small process in between: the largest size that the kernel reports of a
    process counts that of the one that started it.
    """

    __slots__ = ("_launcher", "_report", "pid", "started")

    def __init__(
        self, command: Sequence[str], output: IO[bytes], errors: IO[bytes], env: Mapping[str, str]
    ) -> None:
        self._report, theirs = os.pipe()
        self._launcher = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(theirs), *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            env=env,
            pass_fds=[theirs],
        )
        os.close(theirs)
        first = self._line().split()
        if not first:
            raise Failed(f"{command[0]} cannot be started")
        self.pid, self.started = int(first[0]), float(first[1])

    def ended(self) -> bool:
        """Tell whether it has ended."""
        return self._launcher.poll() is not None

    def kill(self) -> None:
        """End it the hard way."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def wait(self, timeout: float) -> Usage:
        """Wait for its end; the usage has no output."""
        try:
            self._launcher.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            self._launcher.wait()
        status, wall, cpu, memory = self._line().split()
        os.close(self._report)
        return Usage(float(wall), float(cpu), float(memory), int(status), b"")

    def _line(self) -> bytes:
        # One read would do: each line is one small write to a pipe.
        text = b""
        while not text.endswith(b"\n"):
            piece = os.read(self._report, 4096)
            if not piece:
                break
            text += piece
        return text


_LAUNCHER = """
import os, sys, time
report, command = int(sys.argv[1]), sys.argv[2:]
os.set_inheritable(report, False)
start = time.monotonic()
pid = os.posix_spawnp(command[0], command, os.environ)
os.write(report, b"%d %f\\n" % (pid, start))
_, status, usage = os.wait4(pid, 0)
os.write(report, b"%d %f %f %f\\n" % (
    os.waitstatus_to_exitcode(status), time.monotonic() - start,
    usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024))
"""


def run(command: Sequence[str], *, timeout: float = 120) -> Usage:
    """Run a command to its end."""
    with tempfile.TemporaryFile() as output:
        usage = Child(command, output, output, environment()).wait(timeout)
        output.seek(0)
        usage.output = output.read()
        return usage


def in_turn(
    sides: Mapping[str, Sequence[str] | None],
    runs: int,
    measure: Callable[[Sequence[str]], Mapping[str, float]],
) -> dict[str, dict[str, list[float]]]:
    """Measure both sides in turn, ``runs`` times; return side → metric → figures.

    A side that has no command, or that fails once, has no figures.
    """
    found: dict[str, dict[str, list[float]]] = {side: {} for side in sides}
    failed = {side for side, command in sides.items() if command is None}
    for _ in range(runs):
        for side, command in sides.items():
            if side in failed or command is None:
                continue
            try:
                for metric, value in measure(command).items():
                    found[side].setdefault(metric, []).append(value)
            except Failed as failure:
                print(f"# {side}: {failure}", flush=True)
                failed.add(side)
                found[side] = {}
    return found


class Failed(Exception):
    """The command did not do what was to be measured."""


def median(figures: list[float] | None) -> float | None:
    """Return the middle figure, or None where there is none."""
    return statistics.median(figures) if figures else None


def least(figures: list[float] | None) -> float | None:
    """Return the smallest figure, or None where there is none."""
    return min(figures) if figures else None


def instructions(command: Sequence[str]) -> float | None:
    """Count the instructions (in millions) that a command takes, where there is a callgrind.

    The count hardly varies from run to run, however busy the machine is.
    """
    if shutil.which("valgrind") is None:
        return None
    valgrind = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    done = run([*valgrind, *command], timeout=600)
    found = re.search(rb"Collected : (\d+)", done.output)
    return int(found.group(1)) / 1e6 if found and done.status == 0 else None

"""Argument words → one front door, chosen by the name of the command or by its first word.

``bpftool prog show`` through a link called ``bpftool`` and ``bpflens bpftool prog show`` are the
same. Only the door that was asked for is imported: the imports of the others cost more than most
commands take.

Whatever a door lets escape ends here as one sentence on standard error and an exit status, never
as a traceback (``BPFLENS_DEBUG=1`` in the environment shows it). Doors print their own errors
where the tool that they stand for has a form of its own.

Example::

    >>> main(["bpflens", "--version"])
    bpflens 0.1.0
    0
"""

from __future__ import annotations

import os
import sys

from bpflens import __version__
from bpflens.cli import exits
from bpflens.errors import Error, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import NoReturn

__all__ = ["DOORS", "NAMES", "Door", "main", "run"]


class Door:
    """One front door: the command it stands for, where its code is, its status for a failure.

    ``module`` has a ``main(words) -> int``; it is empty while this version has no such door.
    """

    __slots__ = ("command", "failure", "module", "summary", "words")

    def __init__(
        self, command: str, words: tuple[str, ...], module: str, failure: int, summary: str
    ) -> None:
        self.command = command
        self.words = words
        self.module = module
        self.failure = failure
        self.summary = summary


DOORS = (
    Door(
        "bpftool",
        ("bpftool", "tool"),
        "bpflens.bpftool.main",
        exits.TOOL_FAILURE,
        "inspect and change programs, maps, links and BTF",
    ),
    Door(
        "bpftrace",
        ("bpftrace", "trace"),
        "bpflens.trace.main",
        exits.FAILURE,
        "trace the system with a script or a one-liner",
    ),
    Door(
        "ebpf_exporter",
        ("exporter", "ebpf_exporter"),
        "",
        exits.FAILURE,
        "serve BPF maps as Prometheus metrics",
    ),
    Door(
        "kubectl-trace",
        ("kube", "kubectl-trace"),
        "",
        exits.FAILURE,
        "run tracing scripts on a Kubernetes cluster",
    ),
)

# Every name a link may have. kubectl turns the dashes of a plugin's words into underscores.
NAMES = {door.command: door for door in DOORS} | {"kubectl_trace": DOORS[3]}

_WORDS = {word: door for door in DOORS for word in door.words}

_HELP = """\
Usage: bpflens COMMAND [WORDS...]
       bpflens --help | --version

Commands, each also reached through a link with its own name:
{commands}
  link                 make those names: bpflens link --dir DIR
  completion           words for the shell: eval "$(bpflens completion bash)"

Each command has its own --help. BPFLENS_DEBUG=1 shows where an error came from.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that ``argv`` (``sys.argv`` by default) asks for; return its exit status."""
    argv = sys.argv if argv is None else argv
    called = os.path.basename(argv[0]) if argv else ""
    words = list(argv[1:])
    door = NAMES.get(called)
    if door is None and words:
        door = _WORDS.get(words[0])
        if door is not None:
            del words[0]
    if door is None:
        return _guard("bpflens", exits.FAILURE, _own, words)
    _set_process_name(door.command)
    return _guard(door.command, door.failure, lambda words: _enter(door, words), words)


def run(argv: Sequence[str] | None = None) -> NoReturn:
    """Do what :func:`main` does as the whole life of a process.

    The interpreter is not taken apart at the end: that frees what the kernel frees anyway, and
    costs a short command a fifth of its time. (Nothing here relies on ``atexit``.)
    """
    status = main(argv)
    try:
        print(end="", flush=True)
        print(end="", flush=True, file=sys.stderr)
    finally:
        os._exit(status)


def _enter(door: Door, words: list[str]) -> int:
    if not door.module:
        raise Error(f"this version of bpflens ({__version__}) has no {door.command} command yet")
    # __import__ and sys.modules: importlib would be imported for this line alone.
    __import__(door.module)
    status: int = sys.modules[door.module].main(words)
    return status


def _own(words: list[str]) -> int:
    word = words[0] if words else "--help"
    if word in ("-h", "--help", "help"):
        commands = "\n".join(
            f"  {', '.join(door.words):<20} {door.summary}" for door in DOORS if door.module
        )
        print(_HELP.format(commands=commands), end="")
        return exits.OK if words else exits.USAGE
    if word in ("-V", "--version", "version"):
        print(f"bpflens {__version__}")
        return exits.OK
    if word == "link":
        from bpflens.cli import link

        return link.main(words[1:])
    if word == "completion":
        from bpflens.cli import completion

        return completion.main(words[1:])
    raise UsageError(f"no command {word}; the commands are {', '.join(_command_words())}")


def _command_words() -> list[str]:
    return [door.words[0] for door in DOORS if door.module] + ["link", "completion"]


def _set_process_name(name: str) -> None:
    # What ps, top and the kernel's own records of who holds a program should show. Writing comm
    # is prctl(PR_SET_NAME) without ctypes; a /proc that forbids it is no reason to stop.
    try:
        fd = os.open("/proc/self/comm", os.O_WRONLY)
    except OSError:
        return
    try:
        os.write(fd, name.encode())
    except OSError:
        pass
    finally:
        os.close(fd)


def _guard(name: str, failure: int, run: Callable[[list[str]], int], words: list[str]) -> int:
    # The one place where what escapes becomes a sentence and a status.
    try:
        status = run(words)
        # What is still buffered fails here, and not in the interpreter's own last flush. (print,
        # since sys.stdout is None where file descriptor 1 was closed.)
        print(end="", flush=True)
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else exits.OK
    except KeyboardInterrupt:
        return exits.INTERRUPTED
    except BrokenPipeError:
        _drop(1)
        return exits.BROKEN_PIPE
    except Exception as error:
        if os.environ.get("BPFLENS_DEBUG"):
            raise
        _complain(f"{name}: {_sentence(error)}")
        return exits.USAGE if isinstance(error, UsageError) and failure == 1 else failure
    return status


def _sentence(error: Exception) -> str:
    if isinstance(error, Error):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return (
        f"internal error: {type(error).__name__}: {error} "
        "(this is a fault in bpflens; BPFLENS_DEBUG=1 shows where)"
    )


def _complain(text: str) -> None:
    try:
        print(end="", flush=True)
    except OSError:
        _drop(1)
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        _drop(2)  # nobody is left to tell


def _drop(fd: int) -> None:
    # Point a broken output at nothing, so that the interpreter's last flush does not fail aloud.
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, fd)
    os.close(null)

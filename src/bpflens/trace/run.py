"""Running a compiled script at a terminal: output, signals, the traced process."""

from __future__ import annotations

import os
import signal

from bpflens.session.output import Output
from bpflens.session.resolver import SystemResolver
from bpflens.session.session import Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from bpflens.lang.program import CompiledProgram
    from bpflens.objects.map import Map
    from bpflens.render.text import TextRenderer
    from bpflens.session.host import HostTarget
    from bpflens.trace.child import Child
    from bpflens.trace.options import Options

__all__ = ["run"]

_NOTIFY = "__BPFTRACE_NOTIFY_PROBES_ATTACHED"
# bpftrace's own status for a run that could not write its results.
_OUTPUT_FAILURE = 1


def run(
    options: Options,
    compiled: CompiledProgram,
    target: HostTarget,
    compat: str,
    child: Child | None,
) -> int:
    """Load, attach, follow and finish; return the exit status."""
    output = _output(options)
    session: Session | None = None

    def stack_map(limit: int) -> Map | None:
        return session.stack_map(limit) if session is not None else None

    resolver = SystemResolver(target, stack_map, compiled.strings)
    renderer = _renderer(options, compiled, resolver, compat)
    session = Session(
        compiled,
        renderer,
        output,
        pid=options.pid or (child.pid if child else 0),
        alive=_watcher(options, child),
        run_command=_system,
    )
    with session, _Signals(session) as signals:
        status = _run(options, session, child, compat, signals.fd)
    output.close()
    if output.problem is not None:
        output.message(f"ERROR: could not write the output: {output.problem.strerror}\n")
        return _OUTPUT_FAILURE
    return status


def _run(
    options: Options, session: Session, child: Child | None, compat: str, signal_fd: int
) -> int:
    session.load()
    session.poller.watch(signal_fd)
    if options.dry_run:
        return 0
    if not options.quiet:
        shown = session.renderer.attached(len(session.program.probes))
        if options.format == "json" or compat == "0.17":
            session.output.write(shown)
            session.output.flush()
        else:
            session.output.message_bytes(shown)
    session.begin()
    if not session.stopping:
        session.attach()
        if child is not None:
            child.release()
        if os.environ.get(_NOTIFY):
            session.output.write(_NOTIFY.encode() + b"\n")
            session.output.flush()
        if any(probe.kind not in ("begin", "end") for probe in session.program.probes):
            session.follow()
    elif os.environ.get(_NOTIFY):
        session.output.write(_NOTIFY.encode() + b"\n")
    session.finish()
    return session.exit_code or 0


def _output(options: Options) -> Output:
    if not options.output:
        return Output(1, mode=options.buffering)
    fd = os.open(options.output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    return Output(fd, mode=options.buffering)


def _renderer(
    options: Options, compiled: CompiledProgram, resolver: SystemResolver, compat: str
) -> TextRenderer:
    if options.format == "json":
        from bpflens.render.json import JsonRenderer

        return JsonRenderer(compiled, resolver, compat)
    from bpflens.render.text import TextRenderer

    return TextRenderer(compiled, resolver, compat)


def _system(command: bytes) -> bytes:
    from subprocess import PIPE, run

    return run(["sh", "-c", command], stdout=PIPE, check=False).stdout


class _Signals:
    """SIGINT and SIGTERM end the run in good order; the loop is woken through a pipe."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._old: dict[int, object] = {}
        self._read, self._write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._old[number] = signal.signal(number, self._stop)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        return self

    def _stop(self, number: int, frame: object) -> None:
        if self._session.stop_requested:
            # Asked twice: leave without waiting for what cannot be written or read.
            os._exit(128 + number)
        self._session.stop_requested = True

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(-1)
        for number, handler in self._old.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        os.close(self._read)
        os.close(self._write)

    @property
    def fd(self) -> int:
        """Readable once a signal came."""
        return self._read


def _watcher(options: Options, child: Child | None) -> Callable[[], bool] | None:
    if child is not None:
        return child.is_running
    if options.pid:
        return lambda: os.path.exists(f"/proc/{options.pid}")
    return None

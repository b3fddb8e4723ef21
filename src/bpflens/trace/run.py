"""Running a compiled script at a terminal: output, signals, the traced process."""

from __future__ import annotations

import os

from bpflens.errors import UsageError
from bpflens.session.output import Output
from bpflens.session.resolver import SystemResolver
from bpflens.session.session import Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
    from typing import Self

    from bpflens.lang.program import CompiledProgram
    from bpflens.objects.map import Map
    from bpflens.render.text import TextRenderer
    from bpflens.session.host import HostTarget
    from bpflens.trace.child import Child
    from bpflens.trace.options import Options
else:
    # ``signal`` is this with enums around it, which would cost each start two milliseconds.
    import _signal as signal

__all__ = ["open_output", "renderer_for", "run"]

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
    output = open_output(options)
    session: Session | None = None

    def stack_map(limit: int) -> Map | None:
        return session.stack_map(limit) if session is not None else None

    resolver = SystemResolver(target, stack_map, compiled.strings, compiled.probes)
    renderer = renderer_for(options, compiled, resolver, compat)
    session = Session(
        compiled,
        renderer,
        output,
        # Those that are followed are not known yet when probes are attached.
        pid=0 if options.follow else options.pid,
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
    if not session.program.probes:
        return _nothing_to_do(options, session)
    session.load()
    if not session.program.probes:
        return _nothing_to_do(options, session)
    if options.verbose:
        session.describe()
    session.poller.watch(signal_fd)
    early = compat != "0.26"
    if early:
        _announce(options, session, compat)
    if options.dry_run:
        session.attach()
        if not early:
            _announce(options, session, compat)
        return 0
    session.begin()
    if not session.stopping:
        session.attach()
        if not early:
            _announce(options, session, compat)
        if child is not None:
            child.release()
        _notify(session)
        _follow(session)
    else:
        if not early:
            _announce(options, session, compat)
        _notify(session)
    session.finish()
    return session.exit_code or 0


def _nothing_to_do(options: Options, session: Session) -> int:
    if not options.quiet:
        session.output.write(b"No probes to attach\n")
    return 1


def _announce(options: Options, session: Session, compat: str) -> None:
    if options.quiet:
        return
    shown = session.renderer.attached(len(session.program.probes))
    if options.format == "json" or compat == "0.17":
        session.output.write(shown)
        session.output.flush()
    else:
        # What begin probes printed comes behind it.
        session.output.message_bytes(shown, ahead=True)


def _notify(session: Session) -> None:
    if os.environ.get(_NOTIFY):
        session.output.write(_NOTIFY.encode() + b"\n")
        session.output.flush()


def _follow(session: Session) -> None:
    kinds = {probe.kind for probe in session.program.probes}
    if "iter" in kinds:
        session.iterate()
    elif kinds - {"begin", "end"}:
        session.follow()


def open_output(options: Options) -> Output:
    """Return where the results go: standard output, or the file of ``-o``."""
    if not options.output:
        return Output(1, mode=options.buffering)
    try:
        fd = os.open(options.output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    except OSError as error:
        why = error.strerror
        raise UsageError(f"Failed to open output file: '{options.output}': {why}") from None
    return Output(fd, mode=options.buffering)


def renderer_for(
    options: Options, compiled: CompiledProgram, resolver: SystemResolver, compat: str
) -> TextRenderer:
    """Return what turns results into text or JSON, as ``-f`` says."""
    if options.format == "json":
        from bpflens.render.json import JsonRenderer

        renderer: TextRenderer = JsonRenderer(compiled, resolver, compat)
    else:
        from bpflens.render.text import TextRenderer

        renderer = TextRenderer(compiled, resolver, compat)
    renderer.order = options.sort
    return renderer


def _system(command: bytes) -> bytes:
    from subprocess import PIPE, run

    return run(["sh", "-c", command], stdout=PIPE, check=False).stdout


class _Signals:
    # SIGINT and SIGTERM end the run in good order, SIGUSR1 runs the ``self:signal`` probes.
    #
    # The loop is woken through a pipe.

    def __init__(self, session: Session) -> None:
        self._session = session
        self._old: dict[int, object] = {}
        self._read, self._write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._old[number] = signal.signal(number, self._stop)
        if any(probe.kind == "self" for probe in self._session.program.probes):
            self._old[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, self._fire)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        return self

    def _stop(self, number: int, frame: object) -> None:
        if self._session.stop_requested:
            # Asked twice: leave without waiting for what cannot be written or read.
            os._exit(128 + number)
        self._session.stop_requested = True

    def _fire(self, number: int, frame: object) -> None:
        self._session.signalled += 1

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

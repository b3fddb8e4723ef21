"""Running a compiled script at a terminal: output, signals, the traced process."""

from __future__ import annotations

import os
import signal

from bpflens.session.output import Output
from bpflens.session.resolver import SystemResolver
from bpflens.session.session import Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.lang.program import CompiledProgram
    from bpflens.render.text import TextRenderer
    from bpflens.session.host import HostTarget
    from bpflens.trace.options import Options

__all__ = ["run"]

_NOTIFY = "__BPFTRACE_NOTIFY_PROBES_ATTACHED"
# bpftrace's own status for a run that could not write its results.
_OUTPUT_FAILURE = 1


def run(options: Options, compiled: CompiledProgram, target: HostTarget, compat: str) -> int:
    """Load, attach, follow and finish; return the exit status."""
    output = _output(options)
    session: Session | None = None
    resolver = SystemResolver(target, lambda limit: session.stack_map(limit) if session else None, compiled.strings)  # fmt: skip
    renderer = _renderer(options, compiled, resolver, compat)
    with _Child(options.command) as child:
        session = Session(
            compiled,
            renderer,
            output,
            pid=options.pid or child.pid,
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


def _run(options: Options, session: Session, child: _Child, compat: str, signal_fd: int) -> int:
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

    def __enter__(self) -> _Signals:
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


def _watcher(options: Options, child: _Child):  # type: ignore[no-untyped-def]
    if child.pid:
        return child.is_running
    if options.pid:
        return lambda: os.path.exists(f"/proc/{options.pid}")
    return None


class _Child:
    """The command of ``-c``: started stopped, released once everything is attached."""

    def __init__(self, command: str) -> None:
        self.pid = 0
        self._command = command
        self._gate = -1
        self._status: int | None = None

    def __enter__(self) -> _Child:
        if self._command:
            self._start()
        return self

    def _start(self) -> None:
        from shlex import split
        from shutil import which

        words = split(self._command)
        path = which(words[0]) if words else None
        if path is None:
            from bpflens.errors import NotFound

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

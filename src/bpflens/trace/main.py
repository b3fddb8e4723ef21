"""bpftrace: words → options → a compiled script → a session → an exit status.

Exit statuses are the reference's: 0, what ``exit(n)`` says, 1 for wrong usage or a wrong script,
255 when loading or attaching fails.
"""

from __future__ import annotations

import os
import sys

from bpflens import __version__
from bpflens.errors import CompileError, Error, NotFound, UsageError
from bpflens.trace.options import USAGE, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from bpflens.lang.pipeline import Compilation
    from bpflens.lang.program import CompiledProgram
    from bpflens.trace.child import Child
    from bpflens.trace.options import Options

__all__ = ["main"]

_REFERENCE_VERSION = "v0.26.0"
_RUN_FAILURE = 255


def main(words: Sequence[str]) -> int:
    """Run the command; return its exit status."""
    try:
        options = parse(words)
    except UsageError as error:
        sys.stderr.write(f"ERROR: USAGE: {error}\n\n{USAGE}")
        return 1
    if options.help:
        sys.stdout.write(USAGE)
        return 0
    if options.version:
        sys.stdout.write(f"bpftrace {_REFERENCE_VERSION} (bpflens {__version__})\n")
        return 0
    if options.program is None and not options.file:
        sys.stderr.write(USAGE)
        return 1
    try:
        return _run(options)
    except CompileError as error:
        sys.stderr.write(error.rendered)
        return 1


def _run(options: Options) -> int:
    if not options.command:
        return _compile_and_trace(options, None)
    from bpflens.trace.child import Child

    try:
        with Child(options.command) as child:
            return _compile_and_trace(options, child)
    except NotFound as error:
        sys.stderr.write(f"ERROR: Failed to fork child: {error}\n")
        return 1


def _compile_and_trace(options: Options, child: Child | None) -> int:
    from bpflens.session.host import HostTarget

    target = HostTarget()
    compilation = _compilation(options, target, child)
    if options.debug:
        from bpflens.trace import stages

        return stages.show(compilation, options.debug)
    compiled = compilation.run()
    if compiled.warnings and not options.no_warnings:
        sys.stderr.write(compiled.warnings)
    return _trace(options, compiled, target, child)


def _compilation(options: Options, target: object, child: Child | None) -> Compilation:
    from bpflens.lang.pipeline import Compilation

    name, text = _script(options)
    environment = {k: v for k, v in os.environ.items() if k.startswith("BPFTRACE_")}
    return Compilation(
        text,
        target,  # type: ignore[arg-type]
        name=name,
        params=options.params,
        options={
            "pid": options.pid,
            "child": child.pid if child is not None else 0,
            "unsafe": options.unsafe,
            "compat": _compat(options),
            "environment": environment,
        },
    )


def _compat(options: Options) -> str:
    return options.compat or os.environ.get("BPFLENS_COMPAT", "")


def _script(options: Options) -> tuple[str, str]:
    if options.program is not None:
        return "stdin", options.program
    if options.file == "-":
        data = sys.stdin.buffer.read()
        return "stdin", data.decode("utf-8", "surrogateescape")
    try:
        with open(options.file, "rb") as file:
            return options.file, file.read().decode("utf-8", "surrogateescape")
    except OSError as error:
        raise CompileErrorForFile(options.file, error) from None


class CompileErrorForFile(CompileError):
    """A script that cannot be read."""

    def __init__(self, path: str, error: OSError) -> None:
        super().__init__([])
        self.rendered = f"ERROR: failed to open file '{path}': {error.strerror}\n"


def _trace(options: Options, compiled: CompiledProgram, target: object, child: Child | None) -> int:
    from bpflens.trace.run import run

    try:
        return run(options, compiled, target, _compat(options), child)  # type: ignore[arg-type]
    except Error as error:
        sys.stderr.write(f"ERROR: {error}\n")
        for hint in getattr(error, "hints", ()):
            sys.stderr.write(f"HINT: {hint}\n")
        return _RUN_FAILURE

"""bpftrace: words → options → a compiled script → a session → an exit status.

Exit statuses are the reference's: 0, what ``exit(n)`` says, 1 for wrong usage or a wrong script,
255 when loading or attaching fails. Roads that few runs take (listing, ``--info``, tests...) are
modules of their own, imported when they are taken.
"""

from __future__ import annotations

import os
import sys

from bpflens import __version__
from bpflens.errors import CompileError, Error, NotFound, UsageError
from bpflens.trace.options import WrongWords, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from bpflens.lang.pipeline import Compilation
    from bpflens.lang.program import CompiledProgram
    from bpflens.session.host import HostTarget
    from bpflens.trace.child import Child
    from bpflens.trace.options import Options

__all__ = ["main"]

_REFERENCE_VERSION = "0.26.0"
_RUN_FAILURE = 255
# include/uapi/linux/nsfs.h: PID_NS_INIT_INO
_FIRST_PID_NAMESPACE = 0xEFFFFFFC


def main(words: Sequence[str]) -> int:
    """Run the command; return its exit status."""
    if not words:
        _show_usage()
        return 1
    try:
        options = parse(words)
    except WrongWords as error:
        sys.stderr.write(f"ERROR: {error.kind}{error}\n")
        if error.with_usage:
            _show_usage()
        return 1
    if options.asked:
        return _answer(options)
    try:
        return _run(options)
    except CompileError as error:
        sys.stderr.write(error.rendered)
        return 1
    except Error as error:
        from bpflens.session.attaching import TooManyProbes

        _complain(error)
        return 1 if isinstance(error, (UsageError, TooManyProbes)) else _RUN_FAILURE


def _show_usage() -> None:
    from bpflens.trace.usage import USAGE

    sys.stderr.write(USAGE)


def _answer(options: Options) -> int:
    if options.asked == "help":
        from bpflens.trace.usage import USAGE

        sys.stdout.write(USAGE)
    elif options.asked == "version":
        version = "0.17.0" if _compat(options) == "0.17" else _REFERENCE_VERSION
        sys.stdout.write(f"bpftrace v{version}\n")
    else:
        from bpflens.trace.info import report

        sys.stdout.write(report(_REFERENCE_VERSION, __version__, options.no_features))
    return 0


def _run(options: Options) -> int:
    if options.mode == "format":
        from bpflens.trace.layout import reformat

        return reformat(options)
    if options.pid and not os.path.exists(f"/proc/{options.pid}"):
        sys.stderr.write(f"ERROR: Failed to attach to pid: there is no process {options.pid}\n")
        return 1
    if options.list and options.program is None and not options.file:
        from bpflens.trace.listing import list_pattern

        return list_pattern(options, _target(options))
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
    target = _target(options)
    compilation = _compilation(options, target, child)
    if options.list:
        from bpflens.trace.listing import list_program

        return list_program(compilation, options, target)
    if options.debug and options.debug != ["verifier"]:
        from bpflens.trace import stages

        return stages.show(compilation, options.debug)
    compiled = compilation.run()
    if compiled.warnings and not options.no_warnings:
        sys.stderr.write(compiled.warnings)
    status = _check_named(options, compilation)
    if status is not None:
        return status
    if options.mode in ("codegen", "compiler-bench"):
        return 0
    return _trace(options, compiled, target, child)


def _target(options: Options) -> HostTarget:
    from bpflens.session.host import HostTarget

    return HostTarget(
        pid=options.pid,
        include_dirs=options.include_dirs,
        without=options.no_features,
        traceable_functions=options.traceable_functions,
    )


def _compilation(options: Options, target: HostTarget, child: Child | None) -> Compilation:
    from bpflens.lang.pipeline import Compilation
    from bpflens.trace.script import read_import, read_script

    name, text = read_script(options)
    environment = {k: v for k, v in os.environ.items() if k.startswith("BPFTRACE_")}
    return Compilation(
        text,
        target,
        name=name,
        params=options.params,
        options={
            "pid": 0 if options.follow else options.pid,
            "follow": _followed(options, child),
            "child": child.pid if child is not None else 0,
            "unsafe": options.unsafe,
            "compat": _compat(options),
            "environment": environment,
            "named": options.named,
            "read_import": read_import,
            "include_files": options.include_files,
            "probe_errors": options.probe_errors,
            "mode": options.mode,
            "probe_filter": options.probe_filter,
            "pid_namespace": _pid_namespace(),
        },
    )


def _followed(options: Options, child: Child | None) -> int:
    if not options.follow:
        return 0
    return options.pid or (child.pid if child is not None else 0)


def _pid_namespace() -> tuple[int, int] | None:
    # Device and inode of the namespace whose numbers processes have for us, unless it is the first.
    try:
        found = os.stat("/proc/self/ns/pid")
    except OSError:
        return None
    return None if found.st_ino == _FIRST_PID_NAMESPACE else (found.st_dev, found.st_ino)


def _check_named(options: Options, compilation: Compilation) -> int | None:
    # Options behind "--" that the script does not ask for; "--help" shows those it does.
    if not options.named:
        return None
    from bpflens.lang.named_option import Option, unknown

    known = compilation.context.options.get("named_options")
    assert isinstance(known, dict)
    asked: dict[str, Option] = known
    wrong = unknown(asked, options.named)
    if not wrong:
        return None
    for name in wrong:
        if name != "help":
            sys.stderr.write(f"ERROR: unexpected program command line options: --{name}\n")
    sys.stderr.write("HINT: expected program options:\n")
    for name, option in sorted(asked.items()):
        text = f": {option.description}" if option.description else ""
        sys.stderr.write(f"--{name}{text}\n")
    return 1


def _compat(options: Options) -> str:
    return options.compat or os.environ.get("BPFLENS_COMPAT", "")


def _trace(
    options: Options, compiled: CompiledProgram, target: HostTarget, child: Child | None
) -> int:
    if options.mode in ("test", "bench"):
        from bpflens.trace.test_run import run_all

        return run_all(options, compiled, target, _compat(options))
    from bpflens.trace.run import run

    return run(options, compiled, target, _compat(options), child)


def _complain(error: Error) -> None:
    sys.stderr.write(f"ERROR: {error}\n")
    for hint in getattr(error, "hints", ()):
        sys.stderr.write(f"HINT: {hint}\n")

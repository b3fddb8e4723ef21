"""``--test`` and ``--bench``: the ``test:`` and ``bench:`` probes of a script, run one by one.

A test passes when its probe returns 0, calls neither ``exit`` with another status nor ``errorf``;
what it printed is shown only if it does not pass. A benchmark is repeated until it takes a
millisecond; one that returns something else than 0 is skipped.
"""

from __future__ import annotations

import os
import time

from bpflens.kernel import bpf
from bpflens.session.output import Output
from bpflens.session.resolver import SystemResolver
from bpflens.session.session import Session
from bpflens.trace.run import open_output, renderer_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.lang.program import CompiledProgram, ProbeSchema
    from bpflens.objects.map import Map
    from bpflens.session.host import HostTarget
    from bpflens.trace.options import Options

__all__ = ["run_all"]

_GREEN, _RED, _PLAIN = "\033[32m", "\033[31m", "\033[0m"
_LONG_ENOUGH_NS = 1_000_000
_NAME_WIDTH, _TIME_WIDTH = 40, 15


def run_all(options: Options, compiled: CompiledProgram, target: HostTarget, compat: str) -> int:
    """Run the probes of the chosen mode; the status is 1 if a test failed."""
    output = open_output(options)
    captured = _Captured()
    session: Session | None = None

    def stack_map(limit: int) -> Map | None:
        return session.stack_map(limit) if session is not None else None

    resolver = SystemResolver(target, stack_map, compiled.strings, compiled.probes)
    renderer = renderer_for(options, compiled, resolver, compat)
    session = Session(compiled, renderer, captured, pid=options.pid)
    with session:
        if not any(probe.kind == options.mode for probe in compiled.probes):
            output.write(b"No probes to attach\n")
            output.close()
            return 1
        session.load()
        session.begin()
        run = _run_tests if options.mode == "test" else _run_benchmarks
        status = run(session, captured, output, options.format == "json")
        session.finish()
    output.close()
    return status


class _Captured(Output):
    # Keeps what a probe prints, and whether it complained.
    def __init__(self) -> None:
        super().__init__(-1)
        self.text = b""
        self.complaints = 0

    def write(self, data: bytes) -> None:
        self.text += data

    def message_bytes(self, data: bytes, *, ahead: bool = False) -> None:
        self.text += data
        self.complaints += b": ERROR: " in data

    def flush(self) -> None:
        return

    def take(self) -> tuple[bytes, int]:
        text, complaints = self.text, self.complaints
        self.text, self.complaints = b"", 0
        return text, complaints


def _run_tests(session: Session, captured: _Captured, output: Output, as_json: bool) -> int:
    probes = [probe for probe in session.program.probes if probe.kind == "test"]
    passed: list[bool] = []
    captured.take()
    for probe in probes:
        start = time.perf_counter_ns()
        result = session.run_by_hand(probe)
        duration = time.perf_counter_ns() - start
        session.drain(whole=True)
        status, session.exit_code = session.exit_code or 0, None
        text, complaints = captured.take()
        good = result == 0 and status == 0 and not complaints
        passed.append(good)
        if as_json:
            shown = text.decode("utf-8", "replace")
            data = {"duration": duration, "passed": good, "output": shown if not good else ""}
            _write_json(output, "test_result", _name(probe), data)
        else:
            output.write(_test_text(probes, len(passed) - 1, passed, duration, text).encode())
    return 0 if all(passed) else 1


def _name(probe: ProbeSchema) -> str:
    return str(probe.options.get("probe", probe.name))


def _test_text(
    probes: list[ProbeSchema], index: int, passed: list[bool], duration: int, text: bytes
) -> str:
    name = _name(probes[index])
    lines = []
    if index == 0:
        lines.append(f"{_mark('==========')} Running {len(probes)} tests.")
    lines.append(f"{_mark(' RUN      ')} {name}")
    if not passed[index]:
        lines += [line for line in text.decode("utf-8", "replace").split("\n") if line]
    end = _mark("       OK ") if passed[index] else _mark("  FAILED  ", _RED)
    lines.append(f"{end} {name} ({_duration(duration)})")
    if index == len(probes) - 1:
        lines += _summary(probes, passed)
    return "".join(f"{line}\n" for line in lines)


def _mark(text: str, colour: str = _GREEN) -> str:
    return f"{colour}[{text}]{_PLAIN}"


def _duration(nanoseconds: int) -> str:
    for unit, size in (("s", 10**9), ("ms", 10**6), ("μs", 1000)):
        if nanoseconds >= size:
            return f"{nanoseconds // size} {unit}"
    return f"{nanoseconds} ns"


def _summary(probes: list[ProbeSchema], passed: list[bool]) -> list[str]:
    failed = [_name(probe) for probe, good in zip(probes, passed, strict=True) if not good]
    lines = [
        f"{_mark('==========')} {_tests(len(probes))} ran.",
        f"{_mark('  PASSED  ')} {_tests(sum(passed))}.",
    ]
    if failed:
        lines.append(f"{_mark('  FAILED  ', _RED)} {_tests(len(failed))}, listed below:")
        lines += [f"{_mark('  FAILED  ', _RED)} {name}" for name in failed]
    return lines


def _tests(count: int) -> str:
    return f"{count} test" + ("s" if count != 1 else "")


def _run_benchmarks(session: Session, captured: _Captured, output: Output, as_json: bool) -> int:
    probes = [probe for probe in session.program.probes if probe.kind == "bench"]
    results: list[tuple[str, int, int]] = []
    for probe in probes:
        measured = _measure(session, probe)
        captured.take()
        session.exit_code = None
        if measured is None:
            continue
        average, count = measured
        results.append((_name(probe), average, count))
        if as_json:
            data: dict[str, object] = {"average": average, "iters": count}
            _write_json(output, "benchmark_result", _name(probe), data)
    if not as_json:
        output.write(_table(results).encode())
    return 0


def _measure(session: Session, probe: ProbeSchema) -> tuple[int, int] | None:
    # The kernel's own account of the time in the program; None if the probe wants to be skipped.
    assert session.loaded is not None
    program = session.loaded.programs[probe.program]
    stats = bpf.enable_stats()
    try:
        before = program.stats
        code = total = count = 0
        began = time.perf_counter_ns()
        while total < _LONG_ENOUGH_NS and not code and not session.exit_code:
            code = program.test_run().retval
            count += 1
            total = time.perf_counter_ns() - began
        after = program.stats
    finally:
        os.close(stats)
    session.drain(whole=True)
    if code:
        return None
    measured = after - before
    return (int(measured.average_ns) if measured.run_cnt else total // count), count


def _table(results: list[tuple[str, int, int]]) -> str:
    width = max([_NAME_WIDTH, *(len(name) for name, _, _ in results)]) + 1
    head = f"{'Benchmark':<{width}}{'Time(ns)':<{_TIME_WIDTH}}Iterations"
    lines = [head, "-" * len(head)]
    lines += [f"{name:<{width}}{average:<{_TIME_WIDTH}}{count}" for name, average, count in results]
    return "".join(f"{line}\n" for line in lines)


def _write_json(output: Output, kind: str, name: str, data: dict[str, object]) -> None:
    import json

    output.write((json.dumps({"type": kind, "data": {name: data}}) + "\n").encode())

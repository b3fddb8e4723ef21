"""``prog profile PROG [duration S] METRIC...``: what the CPU counts while a program runs.

Two small programs of our own, attached to the entry and the exit of the program (fentry, fexit),
read hardware counters and add up the difference. Needs a target with BTF, a kernel that lets
programs be traced so, and a CPU (or virtual machine) with performance counters; what is missing is
said exactly.

Example::

    $ bpftool prog profile id 756 duration 10 cycles instructions
"""

from __future__ import annotations

import errno
import os
import struct
from contextlib import suppress

from bpflens.asm import instruction as _i
from bpflens.bpftool import handle
from bpflens.bpftool.tool import Failure, cause
from bpflens.bpftool.words import Usage, c_number
from bpflens.errors import SyscallError
from bpflens.kernel import cpu as _cpu
from bpflens.kernel import perf
from bpflens.uapi import bpf as _uapi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.asm.instruction import Instruction
    from bpflens.bpftool.tool import Tool
    from bpflens.bpftool.words import Words
    from bpflens.objects.link import Link
    from bpflens.objects.map import Map
    from bpflens.objects.program import Program

__all__ = ["METRICS", "Metric", "profile"]

_MOST = 4
_HARDWARE, _CACHE = 0, 3
_MISS = 1 << 16
_NEVER = 1 << 30  # "duration" not given: until Ctrl-C


class Metric:
    """A counter: its perf type and config, and the metric it is shown in proportion to."""

    __slots__ = ("config", "name", "of", "ratio", "times", "type")

    def __init__(
        self, name: str, type: int, config: int, of: str = "", ratio: str = "", times: float = 1.0
    ) -> None:
        self.name = name
        self.type = type
        self.config = config
        self.of = of
        self.ratio = ratio
        self.times = times


METRICS = {
    metric.name: metric
    for metric in (
        Metric("cycles", _HARDWARE, 0),
        Metric("instructions", _HARDWARE, 1, "cycles", "insns per cycle"),
        Metric("l1d_loads", _CACHE, 0),
        Metric("llc_misses", _CACHE, 2 | _MISS, "instructions", "LLC misses per million insns",
               1e6),
        Metric("itlb_misses", _CACHE, 4 | _MISS, "instructions", "itlb misses per million insns",
               1e6),
        Metric("dtlb_misses", _CACHE, 3 | _MISS, "instructions", "dtlb misses per million insns",
               1e6),
    )
}  # fmt: skip
"""The metrics by name, in the order in which they are shown."""


def profile(tool: Tool, words: Words) -> int:
    """Count until the time is over or Ctrl-C."""
    if len(words) < 3:
        raise Usage
    with handle.one_program(words) as program:
        seconds = float(_NEVER)
        if words.take_if("duration"):
            word = words.take("seconds")
            number = c_number(word)
            if number is None:
                raise Failure(f"can't parse {word} as seconds")
            seconds = number
        chosen = _chosen(words)
        run = _Run(program, chosen)
        try:
            run.start()
            _wait(seconds)
            values = run.read()
        finally:
            run.close()
    _print(tool, chosen, *values)
    return 0


def _chosen(words: Words) -> list[Metric]:
    names = set()
    while words:
        word = words.take()
        found = next((name for name in METRICS if name.startswith(word)), None)
        if found is None:
            raise Failure(f"unknown metric {word}")
        names.add(found)
    if len(names) > _MOST:
        raise Failure(
            f"too many ({len(names)}) metrics, please specify no more than {_MOST} metrics at a "
            "time"
        )
    if not names:
        raise Usage
    return [metric for name, metric in METRICS.items() if name in names]


def _wait(seconds: float) -> None:
    import time

    with suppress(KeyboardInterrupt):  # that ends it, too
        time.sleep(min(seconds, _NEVER))


class _Run:
    # Everything that exists while it counts: counters, maps, programs, links.
    __slots__ = ("_chosen", "_counters", "_held", "_maps", "_program", "_width")

    def __init__(self, program: Program, chosen: list[Metric]) -> None:
        self._program = program
        self._chosen = chosen
        self._counters: list[int] = []
        self._held: list[Map | Program | Link] = []
        self._maps: dict[str, Map] = {}
        self._width = _cpu.possible_count()

    def start(self) -> None:
        """Open the counters, load the programs, attach them."""
        target = self._target()
        self._make_maps()
        self._open_counters()
        self._attach(target)

    def _target(self) -> int:
        # The id of the program's function in its BTF.
        program = self._program
        functions = program.functions()
        if not program.info.btf_id or not functions:
            raise Failure(
                f"program {program.id} ({program.name}) has no BTF: it can be counted only when it "
                "was loaded from an object compiled with -g"
            )
        return functions[0].type_id

    def _make_maps(self) -> None:
        from bpflens.objects.map import Map

        count = len(self._chosen)
        for name, kind, value, entries in (
            ("events", "perf_event_array", 4, count * self._width),
            ("starts", "percpu_array", 24, count),
            ("sums", "percpu_array", 24, count),
            ("runs", "percpu_array", 8, 1),
        ):
            made = Map.create(kind, key_size=4, value_size=value, max_entries=entries, name=name)
            self._maps[name] = made
            self._held.append(made)

    def _open_counters(self) -> None:
        for number, metric in enumerate(self._chosen):
            for cpu in _cpu.online():
                try:
                    fd = perf.perf_event_open(metric.type, metric.config, cpu=cpu,
                                              what=metric.name)  # fmt: skip
                except SyscallError as error:
                    raise Failure(_no_counter(metric, error)) from None
                self._counters.append(fd)
                key = (number * self._width + cpu).to_bytes(4, "little")
                self._maps["events"].update_raw(key, fd.to_bytes(4, "little"))
                perf.enable(fd)

    def _attach(self, target: int) -> None:
        from bpflens.errors import VerifierError
        from bpflens.objects.link import Link
        from bpflens.objects.program import Program

        for kind, code in (
            (_uapi.BPF_TRACE_FEXIT, _exit_code(self._maps, len(self._chosen), self._width)),
            (_uapi.BPF_TRACE_FENTRY, _entry_code(self._maps, len(self._chosen), self._width)),
        ):
            name = "fentry" if kind == _uapi.BPF_TRACE_FENTRY else "fexit"
            try:
                program = Program.load(
                    "tracing", _i.encode(code), name=f"profile_{name}", expected_attach_type=kind,
                    attach_btf_id=target, attach_prog_fd=self._program.fd,
                )  # fmt: skip
                self._held.append(program)
                self._held.append(Link.tracing(program))
            except VerifierError as error:
                why = next((line for line in reversed(error.log) if line.strip()), str(error))
                raise Failure(f"failed to load profile_obj: {name} on program "
                              f"{self._program.id}: {why}") from None  # fmt: skip
            except SyscallError as error:
                raise Failure(f"failed to load profile_obj: {name} on program "
                              f"{self._program.id}: {cause(error)}") from None  # fmt: skip

    def read(self) -> tuple[int, list[tuple[int, int, int]]]:
        """Return the number of runs, and (value, enabled, running) of each metric."""
        raw = self._maps["runs"].lookup_raw(bytes(4)) or b""
        runs = sum(struct.unpack(f"={len(raw) // 8}Q", raw))
        values = []
        for number in range(len(self._chosen)):
            raw = self._maps["sums"].lookup_raw(number.to_bytes(4, "little")) or b""
            words = struct.unpack(f"={len(raw) // 8}Q", raw)
            values.append((sum(words[0::3]), sum(words[1::3]), sum(words[2::3])))
        return runs, values

    def close(self) -> None:
        """Detach and close all of it."""
        for one in reversed(self._held):
            one.close()
        for fd in self._counters:
            os.close(fd)


def _no_counter(metric: Metric, error: SyscallError) -> str:
    text = f"failed to create event {metric.name}: {cause(error)}"
    if error.errno in (errno.ENOENT, errno.EOPNOTSUPP, errno.ENODEV):
        text += " (a virtual machine without hardware counters, or a CPU that does not count this)"
    return text


# --- the programs -------------------------------------------------------------------------------

_W = _uapi.BPF_W
_DW = _uapi.BPF_DW
_NOW, _KEY = -24, -32  # places on the stack: a struct bpf_perf_event_value, a key


def _read_counter(maps: dict[str, Map], number: int, width: int) -> list[Instruction]:
    # The counter of this CPU into the stack; what follows is skipped by the caller on failure.
    return [
        _i.call_helper(_uapi.BPF_FUNC_get_smp_processor_id),
        _i.mov64_reg(2, 0),
        _i.alu64_imm(_uapi.BPF_ADD, 2, number * width),
        _i.ld_imm64(1, maps["events"].fd, _uapi.BPF_PSEUDO_MAP_FD),
        _i.mov64_reg(3, 10),
        _i.alu64_imm(_uapi.BPF_ADD, 3, _NOW),
        _i.mov64_imm(4, 24),
        _i.call_helper(_uapi.BPF_FUNC_perf_event_read_value),
    ]


def _look_up(map: Map, number: int) -> list[Instruction]:
    return [
        _i.st(_W, 10, _KEY, number),
        _i.mov64_reg(2, 10),
        _i.alu64_imm(_uapi.BPF_ADD, 2, _KEY),
        _i.ld_imm64(1, map.fd, _uapi.BPF_PSEUDO_MAP_FD),
        _i.call_helper(_uapi.BPF_FUNC_map_lookup_elem),
    ]


def _if_then(op: int, body: list[Instruction]) -> list[Instruction]:
    # "if r0 OP 0" skips the body.
    return [_i.jmp_imm(op, 0, 0, _i.slots(body)[-1]), *body]


def _entry_code(maps: dict[str, Map], count: int, width: int) -> list[Instruction]:
    code: list[Instruction] = []
    for number in range(count):
        keep: list[Instruction] = []
        for at in (0, 8, 16):
            keep += [_i.ldx(_DW, 1, 10, _NOW + at), _i.stx(_DW, 0, at, 1)]
        look = _look_up(maps["starts"], number) + _if_then(_uapi.BPF_JEQ, keep)
        code += _read_counter(maps, number, width) + _if_then(_uapi.BPF_JNE, look)
    return [*code, _i.mov64_imm(0, 0), _i.exit_()]


def _exit_code(maps: dict[str, Map], count: int, width: int) -> list[Instruction]:
    code: list[Instruction] = []
    for number in range(count):
        # r6..r8: the differences between now and the entry.
        differences: list[Instruction] = []
        for place, register in zip((0, 8, 16), (6, 7, 8), strict=True):
            differences += [
                _i.ldx(_DW, register, 10, _NOW + place),
                _i.ldx(_DW, 1, 0, place),
                _i.alu64_reg(_uapi.BPF_SUB, register, 1),
            ]
        add: list[Instruction] = []
        for place, register in zip((0, 8, 16), (6, 7, 8), strict=True):
            add += [
                _i.ldx(_DW, 1, 0, place),
                _i.alu64_reg(_uapi.BPF_ADD, 1, register),
                _i.stx(_DW, 0, place, 1),
            ]
        started = differences + _look_up(maps["sums"], number) + _if_then(_uapi.BPF_JEQ, add)
        look = _look_up(maps["starts"], number) + _if_then(_uapi.BPF_JEQ, started)
        code += _read_counter(maps, number, width) + _if_then(_uapi.BPF_JNE, look)
    one_more = [_i.ldx(_DW, 1, 0, 0), _i.alu64_imm(_uapi.BPF_ADD, 1, 1), _i.stx(_DW, 0, 0, 1)]
    code += _look_up(maps["runs"], 0) + _if_then(_uapi.BPF_JEQ, one_more)
    return [*code, _i.mov64_imm(0, 0), _i.exit_()]


# --- the answer ---------------------------------------------------------------------------------


def _print(tool: Tool, chosen: list[Metric], runs: int, values: list[tuple[int, int, int]]) -> None:
    if tool.json is not None:
        tool.json.value(
            [
                {"metric": metric.name, "run_cnt": runs, "value": value[0], "enabled": value[1],
                 "running": value[2]}
                for metric, value in zip(chosen, values, strict=True)
            ]
        )  # fmt: skip
        return
    counted = {metric.name: value[0] for metric, value in zip(chosen, values, strict=True)}
    tool.out(f"\n{runs:18} {'run_cnt':<20}\n")
    for metric, (value, enabled, running) in zip(chosen, values, strict=True):
        line = f"{value:18} {metric.name:<20}"
        base = counted.get(metric.of, 0)
        line += f"# {value * metric.times / base:8.2f} {metric.ratio:<30}" if base else " " * 41
        if enabled > running:
            line += f"({running * 100 / enabled:4.2f}%)"
        tool.out(line + "\n")

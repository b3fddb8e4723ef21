"""Lowering of a whole script: every variant to a program spec, everything else to tables."""

from __future__ import annotations

from bpflens.lang import nodes as n
from bpflens.lang.builtin import ELAPSED_MAP
from bpflens.lang.ir.frame import FrameTooLarge
from bpflens.lang.ir.pipeline import compile_program
from bpflens.lang.lower.function import STACK_LIMITS, FunctionLowering
from bpflens.lang.lower.resource import Resources
from bpflens.lang.program import CompiledProgram, ProbeSchema
from bpflens.spec import LineInfo, MapSpec, ObjectSpec, ProgramSpec
from bpflens.uapi import bpf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.lang.analyse.state import TypedProgram, Variant
    from bpflens.lang.context import Context
    from bpflens.lang.ir.emit import EmittedProgram

__all__ = ["lower"]

# Probe kind → program type, expected attach type. begin and end are run by hand.
_PROGRAM_TYPES = {
    "begin": (bpf.BPF_PROG_TYPE_RAW_TRACEPOINT, 0),
    "end": (bpf.BPF_PROG_TYPE_RAW_TRACEPOINT, 0),
    "self": (bpf.BPF_PROG_TYPE_RAW_TRACEPOINT, 0),
    "test": (bpf.BPF_PROG_TYPE_RAW_TRACEPOINT, 0),
    "bench": (bpf.BPF_PROG_TYPE_RAW_TRACEPOINT, 0),
    "tracepoint": (bpf.BPF_PROG_TYPE_TRACEPOINT, 0),
    "rawtracepoint": (bpf.BPF_PROG_TYPE_RAW_TRACEPOINT, 0),
    "kprobe": (bpf.BPF_PROG_TYPE_KPROBE, 0),
    "kretprobe": (bpf.BPF_PROG_TYPE_KPROBE, 0),
    "uprobe": (bpf.BPF_PROG_TYPE_KPROBE, 0),
    "uretprobe": (bpf.BPF_PROG_TYPE_KPROBE, 0),
    "usdt": (bpf.BPF_PROG_TYPE_KPROBE, 0),
    "fentry": (bpf.BPF_PROG_TYPE_TRACING, bpf.BPF_TRACE_FENTRY),
    "fexit": (bpf.BPF_PROG_TYPE_TRACING, bpf.BPF_TRACE_FEXIT),
    "iter": (bpf.BPF_PROG_TYPE_TRACING, bpf.BPF_TRACE_ITER),
    "profile": (bpf.BPF_PROG_TYPE_PERF_EVENT, 0),
    "interval": (bpf.BPF_PROG_TYPE_PERF_EVENT, 0),
    "software": (bpf.BPF_PROG_TYPE_PERF_EVENT, 0),
    "hardware": (bpf.BPF_PROG_TYPE_PERF_EVENT, 0),
    "watchpoint": (bpf.BPF_PROG_TYPE_PERF_EVENT, 0),
}

_MULTI_TYPES = {
    "kprobe": bpf.BPF_TRACE_KPROBE_MULTI,
    "kretprobe": bpf.BPF_TRACE_KPROBE_MULTI,
    "uprobe": bpf.BPF_TRACE_UPROBE_MULTI,
    "uretprobe": bpf.BPF_TRACE_UPROBE_MULTI,
}


def lower(typed: TypedProgram, context: Context) -> CompiledProgram:
    """Turn a typed program, free of errors, into a compiled one."""
    functions = {item.name: item for item in typed.tree.items if isinstance(item, n.Function)}
    resources = Resources(context, list(typed.maps.values()), functions)
    resources.stack_lengths = typed.stack_lengths
    programs: dict[str, ProgramSpec] = {}
    probes: list[ProbeSchema] = []
    for variant in typed.variants:
        name = _program_name(variant)
        spec = _lower_variant(context, resources, variant, name)
        programs[name] = spec
        probes += _probes(variant, name, spec)
    maps = resources.map_specs()
    if resources.uses_elapsed:
        # The session stores the start of the run here before it attaches anything.
        maps[ELAPSED_MAP] = MapSpec(ELAPSED_MAP, bpf.BPF_MAP_TYPE_ARRAY, 4, 8, 1)
    from bpflens.lang.lower.describe import describe

    source = context.sources.sources[0]
    return CompiledProgram(
        ObjectSpec(maps, programs, btf=describe(resources, maps), name="bpflens"),
        probes,
        [plan.schema() for plan in resources.maps.values()],
        resources.events,
        strings=resources.strings,
        config=context.config,
        name=source.name,
        script=source.text,
    )


def _probes(variant: Variant, program: str, spec: ProgramSpec) -> list[ProbeSchema]:
    found = []
    for i, match in enumerate(variant.matches):
        options = dict(match.options)
        if variant.syscalls is not None:
            # One attachment serves all of them.
            event = f"sys_{variant.syscalls.direction}"
            options = {**options, "attach_kind": "" if i else "tp_btf", "event": event}
        elif spec.expected_attach_type == bpf.BPF_TRACE_RAW_TP:
            options["attach_kind"] = "tp_btf"
        elif variant.multi:
            options["multi"] = 1
        if len(variant.matches) > 1:
            options["optional"] = 1
        found.append(ProbeSchema(variant.kind, match.name, program, options))
    return found


def _program_name(variant: Variant) -> str:
    # The kernel shows at most 15 characters; the number at the end keeps the names apart.
    name = variant.matches[0].name if variant.matches else variant.point.text
    tail = name.rsplit(":", 1)[-1]
    word = "".join(ch if ch.isalnum() or ch == "_" else "_" for ch in tail)
    return f"{word[:60] or variant.kind}_{variant.index + 1}"


def _emit(context: Context, resources: Resources, variant: Variant, name: str) -> EmittedProgram:
    # Lower and compile, with less and less on the stack until all frames fit.
    events = len(resources.events)
    for limit in STACK_LIMITS:
        lowering = FunctionLowering(context, resources, variant, name, limit)
        lowering.run()
        try:
            return compile_program(lowering.functions, 4 if context.target.has("cpu_v4") else 3)
        except FrameTooLarge as error:
            too_large = error
            del resources.events[events:]
    raise too_large


def _lower_variant(
    context: Context, resources: Resources, variant: Variant, name: str
) -> ProgramSpec:
    emitted = _emit(context, resources, variant, name)
    # The kernel wants a line for the first instruction of every function.
    places = {slot: variant.probe.start for slot, _ in emitted.funcs} | dict(emitted.positions)
    lines = [_line(context, slot, position) for slot, position in sorted(places.items())]
    kind, attach_type = _PROGRAM_TYPES[variant.kind]
    if variant.multi:
        attach_type = _MULTI_TYPES[variant.kind]
    if variant.syscalls is not None or (
        variant.kind == "rawtracepoint" and variant.args is not None
    ):
        # With typed arguments the verifier lets fields be read by plain loads.
        attach_type = bpf.BPF_TRACE_RAW_TP
        kind = bpf.BPF_PROG_TYPE_TRACING
    return ProgramSpec(
        name,
        kind,
        emitted.insns,
        relocs=emitted.relocs,
        license=str(context.config.get("license") or "GPL"),
        expected_attach_type=attach_type,
        attach_to=_attach_to(variant, kind),
        funcs=[(slot, function, 0) for slot, function in emitted.funcs],
        lines=lines,
        section=variant.matches[0].name if variant.matches else variant.point.text,
    )


def _attach_to(variant: Variant, kind: int) -> str:
    # Return the name of the kernel's function that a program is checked against.
    if kind != bpf.BPF_PROG_TYPE_TRACING or not variant.matches:
        return ""
    options = variant.matches[0].options
    if variant.kind == "iter":
        return str(options["iterator"])
    if variant.syscalls is not None:
        return f"sys_{variant.syscalls.direction}"
    if variant.kind == "rawtracepoint":
        return str(options["event"])
    return str(options["function"])


def _line(context: Context, slot: int, position: int) -> LineInfo:
    source = context.sources.find(position)
    line, column = source.line_column(position)
    return LineInfo(slot, source.name, source.line(line), line, column)

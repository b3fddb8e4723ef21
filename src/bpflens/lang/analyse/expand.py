"""Expansion: from probe blocks with attach points, patterns among them, to variants with matches.

What a pattern meets is the target's knowledge. A block whose code depends on which probe it is
(it names ``args`` or ``probe``) gets a variant for each match; any other block is compiled once
and attached to all matches.
"""

from __future__ import annotations

from bpflens.lang import nodes as n
from bpflens.lang.analyse.state import Match, Variant
from bpflens.lang.attach_point import Parameters, parse
from bpflens.lang.glob import has_wildcard
from bpflens.lang.types import FieldInfo, Pointer, Struct, Type, align_up

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bpflens.lang.attach_point import AttachPointSpec
    from bpflens.lang.context import Context

__all__ = ["expand"]

_TYPED = frozenset(("tracepoint", "rawtracepoint", "fentry", "fexit", "iter"))


_WARN_HINT = "If this is expected, set the 'missing_probes' config variable to 'warn'."


def expand(tree: n.Program, context: Context) -> list[Variant]:
    """Return the variants of all probes, in declaration order."""
    variants: list[Variant] = []
    for item in tree.items:
        if isinstance(item, n.Probe):
            _expand_probe(item, context, variants)
    _check_iterators(variants, context)
    return _of_mode(variants, str(context.options.get("mode") or ""), context)


def _expand_probe(probe: n.Probe, context: Context, variants: list[Variant]) -> None:
    named = {}
    if "container_pid" in context.options:
        named["container_pid"] = str(context.options["container_pid"])
    parameters = Parameters(context.params, named)
    uses = _names_used(probe)
    before, before_complaints = len(variants), len(context.diagnostics.items)
    for point in probe.attach_points:
        specs = parse(
            point,
            context.diagnostics,
            parameters,
            pid=int(str(context.options.get("pid") or 0)),
            unsafe=bool(context.options.get("unsafe")),
            arch=context.target.arch,
        )
        for spec in specs:
            _expand_point(probe, point, spec, uses, context, variants)
    if len(variants) == before:
        complaints = context.diagnostics.items[before_complaints:]
        missing = all(item.code == "missing-probe" for item in complaints)
        _complain_of_empty(probe, context, missing)


def _expand_point(
    probe: n.Probe,
    point: n.AttachPoint,
    spec: AttachPointSpec,
    uses: set[str],
    context: Context,
    variants: list[Variant],
) -> None:
    matches = _matches(spec, context)
    if matches is None:
        return
    if not matches:
        if not spec.optional:
            _complain(spec, context)
        return
    typed = spec.kind in _TYPED and bool(uses & {"args", "retval"})
    apart = len(matches) > 1 and (typed or _by_place(spec.kind, uses))
    if spec.kind == "tracepoint" and len(matches) > 1:
        from bpflens.lang.analyse.syscall_group import split

        shared, matches = split(probe, matches, context, uses)
        for calls in shared:
            variant = Variant(probe, point, spec.kind, calls.matches, len(variants))
            variant.syscalls, variant.args = calls, calls.args
            variants.append(variant)
        if not matches:
            return
    groups = [[match] for match in matches] if apart else [matches]
    if not _within_limit(len(variants) + len(groups), spec, context):
        return
    for group_matches in groups:
        variant = Variant(probe, point, spec.kind, group_matches, len(variants))
        variant.multi = len(group_matches) > 1 and _fits_one_link(spec, context)
        if uses & {"args", "ctx", "retval"}:
            _ARGUMENTS.get(spec.kind, _no_arguments)(variant, context)
        variants.append(variant)


# Kinds whose many matches one link of the kernel can carry, and the feature that it takes.
_MULTI = {
    "kprobe": "kprobe_multi",
    "kretprobe": "kprobe_multi",
    "uprobe": "uprobe_multi",
    "uretprobe": "uprobe_multi",
}


def _fits_one_link(spec: AttachPointSpec, context: Context) -> bool:
    feature = _MULTI.get(spec.kind)
    if feature is None or "address" in spec.options or "offset" in spec.options:
        return False
    return context.target.has(feature)


def _within_limit(count: int, spec: AttachPointSpec, context: Context) -> bool:
    limit = int(str(context.config.get("max_bpf_progs", 1024)))
    if count <= limit:
        return True
    context.diagnostics.error(
        "too-many-programs",
        f"Your program is trying to generate more than {count} BPF programs, which exceeds the "
        f"current limit of {limit}",
        spec.start,
        spec.end,
        "You can increase the limit through the BPFTRACE_MAX_BPF_PROGS environment variable.",
    )
    return False


def _by_place(kind: str, uses: set[str]) -> bool:
    # Whether the code of a block depends on which of its matches was hit.
    if "probe" in uses or (kind in ("uprobe", "uretprobe", "usdt") and "uaddr" in uses):
        return True
    return kind == "usdt" and any(name[:3] == "arg" and name[3:].isdigit() for name in uses)


def _names_used(probe: n.Probe) -> set[str]:
    return {node.name for node in n.walk(probe) if isinstance(node, (n.Identifier, n.Call))}


def _check_iterators(variants: list[Variant], context: Context) -> None:
    for variant in variants:
        if variant.kind == "iter" and len(variants) > 1:
            point = variant.point
            context.diagnostics.error(
                "iter", "Only single iter attach point is allowed.", point.start, point.end
            )
            return


def _of_mode(variants: list[Variant], mode: str, context: Context) -> list[Variant]:
    # test: and bench: probes run in their own modes only, where other probes do not.
    kept: list[Variant] = []
    wanted = str(context.options.get("probe_filter") or "")
    fits = _filter(wanted) if wanted else None
    for variant in variants:
        if variant.kind in ("test", "bench"):
            if variant.kind != mode:
                continue
        elif mode in ("test", "bench") and variant.kind not in ("begin", "end"):
            continue
        if fits is not None and variant.kind not in ("begin", "end"):
            variant.matches = [match for match in variant.matches if fits(match.name)]
            if not variant.matches:
                continue
        variant.index = len(kept)
        kept.append(variant)
    return kept


def _filter(expression: str) -> Callable[[str], object]:
    import re

    try:
        return re.compile(expression).search
    except re.error as error:
        from bpflens.errors import UsageError

        raise UsageError(f"Invalid --probe-filter regex '{expression}': {error}") from None


def _matches(spec: AttachPointSpec, context: Context) -> list[Match] | None:
    # None: there was an error, which has been told.
    found = _FINDERS.get(spec.kind)
    if found is not None:
        return found(spec, context)
    return [Match(spec.full_name(), dict(spec.options))]


def _tracepoints(spec: AttachPointSpec, context: Context) -> list[Match]:
    pairs = context.target.tracepoints(spec.get("system"), spec.get("event"))
    return [Match(spec.full_name(system=s, event=e), {"system": s, "event": e}) for s, e in pairs]


def _raw_tracepoints(spec: AttachPointSpec, context: Context) -> list[Match]:
    pairs = context.target.raw_tracepoint_pairs(spec.get("module") or "*", spec.get("event"))
    return [
        Match(spec.full_name(module=module, event=event), {"module": module, "event": event})
        for module, event in pairs
    ]


def _kernel_functions(spec: AttachPointSpec, context: Context) -> list[Match] | None:
    if "address" in spec.options:
        return [Match(spec.full_name(), dict(spec.options))]
    module, function = spec.get("module"), spec.get("function")
    if not has_wildcard(function) and not has_wildcard(module):
        if not _may_be_probed(spec, context):
            return [] if module in ("", "vmlinux") or context.target.has_module(module) else None
        return [Match(spec.full_name(), {**spec.options, **_in_its_place(spec, context)})]
    found = [
        Match(
            spec.full_name(function=f, **({"module": m} if module else {})),
            {"function": f, **({"module": m} if m != "vmlinux" else {})},
        )
        for m, f in context.target.kernel_functions(module or "*", function)
    ]
    # One name in two modules is one probe for the kernel, which knows only names.
    return list({match.name: match for match in found}.values())


def _may_be_probed(spec: AttachPointSpec, context: Context) -> bool:
    module, function = spec.get("module"), spec.get("function")
    if module not in ("", "vmlinux") and not context.target.has_module(module):
        context.diagnostics.error(
            "missing-module",
            f"specified module {module} in probe {spec.kind}:{module}:{function} is not loaded.",
            spec.start,
            spec.end,
        )
        return False
    if context.target.has_function(function):
        return True
    if context.config.get("missing_probes") != "ignore":
        context.diagnostics.warning(
            "untraceable",
            f"{function} is not traceable (either non-existing, inlined, or marked as "
            '"notrace"); attaching to it will likely fail',
            spec.start,
            spec.end,
        )
    return bool(context.options.get("unsafe"))


def _in_its_place(spec: AttachPointSpec, context: Context) -> dict[str, str]:
    # Guides name functions that newer kernels go around, with the same arguments in front.
    function = spec.get("function")
    other = "" if "offset" in spec.options else context.target.replacement(function)
    if not other:
        return {}
    context.diagnostics.warning(
        "replaced-function",
        f"{function} is gone around by this kernel's own callers; {other}, which does its work, "
        "is probed in its place",
        spec.start,
        spec.end,
        f"Its first two arguments are the same. Write {spec.kind}:{other} to say so yourself.",
    )
    return {"function": other}


def _typed_functions(spec: AttachPointSpec, context: Context) -> list[Match]:
    if spec.get("module") == "bpf":
        return [
            Match(
                spec.full_name(module="bpf", function=name),
                {"module": "bpf", "function": name, "program_id": number},
            )
            for number, name in context.target.bpf_programs(
                spec.number("program_id"), spec.get("function")
            )
        ]
    pairs = context.target.typed_functions(spec.get("module"), spec.get("function"))
    return [
        Match(spec.full_name(module=m, function=f), {"module": m, "function": f}) for m, f in pairs
    ]


def _user_functions(spec: AttachPointSpec, context: Context) -> list[Match] | None:
    path, symbol = spec.get("path"), spec.get("symbol")
    files = context.target.binaries(path)
    if not files:
        _no_file(spec, context)
        return None
    if "source_file" in spec.options:
        return [Match(spec.full_name(path=files[0]), {**spec.options, "path": files[0]})]
    if "address" in spec.options:
        return [
            Match(spec.full_name(path=_shown(spec, p)), {**spec.options, "path": p}) for p in files
        ]
    found = [
        Match(
            spec.full_name(path=_shown(spec, p), symbol=s),
            {**spec.options, "path": p, "symbol": s},
        )
        for p, s in context.target.user_functions(path, symbol)
    ]
    if spec.options.get("offset") and found:
        return _inside(spec, found, context)
    return found


def _addresses(spec: AttachPointSpec, files: Sequence[str], context: Context) -> list[Match] | None:
    address = spec.number("address")
    for path in files:
        if not context.options.get("unsafe") and not context.target.is_code(path, address):
            context.diagnostics.error(
                "address",
                f"Could not resolve address: {path}:{address:#x}",
                spec.start,
                spec.end,
                "It is not in the code of the file.",
            )
            return None
    return [Match(spec.full_name(path=p), {**spec.options, "path": p}) for p in files]


def _inside(spec: AttachPointSpec, found: list[Match], context: Context) -> list[Match] | None:
    # An offset has to lie inside the function.
    offset = spec.number("offset")
    for match in found:
        path, symbol = str(match.options["path"]), str(match.options["symbol"])
        place = context.target.user_symbol(path, symbol)
        if place is not None and place[1] and offset >= place[1]:
            context.diagnostics.error(
                "offset",
                f"Offset outside the function bounds ('{symbol}' size is {place[1]})",
                spec.start,
                spec.end,
            )
            return None
    return found


def _no_file(spec: AttachPointSpec, context: Context) -> None:
    kind = "usdt" if spec.kind == "usdt" else "uprobe"
    context.diagnostics.error(
        "missing-file",
        f"{kind} target file '{spec.get('path')}' does not exist or is not executable",
        spec.start,
        spec.end,
    )


def _usdt(spec: AttachPointSpec, context: Context) -> list[Match] | None:
    path = spec.get("path")
    if path and not has_wildcard(path) and not context.target.binaries(path):
        _no_file(spec, context)
        return None
    found = context.target.usdt_probes(path, spec.get("provider") or "*", spec.get("probe"))
    matches = []
    for path, provider, probe in found:
        options: dict[str, object] = {"path": path, "provider": provider, "probe": probe}
        operands = list(context.target.usdt_operands(path, provider, probe))
        options["operands"] = operands
        if len(set(operands)) > 1:
            options["cookies"] = list(range(len(operands)))
        shown = spec.full_name(path=_shown(spec, path), provider=provider, probe=probe)
        matches.append(Match(shown, options))
    return matches


def _shown(spec: AttachPointSpec, path: str) -> str:
    # Return a file's name as the probe's name has it: as it was written, if it was.
    written = spec.get("path")
    return path if not written or has_wildcard(written) else written


def _complain(spec: AttachPointSpec, context: Context) -> None:
    how = str(context.config.get("missing_probes", "error"))
    if how == "ignore":
        return
    what = " ".join(spec.full_name().split(":", 1)) if not spec.name else spec.text
    if how == "warn":
        message = f"No matches for {what}. Skipping."
        context.diagnostics.warning("missing-probe", message, spec.start, spec.end)
        return
    hints = context.target.near_probes(spec.kind, spec.options)
    message = f"No matches for {what}."
    context.diagnostics.error("missing-probe", message, spec.start, spec.end, *hints, _WARN_HINT)


def _complain_of_empty(probe: n.Probe, context: Context, missing: bool) -> None:
    how = str(context.config.get("missing_probes", "error"))
    if how == "ignore" or not probe.attach_points:
        return
    start, end = probe.attach_points[0].start, probe.attach_points[-1].end
    if how == "warn":
        context.diagnostics.warning(
            "empty-probe",
            "Probe has no valid attach points. It is being removed which may cause issues with "
            "program behavior.",
            start,
            end,
        )
    elif missing:
        message = f"Probe has no valid attach points. {_WARN_HINT}"
        context.diagnostics.error("empty-probe", message, start, end)


_FINDERS: dict[str, Callable[[AttachPointSpec, Context], list[Match] | None]] = {
    "tracepoint": _tracepoints,
    "rawtracepoint": _raw_tracepoints,
    "kprobe": _kernel_functions,
    "kretprobe": _kernel_functions,
    "fentry": _typed_functions,
    "fexit": _typed_functions,
    "uprobe": _user_functions,
    "uretprobe": _user_functions,
    "usdt": _usdt,
}


# what args is, by kind


def _no_arguments(variant: Variant, context: Context) -> None:
    return


def _tracepoint_record(variant: Variant, context: Context) -> None:
    from bpflens.lang.tracepoint_format import parse_format

    options = variant.matches[0].options
    system, event = str(options["system"]), str(options["event"])
    text = context.target.tracepoint_format(system, event)
    if text is not None:
        size = int(str(context.config["max_strlen"]))
        record = parse_format(text, system, event, context.named_type, min(size, 64))
        variant.args = Pointer(record, "ctx")


def _raw_arguments(variant: Variant, context: Context) -> None:
    kernel = context.types()
    if kernel is not None:
        event = str(variant.matches[0].options["event"])
        found = kernel.raw_tracepoint(event)
        if found is not None:
            variant.params = found
            variant.args = _words(f"struct _raw_{event}", found)


def _function_arguments(variant: Variant, context: Context) -> None:
    kernel = context.types()
    if kernel is not None:
        name = str(variant.matches[0].options["function"])
        found = kernel.function(name)
        if found is not None:
            variant.params, variant.result = found
            variant.args = _words(f"struct _args_{name}", found[0])


def _iterator_context(variant: Variant, context: Context) -> None:
    name = str(variant.matches[0].options["iterator"])
    found = context.named_type(f"bpf_iter__{name}", "struct")
    if isinstance(found, Struct):
        variant.args = Pointer(found, "ctx")


def _words(tag: str, params: list[tuple[str, Type]]) -> Pointer:
    # Return a pointer to the array of 64-bit words that holds such arguments.
    fields = []
    at = 0
    for name, kind in params:
        # Pointers to structs that the verifier knows may be followed by plain loads.
        if isinstance(kind, Pointer) and isinstance(kind.target, Struct):
            kind = Pointer(kind.target, kind.space, trusted=True)
        elif isinstance(kind, Pointer):
            # ``char *`` may be user memory: few kernels mark that in BTF. The address tells.
            kind = Pointer(kind.target)
        fields.append(FieldInfo(name, kind, at))
        # Structs that are passed by value take as many words as they need.
        at += align_up(max(kind.size, 1), 8)
    return Pointer(Struct(tag, at, lambda: fields), "ctx")


_ARGUMENTS: dict[str, Callable[[Variant, Context], None]] = {
    "tracepoint": _tracepoint_record,
    "rawtracepoint": _raw_arguments,
    "fentry": _function_arguments,
    "fexit": _function_arguments,
    "iter": _iterator_context,
}

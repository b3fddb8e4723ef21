"""Expansion: from probe blocks with attach points, patterns among them, to variants with matches.

What a pattern meets is the target's knowledge. A block whose code depends on which probe it is
(it names ``args`` or ``probe``) gets a variant for each match; any other block is compiled once
and attached to all matches.
"""

from __future__ import annotations

from bpflens.lang import nodes as n
from bpflens.lang.analyse.state import Match, Variant
from bpflens.lang.attach_point import Parameters, parse
from bpflens.lang.types import FieldInfo, Pointer, Struct, Type

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from bpflens.lang.attach_point import AttachPointSpec
    from bpflens.lang.context import Context

__all__ = ["expand"]

_TYPED = frozenset(("tracepoint", "rawtracepoint", "fentry", "fexit", "iter"))


def expand(tree: n.Program, context: Context) -> list[Variant]:
    """Return the variants of all probes, in declaration order."""
    variants: list[Variant] = []
    for item in tree.items:
        if isinstance(item, n.Probe):
            _expand_probe(item, context, variants)
    return variants


def _expand_probe(probe: n.Probe, context: Context, variants: list[Variant]) -> None:
    named = {"container_pid": str(context.options["container_pid"])} if "container_pid" in context.options else {}  # fmt: skip
    parameters = Parameters(context.params, named)
    uses = _names_used(probe)
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
            matches = _matches(spec, context)
            if not matches:
                _complain(spec, context)
                continue
            typed = spec.kind in _TYPED and ("args" in uses or "retval" in uses)
            apart = len(matches) > 1 and (typed or "probe" in uses)
            groups = [[match] for match in matches] if apart else [matches]
            for group in groups:
                variant = Variant(probe, point, spec.kind, group, len(variants))
                if "args" in uses or "ctx" in uses or "retval" in uses:
                    _ARGUMENTS.get(spec.kind, _no_arguments)(variant, context)
                variants.append(variant)


def _names_used(probe: n.Probe) -> set[str]:
    return {node.name for node in n.walk(probe) if isinstance(node, (n.Identifier, n.Call))}


def _matches(spec: AttachPointSpec, context: Context) -> list[Match]:
    found = _FINDERS.get(spec.kind)
    if found is not None:
        return found(spec, context)
    return [Match(spec.full_name(), dict(spec.options))]


def _tracepoints(spec: AttachPointSpec, context: Context) -> list[Match]:
    pairs = context.target.tracepoints(spec.get("system"), spec.get("event"))
    return [Match(spec.full_name(system=s, event=e), {"system": s, "event": e}) for s, e in pairs]


def _raw_tracepoints(spec: AttachPointSpec, context: Context) -> list[Match]:
    names = context.target.raw_tracepoints(spec.get("event"))
    return [Match(spec.full_name(event=name), {"event": name}) for name in names]


def _kernel_functions(spec: AttachPointSpec, context: Context) -> list[Match]:
    if "address" in spec.options or spec.get("module") == "bpf":
        return [Match(spec.full_name(), dict(spec.options))]
    if not spec.has_wildcard and spec.kind in ("kprobe", "kretprobe"):
        # Attaching finds out whether it exists, and names the nearest ones if it does not.
        return [Match(spec.full_name(), dict(spec.options))]
    pairs = context.target.kernel_functions(spec.get("module") or "*", spec.get("function"))
    keep = {key: value for key, value in spec.options.items() if key == "offset"}
    return [
        Match(spec.full_name(function=f), {**keep, "function": f, **({"module": m} if m else {})})
        for m, f in pairs
    ]


def _user_functions(spec: AttachPointSpec, context: Context) -> list[Match]:
    path, symbol = spec.get("path"), spec.get("symbol")
    if "source_file" in spec.options:
        return [Match(spec.full_name(), dict(spec.options))]
    if "address" in spec.options:
        return [
            Match(spec.full_name(path=p), {**spec.options, "path": p})
            for p in context.target.binaries(path)
        ]
    pairs = context.target.user_functions(path, symbol)
    return [
        Match(spec.full_name(path=p, symbol=s), {**spec.options, "path": p, "symbol": s})
        for p, s in pairs
    ]


def _usdt(spec: AttachPointSpec, context: Context) -> list[Match]:
    found = context.target.usdt_probes(spec.get("path"), spec.get("provider") or "*", spec.get("probe"))  # fmt: skip
    return [
        Match(spec.full_name(path=p, provider=v, probe=x), {"path": p, "provider": v, "probe": x})
        for p, v, x in found
    ]


def _complain(spec: AttachPointSpec, context: Context) -> None:
    name = spec.full_name()
    how = str(context.config.get("missing_probes", "error"))
    if spec.has_wildcard:
        if how != "ignore":
            context.diagnostics.warning("no-match", f"No matches for {name}", spec.start, spec.end)
        return
    hints = context.target.near_probes(spec.kind, spec.options)
    message = _MISSING.get(spec.kind, "{name} not found.").format(
        name=name, **{key: spec.get(key) for key in ("function", "path", "symbol", "event")}
    )
    add = context.diagnostics.error if how == "error" else context.diagnostics.warning
    if how != "ignore":
        add("missing-probe", message, spec.start, spec.end, *hints)


_MISSING = {
    "tracepoint": "tracepoint not found: {name}",
    "rawtracepoint": "raw tracepoint not found: {name}",
    "fentry": "no such traceable function: {function}",
    "fexit": "no such traceable function: {function}",
    "uprobe": "no such symbol or file: {path}:{symbol}",
    "uretprobe": "no such symbol or file: {path}:{symbol}",
    "usdt": "no such USDT probe: {name}",
}
_FINDERS: dict[str, Callable[[AttachPointSpec, Context], list[Match]]] = {
    "tracepoint": _tracepoints,
    "rawtracepoint": _raw_tracepoints,
    "kprobe": _kernel_functions,
    "kretprobe": _kernel_functions,
    "fentry": _kernel_functions,
    "fexit": _kernel_functions,
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
    """Return a pointer to the array of 64-bit words that holds such arguments."""
    fields = []
    for i, (name, kind) in enumerate(params):
        # Pointers to structs that the verifier knows may be followed by plain loads.
        if isinstance(kind, Pointer) and isinstance(kind.target, Struct):
            kind = Pointer(kind.target, kind.space, trusted=True)
        fields.append(FieldInfo(name, kind, i * 8))
    return Pointer(Struct(tag, len(params) * 8, lambda: fields), "ctx")


_ARGUMENTS: dict[str, Callable[[Variant, Context], None]] = {
    "tracepoint": _tracepoint_record,
    "rawtracepoint": _raw_arguments,
    "fentry": _function_arguments,
    "fexit": _function_arguments,
    "iter": _iterator_context,
}

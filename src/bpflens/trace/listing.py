"""``-l``: the probes that a pattern or a program's attach points meet, one a line.

A pattern is ``kind:rest``, where ``kind`` may be a pattern; without a colon it is looked for in
the names of all kinds. ``struct x``, ``union x`` and ``enum x`` list types. With ``-v`` the
arguments of probes and the members of types follow (see :mod:`bpflens.trace.argument_list`).
"""

from __future__ import annotations

import os
import sys

from bpflens.lang.attach_point import ALIASES, KINDS
from bpflens.lang.glob import Glob, has_wildcard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bpflens.lang.pipeline import Compilation
    from bpflens.session.host import HostTarget
    from bpflens.trace.options import Options

__all__ = ["list_pattern", "list_program", "probes"]

_KERNEL_KINDS = (
    "fentry", "hardware", "iter", "kprobe", "rawtracepoint", "software", "tracepoint",
)  # fmt: skip
_USER_KINDS = ("uprobe", "usdt")
_UNITS = ("hz", "ms", "s", "us")
_TYPE_WORDS = ("struct ", "union ", "enum ")


def list_pattern(options: Options, target: HostTarget) -> int:
    """Print what a pattern (or several, with commas between) meets."""
    pattern = options.pattern or "*:*"
    if "." in pattern and not any(char in pattern for char in ":*"):
        sys.stderr.write(
            f"WARNING: It appears that '{pattern}' is a filename but the file does not exist. "
            f"Treating '{pattern}' as a search pattern.\n"
        )
    for word in pattern.split(","):
        one = " ".join(word.split())
        if one.startswith(_TYPE_WORDS):
            from bpflens.trace.argument_list import type_lines

            _show(type_lines(target.btf(), one, options.verbose))
            continue
        found = probes(one, target)
        _show(found if not options.verbose else _with_arguments(found, target))
        _say_what_is_missing(one, target)
    return 0


def list_program(compilation: Compilation, options: Options, target: HostTarget) -> int:
    """Print what the attach points of a program stand for."""
    found: list[str] = []
    for variant in compilation.expand(compilation.parse()):
        if variant.kind in ("begin", "end", "self"):
            continue
        found += [
            _listed_name(variant.kind, match.name, match.options) for match in variant.matches
        ]
    _show(found if not options.verbose else _with_arguments(found, target))
    return 0


def _listed_name(kind: str, name: str, options: dict[str, object]) -> str:
    if kind in ("hardware", "software"):
        return f"{kind}:{options['event']}:"
    if kind in ("profile", "interval"):
        return f"{kind}:{options['unit']}:"
    return name


def probes(pattern: str, target: HostTarget) -> list[str]:
    """Return the full names of the probes that a pattern meets, kind by kind."""
    if ":" not in pattern:
        pattern = f"*:{pattern or '*'}"
    first, rest = pattern.split(":", 1)
    found: list[str] = []
    for kind in _kinds(first, rest, target.pid):
        found += [f"{kind}:{text}" for text in _LISTS[kind](rest or "*", target)]
    return found


def _kinds(word: str, rest: str, pid: int) -> Sequence[str]:
    if word and not has_wildcard(word):
        lower = word.lower()
        kind = ALIASES.get(word) or (lower if lower in KINDS else ALIASES.get(lower, ""))
        return [kind] if kind in _LISTS else []
    file = rest.split(":", 1)[0]
    in_process = bool(pid) or (":" in rest and not has_wildcard(file) and os.path.exists(file))
    kinds = (*_KERNEL_KINDS, *_USER_KINDS) if in_process else _KERNEL_KINDS
    return sorted(Glob(word or "*").filter(kinds))


def _pair(rest: str) -> tuple[str, str]:
    # "syscalls:sys_enter_*" or only the event; no more than the last colon counts for paths.
    head, colon, tail = rest.rpartition(":")
    return (head or "*", tail or "*") if colon else ("*", rest)


def _kernel_functions(rest: str, target: HostTarget) -> list[str]:
    module, function = _pair(rest)
    pairs = target.kernel_functions(module, function)
    if ":" in rest and rest != "*:*":
        return [f"{mod}:{name}" for mod, name in pairs]
    return sorted({name for _, name in pairs})


def _typed_functions(rest: str, target: HostTarget) -> list[str]:
    module, function = _pair(rest)
    if module == "bpf" or module.startswith("bpf:"):
        return _bpf_programs(module, function, target)
    return [f"{mod}:{name}" for mod, name in target.typed_functions(module, function)]


def _bpf_programs(module: str, function: str, target: HostTarget) -> list[str]:
    wanted = module[len("bpf:") :]
    number = int(wanted) if wanted.isdigit() else 0
    return [f"bpf:{id}:{name}" for id, name in target.bpf_programs(number, function)]


def _tracepoints(rest: str, target: HostTarget) -> list[str]:
    return [f"{system}:{event}" for system, event in target.tracepoints(*_pair(rest))]


def _raw_tracepoints(rest: str, target: HostTarget) -> list[str]:
    module, event = _pair(rest)
    return [f"{mod}:{name}" for mod, name in target.raw_tracepoint_pairs(module, event)]


def _iterators(rest: str, target: HostTarget) -> list[str]:
    btf = target.btf()
    names = [name for name, _ in btf.find_prefix("bpf_iter__")] if btf else []
    short = {name[len("bpf_iter__") :] for name in names if not name.endswith("__safe_trusted")}
    return Glob(rest).filter(sorted(short))


def _events(kind: str) -> Callable[[str, HostTarget], list[str]]:
    def events(rest: str, target: HostTarget) -> list[str]:
        from bpflens.attach import perf_event

        table = perf_event.SOFTWARE if kind == "software" else perf_event.HARDWARE
        pattern = Glob(rest)
        return [f"{name}:" for name in sorted(table) if pattern.match(name + ":")]

    return events


def _timers(rest: str, target: HostTarget) -> list[str]:
    pattern = Glob(rest)
    return [f"{unit}:" for unit in _UNITS if pattern.match(unit + ":")]


def _user_functions(rest: str, target: HostTarget) -> list[str]:
    path, symbol = _pair(rest)
    return [f"{file}:{name}" for file, name in target.user_functions(path, symbol)]


def _static_probes(rest: str, target: HostTarget) -> list[str]:
    words = rest.split(":")
    if len(words) == 1:
        words.insert(0, "*")
    if len(words) == 2:
        words.insert(1, "*")
    path, provider, name = words[0], words[1], words[-1]
    return [":".join(parts) for parts in target.usdt_probes(path, provider, name)]


def _signals(rest: str, target: HostTarget) -> list[str]:
    return Glob(rest).filter(["signal:SIGUSR1"])


_LISTS: dict[str, Callable[[str, HostTarget], list[str]]] = {
    "fentry": _typed_functions,
    "fexit": _typed_functions,
    "hardware": _events("hardware"),
    "interval": _timers,
    "iter": _iterators,
    "kprobe": _kernel_functions,
    "kretprobe": _kernel_functions,
    "profile": _timers,
    "rawtracepoint": _raw_tracepoints,
    "self": _signals,
    "software": _events("software"),
    "tracepoint": _tracepoints,
    "uprobe": _user_functions,
    "uretprobe": _user_functions,
    "usdt": _static_probes,
}


def _show(lines: Sequence[str]) -> None:
    if not lines:
        return
    try:
        sys.stdout.write("\n".join(lines) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # "bpftrace -l | head": the rest is not wanted, nor is a complaint at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _with_arguments(found: Sequence[str], target: HostTarget) -> list[str]:
    from bpflens.trace.argument_list import ArgumentLists

    lists = ArgumentLists(target)
    lines: list[str] = []
    for name in found:
        lines.append(name)
        lines += [f"    {text}" for text in lists.of(name)]
    return lines


def _say_what_is_missing(pattern: str, target: HostTarget) -> None:
    kind = pattern.split(":", 1)[0].lower()
    kind = ALIASES.get(kind, kind)
    if kind in ("kprobe", "kretprobe", "fentry", "fexit"):
        from bpflens.session.suggest import missing

        why = missing(kind)
        if why:
            sys.stderr.write(f"WARNING: {why}\n")

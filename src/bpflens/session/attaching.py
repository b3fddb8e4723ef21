"""Attaching all probes of a compiled script: in which order, what goes together, what may fail.

Probes whose programs run in the reverse of the order in which they were attached (kprobes, uprobes,
fentry...) are attached last to first, so that blocks run in the order they stand in the script.
Many functions of one block are tied by one link where the kernel can. What cannot be attached is
an error, a warning or nothing, as the configuration's ``missing_probes`` says.

Example::

    attachments = attach_all(program, loaded.programs, pid=0, warn=print)
"""

from __future__ import annotations

from bpflens.attach.attachment import close_all
from bpflens.attach.probe import make
from bpflens.errors import AttachError, Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from bpflens.attach.attachment import Attachment, HasFd
    from bpflens.lang.program import CompiledProgram, ProbeSchema

__all__ = ["BY_HAND", "TooManyProbes", "attach_all", "check_limits", "drop_missing"]

#: Kinds of probes that nothing is attached for.
BY_HAND = frozenset(("begin", "end", "self", "test", "bench"))
# Their programs run last attached, first served.
_REVERSED = frozenset(("kprobe", "uprobe", "uretprobe", "usdt", "fentry", "fexit", "iter"))
_KERNEL_KINDS = ("kprobe", "kretprobe", "fentry", "fexit")
_ADVICE = "If this is expected, set the 'missing_probes' config variable to 'warn'."


class TooManyProbes(Error):
    """More probes than the configuration allows."""


def check_limits(program: CompiledProgram) -> None:
    """Raise TooManyProbes if the script has more probes than ``max_probes``."""
    limit = int(str(program.config.get("max_probes", 1024)))
    # What one attachment serves counts once.
    count = sum(1 for probe in program.probes if probe.options.get("attach_kind") != "")
    if count > limit:
        raise TooManyProbes(
            f"Can't attach to {count} probes because it exceeds the current limit of {limit} "
            "probes.\nYou can increase the limit through the BPFTRACE_MAX_PROBES environment "
            "variable, but BE CAREFUL since a high number of probes attached can cause your "
            "system to crash."
        )


def drop_missing(program: CompiledProgram, warn: Callable[[str], None]) -> None:
    """Take the probes out of a script whose kind this kernel lacks.

    Raises :class:`~bpflens.errors.AttachError`, which says what is missing and what exists
    instead, unless the configuration lets probes be missing.
    """
    kinds = {probe.kind for probe in program.probes}
    lacking = {}
    for kind in kinds & {*_KERNEL_KINDS, "uprobe", "uretprobe", "usdt", "iter"}:
        from bpflens.session.suggest import missing

        why = missing(kind)
        if why:
            lacking[kind] = why
    if not lacking:
        return
    gone = [probe for probe in program.probes if probe.kind in lacking]
    how = str(program.config.get("missing_probes", "error"))
    if how == "error":
        first = gone[0]
        alike = [probe for probe in gone if probe.kind == first.kind]
        raise AttachError(first.name, lacking[first.kind], _hints(alike))
    if how == "warn":
        for kind, why in sorted(lacking.items()):
            count = sum(probe.kind == kind for probe in gone)
            warn(f"Unable to attach {count} {kind} probe{'s' * (count > 1)}: {why}. Skipping.")
    left = [probe for probe in program.probes if probe.kind not in lacking]
    program.probes[:] = left
    used = {probe.program for probe in left}
    for name in [name for name in program.object.programs if name not in used]:
        del program.object.programs[name]


def _hints(probes: Sequence[ProbeSchema]) -> list[str]:
    functions = [str(probe.options.get("function", "")) for probe in probes]
    if not functions[0]:
        return [_ADVICE]
    from bpflens.session.suggest import hints

    return [*hints(probes[0].kind, functions), _ADVICE]


def attach_all(
    program: CompiledProgram,
    loaded: Mapping[str, HasFd],
    *,
    pid: int,
    warn: Callable[[str], None],
) -> list[Attachment]:
    """Attach every probe; on an error everything is detached again."""
    how = str(program.config.get("missing_probes", "error"))
    made: list[Attachment] = []
    failed: list[AttachError] = []
    try:
        for group in _groups(program.probes):
            made += _attach_group(group, loaded, pid, how, failed)
    except BaseException:
        close_all(made)
        raise
    if failed and not made and how == "error":
        raise failed[0]
    if failed and how != "ignore":
        _report([error.probe for error in failed], warn)
    return made


def _report(failed: Sequence[str], warn: Callable[[str], None]) -> None:
    if len(failed) <= 5:
        for name in failed:
            warn(f"Unable to attach probe: {name}. Skipping.")
        return
    warn(f"Unable to attach {len(failed)} probes, among them {', '.join(failed[:3])}. Skipping.")


def _groups(probes: Iterable[ProbeSchema]) -> list[list[ProbeSchema]]:
    # Probes that one link can carry, else lists of one; in the order of attaching.
    groups: list[list[ProbeSchema]] = []
    together: dict[tuple[str, str], list[ProbeSchema]] = {}
    for probe in probes:
        if probe.kind in BY_HAND or probe.options.get("attach_kind") == "":
            continue
        key = _key(probe)
        known = together.get(key) if key else None
        if known is not None:
            known.append(probe)
            continue
        group = [probe]
        groups.append(group)
        if key:
            together[key] = group
    backwards = [group for group in groups if group[0].kind in _REVERSED]
    return backwards[::-1] + [group for group in groups if group[0].kind not in _REVERSED]


def _key(probe: ProbeSchema) -> tuple[str, str] | None:
    if not probe.options.get("multi"):
        return None
    return probe.program, str(probe.options.get("path", ""))


def _attach_group(
    group: Sequence[ProbeSchema],
    loaded: Mapping[str, HasFd],
    pid: int,
    how: str,
    failed: list[AttachError],
) -> list[Attachment]:
    first = group[0]
    options = _many(group) if first.options.get("multi") else first.options
    try:
        kind = str(first.options.get("attach_kind", first.kind))
        point = make(kind, options, pid=pid)
        return [point.attach(loaded[first.program], cookie=first.cookie)]
    except AttachError as error:
        if len(group) == 1:
            # A pattern may meet what nobody can attach to, or what is gone by now.
            if how == "error" and not first.options.get("optional"):
                raise _explained(first, error) from error
            failed.append(AttachError(first.name, error.reason, error.hints))
            return []
    # One that the kernel does not take spoils them all: the halves will show which.
    half = len(group) // 2
    made = _attach_group(group[:half], loaded, pid, how, failed)
    return made + _attach_group(group[half:], loaded, pid, how, failed)


def _many(group: Sequence[ProbeSchema]) -> dict[str, object]:
    first = group[0].options
    if "path" not in first:
        return {"functions": [str(probe.options["function"]) for probe in group]}
    from bpflens.session.binary_file import offsets

    path = str(first["path"])
    names = [str(probe.options["symbol"]) for probe in group]
    return {"path": path, "places": offsets(path, names)}


def _explained(probe: ProbeSchema, error: AttachError) -> AttachError:
    hints = [*error.hints]
    if probe.kind in _KERNEL_KINDS and not hints:
        hints = _hints([probe])
    elif _ADVICE not in hints:
        hints.append(_ADVICE)
    return AttachError(f"Unable to attach probe: {probe.name}", error.reason, hints)

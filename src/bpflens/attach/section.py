"""Attach what an object file says of itself: from section names to probes.

``SEC("kprobe/vfs_read")`` names what to attach to; ``SEC("xdp")`` does not, and somebody has to say
on which interface. This module knows the first kind.

Example::

    for name, program in loaded.programs.items():
        probe_of(loaded.spec.programs[name]).attach(program)
"""

from __future__ import annotations

import os

from bpflens.errors import AttachError
from bpflens.load.section_name import match

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from bpflens.attach.attachment import Probe
    from bpflens.spec import ProgramSpec

__all__ = ["can_attach", "probe_of"]

_PREFIXES = {"x86_64": "__x64_sys_", "aarch64": "__arm64_sys_"}


def can_attach(program: ProgramSpec) -> bool:
    """Whether the program's section says what to attach it to."""
    return _maker(program) is not None


def probe_of(program: ProgramSpec) -> Probe:
    """Return the probe that the program's section names.

    Raises :class:`~bpflens.errors.AttachError` where the section does not say, or says nonsense.
    """
    maker = _maker(program)
    if maker is None:
        raise AttachError(
            program.section, f"the section does not say what to attach {program.name} to"
        )
    return maker(program)


def _maker(program: ProgramSpec) -> Callable[[ProgramSpec], Probe] | None:
    rule = match(program.section)
    if rule is None or not program.attach_to:
        return None
    return _MAKERS.get(rule.name.removesuffix(".s"))


def _tracepoint(program: ProgramSpec) -> Probe:
    from bpflens.attach.tracepoint import Tracepoint

    system, slash, event = program.attach_to.partition("/")
    if not slash or not event:
        raise _wrong(program, "tracepoint/SYSTEM/EVENT")
    return Tracepoint(system, event)


def _raw_tracepoint(program: ProgramSpec) -> Probe:
    from bpflens.attach.raw_tracepoint import RawTracepoint

    return RawTracepoint(program.attach_to)


def _tracing(program: ProgramSpec) -> Probe:
    from bpflens.attach.tracing import Tracing

    return Tracing(program.section.replace("/", ":"), program.expected_attach_type)


def _iterator(program: ProgramSpec) -> Probe:
    from bpflens.attach.iterator import Iterator

    return Iterator(program.attach_to)


def _kprobe(program: ProgramSpec) -> Probe:
    from bpflens.attach.kprobe import Kprobe

    function, offset = _with_offset(program, program.attach_to)
    return Kprobe(function, offset=offset, retprobe=program.section.startswith("kret"))


def _ksyscall(program: ProgramSpec) -> Probe:
    from bpflens.attach.kprobe import Kprobe

    function = _PREFIXES.get(os.uname().machine, "__x64_sys_") + program.attach_to
    return Kprobe(function, retprobe=program.section.startswith("kret"))


def _kprobe_multi(program: ProgramSpec) -> Probe:
    from bpflens.attach.kprobe import KprobeMulti

    pattern = program.attach_to
    names = [pattern]
    if any(letter in pattern for letter in "*?["):
        from bpflens.symbols.kallsyms import Kallsyms

        names = Kallsyms().functions(pattern)
        if not names:
            raise AttachError(program.section, f"no kernel function matches {pattern}")
    return KprobeMulti(
        names,
        retprobe=program.section.startswith("kret"),
        session=program.section.startswith("kprobe.session"),
    )


def _uprobe(program: ProgramSpec) -> Probe:
    from bpflens.attach.uprobe import Uprobe

    path, colon, symbol = program.attach_to.rpartition(":")
    if not colon:
        raise _wrong(program, "uprobe/PATH:FUNCTION[+OFFSET]")
    function, offset = _with_offset(program, symbol)
    return Uprobe(path, symbol=function, offset=offset, retprobe=program.section.startswith("uret"))


def _uprobe_multi(program: ProgramSpec) -> Probe:
    from bpflens.attach.binary import binary_path
    from bpflens.attach.uprobe import UprobeMulti
    from bpflens.elf import File

    name, colon, pattern = program.attach_to.rpartition(":")
    if not colon:
        raise _wrong(program, "uprobe.multi/PATH:PATTERN")
    path = binary_path(name)
    with File(path) as file:
        found = {value for _, value in file.symbol_table().glob(pattern)}
        offsets = [file.vaddr_to_offset(value) for value in sorted(found)]
    places = [offset for offset in offsets if offset is not None]
    if not places:
        raise AttachError(program.section, f"no function of {path} matches {pattern}")
    return UprobeMulti(
        path,
        places,
        retprobe=program.section.startswith("uret"),
        session=program.section.startswith("uprobe.session"),
    )


def _usdt(program: ProgramSpec) -> Probe:
    from bpflens.attach.usdt import Usdt

    parts = program.attach_to.rsplit(":", 2)
    if len(parts) != 3:
        raise _wrong(program, "usdt/PATH:PROVIDER:NAME")
    return Usdt(*parts)


def _with_offset(program: ProgramSpec, text: str) -> tuple[str, int]:
    name, plus, offset = text.partition("+")
    try:
        return name, int(offset, 0) if plus else 0
    except ValueError:
        raise _wrong(program, "FUNCTION[+OFFSET]") from None


def _wrong(program: ProgramSpec, form: str) -> AttachError:
    return AttachError(program.section, f"the section of {program.name} should be {form}")


_MAKERS: dict[str, Callable[[ProgramSpec], Probe]] = {
    "tracepoint": _tracepoint,
    "tp": _tracepoint,
    "raw_tracepoint": _raw_tracepoint,
    "raw_tp": _raw_tracepoint,
    "raw_tracepoint.w": _raw_tracepoint,
    "raw_tp.w": _raw_tracepoint,
    "tp_btf": _tracing,
    "fentry": _tracing,
    "fexit": _tracing,
    "fmod_ret": _tracing,
    "freplace": _tracing,
    "lsm": _tracing,
    "iter": _iterator,
    "kprobe": _kprobe,
    "kretprobe": _kprobe,
    "ksyscall": _ksyscall,
    "kretsyscall": _ksyscall,
    "kprobe.multi": _kprobe_multi,
    "kretprobe.multi": _kprobe_multi,
    "kprobe.session": _kprobe_multi,
    "uprobe": _uprobe,
    "uretprobe": _uprobe,
    "uprobe.multi": _uprobe_multi,
    "uretprobe.multi": _uprobe_multi,
    "uprobe.session": _uprobe_multi,
    "usdt": _usdt,
}

"""``--info``: what this kernel can do, and what the probe kinds that it lacks would need."""

from __future__ import annotations

import os

from bpflens.kernel.feature import Feature, feature, helper
from bpflens.session.suggest import KIND_FEATURES, missing
from bpflens.uapi import bpf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["report"]

_BTF = "/sys/kernel/btf"
# The verifier's own limit (include/linux/bpf.h: BPF_COMPLEXITY_LIMIT_INSNS, since Linux 5.2).
_INSTRUCTION_LIMIT = 1_000_000


def report(version: str, own_version: str, without: Sequence[str] = ()) -> str:
    """Return the report as text; ``without`` are features that are not to be used."""
    system = os.uname()
    lines = [
        "System",
        f"  OS: {system.sysname} {system.release} {system.version}",
        f"  Arch: {system.machine}",
        "",
        "Build",
        f"  version: v{version}",
        f"  bpflens: {own_version}",
        "  LLVM: not needed",
        "  bfd: no (own disassembler)",
        "  libdw (DWARF support): no",
        "  libsystemd (systemd notify support): no",
        "  blazesym (advanced symbolization): no (own symbol tables)",
        "  dwunwind (DWARF stack unwinding): no",
        "",
        "Kernel helpers",
        *_helpers(),
        "",
        "Kernel features",
        f"  Instruction limit: {_INSTRUCTION_LIMIT}",
        f"  btf: {_yes(os.path.exists(f'{_BTF}/vmlinux'))}",
        f"  module btf: {_yes(_has_module_btf())}",
        "",
        "Probe types",
        *_probe_types(without),
    ]
    return "\n".join(lines) + "\n\n"


def _yes(answer: bool | None) -> str:
    return "cannot be found out" if answer is None else "yes" if answer else "no"


def _helpers() -> list[str]:
    kinds = (
        ("dpath", bpf.BPF_PROG_TYPE_TRACING, bpf.BPF_FUNC_d_path),
        ("get_tai_ns", bpf.BPF_PROG_TYPE_KPROBE, bpf.BPF_FUNC_ktime_get_tai_ns),
        ("get_func_ip", bpf.BPF_PROG_TYPE_KPROBE, bpf.BPF_FUNC_get_func_ip),
        ("lookup_percpu_elem", bpf.BPF_PROG_TYPE_KPROBE, bpf.BPF_FUNC_map_lookup_percpu_elem),
        ("loop", bpf.BPF_PROG_TYPE_KPROBE, bpf.BPF_FUNC_loop),
    )
    return [f"  {name}: {_shown(helper(kind, number))}" for name, kind, number in kinds]


def _shown(found: Feature) -> str:
    answer = found.answer()
    text = _yes(answer)
    return f"{text} ({found.why})" if answer is not True and found.why else text


def _has_module_btf() -> bool:
    try:
        return any(name != "vmlinux" for name in os.listdir(_BTF))
    except OSError:
        return False


def _probe_types(without: Sequence[str]) -> list[str]:
    lines = []
    for name in ("kprobe_multi", "uprobe_multi", "kprobe_session"):
        shown = "no (switched off by --no-feature)" if name in without else _shown(feature(name))
        lines.append(f"  {name}: {shown}")
    lines.append(f"  iter: {_yes(os.path.exists(f'{_BTF}/vmlinux'))}")
    for kind in KIND_FEATURES:
        why = missing(kind)
        lines.append(f"  {kind}: no ({why})" if why else f"  {kind}: yes")
    return lines

"""Find what a program attaches to before it is loaded: kernel functions and hooks by BTF id.

fentry, fexit, fmod_ret, LSM, tp_btf, iterators and struct_ops name their target at load time by
an id in the kernel's BTF (or a module's), freplace and fentry on a BPF program by that program.

Example::

    target_of(ProgramSpec("p", BPF_PROG_TYPE_TRACING, ..., attach_to="sched_switch",
                          expected_attach_type=BPF_TRACE_RAW_TP)).btf_id
"""

from __future__ import annotations

import os

from bpflens.errors import NotFound
from bpflens.uapi.bpf import (
    BPF_LSM_CGROUP,
    BPF_LSM_MAC,
    BPF_PROG_TYPE_EXT,
    BPF_PROG_TYPE_LSM,
    BPF_PROG_TYPE_TRACING,
    BPF_TRACE_ITER,
    BPF_TRACE_RAW_TP,
)
from bpflens.uapi.btf import BTF_KIND_FUNC, BTF_KIND_TYPEDEF

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.spec import ProgramSpec

__all__ = ["AttachTarget", "ModuleTypes", "target_of"]


class AttachTarget:
    """``btf_id`` of the target in vmlinux, in the BTF ``btf_fd`` or in program ``prog_fd``.

    ``attach_type`` stands in the place of the spec's where the target decides it (struct_ops).
    """

    __slots__ = ("attach_type", "btf_fd", "btf_id", "prog_fd")

    def __init__(
        self,
        btf_id: int = 0,
        prog_fd: int = 0,
        btf_fd: int = 0,
        attach_type: int | None = None,
    ) -> None:
        self.attach_type = attach_type
        self.btf_id = btf_id
        self.prog_fd = prog_fd
        self.btf_fd = btf_fd


_NONE = AttachTarget()

# The name in BTF of what a hook is called: kernel/bpf/btf.c and include/linux/bpf_lsm.h.
_PREFIXES = {
    BPF_TRACE_RAW_TP: ("btf_trace_", BTF_KIND_TYPEDEF),
    BPF_TRACE_ITER: ("bpf_iter_", BTF_KIND_FUNC),
    BPF_LSM_MAC: ("bpf_lsm_", BTF_KIND_FUNC),
    BPF_LSM_CGROUP: ("bpf_lsm_", BTF_KIND_FUNC),
}
_TYPES = frozenset((BPF_PROG_TYPE_TRACING, BPF_PROG_TYPE_LSM, BPF_PROG_TYPE_EXT))


def target_of(spec: ProgramSpec, modules: ModuleTypes, attach_prog_fd: int = 0) -> AttachTarget:
    """Return what the kernel must be told about the target of ``spec``.

    ``modules`` keeps the BTF descriptor of a target in a module open until the program is loaded.
    Raises :class:`~bpflens.errors.NotFound` with near names when the target does not exist.
    """
    if spec.type not in _TYPES or not spec.attach_to:
        return _NONE
    prog_fd = attach_prog_fd or spec.attach_prog_fd
    if prog_fd:
        return AttachTarget(_function_of_program(prog_fd, spec.attach_to), prog_fd)
    prefix, kind = _PREFIXES.get(spec.expected_attach_type, ("", BTF_KIND_FUNC))
    return _in_kernel(spec.attach_to, prefix, kind, modules)


def _in_kernel(name: str, prefix: str, kind: int, modules: ModuleTypes) -> AttachTarget:
    from bpflens.objects import btf as kernel_btf

    module, _, plain = name.rpartition(":")
    wanted = prefix + plain
    if module in ("", "vmlinux"):
        found = kernel_btf.vmlinux().find(wanted, kind)
        if found is not None:
            return AttachTarget(found)
    for module_name in [module] if module not in ("", "vmlinux") else kernel_btf.modules():
        found = kernel_btf.module(module_name).find(wanted, kind)
        if found is not None:
            return AttachTarget(found, btf_fd=modules.fd(module_name))
    raise NotFound(_WHAT[prefix], plain, _near(wanted, prefix, kind))


_WHAT = {
    "": "kernel function with BTF",
    "btf_trace_": "tracepoint with BTF",
    "bpf_iter_": "iterator",
    "bpf_lsm_": "LSM hook",
}


class ModuleTypes:
    """Descriptors of the BTF of kernel modules, opened when first asked for, closed together."""

    __slots__ = ("_fds",)

    def __init__(self) -> None:
        self._fds: dict[str, int] = {}

    def fd(self, module: str) -> int:
        """Return a descriptor of a module's BTF; raises :class:`~bpflens.errors.NotFound`."""
        fd = self._fds.get(module)
        if fd is None:
            from bpflens.objects.iterate import btfs

            for btf in btfs(keep=True):
                if fd is None and btf.info.kernel_btf and btf.name == module:
                    fd = self._fds[module] = btf.release()
                else:
                    btf.close()
            if fd is None:
                raise NotFound("BTF of the kernel module", module)
        return fd

    def close(self) -> None:
        """Close all of them; programs that were loaded with one keep what they need."""
        while self._fds:
            os.close(self._fds.popitem()[1])


def _near(wanted: str, prefix: str, kind: int) -> list[str]:
    from difflib import get_close_matches

    from bpflens.objects.btf import vmlinux

    types = vmlinux()
    # Names that begin alike: comparing all fifty thousand functions would take a second.
    start = prefix or wanted[:3]
    names = {name for name, id in types.find_prefix(start) if types.kind(id) == kind}
    return [name.removeprefix(prefix) for name in get_close_matches(wanted, names, n=3)]


def _function_of_program(prog_fd: int, name: str) -> int:
    from bpflens.kernel.info import prog_info
    from bpflens.objects.btf import from_id

    btf_id = prog_info(prog_fd).btf_id
    found = from_id(btf_id).find(name, BTF_KIND_FUNC) if btf_id else None
    if found is None:
        why = "" if btf_id else " (which has no BTF)"
        raise NotFound(f"function in the target program{why}", name)
    return found

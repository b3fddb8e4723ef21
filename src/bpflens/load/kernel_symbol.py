"""Find what programs call and read in the running kernel: functions and variables by name.

Turns the names of externs into :class:`~bpflens.load.patch.KernelTarget`: BTF ids in vmlinux or
in a module (whose BTF descriptor then goes into the program's fd_array), or plain addresses.
Answers are remembered, so that ten thousand programs ask once.

Invariants: a name that the kernel knows with an incompatible type is not taken.

Example::

    symbols = KernelSymbols(externs, local_btf, ModuleTypes())
    symbols.find("bpf_cpumask_create", is_call=True).btf_id
"""

from __future__ import annotations

from struct import Struct as Packer

from bpflens.errors import FormatError, NotFound, NotSupported
from bpflens.load.patch import KernelTarget
from bpflens.uapi.btf import BTF_KIND_FUNC, BTF_KIND_VAR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bpflens.btf import Btf
    from bpflens.load.attach_target import ModuleTypes
    from bpflens.spec import Extern

__all__ = ["KernelSymbols", "symbol_address"]


class KernelSymbols:
    """Looks up kernel functions and variables; ``local`` is the BTF that declares ``externs``.

    ``modules`` owns the descriptors of modules' BTF.
    """

    __slots__ = ("_externs", "_fds", "_found", "_local", "_modules")

    def __init__(
        self,
        externs: Mapping[str, Extern],
        local: Callable[[], Btf | None],
        modules: ModuleTypes,
    ) -> None:
        self._modules = modules
        self._externs = externs
        self._local = local
        self._found: dict[tuple[str, bool], KernelTarget | None] = {}
        self._fds: list[int] = []

    @property
    def fd_array(self) -> bytes:
        """The fd_array for BPF_PROG_LOAD: BTF descriptors of the modules in use ("" if none)."""
        if not self._fds:
            return b""
        # Place 0 stands for vmlinux and is never looked at.
        return Packer(f"<{len(self._fds) + 1}i").pack(0, *self._fds)

    def find(self, name: str, is_call: bool) -> KernelTarget | None:
        """Return where ``name`` is, None if this kernel has no such thing.

        Raises :class:`~bpflens.errors.FormatError` where the kernel has it with another type.
        """
        key = name, is_call
        if key not in self._found:
            self._found[key] = self._look(name, is_call)
        return self._found[key]

    def _look(self, name: str, is_call: bool) -> KernelTarget | None:
        extern = self._externs.get(name)
        plain = name.partition("___")[0]
        if extern is not None and extern.kind == "ksym" and not extern.type_id:
            address = symbol_address(plain)
            return KernelTarget(address=address) if address else None
        is_function = is_call or (extern is not None and extern.kind == "kfunc")
        kind = BTF_KIND_FUNC if is_function else BTF_KIND_VAR
        place = self._in_types(plain, kind)
        if place is None:
            return None
        types, btf_id, module = place
        if extern is not None and not self._fits(extern, types, btf_id):
            return None
        if not module:
            return KernelTarget(btf_id)
        fd = self._modules.fd(module)
        if fd not in self._fds:
            self._fds.append(fd)
        return KernelTarget(btf_id, btf_fd=fd, fd_index=self._fds.index(fd) + 1)

    # The types that know it, its id there, and the module ("" for the kernel itself).
    def _in_types(self, name: str, kind: int) -> tuple[Btf, int, str] | None:
        from bpflens.objects import btf as kernel_btf

        types = kernel_btf.vmlinux()
        found = types.find(name, kind)
        if found is not None:
            return types, found, ""
        for module in kernel_btf.modules():
            try:
                types = kernel_btf.module(module)
            except NotFound:
                continue
            found = types.find(name, kind)
            if found is not None:
                return types, found, module
        return None

    def _fits(self, extern: Extern, types: Btf, btf_id: int) -> bool:
        from bpflens.btf.core_match import types_compatible
        from bpflens.btf.types import Func, Var

        local = self._local()
        known = types.type(btf_id)
        if local is None or not extern.type_id or not isinstance(known, Func | Var):
            return True
        if types_compatible(local, extern.type_id, types, known.type_id):
            return True
        if extern.weak:
            return False
        what = "function" if isinstance(known, Func) else "variable"
        problem = f"the kernel's {what} {known.name} has another type than the object declares"
        raise FormatError("object file", problem)


def symbol_address(name: str) -> int:
    """Return the address of a kernel symbol from /proc/kallsyms, 0 if there is none of that name.

    Raises :class:`~bpflens.errors.NotSupported` where the kernel hides its addresses from us.
    """
    with open("/proc/kallsyms", "rb") as file:
        data = file.read()
    wanted = name.encode()
    for ending in (b"\n", b"\t"):
        at = data.find(b" " + wanted + ending)
        if at < 0:
            continue
        address = int(data[data.rfind(b"\n", 0, at) + 1 : at].split(b" ")[0], 16)
        if not address:
            why = "/proc/kallsyms shows zeros: CAP_SYSLOG or kernel.kptr_restrict=0 is needed"
            raise NotSupported(f"the address of kernel symbol {name}", why=why)
        return address
    return 0

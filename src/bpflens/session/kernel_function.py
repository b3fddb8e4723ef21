"""Which functions of the kernel can be traced, by module.

The kernel's own list (``available_filter_functions`` of tracefs, or a file of the same form) is
the best answer. Where it cannot be read, the functions of /proc/kallsyms stand in; those that BTF
describes have typed arguments. Names that only look like functions are left out.

Example::

    KernelFunctions(btf).match("*", "vfs_re*")     # [('vmlinux', 'vfs_read'), ...]
"""

from __future__ import annotations

from bpflens.kernel import tracefs
from bpflens.lang.glob import Glob, has_wildcard
from bpflens.symbols.kallsyms import FUNCTION_TYPES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bpflens.btf import Btf

__all__ = ["KernelFunctions"]

_KERNEL = "vmlinux"
# Entries that stand for code the kernel cannot be asked to trace, and functions that tracing works
# with itself (tools/testing/selftests/bpf/prog_tests/kprobe_multi_test.c leaves them out, too).
_UNTRACEABLE = (
    "__ftrace_invalid_address__", "__SCT__", "__SCK__", "__pfx_", "__cfi_", "bpf_prog_", "rcu_",
)  # fmt: skip
_DANGEROUS = frozenset(("arch_cpu_idle", "default_idle", "bpf_dispatcher_xdp_func"))


class KernelFunctions:
    """The traceable functions; read when first asked for."""

    __slots__ = ("_btf", "_file", "_modules", "_typed")

    def __init__(self, btf: Btf | None, file: str = "") -> None:
        self._btf = btf
        self._file = file
        self._modules: dict[str, list[str]] | None = None
        self._typed: set[str] | None = None

    def match(self, module: str, function: str) -> list[tuple[str, str]]:
        """Return the ``(module, function)`` pairs that two patterns match, sorted."""
        modules = self.modules()
        names = Glob(module).filter(sorted(modules)) if has_wildcard(module) else [module]
        pattern = Glob(function)
        return [(name, found) for name in names for found in pattern.filter(modules.get(name, ()))]

    def match_typed(
        self, module: str, function: str, btfs: Iterable[tuple[str, Btf]]
    ) -> list[tuple[str, str]]:
        """Return the pairs whose arguments BTF knows, too; ``btfs`` are those of the modules."""
        pattern, modules = Glob(function), Glob(module)
        found: list[tuple[str, str]] = []
        if modules.match(_KERNEL) and self._btf is not None:
            typed = self.typed()
            names = pattern.filter(self.modules().get(_KERNEL, ()))
            found += [(_KERNEL, name) for name in names if name in typed]
        if module == _KERNEL:
            return found
        for name, btf in btfs:
            if modules.match(name):
                own = sorted({text for text, id in btf.funcs() if id >= btf.start_id})
                found += [(name, text) for text in self._existing(name, pattern.filter(own))]
        return sorted(found)

    def typed(self) -> set[str]:
        """Return the names of the kernel's functions that BTF describes."""
        if self._typed is None:
            self._typed = {name for name, _ in self._btf.funcs()} if self._btf else set()
        return self._typed

    def _existing(self, module: str, names: Sequence[str]) -> list[str]:
        known = set(self.modules().get(module, ()))
        return [name for name in names if name in known]

    def modules(self) -> dict[str, list[str]]:
        """Return the sorted functions of every module; the kernel itself is ``vmlinux``."""
        if self._modules is None:
            text = self._listed()
            self._modules = _by_module(text) if text else self._from_symbols()
        return self._modules

    def _listed(self) -> str:
        if self._file:
            with open(self._file, encoding="utf-8", errors="surrogateescape") as file:
                return file.read()
        path = tracefs.path("available_filter_functions")
        try:
            with open(path, encoding="utf-8", errors="surrogateescape") as file:
                return file.read()
        except OSError:
            return ""

    def _from_symbols(self) -> dict[str, list[str]]:
        # Read as a whole: the file is asked for all its names at once, and by nobody else.
        import re

        try:
            with open("/proc/kallsyms", "rb") as file:
                data = file.read()
        except OSError:
            return {_KERNEL: []}
        letters = FUNCTION_TYPES.encode()
        names = re.findall(b" [" + letters + rb"] ([^\n\t]+)\n", data)
        found = {_KERNEL: _clean(b"\n".join(names).decode().split("\n"))}
        owned: dict[str, list[str]] = {}
        for name, module in re.findall(b" [" + letters + rb"] ([^\n\t]+)\t\[([^\n]+)\]\n", data):
            owned.setdefault(module.decode(), []).append(name.decode())
        owned.pop("bpf", None)
        return found | {module: _clean(theirs) for module, theirs in owned.items()}


def _by_module(text: str) -> dict[str, list[str]]:
    # "vfs_read", "xfs_file_open [xfs]"
    lines = text.split("\n")
    modules: dict[str, list[str]] = {_KERNEL: _clean([x for x in lines if x and " " not in x])}
    for line in lines:
        if " " in line:
            name, module = line.split(" ", 1)
            modules.setdefault(module.strip("[] \t"), []).append(name)
    for module in modules:
        if module != _KERNEL:
            modules[module] = _clean(modules[module])
    return modules


def _clean(names: Iterable[str]) -> list[str]:
    kept = [name for name in names if not name.startswith(_UNTRACEABLE) and ".part." not in name]
    return sorted(set(kept) - _DANGEROUS)

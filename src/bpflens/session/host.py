"""The running machine, as the compiler asks about it (see :mod:`bpflens.lang.target`)."""

from __future__ import annotations

import os

from bpflens.errors import Error, NotFound
from bpflens.kernel import cpu, tracefs
from bpflens.lang.glob import Glob, has_wildcard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bpflens.btf import Btf
    from bpflens.session.kernel_function import KernelFunctions
    from bpflens.symbols import Kallsyms

__all__ = ["HostTarget"]

# Types of the kernel that begin like this describe the arguments of raw tracepoints.
_RAW = "btf_trace_"
# Since Linux 5.6 (fddb5d430ad9 "open: introduce openat2(2) syscall"): compilers put the few lines
# that are left of do_sys_open into the system calls, so that a probe on it sees nothing.
_REPLACED = {"do_sys_open": "do_sys_openat2"}


class HostTarget:
    """Facts about this machine, each looked up when first asked for.

    ``pid`` is the process that is traced (0: all), which user-space probes may leave unnamed;
    ``include_dirs`` where headers are looked for; ``without`` names features that are not to be
    used; ``traceable_functions`` a file that lists kernel functions.
    """

    def __init__(
        self,
        *,
        pid: int = 0,
        include_dirs: Sequence[str] = (),
        without: Sequence[str] = (),
        traceable_functions: str = "",
    ) -> None:
        self.pid = pid
        self._include_dirs = list(include_dirs)
        self._without = frozenset(without)
        self._traceable_functions = traceable_functions
        self._functions: KernelFunctions | None = None
        machine = os.uname().machine
        self.arch = {"arm64": "aarch64"}.get(machine, machine)
        self.page_size = os.sysconf("SC_PAGE_SIZE")
        self._btf: Btf | None = None
        self._btf_tried = False
        self._kallsyms: Kallsyms | None = None
        self._cpus = 0

    @property
    def possible_cpus(self) -> int:
        """How many CPUs a per-CPU map has values for."""
        self._cpus = self._cpus or cpu.possible_count()
        return self._cpus

    def btf(self) -> Btf | None:
        """Return the BTF of vmlinux, or None where the kernel has none."""
        if not self._btf_tried:
            self._btf_tried = True
            from bpflens.objects import btf

            try:
                self._btf = btf.vmlinux()
            except (Error, OSError):
                self._btf = None
        return self._btf

    def module_btfs(self) -> Iterable[tuple[str, Btf]]:
        """Yield ``(module, BTF)`` of loaded modules."""
        from bpflens.objects import btf

        for name in btf.modules():
            yield name, btf.module(name)

    def has(self, feature: str) -> bool:
        """Whether the kernel has a feature."""
        if feature in self._without:
            return False
        from bpflens.kernel.feature import has

        return has(feature)

    # kernel events

    def tracepoints(self, system: str, event: str) -> Sequence[tuple[str, str]]:
        """Return the tracepoints that two patterns match, sorted."""
        if not has_wildcard(system) and not has_wildcard(event):
            return [(system, event)] if tracefs.is_event(system, event) else []
        systems = [system]
        if has_wildcard(system):
            systems = Glob(system).filter(tracefs.systems())
        pattern = Glob(event)
        return [
            (name, found)
            for name in systems
            for found in pattern.filter(tracefs.events(name))
            # The events of the function tracers cannot be attached to, and have no number.
            if name != "ftrace" or tracefs.is_event(name, found)
        ]

    def tracepoint_format(self, system: str, event: str) -> bytes | None:
        """Return the ``format`` file of a tracepoint."""
        try:
            return tracefs.format(system, event)
        except (NotFound, OSError):
            return None

    def raw_tracepoints(self, event: str) -> Sequence[str]:
        """Return the raw tracepoints that a pattern matches."""
        return [name for _, name in self.raw_tracepoint_pairs("*", event)]

    def raw_tracepoint_pairs(self, module: str, event: str) -> Sequence[tuple[str, str]]:
        """Return ``(module, event)`` of the raw tracepoints that two patterns match."""
        kernel = self.btf()
        if not has_wildcard(event) and kernel is None:
            # Whether it exists shows when it is attached.
            return [("vmlinux", event)]
        modules, events = Glob(module), Glob(event)
        found: list[tuple[str, str]] = []
        if kernel is not None and modules.match("vmlinux"):
            if not has_wildcard(event):
                if kernel.find(f"btf_trace_{event}") is not None:
                    return [("vmlinux", event)]
            else:
                names = events.filter(sorted(self._raw_tracepoint_names(kernel)))
                found = [("vmlinux", name) for name in names]
        for name, btf in self.module_btfs() if module != "vmlinux" else ():
            if modules.match(name):
                own = {text for text, id in btf.find_prefix(_RAW) if id >= btf.start_id}
                names = events.filter(sorted(text[len(_RAW) :] for text in own))
                found += [(name, text) for text in names]
        return sorted(found)

    def _raw_tracepoint_names(self, btf: Btf | None) -> list[str]:
        return [name[len(_RAW) :] for name, _ in btf.find_prefix(_RAW)] if btf else []

    def functions(self) -> KernelFunctions:
        """Return the table of traceable functions."""
        if self._functions is None:
            from bpflens.session.kernel_function import KernelFunctions

            self._functions = KernelFunctions(self.btf(), self._traceable_functions)
        return self._functions

    def kernel_functions(self, module: str, function: str) -> Sequence[tuple[str, str]]:
        """Return the traceable functions that two patterns match."""
        return self.functions().match(module, function)

    def typed_functions(self, module: str, function: str) -> Sequence[tuple[str, str]]:
        """Return those traceable functions whose arguments BTF describes."""
        if has_wildcard(function) or has_wildcard(module):
            if has_wildcard(function):
                return self.functions().match_typed(module or "*", function, self.module_btfs())
            return self._typed_function("", function)
        return self._typed_function(module, function)

    def _typed_function(self, module: str, function: str) -> Sequence[tuple[str, str]]:
        # One name: no list of functions has to be read for it.
        from bpflens.uapi.btf import BTF_KIND_FUNC

        kernel = self.btf()
        if kernel is not None and module in ("", "vmlinux"):
            if kernel.find(function, BTF_KIND_FUNC) is not None:
                return [("vmlinux", function)]
            if module:
                return []
        return [
            (name, function)
            for name, btf in self.module_btfs()
            if module in ("", name) and btf.find(function, BTF_KIND_FUNC) is not None
        ]

    def has_module(self, name: str) -> bool:
        """Whether a kernel module is loaded."""
        return os.path.isdir(f"/sys/module/{name}")

    def has_function(self, name: str) -> bool:
        """Whether the kernel or a module has a function; True where nobody can tell."""
        from bpflens.uapi.btf import BTF_KIND_FUNC

        btf = self.btf()
        if btf is not None and btf.find(name, BTF_KIND_FUNC) is not None:
            return True
        # Not every function is described by BTF; the list of symbols takes longer to read.
        try:
            return name in self.kallsyms()
        except (Error, OSError):
            return True

    def replacement(self, function: str) -> str:
        """Return the function that does the work of one that is never reached, or ""."""
        from bpflens.uapi.btf import BTF_KIND_FUNC

        other = _REPLACED.get(function, "")
        btf = self.btf() if other else None
        return other if btf is not None and btf.find(other, BTF_KIND_FUNC) is not None else ""

    def bpf_programs(self, id: int, name: str) -> Sequence[tuple[int, str]]:
        """Return ``(id, name)`` of the loaded BPF programs that a pattern matches."""
        from bpflens.objects.iterate import programs

        pattern = Glob(name)
        found = [(program.info.id, program.info.name) for program in programs()]
        return [pair for pair in found if id in (0, pair[0]) and pattern.match(pair[1])]

    def kernel_symbol(self, name: str) -> int | None:
        """Return the address of a kernel symbol."""
        return self.kallsyms().address(name)

    def kallsyms(self) -> Kallsyms:
        """Return the kernel's symbol table."""
        if self._kallsyms is None:
            from bpflens.symbols import Kallsyms

            self._kallsyms = Kallsyms()
        return self._kallsyms

    # programs and libraries

    def binaries(self, path: str) -> Sequence[str]:
        """Return the files that a path, a program's or a library's name means.

        With a traced process, "" is its executable and "*" every file that it runs code of.
        """
        from bpflens.session import binary_file

        return binary_file.find(path, self.pid)

    def user_functions(self, binary: str, function: str) -> Sequence[tuple[str, str]]:
        """Return the functions of files that a path and a pattern match."""
        from bpflens.session import binary_file

        found: list[tuple[str, str]] = []
        for path in self.binaries(binary):
            if not has_wildcard(function):
                if self.user_symbol(path, function) is not None:
                    found.append((path, function))
                continue
            names = binary_file.functions(path)
            found += [(path, name) for name in Glob(function).filter(names)]
        return found

    def user_symbol(self, binary: str, name: str) -> tuple[int, int] | None:
        """Return address and size of a symbol of a file."""
        from bpflens.attach.binary import place

        try:
            found = place(binary, name)
        except Error:
            return None
        return found.address, found.size

    def is_code(self, binary: str, address: int) -> bool:
        """Whether an address of a file is in what it runs."""
        from bpflens.session import binary_file

        return binary_file.is_code(binary, address)

    def usdt_probes(self, binary: str, provider: str, name: str) -> Sequence[tuple[str, str, str]]:
        """Return the USDT probes of files that patterns match."""
        from bpflens.session import binary_file

        providers, names = Glob(provider), Glob(name)
        return [
            (path, *probe)
            for path in self.binaries(binary)
            for probe in binary_file.static_probes(path)
            if providers.match(probe[0]) and names.match(probe[1])
        ]

    def usdt_operands(self, binary: str, provider: str, name: str) -> Sequence[str]:
        """Return the operands of a USDT probe's arguments, one text for each of its places."""
        from bpflens.attach.usdt import notes

        return [note.args for note in notes(binary, provider, name)]

    def cgroup_id(self, path: str) -> int | None:
        """Return the id of a cgroup directory: its inode number in cgroup2."""
        try:
            return os.stat(path).st_ino
        except OSError:
            return None

    def read_include(self, name: str) -> str | None:
        """Return the text of a header that a script includes."""
        for directory in ("", *self._include_dirs):
            try:
                path = os.path.join(directory, name)
                with open(path, encoding="utf-8", errors="surrogateescape") as file:
                    return file.read()
            except OSError:
                continue
        return None

    def near_probes(self, kind: str, options: dict[str, str | int]) -> Sequence[str]:
        """Return hints that name what exists and is nearest to a probe that does not."""
        from difflib import get_close_matches

        if kind == "tracepoint":
            system, event = str(options["system"]), str(options["event"])
            names = tracefs.events(system) if system in tracefs.systems() else []
            close = get_close_matches(event, names, n=3)
            if close:
                names = [f"tracepoint:{system}:{name}" for name in close]
                return [f"Did you mean {' or '.join(names)}?"]
            close = get_close_matches(system, tracefs.systems(), n=1)
            return [f"Did you mean tracepoint:{close[0]}:{event}?"] if close else []
        if kind == "rawtracepoint":
            close = get_close_matches(
                str(options["event"]), self._raw_tracepoint_names(self.btf()), n=3
            )
        elif kind in ("fentry", "fexit", "kprobe", "kretprobe"):
            btf = self.btf()
            names = [name for name, _ in btf.funcs()] if btf else []
            close = get_close_matches(str(options["function"]), names, n=3)
        else:
            return []
        return [f"Did you mean {' or '.join(close)}?"] if close else []

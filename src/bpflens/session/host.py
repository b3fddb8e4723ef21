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
    from bpflens.symbols import Kallsyms

__all__ = ["HostTarget"]


class HostTarget:
    """Facts about this machine, each looked up when first asked for."""

    def __init__(self) -> None:
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
            for found in pattern.filter(sorted(tracefs.events(name)))
            if tracefs.is_event(name, found)
        ]

    def tracepoint_format(self, system: str, event: str) -> bytes | None:
        """Return the ``format`` file of a tracepoint."""
        try:
            return tracefs.format(system, event)
        except (NotFound, OSError):
            return None

    def raw_tracepoints(self, event: str) -> Sequence[str]:
        """Return the raw tracepoints that a pattern matches."""
        if not has_wildcard(event):
            # Whether it exists shows when it is attached, on kernels without BTF too.
            return [event] if self._is_raw_tracepoint(event) else []
        return Glob(event).filter(sorted(self._raw_tracepoint_names()))

    def _is_raw_tracepoint(self, event: str) -> bool:
        btf = self.btf()
        return btf is None or btf.find(f"btf_trace_{event}") is not None

    def _raw_tracepoint_names(self) -> list[str]:
        btf = self.btf()
        if btf is None:
            return []
        return [name[len("btf_trace_") :] for name, _ in btf.find_prefix("btf_trace_")]

    def kernel_functions(self, module: str, function: str) -> Sequence[tuple[str, str]]:
        """Return traceable functions: those that BTF describes and that have a symbol."""
        btf = self.btf()
        if btf is None:
            return []
        if not has_wildcard(function):
            from bpflens.uapi.btf import BTF_KIND_FUNC

            return [("", function)] if btf.find(function, BTF_KIND_FUNC) is not None else []
        names = Glob(function).filter(sorted({name for name, _ in btf.funcs()}))
        return [("", name) for name in names]

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
        """Return the files that a path, a program's or a library's name means."""
        if has_wildcard(path):
            from glob import glob

            return sorted(os.path.realpath(found) for found in glob(path) if os.path.isfile(found))
        from bpflens.attach.binary import binary_path

        try:
            return [binary_path(path)]
        except Error:
            return []

    def user_functions(self, binary: str, function: str) -> Sequence[tuple[str, str]]:
        """Return the functions of files that a path and a pattern match."""
        found: list[tuple[str, str]] = []
        for path in self.binaries(binary):
            if not has_wildcard(function):
                if self.user_symbol(path, function) is not None:
                    found.append((path, function))
                continue
            names = {symbol.name for symbol in _function_symbols(path)}
            found += [(path, name) for name in Glob(function).filter(sorted(names))]
        return found

    def user_symbol(self, binary: str, name: str) -> tuple[int, int] | None:
        """Return address and size of a symbol of a file."""
        from bpflens.attach.binary import place

        try:
            found = place(binary, name)
        except Error:
            return None
        return found.address, found.size

    def usdt_probes(self, binary: str, provider: str, name: str) -> Sequence[tuple[str, str, str]]:
        """Return the USDT probes of files that patterns match."""
        from bpflens.elf import File

        providers, names = Glob(provider), Glob(name)
        found = set()
        for path in self.binaries(binary):
            with File(path) as file:
                for note in file.usdt_notes():
                    if providers.match(note.provider) and names.match(note.name):
                        found.add((path, note.provider, note.name))
        return sorted(found)

    def cgroup_id(self, path: str) -> int | None:
        """Return the id of a cgroup directory: its inode number in cgroup2."""
        try:
            return os.stat(path).st_ino
        except OSError:
            return None

    def read_include(self, name: str) -> str | None:
        """Return the text of a header that a script includes."""
        try:
            with open(name, encoding="utf-8", errors="surrogateescape") as file:
                return file.read()
        except OSError:
            return None

    def near_probes(self, kind: str, options: dict[str, str | int]) -> Sequence[str]:
        """Return hints that name what exists and is nearest to a probe that does not."""
        from difflib import get_close_matches

        if kind == "tracepoint":
            system, event = str(options["system"]), str(options["event"])
            names = tracefs.events(system) if system in tracefs.systems() else []
            close = get_close_matches(event, names, n=3)
            if close:
                return ["Did you mean " + " or ".join(f"tracepoint:{system}:{n}" for n in close) + "?"]  # fmt: skip
            close = get_close_matches(system, tracefs.systems(), n=1)
            return [f"Did you mean tracepoint:{close[0]}:{event}?"] if close else []
        if kind == "rawtracepoint":
            close = get_close_matches(str(options["event"]), self._raw_tracepoint_names(), n=3)
        elif kind in ("fentry", "fexit", "kprobe", "kretprobe"):
            btf = self.btf()
            names = [name for name, _ in btf.funcs()] if btf else []
            close = get_close_matches(str(options["function"]), names, n=3)
        else:
            return []
        return [f"Did you mean {' or '.join(close)}?"] if close else []


def _function_symbols(path: str):  # type: ignore[no-untyped-def]
    from bpflens.elf import File

    with File(path) as file:
        yield from (symbol for symbol in file.symbols() if symbol.type in (2, 10) and symbol.value)

"""What the language asks about the machine that a script will run on.

The language itself never looks at a kernel. Whoever compiles hands in an object with these
methods: :class:`bpflens.session.host.HostTarget` asks the running kernel; tests use
:class:`FakeTarget`, which knows only what it was given.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Protocol

    from bpflens.btf import Btf

    class Target(Protocol):
        """Facts about one machine. Every method is pure from the language's point of view."""

        arch: str  # "x86_64" or "aarch64"
        page_size: int

        @property
        def possible_cpus(self) -> int:
            """How many CPUs a per-CPU map has values for."""

        def btf(self) -> Btf | None:
            """Return the BTF of vmlinux, or None where the kernel has none."""

        def module_btfs(self) -> Iterable[tuple[str, Btf]]:
            """Yield ``(module, BTF)`` of loaded modules."""

        def tracepoints(self, system: str, event: str) -> Sequence[tuple[str, str]]:
            """Return the ``(system, event)`` pairs that two glob patterns match, sorted."""

        def tracepoint_format(self, system: str, event: str) -> bytes | None:
            """Return the text of tracefs' ``format`` file, or None if there is no such event."""

        def raw_tracepoints(self, event: str) -> Sequence[str]:
            """Return the raw tracepoint names that a glob pattern matches."""

        def raw_tracepoint_pairs(self, module: str, event: str) -> Sequence[tuple[str, str]]:
            """Return the ``(module, event)`` pairs of raw tracepoints that two globs match."""

        def typed_functions(self, module: str, function: str) -> Sequence[tuple[str, str]]:
            """Return those traceable functions whose arguments BTF describes."""

        def bpf_programs(self, id: int, name: str) -> Sequence[tuple[int, str]]:
            """Return ``(id, name)`` of the BPF programs that a glob matches (id 0: any)."""

        def kernel_functions(self, module: str, function: str) -> Sequence[tuple[str, str]]:
            """Return traceable ``(module, function)`` pairs that two glob patterns match."""

        def user_functions(self, binary: str, function: str) -> Sequence[tuple[str, str]]:
            """Return ``(resolved path, symbol)`` pairs that a path (glob) and a glob match."""

        def is_code(self, binary: str, address: int) -> bool:
            """Whether an address of a file is in what it runs."""

        def binaries(self, path: str) -> Sequence[str]:
            """Return the files that a path, a program's name or a library's name means."""

        def near_probes(self, kind: str, options: dict[str, str | int]) -> Sequence[str]:
            """Return hints that name what exists and is nearest to a probe that does not."""

        def usdt_probes(
            self, binary: str, provider: str, name: str
        ) -> Sequence[tuple[str, str, str]]:
            """Return ``(path, provider, name)`` of the USDT probes that three globs match."""

        def usdt_operands(self, binary: str, provider: str, name: str) -> Sequence[str]:
            """Return the operands of a USDT probe's arguments, one text for each of its places."""

        def has_module(self, name: str) -> bool:
            """Whether a kernel module is loaded."""

        def has_function(self, name: str) -> bool:
            """Whether the kernel or a module has a function; True where nobody can tell."""

        def replacement(self, function: str) -> str:
            """Return the function that does the work of one that is never reached, or ""."""

        def kernel_symbol(self, name: str) -> int | None:
            """Return the address of a kernel symbol."""

        def user_symbol(self, binary: str, name: str) -> tuple[int, int] | None:
            """Return ``(address, size)`` of a symbol of an ELF file."""

        def cgroup_id(self, path: str) -> int | None:
            """Return the id of a cgroup v2 directory."""

        def has(self, feature: str) -> bool:
            """Whether the kernel has a feature of :mod:`bpflens.kernel.feature` ("bpf_loop")."""

        def read_include(self, name: str) -> str | None:
            """Return the text of a header that a script includes, or None."""

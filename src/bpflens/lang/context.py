"""What every pass of one compilation shares: target, configuration, sources, complaints.

Example::

    context = Context(target, sources, diagnostics, config, params=["123"])
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bpflens.lang.diagnostic import Diagnostics
    from bpflens.lang.kernel_type import KernelTypes
    from bpflens.lang.source import SourceMap
    from bpflens.lang.target import Target
    from bpflens.lang.types import Type

__all__ = ["Context"]


class Context:
    """One compilation's surroundings.

    ``config`` maps configuration names to values (all names present); ``params`` are the
    positional parameters; ``options`` what the command line says about the run: ``pid`` (the
    process to filter on, or 0), ``child`` (whether -c was given), ``unsafe``.
    """

    __slots__ = (
        "config", "declared_enumerator", "declared_type", "declared_value", "diagnostics",
        "kernel_types", "options", "params", "sources", "target",
    )  # fmt: skip

    def __init__(
        self,
        target: Target,
        sources: SourceMap,
        diagnostics: Diagnostics,
        config: Mapping[str, object],
        params: Sequence[str] = (),
        options: Mapping[str, object] | None = None,
    ) -> None:
        self.target = target
        self.sources = sources
        self.diagnostics = diagnostics
        self.config = dict(config)
        self.params = list(params)
        self.options = dict(options or {})
        self.kernel_types: KernelTypes | None = None
        # Filled in by the preamble pass: types and constants of the script's own C definitions.
        self.declared_type: Callable[[str, str], Type | None] = lambda name, tag: None
        self.declared_enumerator: Callable[[str], tuple[int, Type] | None] = lambda name: None
        self.declared_value: Callable[[str], bool | int | bytes | None] = lambda name: None

    def types(self) -> KernelTypes | None:
        """Return the kernel's types, or None on a kernel without BTF."""
        if self.kernel_types is None:
            btf = self.target.btf()
            if btf is not None:
                from bpflens.lang.kernel_type import KernelTypes

                self.kernel_types = KernelTypes(btf)
        return self.kernel_types

    def named_type(self, name: str, tag: str) -> Type | None:
        """Return a type by name: the script's own definitions first, then the kernel's."""
        found = self.declared_type(name, tag)
        if found is None:
            kernel = self.types()
            found = kernel.named(name, tag) if kernel else None
        return found

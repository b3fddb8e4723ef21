"""The compiler as a list of stages: text → tree → variants → typed program → compiled program.

:func:`compile_script` runs all of them and raises
:class:`~bpflens.errors.CompileError` if there is anything wrong; :class:`Compilation` runs them
one by one for those who want to look in between (``-d``).

Example::

    compiled = compile_script("BEGIN { exit() }", target)
"""

from __future__ import annotations

from bpflens.errors import CompileError
from bpflens.lang.context import Context
from bpflens.lang.diagnostic import Diagnostics, render
from bpflens.lang.recursion import roomy
from bpflens.lang.source import SourceMap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bpflens.lang.analyse.state import TypedProgram, Variant
    from bpflens.lang.nodes import Program
    from bpflens.lang.program import CompiledProgram
    from bpflens.lang.target import Target

__all__ = ["Compilation", "compile_script"]


class Compilation:
    """One compilation, stage by stage. Each stage needs the one before and raises on errors."""

    def __init__(
        self,
        text: str,
        target: Target,
        *,
        name: str = "stdin",
        params: Sequence[str] = (),
        config: Mapping[str, object] | None = None,
        options: Mapping[str, object] | None = None,
    ) -> None:
        self.sources = SourceMap()
        self.source = self.sources.add(name, text)
        self.diagnostics = Diagnostics()
        self.context = Context(
            target, self.sources, self.diagnostics, config or {}, params, options
        )

    def parse(self) -> Program:
        """Return the syntax tree, configuration applied, macros and constants folded."""
        from bpflens.lang.parser import parse

        tree = parse(self.source, self.diagnostics)
        self._stop_on_errors()
        tree = self._prepare(tree)
        self._stop_on_errors()
        return tree

    def _prepare(self, tree: Program) -> Program:
        from bpflens.lang import prepare

        return prepare.run(tree, self.context)

    def expand(self, tree: Program) -> list[Variant]:
        """Return the variants of all probes; none where nothing exists that may be missing."""
        from bpflens.lang.analyse.expand import expand

        variants = expand(tree, self.context)
        self._stop_on_errors()
        return variants

    def analyse(self, tree: Program, variants: Sequence[Variant]) -> TypedProgram:
        """Return the typed program."""
        from bpflens.lang.analyse.checker import analyse

        typed = roomy(lambda: analyse(tree, variants, self.context))
        self._stop_on_errors()
        return typed

    def lower(self, typed: TypedProgram) -> CompiledProgram:
        """Return the compiled program, with the warnings of all stages."""
        from bpflens.lang.lower.program import lower

        compiled = roomy(lambda: lower(typed, self.context))
        compiled.warnings = render(self.diagnostics, self.sources)
        return compiled

    def run(self) -> CompiledProgram:
        """Run all stages."""
        tree = self.parse()
        return self.lower(self.analyse(tree, self.expand(tree)))

    def rendered(self) -> str:
        """Return all complaints so far as text."""
        return render(self.diagnostics, self.sources)

    def _stop_on_errors(self) -> None:
        if self.diagnostics.has_errors:
            error = CompileError(self.diagnostics.items)
            error.rendered = self.rendered()
            raise error


def compile_script(
    text: str,
    target: Target,
    *,
    name: str = "stdin",
    params: Sequence[str] = (),
    config: Mapping[str, object] | None = None,
    options: Mapping[str, object] | None = None,
) -> CompiledProgram:
    """Compile a script for a target; raises :class:`~bpflens.errors.CompileError`."""
    return Compilation(text, target, name=name, params=params, config=config, options=options).run()

"""Imports at the head of a script: what other files add to it.

A ``.bt`` file adds its probes, macros, functions and map declarations, and may import others; a
``.h`` file adds its C definitions. Everything imported stands before the script's own items. A
file counts once, by whatever way it is reached.

Files are read by the caller, who also refuses what should not be trusted: it is asked for a name
and the name of the importing file, and returns ``(path, text)`` pairs, several for a directory.

Example::

    resolve(program, "stdin", diagnostics, sources, read)
"""

from __future__ import annotations

from bpflens.errors import Error
from bpflens.lang.parser import parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeAlias

    from bpflens.lang.diagnostic import Diagnostics
    from bpflens.lang.nodes import CDefinition, Import, Item, Program
    from bpflens.lang.source import Source, SourceMap

    Reader: TypeAlias = Callable[[str, str], Sequence[tuple[str, str]]]

__all__ = ["resolve"]

_MAX_FILES = 1000


def resolve(
    program: Program,
    importer: str,
    diagnostics: Diagnostics,
    sources: SourceMap,
    read: Reader,
) -> Program:
    """Merge all that a program imports into it and return it."""
    if program.imports:
        _Resolver(diagnostics, sources, read, importer).merge(program, importer)
    return program


class _Resolver:
    __slots__ = ("diagnostics", "read", "seen", "sources")

    def __init__(
        self, diagnostics: Diagnostics, sources: SourceMap, read: Reader, importer: str
    ) -> None:
        self.diagnostics = diagnostics
        self.sources = sources
        self.read = read
        self.seen = {importer}

    def merge(self, program: Program, importer: str) -> None:
        preamble: list[CDefinition] = []
        items: list[Item] = []
        for node in program.imports:
            for path, text in self._files(node, importer):
                if path in self.seen:
                    continue
                self.seen.add(path)
                if len(self.seen) > _MAX_FILES:
                    self._error(node, f"more than {_MAX_FILES} files are imported")
                    return
                self._file(node, path, text, preamble, items)
        program.preamble = preamble + program.preamble
        program.items = items + program.items

    def _files(self, node: Import, importer: str) -> Sequence[tuple[str, str]]:
        try:
            return self.read(node.path, importer)
        except (Error, OSError) as error:
            self._error(node, f"cannot import '{node.path}': {error}")
            return ()

    def _file(
        self,
        node: Import,
        path: str,
        text: str,
        preamble: list[CDefinition],
        items: list[Item],
    ) -> None:
        if path.endswith(".bt"):
            self._script(self.sources.add(path, text), path, preamble, items)
        elif path.endswith(".h"):
            from bpflens.lang.parse_definition import header_definitions

            source = self.sources.add(path, text)
            preamble.extend(header_definitions(source, self.diagnostics))
        elif path.endswith((".c", ".o")):
            self._error(
                node,
                f"'{path}' holds C code, which scripts cannot call here",
                "Write it as a macro or a function (fn) of the script.",
            )
        elif path == node.path or path.endswith("/" + node.path):
            # Other files of a directory are none of a script's business.
            self._error(node, f"unknown import type: '{path}'", "Scripts import .bt and .h files.")

    def _script(
        self, source: Source, path: str, preamble: list[CDefinition], items: list[Item]
    ) -> None:
        program = parse(source, self.diagnostics)
        if program.config is not None:
            message = "invalid `config` within import"
            start, end = program.config.start, program.config.end
            self.diagnostics.error("import", message, start, end)
        self.merge(program, path)
        preamble.extend(program.preamble)
        items.extend(program.items)

    def _error(self, node: Import, message: str, *hints: str) -> None:
        self.diagnostics.error("import", message, node.start, node.end, *hints)

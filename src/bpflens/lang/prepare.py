"""Preparation: what happens to the tree between parsing and analysis.

In this order: imports are merged in; the configuration is settled from defaults, the script's
``config`` block and the environment; the C preamble is read; macros are expanded; constants,
positional parameters and named options are folded. Steps that a script has no use for are not
even imported.

The context's options give ``environment`` (variables), ``read_import`` (how imported files are
read, see :mod:`bpflens.lang.imports`) and ``named`` (words behind ``--`` by name); afterwards
``named_options`` holds the options that the script knows.
"""

from __future__ import annotations

from bpflens.lang import config, fold
from bpflens.lang.nodes import CDefinition, Macro
from bpflens.lang.recursion import roomy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.lang.context import Context
    from bpflens.lang.nodes import Import, Program
    from bpflens.lang.types import Type

__all__ = ["run"]


def run(tree: Program, context: Context) -> Program:
    """Prepare a tree for analysis; complaints go to the context's diagnostics."""
    if tree.imports:
        _imports(tree, context)
    _config(tree, context)
    followed = context.options.get("follow")
    if isinstance(followed, int) and followed:
        from bpflens.lang import follow

        follow.inject(tree, context, followed)
    macros: list[Macro] = []
    files = context.options.get("include_files")
    if isinstance(files, list):
        includes = [CDefinition(f'#include "{name}"', "include", name) for name in files]
        tree.preamble = [*includes, *tree.preamble]
    if tree.preamble:
        macros = _preamble(tree, context)
    if macros or any(isinstance(item, Macro) for item in tree.items):
        _macros(tree, context, macros)
    _fold(tree, context)
    return tree


def _imports(tree: Program, context: Context) -> None:
    from bpflens.lang.imports import resolve

    read = context.options.get("read_import")
    if not callable(read):
        first: Import = tree.imports[0]
        message = "files cannot be imported here"
        context.diagnostics.error("import", message, first.start, first.end)
        return
    name = context.sources.find(tree.start).name
    resolve(tree, name, context.diagnostics, context.sources, read)


def _config(tree: Program, context: Context) -> None:
    environment = context.options.get("environment")
    assert environment is None or isinstance(environment, dict)
    context.config.update(
        config.load(
            tree.config,
            environment or {},
            context.diagnostics,
            child=bool(context.options.get("child")),
            compat=str(context.options.get("compat") or ""),
        )
    )


def _preamble(tree: Program, context: Context) -> list[Macro]:
    from bpflens.lang.preamble import build

    def lookup(name: str, tag: str) -> Type | None:
        kernel = context.types()
        return kernel.named(name, tag) if kernel else None

    preamble = build(
        tree.preamble,
        context.diagnostics,
        context.sources,
        lookup=lookup,
        read_include=context.target.read_include,
    )
    context.declared_type = preamble.type
    context.declared_enumerator = preamble.enumerator
    context.declared_value = preamble.constant
    return preamble.macros()


def _macros(tree: Program, context: Context, further: list[Macro]) -> None:
    from bpflens.lang import builtin, call
    from bpflens.lang.macros import expand

    def is_function(name: str) -> bool:
        return builtin.find(name) is not None or call.find(name) is not None

    expand(tree, context.diagnostics, further, is_function)


def _fold(tree: Program, context: Context) -> None:
    named = context.options.get("named")
    assert named is None or isinstance(named, dict)
    folder = fold.Folder(context.diagnostics, context.params, named, context.declared_value)
    roomy(lambda: folder.fold(tree))
    context.options["named_options"] = folder.options

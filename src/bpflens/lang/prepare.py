"""Preparation: what happens to the tree between parsing and analysis.

The configuration is settled here from defaults, the script's ``config`` block and the environment
that the caller handed in.
"""

from __future__ import annotations

from bpflens.lang import config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.lang.context import Context
    from bpflens.lang.nodes import Program

__all__ = ["run"]


def run(tree: Program, context: Context) -> Program:
    """Prepare a tree for analysis; complaints go to the context's diagnostics."""
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
    return tree

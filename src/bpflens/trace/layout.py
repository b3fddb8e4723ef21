"""``--fmt``: a script in standard layout. It reads no more than the script and needs no rights."""

from __future__ import annotations

import os
import sys

from bpflens.errors import CompileError
from bpflens.lang.diagnostic import Diagnostics, render
from bpflens.lang.parser import parse
from bpflens.lang.printer import unparse
from bpflens.lang.source import SourceMap
from bpflens.trace.script import read_script

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.trace.options import Options

__all__ = ["reformat"]


def reformat(options: Options) -> int:
    """Print the script, or write it to the file of ``-o`` in one piece."""
    name, text = read_script(options)
    sources, diagnostics = SourceMap(), Diagnostics()
    tree = parse(sources.add(name, text), diagnostics)
    if diagnostics.has_errors:
        error = CompileError(diagnostics.items)
        error.rendered = render(diagnostics, sources)
        raise error
    shown = unparse(tree)
    if not options.output:
        sys.stdout.write(shown)
        return 0
    # A file that takes its old place at the end: an error on the way leaves the old one whole.
    fresh = f"{options.output}.{os.getpid()}"
    try:
        with open(fresh, "x", encoding="utf-8", errors="surrogateescape") as file:
            file.write(shown)
        os.replace(fresh, options.output)
    except OSError as problem:
        sys.stderr.write(f"ERROR: failed to write '{options.output}': {problem.strerror}\n")
        return 1
    return 0

#!/usr/bin/env python3
"""Build bpflens.pyz: the package as one file that runs on a bare python3.

    python3 tools/build_pyz.py [--output bpflens.pyz] [--python "/usr/bin/env python3"]

The same sources give the same bytes: entries are sorted and carry one fixed date. Beside each
module lies its code compiled for the interpreter that builds (an import from an archive is never
cached, so that every start would compile everything again). Another version of Python does not
recognise that code and compiles the source, which is slower and otherwise the same. The compiled
code is bound to nothing but itself ("unchecked" in PEP 552): a file date in an archive depends on
the reader's time zone.
"""

from __future__ import annotations

import argparse
import importlib.util
import marshal
import os
import sys
import zipfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SOURCE = os.path.join(ROOT, "src")
# The first moment that the format can express.
DATE = (1980, 1, 1, 0, 0, 0)

MAIN = """\
from bpflens.cli.main import run

run()
"""


def main() -> int:
    """Write the archive and say what it is."""
    parser = argparse.ArgumentParser(prog="tools/build_pyz.py", description="build bpflens.pyz")
    parser.add_argument("--output", default=os.path.join(ROOT, "bpflens.pyz"))
    parser.add_argument("--python", default="/usr/bin/env python3", help="for the #! line")
    options = parser.parse_args()
    build(options.output, options.python)
    size = os.path.getsize(options.output)
    print(f"{options.output}: {size / 1024:.0f} KiB, compiled for {sys.implementation.cache_tag}")
    return 0


def build(output: str, python: str) -> None:
    """Write the archive to ``output``, whole or not at all."""
    fresh = f"{output}.{os.getpid()}"
    with open(fresh, "wb") as file:
        file.write(f"#!{python}\n".encode())
        with zipfile.ZipFile(file, "w") as archive:
            for name, data in sorted(entries().items()):
                add(archive, name, data)
    os.chmod(fresh, 0o755)
    os.replace(fresh, output)


def entries() -> dict[str, bytes]:
    """Return what goes in: name inside the archive → content."""
    found = {"__main__.py": MAIN.encode()}
    for directory, folders, files in os.walk(os.path.join(SOURCE, "bpflens")):
        folders[:] = [folder for folder in folders if folder != "__pycache__"]
        for file in files:
            path = os.path.join(directory, file)
            with open(path, "rb") as source:
                found[os.path.relpath(path, SOURCE)] = source.read()
    compiled = {
        f"{name}c": compile_(name, data) for name, data in found.items() if name[-3:] == ".py"
    }
    return found | compiled


def compile_(name: str, source: bytes) -> bytes:
    """Return the content of the .pyc of a module."""
    code = compile(source, name, "exec", dont_inherit=True, optimize=0)
    unchecked_hash = (1).to_bytes(4, "little")
    digest = importlib.util.source_hash(source)
    return importlib.util.MAGIC_NUMBER + unchecked_hash + digest + marshal.dumps(code)


def add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    """Add one file."""
    entry = zipfile.ZipInfo(name, DATE)
    # Compiled code is read at every start: 10 million instructions fewer when it lies there as it
    # is. Sources are read for other interpreters and for tracebacks.
    stored = name.endswith(".pyc") or name == "__main__.py"
    entry.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, data)


if __name__ == "__main__":
    sys.exit(main())

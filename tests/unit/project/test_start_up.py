"""What each command may import: the list is the start-up time, in a form that can be checked.

A command that needs a module more gets it written down here, beside those that it may have; one
that imports a module that it no longer may has grown slower for everyone.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[3] / "src"

# Loaded by the interpreter itself or free; any command may have them.
FREE = {"__future__", "errno"}
# What talking to the kernel takes: the system call itself, and structures.
KERNEL = {"_ctypes", "_struct", "ctypes", "ctypes._endian", "mmap", "struct", "types"}
# What reading the kernel's own types takes.
TYPES = {"_bisect", "_collections", "_operator", "array", "bisect", "collections"} | {
    "collections.abc", "itertools", "keyword", "operator", "reprlib",
}  # fmt: skip

# What waiting for events takes; which call of the language a script uses decides on a module.
EVENTS = {"_functools", "fcntl", "functools", "select"}
CHOICE = {"importlib", "importlib._bootstrap", "importlib._bootstrap_external", "warnings"}

ENTRY = {"cli", "errors"}
OBJECTS = {"kernel", "objects", "spec", "uapi"}
SCRIPT = OBJECTS | {"asm", "attach", "btf", "lang", "load", "render", "ring", "session", "symbols"}

# words of the command → (standard library, floors of bpflens) that it may import
ALLOWED = {
    ("bpflens", "--version"): (set(), ENTRY),
    ("bpflens", "--help"): (set(), ENTRY),
    ("bpflens", "link", "--help"): (set(), ENTRY),
    ("bpflens", "exporter"): (set(), ENTRY),
    ("bpftool", "version"): (set(), ENTRY | {"bpftool"}),
    ("bpftool", "help"): (set(), ENTRY | {"bpftool"}),
    ("bpftool", "map", "show"): (KERNEL, ENTRY | OBJECTS | {"bpftool"}),
    ("bpftool", "prog", "show"): (KERNEL | TYPES, ENTRY | OBJECTS | {"bpftool", "btf"}),
    ("bpftrace", "--version"): (set(), ENTRY | {"trace"}),
    ("bpftrace", "--help"): (set(), ENTRY | {"trace"}),
    ("bpftrace", "-e", "BEGIN { exit() }"): (
        KERNEL | TYPES | EVENTS | CHOICE,
        ENTRY | SCRIPT | {"trace"},
    ),
}

_PROBE = """
import sys
import os  # as the site module does, which -S leaves out
before = set(sys.modules)
from bpflens.cli.main import main
try:
    main({words!r})
finally:
    with open({report!r}, "w") as report:
        print(*set(sys.modules) - before, sep="\\n", file=report)
"""


def modules_of(words, tmp_path):
    report = tmp_path / "modules"
    code = _PROBE.format(words=list(words), report=str(report))
    # -I -S: what a site directory or an environment variable brings in is not the command's.
    code = f"import sys; sys.path.insert(0, {str(SOURCE)!r})\n{code}"
    subprocess.run(
        [sys.executable, "-I", "-S", "-c", code],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
        timeout=60,
        check=False,
    )
    names = set(report.read_text().split())
    floors = {name.split(".")[1] for name in names if name.startswith("bpflens.")}
    return {name for name in names if name.partition(".")[0] != "bpflens"}, floors


@pytest.mark.parametrize("words", ALLOWED, ids=" ".join)
def test_a_command_imports_no_more_than_it_may(words, tmp_path):
    library, floors = modules_of(words, tmp_path)
    may_library, may_floors = ALLOWED[words]
    assert library - FREE - may_library == set()
    assert floors - may_floors == set()

"""Build the C programs of tests/bpf with clang, once a session; skip where there is none."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tempfile

import pytest

__all__ = ["build", "clang"]

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "bpf")


@functools.cache
def clang() -> str:
    """The clang to use, or a skip with the reason."""
    for name in ("clang", "clang-19", "clang-16", "clang-15", "clang-14"):
        found = shutil.which(name)
        if found:
            return found
    pytest.skip("there is no clang to build BPF objects with")


@functools.cache
def build(source: str, *options: str) -> bytes:
    """Return the object that clang makes of `source`: a file of tests/bpf, or C text."""
    compiler = clang()
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(HERE, source)
        if "\n" in source:
            path = os.path.join(directory, "program.c")
            with open(path, "w") as file:
                file.write(source)
        out = os.path.join(directory, "program.o")
        words = [compiler, "-target", "bpf", "-g", "-O2", "-Wall", "-Werror",
                 "-Wno-unused-const-variable", "-Wno-unused-variable", "-I", HERE,
                 *options, "-c", path, "-o", out]  # fmt: skip
        done = subprocess.run(words, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        with open(out, "rb") as file:
            return file.read()

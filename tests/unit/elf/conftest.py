from __future__ import annotations

import os
import shutil
import subprocess

import pytest

# Real files of this machine, as different as can be: stripped and not, PIE and fixed, C and C++.
CANDIDATES = [
    "/bin/true",
    "/usr/bin/python3.11",
    "/lib/x86_64-linux-gnu/libc.so.6",
    "/lib64/ld-linux-x86-64.so.2",
    "/usr/lib/x86_64-linux-gnu/libstdc++.so.6",
    "/usr/lib/x86_64-linux-gnu/crti.o",
    "/usr/lib/x86_64-linux-gnu/Scrt1.o",
]


@pytest.fixture(params=[path for path in CANDIDATES if os.path.exists(path)])
def path(request):
    """A real ELF file."""
    return request.param


@pytest.fixture(scope="session")
def compile_c(tmp_path_factory):
    """Compile C text with gcc and the given words; skip where there is no compiler."""
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("no gcc")
    folder = tmp_path_factory.mktemp("gcc")
    done = {}

    def build(text: str, *words: str, language: str = "c") -> str:
        key = (text, words)
        if key not in done:
            source = folder / f"{len(done)}.{language}"
            source.write_text(text)
            output = str(folder / f"{len(done)}.out")
            command = [compiler, "-o", output, str(source), *words]
            subprocess.run(command, check=True, timeout=60, capture_output=True)
            done[key] = output
        return done[key]

    return build


@pytest.fixture(scope="session")
def readelf():
    """Run readelf -W and return its lines."""
    if shutil.which("readelf") is None:
        pytest.skip("no readelf")

    def run(*words: str) -> list[str]:
        command = ["readelf", "-W", *words]
        done = subprocess.run(command, check=True, timeout=60, capture_output=True, text=True)
        return done.stdout.splitlines()

    return run

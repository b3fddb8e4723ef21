"""A process in its own mount namespace, whose program nobody else can see."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from bpflens.symbols import Process

pytestmark = pytest.mark.kernel

PROGRAM = """
#include <stdio.h>
#include <unistd.h>
int hidden_function(int x) { return x + 1; }
int main(void) { printf("%p\\n", (void *)hidden_function); fflush(stdout); pause(); return 0; }
"""
SCRIPT = 'mount -t tmpfs none "$1" && cp "$2" "$1/app" && exec "$1/app"'


@pytest.fixture
def contained(tmp_path):
    """A process whose program lies on a tmpfs of its own: (child, address, path it sees)."""
    if not (shutil.which("gcc") and shutil.which("unshare")):
        pytest.skip("no gcc or no unshare")
    (tmp_path / "p.c").write_text(PROGRAM)
    program = tmp_path / "program"
    subprocess.run(["gcc", "-o", program, tmp_path / "p.c"], check=True, timeout=60)
    inside = tmp_path / "inside"
    inside.mkdir()
    command = ["unshare", "-m", "sh", "-c", SCRIPT, "sh", str(inside), str(program)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    line = child.stdout.readline()
    try:
        if not line:
            pytest.skip("no mount namespace to be had")
        assert not os.path.exists(inside / "app")
        yield child, int(line, 16), str(inside / "app")
    finally:
        child.kill()
        child.wait(10)
        child.stdout.close()


def test_its_functions_have_names(contained):
    child, address, path = contained
    process = Process(child.pid)
    assert process.resolve(address + 2) == ("hidden_function", 2, path)
    assert (path, f"/proc/{child.pid}/root{path}") in list(process.files())
    process.close()


def test_its_functions_have_names_after_it_has_gone(contained):
    child, address, path = contained
    process = Process(child.pid)
    child.kill()
    child.wait(10)
    assert process.resolve(address) == ("hidden_function", 0, path)
    process.close()

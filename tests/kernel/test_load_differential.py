"""The same object through bpftool and through us: the kernel must get the same instructions."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import pytest

from bpf_object import build
from bpflens.kernel.feature import feature
from bpflens.kernel.limits import kernel_config
from bpflens.load.collection import load_object
from bpflens.load.object_file import read

pytestmark = [pytest.mark.kernel, pytest.mark.differential]


@pytest.fixture
def bpffs(tmp_path):
    path = tmp_path / "bpf"
    path.mkdir()
    subprocess.run(["mount", "-t", "bpf", "bpf", str(path)], check=True, timeout=20)
    yield str(path)
    subprocess.run(["umount", str(path)], check=True, timeout=20)


def _bpftool(*words):
    tool = shutil.which("bpftool")
    if tool is None:
        pytest.skip("there is no bpftool to compare with")
    done = subprocess.run([tool, "-j", *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout) if done.stdout.strip() else None


# What both loaders must agree on, of programs and of their maps.
PROGRAM = ("type", "tag", "gpl_compatible", "bytes_xlated")
MAP = ("type", "flags", "bytes_key", "bytes_value", "max_entries", "frozen")


def _described(id):
    program = _bpftool("prog", "show", "id", str(id))
    maps = [_bpftool("map", "show", "id", str(number)) for number in program.get("map_ids", ())]
    own = {name: program.get(name) for name in PROGRAM}
    own["maps"] = sorted(
        (tuple(str(map.get(name)) for name in MAP) for map in maps),
    )
    dump = _bpftool("prog", "dump", "xlated", "id", str(id), "opcodes")
    own["functions"] = [row["proto"] for row in dump if "proto" in row]
    own["sources"] = [row["src"] for row in dump if "src" in row]
    return own


@pytest.mark.parametrize(
    "source", ["globals.bpf.c", "core.bpf.c", "extern.bpf.c", "congestion.bpf.c", "attach.bpf.c"]
)
def test_kernel_gets_the_same_programs_and_maps(source, bpffs, tmp_path):
    if source == "extern.bpf.c":
        feature("open_coded_iter").require()
        if kernel_config() is None:
            pytest.skip("bpftool loads no object with build options where they are not known")
    data = build(source, "-DOLD_LIBBPF")
    path = tmp_path / "compared.bpf.o"
    path.write_bytes(data)
    _bpftool("prog", "loadall", str(path), f"{bpffs}/p")
    with load_object(read(str(path))) as loaded:
        assert set(os.listdir(f"{bpffs}/p")) == set(loaded.programs)
        for name, program in loaded.programs.items():
            theirs = _bpftool("prog", "show", "pinned", f"{bpffs}/p/{name}")
            assert _described(program.info.id) == _described(theirs["id"])

"""Objects that others wrote (libbpf-tools): what libbpf loads of them, we load alike."""

from __future__ import annotations

import glob
import json
import os
import shutil
import struct
import subprocess

import pytest

from bpflens.load.collection import load_object
from bpflens.load.object_file import read

pytestmark = [pytest.mark.kernel, pytest.mark.differential, pytest.mark.slow]

EM_BPF = 247


def _tools():
    listing = "/var/lib/dpkg/info/libbpf-tools.list"
    if not os.path.exists(listing):
        return []
    with open(listing) as file:
        names = file.read().split()
    return sorted(name for name in names if "/sbin/" in name and os.path.isfile(name))


def _embedded(path):
    """Return the BPF object that a tool carries inside."""
    with open(path, "rb") as file:
        data = file.read()
    at = data.find(b"\x7fELF\x02\x01\x01", 1)
    while at > 0:
        if struct.unpack_from("<HH", data, at + 16) == (1, EM_BPF):
            sections = struct.unpack_from("<Q", data, at + 40)[0]
            size, count = struct.unpack_from("<HH", data, at + 58)
            return data[at : at + sections + size * count]
        at = data.find(b"\x7fELF\x02\x01\x01", at + 4)
    return None


@pytest.fixture
def bpffs(tmp_path):
    path = tmp_path / "bpf"
    path.mkdir()
    subprocess.run(["mount", "-t", "bpf", "bpf", str(path)], check=True, timeout=20)
    yield str(path)
    subprocess.run(["umount", str(path)], check=True, timeout=20)


def _show(*words):
    done = subprocess.run(
        ["bpftool", "-j", "prog", "show", *words], capture_output=True, text=True, timeout=60
    )
    program = json.loads(done.stdout)
    kept = ("type", "name", "tag", "gpl_compatible", "bytes_xlated")
    return {name: program.get(name) for name in kept} | {"maps": len(program.get("map_ids", ()))}


def test_objects_of_others_load_as_libbpf_loads_them(bpffs, tmp_path):
    tools = _tools()
    if not tools or shutil.which("bpftool") is None:
        pytest.skip("libbpf-tools or bpftool is not installed")
    compared = 0
    for tool in tools:
        data = _embedded(tool)
        if data is None:
            continue
        name = os.path.basename(tool)
        path = tmp_path / f"{name}.bpf.o"
        path.write_bytes(data)
        spec = read(str(path))
        assert spec.programs, name
        pins = f"{bpffs}/{name}"
        words = ["bpftool", "-j", "prog", "loadall", str(path), pins]
        if subprocess.run(words, capture_output=True, timeout=120).returncode:
            # Something of it is not for this kernel, or is set up by the tool at run time.
            continue
        with load_object(spec) as loaded:
            for pin in glob.glob(f"{pins}/*"):
                program = loaded.programs[os.path.basename(pin)]
                assert _show("id", str(program.info.id)) == _show("pinned", pin)
                compared += 1
    assert compared > 20

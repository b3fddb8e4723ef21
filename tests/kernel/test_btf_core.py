"""CO-RE against the real libbpf: the same object and target must give the same instructions."""

from __future__ import annotations

import ctypes.util
import os
import random
import shutil
import subprocess
import sys

import pytest

from bpflens.btf import Btf
from bpflens.btf.core import Relocator
from bpflens.btf.core_patch import apply_bytes
from bpflens.btf.ext import parse
from bpflens.btf.query import members
from bpflens.btf.types import Int, Ptr, Struct
from bpflens.errors import FormatError
from unit.btf.core_sample import LOCAL, POISONED, TARGET

pytestmark = [pytest.mark.kernel, pytest.mark.differential]

HERE = os.path.dirname(os.path.abspath(__file__))


class Workshop:
    """Compiles, takes sections out, and relocates with both."""

    def __init__(self, path) -> None:
        self.path = str(path)
        self.clang = shutil.which("clang-16") or shutil.which("clang")
        self.objcopy = shutil.which("llvm-objcopy-16") or shutil.which("llvm-objcopy")
        if not self.clang or not self.objcopy:
            pytest.skip("there is no clang here")
        if not ctypes.util.find_library("bpf"):
            pytest.skip("there is no libbpf here")

    def compile(self, name: str, source: str) -> str:
        with open(f"{self.path}/{name}.c", "w") as file:
            file.write(source)
        argv = [self.clang, "-target", "bpf", "-g", "-O2", "-c", f"{name}.c", "-o", f"{name}.o"]
        subprocess.run(argv, check=True, timeout=120, cwd=self.path)
        return f"{self.path}/{name}.o"

    def section(self, obj: str, name: str) -> bytes:
        argv = [self.objcopy, f"--dump-section={name}={obj}.part", obj, os.devnull]
        subprocess.run(argv, check=True, timeout=60)
        with open(f"{obj}.part", "rb") as file:
            return file.read()

    def libbpf(self, obj: str, target: bytes) -> bytes:
        with open(f"{self.path}/target.btf", "wb") as file:
            file.write(target)
        argv = [sys.executable, f"{HERE}/libbpf_relocate.py", obj, f"{self.path}/target.btf"]
        done = subprocess.run(argv, check=True, timeout=60, stdout=subprocess.PIPE, text=True)
        (line,) = done.stdout.split()
        return bytes.fromhex(line)

    def compare(self, obj: str, target: Btf) -> list[str]:
        local = Btf(self.section(obj, ".BTF"))
        relos = parse(self.section(obj, ".BTF.ext"), local).core_relo["raw_tp/x"]
        code = bytearray(self.section(obj, "raw_tp/x"))
        expected = self.libbpf(obj, target.raw)
        relocator = Relocator(local, target)
        seen = []
        for relo in relos:
            result = relocator.relocate(relo.kind, relo.type_id, relo.access)
            size = 16 if code[relo.insn_off] == 0x18 else 8
            apply_bytes(code, relo.insn_off, result)
            ours = code[relo.insn_off : relo.insn_off + size]
            theirs = expected[relo.insn_off : relo.insn_off + size]
            assert (result, ours.hex()) == (result, theirs.hex())
            seen.append(repr(result))
        return seen


@pytest.fixture
def workshop(tmp_path) -> Workshop:
    return Workshop(tmp_path)


def test_every_kind_of_relocation(workshop):
    target = Btf(workshop.section(workshop.compile("target", TARGET), ".BTF"))
    obj = workshop.compile("local", LOCAL % {"extra": POISONED})
    seen = workshop.compare(obj, target)
    assert len({line.split()[0] for line in seen}) == 13
    assert sum("poison" in line for line in seen) >= 4


def test_a_program_that_fits_its_target(workshop):
    obj = workshop.compile("local", LOCAL % {"extra": ""})
    workshop.compare(obj, Btf(workshop.section(obj, ".BTF")))


def other_kernels() -> list[str]:
    cache = os.environ.get("VM_CACHE") or os.path.expanduser("~/.cache/bpflens-vm")
    found = [f"{cache}/k/{version}/vmlinux" for version in ("6.1", "6.12")]
    return [path for path in found if os.path.exists(path)]


def questions(vmlinux: Btf, seed: int, count: int) -> str:
    # Random named members of random structs, each asked for in several ways.
    chance = random.Random(seed)
    lines = []
    structs = [id for id in vmlinux.ids_of_kind(Struct.kind) if vmlinux.name(id)]
    names: dict[str, int] = {}
    for id in structs:
        names[vmlinux.name(id)] = names.get(vmlinux.name(id), 0) + 1
    structs = [id for id in structs if names[vmlinux.name(id)] == 1]
    while len(lines) < count:
        id = chance.choice(structs)
        fields = members(vmlinux, id)
        if not fields:
            continue
        field = chance.choice(fields)
        path = f"((struct {vmlinux.name(id)} *)p)->{field.path}"
        kinds = [0, 1, 2, 4, 5] if field.bit_size else [0, 1, 2]
        found = vmlinux.resolve(field.type_id)
        if isinstance(found, Int | Ptr) and not field.bit_size:
            lines.append(f"out = (unsigned long){path};")
        if isinstance(found, Int):
            kinds.append(3)
        kind = chance.choice(kinds)
        lines.append(f"out = __builtin_preserve_field_info({path}, {kind});")
    return "\n".join(lines)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_random_questions_to_other_kernels(workshop, seed):
    bpftool = shutil.which("bpftool")
    kernels = other_kernels()
    if not bpftool or not kernels:
        pytest.skip("needs bpftool and an extracted kernel (tools/vm.py)")
    path = "/sys/kernel/btf/vmlinux"
    with open(path, "rb") as file:
        vmlinux = Btf(file.read())
    argv = [bpftool, "btf", "dump", "file", path, "format", "c"]
    header = subprocess.run(argv, check=True, timeout=60, stdout=subprocess.PIPE, text=True).stdout
    body = questions(vmlinux, seed, 400)
    source = (
        header
        + 'volatile unsigned long out;\n__attribute__((section("raw_tp/x"))) int f(void *p)\n{\n'
        + body
        + '\nreturn 0;\n}\nchar _license[] __attribute__((section("license"))) = "GPL";\n'
    )
    obj = workshop.compile("local", source)
    for kernel in kernels:
        target = Btf(workshop.section(kernel, ".BTF"))
        try:
            seen = workshop.compare(obj, target)
        except FormatError as error:
            # libbpf gives up on the whole object; ask without the question that it refused.
            pytest.fail(f"{kernel}: {error}")
        assert len(seen) > 400

"""Small BTF made by the builder, with something of every kind."""

from __future__ import annotations

import mmap
import os
import shutil
import subprocess

import pytest

from bpflens.btf import Btf
from bpflens.btf.builder import Builder
from bpflens.uapi.btf import BTF_INT_BOOL, BTF_INT_SIGNED


def every_kind() -> Builder:
    """Return a builder with something of every kind, its ids in the order of the lines below."""
    b = Builder()
    integer = b.add_int("int", 4, BTF_INT_SIGNED)
    char = b.add_int("char", 1, BTF_INT_SIGNED)
    long = b.add_int("unsigned long", 8)
    boolean = b.add_int("_Bool", 1, BTF_INT_BOOL)
    double = b.add_float("double", 8)
    text = b.add_array(char, integer, 16)
    color = b.add_enum("color", [("RED", 0), ("GREEN", 1), ("BLUE", -1)])
    big = b.add_enum64("big", [("SMALL", 1), ("HUGE", 1 << 40)])
    inner = b.add_struct("", 8, [("x", integer, 0), ("y", integer, 32)])
    either = b.add_union("", 8, [("whole", long, 0), ("", inner, 0)])
    node = b.next_id
    pointer = b.next_id + 1
    b.add_struct(
        "node",
        64,
        [
            ("next", pointer, 0),
            ("name", text, 64),
            ("color", color, 192),
            ("low", integer, 224, 3),
            ("high", integer, 227, 5),
            ("", either, 256),
            ("big", big, 320),
            ("ratio", double, 384),
            ("ok", boolean, 448),
        ],
    )
    b.add_ptr(node)
    alias = b.add_typedef("node_t", node)
    constant = b.add_const(alias)
    b.add_volatile(constant)
    b.add_restrict(pointer)
    proto = b.add_func_proto(integer, [("self", pointer), ("count", long), ("", 0)])
    function = b.add_func("walk", proto, 1)
    variable = b.add_var("root", alias)
    b.add_datasec(".bss", 64, [(variable, 0, 64)])
    b.add_fwd("later")
    b.add_fwd("choice", is_union=True)
    b.add_decl_tag("hot", function)
    b.add_decl_tag("kept", node, 1)
    b.add_type_tag("user", node)
    probe = b.add_func_proto(0, [("", b.add_ptr(0)), ("node", pointer)])
    b.add_typedef("btf_trace_walked", b.add_ptr(probe))
    return b


@pytest.fixture(scope="session")
def small() -> Btf:
    """A BTF with something of every kind."""
    return Btf(every_kind().build())


@pytest.fixture(scope="session")
def vmlinux() -> Btf:
    """The running kernel's BTF."""
    path = "/sys/kernel/btf/vmlinux"
    if not os.access(path, os.R_OK):
        pytest.skip(f"this kernel has no {path}")
    with open(path, "rb") as file:
        try:
            data = mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
        except OSError:
            return Btf(file.read())
    return Btf(data)


class Compiled:
    """The BTF sections and the code of an object that clang made."""

    def __init__(self, path: str, directory: str) -> None:
        self.path = path
        self.directory = directory

    def section(self, name: str) -> bytes:
        out = os.path.join(self.directory, "section")
        tool = shutil.which("llvm-objcopy-16") or "llvm-objcopy"
        argv = [tool, f"--dump-section={name}={out}", self.path, os.devnull]
        subprocess.run(argv, check=True, timeout=60)
        with open(out, "rb") as file:
            return file.read()


@pytest.fixture
def compile_c(tmp_path):
    """A function that compiles C for BPF with clang."""
    clang = shutil.which("clang-16") or shutil.which("clang")
    if not clang or not (shutil.which("llvm-objcopy-16") or shutil.which("llvm-objcopy")):
        pytest.skip("there is no clang here")

    def run(source: str, *flags: str) -> Compiled:
        (tmp_path / "t.c").write_text(source)
        out = str(tmp_path / "t.o")
        argv = [clang, "-target", "bpf", "-g", "-O2", *flags, "-c", "t.c", "-o", out]
        subprocess.run(argv, check=True, timeout=60, cwd=tmp_path)
        return Compiled(out, str(tmp_path))

    return run

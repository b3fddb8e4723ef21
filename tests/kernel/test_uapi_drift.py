"""The committed constants and layouts say what the running kernel's BTF says."""

import importlib
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bpflens.btf import Btf
from bpflens.btf.types import Enum, Struct
from bpflens.errors import NotSupported
from bpflens.uapi import bpf, helper, layout, perf
from bpflens.uapi import btf as btf_constants

pytestmark = pytest.mark.kernel

ROOT = Path(__file__).parents[2]
VMLINUX = Path("/sys/kernel/btf/vmlinux")
KINDS = (btf_constants.BTF_KIND_STRUCT, btf_constants.BTF_KIND_UNION)


@pytest.fixture(scope="module")
def btf():
    if not VMLINUX.exists():
        raise NotSupported("BTF of the kernel", "5.4")
    return Btf(VMLINUX.read_bytes())


@pytest.fixture(scope="module")
def enumerators(btf):
    """Name → all values that any enum gives it."""
    out: dict[str, set[int]] = {}
    for kind in (btf_constants.BTF_KIND_ENUM, btf_constants.BTF_KIND_ENUM64):
        for id in btf.ids_of_kind(kind):
            enum = btf.type(id)
            assert isinstance(enum, Enum)
            for name, value in enum.values:
                out.setdefault(name, set()).add(value)
    return out


@pytest.mark.parametrize("module", [bpf, perf, btf_constants], ids=lambda m: m.__name__)
def test_every_constant_the_kernel_knows_has_its_value(module, enumerators):
    ours = {n: v for n, v in vars(module).items() if isinstance(v, int) and n[0] != "_"}
    known = [name for name in ours if name in enumerators]
    bad = [
        n
        for n in known
        if ours[n] not in enumerators[n] | {v & (1 << 64) - 1 for v in enumerators[n]}
    ]
    assert bad == []
    # Only macros are unknown to BTF: the comparison must have seen most of the file.
    assert len(known) > len(ours) // 3


@pytest.mark.parametrize(
    ("tag", "names", "prefix"),
    [
        ("bpf_cmd", bpf.CMD_NAMES, "BPF_"),
        ("bpf_map_type", bpf.MAP_TYPE_NAMES, "BPF_MAP_TYPE_"),
        ("bpf_prog_type", bpf.PROG_TYPE_NAMES, "BPF_PROG_TYPE_"),
        ("bpf_attach_type", bpf.ATTACH_TYPE_NAMES, "BPF_"),
        ("bpf_link_type", bpf.LINK_TYPE_NAMES, "BPF_LINK_TYPE_"),
        ("bpf_func_id", helper.HELPER_NAMES, "BPF_FUNC_"),
    ],
)
def test_name_tables_cover_the_kernels_enums(btf, tag, names, prefix):
    enum = btf.type(btf.find(tag, btf_constants.BTF_KIND_ENUM))
    for name, value in enum.values:
        if name.startswith(("_", "MAX_")) or name.endswith("_DEPRECATED"):
            continue
        assert value < len(names), f"{name} is new: run tools/gen_uapi.py"
        short = name.removeprefix(prefix)
        assert names[value] in (short.lower(), short) or getattr(bpf, name) == value


def record(btf, name):
    for kind in KINDS:
        id = btf.find(name, kind)
        if id is not None:
            return btf.type(id)
    return None


def places(btf, of, base=0, prefix=""):
    """Dotted name → (bit offset, bit size) of a struct, with the insides of nested ones."""
    out = {}
    for member in of.members:
        at = base + member.bit_offset
        out[prefix + member.name] = (at, member.bit_size or 8 * btf.size_of(member.type_id))
        inner = btf.type(member.type_id)
        if isinstance(inner, Struct) and not inner.name:
            out |= places(btf, inner, at, f"{prefix}{member.name}." if member.name else prefix)
    return out


def attr_member(btf, label, first):
    """The member of union bpf_attr of a name, or the unnamed one that begins with a field."""
    members = record(btf, "bpf_attr").members
    named = [m for m in members if m.name == label]
    unnamed = [
        m
        for m in members
        if not m.name and places(btf, btf.type(m.type_id)).get(first, (1,))[0] == 0
    ]
    known = ("map_create", "map_elem", "prog_load", "obj", "prog_attach", "get_id", "btf_load")
    found = named or (unnamed if label in known else [])
    return btf.type(found[0].type_id) if found else None


TABLES = [
    name for name, value in vars(layout).items() if isinstance(value, tuple) and name.isupper()
]


@pytest.mark.parametrize("table", TABLES)
def test_fields_lie_where_the_kernel_has_them(btf, table):
    factor = 1 if table.endswith("_BITS") else 8
    struct_name = table.removesuffix("_BITS").lower()
    fields = getattr(layout, table)
    if struct_name.startswith("bpf_attr_"):
        found = attr_member(btf, struct_name.removeprefix("bpf_attr_"), fields[0][0])
    else:
        found = record(btf, f"__{struct_name}") or record(btf, struct_name)
    if found is None:
        raise NotSupported(f"struct {struct_name}")
    known = places(btf, found)
    # What is missing is newer than this kernel, and that is never the first field; what is
    # reserved shrinks; inner structs grow. Structs that programs cannot look into have no fields.
    ours = {
        name: (factor * offset, factor * size)
        for name, offset, size in fields
        if not name.startswith("__")
    }
    inner = {name.rpartition(".")[0] for name in known}
    theirs = {n: (at, 0 if n in inner else size) for n, (at, size) in known.items() if n in ours}
    ours = {n: (at, 0 if n in inner else size) for n, (at, size) in ours.items()}
    assert ours.items() >= theirs.items()
    assert theirs or not ours


def test_generating_again_changes_nothing():
    if not platform.release().startswith("6.18.") or shutil.which("gcc") is None:
        raise NotSupported("generating the constants", why="they come from 6.18's BTF and gcc")
    version = Path("/usr/include/linux/version.h")
    if not version.exists() or "LINUX_VERSION_PATCHLEVEL" not in version.read_text():
        raise NotSupported("generating the constants", why="the UAPI headers are not installed")
    lines = dict(
        line.split()[1:3] for line in version.read_text().splitlines() if line.count(" ") == 2
    )
    if (lines["LINUX_VERSION_MAJOR"], lines["LINUX_VERSION_PATCHLEVEL"]) != ("6", "1"):
        raise NotSupported("generating the constants", why="they come from the headers of 6.1")
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "gen_uapi.py", "--check"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_system_calls_are_those_of_the_tracepoints():
    events = Path("/sys/kernel/tracing/events/syscalls")
    if not events.is_dir():
        raise NotSupported("tracefs")
    from bpflens.uapi.syscall import SYSCALL_NAMES_X86_64

    names = {d.name[10:] for d in events.iterdir() if d.name.startswith("sys_enter_")}
    ours = set(SYSCALL_NAMES_X86_64.values())
    # The kernel's functions are older than some of the names that user space knows.
    renamed = {"newfstat", "newlstat", "newstat", "newuname", "sendfile64", "umount"}
    assert names - ours <= renamed
    assert importlib.import_module("bpflens.uapi.syscall").NR_BPF_X86_64 == 321

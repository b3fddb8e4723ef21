import errno
import os
import subprocess

import pytest

from bpflens.uapi import bpf, btf, elf, helper, layout, perf, syscall
from bpflens.uapi import errno as our_errno


@pytest.mark.parametrize(
    ("prefix", "names"),
    [
        ("BPF_MAP_TYPE_", bpf.MAP_TYPE_NAMES),
        ("BPF_PROG_TYPE_", bpf.PROG_TYPE_NAMES),
        ("BPF_LINK_TYPE_", bpf.LINK_TYPE_NAMES),
        ("BPF_", bpf.ATTACH_TYPE_NAMES),
        ("BPF_", bpf.CMD_NAMES),
    ],
)
def test_names_stand_at_the_place_of_their_number(prefix, names):
    for number, name in enumerate(names):
        assert getattr(bpf, prefix + name.upper()) == number
    assert len(set(names)) == len(names)


def test_helpers_stand_at_their_number_with_a_signature():
    assert len(helper.HELPER_NAMES) == len(helper.HELPER_SIGNATURES) == 212
    for number, name in enumerate(helper.HELPER_NAMES):
        assert getattr(bpf, f"BPF_FUNC_{name}") == number
        assert bool(helper.HELPER_SIGNATURES[number][0]) == (name != "unspec")
    loop = helper.HELPER_SIGNATURES[bpf.BPF_FUNC_loop]
    assert loop == ("long", "u32 nr_loops, void *callback_fn, void *callback_ctx, u64 flags")


def test_errno_names_agree_with_python():
    for number, name in errno.errorcode.items():
        ours = our_errno.ERRNO_NAMES[number]
        assert ours == name or getattr(errno, ours) == number
    assert our_errno.ERRNO_NAMES[524] == "ENOTSUPP"


def test_known_layouts():
    # Sizes that the kernel's own assertions and manual pages state.
    assert layout.SIZEOF_PERF_EVENT_ATTR == 136
    assert layout.SIZEOF_BPF_INSN == 8
    assert layout.SIZEOF_PERF_EVENT_MMAP_PAGE == 1088
    assert ("data_head", 1024, 8) in layout.PERF_EVENT_MMAP_PAGE
    assert ("bpf_cookie", 16, 8) not in layout.BPF_ATTR_LINK_CREATE
    assert ("perf_event.bpf_cookie", 16, 8) in layout.BPF_ATTR_LINK_CREATE
    assert ("gpl_compatible", 672, 1) in layout.BPF_PROG_INFO_BITS
    assert perf.PERF_ATTR_BIT_SIGTRAP == 37
    for name, value in vars(layout).items():
        if isinstance(value, tuple) and not name.endswith("_BITS") and name.isupper():
            size = getattr(layout, f"SIZEOF_{name}")
            assert all(offset + length <= size for _, offset, length in value), name


def test_system_calls_of_both_architectures():
    for arch in ("X86_64", "AARCH64"):
        table = getattr(syscall, f"SYSCALL_NAMES_{arch}")
        assert table[getattr(syscall, f"NR_BPF_{arch}")] == "bpf"
        assert table[getattr(syscall, f"NR_PERF_EVENT_OPEN_{arch}")] == "perf_event_open"
        assert len(set(table.values())) == len(table)
    assert syscall.SYSCALL_NAMES_X86_64[59] == "execve"
    assert syscall.SYSCALL_NAMES_AARCH64[221] == "execve"
    assert syscall.SYSCALL_NAMES_AARCH64[79] in ("newfstatat", "fstatat")


def test_other_tables():
    assert btf.KIND_NAMES[btf.BTF_KIND_ENUM64] == "ENUM64"
    assert bpf.CORE_RELO_KIND_NAMES[bpf.BPF_CORE_TYPE_MATCHES] == "type_matches"
    assert len(bpf.CORE_RELO_KIND_NAMES) == 13
    assert elf.EM_BPF == 247
    assert elf.SHT_SYMTAB == 2


@pytest.mark.differential
@pytest.mark.parametrize(
    ("what", "names"),
    [
        ("map_types", bpf.MAP_TYPE_NAMES),
        ("prog_types", bpf.PROG_TYPE_NAMES),
        ("link_types", bpf.LINK_TYPE_NAMES),
        ("attach_types", bpf.ATTACH_TYPE_NAMES),
        ("helpers", tuple(f"bpf_{name}" for name in helper.HELPER_NAMES)),
    ],
)
def test_names_are_those_of_the_real_bpftool(real_bpftool, what, names):
    # An older bpftool knows the first of them.
    done = subprocess.run(
        [real_bpftool, "feature", "list_builtins", what], capture_output=True, text=True,
        timeout=20, check=False, env={**os.environ, "LC_ALL": "C"},
    )  # fmt: skip
    if done.returncode:
        pytest.skip(f"this bpftool has no list_builtins: {done.stderr.strip()}")
    theirs = done.stdout.split()
    assert theirs == list(names[: len(theirs)])

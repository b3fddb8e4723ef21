"""The kernel takes what we write and gives it back; a real map's values are what we decode."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import pytest

from bpflens.btf import Btf
from bpflens.btf.builder import Builder
from bpflens.btf.decode import compile_decoder, encode
from bpflens.btf.query import function, tracepoint
from bpflens.errors import SyscallError
from bpflens.kernel import bpf
from bpflens.kernel.info import btf_data, map_info
from bpflens.uapi.bpf import BPF_MAP_TYPE_HASH
from unit.btf.conftest import every_kind

pytestmark = pytest.mark.kernel


@pytest.fixture
def loaded():
    """A function that loads BTF and closes it after the test."""
    opened = []

    def load(data: bytes) -> int:
        opened.append(bpf.btf_load(data))
        return opened[-1]

    yield load
    for fd in opened:
        os.close(fd)


def test_kernel_accepts_every_kind_and_gives_it_back(loaded):
    data = every_kind().build()
    assert btf_data(loaded(data)) == data


def test_kernel_refuses_what_is_damaged(loaded):
    builder = Builder()
    builder.add_typedef("t", 99)
    with pytest.raises(SyscallError):
        loaded(builder.build())


def test_copy_of_the_kernels_own_types_is_accepted(loaded):
    # Some types with all that they need, as gen min_core_btf would copy them.
    with open("/sys/kernel/btf/vmlinux", "rb") as file:
        vmlinux = Btf(file.read())
    builder = Builder()
    ids: dict[int, int] = {0: 0}
    waiting = [vmlinux.find("task_struct", 4), function(vmlinux, "vfs_read").id]
    order: list[int] = []
    while waiting:
        id = waiting.pop()
        if id not in ids:
            order.append(id)
            ids[id] = len(order)
            vmlinux_type = vmlinux.type(id)
            Builder().add_type(vmlinux_type, lambda other: waiting.append(other) or 0)
    for id in order:
        assert builder.add_type(vmlinux.type(id), ids.__getitem__) == ids[id]
    data = builder.build()
    assert btf_data(loaded(data)) == data
    copy = Btf(data)
    assert copy.size_of(copy.find("task_struct")) == vmlinux.size_of(vmlinux.find("task_struct", 4))
    assert tracepoint(vmlinux, "sched_switch") is not None


@pytest.mark.differential
def test_map_value_is_what_bpftool_says(loaded):
    bpftool = shutil.which("bpftool")
    if not bpftool:
        pytest.skip("there is no bpftool here")
    builder = Builder()
    u32 = builder.add_int("unsigned int", 4)
    s64 = builder.add_int("long", 8, 1)
    u8 = builder.add_int("unsigned char", 1)
    bool_ = builder.add_int("_Bool", 1, 4)
    pair = builder.add_struct("pair", 8, [("a", u32, 0), ("b", u32, 32, 5), ("c", u32, 37, 27)])
    pairs = builder.add_array(pair, u32, 3)
    raw = builder.add_array(u8, u32, 6)
    value = builder.add_struct(
        "value", 48, [("n", s64, 0), ("p", pairs, 64), ("raw", raw, 256), ("ok", bool_, 304)]
    )
    data = builder.build()
    btf = Btf(data)
    wanted = {
        "n": -5,
        "p": [
            {"a": 1, "b": 31, "c": 7},
            {"a": 2, "b": 3, "c": (1 << 27) - 1},
            {"a": 0, "b": 0, "c": 0},
        ],
        "raw": [1, 2, 3, 250, 251, 255],
        "ok": True,
    }
    fd = bpf.map_create(
        BPF_MAP_TYPE_HASH,
        4,
        48,
        4,
        btf_fd=loaded(data),
        btf_key_type_id=u32,
        btf_value_type_id=value,
    )
    try:
        content = encode(btf, value, wanted)
        assert compile_decoder(btf, value)(content) == wanted
        bpf.map_update_elem(fd, encode(btf, u32, 7), content)
        argv = [bpftool, "-j", "map", "dump", "id", str(map_info(fd).id)]
        done = subprocess.run(argv, check=True, stdout=subprocess.PIPE, timeout=30)
        (entry,) = json.loads(done.stdout)
        assert entry["formatted"]["key"] == 7
        theirs = entry["formatted"]["value"]
        # bpftool writes bit-fields and array elements of one byte in hexadecimal text.
        theirs["raw"] = [int(x, 16) if isinstance(x, str) else x for x in theirs["raw"]]
        for item in theirs["p"]:
            item.update({k: int(v, 16) if isinstance(v, str) else v for k, v in item.items()})
        assert theirs == wanted
    finally:
        os.close(fd)

"""Random map operations by a program, in the kernel and in our interpreter: same results."""

import os
import random
import struct

import pytest

from bpflens.asm.assemble import assemble
from bpflens.asm.fake_map import create
from bpflens.asm.instruction import encode
from bpflens.asm.interpreter import Machine
from bpflens.kernel import bpf as kernel
from bpflens.kernel.memory import Buffer
from bpflens.uapi import bpf

pytestmark = pytest.mark.kernel

# Context: operation, key, value, flags. Operations: 0 lookup, 1 update, 2 delete, 3 add in place.
PROGRAM = """
    r6 = *(u64 *)(r1 + 0)
    r7 = *(u64 *)(r1 + 24)
    r2 = *(u64 *)(r1 + 8)
    *(u64 *)(r10 - 8) = r2
    r2 = *(u64 *)(r1 + 16)
    *(u64 *)(r10 - 16) = r2
    r1 = map[m]
    r2 = r10
    r2 += -8
    if r6 == 1 goto update
    if r6 == 2 goto delete
    call bpf_map_lookup_elem
    if r0 == 0 goto none
    if r6 == 0 goto read
    r1 = *(u64 *)(r10 - 16)
    r1 = atomic64_fetch_add((u64 *)(r0 + 0), r1)
    r0 = r1
    exit
read:
    r0 = *(u64 *)(r0 + 0)
    exit
none:
    r0 = 0xdead
    exit
update:
    r3 = r10
    r3 += -16
    r4 = r7
    call bpf_map_update_elem
    exit
delete:
    call bpf_map_delete_elem
    exit
"""

CASES = {
    "hash": (bpf.BPF_MAP_TYPE_HASH, 8, 0),
    "hash-not-preallocated": (bpf.BPF_MAP_TYPE_HASH, 8, bpf.BPF_F_NO_PREALLOC),
    "percpu_hash": (bpf.BPF_MAP_TYPE_PERCPU_HASH, 8, 0),
    "array": (bpf.BPF_MAP_TYPE_ARRAY, 4, 0),
    "percpu_array": (bpf.BPF_MAP_TYPE_PERCPU_ARRAY, 4, 0),
}


@pytest.mark.parametrize("name", CASES)
def test_maps_answer_as_the_kernels(name):
    map_type, key_size, flags = CASES[name]
    fake = create(map_type, key_size, 8, 4, cpus=os.cpu_count() or 1)
    machine = Machine(assemble(PROGRAM, {"m": 1}), maps={1: fake})
    map_fd = kernel.map_create(map_type, key_size, 8, 4, flags=flags, name="oracle")
    code = encode(assemble(PROGRAM, {"m": map_fd}))
    prog_fd = kernel.prog_load(bpf.BPF_PROG_TYPE_RAW_TRACEPOINT, code, name="oracle")
    try:
        steps = random.Random(name)
        for step in range(400):
            operation = steps.choice((0, 1, 1, 2, 3))
            key, value = steps.randrange(6), steps.getrandbits(64)
            ctx = struct.pack("<4Q", operation, key, value, steps.choice((0, 0, 1, 2, 3, 8)))
            expected = kernel.prog_test_run(
                prog_fd, ctx=ctx, ctx_size_out=0, flags=bpf.BPF_F_TEST_RUN_ON_CPU
            ).retval
            got = machine.run(ctx, cpu=0) & 0xFFFFFFFF
            assert got == expected, f"step {step}: operation {operation} on key {key}"
        for key in range(6):
            assert ours(fake, key) == theirs(map_fd, key, key_size), key
    finally:
        os.close(prog_fd)
        os.close(map_fd)


def ours(fake, key):
    if key not in fake:
        return None
    value = fake[key]
    return value[0] if isinstance(value, list) else value


def theirs(map_fd, key, key_size):
    room = Buffer(8 * 64)  # for as many CPUs
    found = kernel.map_lookup_elem(map_fd, key.to_bytes(key_size, "little"), room)
    return bytes(room.view[:8]) if found else None

"""BPF_PROG_QUERY: room that grows, and kernels that know fewer fields."""

from __future__ import annotations

import errno
import struct

from bpflens.kernel import bpf, memory, object_command, syscall
from bpflens.uapi.bpf import BPF_CGROUP_INET_INGRESS


class Attached:
    """A kernel with ``ids`` attached; ``flags`` says whether it knows a place for their flags."""

    def __init__(self, ids, flags=True):
        self.ids = ids
        self.flags = flags
        self.calls = 0

    def __call__(self, number, command, address, size):
        self.calls += 1
        form = object_command._A_QUERY
        fields = list(form.unpack(memory.peek(address, size)))
        room, count, flags_at = fields[4:7]
        if flags_at and not self.flags:
            return -errno.EINVAL
        fields[3], fields[5] = 2, len(self.ids)
        memory.poke(address, form.pack(*fields))
        if count < len(self.ids):
            return -errno.ENOSPC
        memory.poke(room, struct.pack(f"={len(self.ids)}I", *self.ids))
        if flags_at:
            memory.poke(flags_at, struct.pack(f"={len(self.ids)}I", *[1] * len(self.ids)))
        return 0


def query(kernel):
    with syscall.set_syscall(kernel):
        return bpf.prog_query(5, BPF_CGROUP_INET_INGRESS)


def test_what_is_attached_comes_with_its_flags():
    found = query(Attached([3, 1]))
    assert (found.prog_ids, found.prog_attach_flags, found.attach_flags) == ([3, 1], [1, 1], 2)


def test_the_room_grows_until_all_fit():
    kernel = Attached(list(range(500)))
    assert query(kernel).prog_ids == list(range(500))
    assert kernel.calls == 2


def test_a_kernel_without_flags_is_asked_without():
    kernel = Attached([7], flags=False)
    found = query(kernel)
    assert (found.prog_ids, found.prog_attach_flags) == ([7], [])

"""Programs for tests of attaching: they count how often they ran, and keep their cookie."""

from __future__ import annotations

import os
from types import SimpleNamespace

from bpflens.asm import instruction as i
from bpflens.kernel import bpf
from bpflens.kernel.memory import Buffer
from bpflens.uapi import bpf as k

__all__ = ["Counting", "counting"]

_DW = 0x18


class Counting(SimpleNamespace):
    """A loaded program with its map: ``hits`` and ``cookie`` as the program left them."""

    @property
    def hits(self) -> int:
        return self._word(0)

    @property
    def cookie(self) -> int:
        return self._word(8)

    def _word(self, at: int) -> int:
        value = Buffer(16)
        bpf.map_lookup_elem(self.map_fd, bytes(4), value)
        return int.from_bytes(bytes(value)[at : at + 8], "little")

    def close(self) -> None:
        os.close(self.fd)
        os.close(self.map_fd)


def counting(type: int, *, own_pid: bool = False, cookie: bool = False, result: int = 0, **load):
    """Load a program that counts its runs (in this process only, with ``own_pid``)."""
    map_fd = bpf.map_create(k.BPF_MAP_TYPE_ARRAY, 4, 16, 1, name="hits")
    body = [
        i.ld_imm64(6, map_fd, k.BPF_PSEUDO_MAP_VALUE),
        i.mov64_imm(1, 1),
        i.atomic(_DW, k.BPF_ADD, 6, 0, 1),
    ]
    if cookie:
        body = [i.mov64_reg(7, 1), *body, i.mov64_reg(1, 7),
                i.call_helper(k.BPF_FUNC_get_attach_cookie), i.stx(_DW, 6, 8, 0)]  # fmt: skip
    if own_pid:
        size = len(i.encode(body)) // 8
        body = [
            i.mov64_reg(8, 1),
            i.call_helper(k.BPF_FUNC_get_current_pid_tgid),
            i.alu64_imm(k.BPF_RSH, 0, 32),
            i.mov64_reg(1, 8),
            i.jmp_imm(k.BPF_JNE, 0, os.getpid(), size),
            *body,
        ]
    insns = [*body, i.mov64_imm(0, result), i.exit_()]
    try:
        fd = bpf.prog_load(type, i.encode(insns), name="counting", **load)
    except BaseException:
        os.close(map_fd)
        raise
    return Counting(fd=fd, map_fd=map_fd)

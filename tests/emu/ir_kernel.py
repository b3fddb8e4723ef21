"""Runs the random programs of :mod:`emu.ir_program` in the real kernel, as raw tracepoints."""

from __future__ import annotations

import os
import struct

from bpflens.kernel import bpf
from bpflens.kernel.memory import Buffer
from bpflens.uapi.bpf import BPF_MAP_TYPE_ARRAY, BPF_PROG_TYPE_RAW_TRACEPOINT
from emu.ir_program import DATA_SIZE, TABLE_ENTRIES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.lang.ir.emit import EmittedProgram


def run(program: EmittedProgram, ctx: bytes) -> tuple[int, bytes, bytes]:
    """Load and run a program once; return its result (32 bits) and the contents of its maps."""
    fds = {
        "DATA": bpf.map_create(BPF_MAP_TYPE_ARRAY, 4, DATA_SIZE, 1, name="DATA"),
        "TABLE": bpf.map_create(BPF_MAP_TYPE_ARRAY, 4, 16, TABLE_ENTRIES, name="TABLE"),
    }
    try:
        code = bytearray(program.insns)
        for reloc in program.relocs:
            struct.pack_into("<I", code, 8 * reloc.insn + 4, fds[reloc.name])
        fd = bpf.prog_load(BPF_PROG_TYPE_RAW_TRACEPOINT, bytes(code), name="ir")
        try:
            result = bpf.prog_test_run(fd, ctx=ctx, ctx_size_out=0).retval
        finally:
            os.close(fd)
        return (
            result,
            _value(fds["DATA"], 0, DATA_SIZE),
            b"".join(_value(fds["TABLE"], index, 16) for index in range(TABLE_ENTRIES)),
        )
    finally:
        for each in fds.values():
            os.close(each)


def _value(fd: int, index: int, size: int) -> bytes:
    value = Buffer(size)
    assert bpf.map_lookup_elem(fd, index.to_bytes(4, "little"), value)
    return bytes(value)

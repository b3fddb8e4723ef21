"""Random programs compute the same in the evaluator, in the interpreter, at all levels."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bpflens.asm.fake_map import FakeArray
from bpflens.asm.interpreter import Machine, link
from bpflens.asm.memory import Memory
from bpflens.lang.ir.pipeline import compile_program
from bpflens.uapi.bpf import BPF_MAP_TYPE_ARRAY
from emu.ir_evaluator import Evaluator, Pointer, Value, number
from emu.ir_program import CTX_SIZE, DATA_SIZE, LOOKUP, PID_TGID, TABLE_ENTRIES, UID_GID, make

PID = 0x0000123400005678
UID = 0x0000000100000002
CTX = bytes((i * 37 + 11) & 0xFF for i in range(CTX_SIZE))


def evaluate(seed: int, size: int, pid: int = PID, uid: int = UID) -> tuple[int, bytes, bytes]:
    data = bytearray(DATA_SIZE)
    table = [bytearray(16) for _ in range(TABLE_ENTRIES)]

    def lookup(name: Value, key: Value) -> Value:
        assert name == "TABLE"
        assert isinstance(key, Pointer)
        index = int.from_bytes(key.read(4), "little")
        return Pointer(table[index]) if index < TABLE_ENTRIES else 0

    helpers = {PID_TGID: lambda: pid, UID_GID: lambda: uid, LOOKUP: lookup}
    evaluator = Evaluator({"DATA": data}, helpers)
    result = evaluator.run(make(seed, size)[0], Pointer(bytearray(CTX)))
    return number(result), bytes(data), b"".join(table)


def interpret(seed: int, size: int, cpu: int, level: int) -> tuple[int, bytes, bytes]:
    program = compile_program(make(seed, size), cpu=cpu, level=level, check=True)
    data = FakeArray(BPF_MAP_TYPE_ARRAY, 4, DATA_SIZE, 1)
    table = FakeArray(BPF_MAP_TYPE_ARRAY, 4, 16, TABLE_ENTRIES)
    insns, maps = link(program.insns, program.relocs, {"DATA": data, "TABLE": table})

    def lookup(machine: Machine, handle: int, key: int, *_: int) -> int:
        return machine.map(handle).lookup(machine.memory.read(key, 4), 0)

    memory = Memory()
    for fake in (data, table):
        fake.bind(memory)
    machine = Machine(
        insns,
        maps=maps,
        memory=memory,
        helpers={PID_TGID: lambda *_: PID, UID_GID: lambda *_: UID, LOOKUP: lookup},
    )
    result = machine.run(CTX)
    entries = b"".join(bytes(table[index]) for index in range(TABLE_ENTRIES))  # type: ignore[arg-type]
    return result, bytes(data[0]), entries  # type: ignore[arg-type]


@pytest.mark.parametrize("cpu", [3, 4])
@pytest.mark.parametrize("level", [0, 1])
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 1 << 32), size=st.integers(1, 60))
def test_compiled_program_computes_what_the_representation_says(
    level: int, cpu: int, seed: int, size: int
) -> None:
    assert interpret(seed, size, cpu, level) == evaluate(seed, size)


@pytest.mark.parametrize("seed", range(3))
def test_large_programs_with_many_live_values(seed: int) -> None:
    assert interpret(seed, 600, 3, 1) == evaluate(seed, 600)

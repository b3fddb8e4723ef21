"""The kernel's verifier takes random programs, and they compute there what they should."""

from __future__ import annotations

import os
import threading

import pytest

from bpflens.lang.ir.pipeline import compile_program
from emu.ir_kernel import run
from emu.ir_program import make
from emu.test_ir_random import CTX, evaluate

pytestmark = pytest.mark.kernel


def expected(seed: int, size: int) -> tuple[int, bytes, bytes]:
    pid = os.getpid() << 32 | threading.get_native_id()
    result, data, table = evaluate(seed, size, pid, os.getgid() << 32 | os.getuid())
    return result & 0xFFFFFFFF, data, table


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("cpu", [3, 4])
@pytest.mark.parametrize("first", [0, 1000, 2000, 3000])
def test_the_verifier_accepts_random_programs_and_they_are_right(
    first: int, cpu: int, level: int
) -> None:
    for seed in range(first, first + 15):
        program = compile_program(make(seed, 40), cpu=cpu, level=level, check=True)
        assert run(program, CTX) == expected(seed, 40), f"seed {seed}"

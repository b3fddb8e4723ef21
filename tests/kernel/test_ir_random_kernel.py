"""The kernel's verifier takes random programs, and they compute there what they should."""

from __future__ import annotations

import os
import threading

import pytest

from bpflens.kernel.feature import has
from bpflens.lang.ir.builder import Builder
from bpflens.lang.ir.ops import Function
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
    if cpu == 4 and not has("cpu_v4"):
        pytest.skip("no instruction set version 4")
    for seed in range(first, first + 15):
        program = compile_program(make(seed, 40), cpu=cpu, level=level, check=True)
        assert run(program, CTX) == expected(seed, 40), f"seed {seed}"


def test_a_loop_on_the_kernel_s_budget() -> None:
    if not has("may_goto"):
        pytest.skip("no may_goto")
    fn = Function("loop")
    b = Builder(fn)
    total = b.new()
    b.assign(total, 0)
    head, body, end = b.block("head"), b.block("body"), b.block("end")
    limit = b.load(fn.ctx, 0, 4)
    b.jump(head)
    b.set_block(head)
    b.may_goto(body, end)
    b.set_block(body)
    b.assign(total, b.alu("add", total, 1))
    b.branch("ge", total, limit, end, head)
    b.set_block(end)
    b.ret(total)
    program = compile_program([fn], check=True)
    assert run(program, (1000).to_bytes(8, "little"))[0] == 1000

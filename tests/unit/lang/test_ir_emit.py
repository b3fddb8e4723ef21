"""Instructions, registers and frames of small functions, as a disassembler shows them."""

from __future__ import annotations

import pytest

from bpflens.asm.disassemble import disassemble
from bpflens.asm.instruction import decode
from bpflens.asm.interpreter import Machine
from bpflens.lang.ir.builder import Builder
from bpflens.lang.ir.frame import FrameTooLarge
from bpflens.lang.ir.ops import Function, IrError, Reg
from bpflens.lang.ir.pipeline import compile_program
from bpflens.spec import Reloc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from bpflens.lang.ir.emit import EmittedProgram


def program(build: Callable[[Function, Builder], Reg | int | None], **named: int) -> EmittedProgram:
    fn = Function("f")
    b = Builder(fn)
    result = build(fn, b)
    if not b.terminated:
        b.ret(0 if result is None else result)
    return compile_program([fn], check=True, **named)  # type: ignore[arg-type]


def text(build: Callable[[Function, Builder], Reg | int | None], **named: int) -> list[str]:
    return disassemble(decode(program(build, **named).insns))


def count(fn: Function, b: Builder) -> None:
    key = fn.slot(4, 4, "key")
    b.store(key, 0, 0, 4)
    value = b.call(1, b.map_fd("AT_"), b.slot_addr(key))
    found, done = b.block("found"), b.block("done")
    b.branch("ne", value, 0, found, done)
    b.set_block(found)
    b.store(value, 0, b.alu("add", b.load(value, 0, 8), 1), 8)
    b.jump(done)
    b.set_block(done)
    b.exit(0)


def test_count_is_what_one_would_write_by_hand() -> None:
    assert text(count) == [
        "(62) *(u32 *)(r10 -4) = 0",
        "(18) r1 = 0x0",
        "(bf) r2 = r10",
        "(07) r2 += -4",
        "(85) call bpf_map_lookup_elem#1",
        "(15) if r0 == 0x0 goto pc+3",
        "(79) r5 = *(u64 *)(r0 +0)",
        "(07) r5 += 1",
        "(7b) *(u64 *)(r0 +0) = r5",
        "(b7) r0 = 0",
        "(95) exit",
    ]
    assert program(count).relocs == [Reloc(1, "map", "AT_")]


def test_the_context_stays_where_it_comes_in_unless_a_call_intervenes() -> None:
    assert text(lambda f, b: b.load(f.ctx, 8, 4)) == ["(61) r0 = *(u32 *)(r1 +8)", "(95) exit"]

    def after_a_call(f: Function, b: Builder) -> Reg:
        b.call(6)
        return b.load(f.ctx, 8, 4)

    assert text(after_a_call) == [
        "(bf) r6 = r1",
        "(85) call bpf_trace_printk#6",
        "(61) r0 = *(u32 *)(r6 +8)",
        "(95) exit",
    ]


@pytest.mark.parametrize(
    ("value", "lines"),
    [
        (0, ["(b7) r0 = 0"]),
        (-1, ["(b7) r0 = -1"]),
        (0x7FFFFFFF, ["(b7) r0 = 2147483647"]),
        (0x80000000, ["(b4) w0 = -2147483648"]),
        (0xFFFFFFFF, ["(b4) w0 = -1"]),
        (-0x80000000, ["(b7) r0 = -2147483648"]),
        (0x100000000, ["(18) r0 = 0x100000000"]),
        (-0x80000001, ["(18) r0 = 0xffffffff7fffffff"]),
        ((1 << 64) - 2, ["(b7) r0 = -2"]),
    ],
)
def test_constants_in_the_shortest_form(value: int, lines: list[str]) -> None:
    assert text(lambda f, b: value) == [*lines, "(95) exit"]


def test_arguments_are_computed_in_place_and_swapped_if_need_be() -> None:
    sub = Function("sub", 2)
    b = Builder(sub)
    b.ret(b.alu("sub", *sub.params))
    main = Function("main", 0)
    b = Builder(main)
    first = b.call(5)
    second = b.call(5)
    b.ret(b.call_func(sub, second, first))
    result = compile_program([main, sub], check=True)
    lines = disassemble(decode(result.insns))
    assert lines[:6] == [
        "(85) call bpf_ktime_get_ns#5",
        "(bf) r6 = r0",
        "(85) call bpf_ktime_get_ns#5",
        "(bf) r1 = r0",
        "(bf) r2 = r6",
        "(85) call pc+1",
    ]
    assert result.funcs == [(0, "main"), (7, "sub")]
    clock = iter((100, 130))
    machine = Machine(result.insns, helpers={5: lambda *_: next(clock)})
    assert machine.run() == 30


def test_parameters_change_places_on_entry() -> None:
    turn = Function("turn", 5)
    b = Builder(turn)
    weighted = b.const(0)
    for weight, param in enumerate(turn.params):
        weighted = b.alu("add", b.alu("mul", weighted, 10), b.alu("add", param, weight * 0))
    b.ret(weighted)
    outer = Function("outer", 5)
    b = Builder(outer)
    b.ret(b.call_func(turn, *reversed(outer.params)))
    main = Function("main", 1)
    b = Builder(main)
    b.ret(b.call_func(outer, 1, 2, 3, 4, 5))
    assert Machine(compile_program([main, outer, turn], check=True).insns).run() == 54321


def test_operations_of_version_4_are_spelt_out_for_version_3() -> None:
    def divide(f: Function, b: Builder) -> Reg:
        return b.alu("sdiv", b.load(f.ctx, 0, 8), b.load(f.ctx, 8, 4, signed=True))

    assert text(divide, cpu=4) == [
        "(79) r0 = *(u64 *)(r1 +0)",
        "(81) r5 = *(s32 *)(r1 +8)",
        "(3f) r0 s/= r5",
        "(95) exit",
    ]
    old = program(divide, cpu=3).insns
    for a in (-100, 100, 7, -(1 << 63)):
        for c in (7, -7, -1, 0, 1):
            quotient = abs(a) // abs(c) * (1 if (a < 0) == (c < 0) else -1) if c else 0
            ctx = a.to_bytes(8, "little", signed=True) + c.to_bytes(8, "little", signed=True)
            assert Machine(old).run(ctx) == quotient & (1 << 64) - 1, (a, c)


def test_a_truth_value_takes_three_instructions_and_a_branch_on_it_one() -> None:
    assert text(lambda f, b: b.bool_("gt", b.load(f.ctx, 0, 8), 5)) == [
        "(79) r5 = *(u64 *)(r1 +0)",
        "(b7) r0 = 1",
        "(25) if r5 > 0x5 goto pc+1",
        "(b7) r0 = 0",
        "(95) exit",
    ]


def test_loops_count_in_one_register() -> None:
    def loop(f: Function, b: Builder) -> Reg:
        i, total = b.new("i"), b.new("total")
        b.assign(i, 0)
        b.assign(total, 0)
        head, body, end = b.block("head"), b.block("body"), b.block("end")
        b.jump(head)
        b.set_block(head)
        b.branch("lt", i, 10, body, end)
        b.set_block(body)
        b.assign(total, b.alu("add", total, i))
        b.assign(i, b.alu("add", i, 1))
        b.jump(head)
        b.set_block(end)
        return total

    lines = text(loop)
    assert lines[2:] == [
        "(0f) r0 += r5",
        "(07) r5 += 1",
        "(a5) if r5 < 0xa goto pc-3",
        "(95) exit",
    ]
    assert Machine(program(loop).insns).run() == 45


def test_maps_functions_and_kernel_names_are_left_to_the_loader() -> None:
    callback = Function("callback", 2)
    b = Builder(callback)
    b.ret(0)
    fn = Function("main")
    b = Builder(fn)
    value = b.map_value("M", 0)
    b.store(value, 8, b.load(value, 16, 8), 8)
    b.call(181, 4, b.func_addr(callback), 0, 0)
    b.kfunc("bpf_rcu_read_lock")
    b.ret(b.load(b.ksym("jiffies"), 0, 8))
    result = compile_program([fn, callback], check=True)
    assert result.relocs == [
        Reloc(0, "map_value", "M"),
        Reloc(10, "kfunc", "bpf_rcu_read_lock"),
        Reloc(11, "ksym", "jiffies"),
    ]
    insns = decode(result.insns)
    reference = next(insn for insn in insns if insn.wide and insn.src == 4)
    slot = result.funcs[1][0]
    assert result.funcs == [(0, "main"), (slot, "callback")]
    assert 5 + 1 + (reference.imm & 0xFFFFFFFF) == slot


def test_functions_nobody_refers_to_are_left_out() -> None:
    fn, spare = Function("main"), Function("spare", 0)
    Builder(spare).ret(0)
    b = Builder(fn)
    b.ret(1)
    b.call_func(spare)  # never reached
    b.ret(2)
    assert compile_program([fn, spare], check=True).funcs == [(0, "main")]


def test_a_function_that_is_not_part_of_the_program_is_a_mistake() -> None:
    fn, spare = Function("main"), Function("spare", 0)
    Builder(spare).ret(0)
    b = Builder(fn)
    b.ret(b.call_func(spare))
    with pytest.raises(IrError, match="spare"):
        compile_program([fn])


def test_positions_lead_back_to_the_script() -> None:
    def build(f: Function, b: Builder) -> None:
        b.at(10)
        b.call(6)
        b.at(20)
        b.call(6)
        b.call(6)
        b.at(30)
        b.ret(0)

    assert program(build).positions == [(0, 10), (1, 20), (3, 30)]


def test_slots_that_are_never_in_use_together_share_their_bytes() -> None:
    fn = Function("f")
    b = Builder(fn)
    for _ in range(10):
        slot = fn.slot(200)
        b.zero(slot, 0, 200)
        b.call(9, b.slot_addr(slot))
    b.ret(0)
    lines = disassemble(decode(compile_program([fn], check=True).insns))
    assert lines.count("(07) r1 += -200") == 10


def test_a_frame_too_large_is_reported_with_its_size() -> None:
    def build(f: Function, b: Builder) -> None:
        slots = [f.slot(200) for _ in range(3)]
        for slot in slots:
            b.zero(slot, 0, 200)
        b.call(9, *[b.slot_addr(slot) for slot in slots])

    with pytest.raises(FrameTooLarge) as caught:
        program(build)
    assert caught.value.size == 600


def test_frames_of_a_chain_of_calls_add_up() -> None:
    def frame(name: str, callee: Function | None) -> Function:
        fn = Function(name, 0)
        b = Builder(fn)
        slot = fn.slot(250)
        b.zero(slot, 0, 248)
        b.call(9, b.slot_addr(slot))
        b.ret(b.call_func(callee) if callee else 0)
        return fn

    leaf = frame("leaf", None)
    compile_program([frame("main", leaf), leaf], check=True)
    leaf = frame("leaf", None)
    middle = frame("middle", leaf)
    with pytest.raises(FrameTooLarge, match="main → middle → leaf"):
        compile_program([frame("main", middle), middle, leaf], check=True)


def test_jumps_further_than_sixteen_bits() -> None:
    def build(f: Function, b: Builder) -> None:
        body, end = b.block("body"), b.block("end")
        b.branch("eq", b.load(f.ctx, 0, 8), 1, body, end)
        b.set_block(body)
        at = b.load(f.ctx, 8, 8)
        for offset in range(0x9000):
            b.store(at, 8 * (offset % 4000), 1, 8)
        b.jump(end)
        b.set_block(end)
        b.ret(b.load(f.ctx, 16, 8))

    insns = decode(program(build, cpu=4).insns)
    wide = [insn for insn in insns if insn.op == 0x06]
    assert wide
    result = Machine(program(build, cpu=4).insns).run(bytes(16) + (77).to_bytes(8, "little"))
    assert result == 77


def test_far_jumps_need_version_4() -> None:
    def build(f: Function, b: Builder) -> None:
        body, end = b.block("body"), b.block("end")
        b.branch("eq", b.load(f.ctx, 0, 8), 1, body, end)
        b.set_block(body)
        at = b.load(f.ctx, 8, 8)
        for offset in range(0x9000):
            b.store(at, 8 * (offset % 4000), 1, 8)
        b.jump(end)
        b.set_block(end)
        b.ret(b.load(f.ctx, 16, 8))

    with pytest.raises(IrError, match="too far"):
        program(build, cpu=3)


def test_offsets_further_than_sixteen_bits() -> None:
    lines = text(lambda f, b: b.load(b.call(7), 0x12345, 8))
    assert lines[1:] == ["(07) r0 += 74565", "(79) r0 = *(u64 *)(r0 +0)", "(95) exit"]


def test_more_values_than_registers_go_to_the_stack_and_come_back() -> None:
    def build(f: Function, b: Builder) -> Reg:
        values = [b.call(5) for _ in range(12)]
        total = b.const(0)
        for weight, value in enumerate(values):
            total = b.alu("add", total, b.alu("mul", value, weight + 1))
        return total

    result = program(build)
    clock = iter(range(1, 13))
    machine = Machine(result.insns, helpers={5: lambda *_: next(clock)})
    assert machine.run() == sum(n * n for n in range(1, 13))


def test_atomic_operations_that_give_the_old_value() -> None:
    def build(f: Function, b: Builder) -> Reg:
        slot = f.slot(8)
        b.store(slot, 0, 40, 8)
        old = b.cmpxchg(slot, 0, 40, 50, 8)
        same = b.cmpxchg(slot, 0, 40, 60, 8)
        added = b.atomic("add", slot, 0, 5, 8, fetch=True)
        assert added is not None
        swapped = b.atomic("xchg", slot, 0, 9, 8)
        assert swapped is not None
        b.atomic("or", slot, 0, 16, 8)
        total = b.load(slot, 0, 8)
        for part in (old, same, added, swapped):
            total = b.alu("add", b.alu("mul", total, 100), part)
        return total

    assert Machine(program(build).insns).run() == 25_40_50_50_55


def test_loops_on_the_kernel_s_budget_end() -> None:
    def build(f: Function, b: Builder) -> Reg:
        total = b.new()
        b.assign(total, 0)
        body, end = b.block("body"), b.block("end")
        b.may_goto(body, end)
        b.set_block(body)
        b.assign(total, b.alu("add", total, 1))
        b.may_goto(body, end)
        b.set_block(end)
        return total

    assert Machine(program(build).insns, may_goto_budget=100).run() == 100


def test_ten_thousand_operations_take_seconds_at_most() -> None:
    import time

    def build(f: Function, b: Builder) -> Reg:
        values = [b.load(f.ctx, 8 * n, 8) for n in range(8)]
        for n in range(2500):
            value = b.alu(("add", "mul", "xor")[n % 3], values[n % 8], values[(3 * n + 1) % 8])
            values[n % 8] = value
            then, after = b.block("then"), b.block("after")
            b.branch("gt", value, n, then, after)
            b.set_block(then)
            b.store(b.map_value("M"), 8 * (n % 8), value, 8)
            b.jump(after)
            b.set_block(after)
            if n % 50 == 0:
                values[n % 8] = b.call(7)
        total = values[0]
        for value in values:
            total = b.alu("add", total, value)
        return total

    start = time.process_time()
    assert len(program(build).insns) > 8 * 5000
    assert time.process_time() - start < 20

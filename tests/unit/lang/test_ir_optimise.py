"""What the passes make of small functions; their meaning is for the random programs."""

from __future__ import annotations

import pytest

from bpflens.lang.ir.builder import Builder
from bpflens.lang.ir.ops import Function, Reg
from bpflens.lang.ir.optimise import optimise
from bpflens.lang.ir.optimise.arithmetic import compute, holds, sign_extend
from bpflens.lang.ir.print import format_function

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def optimised(build: Callable[[Function, Builder], Reg | int | None]) -> str:
    """The lines of the optimised function, without its head and the name of the entry."""
    fn = Function("f")
    b = Builder(fn)
    result = build(fn, b)
    if not b.terminated:
        b.ret(0 if result is None else result)
    optimise(fn, check=True)
    lines = [line.strip() for line in format_function(fn).splitlines()[1:]]
    return "\n".join(line for line in lines if line != "entry:" and not line.startswith("slot "))


def num(b: Builder) -> Reg:
    """Some number that is not known."""
    return b.call(7)


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda f, b: b.alu("mul", b.alu("add", b.const(2), 3), 4), "ret 20"),
        (lambda f, b: b.alu("div", -1, 2), f"ret {(1 << 63) - 1}"),
        (lambda f, b: b.sext(0x80, 8), "ret -128"),
        (lambda f, b: b.zext(-1, 16), "ret 65535"),
        (lambda f, b: b.bswap(0x1234, 16), "ret 13330"),
        (lambda f, b: b.neg(1, 32), "ret 4294967295"),
        (lambda f, b: b.bool_("lt", 1, -1), "ret 1"),
        (lambda f, b: b.bool_("slt", 1, -1), "ret 0"),
    ],
    ids=["chain", "div", "sext", "zext", "bswap", "neg", "lt", "slt"],
)
def test_constants_are_computed(build: Callable[..., Reg], text: str) -> None:
    assert optimised(build) == text


@pytest.mark.parametrize(
    ("operator", "number", "text"),
    [
        ("add", 0, "ret %0"),
        ("mul", 1, "ret %0"),
        ("mul", 0, "ret 0"),
        ("and", -1, "ret %0"),
        ("and", 0, "ret 0"),
        ("mul", 8, "%1 = lsh %0, 3\nret %1"),
        ("div", 8, "%1 = rsh %0, 3\nret %1"),
        ("mod", 8, "%1 = and %0, 7\nret %1"),
        ("mod", 1, "ret 0"),
        ("mul", -1, "%1 = neg64 %0\nret %1"),
        ("sub", 5, "%1 = add %0, -5\nret %1"),
        ("and", 0xFFFFFFFF, "%1 = zext32 %0\nret %1"),
        ("sdiv", 8, "%1 = sdiv %0, 8\nret %1"),
        ("div", 0, "%1 = div %0, 0\nret %1"),
    ],
)
def test_arithmetic_with_a_number(operator: str, number: int, text: str) -> None:
    assert optimised(lambda f, b: b.alu(operator, num(b), number)) == f"%0 = call 7()\n{text}"


def test_a_number_on_the_left_changes_sides() -> None:
    assert (
        optimised(lambda f, b: b.alu("add", 3, num(b))) == "%0 = call 7()\n%1 = add %0, 3\nret %1"
    )


def test_what_a_load_cannot_have_is_not_masked_out() -> None:
    assert optimised(lambda f, b: b.alu("and", b.load(f.ctx, 0, 1), 0xFF)) == (
        "%0 = load1 [%ctx]\nret %0"
    )
    assert optimised(lambda f, b: b.zext(b.alu("rsh", num(b), 40), 32)) == (
        "%0 = call 7()\n%1 = rsh %0, 40\nret %1"
    )


def test_a_bound_that_the_verifier_cannot_see_stays() -> None:
    # The quotient is below 16, but the verifier gives up at a division.
    text = optimised(lambda f, b: b.alu("and", b.alu("div", 8, num(b)), 15))
    assert "and %1, 15" in text


def test_additions_are_joined_unless_somebody_looks_between() -> None:
    def plain(f: Function, b: Builder) -> Reg:
        return b.alu("add", b.alu("add", num(b), 3), 4)

    def looked_at(f: Function, b: Builder) -> None:
        y = b.alu("add", num(b), 3)
        one, two = b.block("one"), b.block("two")
        b.branch("lt", y, 10, one, two)
        b.set_block(one)
        b.ret(b.alu("add", y, 4))
        b.set_block(two)
        b.ret(0)

    assert optimised(plain) == "%0 = call 7()\n%1 = add %0, 7\nret %1"
    assert "add %1, 4" in optimised(looked_at)


def test_additions_go_into_addresses() -> None:
    def build(f: Function, b: Builder) -> Reg:
        at = b.alu("add", b.alu("add", num(b), 8), 8)
        b.store(at, -4, b.load(at, 100, 8), 4)
        return b.load(b.alu("add", f.ctx, 0x7FFF), 2, 8)

    assert optimised(build) == (
        "%0 = call 7()\n%1 = load8 [%0 + 116]\nstore4 [%0 + 12], %1\n"
        "%2 = add %ctx, 32767\n%3 = load8 [%2 + 2]\nret %3"
    )


def test_addresses_of_slots_and_values_absorb_numbers() -> None:
    def build(f: Function, b: Builder) -> None:
        slot = f.slot(16, 8, "s")
        at = b.alu("add", b.slot_addr(slot), 8)
        b.store(at, 0, num(b), 8)
        b.call(9, at, b.alu("add", b.map_value("M", 4), 12))

    assert optimised(build).splitlines() == [
        "%0 = &$s + 8", "%1 = call 7()", "store8 [$s + 8], %1", "%2 = map_value M + 16",
        "%3 = call 9(%0, %2)", "ret 0",
    ]  # fmt: skip


def test_a_comparison_is_not_made_twice() -> None:
    def build(f: Function, b: Builder) -> None:
        yes, no = b.block("yes"), b.block("no")
        truth = b.bool_("slt", num(b), 5)
        b.branch("eq", b.bool_("eq", truth, 0), 0, yes, no)
        b.set_block(yes)
        b.ret(1)
        b.set_block(no)
        b.ret(2)

    assert optimised(build).startswith("%0 = call 7()\nbranch slt %0, 5 ? yes : no")


def test_a_comparison_of_a_variable_that_changed_is_kept() -> None:
    def build(f: Function, b: Builder) -> None:
        yes, no = b.block("yes"), b.block("no")
        x = b.new()
        b.assign(x, num(b))
        truth = b.bool_("slt", x, 5)
        b.assign(x, num(b))
        b.branch("ne", truth, 0, yes, no)
        b.set_block(yes)
        b.ret(x)
        b.set_block(no)
        b.ret(2)

    assert "bool slt" in optimised(build)


@pytest.mark.parametrize(("asked", "first"), [("ne", "yes"), ("eq", "no")])
def test_bits_are_tested_in_place(asked: str, first: str) -> None:
    def build(f: Function, b: Builder) -> None:
        yes, no = b.block("yes"), b.block("no")
        b.branch(asked, b.alu("and", num(b), 6), 0, yes, no)
        for block in (yes, no):
            b.set_block(block)
            b.ret(block.n)

    assert f"branch set %0, 6 ? {first} :" in optimised(build)


def test_halves_of_what_may_be_a_pointer_are_left_alone() -> None:
    def build(f: Function, b: Builder) -> None:
        slot = f.slot(8, 8, "s")
        b.store(slot, 0, b.zext(b.load(f.ctx, 0, 8), 32), 4)
        b.store(slot, 4, b.zext(b.call(14), 32), 4)
        b.call(9, b.slot_addr(slot))

    text = optimised(build)
    assert text.count("zext32") == 1
    assert "%2 = call 14()\nstore4 [$s + 4], %2" in text


def test_truth_values_do_not_travel_through_memory() -> None:
    """What && leaves behind: a variable set on each arm and looked at where they meet."""

    def build(f: Function, b: Builder) -> None:
        truth = b.new()
        second, good, bad, meet = (
            b.block("second"),
            b.block("good"),
            b.block("bad"),
            b.block("meet"),
        )
        yes, no = b.block("yes"), b.block("no")
        b.branch("gt", num(b), 1, second, bad)
        b.set_block(second)
        b.branch("gt", num(b), 2, good, bad)
        for block, value in ((good, 1), (bad, 0)):
            b.set_block(block)
            b.assign(truth, value)
            b.jump(meet)
        b.set_block(meet)
        b.branch("ne", truth, 0, yes, no)
        b.set_block(yes)
        b.ret(num(b))
        b.set_block(no)
        b.ret(0)

    assert optimised(build) == (
        "%0 = call 7()\nbranch gt %0, 1 ? second : bad\nsecond:\n%1 = call 7()\n"
        "branch gt %1, 2 ? good : bad\ngood:\n%2 = call 7()\nret %2\nbad:\nret 0"
    )


def test_dead_values_and_questions_go_but_effects_stay() -> None:
    def build(f: Function, b: Builder) -> None:
        b.alu("add", b.load(f.ctx, 0, 8), b.call(14))
        b.call(6)
        x = b.new()
        b.assign(x, 1)
        b.assign(x, b.load(f.ctx, 8, 8))
        b.assign(x, 2)

    assert optimised(build) == "%0 = call 6()\nret 0"


def test_bytes_stored_twice_are_stored_once() -> None:
    def build(f: Function, b: Builder) -> None:
        key = f.slot(16, 8, "key")
        b.zero(key, 0, 16)
        b.store(key, 0, num(b), 4)
        b.store(key, 8, num(b), 8)
        b.call(9, b.slot_addr(key))
        b.store(key, 0, 5, 8)

    # The first zero still fills the padding, nothing reads the last store.
    assert [line for line in optimised(build).splitlines() if line.startswith("store")] == [
        "store8 [$key], 0", "store4 [$key], %0", "store8 [$key + 8], %1",
    ]  # fmt: skip


def test_a_slot_whose_address_is_stored_is_never_dead() -> None:
    def build(f: Function, b: Builder) -> None:
        data, holder = f.slot(8, 8, "data"), f.slot(8, 8, "holder")
        b.store(holder, 0, b.slot_addr(data), 8)
        b.store(data, 0, 5, 8)
        b.call(181, b.slot_addr(holder))

    assert "store8 [$data], 5" in optimised(build)


def test_private_slots_and_the_context_are_read_once() -> None:
    def build(f: Function, b: Builder) -> Reg:
        slot = f.slot(8)
        b.store(slot, 0, num(b), 8)
        b.call(6)
        first = b.alu("add", b.load(slot, 0, 8), b.load(f.ctx, 8, 8))
        return b.alu("add", first, b.load(f.ctx, 8, 8))

    assert optimised(build) == (
        "%0 = call 7()\n%1 = call 6()\n%2 = load8 [%ctx + 8]\n%3 = add %0, %2\n"
        "%4 = add %3, %2\nret %4"
    )


def test_other_memory_is_read_as_often_as_written() -> None:
    def build(f: Function, b: Builder) -> Reg:
        at = num(b)
        return b.alu("add", b.load(at, 8, 8), b.load(at, 8, 8))

    assert optimised(build).count("load8") == 2


def test_who_runs_is_asked_once_what_time_it_is_as_often_as_written() -> None:
    def build(f: Function, b: Builder) -> Reg:
        task = b.alu("add", b.call(14), b.call(14))
        return b.alu("add", task, b.alu("sub", b.call(5), b.call(5)))

    text = optimised(build)
    assert text.count("call 14") == 1
    assert text.count("call 5") == 2


def test_cold_blocks_come_last() -> None:
    def build(f: Function, b: Builder) -> None:
        cold, deeper, done = b.block("cold", cold=True), b.block("deeper"), b.block("done")
        b.branch("eq", num(b), 0, cold, done)
        b.set_block(cold)
        b.branch("eq", num(b), 0, deeper, done)
        b.set_block(deeper)
        b.call(6)
        b.jump(done)
        b.set_block(done)
        b.ret(num(b))

    text = optimised(build)
    assert [line for line in text.splitlines() if ":" in line and "?" not in line] == [
        "done:", "cold: (cold)", "deeper: (cold)",
    ]  # fmt: skip


@pytest.mark.parametrize("bits", [32, 64])
def test_the_arithmetic_of_numbers_is_that_of_the_machine(bits: int) -> None:
    low = -1 << (bits - 1)
    mask = (1 << bits) - 1
    assert compute("sdiv", low, -1, bits) == sign_extend(low & mask)
    assert compute("smod", -7, 3, bits) == sign_extend(-1 & mask)
    assert compute("sdiv", -7, 2, bits) == sign_extend(-3 & mask)
    assert compute("sdiv", 7, 0, bits) == 0
    assert compute("smod", 7, 0, bits) == compute("mod", 7, 0, bits) == 7
    assert compute("lsh", 1, bits + 1, bits) == 2
    assert compute("arsh", -8, 1, bits) == sign_extend(-4 & mask)
    assert holds("sgt", 1, -1, bits)
    assert not holds("gt", 1, -1, bits)
    assert holds("set", 6, 2, bits)
    assert holds("eq", 0, 1 << 32, bits) is (bits == 32)

"""The builder appends what it says, refuses what makes no sense, and the printer shows it."""

from __future__ import annotations

import pytest

from bpflens.lang.ir.builder import Builder
from bpflens.lang.ir.check import check_function
from bpflens.lang.ir.ops import Block, Function, IrError, Op, Terminator
from bpflens.lang.ir.print import format_function, format_program

COUNT = """\
func count(%ctx)
  slot $key: 4 align 4
entry:
  store4 [$key], 0
  %0 = map_fd AT_
  %1 = &$key
  %2 = call 1(%0, %1)
  branch ne %2, 0 ? found : done
found:
  %3 = load8 [%2]
  %4 = add %3, 1
  store8 [%2], %4
  jump done
missing: (cold)
  ret 1
done:
  ret 0
"""


def count() -> Function:
    fn = Function("count")
    b = Builder(fn)
    key = fn.slot(4, 4, "key")
    b.store(key, 0, 0, 4)
    value = b.call(1, b.map_fd("AT_"), b.slot_addr(key))
    found, missing, done = b.block("found"), b.block("missing", cold=True), b.block("done")
    b.branch("ne", value, 0, found, done)
    b.set_block(found)
    b.store(value, 0, b.alu("add", b.load(value, 0, 8), 1), 8)
    b.jump(done)
    b.set_block(missing)
    b.ret(1)
    b.set_block(done)
    b.exit(0)
    return fn


def test_prints_a_whole_function() -> None:
    assert format_function(count()) == COUNT
    assert repr(count()) == COUNT


def test_the_text_does_not_depend_on_numbers_used_up() -> None:
    fn = Function("count")
    for _ in range(5):
        fn.new()
    assert format_function(count()).replace("count", "x") == COUNT.replace("count", "x")
    assert format_program([count(), count()]) == COUNT + "\n" + COUNT


def test_prints_every_kind_of_operation() -> None:
    fn = Function("all", 2)
    sub = Function("sub", 0)
    Builder(sub).ret(3)
    b = Builder(fn)
    slot = fn.slot(8)
    one = b.const(-1)
    b.move(one)
    b.neg(one, 32)
    b.not_(one)
    b.bswap(one, 16)
    b.sext(one, 8)
    b.zext(one, 32)
    b.bool_("slt", one, 5, 32)
    b.alu("sdiv", one, fn.params[1], 32)
    b.load(slot, 2, 2, signed=True)
    b.atomic("add", b.map_value("M", 8), -8, one, 4)
    b.atomic("xchg", slot, 0, one, 8)
    b.cmpxchg(slot, 0, 1, 2, 8)
    b.ksym("runqueues")
    b.kfunc("bpf_iter_num_new", b.slot_addr(slot), 0, 3)
    b.call_func(sub)
    b.call(181, 4, b.func_addr(sub), 0, 0)
    body, end = b.block(), b.block()
    b.may_goto(body, end)
    b.set_block(body)
    b.branch("set", one, 3, body, end, 32)
    b.set_block(end)
    b.ret(one)
    check_function(fn)
    assert [line.strip() for line in format_function(fn).splitlines()[3:]] == [
        "%2 = -1",
        "%3 = %2",
        "%4 = neg32 %2",
        "%5 = xor %2, -1",
        "%6 = bswap16 %2",
        "%7 = sext8 %2",
        "%8 = zext32 %2",
        "%9 = bool slt32 %2, 5",
        "%10 = sdiv32 %2, %1",
        "%11 = loads2 [$slot + 2]",
        "%12 = map_value M + 8",
        "atomic add4 [%12 - 8], %2",
        "%13 = atomic xchg8 [$slot], %2",
        "%14 = atomic cmpxchg8 [$slot], 1, 2",
        "%15 = ksym runqueues",
        "%16 = &$slot",
        "%17 = kfunc bpf_iter_num_new(%16, 0, 3)",
        "%18 = call_func sub()",
        "%19 = func_addr sub",
        "%20 = call 181(4, %19, 0, 0)",
        "may_goto block : block2",
        "block:",
        "branch set32 %2, 3 ? block : block2",
        "block2:",
        "ret %2",
    ]


def test_code_behind_a_terminator_goes_nowhere() -> None:
    fn = Function("early")
    b = Builder(fn)
    b.ret(1)
    assert b.terminated
    b.const(3)
    assert not b.terminated
    b.ret(2)
    check_function(fn)
    assert [block.name for block in fn.blocks] == ["entry", "dead"]


def test_copies_and_zeroes_in_the_largest_aligned_pieces() -> None:
    fn = Function("pieces")
    b = Builder(fn)
    slot, other = fn.slot(32), fn.slot(32)
    b.zero(slot, 4, 15)
    b.copy(slot, 0, other, 4, 8, align=8)
    sizes = [(op.off, op.size) for op in fn.blocks[0].ops if op.kind == "store"]
    assert sizes == [(4, 4), (8, 8), (16, 2), (18, 1), (0, 4), (4, 4)]


def test_positions_are_carried() -> None:
    fn = Function("places")
    b = Builder(fn)
    b.const(1)
    b.at(17)
    b.const(2)
    b.ret(0)
    term = fn.blocks[0].term
    assert term is not None
    assert [op.pos for op in fn.blocks[0].ops] + [term.pos] == [-1, 17, 17]


WRONG = {
    "operator": lambda b: b.alu("plus", 1, 2),
    "width": lambda b: b.alu("add", 1, 2, 16),
    "load size": lambda b: b.load(b.fn.ctx, 0, 3),
    "store size": lambda b: b.store(b.fn.ctx, 0, 1, 16),
    "swap size": lambda b: b.bswap(1, 8),
    "atomic size": lambda b: b.atomic("add", b.fn.ctx, 0, 1, 2),
    "atomic cmpxchg": lambda b: b.atomic("cmpxchg", b.fn.ctx, 0, 1, 8),
    "six arguments": lambda b: b.call(1, 1, 2, 3, 4, 5, 6),
    "arguments of a function": lambda b: b.call_func(Function("two", 2), 1),
    "branch": lambda b: b.branch("is", 1, 2, b.block(), b.block()),
    "bool": lambda b: b.bool_("is", 1, 2),
    "empty slot": lambda b: b.fn.slot(0),
    "slot alignment": lambda b: b.fn.slot(8, 16),
    "parameters": lambda b: Function("many", 6),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_refuses_what_does_not_exist(wrong) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(IrError):
        wrong(Builder(Function("wrong")))


def _use_of_unassigned(fn: Function, b: Builder) -> None:
    value = b.new()
    one, two = b.block(), b.block()
    b.branch("eq", fn.ctx, 0, one, two)
    b.set_block(one)
    b.assign(value, 1)
    b.jump(two)
    b.set_block(two)
    b.ret(value)


def _no_terminator(fn: Function, b: Builder) -> None:
    b.jump(b.block())


def _outside_of_a_slot(fn: Function, b: Builder) -> None:
    b.store(fn.slot(4, 4), 1, 0, 4)
    b.ret(0)


def _slot_of_another_function(fn: Function, b: Builder) -> None:
    b.store(Function("other").slot(4, 4), 0, 0, 4)
    b.ret(0)


def _block_of_another_function(fn: Function, b: Builder) -> None:
    b.jump(Function("other").block())


def _slot_as_a_value(fn: Function, b: Builder) -> None:
    b.store(fn.ctx, 0, fn.slot(8), 8)  # type: ignore[arg-type]
    b.ret(0)


def _two_arguments_missing(fn: Function, b: Builder) -> None:
    fn.blocks[0].ops.append(Op("alu", fn.new(), [], op="add", size=64))
    b.ret(0)


def _no_destination(fn: Function, b: Builder) -> None:
    fn.blocks[0].ops.append(Op("const", None, [1]))
    b.ret(0)


def _unknown_kind(fn: Function, b: Builder) -> None:
    fn.blocks[0].ops.append(Op("phi", fn.new(), [1]))
    b.ret(0)


def _malformed_branch(fn: Function, b: Builder) -> None:
    fn.blocks[0].term = Terminator("branch", [1], [fn.blocks[0]], "eq")


@pytest.mark.parametrize(
    ("build", "complaint"),
    [
        (_use_of_unassigned, "may be unassigned"),
        (_no_terminator, "no terminator"),
        (_outside_of_a_slot, "outside of the slot"),
        (_slot_of_another_function, "slot of another function"),
        (_block_of_another_function, "leads to another function"),
        (_slot_as_a_value, "a slot is no value"),
        (_two_arguments_missing, "wrong number of arguments"),
        (_no_destination, "destination missing"),
        (_unknown_kind, "no such kind"),
        (_malformed_branch, "malformed"),
    ],
)
def test_the_checker_finds(build, complaint: str) -> None:  # type: ignore[no-untyped-def]
    fn = Function("broken")
    build(fn, Builder(fn))
    with pytest.raises(IrError, match=complaint):
        check_function(fn)


def test_the_checker_knows_that_loops_assign_before_use() -> None:
    fn = Function("loop")
    b = Builder(fn)
    i = b.new()
    b.assign(i, 0)
    body: Block = b.block("body")
    end = b.block("end")
    b.jump(body)
    b.set_block(body)
    b.assign(i, b.alu("add", i, 1))
    b.branch("lt", i, 10, body, end)
    b.set_block(end)
    b.ret(i)
    check_function(fn)

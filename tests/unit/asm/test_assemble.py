import pytest

from bpflens.asm.assemble import assemble, assemble_relocatable
from bpflens.asm.instruction import encode
from bpflens.asm.interpreter import Machine
from bpflens.errors import FormatError
from bpflens.uapi import bpf


def test_labels_stand_for_distances_over_wide_loads():
    insns = assemble("""
        // sum of 1..5, with comments of all kinds
        r0 = 0
        r1 = 5          # counter
    again:
        r2 = 0x100000000 ll   ; not used
        r0 += r1
        r1 += -1
        if r1 != 0 goto again
        goto out
        r0 = 99
    out:
        exit
    """)
    assert insns[5].off == -5
    assert insns[6].off == 1
    assert Machine(insns).run() == 15


def test_functions_are_called_and_pointed_to_by_label():
    insns = assemble("""
        r1 = 10
        r2 = func[visit]
        r3 = r10
        r3 += -8
        *(u64 *)(r3 +0) = 0
        r4 = 0
        call bpf_loop
        call last
        exit
    visit:
        r3 = *(u64 *)(r2 + 0)
        r3 += r1
        *(u64 *)(r2 + 0) = r3
        r0 = 0
        exit
    last:
        r0 = 7
        exit
    """)
    assert insns[1].src == bpf.BPF_PSEUDO_FUNC
    # bpf_loop wants r3 as the context: r1 = times, r2 = callback, r3 = context.
    assert Machine(insns).run() == 7


def test_maps_are_relocated_by_name_or_filled_in():
    text = "r1 = map[counts]\nr2 = map[data][0]+8\ncall kfunc:bpf_rcu_read_lock\nexit"
    assembly = assemble_relocatable(text)
    assert [(r.insn, r.kind, r.name, r.addend) for r in assembly.relocs] == [
        (0, "map", "counts", 0),
        (2, "map_value", "data", 8),
        (4, "kfunc", "bpf_rcu_read_lock", 0),
    ]
    insns = assemble("r1 = map[counts]\nr2 = map[data][0]+8\nexit", {"counts": 3, "data": 4})
    assert encode(insns[:2]).hex() == "1811000003000000" + "0" * 16 + "1822000004000000" + (
        "0000000008000000"
    )
    assert assemble("r1 = map[fd:9]\nexit")[0].imm == 9


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("r1 ?= 2", "no such instruction"),
        ("r0 = 1\nr1 += w2", "a 64-bit and a 32-bit register"),
        ("goto nowhere", "no label nowhere"),
        ("a:\na:", "twice"),
        ("r1 = 0x80000000", "ends in ll"),
        ("(b7) r1 = r2", "opcode bf"),
        ("r1 = map[m]", "nothing is known of map m"),
        ("r16 = 1", "does not fit"),
    ],
)
def test_what_is_wrong_is_named(text, problem):
    with pytest.raises(FormatError, match=problem):
        assemble(text)


def test_errors_say_the_line():
    with pytest.raises(FormatError, match="line 3: frobnicate"):
        assemble("r0 = 0\n\nfrobnicate\nexit")

from bpflens.asm.verifier_log import parse

REFUSED = """\
func#0 @0
Live regs before insn:
      0: .1........ (61) r1 = *(u32 *)(r1 +0)
      1: .1........ (71) r0 = *(u8 *)(r1 +40)
0: R1=ctx() R10=fp0
; char *d = (char *)(long)ctx->data; return d[40]; @ bad.bpf.c:4
0: (61) r1 = *(u32 *)(r1 +0)          ; R1=pkt(r=0)
1: (71) r0 = *(u8 *)(r1 +40)
invalid access to packet, off=40 size=1, R1(id=0,off=40,r=0)
R1 offset is outside of the packet
processed 2 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
"""

ACCEPTED = """\
0: R1=ctx() R10=fp0
0: (79) r6 = *(u64 *)(r1 +0)          ; R1=ctx() R6=scalar()
2: (15) if r6 == 0x5 goto pc+1        ; R6=scalar()
4: (95) exit

from 2 to 4: R0=0 R1=ctx() R6=5 R10=fp0
4: R0=0 R1=ctx() R6=5 R10=fp0
4: (95) exit
verification time 87 usec
stack depth 16+8
processed 6 insns (limit 1000000) max_states_per_insn 0 total_states 1 peak_states 2 mark_read 0
"""


def test_the_complaint_and_its_place_are_found():
    log = parse(REFUSED)
    assert log.error == [
        "invalid access to packet, off=40 size=1, R1(id=0,off=40,r=0)",
        "R1 offset is outside of the packet",
    ]
    assert log.insn == 1
    assert log.source == "char *d = (char *)(long)ctx->data; return d[40]; @ bad.bpf.c:4"
    assert [(s.insn, s.text, s.state) for s in log.steps] == [
        (0, "(61) r1 = *(u32 *)(r1 +0)", "R1=pkt(r=0)"),
        (1, "(71) r0 = *(u8 *)(r1 +40)", ""),
    ]
    assert log.stats["processed insns"] == 2
    assert log.stats["limit"] == 1000000


def test_an_accepted_program_has_no_complaint():
    log = parse(ACCEPTED.splitlines())
    assert log.error == []
    assert log.insn is None
    assert log.source == ""
    assert log.stats == {
        "processed insns": 6, "limit": 1000000, "max_states_per_insn": 0, "total_states": 1,
        "peak_states": 2, "mark_read": 0, "verification time": 87, "stack depth": 16,
    }  # fmt: skip
    assert [s.insn for s in log.steps] == [0, 2, 4, 4]


def test_structural_complaints_name_the_instruction_themselves():
    assert parse("func#0 @0\nunreachable insn 5\nprocessed 0 insns (limit 1000000)").insn == 5
    assert parse("jump out of range from insn 3 to 9").insn == 3
    assert parse("last insn is not an exit or jmp").insn is None


def test_nothing_is_an_empty_log():
    assert parse("").error == []
    assert parse([]).insn is None

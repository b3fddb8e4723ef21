import pytest

from bpflens.asm.assemble import assemble, assemble_relocatable
from bpflens.asm.fake_kernel import FakeKernel
from bpflens.asm.fake_map import create
from bpflens.asm.instruction import encode, slots
from bpflens.asm.interpreter import Machine
from bpflens.asm.link import link
from bpflens.asm.memory import MachineError, Memory
from bpflens.spec import ProgramSpec, Reloc
from bpflens.uapi import bpf


def run(text, ctx=b"", **named):
    return Machine(assemble(text), **named).run(ctx)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("r0 = *(u64 *)(r10 + 0)\nexit", "instruction 0: read of 8 bytes .* beyond the stack"),
        ("r0 = *(u64 *)(r10 - 520)\nexit", "no memory there"),
        ("r1 = 0\nr0 = *(u8 *)(r1 + 4)\nexit", "instruction 1: .*NULL"),
        ("*(u8 *)(r1 + 16) = 0\nexit", "write of 1 bytes .* beyond the context"),
        ("r0 = r3\nexit", "instruction 0: use of a register that was never written"),
        ("exit", "never written"),
        ("if r5 == 0 goto +0\nexit", "never written"),
        ("r0 = 0", "runs past its end"),
        ("goto -5", "before the program"),
        ("a:\ngoto a", "no end after 1000 instructions"),
        ("a:\ncall a\nexit", "frames"),
        ("call 999\nexit", "no helper"),
        ("call bpf_skb_store_bytes\nexit", "no helper bpf_skb_store_bytes"),
        ("goto +1\nr0 = 1 ll\nexit", "middle of a 64-bit load"),
        ("r1 = r10\nlock *(u64 *)(r1 -12) += r1\nexit", "unaligned"),
        ("r1 = 1\nr2 = 2\ncall bpf_map_lookup_elem\nexit", "is not a map"),
        ("r1 = 3\nr0 = 0\ncall bpf_get_prandom_u32\nr0 = r1\nexit", "never written"),
    ],
)
def test_what_no_kernel_would_allow_stops_with_the_instruction(text, problem):
    with pytest.raises(MachineError, match=problem):
        run(text, bytes(16), max_insns=1000)


def test_unknown_opcodes_and_missing_maps_are_refused_before_running():
    with pytest.raises(MachineError, match="unknown opcode 0xff"):
        Machine(bytes.fromhex("ff00000000000000"))
    with pytest.raises(MachineError, match="map 5, which was not given"):
        Machine(assemble("r1 = map[fd:5]\nexit"))


def test_division_and_shifts_follow_the_kernel():
    assert run("r0 = 5\nr1 = 0\nr0 /= r1\nexit") == 0
    assert run("r0 = 5\nr1 = 0\nr0 %= r1\nexit") == 5
    assert run("r0 = -7\nr1 = 2\nr0 s/= r1\nexit") == (1 << 64) - 3
    assert run("r0 = -7\nr1 = 2\nr0 s%= r1\nexit") == (1 << 64) - 1
    assert run("r0 = 0x8000000000000000 ll\nr1 = -1\nr0 s/= r1\nexit") == 1 << 63
    assert run("w0 = 1\nr1 = 33\nw0 <<= w1\nexit") == 2
    assert run("r0 = -1\nw0 += 0\nexit") == 0xFFFFFFFF


def test_context_writes_are_seen_by_the_caller():
    ctx = bytearray(8)
    assert run("*(u32 *)(r1 + 4) = 0x1234\nr0 = 0\nexit", ctx) == 0
    assert ctx == b"\0\0\0\0\x34\x12\0\0"


def test_frames_have_their_own_stack_and_saved_registers():
    text = """
        r6 = 5
        *(u64 *)(r10 - 8) = 1
        r1 = r10
        r1 += -8
        call bump
        r0 = *(u64 *)(r10 - 8)
        r0 += r6
        exit
    bump:
        r6 = 100
        *(u64 *)(r10 - 8) = 77
        *(u64 *)(r1 + 0) = 2
        r0 = 0
        exit
    """
    assert run(text) == 7


def test_a_frame_is_gone_after_its_return():
    text = "call leak\nr0 = *(u64 *)(r0 + 0)\nexit\nleak:\nr0 = r10\nr0 += -8\nexit"
    with pytest.raises(MachineError, match="instruction 1"):
        run(text)


def test_tail_calls_replace_the_program_and_stop_at_33():
    programs = create(bpf.BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 4)
    count = create(bpf.BPF_MAP_TYPE_ARRAY, 4, 8, 1)
    again = assemble("""
        r6 = r1
        r2 = map[fd:2][0]+0
        r3 = 1
        lock *(u64 *)(r2 + 0) += r3
        r2 = map[fd:1]
        r3 = 0
        call bpf_tail_call
        r0 = 9
        exit
    """)
    programs.programs[0] = again
    machine = Machine(again, maps={1: programs, 2: count})
    assert machine.run(bytes(8)) == 9
    assert count[0] == (34).to_bytes(8, "little")


def test_an_empty_slot_lets_the_program_go_on():
    programs = create(bpf.BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 4)
    text = "r2 = map[fd:1]\nr3 = 2\ncall bpf_tail_call\nr0 = 3\nexit"
    assert run(text, bytes(8), maps={1: programs}) == 3


def test_packet_loads_end_the_program_outside_of_the_packet():
    text = "r6 = r1\nr0 = *(u16 *)skb[1]\nexit"
    assert run(text, bytes(8), packet=b"\1\2\3") == 0x0203
    assert run(text, bytes(8), packet=b"\1\2") == 0


def test_context_fields_may_be_replaced():
    memory = Memory()
    packet = memory.add(bytearray(b"\x42"), "the packet")
    text = "r2 = *(u32 *)(r1 + 0)\nr0 = *(u8 *)(r2 + 0)\nexit"
    assert run(text, bytes(8), memory=memory, ctx_loads={0: packet}) == 0x42


def test_may_goto_jumps_when_the_budget_is_spent():
    text = "r0 = 0\na:\nmay_goto out\nr0 += 1\ngoto a\nout:\nexit"
    assert run(text, may_goto_budget=10) == 10


def test_kernel_functions_iterate():
    # for (i in 3..7) sum += i, with the open-coded iterator
    text = """
        r1 = r10
        r1 += -8
        r2 = 3
        r3 = 7
        call kernel-function#1
        r6 = 0
    next:
        r1 = r10
        r1 += -8
        call kernel-function#2
        if r0 == 0 goto done
        r1 = *(s32 *)(r0 + 0)
        r6 += r1
        goto next
    done:
        r1 = r10
        r1 += -8
        call kernel-function#3
        r0 = r6
        exit
    """
    table = FakeKernel().kfuncs()
    kfuncs = {i: table[f"bpf_iter_num_{n}"] for i, n in enumerate(("new", "next", "destroy"), 1)}
    assert run(text, kfuncs=kfuncs) == 3 + 4 + 5 + 6


def test_specs_are_linked_to_fake_maps_by_name():
    text = "r1 = map[counts]\nr2 = map[data][0]+8\nr0 = *(u64 *)(r2 + 0)\nexit"
    assembly = assemble_relocatable(text)
    data = create(bpf.BPF_MAP_TYPE_ARRAY, 4, 16, 1)
    data[0] = bytes(8) + b"\x07" + bytes(7)
    maps = {"counts": create(bpf.BPF_MAP_TYPE_HASH, 4, 4, 1), "data": data}
    insns, numbered = link(encode(assembly.insns), assembly.relocs, maps)
    assert Machine(insns, maps=numbered).run() == 7
    with pytest.raises(MachineError, match="map data"):
        link(encode(assembly.insns), assembly.relocs, {"counts": maps["counts"]})


def test_a_program_spec_runs_with_all_its_names():
    text = """
        r6 = 5 ll
        call kfunc:bpf_rcu_read_lock
        r1 = map[counts]
        r2 = r10
        r2 += -8
        *(u64 *)(r10 - 8) = 3
        call bpf_map_lookup_elem
        r6 = *(u64 *)(r0 + 0)
        call pc+0
        r0 += r6
        r1 = 0 ll
        r1 = *(u32 *)(r1 + 4)
        r0 += r1
        exit
        r0 = 1000
        exit
    """
    assembly = assemble_relocatable(text)
    counts = create(bpf.BPF_MAP_TYPE_HASH, 8, 8, 4)
    counts[3] = (7).to_bytes(8, "little")
    memory = counts.memory
    jiffies = memory.add(bytearray(b"\0\0\0\0\x20\0\0\0"), "jiffies")
    at = slots(assembly.insns)
    relocs = [Reloc(r.insn, r.kind, r.name, r.addend) for r in assembly.relocs]
    relocs += [Reloc(at[8], "call", "sub"), Reloc(at[10], "ksym", "jiffies")]
    spec = ProgramSpec(
        "p", bpf.BPF_PROG_TYPE_RAW_TRACEPOINT, encode(assembly.insns), relocs=relocs,
        funcs=[(0, "p", 0), (at[14], "sub", 0)],
    )  # fmt: skip
    machine = Machine.of(spec, {"counts": counts}, ksyms={"jiffies": jiffies})
    assert machine.run(bytes(8)) == 1000 + 7 + 0x20
    with pytest.raises(MachineError, match="jiffies was not given"):
        Machine.of(spec, {"counts": counts})


def test_maps_of_two_memories_do_not_mix():
    one, two = (create(bpf.BPF_MAP_TYPE_ARRAY, 4, 8, 1) for _ in range(2))
    one[0] = two[0] = bytes(8)
    with pytest.raises(ValueError, match="different memories"):
        Machine(assemble("exit"), maps={1: one, 2: two})


def test_regions_do_not_overlap():
    memory = Memory()
    memory.add(bytearray(16), "a", at=0x1000)
    for at in (0x1000, 0x100F, 0xFF8):
        with pytest.raises(ValueError, match="overlaps"):
            memory.add(bytearray(16), "b", at=at)
    memory.add(bytearray(16), "b", at=0x1010)
    memory.store(0x1008, 8, -2)
    assert memory.load(0x1008, 8) == (1 << 64) - 2
    with pytest.raises(MachineError):
        memory.load(0x100C, 8)


def test_read_only_regions_refuse_writes():
    memory = Memory()
    at = memory.add(bytearray(8), "constants", writable=False)
    with pytest.raises(MachineError, match="read-only constants"):
        memory.store(at, 1, 0)

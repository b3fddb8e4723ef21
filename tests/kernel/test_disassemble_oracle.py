"""Dumps by the real bpftool and logs of the real verifier, read by our modules."""

import os
import re
import subprocess

import pytest

from bpflens.asm.assemble import assemble
from bpflens.asm.cfg import control_flow
from bpflens.asm.disassemble import opcode_bytes, text_of, xlated_imm_name
from bpflens.asm.instruction import decode, encode, slots
from bpflens.asm.verifier_log import parse
from bpflens.errors import NotSupported, VerifierError
from bpflens.kernel import bpf as kernel
from bpflens.uapi import bpf

pytestmark = pytest.mark.kernel

PROGRAM = """
    r6 = *(u64 *)(r1 + 0)
    r7 = 0x1122334455667788 ll
    r1 = map[data][0]+8
    w2 = 3
    lock *(u64 *)(r1 + 0) += r2
    r2 = atomic64_fetch_or((u64 *)(r1 + 0), r2)
    *(u32 *)(r10 - 4) = 0
    r1 = map[counts]
    r2 = r10
    r2 += -4
    call bpf_map_lookup_elem
    if r0 == 0 goto none
    r1 = *(u8 *)(r0 + 0)
    if w1 s< -3 goto none
    r1 = be32 r1
    call sub
none:
    call bpf_ktime_get_ns
    r0 &= r7
    r0 s>>= 4
    w0 = -w0
    exit
sub:
    r0 = r1
    r0 /= 3
    exit
"""


def call_names():
    """Address → name of the kernel's functions, as bpftool resolves calls of helpers."""
    with open("/proc/kallsyms") as lines:
        found = [line.split()[:3] for line in lines]
    names = {}
    for address, _, name in found:
        names.setdefault(int(address, 16), name)
    base = next((a for a, name in names.items() if name == "__bpf_call_base"), 0)
    if not base:
        raise NotSupported("addresses in kallsyms")

    def name(insn):
        # Calls inside the program have their distance in off; what bpftool adds is cut off below.
        return f"{insn.off:+d}" if insn.src == bpf.BPF_PSEUDO_CALL else names.get(base + insn.imm)

    return name


@pytest.mark.differential
def test_a_loaded_program_reads_as_in_the_real_bpftool(real_bpftool, tmp_path):
    call_name = call_names()
    maps = {
        "data": kernel.map_create(bpf.BPF_MAP_TYPE_ARRAY, 4, 16, 1, name="data"),
        "counts": kernel.map_create(bpf.BPF_MAP_TYPE_HASH, 4, 8, 4, name="counts"),
    }
    code = encode(assemble(PROGRAM, maps))
    fd = kernel.prog_load(bpf.BPF_PROG_TYPE_RAW_TRACEPOINT, code, name="xlated_oracle")
    file = tmp_path / "xlated"
    try:
        for words in ((), ("opcodes",), ("file", str(file))):
            done = subprocess.run(
                [real_bpftool, "prog", "dump", "xlated", "name", "xlated_oracle", *words],
                capture_output=True, text=True, timeout=30, check=True,
            )  # fmt: skip
            if words == ("opcodes",):
                text = done.stdout
    finally:
        for descriptor in (fd, *maps.values()):
            os.close(descriptor)
    data = file.read_bytes()
    insns = decode(data)
    theirs = re.findall(r"^ *(\d+): (\(.*)\n +(.*)$", text, re.MULTILINE)
    ours = [
        (str(slot), text_of(insn, call_name, xlated_imm_name), opcode_bytes(data, slot))
        for slot, insn in zip(slots(insns), insns, strict=False)
    ]
    theirs = [(s, re.sub(r"(call pc\+\d+)#\w+", r"\1", t), code.strip()) for s, t, code in theirs]
    assert ours == theirs
    assert [f.start for f in control_flow(insns, xlated=True)] == [0, len(data) // 8 - 3]


@pytest.mark.parametrize(
    ("text", "insn", "error"),
    [
        ("r0 = *(u64 *)(r1 + 200)\nexit", 0, "invalid bpf_context access off=200 size=8"),
        ("r1 = 0\nr0 = *(u64 *)(r1 + 0)\nexit", 1, "R1 invalid mem access 'scalar'"),
        ("r0 = 0\ngoto +1\nr0 = 1\nexit", 2, "unreachable insn 2"),
        ("r0 = r9\nexit", 0, "R9 !read_ok"),
        ("r6 = r1\ncall sub\nr0 = 0\nexit\nsub:\nr0 = *(u64 *)(r6 + 0)\nexit", 4, "R6 !read_ok"),
    ],
)
def test_complaints_of_the_verifier_are_found(text, insn, error):
    with pytest.raises(VerifierError) as caught:
        kernel.prog_load(bpf.BPF_PROG_TYPE_RAW_TRACEPOINT, encode(assemble(text)))
    log = parse(caught.value.log)
    assert (log.insn, log.error[-1]) == (insn, error)


def test_a_full_log_leaves_no_complaint():
    log: list[str] = []
    code = encode(
        assemble("""
            r6 = *(u64 *)(r1 + 0)
            r0 = 0
            if r6 == 5 goto +1
            r0 = 3
            call sub
            exit
        sub:
            r0 = 1
            exit
        """)
    )
    os.close(kernel.prog_load(bpf.BPF_PROG_TYPE_RAW_TRACEPOINT, code, log_level=2, log=log))
    parsed = parse(log)
    assert parsed.error == []
    assert {step.insn for step in parsed.steps} == set(range(8))
    assert parsed.stats["processed insns"] >= 8

"""Random programs, run by the kernel and by our interpreter: same results, same disassembly."""

import os
import random
import struct
from functools import cache

import pytest

from bpflens.asm.disassemble import text_of
from bpflens.asm.instruction import (
    alu32_imm,
    alu32_reg,
    alu64_imm,
    alu64_reg,
    atomic,
    bswap,
    call_pseudo,
    encode,
    endian,
    exit_,
    gotol,
    ja,
    jmp32_imm,
    jmp32_reg,
    jmp_imm,
    jmp_reg,
    ld_imm64,
    ldx,
    ldxsx,
    load_acquire,
    mov32_imm,
    mov32_reg,
    mov64_imm,
    mov64_reg,
    movsx32,
    movsx64,
    neg32,
    neg64,
    slots,
    st,
    store_release,
    stx,
)
from bpflens.asm.interpreter import Machine
from bpflens.kernel import bpf as kernel
from bpflens.uapi.bpf import (
    BPF_ADD,
    BPF_AND,
    BPF_ARSH,
    BPF_B,
    BPF_CMPXCHG,
    BPF_DIV,
    BPF_DW,
    BPF_FETCH,
    BPF_H,
    BPF_JEQ,
    BPF_JGE,
    BPF_JGT,
    BPF_JLE,
    BPF_JLT,
    BPF_JNE,
    BPF_JSET,
    BPF_JSGE,
    BPF_JSGT,
    BPF_JSLE,
    BPF_JSLT,
    BPF_LSH,
    BPF_MOD,
    BPF_MUL,
    BPF_OR,
    BPF_PROG_TYPE_RAW_TRACEPOINT,
    BPF_RSH,
    BPF_SUB,
    BPF_W,
    BPF_XCHG,
    BPF_XOR,
)

pytestmark = pytest.mark.kernel

ALU = (BPF_ADD, BPF_SUB, BPF_MUL, BPF_OR, BPF_AND, BPF_XOR, BPF_LSH, BPF_RSH, BPF_ARSH)
JUMPS = (
    BPF_JEQ, BPF_JNE, BPF_JGT, BPF_JGE, BPF_JLT, BPF_JLE, BPF_JSGT, BPF_JSGE, BPF_JSLT, BPF_JSLE,
    BPF_JSET,
)  # fmt: skip
SHIFTS = (BPF_LSH, BPF_RSH, BPF_ARSH)
SIZES = {BPF_B: 1, BPF_H: 2, BPF_W: 4, BPF_DW: 8}
INTERESTING = (0, 1, -1, 2, 7, 63, 64, 0x7FFFFFFF, -0x80000000, 0x80000000, 0xFFFFFFFF, 1 << 63)
STACK_SLOTS = 4


class Generator:
    """Makes programs that the verifier accepts: scalars in r0-r9, four stack slots, jumps ahead."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.v4 = accepts(movsx64(0, 0, 8))
        self.ordered = accepts(load_acquire(BPF_DW, 0, 10, -8))
        self.jumps = 6
        self.calls = []

    def number(self):
        pick = self.random.choice(("small", "edge", "any"))
        if pick == "small":
            return self.random.randrange(-20, 20)
        if pick == "edge":
            return self.random.choice(INTERESTING)
        return self.random.getrandbits(64)

    def imm(self):
        value = self.number() & 0xFFFFFFFF
        return value - (1 << 32) if value >> 31 else value

    def reg(self):
        return self.random.randrange(10)

    def operation(self):
        kinds = [
            self.alu,
            self.alu,
            self.alu,
            self.div,
            self.mov,
            self.memory,
            self.atomic,
            self.swap,
        ]
        if self.jumps:
            kinds += [self.jump, self.call]
        return self.random.choice(kinds)()

    def alu(self):
        op, d, s, imm = self.random.choice(ALU), self.reg(), self.reg(), self.imm()
        if self.random.random() < 0.1:
            return [self.random.choice((neg32, neg64))(d)]
        wide = self.random.random() < 0.6
        if self.random.random() < 0.5:
            return [(alu64_reg if wide else alu32_reg)(op, d, s)]
        if op in SHIFTS:
            imm = imm % (64 if wide else 32)
        return [(alu64_imm if wide else alu32_imm)(op, d, imm)]

    def div(self):
        op, signed = self.random.choice((BPF_DIV, BPF_MOD)), self.random.randrange(2) * self.v4
        wide, d = self.random.random() < 0.6, self.reg()
        if self.random.random() < 0.5:
            return [(alu64_reg if wide else alu32_reg)(op, d, self.reg(), signed)]
        return [(alu64_imm if wide else alu32_imm)(op, d, self.imm() or 3, signed)]

    def mov(self):
        d, s = self.reg(), self.reg()
        forms = [
            mov64_reg(d, s), mov32_reg(d, s), mov64_imm(d, self.imm()), mov32_imm(d, self.imm()),
            ld_imm64(d, self.number()),
        ]  # fmt: skip
        if self.v4:
            forms += [
                movsx64(d, s, self.random.choice((8, 16, 32))),
                movsx32(d, s, self.random.choice((8, 16))),
            ]
        return [self.random.choice(forms)]

    def swap(self):
        bits, d = self.random.choice((16, 32, 64)), self.reg()
        if self.v4 and self.random.random() < 0.4:
            return [bswap(d, bits)]
        return [endian(d, bits, self.random.random() < 0.6)]

    def place(self, size):
        # An aligned address in one of the initialised slots.
        return -8 * self.random.randrange(1, STACK_SLOTS + 1) + size * self.random.randrange(
            8 // size
        )

    def memory(self):
        size, d = self.random.choice(tuple(SIZES)), self.reg()
        off = self.place(SIZES[size])
        kind = self.random.randrange(4)
        if kind == 0:
            return [ldx(size, d, 10, off)]
        if kind == 1:
            return [stx(size, 10, off, d)]
        if kind == 2:
            return [st(size, 10, off, self.imm())]
        return [(ldxsx if self.v4 and size != BPF_DW else ldx)(size, d, 10, off)]

    def atomic(self):
        if self.ordered and self.random.random() < 0.2:
            size = self.random.choice(tuple(SIZES))
            off = self.place(SIZES[size])
            if self.random.random() < 0.5:
                return [load_acquire(size, self.reg(), 10, off)]
            return [store_release(size, 10, off, self.reg())]
        size = self.random.choice((BPF_W, BPF_DW))
        op = self.random.choice((BPF_ADD, BPF_OR, BPF_AND, BPF_XOR, BPF_XCHG, BPF_CMPXCHG))
        if op not in (BPF_XCHG, BPF_CMPXCHG) and self.random.random() < 0.5:
            op |= BPF_FETCH
        return [atomic(size, op, 10, self.place(SIZES[size]), self.reg())]

    def jump(self):
        self.jumps -= 1
        body = [insn for _ in range(self.random.randrange(1, 4)) for insn in self.operation()]
        off = slots(body)[-1]
        op, d, s, imm = self.random.choice(JUMPS), self.reg(), self.reg(), self.imm()
        head = self.random.choice(
            (jmp_reg(op, d, s, off), jmp_imm(op, d, imm, off), jmp32_reg(op, d, s, off),
             jmp32_imm(op, d, imm, off))
        )  # fmt: skip
        if self.random.random() < 0.3:
            # if (..) {body} else {other}, joined by a jump of either form
            other = [mov64_imm(d, self.imm())]
            skip = gotol(1) if self.v4 and self.random.random() < 0.5 else ja(1)
            head.off += 1
            return [head, *body, skip, *other]
        return [head, *body]

    def call(self):
        call = call_pseudo(0)
        self.calls.append(call)
        return [call, *(mov64_imm(r, self.imm()) for r in range(1, 6))]

    def function(self):
        # Of r1-r5, with its own r6-r9 and stack.
        out = [mov64_reg(6, 1), stx(BPF_DW, 10, -8, 2), mov64_reg(0, 3)]
        out += [alu64_reg(self.random.choice(ALU), 0, r) for r in (4, 5, 6)]
        return [*out, ldx(BPF_W, 7, 10, -8), alu32_reg(self.random.choice(ALU), 0, 7), exit_()]

    def program(self):
        out = [mov64_reg(9, 1)]
        for r in range(9):
            # Half of the values come from the context, so that the verifier cannot know them.
            from_ctx = self.random.random() < 0.5
            out.append(ldx(BPF_DW, r, 9, 8 * r) if from_ctx else ld_imm64(r, self.number()))
        out.append(mov64_imm(9, self.imm()))
        out += [stx(BPF_DW, 10, -8 * (i + 1), i) for i in range(STACK_SLOTS)]
        for _ in range(self.random.randrange(5, 40)):
            out += self.operation()
        out += self.fold()
        if self.calls:
            at = slots(out)
            for slot, insn in zip(at, out, strict=False):
                if any(insn is call for call in self.calls):
                    insn.imm = at[-1] - slot - 1
            out += self.function()
        return out

    def fold(self):
        # Mix every register and the stack into 32 bits, which is all that TEST_RUN returns.
        out = []
        for r in range(1, 10):
            out += [alu64_imm(BPF_MUL, 0, 0x01000193), alu64_reg(BPF_XOR, 0, r)]
        for i in range(STACK_SLOTS):
            out += [alu64_imm(BPF_MUL, 0, 0x01000193), ldx(BPF_DW, 1, 10, -8 * (i + 1)),
                    alu64_reg(BPF_XOR, 0, 1)]  # fmt: skip
        return [*out, mov64_reg(1, 0), alu64_imm(BPF_RSH, 1, 32), alu64_reg(BPF_XOR, 0, 1), exit_()]


def load(insns, **named):
    return kernel.prog_load(BPF_PROG_TYPE_RAW_TRACEPOINT, encode(insns), name="oracle", **named)


@cache
def accepts(insn):
    """Whether this kernel knows an instruction (one that reads r0 or the stack)."""
    try:
        os.close(load([mov64_imm(0, 0), stx(BPF_DW, 10, -8, 0), insn, exit_()], explain=False))
    except OSError:
        return False
    return True


@pytest.mark.parametrize("block", range(10))
def test_random_programs_give_what_the_kernel_gives(block):
    for seed in range(40 * block, 40 * block + 40):
        generator = Generator(seed)
        insns = generator.program()
        ctx = struct.pack("<12Q", *(generator.number() & (1 << 64) - 1 for _ in range(12)))
        fd = load(insns)
        try:
            expected = kernel.prog_test_run(fd, ctx=ctx, ctx_size_out=0).retval
        finally:
            os.close(fd)
        assert Machine(insns).run(ctx) & 0xFFFFFFFF == expected, f"seed {seed}"


def log_texts(log):
    """Slot → instruction as the verifier printed it."""
    out = {}
    for line in log:
        head, _, rest = line.partition(": (")
        if head.isdigit() and rest:
            out[int(head)] = "(" + rest.split(" ; ")[0].rstrip()
    return out


@pytest.mark.parametrize("seed", range(1000, 1030))
def test_disassembly_is_the_verifiers(seed):
    insns = Generator(seed).program()
    log: list[str] = []
    os.close(load(insns, log_level=2, log=log))
    texts = log_texts(log)
    ours = dict(zip(slots(insns), map(text_of, insns), strict=False))
    assert len(texts) > 30
    assert texts == {slot: ours[slot] for slot in texts}

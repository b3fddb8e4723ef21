"""Argument strings of static probes, and notes whose file was moved by prelink."""

from __future__ import annotations

import struct

import pytest

from bpflens.elf import File
from bpflens.elf.usdt import parse_arguments
from bpflens.elf.writer import Writer, note
from bpflens.errors import FormatError

X86, ARM = 62, 183


def described(text, machine=X86):
    (argument,) = parse_arguments(text, machine)
    if argument.kind == "constant":
        return argument.size, argument.signed, argument.value
    if argument.kind == "register":
        return argument.size, argument.signed, argument.register, argument.width, argument.shift
    place = [argument.register, argument.offset]
    if argument.index:
        place += [argument.index, argument.scale]
    if argument.symbol:
        place.append(argument.symbol)
    if argument.segment:
        place.append(argument.segment)
    return argument.size, argument.signed, place


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("-4@$5", (4, True, 5)),
        ("8@$-5", (8, False, -5)),
        ("8@$0x7fffffffffffffff", (8, False, 0x7FFFFFFFFFFFFFFF)),
        ("-4@%eax", (4, True, "ax", 4, 0)),
        ("8@%rdi", (8, False, "di", 8, 0)),
        ("1@%ah", (1, False, "ax", 1, 8)),
        ("1@%sil", (1, False, "si", 1, 0)),
        ("2@%r10w", (2, False, "r10", 2, 0)),
        ("-1@%r8b", (1, True, "r8", 1, 0)),
        ("8f@%xmm3", (8, False, "xmm3", 16, 0)),
        ("%rax", (8, False, "ax", 8, 0)),
        ("8@-8(%rbp)", (8, False, ["bp", -8])),
        ("8@(%rsp)", (8, False, ["sp", 0])),
        ("-4@16+8(%rsp)", (4, True, ["sp", 24])),
        ("1@(%rax,%rbx,4)", (1, False, ["ax", 0, "bx", 4])),
        ("8@-48(%rdx,%r9)", (8, False, ["dx", -48, "r9", 1])),
        ("4@0x10(,%rcx,8)", (4, False, ["", 16, "cx", 8])),
        ("8@counter(%rip)", (8, False, ["", 0, "counter"])),
        ("8@counter+16(%rip)", (8, False, ["", 16, "counter"])),
        ("8@4+counter(%rip)", (8, False, ["", 4, "counter"])),
        ("8@24(%rip)", (8, False, ["ip", 24])),
        ("4@table(,%rax,4)", (4, False, ["", 0, "ax", 4, "table"])),
        ("8@counter", (8, False, ["", 0, "counter"])),
        ("8@%fs:-16(%rax)", (8, False, ["ax", -16, "fs"])),
        ("8@%fs:40", (8, False, ["", 40, "fs"])),
    ],
)
def test_x86_operands(text, expected):
    assert described(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("-4@5", (4, True, 5)),
        ("8@#-1", (8, False, -1)),
        ("8@x0", (8, False, "x0", 8, 0)),
        ("-4@w19", (4, True, "x19", 4, 0)),
        ("8@sp", (8, False, "sp", 8, 0)),
        ("8@x30", (8, False, "x30", 8, 0)),
        ("4@wzr", (4, False, 0)),
        ("8f@d0", (8, False, "d0", 8, 0)),
        ("8@[sp]", (8, False, ["sp", 0])),
        ("8@[sp, 16]", (8, False, ["sp", 16])),
        ("-8@[x29,#-24]", (8, True, ["x29", -24])),
        ("4@[x0, x1]", (4, False, ["x0", 0, "x1", 1])),
        ("4@[x0, x1, lsl 2]", (4, False, ["x0", 0, "x1", 4])),
        ("4@[x0, w1, sxtw #3]", (4, False, ["x0", 0, "x1", 8])),
        ("4@[x0, #:lo12:counter]", (4, False, ["", 0, "counter"])),
    ],
)
def test_aarch64_operands(text, expected):
    assert described(text, ARM) == expected


def test_a_narrow_index_tells_how_it_is_widened():
    (argument,) = parse_arguments("4@[x0, w1, sxtw 2]", ARM)
    assert (argument.index_width, argument.index_signed) == (4, True)
    (argument,) = parse_arguments("4@[x0, w1, uxtw]", ARM)
    assert (argument.index_width, argument.index_signed) == (4, False)


def test_several_operands_are_split_at_spaces_outside_brackets():
    texts = [str(a) for a in parse_arguments("8@%rbx -4@8(%rsp)  1@$2", X86)]
    assert texts == ["8@%rbx", "-4@8(%rsp)", "1@$2"]
    assert [str(a) for a in parse_arguments("8@[sp, 8] 4@w0", ARM)] == ["8@[sp, 8]", "4@w0"]
    assert parse_arguments("", X86) == []
    assert parse_arguments("", 22) == []


@pytest.mark.parametrize(
    ("text", "machine"),
    [
        ("8@%nope", X86), ("3@%rax", X86), ("x@%rax", X86), ("8@", X86), ("8@8(%rax", X86),
        ("8@(%rax,%rbx,3)", X86), ("8@a+b(%rip)", X86), ("8@-a(%rip)", X86), ("8@%zs:1", X86),
        ("8@x31", ARM), ("8@[x0", ARM), ("8@[x0, x1, lsl 9]", ARM), ("8@[x0, 8, lsl 1]", ARM),
        ("8@[]", ARM), ("8@%rax", 22),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_an_error(text, machine):
    with pytest.raises(FormatError):
        parse_arguments(text, machine)


def probe_file(*, moved=0, bits=64, order="<"):
    writer = Writer(bits=bits, order=order, type=3, machine=X86 if bits == 64 else 3)
    text = writer.section(".text", bytes(64), flags=6, addr=0x1000 + moved)
    base = writer.section(".stapsdt.base", b"\0", flags=2, addr=0x2000 + moved)
    data = writer.section(".probes", bytes(8), flags=3, addr=0x3000 + moved)
    for section in (text, base, data):
        writer.segment(1, [section])
    words = struct.pack(order + ("3Q" if bits == 64 else "3I"), 0x1010, 0x2000, 0x3002)
    desc = words + b"app\0request\0" + b"8@%rdi -4@$1\0"
    writer.section(".note.stapsdt", note(b"stapsdt", 3, desc, order), type=7, addralign=4)
    return File(writer.build())


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("order", ["<", ">"])
def test_a_note_gives_the_places_for_a_uprobe(bits, order):
    file = probe_file(bits=bits, order=order)
    (found,) = file.usdt_notes()
    assert (found.provider, found.name, found.args) == ("app", "request", "8@%rdi -4@$1")
    assert (found.pc, found.semaphore) == (0x1010, 0x3002)
    assert found.offset == file.section(".text").offset + 0x10
    assert found.semaphore_offset == file.section(".probes").offset + 2
    assert [a.kind for a in found.arguments] == ["register", "constant"]


def test_addresses_follow_the_base_section_that_prelink_moved():
    (found,) = probe_file(moved=0x40000).usdt_notes()
    assert (found.pc, found.semaphore, found.base) == (0x41010, 0x43002, 0x42000)


def test_a_probe_with_an_unreadable_operand_is_still_listed():
    writer = Writer()
    desc = struct.pack("<3Q", 1, 0, 0) + b"p\0n\08@%what\0"
    writer.section(".note.stapsdt", note(b"stapsdt", 3, desc), type=7, addralign=4)
    (found,) = File(writer.build()).usdt_notes()
    assert found.offset is None
    with pytest.raises(FormatError, match="register"):
        _ = found.arguments

"""Operands of static probes as libbpf's programs read them."""

from __future__ import annotations

import os
import struct

import pytest

from bpflens.attach.usdt_spec import packed_spec
from bpflens.elf.usdt import parse_arguments
from bpflens.errors import AttachError

pytestmark = pytest.mark.skipif(os.uname().machine != "x86_64", reason="operands of x86-64")

ARG = struct.Struct("<qIhBb")


def _args(text: str, **options):
    raw = packed_spec("usdt:x", parse_arguments(text), 9, **options)
    assert len(raw) == 208
    count = struct.unpack_from("<h", raw, 200)[0]
    return [ARG.unpack_from(raw, 16 * n) for n in range(count)]


def test_constant_register_and_memory():
    assert _args("-4@$-7 8@%rdi 2@-8(%rbp) 1@%al") == [
        (-7, 0, 0, 1, 32),
        (0, 1, 112, 0, 0),
        (-8, 2, 32, 0, 48),
        (0, 1, 80, 0, 56),
    ]


def test_cookie_stands_behind_the_arguments():
    raw = packed_spec("usdt:x", [], 0xABCD)
    assert struct.unpack_from("<Qh", raw, 192) == (0xABCD, 0)


def test_index_only_where_the_format_has_room_for_it():
    assert _args("4@16(%rax,%rcx,4)", knows_index=True) == [(16, 3 | 88 << 8 | 2 << 20, 80, 0, 32)]
    with pytest.raises(AttachError, match=r"16\(%rax,%rcx,4\)"):
        _args("4@16(%rax,%rcx,4)")


@pytest.mark.parametrize("text", ["8f@%xmm0", "4@counter(%rip)", "8@%fs:(%rax)", "1@%ah"])
def test_operand_that_cannot_be_said_is_named(text):
    with pytest.raises(AttachError, match="cannot say where"):
        _args(text)


def test_too_many_arguments():
    with pytest.raises(AttachError, match="13 arguments"):
        _args(" ".join(["8@%rdi"] * 13))

"""Damaged object files give FormatError, or a spec, and nothing else."""

from __future__ import annotations

import random

import pytest

from bpf_object import build
from bpflens.errors import FormatError
from bpflens.load.object_file import read

SOURCES = ("globals", "core", "extern", "nested", "congestion", "usdt")
NUMBERS = (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def _damaged(data: bytes, rng: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        place = rng.randrange(len(out))
        kind = rng.random()
        if kind < 0.5:
            out[place] = rng.choice((0, 1, 128, 255, rng.randrange(256)))
        elif kind < 0.9:
            word = place & ~3
            number = rng.choice((*NUMBERS, len(out), rng.randrange(1 << 32)))
            out[word : word + 4] = number.to_bytes(4, "little")
        else:
            del out[place + 1 :]
    return bytes(out)


@pytest.mark.parametrize("source", SOURCES)
def test_damage_is_found_or_harmless(source):
    data = build(f"{source}.bpf.c")
    rng = random.Random(source)
    refused = 0
    for _ in range(300):
        try:
            read(_damaged(data, rng))
        except FormatError:
            refused += 1
    assert 0 < refused < 300


@pytest.mark.parametrize("data", [b"", b"\x7fELF", bytes(64), b"#!/bin/sh\n"])
def test_what_is_no_object_file_is_refused(data):
    with pytest.raises(FormatError):
        read(data)


def test_object_of_another_machine_is_refused():
    with pytest.raises(FormatError, match="no relocatable BPF object"):
        read("/bin/sh")

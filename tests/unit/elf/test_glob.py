"""Globs that run over a blob of names, compared with fnmatch."""

from __future__ import annotations

import time
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpflens.elf.glob import compile_glob, is_glob, literal_prefix

NAMES = ["vfs_read", "vfs_readv", "__vfs_read", "v", "a.b", "a]b", "x-y", "x^y", "a$1", "A\\B"]


@pytest.mark.parametrize(
    "pattern",
    ["*", "vfs_*", "*read", "*_re*", "v?s_read", "vfs_[rw]*", "[!v]*", "x[-]y", "a.b", "a[]b",
     "**read**", "?", "x[a^]y", "a$*", "[a-z]", "*[0-9]", "A\\*"],
)  # fmt: skip
def test_agrees_with_fnmatch(pattern):
    blob = b"\0" + b"\0".join(name.encode() for name in NAMES) + b"\0"
    match = compile_glob(pattern.encode(), b"\0@").match
    found = []
    for name in NAMES:
        place = blob.index(b"\0" + name.encode() + b"\0") + 1
        hit = match(blob, place)
        if hit:
            assert hit.group() == name.encode()
            found.append(name)
    assert found == [name for name in NAMES if fnmatchcase(name, pattern)]


@given(st.text("ab*?", max_size=12), st.text("ab", max_size=12))
def test_agrees_with_fnmatch_on_anything(pattern, name):
    hit = compile_glob(pattern.encode(), b"\0").match(name.encode() + b"\0")
    assert (hit is not None) == fnmatchcase(name, pattern)


def test_many_stars_are_not_slow():
    started = time.monotonic()
    match = compile_glob(b"*a" * 40 + b"*b", b"\0").match
    assert match(b"a" * 5000 + b"\0") is None
    assert time.monotonic() - started < 1


def test_what_is_a_pattern():
    assert is_glob("a*")
    assert is_glob("a?")
    assert is_glob("[a]")
    assert not is_glob("abc")
    assert literal_prefix(b"vfs_[rw]*") == b"vfs_"
    assert literal_prefix(b"plain") == b"plain"

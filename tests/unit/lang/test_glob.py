"""Which names a pattern means."""

from __future__ import annotations

import fnmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpflens.lang.glob import Glob, has_wildcard


@pytest.mark.parametrize(
    ("pattern", "fits", "does_not"),
    [
        ("vfs_*", ["vfs_", "vfs_read"], ["vfs", "xvfs_read"]),
        ("*_read", ["_read", "vfs_read"], ["vfs_reads"]),
        ("a*a", ["aa", "aba"], ["a", "ab"]),
        ("*b*", ["b", "abc"], ["ac"]),
        ("a*b*c", ["abc", "aXbYc", "abbc"], ["ac", "acb"]),
        ("sys_[or]*", ["sys_open", "sys_read"], ["sys_write"]),
        ("[a-c]x", ["ax", "cx"], ["dx", "x"]),
        ("[!a]x", ["bx"], ["ax"]),
        ("*[0-9]", ["f1"], ["f", "1f"]),
        ("f?", ["f?"], ["fa"]),
        ("a[", ["a["], ["a"]),
        ("a[*]b", ["a*b"], ["axb"]),
        ("plain", ["plain"], ["plainer"]),
        ("*", ["", "x"], []),
        ("", [""], ["x"]),
    ],
)
def test_match(pattern, fits, does_not):
    glob = Glob(pattern)
    assert glob.filter([*fits, *does_not]) == fits
    assert [name for name in fits + does_not if glob.match(name)] == fits


@pytest.mark.parametrize(
    ("text", "answer"), [("a*", True), ("[ab]", True), ("a[b", False), ("]a[", False), ("a", False)]
)
def test_has_wildcard(text, answer):
    assert has_wildcard(text) == answer


@given(st.text("ab*", max_size=8), st.text("ab", max_size=8))
def test_agrees_with_the_shell(pattern, name):
    assert Glob(pattern).match(name) == fnmatch.fnmatchcase(name, pattern)
    assert bool(Glob(pattern).filter([name])) == fnmatch.fnmatchcase(name, pattern)


@given(st.text("ab*[]!-^", max_size=8), st.text("ab[]-", max_size=8))
def test_never_raises(pattern, name):
    Glob(pattern).match(name)

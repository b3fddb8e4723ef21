"""Maps of texts keep short and long keys apart in the kernel, which no script can tell."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.kernel

LONG = "long" * 60
AT_63 = "0123456789" * 6 + "012"
AT_64 = AT_63 + "3"


def lines(body):
    done = subprocess.run(
        [sys.executable, "-m", "bpflens", "bpftrace", "-e", "BEGIN { " + body + " }"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return [line for line in done.stdout.splitlines() if line]


def text(word):
    """An expression of 1024 bytes with this text."""
    half = len(word) // 2
    return f'str_concat("{word[:half]}", "{word[half:]}")'


@pytest.mark.parametrize("word", ["", "x", AT_63, AT_64, LONG])
def test_an_entry_is_found_however_its_key_is_written(word):
    found = lines(
        f'$w = {text(word)}; @m[$w] = 1; @m[str($w)] += 1; @m["{word}"]++;'
        f' print(@m[$w]); print(has_key(@m, "{word}")); print(len(@m)); clear(@m);'
    )
    assert found == ["3", "true", "1"]


def test_short_and_long_keys_are_printed_in_one_order():
    found = lines(
        f"@m[{text(LONG)}] = 2; @m[{text('a')}] = 3; @m[{text(AT_64)}] = 1; @m[{text(AT_63)}] = 4;"
    )
    assert found == [
        f"@m[{AT_64}]: 1", f"@m[{LONG}]: 2", "@m[a]: 3", f"@m[{AT_63}]: 4",
    ]  # fmt: skip


def test_the_last_entries_of_both_kinds():
    found = lines(
        f"@m[{text(LONG)}] = 2; @m[{text('a')}] = 3; @m[{text(AT_64)}] = 1;"
        " print(@m, 2); clear(@m);"
    )
    assert found == [f"@m[{LONG}]: 2", "@m[a]: 3"]


def test_deleting_takes_away_the_one_meant():
    found = lines(
        f"$l = {text(LONG)}; $s = {text('a')}; @m[$l] = 1; @m[$s] = 2;"
        " delete(@m, $l); print(len(@m)); delete(@m, str($s)); print(len(@m));"
    )
    assert found == ["1", "0"]


def test_single_entries_and_zeroing():
    found = lines(
        f"$l = {text(LONG)}; $s = {text('a')};"
        " @m[$l] = count(); @m[$s] = count(); @m[$s] = count();"
        " print(@m[$s]); print(@m[$l]); zero(@m);"
    )
    assert found == ["2", "1", "@m[a]: 0", f"@m[{LONG}]: 0"]


def test_a_walk_over_all_entries():
    found = lines(
        f"@m[{text(LONG)}] = 2; @m[{text('a')}] = 3; $n = 0;"
        " for $kv : @m { $n += $kv.1 * strlen($kv.0); } print($n); clear(@m);"
    )
    assert found == [str(2 * len(LONG) + 3)]

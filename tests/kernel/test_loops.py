"""Loops in the kernel: every way there is to run one gives what plain Python gives."""

from __future__ import annotations

import pytest

from bpflens.kernel.feature import has
from emu.script_run import run_in_kernel

pytestmark = pytest.mark.kernel

# What a target must not have for the next best construct to be taken.
WITHOUT = {
    "best": frozenset(),
    "callbacks": frozenset(("open_coded_iter", "may_goto")),
}


@pytest.fixture(params=sorted(WITHOUT))
def run(request, monkeypatch):
    from bpflens.session.host import HostTarget

    missing = WITHOUT[request.param]
    monkeypatch.setattr(HostTarget, "has", lambda self, name: name not in missing and has(name))
    return lambda body: run_in_kernel("BEGIN { " + body + " }")


def test_a_range_takes_its_first_and_not_its_last_number(run):
    found = run("for $i : 3..6 { @seen[$i] = 1; } for $i : (-2)..1 { @neg[$i] = 1; }")
    assert found == {"@seen": {3: 1, 4: 1, 5: 1}, "@neg": {-2: 1, -1: 1, 0: 1}}


def test_a_range_that_is_empty_or_backwards_does_nothing(run):
    body = (
        "@n = 0; $a = 5; for $i : 5..$a { @n++; } for $i : 9..$a { @n++; } for $i : 1..0 { @n++; }"
    )
    assert run(body) == {"@n": {None: 0}}


def test_a_million_rounds(run):
    found = run(
        "$s = 0; $odd = 0;"
        "for $i : 0..1000000 { $s += $i; if ($s % 7 == 3) { $odd++; } } @s = $s; @odd = $odd;"
    )
    total = odd = 0
    for i in range(1_000_000):
        total += i
        odd += total % 7 == 3
    assert found == {"@s": {None: total}, "@odd": {None: odd}}


def test_more_rounds_than_the_kernel_allows_are_not_run(run):
    assert run("@n = 0; $a = 1 << 40; for $i : 0..$a { @n++; }") == {"@n": {None: 0}}


def test_bounds_are_evaluated_once(run):
    found = run("$a = 40; $n = 0; for $i : 0..$a { $a--; $n++; } @a = $a; @n = $n;")
    assert found == {"@a": {None: 0}, "@n": {None: 40}}


def test_assigning_the_loop_variable_changes_no_round(run):
    assert run("@n = 0; $b = 50; for $i : 0..$b { $i = 1000; @n += 1; }") == {"@n": {None: 50}}


def test_break_and_continue(run):
    found = run(
        "$n = 0; for $i : 0..1000 { if ($i % 3) { continue; } if ($i > 500) { break; } $n += $i; }"
        "@n = $n;"
    )
    assert found == {"@n": {None: sum(i for i in range(0, 501, 3))}}


def test_loops_in_loops(run):
    found = run(
        "$n = 0; for $i : 0..100 { for $j : 0..$i { if ($j == 50) { break; } $n++; } } @n = $n;"
    )
    assert found == {"@n": {None: sum(min(i, 50) for i in range(100))}}


def test_return_leaves_all_loops_at_once(run):
    found = run(
        "@k[1] = 1; for $i : 0..100 { for $kv : @k { for $j : 0..100 {"
        " @n++; if ($i == 2 && $j == 5) { return; } } } } @never = 1;"
    )
    assert found == {"@k": {1: 1}, "@n": {None: 206}}


def test_while_with_a_known_start_and_a_far_end(run):
    found = run("$i = 0; while ($i < 300000) { $i++; if ($i == 222222) { break; } } @i = $i;")
    assert found == {"@i": {None: 222222}}


def test_map_entries_keys_and_values(run):
    found = run(
        '@m[1, "a"] = 10; @m[2, "b"] = 20; @m[3, "c"] = 30;'
        "$n = 0; for $kv : @m { $n += $kv.0.0 * $kv.1; @copy[$kv.0.1] = $kv.1; } @n = $n;"
    )
    assert found["@n"] == {None: 140}
    assert found["@copy"] == {"a": 10, "b": 20, "c": 30}


def test_values_of_aggregates_are_merged(run):
    found = run(
        "@c[1] = count(); @c[1] = count(); @s[2] = sum(7); @s[2] = sum(8);"
        "@x[3] = max(4); @x[3] = max(9);"
        "@a[1] = avg(2); @a[1] = avg(4);"
        "for $kv : @c { @r[$kv.0] = $kv.1; } for $kv : @s { @r[$kv.0] = $kv.1; }"
        "for $kv : @x { @r[$kv.0] = $kv.1; } for $kv : @a { @r[4] = $kv.1; }"
    )
    assert found["@r"] == {1: 2, 2: 15, 3: 9, 4: 3}


def test_entries_may_be_deleted_while_a_loop_is_at_them(run):
    found = run(
        "for $i : 0..200 { @m[$i] = $i; } for $kv : @m { if ($kv.1 % 2) { delete(@m, $kv.0); } }"
        "@left = len(@m);"
    )
    assert found["@left"] == {None: 100}


def test_larger_variables_of_the_code_around(run):
    found = run(
        '$s = "none of them"; $t = (0, "x"); @m[1] = 5; @m[2] = 6;'
        'for $kv : @m { if ($kv.1 == 6) { $s = "six"; } $t = ($t.0 + $kv.1, "y"); }'
        "$u = (0, 1); for $i : 0..1000 { $u = ($u.0 + 1, $u.1); if ($u.0 == 900) { break; } }"
        "@s[$s] = 1; @t = $t.0; @u = $u.0;"
    )
    assert (found["@s"], found["@t"], found["@u"]) == ({"six": 1}, {None: 11}, {None: 900})


def test_functions_with_loops_that_return_from_inside():
    found = run_in_kernel(
        "fn root($n : int64) : int64 {"
        " for $i : 0..1000 { if ($i * $i >= $n) { return $i; } } return -1; }"
        "BEGIN { @m[1] = 1; @a = root(50);"
        " for $kv : @m { @b = root(90000); } @c = root(99999999); }"
    )
    assert (found["@a"], found["@b"], found["@c"]) == ({None: 8}, {None: 300}, {None: -1})


def test_more_variables_than_fit_on_the_stack(run):
    text = '"1234567890123456789012345678901234567890"'
    found = run(
        f'@m["a", "b"] = 1; $a = {text}; $b = $a; $c = $a; $d = $a; $h = (1, 2, 3, 4, 5, 6);'
        f"for $kv : @m {{ $x = (1, 2, {text}); $b = $a;"
        f" for $kw : @m {{ $y = (3, 4, {text}); $c = $d;"
        f" for $kx : @m {{ $z = (5, 6, {text}); @q[$z] = ($x, $y, $b, $h);"
        " @r = $x.0 + $y.1 + $z.0; }"
        " } }"
    )
    assert found["@r"] == {None: 10}

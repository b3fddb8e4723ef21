"""Constants that are worked out before types are known."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpflens.lang import nodes as n
from bpflens.lang.diagnostic import Diagnostics
from bpflens.lang.fold import Folder, evaluate
from bpflens.lang.named_option import split_words, unknown, usage
from bpflens.lang.parser import parse, parse_expression
from bpflens.lang.printer import unparse
from bpflens.lang.source import SourceMap


def fold(text, params=(), named=None, constants=None):
    diagnostics = Diagnostics()
    node = parse_expression(SourceMap().add("x", text), diagnostics)
    folder = Folder(diagnostics, params, named, (constants or {}).get)
    folded = folder.fold(node)
    return unparse(folded), [item.message for item in diagnostics]


def value(text, *params, **constants):
    shown, complaints = fold(text, params, constants=constants)
    assert complaints == []
    return shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("1 + 2 * 3", "7"),
        ("1 - 2", "-1"),
        ("-(5)", "-5"),
        ("- -5", "5"),
        ("7 / 2", "3"),
        ("-7 / 2", "-3"),
        ("-7 % 2", "-1"),
        ("7 % 3", "1"),
        ("1 << 63", "9223372036854775808"),
        ("3 << 63", "9223372036854775808"),
        ("256 >> 4", "16"),
        ("-1 >> 1", "-1"),
        ("0xf0 & 0x3c | 1 ^ 3", "50"),
        ("~0", "18446744073709551615"),
        ("~-1", "0"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("18446744073709551615 - 1", "18446744073709551614"),
        ("!0", "true"),
        ("!5", "false"),
        ("!true", "false"),
        ("1 == 1", "true"),
        ("-1 < 1", "true"),
        ("2 && 0", "false"),
        ("0 || 3", "true"),
        ("true && false", "false"),
        ("true == true", "true"),
        ('"a" == "a"', "true"),
        ('"a" < "b"', "true"),
        ('"a" + "b"', '"ab"'),
        ('"abc" + 1', '"bc"'),
        ('"abc" + 9', '""'),
        ('"abc"[1]', "98"),
        ('"abc"[3]', "0"),
        ("(1, 2) == (1, 2)", "true"),
        ("(1, (2, 3)) != (1, (2, 4))", "true"),
        ("(1, 2).1", "2"),
        ("(1, 2)[0]", "1"),
        ("(a = 1, b = 2) == (b = 2, a = 1)", "true"),
        ("(a = 1).a", "1"),
        ("1 ? 2 : 3", "2"),
        ("0 ?: 3", "3"),
        ("1 ? $x : 3", "1 ? $x : 3"),
        ("comptime 1 ? $x : $y", "$x"),
        ("comptime (1 + 1)", "2"),
        ("comptime f()", "comptime f()"),
        ("comptime comptime f()", "comptime f()"),
        ("pid + 1 + 2", "pid + 1 + 2"),
        ("pid + (1 + 2)", "pid + 3"),
        ("(uint8)1 + 2", "(uint8)1 + 2"),
        ('$x == "a"', '$x == "a"'),
        ("str(5)", '"5"'),
        ('str("abcdef", 3)', '"abc"'),
        ("str(arg0, 2 + 3)", "str(arg0, 5)"),
        ("if 1 { 2 } else { 3 }", "2"),
        ("$x == 1 && 1 < 2", "$x == 1 && true"),
    ],
)
def test_value(text, shown):
    assert value(text) == shown


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 / 0", "unable to fold literals due to overflow or underflow"),
        ("1 % 0", "unable to fold literals due to overflow or underflow"),
        ("18446744073709551615 + 1", "unable to fold literals due to overflow or underflow"),
        ("0 - 18446744073709551615", "unable to fold literals due to overflow or underflow"),
        ("1 << 64", "unable to fold literals due to overflow or underflow"),
        ("1 << -1", "unable to fold literals due to overflow or underflow"),
        ("-1 < 18446744073709551615", "unable to fold literals due to overflow or underflow"),
        ("-9223372036854775809", "negative value will underflow"),
        ('"a" - "b"', "illegal literal operation with strings"),
    ],
)
def test_no_value(text, message):
    assert fold(text)[1] == [message]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("$1", "7"),
        ("$1 + 1", "8"),
        ("$2", '"abc"'),
        ("$3", "-5"),
        ("$#", "4"),
        ("str($1)", '"7"'),
        ("str($2 + 1)", '"bc"'),
        ("str($9)", '""'),
        ('str($2) == "abc"', "true"),
        ("$4", "16"),
    ],
)
def test_positional_parameter(text, shown):
    assert value(text, "7", "abc", "-5", "0x10") == shown


def test_absent_parameter_warns():
    shown, complaints = fold("$1 + 1")
    assert shown == "1"
    assert complaints == ["Positional parameter $1 is empty or not provided."]


def test_parameters_may_be_left_for_later():
    diagnostics = Diagnostics()
    node = n.Positional(1)
    assert Folder(diagnostics, None).fold(node) is node


def test_constants():
    assert value("AF_INET + 1", AF_INET=2) == "3"
    assert value("NAME", NAME=b"x") == '"x"'
    assert value("OTHER") == "OTHER"


def test_branch_not_taken_is_not_looked_at():
    program = parse(
        SourceMap().add("x", "begin { if comptime ($1 == 1) { f(); } else { 1 / 0; } g(); }"),
        Diagnostics(),
    )
    diagnostics = Diagnostics()
    Folder(diagnostics, ["1"]).fold(program)
    assert list(diagnostics) == []
    assert unparse(program.items[0].body).split() == "{ { f(); } g(); }".split()


def test_if_comptime_without_a_branch_disappears():
    program = parse(SourceMap().add("x", "begin { if comptime 0 { f(); } g(); }"), Diagnostics())
    Folder(Diagnostics(), []).fold(program)
    (statement,) = program.items[0].body.statements
    assert unparse(statement) == "g()"


def test_macros_are_left_alone():
    program = parse(SourceMap().add("x", "macro m(x) { x + 1 + 2 }"), Diagnostics())
    Folder(Diagnostics(), [], None, {"x": 5}.get).fold(program)
    assert "x + 1 + 2" in unparse(program)


# named options


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('getopt("flag")', "true"),
        ('getopt("off")', "false"),
        ('getopt("no")', "false"),
        ('getopt("number", 5)', "7"),
        ('getopt("absent", 5)', "5"),
        ('getopt("absent", -5, "what it does")', "-5"),
        ('getopt("text", "x")', '"y"'),
        ('getopt("number", "x")', '"7"'),
    ],
)
def test_named_option(text, shown):
    named = split_words(["--flag", "--off=false", "--number=7", "--text=y", "word"])
    assert fold(text, named=named) == (shown, [])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("getopt($x)", "First argument to 'getopt' must be a string literal."),
        (
            'getopt("a", $x)',
            "Second argument to 'getopt' must be a string literal, integer literal, or a boolean "
            "literal.",
        ),
        (
            'getopt("a", 1, 2)',
            "Function 'getopt' requires the third parameter to be a string literal.",
        ),
        (
            "getopt()",
            "The 'getopt' function can take a maximum of three arguments and a minimum of one "
            "argument.",
        ),
        (
            '(getopt("a", 1), getopt("a", 2))',
            "Command line option 'a' needs to have the same default value in all places it is "
            "used. Previous default value: 1",
        ),
        (
            '(getopt("a", 1, "x"), getopt("a", 1, "y"))',
            "Command line option 'a' must have the same description in all places it's used.",
        ),
        ('getopt("word", 1)', "Command line option 'word' expects a number, got 'x'"),
    ],
)
def test_wrong_option(text, message):
    assert fold(text, named={"word": "x"})[1] == [message]


def test_options_of_a_script_are_known_afterwards():
    program = parse(
        SourceMap().add("x", 'begin { getopt("limit", 5, "how many"); getopt("all"); }'),
        Diagnostics(),
    )
    folder = Folder(Diagnostics(), [])
    folder.fold(program)
    assert usage(folder.options) == "  --all\n  --limit  how many (default 5)\n"
    assert unknown(folder.options, {"limit": "1", "limits": "1"}) == ["limits"]


# evaluation without a change


def test_evaluate_leaves_the_tree_alone():
    node = parse_expression(SourceMap().add("x", "A * (2 + 1) ? 5 : 6"), Diagnostics())
    assert evaluate(node, {"A": 2}.get) == 5
    assert unparse(node) == "A * (2 + 1) ? 5 : 6"
    assert evaluate(node, {}.get) is None


@given(st.integers(0, 100), st.integers(1, 100), st.sampled_from("+-*/%&|^"))
def test_arithmetic_is_that_of_c(left, right, op):
    expected = {"/": left // right, "%": left % right}.get(op)
    if expected is None:
        expected = eval(f"{left} {op} {right}")
    assert fold(f"{left} {op} {right}") == (str(expected), [])

"""Macros: what a use becomes, which macro it means, and what is refused."""

from __future__ import annotations

import pytest

from bpflens.lang import nodes as n
from bpflens.lang.diagnostic import Diagnostics, render
from bpflens.lang.macros import clone, expand
from bpflens.lang.parser import parse
from bpflens.lang.printer import unparse
from bpflens.lang.source import SourceMap


def run(text, is_function=lambda name: False):
    sources, diagnostics = SourceMap(), Diagnostics()
    program = parse(sources.add("stdin", text), diagnostics)
    assert not diagnostics.has_errors
    expand(program, diagnostics, (), is_function)
    return program, render(diagnostics, sources)


def expanded(text, **how):
    program, complaints = run(text, **how)
    assert complaints == ""
    (probe,) = program.items
    return " ".join(unparse(probe.body).split())


def complaint(text):
    return run(text)[1]


@pytest.mark.parametrize(
    ("macro", "use", "result"),
    [
        ("macro one() { 1 }", "$a = one();", "{ $a = { 1 }; }"),
        ("macro one() { 1 }", "$a = one + 2;", "{ $a = { 1 } + 2; }"),
        ("macro twice(x) { x + x }", "$a = twice(f(1));", "{ $a = { f(1) + f(1) }; }"),
        ("macro get(x) { x }", "$a = get($b);", "{ $a = { { $b } }; }"),
        ("macro put($v) { $v = 5; }", "put($a);", "{ { $a = 5; }; }"),
        ("macro put($v) { $v++; $v }", "$b = put($a);", "{ $b = { $a++; $a }; }"),
        ("macro add(@m, k) { @m[k] = 1; }", "add(@x, pid);", "{ { @x[pid] = 1; }; }"),
        ("macro own() { $x = 1; $x }", "$x = own();", "{ $x = { $$own_1_x = 1; $$own_1_x }; }"),
        (
            "macro own() { let $x : int8 = 1; $x }",
            "$x = own();",
            "{ $x = { let $$own_1_x : int8 = 1; $$own_1_x }; }",
        ),
        (
            "macro loop(@m) { for $kv : @m { f($kv); } }",
            "loop(@x);",
            "{ { for ($$loop_1_kv : @x) { f($$loop_1_kv); } }; }",
        ),
        (
            "macro a(x) { b(x) + 1 } macro b(x) { x * 2 }",
            "$r = a(pid);",
            "{ $r = { { pid * 2 } + 1 }; }",
        ),
        ("macro outer() { $y }", "$r = outer();", "{ $r = { $y }; }"),
        ("macro size(t) { sizeof(t) }", "$a = size(typeof(uint8));", "{ $a = { sizeof(uint8) }; }"),
        (
            "macro size(t) { sizeof(t) }",
            "$a = size(typeof(struct x *));",
            "{ $a = { sizeof(struct x *) }; }",
        ),
        ("macro size(t) { sizeof(t *) }", "$a = size(typeof(x));", "{ $a = { sizeof(x *) }; }"),
        ("macro size(t) { sizeof(struct t) }", "$a = size(x);", "{ $a = { sizeof(struct x) }; }"),
        ("macro to(t, x) { (t)x }", "$a = to(typeof(uint8), 5);", "{ $a = { (uint8)5 }; }"),
        ("macro to(t, x) { (t *)x }", "$a = to(typeof($b), 5);", "{ $a = { (typeof($b) *)5 }; }"),
        (
            "macro off(t, f) { offsetof(t, f) }",
            "$a = off(typeof(struct x), a.b.c);",
            "{ $a = { offsetof(struct x, a.b.c) }; }",
        ),
        ("macro one() { 1 }", "$a = sizeof(one);", "{ $a = sizeof(one); }"),
        ("macro one() { 1 }", "$a = sizeof(one());", "{ $a = sizeof({ 1 }); }"),
        ("macro one() { 1 }", "if (one) { one; }", "{ if ({ 1 }) { { 1 }; } }"),
    ],
)
def test_use(macro, use, result):
    assert expanded(f"{macro} begin {{ {use} }}") == result


def test_nested_use_of_one_macro_keeps_its_variables_apart():
    text = "macro inc(x) { $t = x; $t + 1 } begin { $a = inc(inc(1)); }"
    assert expanded(text) == (
        "{ $a = { $$inc_2_t = { $$inc_1_t = 1; $$inc_1_t + 1 }; $$inc_2_t + 1 }; }"
    )


def test_predicates_and_functions_are_expanded_too():
    program, complaints = run(
        "macro mine() { pid == 1 } fn f($a : int8) : int8 { return mine; } kprobe:f /mine/ { }"
    )
    assert complaints == ""
    function, probe = program.items
    assert isinstance(probe.predicate, n.Block)
    assert isinstance(function.body.statements[0].value, n.Block)


def test_overloads_by_number_and_kind():
    macros = (
        "macro m() { 0 } macro m($v) { 1 } macro m(@m) { 2 } macro m(x) { 3 } macro m(x, y) { 4 }"
    )
    use = "$a = (m(), m($v), m(@x), m(1), m(1, 2), m);"
    body = expanded(f"{macros} begin {{ {use} }}")
    assert body == "{ $a = ({ 0 }, { 1 }, { 2 }, { 3 }, { 4 }, { 0 }); }"


def test_function_of_the_language_of_another_signature_stays():
    text = "macro comm(x, y) { 1 } begin { $a = comm(1); $b = comm; $c = comm(1, 2); }"
    body = expanded(text, is_function=lambda name: name == "comm")
    assert body == "{ $a = comm(1); $b = comm; $c = { 1 }; }"


def test_unused_macros_disappear():
    program, complaints = run("macro bad() { @x = 1 } begin { }")
    assert complaints == ""
    assert len(program.items) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("macro a() { a() } begin { a(); }", "Recursive macro call detected. Call chain: a > a"),
        (
            "macro a() { b() } macro b() { c() } macro c() { b() } begin { a(); }",
            "Recursive macro call detected. Call chain: b > c > b",
        ),
        ("macro a(x) { 1 } macro a(y) { 2 } begin { }", "Redefinition of macro: a"),
        ("macro a(x) { 1 } macro a($y) { 2 } begin { }", "Redefinition of macro: a"),
        (
            "macro a($x, $x) { 1 } begin { }",
            "Variable for macro argument has already been used: $x",
        ),
        ("macro a(@x, @x) { 1 } begin { }", "Map for macro argument has already been used: @x"),
        ("macro a(x, x) { 1 } begin { }", "Ident for macro argument has already been used: x"),
        (
            "macro a() { @x = 1; } begin { a(); }",
            "Unhygienic access to map: @x. Maps must be passed into the macro as arguments.",
        ),
        (
            "macro a($x) { let $x = 1; } begin { a($y); }",
            "Variable declaration shadows macro arg $x",
        ),
        (
            "macro a(x) { 1 } begin { a(); }",
            "Call to a() has arguments that do not match any definition.",
        ),
        (
            "macro a(x) { 1 } begin { a(); }",
            "NOTE: The closest definition of a() has a different number of arguments. "
            "Expected: 1 but got 0",
        ),
        (
            "macro a(@m) { 1 } begin { a($x); }",
            "Mismatched arg. a() expects a map for arg @m but got a variable.",
        ),
        (
            "macro a($v) { 1 } begin { a(@x); }",
            "Mismatched arg. a() expects a variable for arg $v but got a map.",
        ),
        (
            "macro a($v) { 1 } begin { a(1); }",
            "Mismatched arg. a() expects a variable for arg $v but got an expression.",
        ),
        (
            "macro a(t) { sizeof(struct t) } begin { a(typeof(struct x)); }",
            "Invalid replacement for macro 'a' type parameter 't' "
            "which makes up the type 'struct t'",
        ),
        (
            "macro o(f) { offsetof(struct x, f) } begin { o($a.b); }",
            "FieldAccess expressions must be made up entirely of idents",
        ),
    ],
)
def test_complaint(text, message):
    assert message in complaint(text)


def test_expansion_has_a_limit():
    doubling = "".join(f"macro m{i}(x) {{ m{i + 1}(x + x) }} " for i in range(40))
    text = doubling + "macro m40(x) { x } begin { $a = m0(1); }"
    assert complaint(text).count("macros expand to more than") == 1


def test_clone_is_deep():
    program, _ = run("begin { $a = (1, 2); }")
    copy = clone(program)
    assert repr(copy) == repr(program)
    assert copy.items[0].body is not program.items[0].body
    assert copy.items[0].start == program.items[0].start

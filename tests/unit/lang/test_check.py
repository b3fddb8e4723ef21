"""Complaints of the type checker: what kind, what it says, which text it points at."""

from __future__ import annotations

import pytest

from script import check, codes


@pytest.mark.parametrize(
    ("statement", "message", "place"),
    [
        ('$x = 1; $x = "a"', "Type mismatch for $x", '$x = "a"'),
        ("print($nosuch)", "Undefined or undeclared variable: $nosuch", "$nosuch"),
        ("print(@nosuch)", "Undefined map: @nosuch", "@nosuch"),
        ("nosuch(1)", "Unknown function: 'nosuch'", "nosuch(1)"),
        ("print(nosuch)", "Unknown identifier: 'nosuch'", "nosuch"),
        ("@x = 1; @x[1] = 2", "@x used as a map with an explicit key", "@x[1]"),
        ('@x[1] = 1; @x["a"] = 2', "Argument mismatch for @x", '"a"'),
        ('@x = 1; @x = "a"', "Type mismatch for @x", '@x = "a"'),
        ("@x = count(); @x = 5", "Type mismatch for @x", "@x = 5"),
        ('printf("%d")', "printf: not enough arguments for format string", 'printf("%d")'),
        ('printf("a", 1)', "printf: too many arguments for format string", 'printf("a", 1)'),
        ('printf("%d", "a")', "printf: unsupported format specifier for type 'string': d", None),
        ("printf(1)", "printf() expects a string literal", "1"),
        ("hist(1, 2, 3)", "hist() takes up to 2 arguments (3 provided)", None),
        ("@ = lhist(1, 5, 1, 1)", "lhist() min must be less than max", None),
        ("@ = lhist(1, 0, 10000, 1)", "lhist() too many buckets", None),
        ("@ = hist(1, 9)", "hist: bits 9 must be 0..5", None),
        ("strlen(5)", "string-like values must be either strings", "5"),
        ("ntop((1, 2))", "ntop() expects an integer or array argument", None),
        ('pton("x.y")', "pton() expects an string argument of an IPv4/IPv6", None),
        ('macaddr("ab")', "macaddr() does not support literal string arguments", None),
        ('kaddr("nosuch")', "Failed to resolve kernel symbol: nosuch", None),
        ('cgroupid("/nosuch")', "Failed to get `cgroupid`", None),
        ('signal("KILL")', "signal() is unsafe. To use you need the --unsafe flag", None),
        ('system("ls")', "system() is an unsafe function being used in safe mode", None),
        ("override(1)", "override() can only be used inside kprobes", None),
        ('reg("nosuch")', "'nosuch' is not a valid register", None),
        ('fail("no %d", 5)', "no 5", None),
        ('static_assert(1 == 2, "never")', "never", None),
        ("strftime(1, 2)", "strftime() expects a string literal", None),
        ('strftime("%H", nsecs(monotonic))', "strftime() can not take a monotonic", None),
        ("unroll(101) { }", "unroll maximum value is 100", "101"),
        ("break", "break statement outside of a loop", "break"),
        ("$a = (1, 2); print($a.5)", "Invalid tuple index: 5", None),
        ("$a = 1; print($a.x)", "Can not access field 'x'", None),
        ("$a = (int8[4])1; print($a[9])", "the index 9 is out of bounds", None),
        ("print(*5)", "Can not dereference type", None),
        ("let $a = 1; let $a = 2", "Variable $a was already declared", None),
        ("print(args)", "The args builtin can only be used with", "args"),
        ("print(arg0)", "The arg0 builtin can only be used with", "arg0"),
        ("print(retval)", "The retval builtin can only be used with", "retval"),
        ("@x = 1; print(len(@x))", "call to len() expects a map with explicit keys", None),
        ("@x = 1; print(has_key(@x, 1))", "call to has_key() expects a map with", None),
        ("clear(5)", "clear() expects a map", "5"),
        ("$x = printf", "Unknown identifier: 'printf'", "printf"),
        ("print(typeinfo(1).base_type)", "typeinfo feature is not enabled by default", None),
    ],
)
def test_a_mistake_is_named_and_pointed_at(statement, message, place):
    found = check(f"begin {{ {statement}; }}")
    matching = [item for item in found if item[1].startswith(message)]
    assert matching, found
    if place is not None:
        assert place in [item[2] for item in matching]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("let @a = nosuch(5); begin { @a[1] = 1; }", "map-type"),
        ("let @a = hash(0); begin { @a[1] = 1; }", "map-type"),
        ("let @a = hash(5); begin { }", "unused-map"),
        ("begin { exit(); print(1); }", "unreachable"),
        ("begin { 1 + 2; }", "discarded"),
        ("begin { while (1) { break; } }", "deprecated"),
        ('begin { debugf("x"); }', "debugf"),
        ("fn f($a : int64) : int64 { return f($a); } begin { print(f(1)); }", "recursion"),
        ("fn f($a : int64) : int64 { return $a; } begin { print(f(1, 2)); }", "arguments"),
        ('fn f($a : int64) : int64 { return $a; } begin { print(f("x")); }', "arguments"),
        ('fn f() : int64 { return "x"; } begin { }', "return"),
        ("fn f() : int64 { $a = 1; } begin { }", "return"),
        ("fn f($a : int64) : int64 { return $b; } begin { }", "undefined-variable"),
    ],
)
def test_a_complaint_has_a_code(text, code):
    assert code in codes(text)


@pytest.mark.parametrize(
    "statement",
    [
        "$x = 1; $x = 300; $x = -5",
        '@x = "a"; @x = "longer text"',
        "@x[1] = 1; @x[0xffffffff] = 2",
        '@x[1, "a"] = 1; @x[300, "bcd"] = 2',
        "@x = (1, 2); @x = (300, -1)",
        "$a = (a=1, b=2); $a = (b=3, a=4)",
        "@m[1] = count(); print((int64)@m[1])",
        "if (@a == 1) { @a = 2 }",
        "$x = @y; @y = 5",
        "@ = { let $a = 100; avg($a) }",
        '$a = 1 ? buf("a", 1) : buf("bc", 2)',
        'find(@m, 1, $out); @m[1] = (1, "x")',
        "_ = 5",
        "print({ 5 })",
        "for $i : 0..3 { print($i); }",
        'printf("%s %d %x %p %c %%", "a", 1, 2, 3, 65)',
        "@p = (int32 *)5; @p++; @p += 2",
    ],
)
def test_what_is_right_is_accepted(statement):
    assert codes(f"begin {{ {statement}; }}") == []


def test_nothing_unsafe_is_refused_when_allowed():
    assert codes('begin { system("ls"); }', unsafe=True) == []


def test_an_unknown_name_gets_the_nearest_one_as_a_hint():
    from bpflens.errors import CompileError
    from script import compilation

    made = compilation("begin { prinf(1); }")
    with pytest.raises(CompileError):
        made.run()
    assert any("printf" in hint for item in made.diagnostics.items for hint in item.hints)


@pytest.mark.parametrize(
    ("body", "complaints"),
    [
        ("let $a : int64; print($a)", ["unassigned"]),
        ("let $a : int64; $a++", []),
        ("let $a : int64; $a += 2", []),
        ("let $a = 1", []),
        ("let $a; $a = 1", []),
    ],
)
def test_a_variable_that_never_gets_a_value_is_told(body, complaints):
    assert codes(f"begin {{ {body}; }}") == complaints

"""What the parser makes of scripts, right and wrong."""

from __future__ import annotations

import time

import pytest

import data_case
from bpflens.lang import nodes as n
from bpflens.lang.diagnostic import Diagnostics, render
from bpflens.lang.parser import parse, parse_expression
from bpflens.lang.printer import dump, unparse
from bpflens.lang.source import SourceMap


def read(text):
    sources, diagnostics = SourceMap(), Diagnostics()
    program = parse(sources.add("stdin", text), diagnostics)
    return program, render(diagnostics, sources)


def statements(text):
    program, complaints = read("begin { " + text + " }")
    assert complaints == ""
    return program.items[0].body.statements


def expression(text):
    sources, diagnostics = SourceMap(), Diagnostics()
    node = parse_expression(sources.add("x", text), diagnostics)
    assert render(diagnostics, sources) == ""
    return node


@data_case.parametrize("parser.test")
def test_tree(case, update_data):
    program, complaints = read(case.text)
    case.check(complaints or dump(program), update_data)


@data_case.parametrize("syntax_error.test")
def test_syntax_error(case, update_data):
    case.check(read(case.text)[1], update_data)


@pytest.mark.parametrize(
    ("text", "grouped"),
    [
        ("1 + 2 * 3", "(1 + (2 * 3))"),
        ("1 * 2 + 3", "((1 * 2) + 3)"),
        ("1 - 2 - 3", "((1 - 2) - 3)"),
        ("1 || 2 && 3", "(1 || (2 && 3))"),
        ("1 && 2 | 3", "(1 && (2 | 3))"),
        ("1 | 2 ^ 3", "(1 | (2 ^ 3))"),
        ("1 ^ 2 & 3", "(1 ^ (2 & 3))"),
        ("1 & 2 == 3", "(1 & (2 == 3))"),
        ("1 == 2 < 3", "(1 == (2 < 3))"),
        ("1 < 2 << 3", "(1 < (2 << 3))"),
        ("1 << 2 + 3", "(1 << (2 + 3))"),
        ("-1 * 2", "((-1) * 2)"),
        ("!pid == 2", "((!pid) == 2)"),
        ("*$p + 1", "((*$p) + 1)"),
        ("-$x.a", "(-$x.a)"),
        ("-$x++", "(-$x++)"),
        ("- -1", "(-(-1))"),
        ("1 ? 2 : 3 ? 4 : 5", "(1 ? 2 : (3 ? 4 : 5))"),
        ("1 ? 2 ? 3 : 4 : 5", "(1 ? (2 ? 3 : 4) : 5)"),
        ("1 || 2 ?: 3", "((1 || 2) ?: 3)"),
        ("(uint8)1 + 2", "((uint8)1 + 2)"),
        ("(uint8)-$x", "(uint8)(-$x)"),
        ("$a < $b == $c > $d", "(($a < $b) == ($c > $d))"),
        ("1 +2", "(1 + 2)"),
        ("$a--- $b", "($a-- - $b)"),
        ("1 % 2 / 3", "((1 % 2) / 3)"),
    ],
)
def test_precedence(text, grouped):
    assert group(expression(text)) == grouped


def group(node):
    match node:
        case n.Binary(op, left, right):
            return f"({group(left)} {op} {group(right)})"
        case n.Unary(op, operand):
            return f"({op}{group(operand)})"
        case n.Ternary(condition, None, otherwise):
            return f"({group(condition)} ?: {group(otherwise)})"
        case n.Ternary(condition, then, otherwise):
            return f"({group(condition)} ? {group(then)} : {group(otherwise)})"
        case n.Cast(type, operand):
            return f"({unparse(type)}){group(operand)}"
    return unparse(node)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("123", 123),
        ("0755", 0o755),
        ("0x1F", 31),
        ("0XfF", 255),
        ("1_000_000", 1_000_000),
        ("0xff_ff", 65535),
        ("1e6", 1_000_000),
        ("9e18", 9 * 10**18),
        ("5u", 5),
        ("5ul", 5),
        ("5ULL", 5),
        ("5ll", 5),
        ("5ns", 5),
        ("5us", 5_000),
        ("5ms", 5_000_000),
        ("5s", 5_000_000_000),
        ("2m", 120_000_000_000),
        ("1h", 3_600_000_000_000),
        ("1d", 86_400_000_000_000),
        ("18446744073709551615", (1 << 64) - 1),
        ("0xffffffffffffffff", (1 << 64) - 1),
    ],
)
def test_integer(text, value):
    node = expression(text)
    assert (node.value, node.text) == (value, text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r'"a b"', b"a b"),
        (r'"\n\t\r\"\\"', b'\n\t\r"\\'),
        (r'"\0\12\101"', b"\0\nA"),
        (r'"\1234"', b"S4"),
        (r'"\x41\x4\xfg"', b"A\x04\x0fg"),
        (r'"\377\xff"', b"\xff\xff"),
        ('"é€"', "é€".encode()),
        ('"\udcff"', b"\xff"),
        ('"// no comment /* */"', b"// no comment /* */"),
        ('""', b""),
    ],
)
def test_string(text, value):
    assert expression(text).value == value


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("(uint64)1", "Cast"),
        ("(struct sock *)arg0", "Cast"),
        ("(typeof($x))1", "Cast"),
        ("(uint8[4])$x", "Cast"),
        ("(string[64])$x", "Cast"),
        ("(uint8 *)$x", "Cast"),
        ("(pid_t)-1", "Cast"),
        ("(task)$x", "Cast"),
        ("(unsigned long)$x", "Cast"),
        ("(unsigned long)-1", "Cast"),
        ("(nsecs) - 1", "Binary"),
        ("(cpu) * 2", "Binary"),
        ("(arg0) & 7", "Binary"),
        ("(nsecs) + 1", "Binary"),
        ("(pid == 1)", "Binary"),
        ("(a * b)", "Binary"),
        ("(foo)", "Identifier"),
        ("(foo) / 2", "Binary"),
        ("(foo())", "Call"),
        ("($x) - 1", "Binary"),
        ("(1,)", "Tuple"),
        ("()", "Tuple"),
        ("(1, 2, 3,)", "Tuple"),
        ("(a = 1)", "Record"),
        ("(pid = 1, comm = 2)", "Record"),
        ("(a == 1)", "Binary"),
    ],
)
def test_what_parentheses_mean(text, shown):
    assert type(expression(text)).__name__ == shown


def test_parenthesised_macro_name_is_no_cast():
    program, complaints = read("macro two() { 2 } macro less(x) { (x) - 1 } begin { (two) - 1 }")
    assert complaints == ""
    assert isinstance(program.items[1].body.result, n.Binary)
    assert isinstance(program.items[2].body.statements[0].expr, n.Binary)


@pytest.mark.parametrize(
    ("script", "points", "has_predicate"),
    [
        ("BEGIN { }", ["BEGIN"], False),
        ("kprobe:f /pid == 1/ { }", ["kprobe:f"], True),
        ("kprobe:f/pid == 1/{ }", ["kprobe:f"], True),
        ("kprobe:f /pid / 2/\n{ }", ["kprobe:f"], True),
        ("kprobe:f /pid/ /* why */ { }", ["kprobe:f"], True),
        ("kprobe:f // no predicate\n{ }", ["kprobe:f"], False),
        ("uprobe:/bin/bash:readline /1/ { }", ["uprobe:/bin/bash:readline"], True),
        ("uprobe:/bin/bash:readline{ }", ["uprobe:/bin/bash:readline"], False),
        ("u:/lib/*:f { }", ["u:/lib/*:f"], False),
        ("t:a:b,t:c:d { }", ["t:a:b", "t:c:d"], False),
        ("t:a:b,\n  t:c:d,\n{ }", ["t:a:b", "t:c:d"], False),
        ("t:a:b, /1/ { }", ["t:a:b"], True),
        ('u:./x:cpp:"ns::f(int, char)" { }', ['u:./x:cpp:"ns::f(int, char)"'], False),
        ("kprobe:$1+$2 { }", ["kprobe:$1+$2"], False),
        ("u:./x@main.c:12:3 { }", ["u:./x@main.c:12:3"], False),
        ("u:/proc/$container_pid/exe:main { }", ["u:/proc/$container_pid/exe:main"], False),
        ("iter:task:/sys/fs/bpf/x { }", ["iter:task:/sys/fs/bpf/x"], False),
        ("kprobe:sys_[ab]*{ }", ["kprobe:sys_[ab]*"], False),
        ("interval:s:1{ }", ["interval:s:1"], False),
    ],
)
def test_attach_points(script, points, has_predicate):
    program, complaints = read(script)
    assert complaints == ""
    (probe,) = program.items
    assert [point.text for point in probe.attach_points] == points
    assert (probe.predicate is not None) == has_predicate


def test_attach_point_with_a_name():
    program, _ = read("mine=kprobe:f, u:/a=b:f { }")
    points = program.items[0].attach_points
    assert [(point.name, point.text) for point in points] == [
        ("mine", "kprobe:f"),
        ("", "u:/a=b:f"),
    ]


def test_probe_spans_its_attach_points():
    program, _ = read("  kprobe:f, kprobe:g /1/ { }")
    assert (program.items[0].start, program.items[0].end) == (2, 20)


def test_last_statement_needs_no_semicolon():
    assert [type(item).__name__ for item in statements("$a = 1; $b = 2")] == ["Assign", "Assign"]


def test_statement_after_a_block_needs_no_semicolon():
    text = "if (1) { 2 } ++$x; { 3 } $y++; while (0) { } unroll (2) { } for $i : 0..2 { } exit()"
    kinds = [type(item).__name__ for item in statements(text)]
    assert kinds == [
        "If", "ExprStmt", "Block", "ExprStmt", "While", "Unroll", "ForRange", "ExprStmt",
    ]  # fmt: skip


def test_empty_statement():
    assert len(statements("; if (1) { }; $a = 1;;")) == 2


def test_if_value():
    (assign,) = statements("$a = if ($b) { f(); 1 } else if $c { 2 } else { 3 }")
    assert assign.value.then.result.value == 1
    assert assign.value.otherwise.otherwise.result.value == 3


def test_statement_if_has_no_value():
    (node,) = statements("if (1) { 2 } else { if (3) { 4 } else { 5 } }")
    assert node.then.result is None
    inner = node.otherwise.statements[0]
    assert isinstance(inner, n.If)
    assert isinstance(inner.otherwise.statements[0], n.ExprStmt)


def test_word_of_the_language_is_a_name_elsewhere():
    (assign, call) = statements("$a = $b.for + args.if.config; fn(macro)")
    assert unparse(assign) == "$a = $b.for + args.if.config"
    assert unparse(call) == "fn(macro)"


def test_underscore_is_a_name_unless_assigned():
    discard, compare = statements("_ = f(); _ == 1")
    assert isinstance(discard, n.Discard)
    assert isinstance(compare.expr, n.Binary)


def test_positions_count_from_the_base_of_the_source():
    sources, diagnostics = SourceMap(), Diagnostics()
    sources.add("first", "12345")
    program = parse(sources.add("second", "begin { $x }"), diagnostics)
    node = program.items[0].body.statements[0].expr
    assert sources.location(node.start) == ("second", 1, 9)
    assert sources.location(node.end) == ("second", 1, 11)


def test_too_many_errors_end_parsing():
    _, complaints = read("begin { " + "1 1; " * 1000 + "}")
    assert complaints.count("expected ';'") == 20
    assert "giving up" in complaints


def test_unclosed_block_says_where_it_began():
    _, complaints = read("begin {\n  if (1) {\n}")
    assert "expected '}'" in complaints
    assert "stdin:1:7-8: NOTE: this block is not closed" in complaints


@pytest.mark.parametrize(
    "nested",
    [
        "begin { $x = " + "(" * 10_000 + "1" + ")" * 10_000 + "; }",
        "begin { $x = " + "-" * 10_001 + "1; }",
        "begin { $x = " + "!" * 10_000 + "1; }",
        "begin { " + "{" * 10_000 + "}" * 10_000 + " }",
        "begin { " + "if (1) {" * 10_000 + "}" * 10_000 + " }",
        "begin { if (1) { } " + "else if (1) { }" * 10_000 + " }",
        "begin { $x = " + "@[" * 10_000 + "1" + "]" * 10_000 + "; }",
        "begin { $x = " + "f(" * 10_000 + "1" + ")" * 10_000 + "; }",
        "begin { $x = " + "1 ? " * 10_000 + "1" + " : 1" * 10_000 + "; }",
        "begin { $x = " + "1 ? 1 : " * 10_000 + "1; }",
        "begin { $x = " + "1 + " * 10_000 + "1; }",
        "begin { $x = $y" + ".a" * 10_000 + "; }",
        "begin { $x = (" + "uint8)(" * 10_000 + "1); }",
        "begin { $x = " + "comptime " * 10_000 + "1; }",
        "begin { $x = sizeof(typeof(" + "typeof(" * 10_000 + "; }",
        "begin { " + "for $i : 0..1 { " * 10_000 + "}" * 10_000 + " }",
        "begin { let $x : " + "typeof(" * 10_000 + "1" + ")" * 10_000 + "; }",
    ],
    ids=lambda text: text[:24],
)
def test_depth_is_limited(nested):
    _, complaints = read(nested)
    assert "nested too deeply" in complaints or "expression too long" in complaints


def test_reasonable_depth_is_fine():
    deep = "begin { $x = " + "(" * 150 + "1" + ")" * 150 + "; }"
    assert read(deep)[1] == ""
    assert read("begin /" + " || ".join(f"pid == {i}" for i in range(500)) + "/ { }")[1] == ""


@pytest.mark.slow
def test_a_megabyte_parses_in_two_seconds():
    probe = (
        'kprobe:f /pid == 1 || comm == "abc"/ { $x = (struct sock *)arg0; '
        "$y = $x->__sk_common.skc_family + 5 * 3; if ($y == AF_INET) { @[pid, comm] = count(); } "
        'printf("%d %s\\n", pid, comm); delete(@s, tid); }\n'
    )
    script = probe * (1_000_000 // len(probe))
    start = time.process_time()
    program, complaints = read(script)
    assert time.process_time() - start < 2
    assert complaints == ""
    assert len(program.items) == 1_000_000 // len(probe)

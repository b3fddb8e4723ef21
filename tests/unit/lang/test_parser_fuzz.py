"""The parser never raises, whatever it is given, and its trees survive a trip through text."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bpflens.lang.diagnostic import Diagnostics, render
from bpflens.lang.parser import parse
from bpflens.lang.printer import dump, unparse
from bpflens.lang.source import SourceMap

SCRIPTS = [
    'kprobe:f /pid == 1 || comm == "abc"/ { @a[pid, comm] = hist((nsecs - @b[tid]) / 1000); }',
    "begin { if ($a < 1) { $b++; } else if $c { 2 } else { 3 } $d = $e ? 1 : 2 ?: 3; }",
    '#!/x\n#include <a.h>\nstruct x { int a; };\nconfig = { a = 1; b = x }\nimport "y";\nbegin{}',
    "macro m($a, @b, c) { let $x : uint8[4]* = (uint8[4]*)$a; @b[c] = ($x, 1,); (a=1).a }",
    "fn f($a : struct x *) : void { return; } let @m = lruhash(10);",
    'x=u:/a/b:"c,d":e*,t:x:y /1/ {}',
    "begin { for ($kv : @m) { break; } for $i : 0..10 { continue } unroll(3) { } while (1) { } }",
    'begin { printf("%d\\n\\x41\\101", sizeof(struct x *), offsetof(struct y, a.b), $1, $#); }',
    "begin { _ = -$x.y->z[1].0 << 2 & ~3; *$p; !@a[1]; &$x; &@y; comptime typeinfo(1) }",
]  # fmt: skip
PIECES = [
    "{", "}", "(", ")", "[", "]", ";", ",", ":", "::", "/", "//", "/*", "*/", "\"", "\\", "$", "@",
    "$x", "@x", "$1", "$#", "#", "\n", " ", "if", "else", "for", "while", "unroll", "let", "macro",
    "fn", "import", "config", "struct x", "typeof(", "sizeof", "=", "==", "++", "--", "->", ".",
    "..", "?", "1", "0x", "1e", "5ms", "08", "true", "pid", "kprobe:f", "u:/a:b", "begin", "'", "é",
    "\udcff", "\ud800", "\0", "(uint8)", "(x)", "*", "&", "!", "~", "%", "<<=", "_",
]  # fmt: skip


OPERATORS = "|| && | ^ & == != < <= > >= << >> + - * / %".split()


def read(text):
    sources, diagnostics = SourceMap(), Diagnostics()
    program = parse(sources.add("x", text), diagnostics)
    for item in diagnostics:
        assert 0 <= item.start <= item.end <= len(text), item
    complaints = render(diagnostics, sources)
    dump(program)
    return program, complaints


@given(st.text())
def test_any_text(text):
    read(text)


@given(st.text(alphabet=st.characters(max_codepoint=0x7F)))
def test_any_ascii_inside_a_probe(text):
    read("begin { " + text + " }")


@given(st.binary())
def test_any_bytes(data):
    read(data.decode("utf-8", "surrogateescape"))


@settings(max_examples=400)
@given(st.lists(st.sampled_from(PIECES)), st.sampled_from(["", "begin { ", "kprobe:f /"]))
def test_any_sequence_of_tokens(pieces, head):
    read(head + "".join(pieces))


@settings(max_examples=300)
@given(st.sampled_from(SCRIPTS), st.randoms(use_true_random=False))
def test_damaged_scripts(script, rng):
    text = script
    for _ in range(rng.randrange(1, 5)):
        at, end = sorted((rng.randrange(len(text) + 1), rng.randrange(len(text) + 1)))
        choice = rng.randrange(4)
        if choice == 0:
            text = text[:at] + text[end:]
        elif choice == 1:
            text = text[:at] + rng.choice(PIECES) + text[at:]
        elif choice == 2:
            text = text[:at] + text[at:end] + text[at:]
        else:
            text = text[:at]
    program, complaints = read(text)
    if not complaints:
        same_after_printing(program)


@pytest.mark.parametrize("script", SCRIPTS)
def test_printed_tree_parses_to_the_same(script):
    program, complaints = read(script)
    assert complaints == ""
    same_after_printing(program)


def same_after_printing(program):
    text = unparse(program)
    again, complaints = read(text)
    assert complaints == "", text
    assert repr(again) == repr(program), text


def test_generated_expressions_print_and_parse_to_the_same():
    rng = random.Random(20)
    for _ in range(400):
        program, complaints = read("begin { $x = " + expression(rng, 5) + "; }")
        assert complaints == ""
        same_after_printing(program)


def expression(rng, depth):
    if depth == 0:
        return rng.choice(["1", "0x10", '"s"', "$x", "@m", "@m[1, 2]", "pid", "$1", "true"])

    def sub():
        return expression(rng, depth - 1)

    return rng.choice([
        lambda: f"{sub()} {rng.choice(OPERATORS)} {sub()}",
        lambda: f"({sub()})",
        lambda: f"{rng.choice('-!~*')} {sub()}",
        lambda: f"({sub()}) ? {sub()} : {sub()}",
        lambda: f"{sub()} ?: {sub()}",
        lambda: f"(uint8)({sub()})",
        lambda: f"(struct x *){rng.choice(['$p', 'arg0', '@m'])}",
        lambda: f"({sub()}).a->b",
        lambda: f"({sub()})[{sub()}]",
        lambda: f"f({sub()}, {sub()})",
        lambda: f"({sub()}, {sub()})",
        lambda: f"({sub()},)",
        lambda: f"(a = {sub()}, b = {sub()})",
        lambda: f"if ({sub()} == 1) {{ {sub()} }} else {{ {sub()} }}",
        lambda: f"({{ $y = {sub()}; {sub()} }})",
        lambda: f"comptime ({sub()})",
        lambda: f"sizeof({sub()})",
        lambda: "$x++",
        lambda: "--@m[1]",
    ])()  # fmt: skip

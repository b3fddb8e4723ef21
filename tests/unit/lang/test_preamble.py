"""C definitions in front of a script: constants, types and their layout, conditions, headers."""

from __future__ import annotations

import random
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpflens.lang import header_constant
from bpflens.lang.diagnostic import Diagnostics, render
from bpflens.lang.parser import parse
from bpflens.lang.preamble import build, is_kernel_header
from bpflens.lang.printer import unparse
from bpflens.lang.source import SourceMap
from bpflens.lang.types import Array, Enum, FieldInfo, Int, Pointer, String, Struct

SOCK = Struct(
    "struct sock",
    24,
    lambda: [FieldInfo("family", Int(2, False), 0), FieldInfo("next", Pointer(Int(8, False)), 16)],
)


def lookup(name, tag):
    return {("sock", "struct"): SOCK, ("kuid_t", ""): Int(4, False)}.get((name, tag))


def read(text, headers=None):
    sources, diagnostics = SourceMap(), Diagnostics()
    program = parse(sources.add("stdin", text + "\nbegin { }"), diagnostics)
    headers = headers or {}
    preamble = build(
        program.preamble, diagnostics, sources, lookup=lookup, read_include=headers.get
    )
    return preamble, render(diagnostics, sources)


def good(text, headers=None):
    preamble, complaints = read(text, headers)
    assert complaints == ""
    return preamble


def layout(text, name="x", tag="struct"):
    struct = good(text).type(name, tag)
    return struct.size, [(field.name, field.offset) for field in struct.fields]


# constants


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("#define A 5", 5),
        ("#define A (1 << 3) | 1", 9),
        ("#define A 2 /* IPv4 */", 2),
        ("#define A 2 // two", 2),
        ("#define\tA\t0x10", 16),
        ("# define A -1", -1),
        ("#define A 10UL", 10),
        ("#define B 5\n#define A (B + 1)", 6),
        ("#define A (B + 1)\n#define B 5", 6),
        ("#define A \\\n  7", 7),
        ("#define A 'a'", 97),
        (r"#define A '\n'", 10),
        ('#define A "text"', b"text"),
        ("#define A 1\n#undef A\n#define A 2", 2),
        ("#define A 1\n#undef A", None),
        ("#define A A", None),
        ("#define A B\n#define B A", None),
        ("#define A", None),
        ("#define A __attribute__((packed))", None),
        ("enum e { B = 3 };\n#define A (B * 2)", 6),
    ],
)
def test_constant(text, value):
    assert good(text).constant("A") == value


def test_defines_that_are_expressions_become_macros():
    text = "#define LOW(x, y) ((x) & 0xff | y)\n#define ME pid\n#define C 1\n#define T unsigned int"
    assert [unparse(macro).split("\n") for macro in good(text).macros()] == [
        ["macro LOW(x, y) {", "  x & 0xff | y", "}"],
        ["macro ME() {", "  pid", "}"],
    ]


# types


@pytest.mark.parametrize(
    ("body", "size", "offsets"),
    [
        ("int a; char b; long c;", 16, [("a", 0), ("b", 4), ("c", 8)]),
        ("char a; short b; int c;", 8, [("a", 0), ("b", 2), ("c", 4)]),
        ("u8 a; u64 b; u8 c;", 24, [("a", 0), ("b", 8), ("c", 16)]),
        ("char a[3]; int b[2][2];", 20, [("a", 0), ("b", 4)]),
        ("char a; void *p; const char *const q;", 24, [("a", 0), ("p", 8), ("q", 16)]),
        ("int (*f)(int, void *); int g;", 16, [("f", 0), ("g", 8)]),
        ("int a, *b, c[2];", 24, [("a", 0), ("b", 8), ("c", 16)]),
        ("struct { char a; int b; }; int c;", 12, [("a", 0), ("b", 4), ("c", 8)]),
        ("char p; union { int a; long b; }; u8 c;", 24, [("p", 0), ("a", 8), ("b", 8), ("c", 16)]),
        ("char a; struct sock s;", 32, [("a", 0), ("s", 8)]),
        ("struct sock *s; kuid_t uid;", 16, [("s", 0), ("uid", 8)]),
        ("unsigned long long a; unsigned b; long int c;", 24, [("a", 0), ("b", 8), ("c", 16)]),
        ("char n; char data[];", 1, [("n", 0), ("data", 1)]),
        ("char a; int b __attribute__((packed)); char c;", 6, [("a", 0), ("b", 1), ("c", 5)]),
        ("char a; char b __attribute__((aligned(8)));", 16, [("a", 0), ("b", 8)]),
        ("double d; float f; char c;", 16, [("d", 0), ("f", 8), ("c", 12)]),
        ("enum { X, Y } e; char c;", 8, [("e", 0), ("c", 4)]),
        ("struct x *next; int a;", 16, [("next", 0), ("a", 8)]),
        ("struct { int a; } in; char b;", 8, [("in", 0), ("b", 4)]),
        ("", 0, []),
        ("__be32 a; __u16 b; uint8_t c; size_t d; pid_t e; bool f;", 24, [
            ("a", 0), ("b", 4), ("c", 6), ("d", 8), ("e", 16), ("f", 20)]),
    ],
)  # fmt: skip
def test_layout(body, size, offsets):
    found = layout(f"struct x {{ {body} }};")
    assert found == (size, offsets)


def test_packed_before_and_behind():
    body = "{ char a; int b; short c; }"
    packed = (7, [("a", 0), ("b", 1), ("c", 5)])
    assert layout(f"struct __attribute__((packed)) x {body};") == packed
    assert layout(f"struct x {body} __attribute__((packed));") == packed
    assert layout(f"struct x {body} __packed;") == packed
    assert layout(f"#define PK __attribute__((packed))\nstruct PK x {body};") == packed


def test_union():
    assert layout("union x { char a; long b; short c[6]; };", tag="union") == (
        16,
        [("a", 0), ("b", 0), ("c", 0)],
    )


def test_bitfields():
    struct = good("struct x { int a : 3; int b : 30; unsigned char c : 4; u64 d : 1; };").type(
        "x", "struct"
    )
    bits = [(field.name, field.bit_offset, field.bit_size) for field in struct.fields]
    assert bits == [("a", 0, 3), ("b", 32, 30), ("c", 64, 4), ("d", 68, 1)]
    assert struct.size == 16


def test_types_of_fields():
    struct = good(
        "typedef struct { int q; } t;\nenum color { RED, BLUE = 5 };\n"
        "struct x { char name[16]; unsigned char mac[6]; int m[2][3]; enum color c; t v; "
        "struct x *next; };"
    ).type("x", "struct")
    types = {field.name: field.type for field in struct.fields}
    assert types["name"] == String(16)
    assert types["mac"] == Array(Int(1, False), 6)
    assert types["m"] == Array(Array(Int(4, True), 3), 2)
    assert types["c"].values == {0: "RED", 5: "BLUE"}
    assert types["v"].field("q").offset == 0
    assert types["next"].target is struct


def test_typedefs():
    preamble = good("typedef unsigned int u, *pu, au[3];\ntypedef int (*fn)(void);")
    assert preamble.type("u", "") == Int(4, False)
    assert preamble.type("pu", "") == Pointer(Int(4, False))
    assert preamble.type("au", "") == Array(Int(4, False), 3)
    assert isinstance(preamble.type("fn", ""), Pointer)
    assert preamble.type("other", "") is None


def test_enumerators_keep_their_type():
    preamble = good("enum color { RED, GREEN = 1 << 4, BLUE, DARK = GREEN + 9 };")
    number, kind = preamble.enumerator("BLUE")
    assert number == 17
    assert isinstance(kind, Enum)
    assert kind.name == "enum color"
    assert preamble.enumerator("DARK")[0] == 25
    assert good("enum { A = -1 };").enumerator("A")[1].signed
    assert good("enum { A = 0x100000000 };").enumerator("A")[1].size == 8


def test_pointer_to_a_struct_of_the_kernel():
    preamble = good("struct x { struct sock *sk; };")
    target = preamble.type("x", "struct").field("sk").type.target
    assert target.field("next").offset == 16
    assert preamble.type("sock", "struct") is None


def test_own_definition_hides_the_one_of_the_kernel():
    preamble = good("struct x { struct sock *sk; };\nstruct sock { int mine; };")
    assert preamble.type("x", "struct").field("sk").type.target.field("mine").offset == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("struct x { unknown a; };", "stdin:1:12-19: ERROR: syntax: unknown type name 'unknown'"),
        ("struct x { struct y a; };", "field 'a' has incomplete type 'struct y'"),
        ("struct x { int a[n]; };", "expected a constant integer"),
        ("struct x { int a : 40; };", "bad width of bitfield 'a'"),
        ("struct x { int a b; };", "expected ';' after a field"),
        ("enum e { 1 };", "expected the name of an enumerator"),
        ("typedef int;", "expected a name for this typedef"),
        ("#foo", "invalid preprocessing directive '#foo'"),
        ("#error no way", "ERROR: no way"),
        ("#define", "a #define needs a name"),
        ("#define F(1) 2", "bad parameters of the macro 'F'"),
        ("#endif", "#endif without #if"),
        ("#if 1", "#if without #endif"),
        ('#include "missing.h"', "'missing.h' file not found"),
        ("#include <lol/no.h>", "'lol/no.h' file not found"),
        ("#include", "bad #include"),
    ],
)
def test_complaint(text, message):
    assert message in read(text)[1]


# conditions


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("#ifdef BPFTRACE_HAVE_BTF\n#define A 1\n#else\n#define A 2\n#endif", 1),
        ("#ifndef BPFTRACE_HAVE_BTF\n#include <x.h>\n#define A 1\n#else\n#define A 2\n#endif", 2),
        ("#if 0\n#elif 1\n#define A 2\n#elif 1\n#define A 3\n#else\n#define A 4\n#endif", 2),
        ("#define B 3\n#if B > 2 && defined(B) && !defined C\n#define A 1\n#endif", 1),
        ("#if NOTHING\n#define A 1\n#endif", None),
        ("#if 1\n#if 0\n#define A 1\n#else\n#define A 2\n#endif\n#endif", 2),
        ("#if 0\n#if 1\n#define A 1\n#else\n#define A 2\n#endif\n#else\n#define A 3\n#endif", 3),
    ],
)  # fmt: skip
def test_condition(text, value):
    assert good(text).constant("A") == value


# headers


def test_kernel_headers_are_not_needed():
    preamble = good("#include <linux/sched.h>\n#include <net/sock.h>\n#include <errno.h>")
    assert preamble.constant("AF_INET6") == 10
    assert preamble.constant("ENOENT") == 2
    assert preamble.constant("PF_INET") == 2
    assert good("").constant("AF_INET6") is None
    assert is_kernel_header("linux/sched.h")
    assert not is_kernel_header("mine/sched.h")


def test_header_is_read_once_and_may_include_others():
    headers = {
        "a.h": '#pragma once\n#include "b.h"\nstatic inline int f(void) { return 1; }\n'
        "extern int v;\nint w[] = { 1, 2 };\nstruct a { struct b b; };",
        "b.h": "#ifndef B_H\n#define B_H\nstruct b { int x; char y[BSIZE]; };\n#endif",
    }
    preamble = good('#define BSIZE 4\n#include "a.h"\n#include "b.h"', headers)
    assert preamble.type("a", "struct").size == 8


def test_mistakes_in_headers_have_their_place():
    complaints = read('#include "a.h"', {"a.h": "\n struct a { bad x; };"})[1]
    assert complaints.startswith("a.h:2:13-16: ERROR: syntax: unknown type name 'bad'")


@pytest.mark.parametrize(
    ("name", "number"),
    [("SIGKILL", 9), ("SOCK_RAW", 3), ("AF_VSOCK", 40), ("PF_KTHREAD", 0x200000), ("O_CREAT", 64)],
)
def test_header_constant(name, number):
    assert header_constant.value(name) == number


def test_no_header_constant():
    assert [header_constant.value(name) for name in ("INET", "AF_", "SIG", "E", "EFOO")] == [
        None, None, None, None, None,
    ]  # fmt: skip


# whatever the input


WORDS = "struct union enum typedef x y int char * [ ] ( ) { } ; , : = 1 3 #define #if #endif"
PIECES = WORDS.split()


@given(st.lists(st.sampled_from(["__attribute__((packed))", "\n", "#include <a>", *PIECES])))
def test_never_raises(pieces):
    read(" ".join(pieces))


@given(st.text())
def test_never_raises_on_text(text):
    read("struct x { " + text)


# the layout that a real compiler makes


@pytest.mark.differential
@pytest.mark.slow
def test_layout_is_that_of_a_compiler(tmp_path):
    compiler = shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler installed to compare with")
    rng = random.Random(4)
    structs = [random_struct(rng, f"s{i}", 2) for i in range(150)]
    text = "".join(structs)
    preamble = good(text)
    program = [
        "int printf(const char *, ...); void *memset(void *, int, unsigned long);\n", text,
        "static void show(const char *n, unsigned char *p, unsigned long s) {"
        ' printf("%s", n); for (unsigned long i = 0; i < s; i++) for (int b = 0; b < 8; b++)'
        ' if (p[i] >> b & 1) printf(" %lu", i * 8 + b); printf("\\n"); }\n',
        "int main(void) {\n",
    ]  # fmt: skip
    expected = []
    for i in range(len(structs)):
        struct = preamble.type(f"s{i}", "struct")
        program.append(f'printf("s{i} %lu\\n", sizeof(struct s{i}));\n')
        expected.append(f"s{i} {struct.size}")
        for field in struct.fields:
            if isinstance(field.type, Int):
                program.append(
                    f"{{ struct s{i} v; memset(&v, 0, sizeof v); v.{field.name} = ~0ull;"
                    f' show("{field.name}", (void *)&v, sizeof v); }}\n'
                )
                first = field.bit_offset if field.bit_size else field.offset * 8
                last = first + (field.bit_size or field.type.size * 8)
                expected.append(" ".join([field.name, *map(str, range(first, last))]))
    program.append("return 0; }\n")
    (tmp_path / "x.c").write_text("".join(program))
    out = tmp_path / "x"
    subprocess.run([compiler, "-w", "-o", out, tmp_path / "x.c"], check=True, timeout=60)
    run = subprocess.run([out], check=True, capture_output=True, text=True, timeout=20)
    assert run.stdout.splitlines() == expected


def random_struct(rng, name, depth):
    types = ["char", "unsigned char", "short", "int", "unsigned int", "long", "unsigned long"]
    widths = dict(zip(types, (8, 8, 16, 32, 32, 64, 64), strict=True))
    fields = []
    for i in range(rng.randrange(1, 7)):
        field, kind = f"{name}_{i}", rng.choice(types)
        roll = rng.randrange(10)
        if roll < 4:
            fields.append(f"{kind} {field};")
        elif roll < 7:
            fields.append(f"{kind} {field} : {rng.randrange(1, widths[kind] + 1)};")
        elif roll == 7:
            fields.append(f"{kind} {field}[{rng.randrange(1, 4)}];")
        elif roll == 8:
            fields.append(f"{kind} : 0;" if rng.randrange(2) else f"void *{field};")
        elif depth:
            word = rng.choice(["struct", "union"])
            inner = random_struct(rng, field, depth - 1)
            fields.append(f"{word} {inner[inner.index('{') :].rstrip()[:-1]};")
    packed = rng.choice(["", "", "", " __attribute__((packed))", " __attribute__((aligned(16)))"])
    return f"struct {name} {{ {' '.join(fields)} }}{packed};\n"

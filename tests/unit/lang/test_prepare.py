"""What happens to a tree before analysis, and in which order."""

from __future__ import annotations

from bpflens.lang import prepare
from bpflens.lang.context import Context
from bpflens.lang.diagnostic import Diagnostics
from bpflens.lang.parser import parse
from bpflens.lang.printer import unparse
from bpflens.lang.source import SourceMap


class NoKernel:
    arch = "x86_64"

    def btf(self):
        return None

    def read_include(self, name):
        return {"a.h": "#define FROM_HEADER 3"}.get(name)


def run(text, params=(), **options):
    sources, diagnostics = SourceMap(), Diagnostics()
    tree = parse(sources.add("main.bt", text), diagnostics)
    context = Context(NoKernel(), sources, diagnostics, {}, params, options)
    prepare.run(tree, context)
    return tree, context, [item.message for item in diagnostics]


def body(text, params=(), **options):
    tree, _, complaints = run(text, params, **options)
    assert complaints == []
    return " ".join(unparse(tree.items[-1].body).split())


def test_defines_are_folded():
    assert body("#define A (1 << 3)\nbegin { $x = A + 1; }") == "{ $x = 9; }"


def test_defines_that_are_expressions_are_expanded():
    assert body("#define LOW(v) ((v) & 0xff)\nbegin { $x = LOW(pid); }") == (
        "{ $x = { pid & 0xff }; }"
    )


def test_macros_see_parameters_and_constants():
    text = "#define A 2\nmacro m(x) { x * A } begin { $x = m($1); }"
    assert body(text, ["5"]) == "{ $x = { 10 }; }"


def test_headers_come_from_the_target():
    assert body('#include "a.h"\nbegin { $x = FROM_HEADER; }') == "{ $x = 3; }"


def test_enumerators_stay_names_with_a_type():
    tree, context, _ = run("enum e { RED = 4 };\nbegin { $x = RED; }")
    assert unparse(tree.items[0].body.statements[0]) == "$x = RED"
    assert context.declared_enumerator("RED")[0] == 4
    assert context.declared_enumerator("BLUE") is None


def test_types_of_the_script():
    _, context, _ = run("struct x { int a; char b; };\nbegin { }")
    assert context.named_type("x", "struct").size == 8
    assert context.named_type("y", "struct") is None


def test_imported_macros_are_expanded():
    def read(name, importer):
        assert importer == "main.bt"
        return [(name, "macro two() { 2 }")]

    assert body('import "lib.bt"; begin { $x = two(); }', read_import=read) == "{ $x = { 2 }; }"


def test_imports_need_somebody_who_reads():
    assert run('import "lib.bt"; begin { }')[2] == ["files cannot be imported here"]


def test_configuration():
    _, context, _ = run(
        "config = { max_strlen = 100; max_probes = 7 } begin { }",
        environment={"BPFTRACE_MAX_STRLEN": "200"},
    )
    assert (context.config["max_strlen"], context.config["max_probes"]) == (200, 7)


def test_named_options():
    text = 'begin { $x = getopt("limit", 10, "how many"); $y = getopt("all"); }'
    tree, context, complaints = run(text, named={"limit": "3"})
    assert complaints == []
    assert unparse(tree.items[0].body).split() == "{ $x = 3; $y = false; }".split()
    assert sorted(context.options["named_options"]) == ["all", "limit"]


def test_function_of_the_language_is_no_macro_use():
    assert body("macro str(x, y, z) { 1 } begin { $x = str(arg0); }") == "{ $x = str(arg0); }"


def test_long_chains_do_not_end_the_recursion():
    chain = " + ".join(["pid"] * 1500)
    assert body(f"macro m() {{ 1 }} begin {{ $x = {chain}; }}").count("pid") == 1500

"""What importing other files adds to a script."""

from __future__ import annotations

import pytest

from bpflens.errors import NotFound
from bpflens.lang import nodes as n
from bpflens.lang.diagnostic import Diagnostics, render
from bpflens.lang.imports import resolve
from bpflens.lang.parser import parse
from bpflens.lang.source import SourceMap


def run(text, files):
    sources, diagnostics = SourceMap(), Diagnostics()
    asked = []

    def read(name, importer):
        asked.append((name, importer))
        found = [(path, body) for path, body in files.items() if path.startswith(name)]
        if not found:
            raise NotFound("file", name)
        return found

    program = parse(sources.add("main.bt", text), diagnostics)
    resolve(program, "main.bt", diagnostics, sources, read)
    return program, render(diagnostics, sources), asked


def names(program):
    return [
        item.attach_points[0].text if isinstance(item, n.Probe) else item.name
        for item in program.items
    ]


def test_items_of_a_script_come_first():
    files = {"a.bt": "#define A 1\nmacro m() { 1 } kprobe:a { }"}
    program, complaints, _ = run('import "a.bt"; kprobe:b { }', files)
    assert complaints == ""
    assert names(program) == ["m", "kprobe:a", "kprobe:b"]
    assert program.preamble[0].name == "A"


def test_each_file_once():
    files = {
        "a.bt": 'import "b.bt"; import "main.bt"; kprobe:a { }',
        "b.bt": 'import "a.bt"; kprobe:b { }',
        "main.bt": "kprobe:never { }",
    }
    program, complaints, asked = run('import "a.bt"; import "b.bt"; kprobe:c { }', files)
    assert complaints == ""
    assert names(program) == ["kprobe:b", "kprobe:a", "kprobe:c"]
    assert ("b.bt", "a.bt") in asked


def test_header():
    program, complaints, _ = run(
        'import "a.h"; begin { }', {"a.h": "struct x { int a; };\nint f();"}
    )
    assert complaints == ""
    assert [definition.name for definition in program.preamble] == ["x"]


def test_directory_brings_what_it_can():
    files = {"lib/a.bt": "kprobe:a { }", "lib/README": "text", "lib/b.h": "#define B 1"}
    program, complaints, _ = run('import "lib"; begin { }', files)
    assert complaints == ""
    assert names(program) == ["kprobe:a", "begin"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "main.bt:1:1-11: ERROR: cannot import 'x':"),
        ({"x": "text"}, "unknown import type: 'x'"),
        ({"x.bpf.c": "int f;"}, "'x.bpf.c' holds C code"),
        ({"x.bt": "config = { a = 1 } begin { }"}, "x.bt:1:1-19: ERROR: invalid `config` within"),
        ({"x.bt": "begin { 1 1 }"}, "x.bt:1:11-12: ERROR: syntax: expected ';'"),
    ],
)
def test_complaint(files, message):
    assert message in run('import "x"; begin { }', files)[1]

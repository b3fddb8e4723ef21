"""`gen`: headers that a C compiler and libbpf take, Python modules, BTF that suffices."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import pytest

from bpf_object import build
from bpftool_pair import SOURCE, both, ours, real

pytestmark = [pytest.mark.kernel, pytest.mark.differential]

OBJECTS = ["globals.bpf.c", "attach.bpf.c", "extern.bpf.c", "congestion.bpf.c", "core.bpf.c"]

COUNTER = """
#include "bpf.h"
LICENSE("GPL");
struct event { unsigned int pid; char comm[16]; short level; _Bool odd; unsigned long long at; };
const struct event *unused_event __attribute__((unused));
int counter = 1;
const volatile int limit = 10;
struct { int a; long b; } pair;
unsigned char bytes[3] = {1, 2, 3};
SEC("raw_tp/sched_process_exit")
int on_exit_prog(void *ctx) { if (counter < limit) counter++; pair.a = counter; return 0; }
"""


@pytest.fixture
def object_of(tmp_path):
    def made(source, name="thing.bpf.o"):
        path = tmp_path / name
        path.write_bytes(build(source))
        return str(path)

    return made


def declarations(text):
    """The structure of a skeleton: what is the same in every version of the tool."""
    start = text.index("\nstruct ")
    end = text.index("\n#ifdef __cplusplus", start)
    text = text[start:end].replace("__typeof__", "typeof")
    # Older versions have an empty structure for constants that have no variable.
    return re.sub(r"\tstruct \w+ \{\n\t\} \*\w+;\n", "", text)


def names(text):
    """The maps and programs that a skeleton tells libbpf of, in order."""
    return re.findall(r'name = "([^"]*)"', text)


@pytest.mark.parametrize("source", OBJECTS)
def test_a_skeleton_declares_what_the_real_one_does(object_of, source):
    path = object_of(source)
    mine, theirs = both("gen", "skeleton", path)
    assert mine.status == theirs.status == 0, mine.err
    if "struct_ops" not in mine.out:  # the older tool does not know the member
        assert declarations(mine.out) == declarations(theirs.out)
    assert names(mine.out) == names(theirs.out)
    hexadecimal = re.compile(r'"\\\n(.*?)"', re.DOTALL)
    assert hexadecimal.search(mine.out)[1] == hexadecimal.search(theirs.out)[1]
    asserts = re.compile(r"_Static_assert\(.*\);")
    assert asserts.findall(mine.out) == asserts.findall(theirs.out)


# Not globals.bpf.c: the real tool of this distribution ends in the middle of it.
@pytest.mark.parametrize("source", ["attach.bpf.c", "extern.bpf.c"])
def test_a_subskeleton_declares_what_the_real_one_does(object_of, source):
    path = object_of(source)
    mine, theirs = both("gen", "subskeleton", path, "name", "other")
    assert (mine.status, theirs.status) == (0, 0), mine.err
    assert declarations(mine.out) == declarations(theirs.out)
    assert names(mine.out) == names(theirs.out)


def test_a_skeleton_compiles_links_and_runs(object_of, tmp_path):
    if not os.path.exists("/usr/include/bpf/libbpf.h") or not shutil.which("gcc"):
        pytest.skip("needs gcc and the headers of libbpf")
    path = object_of(COUNTER)
    (tmp_path / "thing.skel.h").write_text(ours("gen", "skeleton", path).out)
    (tmp_path / "sub.skel.h").write_text(ours("gen", "subskeleton", path, "name", "sub").out)
    (tmp_path / "main.c").write_text(
        '#include "thing.skel.h"\n#include "sub.skel.h"\n#include <stdio.h>\n'
        "int main(void) {\n"
        "\tstruct thing_bpf *skel = thing_bpf__open();\n"
        "\tif (!skel) return 1;\n\tskel->rodata->limit = 7;\n"
        "\tif (thing_bpf__load(skel) || thing_bpf__attach(skel)) return 2;\n"
        "\tstruct sub *part = sub__open(skel->obj);\n"
        "\tif (!part) return 3;\n"
        '\tprintf("%d %d %d\\n", skel->rodata->limit, *part->rodata.limit, '
        "skel->data->bytes[2]);\n"
        "\tsub__destroy(part);\n\tthing_bpf__destroy(skel);\n\treturn 0;\n}\n"
    )
    words = ["gcc", "-Wall", "-Wno-stringop-overflow", "-o", "run", "main.c", "-lbpf"]
    made = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert made.returncode == 0, made.stderr
    done = subprocess.run([str(tmp_path / "run")], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "7 7 3\n"), done.stderr


def test_a_python_skeleton_loads_sets_variables_and_counts(object_of, tmp_path):
    path = object_of(COUNTER)
    (tmp_path / "thing_skeleton.py").write_text(ours("--python", "gen", "skeleton", path).out)
    script = (
        "import subprocess\n"
        "from thing_skeleton import Event, ThingBpf\n"
        "with ThingBpf() as thing:\n"
        "    thing.rodata.limit = 1000000\n"
        "    thing.data.counter = 5\n"
        "    thing.load().attach()\n"
        "    for _ in range(3): subprocess.run(['true'])\n"
        "    assert thing.data.counter >= 8\n"
        "    assert thing.bss.pair.a >= 8\n"
        "    assert thing.data.bytes_ == [1, 2, 3]\n"
        "    thing.data.counter = 100\n"
        "    assert thing.data.counter >= 100\n"
        "    try: thing.rodata.limit = 1\n"
        "    except ValueError: pass\n"
        "    else: raise SystemExit('a constant was changed')\n"
        "one = Event(pid=7, comm='cat', level=-2, odd=True, at=1 << 40)\n"
        "assert repr(Event.unpack(one.pack())) == repr(one)\n"
        "assert len(one.pack()) == Event.SIZE == 32\n"
        "print('fine')\n"
    )
    env = {**os.environ, "PYTHONPATH": f"{SOURCE}{os.pathsep}{tmp_path}"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, env=env
    )
    assert done.stdout == "fine\n", done.stderr


@pytest.mark.parametrize("source", OBJECTS)
def test_a_python_skeleton_is_valid_for_every_object(object_of, source):
    text = ours("--python", "gen", "skeleton", object_of(source)).out
    compile(text, "skeleton", "exec")


def test_under_json_a_skeleton_is_a_string(object_of):
    path = object_of("globals.bpf.c")
    for command in ("skeleton", "subskeleton"):
        assert ours("-j", "gen", command, path).json == ours("gen", command, path).out


def test_the_light_skeleton_is_refused_with_a_way_out(object_of):
    done = ours("-L", "gen", "skeleton", object_of("globals.bpf.c"))
    assert done.status == 255
    assert "--python" in done.err


def test_reduced_btf_has_the_types_of_the_real_one(object_of, tmp_path):
    path = object_of("core.bpf.c")
    out, other = str(tmp_path / "min.btf"), str(tmp_path / "real.btf")
    source = "/sys/kernel/btf/vmlinux"
    mine = ours("gen", "min_core_btf", source, out, path)
    theirs = real("gen", "min_core_btf", source, other, path)
    assert mine.status == theirs.status, mine.err
    if theirs.status == 0:
        dumped = [real("btf", "dump", "file", one).out for one in (out, other)]
        assert dumped[0] == dumped[1]


def test_missing_files_and_words_are_refused(tmp_path):
    for words in (["skeleton", "/nonexistent.o"], ["skeleton", "/etc/passwd"],
                  ["skeleton", "/nonexistent.o", "nam", "x", "name", "y"],
                  ["min_core_btf", "/nonexistent", str(tmp_path / "o"), "x.o"]):  # fmt: skip
        mine, theirs = both("gen", *words)
        assert mine.status == theirs.status, words
        assert mine.err.startswith("Error: ")


ONE = """
#include "bpf.h"
LICENSE("GPL");
extern int helper_fn(int);
extern int shared;
__attribute__((weak, noinline)) int weak_fn(int x) { return x + 1; }
static int s = 3;
static __attribute__((noinline)) int local(int a) { s += a; return s; }
SEC("socket") int prog_a(void *ctx) { return helper_fn(shared) + weak_fn(2) + local(1); }
"""

TWO = """
#include "bpf.h"
LICENSE("GPL");
int shared = 5;
__attribute__((noinline)) int weak_fn(int x) { return x + 100; }
static int s = 30;
static __attribute__((noinline)) int local(int a) { s += a; return s; }
__attribute__((noinline)) int helper_fn(int x) { return x * 2 + local(x); }
SEC("socket") int prog_b(void *ctx) { return helper_fn(4); }
"""


def results(path):
    from bpflens.load.collection import load_object
    from bpflens.load.object_file import read

    with load_object(read(path)) as loaded:
        packet = bytes(64)
        names = ("prog_a", "prog_b", "prog_a")
        return [loaded.programs[name].test_run(data=packet).retval for name in names]


def test_linked_objects_work_together_as_those_of_the_real_linker(object_of, tmp_path, bpffs):
    parts = [object_of(ONE, "one.o"), object_of(TWO, "two.o")]
    mine, theirs = str(tmp_path / "mine.o"), str(tmp_path / "theirs.o")
    assert ours("gen", "object", mine, *parts).status == 0
    assert real("gen", "object", theirs, *parts).status == 0
    # 5 * 2 + 35 + 102 + 4, then 8 + 39, then 10 + 44 + 102 + 5: each file has its own s.
    assert results(mine) == results(theirs) == [151, 47, 161]
    assert real("prog", "loadall", mine, f"{bpffs}/all").status == 0
    shown = [real("gen", "skeleton", one, "name", "x").out for one in (mine, theirs)]
    assert declarations(shown[0]) == declarations(shown[1])


def test_linked_types_are_those_of_the_real_linker(object_of, tmp_path):
    more = COUNTER.replace("on_exit_prog", "other").replace("int counter", "int others")
    more = more.replace("counter", "others").replace("limit", "most").replace("pair", "two")
    more = more.replace("bytes[3]", "three[3]").replace("unused_event", "unused_too")
    parts = [object_of(COUNTER, "one.o"), object_of(more, "two.o")]
    mine, theirs = str(tmp_path / "mine.o"), str(tmp_path / "theirs.o")
    assert ours("gen", "object", mine, *parts).status == 0
    assert real("gen", "object", theirs, *parts).status == 0
    shapes = [
        sorted(re.sub(r"^\[\d+\]|type_id=\d+", "", line) for line in dumped.lines)
        for dumped in (real("btf", "dump", "file", one) for one in (mine, theirs))
    ]
    assert shapes[0] == shapes[1]


def test_what_cannot_be_linked_is_refused(object_of, tmp_path):
    one = object_of(TWO, "one.o")
    same = object_of(TWO.replace("prog_b", "prog_c"), "same.o")
    other = object_of(ONE.replace('"GPL"', '"Proprietary"'), "other.o")
    out = str(tmp_path / "out.o")
    assert "is defined in another object" in ours("gen", "object", out, one, same).err
    assert "license" in ours("gen", "object", out, one, other).err
    for wrong in ("/nonexistent.o", "/etc/passwd", "/bin/true"):
        done = ours("gen", "object", out, wrong)
        assert done.status == 255
        assert f"failed to link '{wrong}'" in done.err
    assert not os.path.exists(out)

"""Scripts in the running kernel, from the command line to the output."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import pytest

pytestmark = pytest.mark.kernel


def run(script, *words, before=(), env=None):
    """Run a script; return what it printed and said."""
    command = [sys.executable, "-m", "bpflens", "bpftrace", *before, "-e", script, *words]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": "src", "BPFLENS_COMPAT": "0.26", **(env or {})},
    )


def lines(script, *words, **named):
    """Return the lines that a script prints; it must succeed."""
    done = run(script, *words, **named)
    assert done.returncode == 0, done.stderr
    return [line for line in done.stdout.splitlines() if line]


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ("print(pid > 0)", ["true"]),
        ("print(comm)", None),
        ("print(uid)", [str(os.getuid())]),
        ("print(username)", ["root"]),
        ("print(strlen(comm) > 0)", ["true"]),
        ("print(nsecs > 0)", ["true"]),
        ("print(elapsed < 60000000000)", ["true"]),
        ("print(cpu < ncpus)", ["true"]),
        ("print(curtask.pid == tid)", None),
        ("print(ppid > 0)", ["true"]),
        ("print(probetype)", ["special"]),
        ("print(config.max_strlen)", ["1024"]),
        ('print(ksym(kaddr("do_sys_openat2")))', ["do_sys_openat2"]),
        ('print(strstr("a needle in a haystack", "needle"))', ["2"]),
        ('print(str_concat("abc", comm) == "abc")', ["false"]),
        (
            '@["a"] = 1; print(has_key(@, "a")); print(has_key(@, "b"))',
            ["true", "false", "@[a]: 1"],
        ),
        ("@[1] = 1; @[2] = 2; print(len(@)); clear(@)", ["2"]),
        ("@[1] = 5; if (find(@, 1, $v)) { print($v) } delete(@, 1)", ["5"]),
        ("@ = sum(5); print((int64)@)", ["5", "@: 5"]),
        ('print(strftime("%Y", nsecs) )', None),
        ("print((bool)5)", ["true"]),
        ('print(buf("abc", 3))', ["abc"]),
        ("for $i : 0..3 { print($i) }", ["0", "1", "2"]),
        ("@[1] = 2; for ($kv : @) { print($kv) } clear(@)", ["(1, 2)"]),
        ('assert(1 == 1, "no"); print(1)', ["1"]),
    ],
)
def test_a_begin_probe_prints(body, shown):
    found = lines(f"begin {{ {body}; }}")
    assert found
    if shown is not None:
        assert found == shown


def test_tracepoint_arguments_and_user_strings_arrive(tmp_path):
    wanted = tmp_path / "a_file_with_a_name"
    script = (
        f't:syscalls:sys_enter_openat /str(args.filename) == "{wanted}"/ '
        '{ printf("%s %d\\n", str(args.filename), args.flags & 3); exit(); }'
    )
    found = lines(script, before=["-c", f'{sys.executable} -c \'open("{wanted}", "w")\''])
    assert found == [f"{wanted} 1"]


def test_a_cut_string_ends_in_the_trailer(tmp_path):
    wanted = tmp_path / "file"
    wanted.write_text("")
    script = (
        "config = { max_strlen = 5 } t:syscalls:sys_enter_openat { @[str(args.filename)] = 1; }"
    )
    found = lines(script, before=["-c", f"cat {wanted}"])
    assert f"@[{str(wanted)[:5]}..]: 1" in found


def test_null_pointers_and_wild_addresses_read_as_nothing():
    script = """begin {
        print(str((int8 *)0)); print(*(uint64 *)0); print(((struct task_struct *)0)->comm == "");
        print(*(uint8 *)0xffffffffffffff00); print(((struct task_struct *)0)->real_parent->pid);
    }"""
    assert lines(script) == ["0", "true", "0", "0"]


def test_every_aggregate_survives_the_way_to_text():
    script = """begin {
        @c = count(); @s = sum(-5); @n = min(3); @x = max(9); @a = avg(4); @t = stats(7);
        @l = lhist(5, 0, 10, 5); @k["a", 1] = hist(70);
    }"""
    found = lines(script)
    assert found[:3] == ["@a: 4", "@c: 1", "@k[a, 1]:"]
    assert "@t: { .count = 1, .average = 7, .total = 7 }" in found
    assert any(line.startswith("[64, 128)") for line in found)


def test_a_full_map_says_so():
    done = run("config = { max_map_keys = 1 } begin { @[1] = 1; @[2] = 2; }")
    assert "Map full; can't update element" in done.stderr


def test_a_long_key_and_value_fit():
    text = "x" * 500
    script = "begin { @[str($1)] = str($1); }"
    assert lines(script, text) == [f"@[{text}]: {text}"]


def test_numbers_of_a_struct_in_kernel_memory_are_read():
    script = (
        'begin { $t = curtask; printf("%d %s\\n", $t->tgid == $t->group_leader->pid, $t->comm); }'
    )
    assert re.fullmatch(r"1 .+", lines(script)[0])


_PROGRAM = """
#include <unistd.h>
struct pair { int a; char name[8]; unsigned low : 3; unsigned high : 5; };
__attribute__((noinline)) int take(struct pair *p, long n) { return p->a + (int)n; }
int main(void) {
    struct pair p = { 7, "letters", 5, 17 };
    int sum = take(&p, 35);
    usleep(300000);
    return sum != 42;
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc to build a program to trace")
    folder = tmp_path_factory.mktemp("traced")
    source = folder / "traced.c"
    source.write_text(_PROGRAM)
    binary = folder / "traced"
    subprocess.run(["gcc", "-O0", "-o", binary, source], check=True, timeout=60)
    return str(binary)


def test_uprobe_arguments_and_results(program):
    script = f"""
    struct pair {{ int a; char name[8]; unsigned low : 3; unsigned high : 5; }}
    u:{program}:take {{
        $p = (struct pair *)arg0;
        printf("%d %s %d %d %d\\n", $p->a, $p->name, $p->low, $p->high, arg1); print(*$p);
    }}
    ur:{program}:take {{ print(retval); }}
    """
    assert lines(script, before=["-c", program]) == [
        "7 letters 5 17 35",
        "{ .a = 7, .name = letters, .low = 5, .high = 17 }",
        "42",
    ]


def test_functions_and_stacks_of_a_program_have_names(program):
    script = (
        f'u:{program}:take {{ print(func); print(ustack(2)); printf("%d\\n", len(ustack(2))); }}'
    )
    found = lines(script, before=["-c", program])
    assert found[0] == "take"
    assert found[1].startswith("        take+")
    assert found[2].startswith("        main+")
    assert found[-1] == "2"


def test_json_has_the_shapes_of_the_reference():
    script = 'begin { @a["k", 1] = 2; @h = hist(3); print((1, "x")); printf("%d\\n", 5); }'
    assert lines(script, before=["-q", "-f", "json"]) == [
        '{"type": "value", "data": [1,"x"]}',
        '{"type": "printf", "data": "5\\n"}',
        '{"type": "map", "data": {"@a": {"k,1": 2}}}',
        '{"type": "hist", "data": {"@h": [{"min": 2, "max": 3, "count": 1}]}}',
    ]


def test_signals_reach_the_traced_program():
    script = 't:syscalls:sys_enter_getpgid { signal("KILL"); }'
    done = run(
        script,
        before=["--unsafe", "-c", f"{sys.executable} -c 'import os; os.getpgid(0); print(1)'"],
    )
    assert "1" not in done.stdout.split()

"""The bpftrace command on the real kernel: listing, limits, probes of many kinds."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.kernel

NOTIFY = "__BPFTRACE_NOTIFY_PROBES_ATTACHED"
CALLS = "import os\nfor _ in range({count}): os.getppid()\n"
PYTHON = getattr(sys, "_base_executable", sys.executable)


def run(*words, env=None, timeout=60):
    done = subprocess.run(
        [sys.executable, "-m", "bpflens", "bpftrace", *words],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, **(env or {})},
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def trace(script, *words, command=None):
    """Run a script around a command; return what it printed."""
    if command is not None:
        words = (*words, "-c", command)
    status, out, err = run("-q", "-e", script, *words)
    assert status == 0, err
    return out


@pytest.fixture
def child(tmp_path):
    """Return the command that runs a piece of Python."""

    def write(code, python=PYTHON):
        path = tmp_path / "child.py"
        path.write_text(code)
        return f"{python} -I -S {path}"

    return write


@pytest.fixture
def oracle():
    path = shutil.which("bpftrace", path="/usr/bin")
    if path is None:
        pytest.skip("no bpftrace to compare with")

    def ask(*words):
        done = subprocess.run([path, *words], capture_output=True, text=True, timeout=60)
        return done.stdout.splitlines()

    return ask


# --- words ---------------------------------------------------------------------------------------


def test_help_is_asked_for_and_goes_to_standard_output():
    status, out, err = run("-h")
    assert (status, err) == (0, "")
    assert out.startswith("bpftrace - ")
    assert "USAGE:" in out


def test_no_words_at_all_are_wrong():
    status, out, err = run()
    assert (status, out) == (1, "")
    assert "USAGE:" in err


def test_the_version_is_the_one_whose_language_this_is():
    assert run("-V") == (0, "bpftrace v0.26.0\n", "")


def test_info_has_the_headings_and_says_what_is_missing():
    status, out, _ = run("--info")
    assert status == 0
    headings = [line for line in out.splitlines() if line and not line.startswith(" ")]
    assert headings == [
        "System", "Build", "Kernel helpers", "Kernel features", "Probe types",
    ]  # fmt: skip
    assert "kprobe_session:" in out
    assert "btf: yes" in out


def test_output_goes_to_a_file(tmp_path):
    path = tmp_path / "out"
    status, out, _ = run("-o", str(path), "-e", 'BEGIN { printf("hello\\n"); exit() }')
    assert (status, out) == (0, "")
    assert path.read_text().startswith("hello\n")


def test_a_dry_run_attaches_and_ends():
    status, out, err = run("--dry-run", "-e", "tracepoint:sched:sched_switch { @ = count() }")
    assert (status, out, err) == (0, "", "Attaching 1 probe...\n")


def test_a_process_that_is_not_there():
    status, _, err = run("-p", "4194303", "-e", "BEGIN { }")
    assert status == 1
    assert "there is no process 4194303" in err


def test_named_parameters_that_the_script_does_not_know():
    status, _, err = run("-e", 'BEGIN { print(getopt("a", 1)); exit() }', "--", "--b=1")
    assert status == 1
    assert "--b" in err
    assert "--a" in err


def test_nothing_to_attach_to():
    script = "config = { missing_probes = ignore } tracepoint:sched:nonsense { }"
    assert run("-e", script)[:2] == (1, "No probes to attach\n")


def test_tests_pass_and_fail():
    script = 'test:good { return 0; } test:bad { printf("so bad\\n"); return 1; }'
    status, out, _ = run("--test", "-e", script)
    assert status == 1
    assert "[       OK ]\033[0m good" in out
    assert "so bad\n\033[31m[  FAILED  ]\033[0m bad" in out


def test_benchmarks_are_a_table():
    status, out, _ = run("--bench", "-e", "bench:counting { @ = count(); } END { clear(@) }")
    assert status == 0
    head, line, row = out.splitlines()[:3]
    assert head.split() == ["Benchmark", "Time(ns)", "Iterations"]
    assert set(line) == {"-"}
    assert row.split()[0] == "counting"
    assert int(row.split()[1]) > 0


# --- listing -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pattern", ["tracepoint:sched:*", "tracepoint:syscalls:sys_enter_open*", "tracepoint:*exec*"]
)
def test_lists_what_the_original_lists(oracle, pattern):
    status, out, _ = run("-l", pattern)
    assert status == 0
    assert set(oracle("-l", pattern)) <= set(out.splitlines())


def test_arguments_of_a_tracepoint_are_those_of_the_original(oracle):
    words = ("-lv", "tracepoint:syscalls:sys_enter_openat")
    assert run(*words)[1].splitlines() == oracle(*words)


def test_lists_everything_in_a_moment():
    start = time.monotonic()
    status, out, _ = run("-l")
    assert status == 0
    # Half a second on an idle machine.
    assert time.monotonic() - start < 10
    kinds = {line.partition(":")[0] for line in out.splitlines()}
    assert kinds == {
        "fentry", "hardware", "iter", "kprobe", "rawtracepoint", "software", "tracepoint",
    }  # fmt: skip


def test_lists_the_definition_of_a_struct():
    status, out, _ = run("-lv", "struct task_struct")
    assert status == 0
    lines = out.splitlines()
    assert lines[0] == "vmlinux: struct task_struct {"
    assert lines[-1] == "};"


def test_lists_arguments_of_functions():
    out = run("-lv", "fexit:vmlinux:vfs_read,kprobe:vfs_read,rawtracepoint:sched_wakeup")[1]
    assert out.splitlines() == [
        "fexit:vmlinux:vfs_read",
        "    struct file * file",
        "    char * buf",
        "    size_t count",
        "    loff_t * pos",
        "    ssize_t retval",
        "kprobe:vfs_read",
        "    struct file * arg0",
        "    char * arg1",
        "    size_t arg2",
        "    loff_t * arg3",
        "rawtracepoint:vmlinux:sched_wakeup",
        "    struct task_struct * p",
    ]


def test_lists_the_probes_of_a_program():
    out = run("-l", "-e", "p:hz:99,t:sched:sched_swi* { } i:s:1 { } BEGIN { }")[1]
    assert out.splitlines() == ["profile:hz:", "tracepoint:sched:sched_switch", "interval:s:"]


def test_lists_what_a_file_has():
    out = run("-l", "uprobe:/bin/sh:*")[1]
    assert all(line.startswith("uprobe:/bin/sh:") for line in out.splitlines())


# --- many system calls ---------------------------------------------------------------------------


def test_all_system_calls_are_quickly_attached_and_detached():
    start = time.monotonic()
    status, _out, err = run(
        "-e", "tracepoint:syscalls:sys_enter_* { @[probe] = count(); } END { clear(@) }",
        "-c", "/bin/true",
    )  # fmt: skip
    assert status == 0
    # One by one they take thirty seconds.
    assert time.monotonic() - start < 10
    assert int(err.split()[1]) > 300


def test_every_call_counts_under_its_own_name(child):
    out = trace(
        "tracepoint:syscalls:sys_enter_* /pid == cpid/ { @[probe, args.__syscall_nr] = count(); }",
        command=child(CALLS.format(count=321)),
    )
    assert "@[tracepoint:syscalls:sys_enter_getppid, 110]: 321\n" in out


def test_results_of_all_calls_are_read(child):
    out = trace(
        "tracepoint:syscalls:sys_exit_* /pid == cpid/ { @[probe, args.ret] = count(); }",
        command=child(
            "import os\nfor _ in range(7):\n  try: os.rmdir('/none')\n  except OSError: 0"
        ),
    )
    assert "@[tracepoint:syscalls:sys_exit_rmdir, -2]: 7\n" in out


def test_calls_that_the_pattern_leaves_out_are_not_counted(child):
    out = trace(
        "tracepoint:syscalls:sys_enter_get* /pid == cpid/ { @[probe] = count(); }",
        command=child(CALLS.format(count=5)),
    )
    assert "@[tracepoint:syscalls:sys_enter_getppid]: 5\n" in out
    assert "openat" not in out


def test_arguments_come_from_the_registers(child):
    # Few calls are attached one by one as a rule; here even these share a program.
    start = "from bpflens.lang.analyse import syscall_group as group; group._FEW = 1\n"
    script = (
        "tracepoint:syscalls:sys_enter_dup[23] /pid == cpid && args.newfd > 900/ "
        "{ @[probe, args.oldfd, args.newfd] = count(); }"
    )
    command = child("import os\nfor i in range(901, 904): os.dup2(0, i)\n")
    done = subprocess.run(
        [sys.executable, "-c", f"{start}from bpflens.trace.main import main\n"
         f"main(['-q', '-e', {script!r}, '-c', {command!r}])"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    rows = sorted(done.stdout.split("\n"))
    assert [row.rsplit(": ", 1)[1] for row in rows if row] == ["1", "1", "1"], done.stderr
    assert all(
        f", 0, {number}]" in row for number, row in zip((901, 902, 903), rows[-3:], strict=False)
    )


def test_one_process_only():
    with subprocess.Popen(
        [sys.executable, "-c", "import os, time\nwhile 1: os.getppid(); time.sleep(0.01)"]
    ) as process:
        try:
            out = trace(
                "tracepoint:syscalls:sys_enter_* { @[pid] = count(); } i:ms:300 { exit() }",
                "-p", str(process.pid),
            )  # fmt: skip
        finally:
            process.kill()
    assert out.strip().startswith(f"@[{process.pid}]: ")
    assert out.count("@") == 1


# --- kinds ---------------------------------------------------------------------------------------


def test_a_kernel_without_kprobes_names_what_is_nearest():
    from bpflens.kernel.feature import has

    if has("kprobe"):
        pytest.skip("this kernel has kprobes")
    status, _, err = run("-e", "kprobe:do_sys_open { @opens[str(arg1)] = count() }")
    assert status == 255
    assert "this kernel has no kprobe" in err
    assert "tracepoint:syscalls:sys_enter_openat" in err


def test_raw_tracepoints_have_typed_arguments():
    out = trace(
        "rawtracepoint:sched_process_exec /args.p->pid == cpid/ "
        '{ printf("%s\\n", str(args.bprm->filename)); }',
        command="/bin/true",
    )
    assert out.startswith("/bin/true\n")


def test_functions_of_a_program_by_one_link():
    script = "uprobe:/bin/sh:*alloc* { @[probe] = count(); }"
    status, _, err = run("-e", script, "-c", "/bin/sh -c :")
    assert status in (0, 1), err


def test_static_probes_with_arguments(child):
    path = "/usr/bin/python3.11"
    if f"usdt:{path}:python:import__find__load__start" not in run("-l", f"usdt:{path}:*")[1]:
        pytest.skip("this python has no static probes")
    out = trace(
        f"usdt:{path}:python:import__find__load__*"
        ' /str(arg0) == "colorsys"/ { @[probe, str(arg0)] = count(); }',
        command=child("import colorsys\n", path),
    )
    assert f"@[usdt:{path}:python:import__find__load__start, colorsys]: 1\n" in out
    assert f"@[usdt:{path}:python:import__find__load__done, colorsys]: 1\n" in out


def test_an_iterator_walks():
    status, out, err = run(
        "-q", "-e", 'iter:task { printf("%s %d\\n", ctx.task->comm, ctx.task->pid); }'
    )
    assert status == 0, err
    # The tracer itself is among the tasks; so is the one that runs the tests.
    assert f" {os.getpid()}\n" in out


def test_a_pinned_iterator_is_a_file(bpffs):
    path = os.path.join(str(bpffs), "walk")
    status, out, err = run("-q", "-e", f'iter:task:{path} {{ print("x"); }}')
    assert status == 0, err
    assert out.startswith(f"Program pinned to {path}\n")
    assert os.path.exists(path)
    os.unlink(path)


def test_the_signal_of_the_script_runs_its_probe():
    with subprocess.Popen(
        [sys.executable, "-m", "bpflens", "bpftrace", "-q", "-e",
         'self:signal:SIGUSR1 { printf("seen\\n"); exit() }'],
        stdout=subprocess.PIPE, text=True, env={**os.environ, NOTIFY: "1"},
    ) as tracer:  # fmt: skip
        assert tracer.stdout.readline() == NOTIFY + "\n"
        tracer.send_signal(10)
        assert tracer.stdout.readline() == "seen\n"
        assert tracer.wait(timeout=30) == 0


# --- what only this command has ------------------------------------------------------------------


def test_descendants_are_followed():
    out = trace(
        "tracepoint:syscalls:sys_enter_execve { @[comm, str(args.filename)] = count(); }",
        "--follow",
        command='/bin/sh -c "/bin/true; /bin/true; :"',
    )
    assert "@[sh, /bin/true]: 2\n" in out
    comms = {line.partition(",")[0] for line in out.splitlines() if line}
    assert comms == {"@[sh", "@[bpftrace"} or comms == {"@[sh", "@[python"}


@pytest.mark.parametrize(
    ("order", "keys"),
    [("key", "123"), ("-key", "321"), ("value", "231"), ("-value", "132")],
)
def test_maps_in_another_order(order, keys):
    out = trace("BEGIN { @[1] = 3; @[2] = 1; @[3] = 2; exit() }", "--sort", order)
    assert [line[2] for line in out.splitlines() if line] == list(keys)


def test_memory_that_cannot_be_read_is_told_when_asked_for():
    script = 'BEGIN { printf("<%s>\\n", str(uptr(16))); exit() }'
    assert run("-q", "-e", script)[2] == ""
    status, out, err = run("-q", "-k", "-e", script)
    assert status == 0
    assert out.startswith("<>\n")
    assert (
        "WARNING: Bad address\nAdditional Info - helper: probe_read_user_str, retcode: -14" in err
    )


def test_a_trace_ends_though_its_commands_pile_up():
    with subprocess.Popen(
        [sys.executable, "-m", "bpflens", "bpftrace", "-q", "--unsafe", "-e",
         'tracepoint:sched:sched_switch { system("echo one"); } END { printf("the end\\n"); }'],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, NOTIFY: "1"},
    ) as tracer:  # fmt: skip
        assert tracer.stdout.readline() == NOTIFY + "\n"
        assert tracer.stdout.readline() == "one\n"
        tracer.send_signal(2)
        out, err = tracer.communicate(timeout=30)
    assert out.endswith("the end\n\n\n")
    assert "commands were not run" in err

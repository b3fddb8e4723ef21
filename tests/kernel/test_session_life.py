"""A whole run of a script, from the outside: how it starts, how it ends, what it leaves behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.kernel

NOTIFY = "__BPFTRACE_NOTIFY_PROBES_ATTACHED"
COUNT_TICKS = 'interval:ms:20 { @ticks = count(); } END { printf("end ran\\n"); }'


class Tracer:
    """One bpftrace process of ours."""

    def __init__(self, *words, env=None, stdout=subprocess.PIPE):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bpflens", "bpftrace", *words],
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, NOTIFY: "1", **(env or {})},
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def wait_attached(self):
        line = self.process.stdout.readline()
        assert line == NOTIFY + "\n", line + self.process.stderr.read()

    def finish(self, number=None):
        """Send a signal, if any; return status, output and messages."""
        if number is not None:
            self.process.send_signal(number)
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out.replace(NOTIFY + "\n", ""), err


def run(*words, env=None):
    with Tracer(*words, env=env) as tracer:
        return tracer.finish()


def programs_of(pid):
    """The ids of the BPF programs that a process holds."""
    found = set()
    for name in os.listdir(f"/proc/{pid}/fdinfo"):
        with open(f"/proc/{pid}/fdinfo/{name}") as file:
            found |= {int(number) for number in re.findall(r"^prog_id:\s*(\d+)", file.read(), re.M)}
    return found


def all_programs():
    from bpflens.objects import iterate

    return {program.id for program in iterate.programs()}


def test_a_script_that_exits_prints_its_maps_once():
    status, out, err = run("-e", 'BEGIN { @a[1] = 2; printf("hello\\n"); exit(); }')
    assert (status, out) == (0, "hello\n\n\n@a[1]: 2\n")
    assert err == "Attaching 1 probe...\n"


def test_exit_gives_its_number_as_the_status():
    assert run("-e", "BEGIN { exit(7); }")[0] == 7


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_in_good_order(number):
    with Tracer("-e", COUNT_TICKS) as tracer:
        tracer.wait_attached()
        time.sleep(0.3)
        status, out, _ = tracer.finish(number)
    assert status == 0
    assert re.fullmatch(r"end ran\n\n\n@ticks: \d+\n", out), out


def test_a_reader_that_goes_away_ends_the_run():
    with Tracer("-e", 'interval:ms:1 { printf("tick\\n"); }') as tracer:
        tracer.wait_attached()
        tracer.process.stdout.close()
        tracer.process.wait(timeout=60)
        assert "Traceback" not in tracer.process.stderr.read()


def test_a_full_disk_is_reported():
    with (
        open("/dev/full", "w") as full,
        Tracer(
            "-e", 'interval:ms:1 { printf("tick\\n"); }', env={NOTIFY: ""}, stdout=full
        ) as tracer,
    ):
        _, err = tracer.process.communicate(timeout=60)
    assert tracer.process.returncode == 1
    assert "No space left on device" in err
    assert "Traceback" not in err


def test_the_run_ends_with_its_command():
    script = "tracepoint:syscalls:sys_enter_openat /pid == cpid/ { @opened = count(); }"
    status, out, _ = run("-e", script, "-c", "/bin/ls /")
    assert status == 0
    assert re.search(r"@opened: [1-9]\d*\n", out), out


def test_the_run_ends_when_the_process_of_dash_p_does():
    sleeper = subprocess.Popen(["sleep", "60"])
    try:
        with Tracer("-p", str(sleeper.pid), "-e", COUNT_TICKS) as tracer:
            tracer.wait_attached()
            sleeper.kill()
            sleeper.wait()
            status, out, _ = tracer.finish()
        assert status == 0
        assert "end ran" in out
    finally:
        sleeper.kill()
        sleeper.wait()


def test_a_map_that_fills_up_is_reported_with_its_line_and_a_count():
    script = (
        "interval:ms:1 { @keys[nsecs] = 1; @n++; if (@n > 60) { exit(); } } END { clear(@keys); }"
    )
    status, out, err = run("-e", script, env={"BPFTRACE_MAX_MAP_KEYS": "10"})
    assert status == 0
    assert err.count("Map full; can't update element") == 1
    assert re.search(r"came 5\d times", err), err
    assert re.search(r"@n: [6-9]\d+\n", out), out


def test_a_killed_tracer_leaves_nothing_attached():
    with Tracer("-e", "tracepoint:syscalls:sys_enter_getppid { @ = count(); }") as tracer:
        tracer.wait_attached()
        held = programs_of(tracer.process.pid)
        assert held
        tracer.process.kill()
        tracer.process.wait()
    deadline = time.monotonic() + 10
    while held & all_programs() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not held & all_programs()


def test_lost_events_are_counted_exactly():
    # One page of ring, and events as fast as a process can make them.
    script = (
        "tracepoint:syscalls:sys_enter_getppid /pid == cpid/ "
        '{ printf("event %d\\n", tid); @sent = count(); }'
    )
    child = f"{sys.executable} -c 'import os; [os.getppid() for _ in range(100000)]'"
    status, out, err = run("-e", script, "-c", child, env={"BPFTRACE_PERF_RB_PAGES": "1"})
    assert status == 0, err
    received = len(re.findall(r"^event \d+$", out, re.M))
    lost = sum(int(number) for number in re.findall(r"^Lost (\d+) events$", err, re.M))
    sent = int(re.search(r"@sent: (\d+)", out)[1])
    assert lost > 0
    assert received + lost == sent == 100000


def test_several_errors_come_in_one_go_with_their_places(tmp_path):
    script = tmp_path / "wrong.bt"
    script.write_text("BEGIN {\n  @x = nosuch(1);\n  $y = pidd;\n  exit();\n}\n")
    status, out, err = run(str(script))
    assert (status, out) == (1, "")
    assert f"{script}:2:8-17: ERROR: Unknown function: 'nosuch'" in err
    assert f"{script}:3:8-12: ERROR: Unknown identifier: 'pidd'" in err
    assert "Did you mean 'pid'?" in err


def test_without_rights_one_sentence_says_what_is_missing():
    words = [sys.executable, "-m", "bpflens", "bpftrace", "-e", "BEGIN { exit(); }"]
    found = subprocess.run(
        ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *words],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert found.returncode != 0
    assert "CAP_" in found.stderr
    assert "Traceback" not in found.stderr

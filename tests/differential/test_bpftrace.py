"""Our bpftrace beside Debian's 0.17: the same script gives the same bytes and status."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.kernel, pytest.mark.differential]

_SCRIPTS = [
    (
        'BEGIN { printf("%d %s|%5d|%-5d|%05d|%x|%X|%o|%c|%p\\n", 1, "abc", 4, 4, 4, 255, 255, 8,'
        " 65, 9); exit() }"
    ),
    (
        'BEGIN { printf("%s|%10s|%-10s|\\n", "abc", "abc", "abc"); printf("%lld %llu\\n", -1, 5);'
        " exit() }"
    ),
    'BEGIN { @x = 1; @x++; @y[1, "a"] = 2; @y[2, "b"] += 5; print(@x); exit() }',
    "BEGIN { @ = hist(1); @ = hist(5); @ = hist(1000); @ = hist(0); @ = hist(-5); exit() }",
    (
        "BEGIN { @ = lhist(5, 0, 100, 10); @ = lhist(-1, 0, 100, 10); @ = lhist(999, 0, 100, 10);"
        " exit() }"
    ),
    'BEGIN { @a["x"] = hist(3); @a["y"] = hist(300); @a["x"] = hist(7); exit() }',
    (
        "BEGIN { @s = sum(5); @s = sum(6); @m = min(3); @x = max(4); @v = avg(10); @t = stats(4);"
        " exit() }"
    ),
    "BEGIN { $x = 10; $y = $x * 3 - 5; if ($y > 20) { print($y) } else { print($x) } exit() }",
    "BEGIN { @[1] = 1; @[2] = 5; @[3] = 3; print(@, 2); print(@, 1, 2); clear(@); exit() }",
    'BEGIN { unroll(3) { @i++; printf("%d\\n", @i); } exit() }',
    (
        'BEGIN { $i = 0; while ($i < 5) { printf("%d ", $i); $i++; if ($i == 3) { continue; } }'
        " exit() }"
    ),
    'BEGIN { @x[1] = (1, 2, "str"); print((1, "a", 3)); exit() }',
    (
        'BEGIN { if (comm == "bpftrace") { printf("me\\n"); } if (comm != "x") { printf("no\\n"); }'
        " exit() }"
    ),
    'BEGIN { printf("%d %d\\n", strncmp("abc", "abd", 2), strncmp("abc", "abd", 3)); exit() }',
    'BEGIN { $x = (uint8)300; $y = (int8)200; printf("%d %d\\n", $x, $y); exit() }',
    "BEGIN { @x[1] = stats(5); @x[2] = stats(1); @y[1] = avg(3); @y[2] = avg(1); exit() }",
    'BEGIN { @x = (1, 2); printf("%d\\n", @x.0); $s = "abc"; @[$s] = 1; exit() }',
    'BEGIN { printf("%r\\n", buf("abc\\x01", 4)); printf("uid %d gid %d\\n", uid, gid); exit() }',
    'BEGIN { @a = 10; @b = @a; @a = 7; printf("%d\\n", @b); exit() }',
    "BEGIN { @a = 1; @b = 2; @c[1] = 3; @d[1] = hist(2); @e = hist(2); exit() }",
    'BEGIN { printf("%d %d\\n", sizeof(uint64), sizeof(struct task_struct) > 100); exit() }',
    (
        "BEGIN { @ = count(); @a[1] = count(); @a[2] = count(); @a[2] = count(); delete(@a[1]);"
        " exit() }"
    ),
    'BEGIN { printf("%s %d %d\\n", str($1), $2, $#); exit() }',
    'BEGIN { exit() } END { printf("bye\\n") }',
    (
        'BEGIN { printf("%d %d %d\\n", 7 / 2, 7 % 3, 1 << 5); printf("%d %d\\n", 5 & 3, 5 ^ 3);'
        " exit() }"
    ),
    # mistakes: the status and what is said on standard output
    'BEGIN { printf("%d %s\\n", 1); exit() }',
    'BEGIN { $x = 1; $x = "s"; exit() }',
    "BEGIN { undefined_fn(1); exit() }",
    "BEGIN { @x = 1; @x[1] = 2; exit() }",
]


@pytest.fixture(scope="module")
def reference():
    path = shutil.which("bpftrace")
    if path is None:
        pytest.skip("the reference, Debian's bpftrace, is not installed")
    version = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    if "v0.17" not in version.stdout:
        pytest.skip(f"compared with 0.17, this is {version.stdout.strip()}")
    return path


def _run(command, env=None):
    return subprocess.run(
        command, capture_output=True, timeout=120, check=False, env={**os.environ, **(env or {})}
    )


@pytest.mark.parametrize("script", _SCRIPTS)
def test_a_script_gives_the_same_bytes(reference, script, tmp_path):
    # The name of the process shows in some scripts.
    link = tmp_path / "bpftrace"
    link.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m bpflens bpftrace "$@"\n')
    link.chmod(0o755)
    words = ["-e", script, "foo", "77"]
    theirs = _run([reference, *words])
    ours = _run([str(link), *words], {"PYTHONPATH": "src", "BPFLENS_COMPAT": "0.17"})
    assert (ours.returncode, _plain(ours.stdout)) == (theirs.returncode, _plain(theirs.stdout))


def _plain(output):
    return re.sub(rb"0x[0-9a-f]{6,}", b"ADDRESS", output)

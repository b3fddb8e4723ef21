"""Two tools side by side: ours and the real bpftool, run on the same kernel with the same words."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest

__all__ = ["MAIN", "SOURCE", "both", "ours", "real", "same_json", "same_lines"]

SOURCE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "src")
MAIN = "import sys; from bpflens.bpftool.main import main; sys.exit(main(sys.argv[1:]))"


def _run(command, env=None):
    done = subprocess.run(command, capture_output=True, timeout=60, env=env)
    out = done.stdout.decode("utf-8", "surrogateescape")
    return SimpleNamespace(
        status=done.returncode, out=out, err=done.stderr.decode(), lines=out.splitlines()
    )


def ours(*words):
    """Run our tool: ``status``, ``out``, ``lines``, ``err``, and ``json`` of ``-j``."""
    env = {**os.environ, "PYTHONPATH": SOURCE}
    done = _run([sys.executable, "-c", MAIN, *words], env)
    assert "Traceback" not in done.err, done.err
    if words[0] in ("-j", "-p"):
        done.json = json.loads(done.out)
    return done


def real(*words):
    """Run the real tool, or skip where it is not installed."""
    tool = shutil.which("bpftool")
    if tool is None:
        pytest.skip("bpftool is not installed")
    done = _run([tool, *words])
    if words[0] in ("-j", "-p"):
        done.json = json.loads(done.out)
    return done


def both(*words):
    """Run both with the same words."""
    return ours(*words), real(*words)


def same_json(*words, without=("pids",)):
    """Assert that both give the same JSON, but for the members named; return ours."""
    mine, theirs = both("-j", *words)
    assert _stripped(mine.json, without) == _stripped(theirs.json, without)
    assert mine.status == theirs.status
    return mine.json


def same_lines(*words):
    """Assert that both print the same lines and end alike; return ours."""
    mine, theirs = both(*words)
    assert mine.lines == theirs.lines
    assert mine.status == theirs.status
    return mine.lines


def _stripped(value, without):
    if isinstance(value, dict):
        return {k: _stripped(v, without) for k, v in value.items() if k not in without}
    if isinstance(value, list):
        return [_stripped(one, without) for one in value]
    return value

"""What all tests share: who may skip, what a leak is, where the real tools are.

A test marked ``kernel`` or ``vm`` talks to a real kernel. It is skipped where that cannot be
(no root, no BPF, not inside the VM), and where it raises NotSupported: the probe that raised it is
what decided, never a version number. Any test is skipped that starts a program which is not
installed. Every skip is counted by reason at the end of the run, and
what must not be skipped on a given kind of machine stands in must_run.txt, which a whole run reads
when ``BPFLENS_MUST_RUN`` names the kind.
"""

from __future__ import annotations

import gc
import os
import shutil
from collections import Counter
from fnmatch import fnmatch
from pathlib import Path

import pytest

from bpflens.errors import NotSupported

ROOT = Path(__file__).parents[1]
REAL = ("kernel", "vm")

# Commands that tests start find the sources too, however pytest itself was started.
os.environ["PYTHONPATH"] = os.pathsep.join(
    part for part in (str(ROOT / "src"), os.environ.get("PYTHONPATH")) if part
)


def pytest_addoption(parser):
    text = "rewrite what the cases of tests/data/*.test expect (see data_case.py)"
    parser.addoption("--update-data", action="store_true", help=text)


@pytest.fixture
def update_data(request):
    """Whether expectations are to be rewritten."""
    return request.config.getoption("--update-data")


# --- who may run --------------------------------------------------------------------------------


def pytest_collection_modifyitems(config, items):
    for marker, why_not in (("kernel", _why_not_kernel), ("vm", _why_not_vm)):
        marked = [item for item in items if item.get_closest_marker(marker)]
        reason = why_not() if marked else ""
        for item in marked if reason else ():
            item.add_marker(pytest.mark.skip(reason=reason))


def _why_not_kernel():
    if os.geteuid() != 0:
        return "needs root"
    # BPF_OBJ_GET_INFO and friends may be refused singly; creating a map is the least of all.
    try:
        from bpflens.kernel import bpf
        from bpflens.uapi.bpf import BPF_MAP_TYPE_ARRAY
    except ImportError as error:
        return f"the kernel room cannot be imported: {error}"
    try:
        os.close(bpf.map_create(BPF_MAP_TYPE_ARRAY, 4, 4, 1))
    except OSError as error:
        return f"BPF is refused here: {error}"
    return ""


def _why_not_vm():
    return "" if os.environ.get("BPFLENS_VM") else "runs inside tools/vm.py"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    reason = _why_skip(item, call.excinfo.value) if call.excinfo else ""
    if reason:
        report.outcome = "skipped"
        report.longrepr = (str(item.path), item.location[1] or 0, f"Skipped: {reason}")
    return report


def _why_skip(item, error):
    if isinstance(error, NotSupported) and any(map(item.get_closest_marker, REAL)):
        return str(error)
    # A program to compare with, or to set something up with, that this machine lacks.
    if isinstance(error, FileNotFoundError) and isinstance(error.filename, str | bytes):
        name = os.fsdecode(error.filename)
        if "/" not in name and shutil.which(name) is None:
            return f"no program {name} installed"
    return ""


# --- leaks --------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def no_leaked_descriptor(request):
    """Fail a kernel test that leaves a file descriptor, and so a BPF object, behind."""
    if not any(map(request.node.get_closest_marker, REAL)):
        yield
        return
    gc.collect()
    before = _descriptors()
    yield
    gc.collect()
    left = {fd: what for fd, what in _descriptors().items() if before.get(fd) != what}
    # Caches that live as long as the process (the kernel's BTF, a tracefs directory) are no leak.
    left = {fd: what for fd, what in left.items() if what.startswith("anon_inode:")}
    assert not left, f"left open: {left}"


def _descriptors():
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[name] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue  # the descriptor of this very listing
    return found


# --- the real tools -----------------------------------------------------------------------------


@pytest.fixture(scope="session")
def real_bpftool():
    """Path of the distribution's bpftool, to compare with."""
    return _real("bpftool")


@pytest.fixture(scope="session")
def real_bpftrace():
    """Path of the distribution's bpftrace, to compare with."""
    return _real("bpftrace")


def _real(name):
    path = shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin")
    if path is None:
        pytest.skip(f"no {name} installed to compare with")
    return path


# --- what was skipped, and what must not be ------------------------------------------------------


def pytest_terminal_summary(terminalreporter, config):
    skipped = terminalreporter.stats.get("skipped", [])
    if skipped:
        reasons = Counter(_reason(report) for report in skipped)
        listed = "; ".join(f"{count} × {why}" for why, count in reasons.most_common())
        terminalreporter.write_line(f"skipped {len(skipped)}: {listed}")
    for problem in config.stash.get(_PROBLEMS, []):
        terminalreporter.write_line(f"MUST RUN: {problem}", red=True)


def pytest_sessionfinish(session, exitstatus):
    place = os.environ.get("BPFLENS_MUST_RUN")
    if not place or exitstatus not in (0, 1):
        return
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    outcomes = {
        outcome: [report.nodeid for report in reporter.stats.get(outcome, [])]
        for outcome in ("passed", "skipped")
    }
    problems = list(_missing(place, outcomes["passed"], outcomes["skipped"]))
    session.config.stash[_PROBLEMS] = problems
    if problems:
        session.exitstatus = 1


_PROBLEMS = pytest.StashKey[list]()


def _reason(report):
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ")


def _missing(place, passed, skipped):
    for line in (ROOT / "tests" / "must_run.txt").read_text().splitlines():
        words = line.partition("#")[0].split()
        if not words or not fnmatch(place, words[0]):
            continue
        pattern = words[1]
        if not any(fnmatch(test, pattern) for test in passed):
            yield f"no test passed that matches {pattern}"
        for test in skipped:
            if fnmatch(test, pattern):
                yield f"{test} was skipped"

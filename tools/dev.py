#!/usr/bin/env python3
"""One entry for everything a developer does; needs Python 3.11 and nothing else.

    python3 tools/dev.py demo          trace this machine for a few seconds (root; no network)
    python3 tools/dev.py test          set everything up, then run all the tests that can run here
    python3 tools/dev.py test -k btf   words after "test" go to pytest
    python3 tools/dev.py lint          ruff, mypy, import-linter
    python3 tools/dev.py format        ruff format and the fixes that are safe
    python3 tools/dev.py zipapp        one file, bpflens.pyz, that runs on a bare python3
    python3 tools/dev.py vm 6.12 CMD   run CMD inside another kernel (tools/vm.py)
    python3 tools/dev.py test-vm       the tests that need other kernels, inside them
    python3 tools/dev.py bench         side by side with the real tools (bench/)
    python3 tools/dev.py ci            what CI runs (.ci/run)

What it installs goes into .venv and nowhere else, except that as root on Debian it fetches
python3-venv where the interpreter came without it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, ".venv")
PYTHON = os.path.join(VENV, "bin", "python")

# What the machine is doing now: who calls the kernel how often, and how long the calls take.
DEMO = """
tracepoint:raw_syscalls:sys_enter { @calls[comm] = count(); @start[tid] = nsecs; }
tracepoint:raw_syscalls:sys_exit /@start[tid]/ {
    @usecs = hist((nsecs - @start[tid]) / 1000);
    delete(@start[tid]);
}
interval:s:SECONDS { exit(); }
END { clear(@start); }
"""

# Where tests for other kernels are; collecting all the others takes a minute under emulation.
VM_TESTS = ["tests/kernel", "tests/vm"]


class Stop(Exception):
    """What cannot go on, in one sentence for the person who typed the command."""


def main(words: list[str]) -> int:
    """Carry out one command; return its exit status."""
    if sys.version_info < (3, 11):  # noqa: UP036 - the reader may well have an older one
        raise Stop(
            f"bpflens needs Python 3.11 or newer; {sys.executable} is {sys.version.split()[0]}"
        )
    if not words or words[0] in ("-h", "--help", "help"):
        print(__doc__)
        return 0 if words else 2
    command = COMMANDS.get(words[0])
    if command is None:
        raise Stop(f"no command {words[0]}; the commands are {', '.join(COMMANDS)}")
    os.chdir(ROOT)
    return command(words[1:])


# --- without set-up -----------------------------------------------------------------------------


def demo(words: list[str]) -> int:
    """Trace this machine for a few seconds with the tracing door, straight from the sources."""
    if os.geteuid() != 0:
        raise Stop(
            "the demo traces the whole machine, which takes root: sudo python3 tools/dev.py demo"
        )
    seconds = words[0] if words else "3"
    script = DEMO.replace("SECONDS", seconds).strip()
    one_line = " ".join(line.strip() for line in script.splitlines())
    print(f"$ bpflens trace -e '{one_line}'", flush=True)
    print(f"(ends by itself after {seconds} seconds)", flush=True)
    return call([sys.executable, "-m", "bpflens", "trace", "-e", one_line], env=source_env())


def zipapp(words: list[str]) -> int:
    """Build the single-file archive."""
    return call([sys.executable, "tools/build_pyz.py", *words])


def vm(words: list[str]) -> int:
    """Run a command inside another kernel."""
    if len(words) < 2:
        raise Stop("say which kernel and what to run: tools/dev.py vm 6.12 uname -r")
    kernel, *command = words
    if command[0] == "--":
        del command[0]
    return call([sys.executable, "tools/vm.py", "--kernel", kernel, "--", *command])


def ci(words: list[str]) -> int:
    """Run what CI runs."""
    return call(["bash", ".ci/run", *words])


# --- with the development environment -----------------------------------------------------------


def test(words: list[str]) -> int:
    """Set everything up and run the tests."""
    set_up()
    return call([PYTHON, "-m", "pytest", *(words or ["-q"])], env=source_env())


def test_vm(words: list[str]) -> int:
    """Run the tests marked vm inside each kernel (or the ones named)."""
    set_up()
    worst = 0
    for kernel in words or ["6.1", "6.12"]:
        print(f"== Linux {kernel}", flush=True)
        env = {**os.environ, "BPFLENS_MUST_RUN": f"vm-{kernel}"}
        command = [PYTHON, "tools/vm.py", "--kernel", kernel, "--tests", *VM_TESTS]
        worst = max(worst, call(command, env=env))
    return worst


def lint(words: list[str]) -> int:
    """Run every check that does not run the code; report all of them, not the first."""
    set_up()
    env = source_env()
    paths = words or ["src", "tests", "tools", "bench"]
    checks = {
        "ruff check": [PYTHON, "-m", "ruff", "check", *paths],
        "ruff format": [PYTHON, "-m", "ruff", "format", "--check", *paths],
        "mypy": [PYTHON, "-m", "mypy", *words],
        "import-linter": [os.path.join(VENV, "bin", "lint-imports"), "--no-logo"],
    }
    failed = []
    for name, check in checks.items():
        print(f"== {name}", flush=True)
        if call(check, env=env):
            failed.append(name)
    print(f"lint: {'failed: ' + ', '.join(failed) if failed else 'clean'}", flush=True)
    return 1 if failed else 0


def format_(words: list[str]) -> int:
    """Format, and fix what can be fixed safely."""
    set_up()
    paths = words or ["src", "tests", "tools", "bench"]
    return call([PYTHON, "-m", "ruff", "format", *paths]) or call(
        [PYTHON, "-m", "ruff", "check", "--fix", *paths]
    )


def bench(words: list[str]) -> int:
    """Measure, side by side with the real tools where they are installed."""
    set_up()
    return call([PYTHON, "-m", "bench", *words], env=source_env())


def setup(words: list[str]) -> int:
    """Make .venv only."""
    set_up()
    print(f"{VENV} is ready")
    return 0


COMMANDS = {
    "demo": demo,
    "test": test,
    "test-vm": test_vm,
    "lint": lint,
    "format": format_,
    "zipapp": zipapp,
    "vm": vm,
    "bench": bench,
    "ci": ci,
    "setup": setup,
}


# --- the development environment ----------------------------------------------------------------


def set_up() -> None:
    """Bring .venv to what pyproject.toml asks for; costs nothing when it is there already."""
    wanted = requirements()
    stamp = os.path.join(VENV, "bpflens-requirements")
    key = hashlib.sha256("\n".join([sys.version, *wanted]).encode()).hexdigest()
    if read(stamp) == key and os.access(PYTHON, os.X_OK):
        return
    started = time.monotonic()
    print(f"setting up .venv for Python {sys.version.split()[0]} ...", flush=True)
    if not works(PYTHON, "import pip"):
        make_venv()
    pip = [PYTHON, "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "-q"]
    quietly([*pip, *wanted], "installing the development tools (this needs the package index)")
    with open(stamp, "w", encoding="ascii") as file:
        file.write(key)
    print(f"... done in {time.monotonic() - started:.0f} s", flush=True)


def requirements() -> list[str]:
    """Return what the package needs and what its developers need, as pip takes it."""
    import tomllib  # not before Python 3.11, which main() has checked by now

    with open(os.path.join(ROOT, "pyproject.toml"), "rb") as file:
        project = tomllib.load(file)
    groups = project["dependency-groups"]

    def expand(name: str) -> list[str]:
        found: list[str] = []
        for item in groups[name]:
            found += [item] if isinstance(item, str) else expand(item["include-group"])
        return found

    return [*project["project"]["dependencies"], *expand("dev")]


def make_venv() -> None:
    """Make .venv, fetching the venv module itself where that is possible."""
    if not works(sys.executable, "import ensurepip, venv"):
        install_venv_module()
    shutil.rmtree(VENV, ignore_errors=True)
    quietly([sys.executable, "-m", "venv", VENV], "making .venv")


def install_venv_module() -> None:
    """Debian splits ensurepip off into python3-venv; fetch it when we are root there."""
    by_hand = "install it (on Debian and Ubuntu: apt-get install python3-venv), then try again"
    if shutil.which("apt-get") is None:
        raise Stop(f"{sys.executable} has no venv module; {by_hand}")
    if os.geteuid() != 0:
        raise Stop(f"{sys.executable} has no venv module and only root can add it; {by_hand}")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "-y", "-q", "--no-install-recommends", "python3-venv"]
    # The package lists may be there already; fetching them is the slower half.
    if subprocess.run(install, env=env, capture_output=True, check=False).returncode:
        quietly(["apt-get", "update", "-q"], "fetching Debian's package lists", env)
        quietly(install, "installing python3-venv", env)
    if not works(sys.executable, "import ensurepip, venv"):
        raise Stop(f"python3-venv is installed, but not for {sys.executable}; use /usr/bin/python3")


# --- processes ----------------------------------------------------------------------------------


def source_env() -> dict[str, str]:
    """Return the environment in which the sources are the package."""
    path = os.pathsep.join(
        part for part in (os.path.join(ROOT, "src"), os.environ.get("PYTHONPATH")) if part
    )
    return {**os.environ, "PYTHONPATH": path}


def call(command: list[str], env: dict[str, str] | None = None) -> int:
    """Run a command on this terminal; return its status."""
    process = subprocess.Popen(command, env=env)
    while True:
        try:
            status = process.wait()
        except KeyboardInterrupt:
            continue  # it went to the command as well, which decides what it means
        return status if status >= 0 else 128 - status


def quietly(command: list[str], what: str, env: dict[str, str] | None = None) -> None:
    """Run a command whose output only matters when it fails."""
    done = subprocess.run(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        tail = "\n".join(done.stdout.strip().splitlines()[-15:])
        raise Stop(f"{what} failed:\n$ {' '.join(command)}\n{tail}")


def works(python: str, code: str) -> bool:
    """Tell whether an interpreter exists and can run ``code``."""
    try:
        return (
            subprocess.run([python, "-c", code], capture_output=True, check=False).returncode == 0
        )
    except OSError:
        return False


def read(path: str) -> str:
    """Return a file's text, or nothing where there is no such file."""
    try:
        with open(path, encoding="ascii") as file:
            return file.read()
    except OSError:
        return ""


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except Stop as stop:
        sys.exit(f"tools/dev.py: {stop}")

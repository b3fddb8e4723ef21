#!/usr/bin/env python3
"""Run a command as root inside another Linux kernel, on this machine's own files.

    python3 tools/vm.py --kernel 6.12 -- uname -r
    python3 tools/vm.py --kernel 6.1 --tests tests/vm      the tests marked vm, with .venv's pytest

The kernel is Debian's (6.1, 6.12, or the name of a linux-image package), fetched with apt-get on
first use into ``$BPFLENS_VM_CACHE`` (``~/.cache/bpflens-vm``). QEMU emulates the machine: no
virtualisation is needed, but Python runs 20 to 40 times slower than outside, so boot once for many
tests. The host's root is mounted read-only under an overlay in memory; what the command writes is
gone afterwards. Its output (both streams, on standard output) and its exit status come back; 125
means that the machine did not get as far as the command, 124 that it ran out of time.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile

import vm_image

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CACHE = os.environ.get("BPFLENS_VM_CACHE") or os.path.expanduser("~/.cache/bpflens-vm")
# Short names of Debian's packages that always depend on the newest of their series.
KERNELS = {"6.1": "linux-image-amd64", "6.12": "linux-image-6.12-amd64"}

TIMED_OUT = 124
NOT_STARTED = 125

# Mitigations cost much under emulation and protect nothing here; the clock has to be trusted,
# since the emulated one looks unstable; and what a distribution does at boot is not wanted.
COMMAND_LINE = (
    "console=ttyS0 quiet panic=-1 mitigations=off nokaslr cryptomgr.notests tsc=reliable "
    "no_timer_check random.trust_cpu=on audit=0 selinux=0 apparmor=0"
)


class Stop(Exception):
    """What cannot go on, in one sentence."""


def main() -> int:
    """Boot, run, hand back the status."""
    options, command = parse(sys.argv[1:])
    if os.uname().machine != "x86_64":
        raise Stop("the kernels that this boots are for x86-64 only")
    qemu, busybox = programs()
    kernel = kernel_directory(options.kernel)
    script = tests_script(options.kernel, command) if options.tests else command_script(command)
    with tempfile.TemporaryDirectory(prefix="bpflens-vm-") as scratch:
        image = os.path.join(scratch, "initramfs")
        with open(image, "wb") as file:
            file.write(initramfs(kernel, busybox))
            file.write(vm_image.archive([("command", 0o100755, script.encode())]))
        return boot(qemu, kernel, image, scratch, options)


def parse(words: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Split the command line into this tool's options and the command."""
    parser = argparse.ArgumentParser(prog="tools/vm.py", description="run in another kernel")
    parser.add_argument("--kernel", default="6.12", help="6.1, 6.12 or a linux-image package")
    parser.add_argument("--memory", default="2G")
    parser.add_argument("--cpus", default="2")
    parser.add_argument("--timeout", type=float, default=900, help="seconds (900)")
    parser.add_argument("--console", help="keep the kernel's console output in this file")
    parser.add_argument("--tests", action="store_true", help="the words are pytest's")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args(words)
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        parser.error("no command")
    return options, command


# --- what to run --------------------------------------------------------------------------------


def command_script(command: list[str]) -> str:
    """Return the shell script for a command; a single word may be a whole shell line."""
    line = command[0] if len(command) == 1 else shlex.join(command)
    return f"cd {shlex.quote(os.getcwd())}\n{line}\n"


def tests_script(kernel: str, words: list[str]) -> str:
    """Return the shell script that runs pytest in place, with the environment made by dev.py."""
    python = os.path.join(ROOT, ".venv", "bin", "python")
    if not os.access(python, os.X_OK):
        raise Stop("no .venv yet: python3 tools/dev.py setup makes it")
    pytest = [python, "-m", "pytest", "-q", "-m", "vm", "-p", "no:cacheprovider", *words]
    variables = {
        "BPFLENS_VM": kernel,
        "BPFLENS_MUST_RUN": os.environ.get("BPFLENS_MUST_RUN", ""),
        "PYTHONPATH": os.path.join(ROOT, "src"),
    }
    exports = "".join(f"export {name}={shlex.quote(text)}\n" for name, text in variables.items())
    return f"cd {shlex.quote(ROOT)}\n{exports}{shlex.join(pytest)}\n"


# --- what it needs ------------------------------------------------------------------------------


def programs() -> tuple[str, str]:
    """Return the paths of QEMU and of a static busybox, installing them where root can."""
    packages = {"qemu-system-x86_64": "qemu-system-x86", "busybox": "busybox-static"}
    missing = [package for name, package in packages.items() if not shutil.which(name)]
    if missing:
        if os.geteuid() != 0 or not shutil.which("apt-get"):
            raise Stop(f"install {' and '.join(missing)} first")
        apt("update")
        apt("install", "-y", "--no-install-recommends", *missing)
    return tuple(shutil.which(name) or name for name in packages)  # type: ignore[return-value]


def kernel_directory(name: str) -> str:
    """Return where the kernel package is unpacked, fetching it on first use."""
    directory = os.path.join(CACHE, "kernels", name)
    if os.path.exists(os.path.join(directory, "vmlinux")):
        return directory
    print(f"fetching Debian's kernel {name} ...", file=sys.stderr, flush=True)
    os.makedirs(os.path.dirname(directory), exist_ok=True)
    if os.geteuid() == 0:
        apt("update")
    package = newest(KERNELS.get(name, name))
    # Unpacked beside its place and moved there, so that no half-made kernel is ever booted.
    with tempfile.TemporaryDirectory(dir=os.path.dirname(directory)) as scratch:
        apt("download", package, cwd=scratch)
        deb = next(entry.path for entry in os.scandir(scratch) if entry.name.endswith(".deb"))
        fresh = os.path.join(scratch, "root")
        run(["dpkg-deb", "-x", deb, fresh])
        with open(os.path.join(fresh, "vmlinux"), "wb") as file:
            file.write(vm_image.kernel_image(fresh))
        tree = vm_image.module_tree(fresh)
        if shutil.which("depmod"):  # so that modprobe works inside
            run(["depmod", "-b", fresh, os.path.basename(tree)])
        shutil.rmtree(directory, ignore_errors=True)
        os.rename(fresh, directory)
    return directory


def newest(package: str) -> str:
    """Follow a package that stands for the newest of a series to the one that holds a kernel."""
    depends = run(["apt-cache", "depends", package])
    for line in depends.splitlines():
        relation, _, target = line.strip().partition(": ")
        if relation == "Depends" and target.startswith("linux-image-"):
            return target
    return package


def apt(*words: str, cwd: str | None = None) -> None:
    """Run apt-get quietly; what it says matters only when it fails."""
    run(["apt-get", "-q", *words], cwd=cwd)


def run(command: list[str], cwd: str | None = None) -> str:
    """Run a program to its end; return its output, or stop with its last words."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-5:])
        raise Stop(f"{' '.join(command)} failed:\n{tail}")
    return done.stdout


def initramfs(kernel: str, busybox: str) -> bytes:
    """Return the initramfs of a kernel, made once and kept beside it."""
    key = hashlib.sha256("\0".join([vm_image.INIT, *vm_image.MODULES]).encode()).hexdigest()[:12]
    path = os.path.join(kernel, f"initramfs-{key}")
    if not os.path.exists(path):
        fresh = f"{path}.{os.getpid()}"
        with open(fresh, "wb") as image:
            image.write(vm_image.initramfs(kernel, busybox))
        os.rename(fresh, path)
    with open(path, "rb") as file:
        return file.read()


# --- the machine --------------------------------------------------------------------------------


def boot(qemu: str, kernel: str, image: str, scratch: str, options: argparse.Namespace) -> int:
    """Run the emulator to its end; return the status of the command inside."""
    console = options.console or os.path.join(scratch, "console")
    status = os.path.join(scratch, "status")
    modules = os.path.abspath(vm_image.module_tree(kernel))
    command = [
        *(qemu, "-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max"),
        *("-smp", options.cpus, "-m", options.memory),
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-kernel", os.path.join(kernel, "vmlinux"), "-initrd", image),
        *("-append", f"{COMMAND_LINE} modules={modules}"),
        *("-chardev", f"file,id=console,path={console}", "-serial", "chardev:console"),
        *("-fsdev", "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap"),
        *("-device", "virtio-9p-pci,fsdev=host,mount_tag=host"),
        *("-device", "virtio-serial-pci"),
        *("-chardev", "stdio,id=output,signal=off"),
        *("-device", "virtserialport,chardev=output,name=output"),
        *("-chardev", f"file,id=status,path={status}"),
        *("-device", "virtserialport,chardev=status,name=status"),
    ]
    # A pipe that nobody writes to: at the end of its input QEMU would close the output port too.
    machine = subprocess.Popen(command, stdin=subprocess.PIPE)
    try:
        machine.wait(options.timeout)
    except subprocess.TimeoutExpired:
        print(f"tools/vm.py: stopped after {options.timeout:.0f} s", file=sys.stderr)
        return TIMED_OUT
    finally:
        if machine.poll() is None:
            machine.kill()
            machine.wait()
    try:
        with open(status, encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        with open(console, encoding="utf-8", errors="replace") as file:
            print(f"tools/vm.py: the command never ended:\n{file.read()[-2000:]}", file=sys.stderr)
        return NOT_STARTED


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Stop as stop:
        sys.exit(f"tools/vm.py: {stop}")
    except KeyboardInterrupt:
        sys.exit(130)

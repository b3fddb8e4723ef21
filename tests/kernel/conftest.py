"""Places of its own for every test that touches the kernel, and what it must not leave behind."""

from __future__ import annotations

import gc
import os
import subprocess
import sys

import pytest

from bpflens.errors import NotSupported, SyscallError
from bpflens.kernel import bpf, syscall
from bpflens.kernel.memory import address

_CLONE_NEWNET = 0x40000000
_MNT_DETACH = 2


# --- leaks --------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def no_leaked_object(request):
    """Fail a test that leaves a BPF object of this process behind.

    A neighbour may make objects at the same time; so only those count that this process holds
    open, which is what its descriptors say, or that a pin of the test's own bpffs keeps.
    """
    if not request.node.get_closest_marker("kernel"):
        yield
        return
    gc.collect()
    before = _own_objects()
    yield
    gc.collect()
    left = _own_objects() - before
    assert not left, f"BPF objects left behind: {sorted(left)}"


def _own_objects():
    # /proc/self/fdinfo names the id of the map, program, link or BTF behind a descriptor.
    found = set()
    for name in os.listdir("/proc/self/fdinfo"):
        try:
            with open(f"/proc/self/fdinfo/{name}") as file:
                text = file.read()
        except OSError:
            continue  # the descriptor of this very listing
        for line in text.splitlines():
            key, _, value = line.partition(":")
            if key in ("map_id", "prog_id", "link_id", "btf_id"):
                found.add((key, int(value)))
    return found


# --- places -------------------------------------------------------------------------------------


@pytest.fixture
def bpffs(tmp_path):
    """A BPF file system of the test's own, unmounted with all pins afterwards."""
    place = tmp_path / "bpffs"
    place.mkdir()
    kind, target = b"bpf", os.fsencode(place)
    syscall.syscall("mount", address(kind), address(target), address(kind), 0, 0)
    yield str(place)
    syscall.syscall("umount2", address(target), _MNT_DETACH)


@pytest.fixture
def cgroup():
    """The path of an own, empty cgroup (version 2), removed afterwards."""
    root = _cgroup2()
    if root is None:
        pytest.skip("no cgroup2 file system mounted")
    path = os.path.join(root, f"bpflens-test-{os.getpid()}")
    os.mkdir(path)
    yield path
    for _ in range(50):
        try:
            os.rmdir(path)
            return
        except OSError:
            import time

            time.sleep(0.05)
    os.rmdir(path)


def _cgroup2():
    with open("/proc/self/mounts") as file:
        for line in file:
            fields = line.split()
            if fields[2] == "cgroup2":
                return fields[1]
    return None


@pytest.fixture
def netns():
    """A network namespace of the test's own, with ``lo`` up; the thread is back afterwards.

    Yields a descriptor of the namespace. While the test runs this thread is in it.
    """
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    syscall.syscall("unshare", _CLONE_NEWNET)
    inside = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    try:
        yield inside
    finally:
        os.close(inside)
        syscall.syscall("setns", home, _CLONE_NEWNET)
        os.close(home)


@pytest.fixture
def veth(netns):
    """The names and indices of a pair of interfaces in an own network namespace."""
    added = subprocess.run(["ip", "link", "add", "left", "type", "veth", "peer", "name", "right"])
    if added.returncode:
        raise NotSupported("veth", why="no pair of interfaces can be made (a module is missing)")
    for name in ("left", "right"):
        subprocess.run(["ip", "link", "set", name, "up"], check=True)
    import socket

    return {name: socket.if_nametoindex(name) for name in ("left", "right")}


# --- programs -----------------------------------------------------------------------------------


@pytest.fixture
def close_all():
    """Collects descriptors and objects, and closes them after the test."""
    held = []
    yield held.append
    for one in reversed(held):
        if isinstance(one, int):
            os.close(one)
        else:
            one.close()


def insns(*words):
    """Encode ``(op, dst, src, off, imm)`` tuples as instructions of this machine's byte order."""
    import struct

    return b"".join(
        struct.pack("=BBhi", op, dst | src << 4, off, imm) for op, dst, src, off, imm in words
    )


RETURN_0 = insns((0xB7, 0, 0, 0, 0), (0x95, 0, 0, 0, 0))
RETURN_1 = insns((0xB7, 0, 0, 0, 1), (0x95, 0, 0, 0, 0))


@pytest.fixture
def return_0():
    """The instructions of a program that returns 0."""
    return RETURN_0


@pytest.fixture
def return_1():
    """The instructions of a program that returns 1 (accept, allow, pass)."""
    return RETURN_1


@pytest.fixture
def load(close_all):
    """Load a program and close it after the test: ``load(type, insns, **more)`` gives the fd."""

    def loaded(prog_type, code=RETURN_0, **more):
        fd = bpf.prog_load(prog_type, code, **more)
        close_all(fd)
        return fd

    return loaded


@pytest.fixture
def errno_of():
    """Call a function and return the errno it failed with, 0 when it did not fail."""

    def called(function, *arguments, **more):
        try:
            result = function(*arguments, **more)
        except SyscallError as error:
            return error.errno
        if isinstance(result, int):
            os.close(result)
        return 0

    return called


@pytest.fixture
def python():
    """The interpreter that runs the tests, for children."""
    return sys.executable

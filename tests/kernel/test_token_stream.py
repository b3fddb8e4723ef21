"""Two commands that need a stage: tokens of a user namespace, output of a program."""

from __future__ import annotations

import errno
import os
import socket
import struct

import pytest

from bpflens.errors import NotSupported, SyscallError
from bpflens.kernel import bpf, feature, info, syscall
from bpflens.kernel.memory import address
from bpflens.objects.btf import vmlinux
from bpflens.objects.map import Map
from bpflens.objects.program import Program
from bpflens.uapi import bpf as u

pytestmark = pytest.mark.kernel

CLONE_NEWUSER, CLONE_NEWNS = 0x10000000, 0x00020000
FSCONFIG_SET_STRING, FSCONFIG_CMD_CREATE = 1, 6
EXIT = struct.pack("=BBhi", 0x95, 0, 0, 0)


def insn(op, dst=0, src=0, off=0, imm=0):
    return struct.pack("=BBhi", op, dst | src << 4, off, imm)


def test_what_a_program_prints_is_read():
    feature.feature("prog_streams").require()
    types = vmlinux()
    id = types.find("bpf_stream_vprintk_impl") or types.find("bpf_stream_vprintk")
    text = b"hello %d\n\0"
    with Map.create(
        "array", key_size=4, value_size=16, max_entries=1, flags=u.BPF_F_RDONLY_PROG
    ) as format:
        format[0] = text.ljust(16, b"\0")
        format.freeze()
        code = (
            insn(0x7A, 10, 0, -8, 42)  # *(u64 *)(r10 - 8) = 42
            + insn(0xB7, 1, imm=1)
            + insn(0x18, 2, u.BPF_PSEUDO_MAP_VALUE, 0, format.fd) + insn(0)
            + insn(0xBF, 3, 10) + insn(0x07, 3, imm=-8)
            + insn(0xB7, 4, imm=8)
            + insn(0xB7, 5)
            + insn(0x85, 0, u.BPF_PSEUDO_KFUNC_CALL, 0, id)
            + EXIT
        )  # fmt: skip
        with Program.load("syscall", code, flags=u.BPF_F_SLEEPABLE) as program:
            retval = program.test_run().retval
            if retval == -errno.ENOMEM & 0xFFFFFFFF:
                # Some builds cannot allocate where a program may not wait.
                raise NotSupported("memory for what a program prints")
            assert retval == 0
            assert program.read_stream() == b"hello 42\n"
            assert program.read_stream() == b""
            assert program.read_stream(2) == b""


def fs_config(fs, command, key=b"", value=b""):
    syscall.syscall(
        "fsconfig", fs, command, address(key) if key else 0, address(value) if value else 0, 0
    )


def child(link):
    """In an own user namespace: hand out a bpffs to be delegated, and use its token."""
    syscall.syscall("unshare", CLONE_NEWUSER | CLONE_NEWNS)
    kind = b"bpf"
    fs = syscall.syscall("fsopen", address(kind), 0)
    socket.send_fds(link, [b"x"], [fs])
    _, (mount,), _, _ = socket.recv_fds(link, 1, 1)
    bpffs = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=mount)
    token = bpf.token_create(bpffs)
    allowed = info.token_info(token)
    try:
        bpf.map_create(u.BPF_MAP_TYPE_ARRAY, 4, 4, 1)
        without = 0
    except SyscallError as error:
        without = error.errno
    fd = bpf.map_create(u.BPF_MAP_TYPE_ARRAY, 4, 4, 1, flags=u.BPF_F_TOKEN_FD, token_fd=token)
    link.send(struct.pack("=QQII", allowed.allowed_cmds, allowed.allowed_maps, without, fd))


def test_a_token_allows_what_was_delegated():
    feature.feature("token").require()
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            child(theirs)
            status = 0
        finally:
            os._exit(status)
    theirs.close()
    try:
        _, fds, _, _ = socket.recv_fds(ours, 1, 1)
        if not fds:
            pytest.skip("no user namespace can be made here (a chroot, say)")
        with open(fds[0], closefd=True) as fs:
            fs_config(fs.fileno(), FSCONFIG_SET_STRING, b"delegate_cmds", b"any")
            fs_config(fs.fileno(), FSCONFIG_SET_STRING, b"delegate_maps", b"0x6")
            fs_config(fs.fileno(), FSCONFIG_CMD_CREATE)
            mount = syscall.syscall("fsmount", fs.fileno(), 0, 0)
        socket.send_fds(ours, [b"x"], [mount])
        os.close(mount)
        commands, maps, without, fd = struct.unpack("=QQII", ours.recv(64))
    finally:
        ours.close()
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status == 0
    assert commands >> u.BPF_MAP_CREATE & 1
    assert maps == 1 << u.BPF_MAP_TYPE_HASH | 1 << u.BPF_MAP_TYPE_ARRAY
    assert without != 0
    assert fd > 2

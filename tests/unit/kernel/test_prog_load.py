"""Loading: the second try with a log, the log that grows, the limit that is raised once."""

from __future__ import annotations

import errno
import struct

import pytest

from bpflens.errors import SyscallError, VerifierError
from bpflens.kernel import bpf, limits, memory, prog_command, syscall
from bpflens.uapi.bpf import BPF_BTF_LOAD, BPF_MAP_CREATE, BPF_PROG_LOAD, BPF_PROG_TYPE_TRACING

CODE = bytes(16)


class Loader:
    """A kernel that answers BPF_PROG_LOAD from a list of ``answer(level, log_size)``."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.levels = []
        self.sizes = []

    def __call__(self, number, command=0, address=0, size=0, *_):
        if number == syscall.number("capget"):
            memory.poke(address, struct.pack("=6I", *[0xFFFFFFFF] * 6))
            return 0
        if number != syscall.number("bpf"):
            return -errno.ENOSYS
        assert command == BPF_PROG_LOAD
        fields = prog_command._A_PROG_LOAD.unpack(memory.peek(address, size))
        level, log_size, log = fields[4:7]
        self.levels.append(level)
        self.sizes.append(log_size)
        answer, text = self.answers.pop(0)
        if log and text:
            memory.poke(log, text[: log_size - 1] + b"\0")
        return answer


@pytest.fixture(autouse=True)
def no_limit_work(monkeypatch):
    monkeypatch.setattr(limits, "_memlock_done", True)


def load(kernel, **more):
    with syscall.set_syscall(kernel):
        return bpf.prog_load(1, CODE, name="prog", **more)


def test_success_needs_no_log():
    kernel = Loader((9, b""))
    assert load(kernel) == 9
    assert kernel.levels == [0]


def test_a_refusal_is_tried_again_with_a_log():
    kernel = Loader((-errno.EACCES, b""), (-errno.EACCES, b"0: (95) exit\nR0 !read_ok\n"))
    with pytest.raises(VerifierError, match="R0 !read_ok") as caught:
        load(kernel)
    assert kernel.levels == [0, 1]
    assert caught.value.log == ["0: (95) exit", "R0 !read_ok"]
    assert caught.value.program == "prog"


def test_an_unexplained_refusal_is_tried_once():
    kernel = Loader((-errno.EACCES, b""))
    with pytest.raises(SyscallError):
        load(kernel, explain=False)
    assert kernel.levels == [0]


def test_the_log_grows_until_it_fits():
    kernel = Loader((-errno.EINVAL, b""), (-errno.ENOSPC, b"x"), (-errno.EINVAL, b"long log"))
    with pytest.raises(VerifierError, match="long log"):
        load(kernel)
    assert kernel.sizes[0] == 0
    assert kernel.sizes[2] > kernel.sizes[1] > 0


def test_a_signal_does_not_end_the_load():
    kernel = Loader((-errno.EAGAIN, b""), (-errno.EAGAIN, b""), (5, b""))
    assert load(kernel) == 5


def test_a_wanted_log_is_given_on_success():
    log = []
    assert load(Loader((5, b"processed 2 insns\n")), log_level=4, log=log) == 5
    assert log == ["processed 2 insns"]


def test_an_empty_log_is_a_system_call_error():
    kernel = Loader((-errno.EINVAL, b""), (-errno.EINVAL, b""))
    with pytest.raises(SyscallError, match="does not know the program") as caught:
        load(kernel)
    assert not isinstance(caught.value, VerifierError)


def test_btf_that_is_refused_carries_its_log():
    def kernel(number, command, address, size):
        assert command == BPF_BTF_LOAD
        log, log_size = struct.unpack_from("=Q4xI", memory.peek(address, size), 8)
        if log:
            memory.poke(log, b"magic mismatch\0"[:log_size])
        return -errno.EINVAL

    with syscall.set_syscall(kernel), pytest.raises(VerifierError, match="magic mismatch"):
        bpf.btf_load(bytes(32))


def test_all_capabilities_and_still_eperm_is_told_apart():
    kernel = Loader((-errno.EPERM, b""), (-errno.EPERM, b""))
    with syscall.set_syscall(kernel), pytest.raises(SyscallError, match="refuses programs of type"):
        bpf.prog_load(BPF_PROG_TYPE_TRACING, CODE)


# --- RLIMIT_MEMLOCK -----------------------------------------------------------------------------


class OldKernel:
    """Charges maps to RLIMIT_MEMLOCK, and does not know the helper of 5.11."""

    def __init__(self, raisable=True):
        self.limit = 65536
        self.raisable = raisable
        self.creations = 0

    def __call__(self, number, *args):
        if number == syscall.number("prlimit64"):
            return self.prlimit(*args)
        if number == syscall.number("capget"):
            memory.poke(args[1], struct.pack("=6I", *[0xFFFFFFFF] * 6))
            return 0
        if args[0] == BPF_MAP_CREATE:
            self.creations += 1
            return 3 if self.limit > 1 << 20 else -errno.EPERM
        return -errno.EINVAL

    def prlimit(self, pid, resource, new, old):
        if old:
            memory.poke(old, struct.pack("=QQ", self.limit, 1 << 22))
        if new:
            soft, hard = struct.unpack("=QQ", memory.peek(new, 16))
            if hard > 1 << 22 or not self.raisable:
                return -errno.EPERM
            self.limit = soft
        return 0


def test_the_limit_is_raised_as_far_as_allowed_and_the_map_made(monkeypatch):
    monkeypatch.setattr(limits, "_memlock_done", False)
    kernel = OldKernel()
    with syscall.set_syscall(kernel):
        assert bpf.map_create(1, 4, 4, 1) == 3
    assert kernel.limit == 1 << 22
    assert kernel.creations == 2


def test_a_limit_that_cannot_be_raised_is_not_tried_again(monkeypatch):
    monkeypatch.setattr(limits, "_memlock_done", False)
    kernel = OldKernel(raisable=False)
    with syscall.set_syscall(kernel):
        for _ in range(2):
            with pytest.raises(SyscallError, match="RLIMIT_MEMLOCK"):
                bpf.map_create(1, 4, 4, 1)
    assert kernel.creations == 2

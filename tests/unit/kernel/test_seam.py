"""The seam: everything passes one function, and memory is where it says it is."""

from __future__ import annotations

import errno
import threading

import pytest

from bpflens.errors import SyscallError
from bpflens.kernel import bpf, memory, syscall
from bpflens.kernel.memory import Buffer


def test_a_fake_takes_the_place_of_the_kernel_and_gives_it_back():
    before = syscall.raw
    with syscall.set_syscall(lambda *_: -errno.EBUSY):
        with pytest.raises(OSError, match="busy"):
            syscall.syscall("bpf", 1, 2, 3)
        assert syscall.raw is not before
    assert syscall.raw is before


def test_the_real_function_returns_minus_errno():
    assert syscall.raw(syscall.number("ioctl"), -1, 0, 0) == -errno.EBADF


def test_addresses_are_not_cut_to_32_bits():
    buffer = Buffer(8)
    assert memory.peek(buffer.address, 8) == bytes(8)
    memory.poke(buffer.address, b"abcdefgh")
    assert bytes(buffer) == b"abcdefgh"


@pytest.mark.parametrize("data", [b"x", b"1234567890" * 100, bytearray(b"abc")])
def test_the_address_of_python_bytes_holds_them(data):
    assert memory.peek(memory.address(data), len(data)) == bytes(data)


def test_nothing_has_the_null_address():
    assert memory.address_or_null(None) == 0
    assert memory.address_or_null(b"") == 0


def test_an_attribute_is_sent_with_its_size_and_values():
    seen = []

    def kernel(number, command, address, size):
        seen.append((number, command, memory.peek(address, size)))
        return 7

    with syscall.set_syscall(kernel):
        assert bpf.map_create(1, 4, 8, 16, name="hello") == 7
    number, command, attr = seen[0]
    assert number == syscall.number("bpf")
    assert command == 0
    assert attr[:16] == b"".join(n.to_bytes(4, "little") for n in (1, 4, 8, 16))
    assert attr[28:44] == b"hello".ljust(16, b"\0")


def test_threads_do_not_share_an_attribute():
    # Each call sees its own values although calls overlap.
    barrier = threading.Barrier(2, timeout=10)

    def kernel(number, command, address, size):
        first = memory.peek(address, size)
        barrier.wait()
        assert memory.peek(address, size) == first
        return int.from_bytes(first[:4], "little")

    answers = {}

    def run(fd):
        bpf.map_freeze(fd)
        answers[fd] = True

    with syscall.set_syscall(kernel):
        threads = [threading.Thread(target=run, args=(fd,)) for fd in (5, 6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == {5: True, 6: True}


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("counter", b"counter"),
        ("has space/slash", b"has_space_slash"),
        ("much_too_long_a_name", b"much_too_long_a"),
        ("dot.ted_1", b"dot.ted_1"),
        ("é", b"__"),
    ],
)
def test_names_become_what_the_kernel_takes(name, wanted):
    assert bpf.kernel_name(name) == wanted


def test_an_error_names_command_errno_and_object():
    def kernel(number, *_):
        return -errno.E2BIG if number == syscall.number("bpf") else -errno.ENOSYS

    with syscall.set_syscall(kernel), pytest.raises(SyscallError) as caught:
        bpf.map_create(1, 4, 8, 16, name="big")
    assert "BPF_MAP_CREATE hash 'big'" in str(caught.value)
    assert "E2BIG" in str(caught.value)

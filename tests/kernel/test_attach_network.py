"""Attaching to interfaces, namespaces and cgroups, in a namespace and a cgroup of our own."""

from __future__ import annotations

import os
import socket
import subprocess
from contextlib import ExitStack, closing

import pytest

from bpflens.attach.cgroup import Cgroup
from bpflens.attach.network import Netfilter, Netns, Ordered, Sockmap, Xdp
from bpflens.errors import AttachError
from bpflens.kernel import bpf
from bpflens.kernel.syscall import syscall
from bpflens.uapi import bpf as k
from kernel.attach_program import counting

pytestmark = pytest.mark.kernel

CLONE_NEWNET = 0x40000000
XDP_FLAGS_SKB_MODE = 2


@pytest.fixture
def load():
    with ExitStack() as stack:
        yield lambda *args, **more: stack.enter_context(closing(counting(*args, **more)))


@pytest.fixture
def own_network():
    """A network namespace with nothing but a loopback interface that is up."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    syscall("unshare", CLONE_NEWNET)
    try:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True, timeout=20)
        yield
    finally:
        syscall("setns", before, CLONE_NEWNET)
        os.close(before)


@pytest.fixture
def own_cgroup():
    """A cgroup v2 directory of our own; yields its path."""
    for root in ("/sys/fs/cgroup/unified", "/sys/fs/cgroup"):
        if os.path.exists(f"{root}/cgroup.controllers"):
            break
    else:
        pytest.skip("there is no cgroup v2 here")
    path = f"{root}/bpflens-test-{os.getpid()}"
    os.mkdir(path)
    yield path
    os.rmdir(path)


def _udp(count):
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        receiver.bind(("127.0.0.1", 0))
        for _ in range(count):
            sender.sendto(b"x", receiver.getsockname())
        receiver.settimeout(5)
        for _ in range(count):
            receiver.recv(10)


def test_xdp_sees_each_packet_until_closed(load, own_network):
    program = load(k.BPF_PROG_TYPE_XDP, result=2, expected_attach_type=k.BPF_XDP)
    with Xdp("lo", flags=XDP_FLAGS_SKB_MODE).attach(program):
        _udp(5)
        second = load(k.BPF_PROG_TYPE_XDP, result=2)
        with pytest.raises(AttachError, match="another XDP program is on this interface"):
            Xdp("lo", flags=XDP_FLAGS_SKB_MODE).attach(second)
    _udp(3)
    assert program.hits == 5


def test_interface_that_does_not_exist_lists_those_that_do(load, own_network):
    program = load(k.BPF_PROG_TYPE_XDP, result=2)
    with pytest.raises(AttachError, match="no interface eth77") as caught:
        Xdp("eth77").attach(program)
    assert caught.value.hints == ["lo"]


@pytest.mark.parametrize("attach_type", [k.BPF_TCX_INGRESS, k.BPF_TCX_EGRESS])
def test_tcx_sees_each_packet(load, own_network, attach_type):
    # TCX_NEXT, -1: the next program decides.
    program = load(k.BPF_PROG_TYPE_SCHED_CLS, result=-1, expected_attach_type=attach_type)
    with Ordered("lo", attach_type).attach(program):
        _udp(4)
    assert program.hits == 4


def test_netfilter_sees_each_packet(load, own_network):
    program = load(k.BPF_PROG_TYPE_NETFILTER, result=1, expected_attach_type=k.BPF_NETFILTER)
    local_in = 1
    with Netfilter(2, local_in, -100).attach(program):
        _udp(6)
        with pytest.raises(AttachError, match="has this hook and priority"):
            Netfilter(2, local_in, -100).attach(program)
    assert program.hits == 6


def test_sk_lookup_is_asked_for_each_packet_of_a_namespace(load, own_network):
    program = load(k.BPF_PROG_TYPE_SK_LOOKUP, result=1, expected_attach_type=k.BPF_SK_LOOKUP)
    with Netns(k.BPF_SK_LOOKUP).attach(program):
        _udp(2)
    hits = program.hits
    _udp(2)
    assert hits == program.hits >= 2


def test_sockmap_verdict_runs_for_what_its_sockets_receive(load, own_network, request):
    fd = bpf.map_create(k.BPF_MAP_TYPE_SOCKMAP, 4, 4, 2)
    request.addfinalizer(lambda: os.close(fd))
    program = load(k.BPF_PROG_TYPE_SK_SKB, result=1, expected_attach_type=k.BPF_SK_SKB_VERDICT)

    class Holder:
        def __init__(self, fd):
            self.fd = fd

    with (
        Sockmap(Holder(fd), k.BPF_SK_SKB_VERDICT).attach(program),
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
    ):
        peer, _ = server.accept()
        with peer:
            bpf.map_update_elem(fd, bytes(4), peer.fileno().to_bytes(4, "little"))
            client.sendall(b"hello")
            assert peer.recv(10) == b"hello"
    assert program.hits == 1


@pytest.mark.parametrize("flags", [None, 0, k.BPF_F_ALLOW_MULTI])
def test_cgroup_program_sees_what_its_processes_send(load, own_cgroup, own_network, flags):
    program = load(
        k.BPF_PROG_TYPE_CGROUP_SKB, result=1, expected_attach_type=k.BPF_CGROUP_INET_EGRESS
    )
    with Cgroup(own_cgroup, k.BPF_CGROUP_INET_EGRESS, flags=flags).attach(program) as attachment:
        assert bool(attachment.link_fd) == (flags is None)
        child = os.fork()
        if not child:
            with open(f"{own_cgroup}/cgroup.procs", "w") as file:
                file.write(str(os.getpid()))
            _udp(3)
            os._exit(0)
        os.waitpid(child, 0)
    assert program.hits == 3
    directory = os.open(own_cgroup, os.O_RDONLY)
    try:
        assert bpf.prog_query(directory, k.BPF_CGROUP_INET_EGRESS).prog_ids == []
    finally:
        os.close(directory)


def test_missing_cgroup_says_so(load):
    program = load(k.BPF_PROG_TYPE_CGROUP_SKB, result=1)
    with pytest.raises(AttachError, match="No such file"):
        Cgroup("/sys/fs/cgroup/nowhere-at-all", k.BPF_CGROUP_INET_EGRESS).attach(program)

"""Objects that clang builds, attached to what their sections name."""

from __future__ import annotations

import ctypes
import os
import shutil
import struct
import subprocess
from contextlib import ExitStack

import pytest

from bpf_object import build, clang
from bpflens.attach.attachment import close_all
from bpflens.attach.loaded_object import ObjectAttacher
from bpflens.attach.section import can_attach, probe_of
from bpflens.attach.struct_ops import StructOps
from bpflens.errors import AttachError
from bpflens.kernel.feature import feature
from bpflens.load.collection import load_object
from bpflens.load.object_file import read
from bpflens.spec import ProgramSpec
from bpflens.uapi.btf import BTF_KIND_DATASEC

pytestmark = pytest.mark.kernel


def _variable(loaded, name):
    program = next(iter(loaded.programs.values()))
    btf = program.btf()
    section = btf.type(btf.find(".bss", BTF_KIND_DATASEC))
    return next((var.offset, var.size) for var in section.vars if btf.name(var.type_id) == name)


def _store(loaded, name, value):
    at, size = _variable(loaded, name)
    raw = bytearray(loaded.maps[".bss"].lookup_raw(bytes(4)))
    raw[at : at + size] = value.to_bytes(size, "little")
    loaded.maps[".bss"].update_raw(bytes(4), bytes(raw))


def _load(loaded, name):
    at, size = _variable(loaded, name)
    return loaded.maps[".bss"].lookup_raw(bytes(4))[at : at + size]


def test_sections_say_what_to_attach_to():
    feature("uprobe_multi").require()
    spec = read(build("attach.bpf.c"))
    libc = ctypes.CDLL(None)
    with load_object(spec) as loaded, ExitStack() as stack:
        _store(loaded, "wanted_pid", os.getpid())
        for name, program in loaded.programs.items():
            if can_attach(spec.programs[name]):
                attachment = stack.enter_context(probe_of(spec.programs[name]).attach(program))
                if name == "by_iterator":
                    walked = attachment.read()
        os.getppid()
        for _ in range(3):
            libc.rand()
        libc.srand(1)
        hits = struct.unpack("8Q", _load(loaded, "hits"))
    assert hits[0] == 1
    assert hits[1] > 1
    assert hits[2] > 1
    # Three calls of rand(); ?rand matches srand (and nothing else that was called).
    assert hits[3:6] == (3, 3, 1)
    assert len(walked) == walked.count(b"t") > 10


def test_section_without_a_target_cannot_be_attached_by_itself():
    spec = read(build("attach.bpf.c"))
    assert not can_attach(spec.programs["without_target"])
    with pytest.raises(AttachError, match="does not say what to attach without_target to"):
        probe_of(spec.programs["without_target"])


@pytest.mark.parametrize(
    ("section", "target"), [("tp/x", "x"), ("uprobe/x", "x"), ("usdt/a:b", "a:b")]
)
def test_target_of_a_wrong_form_says_which_is_right(section, target):
    program = ProgramSpec("p", 0, b"", section=section, attach_to=target)
    with pytest.raises(AttachError, match="should be"):
        probe_of(program)


def _available():
    with open("/proc/sys/net/ipv4/tcp_available_congestion_control") as file:
        return file.read().split()


@pytest.mark.parametrize("options", [(), ("-DBY_LINK",)])
def test_table_of_functions_is_registered_until_closed(options):
    spec = read(build("congestion.bpf.c", *options))
    with load_object(spec) as loaded:
        table = StructOps("ours", loaded.maps["ours"], loaded.tables["ours"])
        with table.attach() as attachment:
            assert bool(attachment.link_fd) == bool(options)
            assert "bpf_ours" in _available()
            _exchange("bpf_ours")
        assert "bpf_ours" not in _available()
        assert struct.unpack("Q", _load(loaded, "calls"))[0] > 0


# Send over a connection with this congestion control.
def _exchange(name):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, name.encode())
        client.connect(server.getsockname())
        peer, _ = server.accept()
        with peer:
            client.sendall(bytes(4000))
            got = 0
            while got < 4000:
                got += len(peer.recv(4000))


@pytest.fixture
def probed_program(tmp_path):
    """A user program with the static probe bpflens_test:three at two places."""
    compiler = shutil.which("gcc") or shutil.which("cc") or clang()
    path = tmp_path / "usdt_user"
    source = os.path.join(os.path.dirname(__file__), "..", "bpf", "usdt_user.c")
    subprocess.run([compiler, "-O1", "-o", str(path), source], check=True, timeout=120)
    return str(path)


def test_arguments_of_static_probes_are_found_by_an_object(probed_program):
    feature("get_attach_cookie").require()
    spec = read(build("usdt.bpf.c"))
    spec.programs["three"].attach_to = f"{probed_program}:bpflens_test:three"
    with load_object(spec) as loaded:

        def numbers(*names):
            return [int.from_bytes(_load(loaded, name), "little") for name in names]

        with ObjectAttacher(loaded).attach("three", cookie=0xC00C1E):
            subprocess.run([probed_program], check=True, timeout=30)
            assert numbers("calls", "count", "cookie") == [1, 3, 0xC00C1E]
            first, second, third = numbers("first", "second", "third")
            assert (first, second, third) == (2**64 - 5, 2**64 - 5000, 77)
            subprocess.run([probed_program, "twice"], check=True, timeout=30)
        assert numbers("calls", "places", "first") == [3, 3, 9]


def test_all_of_an_object_is_attached_or_nothing():
    spec = read(build("congestion.bpf.c"))
    with load_object(spec) as loaded:
        attachments = ObjectAttacher(loaded).attach_all()
        assert "bpf_ours" in _available()
        with pytest.raises(AttachError):
            ObjectAttacher(loaded).attach_all()
        close_all(attachments)
        assert "bpf_ours" not in _available()

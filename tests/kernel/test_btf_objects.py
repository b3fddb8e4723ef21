"""BTF objects, walks over ids, and pins, on the running kernel."""

from __future__ import annotations

import os
import subprocess

import pytest

from bpflens.errors import Error, NotFound, SyscallError, VerifierError
from bpflens.kernel import bpf, feature, info
from bpflens.kernel.probe import BTF_INT, btf_blob
from bpflens.objects import btf, iterate, pin
from bpflens.objects.btf import Btf
from bpflens.objects.link import Link
from bpflens.objects.map import Map
from bpflens.objects.program import Program

pytestmark = pytest.mark.kernel


def test_btf_is_loaded_and_read_back():
    data = btf_blob(BTF_INT)
    with Btf.load(data) as loaded:
        assert loaded.data() == data
        assert loaded.info.btf_size == len(data)
        assert loaded.info.kernel_btf is False
        assert loaded.name == ""
        assert loaded.types.name(1) == "int"
        with Btf.from_id(loaded.id) as again:
            assert again.data() == data


def test_bad_btf_is_refused_with_the_kernels_words():
    with pytest.raises(VerifierError, match="BTF"):
        Btf.load(btf_blob(BTF_INT)[:-1])


def test_the_kernels_own_btf_is_opened_once():
    types = btf.vmlinux()
    assert types is btf.vmlinux()
    assert types.name(types.find("task_struct")) == "task_struct"
    first = next(iterate.btfs(keep=True))
    with first:
        assert (first.name, first.info.kernel_btf) == ("vmlinux", True)
        assert first.types is types


def test_a_module_that_is_not_there_is_named():
    with pytest.raises(NotFound, match="no_such_module"):
        btf.module("no_such_module")


def test_every_module_with_btf_stands_on_the_kernels():
    for name in btf.modules():
        assert btf.module(name).nr_types > btf.vmlinux().nr_types


def test_walks_find_what_was_made(return_0):
    with (
        Map.create("array", key_size=4, value_size=4, name="walked") as made,
        Program.load("raw_tracepoint", return_0, name="walked") as program,
        Link.raw_tracepoint(program, "sys_enter") as link,
    ):
        assert made.id in iterate.ids("map")
        assert made.id in [found.id for found in iterate.maps()]
        assert program.id in [found.id for found in iterate.programs()]
        assert link.id in [found.id for found in iterate.links()]


def test_a_walk_closes_what_it_gave():
    with Map.create("array", key_size=4, value_size=4):
        given = list(iterate.maps())
        assert all(found.closed for found in given)
        kept = list(iterate.maps(keep=True))
        assert not any(found.closed for found in kept)
        for found in kept:
            found.close()


def test_the_same_ids_as_the_real_bpftool(real_bpftool, return_0):
    import json

    with Program.load("socket_filter", return_0) as program:
        shown = subprocess.run(
            [real_bpftool, "-j", "prog", "show"], capture_output=True, text=True, check=True
        )
        ours = set(iterate.ids("prog"))
    assert program.id in ours & {one["id"] for one in json.loads(shown.stdout)}


def test_pins_are_opened_by_what_they_are(bpffs, return_0):
    with (
        Map.create("array", key_size=4, value_size=4) as made,
        Program.load("raw_tracepoint", return_0) as program,
        Link.raw_tracepoint(program, "sys_enter") as link,
    ):
        os.mkdir(f"{bpffs}/dir")
        made.pin(f"{bpffs}/dir/map")
        program.pin(f"{bpffs}/prog")
        link.pin(f"{bpffs}/link")
        for name, wanted in (("dir/map", made), ("prog", program), ("link", link)):
            with pin.open_pin(f"{bpffs}/{name}") as opened:
                assert type(opened) is type(wanted)
                assert opened.id == wanted.id
        found = dict(pin.walk(bpffs))
    assert found == {
        f"{bpffs}/dir/map": "map",
        f"{bpffs}/prog": "prog",
        f"{bpffs}/link": "link",
    }
    pin.unpin(f"{bpffs}/link")
    with pytest.raises(SyscallError, match="nothing is pinned there"):
        pin.open_pin(f"{bpffs}/link")
    with pytest.raises(NotFound):
        pin.unpin(f"{bpffs}/link")


def test_bpffs_is_known_by_its_mount(bpffs, tmp_path):
    assert bpffs in pin.file_systems()
    assert pin.is_bpffs(f"{bpffs}/a/b")
    assert not pin.is_bpffs(str(tmp_path))


def test_pinning_elsewhere_says_why(tmp_path):
    with (
        Map.create("array", key_size=4, value_size=4) as made,
        pytest.raises(SyscallError, match=r"not on a BPF file system.*mount -t bpf"),
    ):
        made.pin(str(tmp_path / "map"))


def test_a_pin_is_found_relative_to_a_directory(bpffs):
    feature.feature("path_fd").require()
    directory = os.open(bpffs, os.O_PATH | os.O_DIRECTORY)
    try:
        with Map.create("array", key_size=4, value_size=4) as made:
            bpf.obj_pin(made.fd, "here", directory)
            fd = bpf.obj_get("here", path_fd=directory)
            assert info.map_info(fd).id == made.id
            os.close(fd)
    finally:
        os.close(directory)


def test_what_is_closed_says_so():
    made = Map.create("array", key_size=4, value_size=4)
    made.close()
    made.close()
    with pytest.raises(ValueError, match="this Map is closed"):
        _ = made.fd
    assert issubclass(SyscallError, Error)

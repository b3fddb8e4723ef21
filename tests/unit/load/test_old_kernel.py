"""Kernels without names for programs and maps are asked again without them."""

from __future__ import annotations

import errno

import pytest

from bpflens.errors import SyscallError
from bpflens.kernel import bpf
from bpflens.load.attach_target import AttachTarget
from bpflens.load.map_create import create_map
from bpflens.load.program_load import load_program
from bpflens.spec import MapSpec, ProgramSpec


@pytest.fixture
def nameless(monkeypatch):
    """A kernel that finds attributes with a name too long; yields the names it was given."""
    names = []

    def refuse(*args, name="", **more):
        names.append(name)
        if name:
            raise SyscallError(errno.E2BIG, "BPF")
        return 77

    monkeypatch.setattr(bpf, "prog_load", refuse)
    monkeypatch.setattr(bpf, "map_create", refuse)
    return names


def test_program_loads_without_its_name(nameless):
    assert load_program(ProgramSpec("named", 1, bytes(8)), bytes(8), AttachTarget()) == 77
    assert nameless == ["named", ""]


def test_map_is_created_without_its_name(nameless):
    assert create_map(MapSpec("named", 2, 4, 4, 1)) == 77
    assert nameless == ["named", ""]


def test_other_refusals_are_not_tried_again(monkeypatch):
    def refuse(*args, **more):
        raise SyscallError(errno.EPERM, "BPF_MAP_CREATE")

    monkeypatch.setattr(bpf, "map_create", refuse)
    with pytest.raises(SyscallError, match="EPERM"):
        create_map(MapSpec("named", 2, 4, 4, 1))

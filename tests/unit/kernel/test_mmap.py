"""Shared memory: loads, stores, and views that never dangle."""

from __future__ import annotations

import os

import pytest

from bpflens.errors import SyscallError
from bpflens.kernel import mmap
from bpflens.kernel.mmap import PAGE_SIZE, PROT_READ, PROT_WRITE, Mapping


@pytest.fixture
def file():
    fd = os.memfd_create("ring")
    os.ftruncate(fd, 2 * PAGE_SIZE)
    yield fd
    os.close(fd)


def test_what_is_stored_is_loaded_by_another_mapping(file):
    with Mapping(file, PAGE_SIZE, PROT_READ | PROT_WRITE) as writer, Mapping(file, PAGE_SIZE) as r:
        writer.store(8, 1 << 60)
        assert r.load(8) == 1 << 60
        assert r.words()[1] == 1 << 60


def test_a_mapping_can_start_behind_the_first_page(file):
    os.pwrite(file, b"\x07", PAGE_SIZE)
    with Mapping(file, PAGE_SIZE, PROT_READ, PAGE_SIZE) as second:
        assert second.load(0) == 7


def test_a_read_only_mapping_cannot_be_written(file):
    with Mapping(file, PAGE_SIZE) as page, pytest.raises(TypeError):
        page.store(0, 1)


def test_order_is_kept_where_the_machine_does_not_keep_it(file, monkeypatch):
    monkeypatch.setattr(mmap, "_STRONG", False)
    with Mapping(file, PAGE_SIZE, PROT_READ | PROT_WRITE) as page:
        page.store(0, 5)
        assert page.load(0) == 5


def test_closing_twice_is_fine_and_views_end(file):
    page = Mapping(file, PAGE_SIZE)
    view = page.view
    page.close()
    page.close()
    with pytest.raises(ValueError, match="released"):
        view[0]


def test_what_cannot_be_mapped_says_what_was_tried():
    with pytest.raises(SyscallError, match="mmap of the ring"):
        Mapping(0, PAGE_SIZE, PROT_READ, 7, what="mmap of the ring")

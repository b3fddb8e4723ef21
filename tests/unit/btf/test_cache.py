"""The index on disk: found again, never wrong, never in the way."""

from __future__ import annotations

import os
import threading

import pytest

from bpflens.btf import Btf
from bpflens.btf import cache as module
from bpflens.btf.builder import Builder
from bpflens.btf.cache import load_index, load_text
from bpflens.uapi.btf import BTF_KIND_TYPEDEF


def make(count: int, prefix: str = "t") -> bytes:
    builder = Builder()
    builder.add_int("int", 4, 1)
    for i in range(count):
        builder.add_typedef(f"{prefix}{i:05}", 1)
    builder.add_enum("e", [("ONE", 1), ("TWO", 2)])
    return builder.build()


DATA = make(6000)


@pytest.fixture
def where(tmp_path):
    return str(tmp_path / "cache" / "bpflens")


def check(data: bytes, index) -> None:
    btf = Btf(data, index=index)
    assert btf.find("t00042", BTF_KIND_TYPEDEF) == 44
    assert btf.find("t99999") is None
    assert btf.find_enumerator("TWO") == [(6002, 1)]
    assert btf.nr_types == 6003
    assert len(btf.ids_of_kind(BTF_KIND_TYPEDEF)) == 6000


def read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def only_file(where: str) -> str:
    (name,) = os.listdir(where)
    return os.path.join(where, name)


def test_first_start_leaves_a_file_and_the_second_uses_it(where, monkeypatch):
    check(DATA, load_index(DATA, b"id", where))
    monkeypatch.setattr(module, "complete", None)  # a second making would fail
    check(DATA, load_index(DATA, b"id", where))
    assert os.stat(only_file(where)).st_mode & 0o777 == 0o600


def test_other_kernel_gets_its_own_index(where):
    other = make(6000, "u")
    load_index(DATA, b"id", where)
    index = load_index(other, b"id", where)
    assert Btf(other, index=index).find("u00042") == 44
    assert len(os.listdir(where)) == 2


def test_other_identity_gets_its_own_index(where):
    load_index(DATA, b"one", where)
    load_index(DATA, b"two", where)
    assert len(os.listdir(where)) == 2


@pytest.mark.parametrize("place", [0, 9, 13, 20, 40, 100, 5000, 40000, -1])
def test_damaged_file_is_replaced(where, place):
    load_index(DATA, b"id", where)
    path = only_file(where)
    content = bytearray(read(path))
    content[place] ^= 0x40
    with open(path, "wb") as file:
        file.write(content)
    check(DATA, load_index(DATA, b"id", where))
    content[place] ^= 0x40
    assert read(path) == bytes(content)


@pytest.mark.parametrize("size", [0, 10, 40, 1000])
def test_short_file_is_replaced(where, size):
    load_index(DATA, b"id", where)
    path = only_file(where)
    os.truncate(path, size)
    check(DATA, load_index(DATA, b"id", where))
    assert os.path.getsize(path) > 40000


def test_file_that_others_may_write_is_not_trusted(where, monkeypatch):
    load_index(DATA, b"id", where)
    os.chmod(only_file(where), 0o666)
    check(DATA, load_index(DATA, b"id", where))
    assert os.stat(only_file(where)).st_mode & 0o777 == 0o600


def test_link_in_place_of_the_file_is_replaced(where, tmp_path):
    load_index(DATA, b"id", where)
    path = only_file(where)
    os.rename(path, tmp_path / "elsewhere")
    os.symlink(tmp_path / "elsewhere", path)
    check(DATA, load_index(DATA, b"id", where))
    assert not os.path.islink(path)


def test_directory_that_others_may_write_is_not_used(where):
    os.makedirs(where)
    os.chmod(where, 0o777)
    assert load_index(DATA, b"id", where) is None


def test_no_place_to_write_is_no_failure(tmp_path):
    (tmp_path / "file").write_text("")
    assert load_index(DATA, b"id", str(tmp_path / "file" / "below")) is None
    assert load_index(DATA, b"id", "/proc/none") is None
    assert load_index(DATA, b"id", "") is None


def test_full_disk_is_no_failure(where, monkeypatch):
    def full(fd, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "write", full)
    check(DATA, load_index(DATA, b"id", where))
    assert os.listdir(where) == []


def test_starts_side_by_side_agree(where):
    failures = []

    def start():
        try:
            for _ in range(5):
                check(DATA, load_index(DATA, b"id", where))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(os.listdir(where)) == 1


def test_old_files_are_removed(where):
    load_index(DATA, b"0", where)
    leftover = os.path.join(where, ".x.btf-new")
    open(leftover, "w").close()
    os.utime(leftover, (0, 0))
    for i in range(12):
        for name in os.listdir(where):
            path = os.path.join(where, name)
            os.utime(path, (os.path.getmtime(path) - 10,) * 2)
        load_index(DATA, b"%d" % i, where)
    assert len(os.listdir(where)) == module._KEEP + 1
    assert not os.path.exists(leftover)


def test_text_is_made_once(where):
    made = []

    def make():
        made.append(1)
        return ["struct ", "é;\n"]

    for _ in range(2):
        assert bytes(load_text(DATA, b"id", "c-1", make, where)).decode() == "struct é;\n"
    assert made == [1]
    load_text(DATA, b"id", "c-2", make, where)
    load_text(DATA, b"other", "c-1", make, where)
    assert len(made) == 3


@pytest.mark.parametrize("place", [0, 5, 9, 40, -1])
def test_damaged_text_is_made_again(where, place):
    load_text(DATA, b"id", "c", lambda: ["right"], where)
    path = only_file(where)
    content = bytearray(read(path))
    content[place] ^= 1
    with open(path, "wb") as file:
        file.write(content)
    assert bytes(load_text(DATA, b"id", "c", lambda: ["new"], where)) == b"new"
    assert bytes(load_text(DATA, b"id", "c", lambda: ["never"], where)) == b"new"


def test_text_without_a_cache_is_made():
    assert bytes(load_text(DATA, b"id", "c", lambda: ["text"], "")) == b"text"
    assert bytes(load_text(DATA, b"id", "c", lambda: ["text"], "/proc/x")) == b"text"


def test_directory_follows_the_environment(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/x/cache")
    assert module.directory() == "/x/cache/bpflens"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setattr(module.os, "geteuid", lambda: 0)
    assert module.directory() == "/var/cache/bpflens"
    monkeypatch.setattr(module.os, "geteuid", lambda: 1000)
    monkeypatch.setenv("HOME", "/home/user")
    assert module.directory() == "/home/user/.cache/bpflens"


def test_kernel_index_finds_the_same_as_a_walk(vmlinux, where):
    index = load_index(vmlinux.raw, b"id", where)
    again = load_index(vmlinux.raw, b"id", where)
    btf = Btf(vmlinux.raw, index=again)
    assert list(again.offsets) == list(vmlinux.index.offsets) == list(index.offsets)
    for name in ("task_struct", "file", "vfs_read", "int", "no_such_thing", "list_head"):
        assert btf.find_all(name) == vmlinux.find_all(name)

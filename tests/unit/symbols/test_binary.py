"""What a name such as bash or libc means."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess

import pytest

from bpflens.symbols import binary


@pytest.fixture
def bins(tmp_path):
    for folder, name in (("a", "tool"), ("b", "tool"), ("b", "other"), ("b", "toolbox")):
        (tmp_path / folder).mkdir(exist_ok=True)
        path = tmp_path / folder / name
        path.write_text(f"{folder}{name}")
        path.chmod(0o755)
    (tmp_path / "b" / "plain").write_text("not executable")
    (tmp_path / "c").symlink_to(tmp_path / "a")
    return f"{tmp_path}/a:{tmp_path}/b:{tmp_path}/c:/nonexistent"


def test_all_programs_of_a_name_in_the_order_of_the_path(bins, tmp_path):
    assert binary.find_binary("tool", path=bins) == [f"{tmp_path}/a/tool", f"{tmp_path}/b/tool"]
    assert binary.find_binary("other", path=bins) == [f"{tmp_path}/b/other"]
    assert binary.find_binary("plain", path=bins) == []
    assert binary.find_binary("none", path=bins) == []


def test_globs_and_paths(bins, tmp_path):
    assert binary.find_binary("tool*", path=bins) == [
        f"{tmp_path}/a/tool",
        f"{tmp_path}/b/tool",
        f"{tmp_path}/b/toolbox",
    ]
    assert binary.find_binary(f"{tmp_path}/b/o*") == [f"{tmp_path}/b/other"]
    assert binary.find_binary(f"{tmp_path}/b/plain") == [f"{tmp_path}/b/plain"]
    assert binary.find_binary(f"{tmp_path}/b") == []


def test_another_root(tmp_path):
    (tmp_path / "bin").mkdir()
    shutil.copy("/bin/true", tmp_path / "bin" / "app")
    root = str(tmp_path)
    assert binary.find_binary("app", root, path="/bin") == [f"{root}/bin/app"]
    assert binary.find_binary("/bin/app", root) == [f"{root}/bin/app"]
    assert binary.find_binary("/bin/a*", root) == [f"{root}/bin/app"]
    assert binary.find_library("libc", root) == []


def test_the_cache_is_the_one_that_ldconfig_prints():
    tool = shutil.which("ldconfig", path="/sbin:/usr/sbin:/bin:/usr/bin")
    if tool is None or not os.path.exists("/etc/ld.so.cache"):
        pytest.skip("no ldconfig")
    text = subprocess.run([tool, "-p"], capture_output=True, text=True, check=True, timeout=30)
    lines = [line for line in text.stdout.splitlines() if " => " in line]
    expected = [(line.split()[0], line.split(" => ")[1]) for line in lines]
    with open("/etc/ld.so.cache", "rb") as file:
        found = binary.parse_cache(file.read())
    assert expected
    assert [(soname, path) for soname, path, _ in found] == expected


def test_the_c_library_has_many_names():
    names = [binary.find_library(name) for name in ("libc", "libc.so", "libc.so.6")]
    assert names[0]
    assert names[0][0] == names[1][0] == names[2][0]
    assert os.path.basename(names[0][0]).startswith("libc.")
    assert binary.find_library(names[0][0]) == names[0][:1]


def new_cache(entries, prefix=b""):
    strings = b""
    packed = b""
    base = 48 + 24 * len(entries)
    for soname, path, flags in entries:
        key = base + len(strings)
        strings += soname + b"\0"
        packed += struct.pack("=iIIIQ", flags, key, base + len(strings), 0, 0)
        strings += path + b"\0"
    head = struct.pack("=20sIIB3xI12x", b"glibc-ld.so.cache1.1", len(entries), len(strings), 2, 0)
    return prefix + head + packed + strings


def old_cache(entries):
    strings = b""
    packed = b""
    for soname, path, flags in entries:
        packed += struct.pack("=iII", flags, len(strings), len(strings) + len(soname) + 1)
        strings += soname + b"\0" + path + b"\0"
    return b"ld.so-1.7.0\0" + struct.pack("=I", len(entries)) + packed + strings


ENTRIES = [(b"libx.so.2", b"/lib/libx.so.2", 0x303), (b"libx.so.1", b"/lib/libx.so.1", 3)]


def test_both_formats_and_one_inside_the_other():
    expected = [(key.decode(), path.decode(), flags) for key, path, flags in ENTRIES]
    old = old_cache(ENTRIES[1:])
    assert binary.parse_cache(new_cache(ENTRIES)) == expected
    assert binary.parse_cache(old_cache(ENTRIES)) == expected
    assert binary.parse_cache(new_cache(ENTRIES, old + bytes(-len(old) % 8))) == expected


def test_a_damaged_cache_has_fewer_entries_and_no_error():
    whole = new_cache(ENTRIES)
    assert binary.parse_cache(b"") == []
    assert binary.parse_cache(b"something else") == []
    for length in range(len(whole)):
        assert len(binary.parse_cache(whole[:length])) <= 2
        assert len(binary.parse_cache(old_cache(ENTRIES)[:length])) <= 2
    lying = bytearray(whole)
    lying[20:24] = b"\xff\xff\xff\x7f"
    assert len(binary.parse_cache(bytes(lying))) < 20


def test_libraries_of_this_machine_come_first(tmp_path):
    etc, lib = tmp_path / "etc", tmp_path / "lib"
    etc.mkdir()
    lib.mkdir()
    for name in ("libx.so.1", "libx.so.2", "libxy.so.1", "libx-1.so"):
        (lib / name).write_text(name)
    entries = [
        (b"libx.so.2", b"/lib/libx.so.2", 3),
        (b"libx.so.1", b"/lib/libx.so.1", 0x303),
        (b"libxy.so.1", b"/lib/libxy.so.1", 0x303),
        (b"libx.so.0", b"/lib/gone", 0x303),
    ]
    (etc / "ld.so.cache").write_bytes(new_cache(entries))
    found = binary.find_library("libx", str(tmp_path), "x86_64")
    assert found == [f"{lib}/libx.so.1", f"{lib}/libx.so.2"]


def test_without_a_cache_the_usual_directories_are_searched(tmp_path):
    (tmp_path / "lib").mkdir()
    for name in ("libc.so.6", "libc.so.10", "libcrypt.so.1"):
        (tmp_path / "lib" / name).write_text(name)
    found = binary.find_library("libc", str(tmp_path))
    assert found == [f"{tmp_path}/lib/libc.so.10", f"{tmp_path}/lib/libc.so.6"]

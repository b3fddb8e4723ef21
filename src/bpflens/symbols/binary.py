"""Which file a name means: programs by PATH, libraries by the dynamic linker's cache.

Takes ``bash`` and gives ``/usr/bin/bash``; takes ``libc`` and gives
``/lib/x86_64-linux-gnu/libc.so.6``. A name with a slash is a path and is taken as it is. ``root``
puts another root directory before everything (``/proc/PID/root``), whose own cache is then read.

/etc/ld.so.cache is read by our own code, in both of glibc's formats and as far as it is sound; on
systems without it (musl) the usual directories are searched.

Example::

    find_binary("python3")       # ['/usr/bin/python3']
    find_library("libssl")       # ['/lib/x86_64-linux-gnu/libssl.so.3']
"""

from __future__ import annotations

import os
import struct

from bpflens.elf.glob import is_glob

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["find_binary", "find_file", "find_library", "parse_cache"]

_NEW_MAGIC = b"glibc-ld.so.cache1.1"
_OLD_MAGIC = b"ld.so-1.7.0"
_MAX_CACHE = 64 << 20

# elf/dl-cache.h: the flags of an entry that the 64-bit dynamic linker of a machine accepts.
_FLAGS = {
    "x86_64": 0x0303,
    "aarch64": 0x0A03,
    "riscv64": 0x1003,
    "ppc64le": 0x0503,
    "s390x": 0x0403,
}
_DIRECTORIES = ("/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib")


def find_file(name: str, root: str = "") -> list[str]:
    """Return the files that a name means as a probe's target: programs, else libraries."""
    return find_binary(name, root) or find_library(name, root)


def find_binary(name: str, root: str = "", path: str | None = None) -> list[str]:
    """Return the programs of that name on PATH, in its order, each file once.

    A name with a slash is returned if it is a file. ``*``, ``?`` and ``[...]`` match several.
    ``path`` stands in for the environment's PATH.
    """
    if "/" in name:
        return list(_existing(root + each for each in _expand(name, root)))
    if path is None:
        path = os.environ.get("PATH") or os.defpath
    places = (f"{folder or '.'}/{name}" for folder in path.split(":"))
    found = (root + each for place in places for each in _expand(place, root))
    return list(_existing(each for each in found if os.access(each, os.X_OK)))


def find_library(name: str, root: str = "", machine: str | None = None) -> list[str]:
    """Return the libraries of that name, the one the dynamic linker would take first.

    ``libc``, ``libc.so`` and ``libc.so.6`` are understood. ``machine`` is as uname(2) spells it
    (default: this one); libraries for others come last.
    """
    if "/" in name:
        return list(_existing([root + name]))
    wanted = _FLAGS.get(machine or os.uname().machine)
    entries = parse_cache(_read(root + "/etc/ld.so.cache"))
    fits = [entry for entry in entries if _means(entry[0], name)]
    # The cache is sorted so that newer versions come first; sorting by fitness keeps that.
    fits.sort(key=lambda entry: (entry[0] != name, entry[2] != wanted))
    found = list(_existing(root + path for _, path, _ in fits))
    return found or list(_existing(_search(name, root)))


def parse_cache(data: bytes) -> list[tuple[str, str, int]]:
    """Return ``(soname, path, flags)`` of the entries of an ld.so.cache, [] if it is none."""
    start = data.find(_NEW_MAGIC)
    if data.startswith(_NEW_MAGIC) or (data.startswith(_OLD_MAGIC) and start > 0):
        return list(_parse_new(data, start))
    if data.startswith(_OLD_MAGIC):
        return list(_parse_old(data))
    return []


def _parse_new(data: bytes, start: int) -> Iterator[tuple[str, str, int]]:
    # struct cache_file_new: magic, nlibs, len_strings, flags, extension_offset, 12 unused bytes;
    # then entries of flags, key, value, osversion, hwcap. Offsets count from the magic.
    header = struct.Struct("=20sIIB3xI12x")
    entry = struct.Struct("=iIIIQ")
    if len(data) < start + header.size:
        return
    _, count, *_ = header.unpack_from(data, start)
    place = start + header.size
    count = min(count, (len(data) - place) // entry.size)
    for index in range(count):
        flags, key, value, _, _ = entry.unpack_from(data, place + index * entry.size)
        yield _string(data, start + key), _string(data, start + value), flags


def _parse_old(data: bytes) -> Iterator[tuple[str, str, int]]:
    # struct cache_file: magic, nlibs; entries of flags, key, value; then the strings.
    entry = struct.Struct("=iII")
    if len(data) < 16:
        return
    (count,) = struct.unpack_from("=I", data, 12)
    count = min(count, (len(data) - 16) // entry.size)
    strings = 16 + count * entry.size
    for index in range(count):
        flags, key, value = entry.unpack_from(data, 16 + index * entry.size)
        yield _string(data, strings + key), _string(data, strings + value), flags


def _string(data: bytes, place: int) -> str:
    end = data.find(b"\0", place, place + 4096)
    return os.fsdecode(data[place : max(place, end)])


def _means(soname: str, name: str) -> bool:
    # "libc" and "libc.so" mean "libc.so.6", but not "libcrypt.so.1" or "libc-client.so".
    if soname == name:
        return True
    stem = name if ".so" in name else name + ".so"
    return soname == stem or soname.startswith(stem + ".")


def _search(name: str, root: str) -> Iterator[str]:
    machine = os.uname().machine
    for folder in (f"/lib/{machine}-linux-gnu", f"/usr/lib/{machine}-linux-gnu", *_DIRECTORIES):
        try:
            names = sorted(os.listdir(root + folder), key=_version, reverse=True)
        except OSError:
            continue
        yield from (f"{root}{folder}/{each}" for each in names if _means(each, name))


def _version(name: str) -> list[int]:
    return [int(part) for part in name.split(".") if part.isdecimal()]


def _expand(path: str, root: str) -> list[str]:
    if not is_glob(path):
        return [path]
    import glob

    found = sorted(glob.glob(root + path, recursive=False))
    return [each.removeprefix(root) for each in found]


def _existing(paths: Iterator[str] | list[str]) -> Iterator[str]:
    # Each file once: /bin and /usr/bin are one directory on most systems.
    seen = set()
    for path in paths:
        try:
            status = os.stat(path)
        except OSError:
            continue
        key = (status.st_dev, status.st_ino)
        if key not in seen and os.path.isfile(path):
            seen.add(key)
            yield path


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(_MAX_CACHE)
    except OSError:
        return b""

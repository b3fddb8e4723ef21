"""The index of a kernel's BTF, kept on disk between starts.

:func:`load_index` gives the index of a BTF from a small file (1 MB for a kernel) if there is a
good one, and otherwise makes it and leaves the file for the next start. The file is mapped, so
that a start pays for one checksum over it (0.4 ms) and never reads the BTF itself.

A file is good if it carries this program's format, the caller's ``identity`` of the kernel, the
sizes and some samples of the BTF itself, and the right checksum, and if it belongs to this user
and nobody else may write it. Any other file is replaced. Writing goes to a file of its own that is
then renamed, so that starts side by side cannot disturb each other. Nothing that goes wrong here
ever stops a start: without a place to write, the index is made anew each time, only as far as
it is needed.

The identity should name the kernel build: its build id and what ``uname`` says. Two kernels whose
BTF cannot be told apart by identity, sizes and samples do not exist in practice.

:func:`load_text` keeps what takes long to print (``vmlinux.h``: half a second) in the same way.

Example::

    index = load_index(data, b"6.18.1 #1 SMP ..." + build_id)
    btf = Btf(data, index=index)
"""

from __future__ import annotations

import os
import struct
from zlib import crc32

from bpflens.btf.index import Index, complete
from bpflens.btf.reader import Btf

TYPE_CHECKING = False
if TYPE_CHECKING:
    import mmap
    from collections.abc import Callable, Iterable

__all__ = ["directory", "load_index", "load_text"]

# magic and format number, byte order mark, checksum of what follows the header, number of types
# with the end mark, of names, of enumerators, length of the identity. The identity and then the
# four tables follow, the identity padded to 8 bytes.
_HEADER = struct.Struct("=8sIIIIII")
_TEXT_HEADER = struct.Struct("=IIQI12x")  # byte order mark, checksum, sizes of text and identity
_MAGIC = b"bpflens\x01"
_ORDER = 0x01020304

_INDEX = ".btf-index"
_TEXT = ".btf-text"
_TEMPORARY = ".btf-new"
_KEEP = 8  # files of other kernels that may stay
_SAMPLE = 2048
_MAX_FILE = 1 << 28


def directory() -> str:
    """Return where index files are kept (it need not exist)."""
    chosen = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(chosen):
        return os.path.join(chosen, "bpflens")
    if os.geteuid() == 0:
        return "/var/cache/bpflens"
    home = os.path.expanduser("~")
    return os.path.join(home, ".cache", "bpflens") if os.path.isabs(home) else ""


def load_index(
    data: bytes | mmap.mmap, identity: bytes, directory: str | None = None
) -> Index | None:
    """Return the index of the BTF in ``data``, from the cache or made now.

    ``None`` means that there is no cache to use: ``Btf`` then makes what it needs. Raises
    :class:`~bpflens.errors.FormatError` if ``data`` is no BTF.
    """
    full_identity = _full_identity(data, identity)
    path = _path(directory, full_identity, _INDEX)
    if not path:
        return None
    found = _read_index(path, full_identity)
    if found is not None:
        return found
    target = _Target.create(path)
    if target is None:
        return None
    try:
        btf = Btf(data)
        index = complete(btf.words, btf.strings, btf.index.offsets)
        target.commit(_encode(index, full_identity))
    except BaseException:
        target.abandon()
        raise
    return index


def load_text(
    data: bytes | mmap.mmap,
    identity: bytes,
    what: str,
    make: Callable[[], Iterable[str]],
    directory: str | None = None,
) -> memoryview:
    """Return a text about the BTF in ``data`` as UTF-8, from the cache or made by ``make`` now.

    ``what`` names the text, with the version of the program that makes it.
    """
    full_identity = _full_identity(data, identity) + b"\0" + what.encode()
    path = _path(directory, full_identity, _TEXT)
    content = _open(path) if path else None
    if content is not None:
        order, checksum, size, length = _TEXT_HEADER.unpack_from(content)
        view = memoryview(content)[_TEXT_HEADER.size :]
        if (
            (order, len(view)) == (_ORDER, length + size)
            and view[:length] == full_identity
            and crc32(view) == checksum
        ):
            return view[length:]
    text = "".join(make()).encode("utf-8", "surrogateescape")
    target = _Target.create(path) if path else None
    if target is not None:
        body = full_identity + text
        header = _TEXT_HEADER.pack(_ORDER, crc32(body), len(text), len(full_identity))
        target.commit(header + body)
    return memoryview(text)


_default_directory = directory


def _full_identity(data: bytes | mmap.mmap, identity: bytes) -> bytes:
    # What the caller says, and samples from the BTF: its header, and pieces of the types and of the
    # strings, so that a wrong index is found out even if the caller's identity lies.
    size = len(data)
    checksum = crc32(data[:_SAMPLE])
    for part in (1, 2, 3):
        start = size * part // 4
        checksum = crc32(data[start : start + _SAMPLE], checksum)
    checksum = crc32(data[max(0, size - _SAMPLE) :], checksum)
    return struct.pack("=QI", size, checksum) + identity


def _path(where: str | None, identity: bytes, suffix: str) -> str:
    # Two kernels with the same name would only replace each other's files.
    where = _default_directory() if where is None else where
    name = f"{crc32(identity):08x}{crc32(identity, 0x5EED):08x}{suffix}"
    return os.path.join(where, name) if where else ""


def _open(path: str) -> mmap.mmap | None:
    try:
        content = _map(path)
    except (OSError, ValueError):
        return None
    return content if content is not None and len(content) >= _HEADER.size else None


def _read_index(path: str, identity: bytes) -> Index | None:
    # The index in a file if it is whole, ours and of this identity.
    content = _open(path)
    if content is None:
        return None
    magic, order, checksum, types, names, values, length = _HEADER.unpack_from(content)
    body = _HEADER.size + length + -length % 8
    size = body + 4 * (types + names + values) + types - 1
    if magic != _MAGIC or order != _ORDER or types < 1 or size != len(content):
        return None
    view = memoryview(content)
    if view[_HEADER.size : _HEADER.size + length] != identity:
        return None
    if crc32(view[_HEADER.size :]) != checksum:
        return None
    second = body + 4 * types
    third = second + 4 * names
    fourth = third + 4 * values
    return Index(
        view[body:second].cast("I"),
        bytes(view[fourth:]),
        view[second:third].cast("I"),
        view[third:fourth].cast("I"),
    )


def _map(path: str) -> mmap.mmap | None:
    import mmap

    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        status = os.fstat(fd)
        # Someone else's file could lead us to wrong offsets, or shrink below us.
        if status.st_uid != os.geteuid() or status.st_mode & 0o170022 != 0o100000:
            return None
        if not 0 < status.st_size <= _MAX_FILE:
            return None
        return mmap.mmap(fd, status.st_size, mmap.MAP_PRIVATE, mmap.PROT_READ)
    finally:
        os.close(fd)


def _encode(index: Index, identity: bytes) -> bytes:
    assert index.kinds is not None
    assert index.by_name is not None
    assert index.enumerators is not None
    from array import array

    tables = [array("I", t) for t in (index.offsets, index.by_name, index.enumerators)]
    parts = [identity, bytes(-len(identity) % 8), *map(array.tobytes, tables), index.kinds]
    body = b"".join(parts)
    counts = [len(table) for table in tables]
    return _HEADER.pack(_MAGIC, _ORDER, crc32(body), *counts, len(identity)) + body


class _Target:
    # A new file beside the one to be, opened before the work is done: where nothing can be written
    # there is no point in sorting all names.
    __slots__ = ("fd", "path", "temporary")

    def __init__(self, fd: int, path: str, temporary: str) -> None:
        self.fd = fd
        self.path = path
        self.temporary = temporary

    @classmethod
    def create(cls, path: str) -> _Target | None:
        where, name = os.path.split(path)
        unique = f"{os.getpid()}-{os.urandom(4).hex()}"
        temporary = os.path.join(where, f".{name}.{unique}{_TEMPORARY}")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            os.makedirs(where, mode=0o700 if os.geteuid() else 0o755, exist_ok=True)
            status = os.stat(where)
            # In a directory that others may write, others may also put their files in our place.
            if status.st_uid != os.geteuid() or status.st_mode & 0o022:
                return None
            return cls(os.open(temporary, flags, 0o600), path, temporary)
        except OSError:
            return None

    def commit(self, content: bytes) -> bool:
        try:
            view = memoryview(content)
            while view:
                view = view[os.write(self.fd, view) :]
            os.close(self.fd)
            self.fd = -1
            os.rename(self.temporary, self.path)
        except OSError:
            self.abandon()
            return False
        _prune(os.path.dirname(self.path), os.path.basename(self.path))
        return True

    def abandon(self) -> None:
        try:
            if self.fd >= 0:
                os.close(self.fd)
            os.unlink(self.temporary)
        except OSError:
            pass  # what is left behind is found by _prune() one day


def _prune(where: str, keep: str) -> None:
    # Remove the oldest files of other kernels, and what killed processes left an hour ago.
    try:
        with os.scandir(where) as entries:
            aged = [(entry.stat(follow_symlinks=False).st_mtime, entry.name) for entry in entries]
        now = max(aged)[0]
        stale = []
        for suffix in (_INDEX, _TEXT):
            found = sorted(item for item in aged if item[1].endswith(suffix) and item[1] != keep)
            stale += [name for _, name in found[:-_KEEP]]
        stale += [name for when, name in aged if name.endswith(_TEMPORARY) and when < now - 3600]
        for name in stale:
            os.unlink(os.path.join(where, name))
    except (OSError, ValueError):
        pass  # a directory that cannot be tidied is no reason to fail

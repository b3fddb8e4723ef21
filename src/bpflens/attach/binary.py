"""Places in executables and libraries: path and symbol in, file offset out.

Example::

    binary_path("libc.so.6")                            # '/lib/x86_64-linux-gnu/libc.so.6'
    place("/usr/bin/python3", "Py_BytesMain").offset    # 0x21a40, what a uprobe takes
"""

from __future__ import annotations

import os

from bpflens.elf import File
from bpflens.errors import NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.elf import Symbol

__all__ = ["Place", "binary_path", "place"]


class Place:
    """A place in a file: ``offset`` in it, ``address`` (virtual), ``symbol`` and ``size`` of it."""

    __slots__ = ("address", "offset", "size", "symbol")

    def __init__(self, offset: int, address: int, symbol: str = "", size: int = 0) -> None:
        self.offset = offset
        self.address = address
        self.symbol = symbol
        self.size = size


def binary_path(name: str) -> str:
    """Return the path of a binary or library: as it stands, or looked up by its name.

    A name without a slash is searched in LD_LIBRARY_PATH and the usual library directories when
    it looks like a library (``libc``, ``libc.so.6``), in PATH otherwise.
    Raises :class:`~bpflens.errors.NotFound`.
    """
    if "/" in name:
        if not os.path.exists(name):
            raise NotFound("file", name)
        return name
    is_library = ".so" in name or name.startswith("lib")
    names = [name] if ".so" in name or not is_library else [name + ".so", name]
    directories = _library_directories() if is_library else _split(os.environ.get("PATH", ""))
    for directory in directories:
        for candidate in names:
            path = os.path.join(directory, candidate)
            if os.path.isfile(path) and (not is_library or _is_elf(path)):
                return path
        if is_library and ".so" not in name:
            versioned = _versioned(directory, name + ".so.")
            if versioned:
                return versioned
    raise NotFound("library" if is_library else "program", name)


def place(path: str, symbol: str = "", offset: int = 0, address: int = 0) -> Place:
    """Return where ``symbol`` + ``offset`` (or the virtual ``address``) is in the file at ``path``.

    Symbols that were stripped are found in .gnu_debugdata or a separate debug file.
    Raises :class:`~bpflens.errors.NotFound` with near names.
    """
    with File(path) as file:
        found = _symbol(file, path, symbol) if symbol else None
        where = (found.value if found is not None else address) + offset
        at = file.vaddr_to_offset(where)
        if at is None:
            raise NotFound(f"loaded byte of {path} at", f"{where:#x}")
        return Place(at, where, symbol, found.size if found is not None else 0)


def _symbol(file: File, path: str, name: str) -> Symbol:
    symbol = file.symbol(name)
    if symbol is None:
        inside = file.gnu_debugdata()
        if inside is not None:
            with inside:
                symbol = inside.symbol(name)
    if symbol is None:
        symbol = _separate(file, path, name)
    if symbol is None:
        raise NotFound(f"symbol in {path}", name, _near(file, name))
    return symbol


def _separate(file: File, path: str, name: str) -> Symbol | None:
    from bpflens.elf.debuglink import find_debug_file

    other = find_debug_file(file, path)
    if other is None:
        return None
    with File(other) as debug:
        return debug.symbol(name)


def _near(file: File, name: str) -> list[str]:
    from difflib import get_close_matches

    return get_close_matches(name, {symbol for symbol, _ in file.symbol_table().names()}, n=3)


def _library_directories() -> list[str]:
    machine = os.uname().machine
    found = _split(os.environ.get("LD_LIBRARY_PATH", ""))
    for root in ("/lib", "/usr/lib", "/usr/local/lib"):
        found += [f"{root}/{machine}-linux-gnu", root + "64", root]
    return found


def _split(path: str) -> list[str]:
    return [part for part in path.split(":") if part]


def _is_elf(path: str) -> bool:
    # libc.so and its like may be a linker script.
    try:
        with open(path, "rb") as file:
            return file.read(4) == b"\x7fELF"
    except OSError:
        return False


def _versioned(directory: str, prefix: str) -> str:
    try:
        names = sorted(name for name in os.listdir(directory) if name.startswith(prefix))
    except OSError:
        return ""
    return os.path.join(directory, names[0]) if names else ""

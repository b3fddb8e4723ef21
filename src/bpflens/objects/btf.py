"""BTF objects of the kernel: vmlinux, modules, and what programs and maps brought along.

Turns ids, names and files into :class:`bpflens.btf.Btf` values. The kernel's own BTF is mapped,
not read, and its index comes from the cache on disk; it is opened once for a process. The BTF of
a module is split: its types continue those of vmlinux.

Example::

    types = vmlinux()
    print(types.type(types.find("task_struct")).size)
"""

from __future__ import annotations

import os

from bpflens.btf import Btf as Types
from bpflens.errors import NotFound, NotSupported
from bpflens.kernel import object_command as _objects
from bpflens.kernel.info import BtfInfo, btf_data, btf_info
from bpflens.objects.handle import Handle

TYPE_CHECKING = False
if TYPE_CHECKING:
    import mmap
    from collections.abc import Callable, Iterable
    from typing import Self

__all__ = ["Btf", "from_id", "module", "modules", "opened_vmlinux", "vmlinux", "vmlinux_text"]

_DIRECTORY = "/sys/kernel/btf"

_vmlinux: Types | None = None


class Btf(Handle):
    """A BTF object of the kernel. ``info`` says its ``id``, ``name`` and size."""

    __slots__ = ("info", "_types")

    info: BtfInfo

    def __init__(self, fd: int) -> None:
        Handle.__init__(self, fd)
        self.info = btf_info(fd)
        self._types: Types | None = None

    @classmethod
    def from_id(cls, id: int) -> Self:
        """Open the BTF object with this id. Raises SyscallError when there is none."""
        return cls(_objects.btf_get_fd_by_id(id))

    @classmethod
    def load(cls, data: bytes) -> Self:
        """Give BTF to the kernel. Raises VerifierError with the kernel's complaints."""
        return cls(_objects.btf_load(data))

    @property
    def id(self) -> int:
        """The id of the object."""
        return self.info.id

    @property
    def name(self) -> str:
        """``"vmlinux"`` or a module's name; empty for what user space loaded."""
        return self.info.name

    def data(self) -> bytes:
        """Return the raw BTF."""
        return btf_data(self.fd)

    @property
    def types(self) -> Types:
        """The types, parsed on demand; those of a module stand on vmlinux."""
        if self._types is None:
            if self.info.kernel_btf and self.info.name == "vmlinux":
                self._types = vmlinux()
            else:
                base = vmlinux() if self.info.kernel_btf else None
                self._types = Types(self.data(), base)
        return self._types

    def __repr__(self) -> str:
        return f"<Btf {self.info.id} {self.info.name!r} {self.info.btf_size} bytes>"


def from_id(id: int) -> Types:
    """Return the types of the BTF object with this id."""
    with Btf.from_id(id) as btf:
        return btf.types


def vmlinux() -> Types:
    """Return the types of the running kernel.

    Raises :class:`~bpflens.errors.NotSupported` on a kernel without CONFIG_DEBUG_INFO_BTF.
    """
    global _vmlinux
    if _vmlinux is None:
        data = _open(f"{_DIRECTORY}/vmlinux")
        if data is None:
            raise NotSupported("BTF of the kernel", "5.4", f"there is no {_DIRECTORY}/vmlinux")
        from bpflens.btf.cache import load_index

        _vmlinux = Types(data, index=load_index(data, _identity()))
    return _vmlinux


def opened_vmlinux() -> Types | None:
    """Return the types of the running kernel if :func:`vmlinux` was called before, else None."""
    return _vmlinux


def vmlinux_text(what: str, make: Callable[[], Iterable[str]]) -> str:
    """Return a long text about the running kernel's types, made once and then kept on disk.

    ``what`` names the text; ``make`` makes it. The version of this program is part of the name.
    """
    from bpflens import __version__
    from bpflens.btf.cache import load_text

    data = _open(f"{_DIRECTORY}/vmlinux")
    if data is None:
        return "".join(make())
    return str(load_text(data, _identity(), f"{what} {__version__}", make), "utf-8", "replace")


def module(name: str) -> Types:
    """Return the types of a kernel module.

    Raises :class:`~bpflens.errors.NotFound` when it is not loaded or has no BTF.
    """
    # Modules are called by their file names too, where a dash stands for an underscore.
    data = _open(f"{_DIRECTORY}/{name.replace('-', '_')}")
    if data is None or "/" in name:
        from difflib import get_close_matches

        raise NotFound("kernel module with BTF", name, get_close_matches(name, modules()))
    return Types(data, vmlinux())


def modules() -> list[str]:
    """Return the names of the loaded modules that have BTF, sorted."""
    try:
        return sorted(name for name in os.listdir(_DIRECTORY) if name != "vmlinux")
    except OSError:
        return []


def _open(path: str) -> bytes | mmap.mmap | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return _mapped(fd) or _whole(fd)
    finally:
        os.close(fd)


def _mapped(fd: int) -> mmap.mmap | None:
    # Since Linux 6.16 (a539e2a6d51d "btf: Allow mmap of vmlinux btf"); reading 5 MB costs 1.6 ms.
    import mmap

    try:
        return mmap.mmap(fd, os.fstat(fd).st_size, prot=mmap.PROT_READ)
    except (OSError, ValueError):
        return None


def _whole(fd: int) -> bytes:
    with open(fd, "rb", closefd=False) as file:
        return file.read()


def _identity() -> bytes:
    # The build id of the kernel is in its notes; uname tells apart what was built from one source.
    uname = os.uname()
    identity = f"{uname.release} {uname.version} {uname.machine}".encode()
    try:
        with open("/sys/kernel/notes", "rb") as file:
            return identity + file.read(4096)
    except OSError:
        return identity

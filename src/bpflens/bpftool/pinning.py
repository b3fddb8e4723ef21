"""``prog pin``, ``map pin``, ``link pin``, and where pins may be made.

A pin needs a BPF file system. As bpftool does, one is mounted on the directory where there is none,
unless ``--nomount`` forbids it.

Example::

    $ bpftool map pin name counters /sys/fs/bpf/counters
"""

from __future__ import annotations

import os

from bpflens.bpftool import handle
from bpflens.bpftool.tool import Failure, errno_status, strerror
from bpflens.errors import SyscallError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.bpftool.tool import Tool
    from bpflens.bpftool.words import Words
    from bpflens.objects.handle import Handle

__all__ = ["pin", "pin_link", "pin_map", "pin_program", "ready_directory", "ready_file"]


def pin_program(tool: Tool, words: Words) -> int:
    """``prog pin PROG FILE``."""
    words.need(2)
    return _pin(tool, words, handle.one_program(words))


def pin_map(tool: Tool, words: Words) -> int:
    """``map pin MAP FILE``."""
    words.need(2)
    return _pin(tool, words, handle.one_map(words))


def pin_link(tool: Tool, words: Words) -> int:
    """``link pin LINK FILE``."""
    words.need(2)
    return _pin(tool, words, handle.link(words))


def _pin(tool: Tool, words: Words, found: Handle) -> int:
    with found:
        path = words.take("file path")
        words.end()
        pin(tool, found.fd, path)
    return tool.done()


def pin(tool: Tool, fd: int, path: str) -> None:
    """Pin a descriptor at ``path``, mounting a BPF file system there if need be."""
    from bpflens.kernel.object_command import obj_pin

    ready_file(tool, path)
    try:
        obj_pin(fd, path)
    except SyscallError as error:
        name = f"can't pin the object ({path})"
        raise handle.tell(name, error, errno_status(error)) from None


def ready_file(tool: Tool, path: str) -> None:
    """See to it that ``path`` can be pinned at: free, in a directory of a BPF file system."""
    if os.path.lexists(path):
        raise Failure(f"can't pin BPF object: path '{path}' already exists")
    directory = os.path.dirname(path) or "."
    if not os.path.isdir(directory):
        raise Failure(f"can't pin BPF object: dir '{directory}' doesn't exist")
    if _is_bpffs(directory):
        return
    _mount(tool, directory, f"can't mount BPF file system to pin the object '{path}'")


def ready_directory(tool: Tool, directory: str) -> None:
    """See to it that ``directory`` is one of a BPF file system, making it where it is missing."""
    if os.path.isdir(directory) and _is_bpffs(directory):
        return
    parent = os.path.dirname(directory.rstrip("/")) or "."
    if not os.path.isdir(directory):
        if not os.path.isdir(parent):
            raise Failure(
                f"can't create dir '{directory}' to pin BPF object: parent dir '{parent}' "
                "doesn't exist"
            )
        inside = _is_bpffs(parent)
        if not inside and tool.nomount:
            raise Failure("no BPF file system found, not mounting it due to --nomount option")
        try:
            os.mkdir(directory, 0o700)
        except OSError as error:
            raise Failure(f"failed to create dir '{directory}': {strerror(error)}") from None
        if inside:
            return
    _mount(tool, directory, f"can't mount BPF file system on given dir '{directory}'")


def _is_bpffs(directory: str) -> bool:
    from bpflens.objects.pin import is_bpffs

    return is_bpffs(directory)


def _mount(tool: Tool, directory: str, complaint: str) -> None:
    from bpflens.objects.pin import mount

    if tool.nomount:
        raise Failure("no BPF file system found, not mounting it due to --nomount option")
    try:
        mount(directory)
    except SyscallError as error:
        raise Failure(f"{complaint}: {strerror(error)}") from None

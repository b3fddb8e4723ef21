"""``iter pin OBJ PATH [map MAP]``: load an iterator, pin its link; reading the pin runs it.

Example::

    $ bpftool iter pin tasks.bpf.o /sys/fs/bpf/tasks && cat /sys/fs/bpf/tasks
"""

from __future__ import annotations

from bpflens.bpftool import handle, object_load, pinning
from bpflens.bpftool.tool import Failure, cause, errno_status
from bpflens.bpftool.words import Usage
from bpflens.errors import SyscallError
from bpflens.uapi.bpf import BPF_F_RDONLY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.bpftool.tool import Tool
    from bpflens.bpftool.words import Words

__all__ = ["pin"]


def pin(tool: Tool, words: Words) -> int:
    """Load the first program of an object as an iterator and pin it."""
    from bpflens.objects.link import Link

    if len(words) < 2:
        raise Usage
    file, path = words.take(), words.take()
    map = None
    if words:
        if not words.take_if("map"):
            raise Failure(f"what is '{words.peek()}'?")
        map = handle.one_map(words, BPF_F_RDONLY)
    try:
        words.end()
        spec = object_load.read(file)
        pinning.ready_file(tool, path)
        with object_load.load(tool, spec) as loaded:
            if not loaded.programs:
                raise Failure(f"can't find bpf program in objfile {file}")
            name, program = next(iter(loaded.programs.items()))
            try:
                link = Link.iterator(program, map=map)
            except SyscallError as error:
                text = f"attach_iter failed for program {name}: {cause(error)}"
                raise Failure(text, errno_status(error)) from None
            with link:
                pinning.pin(tool, link.fd, path)
    finally:
        if map is not None:
            map.close()
    return tool.done()

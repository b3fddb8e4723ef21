"""Maps that live in the BPF file system under their names (``LIBBPF_PIN_BY_NAME``).

An object that finds its map there uses it; one that does not creates and pins it.

Example::

    fd = open_pinned(spec, "/sys/fs/bpf/counts") or create_map(spec)
"""

from __future__ import annotations

import errno
import os

from bpflens.errors import FormatError, SyscallError
from bpflens.kernel import bpf
from bpflens.kernel.info import map_info

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.spec import MapSpec

__all__ = ["DIRECTORY", "open_pinned"]

#: Where maps are pinned when nothing else is said.
DIRECTORY = "/sys/fs/bpf"

_FIELDS = ("type", "key_size", "value_size", "max_entries", "map_extra")


def open_pinned(spec: MapSpec, path: str) -> int:
    """Return a descriptor of the map pinned at ``path``, 0 if there is none.

    Raises :class:`~bpflens.errors.FormatError` when what is there is not such a map.
    """
    try:
        fd = bpf.obj_get(path)
    except SyscallError as error:
        if error.errno == errno.ENOENT:
            return 0
        raise
    try:
        info = map_info(fd)
        different = [
            f"{field} {getattr(info, field)} instead of {getattr(spec, field)}"
            for field in _FIELDS
            if getattr(info, field) != getattr(spec, field)
        ]
        if different:
            problem = f"pinned at {path} is another map: {', '.join(different)}"
            raise FormatError(f"map {spec.name}", problem)
    except BaseException:
        os.close(fd)
        raise
    return fd

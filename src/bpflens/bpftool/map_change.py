"""``map update``, ``push``, ``enqueue``, ``delete`` and ``freeze``.

Example::

    $ bpftool map update name counters key 1 0 0 0 value hex 2a 0 0 0 0 0 0 0
"""

from __future__ import annotations

import errno

from bpflens.bpftool import handle
from bpflens.bpftool.element import take_element
from bpflens.bpftool.tool import STATUS, Failure, errno_status
from bpflens.bpftool.words import Usage
from bpflens.errors import SyscallError
from bpflens.kernel import map_command as _maps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.bpftool.tool import Tool
    from bpflens.bpftool.words import Words

__all__ = ["delete", "freeze", "update"]


def update(tool: Tool, words: Words, command: str) -> int:
    """Store one entry; ``push`` and ``enqueue`` are the same for maps without keys."""
    if len(words) < 1:
        raise Usage
    with handle.one_map(words) as map:
        element = take_element(words, map, warn=tool.hint)
        try:
            _maps.map_update_elem(map.fd, element.key, element.value, element.flags)
        except SyscallError as error:
            status = STATUS if error.errno == errno.EPERM else errno_status(error)
            raise handle.tell("update failed", error, status) from None
        finally:
            element.close()
    return tool.done()


def delete(tool: Tool, words: Words) -> int:
    """Delete one entry."""
    if len(words) < 1:
        raise Usage
    with handle.one_map(words) as map:
        element = take_element(words, map, want_value=False, want_flags=False)
        try:
            found = _maps.map_delete_elem(map.fd, element.key)
        except SyscallError as error:
            raise handle.tell("delete failed", error, errno_status(error)) from None
        if not found:
            raise Failure("delete failed: No such file or directory", 254)
    return tool.done()


def freeze(tool: Tool, words: Words) -> int:
    """Make a map read-only for user space."""
    words.need(1)
    with handle.one_map(words) as map:
        words.end()
        try:
            map.freeze()
        except SyscallError as error:
            raise handle.tell("failed to freeze map", error, errno_status(error)) from None
    return tool.done()

"""Walks over everything of a kind that the kernel has.

Turns id commands into iterators of open objects. What goes away between its id and its opening
is passed over, because it is no longer there. Each object is closed when the next one is asked for,
so that a walk over a thousand programs holds one descriptor; :func:`programs` and the others with
``keep=True`` leave them open and to the caller.

Example::

    for program in programs():
        print(program.id, program.type_name, program.name)
"""

from __future__ import annotations

import errno

from bpflens.errors import SyscallError
from bpflens.kernel import object_command as _objects

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeVar

    from bpflens.objects.btf import Btf
    from bpflens.objects.handle import Handle
    from bpflens.objects.link import Link
    from bpflens.objects.map import Map
    from bpflens.objects.program import Program

    _T = TypeVar("_T", bound=Handle)

__all__ = ["btfs", "ids", "links", "maps", "programs"]

_NEXT: dict[str, Callable[[int], int | None]] = {
    "prog": _objects.prog_get_next_id,
    "map": _objects.map_get_next_id,
    "link": _objects.link_get_next_id,
    "btf": _objects.btf_get_next_id,
}


def ids(kind: str) -> Iterator[int]:
    """Yield the ids of all objects of a kind: ``"prog"``, ``"map"``, ``"link"`` or ``"btf"``."""
    following = _NEXT[kind]
    id = following(0)
    while id is not None:
        yield id
        id = following(id)


def _walk(kind: str, opened: Callable[[int], _T], keep: bool) -> Iterator[_T]:
    for id in ids(kind):
        try:
            found = opened(id)
        except SyscallError as error:
            if error.errno != errno.ENOENT:
                raise
            continue
        if keep:
            yield found
            continue
        with found:
            yield found


def programs(*, keep: bool = False) -> Iterator[Program]:
    """Yield every program."""
    from bpflens.objects.program import Program

    return _walk("prog", Program.from_id, keep)


def maps(*, keep: bool = False) -> Iterator[Map]:
    """Yield every map."""
    from bpflens.objects.map import Map

    return _walk("map", Map.from_id, keep)


def links(*, keep: bool = False) -> Iterator[Link]:
    """Yield every link."""
    from bpflens.objects.link import Link

    return _walk("link", Link.from_id, keep)


def btfs(*, keep: bool = False) -> Iterator[Btf]:
    """Yield every BTF object: the kernel's, its modules', and what programs brought."""
    from bpflens.objects.btf import Btf

    return _walk("btf", Btf.from_id, keep)

"""PROG, MAP and LINK on the command line → open objects.

``id N``, ``pinned FILE``, ``name NAME``, for programs ``tag HEX16`` too; a bare path stands for
``pinned PATH``. A name or tag may match several objects. Programs are found by the full name that
their BTF knows, although the kernel keeps 15 characters of it.

The objects returned are open and the caller's; where nothing matches a name, near names are told.

Example::

    with one_map(words) as found:       # the words: name counters
        print(found.id)
"""

from __future__ import annotations

import errno

from bpflens.bpftool.tool import STATUS, Failure, cause, errno_status, strerror
from bpflens.errors import SyscallError
from bpflens.kernel import object_command as _objects

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeVar

    from bpflens.bpftool.words import Words
    from bpflens.objects.handle import Handle
    from bpflens.objects.link import Link
    from bpflens.objects.map import Map
    from bpflens.objects.program import Program

    _T = TypeVar("_T", bound=Handle)

__all__ = ["link", "maps", "one_map", "one_program", "opened", "programs", "tell"]

_KERNEL_NAME = 15
_LONGEST_NAME = 127


def tell(prefix: str, error: BaseException, status: int | None = None) -> Failure:
    """Return the Failure "``prefix``: words of errno", with the cause where that helps."""
    plain = isinstance(error, OSError) and error.errno in (errno.ENOENT, errno.EEXIST)
    text = strerror(error) if plain else cause(error)
    return Failure(f"{prefix}: {text}", STATUS if status is None else status)


def opened(kind: str, open_by_id: Callable[[int], _T]) -> Iterator[_T]:
    """Yield every object of a kind ("prog", "map", "link"), opened; the caller closes them."""
    what = {"prog": "program", "map": "map", "link": "link"}[kind]
    short = "prog" if kind == "prog" else kind
    following = getattr(_objects, f"{kind}_get_next_id")
    id = 0
    while True:
        try:
            found = following(id)
        except SyscallError as error:
            raise tell(f"can't get next {what}", error) from None
        if found is None:
            return
        id = found
        try:
            handle = open_by_id(id)
        except SyscallError as error:
            if error.errno == errno.ENOENT:
                continue  # it went away meanwhile
            raise tell(f"can't get {short} by id ({id})", error) from None
        yield handle


# --- programs -----------------------------------------------------------------------------------


def programs(words: Words) -> list[Program]:
    """Take a PROG and return all programs that match, at least one."""
    from bpflens.objects.program import Program

    how = words.take_keyword("id", "tag", "name", "pinned")
    if how == "id":
        return [_by_id(words, "get by id", Program.from_id)]
    if how == "tag":
        return _by_tag(words.take("tag"))
    if how == "name":
        return _by_name(words.take("name"))
    path = _path(words, how, "'id', 'tag', 'name' or 'pinned'")
    return [_pinned(path, "prog")]


def one_program(words: Words) -> Program:
    """Take a PROG that matches one program."""
    return _only(programs(words), "several programs match this handle")


def _by_tag(word: str) -> list[Program]:
    try:
        tag = bytes.fromhex(word)
    except ValueError:
        tag = b""
    if len(tag) != 8:
        raise Failure("can't parse tag")
    return _matching(lambda program: program.info.tag == tag, f"program with tag {word}", word, ())


def _by_name(name: str) -> list[Program]:
    if len(name) > _LONGEST_NAME:
        raise Failure("can't parse name")
    short = name[:_KERNEL_NAME]
    known: list[str] = []

    def matches(program: Program) -> bool:
        known.append(program.info.name)
        if program.info.name != short:
            return False
        return name == short or (len(short) == _KERNEL_NAME and program.full_name == name)

    return _matching(matches, f"program named {name}", name, known)


def _matching(
    matches: Callable[[Program], bool], what: str, word: str, known: list[str] | tuple[()]
) -> list[Program]:
    from bpflens.objects.program import Program

    found = []
    for program in opened("prog", Program.from_id):
        if matches(program):
            found.append(program)
        else:
            program.close()
    if not found:
        raise _nothing(what, word, known)
    return found


# --- maps ---------------------------------------------------------------------------------------


def maps(words: Words, open_flags: int = 0) -> list[Map]:
    """Take a MAP and return all maps that match, at least one."""
    from bpflens.objects.map import Map

    how = words.take_keyword("id", "name", "pinned")
    if how == "id":
        return [_by_id(words, "get map by id", lambda id: Map.from_id(id, open_flags=open_flags))]
    if how == "name":
        return _maps_by_name(words.take("name"), open_flags)
    path = _path(words, how, "'id', 'name' or 'pinned'")
    return [_pinned(path, "map", open_flags)]


def one_map(words: Words, open_flags: int = 0) -> Map:
    """Take a MAP that matches one map."""
    return _only(maps(words, open_flags), "several maps match this handle")


def _maps_by_name(name: str, open_flags: int) -> list[Map]:
    from bpflens.objects.map import Map

    if len(name) > _KERNEL_NAME:
        raise Failure("can't parse name")
    found, known = [], []
    for map in opened("map", lambda id: Map.from_id(id, open_flags=open_flags)):
        if map.info.name == name:
            found.append(map)
        else:
            known.append(map.info.name)
            map.close()
    if not found:
        raise _nothing(f"map named {name}", name, known)
    return found


# --- links --------------------------------------------------------------------------------------


def link(words: Words) -> Link:
    """Take a LINK."""
    from bpflens.objects.link import Link

    how = words.take_keyword("id", "pinned")
    if how != "id":
        found: Link = _pinned(_path(words, how, "'id' or 'pinned'"), "link")
        return found
    id = words.number("ID")
    try:
        return Link(_objects.link_get_fd_by_id(id))
    except SyscallError as error:
        prefix = f"failed to get link with ID {id}"
        raise tell(prefix, error, errno_status(error)) from None


# --- common -------------------------------------------------------------------------------------


def _by_id(words: Words, prefix: str, open_by_id: Callable[[int], _T]) -> _T:
    id = words.number("ID")
    try:
        return open_by_id(id)
    except SyscallError as error:
        raise tell(f"{prefix} ({id})", error) from None


def _path(words: Words, how: str | None, expected: str) -> str:
    # The path behind "pinned", or a bare one.
    if how == "pinned":
        return words.take("path")
    word = words.peek()
    if word is None:
        raise Failure(f"expected {expected}")
    if "/" not in word:
        raise Failure(f"expected {expected}, got: '{word}'?")
    return words.take()


_CLASS = {"prog": ("program", "Program"), "map": ("map", "Map"), "link": ("link", "Link")}


def _pinned(path: str, kind: str, open_flags: int = 0):  # type: ignore[no-untyped-def]
    import os
    import sys

    from bpflens.objects.pin import is_bpffs, kind_of

    try:
        fd = _objects.obj_get(path, open_flags)
    except SyscallError as error:
        why = strerror(error)
        if error.errno == errno.EACCES and not is_bpffs(path):
            why = "directory not in bpf file system (bpffs)"
        raise Failure(f"bpf obj get ({path}): {why}") from None
    found = kind_of(fd)
    if found != kind:
        os.close(fd)
        raise Failure(f"incorrect object type: {found or 'unknown'}")
    module, name = _CLASS[kind]
    module = f"bpflens.objects.{module}"
    __import__(module)
    return getattr(sys.modules[module], name)(fd)


def _only(found: list[_T], complaint: str) -> _T:
    if len(found) == 1:
        return found[0]
    for one in found:
        one.close()
    raise Failure(complaint)


def _nothing(what: str, name: str, known: list[str] | tuple[()]) -> Failure:
    from difflib import get_close_matches

    near = get_close_matches(name, sorted({one for one in known if one}), 3, 0.6)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    return Failure(f"no {what}{hint}")

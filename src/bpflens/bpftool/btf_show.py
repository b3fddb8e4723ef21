"""``btf show|list [id N]``: the BTF objects of the kernel, and who uses them.

Example::

    $ bpftool btf list
    1: name [vmlinux]  size 5516713B
    88: name <anon>  size 4681B  prog_ids 756,759  map_ids 196,197
"""

from __future__ import annotations

from bpflens.bpftool import handle
from bpflens.bpftool.holders import holders, pids_json, pids_plain
from bpflens.bpftool.tool import Failure
from bpflens.errors import SyscallError
from bpflens.kernel.info import BtfInfo, btf_info, map_info, prog_info
from bpflens.kernel.object_command import (
    btf_get_fd_by_id,
    btf_get_next_id,
    map_get_fd_by_id,
    prog_get_fd_by_id,
)
from bpflens.uapi.bpf import BPF_F_RDONLY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from bpflens.bpftool.tool import Tool
    from bpflens.bpftool.words import Words

    Users = dict[int, list[int]]

__all__ = ["show"]


def show(tool: Tool, words: Words) -> int:
    """Show all BTF objects, or one."""
    wanted = _wanted(words)
    programs = _users("prog", prog_get_fd_by_id, prog_info)
    maps = _users("map", lambda id: map_get_fd_by_id(id, BPF_F_RDONLY), map_info)
    held = holders("btf")
    json = tool.json
    if json is not None and wanted is None:
        json.start("[")
    for info in _all() if wanted is None else [wanted]:
        users = (programs.get(info.id, []), maps.get(info.id, []))
        if json is None:
            tool.out(_plain(info, *users) + pids_plain(held.get(info.id)) + "\n")
            continue
        json.start("{")
        for name, value in (("id", info.id), ("size", info.btf_size), ("prog_ids", users[0]),
                            ("map_ids", users[1])):  # fmt: skip
            json.member(name, value)
        pids_json(json, held.get(info.id))
        json.member("kernel", info.kernel_btf)
        if info.name:
            json.member("name", info.name)
        json.end()
    if json is not None and wanted is None:
        json.end()
    return 0


def _wanted(words: Words) -> BtfInfo | None:
    if not words:
        return None
    if not words.take_if("id"):
        raise Failure(f"what is '{words.peek()}'?")
    id = words.number("ID")
    words.end()
    try:
        return _info(id)
    except SyscallError as error:
        raise handle.tell(f"can't get BTF object by id ({id})", error) from None


def _info(id: int) -> BtfInfo:
    import os

    fd = btf_get_fd_by_id(id)
    try:
        return btf_info(fd)
    finally:
        os.close(fd)


def _all() -> list[BtfInfo]:
    found: list[BtfInfo] = []
    id = 0
    while True:
        try:
            following = btf_get_next_id(id)
        except SyscallError as error:
            raise handle.tell("can't get next BTF object", error) from None
        if following is None:
            return found
        id = following
        try:
            found.append(_info(id))
        except SyscallError as error:
            if error.errno != 2:
                raise handle.tell(f"can't get BTF object by id ({id})", error) from None


def _users(kind: str, opened: Callable[[int], int], info: Callable[..., object]) -> Users:
    # Which programs or maps use which BTF.
    import os

    from bpflens.objects.iterate import ids

    found: Users = {}
    for id in ids(kind):
        try:
            fd = opened(id)
        except SyscallError:
            continue
        try:
            btf_id: int = info(fd).btf_id  # type: ignore[attr-defined]
        except SyscallError:
            continue
        finally:
            os.close(fd)
        if btf_id:
            found.setdefault(btf_id, []).append(id)
    return found


def _plain(info: BtfInfo, programs: list[int], maps: list[int]) -> str:
    name = f"[{info.name}]" if info.kernel_btf else info.name or "<anon>"
    text = f"{info.id}: name {name}  size {info.btf_size}B"
    if programs:
        text += "  prog_ids " + ",".join(map(str, programs))
    if maps:
        text += "  map_ids " + ",".join(map(str, maps))
    return text

"""``prog load OBJ PATH`` and ``prog loadall OBJ DIR``: load an object file and pin its programs.

Example::

    $ bpftool prog load filter.bpf.o /sys/fs/bpf/filter map name counters pinned /sys/fs/bpf/c
"""

from __future__ import annotations

import os

from bpflens.bpftool import handle, object_load, pinning
from bpflens.bpftool.tool import Failure, strerror
from bpflens.bpftool.words import c_number
from bpflens.errors import AttachError, Error, SyscallError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.bpftool.tool import Tool
    from bpflens.bpftool.words import Words
    from bpflens.load.collection import Loaded
    from bpflens.objects.map import Map
    from bpflens.spec import ObjectSpec

__all__ = ["load", "loadall"]

_OPTIONS = ("type", "map", "dev", "offload_dev", "xdpmeta_dev", "pinmaps", "autoattach",
            "kernel_btf")  # fmt: skip
_DEVICE_BOUND_ONLY = 1 << 6  # BPF_F_XDP_DEV_BOUND_ONLY


def load(tool: Tool, words: Words) -> int:
    """Load an object, pin its first program."""
    return _load(tool, words, first=True)


def loadall(tool: Tool, words: Words) -> int:
    """Load an object, pin all its programs in a directory."""
    return _load(tool, words, first=False)


class _Wish:
    __slots__ = ("autoattach", "kernel_btf", "maps", "offload", "path", "pin_maps", "type",
                 "xdpmeta")  # fmt: skip

    def __init__(self) -> None:
        self.path = ""
        self.type = ""
        self.maps: list[tuple[int | str, Map]] = []
        self.offload = 0
        self.xdpmeta = 0
        self.pin_maps = ""
        self.autoattach = False
        self.kernel_btf = ""


def _load(tool: Tool, words: Words, first: bool) -> int:
    if tool.sign:
        raise Failure(
            "failed to sign program: this build signs nothing (it has no cryptography); "
            "load without -S"
        )
    words.need(1 if tool.use_loader else 2)
    file = words.take()
    wish = _Wish()
    if not tool.use_loader:
        wish.path = words.take()
    try:
        _options(tool, words, wish)
        spec = object_load.read(file)
        if not spec.programs:
            raise Failure("object file doesn't contain any bpf program")
        if not tool.use_loader:
            _ready(tool, wish, first)
        _apply(spec, wish)
        reuse = _replacements(spec, wish)
        with object_load.load(tool, spec, reuse, kernel_types=_types(wish)) as loaded:
            if not loaded.programs:
                raise Failure("object file doesn't contain any bpf program that loads by itself")
            if not tool.use_loader:
                _pin(tool, loaded, wish, first)
    finally:
        for _, map in wish.maps:
            map.close()
    return tool.done()


def _options(tool: Tool, words: Words, wish: _Wish) -> None:
    while words:
        option = words.take_keyword(*_OPTIONS)
        if option == "type":
            if wish.type:
                raise Failure("program type already specified")
            words.need(1)
            wish.type = words.take()
        elif option == "map":
            wish.maps.append(_replacement(words))
        elif option in ("dev", "offload_dev", "xdpmeta_dev"):
            _device(tool, words, wish, option)
        elif option == "pinmaps":
            words.need(1)
            wish.pin_maps = words.take()
        elif option == "autoattach":
            wish.autoattach = True
        elif option == "kernel_btf":
            words.need(1)
            wish.kernel_btf = words.take()
        else:
            raise Failure(
                "expected no more arguments, 'type', 'map', 'offload_dev', 'xdpmeta_dev', "
                f"'pinmaps', 'autoattach', or 'kernel_btf', got: '{words.peek()}'?"
            )


def _replacement(words: Words) -> tuple[int | str, Map]:
    words.need(3)
    how = words.take_keyword("idx", "name")
    if how is None:
        raise Failure(f"expected 'idx' or 'name', got: '{words.peek()}'?")
    word = words.take()
    which: int | str = word
    if how == "idx":
        number = c_number(word)
        if number is None:
            raise Failure(f"can't parse {word} as IDX")
        which = number
    return which, handle.one_map(words)


def _device(tool: Tool, words: Words, wish: _Wish, option: str) -> None:
    if option == "dev":
        tool.hint(
            "Warning: 'bpftool prog load [...] dev <ifname>' syntax is deprecated.\n"
            "Going further, please use 'offload_dev <ifname>' to offload program to device.\n"
            "For applications using XDP hints only, use 'xdpmeta_dev <ifname>'."
        )
        option = "offload_dev"
    if (option == "offload_dev" and wish.offload) or (option == "xdpmeta_dev" and wish.xdpmeta):
        raise Failure(f"{option} already specified")
    if wish.offload or wish.xdpmeta:
        raise Failure("xdpmeta_dev and offload_dev are mutually exclusive")
    words.need(1)
    name = words.take()
    import socket

    try:
        number = socket.if_nametoindex(name)
    except OSError as error:
        raise Failure(f"unrecognized netdevice '{name}': {error.strerror}") from None
    if option == "offload_dev":
        wish.offload = number
    else:
        wish.xdpmeta = number


def _ready(tool: Tool, wish: _Wish, first: bool) -> None:
    # Looked at before anything is loaded, so that a wrong path costs nothing.
    if first:
        pinning.ready_file(tool, wish.path)
    else:
        pinning.ready_directory(tool, wish.path)
    if wish.pin_maps:
        pinning.ready_directory(tool, wish.pin_maps)


def _apply(spec: ObjectSpec, wish: _Wish) -> None:
    from bpflens.load.section_name import match
    from bpflens.uapi.bpf import BPF_MAP_TYPE_PERF_EVENT_ARRAY, BPF_PROG_TYPE_XDP

    rule = None
    if wish.type:
        rule = match(wish.type) or match(wish.type + "/")
        if rule is None:
            raise Failure(f"unknown program type '{wish.type}'")
    for program in spec.programs.values():
        if rule is not None:
            program.type = rule.type
            program.expected_attach_type = rule.attach_type
        elif not program.type:
            raise Failure(
                f"program {program.name}: section '{program.section}' does not say its type; "
                "give it with 'type TYPE'"
            )
        if wish.xdpmeta and program.type == BPF_PROG_TYPE_XDP:
            program.ifindex = wish.xdpmeta
            program.flags |= _DEVICE_BOUND_ONLY
        elif wish.offload:
            program.ifindex = wish.offload
    if wish.offload:
        for map in spec.maps.values():
            if map.type != BPF_MAP_TYPE_PERF_EVENT_ARRAY:
                map.ifindex = wish.offload


def _replacements(spec: ObjectSpec, wish: _Wish) -> dict[str, Map]:
    names = object_load.map_order(spec)
    found: dict[str, Map] = {}
    for which, map in wish.maps:
        if isinstance(which, int):
            if which >= len(names):
                raise Failure(f"map idx '{which}' not used")
            name = names[which]
        else:
            name = which
            if name not in spec.maps:
                # The data maps have the object's name in front for the kernel.
                named = [key for key, one in spec.maps.items() if one.name == name]
                if not named:
                    raise Failure(f"unable to find map '{which}'{_near(which, names)}")
                name = named[0]
        if name in found:
            number = names.index(name)
            raise Failure(f"replacement for map idx {number} specified more than once")
        found[name] = map
    return found


def _near(name: str, names: list[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, names, 2, 0.6)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def _types(wish: _Wish):  # type: ignore[no-untyped-def]
    if not wish.kernel_btf:
        return None
    from bpflens.bpftool.btf_dump import read_file

    return read_file(wish.kernel_btf)


def _pin(tool: Tool, loaded: Loaded, wish: _Wish, first: bool) -> None:
    made: list[str] = []
    try:
        names = list(loaded.programs)
        for name in names[:1] if first else names:
            path = wish.path if first else f"{wish.path.rstrip('/')}/{name.replace('.', '_')}"
            try:
                _pin_one(tool, loaded, name, path, wish.autoattach)
            except (SyscallError, AttachError) as error:
                text = "failed to pin program" if first else "failed to pin all programs:"
                why = strerror(error) if isinstance(error, SyscallError) else str(error)
                raise Failure(f"{text} {name}: {why}") from None
            made.append(path)
        if wish.pin_maps:
            _pin_maps(loaded, wish.pin_maps, made)
    except Failure:
        for path in made:
            os.unlink(path)
        raise


def _pin_one(tool: Tool, loaded: Loaded, name: str, path: str, autoattach: bool) -> None:
    from bpflens.kernel.object_command import obj_pin

    if autoattach:
        from bpflens.attach.section import can_attach

        if can_attach(loaded.spec.programs[name]):
            from bpflens.attach.loaded_object import ObjectAttacher

            with ObjectAttacher(loaded).attach(name) as attachment:
                attachment.pin(path)
            return
        tool.hint(f"Program {name} does not support autoattach, falling back to pinning")
    obj_pin(loaded.programs[name].fd, path)


def _pin_maps(loaded: Loaded, directory: str, made: list[str]) -> None:
    for name, map in loaded.maps.items():
        own = loaded.spec.maps[name].name or name
        path = f"{directory.rstrip('/')}/{own.replace('.', '_')}"
        try:
            map.pin(path)
        except Error as error:
            raise Failure(f"failed to pin all maps: {path}: {strerror(error)}") from None
        made.append(path)

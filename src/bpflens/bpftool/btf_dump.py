"""``btf dump SOURCE``: BTF as raw text, as JSON, or as a C header.

SOURCE is ``id N``, ``prog PROG``, ``map MAP [key|value|kv|all]`` or ``file F`` (a raw BTF file or
an ELF file). Several files are split BTF of modules over one base, and are dumped as one.

Example::

    $ bpftool btf dump file /sys/kernel/btf/vmlinux format c > vmlinux.h
"""

from __future__ import annotations

from bpflens.bpftool import handle
from bpflens.bpftool.tool import STATUS, Failure, strerror
from bpflens.bpftool.words import Usage, c_number
from bpflens.errors import FormatError, NotFound, SyscallError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bpflens.bpftool.tool import Tool
    from bpflens.bpftool.words import Words
    from bpflens.btf import Btf

__all__ = ["dump", "read_file"]

_SYSFS = "/sys/kernel/btf/"
_VMLINUX = _SYSFS + "vmlinux"
_EINVAL = -22 & 0xFF
_NOT_SUPPORTED = 161
_MAX_ROOTS = 16
_MAX_FILES = 64


class _Wish:
    # What the words ask for.
    __slots__ = ("btf", "c", "filtered", "roots", "sort")

    def __init__(self, btf: Btf, roots: list[int] | None) -> None:
        self.btf = btf
        self.roots = roots or []
        self.filtered = roots is not None
        self.c = False
        self.sort = True


def dump(tool: Tool, words: Words) -> int:
    """Dump what SOURCE names."""
    if len(words) < 2:
        raise Usage
    wish = _source(tool, words)
    _options(words, wish)
    for root in wish.roots:
        if root >= wish.btf.nr_types:
            raise Failure(f"invalid root ID: {root}", _EINVAL)
    if wish.c:
        if tool.json is not None:
            raise Failure("JSON output for C-syntax dump is not supported", _NOT_SUPPORTED)
        from bpflens.btf.cdump import dump as c_dump

        what = "sorted header" if wish.sort else "header"
        _print(tool, wish, what, lambda: c_dump(wish.btf, wish.roots or None, wish.sort))
        return 0
    from bpflens.btf import rawdump

    roots = wish.roots or None
    if tool.json is None:
        _print(tool, wish, "raw", lambda: rawdump.text(wish.btf, roots))
    elif tool.json.pretty:
        tool.json.start("{")
        tool.json.name("types")
        tool.json.start("[")
        for id in roots or range(wish.btf.start_id, wish.btf.nr_types):
            tool.json.value(rawdump.describe(wish.btf, id))
        tool.json.end()
        tool.json.end()
    else:
        pieces = rawdump.json_text(wish.btf, roots)
        tool.json.raw(next(pieces))
        for text in pieces:
            tool.out(text)
    return 0


def _print(tool: Tool, wish: _Wish, what: str, make: Callable[[], Iterable[str]]) -> None:
    # Half a second of work for the whole kernel, which does not change while it runs.
    if not wish.roots and wish.btf.base is None and wish.btf is _running_kernel():
        from bpflens.objects.btf import vmlinux_text

        tool.out(vmlinux_text(what, make))
        return
    for text in make():
        tool.out(text)


def _source(tool: Tool, words: Words) -> _Wish:
    source = words.take_keyword("map", "prog", "id", "file")
    if source == "map":
        from bpflens.uapi.bpf import BPF_F_RDONLY

        with handle.one_map(words, BPF_F_RDONLY) as map:
            info = map.info
        what = words.take_keyword("key", "value", "all", "kv") or "kv"
        key, value = info.btf_key_type_id, info.btf_value_type_id
        roots = {"key": [key], "value": [value], "kv": [key, value], "all": None}[what]
        return _Wish(_by_id(tool, info.btf_id, "map", info.id), roots)
    if source == "prog":
        with handle.one_program(words) as program:
            return _Wish(_by_id(tool, program.info.btf_id, "program", program.id), None)
    if source == "id":
        return _Wish(_by_id(tool, words.number("ID")), None)
    if source == "file":
        return _Wish(_files(tool, words), None)
    raise Failure(f"unrecognized BTF source specifier: '{words.peek()}'")


def _options(words: Words, wish: _Wish) -> None:
    while words:
        option = words.take_keyword("format", "root_id", "unsorted")
        if option == "format":
            word = words.peek()
            if word is None:
                raise Failure("expecting value for 'format' option", _EINVAL)
            if word not in ("c", "raw"):
                text = f"unrecognized format specifier: '{word}', possible values: raw, c"
                raise Failure(text, _EINVAL)
            wish.c = words.take() == "c"
        elif option == "root_id":
            _root(words, wish)
        elif option == "unsorted":
            wish.sort = False
        else:
            raise Failure(f"unrecognized option: '{words.peek()}'", _EINVAL)


def _root(words: Words, wish: _Wish) -> None:
    if wish.filtered:
        raise Failure("cannot use root_id with other type filtering", _EINVAL)
    if len(wish.roots) == _MAX_ROOTS:
        raise Failure(f"only {_MAX_ROOTS} root_id are supported", -7 & 0xFF)
    word = words.take("root ID")
    root = c_number(word)
    if root is None:
        raise Failure(f"can't parse {word} as root ID")
    if root in wish.roots:
        raise Failure(f"duplicate root_id {root} supplied", _EINVAL)
    wish.roots.append(root)


def _by_id(tool: Tool, id: int, what: str = "", owner: int = 0) -> Btf:
    from bpflens.objects import btf as objects

    if what and not id:
        raise Failure(f"get btf by id (0): {what} {owner} was loaded without BTF", 254)
    try:
        with objects.Btf.from_id(id) as found:
            if tool.base_btf and not found.info.kernel_btf:
                from bpflens.btf import Btf

                return Btf(found.data(), read_file(tool.base_btf))
            if found.info.kernel_btf and found.info.name != "vmlinux" and not tool.base_btf:
                tool.hint(
                    "Warning: valid base BTF was not specified with -B option, falling back to "
                    f"standard base BTF ({_VMLINUX})"
                )
            return found.types
    except SyscallError as error:
        status = -(error.errno or 1) & 0xFF
        raise Failure(f"get btf by id ({id}): {strerror(error)}", status) from None


def _files(tool: Tool, words: Words) -> Btf:
    paths: list[str] = []
    while True:
        path = words.take("file path")
        if path == _VMLINUX:
            tool.hint(f"skipping {path} (will be loaded as base)")
        elif len(paths) == _MAX_FILES:
            raise Failure(f"too many BTF files (max {_MAX_FILES})", -7 & 0xFF)
        else:
            paths.append(path)
        if not words.take_if("file"):
            break
    base = read_file(tool.base_btf) if tool.base_btf else None
    if not paths:
        return _vmlinux() if base is None else read_file(_VMLINUX)
    if base is None and any(path.startswith(_SYSFS) for path in paths):
        base = _vmlinux()
    if len(paths) == 1:
        return read_file(paths[0], base)
    if base is None:
        raise Failure(
            "base BTF is required when merging multiple BTF files; use -B/--base-btf or use "
            "sysfs paths", _EINVAL,
        )  # fmt: skip
    from bpflens.bpftool import btf_merge

    return btf_merge.merged([read_file(path, base) for path in paths], base)


def _running_kernel() -> Btf | None:
    # The kernel's types, if this run has opened them already.
    from bpflens.objects import btf

    return btf.opened_vmlinux()


def _vmlinux() -> Btf:
    from bpflens.objects.btf import vmlinux

    return vmlinux()


def read_file(path: str, base: Btf | None = None) -> Btf:
    """Read BTF from a file: raw, or the .BTF section of an ELF file.

    Raises :class:`Failure` in the words of ``btf dump file``.
    """
    from bpflens.btf import Btf

    prefix = f"failed to load BTF from {path}"
    try:
        with open(path, "rb") as file:
            data = file.read()
        if data[:4] == b"\x7fELF":
            data = _section(data)
        elif data[:2] not in (b"\x9f\xeb", b"\xeb\x9f"):
            raise Failure(f"{prefix}: neither an ELF file nor raw BTF", 95)
        return Btf(data, base)
    except OSError as error:
        status = -(error.errno or 1) & 0xFF
        raise Failure(f"{prefix}: {strerror(error)}", status) from None
    except NotFound as error:
        raise Failure(f"{prefix}: {error}", 254) from None
    except FormatError as error:
        raise Failure(f"{prefix}: {error}", STATUS) from None


def _section(data: bytes) -> bytes:
    from bpflens.elf import File

    section = File(data).section(".BTF")
    if section is None:
        raise NotFound("section", ".BTF")
    return bytes(section.data)

"""``-lv``: the arguments of probes and the definitions of types, as C declarations.

Example::

    ArgumentLists(target).of("fexit:vmlinux:vfs_read")     # ['struct file * file', ...]
"""

from __future__ import annotations

from bpflens.btf import query
from bpflens.lang.glob import Glob

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bpflens.btf import Btf
    from bpflens.session.host import HostTarget

__all__ = ["ArgumentLists", "type_lines"]


class ArgumentLists:
    """What probes hand to their programs, as the kernel's BTF or tracefs describes it."""

    def __init__(self, target: HostTarget) -> None:
        self._target = target
        self._kernel = target.btf()
        self._modules: dict[str, Btf] | None = None

    def of(self, probe: str) -> list[str]:
        """Return the arguments of a probe given by its full name; [] where nobody knows them."""
        kind, _, rest = probe.partition(":")
        maker = _MAKERS.get(kind)
        return maker(self, rest) if maker is not None else []

    def btf(self, module: str) -> Btf | None:
        """Return the types of a module, or of the kernel ("" or "vmlinux")."""
        if module in ("", "vmlinux"):
            return self._kernel
        if self._modules is None:
            self._modules = dict(self._target.module_btfs())
        return self._modules.get(module)

    def function(self, rest: str) -> tuple[Btf, query.Function] | None:
        """Return the prototype of ``[module:]function``."""
        module, _, name = rest.rpartition(":")
        btf = self.btf(module)
        found = query.function(btf, name) if btf is not None else None
        return (btf, found) if btf is not None and found is not None else None

    def fields(self, rest: str) -> list[str]:
        """Return the fields of a tracepoint's record, without the common ones."""
        system, _, event = rest.partition(":")
        text = self._target.tracepoint_format(system, event) or b""
        # The fields that all events have come first, an empty line behind them.
        lines = text.decode("utf-8", "replace").partition("\n\n")[2].splitlines()
        return [
            line.strip()[len("field:") :].partition(";")[0]
            for line in lines
            if line.startswith("\tfield:")
        ]


def _declare(btf: Btf, type_id: int) -> str:
    from bpflens.btf.cdump import type_declaration

    return type_declaration(btf, type_id).rstrip() if type_id else "void"


def _with_names(btf: Btf, found: query.Function) -> list[str]:
    return [f"{_declare(btf, param.type_id)} {param.name}" for param in found.params]


def _fentry(lists: ArgumentLists, rest: str) -> list[str]:
    known = lists.function(rest)
    return _with_names(*known) if known else []


def _fexit(lists: ArgumentLists, rest: str) -> list[str]:
    known = lists.function(rest)
    if known is None:
        return []
    btf, found = known
    result = [f"{_declare(btf, found.ret_type_id)} retval"] if found.ret_type_id else []
    return _with_names(btf, found) + result


def _kprobe(lists: ArgumentLists, rest: str) -> list[str]:
    known = lists.function(rest)
    if known is None:
        return []
    btf, found = known
    return [f"{_declare(btf, p.type_id)} arg{i}" for i, p in enumerate(found.params)]


def _kretprobe(lists: ArgumentLists, rest: str) -> list[str]:
    known = lists.function(rest)
    if known is None:
        return []
    btf, found = known
    return [f"{_declare(btf, found.ret_type_id)} retval" if found.ret_type_id else "void"]


def _raw_tracepoint(lists: ArgumentLists, rest: str) -> list[str]:
    module, _, event = rest.rpartition(":")
    btf = lists.btf(module)
    found = query.tracepoint(btf, event) if btf is not None else None
    return _with_names(btf, found) if btf is not None and found is not None else []


def _iterator(lists: ArgumentLists, rest: str) -> list[str]:
    btf = lists.btf("")
    struct = query.struct(btf, f"bpf_iter__{rest}") if btf is not None else None
    if btf is None or struct is None:
        return []
    fields = [field for field in query.members(btf, struct) if field.path != "meta"]
    return [f"{_declare(btf, field.type_id)} {field.path}" for field in fields]


_MAKERS: dict[str, Callable[[ArgumentLists, str], list[str]]] = {
    "fentry": _fentry,
    "fexit": _fexit,
    "iter": _iterator,
    "kprobe": _kprobe,
    "kretprobe": _kretprobe,
    "rawtracepoint": _raw_tracepoint,
    "tracepoint": ArgumentLists.fields,
}


def type_lines(btf: Btf | None, pattern: str, verbose: bool) -> Sequence[str]:
    """Return the types that ``struct x``, ``union x`` or ``enum x`` (a pattern) meets."""
    if btf is None:
        return []
    word, _, name = pattern.partition(" ")
    wanted = Glob(name)
    found: dict[str, int] = {}
    for kind in _kinds(word):
        for id in btf.ids_of_kind(kind):
            text = btf.name(id)
            if text and wanted.match(text):
                found.setdefault(text, id)
    if not verbose:
        return [f"{word} {text}" for text in sorted(found)]
    from bpflens.btf.cdump import Declarer

    define = Declarer(btf).define
    return [f"vmlinux: {define(found[text])}" for text in sorted(found)]


def _kinds(word: str) -> tuple[int, ...]:
    from bpflens.uapi.btf import (
        BTF_KIND_ENUM,
        BTF_KIND_ENUM64,
        BTF_KIND_STRUCT,
        BTF_KIND_UNION,
    )

    return {
        "struct": (BTF_KIND_STRUCT,),
        "union": (BTF_KIND_UNION,),
        "enum": (BTF_KIND_ENUM, BTF_KIND_ENUM64),
    }[word]

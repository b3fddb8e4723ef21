"""BTF to a C header, as ``bpftool btf dump ... format c`` writes it.

:func:`dump` gives the whole (``vmlinux.h``) or what some types need; :func:`type_declaration` gives
a single declaration such as ``int (*handler)(struct pt_regs *)``.

The rules are those of libbpf and bpftool 7.8: types sorted by rank and name, each before its
first use, forward declarations only where pointers make them do, explicit padding and packing so
that the compiler arrives at the same layout, ``___2`` behind names that occur twice. Two things
carry that: the order (``_Order``: what must stand before what) and the printer (``_Printer``).

It raises :class:`~bpflens.errors.FormatError` for types that C cannot express (a struct inside
itself) and for damaged ones.

Example::

    with open("vmlinux.h", "w") as file:
        file.writelines(dump(btf))
"""

from __future__ import annotations

from bpflens.btf.cdecl import Printer
from bpflens.btf.corder import Order, sorted_ids
from bpflens.btf.flat import Flat
from bpflens.errors import FormatError
from bpflens.uapi.btf import BTF_KIND_DECL_TAG, BTF_KIND_FUNC

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bpflens.btf.reader import Btf

__all__ = ["Declarer", "dump", "type_declaration"]

_PROLOGUE = """\
#ifndef __VMLINUX_H__
#define __VMLINUX_H__

#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute push (__attribute__((preserve_access_index)), apply_to = record)
#endif

#ifndef __ksym
#define __ksym __attribute__((section(".ksyms")))
#endif

#ifndef __weak
#define __weak __attribute__((weak))
#endif

#ifndef __bpf_fastcall
#if __has_attribute(bpf_fastcall)
#define __bpf_fastcall __attribute__((bpf_fastcall))
#else
#define __bpf_fastcall
#endif
#endif

"""

_EPILOGUE = """\
#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute pop
#endif

#endif /* __VMLINUX_H__ */
"""

_ALL_BITS = 0xFFFFFFFF


def dump(
    btf: Btf, roots: Iterable[int] | None = None, sort: bool = True, frame: bool = True
) -> Iterator[str]:
    """Yield the C header in pieces.

    ``roots`` are ids to which to keep it (with what they need); ``sort=False`` keeps the order of
    the ids (bpftool's ``unsorted``); ``frame=False`` leaves out the lines around the types and the
    prototypes of kfuncs.
    """
    flat = Flat(btf, bulk=roots is None)
    printer = Printer(flat)
    order = Order(flat)
    if frame:
        yield _PROLOGUE
    try:
        if roots is not None:
            ids: Iterable[int] = _checked(flat, roots)
        else:
            ids = sorted_ids(flat, order) if sort else range(1, flat.count)
        emit = printer.emit
        for id in ids:
            for needed in order.needed(id):
                emit(needed)
            if len(printer.out) > 4096:
                yield printer.take()
        if frame and roots is None:
            printer.out.append(_kfuncs(flat, printer))
        yield printer.take()
    except IndexError:
        raise FormatError("BTF", "a type refers to a type that does not exist") from None
    except RecursionError:
        raise FormatError("BTF", "types are nested too deep") from None
    if frame:
        yield _EPILOGUE


def type_declaration(btf: Btf, id: int, name: str = "") -> str:
    """Return the declaration of a thing called ``name`` of the type ``id`` (or just the type).

    Structs, unions and enums with a name stand by their name, those without by their members.
    For many declarations use one :class:`Declarer`.
    """
    return Declarer(btf).declare(id, name)


class Declarer:
    """Makes declarations of the types of one BTF."""

    __slots__ = ("_printer",)

    def __init__(self, btf: Btf) -> None:
        self._printer = Printer(Flat(btf, bulk=False), number_names=False)

    def declare(self, id: int, name: str = "") -> str:
        """Return the declaration of ``name`` (may be empty) as of type ``id``."""
        try:
            return self._printer.declare(id, name, 0)
        except (IndexError, RecursionError):
            raise FormatError("BTF", f"the type {id} is damaged") from None

    def define(self, id: int) -> str:
        """Return the definition of the struct, union or enum ``id``, alone."""
        try:
            return self._printer.definition(id) + ";"
        except (IndexError, RecursionError):
            raise FormatError("BTF", f"the type {id} is damaged") from None


def _checked(flat: Flat, roots: Iterable[int]) -> Iterator[int]:
    for id in roots:
        if not 0 <= id < flat.count:
            raise FormatError("BTF", f"there is no type with the id {id}")
        yield id


def _kfuncs(flat: Flat, printer: Printer) -> str:
    # Functions with the tag bpf_kfunc, sorted by name.
    words, names, positions = flat.words, flat.names, flat.positions
    tagged: dict[str, list[int]] = {"bpf_kfunc": [], "bpf_fastcall": []}
    for id in flat.by_kind[BTF_KIND_DECL_TAG]:
        p = positions[id]
        target = words[p + 2]
        if words[p + 3] == _ALL_BITS and flat.kinds[target] == BTF_KIND_FUNC:
            found = tagged.get(names[words[p]])
            if found is not None:
                found.append(target)
    fast = set(tagged["bpf_fastcall"])
    lines = ["\n/* BPF kfuncs */\n#ifndef BPF_NO_KFUNC_PROTOTYPES\n"]
    for func in sorted(tagged["bpf_kfunc"], key=lambda id: names[words[positions[id]]]):
        p = positions[func]
        prototype = printer.declare(words[p + 2], names[words[p]], 0)
        mark = "__bpf_fastcall " if func in fast else ""
        lines.append(f"extern {mark}{prototype} __weak __ksym;\n")
    lines.append("#endif\n\n")
    return "".join(lines)

"""``gen min_core_btf INPUT OUTPUT OBJECT...``: of a kernel's BTF, what some objects need of it.

An object that was built once runs on many kernels by CO-RE relocations, which need the types of
each. On a kernel without BTF they must be brought along; this keeps the types, and of structures
the members, that the relocations of the objects ask for.

Example::

    bpftool gen min_core_btf 5.4.0-vmlinux.btf small.btf filter.bpf.o
"""

from __future__ import annotations

from bpflens.bpftool.tool import Failure, errno_status, strerror
from bpflens.bpftool.words import Usage
from bpflens.btf import Btf
from bpflens.btf.builder import Builder
from bpflens.btf.core import Relocator
from bpflens.btf.types import (
    Array,
    Const,
    Enum,
    Float,
    FuncProto,
    Fwd,
    Int,
    Member,
    Ptr,
    Restrict,
    Struct,
    Typedef,
    Union,
    Volatile,
)
from bpflens.errors import Error
from bpflens.uapi import bpf as u

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.bpftool.tool import Tool
    from bpflens.bpftool.words import Words
    from bpflens.btf.core import Result

__all__ = ["Marked", "min_core_btf"]

_WHOLE_TYPES = (u.BPF_CORE_TYPE_ID_TARGET, u.BPF_CORE_TYPE_EXISTS, u.BPF_CORE_TYPE_SIZE)
_ENUMERATORS = (u.BPF_CORE_ENUMVAL_EXISTS, u.BPF_CORE_ENUMVAL_VALUE)


def min_core_btf(tool: Tool, words: Words) -> int:
    """``gen min_core_btf INPUT OUTPUT OBJECT [OBJECT...]``."""
    if len(words) < 3:
        raise Usage
    source, target = words.take("input"), words.take("output")
    data = _btf_of(source)
    try:
        marked = Marked(Btf(data))
    except Error as error:
        raise Failure(f"failed parsing '{source}' BTF file: {error}") from None
    for path in words.rest():
        _record(marked, path)
    order = "little" if data[:2] == b"\x9f\xeb" else "big"
    try:
        with open(target, "wb") as file:
            file.write(marked.build(order))
    except OSError as error:
        raise Failure(f"error saving btf file: {target}: {strerror(error)}") from None
    return tool.done()


def _btf_of(path: str) -> bytes:
    # The BTF in a file: raw, or a section of an ELF file.
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        text = f"failed parsing '{path}' BTF file: {strerror(error)}"
        raise Failure(text, errno_status(error)) from None
    if not data.startswith(b"\x7fELF"):
        return data
    from bpflens.elf import File

    with File(data) as elf:
        section = elf.section(".BTF")
        if section is None:
            raise Failure(f"failed parsing '{path}' BTF file: it has no section .BTF")
        return bytes(section.data)


def _record(marked: Marked, path: str) -> None:
    from bpflens.load.object_file import read

    try:
        spec = read(path)
        if not spec.btf:
            return
        relocator = Relocator(Btf(spec.btf), marked.btf)
        asked = {
            (one.kind, one.type_id, one.access): None
            for program in spec.programs.values()
            for one in program.core
        }
        for kind, type_id, access in asked:
            marked.add(relocator.relocate(kind, type_id, access))
    except OSError as error:
        raise Failure(f"error recording relocations for {path}: {strerror(error)}") from None
    except Error as error:
        raise Failure(f"error recording relocations for {path}: {error}") from None


class Marked:
    """The types of ``btf`` that are to be kept, and the members of structures."""

    __slots__ = ("_matched", "_members", "_types", "btf")

    def __init__(self, btf: Btf) -> None:
        self.btf = btf
        self._types: set[int] = set()
        self._members: dict[int, set[int]] = {}
        self._matched: set[tuple[int, bool]] = set()

    def add(self, result: Result) -> None:
        """Keep what the answer to a relocation rests on; nothing if there was none."""
        spec = result.spec
        if spec is None or result.kind == u.BPF_CORE_TYPE_ID_LOCAL:
            return
        if result.kind == u.BPF_CORE_TYPE_MATCHES:
            self._match(spec.root_id, False)
            return
        self._type(spec.root_id, result.kind in _WHOLE_TYPES)
        if result.kind in _WHOLE_TYPES or result.kind in _ENUMERATORS:
            return
        for struct_id, index in spec.path:
            found = self.btf.type(struct_id)
            assert isinstance(found, Struct)
            self._members.setdefault(struct_id, set()).add(index)
            self._type(found.members[index].type_id, False)

    def _type(self, id: int, behind_pointers: bool) -> None:
        # A type with all it takes to write it down; of structures only the name.
        todo = [id]
        while todo:
            id = todo.pop()
            if not id or (id in self._types and not behind_pointers):
                continue
            seen = id in self._types
            self._types.add(id)
            found = self.btf.type(id)
            if isinstance(found, Ptr):
                if behind_pointers and not seen:
                    todo.append(found.type_id)
            elif isinstance(found, Typedef | Const | Volatile | Restrict):
                todo.append(found.type_id)
            elif isinstance(found, Array):
                todo += [found.type_id, found.index_type_id]
            elif isinstance(found, FuncProto):
                todo += [found.ret_type_id, *(param.type_id for param in found.params)]
            elif not isinstance(found, Int | Float | Enum | Struct):
                raise Failure(f"unsupported kind: {type(found).__name__} ({id})")

    def _match(self, id: int, behind_pointer: bool) -> None:
        # A type whose form is compared: structures with their members, except behind pointers.
        todo = [(id, behind_pointer)]
        while todo:
            id, behind_pointer = todo.pop()
            if not id or (id, behind_pointer) in self._matched:
                continue
            self._matched.add((id, behind_pointer))
            self._types.add(id)
            found = self.btf.type(id)
            if isinstance(found, Struct):
                if not behind_pointer:
                    self._members.setdefault(id, set()).update(range(len(found.members)))
                    todo += [(member.type_id, False) for member in found.members]
            elif isinstance(found, Ptr):
                todo.append((found.type_id, True))
            elif isinstance(found, Typedef | Const | Volatile | Restrict):
                todo.append((found.type_id, behind_pointer))
            elif isinstance(found, Array):
                todo += [(found.type_id, False), (found.index_type_id, False)]
            elif isinstance(found, FuncProto):
                todo += [(found.ret_type_id, False)]
                todo += [(param.type_id, False) for param in found.params]
            elif not isinstance(found, Int | Float | Enum | Fwd):
                raise Failure(f"unsupported kind: {type(found).__name__} ({id})")

    def build(self, byteorder: str) -> bytes:
        """Return the BTF of what is kept, in the order of its ids."""
        new_id = {id: number for number, id in enumerate(sorted(self._types), 1)}
        builder = Builder()

        def ids(id: int) -> int:
            return new_id.get(id, 0)

        for id in new_id:
            found = self.btf.type(id)
            if not isinstance(found, Struct):
                builder.add_type(found, ids)
                continue
            kept = sorted(self._members.get(id, ()))
            members = [found.members[at] for at in kept]
            add = builder.add_union if isinstance(found, Union) else builder.add_struct
            add(
                found.name,
                found.size,
                [Member(one.name, ids(one.type_id), one.bit_offset, one.bit_size)
                 for one in members],
            )  # fmt: skip
        return builder.build(byteorder)

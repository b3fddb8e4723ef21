"""Plain loads from the current task, where the verifier follows the pointer by its type.

``bpf_get_current_task_btf`` returns a pointer that the verifier knows to be a ``task_struct``, so
that its fields, and those one pointer further on, need no helper to be read: a load that faults
reads as zero. Members of unions, bit-fields and pointers with a type tag (``__user``, ``__rcu``)
are left to the helpers, for there the verifier's view of a field may not be ours.

Example::

    value = load(f, node)       # curtask->real_parent->tgid; None where a helper has to read it
"""

from __future__ import annotations

from bpflens.lang import nodes as n
from bpflens.lang.lower.function import Ref
from bpflens.lang.types import COMM_SIZE, Bool, Enum, Int, Pointer, String, Struct
from bpflens.uapi.bpf import BPF_FUNC_get_current_task_btf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.lang.ir.ops import Value
    from bpflens.lang.lower.function import FunctionLowering
    from bpflens.lang.types import FieldInfo

__all__ = ["comm_place", "comm_source", "load"]


def load(f: FunctionLowering, node: n.Node) -> Value | None:
    """Load a number from the current task, or return None where that takes a helper."""
    kind = f.type(node)
    if not isinstance(node, n.Field) or not isinstance(kind, (Int, Enum, Bool)):
        return None
    path = _path(f, node)
    if path is None:
        return None
    place = _walk(f, path)
    return f.b.load(place.base, place.off, kind.size, bool(getattr(kind, "signed", False)))


def comm_source(f: FunctionLowering, node: n.Node) -> Ref | None:
    """Return where the name of a task lies if ``node`` is the field and it may be copied plainly.

    Since Linux 5.17 (06c5088aeedd "fs/exec: replace strlcpy with strscpy_pad in __set_task_comm")
    the bytes behind a name are zero.
    """
    if not isinstance(node, n.Field) or node.name != "comm" or not f.context.target.has("bpf_loop"):
        return None
    path = _path(f, node)
    if path is None or path[-1][0] is not _task_struct(f):
        return None
    return _walk(f, path)


def comm_place(f: FunctionLowering) -> Ref | None:
    """Return where the name of the current task lies, or None where a helper has to read it."""
    task = _task_struct(f)
    if task is None or not f.context.target.has("bpf_loop"):
        return None
    field = task.field("comm")
    if field is None or not isinstance(field.type, String) or field.type.size != COMM_SIZE:
        return None
    return Ref(f.b.call(BPF_FUNC_get_current_task_btf), field.offset, "btf")


def _task_struct(f: FunctionLowering) -> Struct | None:
    # The kernel's ``struct task_struct``, where its fields may be read.
    types = f.context.types()
    if types is None or not f.context.target.has("get_current_task_btf"):
        return None
    found = types.named("task_struct", "struct")
    return found if isinstance(found, Struct) else None


def _path(f: FunctionLowering, node: n.Field) -> list[tuple[Struct, FieldInfo]] | None:
    # The fields that lead from the current task to ``node``, each with the struct it is in.
    path: list[tuple[Struct, FieldInfo]] = []
    at: n.Node = node
    while isinstance(at, n.Field):
        base = f.meant(at.base)
        kind = f.type(base)
        struct = kind.target if isinstance(kind, Pointer) else kind
        if not isinstance(struct, Struct):
            return None
        field = struct.field(at.name)
        if field is None or not _is_plain(struct, field):
            return None
        path.insert(0, (struct, field))
        at = base
    task = _task_struct(f)
    if task is None or path[0][0] is not task or not _is_current(f, at):
        return None
    pointers = [step for step in path[:-1] if isinstance(step[1].type, Pointer)]
    if len(pointers) > 1 or (pointers and not _is_untagged(f, *pointers[0])):
        return None
    return path


def _is_current(f: FunctionLowering, node: n.Node) -> bool:
    if isinstance(node, n.Cast):
        return _is_current(f, f.meant(node.operand))
    name = node.name if isinstance(node, (n.Identifier, n.Call)) else ""
    return name == "curtask"


def _is_plain(struct: Struct, field: FieldInfo) -> bool:
    # Whether nothing else lies where the field does: then it is no member of a union.
    if field.bit_size or field.data_loc or struct.tag.startswith("union"):
        return False
    end = field.offset + field.type.size
    return not any(
        other is not field and other.offset < end and field.offset < other.offset + other.type.size
        for other in struct.fields
    )


def _is_untagged(f: FunctionLowering, struct: Struct, field: FieldInfo) -> bool:
    # Whether the kernel's BTF says nothing of a pointer but what it points to.
    from bpflens.btf import types as btf_types
    from bpflens.uapi.btf import BTF_KIND_STRUCT

    types = f.context.types()
    assert types is not None
    number = types.btf.find(struct.tag.removeprefix("struct "), BTF_KIND_STRUCT)
    source = types.btf.type(number) if number is not None else None
    if not isinstance(source, btf_types.Struct):
        return False
    for member in source.members:
        if member.name == field.name:
            pointer = types.btf.type(member.type_id)
            return isinstance(pointer, btf_types.Ptr) and not isinstance(
                types.btf.type(pointer.type_id), btf_types.TypeTag
            )
    return False


def _walk(f: FunctionLowering, path: list[tuple[Struct, FieldInfo]]) -> Ref:
    place = Ref(f.b.call(BPF_FUNC_get_current_task_btf), 0, "btf")
    for number, (_, field) in enumerate(path):
        place = place.at(field.offset)
        if isinstance(field.type, Pointer) and number < len(path) - 1:
            place = Ref(f.b.load(place.base, place.off, 8), 0, "btf")
    return place

"""Tables of functions that programs put into the kernel: struct_ops.

Turns a :class:`~bpflens.spec.MapSpec` of type struct_ops, laid out as the object declared the
struct, into what this kernel wants: the id of its own type, the size of the value, for each
function the program type's target, and the value with members at the kernel's offsets.

Invariants: members are matched by name; one that the kernel lacks must be zero in the object.

Example::

    table = StructOps(spec, local_btf, vmlinux_types)
    table.value({"bpf_cubic_init": 12})
"""

from __future__ import annotations

from bpflens.btf.types import FuncProto, Member, Ptr, Struct
from bpflens.errors import FormatError, NotFound
from bpflens.uapi.btf import BTF_KIND_STRUCT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from bpflens.btf import Btf
    from bpflens.spec import MapSpec

__all__ = ["StructOps"]

# kernel/bpf/bpf_struct_ops.c: STRUCT_OPS_VALUE(); the value wraps the struct in a member `data`.
_PREFIX = "bpf_struct_ops_"


class StructOps:
    """How one table stands in the kernel.

    ``type_id`` is the kernel's struct, ``value_type_id`` and ``value_size`` its value type;
    ``members`` gives for each program of the table the number of its member.
    """

    __slots__ = ("_data_offset", "_kernel", "_local", "_pairs", "_spec", "members", "type_id",
                 "value_size", "value_type_id")  # fmt: skip

    def __init__(self, spec: MapSpec, local: Btf, kernel: Btf) -> None:
        self._spec = spec
        self._local = local
        self._kernel = kernel
        name = spec.struct_ops.partition("___")[0]
        self.type_id = self._find(name)
        self.value_type_id = self._find(_PREFIX + name)
        value = self._struct(kernel, self.value_type_id)
        self.value_size = value.size
        data = [member for member in value.members if member.type_id == self.type_id]
        if not data:
            raise FormatError("BTF of the kernel", f"{value.name} does not hold a {name}")
        self._data_offset = data[0].bit_offset // 8
        self._pairs = self._matched()
        self.members = self._program_members()

    def value(self, programs: Mapping[str, int]) -> bytes:
        """Return the map's value with the descriptors of ``programs`` in their places."""
        value = bytearray(self.value_size)
        source = self._spec.contents[0][1]
        for member, number, size in self._pairs:
            kernel = self._struct(self._kernel, self.type_id).members[number]
            at = self._data_offset + kernel.bit_offset // 8
            start = member.bit_offset // 8
            name = self._spec.fd_contents.get(start)
            if name is not None:
                if name in programs:
                    value[at : at + 8] = programs[name].to_bytes(8, "little")
            else:
                value[at : at + size] = source[start : start + size]
        return bytes(value)

    def _find(self, name: str) -> int:
        found = self._kernel.find(name, BTF_KIND_STRUCT)
        if found is None:
            known = [other.removeprefix(_PREFIX) for other, _ in self._kernel.find_prefix(_PREFIX)]
            raise NotFound("struct_ops type in this kernel", name.removeprefix(_PREFIX), known[:5])
        return found

    @staticmethod
    def _struct(btf: Btf, id: int) -> Struct:
        found = btf.type(id)
        assert isinstance(found, Struct)
        return found

    # Members of the object's struct, each with the number of the kernel's and its size.
    def _matched(self) -> list[tuple[Member, int, int]]:
        local = self._struct(self._local, self._spec.value_type_id)
        kernel = self._struct(self._kernel, self.type_id)
        numbers = {member.name: number for number, member in enumerate(kernel.members)}
        source = self._spec.contents[0][1]
        pairs = []
        for member in local.members:
            size = self._local.size_of(member.type_id)
            start = member.bit_offset // 8
            number = numbers.get(member.name.partition("___")[0])
            if number is None:
                if any(source[start : start + size]) or start in self._spec.fd_contents:
                    raise NotFound(f"member of {kernel.name} in this kernel", member.name)
                continue
            if self._kernel.size_of(kernel.members[number].type_id) != size:
                problem = f"member {member.name} has another size in this kernel"
                raise FormatError(f"struct_ops table {self._spec.name}", problem)
            pairs.append((member, number, size))
        return pairs

    def _program_members(self) -> dict[str, int]:
        members = {}
        for member, number, _ in self._pairs:
            name = self._spec.fd_contents.get(member.bit_offset // 8)
            if name is None:
                continue
            pointer = self._local.resolve(member.type_id)
            if not isinstance(pointer, Ptr) or not isinstance(
                self._local.resolve(pointer.type_id), FuncProto
            ):
                problem = f"member {member.name} is set to {name}, but is no function"
                raise FormatError(f"struct_ops table {self._spec.name}", problem)
            members[name] = number
        return members

"""What a loader needs to know of programs and maps before any of them exists in a kernel.

A spec is pure data: deterministic, picklable, made by reading an object file
(:mod:`bpflens.load.object_file`) or by compiling a script (:mod:`bpflens.lang`), and turned into
kernel objects by :mod:`bpflens.load`. Nothing here touches a kernel.

Example::

    counter = MapSpec("counter", BPF_MAP_TYPE_ARRAY, key_size=4, value_size=8, max_entries=1)
    spec = ObjectSpec(maps={"counter": counter}, programs={...})
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "CoreRelo",
    "Extern",
    "Kfunc",
    "LineInfo",
    "MapSpec",
    "ObjectSpec",
    "ProgramSpec",
    "Record",
    "Reloc",
]


class Record:
    """Value semantics for slots classes: equality, pickling and a readable repr by fields."""

    __slots__: tuple[str, ...] = ()

    def _values(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in self.__slots__)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self._values() == other._values()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        fields = ", ".join(f"{n}={getattr(self, n)!r}" for n in self.__slots__)
        return f"{type(self).__name__}({fields})"

    def __getstate__(self) -> tuple[object, ...]:
        return self._values()

    def __setstate__(self, state: tuple[object, ...]) -> None:
        for name, value in zip(self.__slots__, state, strict=True):
            setattr(self, name, value)


class MapSpec(Record):
    """One map. Sizes are in bytes; type ids refer to the object's BTF (0 = none).

    ``contents`` holds ``(key, value)`` pairs stored right after creation; ``inner`` is the template
    of a map of maps; ``freeze`` makes it read-only for user space once filled; ``pinning`` is
    libbpf's (0 none, 1 by name). ``fd_contents`` maps a slot number to the name of the program or
    map that belongs there (prog_array and map-in-map initialisers). ``struct_ops`` is the name of
    the type whose functions the map replaces; its value is the one of ``contents`` (as the object
    laid it out, type ``value_type_id``), its functions are ``fd_contents`` by byte offset in it.
    """

    __slots__ = (
        "name", "type", "key_size", "value_size", "max_entries", "flags", "map_extra",
        "key_type_id", "value_type_id", "inner", "contents", "fd_contents", "freeze", "pinning",
        "numa_node", "ifindex", "struct_ops",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        type: int,
        key_size: int = 0,
        value_size: int = 0,
        max_entries: int = 0,
        *,
        flags: int = 0,
        map_extra: int = 0,
        key_type_id: int = 0,
        value_type_id: int = 0,
        inner: MapSpec | None = None,
        contents: Sequence[tuple[bytes, bytes]] = (),
        fd_contents: Mapping[int, str] | None = None,
        freeze: bool = False,
        pinning: int = 0,
        numa_node: int = 0,
        ifindex: int = 0,
        struct_ops: str = "",
    ) -> None:
        self.name = name
        self.type = type
        self.key_size = key_size
        self.value_size = value_size
        self.max_entries = max_entries
        self.flags = flags
        self.map_extra = map_extra
        self.key_type_id = key_type_id
        self.value_type_id = value_type_id
        self.inner = inner
        self.contents = list(contents)
        self.fd_contents = dict(fd_contents or {})
        self.freeze = freeze
        self.pinning = pinning
        self.numa_node = numa_node
        self.ifindex = ifindex
        self.struct_ops = struct_ops


class Reloc(Record):
    """A place in a program's instructions that is filled in at load time.

    ``insn`` is the index of the 8-byte slot; ``kind`` one of ``"map"`` (ld_imm64 of a map fd),
    ``"map_value"`` (ld_imm64 of an address inside map value 0, plus ``addend``), ``"func"``
    (ld_imm64 of a subprogram's address), ``"call"`` (bpf-to-bpf call), ``"kfunc"`` (call of kernel
    function ``name``), ``"ksym"`` (address of kernel variable ``name``), ``"core"`` (CO-RE, with
    ``addend`` = index into ``ProgramSpec.core``).
    """

    __slots__ = ("insn", "kind", "name", "addend", "weak")

    def __init__(
        self, insn: int, kind: str, name: str, addend: int = 0, weak: bool = False
    ) -> None:
        self.insn = insn
        self.kind = kind
        self.name = name
        self.addend = addend
        self.weak = weak


class LineInfo(Record):
    """Source of the instruction at slot ``insn``; line and column count from 1."""

    __slots__ = ("insn", "file", "text", "line", "column")

    def __init__(self, insn: int, file: str, text: str, line: int, column: int) -> None:
        self.insn = insn
        self.file = file
        self.text = text
        self.line = line
        self.column = column


class CoreRelo(Record):
    """A question to the kernel's types that an instruction depends on (CO-RE).

    ``kind`` is BPF_CORE_*, ``type_id`` a type of the object's BTF, ``access`` the way into it
    ("0:1:3") as the compiler wrote it.
    """

    __slots__ = ("access", "kind", "type_id")

    def __init__(self, type_id: int, access: str, kind: int) -> None:
        self.type_id = type_id
        self.access = access
        self.kind = kind


class Extern(Record):
    """Something that the object expects of the kernel: a build option, a variable, a function.

    ``kind`` is ``"kconfig"`` (then ``offset``, ``size`` and ``type_id`` say where and how its value
    stands in the map ``.kconfig``), ``"ksym"`` (a variable; ``type_id`` 0 when only its address is
    wanted) or ``"kfunc"``. A ``weak`` one may be missing.
    """

    __slots__ = ("kind", "name", "offset", "size", "type_id", "weak")

    def __init__(
        self,
        name: str,
        kind: str,
        type_id: int = 0,
        *,
        weak: bool = False,
        size: int = 0,
        offset: int = 0,
    ) -> None:
        self.name = name
        self.kind = kind
        self.type_id = type_id
        self.weak = weak
        self.size = size
        self.offset = offset


class Kfunc(Record):
    """A kernel function that a program calls, by name; ``weak`` ones may be missing."""

    __slots__ = ("name", "weak")

    def __init__(self, name: str, weak: bool = False) -> None:
        self.name = name
        self.weak = weak


class ProgramSpec(Record):
    """One program, main function first, its subprograms behind it.

    ``insns`` is the raw instruction stream (8 bytes a slot) before relocation. ``funcs`` lists
    ``(slot, name, type_id)`` of every function in it, type_id being a FUNC of the object's BTF
    (0 = none). ``attach_to`` names what an fentry/fexit/LSM/freplace/iter/tp_btf program attaches
    to; ``section`` is the ELF section or the probe as the user wrote it.
    """

    __slots__ = (
        "name", "type", "insns", "relocs", "license", "expected_attach_type", "attach_to", "flags",
        "funcs", "lines", "core", "section", "autoload", "kern_version", "ifindex",
        "attach_prog_fd",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        type: int,
        insns: bytes,
        *,
        relocs: Sequence[Reloc] = (),
        license: str = "GPL",
        expected_attach_type: int = 0,
        attach_to: str = "",
        flags: int = 0,
        funcs: Sequence[tuple[int, str, int]] = (),
        lines: Sequence[LineInfo] = (),
        core: Sequence[CoreRelo] = (),
        section: str = "",
        autoload: bool = True,
        kern_version: int = 0,
        ifindex: int = 0,
        attach_prog_fd: int = 0,
    ) -> None:
        self.name = name
        self.type = type
        self.insns = insns
        self.relocs = list(relocs)
        self.license = license
        self.expected_attach_type = expected_attach_type
        self.attach_to = attach_to
        self.flags = flags
        self.funcs = list(funcs)
        self.lines = list(lines)
        self.core = list(core)
        self.section = section
        self.autoload = autoload
        self.kern_version = kern_version
        self.ifindex = ifindex
        self.attach_prog_fd = attach_prog_fd


class ObjectSpec(Record):
    """Maps and programs that belong together, with the BTF that describes them (raw bytes)."""

    __slots__ = ("maps", "programs", "btf", "name", "externs")

    def __init__(
        self,
        maps: Mapping[str, MapSpec] | None = None,
        programs: Mapping[str, ProgramSpec] | None = None,
        *,
        btf: bytes = b"",
        name: str = "",
        externs: Mapping[str, Extern] | None = None,
    ) -> None:
        self.maps = dict(maps or {})
        self.programs = dict(programs or {})
        self.btf = btf
        self.name = name
        self.externs = dict(externs or {})

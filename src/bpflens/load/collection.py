"""Load a whole object: one BTF for all its programs, its maps, then its programs.

Turns an :class:`~bpflens.spec.ObjectSpec` into :class:`Loaded`, maps and programs by name.
Ten thousand programs share one BTF descriptor, one set of maps and one look-up of each kernel
symbol. Programs are loaded in the order of the spec.

Invariants: when anything fails, everything created so far is closed; a program with
``autoload=False`` is not loaded unless it is asked for by name.

Example::

    with load_object(spec, reuse={"events": ring.fd}) as loaded:
        attach(loaded.programs["count"])
"""

from __future__ import annotations

import errno
import fcntl
import os

from bpflens.errors import FormatError, NotFound, NotSupported, SyscallError
from bpflens.kernel import bpf
from bpflens.load.attach_target import AttachTarget, ModuleTypes, target_of
from bpflens.load.kernel_symbol import KernelSymbols
from bpflens.load.map_create import create_map, fill_descriptors, has_direct_value
from bpflens.load.patch import MapTarget, Resolver, near, patch
from bpflens.load.pinning import DIRECTORY, open_pinned
from bpflens.load.program_btf import ProgramBtf
from bpflens.load.program_load import load_program
from bpflens.objects.map import Map
from bpflens.objects.program import Program
from bpflens.uapi.bpf import BPF_F_LINK, BPF_MAP_TYPE_ARENA, BPF_PROG_TYPE_STRUCT_OPS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType
    from typing import Self

    from bpflens.btf import Btf
    from bpflens.load.arena import Arena
    from bpflens.load.core_relocation import CoreRelocations
    from bpflens.load.struct_ops import StructOps
    from bpflens.spec import MapSpec, ObjectSpec, ProgramSpec

__all__ = ["Loaded", "load_object"]

# The map with the values of build options, whose contents only a running kernel can tell.
KCONFIG = ".kconfig"


class Loaded:
    """What an object became: ``maps`` and ``programs`` by name, and ``logs`` where asked for.

    ``tables`` holds the value of each struct_ops map, ready to be stored when it is attached,
    ``arenas`` the memory of arena maps.
    Closing closes every descriptor; what is attached or pinned lives on in the kernel.
    """

    __slots__ = ("arenas", "btf_fd", "logs", "maps", "programs", "spec", "tables")

    def __init__(self, spec: ObjectSpec) -> None:
        self.spec = spec
        self.maps: dict[str, Map] = {}
        self.programs: dict[str, Program] = {}
        self.logs: dict[str, list[str]] = {}
        self.tables: dict[str, bytes] = {}
        self.arenas: dict[str, Arena] = {}
        #: The descriptor of the object's BTF in the kernel, 0 if it has none.
        self.btf_fd = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all maps, programs and the BTF; a second call does nothing."""
        for arena in self.arenas.values():
            arena.close()
        for program in self.programs.values():
            program.close()
        for map in self.maps.values():
            map.close()
        if self.btf_fd:
            os.close(self.btf_fd)
            self.btf_fd = 0


def load_object(
    spec: ObjectSpec,
    *,
    reuse: Mapping[str, Map] | None = None,
    programs: Iterable[str] | None = None,
    attach_to: Mapping[str, Program] | None = None,
    pin_directory: str = DIRECTORY,
    kernel_types: Btf | None = None,
    log_level: int = 0,
) -> Loaded:
    """Create the maps of ``spec`` and load its programs.

    ``reuse`` puts existing maps in the place of the object's own (they are not closed with it);
    ``programs`` names those to load (all that load by themselves otherwise); ``attach_to`` gives
    the target program of freplace and fentry-on-program programs by their name; maps that pin
    themselves do so in ``pin_directory``; CO-RE relocations are answered by ``kernel_types``
    instead of the running kernel's; with ``log_level`` 1 or 2 ``Loaded.logs`` holds the verifier's
    lines of each program.

    Raises :class:`~bpflens.errors.VerifierError`, :class:`~bpflens.errors.SyscallError`,
    :class:`~bpflens.errors.NotFound` for a name that nothing answers to, and
    :class:`~bpflens.errors.FormatError` for relocations that make no sense.
    """
    chosen = _chosen(spec, programs)
    for name in reuse or ():
        if name not in spec.maps:
            raise NotFound("map in the object", name, near(name, spec.maps))
    loading = _Loading(spec, reuse or {}, pin_directory, log_level)
    try:
        loading.run(chosen, attach_to or {}, kernel_types)
    except BaseException:
        loading.loaded.close()
        raise
    finally:
        loading.modules.close()
    return loading.loaded


def _chosen(spec: ObjectSpec, names: Iterable[str] | None) -> list[ProgramSpec]:
    if names is None:
        return [program for program in spec.programs.values() if program.autoload]
    chosen = []
    for name in names:
        if name not in spec.programs:
            raise NotFound("program in the object", name, near(name, spec.programs))
        chosen.append(spec.programs[name])
    return chosen


class _Loading:
    # One run of load_object: what is shared between its steps.

    __slots__ = (
        "_core", "_local", "loaded", "log_level", "modules", "pin_directory", "reuse", "spec",
        "tables", "targets",
    )  # fmt: skip

    def __init__(
        self, spec: ObjectSpec, reuse: Mapping[str, Map], pin_directory: str, log_level: int
    ) -> None:
        self.spec = spec
        self.reuse = reuse
        self.pin_directory = pin_directory
        self.log_level = log_level
        self.loaded = Loaded(spec)
        self.targets: dict[str, MapTarget] = {}
        self.tables: dict[str, StructOps] = {}
        self.modules = ModuleTypes()
        self._local: Btf | None = None
        self._core: CoreRelocations | None = None

    def run(
        self,
        programs: list[ProgramSpec],
        attach_to: Mapping[str, Program],
        kernel_types: Btf | None,
    ) -> None:
        btf = ProgramBtf(self.spec.btf)
        infos = [
            (btf.func_info(program.funcs), btf.line_info(program.lines, program.insns))
            for program in programs
        ]
        if not self._load_btf(btf.build()):
            infos = [(b"", b"")] * len(programs)
        for name, map_spec in self.spec.maps.items():
            self._map(name, map_spec)
        symbols = KernelSymbols(self.spec.externs, self.local_types, self.modules)
        self._core = self._core_relocations(kernel_types)
        resolver = Resolver(self.targets, symbols.find, self._core.apply if self._core else None)
        for program, info in zip(programs, infos, strict=True):
            self._program(program, info, resolver, symbols, attach_to.get(program.name))
        self._fill()

    # Whether programs can refer to functions and lines of the BTF.
    def _load_btf(self, blob: bytes) -> bool:
        if not blob:
            return True
        try:
            self.loaded.btf_fd = bpf.btf_load(blob)
        except SyscallError as error:
            from bpflens.kernel.feature import feature
            from bpflens.load.btf_sanitize import missing_features, sanitized

            if feature("btf").answer() is False:
                # Nothing but names for people is lost; programs that need types say so themselves.
                return False
            missing = missing_features()
            if not missing:
                raise
            try:
                self.loaded.btf_fd = bpf.btf_load(sanitized(blob, missing))
            except SyscallError:
                raise error from None
            return "btf_func" not in missing
        return True

    def local_types(self) -> Btf | None:
        """The types of the object, read when they are first asked for."""
        if self._local is None and self.spec.btf:
            from bpflens.btf import Btf

            self._local = Btf(self.spec.btf, pointer_size=8)
        return self._local

    def _core_relocations(self, kernel_types: Btf | None) -> CoreRelocations | None:
        if not any(program.core for program in self.spec.programs.values()):
            return None
        local = self.local_types()
        if local is None:
            return None
        from bpflens.load.core_relocation import CoreRelocations

        return CoreRelocations(local, kernel_types)

    # --- maps ---

    def _map(self, name: str, spec: MapSpec) -> None:
        given = self.reuse.get(name)
        if given is not None:
            # A descriptor of our own, so that closing the object leaves the giver's open.
            map = Map.from_fd(fcntl.fcntl(given.fd, fcntl.F_DUPFD_CLOEXEC, 0))
        else:
            map = Map.from_fd(self._pinned(name, spec) or self._created(name, spec))
        self.loaded.maps[name] = map
        direct = has_direct_value(map.info.type, map.info.max_entries)
        self.targets[name] = MapTarget(map.fd, direct)
        if given is None and spec.pinning:
            self._pin(name, map)

    def _pinned(self, name: str, spec: MapSpec) -> int:
        return open_pinned(spec, f"{self.pin_directory}/{name}") if spec.pinning else 0

    def _pin(self, name: str, map: Map) -> None:
        path = f"{self.pin_directory}/{name}"
        if not os.path.exists(path):
            map.pin(path)

    def _created(self, name: str, spec: MapSpec) -> int:
        if spec.struct_ops:
            return self._created_table(name, spec)
        if name == KCONFIG and not spec.contents:
            spec = self._with_options(spec)
        if spec.type == BPF_MAP_TYPE_ARENA:
            return self._created_arena(name, spec)
        return create_map(spec, self.loaded.btf_fd)

    def _created_arena(self, name: str, spec: MapSpec) -> int:
        from copy import copy

        from bpflens.load.arena import Arena

        # Its contents are variables at its beginning, not entries.
        empty = copy(spec)
        empty.contents = []
        fd = create_map(empty, self.loaded.btf_fd)
        try:
            arena = Arena(fd, spec.max_entries, spec.map_extra)
        except BaseException:
            os.close(fd)
            raise
        self.loaded.arenas[name] = arena
        for _, data in spec.contents:
            arena.write(0, data)
        return fd

    def _with_options(self, spec: MapSpec) -> MapSpec:
        from copy import copy

        from bpflens.kernel.limits import kernel_config
        from bpflens.load.kconfig import kconfig_value

        local = self.local_types()
        assert local is not None
        filled = copy(spec)
        value = kconfig_value(self.spec.externs, local, spec.value_size, kernel_config())
        filled.contents = [(bytes(4), value)]
        return filled

    def _created_table(self, name: str, spec: MapSpec) -> int:
        from bpflens.load.struct_ops import StructOps
        from bpflens.objects.btf import vmlinux

        local = self.local_types()
        if local is None:
            raise FormatError(f"struct_ops table {name}", "the object has no BTF")
        table = self.tables[name] = StructOps(spec, local, vmlinux())

        def create(flags: int) -> int:
            return bpf.map_create(
                spec.type,
                spec.key_size,
                table.value_size,
                1,
                name=spec.name,
                flags=flags,
                btf_fd=self.loaded.btf_fd,
                btf_vmlinux_value_type_id=table.value_type_id,
            )

        try:
            return create(spec.flags)
        except SyscallError as error:
            if not spec.flags & BPF_F_LINK or error.errno != errno.EINVAL:
                raise
            # Taken without the flag, the flag is what this kernel does not know.
            os.close(create(spec.flags & ~BPF_F_LINK))
            raise NotSupported("a struct_ops table attached by a link", "6.4") from error

    # --- programs ---

    def _program(
        self,
        spec: ProgramSpec,
        info: tuple[bytes, bytes],
        resolver: Resolver,
        symbols: KernelSymbols,
        target_program: Program | None,
    ) -> None:
        if not spec.type and spec.section:
            from bpflens.load.section_name import RULES

            raise NotFound("program type for the section", spec.section, near(spec.section, RULES))
        log: list[str] | None = [] if self.log_level else None
        insns = patch(spec, resolver)
        fd = load_program(
            spec,
            insns,
            self._target(spec, target_program),
            btf_fd=self.loaded.btf_fd,
            func_info=info[0],
            line_info=info[1],
            fd_array=symbols.fd_array,
            log_level=self.log_level,
            log=log,
            question=self._core.question if self._core else None,
        )
        self._bind_constants(fd)
        self.loaded.programs[spec.name] = Program.from_fd(fd)
        if log is not None:
            self.loaded.logs[spec.name] = log

    # Constants belong to a program even when no instruction reads them: tools find what an author
    # says of it (`bpf_metadata_...`) in the maps of the program.
    def _bind_constants(self, prog_fd: int) -> None:
        for name, target in self.targets.items():
            if name.startswith(".rodata"):
                try:
                    bpf.prog_bind_map(prog_fd, target.fd)
                except SyscallError as error:
                    # Since Linux 5.10 (ef15314aa5de "bpf: Add BPF_PROG_BIND_MAP syscall").
                    if error.errno != errno.EINVAL:
                        raise

    def _target(self, spec: ProgramSpec, program: Program | None) -> AttachTarget:
        if spec.type == BPF_PROG_TYPE_STRUCT_OPS:
            for table in self.tables.values():
                if spec.name in table.members:
                    return AttachTarget(table.type_id, attach_type=table.members[spec.name])
            raise NotFound("struct_ops table that uses the program", spec.name)
        return target_of(spec, self.modules, program.fd if program else 0)

    # --- what needs all maps and programs ---

    def _fill(self) -> None:
        wanted = {name: spec for name, spec in self.spec.maps.items() if spec.fd_contents}
        if not wanted:
            return
        programs = {name: program.fd for name, program in self.loaded.programs.items()}
        descriptors = {name: map.fd for name, map in self.loaded.maps.items()} | programs
        for name, spec in wanted.items():
            if name in self.tables:
                self.loaded.tables[name] = self.tables[name].value(programs)
            elif name not in self.reuse:
                fill_descriptors(spec, self.loaded.maps[name].fd, descriptors)

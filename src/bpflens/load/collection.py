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

import os

from bpflens.errors import NotFound
from bpflens.kernel import bpf
from bpflens.load.attach_target import target_of
from bpflens.load.map_create import create_map, fill_descriptors, has_direct_value
from bpflens.load.patch import MapTarget, Resolver, near, patch
from bpflens.load.program_btf import ProgramBtf
from bpflens.load.program_load import load_program
from bpflens.objects.map import Map
from bpflens.objects.program import Program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType
    from typing import Self

    from bpflens.spec import MapSpec, ObjectSpec, ProgramSpec

__all__ = ["Loaded", "load_object"]


class Loaded:
    """What an object became: ``maps`` and ``programs`` by name, and ``logs`` where asked for.

    Closing it closes every descriptor; what is attached or pinned lives on in the kernel.
    """

    __slots__ = ("_btf_fd", "logs", "maps", "programs", "spec")

    def __init__(self, spec: ObjectSpec, btf_fd: int = 0) -> None:
        self.spec = spec
        self.maps: dict[str, Map] = {}
        self.programs: dict[str, Program] = {}
        self.logs: dict[str, list[str]] = {}
        self._btf_fd = btf_fd

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def btf_fd(self) -> int:
        """The descriptor of the object's BTF in the kernel, 0 if it has none."""
        return self._btf_fd

    def close(self) -> None:
        """Close all maps, programs and the BTF; a second call does nothing."""
        for program in self.programs.values():
            program.close()
        for map in self.maps.values():
            map.close()
        if self._btf_fd:
            os.close(self._btf_fd)
            self._btf_fd = 0


def load_object(
    spec: ObjectSpec,
    *,
    reuse: Mapping[str, Map] | None = None,
    programs: Iterable[str] | None = None,
    attach_to: Mapping[str, Program] | None = None,
    log_level: int = 0,
) -> Loaded:
    """Create the maps of ``spec`` and load its programs.

    ``reuse`` puts existing maps in the place of the object's own (they are not closed with it);
    ``programs`` names those to load (all that load by themselves otherwise); ``attach_to`` gives
    the target program of freplace and fentry-on-program programs by their name; with
    ``log_level`` 1 or 2 ``Loaded.logs`` holds the verifier's lines of each program.

    Raises :class:`~bpflens.errors.VerifierError`, :class:`~bpflens.errors.SyscallError`,
    :class:`~bpflens.errors.NotFound` for a name that nothing answers to, and
    :class:`~bpflens.errors.FormatError` for relocations that make no sense.
    """
    return _Loading(spec, reuse or {}, attach_to or {}, log_level).run(_chosen(spec, programs))


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

    __slots__ = ("attach_to", "loaded", "log_level", "reuse", "spec", "targets")

    def __init__(
        self,
        spec: ObjectSpec,
        reuse: Mapping[str, Map],
        attach_to: Mapping[str, Program],
        log_level: int,
    ) -> None:
        self.spec = spec
        self.reuse = reuse
        self.attach_to = attach_to
        self.log_level = log_level
        self.loaded = Loaded(spec)
        self.targets: dict[str, MapTarget] = {}

    def run(self, programs: list[ProgramSpec]) -> Loaded:
        for name in self.reuse:
            if name not in self.spec.maps:
                raise NotFound("map in the object", name, near(name, self.spec.maps))
        btf = ProgramBtf(self.spec.btf)
        infos = [
            (btf.func_info(program.funcs), btf.line_info(program.lines, program.insns))
            for program in programs
        ]
        try:
            blob = btf.build()
            if blob:
                self.loaded._btf_fd = bpf.btf_load(blob)
            for name, map_spec in self.spec.maps.items():
                self._map(name, map_spec)
            self._programs(programs, infos)
            self._fill()
        except BaseException:
            self.loaded.close()
            raise
        return self.loaded

    def _map(self, name: str, spec: MapSpec) -> None:
        given = self.reuse.get(name)
        if given is not None:
            # A descriptor of our own, so that closing the object leaves the giver's open.
            fd = os.dup(given.fd)
        else:
            fd = create_map(spec, self.loaded.btf_fd)
        self.loaded.maps[name] = Map.from_fd(fd)
        direct = has_direct_value(spec.type, spec.max_entries)
        self.targets[name] = MapTarget(fd, direct)

    def _programs(self, programs: list[ProgramSpec], infos: list[tuple[bytes, bytes]]) -> None:
        resolver = Resolver(self.targets)
        for spec, (func_info, line_info) in zip(programs, infos, strict=True):
            target_program = self.attach_to.get(spec.name)
            target = target_of(spec, target_program.fd if target_program else 0)
            log: list[str] | None = [] if self.log_level else None
            fd = load_program(
                spec,
                patch(spec, resolver),
                target,
                btf_fd=self.loaded.btf_fd,
                func_info=func_info,
                line_info=line_info,
                log_level=self.log_level,
                log=log,
            )
            self.loaded.programs[spec.name] = Program.from_fd(fd)
            if log is not None:
                self.loaded.logs[spec.name] = log

    def _fill(self) -> None:
        wanted = {name: spec for name, spec in self.spec.maps.items() if spec.fd_contents}
        if not wanted:
            return
        descriptors = {name: map.fd for name, map in self.loaded.maps.items()}
        descriptors.update((name, prog.fd) for name, prog in self.loaded.programs.items())
        for name, spec in wanted.items():
            if name not in self.reuse:
                fill_descriptors(spec, self.loaded.maps[name].fd, descriptors)

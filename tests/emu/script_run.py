"""Compiles a script and runs its BEGIN in the interpreter or in the kernel; returns its maps."""

from __future__ import annotations

import os

from bpflens.asm.fake_kernel import FakeKernel
from bpflens.asm.fake_map import from_spec
from bpflens.asm.interpreter import Machine
from bpflens.lang.pipeline import compile_script
from bpflens.render.map import MapData, entries, is_set
from bpflens.render.resolver import Resolver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.lang.program import CompiledProgram, MapSchema

    Maps = dict[str, dict[object, object]]


class Machineless:
    """A target without BTF and probes, with the features that a test wants."""

    arch = "x86_64"
    possible_cpus = 1
    page_size = 4096

    def __init__(self, features: frozenset[str]) -> None:
        self.features = features

    def btf(self) -> None:
        return None

    def module_btfs(self) -> tuple[()]:
        return ()

    def has(self, feature: str) -> bool:
        return feature in self.features


FEATURES = {
    "new": frozenset(("open_coded_iter", "may_goto", "bpf_loop", "for_each_map_elem", "cpu_v4")),
    "old": frozenset(("bpf_loop", "for_each_map_elem")),
}


def interpret(text: str, kernel: str = "new") -> Maps:
    """Run a script in the interpreter, compiled for a ``new`` or an ``old`` kernel."""
    compiled = compile_script(text, Machineless(FEATURES[kernel]))  # type: ignore[arg-type]
    maps = {name: from_spec(spec, cpus=1) for name, spec in compiled.object.maps.items()}
    for program in compiled.object.programs.values():
        Machine.of(program, maps, FakeKernel(), max_insns=5_000_000).run(bytes(64))

    def read(schema: MapSchema) -> MapData:
        fake = maps[schema.spec]
        items = fake.items()  # type: ignore[attr-defined]
        keys = b"".join(key for key, _ in items)
        values = b"".join(v if isinstance(v, bytes) else b"".join(v[:1]) for _, v in items)
        size = 0 if schema.key is None else fake.key_size
        return MapData(keys, values, size, fake.value_size, 1)

    return _results(compiled, read)


def run_in_kernel(text: str) -> Maps:
    """Run a script in this machine's kernel."""
    from bpflens.kernel.cpu import possible_count
    from bpflens.load.collection import load_object
    from bpflens.session.host import HostTarget

    compiled = compile_script(text, HostTarget())
    loaded = load_object(compiled.object)
    try:
        for probe in compiled.probes:
            loaded.programs[probe.program].test_run()

        def read(schema: MapSchema) -> MapData:
            source = loaded.maps[schema.spec]
            cpus = possible_count() if schema.per_cpu else 1
            if schema.key is None:
                raw = source.lookup_raw(bytes(4)) or b""
                return MapData(bytes(4), raw, 0, source.info.value_size, cpus)
            keys, values = source.read_all()
            return MapData(keys, values, source.info.key_size, source.info.value_size, cpus)

        return _results(compiled, read)
    finally:
        loaded.close()


def _results(compiled: CompiledProgram, read) -> Maps:  # type: ignore[no-untyped-def]
    found: Maps = {}
    for schema in compiled.maps:
        data = read(schema)
        if is_set(schema, data):
            found[schema.name] = {
                _plain(key): value for key, value in entries(schema, data, Resolver())
            }
    return found


def _plain(key: object) -> object:
    return tuple(map(_plain, key)) if isinstance(key, (tuple, list)) else key


def seeds(first: int, count: int) -> range:
    """The seeds of a test; BPFLENS_SEEDS multiplies how many."""
    return range(first, first + count * int(os.environ.get("BPFLENS_SEEDS", "1")))

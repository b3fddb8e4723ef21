"""What the programs of one script share: maps in the kernel, events, strings, scratch memory."""

from __future__ import annotations

from bpflens.lang.program import (
    EVENT_HEADER_SIZE,
    EXIT_MAP,
    LOST_MAP,
    RING_MAP,
    EventSchema,
    FieldSchema,
    MapSchema,
)  # fmt: skip
from bpflens.lang.types import Aggregate, Hist, LHist, String, TSeries, Type, align_up
from bpflens.spec import MapSpec
from bpflens.uapi.bpf import (
    BPF_F_NO_PREALLOC,
    BPF_F_RDONLY_PROG,
    BPF_MAP_TYPE_ARRAY,
    BPF_MAP_TYPE_HASH,
    BPF_MAP_TYPE_LRU_HASH,
    BPF_MAP_TYPE_LRU_PERCPU_HASH,
    BPF_MAP_TYPE_PERCPU_ARRAY,
    BPF_MAP_TYPE_PERCPU_HASH,
    BPF_MAP_TYPE_RINGBUF,
    BPF_MAP_TYPE_STACK_TRACE,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bpflens.lang import nodes as n
    from bpflens.lang.analyse.state import MapState
    from bpflens.lang.context import Context

__all__ = ["SCRATCH_MAP", "SHORT_KEY", "ZERO_MAP", "MapPlan", "Resources", "map_spec_name"]

SCRATCH_MAP = "scratch"
ZERO_MAP = "zeroes"
UNKNOWN_MAP = "unknown"
#: Bytes of a key of a map for short texts.
SHORT_KEY = 64
# Programs that may interrupt each other get their own scratch memory, up to this many.
SCRATCH_ENTRIES = 64

_DECLARED = {
    "hash": BPF_MAP_TYPE_HASH,
    "lruhash": BPF_MAP_TYPE_LRU_HASH,
    "percpuhash": BPF_MAP_TYPE_PERCPU_HASH,
    "percpulruhash": BPF_MAP_TYPE_LRU_PERCPU_HASH,
}
_PER_CPU = frozenset(
    (BPF_MAP_TYPE_PERCPU_HASH, BPF_MAP_TYPE_LRU_PERCPU_HASH, BPF_MAP_TYPE_PERCPU_ARRAY)
)


def map_spec_name(name: str) -> str:
    """Return the kernel's name for a script map: ``@x`` → ``AT_x`` (its names have no ``@``)."""
    return "AT_" + name[1:]


class MapPlan:
    """How one script map lies in the kernel.

    ``scalar`` maps have one entry; a plain scalar keeps a "was set" word at ``set_offset``. Maps of
    long texts have a second kernel map, ``short``, for keys that fit into :data:`SHORT_KEY` bytes:
    the kernel hashes and compares all bytes that a key could have.
    """

    __slots__ = (
        "index", "key", "name", "per_cpu", "scalar", "set_offset", "short", "spec", "value",
    )  # fmt: skip

    def __init__(self, state: MapState, index: int, default_entries: int) -> None:
        from bpflens.lang.types import INT64

        self.name = state.name
        self.index = index
        self.value: Type = state.value or INT64
        self.key: Type | None = state.key if state.keyed else None
        self.scalar = self.key is None
        aggregate = isinstance(self.value, Aggregate)
        kind, flags = self._kind(state, aggregate)
        self.per_cpu = kind in _PER_CPU
        self.set_offset = -1
        size = align_up(self.value.size, 8)
        if self.scalar and not aggregate:
            self.set_offset = size
            size += 8
        entries = 1 if self.scalar else state.max_entries or default_entries
        key_size = 4 if self.key is None else self.key.size
        self.spec = MapSpec(map_spec_name(state.name), kind, key_size, size, entries, flags=flags)
        self.short: MapSpec | None = None
        if isinstance(self.key, String) and key_size >= 2 * SHORT_KEY and not state.whole:
            name = map_spec_name(state.name) + "_short"
            self.short = MapSpec(name, kind, SHORT_KEY, size, entries, flags=flags)

    def _kind(self, state: MapState, aggregate: bool) -> tuple[int, int]:
        if self.scalar:
            return (BPF_MAP_TYPE_PERCPU_ARRAY if aggregate else BPF_MAP_TYPE_ARRAY), 0
        if state.map_type:
            return _DECLARED[state.map_type], 0
        if not aggregate:
            return BPF_MAP_TYPE_HASH, 0
        # Histograms keep all buckets of a key in one value, which is large: memory only for keys
        # that exist.
        large = isinstance(self.value, (Hist, LHist, TSeries))
        return BPF_MAP_TYPE_PERCPU_HASH, BPF_F_NO_PREALLOC if large else 0

    def schema(self) -> MapSchema:
        """Return what the session needs to read this map."""
        return MapSchema(
            self.name, self.key, self.value, self.spec.name, self.per_cpu, self.set_offset,
            self.short.name if self.short is not None else "",
        )  # fmt: skip


class Resources:
    """Collects, while functions are lowered, everything that is not code."""

    def __init__(
        self,
        context: Context,
        states: Sequence[MapState],
        functions: Mapping[str, n.Function] | None = None,
    ) -> None:
        self.context = context
        self.functions = dict(functions or {})
        self.stack_lengths = False
        entries = int(str(context.config["max_map_keys"]))
        self.maps = {s.name: MapPlan(s, i, entries) for i, s in enumerate(states)}
        self.events: list[EventSchema] = []
        self.strings: list[str] = []
        self.scratch_size = 0
        self.scratch_entries = 0
        self.zero_size = 0
        self.tables: dict[str, bytes] = {}
        self.stack_limits: dict[str, int] = {}
        self.uses_ring = False
        self.uses_elapsed = False
        self.uses_unknown = False
        self.uses_exit = False
        # Whether events may come at the rate of what is traced.
        self.busy = False
        self.used_maps: set[str] = set()

    def string(self, text: str) -> int:
        """Return the number of a string in the program's table."""
        if text not in self.strings:
            self.strings.append(text)
        return self.strings.index(text)

    def event(
        self, action: str, types: Sequence[Type] = (), **extra: object
    ) -> tuple[int, EventSchema]:
        """Add an event with fields of these types; return its id and schema."""
        at, fields = EVENT_HEADER_SIZE, []
        for kind in types:
            at = align_up(at, max(kind.align, 1))
            fields.append(FieldSchema(kind, at))
            at += kind.size
        schema = EventSchema(action, fields, size=align_up(at, 8), **extra)  # type: ignore[arg-type]
        self.events.append(schema)
        self.uses_ring = True
        return len(self.events) - 1, schema

    def place(self, node: n.Node) -> tuple[str, int, int, int, str]:
        """Return ``(file, line, column, end column, source line)`` of a node."""
        source = self.context.sources.find(node.start)
        line, column = source.line_column(node.start)
        end_line, end_column = source.line_column(node.end)
        if end_line != line:
            end_column = len(source.line(line)) + 1
        return source.name, line, column, end_column, source.line(line)

    def zeroes(self, size: int) -> str:
        """Return the name of a read-only array of at least ``size`` zero bytes."""
        self.zero_size = max(self.zero_size, align_up(size, 8))
        return ZERO_MAP

    def unknown(self) -> str:
        """Return the name of an array with a zero that the verifier does not know to be one."""
        self.uses_unknown = True
        return UNKNOWN_MAP

    def table(self, name: str, data: bytes) -> str:
        """Return the name of a read-only array with these bytes as its only value."""
        self.tables[name] = data
        return name

    def stack_map(self, limit: int) -> str:
        """Return the name of the stack map for stacks of ``limit`` frames."""
        name = f"stack_{limit}"
        self.stack_limits[name] = limit
        return name

    def map_specs(self) -> dict[str, MapSpec]:
        """Return the specs of all maps, the script's own first."""
        specs = {plan.spec.name: plan.spec for plan in self.maps.values()}
        specs |= {plan.short.name: plan.short for plan in self.maps.values() if plan.short}
        if self.uses_ring:
            pages = int(str(self.context.config["perf_rb_pages"])) or _default_pages(self.busy)
            size = pages * self.context.target.page_size
            specs[RING_MAP] = MapSpec(RING_MAP, BPF_MAP_TYPE_RINGBUF, max_entries=size)
            specs[LOST_MAP] = MapSpec(LOST_MAP, BPF_MAP_TYPE_PERCPU_ARRAY, 4, 8, 1)
        if self.uses_exit:
            specs[EXIT_MAP] = MapSpec(EXIT_MAP, BPF_MAP_TYPE_ARRAY, 4, 16, 1)
        if self.scratch_size:
            specs[SCRATCH_MAP] = MapSpec(
                SCRATCH_MAP, BPF_MAP_TYPE_PERCPU_ARRAY, 4, align_up(self.scratch_size, 8),
                self.scratch_entries,
            )  # fmt: skip
        for name, data in self.tables.items():
            specs[name] = MapSpec(
                name, BPF_MAP_TYPE_ARRAY, 4, align_up(len(data), 8), 1,
                flags=BPF_F_RDONLY_PROG, freeze=True,
                contents=[(bytes(4), data.ljust(align_up(len(data), 8), b"\0"))],
            )  # fmt: skip
        if self.zero_size:
            specs[ZERO_MAP] = MapSpec(
                ZERO_MAP, BPF_MAP_TYPE_ARRAY, 4, self.zero_size, 1,
                flags=BPF_F_RDONLY_PROG, freeze=True,
            )  # fmt: skip
        if self.uses_unknown:
            specs[UNKNOWN_MAP] = MapSpec(UNKNOWN_MAP, BPF_MAP_TYPE_ARRAY, 4, 8, 1)
        for name, limit in self.stack_limits.items():
            specs[name] = MapSpec(name, BPF_MAP_TYPE_STACK_TRACE, 4, 8 * limit, 16384)
        return specs


def _default_pages(busy: bool) -> int:
    # 16 MiB hold a burst of 400,000 small events while the reader is busy elsewhere; a script that
    # only prints now and then should not take that memory.
    return 4096 if busy else 64

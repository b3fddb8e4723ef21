"""What a compiled script is: specs for the kernel, and tables that give its bytes their meaning.

:class:`CompiledProgram` is pure data, deterministic and picklable. ``object`` is what
:mod:`bpflens.load` creates in the kernel; everything else tells the session what to attach and how
to read what comes back. No kernel object, no source tree and no function hides in here.

Layout of one event in the ring buffer::

    u32 id        index into CompiledProgram.events
    u32 size      bytes in use of the whole record (strings at the end may be cut short)
    ...           the fields at their offsets

Example::

    compiled = compile_script('BEGIN { printf("%d\\n", 42) }', target)
    compiled.probes[0].kind, compiled.events[0].format     # ('begin', b'%d\\n')
"""

from __future__ import annotations

from bpflens.spec import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bpflens.lang.types import Type
    from bpflens.spec import ObjectSpec

__all__ = [
    "EVENT_HEADER_SIZE",
    "EXIT_MAP",
    "LOST_MAP",
    "RING_MAP",
    "STACK_MAP_PREFIX",
    "CompiledProgram",
    "EventSchema",
    "FieldSchema",
    "MapSchema",
    "ProbeSchema",
]

EVENT_HEADER_SIZE = 8
# Names of the maps that the session looks for; script maps carry their own names ("AT_x" for @x).
RING_MAP = "ringbuf"
LOST_MAP = "event_loss"
# One value of two words: the status that exit() was given, and 1 once it was called.
EXIT_MAP = "exit_state"
STACK_MAP_PREFIX = "stack_"


class FieldSchema(Record):
    """One value of an event: its type and its offset from the start of the record."""

    __slots__ = ("offset", "type")

    def __init__(self, type: Type, offset: int) -> None:
        self.type = type
        self.offset = offset


class EventSchema(Record):
    """What an event means.

    ``action`` is one of: ``printf errorf warnf`` (``format`` and ``fields``), ``print_value``
    (one field), ``print_map`` (``map``; fields: top, div), ``clear zero`` (``map``),
    ``print_map_item`` (``map``; fields: key, value), ``exit`` (field: code), ``time`` and
    ``strftime`` (``format``), ``join`` (``format`` = delimiter; fields), ``system cat`` (``format``
    and fields), ``helper_error`` (fields: return code; ``message`` and ``helper``), ``unwatch``,
    ``runtime_error`` (``message``), ``skboutput``, ``assert``. ``size`` is the largest record in
    bytes, header included. ``place`` is ``(file, line, column, end column, source line)``.
    """

    __slots__ = ("action", "fields", "format", "helper", "map", "message", "place", "size")

    def __init__(
        self,
        action: str,
        fields: Sequence[FieldSchema] = (),
        *,
        size: int = EVENT_HEADER_SIZE,
        format: bytes = b"",
        map: str = "",
        message: str = "",
        helper: str = "",
        place: tuple[str, int, int, int, str] | None = None,
    ) -> None:
        self.action = action
        self.fields = list(fields)
        self.size = size
        self.format = format
        self.map = map
        self.message = message
        self.helper = helper
        self.place = place


class MapSchema(Record):
    """One map of the script: ``name`` with its ``@``, and how keys and values lie in the kernel.

    ``spec`` names the :class:`~bpflens.spec.MapSpec`. ``key`` is None for a scalar map (one entry,
    key u32 0). ``per_cpu`` tells whether a read gives one value for each possible CPU.
    ``set_offset`` >= 0: the byte offset in the value of a u64 that is 1 once a scalar was assigned
    (a fresh or deleted scalar prints nothing). ``short`` names a second map, where there is one,
    with the entries whose text key fits into its smaller keys.
    """

    __slots__ = ("key", "name", "per_cpu", "set_offset", "short", "spec", "value")

    def __init__(
        self,
        name: str,
        key: Type | None,
        value: Type,
        spec: str,
        per_cpu: bool = False,
        set_offset: int = -1,
        short: str = "",
    ) -> None:
        self.name = name
        self.key = key
        self.value = value
        self.spec = spec
        self.per_cpu = per_cpu
        self.set_offset = set_offset
        self.short = short


class ProbeSchema(Record):
    """One thing to attach: which program, to what.

    ``kind`` is the canonical probe type ("tracepoint", "kprobe", "begin"...); ``name`` the full
    probe name as the ``probe`` builtin shows it. ``options`` holds what this kind needs:
    tracepoint system, event; rawtracepoint event; kprobe kretprobe fentry fexit module, function,
    offset, address; uprobe uretprobe path, symbol, offset, address; usdt path, provider, probe;
    profile interval unit, value; software hardware event, count; watchpoint address, length, mode;
    iter iterator, pin; self signal. ``cookie`` is given to the attachment where the kind has one.
    """

    __slots__ = ("cookie", "kind", "name", "options", "program")

    def __init__(
        self,
        kind: str,
        name: str,
        program: str,
        options: Mapping[str, object] | None = None,
        cookie: int = 0,
    ) -> None:
        self.kind = kind
        self.name = name
        self.program = program
        self.options = dict(options or {})
        self.cookie = cookie


class CompiledProgram(Record):
    """A whole compiled script.

    ``probes`` are in declaration order; ``maps`` in order of first use; ``events`` are indexed by
    the id in each record; ``strings`` is a table that values refer to by number (probe names,
    strftime formats, cgroup filters); ``config`` the configuration in force; ``warnings`` the
    rendered warnings of the compilation.
    """

    __slots__ = (
        "config", "events", "maps", "name", "object", "probes", "script", "strings", "warnings",
    )  # fmt: skip

    def __init__(
        self,
        object: ObjectSpec,
        probes: Sequence[ProbeSchema],
        maps: Sequence[MapSchema],
        events: Sequence[EventSchema],
        *,
        strings: Sequence[str] = (),
        config: Mapping[str, object] | None = None,
        warnings: str = "",
        name: str = "stdin",
        script: str = "",
    ) -> None:
        self.object = object
        self.probes = list(probes)
        self.maps = list(maps)
        self.events = list(events)
        self.strings = list(strings)
        self.config = dict(config or {})
        self.warnings = warnings
        self.name = name
        self.script = script

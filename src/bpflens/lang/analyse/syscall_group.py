"""Many tracepoints of system calls as one program: from matches to groups that share code.

``tracepoint:syscalls:sys_enter_*`` meets 360 events, and taking each of them away again costs the
kernel tens of milliseconds. All of them hang at one point of the kernel, the raw tracepoint
``sys_enter`` (or ``sys_exit``): a program there sees the number of the call and the registers, from
which everything in the events' records comes. So the matches of a block become one program with a
table of the numbers it is meant for. Blocks that use fields of ``args`` share a program among the
calls in which those fields lie at the same place and have the same type.

Few matches stay what they are: a raw tracepoint is reached by every system call.

Example::

    groups, rest = split(probe, matches, context, uses)
"""

from __future__ import annotations

from bpflens.lang import nodes as n
from bpflens.lang.number_name import system_calls
from bpflens.lang.types import Pointer, Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from bpflens.lang.analyse.state import Match
    from bpflens.lang.context import Context

__all__ = ["SyscallGroup", "split"]

# As many events as are still attached one by one.
_FEW = 8
# Calls whose events are called by the kernel's own names for them.
_EVENT_NAMES = {
    "stat": "newstat",
    "fstat": "newfstat",
    "lstat": "newlstat",
    "uname": "newuname",
    "sendfile": "sendfile64",
    "umount2": "umount",
}
# The first fields of a record: common ones, and the number of the call.
_NUMBER_OFFSET = 8


class SyscallGroup:
    """Events of one direction (``"enter"`` or ``"exit"``) that share a program.

    ``names`` are the full names of the probes by number of the call; ``args`` the type of ``args``.
    """

    __slots__ = ("args", "direction", "matches", "names")

    def __init__(self, direction: str, args: Pointer | None) -> None:
        self.direction = direction
        self.args = args
        self.matches: list[Match] = []
        self.names: dict[int, str] = {}


def split(
    probe: n.Probe, matches: Sequence[Match], context: Context, uses: set[str]
) -> tuple[list[SyscallGroup], list[Match]]:
    """Divide matches into groups that share a program, and the others."""
    fields = _fields_used(probe) if "args" in uses else set()
    if len(matches) <= _FEW or fields is None or "ctx" in uses or not context.target.has("tp_btf"):
        return [], list(matches)
    numbers = _numbers(context.target.arch)
    groups: dict[tuple[object, ...], SyscallGroup] = {}
    rest: list[Match] = []
    for match in matches:
        system, event = str(match.options["system"]), str(match.options["event"])
        _, direction, call = [*event.split("_", 2), "", ""][:3]
        number = numbers.get(call) if system == "syscalls" else None
        if number is None or direction not in ("enter", "exit"):
            rest.append(match)
            continue
        record = _record(event, context) if fields else None
        key = (direction, *_places(record, fields))
        group = groups.get(key)
        if group is None:
            args = Pointer(record, "ctx") if record is not None else None
            group = groups[key] = SyscallGroup(direction, args)
        group.matches.append(match)
        group.names[number] = match.name
    kept = [group for group in groups.values() if len(group.matches) > _FEW]
    shared = {match.name for group in kept for match in group.matches}
    return kept, [match for match in matches if match.name not in shared]


def _fields_used(probe: n.Probe) -> set[str] | None:
    # The fields of args that a block reads; None if it takes args as a whole.
    fields: set[str] = set()
    bases: set[int] = set()
    everything: list[n.Node] = []
    for node in n.walk(probe):
        if isinstance(node, n.Field) and _is_args(node.base):
            fields.add(node.name)
            bases.add(id(node.base))
        elif _is_args(node):
            everything.append(node)
    return fields if all(id(node) in bases for node in everything) else None


def _is_args(node: n.Node) -> bool:
    return isinstance(node, (n.Identifier, n.Call)) and node.name == "args"


def _numbers(arch: str) -> dict[str, int]:
    names = system_calls(arch)
    return {_EVENT_NAMES.get(name, name): i for i, name in enumerate(names) if name}


def _record(event: str, context: Context) -> Struct | None:
    from bpflens.lang.tracepoint_format import parse_format

    text = context.target.tracepoint_format("syscalls", event)
    return parse_format(text, "syscalls", event, context.named_type) if text else None


def _places(record: Struct | None, fields: set[str]) -> list[object]:
    places: list[object] = []
    for name in sorted(fields):
        field = record.field(name) if record is not None else None
        # A call without the field has a program of its own, whose type check says so.
        place = (field.offset, field.type) if field is not None else None
        if field is not None and field.offset > _NUMBER_OFFSET and field.type.size > 8:
            place = None
        places.append((name, place))
    return places

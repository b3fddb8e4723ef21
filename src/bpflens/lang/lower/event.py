"""Lowering of events: records that go through the ring buffer to user space.

A record is reserved in the ring, its fields are written straight into it, and it is submitted.
Where the ring is full, the event is counted in this CPU's loss counter, so that what user space
reports is exact.
"""

from __future__ import annotations

from bpflens.lang.lower.function import Ref
from bpflens.lang.program import LOST_MAP, RING_MAP
from bpflens.lang.types import INT64, Type
from bpflens.uapi.bpf import (
    BPF_FUNC_map_lookup_elem,
    BPF_FUNC_ringbuf_reserve,
    BPF_FUNC_ringbuf_submit,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bpflens.lang import nodes as n
    from bpflens.lang.ir.ops import Value
    from bpflens.lang.lower.function import FunctionLowering

    # Writes one field at its place in the record.
    Writer = Callable[[Ref], None]

# Kinds of probes that fire a few times a second at most, and events that are results of a script.
_RARE = frozenset(("begin", "end", "interval", "self", "test", "bench"))
_RESULTS = frozenset(("printf", "print_value", "join", "time", "cat", "system"))

__all__ = ["emit", "emit_nodes", "helper_error"]


def emit(
    f: FunctionLowering,
    action: str,
    fields: Sequence[tuple[Type, Writer]],
    exact: bool = False,
    **extra: object,
) -> None:
    """Send one event whose fields are written by the given writers.

    Strings are not padded with zeroes unless ``exact``, which a map's key has to be.
    """
    if f.variant.kind not in _RARE and action in _RESULTS:
        f.resources.busy = True
    number, schema = f.resources.event(action, [kind for kind, _ in fields], **extra)
    record = f.b.call(BPF_FUNC_ringbuf_reserve, f.b.map_fd(RING_MAP), schema.size, 0)
    have, lost, done = f.block("reserved"), f.block("lost", cold=True), f.block("sent")
    f.b.branch("ne", record, 0, have, lost)
    f.b.set_block(lost)
    _count_lost(f)
    f.b.jump(done)
    f.b.set_block(have)
    f.b.store(record, 0, number | schema.size << 32, 8)
    for (_, write), field in zip(fields, schema.fields, strict=True):
        write(Ref(record, field.offset, loose=not exact))
    f.b.call(BPF_FUNC_ringbuf_submit, record, 0)
    f.b.jump(done)
    f.b.set_block(done)


def emit_nodes(
    f: FunctionLowering,
    action: str,
    nodes: Sequence[n.Node],
    types: Sequence[Type],
    exact: bool = False,
    **extra: object,
) -> None:
    """Send one event whose fields are the values of expressions."""

    def writer(node: n.Node, kind: Type) -> Writer:
        return lambda place: f.store(node, place, kind)

    fields = [(t, writer(node, t)) for node, t in zip(nodes, types, strict=True)]
    emit(f, action, fields, exact, **extra)


def helper_error(
    f: FunctionLowering, node: n.Node, message: str, helper: str, status: Value
) -> None:
    """Report that a helper failed at a place of the script."""
    emit(
        f,
        "helper_error",
        [(INT64, lambda place: f.b.store(place.base, place.off, status, 8))],
        message=message,
        helper=helper,
        place=f.resources.place(node),
    )


def _count_lost(f: FunctionLowering) -> None:
    key = f.fn.slot(4, 4, "lost_key")
    f.b.store(key, 0, 0, 4)
    counter = f.b.call(BPF_FUNC_map_lookup_elem, f.b.map_fd(LOST_MAP), f.b.slot_addr(key))
    count, counted = f.block("count_lost", cold=True), f.block("counted", cold=True)
    f.b.branch("ne", counter, 0, count, counted)
    f.b.set_block(count)
    f.b.store(counter, 0, f.b.alu("add", f.b.load(counter, 0, 8), 1), 8)
    f.b.jump(counted)
    f.b.set_block(counted)

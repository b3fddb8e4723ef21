"""``--follow``: a script that also sees what the traced process starts.

The script gets a map of the processes that count, filled by the traced process and by every fork
of one that is in it; the blocks of the script run only in these. It is all said in the language
itself, so that no other part knows of it.
"""

from __future__ import annotations

from bpflens.lang import nodes as n
from bpflens.lang.attach_point import kind_of
from bpflens.lang.parser import parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.lang.context import Context

__all__ = ["inject"]

_MAP = "@__followed"
_FRAGMENT = """\
begin {{ {map}[{pid}] = 1; }}
rawtracepoint:sched_process_fork {{
  if (has_key({map}, (uint64)args.parent.tgid)) {{ {map}[(uint64)args.child.tgid] = 1; }}
}}
rawtracepoint:sched_process_exit {{
  if (args.p.tgid == args.p.pid && has_key({map}, (uint64)args.p.tgid)) {{
    _ = delete({map}, (uint64)args.p.tgid);
  }}
}}
end {{ clear({map}); }}
"""
_CONDITION = "begin /has_key({map}, (uint64)pid)/ {{ }}"
# Blocks that belong to no process.
_APART = frozenset(("begin", "end", "interval", "self", "test", "bench", "iter"))


def inject(tree: n.Program, context: Context, pid: int) -> None:
    """Let the blocks of a script run in a process and its descendants only."""
    for item in tree.items:
        if isinstance(item, n.Probe) and not _is_apart(item):
            condition = _condition(context)
            if item.predicate is not None:
                condition = n.Binary("&&", condition, item.predicate, item.start, item.end)
            item.predicate = condition
    text = _FRAGMENT.format(map=_MAP, pid=pid)
    fragment = parse(context.sources.add("--follow", text), context.diagnostics)
    tree.items = [*fragment.items, *tree.items]


def _is_apart(probe: n.Probe) -> bool:
    kinds = {kind_of(point.text.partition(":")[0]) for point in probe.attach_points}
    return kinds <= _APART


def _condition(context: Context) -> n.Expr:
    source = context.sources.add("--follow", _CONDITION.format(map=_MAP))
    probe = parse(source, context.diagnostics).items[0]
    assert isinstance(probe, n.Probe)
    assert probe.predicate is not None
    return probe.predicate

"""Functions on cgroups and times: ``cgroupid cgroup_path strftime``."""

from __future__ import annotations

from bpflens.lang import nodes as n
from bpflens.lang.call import CallRule, count_arguments, literal_text
from bpflens.lang.call.symbol import in_buffer
from bpflens.lang.types import UINT64, CgroupPath, Enum, Int, Timestamp, Type

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.lang.analyse.checker import Checker
    from bpflens.lang.ir.ops import Value
    from bpflens.lang.lower.function import FunctionLowering, Ref

__all__ = ["CALLS"]

# What the second word of a timestamp says of its clock.
_CLOCKS = {"monotonic": 0, "boot": 1, "tai": 2, "sw_tai": 2}


def _check_cgroupid(c: Checker, node: n.Call) -> Type | None:
    if not count_arguments(c, node, 1):
        return UINT64
    path = literal_text(c, node, 0)
    if path is not None and c.target.cgroup_id(path) is None:
        c.error(
            node,
            "cgroup",
            f'Failed to get `cgroupid` for path: "{path}"',
            "It has to be a directory of cgroup2, e.g. /sys/fs/cgroup/system.slice.",
        )
    return UINT64


def _lower_cgroupid(f: FunctionLowering, node: n.Call) -> Value:
    path = node.args[0]
    assert isinstance(path, n.String)
    found = f.context.target.cgroup_id(path.value.decode("utf-8", "surrogateescape"))
    assert found is not None
    return f.b.const(found)


def _check_path(c: Checker, node: n.Call) -> Type | None:
    if count_arguments(c, node, 1, 2):
        found = c.type(node.args[0])
        if found is not None and not isinstance(found, (Int, Enum)):
            c.error(
                node,
                "arguments",
                f"cgroup_path() only supports int arguments ({found.name} provided)",
            )
        if len(node.args) == 2:
            literal_text(c, node, 1)
    return CgroupPath()


def _write_path(f: FunctionLowering, node: n.Node, place: Ref, wanted: Type) -> None:
    assert isinstance(node, n.Call)
    pattern = node.args[1] if len(node.args) == 2 else n.String(b"*")
    assert isinstance(pattern, n.String)
    number = f.resources.string(pattern.value.decode("utf-8", "surrogateescape"))
    f.b.store(place.base, place.off, f.value(node.args[0]), 8)
    f.b.store(place.base, place.off + 8, number, 8)


def _clock(node: n.Node) -> str:
    if isinstance(node, n.Call) and node.name == "nsecs" and node.args:
        mode = node.args[0]
        return mode.name if isinstance(mode, n.Identifier) else "boot"
    return "boot"


def _check_strftime(c: Checker, node: n.Call) -> Type | None:
    if not count_arguments(c, node, 2):
        return Timestamp()
    literal_text(c, node, 0)
    when = node.args[1]
    found = c.type(when)
    if found is not None and not isinstance(found, Int):
        c.error(
            node, "arguments", f"strftime() only supports int arguments ({found.name} provided)"
        )
    if _clock(when) == "monotonic":
        c.error(node, "clock", "strftime() can not take a monotonic timestamp")
    negative = isinstance(when, n.Unary) and when.op == "-" and isinstance(when.operand, n.Integer)
    if negative or (isinstance(when, n.Integer) and when.value < 0):
        c.error(node, "clock", "strftime() does not accept negative timestamps")
    return Timestamp()


def _write_strftime(f: FunctionLowering, node: n.Node, place: Ref, wanted: Type) -> None:
    assert isinstance(node, n.Call)
    format, when = node.args
    assert isinstance(format, n.String)
    number = f.resources.string(format.value.decode("utf-8", "surrogateescape"))
    f.b.store(place.base, place.off, f.value(when), 8)
    f.b.store(place.base, place.off + 8, _CLOCKS[_clock(when)] | number << 32, 8)


CALLS: dict[str, CallRule] = {
    "cgroupid": CallRule(_check_cgroupid, _lower_cgroupid),
    "cgroup_path": CallRule(_check_path, in_buffer, _write_path),
    "strftime": CallRule(_check_strftime, in_buffer, _write_strftime),
}

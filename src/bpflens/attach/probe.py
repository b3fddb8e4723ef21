"""From a probe kind and its options to the class that attaches it.

The kinds and options are those of a compiled script (``ProbeSchema.kind`` and ``.options`` of
:mod:`bpflens.lang.program`), in plain values, so that an exporter or a user of the Python API can
say the same. What needs no attachment (``begin``, ``end``, ``self``) is not known here. Many places
of one program are tied by one link: ``functions`` (names) of a kprobe, ``places`` (file offsets)
of a uprobe, each with ``cookies`` where they differ.

Example::

    probe = make("uprobe", {"path": "/bin/bash", "symbol": "readline"})
    probe.attach(program, cookie=1)
"""

from __future__ import annotations

from bpflens.errors import AttachError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bpflens.attach.attachment import Probe

    Options = Mapping[str, object]

__all__ = ["KINDS", "make"]


def make(kind: str, options: Options, *, pid: int = 0) -> Probe:
    """Return what attaches a probe of this kind; ``pid`` narrows the kinds that can be narrowed.

    Raises :class:`~bpflens.errors.AttachError` for a kind that cannot be attached.
    """
    maker = KINDS.get(kind)
    if maker is None:
        raise AttachError(kind, "no such kind of probe", sorted(KINDS))
    return maker(kind, options, pid)


def _text(options: Options, name: str) -> str:
    value = options.get(name, "")
    return value.decode() if isinstance(value, bytes) else str(value or "")


def _number(options: Options, name: str) -> int:
    value = options.get(name, 0)
    return value if isinstance(value, int) else int(str(value or 0), 0)


def _numbers(options: Options, name: str) -> list[int]:
    value = options.get(name)
    return [int(one) for one in value] if isinstance(value, list | tuple) else []


def _tracepoint(kind: str, options: Options, pid: int) -> Probe:
    from bpflens.attach.tracepoint import Tracepoint

    return Tracepoint(_text(options, "system"), _text(options, "event"))


def _raw_tracepoint(kind: str, options: Options, pid: int) -> Probe:
    from bpflens.attach.raw_tracepoint import RawTracepoint

    return RawTracepoint(_text(options, "event"))


def _timer(kind: str, options: Options, pid: int) -> Probe:
    from bpflens.attach.timer import Timer

    return Timer(kind, _text(options, "unit"), _number(options, "value"))


def _perf_event(kind: str, options: Options, pid: int) -> Probe:
    from bpflens.attach.perf_event import PerfEvent

    return PerfEvent(kind, _text(options, "event"), _number(options, "count"), pid=pid)


def _uprobe(kind: str, options: Options, pid: int) -> Probe:
    from bpflens.attach.uprobe import Uprobe, UprobeMulti

    if options.get("places"):
        return UprobeMulti(
            _text(options, "path"),
            _numbers(options, "places"),
            cookies=_numbers(options, "cookies"),
            retprobe=kind == "uretprobe",
            pid=pid,
        )
    return Uprobe(
        _text(options, "path"),
        symbol=_text(options, "symbol"),
        offset=_number(options, "offset"),
        address=_number(options, "address"),
        retprobe=kind == "uretprobe",
        pid=pid,
    )


def _kprobe(kind: str, options: Options, pid: int) -> Probe:
    from bpflens.attach.kprobe import Kprobe, KprobeMulti

    functions = options.get("functions")
    if isinstance(functions, list | tuple):
        return KprobeMulti(
            [str(name) for name in functions],
            cookies=_numbers(options, "cookies"),
            retprobe=kind == "kretprobe",
        )
    return Kprobe(
        _text(options, "function"),
        offset=_number(options, "offset"),
        address=_number(options, "address"),
        module=_text(options, "module"),
        retprobe=kind == "kretprobe",
    )


def _tracing(kind: str, options: Options, pid: int) -> Probe:
    from bpflens.attach.tracing import Tracing
    from bpflens.uapi.bpf import BPF_LSM_MAC, BPF_TRACE_FENTRY, BPF_TRACE_FEXIT, BPF_TRACE_RAW_TP

    types = {
        "fentry": BPF_TRACE_FENTRY,
        "fexit": BPF_TRACE_FEXIT,
        "lsm": BPF_LSM_MAC,
        "tp_btf": BPF_TRACE_RAW_TP,
    }
    module = _text(options, "module")
    where = _text(options, "function") or _text(options, "event")
    return Tracing(f"{kind}:{module}:{where}" if module else f"{kind}:{where}", types[kind])


def _usdt(kind: str, options: Options, pid: int) -> Probe:
    from bpflens.attach.usdt import Usdt

    return Usdt(
        _text(options, "path"),
        _text(options, "provider"),
        _text(options, "probe"),
        pid=pid,
        cookies=_numbers(options, "cookies"),
    )


def _watchpoint(kind: str, options: Options, pid: int) -> Probe:
    from bpflens.attach.watchpoint import Watchpoint

    return Watchpoint(
        _number(options, "address"), _number(options, "length"), _text(options, "mode"), pid=pid
    )


def _iterator(kind: str, options: Options, pid: int) -> Probe:
    from bpflens.attach.iterator import Iterator

    return Iterator(_text(options, "iterator"), pid=pid)


#: How each kind is made: ``KINDS[kind](kind, options, pid)``.
KINDS: dict[str, Callable[[str, Options, int], Probe]] = {
    "tracepoint": _tracepoint,
    "rawtracepoint": _raw_tracepoint,
    "profile": _timer,
    "interval": _timer,
    "software": _perf_event,
    "hardware": _perf_event,
    "uprobe": _uprobe,
    "uretprobe": _uprobe,
    "usdt": _usdt,
    "kprobe": _kprobe,
    "kretprobe": _kprobe,
    "fentry": _tracing,
    "fexit": _tracing,
    "lsm": _tracing,
    "tp_btf": _tracing,
    "watchpoint": _watchpoint,
    "iter": _iterator,
}

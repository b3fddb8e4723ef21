"""What attach points mean, and what is said about wrong ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpflens.lang.attach_point import ALIASES, KINDS, Parameters, kind_of, parse
from bpflens.lang.diagnostic import Diagnostics
from bpflens.lang.nodes import AttachPoint


def read(text, params=(), **how):
    diagnostics = Diagnostics()
    specs = parse(AttachPoint(text, "", 3, 3 + len(text)), diagnostics, params, **how)
    return specs, [item.message for item in diagnostics]


def one(text, params=(), **how):
    specs, complaints = read(text, params, **how)
    assert complaints == []
    (spec,) = specs
    return spec.kind, spec.options


def complaint(text, **how):
    specs, complaints = read(text, **how)
    assert specs == []
    (message,) = complaints
    return message


@pytest.mark.parametrize(
    ("text", "kind", "options"),
    [
        ("BEGIN", "begin", {}),
        ("begin:*", "begin", {}),
        ("END", "end", {}),
        ("self:signal:SIGUSR1", "self", {"signal": "SIGUSR1"}),
        ("test:x", "test", {"probe": "x"}),
        ("BENCH:x", "bench", {"probe": "x"}),
        ("kprobe:f", "kprobe", {"function": "f"}),
        ("k:xfs:f", "kprobe", {"module": "xfs", "function": "f"}),
        ("Kprobe:f+0x10", "kprobe", {"function": "f", "offset": 16}),
        ("kprobe:vfs_*", "kprobe", {"function": "vfs_*"}),
        ("kr:f", "kretprobe", {"function": "f"}),
        ("kfunc:f", "fentry", {"function": "f"}),
        ("f:tcp:f", "fentry", {"module": "tcp", "function": "f"}),
        ("fentry:bpf:prog", "fentry", {"module": "bpf", "function": "prog"}),
        ("fr:bpf:17:prog", "fexit", {"module": "bpf", "function": "prog", "program_id": 17}),
        ("fentry:bpf:*:prog", "fentry", {"module": "bpf", "function": "prog"}),
        ("kretfunc:f", "fexit", {"function": "f"}),
        ("u:/bin/sh:f", "uprobe", {"path": "/bin/sh", "symbol": "f"}),
        ("u:/bin/sh:f+1", "uprobe", {"path": "/bin/sh", "symbol": "f", "offset": 1}),
        ("u:/bin/sh:0x1234", "uprobe", {"path": "/bin/sh", "address": 0x1234}),
        ("u:libc:malloc", "uprobe", {"path": "libc", "symbol": "malloc"}),
        (
            'u:./x:cpp:"ns::f(int)"',
            "uprobe",
            {"path": "./x", "language": "cpp", "symbol": "ns::f(int)"},
        ),
        ("u:./x@a.c:12", "uprobe", {"path": "./x", "source_file": "a.c", "line": 12}),
        (
            "u:./x@a.c:12:3",
            "uprobe",
            {"path": "./x", "source_file": "a.c", "line": 12, "column": 3},
        ),
        ("ur:/bin/sh:f", "uretprobe", {"path": "/bin/sh", "symbol": "f"}),
        ("U:./x:p", "usdt", {"path": "./x", "probe": "p"}),
        ("usdt:./x:ns:p", "usdt", {"path": "./x", "provider": "ns", "probe": "p"}),
        ("t:sched:sched_switch", "tracepoint", {"system": "sched", "event": "sched_switch"}),
        ("tracepoint:*open*", "tracepoint", {"system": "*", "event": "*open*"}),
        ("rt:sched_switch", "rawtracepoint", {"event": "sched_switch"}),
        ("rt:vmlinux:x", "rawtracepoint", {"module": "vmlinux", "event": "x"}),
        ("p:hz:99", "profile", {"unit": "hz", "value": 99}),
        ("profile:10ms", "profile", {"unit": "us", "value": 10_000}),
        ("interval:1000", "interval", {"unit": "us", "value": 1}),
        ("i:s:1e3", "interval", {"unit": "s", "value": 1000}),
        ("s:cs:1_000", "software", {"event": "cs", "count": 1000}),
        ("s:faults", "software", {"event": "faults"}),
        ("h:cycles:*", "hardware", {"event": "cycles"}),
        ("w:0x1000:8:wr", "watchpoint", {"address": 0x1000, "length": 8, "mode": "rw"}),
        ("it:task", "iter", {"iterator": "task"}),
        ("iter:task:list", "iter", {"iterator": "task", "pin": "list"}),
    ],
)
def test_form(text, kind, options):
    assert one(text) == (kind, options)


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("kprobe:$1", {"function": "a"}),
        ("kprobe:$2:$1", {"module": "b:c", "function": "a"}),
        ('kprobe:"$1"', {"function": "$1"}),
        ("kprobe:x$1y", {"function": "xay"}),
        ("kprobe:f_$#", {"function": "f_3"}),
        ("kprobe:$9f", {"function": "f"}),
        ("kprobe:$3", {"function": "$1"}),
    ],
)
def test_positional_parameter(text, options):
    if ":" in str(options.get("module", "")):
        options = {"module": "b", "function": "c"}
        text = "kprobe:$2"
    assert one(text, ["a", "b:c", "$1"])[1] == options


def test_named_parameter():
    parameters = Parameters([], {"container_pid": "42"})
    _, options = one("u:/proc/$container_pid/exe:main", parameters)
    assert options["path"] == "/proc/42/exe"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("asdf", "Invalid probe type: asdf"),
        (":f", "No attach points for probe"),
        ("zzz*:f", "No probe type matched for zzz*"),
        ("begin:f", "begin probe type requires 0 arguments, found 1"),
        ("self:signal:SIGHUP", "SIGHUP is not a supported signal"),
        ("self:timer:SIGUSR1", "timer is not a supported trigger"),
        ("test", "test probe type requires 1 arguments, found 0"),
        ("kprobe", "kprobe probe type requires 1 or 2 arguments, found 0"),
        ("k:a:b:c", "kprobe probe type requires 1 or 2 arguments, found 3"),
        ("kr:f+1", "Offset not allowed"),
        ("k:f+1+2", "Cannot take more than one offset"),
        ("k:f+", "Invalid offset"),
        ("k:f+x", "Invalid offset: invalid integer: x"),
        ("k:0xffff", "Probing by address requires --unsafe"),
        ("k:", "kprobes should be attached to a function or an address"),
        ("f:a:b:c", "Only the 'bpf' variant of this probe supports 4 arguments"),
        ("f:bpf:x:y", "bpf program id must be a number or '*'"),
        ("uprobe:f", "uprobe probe type requires 2 or 3 arguments, found 1"),
        ("u::f", "uprobe should have a target"),
        ("u:./x:rust:f", "unsupported language type: rust"),
        ("u:./x*:0x10", "Cannot use wildcards with absolute address"),
        ("ur:./x:f+1", "Offset not allowed"),
        ("ur:./x@a.c:1", "Source code location not allowed"),
        ("u:./*@a.c:1", "Cannot use wildcards with source code location"),
        ("u:./x@a.c:b", "Invalid line number: invalid integer: b"),
        ("U", "usdt probe type requires 2 or 3 arguments, found 0"),
        ("t:open", "tracepoint probe type requires 2 arguments, found 1"),
        ("rt", "rawtracepoint probe type requires 2 or 1 arguments, found 0"),
        ("profile:ms:nan", "Invalid rate of profile probe: invalid integer: nan"),
        (
            "interval:10",
            "Invalid rate of interval probe. Minimum is 1000 or 1us. Found: 10 nanoseconds",
        ),
        ("p:min:1", "min is not an accepted unit of time"),
        ("p:hz:0", "profile frequency should be a positive integer"),
        ("s:cycles", "cycles is not a software probe"),
        ("h:cycle", "cycle is not a hardware probe"),
        ("s:*", "wildcards are not allowed for software probe type"),
        ("s:faults:1b", "Invalid count for software probe: invalid trailing bytes: 1b"),
        ("w:0:8:w", "watchpoint must be attached to a non-zero address"),
        ("w:1:3:w", "watchpoint length must be one of (1,2,4,8)"),
        ("w:1:8:q", "watchpoint mode must be combination of (r,w,x)"),
        ("w:1:8:ww", "watchpoint modes may not be duplicated"),
        ("w:1:8:r", "invalid watchpoint mode: r"),
        ("it:t*", "iter probe type does not support wildcards"),
        (
            "k:$0",
            "invalid trailing character for positional param: 0. Try quoting this entire part "
            'if this is intentional e.g. "$0".',
        ),
    ],
)
def test_complaint(text, message):
    assert complaint(text) == message


def test_complaint_has_a_place_and_a_hint():
    diagnostics = Diagnostics()
    parse(AttachPoint("kprobes:f", "", 3, 12), diagnostics)
    (item,) = diagnostics
    assert (item.start, item.end, item.hints) == (3, 12, ["Did you mean 'kprobe'?"])


def test_address_with_unsafe():
    assert one("k:0xffff", unsafe=True) == ("kprobe", {"address": 0xFFFF})


def test_file_may_be_left_out_with_a_process():
    assert one("u:f", pid=1) == ("uprobe", {"path": "", "symbol": "f"})
    assert one("U:p", pid=1) == ("usdt", {"path": "", "probe": "p"})
    assert one("u:cpp:f", pid=1)[1]["language"] == "cpp"


def test_watch_modes_depend_on_the_machine():
    assert one("w:1:8:r", arch="aarch64")[1]["mode"] == "r"


def test_pattern_as_probe_type():
    specs, complaints = read("*:vfs_read")
    assert complaints == []
    assert [spec.kind for spec in specs] == ["fentry", "iter", "kprobe", "rawtracepoint"]
    assert all(spec.optional for spec in specs)
    specs, _ = read("*:/bin/sh:f")
    assert [spec.kind for spec in specs] == ["uprobe", "usdt"]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("BEGIN", "begin"),
        ("k:f+0x10", "kprobe:f+16"),
        ("k:xfs:f", "kprobe:xfs:f"),
        ("u:/bin/sh:cpp:f", "uprobe:/bin/sh:cpp:f"),
        ("u:/bin/sh:0x10", "uprobe:/bin/sh:16"),
        ("U:./x:ns:p", "usdt:./x:ns:p"),
        ("t:a:b", "tracepoint:a:b"),
        ("i:s:1", "interval:s:1"),
        ("s:cs:5", "software:cs:5"),
        ("w:16:8:w", "watchpoint:16:8:w"),
        ("fentry:bpf:3:p", "fentry:bpf:3:p"),
    ],
)
def test_full_name(text, name):
    (spec,), _ = read(text)
    assert spec.full_name() == name


def test_full_name_of_a_match():
    (spec,), _ = read("k:vfs_*")
    assert spec.has_wildcard
    assert spec.full_name(function="vfs_read") == "kprobe:vfs_read"


def test_name_given_by_the_script_wins():
    (spec,) = parse(AttachPoint("k:f", "mine"), Diagnostics())
    assert spec.full_name() == "mine"


def test_kinds_by_any_name():
    assert kind_of("U") == "usdt"
    assert kind_of("u") == "uprobe"
    assert kind_of("KPROBE") == "kprobe"
    assert kind_of("nothing") == ""
    assert set(ALIASES.values()) <= set(KINDS)


@given(st.text(), st.lists(st.text(max_size=8), max_size=3), st.integers(0, 1))
def test_never_raises(text, params, pid):
    read(text, params, pid=pid)


@given(st.lists(st.sampled_from([*KINDS, *ALIASES, ":", "::", "*", "@", "$1", '"', "1", "f", "+"])))
def test_never_raises_on_its_own_words(pieces):
    read("".join(pieces), ["x:y"])

"""Suggestions of probes that exist where others do not."""

from __future__ import annotations

import pytest

from bpflens.session import suggest

EVENTS = {
    "syscalls": [
        f"sys_{way}_{call}"
        for way in ("enter", "exit")
        for call in ("open", "openat", "openat2", "read", "pread64", "mkdirat", "connect")
    ],
    "sched": ["sched_switch", "sched_wakeup", "sched_process_exit"],
    "sock": ["inet_sock_set_state"],
    "tcp": ["tcp_retransmit_skb"],
    "writeback": ["writeback_dirty_inode", "writeback_start"],
}


@pytest.fixture(autouse=True)
def events(monkeypatch):
    monkeypatch.setattr(suggest.tracefs, "systems", lambda: sorted(EVENTS))
    monkeypatch.setattr(suggest.tracefs, "events", lambda system: EVENTS.get(system, []))
    monkeypatch.setattr(
        suggest.tracefs, "is_event", lambda system, name: name in EVENTS.get(system, [])
    )


@pytest.mark.parametrize(
    ("kind", "function", "expected"),
    [
        ("kprobe", "do_sys_open", ["sys_enter_openat", "sys_enter_open", "sys_enter_openat2"]),
        ("kretprobe", "do_sys_open", ["sys_exit_openat", "sys_exit_open", "sys_exit_openat2"]),
        ("kprobe", "vfs_read", ["sys_enter_read", "sys_enter_pread64"]),
        ("kprobe", "__x64_sys_mkdirat", ["sys_enter_mkdirat"]),
        ("fentry", "schedule", ["sched_switch"]),
        ("kprobe", "do_exit", ["sched_process_exit"]),
        ("kprobe", "tcp_retransmit_skb", ["tcp_retransmit_skb"]),
        ("kprobe", "tcp_v4_connect", ["inet_sock_set_state", "sys_enter_connect"]),
        ("kprobe", "__writeback_dirty_it", ["writeback_dirty_inode"]),
        ("kprobe", "qqq", []),
    ],
)
def test_nearest_of_a_function(kind, function, expected):
    found = [name.rsplit(":", 1)[1] for name in suggest.nearest(kind, [function])]
    assert found[: len(expected)] == expected
    assert bool(found) == bool(expected)


def test_several_functions_add_up():
    found = suggest.nearest("kprobe", ["do_exit", "schedule"])
    assert found == ["tracepoint:sched:sched_process_exit", "tracepoint:sched:sched_switch"]


def test_hints_say_how_to_read_the_arguments():
    hints = suggest.hints("kprobe", ["do_exit"])
    assert hints[0] == "the nearest that exist here: tracepoint:sched:sched_process_exit"
    assert "-lv" in hints[1]

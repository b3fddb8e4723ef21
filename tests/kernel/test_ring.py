"""Ring and perf buffers of the running kernel: what a program sends is what a reader gets."""

from __future__ import annotations

import os
import struct
import threading
import time
from types import SimpleNamespace

import pytest

from bpflens.asm import instruction as i
from bpflens.kernel import bpf
from bpflens.ring.buffer import RingBuffer
from bpflens.ring.perf_buffer import PerfBuffer
from bpflens.ring.poller import Poller
from bpflens.ring.record import payloads
from bpflens.uapi import bpf as k

pytestmark = pytest.mark.kernel

_STORE = 0x18  # BPF_DW
NO_WAKEUP = 1
PACKET = bytes(64)


@pytest.fixture
def cleanup():
    from contextlib import ExitStack

    with ExitStack() as stack:
        yield stack


def _map(cleanup, type, entries):
    sizes = (0, 0) if type == k.BPF_MAP_TYPE_RINGBUF else (4, 4)
    fd = bpf.map_create(type, *sizes, entries, name="events")
    cleanup.callback(os.close, fd)
    return SimpleNamespace(fd=fd)


def _load(cleanup, insns):
    fd = bpf.prog_load(k.BPF_PROG_TYPE_SOCKET_FILTER, i.encode(insns))
    cleanup.callback(os.close, fd)
    return fd


def _ring_sender(cleanup, map, size=24, flags=0):
    """A program that sends `size` bytes, a running number from the clock in front."""
    return _load(
        cleanup,
        [
            i.call_helper(k.BPF_FUNC_ktime_get_ns),
            *[i.st(_STORE, 10, -at, 7) for at in range(8, 72, 8)],
            i.stx(_STORE, 10, -64, 0),
            i.ld_imm64(1, map.fd, k.BPF_PSEUDO_MAP_FD),
            i.mov64_reg(2, 10),
            i.alu64_imm(k.BPF_ADD, 2, -64),
            i.mov64_imm(3, size),
            i.mov64_imm(4, flags),
            i.call_helper(k.BPF_FUNC_ringbuf_output),
            i.mov64_imm(0, 0),
            i.exit_(),
        ],
    )


def _perf_sender(cleanup, map, size=20):
    return _load(
        cleanup,
        [
            i.mov64_reg(6, 1),
            i.call_helper(k.BPF_FUNC_ktime_get_ns),
            *[i.st(_STORE, 10, -at, 7) for at in range(8, 72, 8)],
            i.stx(_STORE, 10, -64, 0),
            i.mov64_reg(1, 6),
            i.ld_imm64(2, map.fd, k.BPF_PSEUDO_MAP_FD),
            i.mov32_imm(3, 0xFFFFFFFF),
            i.mov64_reg(4, 10),
            i.alu64_imm(k.BPF_ADD, 4, -64),
            i.mov64_imm(5, size),
            i.call_helper(k.BPF_FUNC_perf_event_output),
            i.mov64_imm(0, 0),
            i.exit_(),
        ],
    )


def _run(prog, times):
    bpf.prog_test_run(prog, data=PACKET, repeat=times)


class _Sink:
    def __init__(self, header):
        self.header = header
        self.values = []
        self.blocks = 0

    def __call__(self, block, size, count):
        self.blocks += 1
        self.values += [bytes(part) for part in payloads(block, size, count, self.header)]

    def times(self):
        return [struct.unpack_from("=Q", value)[0] for value in self.values]


def test_ring_hands_out_every_record_in_order(cleanup):
    map = _map(cleanup, k.BPF_MAP_TYPE_RINGBUF, 1 << 16)
    sender = _ring_sender(cleanup, map)
    with RingBuffer(map) as ring:
        sink = _Sink(ring.header)
        _run(sender, 500)
        assert ring.drain(sink) == 500
        assert ring.drain(sink) == 0
    assert {len(value) for value in sink.values} == {24}
    assert sink.times() == sorted(sink.times())
    assert len(set(sink.times())) > 490
    assert sink.blocks < 10


def test_ring_wraps_many_times(cleanup):
    map = _map(cleanup, k.BPF_MAP_TYPE_RINGBUF, 4096)
    senders = [_ring_sender(cleanup, map, size) for size in (24, 9, 40)]
    with RingBuffer(map) as ring:
        sink = _Sink(ring.header)
        for lap in range(150):
            _run(senders[lap % 3], 30)
            assert ring.drain(sink) == 30
        assert ring.tally.passed > 20 * 4096
    assert sink.times() == sorted(sink.times())
    assert all(value[8:16] in (b"\7" + bytes(7), b"\7") for value in sink.values)


def test_reader_that_comes_later_goes_on_where_the_first_stopped(cleanup):
    map = _map(cleanup, k.BPF_MAP_TYPE_RINGBUF, 4096)
    sender = _ring_sender(cleanup, map)
    with RingBuffer(map) as ring:
        _run(sender, 10)
        ring.drain(_Sink(8))
    _run(sender, 3)
    with RingBuffer(map) as ring:
        assert ring.drain(_Sink(8)) == 3


def test_full_ring_refuses_and_takes_again_after_draining(cleanup):
    map = _map(cleanup, k.BPF_MAP_TYPE_RINGBUF, 4096)
    sender = _ring_sender(cleanup, map)
    with RingBuffer(map, dropped=lambda: 77) as ring:
        _run(sender, 1000)
        sink = _Sink(ring.header)
        first = ring.drain(sink)
        assert first in (127, 128)
        _run(sender, 5)
        assert ring.drain(sink) == 5
        assert ring.lost == 77


def test_uncommitted_record_is_waited_for_and_discarded_one_passed_over(cleanup):
    map = _map(cleanup, k.BPF_MAP_TYPE_RINGBUF, 4096)

    def reserve(finish):
        return _load(
            cleanup,
            [
                i.ld_imm64(1, map.fd, k.BPF_PSEUDO_MAP_FD),
                i.mov64_imm(2, 16),
                i.mov64_imm(3, 0),
                i.call_helper(k.BPF_FUNC_ringbuf_reserve),
                i.jmp_imm(k.BPF_JEQ, 0, 0, 4),
                i.st(_STORE, 0, 0, 99),
                i.mov64_reg(1, 0),
                i.mov64_imm(2, 0),
                i.call_helper(finish),
                i.mov64_imm(0, 0),
                i.exit_(),
            ],
        )

    with RingBuffer(map) as ring:
        sink = _Sink(ring.header)
        _run(reserve(k.BPF_FUNC_ringbuf_discard), 3)
        _run(reserve(k.BPF_FUNC_ringbuf_submit), 2)
        assert ring.drain(sink) == 2
        assert ring.tally.discarded == 3
    assert [value[0] for value in sink.values] == [99, 99]


def test_handler_that_raises_does_not_get_its_block_again(cleanup):
    map = _map(cleanup, k.BPF_MAP_TYPE_RINGBUF, 4096)
    small, large = _ring_sender(cleanup, map, 8), _ring_sender(cleanup, map, 16)
    with RingBuffer(map) as ring:
        _run(small, 4)
        _run(large, 5)

        def stop(block, size, count):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            ring.drain(stop)
        sink = _Sink(ring.header)
        assert ring.drain(sink) == 5


def test_wait_ends_when_an_event_comes_and_when_time_is_up(cleanup):
    map = _map(cleanup, k.BPF_MAP_TYPE_RINGBUF, 4096)
    sender = _ring_sender(cleanup, map)
    with RingBuffer(map) as ring:
        before = time.monotonic()
        assert not ring.wait(20)
        assert time.monotonic() - before >= 0.02
        threading.Timer(0.05, _run, (sender, 1)).start()
        assert ring.wait(5000)
        assert time.monotonic() - before < 4
        assert ring.drain(_Sink(8)) == 1


def test_reader_that_nobody_wakes_looks_by_the_clock(cleanup):
    map = _map(cleanup, k.BPF_MAP_TYPE_RINGBUF, 4096)
    sender = _ring_sender(cleanup, map, flags=NO_WAKEUP)
    with RingBuffer(map) as ring, Poller([ring], interval_ms=20) as poller:
        timer = threading.Timer(0.05, _run, (sender, 1))
        timer.start()
        got = 0
        for _ in range(50):
            assert poller.wait(10_000)
            got += poller.drain(_Sink(8))
            if got:
                break
        timer.join()
    assert got == 1


def test_poller_serves_rings_perf_buffers_and_other_descriptors(cleanup):
    one = _map(cleanup, k.BPF_MAP_TYPE_RINGBUF, 1 << 16)
    two = _map(cleanup, k.BPF_MAP_TYPE_PERF_EVENT_ARRAY, os.cpu_count())
    to_ring, to_perf = _ring_sender(cleanup, one), _perf_sender(cleanup, two)
    reading, writing = os.pipe()
    cleanup.callback(os.close, reading)
    cleanup.callback(os.close, writing)
    with RingBuffer(one) as ring, PerfBuffer(two) as perf, Poller([ring, perf]) as poller:
        poller.watch(reading)
        assert not poller.wait(0)
        _run(to_ring, 4)
        _run(to_perf, 6)
        assert poller.wait(1000)
        assert poller.drain(lambda *block: None) == 10
        os.write(writing, b"x")
        assert poller.wait(1000)
        assert poller.ready == [reading]
        poller.unwatch(reading)
        poller.wait(0)
        assert poller.ready == []


def test_poller_stops_being_woken_at_a_high_rate(cleanup):
    map = _map(cleanup, k.BPF_MAP_TYPE_RINGBUF, 1 << 18)
    sender = _ring_sender(cleanup, map)
    with RingBuffer(map) as ring, Poller([ring]) as poller:
        got = 0
        for _ in range(40):
            _run(sender, 50)
            poller.wait(100)
            got += poller.drain(lambda *block: None)
            time.sleep(0.0005)
        assert got == 2000
        assert poller._busy
        assert any(not poller.wait(20) for _ in range(100))
        assert not poller._busy


def test_perf_buffer_hands_out_every_event_in_order(cleanup):
    map = _map(cleanup, k.BPF_MAP_TYPE_PERF_EVENT_ARRAY, os.cpu_count())
    sender = _perf_sender(cleanup, map)
    with PerfBuffer(map, pages=8) as buffer:
        sink = _Sink(buffer.header)
        for _ in range(30):
            os.sched_setaffinity(0, {0})
            _run(sender, 100)
            assert buffer.drain(sink) == 100
        os.sched_setaffinity(0, range(os.cpu_count()))
        assert buffer.lost == 0
    assert {len(value) for value in sink.values} == {20}
    assert sink.times() == sorted(sink.times())


def test_perf_buffer_counts_what_was_lost_exactly(cleanup):
    map = _map(cleanup, k.BPF_MAP_TYPE_PERF_EVENT_ARRAY, os.cpu_count())
    sender = _perf_sender(cleanup, map)
    with PerfBuffer(map, pages=1) as buffer:
        _run(sender, 1000)
        got = buffer.drain(lambda *block: None)
        assert 0 < got < 1000
        assert got + buffer.lost == 1000


def test_closing_leaves_a_block_that_was_kept_alone(cleanup):
    map = _map(cleanup, k.BPF_MAP_TYPE_RINGBUF, 4096)
    sender = _ring_sender(cleanup, map)
    kept = []
    ring = RingBuffer(map)
    _run(sender, 1)
    ring.drain(lambda block, size, count: kept.append(block))
    ring.close()
    assert len(kept[0]) == 32
    kept.clear()
    ring.close()

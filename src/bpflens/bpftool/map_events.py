"""``map event_pipe MAP [cpu N index M]``: print what programs put into a perf event array.

Runs until Ctrl-C. Without ``cpu`` every CPU that is online gets a ring, at its own index.

Example::

    $ bpftool map event_pipe name events
    == @1986.556158558 CPU: 0 index: 0 =====
    68 65 6c 6c 6f 20 65 76  65 6e 74 00
"""

from __future__ import annotations

import os
import struct

from bpflens.bpftool import handle
from bpflens.bpftool.template import hex_lines
from bpflens.bpftool.tool import Failure, cause
from bpflens.errors import SyscallError
from bpflens.kernel import cpu as _cpu
from bpflens.kernel import perf
from bpflens.kernel.map_command import map_update_elem
from bpflens.kernel.mmap import PAGE_SIZE, PROT_READ, PROT_WRITE, Mapping
from bpflens.uapi.bpf import BPF_MAP_TYPE_PERF_EVENT_ARRAY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from bpflens.bpftool.tool import Tool
    from bpflens.bpftool.words import Words
    from bpflens.objects.map import Map

__all__ = ["event_pipe"]

_PAGES = 16
_DATA_HEAD, _DATA_TAIL = 1024, 1032
_SOFTWARE, _BPF_OUTPUT = 1, 10
_RAW, _TIME = 1 << 10, 1 << 2
_LOST, _SAMPLE = 2, 9
_HEAD = struct.Struct("=IHH")
_TIMED = struct.Struct("=QI")


def event_pipe(tool: Tool, words: Words) -> int:
    """Print events until Ctrl-C."""
    with handle.one_map(words) as map:
        if map.info.type != BPF_MAP_TYPE_PERF_EVENT_ARRAY:
            raise Failure("map is not a perf event array")
        rings: list[_Ring] = []
        try:
            for number, index in _places(words):
                rings.append(_Ring(map, number, index))
        except SyscallError as error:
            _close(rings)
            raise Failure(f"failed to create perf buffer: {cause(error)}") from None
        try:
            _run(tool, rings)
        finally:
            _close(rings)
    return 0


def _close(rings: list[_Ring]) -> None:
    for ring in rings:
        ring.close()


def _places(words: Words) -> list[tuple[int, int]]:
    # (CPU, index in the map) of every ring.
    cpu = index = None
    while words:
        option = words.take_keyword("cpu", "index")
        if option == "cpu":
            cpu = words.number("CPU ID")
        elif option == "index":
            index = words.number("index")
        else:
            words.end()
    if (cpu is None) != (index is None):
        raise Failure("cpu and index must be specified together")
    if cpu is not None and index is not None:
        return [(cpu, index)]
    return [(number, number) for number in _cpu.online()]


class _Ring:
    __slots__ = ("_data", "_mapping", "cpu", "fd", "index")

    def __init__(self, map: Map, cpu: int, index: int) -> None:
        self.cpu, self.index = cpu, index
        self.fd = perf.perf_event_open(
            _SOFTWARE, _BPF_OUTPUT, cpu=cpu, sample_period=1, sample_type=_RAW | _TIME, wakeup=1,
            what=f"BPF output of CPU {cpu}",
        )  # fmt: skip
        try:
            size = (_PAGES + 1) * PAGE_SIZE
            self._mapping = Mapping(self.fd, size, PROT_READ | PROT_WRITE, what="perf buffer")
            self._data = self._mapping.view[PAGE_SIZE:]
            map_update_elem(map.fd, index.to_bytes(4, "little"), self.fd.to_bytes(4, "little"))
            perf.enable(self.fd)
        except BaseException:
            os.close(self.fd)
            raise

    def records(self) -> Iterator[tuple[int, bytes]]:
        """Yield (type, body) of what is there."""
        tail, head = self._mapping.load(_DATA_TAIL), self._mapping.load(_DATA_HEAD)
        data, room = self._data, len(self._data)
        while tail < head:
            at = tail % room
            kind, _, size = _HEAD.unpack_from(data, at)
            record = bytes(data[at : at + size])
            if len(record) < size:
                record += bytes(data[: size - len(record)])
            tail += size
            self._mapping.store(_DATA_TAIL, tail)
            yield kind, record[_HEAD.size :]

    def close(self) -> None:
        """Unmap and close."""
        from bpflens.ring.buffer import unmap

        self._data.release()
        unmap(self._mapping)
        os.close(self.fd)


def _run(tool: Tool, rings: list[_Ring]) -> None:
    import select
    import signal

    stopped: list[int] = []

    def stop(number: int, frame: object) -> None:
        stopped.append(number)
        tool.note("Stopping...")

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    poll = select.poll()
    for ring in rings:
        poll.register(ring.fd, select.POLLIN)
    if tool.json is not None:
        tool.json.start("[")
    while not stopped:
        poll.poll(200)
        for ring in rings:
            for kind, body in ring.records():
                _print(tool, ring, kind, body)
        tool.out.flush()
    if tool.json is not None:
        tool.json.end()


def _print(tool: Tool, ring: _Ring, kind: int, body: bytes) -> None:
    event: dict[str, object] = {"type": kind, "cpu": ring.cpu, "index": ring.index}
    if kind == _SAMPLE:
        time, size = _TIMED.unpack_from(body)
        data = body[_TIMED.size : _TIMED.size + size]
        seconds, rest = divmod(time, 1_000_000_000)
        text = f"== @{seconds}.{rest:09} CPU: {ring.cpu} index: {ring.index} =====\n"
        text += hex_lines(data) + "\n"
        event |= {"timestamp": time, "data": list(data)}
    elif kind == _LOST:
        id, count = struct.unpack_from("=QQ", body)
        text = f"lost {count} events\n"
        event["lost"] = {"id": id, "count": count}
    else:
        text = f"unknown event type={kind} size={len(body) + _HEAD.size}\n"
    if tool.json is not None:
        tool.json.value(event)
    else:
        tool.out(text)

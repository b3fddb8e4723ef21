"""One run of a compiled script: load, attach, follow events, detach, print what is left.

The order is the reference's: the start message, ``begin`` probes, everything else attached in
declaration order, events as they come; at the end detach, ``end`` probes, the last events, then
all maps. Whatever ends the run (exit(), a signal, the traced process, an error), everything is
detached, and a killed session leaves nothing attached because only its descriptors hold it.

Example::

    with Session(compiled, target, renderer, output) as session:
        session.start()
        session.follow()
    status = session.exit_code
"""

from __future__ import annotations

import time

from bpflens.attach.attachment import close_all
from bpflens.attach.iterator import Iteration
from bpflens.lang.program import EXIT_MAP, LOST_MAP, RING_MAP, STACK_MAP_PREFIX
from bpflens.load.collection import load_object
from bpflens.render.map import MapData, is_set
from bpflens.ring.buffer import RingBuffer
from bpflens.ring.poller import Poller
from bpflens.session import attaching

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from bpflens.attach.attachment import Attachment
    from bpflens.lang.program import CompiledProgram, MapSchema, ProbeSchema
    from bpflens.load.collection import Loaded
    from bpflens.objects.map import Map
    from bpflens.render.text import TextRenderer
    from bpflens.session.capture import Capture
    from bpflens.session.output import Output

__all__ = ["Session"]

# How long the reader sleeps at most; signals and events wake it earlier.
_IDLE_MS = 200
_BPFFS = "/sys/fs/bpf"
_SLOW = frozenset(("system", "cat"))
START_MAP = "start_time"


class Session:
    """The kernel side of one compiled script and the loop that reads it.

    ``renderer`` turns results into bytes and ``output`` takes them; ``wake_fd`` is a descriptor
    that becomes readable when somebody wants the loop's attention (signals); ``alive`` is asked
    now and then whether the run should go on (it ends when the traced process does).
    """

    def __init__(
        self,
        program: CompiledProgram,
        renderer: TextRenderer,
        output: Output,
        *,
        pid: int = 0,
        alive: Callable[[], bool] | None = None,
        run_command: Callable[[bytes], bytes] | None = None,
    ) -> None:
        self.program = program
        self.renderer = renderer
        self.output = output
        self.pid = pid
        self.exit_code: int | None = None
        self.stop_requested = False
        # How many signals for the self:signal probes have come and not been served.
        self.signalled = 0
        self.lost = 0
        self.loaded: Loaded | None = None
        self.attachments: list[Attachment] = []
        self.run_command = run_command
        self._alive = alive
        self._ring: RingBuffer | None = None
        self._poller: Poller | None = None
        self._schemas = {schema.name: schema for schema in program.maps}
        self._repeated: dict[int, int] = {}
        self._finished = False
        # Whether the end probes run, and how many commands were dropped before they did.
        self._ending = False
        self._left_out = 0
        self._captures: dict[str, Capture] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # life

    def load(self) -> None:
        """Create maps and programs in the kernel."""
        attaching.check_limits(self.program)
        attaching.drop_missing(self.program, self._warn)
        self.loaded = load_object(self.program.object)
        maps = self.loaded.maps
        if START_MAP in maps:
            now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
            maps[START_MAP].update_raw(bytes(4), now.to_bytes(8, "little"))
        if RING_MAP in maps:
            self._ring = RingBuffer(maps[RING_MAP], dropped=self._dropped)
        self._poller = Poller([self._ring] if self._ring else [])

    @property
    def poller(self) -> Poller:
        """The poller of the loop, for watching further descriptors."""
        assert self._poller is not None
        return self._poller

    def begin(self) -> None:
        """Run the ``begin`` probes."""
        for probe in self.program.probes:
            if probe.kind == "begin":
                self.run_by_hand(probe)
        self.drain()

    def attach(self) -> None:
        """Attach everything that is attached at all; raises what the first failure raises."""
        assert self.loaded is not None
        self.attachments = attaching.attach_all(
            self.program,
            self.loaded.programs,
            pid=self.pid,
            warn=self._warn,
        )

    def _warn(self, text: str) -> None:
        self.output.message(f"WARNING: {text}\n")

    def follow(self) -> None:
        """Read events until the run is to end."""
        while not self.stopping:
            self.poller.wait(_IDLE_MS)
            self._serve_signals()
            self.drain()
            self.output.flush()

    def _serve_signals(self) -> None:
        while self.signalled:
            self.signalled -= 1
            for probe in self.program.probes:
                if probe.kind == "self":
                    self.run_by_hand(probe)

    def iterate(self) -> None:
        """Walk what the script's iterator walks, or pin it where the script says so."""
        probe = next(probe for probe in self.program.probes if probe.kind == "iter")
        attachment = self.attachments[0]
        pin = str(probe.options.get("pin", ""))
        if pin:
            path = pin if pin.startswith("/") else f"{_BPFFS}/{pin}"
            attachment.pin(path)
            self.output.write(f"Program pinned to {path}\n".encode())
            return
        assert isinstance(attachment, Iteration)
        with open(attachment.open(), "rb", buffering=0) as file:
            while not self.stopping and (piece := file.read(65536)):
                self.output.write(piece)
                self.drain()
        self.drain(whole=True)

    def describe(self) -> None:
        """Say which programs are in the kernel."""
        assert self.loaded is not None
        for name, program in self.loaded.programs.items():
            self.output.message(f"Program ID: {program.info.id} ({name})\n")

    @property
    def stopping(self) -> bool:
        """Whether the run is to end: exit() was called, someone asked, or nobody is left."""
        if self.exit_code is not None or self.stop_requested or self.output.broken:
            return True
        if self._exit_was_called():
            return True
        return self._alive is not None and not self._alive()

    def _exit_was_called(self) -> bool:
        assert self.loaded is not None
        state = self.loaded.maps.get(EXIT_MAP)
        raw = state.lookup_raw(bytes(4)) if state is not None else None
        if not raw or not raw[8]:
            return False
        # Events before exit() count; the event of exit() itself may have found no room.
        self.drain(whole=True)
        if self.exit_code is None:
            self.exit_code = raw[0]
        return True

    def detach(self) -> None:
        """Detach everything."""
        attachments, self.attachments = self.attachments, []
        close_all(attachments)

    def finish(self) -> None:
        """Detach, run the ``end`` probes, read what is left, print all maps."""
        if self._finished:
            return
        self._finished = True
        self.detach()
        self.drain(whole=True)
        self._ending = True
        if self._left_out:
            self._warn(f"{self._left_out} commands were not run because the trace ended")
        for probe in self.program.probes:
            if probe.kind == "end":
                self.run_by_hand(probe)
        self.drain(whole=True)
        self._report_repeats()
        self._report_lost()
        if self.program.config.get("print_maps_on_exit", True):
            self._print_maps()
        if self.lost:
            self.output.message_bytes(self.renderer.total_lost(self.lost))
        self.output.flush()

    def close(self) -> None:
        """Detach and close everything in the kernel; a second call does nothing."""
        self.detach()
        for capture in self._captures.values():
            capture.close()
        self._captures.clear()
        if self._poller is not None:
            self._poller.close()
            self._poller = None
        if self._ring is not None:
            self._ring.close()
            self._ring = None
        if self.loaded is not None:
            self.loaded.close()
            self.loaded = None

    def run_by_hand(self, probe: ProbeSchema) -> int:
        """Run a program that nothing triggers; returns what it returned."""
        assert self.loaded is not None
        return self.loaded.programs[probe.program].test_run().retval

    # events

    def drain(self, whole: bool = False) -> None:
        """Handle the events that are there; with ``whole`` until there are none."""
        if self._ring is None:
            return
        while self.poller.drain(self._handle) and whole:
            pass
        self._report_lost()

    def _handle(self, block: memoryview, size: int, count: int) -> None:
        assert self._ring is not None
        stride, base = len(block) // count, self._ring.header
        number = int.from_bytes(block[base : base + 4], "little")
        if count > 1 and not _same_event(block, base, stride, count):
            for i in range(count):
                one = block[i * stride : (i + 1) * stride]
                self._event(int.from_bytes(one[base : base + 4], "little"), one, base, stride, 1)
            return
        self._event(number, block, base, stride, count)

    def _event(self, number: int, block: memoryview, base: int, stride: int, count: int) -> None:
        if self.exit_code is not None and not self._finished:
            # Events behind exit() belong to a run that is over.
            return
        schema = self.program.events[number]
        if schema.action == "printf":
            self.output.write(self.renderer.printf(number, block, base, stride, count))
            return
        from bpflens.session import action

        slow = schema.action in _SLOW
        for i in range(count):
            if slow and self.stop_requested and not self._ending:
                # Asked to end, with a ring full of commands that would take minutes.
                self._left_out += count - i
                return
            record = block[i * stride + base : (i + 1) * stride]
            action.perform(self, number, schema, record)
            if slow:
                self.output.flush()

    def packet(self, path: str, time_ns: int, whole: int, data: bytes) -> None:
        """Add a packet, seen at a time since boot, to a capture file."""
        from bpflens.session.capture import Capture

        file = self._captures.get(path)
        if file is None:
            try:
                file = self._captures[path] = Capture(path)
            except OSError as error:
                self._warn(f"failed to open file '{path}' ({error.strerror})")
                self.stop_requested = True
                return
        since = time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        file.write(time_ns + since, whole, data)

    def unwatch(self, address: int) -> None:
        """Detach the watchpoints on an address."""
        name = f"watchpoint:{address:#x}:"
        gone = [made for made in self.attachments if made.probe.startswith(name)]
        self.attachments = [made for made in self.attachments if made not in gone]
        close_all(gone)

    def repeated(self, number: int) -> bool:
        """Whether an error event has been shown already; counts it if so."""
        seen = self._repeated.get(number, 0)
        self._repeated[number] = seen + 1
        return seen > 0

    def _report_repeats(self) -> None:
        for number, times in self._repeated.items():
            schema = self.program.events[number]
            if times > 1 and schema.place is not None:
                file, line = schema.place[:2]
                self.output.message(f"{file}:{line}: the warning above came {times} times in all\n")

    def _dropped(self) -> int:
        assert self.loaded is not None
        raw = self.loaded.maps[LOST_MAP].lookup_raw(bytes(4)) or b""
        return sum(memoryview(raw).cast("Q"))

    def _report_lost(self) -> None:
        if self._ring is None:
            return
        total = self._ring.lost
        if total > self.lost:
            self.output.message_bytes(self.renderer.lost(total - self.lost))
            self.lost = total

    # maps

    def schema(self, name: str) -> MapSchema:
        """Return the schema of a script map."""
        return self._schemas[name]

    def map(self, schema: MapSchema) -> Map:
        """Return the kernel map behind a script map."""
        assert self.loaded is not None
        return self.loaded.maps[schema.spec]

    def _maps(self, schema: MapSchema) -> list[Map]:
        assert self.loaded is not None
        return [self.loaded.maps[name] for name in (schema.spec, schema.short) if name]

    def find(self, schema: MapSchema, key: bytes) -> tuple[Map, bytes]:
        """Return the kernel map that an entry with this key is in, and the key as it has it."""
        assert self.loaded is not None
        short = self.loaded.maps.get(schema.short)
        if short is not None and not any(key[short.info.key_size - 1 :]):
            return short, key[: short.info.key_size]
        return self.map(schema), key

    def read(self, schema: MapSchema) -> MapData:
        """Read a whole map."""
        from bpflens.kernel.cpu import possible_count

        source = self.map(schema)
        cpus = possible_count() if schema.per_cpu else 1
        size = source.info.value_size
        if schema.key is None:
            return MapData(bytes(4), source.lookup_raw(bytes(4)) or b"", 0, size, cpus)
        keys, values = source.read_all()
        if schema.short:
            short = self.loaded.maps[schema.short]  # type: ignore[union-attr]
            return _joined(short, source.info.key_size, keys, values, cpus)
        return MapData(keys, values, source.info.key_size, size, cpus)

    def show_map(self, schema: MapSchema, top: int = 0, div: int = 0) -> None:
        """Print a map."""
        data = self.read(schema)
        self.output.write(self.renderer.map(schema, data, top, div))

    def _print_maps(self) -> None:
        shown = []
        for schema in sorted(self.program.maps, key=lambda item: item.name):
            data = self.read(schema)
            keyed = schema.key is not None
            if is_set(schema, data) or (keyed and self.renderer.shows_empty_maps):
                shown.append(self.renderer.map(schema, data))
        if self.renderer.separates_maps:
            self.output.write(b"\n\n")
            # Maps of several entries stand apart from each other; single lines stay together.
        for text in shown:
            self.output.write(text)

    def clear(self, schema: MapSchema) -> None:
        """Remove all entries of a map."""
        target = self.map(schema)
        if schema.key is None:
            target.update_raw(bytes(4), bytes(len(target.lookup_raw(bytes(4)) or b"")))
        else:
            for each in self._maps(schema):
                each.clear()

    def zero(self, schema: MapSchema) -> None:
        """Set all values of a map to zero."""
        self.map(schema)
        if schema.key is None:
            self.clear(schema)
            return
        for each in self._maps(schema):
            keys, values = each.read_all()
            if keys:
                each.update_batch(keys, bytes(len(values)))

    def stack_map(self, limit: int) -> Map | None:
        """Return the stack map for stacks of a length."""
        return self.loaded.maps.get(f"{STACK_MAP_PREFIX}{limit}") if self.loaded else None


def _joined(short: Map, size: int, keys: bytes, values: bytes, cpus: int) -> MapData:
    # Entries of a map of long text keys and of the map of short ones beside it.
    short_size, value_size = short.info.key_size, short.info.value_size
    short_keys, short_values = short.read_all()
    if not keys:
        return MapData(short_keys, short_values, short_size, value_size, cpus)
    padding = bytes(size - short_size)
    padded = b"".join([
        short_keys[at : at + short_size] + padding for at in range(0, len(short_keys), short_size)
    ])  # fmt: skip
    return MapData(padded + keys, bytes(short_values) + values, size, value_size, cpus)


def _same_event(block: memoryview, base: int, stride: int, count: int) -> bool:
    # The first word of every record, compared in one go: records lie a multiple of 8 bytes apart.
    ids = block.cast("I")[base // 4 :: stride // 4].tobytes()
    return ids == ids[:4] * count

"""Maps without a kernel: what interpreted programs look up, update and send through.

:func:`create` makes the fake of a map type, :func:`from_spec` that of a ``MapSpec``. A fake lives
in one :class:`~bpflens.asm.memory.Memory`: values have addresses, so that programs work on them in
place. The results and error numbers are the kernel's; two things differ: replaced or deleted values
stay readable for pointers that still hold them (the kernel may reuse them at once), and LRU maps
evict exactly the least recently used entry.

Tests look at a map through ``fake[key]`` (bytes, or an int for the key's bytes), ``items()`` and
``len``; per-CPU maps give a list with one value per CPU. What went into ring and perf buffers is in
``records``.

Example::

    counts = create(BPF_MAP_TYPE_HASH, key_size=4, value_size=8, max_entries=16)
    Machine(code, maps={1: counts}).run(ctx)
    counts[7]                              # b'\\x01\\0\\0\\0\\0\\0\\0\\0'
"""

from __future__ import annotations

from bpflens.asm.memory import MachineError, Memory
from bpflens.uapi import bpf
from bpflens.uapi.errno import E2BIG, EAGAIN, EEXIST, EINVAL, ENOENT, ENOTSUPP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Protocol

    class SpecLike(Protocol):
        """A :class:`bpflens.spec.MapSpec`."""

        name: str
        type: int
        key_size: int
        value_size: int
        max_entries: int
        flags: int


__all__ = [
    "FakeArray",
    "FakeHash",
    "FakeMap",
    "FakeMapOfMaps",
    "FakePerfEventArray",
    "FakeProgArray",
    "FakeQueue",
    "FakeRingBuf",
    "FakeStackTrace",
    "FakeStorage",
    "create",
    "from_spec",
]

DEFAULT_CPUS = 2


class FakeMap:
    """What all fakes have: the sizes of the real map, a memory, and refusals as the default."""

    def __init__(
        self,
        type: int,
        key_size: int = 0,
        value_size: int = 0,
        max_entries: int = 0,
        *,
        flags: int = 0,
        name: str = "",
        cpus: int = DEFAULT_CPUS,
    ) -> None:
        self.type = type
        self.key_size = key_size
        self.value_size = value_size
        self.max_entries = max_entries
        self.flags = flags
        self.name = name or bpf.MAP_TYPE_NAMES[type]
        self.cpus = cpus
        self.memory: Memory | None = None

    def bind(self, memory: Memory) -> None:
        """Move into a memory; a map stays in the first one it got."""
        if self.memory is None:
            self.memory = memory
            self.populate()
        elif self.memory is not memory:
            raise ValueError(f"map {self.name} lives in another memory")

    def populate(self) -> None:
        """Place what has an address from the start."""

    def place(self, value: bytes, writable: bool = True) -> int:
        """Put a value into the memory (of its own, if the map has none yet)."""
        if self.memory is None:
            self.bind(Memory())
        assert self.memory is not None
        return self.memory.add(bytearray(value), f"a value of map {self.name}", writable=writable)

    def lookup(self, key: bytes, cpu: int) -> int:
        """Return the address of the value as a program on ``cpu`` sees it, 0 if there is none."""
        return 0

    def update(self, key: bytes, value: bytes, flags: int, cpu: int | None) -> int:
        """Store a value as a program on ``cpu`` (None: user space) does; 0 or a negative errno."""
        return -ENOTSUPP

    def delete(self, key: bytes) -> int:
        """Delete an entry; 0 or a negative errno."""
        return -ENOTSUPP

    def elements(self, cpu: int) -> list[tuple[bytes, int]]:
        """Return keys and value addresses for bpf_for_each_map_elem."""
        raise MachineError(f"map {self.name} cannot be iterated over")

    def value_address(self, offset: int) -> int:
        """Return the address that BPF_PSEUDO_MAP_VALUE stands for."""
        raise MachineError(f"map {self.name} has no directly accessible value")

    def key_bytes(self, key: bytes | int) -> bytes:
        """Return a key's bytes; an int becomes ``key_size`` little-endian ones."""
        if isinstance(key, int):
            return key.to_bytes(self.key_size, "little", signed=key < 0)
        if len(key) != self.key_size:
            raise ValueError(f"a key of map {self.name} has {self.key_size} bytes, not {len(key)}")
        return key


class _Keyed(FakeMap):
    # Maps whose values sit at addresses by key; per-CPU ones at one address for each CPU.

    def __init__(self, type: int, *args: int, **named: object) -> None:
        super().__init__(type, *args, **named)  # type: ignore[arg-type]
        self.percpu = "percpu" in bpf.MAP_TYPE_NAMES[type]
        self.slots: dict[bytes, list[int]] = {}

    def _fresh(self, value: bytes, cpu: int | None) -> list[int]:
        # A program's update of a per-CPU entry sets its own CPU's value, the others start at 0.
        if not self.percpu:
            return [self.place(value)]
        empty = bytes(self.value_size)
        return [self.place(value if cpu in (None, i) else empty) for i in range(self.cpus)]

    def _overwrite(self, slots: list[int], value: bytes, cpu: int | None) -> None:
        assert self.memory is not None
        for i, at in enumerate(slots):
            if not self.percpu or cpu in (None, i):
                self.memory.write(at, value)

    def lookup(self, key: bytes, cpu: int) -> int:
        slots = self.slots.get(key)
        if slots is None:
            return 0
        return slots[cpu] if self.percpu else slots[0]

    def elements(self, cpu: int) -> list[tuple[bytes, int]]:
        return [(key, slots[cpu if self.percpu else 0]) for key, slots in self.slots.items()]

    def _get(self, slots: list[int]) -> bytes | list[bytes]:
        assert self.memory is not None
        values = [self.memory.read(at, self.value_size) for at in slots]
        return values if self.percpu else values[0]

    def __getitem__(self, key: bytes | int) -> bytes | list[bytes]:
        return self._get(self.slots[self.key_bytes(key)])

    def __setitem__(self, key: bytes | int, value: bytes) -> None:
        result = self.update(self.key_bytes(key), value, 0, None)
        if result:
            raise OSError(-result, f"cannot update map {self.name}")

    def __contains__(self, key: bytes | int) -> bool:
        return self.key_bytes(key) in self.slots

    def __len__(self) -> int:
        return len(self.slots)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.slots)

    def items(self) -> list[tuple[bytes, bytes | list[bytes]]]:
        """Return keys and values (lists of values for per-CPU maps)."""
        return [(key, self._get(slots)) for key, slots in self.slots.items()]


class FakeArray(_Keyed):
    """array and percpu_array: every index exists, filled with zeros."""

    def populate(self) -> None:
        for index in range(self.max_entries):
            self.slots[index.to_bytes(4, "little")] = self._fresh(bytes(self.value_size), None)

    def update(self, key: bytes, value: bytes, flags: int, cpu: int | None) -> int:
        if flags > bpf.BPF_EXIST:
            return -EINVAL
        if self.memory is None:
            self.bind(Memory())
        slots = self.slots.get(key)
        if slots is None:
            return -E2BIG
        if flags == bpf.BPF_NOEXIST:
            return -EEXIST
        self._overwrite(slots, value, cpu)
        return 0

    def delete(self, key: bytes) -> int:
        return -EINVAL

    def value_address(self, offset: int) -> int:
        if self.percpu or self.max_entries != 1 or offset >= self.value_size:
            raise MachineError(f"map {self.name} has no value at offset {offset} to point to")
        return self.slots[bytes(4)][0] + offset


class FakeHash(_Keyed):
    """hash, percpu_hash, lru_hash, lru_percpu_hash."""

    def __init__(self, type: int, *args: int, **named: object) -> None:
        super().__init__(type, *args, **named)
        self.lru = type in (bpf.BPF_MAP_TYPE_LRU_HASH, bpf.BPF_MAP_TYPE_LRU_PERCPU_HASH)

    def lookup(self, key: bytes, cpu: int) -> int:
        if self.lru and key in self.slots:
            self.slots[key] = self.slots.pop(key)
        return super().lookup(key, cpu)

    def update(self, key: bytes, value: bytes, flags: int, cpu: int | None) -> int:
        if flags > bpf.BPF_EXIST:
            return -EINVAL
        old = self.slots.get(key)
        if old is not None and flags == bpf.BPF_NOEXIST:
            return -EEXIST
        if old is None and flags == bpf.BPF_EXIST:
            return -ENOENT
        if old is not None and self.percpu:
            self._overwrite(old, value, cpu)
            return 0
        if old is None and len(self.slots) >= self.max_entries:
            if not self.lru:
                return -E2BIG
            del self.slots[next(iter(self.slots))]
        # The kernel puts a new element in the place of the old one, which pointers may still hold.
        self.slots[key] = self._fresh(value, cpu)
        return 0

    def delete(self, key: bytes) -> int:
        return 0 if self.slots.pop(key, None) is not None else -ENOENT


class FakeStorage(FakeHash):
    """task_storage and its kin: values by the address of the object they belong to."""

    def get(self, owner: int, initial: bytes | None, create: bool) -> int:
        """Return the address of the owner's value, 0 if there is none and ``create`` is False."""
        key = owner.to_bytes(8, "little")
        if key not in self.slots and create:
            self.slots[key] = self._fresh(initial or bytes(self.value_size), None)
        return self.lookup(key, 0)

    def key_bytes(self, key: bytes | int) -> bytes:
        """Return the key of an owner's address."""
        return key.to_bytes(8, "little") if isinstance(key, int) else key


class FakeRingBuf(FakeMap):
    """ringbuf: ``records`` holds what was submitted, in order, until :meth:`drain`."""

    def __init__(self, type: int = bpf.BPF_MAP_TYPE_RINGBUF, *args: int, **named: object) -> None:
        super().__init__(type, *args, **named)  # type: ignore[arg-type]
        self.records: list[bytes] = []
        self.discarded = 0
        self.reserved: dict[int, int] = {}
        self._used = 0

    def reserve(self, size: int) -> int:
        """Return the address of a new record, 0 when the buffer is full."""
        if self._used + _padded(size) > self.max_entries:
            return 0
        self._used += _padded(size)
        at = self.place(b"\xa5" * size)
        self.reserved[at] = size
        return at

    def finish(self, at: int, discard: bool) -> None:
        """Submit or discard the record at an address."""
        if at not in self.reserved:
            raise MachineError(f"{at:#x} is no reserved record of {self.name}")
        assert self.memory is not None
        value = self.memory.read(at, self.reserved.pop(at))
        self.memory.remove(at)
        if discard:
            self.discarded += 1
        else:
            self.records.append(value)

    def output(self, value: bytes) -> int:
        """Submit a copy of ``value``; 0 or -EAGAIN when the buffer is full."""
        if self._used + _padded(len(value)) > self.max_entries:
            return -EAGAIN
        self._used += _padded(len(value))
        self.records.append(value)
        return 0

    def available(self) -> int:
        """Return the number of bytes not yet drained."""
        return self._used

    def drain(self) -> list[bytes]:
        """Take all records out, as a consumer does."""
        out, self.records = self.records, []
        self._used = sum(_padded(size) for size in self.reserved.values())
        return out


def _padded(size: int) -> int:
    # Each record has an 8-byte header and is padded to 8 bytes.
    return 8 + (size + 7) // 8 * 8


class FakePerfEventArray(FakeMap):
    """perf_event_array: ``records`` holds ``(cpu, bytes)`` pairs in order."""

    def __init__(self, type: int, *args: int, **named: object) -> None:
        super().__init__(type, *args, **named)  # type: ignore[arg-type]
        self.records: list[tuple[int, bytes]] = []
        self.counters: dict[int, int] = {}

    def output(self, cpu: int, value: bytes) -> int:
        """Add a record for a CPU; 0, or -E2BIG for a CPU the map has no slot for."""
        if self.max_entries and cpu >= self.max_entries:
            return -E2BIG
        self.records.append((cpu, value))
        return 0


class FakeProgArray(FakeMap):
    """prog_array: ``programs`` maps an index to instructions (or a Machine) for tail calls."""

    def __init__(self, type: int, *args: int, **named: object) -> None:
        super().__init__(type, *args, **named)  # type: ignore[arg-type]
        self.programs: dict[int, object] = {}


class FakeStackTrace(FakeMap):
    """stack_trace: the same stack gets the same id, counted from 0."""

    def __init__(self, type: int, *args: int, **named: object) -> None:
        super().__init__(type, *args, **named)  # type: ignore[arg-type]
        self.stacks: list[tuple[int, ...]] = []

    def add(self, stack: tuple[int, ...]) -> int:
        """Return the id of a stack (a tuple of addresses, innermost first)."""
        stack = stack[: self.value_size // 8]
        if stack not in self.stacks:
            if len(self.stacks) >= self.max_entries:
                return -EEXIST
            self.stacks.append(stack)
        return self.stacks.index(stack)

    def __getitem__(self, stack_id: int) -> tuple[int, ...]:
        return self.stacks[stack_id]


class FakeMapOfMaps(FakeMap):
    """array_of_maps and hash_of_maps: ``inner`` holds the maps by key bytes."""

    def __init__(self, type: int, *args: int, **named: object) -> None:
        super().__init__(type, *args, **named)  # type: ignore[arg-type]
        self.inner: dict[bytes, FakeMap] = {}

    def __setitem__(self, key: bytes | int, value: FakeMap) -> None:
        self.inner[self.key_bytes(key)] = value
        if self.memory is not None:
            value.bind(self.memory)

    def populate(self) -> None:
        assert self.memory is not None
        for value in self.inner.values():
            value.bind(self.memory)


class FakeQueue(FakeMap):
    """queue and stack: ``values``, the oldest first."""

    def __init__(self, type: int, *args: int, **named: object) -> None:
        super().__init__(type, *args, **named)  # type: ignore[arg-type]
        self.values: list[bytes] = []

    def push(self, value: bytes, flags: int) -> int:
        """Add a value; a full map refuses with -E2BIG, or drops the oldest with BPF_EXIST."""
        if len(self.values) >= self.max_entries:
            if flags != bpf.BPF_EXIST:
                return -E2BIG
            del self.values[0]
        self.values.append(value)
        return 0

    def take(self, remove: bool) -> bytes | None:
        """Return the next value (newest of a stack, oldest of a queue), None when empty."""
        if not self.values:
            return None
        index = -1 if self.type == bpf.BPF_MAP_TYPE_STACK else 0
        return self.values.pop(index) if remove else self.values[index]


_CLASSES: dict[int, type[FakeMap]] = {
    bpf.BPF_MAP_TYPE_HASH: FakeHash,
    bpf.BPF_MAP_TYPE_PERCPU_HASH: FakeHash,
    bpf.BPF_MAP_TYPE_LRU_HASH: FakeHash,
    bpf.BPF_MAP_TYPE_LRU_PERCPU_HASH: FakeHash,
    bpf.BPF_MAP_TYPE_ARRAY: FakeArray,
    bpf.BPF_MAP_TYPE_PERCPU_ARRAY: FakeArray,
    bpf.BPF_MAP_TYPE_RINGBUF: FakeRingBuf,
    bpf.BPF_MAP_TYPE_PERF_EVENT_ARRAY: FakePerfEventArray,
    bpf.BPF_MAP_TYPE_PROG_ARRAY: FakeProgArray,
    bpf.BPF_MAP_TYPE_STACK_TRACE: FakeStackTrace,
    bpf.BPF_MAP_TYPE_ARRAY_OF_MAPS: FakeMapOfMaps,
    bpf.BPF_MAP_TYPE_HASH_OF_MAPS: FakeMapOfMaps,
    bpf.BPF_MAP_TYPE_QUEUE: FakeQueue,
    bpf.BPF_MAP_TYPE_STACK: FakeQueue,
    bpf.BPF_MAP_TYPE_TASK_STORAGE: FakeStorage,
    bpf.BPF_MAP_TYPE_CGRP_STORAGE: FakeStorage,
    bpf.BPF_MAP_TYPE_INODE_STORAGE: FakeStorage,
    bpf.BPF_MAP_TYPE_SK_STORAGE: FakeStorage,
}


def create(
    type: int,
    key_size: int = 0,
    value_size: int = 0,
    max_entries: int = 0,
    *,
    flags: int = 0,
    name: str = "",
    cpus: int = DEFAULT_CPUS,
) -> FakeMap:
    """Make the fake of a map type; ValueError for a type that has none."""
    if type not in _CLASSES:
        names = bpf.MAP_TYPE_NAMES
        raise ValueError(f"no fake of map type {names[type] if type < len(names) else type}")
    sizes = (key_size, value_size, max_entries)
    return _CLASSES[type](type, *sizes, flags=flags, name=name, cpus=cpus)


def from_spec(spec: SpecLike, cpus: int = DEFAULT_CPUS) -> FakeMap:
    """Make the fake of a map spec, with its initial contents."""
    fake = create(
        spec.type,
        spec.key_size,
        spec.value_size,
        spec.max_entries,
        flags=spec.flags,
        name=spec.name,
        cpus=cpus,
    )
    for key, value in getattr(spec, "contents", ()):
        fake.update(key, value, 0, None)
    return fake

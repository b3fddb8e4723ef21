"""Maps: create, find, read and write them, typed or raw, one entry or all of them.

Turns a map of the kernel into something like a dict. Keys and values are typed by the map's BTF
where it has one, by the ``key`` and ``value`` codecs where they are given, and bytes otherwise. The
values of per-CPU maps are lists with one value for each possible CPU. Reading everything goes in
blocks (:mod:`bpflens.objects.batch`), with no Python object for an entry in the raw forms.

Invariants: sizes are checked before the kernel is told an address; a handle owns its descriptor.
Queues, stacks and bloom filters have :meth:`Map.push`, :meth:`Map.peek` and :meth:`Map.take_one`
instead of keys.

Example::

    with Map.create("hash", key="I", value="Q", max_entries=1024, name="counts") as counts:
        counts[7] = 1
        for key, value in counts.items():
            print(key, value)
"""

from __future__ import annotations

from bpflens.errors import NotFound
from bpflens.kernel import map_command as _maps
from bpflens.kernel import object_command as _objects
from bpflens.kernel.info import MapInfo, map_info
from bpflens.kernel.memory import Buffer
from bpflens.objects import batch as _batch
from bpflens.objects.codec import Codec, make
from bpflens.objects.handle import Handle
from bpflens.spec import MapSpec
from bpflens.uapi import bpf as _uapi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any, Self, TypeVar

    from bpflens.btf import Btf
    from bpflens.kernel.mmap import Mapping as MemoryMapping

    _T = TypeVar("_T", bound="Map")

__all__ = ["PER_CPU_TYPES", "Map"]

PER_CPU_TYPES = frozenset(
    (
        _uapi.BPF_MAP_TYPE_PERCPU_HASH,
        _uapi.BPF_MAP_TYPE_PERCPU_ARRAY,
        _uapi.BPF_MAP_TYPE_LRU_PERCPU_HASH,
        _uapi.BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE,
    )
)
"""Map types whose values are one for each possible CPU."""

_KEYLESS_TYPES = frozenset(
    (_uapi.BPF_MAP_TYPE_QUEUE, _uapi.BPF_MAP_TYPE_STACK, _uapi.BPF_MAP_TYPE_BLOOM_FILTER)
)
_ARRAY_TYPES = frozenset((_uapi.BPF_MAP_TYPE_ARRAY, _uapi.BPF_MAP_TYPE_PERCPU_ARRAY))
# Storing takes a descriptor, reading gives an id: four bytes, whatever BTF says.
_FD_TYPES = frozenset(
    (
        _uapi.BPF_MAP_TYPE_PROG_ARRAY,
        _uapi.BPF_MAP_TYPE_PERF_EVENT_ARRAY,
        _uapi.BPF_MAP_TYPE_CGROUP_ARRAY,
        _uapi.BPF_MAP_TYPE_ARRAY_OF_MAPS,
        _uapi.BPF_MAP_TYPE_HASH_OF_MAPS,
    )
)

_MISSING = object()


class Map(Handle):
    """A map. Make one with :meth:`create`, or open one with the ``from_`` methods.

    ``Map(fd)`` takes over a descriptor. ``key`` and ``value`` say how to read them: a
    :class:`~bpflens.objects.codec.Codec`, a :mod:`struct` format, or ``bytes`` for raw bytes
    even where BTF knows better.
    """

    __slots__ = (
        "info", "per_cpu", "stride", "_key", "_value", "_cpus", "_buffer", "_padding",
    )  # fmt: skip

    info: MapInfo

    def __init__(
        self,
        fd: int,
        *,
        key: Codec | str | type[bytes] | None = None,
        value: Codec | str | type[bytes] | None = None,
    ) -> None:
        Handle.__init__(self, fd)
        self.info = info = map_info(fd)
        self.per_cpu: bool = info.type in PER_CPU_TYPES
        self._cpus = _possible_count() if self.per_cpu else 1
        self._padding = -info.value_size % 8 if self.per_cpu else 0
        self.stride: int = (info.value_size + self._padding) * self._cpus
        self._key: Codec | None = _codec(key, info.key_size)
        self._value: Codec | None = _codec(value, info.value_size)
        self._buffer: Buffer | None = None

    # --- where maps come from ---

    @classmethod
    def create(
        cls,
        type: int | str | MapSpec,
        *,
        key: Codec | str | None = None,
        value: Codec | str | None = None,
        key_size: int | None = None,
        value_size: int | None = None,
        max_entries: int | None = None,
        name: str = "",
        flags: int = 0,
        inner: Map | None = None,
        btf_fd: int = 0,
        btf_key_type_id: int = 0,
        btf_value_type_id: int = 0,
        btf_vmlinux_value_type_id: int = 0,
        value_type_btf_obj_fd: int = 0,
        map_extra: int = 0,
        numa_node: int | None = None,
        ifindex: int = 0,
        token_fd: int = 0,
    ) -> Self:
        """Create a map of a type (number or name) or after a :class:`~bpflens.spec.MapSpec`.

        Sizes follow from the ``key`` and ``value`` codecs where they are not given. ``inner`` is
        the template of a map of maps. A spec's contents are stored as well.
        """
        if isinstance(type, MapSpec):
            return cls._from_spec(type, key, value, inner, btf_fd)
        fd = _maps.map_create(
            _type_number(type),
            _size(key_size, key),
            _size(value_size, value),
            1 if max_entries is None else max_entries,
            name=name,
            flags=flags | (_uapi.BPF_F_NUMA_NODE if numa_node is not None else 0),
            inner_map_fd=inner.fd if inner is not None else 0,
            numa_node=numa_node or 0,
            btf_fd=btf_fd,
            btf_key_type_id=btf_key_type_id,
            btf_value_type_id=btf_value_type_id,
            btf_vmlinux_value_type_id=btf_vmlinux_value_type_id,
            value_type_btf_obj_fd=value_type_btf_obj_fd,
            map_extra=map_extra,
            ifindex=ifindex,
            token_fd=token_fd,
        )
        return cls(fd, key=key, value=value)

    @classmethod
    def _from_spec(
        cls,
        spec: MapSpec,
        key: Codec | str | None,
        value: Codec | str | None,
        inner: Map | None,
        btf_fd: int,
    ) -> Self:
        made: Map | None = None
        if inner is None and spec.inner is not None:
            inner = made = Map.create(spec.inner)
        try:
            fd = _maps.map_create(
                spec.type, spec.key_size, spec.value_size, spec.max_entries, name=spec.name,
                flags=spec.flags, inner_map_fd=inner.fd if inner is not None else 0,
                numa_node=spec.numa_node, ifindex=spec.ifindex, btf_fd=btf_fd,
                btf_key_type_id=spec.key_type_id if btf_fd else 0,
                btf_value_type_id=spec.value_type_id if btf_fd else 0, map_extra=spec.map_extra,
            )  # fmt: skip
        finally:
            if made is not None:
                made.close()
        self = cls(fd, key=key, value=value)
        for given_key, given_value in spec.contents:
            _maps.map_update_elem(fd, given_key, self._wide(given_value))
        if spec.freeze:
            self.freeze()
        return self

    @classmethod
    def from_fd(cls, fd: int) -> Self:
        """Take over a descriptor."""
        return cls(fd)

    @classmethod
    def from_id(cls, id: int, *, open_flags: int = 0) -> Self:
        """Open the map with this id. Raises SyscallError when there is none."""
        return cls(_objects.map_get_fd_by_id(id, open_flags))

    @classmethod
    def from_pin(cls, path: str, *, open_flags: int = 0) -> Self:
        """Open the map that is pinned at ``path``."""
        return cls(_objects.obj_get(path, open_flags))

    @classmethod
    def by_name(cls, name: str) -> Self:
        """Open the map with this name, as the kernel keeps it (15 characters).

        The oldest of several. Raises :class:`~bpflens.errors.NotFound` with near names.
        """
        wanted = _kernel_name(name)
        known: list[str] = []
        id = _objects.map_get_next_id(0)
        while id is not None:
            found = _opened(cls, id)
            if found is not None:
                if found.info.name == wanted:
                    return found
                known.append(found.info.name)
                found.close()
            id = _objects.map_get_next_id(id)
        raise NotFound("map", name, _near(name, known))

    # --- what it is ---

    @property
    def id(self) -> int:
        """The id of the map."""
        return self.info.id

    @property
    def name(self) -> str:
        """The name of the map, as the kernel keeps it."""
        return self.info.name

    @property
    def type_name(self) -> str:
        """The name of the map's type (``"hash"``), or its number."""
        type = self.info.type
        names = _uapi.MAP_TYPE_NAMES
        return names[type] if type < len(names) else str(type)

    def btf(self) -> Btf | None:
        """Return the BTF that describes keys and values, or ``None``."""
        if not self.info.btf_id:
            return None
        from bpflens.objects.btf import from_id

        return from_id(self.info.btf_id)

    @property
    def key_codec(self) -> Codec:
        """How keys are read and written."""
        if self._key is None:
            self._key, self._value = self._codecs()
        return self._key

    @property
    def value_codec(self) -> Codec:
        """How values (of one CPU) are read and written."""
        if self._value is None:
            self._key, self._value = self._codecs()
        return self._value

    def _codecs(self) -> tuple[Codec, Codec]:
        info = self.info
        btf = self.btf()
        return (
            self._key or _typed(btf, info.btf_key_type_id, info.key_size),
            self._value
            or _typed(
                None if info.type in _FD_TYPES else btf, info.btf_value_type_id, info.value_size
            ),
        )

    def __repr__(self) -> str:
        info = self.info
        state = "closed" if self.closed else f"fd {self._fd}"
        return f"<Map {info.id} {info.name!r} {self.type_name} {state}>"

    # --- one entry ---

    def _room(self) -> Buffer:
        # Taken away while in use, so that two threads never share it.
        buffer, self._buffer = self._buffer, None
        return buffer if buffer is not None else Buffer(self.stride)

    def _check_key(self, key: bytes) -> bytes:
        if len(key) != self.info.key_size:
            raise ValueError(f"a key of {len(key)} bytes for map {self.name!r}, which has keys of "
                             f"{self.info.key_size} bytes")  # fmt: skip
        return key

    def lookup_raw(self, key: bytes, *, flags: int = 0) -> bytes | None:
        """Return the bytes of the value (all CPUs of a per-CPU map), ``None`` without one."""
        room = self._room()
        found = _maps.map_lookup_elem(self.fd, self._check_key(key), room, flags)
        value = bytes(room.view[: self.stride]) if found else None
        self._buffer = room
        return value

    def update_raw(self, key: bytes, value: bytes, *, flags: int = 0) -> None:
        """Store the bytes of a value, of all CPUs in a per-CPU map."""
        if len(value) != self.stride:
            raise ValueError(f"{len(value)} bytes for map {self.name!r}, which stores "
                             f"{self.stride} bytes for a key")  # fmt: skip
        _maps.map_update_elem(self.fd, self._check_key(key), value, flags)

    def lookup(self, key: object, *, flags: int = 0) -> Any:
        """Return the value of ``key``. Raises KeyError when there is none."""
        raw = self.lookup_raw(self.key_codec.encode(key), flags=flags)
        if raw is None:
            raise KeyError(key)
        return self.decode_value(raw)

    def store(self, key: object, value: object, *, flags: int = 0) -> None:
        """Store ``value`` under ``key`` (``flags``: BPF_ANY, BPF_NOEXIST, BPF_EXIST, BPF_F_LOCK).

        In a per-CPU map a list is one value for each CPU; anything else is stored on all of them.
        """
        self.update_raw(self.key_codec.encode(key), self.encode_value(value), flags=flags)

    def decode_value(self, raw: bytes | memoryview, offset: int = 0) -> Any:
        """Turn the bytes of a value into what :meth:`lookup` returns."""
        codec = self.value_codec
        if not self.per_cpu:
            return codec.decode(raw, offset)
        step = codec.size + self._padding
        return [codec.decode(raw, at) for at in range(offset, offset + self.stride, step)]

    def encode_value(self, value: object) -> bytes:
        """Turn a value into the bytes that the kernel stores."""
        codec = self.value_codec
        if not self.per_cpu:
            return codec.encode(value)
        if isinstance(value, (bytes, bytearray, memoryview)) and len(value) == self.stride:
            return bytes(value)
        values = value if isinstance(value, list) else [value] * self._cpus
        if len(values) != self._cpus:
            raise ValueError(f"{len(values)} values for {self._cpus} possible CPUs")
        return b"".join(codec.encode(one) + bytes(self._padding) for one in values)

    def _wide(self, value: bytes) -> bytes:
        # What a spec stores has the size of one value.
        return value if len(value) == self.stride else self.encode_value(value)

    def take_one(self, key: object = None) -> Any:
        """Read and delete ``key`` in one step; the head of a queue or stack without one.

        Raises KeyError when there is nothing.
        """
        raw_key = b"" if self.info.key_size == 0 else self.key_codec.encode(key)
        room = self._room()
        found = _maps.map_lookup_and_delete_elem(self.fd, raw_key, room)
        value = bytes(room.view[: self.stride])
        self._buffer = room
        if not found:
            raise KeyError(key)
        return self.decode_value(value)

    def push(self, value: object, *, flags: int = 0) -> None:
        """Add to a queue, stack or bloom filter (BPF_EXIST: push out the oldest of a full one)."""
        _maps.map_update_elem(self.fd, b"", self.encode_value(value), flags)

    def peek(self) -> Any:
        """Return the head of a queue or stack. Raises KeyError when it is empty."""
        room = self._room()
        if not _maps.map_lookup_elem(self.fd, b"", room):
            raise KeyError("empty")
        return self.decode_value(bytes(room.view[: self.stride]))

    def may_contain(self, value: object) -> bool:
        """Ask a bloom filter: ``False`` is certain, ``True`` is likely."""
        room = Buffer(self.stride)
        room.raw[: self.stride] = self.encode_value(value)
        return _maps.map_lookup_elem(self.fd, b"", room)

    # --- like a dict ---

    def __getitem__(self, key: object) -> Any:
        return self.lookup(key)

    def __setitem__(self, key: object, value: object) -> None:
        self.store(key, value)

    def __delitem__(self, key: object) -> None:
        if not _maps.map_delete_elem(self.fd, self._check_key(self.key_codec.encode(key))):
            raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        return self.lookup_raw(self.key_codec.encode(key)) is not None

    def __iter__(self) -> Iterator[Any]:
        return self.keys()

    def __len__(self) -> int:
        if self.info.type in _ARRAY_TYPES:
            return self.info.max_entries
        if self.info.type in _KEYLESS_TYPES:
            raise TypeError(f"a {self.type_name} map cannot be counted")
        return sum(count for _, _, count in self.blocks())

    def __bool__(self) -> bool:
        # Without this an empty map, or one that cannot be counted, would be false or an error.
        return True

    def get(self, key: object, default: Any = None) -> Any:
        """Return the value of ``key``, or ``default``."""
        raw = self.lookup_raw(self.key_codec.encode(key))
        return default if raw is None else self.decode_value(raw)

    def pop(self, key: object, default: Any = _MISSING) -> Any:
        """Read and delete ``key``; without it give ``default`` or raise KeyError."""
        try:
            return self.take_one(key)
        except KeyError:
            if default is _MISSING:
                raise
            return default

    def keys(self) -> Iterator[Any]:
        """Yield every key, read in blocks."""
        decode = self.key_codec.decode
        if self.info.type in _FD_TYPES:
            # Not all of them can be read, but all can be walked.
            for key in _batch.keys(self.fd, self.info.key_size):
                yield decode(key, 0)
            return
        size = self.info.key_size
        for keys, _, count in self.blocks():
            for at in range(0, count * size, size):
                yield decode(keys, at)

    def values(self) -> Iterator[Any]:
        """Yield every value."""
        return (value for _, value in self.items())

    def items(self) -> Iterator[tuple[Any, Any]]:
        """Yield ``(key, value)`` of every entry, read in blocks."""
        decode_key, size, stride = self.key_codec.decode, self.info.key_size, self.stride
        decode_value = self.decode_value if self.per_cpu else self.value_codec.decode
        for keys, values, count in self.blocks():
            for at in range(count):
                yield decode_key(keys, at * size), decode_value(values, at * stride)

    def update(self, entries: Mapping[Any, Any] | Iterable[tuple[Any, Any]]) -> None:
        """Store many entries, in blocks where the kernel can."""
        pairs = entries.items() if hasattr(entries, "items") else entries
        keys, values = [], []
        for key, value in pairs:
            keys.append(self._check_key(self.key_codec.encode(key)))
            values.append(self.encode_value(value))
        self.update_batch(b"".join(keys), b"".join(values))

    def clear(self) -> None:
        """Delete every entry; an array is filled with zeros."""
        if self.info.type in _ARRAY_TYPES:
            count = self.info.max_entries
            keys = b"".join(self.key_codec.encode(index) for index in range(count))
            self.update_batch(keys, bytes(count * self.stride))
            return
        for keys_, _, count in self.blocks():
            _batch.delete(self.fd, bytes(keys_), self.info.key_size, count)

    # --- all of it, raw ---

    def blocks(self, *, flags: int = 0) -> Iterator[tuple[memoryview, memoryview, int]]:
        """Yield ``(keys, values, count)`` blocks of raw bytes, valid until the next one."""
        return _batch.blocks(
            self.fd, self.info.key_size, self.stride, self.info.max_entries, flags=flags
        )

    def take_blocks(self) -> Iterator[tuple[memoryview, memoryview, int]]:
        """As :meth:`blocks`, deleting what is given."""
        return _batch.take(self.fd, self.info.key_size, self.stride, self.info.max_entries)

    def read_all(self) -> tuple[bytes, bytes]:
        """Return all keys and all values as two blocks of bytes, in the same order."""
        keys, values = [], []
        for block_keys, block_values, _ in self.blocks():
            keys.append(bytes(block_keys))
            values.append(bytes(block_values))
        return b"".join(keys), b"".join(values)

    def items_raw(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield the bytes of every key and value."""
        size, stride = self.info.key_size, self.stride
        for keys, values, count in self.blocks():
            for at in range(count):
                yield (
                    bytes(keys[at * size : (at + 1) * size]),
                    bytes(values[at * stride : (at + 1) * stride]),
                )

    def update_batch(self, keys: bytes, values: bytes, *, flags: int = 0) -> None:
        """Store many entries given as blocks of bytes, key by key where the kernel must."""
        count = self._count(keys)
        if len(values) != count * self.stride:
            raise ValueError(f"{len(values)} bytes of values for {count} keys")
        if count:
            _batch.update(self.fd, keys, values, self.info.key_size, self.stride, count, flags)

    def delete_batch(self, keys: bytes) -> int:
        """Delete many keys given as one block of bytes; return how many were there."""
        count = self._count(keys)
        return _batch.delete(self.fd, keys, self.info.key_size, count) if count else 0

    def _count(self, keys: bytes) -> int:
        count, rest = divmod(len(keys), self.info.key_size or 1)
        if rest or not self.info.key_size:
            raise ValueError(f"{len(keys)} bytes are no keys of {self.info.key_size} bytes")
        return count

    # --- the rest ---

    def freeze(self) -> None:
        """Make the map read-only for user space, for good."""
        _maps.map_freeze(self.fd)

    def mmap(self, *, writable: bool = True) -> MemoryMapping:
        """Map an array made with BPF_F_MMAPABLE, or an arena, into memory, all in one.

        An arena made with an address in ``map_extra`` can only be mapped there, which this cannot.
        """
        from bpflens.kernel.mmap import PAGE_SIZE, PROT_READ, PROT_WRITE, Mapping

        size = (self.info.value_size + 7 & ~7) * self.info.max_entries
        size = -(-size // PAGE_SIZE) * PAGE_SIZE
        if self.info.type == _uapi.BPF_MAP_TYPE_ARENA:
            size = self.info.max_entries * PAGE_SIZE
        prot = PROT_READ | PROT_WRITE if writable else PROT_READ
        return Mapping(self.fd, size, prot, what=f"mmap of map {self.name!r}")


def _possible_count() -> int:
    from bpflens.kernel.cpu import possible_count

    return possible_count()


def _codec(given: Codec | str | type[bytes] | None, size: int) -> Codec | None:
    if given is None:
        return None
    return make(None if given is bytes else given, size)  # type: ignore[arg-type]


def _typed(btf: Btf | None, id: int, size: int) -> Codec:
    if btf is not None and id:
        from bpflens.objects.codec import BtfCodec

        return BtfCodec(btf, id, size)
    return make(None, size)


def _size(size: int | None, codec: Codec | str | None) -> int:
    if size is not None:
        return size
    if codec is None:
        return 0
    if isinstance(codec, str):
        from struct import calcsize

        return calcsize(codec)
    return codec.size


def _type_number(type: int | str) -> int:
    if isinstance(type, int):
        return type
    names = _uapi.MAP_TYPE_NAMES
    if type not in names:
        raise NotFound("map type", type, _near(type, names))
    return names.index(type)


def _kernel_name(name: str) -> str:
    from bpflens.kernel.command import kernel_name

    return kernel_name(name).decode()


def _near(name: str, known: Iterable[str]) -> list[str]:
    from difflib import get_close_matches

    return get_close_matches(name, sorted({one for one in known if one}), 3, 0.6)


def _opened(cls: type[_T], id: int) -> _T | None:
    # Between finding an id and opening it the map may have gone.
    import errno

    from bpflens.errors import SyscallError

    try:
        return cls.from_id(id)
    except SyscallError as error:
        if error.errno != errno.ENOENT:
            raise
        return None

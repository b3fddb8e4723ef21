"""The types of the tracing language: what a value is, how large it is, how it lies in memory.

A type is an immutable-by-convention slots object with ``size`` (bytes in memory, 0 where a value
has no bytes), ``align`` and structural equality. Types say nothing about printing or code; the
renderer and the lowering dispatch on their classes. :class:`Struct` is the only lazy one: its
fields are looked up through the target (BTF or the script's own C definitions) when first needed.

Example::

    Tuple([Int(4, False), String(16)]).offsets     # [0, 4]
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# fmt: off
__all__ = [
    "AGGREGATES",
    "BOOL",
    "COMM_SIZE",
    "INT64",
    "NONE",
    "STACK_FRAMES",
    "UINT64",
    "Aggregate",
    "Array",
    "Avg",
    "Bool",
    "Buffer",
    "CgroupPath",
    "Count",
    "Enum",
    "FieldInfo",
    "Hist",
    "Inet",
    "Int",
    "Ksym",
    "LHist",
    "Mac",
    "Max",
    "Min",
    "NoneType",
    "Pointer",
    "Record",
    "Stack",
    "Stats",
    "String",
    "Struct",
    "Sum",
    "TSeries",
    "Timestamp",
    "Tuple",
    "Type",
    "Username",
    "Usym",
    "align_up",
    "is_integer",
    "promote",
]
# fmt: on

COMM_SIZE = 16
STACK_FRAMES = 127


def align_up(value: int, align: int) -> int:
    """Round ``value`` up to a multiple of ``align``."""
    return (value + align - 1) // align * align


class Type:
    """What all types share. ``name`` is how messages call it ("int32", "string[16]")."""

    __slots__ = ()
    __match_args__: tuple[str, ...] = ()
    size: int = 0
    align: int = 8

    @property
    def name(self) -> str:
        """The name that messages show."""
        return type(self).__name__.lower()

    @property
    def is_scalar(self) -> bool:
        """Whether a value fits in one register (integers, booleans, enums, pointers)."""
        return False

    def _key(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in self.__match_args__)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash((type(self), self._key()))

    def __repr__(self) -> str:
        inner = ", ".join(repr(value) for value in self._key())
        return f"{type(self).__name__}({inner})"

    def __getstate__(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in _slots(type(self)) if hasattr(self, name)}

    def __setstate__(self, state: dict[str, object]) -> None:
        for name, value in state.items():
            setattr(self, name, value)


def _slots(cls: type) -> list[str]:
    return [name for base in cls.__mro__ for name in getattr(base, "__slots__", ())]


class NoneType(Type):
    """No value: what a call like printf() gives."""

    __slots__ = ()
    name = "none"


class Bool(Type):
    """true or false; one byte in memory."""

    __slots__ = ()
    size = 1
    align = 1
    name = "bool"
    is_scalar = True


class Int(Type):
    """An integer of 1, 2, 4 or 8 bytes."""

    __slots__ = ("signed", "size")
    __match_args__ = ("size", "signed")
    is_scalar = True

    def __init__(self, size: int, signed: bool) -> None:
        self.size = size
        self.signed = signed

    @property
    def align(self) -> int:  # type: ignore[override]
        """Integers are aligned to their size."""
        return self.size

    @property
    def name(self) -> str:
        """``int32``, ``uint8``..."""
        return f"{'' if self.signed else 'u'}int{self.size * 8}"


class Enum(Type):
    """An enumeration: an integer that prints as its enumerator. ``values`` maps number to name."""

    __slots__ = ("signed", "size", "tag", "values")
    __match_args__ = ("tag", "size", "signed")
    is_scalar = True

    def __init__(self, tag: str, size: int, signed: bool, values: dict[int, str]) -> None:
        self.tag = tag
        self.size = size
        self.signed = signed
        self.values = values

    @property
    def align(self) -> int:  # type: ignore[override]
        """Enums are aligned to their size."""
        return self.size

    @property
    def name(self) -> str:
        """``enum color``."""
        return f"enum {self.tag}"


class String(Type):
    """Text of at most ``size`` bytes; a NUL ends it earlier.

    Text that fills all of its bytes was cut, unless it is ``complete``: fields of structs may end
    where their room does.
    """

    __slots__ = ("complete", "size")
    __match_args__ = ("size",)
    align = 1

    def __init__(self, size: int, complete: bool = False) -> None:
        self.size = size
        self.complete = complete

    @property
    def name(self) -> str:
        """``string[16]``."""
        return f"string[{self.size}]"


class Buffer(Type):
    """Bytes: a 4-byte length, then at most ``capacity`` bytes."""

    __slots__ = ("capacity",)
    __match_args__ = ("capacity",)
    align = 4

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity

    @property
    def size(self) -> int:  # type: ignore[override]
        """Header and room for the bytes."""
        return align_up(4 + self.capacity, 4)

    @property
    def name(self) -> str:
        """``buffer[64]``."""
        return f"buffer[{self.capacity}]"


class Pointer(Type):
    """A pointer to ``target``; ``space`` is ``"kernel"``, ``"user"``, ``"bpf"``, ``"ctx"`` or ""

    (unknown: read by what the address is). ``trusted`` marks a BTF-typed pointer that the verifier
    knows and that may be dereferenced by a plain load.
    """

    __slots__ = ("space", "target", "trusted")
    __match_args__ = ("target", "space")
    size = 8
    is_scalar = True

    def __init__(self, target: Type, space: str = "", trusted: bool = False) -> None:
        self.target = target
        self.space = space
        self.trusted = trusted

    @property
    def name(self) -> str:
        """``struct file *``."""
        inner = "void" if isinstance(self.target, NoneType) else self.target.name
        return f"{inner}{'' if inner.endswith('*') else ' '}*"


class Array(Type):
    """``length`` elements of one type in a row."""

    __slots__ = ("element", "length")
    __match_args__ = ("element", "length")

    def __init__(self, element: Type, length: int) -> None:
        self.element = element
        self.length = length

    @property
    def size(self) -> int:  # type: ignore[override]
        """Bytes of all elements."""
        return self.element.size * self.length

    @property
    def align(self) -> int:  # type: ignore[override]
        """As the element."""
        return self.element.align

    @property
    def name(self) -> str:
        """``int32[4]``."""
        return f"{self.element.name}[{self.length}]"


class FieldInfo:
    """One field: ``offset`` in bytes from the start of its struct; bitfields have ``bit_size`` > 0

    and ``bit_offset`` counted from the struct's first bit.
    """

    __slots__ = ("bit_offset", "bit_size", "data_loc", "name", "offset", "type")

    def __init__(
        self,
        name: str,
        type: Type,
        offset: int,
        bit_offset: int = 0,
        bit_size: int = 0,
        data_loc: bool = False,
    ) -> None:
        self.name = name
        self.type = type
        self.offset = offset
        self.bit_offset = bit_offset
        self.bit_size = bit_size
        self.data_loc = data_loc

    def __repr__(self) -> str:
        return f"FieldInfo({self.name!r}, {self.type!r}, {self.offset})"


class Struct(Type):
    """A struct or union, by name ("struct file"). Fields come from ``loader`` on first use.

    ``loader()`` returns the FieldInfo list in declaration order; members of anonymous structs and
    unions appear under their own names at their absolute offsets. Pickling keeps the fields only
    if they were loaded.
    """

    __slots__ = ("_align", "_fields", "_index", "loader", "size", "tag")
    __match_args__ = ("tag", "size")

    def __init__(
        self, tag: str, size: int, loader: Callable[[], Sequence[FieldInfo]] | None = None
    ) -> None:
        self.tag = tag
        self.size = size
        self.loader = loader
        self._align = 0
        self._fields: list[FieldInfo] | None = None
        self._index: dict[str, FieldInfo] | None = None

    @property
    def name(self) -> str:
        """``struct file``."""
        return self.tag

    @property
    def align(self) -> int:  # type: ignore[override]
        """As the field that needs most."""
        if not self._align:
            self._align = max((item.type.align for item in self.fields), default=8)
        return self._align

    @property
    def fields(self) -> list[FieldInfo]:
        """All fields, loaded on first use."""
        if self._fields is None:
            self._fields = list(self.loader()) if self.loader else []
        return self._fields

    def field(self, name: str) -> FieldInfo | None:
        """Return the field of that name, or None."""
        if self._index is None:
            self._index = {item.name: item for item in self.fields}
        return self._index.get(name)

    def __getstate__(self) -> dict[str, object]:
        return {"tag": self.tag, "size": self.size, "_fields": self._fields}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__init__(str(state["tag"]), int(state["size"]))  # type: ignore[call-overload, misc]
        self._fields = state["_fields"]  # type: ignore[assignment]


class Tuple(Type):
    """Values in a row, each at its natural alignment, as C would lay out a struct of them."""

    __slots__ = ("align", "items", "offsets", "size")
    __match_args__ = ("items",)

    def __init__(self, items: Sequence[Type]) -> None:
        self.items = tuple(items)
        self.offsets: list[int] = []
        at, align = 0, 1
        for item in self.items:
            at = align_up(at, item.align)
            self.offsets.append(at)
            at += item.size
            align = max(align, item.align)
        self.align = align
        self.size = align_up(at, align)

    @property
    def name(self) -> str:
        """``(int32,string[16])``."""
        return f"({','.join(item.name for item in self.items)})"


class Record(Tuple):
    """A tuple whose items have names."""

    __slots__ = ("names",)
    __match_args__ = ("names", "items")

    def __init__(self, names: Sequence[str], items: Sequence[Type]) -> None:
        super().__init__(items)
        self.names = tuple(names)

    @property
    def name(self) -> str:
        """``record { .a = int64 }``."""
        inner = ", ".join(f".{n} = {t.name}" for n, t in zip(self.names, self.items, strict=True))
        return f"record {{ {inner} }}"


class Stack(Type):
    """A stack of return addresses.

    In memory: u64 key into the stack map (a hash of its frames), u32 number of frames and, for
    user stacks, u32 pid. ``mode`` is ``bpftrace``, ``perf``, ``raw`` or ``build_id``.
    """

    __slots__ = ("limit", "mode", "user")
    __match_args__ = ("user", "mode", "limit")
    size = 16

    def __init__(self, user: bool, mode: str = "bpftrace", limit: int = STACK_FRAMES) -> None:
        self.user = user
        self.mode = mode
        self.limit = limit

    @property
    def name(self) -> str:
        """``kstack`` or ``ustack``."""
        return "ustack" if self.user else "kstack"


class Ksym(Type):
    """A kernel address that prints as its symbol."""

    __slots__ = ()
    size = 8
    name = "ksym_t"


class Usym(Type):
    """A user address (u64), pid (u32) and probe id (u32) that print as a symbol."""

    __slots__ = ()
    size = 16
    name = "usym_t"


class Inet(Type):
    """An IP address: u64 family (AF_INET, AF_INET6), then 16 bytes."""

    __slots__ = ()
    size = 24
    name = "inet"


class Mac(Type):
    """A MAC address: 6 bytes, two of padding."""

    __slots__ = ()
    size = 8
    align = 1
    name = "mac_address"


class CgroupPath(Type):
    """A cgroup id (u64) and the number of the filter in the program's string table (u64)."""

    __slots__ = ()
    size = 16
    name = "cgroup_path_t"


class Timestamp(Type):
    """Nanoseconds (u64), the clock (u32) and the number of a strftime format (u32)."""

    __slots__ = ()
    size = 16
    name = "timestamp"


class Username(Type):
    """A uid (u64) that prints as its user's name."""

    __slots__ = ()
    size = 8
    name = "username_t"


class Aggregate(Type):
    """A value that each CPU keeps for itself and that is merged when read.

    ``slots`` is the number of 8-byte slots that one CPU keeps (see each class for their meaning).
    """

    __slots__ = ()
    slots: int = 1

    @property
    def size(self) -> int:  # type: ignore[override]
        """Bytes on one CPU."""
        return self.slots * 8

    @property
    def name(self) -> str:
        """``count_t``, ``hist_t``..."""
        return f"{type(self).__name__.lower()}_t"


class Count(Aggregate):
    """``[count]``."""

    __slots__ = ()


class _Signed(Aggregate):
    __slots__ = ("signed",)
    __match_args__ = ("signed",)

    def __init__(self, signed: bool = True) -> None:
        self.signed = signed


class Sum(_Signed):
    """``[total, is_set]``."""

    __slots__ = ()
    slots = 2


class Min(_Signed):
    """``[value, is_set]``."""

    __slots__ = ()
    slots = 2


class Max(_Signed):
    """``[value, is_set]``."""

    __slots__ = ()
    slots = 2


class Avg(_Signed):
    """``[total, count]``."""

    __slots__ = ()
    slots = 2


class Stats(_Signed):
    """``[total, count]``."""

    __slots__ = ()
    slots = 2


class Hist(Aggregate):
    """Buckets of a log2 histogram with ``2 ** bits`` buckets for each power of two.

    Slot 0 counts negative values, slot ``1 + b`` those of bucket ``b``: a value below ``2 ** bits``
    is its own bucket; above, with ``o = floor(log2(value))``, the bucket is
    ``((o - bits + 1) << bits) + ((value >> (o - bits)) & (2 ** bits - 1))``.
    """

    __slots__ = ("bits",)
    __match_args__ = ("bits",)

    def __init__(self, bits: int = 0) -> None:
        self.bits = bits

    @property
    def slots(self) -> int:  # type: ignore[override]
        """The negative bucket, the exact ones, and those of every power of two above."""
        return 1 + ((65 - self.bits) << self.bits)


class LHist(Aggregate):
    """A linear histogram: underflow, ``(maximum - minimum) / step`` buckets, overflow."""

    __slots__ = ("maximum", "minimum", "step")
    __match_args__ = ("minimum", "maximum", "step")

    def __init__(self, minimum: int, maximum: int, step: int) -> None:
        self.minimum = minimum
        self.maximum = maximum
        self.step = step

    @property
    def slots(self) -> int:  # type: ignore[override]
        """All buckets with both ends."""
        return 2 + -(-(self.maximum - self.minimum) // self.step)


class TSeries(Aggregate):
    """A ring of ``length`` intervals, each ``[epoch, value, count]``.

    ``reducer`` is "avg", "max", "min", "sum" or "" (the last value).
    """

    __slots__ = ("interval", "length", "reducer", "signed")
    __match_args__ = ("interval", "length", "reducer", "signed")

    def __init__(self, interval: int, length: int, reducer: str = "", signed: bool = True) -> None:
        self.interval = interval
        self.length = length
        self.reducer = reducer
        self.signed = signed

    @property
    def slots(self) -> int:  # type: ignore[override]
        """Three slots an interval."""
        return 3 * self.length


AGGREGATES = (Count, Sum, Min, Max, Avg, Stats, Hist, LHist, TSeries)
NONE = NoneType()
BOOL = Bool()
INT64 = Int(8, True)
UINT64 = Int(8, False)


def is_integer(type: Type) -> bool:
    """Whether a type behaves as an integer in arithmetic."""
    return isinstance(type, (Int, Bool, Enum))


def promote(left: Type, right: Type) -> Int:
    """Return the integer type that holds values of both; int64 where the signs differ."""
    left_signed = getattr(left, "signed", False)
    right_signed = getattr(right, "signed", False)
    if left_signed != right_signed:
        return INT64
    return Int(max(left.size, right.size), left_signed)

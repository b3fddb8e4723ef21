"""Between the bytes of a map and Python values: what a key or a value is.

Turns bytes into values and back, with a fixed size. :class:`RawCodec` leaves bytes as they are,
:class:`StructCodec` follows a struct format, :class:`BtfCodec` follows a type of a BTF. Every
codec takes bytes of the right size as they are, so that raw data always fits.

Example::

    codec = StructCodec("IQ")       # one number alone would be a number, two are a tuple
    codec.decode(codec.encode((1, 2)))
"""

from __future__ import annotations

import struct
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from bpflens.btf import Btf

__all__ = ["BtfCodec", "Codec", "RawCodec", "StructCodec", "make"]


class Codec:
    """Base of the codecs: ``size`` in bytes, :meth:`decode`, :meth:`encode`."""

    __slots__ = ("size",)

    def __init__(self, size: int) -> None:
        self.size = size

    def decode(self, data: bytes | bytearray | memoryview, offset: int = 0) -> Any:
        """Return the value that stands at ``offset`` of ``data``."""
        return bytes(data[offset : offset + self.size])

    def encode(self, value: object) -> bytes:
        """Return the bytes of ``value``.

        Raises ValueError for a value that does not fit, TypeError for what cannot be encoded.
        """
        if type(value) is int:
            return self._encode_int(value)
        if isinstance(value, (bytes, bytearray, memoryview)):
            if len(value) != self.size:
                raise ValueError(f"{len(value)} bytes where {self.size} are wanted")
            return bytes(value)
        # What holds a descriptor is stored as such: maps of maps and of programs.
        held = getattr(value, "fd", value)
        if isinstance(held, int):
            return self._encode_int(held)
        return self._encode(value)

    def _encode_int(self, value: int) -> bytes:
        try:
            return value.to_bytes(self.size, sys.byteorder, signed=value < 0)
        except OverflowError:
            raise ValueError(f"{value} does not fit into {self.size} bytes") from None

    def _encode(self, value: object) -> bytes:
        kind = type(value).__name__
        raise TypeError(f"{kind} cannot be stored in {self.size} raw bytes; give bytes or an int")


class RawCodec(Codec):
    """Bytes as they are; an int is stored in the machine's byte order."""

    __slots__ = ()


class StructCodec(Codec):
    """What a :mod:`struct` format says; one field gives the field itself, more give a tuple."""

    __slots__ = ("_form", "_single")

    def __init__(self, format: str) -> None:
        # Without a sign of its own a format is in C's layout, as the values of maps are.
        self._form = struct.Struct(format)
        Codec.__init__(self, self._form.size)
        self._single = len(self._form.unpack(bytes(self.size))) == 1

    def decode(self, data: bytes | bytearray | memoryview, offset: int = 0) -> Any:
        """Return the field, or the tuple of fields, at ``offset`` of ``data``."""
        fields = self._form.unpack_from(data, offset)
        return fields[0] if self._single else fields

    def _encode_int(self, value: int) -> bytes:
        try:
            return self._form.pack(value)
        except struct.error:
            return self._pack((value,))

    def _encode(self, value: object) -> bytes:
        return self._pack(value if isinstance(value, (tuple, list)) else (value,))

    def _pack(self, fields: tuple[object, ...] | list[object]) -> bytes:
        try:
            return self._form.pack(*fields)
        except struct.error as error:
            raise ValueError(f"{fields!r} does not fit {self._form.format!r}: {error}") from None


class BtfCodec(Codec):
    """What a type of a BTF says: numbers, strings of char arrays, lists, dicts of members."""

    __slots__ = ("_btf", "_id", "_decoder")

    def __init__(self, btf: Btf, id: int, size: int) -> None:
        from bpflens.btf.decode import compile_decoder

        Codec.__init__(self, size)
        self._btf = btf
        self._id = id
        self._decoder: Callable[[bytes | bytearray | memoryview, int], Any] = compile_decoder(
            btf, id
        )

    def decode(self, data: bytes | bytearray | memoryview, offset: int = 0) -> Any:
        """Return the value at ``offset`` of ``data``, a struct as a dict."""
        return self._decoder(data, offset)

    def encode(self, value: object) -> bytes:
        """Return the bytes of ``value`` as the type lays them out."""
        if isinstance(value, (bytes, bytearray, memoryview)) and len(value) == self.size:
            return bytes(value)
        from bpflens.btf.decode import encode

        return encode(self._btf, self._id, getattr(value, "fd", value))


def make(given: Codec | str | None, size: int) -> Codec:
    """Return ``given`` as a codec of ``size`` bytes: a codec, a struct format, or ``None`` (raw).

    Raises ValueError when it has another size than the map.
    """
    codec = RawCodec(size) if given is None else given
    if isinstance(codec, str):
        codec = StructCodec(codec)
    if codec.size != size:
        raise ValueError(f"a codec of {codec.size} bytes for a map with {size} bytes")
    return codec

"""Codecs: bytes to values and back."""

from __future__ import annotations

import pytest

from bpflens.objects.codec import RawCodec, StructCodec, make


def test_raw_bytes_stay_as_they_are():
    codec = RawCodec(4)
    assert codec.decode(b"xxabcd", 2) == b"abcd"
    assert codec.encode(b"abcd") == b"abcd"


def test_a_number_is_stored_in_the_machines_order():
    assert RawCodec(4).encode(1) == b"\1\0\0\0"
    assert RawCodec(2).encode(-1) == b"\xff\xff"


@pytest.mark.parametrize("value", [b"abc", 1 << 32])
def test_what_does_not_fit_is_refused(value):
    with pytest.raises(ValueError, match="bytes"):
        RawCodec(4).encode(value)


def test_what_is_no_bytes_is_refused():
    with pytest.raises(TypeError, match="str cannot be stored in 4 raw bytes"):
        RawCodec(4).encode("abcd")


def test_an_object_with_a_descriptor_is_stored_as_that():
    class Held:
        fd = 9

    assert RawCodec(4).encode(Held()) == b"\t\0\0\0"


def test_one_field_is_a_value_and_more_are_a_tuple():
    assert StructCodec("I").decode(b"\5\0\0\0") == 5
    assert StructCodec("=IH").decode(b"\5\0\0\0\6\0") == (5, 6)
    assert StructCodec("16s").encode(b"hello".ljust(16, b"\0")) == b"hello".ljust(16, b"\0")
    assert StructCodec("=IH").encode((5, 6)) == b"\5\0\0\0\6\0"


def test_a_struct_format_has_the_padding_of_c():
    assert StructCodec("IQ").size == 16


def test_a_value_out_of_range_is_refused():
    with pytest.raises(ValueError, match="does not fit"):
        StructCodec("I").encode(-1)


def test_a_codec_of_another_size_than_the_map_is_refused():
    with pytest.raises(ValueError, match="8 bytes for a map with 4 bytes"):
        make("Q", 4)

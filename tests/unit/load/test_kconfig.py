"""Build options as an object's map holds them."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from bpflens.btf import Btf
from bpflens.btf.builder import Builder
from bpflens.errors import FormatError, NotFound
from bpflens.load import kconfig
from bpflens.load.kconfig import kconfig_value, kernel_version
from bpflens.spec import Extern


@pytest.fixture(scope="module")
def types():
    builder = Builder()
    ids = {
        "int": builder.add_int("int", 4, encoding=1),
        "char": builder.add_int("char", 1),
        "bool": builder.add_int("_Bool", 1, encoding=4),
        "u8": builder.add_int("unsigned char", 1),
    }
    ids["text"] = builder.add_array(ids["char"], ids["int"], 8)
    ids["tristate"] = builder.add_enum("libbpf_tristate", [("NO", 0), ("YES", 1), ("M", 2)])
    return Btf(builder.build()), ids


def _value(types, kind, text, size, **options):
    btf, ids = types
    extern = Extern("CONFIG_X", "kconfig", ids[kind], size=size, offset=2, **options)
    known = None if text is None else {"CONFIG_X": text} if text else {}
    return kconfig_value({"CONFIG_X": extern}, btf, 16, known)[2 : 2 + size]


@pytest.mark.parametrize(
    ("kind", "size", "text", "expected"),
    [
        ("bool", 1, "y", b"\1"),
        ("bool", 1, "n", b"\0"),
        ("char", 1, "m", b"m"),
        ("tristate", 4, "m", b"\2\0\0\0"),
        ("int", 4, "250", b"\xfa\0\0\0"),
        ("int", 4, "-1", b"\xff\xff\xff\xff"),
        ("int", 4, "0x10", b"\x10\0\0\0"),
        ("text", 8, "(none)", b"(none)\0\0"),
        ("text", 8, "a-long-name", b"a-long-\0"),
    ],
)
def test_option_is_stored_as_its_type_wants_it(types, kind, size, text, expected):
    assert _value(types, kind, text, size) == expected


@pytest.mark.parametrize(
    ("kind", "size", "text"),
    [("bool", 1, "m"), ("u8", 1, "256"), ("u8", 1, "-1"), ("int", 4, "y"), ("int", 4, "words")],
)
def test_value_that_does_not_fit_is_an_error(types, kind, size, text):
    with pytest.raises(FormatError, match="CONFIG_X"):
        _value(types, kind, text, size)


def test_missing_option_is_zero_only_when_weak(types):
    assert _value(types, "int", "", 4, weak=True) == bytes(4)
    with pytest.raises(NotFound, match="CONFIG_X"):
        _value(types, "int", "", 4)
    with pytest.raises(NotFound, match="neither /proc nor /boot"):
        _value(types, "int", None, 4)


@pytest.mark.parametrize(
    ("release", "version", "expected"),
    [
        ("6.18.44-fc-v669", "#1 SMP", (6, 18, 44)),
        ("6.1.0-56-amd64", "#1 SMP Debian 6.1.192-1 (2026-01-01)", (6, 1, 192)),
        ("4.4.302-x", "", (4, 4, 255)),
        ("7.0-rc1", "", (7, 0, 0)),
    ],
)
def test_version_is_that_of_the_real_kernel(monkeypatch, release, version, expected):
    if os.path.exists("/proc/version_signature"):
        pytest.skip("this distribution says the version elsewhere")
    monkeypatch.setattr(
        kconfig.os, "uname", lambda: SimpleNamespace(release=release, version=version)
    )
    major, minor, patch = expected
    assert kernel_version() == major << 16 | minor << 8 | patch

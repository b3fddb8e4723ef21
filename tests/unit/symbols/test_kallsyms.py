"""The kernel's symbols from text, without a kernel."""

from __future__ import annotations

import pytest

from bpflens.errors import NotFound, SyscallError
from bpflens.symbols import Kallsyms

TEXT = b"""\
0000000000000000 A fixed_percpu_data
0000000000012340 A cpu_info
ffffffff81000000 T _stext
ffffffff81000000 T _text
ffffffff81000100 T vfs_read
ffffffff81000180 t helper
ffffffff81000200 W vfs_weak
ffffffff81000240 t helper
ffffffff81000300 D some_data
ffffffffc0402000 t second\t[mod_b]
ffffffffc0401000 T first\t[mod_a]
ffffffffc0401000 t alias\t[mod_a]
ffffffffc0500000 t bpf_prog_6deef7357e7b4530_dump\t[bpf]
"""


def split_file(tmp_path, text, name="kallsyms"):
    path = tmp_path / name
    path.write_bytes(text)
    return Kallsyms(path=str(path))


@pytest.fixture(params=["whole", "pieces"])
def symbols(request, tmp_path, monkeypatch):
    if request.param == "whole":
        return Kallsyms(TEXT)
    # As from the kernel: a little at a time.
    monkeypatch.setattr("bpflens.symbols.kallsyms._BATCH", 50)
    return split_file(tmp_path, TEXT)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (0xFFFFFFFF81000000, ("_stext", 0, "")),
        (0xFFFFFFFF810000FF, ("_stext", 0xFF, "")),
        (0xFFFFFFFF81000107, ("vfs_read", 7, "")),
        (0xFFFFFFFF810001FF, ("helper", 0x7F, "")),
        (0xFFFFFFFF81000240, ("helper", 0, "")),
        (0xFFFFFFFF81000301, ("some_data", 1, "")),
        (0xFFFFFFFF82000000, None),
        (0xFFFFFFFF80FFFFFF, None),
        (0xFFFFFFFFC0401FFF, ("first", 0xFFF, "mod_a")),
        (0xFFFFFFFFC0402010, ("second", 0x10, "mod_b")),
        (0xFFFFFFFFC0500001, ("bpf_prog_6deef7357e7b4530_dump", 1, "bpf")),
        (0xFFFFFFFFFF000000, None),
        (0x12344, None),
        (0, None),
        (1 << 64, None),
        (-5, None),
    ],
)
def test_an_address_has_the_name_the_kernel_would_print(symbols, address, expected):
    assert symbols.resolve(address) == expected
    assert symbols.resolve(address) == expected, "and again, from memory"


def test_modules_below_the_kernel_are_found():
    # arm64 has its modules there.
    text = b"ffff800080000000 T _text\nffff800080000100 T f\nffff800079000000 t m\t[low]\n"
    symbols = Kallsyms(text)
    assert symbols.resolve(0xFFFF800079000010) == ("m", 16, "low")
    assert symbols.resolve(0xFFFF800080000001) == ("_text", 1, "")


def test_a_name_has_an_address(symbols):
    assert symbols.address("vfs_read") == 0xFFFFFFFF81000100
    assert symbols.address("first") == 0xFFFFFFFFC0401000
    assert symbols.address("helper") == 0xFFFFFFFF81000180
    assert symbols.addresses("helper") == [0xFFFFFFFF81000180, 0xFFFFFFFF81000240]
    assert "second" in symbols
    for absent in ("vfs_rea", "fs_read", "T", "", "ffffffff81000100", "vfs_read\n", "T vfs_read"):
        assert symbols.address(absent) is None
        assert absent not in symbols


def test_a_missing_name_can_be_demanded(symbols):
    assert symbols.require_address("vfs_read")
    with pytest.raises(NotFound, match="no kernel symbol nope"):
        symbols.require_address("nope")


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("vfs_*", ["vfs_read", "vfs_weak"]),
        ("*_re*", ["vfs_read"]),
        ("helper", ["helper"]),
        ("?irst", ["first"]),
        ("*data*", []),
        ("[_h]*", ["_stext", "_text", "helper"]),
        ("bpf_prog_*", ["bpf_prog_6deef7357e7b4530_dump"]),
    ],
)
def test_functions_that_match_a_glob(symbols, pattern, names):
    assert symbols.functions(pattern) == names


def test_functions_of_one_module(symbols):
    assert symbols.functions("*", module="mod_a") == ["first", "alias"]
    assert symbols.functions("*s*", module="") == ["_stext", "vfs_read", "vfs_weak"]
    assert symbols.modules() == ["mod_b", "mod_a", "bpf"]


def test_every_symbol_with_type_and_module(symbols):
    rows = list(symbols)
    assert len(rows) == 13
    assert rows[1] == ("cpu_info", 0x12340, "A", "")
    assert rows[-1] == ("bpf_prog_6deef7357e7b4530_dump", 0xFFFFFFFFC0500000, "t", "bpf")
    assert [row[0] for row in symbols.glob("*", types="AD")] == [
        "fixed_percpu_data",
        "cpu_info",
        "some_data",
    ]


def test_hidden_addresses_are_explained():
    hidden = b"".join(b"0" * 16 + line[16:] for line in TEXT.splitlines(keepends=True))
    symbols = Kallsyms(hidden)
    assert "CAP_SYSLOG" in symbols.reason
    assert symbols.resolve(0xFFFFFFFF81000107) is None
    assert symbols.functions("vfs_*") == ["vfs_read", "vfs_weak"]
    with pytest.raises(SyscallError, match="CAP_SYSLOG"):
        symbols.address("vfs_read")
    assert symbols.address("nope") is None


def test_no_reason_when_addresses_are_seen(symbols):
    assert symbols.reason == ""
    symbols.require()


def test_only_as_much_is_read_as_is_needed(tmp_path, monkeypatch):
    monkeypatch.setattr("bpflens.symbols.kallsyms._BATCH", 4096)
    lines = b"".join(b"ffffffff81%06x T f%d\n" % (n * 16, n) for n in range(20_000))
    symbols = split_file(tmp_path, lines)
    assert symbols.resolve(0xFFFFFFFF81000105) == ("f16", 5, "")
    assert symbols.address("f40") == 0xFFFFFFFF81000280
    assert len(symbols._data) < 20_000
    assert symbols.resolve(0xFFFFFFFF8104E1F5) == ("f19999", 5, "")


def test_refresh_sees_new_programs(tmp_path):
    symbols = split_file(tmp_path, TEXT)
    assert symbols.address("fresh") is None
    assert symbols.resolve(0xFFFFFFFFC0600004) is None
    with open(tmp_path / "kallsyms", "ab") as file:
        file.write(b"ffffffffc0600000 t fresh\t[bpf]\n")
    assert symbols.address("fresh") is None
    symbols.refresh()
    assert symbols.address("fresh") == 0xFFFFFFFFC0600000
    assert symbols.resolve(0xFFFFFFFFC0600004) == ("fresh", 4, "bpf")


def test_an_absent_file_is_an_error_that_says_so(tmp_path):
    symbols = Kallsyms(path=str(tmp_path / "none"))
    with pytest.raises(SyscallError, match="CONFIG_KALLSYMS"):
        symbols.address("vfs_read")


def test_an_empty_file_has_a_reason(tmp_path):
    symbols = split_file(tmp_path, b"")
    assert "empty" in symbols.reason
    assert symbols.resolve(0xFFFFFFFF81000107) is None
    assert symbols.functions() == []

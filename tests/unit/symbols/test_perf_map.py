"""Maps of just-in-time compilers."""

from __future__ import annotations

import os

import pytest

from bpflens.symbols.perf_map import PerfMap, read_perf_map

TEXT = b"""\
1000 100 first function
1100 20 LazyCompile:~handler /app/server.js:10
half a li
1000 10 reused memory
2000 1000 outer
2010 10 inner
"""


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (0x1005, ("reused memory", 5)),
        (0x1010, None),
        (0x1104, ("LazyCompile:~handler /app/server.js:10", 4)),
        (0x2018, ("inner", 8)),
        (0x2020, ("outer", 0x20)),
        (0x3000, None),
        (0xFFF, None),
    ],
)
def test_the_latest_function_at_an_address(address, expected):
    assert PerfMap(TEXT).resolve(address) == expected


def test_a_file_is_read_once_until_it_grows(tmp_path):
    path = tmp_path / "perf-1.map"
    path.write_bytes(TEXT)
    first = read_perf_map(str(path), os.getuid())
    assert len(first) == 4
    assert read_perf_map(str(path), os.getuid(), first.size) is None
    path.write_bytes(TEXT + b"5000 10 late\n")
    assert read_perf_map(str(path), os.getuid(), first.size).resolve(0x5001) == ("late", 1)


def test_what_is_not_the_process_owners_is_not_believed(tmp_path):
    path = tmp_path / "perf-1.map"
    path.write_bytes(TEXT)
    if os.getuid() == 0:
        os.chown(path, 12345, 12345)
    assert read_perf_map(str(path), 54321) is None


def test_links_fifos_and_absent_files_are_no_maps(tmp_path):
    (tmp_path / "real").write_bytes(TEXT)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    os.mkfifo(tmp_path / "fifo")
    for name in ("link", "fifo", "absent", "."):
        assert read_perf_map(str(tmp_path / name), os.getuid()) is None

"""The running kernel's own table, read our way and the plain way."""

from __future__ import annotations

import bisect
import random

import pytest

from bpflens.symbols import Kallsyms

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def rows():
    found = []
    with open("/proc/kallsyms") as file:
        for line in file:
            address, kind, name, *module = line.split()
            found.append((int(address, 16), kind, name, module[0][1:-1] if module else ""))
    if not any(row[0] for row in found):
        pytest.skip("the kernel hides addresses from this user")
    return found


def test_addresses_resolve_as_in_a_sorted_table(rows):
    known = sorted((row for row in rows if row[0] >> 63), key=lambda row: row[0])
    starts = [row[0] for row in known]
    symbols = Kallsyms()
    rng = random.Random(1)
    for _ in range(2000):
        start = rng.choice(starts[:-1])
        first = bisect.bisect_left(starts, start)
        after = bisect.bisect_right(starts, start)
        address = rng.randrange(
            start, min(starts[after] if after < len(starts) else start + 1, start + 4096)
        )
        _, _, name, module = known[first]
        assert symbols.resolve(address) == (name, address - start, module)


def test_names_have_the_address_of_their_first_line(rows):
    first = {}
    for address, _, name, _ in rows:
        first.setdefault(name, address)
    symbols = Kallsyms()
    for name in random.Random(2).sample(sorted(first), 500):
        assert symbols.address(name) == first[name]


def stays(name):
    # Programs that others load and unload meanwhile stand among the kernel's own symbols.
    return not name.startswith(("bpf_prog_", "bpf_trampoline_"))


def test_every_line_is_seen(rows):
    seen = [(a, t, n, m) for n, a, t, m in Kallsyms() if stays(n)]
    assert seen == [row for row in rows if stays(row[2])]


def test_functions_are_the_text_symbols(rows):
    names = dict.fromkeys(name for _, kind, name, _ in rows if kind in "tTwW")
    assert list(filter(stays, Kallsyms().functions())) == list(filter(stays, names))
    assert Kallsyms().functions("vfs_*") == [name for name in names if name.startswith("vfs_")]

"""Fill a map with a million entries and read them back in blocks of raw bytes.

Shows what the blocks are good for: a sum over a million counters without a Python object for each.
Run as root: python3 examples/python/million_entries.py [ENTRIES]
"""

from __future__ import annotations

import sys
import time
from array import array

from bpflens import Map


def main() -> None:
    entries = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with Map.create("hash", key="I", value="Q", max_entries=entries, name="counters") as counters:
        start = time.perf_counter()
        counters.update_batch(
            array("I", range(entries)).tobytes(), array("Q", range(entries)).tobytes()
        )
        filled = time.perf_counter()
        total = sum(sum(values.cast("Q")) for _, values, _ in counters.blocks())
        summed = time.perf_counter()
    print(f"{entries} entries, sum {total}")
    print(f"stored in {(filled - start) / entries * 1e6:.2f} us an entry")
    print(f"read and summed in {(summed - filled) / entries * 1e6:.2f} us an entry")


if __name__ == "__main__":
    main()

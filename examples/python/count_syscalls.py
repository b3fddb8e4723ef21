"""Count system calls by process for a second, and print the busiest processes.

A raw tracepoint adds to a per-CPU hash map; the map is read in blocks and summed over CPUs.
Run as root: python3 examples/python/count_syscalls.py [SECONDS]
"""

from __future__ import annotations

import sys
import time

from bpflens import Link, Map, Program
from bpflens.asm.assemble import assemble
from bpflens.asm.instruction import encode

COUNT = """
    call bpf_get_current_pid_tgid
    r0 >>= 32
    *(u32 *)(r10 -4) = r0               // key: the process id
    r1 = map[counts]
    r2 = r10
    r2 += -4
    call bpf_map_lookup_elem
    if r0 == 0 goto new
    r1 = *(u64 *)(r0 +0)
    r1 += 1
    *(u64 *)(r0 +0) = r1                // this CPU's own value: nothing to lock
    r0 = 0
    exit
new:
    *(u64 *)(r10 -16) = 1
    r1 = map[counts]
    r2 = r10
    r2 += -4
    r3 = r10
    r3 += -16
    r4 = 0
    call bpf_map_update_elem
    r0 = 0
    exit
"""


def name_of(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm") as file:
            return file.read().strip()
    except OSError:
        return "(gone)"


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    with Map.create("percpu_hash", key="I", value="Q", max_entries=10240, name="counts") as counts:
        code = encode(assemble(COUNT, {"counts": counts.fd}))
        with (
            Program.load("raw_tracepoint", code, name="count_syscalls") as program,
            Link.raw_tracepoint(program, "sys_enter"),
        ):
            time.sleep(seconds)
        totals = {pid: sum(values) for pid, values in counts.items()}
    for pid, total in sorted(totals.items(), key=lambda item: -item[1])[:10]:
        print(f"{total:>10}  {pid:>7}  {name_of(pid)}")


if __name__ == "__main__":
    main()

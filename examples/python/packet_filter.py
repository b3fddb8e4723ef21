"""Load an XDP program and try it on packets of our own; no interface is touched.

Run as root: python3 examples/python/packet_filter.py
"""

from __future__ import annotations

import struct

from bpflens import Program, VerifierError
from bpflens.asm.assemble import assemble
from bpflens.asm.instruction import encode

XDP_DROP, XDP_PASS = 1, 2

DROP_IPV6 = """
    r2 = *(u32 *)(r1 +0)                // data
    r3 = *(u32 *)(r1 +4)                // data_end
    r0 = 2                              // XDP_PASS
    r4 = r2
    r4 += 14
    if r4 > r3 goto out                 // no whole Ethernet header
    r5 = *(u16 *)(r2 +12)
    if r5 != 56710 goto out             // 0x86dd in network order: IPv6
    r0 = 1                              // XDP_DROP
out:
    exit
"""

# The same without the length check: the verifier will not have it.
CARELESS = """
    r2 = *(u32 *)(r1 +0)
    r0 = *(u16 *)(r2 +12)
    exit
"""


def frame(ethertype: int) -> bytes:
    return bytes(12) + struct.pack(">H", ethertype) + bytes(46)


def main() -> None:
    with Program.load("xdp", encode(assemble(DROP_IPV6)), name="drop_ipv6") as program:
        for name, ethertype in (("IPv4", 0x0800), ("IPv6", 0x86DD)):
            run = program.test_run(data=frame(ethertype), repeat=100_000)
            verdict = {XDP_DROP: "dropped", XDP_PASS: "passed"}[run.retval]
            print(f"{name}: {verdict}, {run.duration} ns a packet")
    try:
        Program.load("xdp", encode(assemble(CARELESS)), name="careless").close()
    except VerifierError as error:
        print(f"refused: {error}")


if __name__ == "__main__":
    main()

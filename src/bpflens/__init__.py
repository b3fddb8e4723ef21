"""bpflens: see, trace and measure a Linux system through BPF, in pure Python.

One package does the work of bpftool, bpftrace, ebpf_exporter and kubectl-trace. The names below
are the public Python API; they are imported on first use, so that ``import bpflens`` is free.

Example::

    from bpflens import Map

    with Map.by_name("counters") as counters:
        for key, value in counters.items():
            print(key, value)
"""

from __future__ import annotations

__version__ = "0.1.0"

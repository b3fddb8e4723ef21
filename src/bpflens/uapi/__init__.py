"""The kernel's user-space ABI as plain data: constants, name tables, structure layouts.

Everything in here is generated (see ``tools/gen_uapi.py``); there is no logic. Import the modules,
not this package, so that only what is needed is read.

Example::

    from bpflens.uapi import bpf
    bpf.MAP_TYPE_NAMES[bpf.BPF_MAP_TYPE_HASH]      # 'hash'
"""

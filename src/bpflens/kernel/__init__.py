"""The one seam to the kernel: every system call of the package is made in this room.

``syscall`` is the seam itself (one replaceable function), ``memory`` the buffers whose addresses
are handed to the kernel, ``bpf`` every command of bpf(2), ``info`` the structures that
BPF_OBJ_GET_INFO_BY_FD fills, ``link`` the many forms of BPF_LINK_CREATE, ``perf``
perf_event_open(2), ``mmap`` shared rings, ``tracefs``, ``cpu``, ``capability``, ``limits`` and
``feature`` (what this kernel can do, found by trying). Nothing is imported here: each module is
imported by those who need it.
"""

"""BTF, the type information of the kernel and of BPF programs: read, write, print, apply.

Pure: bytes in, objects out. ``Btf`` reads; the other modules stand beside it and are imported
by those who need them: ``cache`` (an index on disk), ``query`` (members, functions, enumerators
by name), ``builder`` and ``ext`` (writing), ``decode`` (bytes of a type to values), ``core``
(CO-RE relocations), ``cdump`` and ``rawdump`` (text).

Example::

    from bpflens.btf import Btf
    from bpflens.btf.query import function

    for param in function(Btf(data), "vfs_read").params:
        print(param.name)
"""

from __future__ import annotations

from bpflens.btf.reader import Btf

__all__ = ["Btf"]

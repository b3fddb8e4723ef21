"""ELF files: bytes in, sections, symbols, relocations, notes and probes out.

Both word sizes, both byte orders, no third-party library. Nothing here touches a kernel; a path
is only a way to name bytes. Damaged input raises :class:`bpflens.errors.FormatError` and nothing
else.

* :mod:`bpflens.elf.file` the file: header, sections, segments, symbols, relocations, notes
* :mod:`bpflens.elf.symbols` large symbol tables: address → name, name → address, globs
* :mod:`bpflens.elf.usdt` static probes and their argument strings
* :mod:`bpflens.elf.debuglink` where a stripped file's symbols may be found
* :mod:`bpflens.elf.writer` a small builder

Example::

    from bpflens.elf import File

    with File("/usr/bin/python3.11") as file:
        print(file.build_id.hex(), file.symbol("main").value)
"""

from __future__ import annotations

from bpflens.elf.file import File, Relocation, Section, Segment, Symbol

__all__ = ["File", "Relocation", "Section", "Segment", "Symbol"]

"""What generated Python skeletons are made of: an object file, its variables, maps, programs.

``bpftool gen skeleton FILE --python`` writes a module whose classes derive from these. Variables
are set before the object is loaded (constants only then) and live in the kernel's memory
afterwards: what a program changes is seen at once, without a system call.

Example::

    class TinyBpf(Skeleton):
        def __init__(self):
            super().__init__(OBJECT, "tiny_bpf")
            self.data = Data(self, ".data")

    with TinyBpf() as tiny:
        tiny.load().attach()
        print(tiny.data.counter)
"""

from __future__ import annotations

import mmap

from bpflens.attach.attachment import close_all
from bpflens.attach.loaded_object import ObjectAttacher
from bpflens.kernel.mmap import Mapping
from bpflens.load.collection import load_object
from bpflens.load.object_file import read
from bpflens.uapi.bpf import BPF_F_MMAPABLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, Self

    from bpflens.attach.attachment import Attachment
    from bpflens.load.collection import Loaded
    from bpflens.objects.map import Map
    from bpflens.objects.program import Program

__all__ = ["Section", "Skeleton"]


class Section:
    """The global variables of one section of data."""

    __slots__ = ("_key", "_mapping", "_skeleton", "_start")

    def __init__(self, skeleton: Skeleton, key: str) -> None:
        self._skeleton = skeleton
        self._key = key
        self._mapping: Mapping | None = None
        spec = skeleton.spec.maps[key]
        self._start = bytearray(spec.contents[0][1] if spec.contents else bytes(spec.value_size))
        skeleton.sections.append(self)

    def read(self, offset: int, size: int) -> bytes:
        """Return bytes of the section, as they are now."""
        return bytes(self._memory()[offset : offset + size])

    def write(self, offset: int, data: bytes) -> None:
        """Store bytes in the section. Raises ValueError for constants of a loaded object."""
        if self._skeleton.loaded is not None and self._skeleton.spec.maps[self._key].freeze:
            raise ValueError(
                f"variables of {self._key} cannot be changed once the object is loaded"
            )
        self._memory()[offset : offset + len(data)] = data

    def _memory(self) -> memoryview:
        loaded = self._skeleton.loaded
        if loaded is None:
            return memoryview(self._start)
        if self._mapping is None:
            spec = self._skeleton.spec.maps[self._key]
            protection = mmap.PROT_READ | (0 if spec.freeze else mmap.PROT_WRITE)
            page = mmap.PAGESIZE
            size = -(-spec.value_size // page) * page
            self._mapping = Mapping(loaded.maps[self._key].fd, size, protection)
        return self._mapping.view

    def prepare(self) -> None:
        """Give the object that is about to be loaded the values set so far."""
        spec = self._skeleton.spec.maps[self._key]
        # Since Linux 5.5 (fc9702273e2e "bpf: Add mmap() support for BPF_MAP_TYPE_ARRAY").
        spec.flags |= BPF_F_MMAPABLE
        spec.contents = [(bytes(4), bytes(self._start))] if any(self._start) else []

    def close(self) -> None:
        """Give the memory back."""
        mapping, self._mapping = self._mapping, None
        if mapping is not None:
            mapping.close()


class Skeleton:
    """An object file on its way into the kernel: ``load()``, ``attach()``, ``close()``.

    ``spec`` may be changed before loading; ``loaded`` is None until then.
    """

    def __init__(self, data: bytes, name: str) -> None:
        self.spec = read(data, name)
        self.sections: list[Section] = []
        self.loaded: Loaded | None = None
        self.attachments: list[Attachment] = []

    def load(self, **options: Any) -> Self:
        """Create the maps and load the programs; options as :func:`load_object` takes them."""
        for section in self.sections:
            section.prepare()
        self.loaded = load_object(self.spec, **options)
        return self

    def attach(self) -> Self:
        """Attach every program whose section says to what; see also :meth:`program`."""
        self.attachments.extend(ObjectAttacher(self._loaded()).attach_all())
        return self

    def detach(self) -> None:
        """Detach what :meth:`attach` has attached."""
        attachments, self.attachments = self.attachments, []
        close_all(attachments)

    def map(self, name: str) -> Map:
        """Return a map of the loaded object."""
        return self._loaded().maps[name]

    def program(self, name: str) -> Program:
        """Return a program of the loaded object."""
        return self._loaded().programs[name]

    def _loaded(self) -> Loaded:
        if self.loaded is None:
            raise ValueError(f"{self.spec.name}: the object is not loaded yet, call load()")
        return self.loaded

    def close(self) -> None:
        """Detach everything and close the object."""
        self.detach()
        for section in self.sections:
            section.close()
        loaded, self.loaded = self.loaded, None
        if loaded is not None:
            loaded.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

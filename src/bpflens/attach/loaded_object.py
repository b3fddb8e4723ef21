"""Attach a loaded object: each program to what its section names, each table of functions.

Programs with static user probes get the places of their arguments, which all programs of an
object share. What needs to be told more (an interface, a cgroup) is left to the caller:
:func:`bpflens.attach.section.can_attach` tells which those are.

Example::

    with load_object(spec) as loaded:
        attachments = ObjectAttacher(loaded).attach_all()
"""

from __future__ import annotations

from bpflens.attach.attachment import close_all
from bpflens.attach.section import can_attach, probe_of
from bpflens.attach.usdt_spec import SPECS_MAP, UsdtSpecs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.attach.attachment import Attachment
    from bpflens.load.collection import Loaded

__all__ = ["ObjectAttacher"]


class ObjectAttacher:
    """Attaches the programs and tables of one loaded object."""

    __slots__ = ("_loaded", "_specs")

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self._specs: UsdtSpecs | None = None

    def attach(self, name: str, *, cookie: int = 0) -> Attachment:
        """Attach one program by its section; raises :class:`~bpflens.errors.AttachError`."""
        program = self._loaded.programs[name]
        probe = probe_of(self._loaded.spec.programs[name])
        if SPECS_MAP in self._loaded.maps:
            from bpflens.attach.usdt import Usdt

            if isinstance(probe, Usdt):
                return self._usdt_specs().attach(probe, program, cookie=cookie)
        return probe.attach(program, cookie=cookie)

    def attach_table(self, name: str) -> Attachment:
        """Register one struct_ops map."""
        from bpflens.attach.struct_ops import StructOps

        loaded = self._loaded
        return StructOps(name, loaded.maps[name], loaded.tables[name]).attach()

    def attach_all(self) -> list[Attachment]:
        """Attach every program whose section says to what, and every table.

        When one cannot be attached the others are detached again.
        """
        made: list[Attachment] = []
        try:
            for name in self._loaded.programs:
                if can_attach(self._loaded.spec.programs[name]):
                    made.append(self.attach(name))  # noqa: PERF401 (known on failure)
            for name in self._loaded.tables:
                made.append(self.attach_table(name))  # noqa: PERF401 (known on failure)
        except BaseException:
            close_all(made)
            raise
        return made

    def _usdt_specs(self) -> UsdtSpecs:
        if self._specs is None:
            knows = _knows_index(self._loaded.spec.btf)
            self._specs = UsdtSpecs(self._loaded.maps[SPECS_MAP], knows_index=knows)
        return self._specs


# Whether the object was built with a usdt.bpf.h whose format has an index register.
def _knows_index(data: bytes) -> bool:
    if not data:
        return False
    from bpflens.btf import Btf
    from bpflens.btf.types import Struct
    from bpflens.uapi.btf import BTF_KIND_STRUCT

    btf = Btf(data, pointer_size=8)
    id = btf.find("__bpf_usdt_arg_spec", BTF_KIND_STRUCT)
    spec = btf.type(id) if id else None
    return isinstance(spec, Struct) and any(m.name == "idx_reg_off" for m in spec.members)

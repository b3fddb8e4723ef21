"""Links: an attachment that is an object, and ends when the last hold on it does.

Turns a program and a place into an attachment. :meth:`Link.create` makes the common kinds by
their own class methods; closing a link detaches, unless it is pinned or somebody else holds it. A
perf event that a link runs on is owned by the link object and closed with it.

Example::

    with Link.raw_tracepoint(program, "sched_switch") as link:
        print(link.info.tp_name)
"""

from __future__ import annotations

import os

from bpflens.kernel import link as _links
from bpflens.kernel import object_command as _objects
from bpflens.kernel.link_info import LinkInfo, link_info
from bpflens.objects.handle import Handle
from bpflens.uapi import bpf as _uapi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from bpflens.objects.map import Map
    from bpflens.objects.program import Program

__all__ = ["Link"]


class Link(Handle):
    """A link. ``Link(fd)`` takes over a descriptor; the class methods attach or open one."""

    __slots__ = ("_event_fd",)

    def __init__(self, fd: int, event_fd: int = -1) -> None:
        Handle.__init__(self, fd)
        self._event_fd = event_fd

    # --- where links come from ---

    @classmethod
    def from_fd(cls, fd: int) -> Self:
        """Take over a descriptor."""
        return cls(fd)

    @classmethod
    def from_id(cls, id: int) -> Self:
        """Open the link with this id. Raises SyscallError when there is none."""
        return cls(_objects.link_get_fd_by_id(id))

    @classmethod
    def from_pin(cls, path: str) -> Self:
        """Open the link that is pinned at ``path``."""
        return cls(_objects.obj_get(path))

    @classmethod
    def raw_tracepoint(cls, program: Program, name: str | None = None, *, cookie: int = 0) -> Self:
        """Attach to a raw tracepoint; without ``name`` to what the program was loaded for (tp_btf,
        fentry, LSM)."""
        return cls(_objects.raw_tracepoint_open(program.fd, name, cookie))

    @classmethod
    def perf_event(cls, program: Program, event_fd: int, *, cookie: int = 0) -> Self:
        """Run at each event of ``event_fd``, which the link owns from now on."""
        return cls(_links.perf_event(program.fd, event_fd, cookie), event_fd)

    @classmethod
    def tracepoint(
        cls, program: Program, system: str, name: str, *, cookie: int = 0, pid: int = -1
    ) -> Self:
        """Attach to the tracepoint ``system:name``, of all processes or one."""
        from bpflens.kernel.perf import open_tracepoint
        from bpflens.kernel.tracefs import event_id

        event = open_tracepoint(event_id(system, name), pid=pid, what=f"{system}:{name}")
        return cls._on_event(program, event, cookie)

    @classmethod
    def probe(
        cls,
        program: Program,
        kind: str,
        target: str,
        offset: int = 0,
        *,
        retprobe: bool = False,
        ref_ctr_offset: int = 0,
        pid: int = -1,
        cookie: int = 0,
    ) -> Self:
        """Attach to a ``"uprobe"`` (path and file offset) or ``"kprobe"`` (function and offset)."""
        from bpflens.kernel.perf import open_probe

        event = open_probe(
            kind, target, offset, retprobe=retprobe, ref_ctr_offset=ref_ctr_offset, pid=pid
        )
        return cls._on_event(program, event, cookie)

    @classmethod
    def _on_event(cls, program: Program, event: int, cookie: int) -> Self:
        try:
            link = cls.perf_event(program, event, cookie=cookie)
        except BaseException:
            os.close(event)
            raise
        return link

    @classmethod
    def tracing(
        cls,
        program: Program,
        attach_type: int | None = None,
        *,
        target_fd: int = 0,
        target_btf_id: int = 0,
        cookie: int = 0,
    ) -> Self:
        """Attach an fentry, fexit, fmod_ret, LSM, tp_btf or freplace program."""
        if attach_type is None:
            return cls(_objects.raw_tracepoint_open(program.fd, None, cookie))
        fd = _links.tracing(
            program.fd, attach_type, target_fd=target_fd, target_btf_id=target_btf_id, cookie=cookie
        )
        return cls(fd)

    @classmethod
    def kprobe_multi(
        cls,
        program: Program,
        *,
        symbols: Sequence[str] = (),
        addresses: Sequence[int] = (),
        cookies: Sequence[int] = (),
        return_probe: bool = False,
        session: bool = False,
    ) -> Self:
        """Attach to many kernel functions at once."""
        fd = _links.kprobe_multi(
            program.fd, symbols=symbols, addresses=addresses, cookies=cookies,
            return_probe=return_probe, session=session,
        )  # fmt: skip
        return cls(fd)

    @classmethod
    def uprobe_multi(
        cls,
        program: Program,
        path: str,
        offsets: Sequence[int],
        *,
        ref_ctr_offsets: Sequence[int] = (),
        cookies: Sequence[int] = (),
        pid: int = 0,
        return_probe: bool = False,
        session: bool = False,
    ) -> Self:
        """Attach to many file offsets of a binary at once."""
        fd = _links.uprobe_multi(
            program.fd, path, offsets, ref_ctr_offsets=ref_ctr_offsets, cookies=cookies, pid=pid,
            return_probe=return_probe, session=session,
        )  # fmt: skip
        return cls(fd)

    @classmethod
    def iterator(
        cls,
        program: Program,
        *,
        map: Map | None = None,
        cgroup_fd: int | None = None,
        order: int = _uapi.BPF_CGROUP_ITER_ORDER_UNSPEC,
        tid: int = 0,
        pid: int = 0,
    ) -> Self:
        """Make an iterator; :meth:`read_iterator` runs it."""
        map_fd = None if map is None else map.fd
        fd = _links.iterator(
            program.fd, map_fd=map_fd, cgroup_fd=cgroup_fd, order=order, tid=tid, pid=pid
        )
        return cls(fd)

    @classmethod
    def xdp(cls, program: Program, ifindex: int, *, flags: int = 0) -> Self:
        """Attach to an interface."""
        return cls(_links.xdp(program.fd, ifindex, flags))

    @classmethod
    def tcx(
        cls,
        program: Program,
        ifindex: int,
        *,
        egress: bool = False,
        flags: int = 0,
        relative: int = 0,
        expected_revision: int = 0,
    ) -> Self:
        """Attach to an interface's ingress or egress; see :func:`bpflens.kernel.link.ordered`."""
        attach_type = _uapi.BPF_TCX_EGRESS if egress else _uapi.BPF_TCX_INGRESS
        fd = _links.ordered(
            program.fd, ifindex, attach_type, flags=flags, relative=relative,
            expected_revision=expected_revision,
        )  # fmt: skip
        return cls(fd)

    @classmethod
    def netkit(
        cls,
        program: Program,
        ifindex: int,
        *,
        peer: bool = False,
        flags: int = 0,
        relative: int = 0,
    ) -> Self:
        """Attach to a netkit device, or from it to its peer."""
        attach_type = _uapi.BPF_NETKIT_PEER if peer else _uapi.BPF_NETKIT_PRIMARY
        fd = _links.ordered(program.fd, ifindex, attach_type, flags=flags, relative=relative)
        return cls(fd)

    @classmethod
    def cgroup(cls, program: Program, cgroup: int | str, attach_type: int) -> Self:
        """Attach to a cgroup, given as a descriptor or the path of its directory."""
        if isinstance(cgroup, int):
            return cls(_links.cgroup(program.fd, cgroup, attach_type))
        fd = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return cls(_links.cgroup(program.fd, fd, attach_type))
        finally:
            os.close(fd)

    @classmethod
    def netns(cls, program: Program, netns_fd: int, attach_type: int) -> Self:
        """Attach a flow dissector or sk_lookup program to a network namespace."""
        return cls(_links.netns(program.fd, netns_fd, attach_type))

    @classmethod
    def netfilter(
        cls, program: Program, protocol: int, hook: int, priority: int = 0, *, defrag: bool = False
    ) -> Self:
        """Attach to a netfilter hook of the current network namespace."""
        return cls(_links.netfilter(program.fd, protocol, hook, priority, defrag=defrag))

    @classmethod
    def sockmap(cls, program: Program, map: Map, attach_type: int) -> Self:
        """Attach an sk_msg or sk_skb program to a sockmap or sockhash."""
        return cls(_links.sockmap(program.fd, map.fd, attach_type))

    @classmethod
    def struct_ops(cls, map: Map) -> Self:
        """Register a struct_ops map that was made with BPF_F_LINK."""
        return cls(_links.struct_ops(map.fd))

    # --- what it is, and changing it ---

    @property
    def info(self) -> LinkInfo:
        """What the kernel says of the link now, as the class of its type."""
        return link_info(self.fd)

    @property
    def id(self) -> int:
        """The id of the link."""
        return self.info.id

    @property
    def type_name(self) -> str:
        """The name of the link's type (``"perf_event"``), or its number."""
        type = self.info.type
        names = _uapi.LINK_TYPE_NAMES
        return names[type] if type < len(names) else str(type)

    def update(self, new: Program | Map, *, old: Program | Map | None = None) -> None:
        """Put another program (a struct_ops link: map) in place, all at once.

        With ``old`` only if that is what is there now.
        """
        flags = _uapi.BPF_F_REPLACE if old is not None else 0
        _objects.link_update(self.fd, new.fd, flags=flags, old_fd=old.fd if old is not None else 0)

    def detach(self) -> None:
        """Detach now, whoever else holds the link. Not every kind can: SyscallError EOPNOTSUPP."""
        _objects.link_detach(self.fd)

    def read_iterator(self) -> bytes:
        """Run an iterator from its beginning and return all that it wrote."""
        fd = _objects.iter_create(self.fd)
        parts = []
        try:
            while part := os.read(fd, 1 << 16):
                parts.append(part)
        finally:
            os.close(fd)
        return b"".join(parts)

    def close(self) -> None:
        """Close the link, and the perf event that it ran on."""
        event, self._event_fd = self._event_fd, -1
        Handle.close(self)
        if event >= 0:
            os.close(event)

    def __del__(self) -> None:
        if getattr(self, "_fd", -1) >= 0 or getattr(self, "_event_fd", -1) >= 0:
            self.close()

    def __repr__(self) -> str:
        if self.closed:
            return "<Link closed>"
        return f"<Link {self.info.id} {self.type_name} fd {self._fd}>"

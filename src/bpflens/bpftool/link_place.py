"""In which network namespace is the interface of a link that no process holds?

The kernel gives an ifindex and no namespace. Where a link is listed for the interface with that
index, there it is: this namespace is asked first, then those with a name in /run/netns.

Example::

    device_name(info)       # "v0", although that interface is in the namespace called "lab"
"""

from __future__ import annotations

import os

from bpflens.bpftool import device, namespace
from bpflens.errors import SyscallError
from bpflens.kernel.link_info import Tcx
from bpflens.kernel.object_command import prog_query

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.kernel.link_info import Xdp

__all__ = ["device_name"]

_NAMED = "/run/netns"


def device_name(info: Xdp | Tcx) -> str:
    """Return the name of the link's interface, empty where no namespace is found for it."""
    if _is_here(info):
        return device.name(info.ifindex)
    try:
        names = sorted(os.listdir(_NAMED))
    except OSError:
        names = []
    for name in names:
        found = namespace.inside(f"{_NAMED}/{name}", lambda: _named_here(info))
        if found:
            return found
    return ""


def _named_here(info: Xdp | Tcx) -> str:
    return device.name(info.ifindex) if _is_here(info) else ""


def _is_here(info: Xdp | Tcx) -> bool:
    if isinstance(info, Tcx):
        try:
            found = prog_query(info.ifindex, info.attach_type, links=True)
        except (SyscallError, OSError):
            return False
        return info.id in found.link_ids
    from bpflens.bpftool.netlink import IFLA_XDP, Route, attributes, u32

    with Route() as route:
        found_links = dict(route.links())
    xdp = attributes(found_links.get(info.ifindex, {}).get(IFLA_XDP, b""))
    return any(len(value) == 4 and u32(value) == info.prog_id for value in xdp.values())

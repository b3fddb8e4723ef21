"""What this process may do: capabilities by name, and dropping them.

Turns the kernel's bit sets (capget(2), /proc/self/status) into names and answers. Nothing is
cached: a process may drop capabilities at any time.

Example::

    if not has(CAP_BPF):
        print("effective:", ", ".join(names()))
"""

from __future__ import annotations

import struct

from bpflens.kernel import syscall as _seam
from bpflens.kernel.memory import Buffer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "CAP_BPF",
    "CAP_DAC_READ_SEARCH",
    "CAP_IPC_LOCK",
    "CAP_NAMES",
    "CAP_NET_ADMIN",
    "CAP_PERFMON",
    "CAP_SYSLOG",
    "CAP_SYS_ADMIN",
    "CAP_SYS_PTRACE",
    "CAP_SYS_RESOURCE",
    "drop_all_but",
    "effective",
    "has",
    "names",
    "permitted",
]

CAP_DAC_READ_SEARCH = 2
CAP_NET_ADMIN = 12
CAP_IPC_LOCK = 14
CAP_SYS_PTRACE = 19
CAP_SYS_ADMIN = 21
CAP_SYS_RESOURCE = 24
CAP_SYSLOG = 34
CAP_PERFMON = 38
CAP_BPF = 39

CAP_NAMES: tuple[str, ...] = tuple(
    (
        "chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap "
        "linux_immutable net_bind_service net_broadcast net_admin net_raw ipc_lock ipc_owner "
        "sys_module sys_rawio sys_chroot sys_ptrace sys_pacct sys_admin sys_boot sys_nice "
        "sys_resource sys_time sys_tty_config mknod lease audit_write audit_control setfcap "
        "mac_override mac_admin syslog wake_alarm block_suspend audit_read perfmon bpf "
        "checkpoint_restore"
    ).split()
)
"""Names by number, without ``CAP_`` and in lower case."""

# linux/capability.h: version 3 has two words for each of effective, permitted, inheritable.
_VERSION_3 = 0x20080522
_HEADER = struct.Struct("=II")
_DATA = struct.Struct("=6I")


def _get() -> tuple[int, ...]:
    header, data = Buffer(_HEADER.size), Buffer(_DATA.size)
    _HEADER.pack_into(header.raw, 0, _VERSION_3, 0)
    _seam.syscall("capget", header.address, data.address)
    return _DATA.unpack_from(data.raw, 0)


def effective() -> int:
    """Return the effective capabilities of this thread as a bit set."""
    words = _get()
    return words[0] | words[3] << 32


def permitted() -> int:
    """Return the permitted capabilities of this thread as a bit set."""
    words = _get()
    return words[1] | words[4] << 32


def has(capability: int) -> bool:
    """Say whether ``capability`` is effective.

    CAP_SYS_ADMIN stands for CAP_BPF and CAP_PERFMON too, as it does in the kernel.
    """
    # Since Linux 5.8 (a17b53c4a4b5 "bpf, capability: Introduce CAP_BPF"): the two were split
    # from CAP_SYS_ADMIN, which still includes them.
    held = effective()
    if held >> capability & 1:
        return True
    return capability in (CAP_BPF, CAP_PERFMON) and bool(held >> CAP_SYS_ADMIN & 1)


def names(bits: int | None = None) -> list[str]:
    """Return the names of the capabilities in ``bits`` (the effective ones by default)."""
    if bits is None:
        bits = effective()
    return [_name(number) for number in range(bits.bit_length()) if bits >> number & 1]


def _name(number: int) -> str:
    return CAP_NAMES[number] if number < len(CAP_NAMES) else str(number)


def drop_all_but(keep: Iterable[int]) -> None:
    """Give up every capability of this thread that is not in ``keep``, for good."""
    mask = sum(1 << number for number in set(keep))
    words = _get()
    low, high = mask & 0xFFFFFFFF, mask >> 32
    header, data = Buffer(_HEADER.size), Buffer(_DATA.size)
    _HEADER.pack_into(header.raw, 0, _VERSION_3, 0)
    _DATA.pack_into(
        data.raw, 0, words[0] & low, words[1] & low, words[2] & low,
        words[3] & high, words[4] & high, words[5] & high,
    )  # fmt: skip
    _seam.syscall("capset", header.address, data.address)

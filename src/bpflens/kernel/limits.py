"""What restrains BPF on this system: memory lock limit, lockdown, sysctls, kernel options.

Turns files of /proc and /sys into plain answers; what cannot be read is ``None``, never an error.
RLIMIT_MEMLOCK is raised at most once, only where the kernel charges BPF memory to it, and a
failure to do so is never fatal.

Example::

    if lockdown() == "confidentiality":
        print("the kernel lets nobody read its memory")
"""

from __future__ import annotations

import os
import struct

from bpflens.kernel import syscall as _seam
from bpflens.kernel.memory import Buffer

__all__ = ["kernel_config", "kernel_option", "lockdown", "raise_memlock_if_needed", "sysctl"]

_RLIMIT_MEMLOCK = 8
_INFINITY = (1 << 64) - 1

_memlock_done = False


def _read(path: str) -> str | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return os.read(fd, 65536).decode("utf-8", "replace")
    except OSError:
        return None
    finally:
        os.close(fd)


def sysctl(name: str) -> int | None:
    """Return the number in ``/proc/sys/<name>``, dots as slashes; ``None`` when unreadable."""
    text = _read("/proc/sys/" + name.replace(".", "/"))
    try:
        return int(text) if text is not None else None
    except ValueError:
        return None


def lockdown() -> str | None:
    """Return ``"none"``, ``"integrity"`` or ``"confidentiality"``; ``None`` where unknown."""
    text = _read("/sys/kernel/security/lockdown")
    if text is None or "[" not in text:
        return None
    return text.partition("[")[2].partition("]")[0]


def raise_memlock_if_needed() -> bool:
    """Raise RLIMIT_MEMLOCK where BPF memory is charged to it; say whether that was done now.

    To be called after an EPERM: the answer says whether trying again makes sense.
    """
    global _memlock_done
    if _memlock_done:
        return False
    # Set first: the probe below loads a program and would come here again.
    _memlock_done = True
    return not _charged_to_cgroup() and _raise_memlock()


def _charged_to_cgroup() -> bool:
    # Since Linux 5.11 (the series that ends with 97306be45fbe "Merge branch 'switch to memcg-based
    # memory accounting'"): nothing is charged to the limit any more. The helper of the same
    # release, bpf_ktime_get_coarse_ns, tells the two apart.
    from bpflens.kernel.prog_command import prog_load
    from bpflens.uapi.bpf import BPF_PROG_TYPE_SOCKET_FILTER, BPF_FUNC_ktime_get_coarse_ns

    helper = BPF_FUNC_ktime_get_coarse_ns
    insns = b"\x85\0\0\0" + struct.pack("=I", helper) + b"\x95\0\0\0\0\0\0\0"
    try:
        os.close(prog_load(BPF_PROG_TYPE_SOCKET_FILTER, insns, explain=False))
    except OSError:
        return False
    return True


def _raise_memlock() -> bool:
    limit = Buffer(16)
    words = limit.view.cast("Q")
    try:
        _seam.syscall("prlimit64", 0, _RLIMIT_MEMLOCK, 0, limit.address)
        if words[0] == _INFINITY:
            return False
        hard = words[1]
        for wanted in ((_INFINITY, _INFINITY), (hard, hard)):
            words[0], words[1] = wanted
            if _seam.raw(_seam.number("prlimit64"), 0, _RLIMIT_MEMLOCK, limit.address, 0) == 0:
                return True
    except OSError:
        pass
    return False


_config: list[dict[str, str] | None] = []


def kernel_config() -> dict[str, str] | None:
    """Return the running kernel's options (``CONFIG_BPF`` → ``"y"``), ``None`` where not known.

    Read from /proc/config.gz, else from the configuration files distributions keep in /boot.
    """
    if not _config:
        text = _config_text()
        lines = text.split("\n") if text is not None else ()
        pairs = [line.partition("=") for line in lines if line[:7] == "CONFIG_"]
        options = {name: value.strip('"') for name, _, value in pairs}
        _config.append(options if text is not None else None)
    return _config[0]


def kernel_option(name: str) -> str | None:
    """Return the value of one kernel option; ``None`` when it is not set or nothing is known."""
    return (kernel_config() or {}).get(name)


def _config_text() -> str | None:
    release = os.uname().release
    for path in ("/proc/config.gz", f"/boot/config-{release}", f"/lib/modules/{release}/config"):
        try:
            with open(path, "rb") as file:
                data = file.read()
        except OSError:
            continue
        if path.endswith(".gz"):
            import gzip

            data = gzip.decompress(data)
        return data.decode("utf-8", "replace")
    return None

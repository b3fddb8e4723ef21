"""Names for what a trace collected, asked of the running system."""

from __future__ import annotations

import os
import time
from struct import iter_unpack

from bpflens.errors import Error
from bpflens.render.resolver import Frame, Resolver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bpflens.lang.program import ProbeSchema
    from bpflens.objects.map import Map
    from bpflens.session.host import HostTarget
    from bpflens.symbols import Process

__all__ = ["SystemResolver", "strftime"]

_MOST_PROCESSES = 256
# Addresses of code agree with those in the file up to this.
_PAGE = 4096
# The clocks of timestamps, as their second word numbers them.
_CLOCKS = {0: time.CLOCK_MONOTONIC, 1: time.CLOCK_BOOTTIME, 2: time.CLOCK_TAI}


class SystemResolver(Resolver):
    """Asks kallsyms, /proc, the password file and the clocks; remembers what it found."""

    def __init__(
        self,
        target: HostTarget,
        stack_map: Callable[[int], Map | None],
        strings: Sequence[str] = (),
        probes: Sequence[ProbeSchema] = (),
    ) -> None:
        self._target = target
        self._stack_map = stack_map
        self._strings = strings
        self._probes = [probe for probe in probes if "symbol" in probe.options]
        self._probed: dict[int, str] | None = None
        self._stacks: dict[tuple[int, int, bool, int], list[Frame] | None] = {}
        self._kernel: dict[int, Frame] = {}
        self._processes: dict[int, Process | None] = {}
        self._users: dict[int, str] = {}
        self._since: dict[int, int] = {}

    def kernel_symbol(self, address: int) -> Frame:
        """Name a kernel address by kallsyms."""
        found = self._kernel.get(address)
        if found is None:
            try:
                hit = self._target.kallsyms().resolve(address)
            except (Error, OSError):
                hit = None
            found = Frame(address, hit[0], hit[1], hit[2]) if hit else Frame(address)
            self._kernel[address] = found
        return found

    def user_symbol(self, address: int, pid: int, probe: int) -> Frame:
        """Name an address of a process by its maps and files.

        When the process is gone, an address may still be that of a function with a probe: code is
        loaded in whole pages, so that the place within the page tells.
        """
        process = self._process(pid)
        hit = None
        if process is not None:
            try:
                hit = process.resolve(address)
            except (Error, OSError):
                hit = None
        if hit:
            return Frame(address, hit[0], hit[1], hit[2])
        if process is not None and os.path.exists(f"/proc/{pid}"):
            return Frame(address)
        name = self._functions_probed().get(address % _PAGE, "")
        return Frame(address, name) if name else Frame(address)

    def _functions_probed(self) -> dict[int, str]:
        if self._probed is None:
            self._probed = {}
            for probe in self._probes:
                symbol = str(probe.options["symbol"])
                place = self._target.user_symbol(str(probe.options["path"]), symbol)
                if place is not None:
                    at = place[0] % _PAGE
                    # Two that look alike say nothing.
                    known = self._probed.get(at, symbol)
                    self._probed[at] = symbol if known == symbol else ""
        return self._probed

    def _process(self, pid: int) -> Process | None:
        if pid not in self._processes:
            from bpflens.symbols import Process

            if len(self._processes) >= _MOST_PROCESSES:
                self._processes.pop(next(iter(self._processes)))
            try:
                self._processes[pid] = Process(pid)
            except (Error, OSError):
                self._processes[pid] = None
        return self._processes[pid]

    def stack(self, user: bool, number: int, pid: int, limit: int) -> Sequence[Frame] | None:
        """Read a stack from its stack map and name its frames."""
        if number < 0:
            return None
        key = (number, limit, user, pid if user else 0)
        if key not in self._stacks:
            self._stacks[key] = self._read_stack(user, number, pid, limit)
        return self._stacks[key]

    def _read_stack(self, user: bool, number: int, pid: int, limit: int) -> list[Frame] | None:
        stacks = self._stack_map(limit)
        raw = stacks.lookup_raw(number.to_bytes(4, "little")) if stacks is not None else None
        if raw is None:
            return None
        addresses = [address for (address,) in iter_unpack("<Q", raw) if address]
        if user:
            return [self.user_symbol(address, pid, 0) for address in addresses]
        return [self.kernel_symbol(address) for address in addresses]

    def user_name(self, uid: int) -> str:
        """Return the name of a user by the password database."""
        if uid not in self._users:
            from pwd import getpwuid

            try:
                self._users[uid] = getpwuid(uid).pw_name
            except KeyError:
                self._users[uid] = str(uid)
        return self._users[uid]

    def cgroup_path(self, cgroup: int, pattern: int) -> str:
        """Return the path of a cgroup by walking the cgroup2 mounts for its inode."""
        from fnmatch import fnmatch

        wanted = self._strings[pattern] if pattern < len(self._strings) else "*"
        found = []
        for name, root in _cgroup_roots():
            if not fnmatch(name, wanted):
                continue
            for folder, _, _ in os.walk(root):
                try:
                    inode = os.stat(folder).st_ino
                except OSError:
                    continue
                if inode == cgroup:
                    found.append(f"{name}:/{os.path.relpath(folder, root)}".replace("/.", "/"))
                    break
        return ",".join(found)

    def wall_time(self, nanoseconds: int, clock: int) -> int:
        """Turn a time of one of the kernel's clocks into nanoseconds since 1970."""
        since = self._since.get(clock)
        if since is None:
            # Asked once, so that equal times stay equal.
            source = _CLOCKS.get(clock, time.CLOCK_MONOTONIC)
            since = self._since[clock] = time.time_ns() - time.clock_gettime_ns(source)
        return nanoseconds + since

    def timestamp(self, nanoseconds: int, clock: int, format: int) -> str:
        """Format a time since boot (or of another clock) as local wall-clock time."""
        return strftime(self._strings[format], self.wall_time(nanoseconds, clock))


def strftime(format: str, wall_ns: int) -> str:
    """Format wall-clock nanoseconds; adds %f (us), %l (ms) and %k (ns) to C's directives."""
    seconds, rest = divmod(wall_ns, 1_000_000_000)
    extended = format.replace("%f", f"{rest // 1000:06d}").replace("%l", f"{rest // 1000000:03d}")
    extended = extended.replace("%k", f"{rest:09d}")
    return time.strftime(extended, time.localtime(seconds))


def _cgroup_roots() -> list[tuple[str, str]]:
    roots = []
    with open("/proc/self/mounts", encoding="utf-8", errors="surrogateescape") as mounts:
        for line in mounts:
            words = line.split()
            if words[2] == "cgroup2":
                roots.append(("unified", words[1]))
            elif words[2] == "cgroup":
                roots.append((os.path.basename(words[1]), words[1]))
    return roots

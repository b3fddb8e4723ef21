"""The kernel's symbols: address → name, name → address, globs, from /proc/kallsyms.

The text is kept as the kernel wrote it. The kernel takes 50 ms to write all of it, so it is read
only as far as a question needs: its own symbols come in the order of addresses (an address is
found by bisecting the text itself), those of modules and BPF programs after them in no order.
No dictionary of 120,000 entries is made.

Invariants: an address of the user half resolves to nothing; the name of an address is the one
the kernel itself would print (the first of several). When the kernel hides addresses (all are
zero), :attr:`Kallsyms.reason` says why, nothing resolves, and :meth:`Kallsyms.address` raises.

It does not say which functions can be probed: that needs BTF or tracefs as well.

Example::

    symbols = Kallsyms()
    symbols.address("vfs_read")                   # 0xffffffff81234560
    symbols.resolve(0xffffffff81234567)           # ('vfs_read', 7, '')
    symbols.functions("vfs_*")                    # ['vfs_read', 'vfs_write', ...]
"""

from __future__ import annotations

import errno
import os
from bisect import bisect_right

from bpflens.errors import NotFound, SyscallError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["FUNCTION_TYPES", "Kallsyms"]

FUNCTION_TYPES = "tTwW"

_BATCH = 1 << 18
_MEMO = 1 << 16
_USER_HALF = 1 << 63


class Kallsyms:
    """The kernel's symbol table at one moment.

    ``data`` replaces what the file says (for tests and for another machine's copy). Modules and
    BPF programs come and go: :meth:`refresh` forgets everything that was read.
    """

    __slots__ = (
        "_complete", "_data", "_fd", "_memo", "_modules", "_own", "_path", "_reason", "_starts",
    )  # fmt: skip

    def __init__(self, data: bytes | None = None, path: str = "/proc/kallsyms") -> None:
        self._path = path
        self._fd = -1
        self._start(data)

    def _start(self, data: bytes | None) -> None:
        self._data = bytearray(data or b"")
        self._complete = data is not None
        self._memo: dict[int, tuple[str, int, str] | None] = {}
        self._modules: list[bytes] | None = None
        self._starts: list[bytes] = []
        self._reason: str | None = None
        self._own = -1

    def refresh(self) -> None:
        """Forget what was read, so that new modules and programs are seen."""
        self._close()
        self._start(None)

    # ---- address → name ----

    def resolve(self, address: int) -> tuple[str, int, str] | None:
        """Return ``(name, distance, module)`` for a kernel address, or ``None``.

        ``module`` is empty for the kernel itself, ``bpf`` for BPF programs.
        """
        try:
            return self._memo[address]
        except KeyError:
            found = self._resolve(address)
            if len(self._memo) >= _MEMO:
                self._memo.clear()
            self._memo[address] = found
            return found

    def _resolve(self, address: int) -> tuple[str, int, str] | None:
        if not _USER_HALF <= address < 1 << 64:
            return None
        wanted = b"%016x" % address
        self._read_past(wanted)
        line = self._own_line(wanted)
        if line is None or self._complete:
            other = self._module_line(wanted)
            if other is not None and (line is None or other[:16] > line[:16]):
                line = other
        # On some kernels per-CPU offsets stand first, which are no addresses.
        if line is None or int(line[:16], 16) < _USER_HALF:
            return None
        name, _, module = line[19:].partition(b"\t")
        return name.decode(), address - int(line[:16], 16), module[1:-1].decode()

    def _read_past(self, wanted: bytes) -> None:
        # Until the last whole line lies behind the address. A module may lie below the kernel.
        if not self._data:
            self._read_more()
        if self._data[:16] > wanted:
            self._read_all()
        while not self._complete:
            end = self._data.rfind(b"\n") + 1
            last = self._line_before(end)
            # Modules come last, in no order: when they have begun, all of them count.
            if self._data[last : last + 16] > wanted and b"\t[" not in self._data[last:end]:
                return
            self._read_more()

    def _line_before(self, place: int) -> int:
        # Where the line before the one that starts at ``place`` starts.
        return self._data.rfind(b"\n", 0, max(0, place - 1)) + 1

    def _own_end(self) -> int:
        # Where the lines of modules begin, as far as is known.
        if not self._complete:
            return self._data.rfind(b"\n") + 1
        if self._own < 0:
            mark = self._data.find(b"\t[")
            self._own = len(self._data) if mark < 0 else self._data.rfind(b"\n", 0, mark) + 1
        return self._own

    def _own_line(self, wanted: bytes) -> bytes | None:
        # The first of the lines with the greatest address that is not above the wanted one.
        data = self._data
        low, high = 0, self._own_end()
        end = high
        while low < high:
            middle = data.rfind(b"\n", low, (low + high) // 2) + 1 or low
            after = data.find(b"\n", middle, high) + 1 or high
            if data[middle : middle + 16] <= wanted:
                low = after
            else:
                high = middle
        if low == 0:
            return None
        place = self._line_before(low)
        address = data[place : place + 16]
        # Far behind the last symbol there is nothing of the kernel.
        if low >= end and _far(address, wanted):
            return None
        while place:
            before = self._line_before(place)
            if data[before : before + 16] != address:
                break
            place = before
        return bytes(data[place : data.find(b"\n", place)])

    def _module_line(self, wanted: bytes) -> bytes | None:
        if self._modules is None:
            # A stable sort by address keeps the kernel's order of aliases.
            lines = bytes(self._data[self._own_end() :]).splitlines()
            self._modules = sorted(lines, key=_address)
            self._starts = [line[:16] for line in self._modules]
        place = bisect_right(self._starts, wanted) - 1
        if place < 0:
            return None
        if place + 1 == len(self._starts) and _far(self._starts[place], wanted):
            return None
        while place and self._starts[place - 1] == self._starts[place]:
            place -= 1
        return self._modules[place]

    # ---- name → address ----

    def address(self, name: str) -> int | None:
        """Return the address of the first symbol of that name, or ``None`` if there is none.

        Raises SyscallError when the symbol exists but the kernel hides its address.
        """
        line = self._find_line(name.encode(errors="surrogateescape"))
        if line is None:
            return None
        value = int(line[:16], 16)
        if value == 0:
            self.require()
        return value

    def require_address(self, name: str) -> int:
        """Return the address of a symbol; NotFound when there is none of that name."""
        address = self.address(name)
        if address is None:
            raise NotFound("kernel symbol", name)
        return address

    def addresses(self, name: str) -> list[int]:
        """Return the addresses of all symbols of that name (static functions may share one)."""
        return [address for found, address, _, _ in self.glob(name) if found == name]

    def __contains__(self, name: str) -> bool:
        return self._find_line(name.encode(errors="surrogateescape")) is not None

    def _find_line(self, name: bytes) -> bytes | None:
        if not name or b"\n" in name or b"\t" in name or b" " in name:
            return None
        searched = 0
        while True:
            places = [self._data.find(b" " + name + end, searched) for end in (b"\n", b"\t")]
            places = [place for place in places if place >= 0]
            if places:
                start = self._data.rfind(b"\n", 0, min(places)) + 1
                return bytes(self._data[start : self._data.find(b"\n", start)])
            searched = max(0, len(self._data) - len(name) - 2)
            if not self._read_more():
                return None

    # ---- many ----

    def glob(
        self, pattern: str = "*", *, types: str = "", module: str | None = None
    ) -> list[tuple[str, int, str, str]]:
        """Return ``(name, address, type, module)`` of the symbols that match a glob.

        ``types`` limits to nm's letters (:data:`FUNCTION_TYPES`), ``module`` to one module (the
        empty string is the kernel itself).
        """
        import re

        from bpflens.elf.glob import translate_glob

        self._read_all()
        letters = types.encode() or bytes(range(256))
        # The type and the address stand before the match: a search that begins with fixed
        # characters is ten times as fast as one that begins with a line.
        name = translate_glob(pattern.encode(errors="surrogateescape"), b"\n\t ")
        data = bytes(self._data)
        found = []
        for match in re.finditer(b" (" + name + b")(?:\t\\[([^\n]*)\\])?\n", data):
            start = match.start()
            if data[start - 1] in letters:
                owner = match[2].decode() if match[2] else ""
                if module is None or module == owner:
                    address = int(data[start - 18 : start - 2], 16)
                    found.append((match[1].decode(), address, chr(data[start - 1]), owner))
        return found

    def functions(self, pattern: str = "*", module: str | None = None) -> list[str]:
        """Return the names of functions that match a glob, each once, in the kernel's order."""
        if module is None and pattern[:1] in ("*", "?", "["):
            return self._all_functions(pattern)
        found = self.glob(pattern, types=FUNCTION_TYPES, module=module)
        return list(dict.fromkeys(name for name, _, _, _ in found))

    def _all_functions(self, pattern: str) -> list[str]:
        # One loop in C for the patterns that match half of the kernel.
        import re

        from bpflens.elf.glob import translate_glob

        self._read_all()
        name = translate_glob(pattern.encode(errors="surrogateescape"), b"\n\t ")
        expression = b" [" + FUNCTION_TYPES.encode() + b"] (" + name + b")(?=[\n\t])"
        names = re.findall(expression, self._data)
        return list(dict.fromkeys(b"\n".join(names).decode().split("\n"))) if names else []

    def __iter__(self) -> Iterator[tuple[str, int, str, str]]:
        """Yield ``(name, address, type, module)`` of every symbol."""
        return iter(self.glob("*"))

    def modules(self) -> list[str]:
        """Return the names of modules that have symbols (and ``bpf`` if programs are loaded)."""
        self._read_all()
        lines: Iterable[bytes] = bytes(self._data[self._own_end() :]).splitlines()
        names = (line.partition(b"\t[")[2].rstrip(b"]").decode() for line in lines)
        return list(dict.fromkeys(names))

    # ---- hidden addresses ----

    @property
    def reason(self) -> str:
        """Why no address is known ("kernel.kptr_restrict is 1 and ..."), or an empty string."""
        if self._reason is None:
            self._reason = self._find_reason()
        return self._reason

    def _find_reason(self) -> str:
        if not self._data:
            self._read_more()
        if self._data.startswith(b"f") or b"\nf" in self._data:
            return ""
        self._read_all()
        if not self._data:
            return f"{self._path} is empty"
        if b"\nf" in self._data:
            return ""
        level = _first_word("/proc/sys/kernel/kptr_restrict")
        if level == "0":
            return "this process lacks CAP_SYSLOG and kernel.perf_event_paranoid is above 1"
        return f"kernel.kptr_restrict is {level} and this process may not see them (CAP_SYSLOG)"

    def require(self) -> None:
        """Raise SyscallError with the reason when the kernel hides addresses."""
        if self.reason:
            raise SyscallError(
                errno.EPERM,
                "reading the addresses of kernel symbols",
                self.reason,
                "run with CAP_SYSLOG, or set kernel.kptr_restrict to 0",
            )

    # ---- reading ----

    def _read_all(self) -> None:
        while self._read_more():
            pass

    def _read_more(self) -> bool:
        # Read a batch; False at the end. The kernel gives at most a page per call.
        if self._complete:
            return False
        try:
            if self._fd < 0:
                self._fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            wanted = len(self._data) + _BATCH
            while len(self._data) < wanted:
                part = os.read(self._fd, _BATCH)
                if not part:
                    self._complete = True
                    self._close()
                    break
                self._data += part
        except OSError as error:
            self._close()
            raise SyscallError(
                error.errno or errno.EIO,
                f"reading {self._path}",
                "the kernel was built without CONFIG_KALLSYMS or /proc is not mounted"
                if error.errno == errno.ENOENT
                else "",
            ) from None
        return True

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        if getattr(self, "_fd", -1) >= 0:
            self._close()


def _address(line: bytes) -> bytes:
    return line[:16]


def _far(address: bytes | bytearray, wanted: bytes) -> bool:
    return int(wanted, 16) - int(address, 16) >= 1 << 20


def _first_word(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read().split()[0]
    except (OSError, IndexError):
        return "unknown"

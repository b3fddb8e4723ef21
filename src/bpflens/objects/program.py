"""Programs: load, find, run and look into them.

Turns a program of the kernel into an object: what it is (``info``), its instructions as the
verifier left them (:meth:`Program.xlated`) and as the JIT compiled them (:meth:`Program.jited`),
how often it ran, and a run on data of ours (:meth:`Program.test_run`). Attaching is
:mod:`bpflens.objects.link`'s work.

Example::

    with Program.load("socket_filter", insns, name="accept") as program:
        print(program.test_run(data=bytes(64)).retval)
"""

from __future__ import annotations

from bpflens.errors import NotFound
from bpflens.kernel import info as _info
from bpflens.kernel import object_command as _objects
from bpflens.kernel import prog_command as _programs
from bpflens.objects.handle import Handle
from bpflens.uapi import bpf as _uapi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType
    from typing import Self

    from bpflens.btf import Btf
    from bpflens.kernel.info import FuncInfo, ProgInfo, SourceLine
    from bpflens.kernel.prog_command import TestRun

__all__ = ["Program", "Statistics", "Stats"]


# Their test run takes no room for a context that comes back.
_CTX_IN_PLACE = frozenset((_uapi.BPF_PROG_TYPE_SYSCALL, _uapi.BPF_PROG_TYPE_RAW_TRACEPOINT))


class Stats:
    """How often a program ran: ``run_cnt``, ``run_time_ns``, ``recursion_misses``.

    Counted only while statistics are switched on (:class:`Statistics`). Two of them can be
    subtracted.
    """

    __slots__ = ("run_cnt", "run_time_ns", "recursion_misses")

    def __init__(self, run_cnt: int, run_time_ns: int, recursion_misses: int) -> None:
        self.run_cnt = run_cnt
        self.run_time_ns = run_time_ns
        self.recursion_misses = recursion_misses

    @property
    def average_ns(self) -> float:
        """Nanoseconds of one run, 0 without any."""
        return self.run_time_ns / self.run_cnt if self.run_cnt else 0.0

    def __sub__(self, before: Stats) -> Stats:
        return Stats(
            self.run_cnt - before.run_cnt,
            self.run_time_ns - before.run_time_ns,
            self.recursion_misses - before.recursion_misses,
        )

    def __repr__(self) -> str:
        return f"Stats(run_cnt={self.run_cnt}, run_time_ns={self.run_time_ns})"


class Statistics:
    """Keeps the kernel's run-time statistics on as long as it is open; a context manager."""

    __slots__ = ("_handle",)

    def __init__(self) -> None:
        self._handle = Handle(_objects.enable_stats(_uapi.BPF_STATS_RUN_TIME))

    def close(self) -> None:
        """Switch statistics off again, unless somebody else keeps them on."""
        self._handle.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Program(Handle):
    """A program. ``Program(fd)`` takes over a descriptor; see also the ``from_`` methods.

    ``info`` is what the kernel said when the object was made; :meth:`read_info` asks again.
    """

    __slots__ = ("info", "_btf")

    info: ProgInfo

    def __init__(self, fd: int) -> None:
        Handle.__init__(self, fd)
        self.info = _info.prog_info(fd, ("map_ids",))
        self._btf: Btf | None = None

    # --- where programs come from ---

    @classmethod
    def load(
        cls,
        type: int | str,
        insns: bytes,
        *,
        license: str = "GPL",
        name: str = "",
        expected_attach_type: int | str = 0,
        attach_btf_id: int = 0,
        attach_prog_fd: int = 0,
        attach_btf_obj_fd: int = 0,
        btf_fd: int = 0,
        func_info: bytes = b"",
        line_info: bytes = b"",
        flags: int = 0,
        ifindex: int = 0,
        fd_array: bytes = b"",
        log_level: int = 0,
        log: list[str] | None = None,
    ) -> Self:
        """Load encoded instructions as a program of a type (number or name).

        Maps are referred to by their descriptors, as the kernel wants it. Raises
        :class:`~bpflens.errors.VerifierError` with the verifier's log when it is refused.
        """
        fd = _programs.prog_load(
            _number(type, _uapi.PROG_TYPE_NAMES, "program type"),
            insns,
            license,
            name=name,
            flags=flags,
            expected_attach_type=_number(
                expected_attach_type, _uapi.ATTACH_TYPE_NAMES, "attach type"
            ),
            ifindex=ifindex,
            btf_fd=btf_fd,
            func_info=func_info,
            line_info=line_info,
            attach_btf_id=attach_btf_id,
            attach_prog_fd=attach_prog_fd,
            attach_btf_obj_fd=attach_btf_obj_fd,
            fd_array=fd_array,
            log_level=log_level,
            log=log,
        )
        return cls(fd)

    @classmethod
    def from_fd(cls, fd: int) -> Self:
        """Take over a descriptor."""
        return cls(fd)

    @classmethod
    def from_id(cls, id: int) -> Self:
        """Open the program with this id. Raises SyscallError when there is none."""
        return cls(_objects.prog_get_fd_by_id(id))

    @classmethod
    def from_pin(cls, path: str) -> Self:
        """Open the program that is pinned at ``path``."""
        return cls(_objects.obj_get(path))

    # --- what it is ---

    @property
    def id(self) -> int:
        """The id of the program."""
        return self.info.id

    @property
    def name(self) -> str:
        """The name as the kernel keeps it: 15 characters of it."""
        return self.info.name

    @property
    def full_name(self) -> str:
        """The name of the program's main function from its BTF, not cut; else :attr:`name`."""
        functions = self.functions()
        btf = self.btf()
        if not functions or btf is None:
            return self.info.name
        return btf.name(functions[0].type_id) or self.info.name

    @property
    def type_name(self) -> str:
        """The name of the program's type (``"tracepoint"``), or its number."""
        type = self.info.type
        names = _uapi.PROG_TYPE_NAMES
        return names[type] if type < len(names) else str(type)

    @property
    def tag(self) -> str:
        """The hash of the program's instructions, 16 hexadecimal digits."""
        return self.info.tag.hex()

    def btf(self) -> Btf | None:
        """Return the BTF that the program was loaded with, or ``None``."""
        if self._btf is None and self.info.btf_id:
            from bpflens.objects.btf import from_id

            self._btf = from_id(self.info.btf_id)
        return self._btf

    def read_info(self, *arrays: str) -> ProgInfo:
        """Ask the kernel again, with the named arrays (see ``kernel.info.PROG_ARRAYS``)."""
        return _info.prog_info(self.fd, arrays)

    def xlated(self) -> bytes:
        """Return the instructions as the verifier rewrote them, 8 bytes each.

        Empty when this process may not see them (``net.core.bpf_jit_harden``, no CAP_SYSLOG).
        """
        return self.read_info("xlated_prog_insns").xlated_prog_insns

    def jited(self) -> bytes:
        """Return the machine code of all functions, one after another; empty without a JIT."""
        return self.read_info("jited_prog_insns").jited_prog_insns

    def functions(self) -> list[FuncInfo]:
        """Return where each function starts and its type; empty without BTF."""
        return self.read_info("func_info").func_info

    def lines(self) -> list[SourceLine]:
        """Return which source line each instruction comes from; empty without BTF."""
        return self.read_info("line_info").line_info

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"fd {self._fd}"
        return f"<Program {self.info.id} {self.info.name!r} {self.type_name} {state}>"

    # --- running ---

    @property
    def stats(self) -> Stats:
        """How often it ran so far, counted while :class:`Statistics` are on."""
        info = self.read_info()
        return Stats(info.run_cnt, info.run_time_ns, info.recursion_misses)

    def test_run(
        self,
        *,
        data: bytes = b"",
        ctx: bytes = b"",
        repeat: int = 0,
        data_size_out: int | None = None,
        ctx_size_out: int | None = None,
        cpu: int | None = None,
        flags: int = 0,
        batch_size: int = 0,
    ) -> TestRun:
        """Run the program once, or ``repeat`` times, on ``data`` and ``ctx``.

        Networking programs take a packet; raw tracepoints take arguments in ``ctx`` and may be
        run on a chosen ``cpu``; syscall programs take and give back ``ctx``. Raises SyscallError
        (ENOTSUPP) for program types that cannot be test run, tracepoints and kprobes among them.
        """
        if cpu is not None:
            flags |= _uapi.BPF_F_TEST_RUN_ON_CPU
        if ctx_size_out is None:
            ctx_size_out = 0 if self.info.type in _CTX_IN_PLACE else len(ctx)
        return _programs.prog_test_run(
            self.fd,
            data=data,
            ctx=ctx,
            data_size_out=data_size_out,
            ctx_size_out=ctx_size_out,
            repeat=repeat,
            flags=flags,
            cpu=cpu or 0,
            batch_size=batch_size,
        )

    def bind_map(self, map_fd: int) -> None:
        """Tie the life of a map to the program's."""
        _programs.prog_bind_map(self.fd, map_fd)

    def read_stream(self, number: int = 1) -> bytes:
        """Return what the program printed since the last read (1: stdout, 2: stderr)."""
        from bpflens.kernel.memory import Buffer

        buffer = Buffer(4096)
        parts = []
        while count := _programs.prog_stream_read(self.fd, number, buffer):
            parts.append(bytes(buffer.view[:count]))
        return b"".join(parts)


def _number(value: int | str, names: tuple[str, ...], what: str) -> int:
    if isinstance(value, int):
        return value
    if value not in names:
        raise NotFound(what, value, _near(value, names))
    return names.index(value)


def _near(name: str, known: Iterable[str]) -> list[str]:
    from difflib import get_close_matches

    return get_close_matches(name, list(known), 3, 0.6)

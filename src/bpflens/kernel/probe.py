"""How a feature is tried: load the smallest program, create the smallest map, and look.

Turns a question into a system call or two, and the kernel's answer into yes, no, or an exception
for "cannot be found out". What counts as sure: success; a refusal that a kernel with the
feature would not give; EPERM although every capability is there (the kernel was built, or a
security module set up, to refuse). EPERM for lack of a capability is not an answer.

Nothing stays behind: what a probe creates it closes. The helpers bpf_trace_printk and
bpf_probe_write_user make the kernel write a line into its log when they are probed.

Example::

    has_prog_type(BPF_PROG_TYPE_XDP)
    helpers_of(BPF_PROG_TYPE_XDP)          # numbers
"""

from __future__ import annotations

import errno
import os
import struct

from bpflens.errors import NotSupported, SyscallError, VerifierError
from bpflens.kernel import bpf
from bpflens.kernel import syscall as _seam
from bpflens.kernel.memory import Buffer, address
from bpflens.uapi import bpf as u

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = [
    "BTF_INT",
    "NOISY_HELPERS",
    "RETURN_0",
    "RETURN_1",
    "btf_blob",
    "conclude",
    "creates",
    "has_btf_name",
    "has_helper",
    "has_map_type",
    "has_prog_type",
    "helpers_of",
    "knows_prog_type",
    "link_answer",
    "loads",
]

# mov r0, 0; exit   and   mov r0, 1; exit
RETURN_0 = struct.pack("=BBhiBBhi", 0xB7, 0, 0, 0, 0x95, 0, 0, 0)
RETURN_1 = struct.pack("=BBhiBBhi", 0xB7, 0, 0, 1, 0x95, 0, 0, 0)


def conclude(error: SyscallError, no: Iterable[int] = (errno.EINVAL,)) -> bool:
    """Return ``False`` when ``error`` is a sure no, else raise it again.

    ``no`` are the errnos that mean "not known" for what was tried.
    """
    number = error.errno or 0
    if number in no or number in (bpf.ENOTSUPP, errno.EOPNOTSUPP, errno.ENOSYS):
        return False
    if number in (errno.EPERM, errno.EACCES) and "missing" not in error.cause:
        raise NotSupported(error.command, "", "refused although no capability is missing") from None
    raise error


def loads(insns: bytes, prog_type: int = u.BPF_PROG_TYPE_SOCKET_FILTER, **more: object) -> bool:
    """Say whether a program that is correct by itself passes this kernel's verifier."""
    try:
        fd = bpf.prog_load(prog_type, insns, **more)  # type: ignore[arg-type]
    except VerifierError:
        return False
    except SyscallError as error:
        return conclude(error, (errno.EINVAL, errno.E2BIG))
    os.close(fd)
    return True


def creates(make: Callable[[], int]) -> bool:
    """Say whether ``make`` (that returns a descriptor) succeeds."""
    try:
        fd = make()
    except VerifierError:
        return False
    except SyscallError as error:
        return conclude(error, (errno.EINVAL, errno.E2BIG))
    os.close(fd)
    return True


# --- BTF ----------------------------------------------------------------------------------------

BTF_INT = struct.pack("=4I", 1, 1 << 24, 4, 1 << 24 | 32)
"""BTF of the type ``int``, its name being the first string."""


def btf_blob(types: bytes, strings: bytes = b"\0int\0") -> bytes:
    """Return ``types`` and ``strings`` behind a BTF header."""
    header = struct.pack("=HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings))
    return header + types + strings


def has_btf_name(name: str) -> bool:
    """Say whether the running kernel's BTF has a type, function or enumerator of this name."""
    import mmap

    wanted = b"\0" + name.encode() + b"\0"
    try:
        with open("/sys/kernel/btf/vmlinux", "rb") as file:
            try:
                with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
                    return data.find(wanted) >= 0
            except (OSError, ValueError):
                return wanted in file.read()
    except FileNotFoundError:
        raise NotSupported(name, "", "this kernel has no BTF to look it up in") from None


# --- program types ------------------------------------------------------------------------------

# What a program of a type has to declare, and whether it must return 1.
_ATTACH_TYPE = {
    u.BPF_PROG_TYPE_CGROUP_SOCK_ADDR: u.BPF_CGROUP_INET4_CONNECT,
    u.BPF_PROG_TYPE_CGROUP_SOCKOPT: u.BPF_CGROUP_GETSOCKOPT,
    u.BPF_PROG_TYPE_SK_LOOKUP: u.BPF_SK_LOOKUP,
    u.BPF_PROG_TYPE_TRACING: u.BPF_TRACE_FENTRY,
    u.BPF_PROG_TYPE_LSM: u.BPF_LSM_MAC,
    u.BPF_PROG_TYPE_NETFILTER: u.BPF_NETFILTER,
    u.BPF_PROG_TYPE_SK_REUSEPORT: u.BPF_SK_REUSEPORT_SELECT,
}
_WITH_BTF = frozenset(
    (
        u.BPF_PROG_TYPE_TRACING,
        u.BPF_PROG_TYPE_LSM,
        u.BPF_PROG_TYPE_STRUCT_OPS,
        u.BPF_PROG_TYPE_EXT,
    )
)
_RETURNING_1 = frozenset((u.BPF_PROG_TYPE_NETFILTER, u.BPF_PROG_TYPE_SK_LOOKUP))


def _minimal(prog_type: int) -> dict[str, int]:
    more: dict[str, int] = {}
    if prog_type in _ATTACH_TYPE:
        more["expected_attach_type"] = _ATTACH_TYPE[prog_type]
    if prog_type in _WITH_BTF:
        # No type of any use: a kernel that knows the program type complains of it in its log.
        more["attach_btf_id"] = 1
    if prog_type == u.BPF_PROG_TYPE_SYSCALL:
        more["flags"] = u.BPF_F_SLEEPABLE
    if prog_type == u.BPF_PROG_TYPE_KPROBE:
        more["kern_version"] = _kernel_version()
    return more


def _kernel_version() -> int:
    # Before Linux 5.0 (6c4fc209fcf9 "bpf: remove useless version check for prog load") a kprobe
    # program had to name the kernel it was made for; later kernels ignore the field.
    parts = os.uname().release.split("-")[0].split(".")
    numbers = [int(part) if part.isdigit() else 0 for part in (*parts, "0", "0")][:3]
    return numbers[0] << 16 | numbers[1] << 8 | min(numbers[2], 255)


def has_prog_type(prog_type: int) -> bool:
    """Say whether programs of a type can be loaded (tracing: as fentry, the common case)."""
    code = RETURN_1 if prog_type in _RETURNING_1 else RETURN_0
    return knows_prog_type(prog_type, code, **_minimal(prog_type))


def knows_prog_type(prog_type: int, code: bytes = RETURN_0, **more: int) -> bool:
    """Say whether the verifier gets as far as looking at a program declared like this."""
    try:
        fd = bpf.prog_load(prog_type, code, **more)  # type: ignore[arg-type]
    except VerifierError:
        return True
    except SyscallError as error:
        return conclude(error, (errno.EINVAL, errno.E2BIG))
    os.close(fd)
    return True


# --- helpers ------------------------------------------------------------------------------------

_CALL = struct.Struct("=BBhiBBhi")
_CALL_ONE = struct.Struct("=BBhi")
# What the verifier says of a helper that it does not have, or not for this program type.
_UNKNOWN = ("invalid func ", "unknown func ", "program of this type cannot use helper ")


def has_helper(prog_type: int, number: int, *, ifindex: int = 0) -> bool:
    """Say whether programs of a type may call a helper (offloaded to a device: ``ifindex``)."""
    code = _CALL.pack(0x85, 0, 0, number, 0x95, 0, 0, 0)
    try:
        fd = bpf.prog_load(prog_type, code, log_level=1, ifindex=ifindex, **_minimal(prog_type))  # type: ignore[arg-type]
    except VerifierError as error:
        return not any(word in line for line in error.log for word in _UNKNOWN)
    except SyscallError as error:
        return conclude(error)
    os.close(fd)
    return True


def helpers_of(prog_type: int, *, noisy: bool = False) -> list[int]:
    """Return the numbers of all helpers that programs of a type may call.

    Without ``noisy`` those are left out whose probing writes into the kernel's log. Raises like
    :func:`has_helper` when nothing can be found out.
    """
    from bpflens.uapi.helper import HELPER_NAMES

    if prog_type in _WITH_BTF or not has_prog_type(prog_type):
        # The helpers of tracing programs and the like depend on what they are attached to.
        return []
    left_out = () if noisy else NOISY_HELPERS
    numbers = [number for number in range(1, len(HELPER_NAMES)) if number not in left_out]
    sure = _by_registers(prog_type, numbers)
    call = _HelperCall(prog_type)
    return [
        number for number in numbers if (sure[number] if number in sure else call.allowed(number))
    ]


def _by_registers(prog_type: int, numbers: list[int]) -> dict[int, bool]:
    # Since Linux 6.15 (14c8552db644 "bpf: simple DFA-based live registers analysis") a detailed
    # log says, before anything is checked, which registers each instruction reads: those of its
    # parameters where the program type has the helper, r1 to r5 where it has not. One load answers
    # for all helpers with fewer than five parameters. Empty on kernels that do not say it.
    from bpflens.uapi.helper import HELPER_SIGNATURES

    asked = [number for number in numbers if HELPER_SIGNATURES[number][1].count(",") < 4]
    code = b"".join(_CALL_ONE.pack(0x85, 0, 0, number) for number in asked) + RETURN_0
    load = _Load(prog_type, code, 1 << 16)
    load.run()
    _, _, table = load.log().partition(b"Live regs before insn:\n")
    lines = table.split(b"\n")[: len(asked)]
    if len(lines) < len(asked):
        return {}
    found = {}
    for at, (number, line) in enumerate(zip(asked, lines, strict=True)):
        place, _, registers = line.partition(b": ")
        if int(place.split()[-1]) != at or registers[10:16] != b" (85) ":
            return {}  # another layout than this was written for
        found[number] = registers[:10] != b".12345...."
    return found


class _Load:
    # A BPF_PROG_LOAD to be repeated: one attribute, one log. The kernel's part is then most of
    # what it costs (25 us).
    __slots__ = ("_attr", "_license", "_log", "code")

    def __init__(self, prog_type: int, code: bytes, log_size: int) -> None:
        more = _minimal(prog_type)
        self.code, self._log, self._license = Buffer(len(code)), Buffer(log_size), b"GPL"
        self.code.raw[:] = code
        self._attr = Buffer(_LOAD.size)
        _LOAD.pack_into(
            self._attr.raw, 0, prog_type, len(code) // 8, self.code.address,
            address(self._license), 2 if log_size > 4096 else 1, self._log.size,
            self._log.address, more.get("kern_version", 0), more.get("flags", 0), b"", 0,
            more.get("expected_attach_type", 0),
        )  # fmt: skip

    def run(self) -> int:
        self._log.raw[0] = 0
        result = _seam.raw(_seam.number("bpf"), u.BPF_PROG_LOAD, self._attr.address, _LOAD.size)
        if result >= 0:
            os.close(result)
        return result

    def log(self) -> bytes:
        return bytes(self._log.raw[: max(self._log.raw.find(0), 0)])


class _HelperCall:
    # has_helper() for many numbers: one load, one word changed for each.
    __slots__ = ("_call", "_load", "_prog_type")

    def __init__(self, prog_type: int) -> None:
        self._prog_type = prog_type
        code = _CALL.pack(0x85, 0, 0, 0, 0x95, 0, 0, 0)
        self._load = _Load(prog_type, code, 1024)
        self._call = self._load.code.view.cast("i")

    def allowed(self, number: int) -> bool:
        self._call[1] = number
        result = self._load.run()
        if result >= 0:
            return True
        log = self._load.log()
        if result in (-errno.EINVAL, -errno.EACCES) and log:
            return not any(word in log for word in _UNKNOWN_BYTES)
        # Anything else (no memory, a log too long) is for the patient road.
        return has_helper(self._prog_type, number)


# union bpf_attr for BPF_PROG_LOAD as far as expected_attach_type.
_LOAD = struct.Struct("=IIQQIIQII16sII")
_UNKNOWN_BYTES = tuple(word.encode() for word in _UNKNOWN)

NOISY_HELPERS = frozenset(
    (u.BPF_FUNC_trace_printk, u.BPF_FUNC_trace_vprintk, u.BPF_FUNC_probe_write_user)
)
"""Helpers whose probing makes the kernel write a line into its log."""


# --- map types ----------------------------------------------------------------------------------

# Sizes and flags that a type insists on: (key, value, entries, flags). Others take (4, 4, 1, 0).
_MAP_SHAPES = {
    u.BPF_MAP_TYPE_STACK_TRACE: (4, 8, 1, 0),
    u.BPF_MAP_TYPE_LPM_TRIE: (8, 8, 1, u.BPF_F_NO_PREALLOC),
    u.BPF_MAP_TYPE_CGROUP_STORAGE: (16, 8, 0, 0),
    u.BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE: (16, 8, 0, 0),
    u.BPF_MAP_TYPE_QUEUE: (0, 4, 1, 0),
    u.BPF_MAP_TYPE_STACK: (0, 4, 1, 0),
    u.BPF_MAP_TYPE_BLOOM_FILTER: (0, 4, 1, 0),
    u.BPF_MAP_TYPE_SK_STORAGE: (4, 4, 0, u.BPF_F_NO_PREALLOC),
    u.BPF_MAP_TYPE_INODE_STORAGE: (4, 4, 0, u.BPF_F_NO_PREALLOC),
    u.BPF_MAP_TYPE_TASK_STORAGE: (4, 4, 0, u.BPF_F_NO_PREALLOC),
    u.BPF_MAP_TYPE_CGRP_STORAGE: (4, 4, 0, u.BPF_F_NO_PREALLOC),
    u.BPF_MAP_TYPE_STRUCT_OPS: (4, 4, 1, 0),
    u.BPF_MAP_TYPE_ARENA: (0, 0, 1, u.BPF_F_MMAPABLE),
    u.BPF_MAP_TYPE_INSN_ARRAY: (4, 16, 1, 0),
}
_RINGS = frozenset((u.BPF_MAP_TYPE_RINGBUF, u.BPF_MAP_TYPE_USER_RINGBUF))
_STORAGES = frozenset(
    (
        u.BPF_MAP_TYPE_SK_STORAGE,
        u.BPF_MAP_TYPE_INODE_STORAGE,
        u.BPF_MAP_TYPE_TASK_STORAGE,
        u.BPF_MAP_TYPE_CGRP_STORAGE,
    )
)
_OF_MAPS = frozenset((u.BPF_MAP_TYPE_HASH_OF_MAPS, u.BPF_MAP_TYPE_ARRAY_OF_MAPS))


def has_map_type(map_type: int) -> bool:
    """Say whether maps of a type can be created."""
    key, value, entries, flags = _MAP_SHAPES.get(map_type, (4, 4, 1, 0))
    if map_type in _RINGS:
        key, value, entries = 0, 0, os.sysconf("SC_PAGESIZE")
    more: dict[str, int] = {}
    held: list[int] = []
    try:
        if map_type in _STORAGES:
            more["btf_fd"] = bpf.btf_load(btf_blob(BTF_INT))
            held.append(more["btf_fd"])
            more["btf_key_type_id"] = more["btf_value_type_id"] = 1
        elif map_type in _OF_MAPS:
            more["inner_map_fd"] = bpf.map_create(u.BPF_MAP_TYPE_HASH, 4, 4, 1)
            held.append(more["inner_map_fd"])
        elif map_type == u.BPF_MAP_TYPE_STRUCT_OPS:
            return _has_struct_ops(key, value, entries)
        fd = bpf.map_create(map_type, key, value, entries, flags=flags, **more)  # type: ignore[arg-type]
        held.append(fd)
    except SyscallError as error:
        return conclude(error, (errno.EINVAL, errno.E2BIG))
    finally:
        for fd in held:
            os.close(fd)
    return True


def _has_struct_ops(key: int, value: int, entries: int) -> bool:
    # Type 1 is no struct_ops: a kernel that has the map type says ENOTSUPP, or EINVAL for the
    # BTF descriptor that newer ones want beside it; one that has not knows no such attribute.
    try:
        os.close(
            bpf.map_create(
                u.BPF_MAP_TYPE_STRUCT_OPS, key, value, entries, btf_vmlinux_value_type_id=1
            )
        )
    except SyscallError as error:
        if error.errno in (bpf.ENOTSUPP, errno.ENOENT):
            return True
        if error.errno == errno.EINVAL:
            return has_btf_name("bpf_struct_ops_map")
        return conclude(error)
    return True


# --- links --------------------------------------------------------------------------------------


def link_answer(
    attempt: Callable[[int], int], yes: Iterable[int], prog_type: int, **more: object
) -> bool:
    """Say whether a link that cannot work fails as a kernel that knows its kind makes it fail.

    ``attempt(prog_fd)`` makes the link; ``yes`` are the errnos of a kernel that knows it.
    """
    code = RETURN_1 if prog_type in _RETURNING_1 else RETURN_0
    accepted = frozenset(yes)
    try:
        program = bpf.prog_load(prog_type, code, **more)  # type: ignore[arg-type]
    except VerifierError:
        return False
    except SyscallError as error:
        return conclude(error, (errno.EINVAL, errno.E2BIG))
    try:
        os.close(attempt(program))
    except SyscallError as error:
        return error.errno in accepted or conclude(error, (errno.EINVAL, errno.E2BIG))
    finally:
        os.close(program)
    return True

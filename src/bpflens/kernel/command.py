"""How a bpf(2) command is sent: the pool of attribute buffers, and what failure becomes.

Turns values and a precompiled struct into one ``union bpf_attr`` and one system call. Buffers are
taken from a pool, so that neither threads nor signal handlers ever share one. Attributes are sent
at the full length known here: a kernel accepts what is longer than its own union as long as the
rest is zero, and answers E2BIG otherwise. The commands themselves are in the ``*_command``
modules, all of them together in :mod:`bpflens.kernel.bpf`.

Example::

    result = send(BPF_MAP_FREEZE, struct.Struct("=I"), fd)     # 0, or minus errno
"""

from __future__ import annotations

from bpflens.kernel import syscall as _seam
from bpflens.kernel.memory import Buffer

TYPE_CHECKING = False
if TYPE_CHECKING:
    import struct

    from bpflens.errors import SyscallError

__all__ = ["ENOTSUPP", "check", "failure", "kernel_name", "memlock_was_raised", "send",
           "send_and_read"]  # fmt: skip

ENOTSUPP = 524
"""The kernel's own "not supported", which map operations let through to user space."""

_NR_BPF = 280 if _seam.arch() == "aarch64" else 321
_ATTR_SIZE = 192  # more than any member of the union

_pool: list[Buffer] = []


def send(command: int, form: struct.Struct, *values: object) -> int:
    """Pack ``values``, make the call, return its result or minus errno."""
    # list.pop and list.append are atomic: two threads never hold one buffer.
    try:
        attr = _pool.pop()
    except IndexError:
        attr = Buffer(_ATTR_SIZE)
    form.pack_into(attr.raw, 0, *values)
    result = _seam.raw(_NR_BPF, command, attr.address, form.size)
    _pool.append(attr)
    return result


def send_and_read(
    command: int, form: struct.Struct, *values: object
) -> tuple[int, tuple[int, ...]]:
    """As :func:`send`, for commands that answer inside the attribute: also its fields after."""
    try:
        attr = _pool.pop()
    except IndexError:
        attr = Buffer(_ATTR_SIZE)
    form.pack_into(attr.raw, 0, *values)
    result = _seam.raw(_NR_BPF, command, attr.address, form.size)
    answer = form.unpack_from(attr.raw, 0)
    _pool.append(attr)
    return result, answer


def failure(number: int, command: str, **context: object) -> SyscallError:
    """Return the SyscallError for errno ``number`` of ``command``, with its likely cause.

    ``context`` is what the explanation may look at: ``map_type``, ``prog_type``, ``path``...
    """
    from bpflens.kernel.cause import explain

    return explain(number, command, **context)


def check(result: int, command: str, **context: object) -> int:
    """Return ``result`` when it is no failure, else raise what :func:`failure` makes of it."""
    if result < 0:
        raise failure(-result, command, **context)
    return result


def memlock_was_raised() -> bool:
    """After an EPERM: say whether RLIMIT_MEMLOCK was the cause and has now been raised."""
    from bpflens.kernel.limits import raise_memlock_if_needed

    return raise_memlock_if_needed()


def kernel_name(name: str) -> bytes:
    """Return ``name`` as the kernel takes names of objects: 15 bytes of letters, digits, ``_.``.

    Anything else becomes ``_``, and what is too long is cut at the end.
    """
    raw = name.encode("utf-8", "replace")[:15]
    if raw.isalnum():
        return raw
    return bytes(byte if _is_name_byte(byte) else 0x5F for byte in raw)


def _is_name_byte(byte: int) -> bool:
    return 48 <= byte <= 57 or 65 <= byte <= 90 or 97 <= byte <= 122 or byte in b"_."

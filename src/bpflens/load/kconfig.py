"""Values of the kernel's build options, as the map ``.kconfig`` of an object holds them.

Turns externs of kind ``kconfig`` and the running kernel's configuration into the bytes of the
map's one value. Three names are no options: LINUX_KERNEL_VERSION, LINUX_HAS_BPF_COOKIE and
LINUX_HAS_SYSCALL_WRAPPER describe the kernel itself.

Example::

    contents = kconfig_value(spec.externs, btf, size=24, options=kernel_config())
"""

from __future__ import annotations

import os

from bpflens.btf.types import Array, Enum, Int
from bpflens.errors import FormatError, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from bpflens.btf import Btf
    from bpflens.spec import Extern

__all__ = ["kconfig_value", "kernel_version"]

_TRISTATE = {"n": 0, "y": 1, "m": 2}


def kconfig_value(
    externs: Mapping[str, Extern], btf: Btf, size: int, options: Mapping[str, str] | None
) -> bytes:
    """Return the value of the map ``.kconfig``.

    ``options`` are the kernel's (``CONFIG_HZ`` → ``"250"``), None if they are not known. Raises
    :class:`~bpflens.errors.NotFound` for an option that is not set and not weak,
    :class:`~bpflens.errors.FormatError` for a value that does not fit the declaration.
    """
    value = bytearray(size)
    for extern in externs.values():
        if extern.kind != "kconfig":
            continue
        number = _virtual(extern.name)
        if number is not None:
            raw = _integer(extern, btf, number)
        else:
            text = options.get(extern.name) if options is not None else None
            if text is None:
                if not extern.weak:
                    raise _missing(extern.name, options)
                continue
            raw = _encoded(extern, btf, text)
        value[extern.offset : extern.offset + len(raw)] = raw
    return bytes(value)


def kernel_version() -> int:
    """Return the running kernel's version as KERNEL_VERSION() packs it.

    Distributions that freeze the release name say the real version elsewhere: Ubuntu in
    /proc/version_signature, Debian in uname's version.
    """
    uname = os.uname()
    words = [uname.release]
    try:
        with open("/proc/version_signature") as file:
            words.insert(0, file.read().split()[-1])
    except (OSError, IndexError):
        marker = "Debian "
        if marker in uname.version:
            words.insert(0, uname.version.partition(marker)[2])
    for word in words:
        numbers = _leading_numbers(word)
        if len(numbers) >= 2:
            major, minor, patch = (*numbers, 0)[:3]
            return major << 16 | minor << 8 | min(patch, 255)
    return 0


def _leading_numbers(text: str) -> list[int]:
    numbers = []
    for part in text.split("-")[0].split()[0].split(".")[:3]:
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
    return numbers


def _virtual(name: str) -> int | None:
    if name == "LINUX_KERNEL_VERSION":
        return kernel_version()
    if name == "LINUX_HAS_BPF_COOKIE":
        from bpflens.kernel import feature

        return int(feature.has("get_attach_cookie"))
    if name == "LINUX_HAS_SYSCALL_WRAPPER":
        from bpflens.load.kernel_symbol import symbol_address

        prefix = {"x86_64": "__x64", "aarch64": "__arm64"}.get(os.uname().machine, "")
        return int(bool(prefix and symbol_address(f"{prefix}_sys_bpf")))
    return None


def _missing(name: str, options: Mapping[str, str] | None) -> NotFound:
    if options is None:
        where = "build option of the kernel (its configuration is in neither /proc nor /boot)"
        return NotFound(where, name)
    from bpflens.load.patch import near

    return NotFound("build option set in the kernel", name, near(name, options))


def _encoded(extern: Extern, btf: Btf, text: str) -> bytes:
    found = btf.resolve(extern.type_id)
    if isinstance(found, Array):
        raw = text.strip('"').encode()[: extern.size - 1]
        return raw.ljust(extern.size, b"\0")
    if text in _TRISTATE:
        if isinstance(found, Int) and found.size == 1 and not found.is_bool:
            return text.encode()
        if isinstance(found, Int) and found.is_bool and text == "m":
            raise _wrong(extern, text)
        if isinstance(found, Enum) or (isinstance(found, Int) and found.is_bool):
            return _TRISTATE[text].to_bytes(extern.size, "little")
        raise _wrong(extern, text)
    try:
        number = int(text, 0)
    except ValueError:
        raise _wrong(extern, text) from None
    return _integer(extern, btf, number)


def _integer(extern: Extern, btf: Btf, number: int) -> bytes:
    found = btf.resolve(extern.type_id)
    signed = isinstance(found, Int) and found.is_signed
    try:
        return number.to_bytes(extern.size, "little", signed=signed)
    except OverflowError:
        raise _wrong(extern, str(number)) from None


def _wrong(extern: Extern, text: str) -> FormatError:
    return FormatError("build option", f"{extern.name} is {text!r}, which its type cannot hold")

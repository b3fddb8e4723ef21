"""Every exception that bpflens raises on purpose, and what each one carries.

The tree::

    Error
    ├── SyscallError (also OSError)   the kernel refused: command, errno name, likely cause, remedy
    │   └── VerifierError             the verifier refused a program: its log, the source line
    ├── NotSupported                  a feature that a conclusive probe found missing
    ├── FormatError                   damaged or hostile input (ELF, BTF, notes), with the place
    ├── NotFound                      a name that does not exist, with near names
    ├── AttachError                   a probe that could not be attached, with the reason
    ├── CompileError                  a script that is wrong: all its diagnostics
    └── UsageError                    wrong words on a command line

Library code raises these and never prints or exits; the front doors turn them into text and
exit statuses. Nothing in this module imports another part of bpflens.

Example::

    try:
        Map.by_name("conters")
    except NotFound as error:
        print(error.candidates)      # ['counters']
"""

from __future__ import annotations

import errno as _errno

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "AttachError",
    "CompileError",
    "Error",
    "FormatError",
    "NotFound",
    "NotSupported",
    "SyscallError",
    "UsageError",
    "VerifierError",
    "errno_name",
]

# include/linux/errno.h: the kernel's own range, which user space headers do not name.
_KERNEL_ERRNO = {
    # One number with two names; Python's choice is the one that the kernel does not use.
    95: "EOPNOTSUPP",
    512: "ERESTARTSYS",
    513: "ERESTARTNOINTR",
    514: "ERESTARTNOHAND",
    515: "ENOIOCTLCMD",
    516: "ERESTART_RESTARTBLOCK",
    517: "EPROBE_DEFER",
    524: "ENOTSUPP",
}


def errno_name(number: int) -> str:
    """Return the name of an errno value (``13`` → ``"EACCES"``), or ``"errno N"`` if unknown."""
    return _KERNEL_ERRNO.get(number) or _errno.errorcode.get(number) or f"errno {number}"


class Error(Exception):
    """The root of the tree: catch this to catch everything that bpflens raises on purpose."""


class SyscallError(Error, OSError):
    """A system call failed.

    ``command`` is what was tried ("BPF_MAP_CREATE hash"), ``errno`` the number, ``cause`` the
    likely reason and ``remedy`` what to do about it (both may be empty).
    """

    def __init__(self, number: int, command: str, cause: str = "", remedy: str = "") -> None:
        import os

        OSError.__init__(self, number, os.strerror(number) if number != 524 else "Not supported")
        self.command = command
        self.cause = cause
        self.remedy = remedy

    @property
    def errno_name(self) -> str:
        """The symbolic name of the errno ("EPERM")."""
        return errno_name(self.errno or 0)

    def __str__(self) -> str:
        text = f"{self.command}: {self.strerror} ({self.errno_name})"
        if self.cause:
            text += f": {self.cause}"
        if self.remedy:
            text += f"; {self.remedy}"
        return text


class VerifierError(SyscallError):
    """The verifier refused a program.

    ``log`` holds the lines of its log, ``insn`` the index of the instruction it stopped at (or
    ``None``), ``source`` a ``(file, line, column, text)`` tuple when line info leads back to it.
    """

    def __init__(
        self,
        number: int,
        program: str,
        log: Sequence[str],
        insn: int | None = None,
        source: tuple[str, int, int, str] | None = None,
    ) -> None:
        SyscallError.__init__(self, number, f"loading program {program}")
        self.program = program
        self.log = list(log)
        self.insn = insn
        self.source = source

    def __str__(self) -> str:
        useful = [line for line in self.log if line.strip() and not _is_trailer(line)]
        text = f"{self.command}: {self.strerror} ({self.errno_name})"
        if useful:
            text += f": {useful[-1]}"
            if len(self.log) > 1:
                text += f" ({len(self.log) - 1} line(s) of verifier log omitted)"
        if self.source:
            file, line, column, source = self.source
            text += f"\n{file}:{line}:{column}: {source}"
        return text


def _is_trailer(line: str) -> bool:
    # Statistics that the verifier prints after its verdict; they explain nothing.
    return line.startswith(("processed ", "verification time ", "stack depth "))


class NotSupported(Error):
    """A feature is conclusively missing on this kernel.

    ``feature`` names it, ``since`` is the kernel version that brought it (for the message only),
    ``why`` adds what is known about the reason.
    """

    def __init__(self, feature: str, since: str = "", why: str = "") -> None:
        text = f"{feature} is not supported by this kernel"
        if since:
            text += f" (in Linux since {since})"
        if why:
            text += f": {why}"
        super().__init__(text)
        self.feature = feature
        self.since = since
        self.why = why


class FormatError(Error):
    """Bytes that do not have the form they should have.

    ``what`` is the kind of input ("BTF", "ELF file"), ``where`` the section or offset.
    """

    def __init__(self, what: str, problem: str, where: str = "") -> None:
        super().__init__(f"{what}: {problem}" + (f" (at {where})" if where else ""))
        self.what = what
        self.problem = problem
        self.where = where


class NotFound(Error):
    """A name or id that does not exist; ``candidates`` are the nearest names that do."""

    def __init__(self, what: str, name: str, candidates: Sequence[str] = ()) -> None:
        text = f"no {what} {name}"
        if candidates:
            text += f"; did you mean {' or '.join(candidates)}?"
        super().__init__(text)
        self.what = what
        self.name = name
        self.candidates = list(candidates)


class AttachError(Error):
    """A probe could not be attached: ``probe`` as the user wrote it, ``reason``, ``hints``."""

    def __init__(self, probe: str, reason: str, hints: Sequence[str] = ()) -> None:
        super().__init__(f"{probe}: {reason}")
        self.probe = probe
        self.reason = reason
        self.hints = list(hints)


class CompileError(Error):
    """A script is wrong; ``diagnostics`` holds every complaint (see :mod:`bpflens.lang`).

    ``rendered`` is all of them as text, each with its place in the script.
    """

    rendered: str = ""

    def __init__(self, diagnostics: Sequence[object]) -> None:
        super().__init__("; ".join(str(item) for item in diagnostics) or "the script is wrong")
        self.diagnostics = list(diagnostics)


class UsageError(Error):
    """Wrong words on a command line; the message is for the user as it stands."""

"""Load one program: patched instructions and info records in, file descriptor out.

What the verifier says about a refusal is led back to the source line by the program's line info.

Example::

    fd = load_program(spec, insns, attachment, btf_fd, func_info, line_info)
"""

from __future__ import annotations

import errno

from bpflens.errors import SyscallError, VerifierError
from bpflens.kernel import bpf
from bpflens.load.patch import MISSING_CALL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bpflens.load.attach_target import AttachTarget
    from bpflens.spec import LineInfo, ProgramSpec

__all__ = ["load_program", "source_of"]

# The helper that does not exist which bpflens.btf.core_patch puts where CO-RE finds nothing.
POISON = 0xBAD2310


def load_program(
    spec: ProgramSpec,
    insns: bytes,
    target: AttachTarget,
    *,
    btf_fd: int = 0,
    func_info: bytes = b"",
    line_info: bytes = b"",
    fd_array: bytes = b"",
    log_level: int = 0,
    log: list[str] | None = None,
    question: Callable[[ProgramSpec, int], str] | None = None,
) -> int:
    """Load the program and return its file descriptor.

    The kernel is asked without a log first (it is cheaper), and with one when it refuses or when
    ``log_level`` says so; the lines are appended to ``log``. ``question`` tells what a CO-RE
    relocation at an instruction asked the kernel's types for.
    Raises :class:`~bpflens.errors.VerifierError` with the place in the source, or
    :class:`~bpflens.errors.SyscallError` where the verifier was not reached.
    """
    attach_type = target.attach_type

    def load(name: str) -> int:
        return bpf.prog_load(
            spec.type,
            insns,
            spec.license,
            name=name,
            flags=spec.flags,
            expected_attach_type=spec.expected_attach_type if attach_type is None else attach_type,
            kern_version=spec.kern_version,
            ifindex=spec.ifindex,
            btf_fd=btf_fd,
            func_info=func_info,
            line_info=line_info,
            attach_btf_id=target.btf_id,
            attach_prog_fd=target.prog_fd,
            attach_btf_obj_fd=target.btf_fd,
            fd_array=fd_array,
            log_level=log_level,
            log=log,
        )

    try:
        try:
            return load(spec.name)
        except SyscallError as error:
            # Since Linux 4.15 (067cae47771c "bpf: Use char in prog and map name"): a kernel that
            # knows no names finds the attribute too long as soon as there is one.
            if error.errno != errno.E2BIG or not spec.name:
                raise
            return load("")
    except VerifierError as error:
        raise _explained(error, spec, question) from None
    except SyscallError as error:
        error.command = f"loading program {spec.name} ({error.command})"
        raise


def source_of(lines: Sequence[LineInfo], insn: int) -> LineInfo | None:
    """Return the line of instruction ``insn``: the last one that begins at it or before."""
    best: LineInfo | None = None
    for line in lines:
        if line.insn <= insn and (best is None or line.insn >= best.insn):
            best = line
    return best


def _explained(
    error: VerifierError, spec: ProgramSpec, question: Callable[[ProgramSpec, int], str] | None
) -> VerifierError:
    from bpflens.asm.verifier_log import parse

    number = error.errno or errno.EINVAL
    log = parse(error.log)
    line = source_of(spec.lines, log.insn) if log.insn is not None else None
    source = (line.file, line.line, line.column, line.text) if line else None
    lines = list(error.log)
    if log.insn is not None:
        reason = _missing(log.error, spec, log.insn, question)
        if reason:
            lines.append(reason)
    return VerifierError(number, spec.name, lines, log.insn, source)


# What this kernel lacks, where the verifier reached an instruction that was made invalid for it.
def _missing(
    complaint: list[str],
    spec: ProgramSpec,
    insn: int,
    question: Callable[[ProgramSpec, int], str] | None,
) -> str:
    text = " ".join(complaint)
    if str(POISON) in text and question is not None:
        asked = question(spec, insn)
        if asked:
            return f"the kernel's types have no answer to the CO-RE relocation {asked}"
    if str(MISSING_CALL) in text:
        for reloc in spec.relocs:
            if reloc.kind == "kfunc" and reloc.insn == insn:
                return f"this kernel has no function {reloc.name}"
    return ""

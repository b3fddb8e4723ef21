"""Showing the stages of a compilation (``-d ast|types|ir|asm|all``)."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from bpflens.lang.analyse.state import TypedProgram
    from bpflens.lang.context import Context
    from bpflens.lang.nodes import Program
    from bpflens.lang.pipeline import Compilation
    from bpflens.lang.program import CompiledProgram

__all__ = ["show"]


# Names that the reference has for stages, and what comes nearest here.
_OTHER_NAMES = {"codegen": "ir", "codegen-opt": "ir", "dis": "asm", "libbpf": "asm", "parse": "ast"}


def show(compilation: Compilation, stages: Sequence[str]) -> int:
    """Print one stage, or several; nothing is loaded."""
    wanted = {_OTHER_NAMES.get(stage, stage) for stage in stages}
    if "all" in wanted:
        wanted = {"ast", "types", "ir", "asm"}
    titled = len(wanted) > 1
    tree = compilation.parse()
    if "ast" in wanted:
        _section(titled, "AST", _ast(tree))
    if wanted == {"ast"}:
        return 0
    typed = compilation.analyse(tree, compilation.expand(tree))
    if "types" in wanted:
        _section(titled, "Types", _types(typed))
    if "ir" in wanted:
        _section(titled, "IR", _ir(typed, compilation.context))
    if "asm" in wanted:
        _section(titled, "Instructions", _asm(compilation.lower(typed)))
    return 0


def _section(titled: bool, title: str, text: str) -> None:
    head = f"{title}\n{'-' * len(title)}\n" if titled else ""
    sys.stdout.write(f"{head}{text.rstrip()}\n" + ("\n" if titled else ""))


def _ast(tree: Program) -> str:
    from bpflens.lang.printer import dump

    return dump(tree)


def _types(typed: TypedProgram) -> str:
    from bpflens.lang.printer import unparse

    lines = []
    for state in typed.maps.values():
        key = f"[{state.key.name}]" if state.keyed and state.key is not None else ""
        lines.append(f"{state.name}{key}: {state.value.name if state.value else '?'}")
    for variant in typed.variants:
        lines.append(f"{variant.point.text}:")
        lines += [f"  {unparse(node)}: {kind.name}" for node, kind in variant.types.items()]
    return "\n".join(lines)


def _ir(typed: TypedProgram, context: Context) -> str:
    from bpflens.lang.ir.print import format_function
    from bpflens.lang.lower.function import FunctionLowering
    from bpflens.lang.lower.resource import Resources

    resources = Resources(context, list(typed.maps.values()))
    texts = []
    for variant in typed.variants:
        lowering = FunctionLowering(context, resources, variant, variant.point.text)
        lowering.run()
        texts += [format_function(fn) for fn in lowering.functions]
    return "\n".join(texts)


def _asm(compiled: CompiledProgram) -> str:
    from bpflens.asm.disassemble import disassemble
    from bpflens.asm.instruction import decode

    lines = []
    for name, spec in compiled.object.programs.items():
        lines.append(f"{name}: {len(spec.insns) // 8} instructions")
        places = {line.insn: line for line in spec.lines}
        slot, last = 0, ""
        insns = decode(spec.insns)
        for insn, text in zip(insns, disassemble(insns), strict=True):
            line = places.get(slot)
            if line is not None and line.text != last:
                lines.append(f"; {line.text.strip()} ({line.file}:{line.line}:{line.column})")
                last = line.text
            lines.append(f"{slot:4}: {text}")
            slot += 2 if insn.wide else 1
    return "\n".join(lines)

"""From the functions of one program, as the compiler's front wrote them, to its instructions.

The functions are consumed: passes rewrite them in place.

Example::

    program = compile_program([main, *callbacks], cpu=3)
"""

from __future__ import annotations

from bpflens.lang.ir.emit import EmittedProgram, emit
from bpflens.lang.ir.frame import FrameTooLarge
from bpflens.lang.ir.legalise import legalise
from bpflens.lang.ir.ops import MAX_STACK, Function, Op
from bpflens.lang.ir.optimise import branches, optimise
from bpflens.lang.ir.regalloc import allocate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from bpflens.lang.ir.regalloc import Allocation

__all__ = ["compile_program"]


def compile_program(
    functions: Sequence[Function], cpu: int = 3, level: int = 1, check: bool = False
) -> EmittedProgram:
    """Compile the functions of one program, the main one first.

    ``cpu`` is the version of the instruction set (3: Linux 5.1, 4: Linux 6.6), ``level`` 0 leaves
    the optimiser out, ``check`` verifies the representation after every pass. Functions that are
    referred to but not listed are an error; listed ones that nobody refers to are dropped, for the
    kernel refuses code that cannot be reached.

    Raises :class:`~bpflens.lang.ir.frame.FrameTooLarge` when a frame, or the frames of a chain of
    calls together, exceed what the kernel allows.
    """
    if check:
        from bpflens.lang.ir.check import check_function

        for fn in functions:
            check_function(fn)
    for fn in functions:
        if level:
            optimise(fn, check)
        legalise(fn, cpu)
    placed = [(fn, allocate(fn)) for fn in _used(functions)]
    if level:
        # Blocks that only moved something may have nothing left to do.
        for fn, _ in placed:
            branches.run(fn)
        # Among what turns out never to run there may be the only use of a function.
        used = _used([fn for fn, _ in placed])
        placed = [(fn, allocation) for fn, allocation in placed if fn in used]
    if len(placed) > 1:
        _check_stack(placed)
    return emit(placed, cpu)


def _references(fn: Function) -> list[Function]:
    return [
        thing.ref
        for block in fn.blocks
        for op in block.ops
        for thing in (op, *op.args)
        if type(thing) is Op and isinstance(thing.ref, Function)
    ]


def _used(functions: Sequence[Function]) -> list[Function]:
    if len(functions) == 1:
        return list(functions)
    used = {functions[0]}
    work = [functions[0]]
    while work:
        for fn in _references(work.pop()):
            if fn not in used:
                used.add(fn)
                work.append(fn)
    return [fn for fn in functions if fn in used]


def _check_stack(placed: Sequence[tuple[Function, Allocation]]) -> None:
    # The kernel adds up the frames along each chain of calls, every one rounded up to 32 bytes.
    sizes = {fn: (max(allocation.frame_size, 1) + 31) // 32 * 32 for fn, allocation in placed}
    callees = {fn: _references(fn) for fn, _ in placed}
    main = placed[0][0]
    work: list[tuple[Function, int, tuple[Function, ...]]] = [(main, sizes[main], (main,))]
    while work:
        fn, size, chain = work.pop()
        if size > MAX_STACK:
            raise FrameTooLarge(" → ".join(link.name for link in chain), size)
        work += [
            (callee, size + sizes[callee], (*chain, callee))
            for callee in callees[fn]
            if callee in sizes and callee not in chain
        ]

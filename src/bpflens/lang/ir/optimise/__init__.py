"""Better code with the same meaning, one pass a module.

Each pass is one function ``run(fn, ...)`` that rewrites the function in place and says whether it
changed anything. All of them keep what the kernel's verifier has proved: see
:mod:`~bpflens.lang.ir.optimise.fold` for the rule that matters most.

Example::

    optimise(fn)
"""

from __future__ import annotations

from bpflens.lang.ir.flow import reverse_postorder
from bpflens.lang.ir.optimise import branches, dead, fold, layout, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.lang.ir.ops import Function

__all__ = ["optimise"]

# The third round hardly ever finds anything.
_ROUNDS = 3


def optimise(fn: Function, check: bool = False) -> None:
    """Run all passes on ``fn``, in place; ``check`` verifies the representation after each."""
    _checked(fn, check)
    branches.run(fn)
    for _ in range(_ROUNDS):
        _checked(fn, check)
        order = reverse_postorder(fn)
        changed = loads.run(fn, order)
        _checked(fn, check)
        changed |= fold.run(fn, order)
        _checked(fn, check)
        # A branch that was decided may have cut off blocks.
        changed |= branches.run(fn)
        _checked(fn, check)
        order = reverse_postorder(fn)
        changed |= dead.run(fn, order)
        if not changed:
            break
    _checked(fn, check)
    branches.run(fn)
    layout.run(fn, reverse_postorder(fn))
    _checked(fn, check)


def _checked(fn: Function, check: bool) -> None:
    if check:
        from bpflens.lang.ir.check import check_function

        check_function(fn)

"""Random scripts compute in the interpreter what the language's rules say."""

from __future__ import annotations

import pytest

from emu.script_random import make
from emu.script_run import interpret, seeds


@pytest.mark.parametrize("kernel", ["new", "old"])
@pytest.mark.parametrize("first", range(0, 100_000, 10_000))
def test_random_scripts_leave_what_they_should(first: int, kernel: str) -> None:
    for seed in seeds(first, 15):
        script = make(seed)
        assert interpret(script.text, kernel) == script.expected(), f"seed {seed}\n{script.text}"

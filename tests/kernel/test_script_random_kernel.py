"""The kernel takes random scripts, loops and all, and they compute there what they should."""

from __future__ import annotations

import pytest

from emu.script_random import make
from emu.script_run import run_in_kernel, seeds

pytestmark = pytest.mark.kernel


@pytest.mark.parametrize("first", range(500_000, 600_000, 20_000))
def test_random_scripts_leave_what_they_should(first: int) -> None:
    for seed in seeds(first, 8):
        script = make(seed)
        assert run_in_kernel(script.text) == script.expected(), f"seed {seed}\n{script.text}"

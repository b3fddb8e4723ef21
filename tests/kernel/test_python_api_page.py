"""Every Python block of the API page runs."""

from __future__ import annotations

from pathlib import Path

import pytest

import bpflens

pytestmark = pytest.mark.kernel

PAGE = Path(__file__).parents[2] / "docs" / "python-api.md"


BLOCKS = [part.partition("```")[0] for part in PAGE.read_text().split("```python\n")[1:]]


@pytest.mark.parametrize("code", BLOCKS, ids=range(len(BLOCKS)))
def test_the_block_runs(code):
    exec(compile(code, str(PAGE), "exec"), {"__name__": "page"})


def test_every_public_name_is_on_the_page():
    text = PAGE.read_text()
    errors = {"Error", "AttachError", "CompileError", "FormatError", "UsageError"}
    for name in set(bpflens.__all__) - errors - {"__version__"}:
        assert f"`{name}" in text, name

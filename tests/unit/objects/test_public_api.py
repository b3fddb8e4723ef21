"""The names of the package itself: there, listed, and free until used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import bpflens


@pytest.mark.parametrize("name", bpflens.__all__)
def test_every_listed_name_can_be_imported(name):
    assert getattr(bpflens, name) is not None
    assert name in dir(bpflens)


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Mapp'"):
        _ = bpflens.Mapp


def test_importing_the_package_imports_nothing_else():
    code = "import sys; import bpflens; print(*(n for n in sys.modules if 'bpflens' in n))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(sys.modules["bpflens"].__path__[0]) + "/.."},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["bpflens"]


def test_the_map_class_does_not_load_what_start_up_pays_for():
    code = (
        "import sys; from bpflens import Map; "
        "print(*sorted({'dataclasses', 'enum', 'inspect', 'logging', 'typing', 're', 'json'}"
        " & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c",
         f"import sys; sys.path.insert(0, {bpflens.__path__[0] + '/..'!r}); {code}"],
        capture_output=True,
        text=True,
        check=True,
    )  # fmt: skip
    assert done.stdout.split() == []

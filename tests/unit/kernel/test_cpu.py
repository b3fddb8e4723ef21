"""CPU lists."""

from __future__ import annotations

import pytest

from bpflens.errors import FormatError
from bpflens.kernel import cpu


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("0\n", [0]), ("0-3\n", [0, 1, 2, 3]), ("0-1,4,6-7", [0, 1, 4, 6, 7]), ("", [])],
)
def test_a_list_of_cpus_is_read(text, numbers):
    assert cpu.parse_list(text) == numbers


def test_what_is_no_list_is_refused():
    with pytest.raises(FormatError, match="is not like 0-3,8"):
        cpu.parse_list("all")


def test_holes_in_the_possible_cpus_still_have_values(monkeypatch):
    monkeypatch.setattr(cpu, "_possible", [0, 1, 4])
    assert cpu.possible_count() == 5

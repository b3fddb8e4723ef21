"""Tests as text: a case is what goes in, and, behind ``[out]``, what must come out.

    [case name_of_the_behaviour]
    input
    [out]
    expected output

A test module turns the cases of one file into parameters and calls ``check`` with what its subject
made of the input; ``pytest --update-data`` rewrites the expectations instead.
"""

from __future__ import annotations

from pathlib import Path

import pytest

DATA = Path(__file__).parent / "data"


class Case:
    def __init__(self, path, name, text, expected):
        self.path = path
        self.name = name
        self.text = text
        self.expected = expected

    def check(self, actual, update):
        actual = actual.rstrip("\n")
        if update and actual != self.expected:
            rewrite(self.path, self.name, actual)
        else:
            assert actual == self.expected


def load(file):
    path = DATA / file
    cases = []
    for block in path.read_text().split("\n[case ")[0:]:
        head, _, body = block.removeprefix("[case ").partition("]\n")
        if "\n" in head or not body:
            continue  # the comment before the first case
        text, _, expected = body.partition("[out]\n")
        cases.append(Case(path, head, text.rstrip("\n"), expected.rstrip("\n")))
    return cases


def rewrite(path, name, actual):
    text = path.read_text()
    start = text.index("[out]\n", text.index(f"[case {name}]\n")) + len("[out]\n")
    end = text.find("\n[case ", start)
    rest = text[end:] if end >= 0 else ""
    path.write_text(text[:start] + actual + "\n" + rest)


def parametrize(file):
    return pytest.mark.parametrize("case", load(file), ids=lambda case: case.name)

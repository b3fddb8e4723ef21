"""Features: three answers, and only sure ones remembered."""

from __future__ import annotations

import errno

import pytest

from bpflens.errors import NotFound, NotSupported, SyscallError
from bpflens.kernel import feature as features
from bpflens.kernel.feature import Feature


class Probe:
    def __init__(self, *answers):
        self.answers = list(answers)
        self.calls = 0

    def __call__(self):
        self.calls += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer


@pytest.mark.parametrize("sure", [True, False])
def test_a_sure_answer_is_remembered(sure):
    probe = Probe(sure)
    tried = Feature("thing", "1.0", probe)
    assert bool(tried) is sure
    assert tried.answer() is sure
    assert probe.calls == 1


def test_an_unsure_answer_is_raised_and_asked_again():
    probe = Probe(SyscallError(errno.ENOMEM, "BPF_MAP_CREATE"), True)
    tried = Feature("thing", "1.0", probe)
    assert tried.answer() is None
    assert "ENOMEM" in tried.why
    assert bool(tried)
    assert probe.calls == 2


def test_a_reasoned_no_is_sure_and_keeps_its_reason():
    tried = Feature("thing", "1.0", Probe(NotSupported("thing", "", "built without")))
    assert tried.answer() is False
    with pytest.raises(NotSupported, match=r"since 1\.0.*built without"):
        tried.require()


def test_what_is_not_known_is_not_had_but_not_refused_either():
    tried = Feature("thing", "1.0", Probe(SyscallError(errno.EPERM, "BPF_PROG_LOAD")))
    with pytest.raises(SyscallError):
        tried.require()


def test_an_unknown_name_has_neighbours():
    with pytest.raises(NotFound, match="did you mean ringbuf"):
        features.feature("ringbuff")


def test_every_feature_says_what_it_is_for_and_since_when():
    for name, row in features.all_features().items():
        assert row.name == name
        assert row.what
        assert all(part.isdigit() for part in row.since.split("."))

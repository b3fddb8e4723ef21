"""Attaching the probes of a script: order, links for many, what may be missing."""

from __future__ import annotations

import pytest

from bpflens.attach.attachment import Attachment
from bpflens.errors import AttachError
from bpflens.lang.program import CompiledProgram, ProbeSchema
from bpflens.session import attaching
from bpflens.spec import ObjectSpec, ProgramSpec


class Recorder:
    """Stands for what attaches: remembers, and refuses some."""

    def __init__(self, refuse=()):
        self.refuse = set(refuse)
        self.made = []

    def make(self, kind, options, *, pid=0):
        names = options.get("functions") or [options.get("function", options.get("event", kind))]
        recorder = self

        class Point:
            def attach(self, program, *, cookie=0):
                if recorder.refuse & set(names):
                    raise AttachError(names[0], "refused")
                recorder.made.append((kind, list(names)))
                return Attachment(names[0], [])

        return Point()


@pytest.fixture
def recorder(monkeypatch):
    found = Recorder()
    monkeypatch.setattr(attaching, "make", found.make)
    return found


def script(*probes, **config):
    schemas = [ProbeSchema(kind, f"{kind}:{name}", name, options) for kind, name, options in probes]
    programs = {probe.program: ProgramSpec(probe.program, 0, b"") for probe in schemas}
    return CompiledProgram(ObjectSpec({}, programs), schemas, [], [], config=config)


def attach(program, warnings=None):
    loaded = dict.fromkeys((probe.program for probe in program.probes), object())
    said = [] if warnings is None else warnings
    return attaching.attach_all(program, loaded, pid=0, warn=said.append)


def test_probes_that_run_last_attached_first_are_attached_backwards(recorder):
    attach(
        script(
            ("tracepoint", "a", {"event": "a"}),
            ("kprobe", "b", {"function": "b"}),
            ("kprobe", "c", {"function": "c"}),
            ("tracepoint", "d", {"event": "d"}),
        )
    )
    assert [names for _, names in recorder.made] == [["c"], ["b"], ["a"], ["d"]]


def test_what_nothing_is_attached_for_is_left_alone(recorder):
    attach(script(("begin", "a", {}), ("end", "b", {}), ("self", "c", {})))
    assert recorder.made == []


def test_probes_that_another_attachment_serves_are_not_attached(recorder):
    first = {"event": "sys_enter", "attach_kind": "tp_btf"}
    attach(script(("tracepoint", "a", first), ("tracepoint", "a", {**first, "attach_kind": ""})))
    assert recorder.made == [("tp_btf", ["sys_enter"])]


def functions(count, **more):
    return [("kprobe", "many", {"function": f"f{i}", "multi": 1, **more}) for i in range(count)]


def test_one_link_ties_many_functions_of_a_block(recorder):
    attach(script(*functions(5)))
    assert recorder.made == [("kprobe", ["f0", "f1", "f2", "f3", "f4"])]


def test_a_function_that_is_refused_does_not_keep_the_others_away(recorder):
    recorder.refuse = {"f2"}
    warnings = []
    attach(script(*functions(5, optional=1)), warnings)
    assert sorted(name for _, names in recorder.made for name in names) == ["f0", "f1", "f3", "f4"]
    assert warnings == ["Unable to attach probe: kprobe:many. Skipping."]


def test_all_refused_is_an_error_even_for_a_pattern(recorder):
    recorder.refuse = {"f0", "f1"}
    with pytest.raises(AttachError):
        attach(script(*functions(2, optional=1)))


def test_a_single_probe_that_fails_is_an_error_with_advice(recorder):
    recorder.refuse = {"a"}
    with pytest.raises(AttachError) as caught:
        attach(script(("tracepoint", "a", {"event": "a"})))
    assert str(caught.value) == "Unable to attach probe: tracepoint:a: refused"
    assert "missing_probes" in caught.value.hints[-1]


@pytest.mark.parametrize(("how", "count"), [("warn", 1), ("ignore", 0)])
def test_probes_may_be_missing(recorder, how, count):
    recorder.refuse = {"a"}
    warnings = []
    attach(script(("tracepoint", "a", {"event": "a"}), missing_probes=how), warnings)
    assert len(warnings) == count


def test_more_probes_than_allowed():
    program = script(*[("tracepoint", "a", {"event": str(i)}) for i in range(4)], max_probes=3)
    with pytest.raises(attaching.TooManyProbes, match="Can't attach to 4 probes"):
        attaching.check_limits(program)


def test_probes_of_a_kind_that_is_missing_are_dropped(monkeypatch):
    monkeypatch.setattr("bpflens.session.suggest.missing", lambda kind: "none here")
    program = script(
        ("kprobe", "a", {"function": "a"}), ("tracepoint", "b", {"event": "b"}),
        missing_probes="warn",
    )  # fmt: skip
    warnings = []
    attaching.drop_missing(program, warnings.append)
    assert [probe.kind for probe in program.probes] == ["tracepoint"]
    assert list(program.object.programs) == ["b"]
    assert warnings == ["Unable to attach 1 kprobe probe: none here. Skipping."]


def test_a_kind_that_is_missing_is_an_error_that_names_others(monkeypatch):
    monkeypatch.setattr("bpflens.session.suggest.missing", lambda kind: "none here")
    monkeypatch.setattr("bpflens.session.suggest.nearest", lambda kind, names: ["tracepoint:x:y"])
    with pytest.raises(AttachError) as caught:
        attaching.drop_missing(script(("kprobe", "a", {"function": "a"})), print)
    assert "tracepoint:x:y" in caught.value.hints[0]

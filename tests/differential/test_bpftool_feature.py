"""`feature`: what is found by trying, beside what the real tool finds."""

from __future__ import annotations

import pytest

from bpflens.kernel import probe
from bpflens.uapi.bpf import PROG_TYPE_NAMES
from bpftool_pair import both, ours, same_json, same_lines

pytestmark = [pytest.mark.kernel, pytest.mark.differential]


def test_both_find_the_same_in_what_both_know():
    mine, theirs = both("-j", "feature", "probe")
    for section in ("system_config", "syscall_config", "program_types", "map_types", "misc"):
        for name, answer in theirs.json[section].items():
            # Options that kernels no longer have; Debian's 7.1 fails at struct_ops maps.
            if name in mine.json[section] and name != "have_struct_ops_map_type":
                assert mine.json[section][name] == answer, name
    known = {helper for helpers in theirs.json["helpers"].values() for helper in helpers}
    for name, helpers in theirs.json["helpers"].items():
        # The older tool takes some refusals for a yes, never the other way round.
        assert known & set(mine.json["helpers"][name]) <= set(helpers), name


def test_helpers_by_registers_are_those_found_one_by_one(monkeypatch):
    for number in range(1, len(PROG_TYPE_NAMES), 5):
        at_once = probe.helpers_of(number)
        with monkeypatch.context() as patch:
            patch.setattr(probe, "_by_registers", lambda *_: {})
            assert at_once == probe.helpers_of(number)


def test_sections_come_in_the_real_order():
    titles = [line for line in ours("feature", "probe", "kernel").lines if "Scanning" in line]
    theirs = [line for line in both("feature", "probe", "kernel")[1].lines if "Scanning" in line]
    assert titles == theirs


def test_macros_say_what_the_probe_says():
    lines = ours("feature", "probe", "macros", "prefix", "MY_").lines
    told = ours("-j", "feature", "probe").json
    for name, has in {**told["program_types"], **told["map_types"], **told["misc"]}.items():
        macro = name.removeprefix("have_").upper()
        assert f"#define MY_{'' if has else 'NO_'}HAVE_{macro}" in lines
    for name, helpers in told["helpers"].items():
        kind = name.removesuffix("_available_helpers")
        start = f"#define MY_BPF__PROG_TYPE_{kind}__HELPER_"
        there = {line.split()[1] for line in lines if line.startswith(start) and line[-1] == "1"}
        assert there == {start.split()[1] + helper for helper in helpers}


def test_a_device_without_offload_has_nothing():
    mine, theirs = both("-j", "feature", "probe", "dev", "lo")
    for section, told in theirs.json.items():
        assert {name: mine.json[section][name] for name in told} == told


def test_an_unprivileged_user_has_nothing_either():
    told = ours("-j", "feature", "probe", "unprivileged").json
    assert not any(told["program_types"].values())
    assert told["system_config"]["unprivileged_bpf_disabled"] >= 0


@pytest.mark.parametrize("group", ["prog_types", "map_types", "attach_types", "link_types"])
def test_lists_begin_with_what_the_real_tool_knows(group):
    mine, theirs = both("-j", "feature", "list_builtins", group)
    if theirs.status:
        pytest.skip("the real tool does not know this command")
    assert mine.json[: len(theirs.json)] == theirs.json


def test_helpers_are_listed_by_their_names():
    mine, theirs = both("-j", "feature", "list_builtins", "helpers")
    assert mine.json[: len(theirs.json)] == theirs.json


def test_wrong_words_are_refused_in_the_same_words():
    for words in (["probe", "nosuch"], ["probe", "prefix", "X"], ["probe", "dev", "nosuchdev"]):
        mine, theirs = both("feature", *words)
        assert mine.err == theirs.err
        assert mine.status == theirs.status


def test_explain_says_what_and_since_when():
    text = ours("feature", "explain", "ringbuf").out
    assert "5.8" in text
    assert ours("feature", "explain", "bpf_loop").out.count("5.17") >= 1
    done = ours("feature", "explain", "ringbuff")
    assert done.status == 255
    assert "did you mean ringbuf" in done.err


def test_the_help_is_the_real_one():
    assert same_lines("feature", "help") == []
    assert same_json("feature", "help") is None

"""The words of the bpftrace command line."""

from __future__ import annotations

import pytest

from bpflens.trace.options import WrongWords, parse


@pytest.mark.parametrize(
    ("words", "attribute", "value"),
    [
        (["-e", "x"], "program", "x"),
        (["-ex"], "program", "x"),
        (["-qe", "x"], "quiet", True),
        (["--dry", "s.bt"], "dry_run", True),
        (["--pid=12", "s.bt"], "pid", 12),
        (["-p", "0x10", "s.bt"], "pid", 16),
        (["s.bt", "-v", "one"], "verbose", True),
        (["s.bt", "one", "two"], "params", ["one", "two"]),
        (["s.bt", "-5"], "params", ["-5"]),
        (["-e", "x", "one", "--", "two", "--a=b", "--c"], "params", ["one", "two"]),
        (["-e", "x", "--", "--a=b", "--c"], "named", {"a": "b", "c": "true"}),
        (["-"], "file", "-"),
        (["--", "s.bt"], "file", "s.bt"),
        (["-I", "a", "-I", "b", "s.bt"], "include_dirs", ["a", "b"]),
        (["--no-feature", "kprobe_multi,uprobe_multi", "s"], "no_features",
         ["kprobe_multi", "uprobe_multi"]),
        (["-d", "ast,types", "s"], "debug", ["ast", "types"]),
        (["--test", "s"], "mode", "test"),
        (["--fmt", "s"], "mode", "format"),
        (["-l"], "pattern", ""),
        (["-l", "t:sched:*"], "pattern", "t:sched:*"),
        (["-l", __file__], "file", __file__),
        (["--verify-llvm-ir", "s"], "file", "s"),
        (["-h", "--nonsense"], "asked", "help"),
        (["-V"], "asked", "version"),
        (["--info"], "asked", "info"),
    ],
)  # fmt: skip
def test_words_mean(words, attribute, value):
    assert getattr(parse(words), attribute) == value


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--nonsense", "s"], "unrecognized option '--nonsense'"),
        (["--dry-rum", "s"], "unrecognized option '--dry-rum'; did you mean '--dry-run'?"),
        (["--no", "s"], "option '--no' is ambiguous"),
        (["-Z"], "invalid option -- 'Z'"),
        (["-e"], "option requires an argument -- 'e'"),
        (["--mode"], "option '--mode' requires an argument"),
        (["--info=1"], "option '--info' doesn't allow an argument"),
        (["-q"], "filename or -e 'program' required."),
        (["-p", "1", "-c", "true", "s"], "Cannot use both -c and -p."),
        (["-p", "12a", "s"], "Failed to parse pid: invalid trailing bytes: 12a"),
        (["-p", "a12", "s"], "Failed to parse pid: invalid integer: a12"),
        (["-p", "5000000", "s"], "Pid out of range: 5000000"),
        (["-B", "some", "s"], "-B must be either 'line', 'full', or 'none'."),
        (["-f", "xml", "s"], 'Invalid output format "xml"'),
        (["-k", "-k", "s"], "-kk has been deprecated."),
        (["-k", "--no-warnings", "s"], "-k, --warnings conflicts with --no-warnings"),
        (["--test", "--bench", "s"], "--bench conflicts with existing --mode"),
        (["--mode", "x", "s"], "--mode can only be"),
        (["--no-feature", "btf", "s"], "--no-feature can only have values"),
        (["-d", "x", "s"], "invalid option for -d: x"),
        (["-l", "a", "b"], "-l takes one pattern or file"),
    ],
)
def test_wrong_words_are_named(words, message):
    with pytest.raises(WrongWords) as caught:
        parse(words)
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["--aot", "--emit-elf"])
def test_what_would_write_a_file_and_cannot_is_refused(name):
    with pytest.raises(WrongWords, match=f"{name} is not available"):
        parse([name, "out", "-e", "BEGIN { exit(); }"])

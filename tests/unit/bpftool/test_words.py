"""Words of commands, bytes of elements, lines of batch files."""

from __future__ import annotations

import pytest

from bpflens.bpftool import batch
from bpflens.bpftool.element import bytes_of
from bpflens.bpftool.map_create import flags_of
from bpflens.bpftool.template import KEY, VALUE, Template, hex_lines
from bpflens.bpftool.tool import Failure
from bpflens.bpftool.words import Words, c_number


@pytest.mark.parametrize(
    ("word", "base", "number"),
    [("10", 0, 10), ("0x1f", 0, 31), ("017", 0, 15), ("0", 0, 0), ("ff", 16, 255), ("zz", 0, None),
     ("1_0", 0, None), ("-1", 0, None), ("", 0, None), ("08", 0, None)],
)  # fmt: skip
def test_numbers_are_read_as_strtoul_does(word, base, number):
    assert c_number(word, base) == number


def test_bytes_are_decimal_hexadecimal_octal_or_all_hexadecimal():
    assert bytes_of(Words(["1", "0x2", "010", "255"]), "key", 4) == bytes([1, 2, 8, 255])
    assert bytes_of(Words(["hex", "1", "ff", "10"]), "key", 3) == bytes([1, 255, 16])


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("1 0", "key expected 4 bytes got 2"),
        ("1 0 zz 0", "error parsing byte: zz"),
        ("300 0 0 0", "error parsing byte: 300"),
        ("hex 010203 0 0 0", "error parsing byte: 010203"),
    ],
)
def test_bytes_that_are_none_are_refused_not_cut(words, complaint):
    with pytest.raises(Failure, match=complaint):
        bytes_of(Words(words.split()), "key", 4)


def test_flags_are_a_number_or_names():
    assert flags_of("1") == flags_of("no_prealloc") == 1
    assert flags_of("0x81") == flags_of("no_prealloc,rdonly_prog") == 0x81
    with pytest.raises(Failure, match="nosuch"):
        flags_of("nosuch")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("map show", ["map", "show"]),
        ("  a\t'b c' \"d\"  e", ["a", "b c", "d", "e"]),
        ("a ''", ["a", ""]),
        ("", []),
        ("a b'c", ["a", "b'c"]),
    ],
)
def test_a_command_is_split_at_blanks_outside_quotes(line, words):
    assert batch.split(line) == words


def test_a_quote_that_does_not_end_is_told():
    with pytest.raises(Failure, match="unterminated quoted string in command 3"):
        batch.split("a 'b", 3)


def test_comments_and_continued_lines():
    lines = iter(["map show # all\n", "# nothing\n", "map \\\n", "dump # x\n"])
    assert [batch.split(line) for line in batch._lines(lines)] == [
        ["map", "show"], [], ["map", "dump"],
    ]  # fmt: skip


def test_hexadecimal_has_sixteen_bytes_in_a_line_and_a_gap_after_eight():
    assert hex_lines(bytes(range(18))) == (
        "00 01 02 03 04 05 06 07  08 09 0a 0b 0c 0d 0e 0f\n10 11"
    )
    assert hex_lines(bytes(3)) == "00 00 00"
    assert hex_lines(b"") == ""


def test_a_template_prints_any_number_of_records():
    template = Template(2, 4)
    template.text("100% key ")
    template.hex(KEY, 0, 2)
    template.text(" value ")
    template.place(VALUE, 0, "I")
    template.text(" again ")
    template.place(VALUE, 2, "H", hex)
    template.text("\n")
    count = 2500
    keys = b"".join(n.to_bytes(2, "little") for n in range(count))
    values = b"".join((n << 16).to_bytes(4, "little") for n in range(count))
    lines = "".join(template.rows(keys, values, count)).splitlines()
    assert len(lines) == count
    assert lines[0x102] == f"100% key 02 01 value {0x102 << 16} again 0x102"


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["prgo", "show"], "There is no command 'prgo'; did you mean prog"),
        (["map", "lokup"], "There is no command 'map lokup'; did you mean lookup"),
        (["zzzz"], None),
    ],
)
def test_a_word_that_is_nearly_a_command_is_told_after_the_help(words, hint, capfd):
    from bpflens.bpftool.main import main

    assert main(words) == 255
    error = capfd.readouterr().err
    assert error.startswith("Usage: ")
    assert (hint in error) if hint else "did you mean" not in error

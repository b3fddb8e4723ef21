"""What scripts compute, in the interpreter: no kernel, no privilege."""

from __future__ import annotations

import pytest

from script import output


def printed(expression, **named):
    """Return what ``print(expression)`` shows."""
    return output(f"begin {{ print({expression}); }}", **named).rstrip("\n")


@pytest.mark.parametrize(
    ("expression", "shown"),
    [
        ("1 + 2 * 3", "7"),
        ("(1 + 2) * 3", "9"),
        ("7 / 2", "3"),
        ("1 << 40", "1099511627776"),
        ("~0", "18446744073709551615"),
        ("1 < 2", "true"),
        ("!5", "false"),
        ("5 ? 10 : 20", "10"),
        ("0 ?: 3", "3"),
        ("true", "true"),
        ("-3", "-3"),
        ("0xffffffffffffffff", "18446744073709551615"),
        ('"text"', "text"),
        ('(1, "a", (2, 3))', "(1, a, (2, 3))"),
        ("(1,)", "(1)"),
        ('(a=1, b="x")', "{ .a = 1, .b = x }"),
        ("(int8[4])0x01020304", "[4,3,2,1]"),
        ('(int8[])"hi"', "[104,105,0]"),
        ("(uint8)300", "44"),
        ("(int8)200", "-56"),
        ("(1, 2).1", "2"),
        ("{ let $a = 2; $a * 5 }", "10"),
        ("if (1 > 2) { 5 } else { 6 }", "6"),
        ('"abc" == "abc"', "true"),
        ('"abc" != "abc"', "false"),
        ("(1, 2) == (1, 2)", "true"),
        ("(1, 2) == (1, 3)", "false"),
        ("sizeof(uint32)", "4"),
        ("bswap((uint32)1)", "16777216"),
        ("bswap((uint16)0x1122)", "8721"),
    ],
)
def test_a_value_prints(expression, shown):
    assert printed(expression) == shown


@pytest.mark.parametrize(
    ("expression", "shown"),
    [
        ('strlen("abc")', "3"),
        ('strcap("abc")', "4"),
        ('strstr("hello world", "wor")', "6"),
        ('strstr("hello", "lo")', "3"),
        ('strstr("hello", "x")', "-1"),
        ('strstr("hello", "")', "0"),
        ('strstr("aaab", "aab")', "1"),
        ('strcontains("abc", "bc")', "true"),
        ('strcontains("abc", "abcd")', "false"),
        ('str_concat("abc", "def")', "abcdef"),
        ('strncmp("abcd", "abxx", 2)', "0"),
        ('strncmp("abcd", "abxx", 3)', "1"),
        ('memcmp("abc", "abc", 3)', "0"),
        ('memcmp("abc", "abd", 3)', "-1"),
        ('memcmp("b", "a", 1)', "1"),
        ("strerror(2)", "No such file or directory"),
        ("strerror(-2)", "No such file or directory"),
        ("strerror(100000)", "Unknown error"),
        ("signal_name(9)", "Killed"),
        ("syscall_name(0)", "read"),
        ("syscall_name(100000)", "Unknown syscall"),
        ("ntop(0x0100007f)", "127.0.0.1"),
        ('pton("1.2.3.4")', "[1,2,3,4]"),
        ('ntop(pton("::1"))', "::1"),
        ("macaddr((uint8[8])0x060504030201)", "01:02:03:04:05:06"),
        ('buf("a\\x01", 2)', "a\\x01"),
        ("is_err(-5)", "true"),
        ("is_err(5)", "false"),
    ],
)
def test_a_function_gives(expression, shown):
    assert printed(expression) == shown


def test_counting_up_gives_old_and_new_values():
    text = "begin { $a = 5; print(($a++, $a, ++$a, $a--, --$a)); @m++; print(@m++); print((@m,)); }"
    assert output(text).splitlines()[:3] == ["(5, 6, 7, 7, 5)", "1", "(2)"]


def test_pointers_move_by_the_size_of_what_they_point_at():
    assert printed("(int32 *)0x10 + 2") == "0x18"
    assert output("begin { @ = (int16 *)0x10; @ += 3; }") == "@: 0x16\n"


def test_division_by_zero_gives_one_and_a_warning():
    assert output("begin { $z = 0; print(5 / $z); }") == "<runtime_error>\n1\n"


def test_maps_of_every_kind_print_in_order():
    text = """begin {
        @c = count(); @c = count();
        @k["b"] = 2; @k["a"] = 1;
        @t[1, "x"] = (1, "y");
        @s = stats(4); @s = stats(8);
        @h = hist(5);
    }"""
    assert output(text) == (
        "@c: 2\n"
        "@h:\n[4, 8)                 1 |@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@|\n\n"
        "@k[a]: 1\n@k[b]: 2\n"
        "@s: { .count = 2, .average = 6, .total = 12 }\n"
        "@t[1, x]: (1, y)\n"
    )


def test_a_missing_key_reads_as_nothing():
    assert output('begin { print(@a[7]); print(@b["x"]); @a[1] = 1; @b["y"] = "z"; }').startswith(
        "0\n\n"
    )


def test_keys_with_texts_of_different_lengths_are_the_same_map():
    text = 'begin { @["a"] = 1; @["much longer text"] = 2; @["a"]++; }'
    assert output(text) == "@[a]: 2\n@[much longer text]: 2\n"


def test_aggregates_are_read_over_all_cpus():
    text = "begin { @c = count(); @m = min(3); @m = min(-1); @v = avg(2); @v = avg(4); "
    text += "print(((int64)@c, (int64)@m, (int64)@v)); }"
    assert output(text).splitlines()[0] == "(1, -1, 3)"


def test_functions_of_the_script_can_be_called():
    text = """
    fn add($a : int64, $b : int64) : int64 { if ($a > 100) { return 5; } return $a + $b; }
    begin { print(add(1, add(2, 3))); print(add(200, 1)); }
    """
    assert output(text) == "6\n5\n"


def test_what_is_known_before_running_chooses_the_branch():
    text = 'begin { $x = 1; if comptime (is_integer($x)) { print("int") } else { print(nosuch) } }'
    assert output(text) == "int\n"


def test_names_of_the_process_come_from_the_kernel():
    from bpflens.asm.fake_kernel import FakeKernel

    kernel = FakeKernel(pid=7, tgid=5, uid=3, comm=b"cat")
    text = 'begin { printf("%d %d %d %s\\n", pid, tid, uid, comm); @[comm] = 1; }'
    assert output(text, kernel=kernel) == "5 7 3 cat\n@[cat]: 1\n"


def test_structs_of_the_script_are_read_at_their_offsets():
    text = """struct P { char c; int n; unsigned a:3; unsigned b:5; }
    begin {
        $raw = (uint64)0x7fffffff00000041;
        $p = (struct P *)&$raw;
        printf("%d %d %d\\n", $p->c, $p->n, sizeof(struct P));
        print(offsetof(struct P, n));
    }"""
    assert output(text).splitlines() == ["65 2147483647 12", "4"]


def test_records_in_another_order_are_the_same():
    text = "begin { $r = (a=1, b=2); $r = (b=5, a=6); print($r); }"
    assert output(text) == "{ .a = 6, .b = 5 }\n"


def test_a_prefix_is_not_the_whole_text():
    text = 'begin { $s = "abcdef"; print($s == "abc"); print(str($1) == "abc"); }'
    assert output(text, params=["abcdef"]) == "false\nfalse\n"


def test_while_ends_by_its_condition():
    text = 'begin { $i = 0; while ($i < 3) { printf("%d ", $i); $i++; } }'
    assert output(text) == "0 1 2 "


def test_an_index_outside_of_an_array_warns_and_reads_the_first_element():
    text = (
        "begin { $a = (int8[4])0x01020304; $i = (uint64)9; print($a[$i]); $i = 2; print($a[$i]); }"
    )
    assert output(text) == "<runtime_error>\n4\n2\n"


def test_integers_of_a_tuple_keep_their_size():
    text = "begin { $t = ((int8)1, (int16)-2, (int32)3); print(sizeof($t)); print($t); @[$t] = 1; }"
    assert output(text) == "8\n(1, -2, 3)\n@[1, -2, 3]: 1\n"


def test_tuples_of_different_widths_are_equal_by_value():
    assert output("begin { $a = (uint64)2; print((1, 2) == (1, $a)); }") == "true\n"

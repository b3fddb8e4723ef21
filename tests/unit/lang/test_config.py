"""Configuration options: where they come from, which values they take."""

from __future__ import annotations

import pytest

from bpflens.errors import UsageError
from bpflens.lang.config import NAMES, defaults, load
from bpflens.lang.diagnostic import Diagnostics
from bpflens.lang.parser import parse
from bpflens.lang.source import SourceMap


def read(entries, environ=None, **how):
    diagnostics = Diagnostics()
    program = parse(SourceMap().add("x", f"config = {{ {entries} }} begin {{ }}"), diagnostics)
    values = load(program.config, environ or {}, diagnostics, **how)
    return values, [item.message for item in diagnostics]


def test_defaults_are_complete():
    assert load(None, {}, Diagnostics()) == defaults()
    assert set(defaults()) == set(NAMES)
    assert defaults()["max_strlen"] == 1024


def test_older_generation_has_short_strings():
    assert defaults(compat="0.17")["max_strlen"] == 64


def test_symbols_of_a_child_are_kept_by_program():
    assert defaults(child=True)["cache_user_symbols"] == "PER_PROGRAM"


@pytest.mark.parametrize(
    ("entry", "name", "value"),
    [
        ("max_strlen = 200", "max_strlen", 200),
        ('max_strlen = "0x10"', "max_strlen", 16),
        ("BPFTRACE_MAX_STRLEN = 200", "max_strlen", 200),
        ("cpp_demangle = 0", "cpp_demangle", False),
        ("cpp_demangle = false", "cpp_demangle", False),
        ("cpp_demangle = off", "cpp_demangle", False),
        ('print_maps_on_exit = "no"', "print_maps_on_exit", False),
        ("stack_mode = perf", "stack_mode", "perf"),
        ('stack_mode = "build_id"', "stack_mode", "build_id"),
        ("cache_user_symbols = per_program", "cache_user_symbols", "PER_PROGRAM"),
        ("cache_user_symbols = 0", "cache_user_symbols", "NONE"),
        ("cache_user_symbols = 1", "cache_user_symbols", "PER_PID"),
        ("missing_probes = WARN", "missing_probes", "warn"),
        ("unstable_typeinfo = enable", "unstable_typeinfo", "enable"),
        ("unstable_tseries = true", "unstable_tseries", "enable"),
        ("unstable_tseries = 0", "unstable_tseries", "error"),
        ('license = "Dual MIT/GPL"', "license", "Dual MIT/GPL"),
        ('str_trunc_trailer = ""', "str_trunc_trailer", ""),
        ("perf_rb_pages = 0", "perf_rb_pages", 0),
    ],
)
def test_entry(entry, name, value):
    values, complaints = read(entry)
    assert complaints == []
    assert values[name] == value
    assert type(values[name]) is type(value)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("max_strln = 5", "max_strln: not a known configuration option"),
        ("max_strlen = abc", "max_strlen: expecting a number, got abc"),
        ("max_strlen = true", "max_strlen: expecting a number, got true"),
        ("max_map_keys = 0", "max_map_keys: must be at least 1"),
        (
            "cpp_demangle = maybe",
            "cpp_demangle: Invalid bool value: valid values are true, false, 1 or 0.",
        ),
        ("vmlinux = 1", "vmlinux: can only be set as an environment variable"),
        (
            "missing_probes = 1",
            "missing_probes: Invalid value for missing_probes: "
            "valid values are ignore, warn, and error.",
        ),
        (
            "stack_mode = x",
            "stack_mode: Invalid value for stack_mode: "
            "valid values are bpftrace, raw, perf, and build_id.",
        ),
        (
            "unstable_tseries = x",
            "unstable_tseries: Invalid value for unstable config: "
            "valid values are enable, warn, and error.",
        ),
        ("symbol_source = dwarf", "symbol_source is deprecated and has no effect"),
        ("strlen = 200", "strlen has been renamed, please use max_strlen"),
    ],
)
def test_complaint(entry, message):
    assert read(entry)[1] == [message]


def test_bad_licence_names_the_good_ones():
    (message,) = read('license = "MIT"')[1]
    assert message.startswith("Invalid value for license. Found: MIT. Valid values: GPL, GPL v2")


def test_old_names_take_effect():
    assert read("strlen = 200")[0]["max_strlen"] == 200
    assert read("no_cpp_demangle = 1")[0]["cpp_demangle"] is False


def test_environment_wins():
    environ = {"BPFTRACE_MAX_STRLEN": "100", "BPFTRACE_STACK_MODE": "raw", "OTHER": "x"}
    values, complaints = read("max_strlen = 200; max_probes = 2", environ)
    assert complaints == []
    assert (values["max_strlen"], values["max_probes"], values["stack_mode"]) == (100, 2, "raw")


def test_old_names_in_the_environment():
    environ = {"BPFTRACE_STRLEN": "100", "BPFTRACE_NO_CPP_DEMANGLE": "1"}
    values = load(None, environ, Diagnostics())
    assert (values["max_strlen"], values["cpp_demangle"]) == (100, False)


def test_bad_environment_is_a_usage_error():
    with pytest.raises(UsageError, match="BPFTRACE_MAX_STRLEN: expecting a number, got x"):
        load(None, {"BPFTRACE_MAX_STRLEN": "x"}, Diagnostics())

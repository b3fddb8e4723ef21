"""Configuration of a script: defaults, its ``config`` block, and the environment.

Values are plain: ``bool``, ``int``, or ``str`` in the canonical spelling of an option. Later
sources win: defaults, then the block, then ``BPFTRACE_NAME`` variables. Names are accepted in any
case and with the prefix ``bpftrace_``. Old names still work: with a warning in a block, silently in
the environment, where scripts of several generations meet.

Nothing here reads ``os.environ``; the caller hands it in.

Example::

    load(program.config, {"BPFTRACE_MAX_STRLEN": "200"}, diagnostics)["max_strlen"]      # 200
"""

from __future__ import annotations

from bpflens.errors import UsageError
from bpflens.lang.lexer import DIGIT
from bpflens.lang.literal import LiteralError, to_uint
from bpflens.lang.nodes import Boolean, Identifier, Integer, String

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TypeAlias

    from bpflens.lang.diagnostic import Diagnostics
    from bpflens.lang.nodes import Config, ConfigEntry

    Value: TypeAlias = bool | int | str

__all__ = ["ENVIRONMENT_ONLY", "LICENSES", "NAMES", "defaults", "load"]

LICENSES = (
    "GPL",
    "GPL v2",
    "GPL and additional rights",
    "Dual BSD/GPL",
    "Dual MIT/GPL",
    "Dual MPL/GPL",
)

_DEFAULTS: dict[str, Value] = {
    "cache_user_symbols": "PER_PID",
    "cpp_demangle": True,
    "lazy_symbolication": True,
    "license": "GPL",
    "log_size": 1_000_000,
    "max_bpf_progs": 1024,
    "max_cat_bytes": 10240,
    "max_map_keys": 4096,
    "max_probes": 1024,
    "max_strlen": 1024,
    "missing_probes": "error",
    "on_stack_limit": 32,
    "perf_rb_pages": 0,
    "print_maps_on_exit": True,
    "show_debug_info": True,
    "stack_mode": "bpftrace",
    "str_trunc_trailer": "..",
    "unstable_dw_ustack": "warn",
    "unstable_import_statement": "error",
    "unstable_tseries": "warn",
    "unstable_typeinfo": "error",
    "use_blazesym": True,
}
NAMES = tuple(_DEFAULTS)
#: Variables that have no name in a config block; the front door looks at them.
ENVIRONMENT_ONLY = ("btf", "kernel_build", "kernel_source", "vmlinux", "color")

_RENAMED = {
    "strlen": "max_strlen",
    "no_cpp_demangle": "cpp_demangle",
    "cat_bytes_max": "max_cat_bytes",
    "map_keys_max": "max_map_keys",
}
_DEPRECATED = frozenset(
    "symbol_source max_type_res_iterations unstable_addr unstable_import unstable_macro"
    " unstable_map_decl".split()
)
_AT_LEAST_ONE = frozenset(("max_bpf_progs", "max_map_keys", "max_probes", "max_strlen"))
_TRUE = frozenset(("1", "true", "on", "yes"))
_FALSE = frozenset(("0", "false", "off", "no"))
_PREFIX = "bpftrace_"


def defaults(*, child: bool = False, compat: str = "") -> dict[str, Value]:
    """Return all options with their defaults.

    ``child`` says whether the script runs a command (-c), whose symbols then hold for the whole
    run; ``compat`` is the generation asked for ("0.17" has short strings).
    """
    values = dict(_DEFAULTS)
    if child:
        values["cache_user_symbols"] = "PER_PROGRAM"
    if compat == "0.17":
        values["max_strlen"] = 64
    return values


def load(
    block: Config | None,
    environ: Mapping[str, str],
    diagnostics: Diagnostics,
    *,
    child: bool = False,
    compat: str = "",
) -> dict[str, Value]:
    """Return all options as a script and the environment set them.

    Complaints about the block are diagnostics; a bad environment variable, which has no place in
    the script, raises :class:`~bpflens.errors.UsageError`.
    """
    values = defaults(child=child, compat=compat)
    for entry in block.entries if block is not None else ():
        _apply_entry(values, entry, diagnostics)
    for name in (*NAMES, *_RENAMED):
        variable = (_PREFIX + name).upper()
        text = environ.get(variable)
        if text is None:
            continue
        try:
            _set(values, name, variable, text)
        except _BadValue as error:
            raise UsageError(str(error)) from None
    return values


class _BadValue(Exception):
    pass


def _apply_entry(values: dict[str, Value], entry: ConfigEntry, diagnostics: Diagnostics) -> None:
    start, end = entry.start, entry.end
    name = entry.name.lower().removeprefix(_PREFIX)
    if name in _DEPRECATED:
        message = f"{entry.name} is deprecated and has no effect"
        diagnostics.warning("config-deprecated", message, start, end)
        return
    if name not in values and name not in _RENAMED:
        _unknown(entry, name, diagnostics)
        return
    match entry.value:
        case Integer(value):
            given: Value = value
        case Boolean(flag):
            given = flag
        case String(data):
            given = data.decode("utf-8", "surrogateescape")
        case Identifier(word):
            given = word
        case _:
            diagnostics.error("config", f"{entry.name}: not a value", start, end)
            return
    try:
        _set(values, name, entry.name, given)
    except _BadValue as error:
        diagnostics.error("config", str(error), start, end)
        return
    if name in _RENAMED:
        message = f"{entry.name} has been renamed, please use {_RENAMED[name]}"
        diagnostics.warning("config-renamed", message, start, end)


def _unknown(entry: ConfigEntry, name: str, diagnostics: Diagnostics) -> None:
    if name in ENVIRONMENT_ONLY:
        message = f"{entry.name}: can only be set as an environment variable"
        diagnostics.error("config", message, entry.start, entry.end)
        return
    from difflib import get_close_matches

    close = get_close_matches(name, NAMES, n=1)
    hints = [f"Did you mean '{close[0]}'?"] if close else []
    message = f"{entry.name}: not a known configuration option"
    diagnostics.error("config", message, entry.start, entry.end, *hints)


def _set(values: dict[str, Value], name: str, shown: str, given: Value) -> None:
    # "no_cpp_demangle" meant the opposite of what replaced it.
    inverted = name == "no_cpp_demangle"
    name = _RENAMED.get(name, name)
    default = _DEFAULTS[name]
    value: Value
    if isinstance(default, bool):
        value = _boolean(shown, given) != inverted
    elif isinstance(default, int):
        value = _integer(shown, given)
        if value == 0 and name in _AT_LEAST_ONE:
            raise _BadValue(f"{shown}: must be at least 1")
    else:
        value = _text(name, shown, given, values)
    values[name] = value


def _boolean(shown: str, given: Value) -> bool:
    if isinstance(given, int):
        return given != 0
    if given.lower() in _TRUE:
        return True
    if given.lower() in _FALSE:
        return False
    raise _BadValue(f"{shown}: Invalid bool value: valid values are true, false, 1 or 0.")


def _integer(shown: str, given: Value) -> int:
    if isinstance(given, int) and not isinstance(given, bool):
        return given
    try:
        if isinstance(given, str) and given[:1] in DIGIT:
            return to_uint(given)
    except LiteralError:
        pass
    raise _BadValue(f"{shown}: expecting a number, got {_word(given)}")


def _text(name: str, shown: str, given: Value, values: dict[str, Value]) -> str:
    word = _word(given)
    lower = word.lower()
    if name == "license":
        if word not in LICENSES:
            raise _BadValue(
                f"Invalid value for license. Found: {word}. Valid values: {', '.join(LICENSES)}. "
                "The kernel lets only programs under such a licence call the helpers that tracing "
                "needs."
            )
        return word
    if name == "cache_user_symbols":
        if lower == "1":
            return str(values[name])
        if lower in ("per_pid", "per_program", "none", "0"):
            return "NONE" if lower == "0" else word.upper()
        raise _invalid(shown, name, "PER_PID, PER_PROGRAM, and NONE")
    if name == "missing_probes":
        if lower not in ("ignore", "warn", "error"):
            raise _invalid(shown, name, "ignore, warn, and error")
        return lower
    if name == "stack_mode":
        if word not in ("bpftrace", "raw", "perf", "build_id"):
            raise _invalid(shown, name, "bpftrace, raw, perf, and build_id")
        return word
    if name.startswith("unstable_"):
        if lower in ("enable", "warn", "error"):
            return lower
        if lower in _TRUE or lower in _FALSE:
            return "enable" if lower in _TRUE else "error"
        raise _invalid(shown, "unstable config", "enable, warn, and error")
    return word


def _invalid(shown: str, what: str, valid: str) -> _BadValue:
    return _BadValue(f"{shown}: Invalid value for {what}: valid values are {valid}.")


def _word(given: Value) -> str:
    return str(given).lower() if isinstance(given, bool) else str(given)

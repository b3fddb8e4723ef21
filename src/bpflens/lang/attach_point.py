"""From the text of an attach point to what it names: probe type and options.

``parse`` covers every form of every probe type, long and short names, positional parameters and
patterns in the probe type itself. It does not look at the machine: whether a file, a symbol or an
event exists, and which ones a pattern stands for, is found out later. Text in quotes is taken as it
stands; elsewhere ``$1`` is the first parameter of the script and ``$#`` their number.

The options are those of :class:`~bpflens.lang.program.ProbeSchema`. On top of them an uprobe may
have ``language`` ("cpp") and ``source_file``, ``line``, ``column``, and fentry on a BPF program
``program_id``. An empty ``path`` means the executable of the traced process (``-p``).

Example::

    parse(AttachPoint("kr:xfs:$1", ""), diagnostics, ["xfs_file_open"])
    # [AttachPointSpec('kretprobe', {'module': 'xfs', 'function': 'xfs_file_open'})]
"""

from __future__ import annotations

from bpflens.lang.glob import Glob, has_wildcard
from bpflens.lang.literal import LiteralError, to_uint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bpflens.lang.diagnostic import Diagnostics
    from bpflens.lang.nodes import AttachPoint

__all__ = ["ALIASES", "KINDS", "AttachPointSpec", "Parameters", "kind_of", "parse", "split"]

# Canonical name -> short names. Both are compared without regard to case, but "U" is not "u".
KINDS = {
    "begin": (),
    "end": (),
    "self": (),
    "test": (),
    "bench": (),
    "kprobe": ("k",),
    "kretprobe": ("kr",),
    "fentry": ("f", "kfunc"),
    "fexit": ("fr", "kretfunc"),
    "uprobe": ("u",),
    "uretprobe": ("ur",),
    "usdt": ("U",),
    "tracepoint": ("t",),
    "rawtracepoint": ("rt",),
    "profile": ("p",),
    "interval": ("i",),
    "software": ("s",),
    "hardware": ("h",),
    "watchpoint": ("w",),
    "iter": ("it",),
}
ALIASES = {alias: kind for kind, aliases in KINDS.items() for alias in aliases}

# What a pattern such as "*:vfs_read" may stand for, in the kernel and in processes.
_KERNEL_KINDS = (
    "fentry", "hardware", "iter", "kprobe", "rawtracepoint", "software", "tracepoint",
)  # fmt: skip
_USER_KINDS = ("uprobe", "usdt")

_UNITS = ("s", "ms", "us", "hz")
_WATCH_MODES = {"x86_64": ("rw", "w", "x"), "aarch64": ("r", "rw", "w", "x")}
_LANGUAGES = ("cpp",)

# The options that hold a name or pattern of what is attached to, in the order of a full name.
_TARGETS = (
    "system", "module", "path", "language", "provider", "unit", "iterator", "event", "symbol",
    "function", "probe", "signal",
)  # fmt: skip


class Parameters:
    """What may be filled in: positional parameters, and names that only a front door knows."""

    __slots__ = ("named", "values")

    def __init__(self, values: Sequence[str] = (), named: Mapping[str, str] | None = None) -> None:
        self.values = list(values)
        self.named = dict(named or {})


class AttachPointSpec:
    """One thing, or pattern of things, to attach to.

    ``kind`` is the canonical probe type, ``options`` what the kind needs (absent ones are left
    out), ``name`` the name that the script gives it or "", ``text`` the attach point as written.
    ``optional`` is set where a pattern as probe type led here: no match is no error then.
    """

    __slots__ = ("end", "kind", "name", "optional", "options", "start", "text")

    def __init__(
        self,
        kind: str,
        options: dict[str, str | int],
        name: str = "",
        text: str = "",
        start: int = 0,
        end: int = 0,
    ) -> None:
        self.kind = kind
        self.options = options
        self.name = name
        self.text = text
        self.optional = False
        self.start, self.end = start, end

    def __repr__(self) -> str:
        return f"AttachPointSpec({self.kind!r}, {self.options!r})"

    def get(self, option: str) -> str:
        """Return a text option, "" where there is none."""
        return str(self.options.get(option, ""))

    def number(self, option: str) -> int:
        """Return a number option, 0 where there is none."""
        value = self.options.get(option, 0)
        return value if isinstance(value, int) else 0

    @property
    def has_wildcard(self) -> bool:
        """Whether it may stand for several things."""
        return any(has_wildcard(self.get(option)) for option in _TARGETS)

    def full_name(self, **found: str) -> str:
        """Return what the ``probe`` builtin shows; ``found`` replaces patterns by what they met."""
        if self.name:
            return self.name
        options = {**self.options, **found}
        words = [self.kind]
        words += [str(options[target]) for target in _TARGETS if options.get(target)]
        if "program_id" in options:
            words.insert(-1, str(options["program_id"]))
        if options.get("offset"):
            words[-1] += f"+{options['offset']}"
        numbers = ("address", "value", "count", "length", "mode")
        words += [str(options[number]) for number in numbers if options.get(number)]
        return ":".join(words)


def kind_of(word: str) -> str:
    """Return the canonical probe type that a word means, "" if it means none."""
    lower = word.lower()
    return ALIASES.get(word) or (lower if lower in KINDS else ALIASES.get(lower, ""))


def parse(
    point: AttachPoint,
    diagnostics: Diagnostics,
    parameters: Parameters | Sequence[str] = (),
    *,
    pid: int = 0,
    unsafe: bool = False,
    arch: str = "x86_64",
) -> list[AttachPointSpec]:
    """Return what an attach point names: one thing unless its probe type is a pattern.

    The list is empty after an error. ``pid`` is the process of ``-p``: with it the file of a
    user-space probe may be left out.
    """
    if not isinstance(parameters, Parameters):
        parameters = Parameters(parameters)
    try:
        words = split(point.text, parameters)
        kinds = _kinds(words, pid)
        specs: list[AttachPointSpec] = []
        for kind in kinds:
            try:
                options = _FORMS[kind](_Reader(kind, words, pid, unsafe, arch))
            except _AttachPointError:
                # "*:vfs_read" is meant for those kinds that have such a thing.
                if kind == kinds[-1] and not specs:
                    raise
                continue
            spec = AttachPointSpec(kind, options, point.name, point.text, point.start, point.end)
            spec.optional = len(kinds) > 1
            specs.append(spec)
    except _AttachPointError as error:
        diagnostics.error("attach-point", str(error), point.start, point.end, *error.hints)
        return []
    return specs


def split(text: str, parameters: Parameters | None = None) -> list[str]:
    """Cut an attach point at its colons; ``@`` becomes a word of its own."""
    parameters = parameters or Parameters()
    words = [""]
    quoted = False
    at = 0
    while at < len(text):
        char = text[at]
        at += 1
        if char == '"':
            quoted = not quoted
        elif quoted:
            if char == "\\" and at < len(text):
                char = text[at]
                at += 1
            words[-1] += char
        elif char == "$":
            at, value = _parameter(text, at, parameters)
            words[-1:] = _words(words[-1], value)
        else:
            words[-1:] = _words(words[-1], char)
    return words


class _AttachPointError(Exception):
    def __init__(self, message: str, *hints: str) -> None:
        super().__init__(message)
        self.hints = hints


def _words(before: str, text: str) -> list[str]:
    # Parameters may hold several parts ("./prog:main"), but are not looked at for parameters again.
    words = [before]
    for char in text:
        if char == ":":
            words.append("")
        elif char == "@":
            words += ["@", ""]
        else:
            words[-1] += char
    return words


def _parameter(text: str, at: int, parameters: Parameters) -> tuple[int, str]:
    # The text behind a "$": where it ends, and what it stands for.
    rest = text[at:]
    if rest[:1] == "#":
        return at + 1, str(len(parameters.values))
    for name, value in parameters.named.items():
        if rest.startswith(name):
            return at + len(name), value
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    if not digits or digits[0] == "0":
        bad = rest[:1]
        raise _AttachPointError(
            f"invalid trailing character for positional param: {bad}. "
            f'Try quoting this entire part if this is intentional e.g. "${bad}".'
        )
    try:
        number = to_uint(digits)
    except LiteralError as error:
        raise _AttachPointError(f"positional parameter is not valid: {error}") from None
    values = parameters.values
    return at + len(digits), values[number - 1] if number <= len(values) else ""


def _kinds(words: list[str], pid: int) -> list[str]:
    first = words[0]
    if not first:
        raise _AttachPointError("No attach points for probe")
    if not has_wildcard(first):
        kind = kind_of(first)
        if not kind:
            raise _AttachPointError(f"Invalid probe type: {first}", *_near(first))
        return [kind]
    in_process = pid or (len(words) > 1 and "/" in words[1])
    kinds = Glob(first.lower()).filter(_USER_KINDS if in_process else _KERNEL_KINDS)
    if not kinds:
        raise _AttachPointError(f"No probe type matched for {first}")
    return kinds


def _near(word: str) -> list[str]:
    from difflib import get_close_matches

    lower = word.lower()
    if lower in ("asyncwatchpoint", "aw"):
        return ["Use watchpoint instead."]
    if lower in ("raw_tracepoint", "raw_tp"):
        return ["Did you mean 'rawtracepoint'?"]
    close = get_close_matches(lower, [*KINDS, "kfunc", "kretfunc"], n=1)
    return [f"Did you mean '{close[0]}'?"] if close else []


# The words of one attach point while it is being read.
class _Reader:
    __slots__ = ("arch", "kind", "parts", "pid", "unsafe")

    def __init__(self, kind: str, words: list[str], pid: int, unsafe: bool, arch: str) -> None:
        self.kind = kind
        self.parts = words[1:]
        self.pid = pid
        self.unsafe = unsafe
        self.arch = arch

    def count(self, *allowed: int) -> int:
        # The number of parts, which must be one of these.
        found = len(self.parts)
        if found not in allowed:
            wanted = " or ".join(map(str, allowed))
            raise _AttachPointError(
                f"{self.kind} probe type requires {wanted} arguments, found {found}"
            )
        return found

    def uint(self, text: str, what: str) -> int:
        # The value of a part that must be a number.
        try:
            return to_uint(text)
        except LiteralError as error:
            raise _AttachPointError(f"{what}: {error}") from None

    def function(self, name: str, text: str, with_offset: bool) -> dict[str, str | int]:
        # "function", "function+offset" or an address.
        function, plus, offset = text.partition("+")
        if plus:
            if not with_offset:
                raise _AttachPointError("Offset not allowed")
            if "+" in offset:
                raise _AttachPointError("Cannot take more than one offset")
            if not function or not offset:
                raise _AttachPointError("Invalid offset")
            return {name: function, "offset": self.uint(offset, "Invalid offset")}
        try:
            return {"address": to_uint(text)}
        except LiteralError:
            return {name: text}


# One function a form. Each returns the options.


def _special(reader: _Reader) -> dict[str, str | int]:
    if reader.parts == ["*"]:
        reader.parts = []
    reader.count(0)
    return {}


def _self(reader: _Reader) -> dict[str, str | int]:
    reader.count(2)
    trigger, signal = reader.parts
    if trigger != "signal":
        raise _AttachPointError(f"{trigger} is not a supported trigger")
    if signal != "SIGUSR1":
        raise _AttachPointError(f"{signal} is not a supported signal", "Use SIGUSR1.")
    return {"signal": signal}


def _named(reader: _Reader) -> dict[str, str | int]:
    reader.count(1)
    if not reader.parts[0]:
        raise _AttachPointError(f"{reader.kind} probes must have a name")
    return {"probe": reader.parts[0]}


def _kprobe(reader: _Reader) -> dict[str, str | int]:
    parts = reader.count(1, 2)
    options: dict[str, str | int] = {"module": reader.parts[0]} if parts == 2 else {}
    options |= reader.function("function", reader.parts[-1], reader.kind == "kprobe")
    if "address" in options and not reader.unsafe:
        # The kernel takes any address, also one in the middle of an instruction.
        raise _AttachPointError("Probing by address requires --unsafe")
    if options.get("function") == "":
        raise _AttachPointError("kprobes should be attached to a function or an address")
    return options


def _fentry(reader: _Reader) -> dict[str, str | int]:
    parts = reader.count(1, 2, 3)
    if reader.parts[0] == "bpf":
        return _fentry_on_bpf(reader)
    if parts == 3:
        raise _AttachPointError("Only the 'bpf' variant of this probe supports 4 arguments")
    function = reader.parts[-1]
    if not function:
        raise _AttachPointError("fentry/fexit should specify a function")
    options: dict[str, str | int] = {"function": function}
    return {"module": reader.parts[0], **options} if parts == 2 else options


def _fentry_on_bpf(reader: _Reader) -> dict[str, str | int]:
    if len(reader.parts) == 1:
        raise _AttachPointError(
            "the 'bpf' variant of this probe requires a bpf program name and optional bpf "
            "program id"
        )
    options: dict[str, str | int] = {"module": "bpf", "function": reader.parts[-1]}
    if len(reader.parts) == 3 and reader.parts[1] != "*":
        try:
            options["program_id"] = to_uint(reader.parts[1])
        except LiteralError:
            raise _AttachPointError("bpf program id must be a number or '*'") from None
    return options


def _uprobe(reader: _Reader) -> dict[str, str | int]:
    parts = reader.parts
    if reader.pid and (len(parts) == 1 or (len(parts) == 2 and parts[0] in _LANGUAGES)):
        parts.insert(0, "")
    if len(parts) > 1 and parts[1] == "@":
        return _source_line(reader)
    count = reader.count(2, 3)
    path = parts[0]
    if not path and not reader.pid:
        raise _AttachPointError(f"{reader.kind} should have a target")
    options: dict[str, str | int] = {"path": path}
    if count == 3:
        if parts[1] not in _LANGUAGES:
            raise _AttachPointError(f"unsupported language type: {parts[1]}")
        options["language"] = parts[1]
    options |= reader.function("symbol", parts[-1], reader.kind == "uprobe")
    if "address" in options and has_wildcard(path):
        raise _AttachPointError("Cannot use wildcards with absolute address")
    if options.get("symbol") == "" or (options.get("address") == 0 and not reader.unsafe):
        raise _AttachPointError(f"{reader.kind} should be attached to a function and/or address")
    return options


def _source_line(reader: _Reader) -> dict[str, str | int]:
    path, _, *place = reader.parts
    if reader.kind != "uprobe":
        raise _AttachPointError("Source code location not allowed")
    if has_wildcard(path):
        raise _AttachPointError("Cannot use wildcards with source code location")
    if len(place) not in (2, 3) or not place[0] or not place[1]:
        raise _AttachPointError(
            "Invalid uprobe arguments, expected format: uprobe:TARGET@FILE:LINE[:COL]"
        )
    line = reader.uint(place[1], "Invalid line number")
    options: dict[str, str | int] = {"path": path, "source_file": place[0], "line": line}
    if len(place) == 3:
        options["column"] = reader.uint(place[2], "Invalid column number")
    return options


def _usdt(reader: _Reader) -> dict[str, str | int]:
    parts = reader.parts
    if reader.pid and len(parts) == 1:
        parts.insert(0, "")
    count = reader.count(2, 3)
    if not parts[0] and not reader.pid:
        raise _AttachPointError(
            "usdt probe must specify at least path or pid to probe. "
            "To target all paths/pids set the path to '*'."
        )
    if not parts[-1]:
        raise _AttachPointError("usdt probe must have a target function or wildcard")
    provider = parts[1] if count == 3 else ""
    options: dict[str, str | int] = {"path": parts[0], "probe": parts[-1]}
    return {**options, "provider": provider} if provider else options


def _tracepoint(reader: _Reader) -> dict[str, str | int]:
    parts = reader.parts
    if len(parts) == 1 and has_wildcard(parts[0]):
        # Who looks for an event by a part of its name seldom knows its subsystem.
        parts.insert(0, "*")
    reader.count(2)
    if not parts[0] or not parts[1]:
        raise _AttachPointError("tracepoint probe must have a target")
    return {"system": parts[0], "event": parts[1]}


def _raw_tracepoint(reader: _Reader) -> dict[str, str | int]:
    parts = reader.count(2, 1)
    if not reader.parts[-1]:
        raise _AttachPointError("rawtracepoint should be attached to a function")
    options: dict[str, str | int] = {"event": reader.parts[-1]}
    return {"module": reader.parts[0], **options} if parts == 2 else options


def _timer(reader: _Reader) -> dict[str, str | int]:
    parts, kind = reader.count(1, 2), reader.kind
    value = reader.uint(reader.parts[-1], f"Invalid rate of {kind} probe")
    if parts == 2:
        unit = reader.parts[0]
        if not unit:
            raise _AttachPointError(f"{kind} probe must have unit of time")
        if unit not in _UNITS:
            hint = f"Units are {', '.join(_UNITS)}."
            raise _AttachPointError(f"{unit} is not an accepted unit of time", hint)
        if value == 0:
            raise _AttachPointError(f"{kind} frequency should be a positive integer")
        return {"unit": unit, "value": value}
    if value < 1000:
        raise _AttachPointError(
            f"Invalid rate of {kind} probe. Minimum is 1000 or 1us. Found: {value} nanoseconds"
        )
    return {"unit": "us", "value": value // 1000}


def _perf_event(reader: _Reader) -> dict[str, str | int]:
    parts, kind = reader.count(1, 2), reader.kind
    event = reader.parts[0]
    if not event:
        raise _AttachPointError(f"{kind} probe must have a {kind} event name")
    if has_wildcard(event):
        raise _AttachPointError(f"wildcards are not allowed for {kind} probe type")
    if event not in _EVENTS[kind]:
        raise _AttachPointError(f"{event} is not a {kind} probe", *_near_event(kind, event))
    options: dict[str, str | int] = {"event": event}
    if parts == 2 and reader.parts[1] != "*":
        options["count"] = reader.uint(reader.parts[1], f"Invalid count for {kind} probe")
    return options


def _near_event(kind: str, event: str) -> list[str]:
    from difflib import get_close_matches

    close = get_close_matches(event, _EVENTS[kind], n=1)
    return [f"Did you mean '{close[0]}'?" if close else f"Events: {', '.join(_EVENTS[kind])}."]


def _watchpoint(reader: _Reader) -> dict[str, str | int]:
    reader.count(3)
    address = reader.uint(reader.parts[0], "Invalid function/address argument")
    length = reader.uint(reader.parts[1], "Invalid length argument")
    mode = "".join(sorted(reader.parts[2]))
    if address == 0:
        raise _AttachPointError("watchpoint must be attached to a non-zero address")
    if length not in (1, 2, 4, 8):
        raise _AttachPointError("watchpoint length must be one of (1,2,4,8)")
    if not mode or set(mode) - set("rwx"):
        raise _AttachPointError("watchpoint mode must be combination of (r,w,x)")
    if len(set(mode)) != len(mode):
        raise _AttachPointError("watchpoint modes may not be duplicated")
    modes = _WATCH_MODES.get(reader.arch, ())
    if mode not in modes:
        hint = f"supported modes: {','.join(modes)}"
        raise _AttachPointError(f"invalid watchpoint mode: {mode}", hint)
    return {"address": address, "length": length, "mode": mode}


def _iter(reader: _Reader) -> dict[str, str | int]:
    if len(reader.parts) not in (1, 2):
        raise _AttachPointError("iter probe type takes 2 arguments (1 optional)")
    if any(map(has_wildcard, reader.parts)):
        raise _AttachPointError("iter probe type does not support wildcards")
    if not reader.parts[0]:
        raise _AttachPointError("iter should specify a iterator's name")
    options: dict[str, str | int] = {"iterator": reader.parts[0]}
    return {**options, "pin": reader.parts[1]} if len(reader.parts) == 2 else options


_EVENTS = {
    "software": tuple(
        "alignment-faults bpf-output context-switches cs cpu-clock cpu cpu-migrations dummy"
        " emulation-faults major-faults minor-faults page-faults faults task-clock".split()
    ),
    "hardware": tuple(
        "backend-stalls branch-instructions branches branch-misses bus-cycles cache-misses"
        " cache-references cpu-cycles cycles frontend-stalls instructions ref-cycles".split()
    ),
}
_FORMS: dict[str, Callable[[_Reader], dict[str, str | int]]] = {
    "begin": _special,
    "end": _special,
    "self": _self,
    "test": _named,
    "bench": _named,
    "kprobe": _kprobe,
    "kretprobe": _kprobe,
    "fentry": _fentry,
    "fexit": _fentry,
    "uprobe": _uprobe,
    "uretprobe": _uprobe,
    "usdt": _usdt,
    "tracepoint": _tracepoint,
    "rawtracepoint": _raw_tracepoint,
    "profile": _timer,
    "interval": _timer,
    "software": _perf_event,
    "hardware": _perf_event,
    "watchpoint": _watchpoint,
    "iter": _iter,
}

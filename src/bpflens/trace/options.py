"""The words of the command line, read the way getopt_long reads them.

Options may stand anywhere before ``--``, short ones may be joined (``-qe prog``), long ones cut
short as long as they stay clear (``--dry``). The first word that is no option is the script, unless
``-e`` gives it; the others are its positional parameters. Behind ``--`` words that begin with
``--`` are named parameters of the script. Negative numbers are parameters, not options.

Example::

    parse(["-qe", "BEGIN { exit() }", "--", "--depth=3"]).named      # {'depth': '3'}
"""

from __future__ import annotations

from bpflens.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Options", "WrongWords", "parse"]

# Option → (attribute, what its value is: "" for none, "text", "list", "pid", or the choices)
_LONG: dict[str, tuple[str, str]] = {
    "aot": ("aot", "text"),
    "bench": ("bench", ""),
    "btf": ("ignored", ""),
    "cmd": ("command", "text"),
    "compat": ("compat", "text"),
    "debug": ("debug", "list"),
    "debuginfo": ("debuginfo", "list"),
    "dry-run": ("dry_run", ""),
    "dwarf-pid": ("dwarf_pids", "list"),
    "emit-elf": ("emit_elf", "text"),
    "emit-llvm": ("ignored_text", "text"),
    "fmt": ("fmt", ""),
    "follow": ("follow", ""),
    "help": ("help", ""),
    "include": ("include_files", "list"),
    "info": ("info", ""),
    "list": ("list", ""),
    "mode": ("mode", "text"),
    "no-feature": ("no_features", "list"),
    "no-warnings": ("no_warnings", ""),
    "output": ("output", "text"),
    "pid": ("pid", "pid"),
    "probe-filter": ("probe_filter", "text"),
    "quiet": ("quiet", ""),
    "sort": ("sort", "text"),
    "test": ("test", ""),
    "traceable-functions": ("traceable_functions", "text"),
    "unsafe": ("unsafe", ""),
    "usdt-file-activation": ("usdt_file_activation", ""),
    "verbose": ("verbose", ""),
    "verify-llvm-ir": ("ignored", ""),
    "version": ("version", ""),
    "warnings": ("probe_errors", ""),
}
_SHORT: dict[str, tuple[str, str]] = {
    "B": ("buffering", "text"),
    "I": ("include_dirs", "list"),
    "V": ("version", ""),
    "b": ("ignored", ""),
    "c": ("command", "text"),
    "d": ("debug", "list"),
    "e": ("program", "text"),
    "f": ("format", "text"),
    "h": ("help", ""),
    "k": ("probe_errors", ""),
    "l": ("list", ""),
    "o": ("output", "text"),
    "p": ("pid", "pid"),
    "q": ("quiet", ""),
    "v": ("verbose", ""),
}
_BUFFERING = ("line", "full", "none")
_FORMATS = ("text", "json")
_MODES = ("codegen", "compiler-bench", "bench", "test", "format")
_STAGES = frozenset(
    ("ast", "types", "ir", "asm", "all", "codegen", "codegen-opt", "libbpf", "verifier", "parse",
     "dis")
)  # fmt: skip
_NO_FEATURES = ("kprobe_multi", "kprobe_session", "uprobe_multi")
_SORTS = ("key", "value", "-key", "-value")
# Larger numbers cannot be process ids (include/linux/threads.h: PID_MAX_LIMIT).
_MOST_PIDS = 0x400000
_ASKS_ONLY = ("help", "version", "info")


class WrongWords(UsageError):
    """Words that make no sense.

    ``kind`` stands before the message; ``with_usage`` says that the usage text helps to see why.
    """

    def __init__(self, message: str, *, kind: str = "USAGE: ", with_usage: bool = False) -> None:
        super().__init__(message)
        self.kind = kind
        self.with_usage = with_usage


class Options:
    """What the command line asks for. ``program`` is None where the script is in ``file``.

    ``pattern`` is what ``-l`` lists; ``asked`` is "help", "version" or "info", whichever came
    first, since nothing behind it counts.
    """

    __slots__ = (
        "aot", "asked", "bench", "buffering", "command", "compat", "debug", "debuginfo", "dry_run",
        "dwarf_pids", "emit_elf", "file", "fmt", "follow", "format", "ignored", "ignored_text",
        "include_dirs", "include_files", "list", "mode", "named", "no_features", "no_warnings",
        "output", "params", "pattern", "pid", "probe_errors", "probe_filter", "program", "quiet",
        "sort", "test", "traceable_functions", "unsafe", "usdt_file_activation", "verbose",
    )  # fmt: skip

    def __init__(self) -> None:
        self.aot = ""
        self.asked = ""
        self.bench = False
        self.buffering = "line"
        self.command = ""
        self.compat = ""
        self.debug: list[str] = []
        self.debuginfo: list[str] = []
        self.dry_run = False
        self.dwarf_pids: list[str] = []
        self.emit_elf = ""
        self.file = ""
        self.fmt = False
        self.follow = False
        self.format = "text"
        self.ignored = False
        self.ignored_text = ""
        self.include_dirs: list[str] = []
        self.include_files: list[str] = []
        self.list = False
        self.mode = ""
        self.named: dict[str, str] = {}
        self.no_features: list[str] = []
        self.no_warnings = False
        self.output = ""
        self.params: list[str] = []
        self.pattern = ""
        self.pid = 0
        self.probe_errors = False
        self.probe_filter = ""
        self.program: str | None = None
        self.quiet = False
        self.sort = ""
        self.test = False
        self.traceable_functions = ""
        self.unsafe = False
        self.usdt_file_activation = False
        self.verbose = False


def parse(words: Sequence[str]) -> Options:
    """Read the words behind the command's name; raises WrongWords for what makes no sense."""
    options = Options()
    rest = list(words)
    rest.reverse()
    plain: list[str] = []
    behind: list[str] = []
    while rest:
        word = rest.pop()
        if word == "--":
            behind = rest[::-1]
            break
        if word == "-" or not word.startswith("-") or _is_number(word):
            plain.append(word)
        elif word.startswith("--"):
            _read_long(options, word, rest)
        else:
            _read_short(options, word, rest)
        if options.asked:
            return options
    _check(options)
    _place(options, plain, behind)
    return options


def _is_number(word: str) -> bool:
    return word[1:2].isdigit()


def _read_long(options: Options, word: str, rest: list[str]) -> None:
    written, equals, value = word[2:].partition("=")
    matches = [written] if written in _LONG else [n for n in _LONG if n.startswith(written)]
    if not matches:
        raise WrongWords(f"unrecognized option '--{written}'{_near(written)}", with_usage=True)
    if len(matches) > 1:
        names = " ".join(f"'--{name}'" for name in matches)
        text = f"option '--{written}' is ambiguous; possibilities: {names}"
        raise WrongWords(text, with_usage=True)
    name = matches[0]
    attribute, wants = _LONG[name]
    if not wants:
        if equals:
            raise WrongWords(f"option '--{name}' doesn't allow an argument", with_usage=True)
        _set(options, attribute, wants, "")
        return
    if not equals:
        if not rest:
            raise WrongWords(f"option '--{name}' requires an argument", with_usage=True)
        value = rest.pop()
    _set(options, attribute, wants, value)


def _read_short(options: Options, word: str, rest: list[str]) -> None:
    letters = word[1:]
    while letters:
        letter, letters = letters[0], letters[1:]
        known = _SHORT.get(letter)
        if known is None:
            raise WrongWords(f"invalid option -- '{letter}'", with_usage=True)
        attribute, wants = known
        if not wants:
            _set(options, attribute, wants, "")
            if options.asked:
                return
            continue
        if not letters:
            if not rest:
                raise WrongWords(f"option requires an argument -- '{letter}'", with_usage=True)
            letters = rest.pop()
        _set(options, attribute, wants, letters)
        return


def _near(written: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(written, _LONG, n=1)
    return f"; did you mean '--{close[0]}'?" if close else ""


def _set(options: Options, attribute: str, wants: str, value: str) -> None:
    if attribute in _ASKS_ONLY:
        options.asked = attribute
    elif attribute == "probe_errors":
        _ask_for_probe_errors(options)
    elif attribute in ("bench", "fmt", "test"):
        if options.mode:
            raise WrongWords(f"--{attribute} conflicts with existing --mode")
        options.mode = {"fmt": "format"}.get(attribute, attribute)
    elif not wants:
        setattr(options, attribute, True)
    elif wants == "list":
        getattr(options, attribute).append(value)
    elif wants == "pid":
        options.pid = _pid(value)
    else:
        setattr(options, attribute, value)


def _ask_for_probe_errors(options: Options) -> None:
    if options.probe_errors:
        raise WrongWords(
            "-kk has been deprecated. Use a single -k for runtime warnings for errors in map"
            " lookups and probe reads."
        )
    options.probe_errors = True


def _pid(text: str) -> int:
    try:
        value = int(text, 0)
    except ValueError:
        why = "invalid trailing bytes" if text[:1].isdigit() else "invalid integer"
        raise WrongWords(f"Failed to parse pid: {why}: {text}", kind="") from None
    if not 0 < value <= _MOST_PIDS:
        raise WrongWords(f"Pid out of range: {text}", kind="")
    return value


def _check(options: Options) -> None:
    if options.probe_errors and options.no_warnings:
        raise WrongWords("-k, --warnings conflicts with --no-warnings")
    if options.mode and options.mode not in _MODES:
        raise WrongWords(
            "--mode can only be 'codegen', 'compiler-bench', 'bench', 'test' or 'format'."
        )
    if options.buffering not in _BUFFERING:
        raise WrongWords("-B must be either 'line', 'full', or 'none'.")
    if options.format not in _FORMATS:
        valid = " and ".join(f"'{name}'" for name in _FORMATS)
        message = f'Invalid output format "{options.format}"\nHINT: valid formats are {valid}'
        raise WrongWords(message, kind="")
    for name, value in (("--aot", options.aot), ("--emit-elf", options.emit_elf)):
        if value:
            # Nobody should find out from a missing file that nothing was written.
            raise WrongWords(f"{name} is not available: this version writes no compiled programs")
    if options.sort and options.sort not in _SORTS:
        raise WrongWords(f"--sort takes one of {', '.join(_SORTS)}")
    options.debug = [stage for text in options.debug for stage in text.split(",") if stage]
    for stage in options.debug:
        if stage not in _STAGES:
            raise WrongWords(f"invalid option for -d: {stage}")
    options.no_features = [name for text in options.no_features for name in text.split(",")]
    if not set(options.no_features).issubset(_NO_FEATURES):
        raise WrongWords(f"--no-feature can only have values '{','.join(_NO_FEATURES)}'.")
    if options.pid and options.command:
        raise WrongWords("Cannot use both -c and -p.", with_usage=True)
    if options.follow and not (options.pid or options.command):
        raise WrongWords("--follow needs a process: -p PID or -c CMD")


def _place(options: Options, plain: list[str], behind: list[str]) -> None:
    # What is neither option nor value of one: the script's file, and its parameters.
    if options.list:
        _place_pattern(options, plain + behind)
        return
    if options.program is None:
        if not plain and behind and not behind[0].startswith("--"):
            plain = [behind.pop(0)]
        if not plain:
            raise WrongWords("filename or -e 'program' required.")
        options.file = plain.pop(0)
    options.params = plain
    for word in behind:
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            options.named[name] = value if equals else "true"
        else:
            options.params.append(word)


def _place_pattern(options: Options, words: list[str]) -> None:
    if len(words) > 1:
        raise WrongWords("-l takes one pattern or file", with_usage=True)
    if not words:
        return
    import os

    if options.program is None and (words[0] == "-" or os.path.isfile(words[0])):
        options.file = words[0]
    else:
        options.pattern = words[0]

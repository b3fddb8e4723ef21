"""The words of the command line, read the way getopt_long reads them.

Options may stand anywhere before ``--`` and before the script's own parameters; the first word
that is not an option is the script (unless ``-e`` gives it), the rest are its parameters.
"""

from __future__ import annotations

from bpflens.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["USAGE", "Options", "parse"]

USAGE = """\
USAGE:
    bpftrace [options] filename
    bpftrace [options] - <stdin input>
    bpftrace [options] -e 'program'

OPTIONS:
    -B MODE        output buffering mode ('line', 'full', or 'none')
    -f FORMAT      output format ('text', 'json')
    -o FILE        redirect program output to FILE
    -e 'program'   execute this program
    -h, --help     show this help message
    -p PID         filter actions and enable USDT probes on PID
    -c 'CMD'       run CMD and trace it
    -q             keep messages quiet
    -v             verbose messages
    -k             report probe reads that fail
    -d STAGE       show a stage: ast, types, ir, asm, all
    --unsafe       allow unsafe functions
    --dry-run      compile and load, then end
    --compat VER   behave as bpftrace VER where generations differ (0.17, 0.26)
    --no-warnings  do not show warnings
    -V, --version  bpftrace version

EXAMPLES:
bpftrace -e 'tracepoint:raw_syscalls:sys_enter { @[comm] = count(); }'
    count syscalls by process name
bpftrace -e 'profile:hz:99 { @[comm] = count(); }'
    sample what is running, 99 times a second
"""

# Option → (attribute, takes a value)
_OPTIONS = {
    "-B": ("buffering", True),
    "-f": ("format", True),
    "-o": ("output", True),
    "-e": ("program", True),
    "-h": ("help", False),
    "--help": ("help", False),
    "-p": ("pid", True),
    "-c": ("command", True),
    "-q": ("quiet", False),
    "-v": ("verbose", False),
    "-k": ("probe_errors", False),
    "-d": ("debug", True),
    "--unsafe": ("unsafe", False),
    "--dry-run": ("dry_run", False),
    "--compat": ("compat", True),
    "--no-warnings": ("no_warnings", False),
    "-V": ("version", False),
    "--version": ("version", False),
}
_MODES = ("line", "full", "none")
_FORMATS = ("text", "json")
_STAGES = ("ast", "types", "ir", "asm", "all")
# Larger numbers cannot be process ids (include/linux/threads.h: PID_MAX_LIMIT).
_MOST_PIDS = 0x400000


class Options:
    """What the command line asks for. ``program`` is None where the script is in ``file``."""

    __slots__ = (
        "buffering", "command", "compat", "debug", "dry_run", "file", "format", "help",
        "no_warnings", "output", "params", "pid", "probe_errors", "program", "quiet", "unsafe",
        "verbose", "version",
    )  # fmt: skip

    def __init__(self) -> None:
        self.buffering = "line"
        self.command = ""
        self.compat = ""
        self.debug = ""
        self.dry_run = False
        self.file = ""
        self.format = "text"
        self.help = False
        self.no_warnings = False
        self.output = ""
        self.params: list[str] = []
        self.pid = 0
        self.probe_errors = False
        self.program: str | None = None
        self.quiet = False
        self.unsafe = False
        self.verbose = False
        self.version = False


def parse(words: Sequence[str]) -> Options:
    """Read the words behind the command's name; raises UsageError for what makes no sense."""
    options = Options()
    rest = list(words)
    plain: list[str] = []
    while rest:
        word = rest.pop(0)
        if word == "--":
            plain += rest
            break
        if word == "-" or not word.startswith("-"):
            plain.append(word)
            if options.program is None:
                # A script's parameters may look like options; they are its own.
                plain += rest
                break
            continue
        _read_option(options, word, rest)
    if options.program is None and plain:
        options.file = plain.pop(0)
    options.params = plain
    _check(options)
    return options


def _read_option(options: Options, word: str, rest: list[str]) -> None:
    name, attached = _split(word)
    known = _OPTIONS.get(name)
    if known is None:
        raise UsageError(f"unrecognized option '{word}'")
    attribute, takes_value = known
    if not takes_value:
        setattr(options, attribute, True)
        if attached and not word.startswith("--"):
            _read_option(options, "-" + attached, rest)
        return
    if attached is None:
        if not rest:
            raise UsageError(f"option '{name}' requires an argument")
        attached = rest.pop(0)
    setattr(options, attribute, _number(attached) if attribute == "pid" else attached)


def _split(word: str) -> tuple[str, str | None]:
    """Split ``--name=value`` and ``-xVALUE``; the value is None where the word has none."""
    if word.startswith("--"):
        name, equals, value = word.partition("=")
        return name, value if equals else None
    return word[:2], word[2:] or None


def _number(text: str) -> int:
    try:
        value = int(text, 0)
    except ValueError:
        raise UsageError(f"Failed to parse pid: {text}") from None
    if not 0 < value <= _MOST_PIDS:
        raise UsageError(f"Pid out of range: {text}")
    return value


def _check(options: Options) -> None:
    if options.buffering not in _MODES:
        raise UsageError("-B must be either 'none', 'full' or 'line'")
    if options.format not in _FORMATS:
        raise UsageError(f"Invalid output format \"{options.format}\"; valid are 'text' and 'json'")
    if options.debug and options.debug not in _STAGES:
        raise UsageError(f"-d takes one of {', '.join(_STAGES)}")
    if options.pid and options.command:
        raise UsageError("Cannot use both -c and -p.")

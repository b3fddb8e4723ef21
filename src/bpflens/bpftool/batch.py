"""``batch file FILE``: the commands of a file, one a line, until one fails.

``#`` begins a comment, a backslash at the end of a line continues it, words may be quoted with
``'`` or ``"``. Under ``-j`` the answer is one array of ``{"command": [...], "output": ...}``.

One process runs them all: a command costs its work and nothing for starting up.

Example::

    $ printf 'map create ...\\nmap update ...\\n' | bpftool batch file -
    processed 2 commands
"""

from __future__ import annotations

from bpflens.bpftool.tool import Failure, strerror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bpflens.bpftool.tool import Tool
    from bpflens.bpftool.words import Words

__all__ = ["batch", "split"]

_LONGEST = 65536
_MOST_WORDS = 4096
_BLANK = " \t\r\n"


def batch(tool: Tool, words: Words, run: Callable[[Tool, list[str]], int]) -> int:
    """Run the commands of a file."""
    if len(words) < 2:
        raise Failure("too few parameters for batch")
    if len(words) > 2:
        raise Failure("too many parameters for batch")
    if not words.take_if("file"):
        raise Failure(f"expected 'file', got: {words.peek()}")
    path = words.take()
    try:
        file = open(  # noqa: SIM115 (closed below)
            0 if path == "-" else path, encoding="utf-8", errors="surrogateescape",
            closefd=path != "-",
        )  # fmt: skip
    except OSError as error:
        raise Failure(f"Can't open file ({path}): {strerror(error)}") from None
    with file:
        if tool.json is None and path != "-":
            text = file.read()
            if not any(mark in text for mark in "#\\'\""):
                return _run_plain(tool, text.split("\n"), run)
            return _run(tool, _lines(iter(text.splitlines(True))), run)
        return _run(tool, _lines(file), run)


def _run_plain(tool: Tool, lines: list[str], run: Callable[[Tool, list[str]], int]) -> int:
    # As _run, with lines that need no unwrapping: runs of updates go to the kernel together.
    from bpflens.bpftool import batch_update

    done = at = 0
    while at < len(lines):
        if len(lines) - at >= batch_update.SHORTEST:
            length = batch_update.run_length(lines, at)
            stored = batch_update.update_run(lines[at : at + length]) if length else 0
            if stored:
                at += stored
                done += stored
                continue
        for _ in range(batch_update.SHORTEST):
            if at >= len(lines):
                break
            if len(lines[at]) >= _LONGEST:
                raise Failure(f"command {done} is too long")
            command = split(lines[at], done)
            at += 1
            if not command:
                continue
            status = run(tool, command)
            if status:
                return status
            done += 1
    tool.out(f"processed {done} commands\n")
    return 0


def _run(tool: Tool, lines: Iterator[str], run: Callable[[Tool, list[str]], int]) -> int:
    json = tool.json
    done = 0
    if json is not None:
        json.start("[")
    status = 0
    try:
        for line in lines:
            command = split(line, done)
            if not command:
                continue
            if json is not None:
                json.start("{")
                json.member("command", command)
                json.name("output")
            status = run(tool, command)
            if json is not None:
                if not json.has_value():
                    json.value(None)
                json.end()
            if status:
                break
            done += 1
        else:
            if json is None:
                tool.out(f"processed {done} commands\n")
    except Failure as failure:
        if json is None:
            raise
        json.value({"error": failure.text})
        status = failure.status
    if json is not None:
        json.end()
    return status


def _lines(file) -> Iterator[str]:  # type: ignore[no-untyped-def]
    # Whole commands: without comments, with continuation lines.
    for number, line in enumerate(file):
        if len(line) >= _LONGEST:
            raise Failure(f"reading batch file failed: a line of {len(line)} characters is longer "
                          f"than {_LONGEST - 1}")  # fmt: skip
        line = line.partition("#")[0] if "#" in line else line
        while line.endswith("\\\n"):
            following = next(file, None)
            if not following:
                raise Failure(f"missing continuation line on command {number}")
            line = line[:-2] + following.partition("#")[0]
            if len(line) >= _LONGEST:
                raise Failure(f"command {number} is too long")
        yield line


def split(line: str, number: int = 0) -> list[str]:
    """Split a command into words; a word may stand in quotes."""
    if "'" not in line and '"' not in line:
        words = line.split()
    else:
        words = list(_quoted(line, number))
    if len(words) >= _MOST_WORDS:
        raise Failure(f"too many arguments to command {number}")
    return words


def _quoted(line: str, number: int) -> Iterator[str]:
    at = 0
    while True:
        while at < len(line) and line[at] in _BLANK:
            at += 1
        if at >= len(line):
            return
        quote = line[at]
        if quote in "'\"":
            end = line.find(quote, at + 1)
            if end < 0:
                raise Failure(f"unterminated quoted string in command {number}")
            yield line[at + 1 : end]
            at = end + 1
            continue
        end = at
        while end < len(line) and line[end] not in _BLANK:
            end += 1
        yield line[at:end]
        at = end

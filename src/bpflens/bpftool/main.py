"""The words of a bpftool command line → one command of one object, its output and exit status.

Options are taken out first, wherever they stand. Then the first word chooses the object, the second
the command, each by its first match in the table (:mod:`bpflens.bpftool.grammar`); only the module
of that command is imported. Errors come out as the real tool prints them.

Example::

    main(["-j", "prog", "show", "id", "7"])      # 0
"""

from __future__ import annotations

import sys

from bpflens.bpftool import grammar
from bpflens.bpftool.out import Json
from bpflens.bpftool.tool import STATUS, Failure, Tool, cause
from bpflens.bpftool.words import Usage, Words, first_match
from bpflens.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.bpftool.out import Out

__all__ = ["main", "run"]

_FLAGS = {
    "f": "bpffs", "m": "mapcompat", "n": "nomount", "d": "debug", "L": "use_loader",
    "table": "table", "once": "once", "python": "python",
}  # fmt: skip
_VALUES = {
    "k": "key", "i": "certificate", "B": "base_btf", "sort": "sort", "filter": "filter",
    "color": "color",
}  # fmt: skip


def main(words: list[str], out: Out | None = None) -> int:
    """Run one command line and return its exit status."""
    tool = Tool(out)
    if words[:1] == ["__complete"]:
        from bpflens.bpftool import complete

        status = complete.complete(tool, words[1:])
        tool.out.flush()
        return status
    try:
        rest, special = _options(tool, words)
        if special:
            rest = [special]
        status = run(tool, rest)
    except Failure as failure:  # wrong options
        _tell(tool, failure.text, 0)
        if tool.json is None and failure.text.startswith("unrecognized"):
            _usage(tool, None)
        status = failure.status
    if tool.json is not None:
        tool.out("\n")
    tool.out.flush()
    return status


def run(tool: Tool, rest: list[str]) -> int:
    """Run the command ``rest`` (without options); tell its errors; return its exit status."""
    depth = tool.json.depth if tool.json is not None else 0
    found: grammar.Object | None = None
    try:
        if any("\0" in word for word in rest):  # a batch file may hold what no shell can
            raise Failure("a word holds a NUL character")
        word = first_match(rest[0], grammar.GLOBAL) if rest else "help"
        if word in grammar.OBJECT:
            found = grammar.OBJECT[word]
            return _command(tool, found, rest[1:])
        if word is None:
            raise Usage
        return _special(tool, word, rest[1:])
    except Usage:
        if tool.json is not None and tool.json.depth > depth:
            tool.json.unwind(depth)
            return STATUS
        _usage(tool, found)
        _near(tool, found, rest)
        return STATUS
    except Failure as failure:
        _tell(tool, failure.text, depth)
        return failure.status
    except BrokenPipeError:
        raise
    except (Error, OSError) as error:
        text = cause(error) if not isinstance(error, Error) else str(error)
        if isinstance(error, OSError) and not isinstance(error, Error) and error.filename:
            text = f"{error.filename}: {text}"
        _tell(tool, text, depth)
        return STATUS


def _command(tool: Tool, found: grammar.Object, rest: list[str]) -> int:
    command = found.match(rest[0]) if rest else found.commands[0]
    if command is None:
        raise Usage
    if command.module == "help":
        return _usage(tool, found)
    name = f"bpflens.bpftool.{command.module}"
    __import__(name)
    function = getattr(sys.modules[name], command.function)
    words = Words(rest[1:])
    status: int = (
        function(tool, words, command.name)
        if function.__code__.co_argcount == 3
        else function(tool, words)
    )
    return status


def _near(tool: Tool, found: grammar.Object | None, rest: list[str]) -> None:
    # After the help, which is what the real tool answers: the word that was not understood.
    word, names = (rest[0], grammar.GLOBAL) if found is None else ([*rest, ""][1], ())
    if found is not None:
        if not word or found.match(word) is not None:
            return
        names = tuple(command.name for command in found.commands)
    from difflib import get_close_matches

    near = get_close_matches(word, names, 2, 0.5)
    if near:
        what = f"'{found.name} {word}'" if found is not None else f"'{word}'"
        tool.hint(f"There is no command {what}; did you mean {' or '.join(near)}?")


def _special(tool: Tool, word: str, rest: list[str]) -> int:
    if word == "help":
        return _usage(tool, None)
    if word == "version":
        from bpflens.bpftool import version

        return version.version(tool)
    if word == "batch":
        from bpflens.bpftool import batch

        return batch.batch(tool, Words(rest), run)
    if word == "inspect":
        from bpflens.bpftool import inspection

        return inspection.inspect(tool, Words(rest))
    from bpflens.bpftool import completion

    return completion.completion(tool, Words(rest))


def _usage(tool: Tool, found: grammar.Object | None) -> int:
    from bpflens.bpftool import help

    return help.show(tool, found)


def _tell(tool: Tool, text: str, depth: int) -> None:
    json = tool.json
    if json is None:
        if text:
            tool.note(f"Error: {text}")
        return
    if json.depth > depth:
        if not json.unwind(depth, text or None) and text:
            tool.note(f"Error: {text}")
    elif text and not json.has_value():
        json.value({"error": text})
    elif text:
        tool.note(f"Error: {text}")


# --- options ------------------------------------------------------------------------------------


def _options(tool: Tool, words: list[str]) -> tuple[list[str], str]:
    # As getopt_long does it: options may stand anywhere, "--" ends them.
    rest: list[str] = []
    special = ""
    queue = list(words)
    while queue:
        word = queue.pop(0)
        if word == "--":
            rest += queue
            break
        if not word.startswith("-") or word == "-":
            rest.append(word)
            continue
        for name, value in _named(tool, word, queue):
            if name == "h":
                return [], "help"
            if name == "V":
                special = "version"
            else:
                _apply(tool, name, value)
    _check_signing(tool)
    return rest, special


def _named(tool: Tool, word: str, queue: list[str]) -> list[tuple[str, str]]:
    # The options that one word holds: a long one, or short ones in a row.
    if word.startswith("--"):
        long, equals, value = word[2:].partition("=")
        known = [option for option in grammar.OPTIONS if option[1]]
        exact = [option for option in known if option[1] == long]
        found = exact or [option for option in known if option[1].startswith(long)]
        if len(found) != 1 or (equals and not found[0][2]):
            raise Failure(f"unrecognized option '{word}'")
        short, name, takes = found[0]
        if takes and not equals:
            value = _value(word, queue)
        return [(short or name, value)]
    named: list[tuple[str, str]] = []
    for at, letter in enumerate(word[1:], 1):
        takes_value = [option[2] for option in grammar.OPTIONS if option[0] == letter]
        if not takes_value:
            _apply_all(tool, named)
            raise Failure(f"unrecognized option '{word}'")
        if takes_value[0]:
            named.append((letter, word[at + 1 :] or _value(word, queue)))
            break
        named.append((letter, ""))
    return named


def _value(word: str, queue: list[str]) -> str:
    if not queue:
        raise Failure(f"unrecognized option '{word}'")
    return queue.pop(0)


def _apply_all(tool: Tool, named: list[tuple[str, str]]) -> None:
    for name, value in named:
        if name not in "hV":
            _apply(tool, name, value)


def _apply(tool: Tool, name: str, value: str) -> None:
    if name in ("j", "p"):
        pretty = name == "p" or (tool.json is not None and tool.json.pretty)
        tool.json = Json(tool.out, pretty)
    elif name == "S":
        tool.sign = tool.use_loader = True
    elif name in _VALUES:
        setattr(tool, _VALUES[name], value)
    elif name in _FLAGS:
        setattr(tool, _FLAGS[name], True)


def _check_signing(tool: Tool) -> None:
    if tool.sign and not (tool.key and tool.certificate):
        raise Failure(
            "-i <identity_x509_cert> and -k <private_key> must be supplied with -S for signing", 234
        )
    if not tool.sign and (tool.key or tool.certificate):
        raise Failure(
            "--sign (or -S) must be explicitly passed with -i <identity_x509_cert> and -k "
            "<private_key> to sign the programs", 234,
        )  # fmt: skip

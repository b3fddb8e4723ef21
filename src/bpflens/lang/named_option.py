"""Options of a script: ``getopt("name"[, default[, "description"]])``, given as ``--name=value``.

The value is known when the script is compiled, so that a call becomes a literal of the type of its
default; without one the option is a flag. All calls for one name must agree.

Example::

    value(call, options, {"limit": "5"}, diagnostics)      # getopt("limit", 10) -> 5
"""

from __future__ import annotations

from bpflens.lang import nodes as n

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bpflens.lang.diagnostic import Diagnostics
    from bpflens.lang.fold import Constant
    from bpflens.lang.nodes import Node

__all__ = ["Option", "split_words", "unknown", "usage", "value"]

_FALSE_WORDS = ("0", "false")


class Option:
    """A named option that a script asks for."""

    __slots__ = ("default", "description", "name")

    def __init__(self, name: str, default: Constant, description: str) -> None:
        self.name = name
        self.default = default
        self.description = description


def split_words(words: Sequence[str]) -> dict[str, str]:
    """Turn the words behind ``--`` into names and values: ``--a=b --c`` is a = "b", c = "true".

    Words that do not begin with ``--`` are left out; the caller decides what to say about them.
    """
    named: dict[str, str] = {}
    for word in words:
        if word.startswith("--"):
            name, equals, text = word[2:].partition("=")
            named[name] = text if equals else "true"
    return named


def unknown(options: Mapping[str, Option], named: Mapping[str, str]) -> list[str]:
    """Return the names that were given but that no script asks for."""
    return [name for name in named if name not in options]


def usage(options: Mapping[str, Option]) -> str:
    """Return the list of options as lines of text, for ``--help``."""
    width = max((len(name) for name in options), default=0)
    lines = []
    for name, option in sorted(options.items()):
        default = "" if option.default is False else f" (default {_shown(option.default)})"
        lines.append(f"  --{name:<{width}}  {option.description}{default}".rstrip() + "\n")
    return "".join(lines)


def value(
    node: n.Call,
    options: dict[str, Option],
    named: Mapping[str, str],
    diagnostics: Diagnostics,
) -> Constant | None:
    """Return the value of a ``getopt`` call and note the option; None after a complaint."""
    try:
        name, default, description = _arguments(node)
        option = _declare(node, options, name, default, description)
        given = named.get(name)
        return option.default if given is None else _given(node, name, given, option.default)
    except _GetoptError as error:
        hints = [error.hint] if error.hint else []
        place = error.place
        diagnostics.error("getopt", str(error), place.start, place.end, *hints)
        return None


class _GetoptError(Exception):
    def __init__(self, place: Node, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.place = place
        self.hint = hint


def _arguments(node: n.Call) -> tuple[str, Constant, str]:
    from bpflens.lang.fold import constant_of

    args = node.args
    if not 1 <= len(args) <= 3:
        raise _GetoptError(
            node,
            "The 'getopt' function can take a maximum of three arguments and a minimum of "
            "one argument.",
        )
    if not isinstance(args[0], n.String):
        raise _GetoptError(args[0], "First argument to 'getopt' must be a string literal.")
    default: Constant | None = False
    if len(args) > 1:
        default = constant_of(args[1])
    if default is None:
        raise _GetoptError(
            args[1],
            "Second argument to 'getopt' must be a string literal, integer literal, or a "
            "boolean literal.",
        )
    description = b""
    if len(args) > 2:
        if not isinstance(args[2], n.String):
            raise _GetoptError(
                args[2], "Function 'getopt' requires the third parameter to be a string literal."
            )
        description = args[2].value
    return args[0].value.decode("utf-8", "replace"), default, description.decode("utf-8", "replace")


def _declare(
    node: n.Call, options: dict[str, Option], name: str, default: Constant, description: str
) -> Option:
    known = options.setdefault(name, Option(name, default, description))
    if type(known.default) is not type(default) or known.default != default:
        raise _GetoptError(
            node,
            f"Command line option '{name}' needs to have the same default value in all places it "
            f"is used. Previous default value: {_shown(known.default)}",
        )
    if description and known.description and description != known.description:
        raise _GetoptError(
            node,
            f"Command line option '{name}' must have the same description in all places it's used.",
            "You can wrap it in a macro.",
        )
    known.description = known.description or description
    return known


def _given(node: n.Call, name: str, text: str, default: Constant) -> Constant:
    # The text of "--name=text" as the type of the default.
    from bpflens.lang.fold import number

    if isinstance(default, bool):
        return text.lower() not in _FALSE_WORDS
    if isinstance(default, bytes):
        return text.encode("utf-8", "surrogateescape")
    found = number(text)
    if found is None:
        raise _GetoptError(node, f"Command line option '{name}' expects a number, got '{text}'")
    return found


def _shown(default: Constant) -> str:
    if isinstance(default, bytes):
        return default.decode("utf-8", "replace")
    return str(default).lower()

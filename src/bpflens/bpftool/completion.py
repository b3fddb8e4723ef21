"""``completion bash|zsh|fish``: shell completion, made from the table of commands.

The scripts know objects, commands, keywords and options by themselves; for ids, names, devices and
the like they ask the command (:mod:`bpflens.bpftool.complete`). :func:`script` can be made for
``bpflens`` too, whose first word is a command of its own.

Example::

    $ eval "$(bpftool completion bash)"
"""

from __future__ import annotations

from bpflens.bpftool.complete import FILES, VALUES
from bpflens.bpftool.grammar import GLOBAL, OBJECTS, OPTIONS
from bpflens.bpftool.tool import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from bpflens.bpftool.tool import Tool
    from bpflens.bpftool.words import Words

__all__ = ["completion", "script"]

_BASH = """\
# bash completion for bpftool
_bpftool() {{ _bpftool_from 1; }}
_bpftool_from() {{
    local start=$1 word="${{COMP_WORDS[COMP_CWORD]}}" previous="${{COMP_WORDS[COMP_CWORD-1]}}"
    local object="" command="" found="" at
    for ((at = start; at < COMP_CWORD; at++)); do
        case "${{COMP_WORDS[at]}}" in
            -*) ;;
            *) if [ -z "$object" ]; then object="${{COMP_WORDS[at]}}"
               elif [ -z "$command" ]; then command="${{COMP_WORDS[at]}}"; fi ;;
        esac
    done
    case "$previous" in
        {files}) COMPREPLY=($(compgen -f -- "$word")); return ;;
        {values}) found=" " ;;
    esac
    if [ -z "$found" ]; then
        case "$word" in
            -*) COMPREPLY=($(compgen -W "{options}" -- "$word")); return ;;
            /*|./*|../*) COMPREPLY=($(compgen -f -- "$word")); return ;;
        esac
        case "$object:$command" in
            :) found="{objects}" ;;
{cases}
        esac
    fi
    if [ -z "${{found# }}" ]; then
        found="$("${{COMP_WORDS[@]:0:start}}" __complete \\
            "${{COMP_WORDS[@]:start:COMP_CWORD-start+1}}" 2>/dev/null)"
    fi
    COMPREPLY=($(compgen -W "$found" -- "$word"))
    if [ ${{#COMPREPLY[@]}} -eq 0 ]; then
        COMPREPLY=($(compgen -f -- "$word"))
    elif [ ${{#COMPREPLY[@]}} -eq 1 ] && [[ "${{COMPREPLY[0]}}" == *= ]]; then
        compopt -o nospace 2>/dev/null
    fi
}}
complete -o filenames -o bashdefault -F _bpftool bpftool
"""
_BASH_DOORS = """\
_bpflens() {{
    if [ "$COMP_CWORD" -eq 1 ]; then
        COMPREPLY=($(compgen -W "{doors} --help --version" -- "${{COMP_WORDS[1]}}"))
        return
    fi
    case "${{COMP_WORDS[1]}}" in
        bpftool|tool) _bpftool_from 2 ;;
        completion) COMPREPLY=($(compgen -W "bash zsh fish" -- "${{COMP_WORDS[COMP_CWORD]}}")) ;;
        *) COMPREPLY=($(compgen -f -- "${{COMP_WORDS[COMP_CWORD]}}")) ;;
    esac
}}
complete -o filenames -o bashdefault -F _bpflens bpflens
"""
_ZSH = """\
#compdef bpftool{more}
typeset -gA _bpftool_table
_bpftool_table=(
    ':' '{objects}'
{cases}
)
_bpftool() {{ _bpftool_from 1 }}
_bpftool_from() {{
    local start=$1 object='' command='' at
    local word="$words[CURRENT]" previous="$words[CURRENT-1]"
    local -a found
    for ((at = start + 1; at < CURRENT; at++)); do
        [[ "$words[at]" == -* ]] && continue
        if [[ -z "$object" ]]; then object="$words[at]"
        elif [[ -z "$command" ]]; then command="$words[at]"; fi
    done
    case "$previous" in
        {files}) _files; return ;;
        {values}) ;;
        *)
            if [[ "$word" == -* ]]; then compadd -- {options}; return; fi
            found=(${{=_bpftool_table[$object:$command]}})
            ;;
    esac
    if (( ! $#found )); then
        local -a call=("${{(@)words[1,start]}}" __complete "${{(@)words[start+1,CURRENT]}}")
        found=("${{(@f)$("${{call[@]}}" 2>/dev/null)}}")
        found=(${{found:#}})
    fi
    if (( $#found )); then
        compadd -S '' -- ${{(M)found:#*=}}
        compadd -- ${{found:#*=}}
    fi
    local -a fit=(${{(M)found:#$word*}})
    if (( ! $#fit )) || [[ "$word" == */* ]]; then _files; fi
}}
"""
_ZSH_DOORS = """\
_bpflens() {{
    if (( CURRENT == 2 )); then compadd -- {doors} --help --version; return; fi
    case "$words[2]" in
        bpftool|tool) _bpftool_from 2 ;;
        completion) compadd -- bash zsh fish ;;
        *) _files ;;
    esac
}}
compdef _bpflens bpflens
"""


def completion(tool: Tool, words: Words) -> int:
    """Print the completion script of a shell."""
    shell = words.take_keyword("bash", "zsh", "fish")
    if shell is None:
        word = words.peek()
        raise Failure("expected 'bash', 'zsh' or 'fish'" + (f", got: '{word}'?" if word else ""))
    words.end()
    text = script(shell)
    if tool.json is not None:
        tool.json.value(text)
    else:
        tool.out(text)
    return 0


def script(shell: str, doors: Sequence[str] = ()) -> str:
    """Return the completion script for "bash", "zsh" or "fish".

    ``doors`` are the first words of bpflens; with them the script completes bpflens too.
    """
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](list(doors))


def _options() -> str:
    short = [f"-{option[0]}" for option in OPTIONS if option[0]]
    return " ".join(short + [f"--{option[1]}" for option in OPTIONS if option[1]])


def _table() -> list[tuple[str, str]]:
    # (OBJECT:COMMAND, what may follow), as far as it does not have to be looked up.
    rows = []
    for found in OBJECTS:
        rows.append((f"{found.name}:", " ".join(command.name for command in found.commands)))
        rows += [
            (f"{found.name}:{command.name}", command.keywords)
            for command in found.commands
            if command.keywords and command.name not in _LOOKED_UP
        ]
    rows += [("inspect:", "prog map link"), ("completion:", "bash zsh fish"), ("batch:", "file")]
    return rows


# Commands whose words depend on the object at hand: fields of keys and values.
_LOOKED_UP = ("update", "lookup", "getnext", "delete")


def _bash(doors: list[str]) -> str:
    cases = "\n".join(f'            {place}) found="{words}" ;;' for place, words in _table())
    text = _BASH.format(
        options=_options(), objects=" ".join(GLOBAL), cases=cases, files="|".join(FILES),
        values="|".join(VALUES),
    )  # fmt: skip
    return text + (_BASH_DOORS.format(doors=" ".join(doors)) if doors else "")


def _zsh(doors: list[str]) -> str:
    cases = "\n".join(f"    '{place}' '{words}'" for place, words in _table())
    text = _ZSH.format(
        options=_options(), objects=" ".join(GLOBAL), cases=cases, files="|".join(FILES),
        values="|".join(VALUES), more=" bpflens" if doors else "",
    )  # fmt: skip
    text += _ZSH_DOORS.format(doors=" ".join(doors)) if doors else ""
    # Read by "eval" as well as from a folder of $fpath.
    return text + "compdef _bpftool bpftool\n"


def _fish(doors: list[str]) -> str:
    lines = [
        "# fish completion for bpftool",
        "function __bpftool_values",
        "    set -l given (commandline -opc)",
        "    set -l start 1",
        "    test (basename $given[1]) = bpflens; and set start 2",
        "    set -l call $given[1..$start]",
        "    set -e given[1..$start]",
        "    $call __complete $given (commandline -ct) 2>/dev/null",
        "end",
    ]
    lines += _fish_command("bpftool", "")
    if doors:
        first = "-n __fish_use_subcommand"
        lines.append(f"complete -c bpflens {first} -f -a '{' '.join(doors)}'")
        lines.append(
            "complete -c bpflens -n '__fish_seen_subcommand_from completion' -f -a 'bash zsh fish'"
        )
        lines += _fish_command("bpflens", "-n '__fish_seen_subcommand_from bpftool tool'")
    return "\n".join(lines) + "\n"


def _fish_command(name: str, when: str) -> list[str]:
    space = f" {when}" if when else ""
    lines = []
    for short, long, takes in OPTIONS:
        names = (f" -s {short}" if short else "") + (f" -l {long}" if long else "")
        value = " -x -a '(__bpftool_values)'" if takes else ""
        lines.append(f"complete -c {name}{space}{names}{value}")
    lines.append(f"complete -c {name}{space} -a '(__bpftool_values)'")
    return lines

"""``completion bash|zsh|fish``: shell completion, made from the table of commands.

Example::

    $ eval "$(bpftool completion bash)"
"""

from __future__ import annotations

from bpflens.bpftool.grammar import GLOBAL, OBJECTS, OPTIONS
from bpflens.bpftool.tool import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.bpftool.tool import Tool
    from bpflens.bpftool.words import Words

__all__ = ["completion", "script"]

_BASH = """\
# bash completion for bpftool
_bpftool() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}" object="" command="" at
    for ((at = 1; at < COMP_CWORD; at++)); do
        case "${{COMP_WORDS[at]}}" in
            -*) ;;
            *) if [ -z "$object" ]; then object="${{COMP_WORDS[at]}}"
               elif [ -z "$command" ]; then command="${{COMP_WORDS[at]}}"; fi ;;
        esac
    done
    case "$word" in
        -*) COMPREPLY=($(compgen -W "{options}" -- "$word")); return ;;
        /*|./*) COMPREPLY=($(compgen -f -- "$word")); return ;;
    esac
    case "$object:$command" in
        :) COMPREPLY=($(compgen -W "{objects}" -- "$word")) ;;
{cases}
        *) COMPREPLY=($(compgen -f -- "$word")) ;;
    esac
    [ ${{#COMPREPLY[@]}} -eq 0 ] && COMPREPLY=($(compgen -f -- "$word"))
}}
complete -F _bpftool bpftool
"""


def completion(tool: Tool, words: Words) -> int:
    """Print the completion script of a shell."""
    shell = words.take_keyword("bash", "zsh", "fish")
    if shell is None:
        raise Failure("expected 'bash', 'zsh' or 'fish'")
    words.end()
    tool.out(script(shell))
    return 0


def script(shell: str) -> str:
    """Return the completion script for "bash", "zsh" or "fish"."""
    if shell == "fish":
        return _fish()
    text = _bash()
    if shell == "zsh":
        # zsh runs the functions of bash.
        return "autoload -U +X compinit && compinit\nautoload -U +X bashcompinit && " \
               "bashcompinit\n" + text  # fmt: skip
    return text


def _options() -> list[str]:
    short = [f"-{option[0]}" for option in OPTIONS if option[0]]
    return short + [f"--{option[1]}" for option in OPTIONS if option[1]]


def _bash() -> str:
    cases = []
    for found in OBJECTS:
        names = " ".join(command.name for command in found.commands)
        reply = 'COMPREPLY=($(compgen -W "{}" -- "$word"))'
        cases.append(f"        {found.name}:) {reply.format(names)} ;;")
        for command in found.commands:
            if command.keywords:
                place = f"{found.name}:{command.name}"
                cases.append(f"        {place}) {reply.format(command.keywords)} ;;")
    return _BASH.format(
        options=" ".join(_options()), objects=" ".join(GLOBAL), cases="\n".join(cases)
    )


def _fish() -> str:
    lines = ["# fish completion for bpftool"]
    for short, long, takes in OPTIONS:
        names = (f" -s {short}" if short else "") + (f" -l {long}" if long else "")
        lines.append(f"complete -c bpftool{names}{' -r' if takes else ''}")
    first = " ".join(GLOBAL)
    lines.append(f"complete -c bpftool -n __fish_use_subcommand -a '{first}'")
    for found in OBJECTS:
        seen = f"__fish_seen_subcommand_from {found.name}"
        names = " ".join(command.name for command in found.commands)
        lines.append(f"complete -c bpftool -n '{seen}' -a '{names}'")
        for command in found.commands:
            if command.keywords:
                both = f"{seen}; and __fish_seen_subcommand_from {command.name}"
                lines.append(f"complete -c bpftool -n '{both}' -a '{command.keywords}'")
    return "\n".join(lines) + "\n"

#!/usr/bin/env python3
"""Write ``docs/man/*.8``: manual pages of the bpftool door, from its table of commands.

Synopsis, commands, keywords and options come from the grammar; what a command does is told by the
docstrings of the function and the module behind it. The output is committed;
``tests/unit/bpftool/test_man.py`` sees that no command or option is missing from it.

Example::

    python3 tools/gen_man.py            # rewrites the pages
    python3 tools/gen_man.py --check    # exits 1 if a page would change
"""

from __future__ import annotations

import argparse
import importlib
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
OUT = HERE.parent / "docs" / "man"
sys.path.insert(0, str(HERE.parent / "src"))

from bpflens.bpftool import help as help_texts  # noqa: E402
from bpflens.bpftool.grammar import OBJECTS, OPTIONS, Command, Object  # noqa: E402

SUBJECT = {
    "prog": "inspect, load and run BPF programs",
    "map": "inspect and change BPF maps",
    "link": "inspect and detach BPF links",
    "cgroup": "programs attached to control groups",
    "perf": "programs attached to perf events",
    "net": "programs attached to network interfaces",
    "feature": "what this kernel can do with BPF",
    "btf": "inspect type information (BTF)",
    "gen": "work with BPF object files",
    "struct_ops": "kernel operations made of BPF programs",
    "iter": "BPF iterators",
    "token": "BPF tokens of mounted bpffs",
}

OPTION = {
    "json": "Answer in compact JSON on standard output; an error is an object with that member.",
    "pretty": "Answer in JSON laid out for reading; implies --json.",
    "help": "Show the help of an object, or of the whole.",
    "version": "Show the version.",
    "bpffs": "Show the paths at which objects are pinned.",
    "mapcompat": "Load objects whose map definitions have unknown members.",
    "nomount": "Never mount a BPF file system to pin an object.",
    "debug": "Show the verifier's whole log.",
    "use-loader": "Load programs through a loader program.",
    "sign": "Sign the loader program; needs -k and -i.",
    "k": "The private key to sign with (PEM).",
    "i": "The certificate to sign with (X.509).",
    "base-btf": "The BTF that a split BTF extends.",
    "l": "Accepted and ignored, as the real tool does.",
    "table": "Show objects as a table, one line each; with colour on a terminal, unless NO_COLOR "
    "is set.",
    "sort": "Sort objects by these columns, joined by commas; a minus in front turns the order.",
    "filter": "Show only objects for which the expression holds: type==hash and max_entries>1000, "
    "not frozen, name~flow, pids.comm==agent.",
    "color": "When to use colour: always, auto or never.",
    "once": "Measure or look once, then end (prog top, map watch).",
    "python": "Write a Python module instead of a C header (gen skeleton).",
}


def main() -> int:
    """Write the pages, or compare them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; 1 if a page differs")
    check: bool = parser.parse_args().check
    stale = []
    OUT.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        file = OUT / name
        if not file.exists() or file.read_text() != text:
            stale.append(name)
            if not check:
                file.write_text(text)
    for name in stale:
        print(f"{'differs' if check else 'wrote'}: {name}")
    return int(check and bool(stale))


def pages() -> dict[str, str]:
    """Return the text of every page, by file name."""
    found = {"bpflens-bpftool.8": _main_page()}
    for one in OBJECTS:
        found[f"bpflens-bpftool-{one.name}.8"] = _object_page(one)
    return found


def _main_page() -> str:
    usage = help_texts.text(None).rstrip().splitlines()
    lines = _head("bpflens-bpftool", "inspect and change BPF programs, maps, links and BTF")
    lines += [".SH SYNOPSIS", ".nf", *map(_escaped, usage), ".fi"]
    lines += [
        ".SH DESCRIPTION",
        _text(
            "The commands, layouts and JSON of bpftool, without libbpf and LLVM. Every object, "
            "command and keyword may be cut to a prefix; the first that begins so is meant. "
            "Options may stand anywhere; -- ends them."
        ),
        ".SH OBJECTS",
    ]
    for one in OBJECTS:
        lines += [".TP", rf"\fB{one.name}\fR", _text(SUBJECT[one.name]) + ","]
        lines.append(rf"see \fBbpflens\-bpftool\-{_escaped(one.name)}\fR(8)")
    lines += [".TP", r"\fBinspect\fR { \fBprog\fR | \fBmap\fR | \fBlink\fR } \fIHANDLE\fR"]
    lines.append(_summary("inspection", "inspect"))
    lines += [".TP", r"\fBbatch file\fR \fIFILE\fR", _summary("batch", "batch")]
    lines += [".TP", r"\fBcompletion\fR { \fBbash\fR | \fBzsh\fR | \fBfish\fR }"]
    lines.append(_summary("completion", "completion"))
    return "\n".join([*lines, *_options(), *_tail()]) + "\n"


def _object_page(one: Object) -> str:
    lines = _head(f"bpflens-bpftool-{one.name}", SUBJECT[one.name])
    lines += [".SH SYNOPSIS", ".nf"]
    lines += [_escaped(line) for line in help_texts.text(one).rstrip().splitlines()]
    lines += [".fi", ".SH COMMANDS"]
    told: set[str] = set()
    for names, command in _grouped(one):
        lines += _command(names, command, told)
    return "\n".join([*lines, *_options(), *_tail(one.name)]) + "\n"


def _grouped(one: Object) -> list[tuple[list[str], Command]]:
    # Names of the same function belong together: show and list.
    groups: dict[tuple[str, str], tuple[list[str], Command]] = {}
    for command in one.commands:
        if command.module != "help":
            place = command.module, command.function
            groups.setdefault(place, ([], command))[0].append(command.name)
    return list(groups.values())


def _command(names: list[str], command: Command, told: set[str]) -> list[str]:
    lines = [f".SS {_escaped(', '.join(names))}", _summary(command.module, command.function)]
    if command.keywords:
        lines += [".PP", "Keywords: " + " ".join(rf"\fB{_escaped(k)}\fR" for k in
                                                 command.keywords.split()) + "."]  # fmt: skip
    if command.module not in told:
        told.add(command.module)
        lines += _body(importlib.import_module(f"bpflens.bpftool.{command.module}").__doc__ or "")
    return lines


def _summary(module: str, function: str) -> str:
    found = getattr(importlib.import_module(f"bpflens.bpftool.{module}"), function)
    first = (found.__doc__ or "").strip().split("\n\n")[0]
    return _text(" ".join(first.split()))


def _body(doc: str) -> list[str]:
    # The paragraphs of a docstring after its first, and its example.
    text, _, example = doc.partition("Example::")
    lines: list[str] = []
    for paragraph in text.strip().split("\n\n")[1:]:
        if not paragraph.startswith(" "):
            lines += [".PP", _text(" ".join(paragraph.split()))]
    if "$ " in example:
        lines += [".PP", "Example:", ".PP", ".nf", ".RS"]
        lines += [_escaped(line.removeprefix("    ")) for line in example.strip("\n").splitlines()]
        lines += [".RE", ".fi"]
    return lines


def _options() -> list[str]:
    lines = [".SH OPTIONS"]
    for short, long, takes in OPTIONS:
        names = [f"-{short}"] * bool(short) + [f"--{long}"] * bool(long)
        value = r" \fIVALUE\fR" if takes else ""
        lines += [".TP", ", ".join(rf"\fB{_escaped(name)}\fR" for name in names) + value]
        lines.append(_text(OPTION[long or short]))
    return lines


def _head(name: str, subject: str) -> list[str]:
    title = name.upper().replace("-", "\\-")
    return [
        '.\\" Generated by tools/gen_man.py from the table of commands.',
        f'.TH {title} 8 "" "bpflens" "System administration"',
        ".SH NAME",
        f"{_escaped(name)} \\- {_escaped(subject)}",
    ]


def _tail(name: str = "") -> list[str]:
    others = [f"bpflens-bpftool-{one.name}" for one in OBJECTS if one.name != name]
    pages = ["bpflens-bpftool"] * bool(name) + others
    return [
        ".SH EXIT STATUS",
        _text(
            "0 where all went well, 255 for most failures; some commands answer with the number "
            "of the error, counted down from 256 (254: there is no such entry)."
        ),
        ".SH SEE ALSO",
        ",\n".join(rf"\fB{_escaped(page)}\fR(8)" for page in pages),
    ]


def _text(text: str) -> str:
    # ``code`` becomes bold; :mod:`a.b` keeps its last name.
    text = re.sub(r":\w+:`~?(?:[\w.]*\.)?(\w+)`", r"\1", text)
    parts = text.split("``")
    return "".join(
        rf"\fB{_escaped(part)}\fR" if at % 2 else _escaped(part) for at, part in enumerate(parts)
    )


def _escaped(text: str) -> str:
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + text if text.startswith((".", "'")) else text


if __name__ == "__main__":
    sys.exit(main())

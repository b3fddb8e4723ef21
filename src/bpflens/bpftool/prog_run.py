"""``prog run PROG data_in F ...``: run a program once or often on data of ours.

Example::

    $ bpftool prog run id 756 data_in packet data_out - repeat 1000
    0000000 0000 0000 ...
    Return value: 0, duration (average): 27ns
"""

from __future__ import annotations

import sys

from bpflens.bpftool import handle
from bpflens.bpftool.tool import Failure, errno_status, strerror
from bpflens.bpftool.words import Usage
from bpflens.errors import SyscallError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.bpftool.tool import Tool
    from bpflens.bpftool.words import Words
    from bpflens.objects.program import Program

__all__ = ["run"]

_ROOM = 32 << 10
_DATA = ("data_in", "data_out", "data_size_out")
_CONTEXT = ("ctx_in", "ctx_out", "ctx_size_out")


class _Wish:
    __slots__ = ("ctx_in", "ctx_out", "ctx_size_out", "data_in", "data_out", "data_size_out",
                 "repeat")  # fmt: skip

    def __init__(self) -> None:
        self.data_in = self.data_out = self.ctx_in = self.ctx_out = ""
        self.data_size_out = self.ctx_size_out = 0
        self.repeat = 1


def run(tool: Tool, words: Words) -> int:
    """Run a program and print what it gave."""
    if len(words) < 3:
        raise Usage
    with handle.one_program(words) as program:
        wish = _options(words)
        if wish.data_in == "-" and wish.ctx_in == "-":
            raise Failure("cannot use standard input for both data_in and ctx_in")
        return _run(tool, program, wish)


def _options(words: Words) -> _Wish:
    wish = _Wish()
    while words:
        word = words.peek() or ""
        _check_prefix(word, _DATA)
        _check_prefix(word, _CONTEXT)
        option = words.take_keyword(*_DATA, *_CONTEXT, "repeat")
        if option is None:
            raise Failure(
                "expected no more arguments, 'data_in', 'data_out', 'data_size_out', 'ctx_in', "
                f"'ctx_out', 'ctx_size_out' or 'repeat', got: '{word}'?"
            )
        if not words:
            raise Usage
        if option.endswith("size_out"):
            what = "output data size" if option[0] == "d" else "output context size"
            setattr(wish, option, words.number(what))
        elif option == "repeat":
            wish.repeat = words.number("repeat number")
        else:
            setattr(wish, option, words.take())
    return wish


def _check_prefix(word: str, names: tuple[str, ...]) -> None:
    found = [name for name in names if name.startswith(word)]
    if len(found) > 1:
        listed = "' or '".join(found)
        raise Failure(f"ambiguous prefix: '{word}' could be '{listed}'")


def _run(tool: Tool, program: Program, wish: _Wish) -> int:
    data, context = _input(wish.data_in), _input(wish.ctx_in)
    data_room = wish.data_size_out or max(_ROOM, len(data)) if wish.data_in and wish.data_out else 0
    context_room = wish.ctx_size_out or max(_ROOM, len(context)) if wish.ctx_out else 0
    try:
        found = program.test_run(
            data=data, ctx=context, repeat=wish.repeat, data_size_out=data_room,
            ctx_size_out=context_room,
        )  # fmt: skip
    except SyscallError as error:
        raise handle.tell("failed to run program", error, errno_status(error)) from None
    json = tool.json
    if json is not None:
        json.start("{")
    if data_room:
        _output(tool, wish.data_out, found.data, "data_out")
    if context_room:
        _output(tool, wish.ctx_out, found.ctx, "ctx_out")
    if json is not None:
        json.member("retval", found.retval)
        json.member("duration", found.duration)
        json.end()
        return 0
    average = " (average)" if wish.repeat > 1 else ""
    tool.out(f"Return value: {found.retval}, duration{average}: {found.duration}ns\n")
    return 0


def _input(path: str) -> bytes:
    if not path:
        return b""
    if path == "-":
        return sys.stdin.buffer.read()
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise Failure(f"failed to open {path}: {strerror(error)}") from None


def _output(tool: Tool, path: str, data: bytes, name: str) -> None:
    if path != "-":
        try:
            with open(path, "wb") as file:
                file.write(data)
        except OSError as error:
            raise Failure(f"failed to open {path}: {strerror(error)}") from None
        return
    if tool.json is not None:
        tool.json.member(name, list(data))
        return
    for at in range(0, len(data), 16):
        tool.out(_row(at, data[at : at + 16]))


def _row(at: int, data: bytes) -> str:
    # Offset, words of two bytes, and the characters, with a gap after eight bytes.
    cells = []
    for number in range(0, 16, 2):
        pair = data[number : number + 2].hex()
        cells.append(pair.ljust(4))
    text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in data)
    shown = text[:8] + (" " + text[8:] if len(text) >= 8 else "")
    return f"{at:07x}\t{' '.join(cells)} | {shown}\n"

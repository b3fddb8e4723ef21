"""``prog tracelog``: what programs print, until Ctrl-C; and a program's own streams.

Example::

    $ bpftool prog tracelog stdout id 756
"""

from __future__ import annotations

import os

from bpflens.bpftool import handle
from bpflens.bpftool.tool import Failure, errno_status, strerror
from bpflens.bpftool.words import Usage
from bpflens.errors import Error, SyscallError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.bpftool.tool import Tool
    from bpflens.bpftool.words import Words

__all__ = ["tracelog"]

_STREAMS = {"stdout": 1, "stderr": 2}


def tracelog(tool: Tool, words: Words) -> int:
    """Follow trace_pipe, or print what one program has in a stream."""
    if words:
        return _stream(tool, words)
    from bpflens.kernel import tracefs

    try:
        path = tracefs.find() + "/trace_pipe"
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except Error as error:
        raise Failure(f"could not open trace pipe: {error}") from None
    except OSError as error:
        raise Failure(f"could not open trace pipe: {strerror(error)}") from None
    if tool.json is not None:
        tool.json.start("[")
        tool.out.flush()
    try:
        _follow(tool, fd)
    except KeyboardInterrupt:
        pass  # that is how it ends
    finally:
        os.close(fd)
        if tool.json is not None:
            tool.json.end()
    return 0


def _follow(tool: Tool, fd: int) -> None:
    import signal

    def leave(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)
    rest = b""
    while data := os.read(fd, 1 << 16):
        if tool.json is None:
            tool.out.block(data)
            continue
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            tool.json.value(line.decode("utf-8", "replace") + "\n")
        tool.out.flush()


def _stream(tool: Tool, words: Words) -> int:
    name = words.take_keyword("stdout", "stderr")
    if name is None:
        raise Usage
    words.need(1)
    with handle.one_program(words) as program:
        words.end()
        try:
            data = program.read_stream(_STREAMS[name])
        except SyscallError as error:
            prefix = "can't read the program's stream"
            raise handle.tell(prefix, error, errno_status(error)) from None
    if tool.json is not None:
        tool.json.value(data.decode("utf-8", "replace"))
    elif name == "stdout":
        tool.out.block(data)
    else:
        tool.out.flush()
        os.write(2, data)
    return 0

"""``prog dump xlated|jited PROG``: the instructions of a program.

``file F`` writes the raw bytes (for ``visual`` a name ending in .svg, .html or .dot writes the
picture); ``opcodes`` adds the bytes, ``linum`` file, line and column, ``visual`` draws the control
flow.

Example::

    $ bpftool prog dump xlated id 756
    int sock_count(struct __sk_buff * skb):
    ; int sock_count(struct __sk_buff *skb)
       0: (bf) r7 = r1
"""

from __future__ import annotations

import os

from bpflens.bpftool import handle
from bpflens.bpftool.prog_show import header_json, header_plain
from bpflens.bpftool.tool import Failure, strerror
from bpflens.bpftool.words import Usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.bpftool.listing import Listing, Source
    from bpflens.bpftool.tool import Tool
    from bpflens.bpftool.words import Words
    from bpflens.objects.program import Program

__all__ = ["Wish", "dump", "source_json", "source_plain", "write_file"]

_PICTURES = (".svg", ".html", ".htm", ".dot")


class Wish:
    """What the words after PROG ask for."""

    __slots__ = ("file", "jited", "linum", "opcodes", "visual")

    def __init__(self, jited: bool) -> None:
        self.jited = jited
        self.file = ""
        self.opcodes = False
        self.visual = False
        self.linum = False


def dump(tool: Tool, words: Words) -> int:
    """Dump the programs that PROG matches."""
    how = words.take_keyword("jited", "xlated")
    if how is None:
        word = words.peek()
        if word is None:
            raise Usage
        raise Failure(f"expected 'xlated' or 'jited', got: {word}")
    if len(words) < 1:
        raise Usage
    wish = Wish(how == "jited")
    found = handle.programs(words)
    try:
        _options(tool, words, wish, len(found))
        return _several(tool, found, wish)
    finally:
        for program in found:
            program.close()


def _options(tool: Tool, words: Words, wish: Wish, count: int) -> None:
    while words:
        option = words.take_keyword("file", "opcodes", "visual", "linum")
        if option is None or (option == "visual" and wish.jited):
            raise Usage
        if option == "file":
            wish.file = words.take("file path")
        else:
            setattr(wish, option, True)
        if option in ("file", "visual") and count > 1:
            raise Failure("several programs matched")
    picture = wish.visual and wish.file.endswith(_PICTURES)
    if wish.file and not picture and (wish.opcodes or wish.visual or wish.linum):
        why = "; a picture needs a name that ends in .svg, .html or .dot" if wish.visual else ""
        raise Failure(f"'file' is not compatible with 'opcodes', 'visual', or 'linum'{why}")
    if tool.json is not None and wish.visual and not picture:
        raise Failure("'visual' is not compatible with JSON output")


def _several(tool: Tool, found: list[Program], wish: Wish) -> int:
    json = tool.json
    several = len(found) > 1
    if json is not None and several:
        json.start("[")
    for number, program in enumerate(found):
        if several and json is not None:
            json.start("{")
            for name, value in header_json(program).items():
                json.member(name, value)
            json.name("insns")
        elif several:
            tool.out(header_plain(program))
        _one(tool, program, wish)
        if several and json is not None:
            json.end()
        elif several and number + 1 < len(found):
            tool.out("\n")
    if json is not None and several:
        json.end()
    return 0


def _one(tool: Tool, program: Program, wish: Wish) -> None:
    if wish.jited:
        from bpflens.bpftool import prog_jited

        prog_jited.dump(tool, program, wish)
        return
    from bpflens.bpftool.listing import Listing

    listing = Listing(program)
    if wish.visual:
        from bpflens.bpftool import graph

        if wish.file:
            from bpflens.bpftool import picture

            picture.write(listing, wish, program.full_name)
            tool.done()
        else:
            graph.write(tool.out, listing, opcodes=wish.opcodes, linum=wish.linum)
    elif wish.file:
        write_file(wish.file, listing.data)
        tool.done()
    elif tool.json is not None:
        _json(tool, listing, wish)
    else:
        _plain(tool, listing, wish)


def write_file(path: str, data: bytes) -> None:
    """Write ``data`` to a file of which only the owner can read."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Failure(f"can't open file {path}: {strerror(error)}") from None
    try:
        with open(fd, "wb") as file:
            file.write(data)
    except OSError as error:
        raise Failure(f"error writing output file: {strerror(error)}") from None


def source_plain(source: Source, linum: bool) -> str:
    """Return a source line as it stands in a dump."""
    if not linum:
        return f"; {source.text}\n"
    place = f"file:{source.file} line_num:{source.line} line_col:{source.column}"
    return f"; {source.text} [{place}]\n"


def source_json(source: Source, linum: bool) -> dict[str, object]:
    """Return the members that a source line adds to an instruction."""
    found: dict[str, object] = {"src": source.text}
    if linum:
        found["file"] = source.file
        if source.line:
            found["line_num"] = source.line
        if source.column:
            found["line_col"] = source.column
    return found


def _plain(tool: Tool, listing: Listing, wish: Wish) -> None:
    sources = listing.sources()
    for slot, text in listing.instructions():
        if slot in listing.prototypes:
            tool.out(f"{listing.prototypes[slot]}:\n")
        if slot in sources:
            tool.out(source_plain(sources[slot], wish.linum))
        tool.out(f"{slot:4}: {text}\n")
        if wish.opcodes:
            tool.out(f"       {_opcodes(listing.data, slot)}\n")


def _opcodes(data: bytes, slot: int) -> str:
    size = 16 if data[8 * slot] == 0x18 else 8
    return data[8 * slot : 8 * slot + size].hex(" ")


def _json(tool: Tool, listing: Listing, wish: Wish) -> None:
    json = tool.json
    assert json is not None
    sources = listing.sources()
    json.start("[")
    for slot, text in listing.instructions():
        entry: dict[str, object] = {}
        if slot in listing.prototypes:
            entry["proto"] = listing.prototypes[slot]
        if slot in sources:
            entry |= source_json(sources[slot], wish.linum)
        entry["disasm"] = text
        if wish.opcodes:
            entry["opcodes"] = _opcodes_json(listing.data, slot)
        json.value(entry)
    json.end()


def _opcodes_json(data: bytes, slot: int) -> dict[str, object]:
    raw = data[8 * slot : 8 * slot + 16]
    end = 16 if raw[0] == 0x18 else 8
    return {
        "code": f"0x{raw[0]:02x}",
        "src_reg": f"0x{raw[1] >> 4:x}",
        "dst_reg": f"0x{raw[1] & 15:x}",
        "off": [f"0x{byte:02x}" for byte in raw[2:4]],
        "imm": [f"0x{byte:02x}" for byte in raw[4:end]],
    }

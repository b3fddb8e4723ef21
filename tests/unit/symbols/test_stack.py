"""Frames and their text."""

from __future__ import annotations

from bpflens.symbols import Frame, Kallsyms
from bpflens.symbols.stack import build_id_frames, frame_text, kernel_frames, stack_text

SYMBOLS = Kallsyms(b"ffffffff81000000 T one\nffffffff81000100 T two\nffffffffc0000000 t m\t[mod]\n")


def test_kernel_frames_end_at_zero():
    frames = kernel_frames([0xFFFFFFFF81000105, 0xFFFFFFFFC0000001, 0, 5], SYMBOLS)
    assert [(f.name, f.offset, f.module) for f in frames] == [("two", 5, ""), ("m", 1, "mod")]


def test_an_unknown_address_is_a_frame_too():
    (frame,) = kernel_frames([0xFFFF000000000000], SYMBOLS)
    assert frame == Frame(0xFFFF000000000000)
    assert frame_text(frame) == "0xffff000000000000"
    assert frame_text(frame, "perf") == "ffff000000000000 [unknown] ([unknown])"


def test_the_styles():
    frame = Frame(0x7F0000001234, "malloc", 52, "/usr/lib/libc.so.6")
    assert frame_text(frame) == "malloc+52"
    assert frame_text(frame, "perf") == "    7f0000001234 malloc+52 (/usr/lib/libc.so.6)"
    assert frame_text(frame, "raw") == "7f0000001234"
    assert stack_text([frame, frame], "raw", "\t") == "\t7f0000001234\n\t7f0000001234\n"
    assert stack_text([frame], demangle=str.upper) == "        MALLOC+52\n"
    assert stack_text([]) == ""


class OneModule:
    """Stands for the cache of modules: one build id is known."""

    path = "/bin/prog"

    def by_build_id(self, build_id):
        return self if build_id == b"known" else None

    def resolve(self, offset):
        return ("main", offset - 0x1000) if offset >= 0x1000 else None


def test_build_id_stacks():
    entries = [
        (1, b"known", 0x1004),
        (1, b"known", 4),
        (1, b"\xab", 9),
        (2, b"", 0x77),
        (0, b"", 0),
    ]
    frames = build_id_frames([*entries, (1, b"known", 0x1000)], OneModule())
    assert [frame_text(frame) for frame in frames] == [
        "main+4",
        b"known".hex() + "+0x4",
        "ab+0x9",
        "0x77",
    ]
    assert (frames[0].module, frames[0].file_offset) == ("/bin/prog", 0x1004)
